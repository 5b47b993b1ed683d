"""Quantities a text does not state and yet speaks of: estimated, or forecast step by step, with how sure that is.

The wire format is not documented by the service: it is as public clients of it write and read it (the extraction types
of litellm 1.109.1 and the examples of PSAIClairic 0.2.0, both of October 2026).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, get_args

from . import values
from .request import Json

#: Between what a quantity may lie: two numbers or two days.
Bound: TypeAlias = float | dt.date
Interval: TypeAlias = Literal["step", "minute", "hour", "day", "week", "month", "quarter", "year"]
MOST_STEPS = 64
#: What is told of a quantity besides its value.
FIGURES = ("mean", "median", "p10", "p90", "p_below", "p_above")


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A quantity to be estimated, made by ``cf.estimate``; with a horizon one to be forecast, by ``cf.forecast``."""

    instructions: str
    min: Bound
    max: Bound
    step: float | Literal["month", "year"] | None = None
    scale: Literal["linear", "log"] = "linear"
    unit: str | None = None
    horizon: int | None = None
    interval: Interval = "step"

    def __post_init__(self) -> None:
        if not isinstance(self.instructions, str) or not self.instructions.strip():
            raise ValueError(f"{self.instructions!r}: say what is to be estimated.")
        if self.of_days and not (isinstance(self.min, dt.date) and isinstance(self.max, dt.date)):
            raise ValueError(f"min={self.min!r}, max={self.max!r}: give two numbers or two dates.")
        if not self.min < self.max:  # type: ignore[operator]  # both are days, or neither
            raise ValueError(f"min={self.min!r} must lie below max={self.max!r}.")
        if self.scale not in ("linear", "log") or (self.scale == "log" and (self.of_days or self.min <= 0)):  # type: ignore[operator]
            raise ValueError(f'scale={self.scale!r}: give "linear", or "log" for numbers above 0.')
        if self.interval not in get_args(Interval):
            raise ValueError(f"interval={self.interval!r}: give one of {', '.join(get_args(Interval))}.")
        if self.horizon is not None and not 1 <= self.horizon <= MOST_STEPS:
            raise ValueError(f"horizon={self.horizon!r}: give 1 to {MOST_STEPS} steps.")

    @property
    def of_days(self) -> bool:
        """Whether it is a day rather than a number."""
        return isinstance(self.min, dt.date) or isinstance(self.max, dt.date)

    def spec(self) -> dict[str, Json]:
        """Return the field in the words of the extraction model."""
        said: dict[str, Any] = {"min": self.min, "max": self.max, "step": self.step, "unit": self.unit}
        if self.scale != "linear":
            said["scale"] = self.scale
        if self.horizon is not None:
            said |= {"horizon": self.horizon, "interval": self.interval}
        kind = "estimate" if self.horizon is None else "forecast"
        bounds = {name: str(value) if isinstance(value, dt.date) else value for name, value in said.items()}
        told = {name: value for name, value in bounds.items() if value is not None}
        return {"type": kind, "instructions": self.instructions, **told}

    def annotation(self) -> Any:
        """Return the type of what a chat model may answer."""
        import pydantic  # loaded on first use: few calls have a schema

        of = f" ({self.unit})" if self.unit else ""
        kind: Any = dt.date if self.of_days else float
        one = Annotated[kind, pydantic.Field(ge=self.min, le=self.max, description=f"{self.instructions}{of}")]
        if self.horizon is None:
            return one
        each = "" if self.interval == "step" else f", one a {self.interval}"
        said = f"{self.instructions}{of}: {self.horizon} in order of time{each}"
        size = pydantic.Field(min_length=self.horizon, max_length=self.horizon, description=said)
        return Annotated[list[one], size]

    def figures(self, answer: Json) -> dict[str, Json]:
        """Read the extraction model's answer: the value and its figures, of a forecast as lists, one entry a step."""
        read: dict[str, Callable[[Json], Json]] = {"value": values.day if self.of_days else values.number}
        read |= {name: values.probability if name.startswith("p_") else read["value"] for name in FIGURES}
        sure: dict[str, Callable[[Json], Json]] = {"confidence": values.probability, "p_null": values.probability}

        def told(of: Json, readers: Mapping[str, Callable[[Json], Json]]) -> dict[str, Json]:
            return {
                name: None if of[name] is None else reads(of[name]) for name, reads in readers.items() if name in of
            }

        steps = [told(dict(step), read) for step in answer.get("steps") or ()]
        if self.horizon is None or (answer.get("value") is None and not steps):
            return told(answer, read | {"guess": read["value"]} | sure)
        if len(steps) != self.horizon:
            raise ValueError(f"{len(steps)} steps of {self.horizon}")
        each = {name: [step.get(name) for step in steps] for name in read if name in steps[0]}
        return told(answer, sure | {"guess": lambda guess: values.several(guess, read["value"])}) | each


def estimate(
    instructions: str, *, min: Bound, max: Bound, step: float | Literal["month", "year"] | None = None,
    scale: Literal["linear", "log"] = "linear", unit: str | None = None,
) -> Estimate:  # fmt: skip
    """Make a field of ``extract`` that estimates what the text does not state, with how sure that is.

    Parameters
    ----------
    instructions : str
        What is to be estimated: "days until the invoice is paid".
    min, max : float, or datetime.date
        Between what it may lie.
    step : float or {"month", "year"}, optional
        How fine; for days in days, or by month or year.
    scale : {"linear", "log"}
        ``"log"`` where it may be ten times more or less.
    unit : str, optional
        Such as ``"EUR"``.

    Returns
    -------
    Estimate
        For ``extract({"late": cf.estimate(...)})``: a column of numbers or days; with ``details=True`` also
        ``late__mean``, ``late__median``, ``late__p10``, ``late__p90`` and the probabilities ``late__p_below`` and
        ``late__p_above`` that it lies outside.  A chat model answers with the value alone.
    """
    return Estimate(instructions=instructions, min=min, max=max, step=step, scale=scale, unit=unit)


def forecast(
    instructions: str, *, min: Bound, max: Bound, horizon: int, interval: Interval = "step",
    step: float | Literal["month", "year"] | None = None, scale: Literal["linear", "log"] = "linear",
    unit: str | None = None,
) -> Estimate:  # fmt: skip
    """Make a field of ``extract`` that continues a series the text tells.

    Parameters
    ----------
    instructions : str
        What is to be forecast, and from when on: "orders a day from 20 October on".
    min, max, step, scale, unit
        As for ``estimate``.
    horizon : int
        How many steps, 1 to 64.
    interval : {"step", "minute", "hour", "day", "week", "month", "quarter", "year"}
        How long a step is.

    Returns
    -------
    Estimate
        A column of lists, one entry a step; with ``details=True`` also lists of the figures of ``estimate``.
    """
    return Estimate(
        instructions=instructions, min=min, max=max, step=step, scale=scale, unit=unit, horizon=horizon,
        interval=interval,
    )  # fmt: skip
