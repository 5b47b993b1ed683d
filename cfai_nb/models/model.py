"""``Model``: one row of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Price:
    """The price of ``per`` units.

    Neurons are the billing unit; the dollar figures of the price list are rounded.  Either may be unpublished (None).
    """

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
        How a JSON schema is asked for: ``response_format`` with the bare schema, with OpenAI's wrapper,
        ``guided_json``, or only "some JSON object".
    capabilities : frozenset of str
        ``streaming``, ``function_calling``, ``vision``, ``reasoning``, ``requires_workers_paid``, ...
    reasoning : mapping or None
        For reasoning models: ``off`` holds the fields that switch reasoning off (None: impossible), ``levels`` the
        accepted efforts.
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


def from_row(row: Mapping[str, Any], checked_on: str) -> Model:
    """Build a Model from a row of ``catalogue.json``."""
    fields = dict(row)
    if fields.get("prices") is not None:
        fields["prices"] = {unit: Price(**price) for unit, price in fields["prices"].items()}
    for name in ("replacement", "notes"):
        fields[name] = tuple(fields.get(name) or ())
    fields["capabilities"] = frozenset(fields.get("capabilities") or ())
    return Model(**{"checked_on": checked_on, **fields})
