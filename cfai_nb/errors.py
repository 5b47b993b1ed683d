"""The errors of the package, how the sender reacts to each, and the check of option names.

::

    CfaiError
    ├── SetupError          no credentials, an invalid option, or a component that failed to start
    ├── ColumnError         a column or template that does not fit the frame          (also a ValueError)
    ├── ModelError          the model is unknown, retired, or of another task         (also a ValueError)
    ├── BudgetError         the next request may cost more than the budget has left
    ├── StoreError          the store cannot be opened or written, or is newer than this version
    ├── RowsFailed          every row failed, or some did with on_error="raise"; answers are kept
    ├── InputError          the cell cannot be sent                                       fails the row
    ├── AnswerError         the service answered, and the answer cannot be used           fails the row
    └── ServiceError        the service refused, or could not be reached
        ├── Refused         the input is not accepted (400-class)                         fails the row
        │   └── TooLarge    the input is too long or too big: a batch is halved first     fails the row
        ├── RateLimited     the minute's requests are used up (3021, 1015)                waits, is repeated
        ├── Busy            the model is out of capacity (3040)                           waits, is repeated
        ├── Unavailable     5xx, 408, a dropped or cut answer, no network                 is repeated
        ├── QuotaExhausted  the day's Neurons are used up (3036, 4006)                    stops the run, confirmed
        └── AccessError     the token or account may not use the model                    stops the run, confirmed

    Stopped (a KeyboardInterrupt)   you pressed Stop; what was paid for is kept
    CfaiWarning (a UserWarning)     something was lost or could not be kept; the result is still returned

Before an error stops the run it is confirmed: another row must be refused in the same way, with no answer in between.
If only one row is refused, only that row fails.

Errors of the service carry ``code`` (the number in the body, if it fits the status), ``status`` and ``model``.
No error contains the API token, or control characters that would reach a terminal.

``takes_options`` checks the keyword options of a function against its signature, ``refuse_unknown`` against a list of
names.  Every verb, widget, plot and task uses one of them, so that a misspelt option gives the same message everywhere:
the name, the nearest known option, and all options.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import linecache
import numbers
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, ParamSpec, TypeGuard, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
_E = TypeVar("_E", bound=BaseException)

#: How the sender reacts to an error: the row fails, the batch is halved, the request waits for capacity or the next
#: minute, it is repeated, or the run stops once another row confirms the error.
Reaction = Literal["row", "split", "wait", "again", "stop"]


def printable(text: str) -> str:
    """Replace control characters, which a terminal obeys, and lone surrogates, which cannot be encoded, by spaces."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)


def bare(error: _E) -> _E:
    """Return an error without its traceback and causes: their frames would keep the sent data in memory."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


class Folded:
    """An error that a notebook shows as its message and the user's own line, without the frames of the package.

    ``%tb`` shows all frames, and ``%xmode Verbose`` does so for every error.
    """

    _shown = False

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows instead of its traceback; the second time, for ``%tb``, all of it."""
        assert isinstance(self, BaseException)
        return render(self)


def render(error: BaseException) -> list[str]:
    """Return an error as a notebook shows it; see `Folded`."""
    shell = sys.modules["IPython"].get_ipython()  # only IPython asks for this
    whole = shell.InteractiveTB
    again, error._shown = getattr(error, "_shown", False), True  # type: ignore[attr-defined]
    frames = [each for each in traceback.extract_tb(error.__traceback__) if not _is_inner(each.filename)]
    if again or whole.mode == "Verbose" or not frames:
        lines: list[str] = whole.structured_traceback(type(error), error, error.__traceback__)
        return lines
    shown = [f"{type(error).__name__}: {error}", ""]
    for each in frames:
        source = linecache.getlines(each.filename)
        first = max(0, (each.lineno or 1) - 2)
        name = "this cell" if any(mark in each.filename for mark in _CELL_FILES) else each.filename
        shown.append(f"{name}, line {each.lineno}")
        shown += [
            f"{'---->' if at == each.lineno else '     '} {at} {line.rstrip()}"
            for at, line in enumerate(source[first : each.end_lineno], first + 1)
        ]
    return [*shown, "", "(%tb shows all frames)"]


#: Parts of the file names that IPython gives to cells.
_CELL_FILES = ("ipykernel_", "<ipython-input")


#: Where code lies that is not the user's: this package, Python, and what is installed.
_INNER = (os.path.dirname(__file__), *(sysconfig.get_path(each) for each in ("stdlib", "platstdlib", "purelib")))


def _is_inner(filename: str) -> bool:
    """Whether a frame belongs to this package, to Python, or to another package, and not to the user."""
    return filename.startswith(tuple(f"{each}{os.sep}" for each in _INNER))


#: Errors of Python that the package raises for mistakes of the caller.
FOLDED = (TypeError, ValueError, LookupError, OSError)


def fold(error: BaseException) -> None:
    """Let a notebook show an error of Python, raised by a public function, like the errors of the package."""
    if not hasattr(error, "_render_traceback_"):
        setattr(error, "_render_traceback_", functools.partial(render, error))  # noqa: B010


class CfaiError(Exception, Folded):
    """Base class of every error of this package, except ``Stopped``."""


class SetupError(CfaiError):
    """Credentials or options are missing or invalid."""


class ColumnError(CfaiError, ValueError):
    """The frame has no such column, or the template names no column."""


class ModelError(CfaiError, ValueError):
    """The model is unknown, retired, or of another task."""


class BudgetError(CfaiError):
    """The next request may cost more than the budget has left; it was not sent."""


class StoreError(CfaiError):
    """The store of answers cannot be opened or written."""


class CfaiWarning(UserWarning):
    """Something was lost or could not be kept; the message says what."""


class RowsFailed(CfaiError):
    """Every row failed, or some did with ``on_error="raise"``; answers that arrived are in the store."""


class RowError(CfaiError):
    """A row has no result; ``code`` is the kind of failure."""

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
    """The service answered, and the answer cannot be used.

    Parameters
    ----------
    message, code
        What is wrong, and a short word for it (``"length"``, ``"empty"``, ``"schema"``, ``"mismatch"``).
    again : bool
        Whether repeating the request may help (a batch of another length, a broken body): the engine repeats it.
    text : str, list of str or None
        What the model wrote until then; a list if several samples were taken.
    partial : cell or None
        The cell of a reply that the token limit cut, for ``on_error="partial"``.
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
        The number or word in the body if it fits the status; otherwise the status.
    status : int or None
    model : str or None
    wait : float or None
        Seconds that the service asked to wait (Retry-After).
    known : bool
        Whether the code is one the service is known to use; otherwise the meaning is taken from the status alone.
    content : bytes or None
        The body of the refusal; None without a response.
    headers : mapping of str to str
        Its headers, with names in lower case.
    """

    content: bytes | None = None
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self, message: str, code: int | str | None = None, *, status: int | None = None, model: str | None = None,
        wait: float | None = None, known: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(message, code)
        self.status, self.model, self.wait, self.known = status, model, wait, known


class Refused(ServiceError):
    """The input is not accepted; a batch is halved until the refused row is alone."""

    reaction = "split"


class TooLarge(Refused):
    """The input does not fit the model or the request."""


class RateLimited(ServiceError):
    """The requests of this minute are used up."""

    reaction = "wait"


class Busy(ServiceError):
    """The model is out of capacity at the moment."""

    reaction = "wait"


class Unavailable(ServiceError):
    """The service or the connection failed; the same request may succeed later."""

    reaction = "again"


class QuotaExhausted(ServiceError):
    """The Neurons of the day are used up; they are reset at 00:00 UTC."""

    reaction = "stop"


class AccessError(ServiceError):
    """The token, account or plan may not use this model; confirmed by another row, it ends the run."""

    reaction = "stop"


class Stopped(KeyboardInterrupt, Folded):
    """The run was interrupted; finished rows are kept, and a re-run sends only the rest."""


_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
#: Names of one option in different libraries, and here; an unknown option is read as the first of its set that exists.
_SYNONYMS = (
    ("k", "top_k", "n", "n_clusters", "num_clusters", "n_neighbors", "n_results", "limit", "top_n", "rows", "head"),
    ("min_cluster_size", "min_samples", "least"), ("contamination", "fraction", "share"),
    ("random_state", "seed"), ("threshold", "cutoff", "min_score", "eps"),
    ("color", "colors", "colour", "colours", "palette", "hue", "labels"), ("columns", "cols"),
    ("on", "columns", "column"), ("column", "col", "on"), ("concurrency", "batch_size", "workers", "max_workers"),
    ("api_token", "api_key", "token"), ("account_id", "account"), ("base_url", "url"),
    ("max_tokens", "max_new_tokens", "max_output_tokens"), ("labels", "categories", "classes"),
)  # fmt: skip


def near(name: str, known: Iterable[str]) -> str:
    """Return the known name that was probably meant, in any case of its letters; empty if none is near."""
    names = {each.casefold(): each for each in known}
    given = name.casefold()
    synonyms = [each for group in _SYNONYMS if given in group for each in group if each in names]
    swapped = [each for each in names if sorted(each) == sorted(given)]  # two letters exchanged
    found = [*synonyms, *swapped, *difflib.get_close_matches(given, names, n=1, cutoff=0.65)]
    return names[found[0]] if found else ""


def hint(name: object, known: Iterable[object]) -> str:
    """Return what an error about an unknown name ends with: `` Did you mean 'text'?``, or nothing if none is near."""
    names = {str(each): each for each in known}
    meant = near(str(name), names)
    return f" Did you mean {names[meant]!r}?" if meant else ""


def refuse_unknown(what: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Raise a TypeError for options that a call does not have; it names the nearest one, and all that there are."""
    unknown = [name for name in given if name not in known]
    if not unknown:
        return
    hints = [f" Did you mean {meant}?" for meant in dict.fromkeys(near(name, known) for name in unknown) if meant]
    several = "s" if len(unknown) > 1 else ""
    listed = ", ".join(known) or "none"
    error = TypeError(f"{what}() has no option{several} {', '.join(unknown)}.{''.join(hints)} Options: {listed}.")
    fold(error)
    raise error


def is_number(value: object, *, whole: bool = False) -> TypeGuard[float]:
    """Whether this is a real number (a whole one), of Python or of numpy; true and false are not."""
    return isinstance(value, numbers.Integral if whole else numbers.Real) and not isinstance(value, bool)


def check_count(**options: object) -> None:
    """Refuse an option that has to be a whole number of at least 1 and is not."""
    for name, count in options.items():
        if not is_number(count, whole=True) or count < 1:
            raise ValueError(f"{name}={count!r} must be a whole number of at least 1.")


def takes_options(*further: str, name: str = "") -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that refuses keyword options which are not in the function's signature.

    ``further`` are options that its ``**`` parameter takes; ``name`` is that of the call in the message, by default the
    name of the function, or of the class for ``__init__``.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        own = [p.name for p in inspect.signature(function).parameters.values() if p.kind in _NAMED]
        known = [each for each in dict.fromkeys([*own, *further]) if each != "self"]

        @functools.wraps(function)
        def checked(*args: P.args, **options: P.kwargs) -> R:
            made = type(args[0]).__name__ if function.__name__ == "__init__" else function.__name__
            refuse_unknown(name or made, options, known)
            try:
                return function(*args, **options)
            except FOLDED as error:
                fold(error)
                raise

        return checked

    return decorate
