"""Everything that can go wrong, and what to do about it.

::

    CfaiError
    ├── SetupError          no credentials, an invalid option, or a component that failed to start
    ├── ColumnError         a column or template that does not fit the frame          (also a ValueError)
    ├── ModelError          a model that is unknown, retired, or of another task      (also a ValueError)
    ├── BudgetError         the budget cannot hold what the next request may cost
    ├── StoreError          the store cannot be opened or written, or is newer than this version
    ├── RowsFailed          every row failed, or on_error="raise" and some did; what was answered is kept
    ├── InputError          a cell that cannot be sent                                    fails the row
    ├── AnswerError         the service answered, and the answer cannot be used           fails the row
    └── ServiceError        the service (or the way there) said no
        ├── Refused         this input is not accepted (400-class)                        fails the row
        │   └── TooLarge    too long or too big: a batch is halved first                  fails the row
        ├── RateLimited     the minute's requests are used up (3021, 1015)                waits, goes again
        ├── Busy            the model is out of capacity (3040)                           waits, goes again
        ├── Unavailable     5xx, 408, a dropped or cut answer, no network                 goes again
        ├── QuotaExhausted  the day's Neurons are used up (3036, 4006)                    stops the run, confirmed
        └── AccessError     token, account or model not open to it                        stops the run, confirmed

    Stopped (a KeyboardInterrupt)   you pressed Stop; what was paid for is kept
    CfaiWarning (a UserWarning)     something was lost or could not be kept; the result is there

What stops the run is confirmed first: another row has to be refused in the same way, with no answer in between.  A row
that alone is refused so fails alone.

Errors of the service carry ``code`` (the number in the body, where it goes with the status), ``status`` and ``model``.
No error carries the API token, or control characters that would reach a terminal.

``takes_options`` checks the keyword options of a function against its signature, ``refuse_unknown`` a list of names.
Every verb, widget, plot and task uses these two, so that a misspelt option gives the same message everywhere: the name,
the nearest known option, and all options.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
_E = TypeVar("_E", bound=BaseException)

#: What the sender does about an error: the row fails, the batch is halved, the request waits for capacity or for the
#: minute, it is repeated, or the whole run stops once another row confirms it.
Reaction = Literal["row", "split", "wait", "again", "stop"]


def printable(text: str) -> str:
    """Return a text without what would steer a terminal or cannot be written: escapes, half characters."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)


def bare(error: _E) -> _E:
    """Return an error without traceback and causes: their frames would keep alive what was sent."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


class CfaiError(Exception):
    """Root of every error this package raises on purpose (``Stopped`` apart)."""


class SetupError(CfaiError):
    """Credentials or options are missing or mean nothing."""


class ColumnError(CfaiError, ValueError):
    """The frame has no such column, or the template names none."""


class ModelError(CfaiError, ValueError):
    """The model is unknown, retired, or does another kind of work."""


class BudgetError(CfaiError):
    """The budget cannot hold the next request; nothing beyond it was sent."""


class StoreError(CfaiError):
    """The store of answers cannot be used as it is."""


class CfaiWarning(UserWarning):
    """Something was lost or could not be kept, and the result says where."""


class RowsFailed(CfaiError):
    """Every row failed, or some did and ``on_error="raise"`` was asked for; delivered answers are in the store."""


class RowError(CfaiError):
    """One row has no result; ``code`` says which kind of failure."""

    reaction: Reaction = "row"
    code: int | str | None = None

    def __init__(self, message: str, code: int | str | None = None) -> None:
        super().__init__(printable(message))
        if code is not None:
            self.code = code


class InputError(RowError):
    """The cell cannot be sent."""

    code = "input"


class AnswerError(RowError):
    """The service answered with something that is not a usable answer.

    Parameters
    ----------
    message, code
        What is wrong, and a short word for it (``"length"``, ``"empty"``, ``"schema"``, ``"mismatch"``).
    again : bool
        Whether asking once more may help (a batch of another length, a broken body): the engine repeats it.
    text : str, list of str or None
        What the model wrote, as far as it came; a list where several samples were taken.
    partial : cell or None
        The cell that follows from it where the token limit cut the reply: what ``on_error="partial"`` fills in.
    """

    code = "answer"

    def __init__(
        self, message: str, code: str | None = None, *, again: bool = False, text: str | list[str] | None = None,
        partial: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(message, code)
        self.text = text
        self.partial = partial
        if again:
            self.reaction = "again"


class ServiceError(RowError):
    """The service refused a request, or could not be reached.

    Attributes
    ----------
    code : int, str or None
        The number or word in the body where it goes with the status; otherwise the status.
    status : int or None
    model : str or None
    wait : float or None
        Seconds the service asked for (Retry-After), when it did.
    known : bool
        Whether its code is one the service is known to use; otherwise only the status says what it means.
    """

    def __init__(
        self,
        message: str,
        code: int | str | None = None,
        *,
        status: int | None = None,
        model: str | None = None,
        wait: float | None = None,
        known: bool = False,
    ) -> None:
        super().__init__(message, code)
        self.status = status
        self.model = model
        self.wait = wait
        self.known = known


class Refused(ServiceError):
    """The input is not accepted; a batch is halved until the row that is meant stands alone."""

    reaction = "split"


class TooLarge(Refused):
    """The input does not fit the model or the request."""


class RateLimited(ServiceError):
    """The requests of this minute are used up."""

    reaction = "wait"


class Busy(ServiceError):
    """The model has no free place at the moment."""

    reaction = "wait"


class Unavailable(ServiceError):
    """The service or the way to it failed; the same request may well pass in a moment."""

    reaction = "again"


class QuotaExhausted(ServiceError):
    """The Neurons of the day are used up; they come back at 00:00 UTC."""

    reaction = "stop"


class AccessError(ServiceError):
    """The token, the account or the plan does not open this model; confirmed by another row, it ends the run."""

    reaction = "stop"


class Stopped(KeyboardInterrupt):
    """The run was interrupted; finished rows are kept and a re-run sends only the rest."""


_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
#: What other libraries call an option -> what it may be called here; the first that the call knows is the hint.
_ELSEWHERE: dict[str, tuple[str, ...]] = {
    "n_clusters": ("k",), "num_clusters": ("n_clusters", "k"), "n_neighbors": ("k",), "top_k": ("k",),
    "n_results": ("top_k", "k"), "limit": ("top_k", "k", "n"), "top_n": ("top_k", "k", "n"),
    "k": ("top_k", "n_clusters", "n_neighbors", "n"), "rows": ("n",), "head": ("n",),
    "min_samples": ("min_cluster_size",), "fraction": ("contamination",), "share": ("contamination",),
    "random_state": ("seed",), "seed": ("random_state",), "cutoff": ("threshold",), "min_score": ("threshold",),
    "eps": ("threshold",),
    "colour": ("color", "colours"), "color": ("colours",), "colors": ("colours",), "palette": ("colours",),
    "hue": ("color", "labels"), "cols": ("columns",), "column": ("on", "columns"), "col": ("column", "on"),
    "batch_size": ("concurrency",), "workers": ("concurrency",), "max_workers": ("concurrency",),
    "api_key": ("api_token",), "token": ("api_token",), "account": ("account_id",), "url": ("base_url",),
    "max_new_tokens": ("max_tokens",), "max_output_tokens": ("max_tokens",), "categories": ("labels",),
    "classes": ("labels",),
}  # fmt: skip


def near(name: str, known: Iterable[str]) -> str:
    """Return the known option that was probably meant; empty where none is near."""
    names = list(known)
    lowered = name.lower()
    foreign = [there for there in _ELSEWHERE.get(lowered, ()) if there in names]
    swapped = [each for each in names if sorted(each) == sorted(lowered)]  # two letters in the other's place
    return next(iter([*foreign, *swapped, *difflib.get_close_matches(lowered, names, n=1, cutoff=0.65)]), "")


def refuse_unknown(what: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Refuse options that do not exist.

    Parameters
    ----------
    what : str
        The call, for the message.
    given, known : iterable of str

    Raises
    ------
    TypeError
        An option is unknown.  The message names it, the nearest one, and all there are.
    """
    unknown = [name for name in given if name not in known]
    if not unknown:
        return
    hints = [f" Did you mean {meant}?" for meant in dict.fromkeys(near(name, known) for name in unknown) if meant]
    several = "s" if len(unknown) > 1 else ""
    listed = ", ".join(known) or "none"
    raise TypeError(f"{what}() has no option{several} {', '.join(unknown)}.{''.join(hints)} Options: {listed}.")


def takes_options(*further: str, name: str = "") -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that refuses keyword options the function does not name.

    Parameters
    ----------
    *further : str
        Options that go through the function's ``**`` parameter.
    name : str, optional
        What the call is called in the message; default: the name of the function, or of the class it makes.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        own = [p.name for p in inspect.signature(function).parameters.values() if p.kind in _NAMED]
        known = [each for each in dict.fromkeys([*own, *further]) if each != "self"]

        @functools.wraps(function)
        def checked(*args: P.args, **options: P.kwargs) -> R:
            made = type(args[0]).__name__ if function.__name__ == "__init__" else function.__name__
            refuse_unknown(name or made, options, known)
            return function(*args, **options)

        return checked

    return decorate
