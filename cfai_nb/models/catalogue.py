"""``Model`` and the catalogue of models: the shipped, dated rows, updated by listings of the service.

``catalogue.json`` is read once per process.  Sessions, tasks and the command line look models up here;
``merge_listing`` adds the listing of ``cf.models(refresh=True)``.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import heapq
import json
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal

from ..errors import CfaiWarning, ModelError


@dataclass(frozen=True, slots=True)
class Price:
    """The price of ``per`` units: in Neurons, the billing unit, and in rounded dollars.  None: unpublished."""

    per: float
    neurons: float | None
    usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model of Workers AI: what it does, how requests to it are written, and what it costs.

    Attributes
    ----------
    id : str
        Full name, such as ``"@cf/baai/bge-m3"``.
    task : str
        The service's own name of the task.
    family : str or None
        The dialect of its requests and answers (``"legacy"``, ``"openai"``, ``"responses+chat"``, ``"system-one"``,
        ``"bge"``, ...).
    status : {"current", "uncertain", "retired"}
        ``"uncertain"``: named in the docs, missing from the last catalogue listing.
    retired_on : str or None
        ISO date; ``replacement`` names the models the service suggests instead.
    rate : int or None
        Requests per minute and account; None where none is documented.
    context : int or None
        Tokens the model reads (and, for text generation, writes).
    dims : int or None
        Length of its vectors.
    batch : int or None
        Texts a request may carry.
    prices : mapping of unit to Price, or None
        None means that no price is published: unknown, which is not free.
    json : {"bare", "wrapped", "guided", "object"} or None
        How a JSON schema is sent: ``response_format`` with the bare schema or with OpenAI's wrapper, ``guided_json``,
        or only "some JSON object".
    capabilities : frozenset of str
        ``streaming``, ``function_calling``, ``vision``, ``reasoning``, ``requires_workers_paid``, ...
    reasoning : mapping or None
        For reasoning models: ``off`` holds the fields that switch reasoning off (None: impossible), ``levels`` the
        accepted efforts.
    notes : tuple of str
        Contradictions between sources, and open questions.
    evidence : str
        Where the figures come from.
    checked_on : str
        ISO date on which this row was read.
    """

    id: str
    task: str
    family: str | None = None
    status: Literal["current", "uncertain", "retired"] = "current"
    retired_on: str | None = None
    replacement: tuple[str, ...] = ()
    rate: int | None = None
    rate_with_credits: int | None = None
    context: int | None = None
    dims: int | None = None
    batch: int | None = None
    prices: Mapping[str, Price] | None = None
    json: Literal["bare", "wrapped", "guided", "object"] | None = None
    capabilities: frozenset[str] = frozenset()
    reasoning: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    evidence: str = field(default="", compare=False)
    checked_on: str = ""
    source: str = field(default="shipped", compare=False)

    @property
    def name(self) -> str:
        """The last part of the id: ``"bge-m3"``."""
        return self.id.rsplit("/", 1)[-1]

    @property
    def is_external(self) -> bool:
        """Whether another provider or server runs it; such models are called through OpenAI's endpoints."""
        return self.source in ("gateway", "server")

    def can(self, capability: str) -> bool:
        """Whether the catalogue lists this capability."""
        return capability in self.capabilities


# Capabilities that a listing of the service states as properties with the value "true".
_FLAGS = (
    "function_calling", "reasoning", "vision", "lora", "async_queue", "realtime", "partner", "beta",
    "require_workers_paid",
)  # fmt: skip
_RENAMED = {"async_queue": "batch", "require_workers_paid": "requires_workers_paid"}
_UNITS = {
    "per M input tokens": "input_tokens",
    "per M output tokens": "output_tokens",
    "per M cached input tokens": "cached_input_tokens",
}


class Catalogue(dict[str, Model]):
    """Models by id; also finds short names, and suggests the nearest models for an unknown one."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        usual = {"checked_on": data["rows_checked_on"], "evidence": data["evidence"]}
        super().__init__({row["id"]: _from_row({**usual, **row}) for row in data["models"]})
        self.checked_on: str = data["checked_on"]
        self.defaults: Mapping[str, Mapping[str, str]] = data["defaults"]  #: Kind of work -> its model, and why.
        self.languages: Mapping[str, dict[str, str]] = data["languages"]  #: Family that translates -> its codes.
        self.voices: Mapping[str, list[str]] = data["voices"]  #: Name of a model that speaks -> its voices.

    def find(self, name: str | Model) -> Model:
        """Return a model by id or short name; a retired or unknown one raises a ModelError."""
        if isinstance(name, Model):
            return name
        found = self.get(name) or self._by_short_name(name)
        if found is None:
            raise ModelError(self._unknown(name))
        if found.status == "retired":
            instead = " or ".join(found.replacement) or "no replacement is named; see cf.models()"
            raise ModelError(f"{found.id} was retired on {found.retired_on}. Use {instead}.")
        return found

    def _by_short_name(self, name: str) -> Model | None:
        lowered = name.lower()
        hits = [m for m in self.values() if m.name.lower() == lowered or m.id.lower() == lowered]
        return min(hits, key=lambda m: m.status == "retired", default=None)

    def _unknown(self, name: str) -> str:
        given = name.rsplit("/", 1)[-1].lower()
        scores = {m.id: _match_score(given, m.name.lower()) for m in self.values() if m.status != "retired"}
        near = [each for each in heapq.nlargest(3, scores, key=scores.__getitem__) if scores[each] >= 0.6]
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        return (
            f"The catalogue of {self.checked_on} has no model {name!r}.{hint} "
            "cf.models() lists it; cf.models(refresh=True) asks the service for newer ones."
        )

    def merge_listing(self, listing: list[Mapping[str, Any]], checked_on: str) -> list[Model]:
        """Merge a listing of ``/ai/models/search``, and return the models that are new or changed.

        A known model keeps the fields that are not in a listing (its dialect, its rate); a new one gets the usual
        dialect of its task.  A model that is missing from the listing is kept: it may still answer.  An entry of
        another form is left out, with a CfaiWarning.
        """
        read, odd = [], []
        for entry in listing:
            try:
                known = self.get(entry["name"])
                read.append((known, _from_listing(entry, known, checked_on)))
            except (AttributeError, LookupError, TypeError, ValueError):
                odd.append(str(entry.get("name") if isinstance(entry, Mapping) else entry)[:60])
        if odd:
            words = f"The listing of {checked_on} has entries that cannot be read, and they are left out: "
            warnings.warn(words + ", ".join(sorted(odd)[:5]), CfaiWarning, stacklevel=2)
        self.update((model.id, model) for _, model in read)
        return [new for old, new in read if old is None or new != dataclasses.replace(old, checked_on=checked_on)]


def _from_listing(entry: Mapping[str, Any], known: Model | None, checked_on: str) -> Model:
    """Return the model of an entry, or raise whatever error an entry of another form leads to."""
    if not isinstance(entry["name"], str):
        raise TypeError("an entry without a name")
    # Every property's value is a string except the price, which is a list of {unit, price, currency}.
    properties = {p.get("property_id"): p.get("value") for p in entry.get("properties") or ()}
    task = (entry.get("task") or {}).get("name") or (known.task if known else "")
    row: dict[str, Any] = {} if known is None else {slot: getattr(known, slot) for slot in Model.__slots__}
    row |= {"id": entry["name"], "task": task, "checked_on": checked_on, "source": "refreshed"}
    row["evidence"] = "; ".join(filter(None, ["the service's own listing", known.evidence if known else ""]))
    if known is None:
        row["family"] = _FAMILY_OF_TASK.get(task)
        row["json"] = "wrapped" if row["family"] == "openai" else None
    for slot, names in (("context", ("context_window", "max_input_tokens")), ("dims", ("output_dimensions",))):
        for name in names:
            if str(properties.get(name) or "").isdigit():
                row[slot] = int(properties[name])
    row["prices"] = _prices(properties.get("price"), known)
    flags = {_RENAMED.get(flag, flag) for flag in _FLAGS if properties.get(flag) == "true"}
    row["capabilities"] = frozenset(flags) | (known.capabilities if known else frozenset())
    return Model(**row)


# New chat models have all spoken the OpenAI dialect since 2026; a new embedding model at least takes "text".
_FAMILY_OF_TASK = {"Text Generation": "openai", "Text Embeddings": "plain-embedding"}


def _prices(listed: Any, known: Model | None) -> Mapping[str, Price] | None:
    """Return the prices of a listing; shipped ones with the same dollars stay, since they also hold the Neurons."""
    kept = dict(known.prices or {}) if known else {}
    for item in listed if isinstance(listed, list) else ():
        unit = _UNITS.get(str(item.get("unit")))
        if unit is None or item.get("currency") not in (None, "USD"):
            continue
        usd = None if item.get("price") is None else float(item["price"])
        if usd is not None and not 0 <= usd < math.inf:
            raise ValueError(f"the price {usd}")
        shipped = kept.get(unit)
        # The dollars are rounded to three digits, so "the same price" is within a twentieth.
        same = shipped is not None and (
            usd is None or (shipped.usd is not None and abs(shipped.usd - usd) <= 0.05 * usd)
        )
        if not same:
            kept[unit] = Price(per=1e6, neurons=None, usd=usd)
    return kept or None


def _match_score(given: str, name: str) -> float:
    """Return how well a name matches what the user wrote: 1 for a part of it, else the similarity of the spelling."""
    if len(given) > 2 and given in name:
        return 1.0
    parts = (name, name[: len(given)], name[: len(given) + 1])
    return max(difflib.SequenceMatcher(None, given, part).ratio() for part in parts)


def _from_row(row: Mapping[str, Any]) -> Model:
    """Build a Model from a row of ``catalogue.json``."""
    fields = dict(row)
    if fields.get("prices") is not None:
        fields["prices"] = {unit: Price(**price) for unit, price in fields["prices"].items()}
    for name in ("replacement", "notes"):
        fields[name] = tuple(fields.get(name) or ())
    fields["capabilities"] = frozenset(fields.get("capabilities") or ())
    return Model(**fields)


@functools.cache
def catalogue() -> Catalogue:
    """Return the catalogue of this process: the shipped rows, changed only by ``merge_listing``."""
    return Catalogue(json.loads(resources.files(__package__).joinpath("catalogue.json").read_text("utf-8")))


def find(name: str | Model) -> Model:
    """Find a model by id or short name (``Catalogue.find``)."""
    return catalogue().find(name)


def default(work: str) -> Model:
    """Return the default model for a kind of work (``catalogue().defaults`` says why), or the model of this name."""
    kept = catalogue().defaults.get(work)
    return find(work if kept is None else kept["model"])


def names_of_models(fits: Callable[[Model], bool]) -> str:
    """Return the names of the current models that fit, for the error about another one."""
    return ", ".join(model.name for model in catalogue().values() if model.status == "current" and fits(model))


_FREE = {unit: Price(per=1e6, neurons=0.0, usd=0.0) for unit in ("input_tokens", "output_tokens")}


def external_model(
    name: str, source: Literal["gateway", "server"], *, embeds: bool = False, free: bool = False
) -> Model:
    """Return a model outside the catalogue: another provider's through a gateway, or of an OpenAI-compatible server.

    Its price is unknown, except on the user's own machine or network, where it is free.
    """
    return Model(
        id=name, task="Text Embeddings" if embeds else "Text Generation", source=source, json="wrapped",
        family="openai-embedding" if embeds else "openai", prices=_FREE if free else None,
        capabilities=frozenset({"streaming", "vision", "function_calling"}),
    )  # fmt: skip
