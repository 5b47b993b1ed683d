"""Preview, gallery and player in a real JupyterLab: seen, clicked, saved, exported; hostile cells do nothing there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import cfai_nb

from .conftest import TESTS, exported

pytestmark = pytest.mark.slow

ROWS = f"""
import sys; sys.path.insert(0, {str(TESTS)!r})
import hostile_cells as hostile, numpy as np, pandas as pd, cfai_nb as cf
cf.connect("emulator", store=False)
modes = ["RGB", "RGBA", "P", "L"]
photos = [cf.Image(hostile.drawn((200 + 10 * at, 150), mode=modes[at % 4])) for at in range(40)]
df = pd.DataFrame({{
    "text": [f"row number {{at}}" + " and so on" * (40 * (at == 3)) for at in range(40)],
    "photo": [photo if at % 5 else None for at, photo in enumerate(photos)],
    "speech": [cf.Audio(hostile.sound(1)) for _ in range(40)],
    "score": np.linspace(0, 1, 40),
}}, index=[f"r{{at // 2}}" for at in range(40)])
df["vector"] = df.cfai.embed("text", progress=False)
df["label"] = pd.Series([text if at != 1 else "half \\ud800" for at, text in enumerate(df["text"])], dtype=object,
                        index=df.index).cfai.classify(["odd", "even"], progress=False)
"""
HOSTILE = """
cells = hostile.CELLS
name = "<img src=x onerror=window.__alarm=1>"
bad = pd.DataFrame({name: [cell for cell, _ in cells.values()], "media": [cell for cell, _ in cells.values()][::-1]},
                   index=[f"{hostile.SCRIPT} {key}" for key in cells], dtype=object)
"""


def drawn(where: Any, count: int) -> None:
    """Assert that so many pictures are in sight, each decoded by the browser and with words beside it."""
    where.locator("img").nth(count - 1).wait_for()
    decoded = """async images => {
      await Promise.allSettled(images.map(image => image.decode()));
      return images.filter(image => image.naturalWidth && image.alt).length;
    }"""
    assert where.locator("img").evaluate_all(decoded) == count


def test_preview(lab: Any, pictures: Path) -> None:
    """Pages turn, rows are filtered, sound has a length; the saved notebook and the export show the first page."""
    path = lab.write(
        [
            ROWS,
            "p = df.cfai.preview(['photo', 'speech', 'text', 'vector', 'label', 'score'], n=6)\np",
            "print(p.page, p.n)",
        ]
    )
    with lab.open(path, size=(1400, 1500)) as page:
        page.run(0, 1)
        out = page.output(1)
        drawn(out, 4 + 6)
        page.browser.wait_for_function(
            "() => [...document.querySelectorAll('audio')].every(sound => sound.duration === 1)"
        )
        page.screenshot(pictures / "preview.png")
        out.locator("canvas.cfai-wave").nth(5).wait_for()
        assert out.locator("audio").first.evaluate("sound => sound.previousSibling.tagName") == "CANVAS"
        score = out.get_by_role("button", name="score")
        score.focus()
        page.browser.keyboard.press("Enter")
        out.locator("th[aria-sort=ascending]").wait_for()
        score.and_(page.browser.locator(":focus")).wait_for()
        page.browser.keyboard.press("Enter")
        out.locator("tbody tr").first.get_by_text("row number 39").wait_for()
        page.browser.keyboard.press("Enter")
        out.locator("tbody tr").first.get_by_text("row number 0").wait_for()
        score.and_(page.browser.locator(":focus")).wait_for()
        out.get_by_role("button", name="Next ›").click()
        out.get_by_text("7–12 of 40 rows").wait_for()
        out.get_by_label("Filter").fill("number 3")
        out.get_by_label("Filter").press("Enter")
        out.get_by_text("1–6 of 11 rows with “number 3” (40 in all)").wait_for()
        out.locator("summary:not(:has(img))").click()
        page.screenshot(pictures / "preview-filtered.png")
        page.run(2)
        page.output(2).get_by_text("0 6").wait_for()
        page.dark()
        assert page.illegible(1) == []
        page.screenshot(pictures / "preview-dark.png")
        page.save()
    assert path.stat().st_size < 2_000_000
    html = exported(path)
    assert "1–6 of 40 rows" in html
    assert html.count("<audio ") == 6
    with lab.open(path, kernel=False, size=(1400, 1500)) as page:
        drawn(page.output(1), 4 + 6)
        page.screenshot(pictures / "preview-reopened.png")


def test_gallery_and_player(lab: Any, pictures: Path) -> None:
    """What is picked with the mouse is a frame in the next cell, for pictures and for sound."""
    cells = [
        ROWS, "g = df.cfai.gallery('photo', caption=['text', 'score'], n=8)\ng", "print(list(g.picked['text']))",
        "s = df.cfai.player(caption='text', n=4)\ns", "print(list(s.picked.index))",
    ]  # fmt: skip
    path = lab.write(cells)
    with lab.open(path, size=(1200, 1500)) as page:
        page.run(0, 1)
        out = page.output(1)
        drawn(out, 6)
        out.get_by_role("button", name="Pick", exact=True).nth(1).click()
        out.get_by_role("button", name="✓ Picked").wait_for()
        out.get_by_role("button", name="Next ›").click()
        out.get_by_text("9–16 of 40 rows").wait_for()
        out.get_by_role("button", name="Pick", exact=True).nth(0).click()
        out.get_by_text("2 picked").wait_for()
        page.screenshot(pictures / "gallery.png")
        page.run(2, 3)
        page.output(2).get_by_text("['row number 1', 'row number 8']").wait_for()
        page.output(3).get_by_role("button", name="Pick page").click()
        page.output(3).get_by_text("4 picked").wait_for()
        page.output(3).scroll_into_view_if_needed()
        page.screenshot(pictures / "player.png")
        page.run(4)
        page.output(4).get_by_text("['r0', 'r0', 'r1', 'r1']").wait_for()
        page.dark()
        assert page.illegible(1) + page.illegible(3) == []
        page.screenshot(pictures / "gallery-dark.png")
        page.save()
    assert exported(path).count("<img ") == 6
    with lab.open(path, kernel=False, size=(1200, 1500)) as page:
        drawn(page.output(1), 6)
        assert page.output(3).locator("audio").count() == 4
        page.screenshot(pictures / "gallery-reopened.png")


def test_cells_alone(lab: Any, pictures: Path) -> None:
    """A picture, a sound and a vector as the output of a cell."""
    with lab.open(
        [ROWS, "df['photo'].iloc[1]", "df['speech'].iloc[0]", "df['vector'].iloc[0]", "df['photo'].iloc[2]"]
    ) as page:
        page.run()
        for at in (1, 3, 4):
            drawn(page.output(at), 1)
        assert page.output(2).locator("audio").get_attribute("aria-label") == "a sound, WAV 1.0 s"
        page.screenshot(pictures / "cells.png")


def test_hostile_cells_do_nothing(lab: Any, pictures: Path) -> None:
    """Nothing runs, nothing is fetched, nothing hangs: live, reopened, in preview, gallery and player."""
    shown = [
        "bad.cfai.preview(n=50)",
        "bad.cfai.gallery('media', caption=name, n=50)",
        "bad.cfai.player(name, caption='media', n=50)",
    ]
    path = lab.write([ROWS, HOSTILE, *shown])
    with lab.open(path, size=(1400, 3000)) as page:
        page.run()
        for at in (2, 3, 4):
            page.output(at).get_by_text("decompression bomb").first.wait_for(state="attached")
            assert page.output(at).locator("script, iframe, svg.hostile, a[href^='javascript']").count() == 0
        page.output(2).scroll_into_view_if_needed()
        page.screenshot(pictures / "hostile.png")
        page.save()
    with lab.open(path, kernel=False, size=(1400, 3000)) as page:
        page.output(2).get_by_text("decompression bomb").first.wait_for()
        page.screenshot(pictures / "hostile-reopened.png")


def test_saved_pages(lab: Any, pictures: Path, tmp_path: Path) -> None:
    """A saved preview and a saved map sort, filter and search without a kernel; they load and run nothing else."""
    evil = "</script><script>window.__alarm=1</script><img src=x onerror=window.__alarm=1> https://example.com/a.png"
    frame = pd.DataFrame({"text": [f"number {at} {evil * (at % 2)}" for at in range(20)], "score": range(20)})
    frame["place"] = [[at % 5, at // 5] for at in range(20)]
    frame.cfai.preview(["text", "score"]).save(tmp_path / "rows.html", title=evil)
    frame.cfai.map("place", text="text", color="text", progress=False).save(tmp_path / "map.html", title=evil)
    with cfai_nb.connect("emulator", store=False):
        review = frame.cfai.review("text", ["a", evil] * 10, n=20, name=evil)
    review.note(review.rows[0], evil)
    review.save(tmp_path / "review.html", title=evil)
    context = lab.context.browser.new_context(offline=True)
    for name in ("rows", "map", "review"):
        page, wrong = context.new_page(), []
        page.on("console", lambda message, wrong=wrong: wrong.append(message.text))
        page.on("request", lambda request, wrong=wrong: wrong.append(request.url))
        page.goto((tmp_path / f"{name}.html").as_uri())
        if name == "rows":
            page.get_by_role("button", name="score").click()
            page.get_by_role("button", name="score").click()
            assert page.locator("tbody tr").first.inner_text().startswith("19")
        page.get_by_label("Find by text" if name == "map" else "Filter").fill("number 1")
        assert page.get_by_role("status").inner_text() == "11 of 20 rows"
        page.screenshot(path=str(pictures / f"saved-{name}.png"))
        assert page.evaluate("window.__alarm === undefined")
        assert [each for each in wrong if not each.startswith(("file:", "data:"))] == []
        page.close()
    context.close()
