"""``cfai-nb models``: the catalogue, for reading."""

from __future__ import annotations

import argparse
from typing import Any

import pandas as pd

from ..errors import CfaiError
from ..models import catalogue
from ..tables import models
from .screen import print_table


def list_models(args: argparse.Namespace) -> int:
    """Print the catalogue."""
    found = models(task=args.task, refresh=args.refresh, retired=args.retired).sort_values(["task", "status", "id"])
    if found.empty:
        tasks = sorted({model.task for model in catalogue().values() if model.task})
        raise CfaiError(f"No model's task contains {args.task!r}. Tasks: {', '.join(tasks)}.")
    for task, group in found.groupby("task", sort=True):
        print(f"\n{task}")
        print_table([_model_line(str(name), row) for name, row in group.iterrows()])
    print(f"\n{len(found):,} models; catalogue of {found['checked_on'].max()}. Prices in dollars per million tokens.")
    return 0


def _model_line(name: str, row: pd.Series[Any]) -> tuple[str, ...]:
    read, written = row["usd_per_m_input_tokens"], row["usd_per_m_output_tokens"]
    if pd.notna(read):
        price = f"${read:.3g} in" + (f", ${written:.3g} out" if pd.notna(written) else "")
    elif isinstance(row["prices"], dict):
        price = "; ".join(f"{said.split(' / ')[-1]} {unit}" for unit, said in row["prices"].items())
    else:
        price = "price unknown"
    context = f"{int(row['context']):,} tokens" if pd.notna(row["context"]) else ""
    rate = f"{int(row['rate']):,}/min" if pd.notna(row["rate"]) else ""
    note = f"default for {row['default_for']}" if row["default_for"] else ""
    if row["status"] == "retired":
        note = f"retired {row['retired_on']}; use {row['replacement'] or 'another'}"
    elif row["status"] != "current":
        note = str(row["status"])
    return name, price, context, rate, note
