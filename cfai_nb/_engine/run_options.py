"""How a call travels: every run option is declared, documented and checked here, once.

``GivenOptions`` is what a user may give to ``connect`` and to every verb.  The session merges both into the
``RunOptions`` a run holds.  Signatures, docstrings and the typed stub of the accessor are made from these two, so a new
option is written here and read where it takes effect.  No option is part of a key: none changes what is asked.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, ParamSpec, TypedDict, TypeVar

from ..errors import refuse_unknown
from ..media.files import Folder, as_folder
from ..models.ledger import Budget
from .gateway import Gateway, as_gateway
from .retry import PATIENCE

CacheMode = Literal[True, False, "refresh", "only"]
P = ParamSpec("P")
R = TypeVar("R")


class GivenOptions(TypedDict, total=False):
    """Run options as they are given: to ``connect`` as defaults, or to one call; None is the default."""

    cache: CacheMode | None
    budget: float | Literal["free"] | Budget | None
    neurons: float | None
    on_error: Literal["keep", "raise", "partial"] | None
    concurrency: int | Literal["auto"] | None
    patience: float | None
    gateway: Gateway | str | None
    queue: bool | None
    fetch: bool | None
    files: str | os.PathLike[str] | Literal[False] | Folder | None
    progress: bool | None
    store_errors: Literal["stop", "continue"] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The run options of one call, merged with those of the session and checked.

    Attributes
    ----------
    cache : {True, False, "refresh", "only"}, optional
        True: answers from the store are used, and new ones kept.  False: the store is neither read nor written.
        ``"refresh"``: everything is sent again, and the new answers are kept.  ``"only"``: answers come from the store
        alone, and nothing is sent.  Default: True.
    budget : float, "free" or cf.Budget, optional
        The most that may be spent: dollars, or what is left of today's free Neurons.  ``neurons=`` gives it in Neurons
        instead.  No request is sent that could exceed it.
    on_error : {"keep", "raise", "partial"}, optional
        ``"keep"``: rows that failed are missing, and ``cf.last_run().failures`` lists them, with the text of replies
        that were cut.  ``"raise"``: RowsFailed is raised once all others are done.  ``"partial"``: a reply that was cut
        at ``max_tokens`` is kept as far as it came.  Default: ``"keep"``.
    concurrency : "auto" or int, optional
        The most requests of this call at once, of the 64 (or as many as are asked for) that all calls to the model
        share.  Default: ``"auto"``.
    patience : float, optional
        Seconds that a row waits at most from its first refusal or fault on, and the run without any answer.  Waiting
        for the minute's limit, in the batch queue or for an answer is not counted.  Default: 120.
    gateway : cf.Gateway or str, optional
        The AI Gateway the requests go through; ``"default"`` is made on its first use.
    queue : bool, optional
        Send the requests to the service's batch queue and wait there, for models that have one, when time does not
        matter.  The same call fetches the answers later, also after a restart.
    fetch : bool, optional
        Whether addresses in a column of pictures or sound may be fetched, from public hosts only.  Default: no.
    files : path, optional
        The folder in which texts of a column of pictures, sound or documents may name files; nothing outside it is
        read, and no link in it is followed.  Default: none; a ``pathlib.Path`` in a cell is read without it.
    progress : bool, optional
        Default: a bar in a notebook, a line in a terminal, nothing elsewhere.
    store_errors : {"stop", "continue"}, optional
        When the store cannot keep answers (a full disk, a deleted file): send nothing more and raise StoreError, or
        continue and warn at the end.  Default: ``"stop"``.
    part : {"", "first", "later"}
        For a run that is one part of a longer one, set by callers inside the package: its budget is spent as far as it
        goes, and once an earlier part was answered (``"later"``), rows that all fail do not end it.
    on_token : callable or None
        For a run of one input, set by callers inside the package: called on the engine's thread with each piece of the
        answer as it is written, where the task can be streamed; with None where an answer begins (again).
    """

    cache: CacheMode = True
    budget: Budget | None = None
    on_error: Literal["keep", "raise", "partial"] = "keep"
    concurrency: int | Literal["auto"] = "auto"
    patience: float = PATIENCE
    gateway: Gateway | None = None
    queue: bool = False
    fetch: bool = False
    files: Folder | None = None
    progress: bool | None = None
    store_errors: Literal["stop", "continue"] = "stop"
    part: Literal["", "first", "later"] = ""
    on_token: Callable[[str | None], object] | None = None

    def __post_init__(self) -> None:
        if self.cache not in (True, False, "refresh", "only"):
            raise ValueError(f'cache={self.cache!r}: give True, False, "refresh" or "only".')
        if self.on_error not in ("keep", "raise", "partial"):
            raise ValueError(f'on_error={self.on_error!r}: give "keep", "raise" or "partial".')
        if self.store_errors not in ("stop", "continue"):
            raise ValueError(f'store_errors={self.store_errors!r}: give "stop" or "continue".')
        most = self.concurrency
        if most != "auto" and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
            raise ValueError(f'concurrency={most!r}: give "auto" or a number of requests of at least 1.')
        wait = self.patience
        if isinstance(wait, bool) or not isinstance(wait, (int, float)) or not wait > 0:
            raise ValueError(f"patience={wait!r}: give seconds, more than 0.")


#: The names of the options a user may give.
NAMES: tuple[str, ...] = tuple(GivenOptions.__annotations__)
_MADE_OF: dict[str, Callable[..., object]] = {
    "gateway": as_gateway, "files": as_folder, "queue": bool, "fetch": bool,
}  # fmt: skip


def given_options(options: Mapping[str, object]) -> dict[str, object]:
    """Return those that are given and not None, each in the form that ``RunOptions`` holds; budgets as they are."""
    return {name: _MADE_OF.get(name, _same)(value) for name, value in options.items() if value is not None}


def _same(value: object) -> object:
    return value


def documented(names: tuple[str, ...] = NAMES) -> dict[str, str]:
    """Return the numpydoc entry of each option, by name."""
    listed = re.findall(r"^\w+ :.*(?:\n +.*)*", inspect.cleandoc(RunOptions.__doc__ or ""), re.MULTILINE)
    entries = {entry.split()[0]: entry for entry in listed}
    return {name: entries[name] for name in names if name in entries}


def with_run_options(function: Callable[P, R]) -> Callable[P, R]:
    """Give a function that takes ``**options`` the signature and docstring of all run options, and check their names.

    Raises
    ------
    TypeError
        An option is unknown, when the function is called.
    """
    signature = inspect.signature(function)
    own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
    known = [*(each.name for each in own), *NAMES]

    @functools.wraps(function)
    def checked(*args: P.args, **options: P.kwargs) -> R:
        refuse_unknown(function.__name__, options, known)
        return function(*args, **options)

    listed = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind.__forward_arg__)
        for name, kind in GivenOptions.__annotations__.items()
    ]
    checked.__signature__ = signature.replace(parameters=[*own, *listed])  # type: ignore[attr-defined]
    entries = "\n".join(documented().values())
    text = inspect.cleandoc(function.__doc__ or "")
    checked.__doc__ = re.sub(r"^\*\*options\n(?: +.*\n)+", lambda _: f"{entries}\n", text, flags=re.MULTILINE)
    return checked
