"""The short commands ``cfai-nb emulator`` and ``cfai-nb models``, and what all commands print with.

Parsed arguments come in, text goes to the terminal, an exit code goes out.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ..markup import counted
from ..models import USD_PER_NEURON, Price, catalogue
from ..session.listings import models


class Usage(Exception):
    """The options of a command do not fit together, or do not allow what it would have to do."""


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows of cells, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip())


def agreed(yes: bool) -> bool:
    """Ask whether the account may be charged; with ``--yes`` that was answered."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise Usage("nothing was sent: this would be charged to your account; add --yes to go on")
    if input("Charge this to your account? [y/N] ").strip().lower() in ("y", "yes"):
        return True
    print("Nothing was sent.")
    return False


def serve_emulator(args: argparse.Namespace) -> int:
    """Serve the emulator on a port until interrupted."""
    from .. import emulator

    given = {"latency": args.latency, "rate": args.rate, "capacity": args.capacity, "neurons_per_day": args.neurons}
    settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if settings.get("rate") == "none":
        settings["rate"] = None
    settings |= {"faults": dict(args.fault or ()), "quirks": args.quirk or (), "terms_accepted": args.terms_accepted}
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how it ends
        try:
            emulator.serve(args.port, hosts=args.host or (), **settings)
        except ValueError as error:
            raise Usage(str(error)) from None
    return 0


def fault(text: str) -> tuple[str, float]:
    """Read ``503=0.05``: a kind of fault and its probability."""
    kind, equals, share = text.partition("=")
    try:
        return kind, float(share) if equals else 1.0
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: give KIND=PROBABILITY, such as 503=0.05") from None


def rate(text: str) -> str | int:
    """Read a rate limit: requests per minute, ``catalogue`` or ``none``."""
    if text in ("none", "catalogue"):
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r}: give requests per minute, "catalogue" or "none"') from None


def list_models(args: argparse.Namespace) -> int:
    """Print the catalogue."""
    found = models(args.name, task=args.task, refresh=args.refresh, retired=args.retired)
    found = found.sort_values(["task", "status", "id"])
    for task, group in found.groupby("task", sort=True):
        print(f"\n{task}")
        print_table([_model_line(str(name), row) for name, row in group.iterrows()])
    count = counted(len(found), "model")
    print(f"\n{count}; catalogue of {found['checked_on'].max()}. Prices in dollars per million tokens.")
    return 0


def _model_line(name: str, row: pd.Series[Any]) -> tuple[str, ...]:
    prices = catalogue()[name].prices
    price = ", ".join(_price(unit, each) for unit, each in prices.items()) if prices else "price unknown"
    context = f"{int(row['context']):,} tokens" if pd.notna(row["context"]) else ""
    rate = f"{int(row['rate']):,}/min" if pd.notna(row["rate"]) else ""
    note = f"default for {row['default_for']}" if isinstance(row["default_for"], str) else ""
    if row["status"] == "retired":
        instead = row["replacement"] if isinstance(row["replacement"], str) else ""
        note = f"retired {row['retired_on']}" + (f"; use {instead}" if instead else "")
    elif row["status"] != "current":
        note = str(row["status"])
    return name, price, context, rate, note


def _price(unit: str, price: Price) -> str:
    short = {"input_tokens": "in", "output_tokens": "out", "cached_input_tokens": "cached"}
    usd = price.usd if price.usd is not None else (price.neurons or 0.0) * USD_PER_NEURON
    if unit in short and price.per == 1e6:
        return f"${usd:.3g} {short[unit]}"
    count = f"{price.per:,.0f} " if price.per != 1 else ""
    words = unit.replace("_", " ")
    return f"${usd:.3g} per {count}{words if count else words.removesuffix('s')}"
