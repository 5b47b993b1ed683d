"""``cfai-nb conformance``: check against an account what the emulator claims about the service, and report it.

Arguments come in; ``session.conformance`` asks; a table goes to the terminal, and files to where they are asked for.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from .. import __version__
from ..errors import SetupError
from ..html.markup import counted
from ..models.ledger import Budget, money
from ..session import Session, connect
from ..session.conformance.checking import Checked, check, chosen, cost_of, prices
from ..session.conformance.expectations import Statement, Verdict
from ..session.conformance.statements import LEFT_OUT
from .commands import Usage, agreed, print_table


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
        checked = Checked(outcomes, _target(session), own)
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


def _target(session: Session) -> str:
    """Return who answers, without the name of a host."""
    return session.origin if session.origin in ("cloudflare", "emulator") else "another address"


def _budget(session: Session, given: str | None) -> Budget | None:
    """Return the budget: statements of unknown price may be asked, since they are small and said."""
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
