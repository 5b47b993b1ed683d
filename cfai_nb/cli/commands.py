"""The commands of ``cfai-nb`` beside ``demo`` and ``verbs``, and what all of them print with.

Parsed arguments come in, text goes to the terminal, an exit code goes out.  ``enrich`` is ``cf.enrich`` with its price
first.  The doctor prints what an error report needs, without secrets, and checks store and credentials.
``conformance`` checks against an account what the emulator claims about the service.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import importlib.metadata
import json
import os
import platform
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from .. import __version__
from .._engine.bridge import bridge
from .._engine.sender import Sender
from ..accessor import enrich
from ..errors import AccessError, CfaiError, SetupError, StoreError
from ..html.markup import counted
from ..models import Price, catalogue
from ..models.ledger import Budget, money
from ..models.price import listed
from ..session import Session, connect
from ..session.conformance import Checked, check, chosen, cost_of, prices
from ..session.conformance.expectations import Statement, Verdict
from ..session.conformance.statements import LEFT_OUT
from ..session.endpoint import ACCOUNT_NAMES, TOKEN_NAMES
from ..session.listings import models
from ..tasks import Classify, Embed, Generate, Request
from ..vectors.vector import stand_in

if TYPE_CHECKING:
    from ..frame.enrich.enrich_report import EnrichReport

#: Seconds the doctor waits for an answer.
_PATIENCE = 15
_PACKAGES = ("pandas", "numpy", "httpx", "aiohttp", "scikit-learn", "matplotlib", "ipywidgets")
#: Optional packages, and the command that installs them.
_INSTALL = {"pyarrow": "pip install pyarrow", "jupyterlab": "pip install jupyterlab"}


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
    if args.json:
        print(found.reset_index().to_json(orient="records", indent=1))
        return 0
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
    if unit in short and price.per == 1e6:
        return f"{listed(unit, price).split()[0]} {short[unit]}"
    return listed(unit, price)


# -- enrich ------------------------------------------------------------------------------------------------------------


def enrich_files(args: argparse.Namespace) -> int:
    """Add columns to parquet files of any size, as a folder of parquet files; the same command goes on."""
    columns = _new_columns(args)
    with contextlib.redirect_stdout(sys.stderr if args.json else sys.stdout):  # it says what answers
        session = connect("auto", base_url=args.base_url)
    if emulated := bool(stand_in(session.origin)):
        # In a store of its own: the user's store must not fill up with the emulator's answers.
        out = Path(args.target)
        session = connect("emulator", store=out.with_name(f"{out.name}.emulator.sqlite"))
    options: dict[str, Any] = {"memory": int(args.memory * 1e6), "overwrite": args.overwrite}
    with session:
        plan = enrich.plan(args.source, args.target, columns, **options)
        if not args.json:
            print(plan)
        elif args.plan:
            spent = {"requests": plan.requests, "neurons": plan.cost.neurons, "usd": plan.cost.usd}
            _print_json({**dataclasses.asdict(plan), **spent})
        if args.plan:
            return 0
        if args.json and not (emulated or args.yes or not plan.requests):
            raise Usage("nothing was sent: with --json no question is asked; see --plan --json, then add --yes")
        if not emulated and plan.requests and not agreed(args.yes):
            return 1
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            report = enrich(args.source, args.target, columns, budget=args.budget, **options)
        if args.json:
            _print_report(report, [str(warning.message) for warning in caught])
            return 0
        if not sys.stderr.isatty():
            print(report.receipt)
        for warning in caught:
            print(f"note: {warning.message}")
    return 0


def _print_report(report: EnrichReport, warned: list[str]) -> None:
    """Print what was done, for scripts; an unknown price is null."""
    event = report.event
    _print_json({
        "path": report.path, "rows": report.rows, "done_rows": report.done_rows, "parts": report.parts,
        "kept": report.kept, "failed": report.failed, "requests": event.requests, "origin": event.origin,
        "neurons": event.spent.neurons, "usd": event.spent.usd, "exact": event.spent.exact,
        "notes": [*report.notes, *warned],
    })  # fmt: skip


def _print_json(found: dict[str, Any]) -> None:
    print(json.dumps(found, indent=1, default=str))


def labels_in(given: str) -> list[str]:
    """Return the labels that are written with commas between them."""
    return [label.strip() for label in given.split(",") if label.strip()]


def _new_columns(args: argparse.Namespace) -> dict[str, Any]:
    """Return what is asked for, in the form ``cf.enrich`` takes."""
    model = {} if args.model is None else {"model": args.model}
    columns: dict[str, Any] = {}
    for column in args.embed or ():
        columns[f"{column}_vector"] = (Embed(), column)
    for given in args.classify or ():
        column, equals, labels = given.partition("=")
        chosen = labels_in(labels)
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


# -- doctor ------------------------------------------------------------------------------------------------------------


def doctor(args: argparse.Namespace) -> int:
    """Print versions, store and credentials (never their values), and any problem that would stop calls."""
    nest = "nest-asyncio2" if sys.version_info >= (3, 14) else "nest-asyncio"
    versions = [f"{name} {_version(name) or 'MISSING'}" for name in (*_PACKAGES, nest)]
    store_line, store_fine = _look_at_store()
    access_lines, access_fine = _look_at_access(offline=args.offline, base_url=args.base_url)
    rows = [
        ("cfai_nb", f"{__version__} on Python {platform.python_version()}, {platform.platform()}"),
        ("packages", ", ".join(versions)),
        ("store", store_line),
        *(("account" if at == 0 else "", line) for at, line in enumerate(access_lines)),
        ("catalogue", f"{len(catalogue()):,} models, as of {catalogue().checked_on}"),
        ("loop", f"a background thread; {nest} is only used by cf.use_notebook_loop()"),
        *((name, _version(name) or f"not installed (optional): {line}") for name, line in _INSTALL.items()),
    ]
    fine = store_fine and access_fine and not any("MISSING" in version for version in versions)
    if args.json:
        found: dict[str, list[str]] = {}
        for name, line in rows:
            found.setdefault(name or "account", []).append(line)
        _print_json({"fine": fine, **{name: "; ".join(lines) for name, lines in found.items()}})
    else:
        print_table(rows)
    return 0 if fine else 1


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _look_at_store() -> tuple[str, bool]:
    session = connect("emulator")
    path = session.store_path
    if path is None or not path.exists():
        return f"{path}: created at the first call (change the path with CFAI_STORE or store=)", True
    try:
        with session:
            store = session.store()
            rows, size = store.size() if store is not None else (0, 0)
    except StoreError as error:
        return f"PROBLEM: {error}", False
    return f"{path}: {rows:,} answers, {size / 2**20:,.1f} MB, writable", True


def _look_at_access(*, offline: bool, base_url: str | None) -> tuple[list[str], bool]:
    names = [name for name in (*ACCOUNT_NAMES, *TOKEN_NAMES) if os.environ.get(name, "").strip()]
    if not names:
        return ['no variable is set; cf.connect("emulator") needs none, the service needs '
                f"{ACCOUNT_NAMES[0]} and {TOKEN_NAMES[0]}"], True  # fmt: skip
    lines = [f"set: {', '.join(names)} (values are never shown)"]
    if offline:
        return [*lines, "not tried (--offline)"], True
    try:
        with connect("cloudflare", store=False, base_url=base_url) as session:
            _check_credentials(session)
            meter = _look_at_meter(session)
    except TimeoutError:
        return [*lines, f"PROBLEM: no answer within {_PATIENCE} s"], False
    except CfaiError as error:
        return [*lines, f"PROBLEM: {error}"], False
    return [*lines, "accepted by the service (a free request)", meter], True


def _look_at_meter(session: Session) -> str:
    """Return what the account used today, or why that cannot be read; calls work without it."""
    try:
        return str(session.meter.read())
    except AccessError as error:
        return f'{error} (optional: without it budget="free" counts only what this computer spent)'
    except (CfaiError, TimeoutError) as error:
        return f"the account's meter did not answer: {error}"


def _check_credentials(session: Session) -> None:
    """Send a free search that finds nothing, to see whether the credentials are accepted."""
    request = Request(path="models/search", query={"search": "no-model-is-called-like-this", "per_page": "1"})

    sender = Sender(session.engine(cache=False), patience=_PATIENCE / 3)  # ends before the time is over, with its error

    async def ask() -> Any:
        async with asyncio.timeout(_PATIENCE):
            return await sender.send(request, "models/search", method="GET")

    bridge.call(ask)


# -- conformance -------------------------------------------------------------------------------------------------------


def conformance(args: argparse.Namespace) -> int:
    """Check what the emulator claims: one small request a statement, against an account, an emulator or a base URL."""
    only = [name.strip() for name in args.only.split(",")] if args.only else []
    try:
        statements = chosen(only, writes=args.write)
    except ValueError as error:
        raise Usage(str(error)) from None
    if args.list:
        print_table([(each.name, "writes" if each.writes else "", each.says) for each in statements])
        return 0
    session = _connected(args)
    with session:
        budget = _budget(session, args.budget)
        _print_price(statements, session)
        if session.origin != "emulator" and not agreed(args.yes):
            return 1
        outcomes = check(session, statements, budget)
        own = {session.endpoint.account, session.endpoint.token.reveal()} - {"", "emulator"}
        named = session.origin in ("cloudflare", "emulator")  # not the name of a host
        checked = Checked(outcomes, session.origin if named else "another address", own)
    _print_result(checked)
    for file, made in ((args.json, checked.to_json), (args.record, checked.recorded)):
        if file:
            text = json.dumps({"version": __version__, **made()}, indent=1, ensure_ascii=False)
            Path(file).write_text(text + "\n", encoding="utf-8")
            print(f"written: {file}")
    return 0 if checked.agrees else 1


def _connected(args: argparse.Namespace) -> Session:
    """Return a session of the target; an emulator's charges are not kept."""
    if args.target == "emulator":
        if args.base_url:
            raise Usage("give emulator, or --base-url for one that listens on a port")
        return connect("emulator", store=False, standins="hash")
    session = connect("cloudflare", base_url=args.base_url)
    if session.endpoint.is_server:
        raise SetupError(f"{session.origin} has OpenAI's addresses alone; the statements are about the service's own.")
    return session


def _budget(session: Session, given: str | None) -> Budget | None:
    """Return the budget: statements of unknown price may be asked, since they are small and were listed."""
    if given is None:
        return None
    try:
        limits = {"budget": "free"} if given == "free" else {"neurons": float(given)}
    except ValueError:
        raise Usage(f"--budget {given}: give free, or Neurons") from None
    budget = session.options(limits).budget
    if budget is not None:
        budget.allow_unknown = True
    return budget


def _print_price(statements: Sequence[Statement], session: Session) -> None:
    most, unknown = prices(statements)
    writing = sum(each.writes for each in statements)
    paid = sum(bool(cost_of(each).neurons) for each in statements)
    print(f"{counted(len(statements), 'statement')}, {paid} with a price: at most {money(most, exact=False)}.")
    if unknown:
        print(f"Of unknown price, and small: {', '.join(unknown)}.")
    if writing:
        print(f"{writing} create and delete a Vectorize index and an AI Search instance, or use the gateway 'default'.")
    if session.origin == "emulator":
        print("The emulator answers: this checks the statements, not the service.")


def _print_result(checked: Checked) -> None:
    for line in checked.lines():
        print(line)
    counts = checked.counts
    words: dict[Verdict, str] = {
        "holds": "hold",
        "differs": "differ",
        "closed": "not open to this account",
        "not asked": "not asked",
    }
    print(", ".join(f"{counts.get(name, 0)} {word}" for name, word in words.items()) + f" ({checked.target})")
    codes = ", ".join(str(each) for each in LEFT_OUT if isinstance(each, int))
    print(f"Without a statement, since only an exhausted, foreign or misused account shows them: {codes}.")
