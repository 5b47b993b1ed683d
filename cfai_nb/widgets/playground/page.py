"""The page of a playground: one renderer for the live notebook, the saved one, and the export."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ...markup import CODE, LINE, RULE, TEXT, badge, block, counted, escape
from ...models.ledger import money
from .difference import answer, changed
from .trial import Outcome, Trial

_CELL = f"padding: 6px 8px; vertical-align: top; border: {RULE}; text-align: left"
_SMALL = "opacity: .75; font-size: 90%"
_BOX = f"{TEXT}; max-height: 16em; overflow: auto"
#: Characters of an input that are shown.
_INPUT = 300


def page(
    inputs: Sequence[tuple[object, str]], trials: Sequence[tuple[Trial, Trial | None]], *, compare: bool, code: str
) -> str:
    """Return the HTML: what was asked, the answers side by side, what they cost, and the code.

    Parameters
    ----------
    inputs : sequence of (label, text)
        The pinned rows.
    trials : sequence of (Trial, Trial or None)
        A variant a column, with the version before it.
    compare : bool
        Mark what changed since that version.
    code : str
        The line of the variant that is being edited; empty where it is no call yet.
    """
    if not trials:
        rows = "".join(
            f'<tr><th scope="row" style="{_CELL}">{escape(label, 80)}</th><td style="{_CELL}"><div style="{_BOX}">'
            f"{escape(text, _INPUT)}</div></td></tr>"
            for label, text in inputs
        )
        head = _head(["row", "text"])
        caption = '<caption style="text-align: left">pinned rows</caption>'
        return block(f'<table style="border-collapse: collapse">{caption}{head}{rows}</table>{_code(code)}')
    mark = f"<p>{badge('emulator')}no model answered; prices are what it would have cost</p>"
    pretended = mark if any(trial.origin == "emulator" for trial, _ in trials) else ""
    body = "".join(_row(at, label, text, trials, compare) for at, (label, text) in enumerate(inputs))
    tops = "".join(f'<th scope="col" style="{_CELL}">{_top(trial, before, compare)}</th>' for trial, before in trials)
    feet = "".join(f'<td style="{_CELL}">{_total(trial)}</td>' for trial, _ in trials)
    table = (
        f'<table style="border-collapse: collapse; width: 100%; table-layout: fixed">'
        f'<thead><tr><th scope="col" style="{_CELL}; width: 22%">row</th>{tops}</tr></thead><tbody>{body}</tbody>'
        f'<tfoot><tr><th scope="row" style="{_CELL}">together</th>{feet}</tr></tfoot></table>'
    )
    return block(pretended + table + _code(code))


def _head(names: Sequence[str]) -> str:
    cells = "".join(f'<th scope="col" style="{_CELL}">{name}</th>' for name in names)
    return f"<thead><tr>{cells}</tr></thead>"


def _code(code: str) -> str:
    return f'<pre style="{CODE}; {TEXT}; margin: 8px 0">{escape(code, 20_000)}</pre>' if code else ""


def _top(trial: Trial, before: Trial | None, compare: bool) -> str:
    """Variant, version, model, settings and prompt; with what changed since the version before."""
    draft = trial.draft
    old = before.draft if compare and before is not None else None
    prompt = changed(old.prompt, draft.prompt) if old is not None else answer(draft.prompt)
    settings = [f"{name}: {value}" for name, value in draft.settings().items() if name != "model"]
    told = "".join(f'<div style="{_SMALL}; {TEXT}">{escape(text, 400)}</div>' for text in settings)
    if old is not None:
        steps = [step for step in draft.difference(old) if step[0] != "prompt"]
        told += "".join(
            f'<div style="{_SMALL}; {TEXT}">{name} was <del>{escape(was, 200)}</del></div>' for name, was, _ in steps
        )
    notes = "".join(f'<div role="status">{escape(note, LINE)}</div>' for note in trial.notes)
    model = escape(trial.model or draft.model or "default model")
    return (
        f'<div><b>{escape(trial.variant)}</b> · version {trial.number} · {draft.mode} · {model}</div>'
        f'<div style="{_BOX}; font-weight: normal; max-height: 8em">{prompt}</div>'
        f'<div style="font-weight: normal">{told}{notes}</div>'
    )  # fmt: skip


def _row(at: int, label: object, text: str, trials: Sequence[tuple[Trial, Trial | None]], compare: bool) -> str:
    cells = []
    for trial, before in trials:
        last = _same_row(before, label) if compare else None
        cells.append(f'<td style="{_CELL}">{_answer(trial.outcomes[at], last)}</td>')
    first = f'<b>{escape(label, 80)}</b><div style="{_BOX}; font-weight: normal">{escape(text, _INPUT)}</div>'
    return f'<tr><th scope="row" style="{_CELL}">{first}</th>{"".join(cells)}</tr>'


def _same_row(before: Trial | None, label: object) -> Outcome | None:
    return next((o for o in before.outcomes if o.row == label), None) if before is not None else None


def _answer(outcome: Outcome, last: Outcome | None) -> str:
    if outcome.state == "failed":
        shown = f'<span role="alert">✗ {escape(outcome.error, 600)}</span>'
    elif last is not None and last.answer is not None and outcome.answer is not None:
        shown = changed(last.text, outcome.text)
    else:
        shown = answer(outcome.text)
    return f'<div style="{_BOX}">{shown}</div><div style="{_SMALL}">{escape(how(outcome))}</div>'


def how(outcome: Outcome) -> str:
    """Say in a line what a row took: state, seconds, tokens, price."""
    if outcome.state in ("waiting", "not run", "no text"):
        return outcome.state
    if outcome.same_as is not None:
        return f"same as row {outcome.same_as}, asked once"
    if outcome.state == "asking":
        return "writing…" if outcome.pieces else "asking…"
    if outcome.state == "failed" and outcome.seconds is None:
        return "failed"
    if outcome.state == "answered" and not outcome.paid:
        return "asked by another run"
    parts = [] if outcome.state == "answered" else ["from the store" if outcome.state == "stored" else "failed"]
    parts += [_time(outcome.seconds)] if outcome.seconds is not None else []
    parts += [f"{outcome.tokens:,.0f} tokens"] if outcome.tokens is not None else []
    if outcome.state == "stored" and outcome.neurons is None:
        return " · ".join(parts)
    cost = money(outcome.neurons, outcome.exact)
    return " · ".join([*parts, f"had cost {cost}" if outcome.state == "stored" else cost])


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


def totals(trial: Trial) -> list[str]:
    """Say what a trial took: rows, tokens, price of these rows and of 1,000 like them."""
    done = [o for o in trial.outcomes if o.state in ("answered", "stored")]
    lines = [f"{len(done)} of {len(trial.outcomes)} rows"]
    if failed := sum(o.state == "failed" for o in trial.outcomes):
        lines[0] += f", {failed} failed"
    paid = [o for o in trial.outcomes if o.paid]
    counted = [o.tokens for o in paid if o.tokens is not None]
    timed = [o.seconds for o in done if o.seconds is not None]
    if counted:
        lines.append(f"{sum(counted):,.0f} tokens" + (f" ({len(counted)} rows)" if len(counted) < len(paid) else ""))
    if timed:
        lines.append(f"{_time(statistics.median(timed))} a row (median), {_time(max(timed))} at most")
    if trial.per_thousand is not None:
        lines.append(money(trial.cost.neurons, trial.cost.exact))
        lines.append(f"1,000 such rows: {money(trial.per_thousand.neurons, False)}")
    return lines


def _total(trial: Trial) -> str:
    return "<br>".join(escape(line) for line in totals(trial))


def plain(trials: Sequence[Trial], code: str, rows: int) -> str:
    """Return the page as text."""
    out = [f"playground on {counted(rows)}" if not trials else ""]
    for trial in trials:
        where = "emulator, would be: " if trial.origin == "emulator" else ""
        out.append(f"{trial.variant} (version {trial.number}): {where}{' · '.join(totals(trial))}")
    return "\n".join(part for part in [*out, code] if part)
