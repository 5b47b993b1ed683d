"""The README shows the project at work: this makes its pictures, ``CFAI_PICTURES=notebooks/pictures`` keeps them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

SETTING = """import cfai_nb as cf
import pandas as pd
session = cf.connect("emulator", store=False)
tickets = cf.sample("tickets")
shop = pd.DataFrame({"product": ["a red circle", "two blue squares", "a green triangle"]})
shop["photo"] = shop.cfai.image("{product}", size=256, progress=False)
shop["voice"] = shop.cfai.speak("product", progress=False)
shop["caption"] = shop.cfai.caption("photo", progress=False)
shop["vector"] = shop.cfai.embed("product", progress=False)
tickets["vector"] = list(tickets.cfai.embed("text", progress=False))
tickets["topic_guess"] = tickets.cfai.classify("text", ["billing", "shipping", "bug"], progress=False)
short = tickets.cfai.summarize("text", progress=False)
trial = tickets.cfai.playground("In five words: {text}", n=3)
trial.add(prompt="In ten words: {text}", model="llama-3.2-3b-instruct")
trial.run()"""
SHOWN = {
    "preview": 'shop.cfai.preview(["product", "photo", "voice", "caption", "vector"])',
    "map": 'tickets.cfai.map("vector", text="text", color="topic")',
    "cost": "axes = cf.plots.cost(cf.ledger())",
    "playground": "trial",
}


@pytest.mark.skipif("CFAI_PICTURES" not in os.environ, reason="pictures are made on request: CFAI_PICTURES=folder")
def test_the_readmes_pictures(lab: Any) -> None:
    """Preview, map, cost plot and playground show themselves in JupyterLab, each with something to see."""
    pytest.importorskip("jscatter", reason="jupyter-scatter is not installed: pip install -e '.[map]'")
    folder = Path(os.environ["CFAI_PICTURES"])
    folder.mkdir(parents=True, exist_ok=True)
    with lab.open([SETTING, *SHOWN.values()]) as page:
        page.run()
        page.browser.wait_for_timeout(3_000)  # the map draws itself
        for at, name in enumerate(SHOWN, start=1):
            page.screenshot(folder / f"{name}.png", page.output(at))
            assert (folder / f"{name}.png").stat().st_size > 5_000
