"""``cfai-nb models``: the catalogue, for reading."""

from __future__ import annotations

import argparse
from typing import Any

import pandas as pd

from ..markup import counted
from ..models import USD_PER_NEURON, Price, catalogue
from ..session.listings import models
from .screen import print_table


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
    priced = catalogue()[name].prices
    price = ", ".join(_price(unit, said) for unit, said in priced.items()) if priced else "price unknown"
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
