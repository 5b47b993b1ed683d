"""How a call travels: every run option is declared, documented and checked here, once; ``Gateway`` is one of them.

``GivenOptions`` is what a user may give to ``connect`` and to every verb.  The session merges both into the
``RunOptions`` a run holds.  Signatures, docstrings and the typed stub of the accessor are made from these two, so a new
option is written here and read where it takes effect.  Options are not part of a key: what is asked stays the same.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, ParamSpec, TypedDict, TypeVar

import numpy as np
import pydantic_core

from ..errors import is_number, refuse_unknown
from ..media import Folder, as_folder
from ..models import Model
from ..models.ledger import Budget
from ..tasks import Request

CacheMode = Literal[True, False, "refresh", "only"]
P = ParamSpec("P")
R = TypeVar("R")
#: Seconds that one row waits from its first refusal or fault on, and a run without any answer.
PATIENCE = 120.0


#: How many entries of metadata a gateway keeps; it drops the rest (developers.cloudflare.com/ai-gateway, 2026-10).
MOST_METADATA = 5


@dataclass(frozen=True, slots=True)
class Gateway:
    """An AI Gateway, and how calls use it.

    Parameters
    ----------
    name : str
        ``"default"`` is created on its first use.
    cache_ttl : int, optional
        Seconds for which it may answer equal requests from its cache: 60 to 2,592,000 (a month).
    skip_cache : bool
        Ask the model, whatever is cached.
    cache_key : str, optional
        Prefix of its cache keys, in place of address and token; the request stays part of each key, so that no row gets
        another row's answer.
    metadata : mapping of str to str, number or bool, optional
        Up to 5 entries, kept with each log.
    log, log_payload : bool, optional
        Whether it keeps logs, and in them what was asked and answered; the gateway's own setting otherwise.
    """

    name: str
    cache_ttl: int | None = None
    skip_cache: bool = False
    cache_key: str | None = None
    metadata: Mapping[str, str | int | float | bool] | None = None
    log: bool | None = None
    log_payload: bool | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[\w-]{1,64}", self.name, re.ASCII):
            raise ValueError(f"gateway={self.name!r}: a gateway's name has at most 64 letters, digits, - and _.")
        seconds, key = self.cache_ttl, self.cache_key
        if seconds is not None and not (is_number(seconds, whole=True) and 60 <= seconds <= 2_592_000):
            raise ValueError(f"cache_ttl={seconds!r}: give 60 to 2,592,000 whole seconds.")
        if key is not None and not (isinstance(key, str) and re.fullmatch(r"[!-~]{1,200}", key)):
            raise ValueError(f"cache_key={key!r}: give up to 200 plain characters without spaces.")
        if len(self.metadata or ()) > MOST_METADATA:
            raise ValueError(f"metadata: a gateway keeps {MOST_METADATA} entries, and drops the rest; give fewer.")
        if any(not isinstance(value, (str, int, float, bool)) for value in (self.metadata or {}).values()):
            raise ValueError("metadata: its values are texts, numbers or booleans.")

    def headers(self) -> dict[str, str]:
        """Return the headers of each request."""
        headers = {
            "cf-aig-gateway-id": self.name,
            "cf-aig-cache-ttl": self.cache_ttl,
            "cf-aig-skip-cache": "true" if self.skip_cache else None,
            "cf-aig-cache-key": self.cache_key,
            "cf-aig-metadata": json.dumps(dict(self.metadata)) if self.metadata else None,  # plain ASCII
            "cf-aig-collect-log": None if self.log is None else str(self.log).lower(),
            "cf-aig-collect-log-payload": None if self.log_payload is None else str(self.log_payload).lower(),
        }
        return {name: str(value) for name, value in headers.items() if value is not None}

    def uncached(self) -> Gateway:
        """Return the same gateway without its cache."""
        return dataclasses.replace(self, cache_ttl=None, cache_key=None, skip_cache=True)

    def route(self, request: Request, model: Model) -> Request:
        """Return a request that goes through the gateway."""
        headers = self.headers()
        if self.cache_key is not None:
            headers["cf-aig-cache-key"] += f"-{digest_of(request, 12, model.id)}"
        return dataclasses.replace(request, headers={**request.headers, **headers})


def as_gateway(given: Gateway | str | None) -> Gateway | None:
    """Return a gateway, given as such or by name."""
    return given if given is None or isinstance(given, Gateway) else Gateway(given)


def digest_of(request: Request, size: int, *before: str) -> str:
    """Return a digest of a request without its headers."""
    asked = [*before, request.path, request.query, request.json, request.content, request.form]
    return hashlib.blake2b(pydantic_core.to_json(asked, bytes_mode="base64"), digest_size=size).hexdigest()


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
        for name in ("queue", "fetch", "progress"):
            if not isinstance(getattr(self, name), bool | None):
                raise ValueError(f"{name}={getattr(self, name)!r}: give True or False.")
        most, wait = self.concurrency, self.patience
        if most != "auto" and not (is_number(most, whole=True) and most >= 1):
            raise ValueError(f'concurrency={most!r}: give "auto" or a number of requests of at least 1.')
        if not is_number(wait) or not wait > 0:
            raise ValueError(f"patience={wait!r}: give seconds, more than 0.")


#: The names of the options a user may give.
NAMES: tuple[str, ...] = tuple(GivenOptions.__annotations__)
_MADE_OF: dict[str, Callable[..., object]] = {"gateway": as_gateway, "files": as_folder}


def given_options(options: Mapping[str, object]) -> dict[str, object]:
    """Return the options that are not None, each in the form that ``RunOptions`` holds; budgets as they are."""
    return {name: _MADE_OF.get(name, _plain)(value) for name, value in options.items() if value is not None}


def _plain(value: object) -> object:
    """Return a number or boolean of numpy as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


def documented() -> dict[str, str]:
    """Return the numpydoc entry of each option, by name."""
    listed = re.findall(r"^\w+ :.*(?:\n +.*)*", inspect.cleandoc(RunOptions.__doc__ or ""), re.MULTILINE)
    entries = {entry.split()[0]: entry for entry in listed}
    return {name: entries[name] for name in NAMES if name in entries}


def with_run_options(function: Callable[P, R]) -> Callable[P, R]:
    """Give a function with ``**options`` the signature and docstring of all run options, and check their names."""
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
