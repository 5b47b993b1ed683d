"""The page of a playground: what was asked, the answers side by side, what they cost, and the code.

In: the sample rows and the trials of each variant.  Out: the same as HTML, for the live notebook, the saved one and an
export, and as plain text.  All texts are escaped and cut by `markup`.
"""

from __future__ import annotations

import difflib
import functools
import re
import statistics
from collections.abc import Iterable, Sequence

from ...html.markup import LINE, badge, block, chip, counted, escape, soft
from ...models.ledger import money
from ...vectors.vector import stand_in
from .trial import Outcome, Trial, Truth

#: Characters shown of an input, and of an answer; the whole of both is in the frame.
_INPUT, _ANSWER = 300, 1_500
#: Longer texts are not compared word by word: the time grows with the product of their lengths.
_MAX_WORDS = 1_200
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


def page(
    inputs: Sequence[tuple[object, str]], trials: Sequence[tuple[Trial, Trial | None]], *, compare: bool, code: str,
    truth: Truth | None = None,
) -> str:  # fmt: skip
    """Return the page as HTML: one row per sample row (label and text), one column per variant.

    `trials` are those of the variants, each with the version before it; `compare` marks changes since that.  `code` is
    that of the variant being edited, empty if it is not complete.  With `truth` it is marked which answers are right.
    """
    code = f'<pre class="cfai-code">{escape(code, 20_000)}</pre>' if code else ""
    if not trials:
        rows = "".join(_tr([_th(escape(label, 80)), _td(_box(escape(text, _INPUT)))]) for label, text in inputs)
        head = f"<thead>{_tr([_th('row', scope='col', style='width: 7em'), _th('text', scope='col')])}</thead>"
        return _shown("", f"{head}<tbody>{rows}</tbody>", code)
    stamp = next(filter(None, (stand_in(trial.origin) for trial, _ in trials)), "")
    words = soft("no model of the service answered; prices are what it would charge")
    mark = f'<div class="cfai-head">{badge(stamp)}{words}</div>' if stamp else ""
    tops = [_th(_top(trial, before if compare else None), scope="col") for trial, before in trials]
    right = [[None] * len(inputs) if truth is None else truth.right(trial) for trial, _ in trials]
    marks = [[_mark(flag, at, truth) for at, flag in enumerate(flags)] for flags in right]
    body = "".join(_row(at, *given, trials, marks, compare) for at, given in enumerate(inputs))
    feet = [_td(_total(trial, truth)) for trial, _ in trials]
    return _shown(
        mark,
        f"<thead>{_tr([_th('row', scope='col', style='width: 30%'), *tops])}</thead><tbody>{body}</tbody>"
        f"<tfoot>{_tr([_th('total'), *feet])}</tfoot>",
        code,
    )


def _shown(mark: str, table: str, code: str) -> str:
    framed = f'<div class="cfai-frame" tabindex="0"><table class="cfai-table cfai-play">{table}</table></div>'
    return block(f"{mark}{framed}{code}", look=("table", "play"))


def _tr(cells: Iterable[str]) -> str:
    return f"<tr>{''.join(cells)}</tr>"


def _th(content: str, scope: str = "row", style: str = "") -> str:
    return f'<th scope="{scope}"{f" style={chr(34)}{style}{chr(34)}" if style else ""}>{content}</th>'


def _td(content: str) -> str:
    return f"<td>{content}</td>"


def _box(content: str, style: str = "") -> str:
    return f'<div class="cfai-box-text"{f" style={chr(34)}{style}{chr(34)}" if style else ""}>{content}</div>'


def _top(trial: Trial, before: Trial | None) -> str:
    """Variant, version, model, settings and prompt; with the changes since the version before."""
    draft, old = trial.draft, None if before is None else before.draft
    lines = [escape(f"{name}: {value}", 400) for name, value in draft.settings().items() if name != "model"]
    if old is not None:
        steps = [step for step in draft.difference(old) if step[0] != "prompt"]
        lines += [f"{name} was <del>{escape(was, 200)}</del>" for name, was, _ in steps]
    details = "".join(f'<div class="cfai-soft cfai-small">{line}</div>' for line in lines)
    notes = "".join(f'<div role="status">{escape(note, LINE)}</div>' for note in trial.notes)
    model = escape(trial.model or draft.model or "default model")
    prompt = answer(draft.prompt) if old is None else changed(old.prompt, draft.prompt)
    return (
        f'<div class="cfai-row"><b>{escape(trial.variant)}</b> '
        f'<span class="cfai-soft cfai-small">version {trial.number} · {draft.mode} · {model}</span></div>'
        f"{_box(prompt, 'color: var(--cf-ink); max-height: 8em')}{details}{notes}"
    )


def _mark(right: bool | None, at: int, truth: Truth | None) -> str:
    """Whether an answer is right; a wrong one with what is right."""
    if right is None or truth is None:
        return ""
    return '<span class="cfai-ok">✓ right</span> · ' if right else (
        f'<span class="cfai-bad">✗ {escape(truth.name, 40)}: {escape(truth.cells[at], 80)}</span> · '
    )  # fmt: skip


def _row(
    at: int, label: object, text: str, trials: Sequence[tuple[Trial, Trial | None]], marks: Sequence[Sequence[str]],
    compare: bool,
) -> str:  # fmt: skip
    cells = [_th(f"{escape(label, 80)}{_box(escape(text, _INPUT), 'color: var(--cf-ink)')}")]
    for (trial, before), mark in zip(trials, marks, strict=True):
        outcomes = before.outcomes if compare and before is not None else []
        # Labels may repeat: the row at the same place comes first, unless other rows were tried then.
        last = next((outcome for outcome in [*outcomes[at : at + 1], *outcomes] if outcome.row == label), None)
        cells.append(_td(_answer(trial.outcomes[at], last, mark[at])))
    return _tr(cells)


def _answer(outcome: Outcome, last: Outcome | None, mark: str) -> str:
    if outcome.state == "failed":
        shown = f'<span role="alert" class="cfai-fail">✗ {escape(outcome.error, 600)}</span>'
    elif last is not None and last.answer is not None and outcome.answer is not None:
        shown = changed(last.text, outcome.text)
    else:
        shown = answer(outcome.text)
    return f'{_box(shown)}<div class="cfai-soft cfai-small">{mark}{escape(how(outcome))}</div>'


def _total(trial: Trial, truth: Truth | None) -> str:
    """What a variant costs, how fast and how often right it is: `totals` with more weight on score and price."""
    score = "" if truth is None else f"{chip(truth.words(trial), 'on')}<br>"
    return score + "<br>".join(
        f"<b>{escape(line)}</b>"
        if line.startswith("1,000 such rows")
        else f'<span class="cfai-soft">{escape(line)}</span>'
        for line in totals(trial)
    )


# -- texts and their differences ---------------------------------------------------------------------------------------


def answer(text: str) -> str:
    """Return the beginning of a text as HTML, and its length if it is cut."""
    return _escaped(_cut(text))


def changed(before: str, after: str) -> str:
    """Return the later text as HTML, with added and removed words marked."""
    return _compared(_cut(before), _cut(after))


def _cut(text: str) -> str:
    return text if len(text) <= _ANSWER else f"{text[:_ANSWER]}… ({len(text):,} characters)"


def _escaped(text: str) -> str:
    return escape(text, len(text))


@functools.lru_cache(maxsize=1_024)  # a page is redrawn often, and most of it does not change
def _compared(before: str, after: str) -> str:
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    if before == after or max(len(old), len(new)) > _MAX_WORDS:
        return _escaped(after)
    parts = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        removed, added = _escaped("".join(old[a:b])), _escaped("".join(new[c:d]))
        if kind == "equal":
            parts.append(added)
            continue
        parts += [f"<del>{removed}</del>"] * (b > a)
        parts += [f"<ins>{added}</ins>"] * (d > c)
    return "".join(parts)


# -- in words ----------------------------------------------------------------------------------------------------------


def how(outcome: Outcome) -> str:
    """Describe a row in one line: state, seconds, tokens, price."""
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
    """Describe a trial in lines: rows, tokens, time, price of these rows and of 1,000 like them."""
    done = [o for o in trial.outcomes if o.state in ("answered", "stored")]
    lines = [f"{len(done)} of {len(trial.outcomes)} rows"]
    if failed := sum(o.state == "failed" for o in trial.outcomes):
        lines[0] += f", {failed} failed"
    paid = [o for o in trial.outcomes if o.paid]
    tokens = [o.tokens for o in paid if o.tokens is not None]
    times = [o.seconds for o in done if o.seconds is not None]
    if tokens:
        lines.append(f"{sum(tokens):,.0f} tokens" + (f" ({len(tokens)} rows)" if len(tokens) < len(paid) else ""))
    if times:
        lines.append(f"{_time(statistics.median(times))} a row (median), {_time(max(times))} at most")
    if trial.per_thousand is not None:
        lines.append(money(trial.cost.neurons, trial.cost.exact))
        lines.append(f"1,000 such rows: {money(trial.per_thousand.neurons, False)}")
    return lines


def plain(trials: Sequence[Trial], code: str, rows: int, truth: Truth | None = None) -> str:
    """Return the page as text."""
    out = [f"playground on {counted(rows)}" if not trials else ""]
    for trial in trials:
        origin = f"{stamp}, would be: " if (stamp := stand_in(trial.origin)) else ""
        score = [] if truth is None else [truth.words(trial)]
        out.append(f"{trial.variant} (version {trial.number}): {origin}{' · '.join([*score, *totals(trial)])}")
    return "\n".join(part for part in [*out, code] if part)
