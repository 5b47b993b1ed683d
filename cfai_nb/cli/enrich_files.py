"""``cfai-nb enrich``: ``cf.enrich`` from a terminal, priced first.

Arguments come in as they were typed; the plan, the receipt and what should be known go to the terminal.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

from ..accessor import enrich
from ..session import connect
from ..tasks import Classify, Embed, Generate
from .commands import Usage, agreed


def enrich_files(args: argparse.Namespace) -> int:
    """Add columns to parquet files of any size, as a folder of parquet files; the same command goes on."""
    columns = _columns(args)
    session = connect("auto", base_url=args.base_url)
    if session.origin == "emulator":
        # In a store of its own: the user's store must not fill up with the emulator's answers.
        out = Path(args.target)
        session = connect("emulator", store=out.with_name(f"{out.name}.emulator.sqlite"))
    options: dict[str, Any] = {"memory": int(args.memory * 1e6), "overwrite": args.overwrite}
    with session:
        plan = enrich.plan(args.source, args.target, columns, **options)
        print(plan)
        if args.plan:
            return 0
        if session.origin != "emulator" and plan.requests and not agreed(args.yes):
            return 1
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            report = enrich(args.source, args.target, columns, budget=args.budget, **options)
        if not sys.stderr.isatty():
            print(report.receipt)
        for warning in caught:
            print(f"note: {warning.message}")
    return 0


def _columns(args: argparse.Namespace) -> dict[str, Any]:
    """Return what is asked for, in the form ``cf.enrich`` takes.

    Raises
    ------
    Usage
        An option has another form, or none was given.
    """
    model = {} if args.model is None else {"model": args.model}
    columns: dict[str, Any] = {}
    for column in args.embed or ():
        columns[f"{column}_vector"] = (Embed(), column)
    for given in args.classify or ():
        column, equals, labels = given.partition("=")
        chosen = [label.strip() for label in labels.split(",") if label.strip()]
        if not equals or len(chosen) < 2:
            raise Usage(f"--classify {given}: give COLUMN=LABEL,LABEL")
        columns[f"{column}_label"] = (Classify(labels=chosen), column)
    for given in args.generate or ():
        name, equals, template = given.partition("=")
        if not equals or not name or "{" not in template:
            raise Usage(f'--generate {given}: give NAME="a template with {{column}}"')
        columns[name] = (Generate(), template, model)
    if not columns:
        raise Usage("say what to add: --embed COLUMN, --classify COLUMN=LABEL,LABEL or --generate NAME=TEMPLATE")
    return columns
