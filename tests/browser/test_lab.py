"""Widgets in a real JupyterLab: what is seen, clicked, saved, exported; and that hostile text does nothing there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from .conftest import TESTS, exported, see

pytestmark = pytest.mark.slow

SLOW = """
import cfai_nb as cf
emulator = cf.emulator.Emulator(rate=None, latency=0.3)
cf.connect(emulator, store=False)
df = cf.sample("tickets")
"""
HOSTILE = f"""
import sys; sys.path.insert(0, {str(TESTS)!r})
import hostile, pandas as pd, cfai_nb as cf
cf.connect(hostile.service, store=False)
count = len(hostile.TEXTS) + len(hostile.BROKEN)
name = "<img src=x onerror=window.__alarm=1>"
df = pd.DataFrame({{name: [f"<script>window.__alarm=1</script> {{n}}" for n in range(count)]}})
"""


def test_playground(lab: Any, pictures: Path) -> None:
    """Columns complete, variants run side by side in the background, versions differ, code follows, Stop stops."""
    begin = "df['want'] = ['[emulator] ' + text for text in df['text'].fillna('')]\n"
    cells = [
        SLOW + begin,
        "p = df.cfai.playground('text', n=3)\np",
        "emulator.latency = 2",
        "print(p.code, len(p.result))",
    ]
    notebook = lab.write(cells)
    with lab.open(notebook) as page:
        page.dark()
        page.run(0, 1)
        out = page.output(1)
        prompt = out.get_by_label("Prompt", exact=True)
        prompt.fill("In five words: {txt}")
        see(out, "Did you mean 'text'?")
        assert page.button(1, "Run").is_disabled()
        assert page.illegible(1) == []
        prompt.fill("In five words: {te")
        page.button(1, "{text}").click()
        see(out, "df.cfai.generate('In five words: {text}')")
        page.button(1, "Add variant").click()
        out.get_by_label("Model").press_sequentially("llama-3.2")
        page.browser.wait_for_timeout(300)
        assert out.get_by_role("alert").count() == 0, "half a name is not a mistake"
        out.get_by_label("Model").fill("llama-3.2-3b-instruct")
        out.get_by_label("Model").press("Enter")
        see(out, re.compile("model='llama-3.2-3b-instruct'"))
        page.button(1, "Run").click()
        see(out.locator("tfoot td").nth(1), re.compile("1,000 such rows"))
        assert out.locator("tbody td").count() == 6
        prompt.fill("In ten words: {text}")
        page.button(1, "Run").click()
        out.locator("ins", has_text="ten").wait_for()
        out.locator("tfoot td", has_text="3 of 3 rows").nth(1).wait_for()
        out.get_by_label("Truth").select_option("want")
        see(out.locator("tfoot td").nth(1), "right 0 of 3 (0 to 56 %)")
        see(out.locator("tbody td").first, re.compile("✗ want: .emulator."))
        page.browser.context.grant_permissions(["clipboard-read", "clipboard-write"])
        out.get_by_role("button", name="Copy code").focus()
        page.browser.keyboard.press("Enter")
        see(out, "✓ Copied")
        copied = page.browser.evaluate("() => navigator.clipboard.readText()")
        assert copied == "df.cfai.generate('In ten words: {text}', model='llama-3.2-3b-instruct')"
        page.button(1, "Price all rows").click()
        see(out, re.compile("estimated, nothing sent"))
        assert page.illegible(1) == []
        page.run(2)  # long enough to be stopped on any machine
        page.button(1, "Run on all rows").click()
        see(out, re.compile(r"generate \d+/601"))
        page.button(1, "Stop").click()
        see(out, re.compile("Stopped. .* rows are done"))
        page.screenshot(pictures / "playground.png")
        page.run(3)
        see(page.output(3), "df.cfai.generate('In ten words: {text}', model='llama-3.2-3b-instruct') 606")
        page.save()
    with lab.open(notebook, kernel=False) as page:
        see(page.output(1), re.compile("1,000 such rows"))
        assert page.output(1).locator(".widget-button").count() == 0
        page.screenshot(pictures / "playground-saved.png")
    html = exported(notebook)
    assert "<ins" in html
    assert "1,000 such rows" in html
    assert "Loading widget" not in html


#: Verb, the box it shows, what goes in, and the code that comes of it.
VERBS = (
    ("classify", "Labels", "billing: charges\nshipping", "df.cfai.classify('text', {'billing': 'charges', 'shipping'"),
    ("ask", "Questions", "mood: calm < furious", "df.cfai.ask('text', {'mood': cf.scale('calm', 'furious')})"),
    ("extract", "Fields", "total: number", "df.cfai.extract('text', ['total: number'])"),
)


def test_other_verbs(lab: Any, pictures: Path) -> None:
    """A click on a verb asks for its labels, questions or fields, and runs it."""
    with lab.open([SLOW, "df.cfai.playground('text', n=2)"]) as page:
        page.run()
        out = page.output(1)
        for number, (mode, box, shape, code) in enumerate(VERBS, 1):
            page.button(1, mode).click()
            see(out, re.compile("Give .*: .* needs them"))
            out.get_by_label(box).fill(shape)
            see(out, re.compile(re.escape(code)))
            page.button(1, "Run").click()
            see(out.locator("thead"), re.compile(f"version {number} · {mode}"))
            out.locator("tfoot td", has_text="2 of 2 rows").wait_for()
            page.screenshot(pictures / f"playground-{mode}.png")


def test_models_and_ledger(lab: Any, pictures: Path) -> None:
    """The catalogue is searched and filtered by typing; the ledger follows a run; both are tables in the saved file."""
    cells = [
        SLOW,
        "cf.widgets.models()",
        "cf.widgets.ledger()",
        "labels = df.head(9).cfai.classify('text', ['a', 'b'])",
    ]
    notebook = lab.write([*cells, "%load_ext cfai_nb", "%%cfai -m glm-4.7-flash -o answer\nWhat is {x: 1}?"])
    with lab.open(notebook) as page:
        page.run(0, 1, 2)
        models, ledger = page.output(1), page.output(2)
        see(ledger, re.compile("nothing spent today"))
        models.get_by_label("Search").fill("qwen embed")
        see(models, re.compile(r"^2 of \d+ models"))
        models.get_by_label("Search").fill("")
        models.get_by_label("At most $").fill("0.05")
        models.get_by_label("Order").select_option("price")
        page.screenshot(pictures / "models.png")
        for name in ("Search", "Order"):  # the keyboard shows where it is
            models.get_by_label(name).focus()
            page.browser.keyboard.press("Shift")
            ring = "box => getComputedStyle(box).outlineStyle + getComputedStyle(box).outlineWidth"
            assert models.get_by_label(name).evaluate(ring) == "solid2px"
        page.run(3)
        see(ledger, re.compile("the emulator would have cost .* today"))
        page.button(2, "verb").click()
        ledger.locator("tbody th", has_text=re.compile("^classify$")).wait_for()
        page.run(4, 5)
        see(page.output(5), re.compile(r"\[emulator\] What is \{x: 1\}"))
        ledger.locator("tbody th", has_text="stream").wait_for()
        page.screenshot(pictures / "ledger.png")
        page.dark()
        assert page.illegible(1) + page.illegible(2) + page.illegible(3) == []
        page.screenshot(pictures / "ledger-dark.png")
        page.save()
    html = exported(notebook)
    assert "bge-m3" in html
    assert "the emulator would have cost" in html


def test_hostile_answers(lab: Any, pictures: Path) -> None:
    """Scripts, handlers, links, formulas, broken characters and megabytes are shown as text, live and saved."""
    show = "p = df.cfai.playground('{' + name + '}', n=count)\np.run()\np.add(system=name)\np.run()\np"
    magic = "%%cfai --df df -o answers\n{<img src=x onerror=window.__alarm=1>}"
    notebook = lab.write([HOSTILE, show, "%load_ext cfai_nb", magic, "%cfai 0", "%cfai 5", "cf.widgets.ledger()"])
    with lab.open(notebook) as page:
        page.run()
        out = page.output(1)
        see(out, re.compile("<script>window.__alarm=1</script>"))
        see(out, re.compile(r"1,000,000 characters"))
        assert out.locator("table").locator("script, img, svg, iframe, a, mjx-container").count() == 0
        page.screenshot(pictures / "hostile.png")
        page.save()
    with lab.open(notebook, kernel=False) as page:
        see(page.output(1), re.compile("<script>window.__alarm=1</script>"))
    html = exported(notebook)
    assert "<script>window.__alarm" not in html
    assert "<img src=x" not in html
    assert notebook.stat().st_size < 500_000


def test_a_blocking_run_has_no_stop_button(lab: Any, pictures: Path) -> None:
    """The bar of a blocking cell says how to interrupt, with cost and time left, and its receipt stays."""
    with lab.open([SLOW, "emulator.latency = 1\nv = df.cfai.summarize('text', concurrency=4)"]) as page:
        page.run(0)
        page.start(1)
        see(page.output(1), re.compile("interrupt the kernel to stop"))
        see(page.output(1), re.compile(r"Neurons \(\$.* s left"))
        page.screenshot(pictures / "progress.png")
        assert page.output(1).locator("button").count() == 0
        page.browser.evaluate("() => { jupyterapp.commands.execute('notebook:interrupt-kernel'); }")
        see(page.output(1), re.compile("Stopped. .* of 601 rows are done"))
