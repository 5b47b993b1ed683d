"""README and documentation show the project at work: this makes the pictures, for light and for dark pages.

``CFAI_PICTURES=notebooks/pictures`` keeps them, cropped to what they show.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

pytestmark = pytest.mark.slow

SETTING = """import cfai_nb as cf
session = cf.connect("emulator", store=False, standins="auto")  # the local model, as for whoever follows the README
tickets = cf.sample("tickets").head(200)
shop = cf.sample("products").iloc[[1, 4, 7]].rename(columns={"name": "product", "picture": "photo"})
shop["voice"] = shop.cfai.speak("product", progress=False)
shop["caption"] = shop.cfai.caption("photo", progress=False)
shop["kind"] = shop.cfai.classify("description", ["kettle", "lamp", "watch", "vacuum"], progress=False)
shop["vector"] = shop.cfai.embed("description", progress=False)
tickets["vector"] = list(tickets.cfai.embed("text", progress=False))
tickets["topic_guess"] = tickets.cfai.classify("text", ["billing", "shipping", "bug"], progress=False)
short = tickets.cfai.summarize("text", progress=False)
described = {"account": "logging in, profile, personal data", "billing": "charges, invoices, prices",
             "bug": "something does not work or crashes", "returns": "refund, exchange, warranty",
             "shipping": "parcel, delivery, tracking", "other": "praise, wishes, anything else"}
trial = tickets.cfai.playground("text", rows=[31, 39, 121], truth="topic", mode="classify", labels=list(described))
trial.add(labels=described)
trial.run()
near = tickets.cfai.map("vector", text="text", color="topic")
near.select(tickets["topic"] == "shipping")"""
SHOWN = {
    "preview": 'shop.cfai.preview(["product", "photo", "voice", "caption", "kind", "vector", "price"])',
    "map": "near",
    "cost": "axes = cf.plots.cost(cf.ledger())",
    "playground": "trial",
}


_MARGIN = 12
_OUTPUT = ".jp-Cell-outputArea > .jp-OutputArea-child > .jp-OutputArea-output"


def crop(path: Path) -> None:
    """Cut off the empty margins of a picture, but for a few pixels."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    ground = Image.new("RGB", picture.size, picture.getpixel((picture.width - 1, picture.height - 1)))
    box = ImageChops.difference(picture, ground).getbbox()
    assert box is not None, f"{path.name} is empty"
    left, top, right, bottom = box
    kept = (left - _MARGIN, top - _MARGIN, right + _MARGIN, bottom + _MARGIN)
    whole = Image.new("RGB", (kept[2] - kept[0], kept[3] - kept[1]), ground.getpixel((0, 0)))
    whole.paste(picture.crop(box), (_MARGIN, _MARGIN))
    whole.save(path, optimize=True)


def test_a_picture_is_cropped_to_what_it_shows(tmp_path: Path) -> None:
    """Empty margins go, and the same narrow one stays on all sides, also where the content touched the edge."""
    picture = Image.new("RGB", (200, 100), "white")
    picture.paste((200, 0, 0), (0, 30, 40, 50))
    picture.save(tmp_path / "a.png")
    crop(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as made:
        assert made.size == (40 + 2 * _MARGIN, 20 + 2 * _MARGIN)
        assert made.getpixel((_MARGIN, _MARGIN)) == (200, 0, 0)


@pytest.mark.skipif("CFAI_PICTURES" not in os.environ, reason="pictures are made on request: CFAI_PICTURES=folder")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_pictures_of_the_documentation(lab: Any, theme: str) -> None:
    """Preview, map, cost plot and playground show themselves in JupyterLab, each with something to see."""
    pytest.importorskip("jscatter", reason="jupyter-scatter is not installed: pip install -e '.[map]'")
    folder = Path(os.environ["CFAI_PICTURES"])
    folder.mkdir(parents=True, exist_ok=True)
    with lab.open([SETTING, *SHOWN.values()]) as page:
        if theme == "dark":
            page.dark()
        page.run()
        page.browser.wait_for_timeout(3_000)  # the map draws itself
        for at, name in enumerate(SHOWN, start=1):
            path = folder / f"{name}{'' if theme == 'light' else '-dark'}.png"
            page.output(at).scroll_into_view_if_needed()
            page.browser.wait_for_timeout(1_000)  # a picture is decoded when it is in sight
            page.screenshot(path, page.output(at).locator(_OUTPUT).last)
            crop(path)
            assert path.stat().st_size > 5_000
