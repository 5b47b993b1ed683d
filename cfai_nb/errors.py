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
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

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
