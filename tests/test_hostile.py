"""Untrusted texts in every widget and plot: shown as text, short, and quickly."""

from __future__ import annotations

from collections.abc import Iterator

import hostile
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hostile_cells import judged

import cfai_nb as cf
from cfai_nb import plots
from cfai_nb.widgets import LedgerView
from cfai_nb.widgets.progress import Bar

TEXTS = (*hostile.TEXTS, "half \ud800 of a character", "", " ")


@pytest.fixture(params=TEXTS, ids=lambda text: f"{len(text)} {text[:12]!a}")
def text(request: pytest.FixtureRequest) -> str:
    """One of them."""
    return str(request.param)


@pytest.fixture
def _figures() -> Iterator[None]:
    """None stays open."""
    yield
    plt.close("all")


def shown(html: str) -> None:
    """Assert that HTML holds nothing but our own tags, and is of a size to be shown."""
    assert len(html) < 200_000
    judged(html)


def cells(*texts: str) -> pd.Series[str]:
    """A column that can hold half a character."""
    return pd.Series(texts, dtype=object)


@pytest.mark.slow
def test_map(text: str) -> None:
    """The map's head, tooltip, colours, label, description and still form, whatever cells and columns hold."""
    pytest.importorskip("jscatter")
    name = text.encode("utf-8", "replace").decode()  # names of columns have no halves in pandas either
    frame = pd.DataFrame({"v": [[float(at), float(at % 3)] for at in range(8)]})
    frame["text"] = cells(*(f"{text} {at}" for at in range(8)))
    frame[name] = cells(*[text] * 4, *["plain"] * 4)
    with cf.connect("emulator", store=False):
        m = cf.on(frame).map("v", text="text", color=name, hover=["text"])
        shown(m._repr_mimebundle_()["text/html"])
        chart = m._chart
        m.select(frame.index[:4])
        for act in (chart.tell.click, chart.write.click, chart.back.click):
            act()
            shown(chart.message.value)
        shown(chart.head.value)
        shown(m.describe()._repr_html_())
        shown(m.describe(model="default", progress=False)._repr_html_())
        chart.hover_panel.show(0)
        shown(chart.hover_panel.box.value)
    told = chart.data.drop(columns=["x", "y"]).astype(object)
    words = [str(word).replace("\N{NO-BREAK SPACE}", "") for word in [*told.columns, *told.to_numpy().ravel()]]
    assert all(word.isprintable() and len(word) <= 400 for word in words)
    assert all(name.isprintable() and len(name) <= 40 for name, _ in chart.by.options)
    assert repr(m).isprintable()
    m.close()


def test_ledger_models_and_progress(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of models and verbs are text as well."""
    row = {"requests": 1, "rows": 1, "tokens": 1.0, "neurons": 1.0, "usd": 1.0, "saved_neurons": 0.0, "unpriced": 0,
           "exact": True}  # fmt: skip
    names = pd.MultiIndex.from_arrays([pd.Index([text], dtype=object)] * 3, names=["origin", "model", "verb"])
    monkeypatch.setattr(LedgerView, "frame", pd.DataFrame([row], index=names))
    with cf.connect("emulator", store=False):
        view = cf.widgets.ledger()
        shown(view.page())
        view.close()
    models = cf.widgets.models()
    two = models._all.head(2).set_axis(pd.Index([text, "plain"], dtype=object))
    monkeypatch.setattr(
        models, "_all", two.assign(**{n: cells(text, text).set_axis(two.index) for n in ("task", "capabilities")})
    )
    shown(models.page())
    bar = Bar()
    monkeypatch.setattr("cfai_nb.widgets.progress.publish", lambda *shown, **how: None)
    bar._draw(1, 2, text, text, stopping=False)
    shown(bar.message.value)
    bar._settle(text)
    shown(bar._repr_mimebundle_()["text/html"])


@pytest.mark.slow
@pytest.mark.usefixtures("_figures")
def test_plots(text: str) -> None:
    """Labels, titles, marks and names of models and columns."""
    _, ax = plt.subplots()
    points = np.random.default_rng(0).normal(size=(30, 2))
    charges = pd.DataFrame(
        {
            "when": pd.to_datetime(["2026-01-01", "2026-01-02"], utc=True), "origin": "emulator",
            "model": cells(text, text), "verb": cells(text, text), "neurons": 1.0, "usd": 1.0, "saved_neurons": 0.0,
            "exact": True, "requests": 1, "rows": 1,
        }
    )  # fmt: skip
    plots.clusters(points, cells(*[text, "plain"] * 15), title=text, mark=text, ax=ax)
    plots.similarity(np.eye(2), [text, "plain"], title=text, mark=text)
    plots.confidence(pd.Series([0.5, 0.7], name=text), title=text)
    plots.cost(charges, title=text)
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()
