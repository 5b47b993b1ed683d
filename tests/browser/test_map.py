"""The map in a real JupyterLab: drawn, hovered, lassoed, labelled, saved; and hostile text does nothing there."""

from __future__ import annotations

import contextlib
import math
import re
from pathlib import Path
from typing import Any

import pytest

from .conftest import exported

pytestmark = pytest.mark.slow

CELLS = [
    """
import cfai_nb as cf, pandas as pd, PIL.Image
cf.connect("emulator", store=False)
df = cf.sample("tickets").head(120)
evil = "<script>window.__alarm=1</script><img src=x onerror='window.__alarm=1'> https://example.com/a.png $x$"
name = "<img src=x onerror=window.__alarm=1>"
df.loc[df.index[::2], "text"] = evil + df["text"]
df[name] = pd.Series([evil + chr(0xD800) + "long " * 200] * len(df), dtype=object)
df.loc[3, "topic"] = evil
df["photo"] = [PIL.Image.new("RGB", (60, 40), "teal")] * len(df)
""",
    "m = df.cfai.map('text', color='topic', hover=['product', name, 'photo'], progress=False)\nm",
    # Where a point whose text is hostile lies, from the middle of the map, of half its height.
    """
import numpy as np
low, high = m.points.min(), m.points.max()
place = ((m.points - (low + high) / 2) / ((high - low).max() / 2 * 1.05)).to_numpy()
apart = np.linalg.norm(place[:, None] - place[None], axis=2) + np.eye(len(place)) * 9
evils = [at for at in range(0, len(place), 2) if np.abs(place[at]).max() < 0.7]
print("at", *place[max(evils, key=lambda at: np.nanmin(apart[at]))])
""",
    "print(len(m.selected), 'rows;', m.frame['theme'].notna().sum(), 'labelled')",
    "m.select(df['topic'] == 'billing'); m.label(evil, as_column='theme'); m.describe()",
]

#: jupyter-scatter's tooltip, beside what holds the canvas.
_TOOLTIP = "div:has(> div > canvas) > div[style*='user-select']"
#: The colours behind an element and what is in it.
_GROUNDS = "tip => [tip, ...tip.querySelectorAll('*')].map(each => getComputedStyle(each).backgroundColor)"


def rest(page: Any, tip: Any, x: float, y: float) -> None:
    """Rest the mouse on a point until its tooltip is there; the first drawing of a map hides it again."""
    from playwright.sync_api import TimeoutError

    opaque = "tip => { while (tip && getComputedStyle(tip).opacity !== '0') tip = tip.parentElement; return !tip }"
    for _ in range(20):
        page.browser.mouse.move(x + 100, y + 300)
        page.browser.mouse.move(x, y)
        with contextlib.suppress(TimeoutError):
            tip.wait_for(timeout=3_000)
            page.browser.wait_for_function(opaque, arg=tip.element_handle(), timeout=3_000)
            return
    raise AssertionError("no tooltip")


def test_map(lab: Any, pictures: Path) -> None:
    """A tooltip is text, a lasso by mouse selects, a label is written, and the saved file shows a picture."""
    pytest.importorskip("jscatter", reason="jupyter-scatter is not installed: pip install -e '.[map]'")
    notebook = lab.write(CELLS)
    with lab.open(notebook) as page:
        page.dark()
        page.run(0, 1)
        out = page.output(1)
        canvas = out.locator("canvas").first
        canvas.wait_for()
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        mouse = page.browser.mouse
        shown = out.locator(_TOOLTIP)
        tip = shown.get_by_text(re.compile("<script>window.__alarm=1</script>.*https://example.com"))
        page.run(2)
        page.output(2).get_by_text(re.compile("^at ")).wait_for()
        at = [float(part) for part in page.output(2).inner_text().split()[1:3]]
        rest(page, tip.first, x + at[0] * box["height"] / 2, y - at[1] * box["height"] / 2)
        out.locator("figure img").wait_for()
        assert out.locator("figure img").get_attribute("src").startswith("data:image/")
        assert page.illegible(1) == []
        page.browser.screenshot(path=pictures / "map-hover.png")
        assert shown.locator("script, img").count() == 0
        assert "rgb(255, 255, 255)" not in shown.evaluate(_GROUNDS), "a bright tooltip on a dark page"
        out.locator("button[title*='lasso selection']").click()
        mouse.move(x + 140, y)
        mouse.down()
        for step in range(1, 22):
            mouse.move(x + 140 * math.cos(step * 0.3), y + 140 * math.sin(step * 0.3))
        mouse.up()
        out.get_by_text(re.compile(r"^[1-9]\d*$")).first.wait_for()
        out.get_by_placeholder("label for the selection").fill("<img src=x onerror=window.__alarm=1>")
        out.get_by_label("in column").fill("theme")
        page.button(1, "Label").click()
        out.get_by_text(re.compile(r"onerror=window.__alarm=1>: \d+ rows?")).wait_for()
        page.screenshot(pictures / "map-label.png")
        page.run(3, 4)
        page.output(3).get_by_text(re.compile(r"^([1-9]\d*) rows; \1 labelled")).wait_for()
        page.output(4).get_by_text(re.compile("by terms")).wait_for()
        page.button(1, "Describe").click()
        out.get_by_text(re.compile("by terms")).wait_for()
        page.screenshot(pictures / "map-described.png")
        page.save()
    with lab.open(notebook, kernel=False) as page:
        still = page.output(1).locator("figure img.cfai-light")
        still.wait_for()
        assert still.get_attribute("alt").startswith("Map of ")
        page.output(1).get_by_text("emulator").first.wait_for()
        page.screenshot(pictures / "map-saved.png")
    html = exported(notebook)
    assert "data:image/png;base64," in html
    assert "<script>window.__alarm" not in html
    assert "<img src=x" not in html


def test_all_cells_at_once(lab: Any) -> None:
    """What happens to a map before its first drawing is done is drawn after it: nothing is dropped."""
    pytest.importorskip("jscatter", reason="jupyter-scatter is not installed: pip install -e '.[map]'")
    cells = [
        "import cfai_nb as cf\ncf.connect('emulator', store=False)\ndf = cf.sample('docstrings')",
        "m = df.cfai.map('text', method='pca', progress=False)\nm",
        "m.select(df.index[:30]); m.label('one', as_column='theme')",
    ]
    with lab.open(cells) as page:
        page.browser.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells'); }")
        page.done(2)
        page.output(1).locator("canvas").first.wait_for()
        page.output(1).get_by_text(re.compile("^missing$")).wait_for()
