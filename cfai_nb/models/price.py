"""``Usage`` (amounts per unit), ``Cost``, and ``price``, which applies the prices of a model to a usage."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .catalogue import Model, Price

#: $0.011 per 1,000 Neurons (developers.cloudflare.com/workers-ai/platform/pricing, 2026-08-28).
USD_PER_NEURON = 1.1e-05
#: Free Neurons per account and day, reset at 00:00 UTC (same page).
FREE_NEURONS_PER_DAY = 10_000

# A unit without a price of its own is charged as another: cached tokens as ordinary ones.
_CHARGED_AS = {"cached_input_tokens": "input_tokens"}


@dataclass(frozen=True, slots=True)
class Usage:
    """Amounts by unit, and whether the service itself reported them.

    Parameters
    ----------
    amounts : mapping of unit to amount
        ``input_tokens``, ``cached_input_tokens`` (not counted in the former), ``output_tokens``, ``neurons``, ...
        ``neurons`` is the bill itself and overrides every other unit.
    exact : bool
        True when every amount was reported by the service.
    """

    amounts: Mapping[str, float]
    exact: bool = False

    def __add__(self, other: Usage) -> Usage:
        units = {**self.amounts}
        for unit, amount in other.amounts.items():
            units[unit] = units.get(unit, 0) + amount
        return Usage(units, self.exact and other.exact)

    @property
    def tokens(self) -> float | None:
        """Input and output tokens together; None where they are unknown."""
        counted = [amount for unit, amount in self.amounts.items() if unit.endswith("_tokens")]
        return sum(counted) if counted or not self.amounts else None


@dataclass(frozen=True, slots=True)
class Cost:
    """Neurons and dollars; None is unknown, which is not zero."""

    neurons: float | None
    exact: bool = False

    @property
    def usd(self) -> float | None:
        """Dollars: Neurons at the list price, before the day's free ones."""
        return None if self.neurons is None else self.neurons * USD_PER_NEURON

    def __add__(self, other: Cost) -> Cost:
        known = self.neurons is not None and other.neurons is not None
        return Cost((self.neurons or 0) + (other.neurons or 0) if known else None, self.exact and other.exact)

    def __mul__(self, share: float) -> Cost:
        """Return so many times the cost, as an estimate."""
        return Cost(None if self.neurons is None else self.neurons * share)


def listed(unit: str, price: Price) -> str:
    """Return a price of the catalogue in words: ``"$0.0000528 per tile"``."""
    usd = price.usd if price.usd is not None else (price.neurons or 0.0) * USD_PER_NEURON
    digits = max(2, 3 - math.floor(math.log10(usd))) if usd else 0
    words, many = unit.replace("_", " "), f"{price.per:,.0f} "
    return f"${usd:.{digits}f}".rstrip("0") + f" per {many + words if price.per != 1 else words.removesuffix('s')}"


def price(usage: Usage, model: Model) -> Cost:
    """Return what a usage costs by the prices of a model.

    The cost is unknown where the model publishes no price for any of the units.  A unit that the price list omits,
    while it lists others, is not charged (decision models charge no output tokens).  The cost of a free model is exact
    even if the amounts are estimated.
    """
    if "neurons" in usage.amounts:
        return Cost(usage.amounts["neurons"], usage.exact)
    if model.prices is None:
        return Cost(None)
    total, known = 0.0, not usage.amounts
    for unit, amount in usage.amounts.items():
        rate = model.prices.get(unit) or model.prices.get(_CHARGED_AS.get(unit, unit))
        if rate is None:
            continue
        known = True
        if rate.neurons is not None:
            total += amount / rate.per * rate.neurons
        elif rate.usd is not None:
            total += amount / rate.per * rate.usd / USD_PER_NEURON
        else:
            return Cost(None)
    free = all(rate.neurons == 0 for rate in model.prices.values())
    return Cost(total, usage.exact or free) if known else Cost(None)


#: Priced units in words.
_UNIT_WORDS = {
    "audio_minutes": "minutes of sound", "characters": "characters", "images": "pictures", "tiles": "tiles",
    "steps": "steps of a tile", "tile_steps": "steps of a tile", "input_tiles": "tiles given",
    "input_tile_steps": "steps of a tile given", "first_megapixels": "pictures",
    "more_megapixels": "megapixels beyond the first", "input_megapixels": "megapixels given",
}  # fmt: skip


def usage_in_words(usage: Usage, model: Model) -> list[str]:
    """Return the amounts of a usage in words: ``["4.8 tiles", "72 steps of a tile"]``.

    Tokens are always listed, other units only where the model has a price for them.
    """
    if usage.tokens is not None:
        return [f"{usage.tokens:,.0f} tokens at most"] if usage.amounts else []
    priced = {unit: amount for unit, amount in usage.amounts.items() if amount and unit in (model.prices or {})}
    return [f"{_rounded(amount)} {_UNIT_WORDS[unit]}" for unit, amount in priced.items() if unit in _UNIT_WORDS]


def _rounded(amount: float) -> str:
    return f"{amount:,.0f}" if amount >= 100 or amount == int(amount) else f"{amount:,.{1 if amount >= 1 else 2}f}"


def tokens_in(text: str) -> int:
    """Estimate the tokens of a text: a quarter of its bytes in plain ASCII, a third otherwise, at least one.

    An estimate for plans and budgets, never a bill: tokenizers differ by model.  English prose runs at about four
    characters a token; Chinese, Japanese and Korean take three bytes a character and about one token.  By the tokenizer
    of multilingual-e5 the sample tickets have 14,568 tokens (estimated: 13,799), and JSON, code and addresses two to
    three times the estimate (2026-11).
    """
    if text.isascii():
        return max(1, math.ceil(len(text) / 4))
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / 3)
