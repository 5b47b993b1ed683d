"""The catalogue and the ledger as widgets, without a browser."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pandas as pd
import pytest

import cfai_nb as cf
from cfai_nb.frame import progress

VIEW = "application/vnd.jupyter.widget-view+json"
TEXTS = pd.Series(["one", "two", "two"], name="text")


@pytest.fixture(autouse=True)
def _emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No listener is left, and nothing was spent."""
    monkeypatch.setattr(progress, "listeners", [])
    with cf.connect("emulator"):
        yield


def test_models_are_filtered() -> None:
    """Words, task, price and context each narrow the catalogue; unknown prices do not pass a limit."""
    browse = cf.widgets.models()
    everything = len(browse.frame)
    assert everything == len(cf.models())
    browse.search = "QWEN embed"
    assert sorted(browse.frame.index) == ["@cf/qwen/qwen3-embedding-0.6b", "@cf/qwen/qwen3-vl-embedding-2b"]
    browse.search, browse.task = "", "Text Embeddings"
    assert set(browse.frame["task"]) == {"Text Embeddings"}
    browse.task, browse.max_usd = "", 0.05
    assert browse.frame["usd_per_m_input_tokens"].max() <= 0.05
    browse.max_usd, browse.min_context, browse.order = None, 100_000, "context"
    assert browse.frame["context"].min() >= 100_000
    assert browse.frame["context"].is_monotonic_decreasing
    with pytest.raises(TypeError, match=r"no option taks\. Did you mean task\?"):
        cf.widgets.models(taks="x")
    with pytest.raises(ValueError, match=r"no verb 'embd' that asks a model\. Verbs: .*embed"):
        cf.widgets.models(verb="embd")


def test_models_boxes() -> None:
    """The boxes set the traits; half a number is no limit; the bundle holds widget, table and text."""
    browse = cf.widgets.models(task="Text Generation", max_usd=1.0)
    search, task, most, least, order, _verb = browse.controls.children
    assert (task.value, most.value) == ("Text Generation", "1")
    search.value, task.value, most.value, least.value, order.value = "<b>", "", "0.", "128,000", "price"
    assert (browse.search, browse.task, browse.max_usd, browse.min_context, browse.order) == (
        "<b>", "", 0.0, 128_000, "price",
    )  # fmt: skip
    most.value = "-"
    assert browse.max_usd is None
    assert set(browse._repr_mimebundle_()) == {VIEW, "text/html", "text/plain"}
    assert "0 of" in browse.page()


def test_ledger_follows_the_calls() -> None:
    """Totals grow with every run that is heard of; unknown tokens and prices are not zero; savings are shown."""
    shown = cf.widgets.ledger()
    assert "nothing spent today" in shown.page()
    drawn: list[str] = []
    shown.update = lambda: drawn.append(shown.page())  # type: ignore[method-assign]
    TEXTS.cfai.embed(progress=False)
    assert "would have cost" in drawn[-1]
    assert "unknown" in drawn[-1]  # tokens of an embedding model
    TEXTS.cfai.embed(progress=False)
    (row,) = shown.frame.to_dict("records")
    assert (row["requests"], row["exact"]) == (1, True)
    assert row["saved_neurons"] > 0
    TEXTS.to_frame().cfai.playground("text", mode="classify", labels="a\nb").run()
    assert "classify" in drawn[-1]
    shown.by = "verb"
    assert shown.frame.index.names == ["origin", "verb"]
    assert set(shown._repr_mimebundle_()) == {VIEW, "text/html", "text/plain"}
    shown.close()
    assert progress.listeners == []


@pytest.mark.slow
def test_a_ledger_without_a_reference_stops_listening() -> None:
    """A view that was dropped takes its listener along at the next call."""
    cf.widgets.ledger()
    gc.collect()
    assert len(progress.listeners) == 1
    TEXTS.cfai.embed(progress=False)
    assert progress.listeners == []


def test_amounts_are_not_typeset() -> None:
    """Everything that shows two amounts in dollars keeps the notebook from reading a formula between them."""
    TEXTS.cfai.embed(progress=False)
    shown = [cf.ledger()._repr_html_(), cf.last_run()._repr_html_(), cf.widgets.Bar()._fragment("$1 and $2")]
    shown += [cf.widgets.ledger().page(), cf.widgets.models().page()]
    assert all("mathjax_ignore" in html for html in shown if html)
