"""The review card in a real JupyterLab: keyboard alone, over a restart, under a slow kernel, with hostile rows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from .conftest import TESTS, see

pytestmark = pytest.mark.slow

ROWS = """
import numpy as np, pandas as pd, cfai_nb as cf
cf.connect("emulator")
tickets = cf.sample("tickets")
random = np.random.default_rng(0)
labels = ["shipping", "returns", "bug", "billing", "account"]
p = random.dirichlet([.4] * 5, len(tickets))
guess = pd.DataFrame(p, columns=[f"p__{label}" for label in labels], index=tickets.index)
guess.insert(0, "label", [labels[at] for at in p.argmax(axis=1)])
"""
SHOW = "review = tickets.cfai.review('text', guess, n={n}, name={name!r})\nreview"
#: Keep of each key how many milliseconds it took until the browser had painted (16 or less are not told), whether that
#: frame showed another row, and what the card says of the kernel.
_WATCH = """() => {
  window.__painted = [];
  window.__changed = [];
  window.__states = [];
  const card = document.querySelector('.cfai-review'), shown = () => card.children[1].innerText;
  new MutationObserver(() => window.__states.push(card.querySelector('.state').textContent))
    .observe(card, {childList: true, subtree: true});
  new PerformanceObserver(list => list.getEntriesByName('keydown').forEach(key => window.__painted.push(key.duration)))
    .observe({type: 'event', durationThreshold: 16});
  document.addEventListener('keydown', () => {
    const before = shown();
    requestAnimationFrame(() => window.__changed.push(shown() !== before));  // right before this frame is painted
  }, true);
}"""
#: Whether a card has the focus, and none is shown that the kernel has not sent yet.
_THERE = """() => document.activeElement.closest('.cfai-review')
  && [...document.querySelectorAll('.cfai-review .shown')]
  .every(shown => shown.textContent !== 'waiting for the kernel …')"""
#: How many keys cards were given so far.
_GIVEN = """() => {
  if (window.__given === undefined) {
    window.__given = 0;
    document.addEventListener('keydown', event => {
      if (event.target.closest('.cfai-review')) window.__given++;
    }, true);
  }
  return window.__given;
}"""


def keys(page: Any, *pressed: str) -> None:
    """Press keys; one that reached no card, as JupyterLab drew it again just then, is pressed again."""
    for key in pressed:
        given = page.browser.evaluate(_GIVEN)
        while page.browser.evaluate(_GIVEN) == given:
            page.browser.wait_for_function(_THERE)
            page.browser.keyboard.press(key)


@pytest.mark.timeout(300)
def test_sixty_rows_with_the_keyboard_alone(lab: Any, pictures: Path) -> None:
    """Accept, label, undo, skip, note, cannot tell; every key is stored, a restart goes on, all rows become gold."""
    told = "print(review)\nprint(len(cf.gold('hand')), list(review.to_frame()['note'])[3])"
    with lab.open([ROWS, SHOW.format(n=60, name="hand"), told]) as page:
        page.run(0, 1)
        card = page.output(1).locator(".cfai-review")
        see(card, "0 of 60")
        card.and_(page.browser.locator(":focus")).wait_for()
        page.screenshot(pictures / "review-first.png", card)
        first = card.locator(".shown").inner_text()
        keys(page, "Enter")
        see(card, "1 of 60")
        assert card.locator(".shown").inner_text() != first
        keys(page, "u")
        see(card, "0 of 60")
        assert card.locator(".shown").inner_text() == first
        keys(page, "2", "Enter", "s", "n")
        page.browser.keyboard.type("why u and 2?")
        keys(page, "Enter", "?")
        see(card, "4 of 60")
        see(card, re.compile("The answer is hidden"))
        keys(page, "Enter")
        see(card, "Press the key of a label.")
        see(card, "stored")
        see(card, "Press the key of a label.")
        keys(page, "ArrowDown", "ArrowDown", "Enter")
        see(card, "5 of 60")
        for _ in range(5):
            for _ in range(4):
                keys(page, "Enter")
            keys(page, "3")
        see(card, "30 of 60")
        see(card, "stored")
        page.screenshot(pictures / "review.png", card)
        page.restart()
        keys(page, "Enter")
        see(card, "the kernel is gone: run the cell again")
        see(card, "30 of 60")
        page.run(0, 1)
        card = page.output(1).locator(".cfai-review")
        see(card, "30 of 60")
        card.and_(page.browser.locator(":focus")).wait_for()
        keys(page, "u", "u")
        see(card, "28 of 60")
        for _ in range(7):
            keys(page, "1", "Enter", "Enter", "Enter", "4")
        see(card, re.compile("57 labelled, 1 skipped, 1 unclear|58 labelled"))
        see(card, re.compile("Done"))
        page.screenshot(pictures / "review-done.png", card)
        keys(page, "r")
        see(card, "59 of 60")
        keys(page, "5")
        see(card, "59 labelled, 1 unclear.")
        see(card, "stored")
        page.run(2)
        see(page.output(2), re.compile("59 of 60 labelled; 1 unclear; accuracy 0"))
        see(page.output(2), re.compile(r"59 why u and 2\?"))
        card.focus()
        keys(page, "u")
        see(card, "59 of 60")
        keys(page, "Escape")
        see(card, "stored, click to use the keys")
        card.get_by_text("skip", exact=True).click()
        see(card, re.compile("1 skipped"))
        card.and_(page.browser.locator(":focus")).wait_for()
        keys(page, "u")
        page.dark()
        assert page.illegible(1) == []
        page.screenshot(pictures / "review-dark.png", card)


def test_the_next_card_is_painted_before_the_kernel_answers(lab: Any, pictures: Path, tmp_path: Path) -> None:
    """A kernel that needs a second for each key: each next card is painted within 100 ms, and all keys arrive."""
    quick, count = tmp_path / "quick", 60
    slow = f"""
import pathlib, time
from cfai_nb.widgets.review import Review
real = Review._apply
def late(self, *given):
    if not pathlib.Path({str(quick)!r}).exists():
        time.sleep(1)
    real(self, *given)
Review._apply = late
"""
    with lab.open([ROWS, slow, SHOW.format(n=count, name="slow"), "Review._apply = real", "print(review)"]) as page:
        page.run(0, 1, 2)
        card = page.output(2).locator(".cfai-review")
        see(card, f"0 of {count}")
        card.and_(page.browser.locator(":focus")).wait_for()
        page.reusable = False  # it listens to every key from now on
        page.browser.evaluate(_WATCH)
        for at in range(count):
            keys(page, "12345"[at % 5])
            page.browser.wait_for_function(f"() => window.__changed.length === {at + 1}")
        see(card, f"{count} of {count}")
        assert page.browser.evaluate("() => window.__changed.every(changed => changed)")
        states = page.browser.evaluate("() => window.__states.join()")
        assert re.search("not stored yet: the kernel is busy|storing", states)
        page.screenshot(pictures / "review-slow.png", card)
        painted = sorted(page.browser.evaluate("() => window.__painted"))
        painted = [0] * (count - len(painted)) + painted
        print([painted[int(share * count)] for share in (0.5, 0.95)], painted[-1])
        assert painted[int(0.9 * count)] <= 100  # the rest for what else this machine has to do
        assert painted[-1] < 800  # none waits for the kernel
        quick.touch()
        page.run(3)
        see(card, re.compile("^stored"))  # keys may have a thread of their own in the kernel, beside its cells
        page.run(4)
        see(page.output(4), re.compile(f"{count} of {count} labelled"))


def test_pictures_sounds_and_hostile_rows(lab: Any, pictures: Path) -> None:
    """Pictures and sounds are shown, hostile texts, labels and notes too, and nothing in them runs."""
    rows = f"""
import sys; sys.path.insert(0, {str(TESTS)!r})
import hostile_cells as hostile, hostile as texts, pandas as pd, cfai_nb as cf
cf.connect("emulator", store=False)
script = "<img src=x onerror=window.__alarm=1>"
cells = [cf.Image(hostile.drawn((320, 240))), cf.Audio(hostile.sound(1)), script, hostile.SCRIPT,
         *[cell for cell, _ in hostile.CELLS.values()]]
media = pd.DataFrame({{"cell": pd.Series(cells, dtype=object)}})
guess = [script if at % 2 else "b" for at in range(len(media))]
review = media.cfai.review("cell", guess, n=len(media), name=script)
"""
    dark = "review.note(review.rows[0], script)\nreview"
    with lab.open([rows, dark]) as page:
        page.dark()
        page.run(0, 1)
        card = page.output(1).locator(".cfai-review")
        seen, count = set(), int(card.locator(".head .cfai-soft").first.inner_text().split()[-1])
        for at in range(count):
            see(card, f"{at} of {count}")
            shown = card.locator(".shown")
            assert shown.locator("script, iframe, a[href], svg").count() == 0
            assert card.locator("[onerror]").count() == 0
            for tag in ("img", "audio"):
                if shown.locator(tag).count() and tag not in seen:
                    page.screenshot(pictures / f"review-{tag}.png", card)
                    assert page.illegible(1) == []
                    seen.add(tag)
            if "WAV" in shown.inner_text() and "heard" not in seen:
                keys(page, "Space")
                page.browser.wait_for_function("() => document.querySelector('.shown audio').played.length")
                seen.add("heard")
            elif "OGG" in shown.inner_text() and "unheard" not in seen:
                keys(page, "Space")
                see(card, "The browser cannot play this.")
                seen.add("unheard")
            seen |= {"script"} if "<script>" in shown.inner_text() else set()
            keys(page, "1")
        see(card, "Done.")
        assert seen == {"img", "audio", "heard", "unheard", "script"}
