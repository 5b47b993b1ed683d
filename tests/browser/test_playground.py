"""The playground in a real JupyterLab."""

from pathlib import Path

PICS = Path("/tmp/w/h6/pics")


def test_it(lab) -> None:
    """x"""
    with lab.open(
        [
            "import cfai_nb as cf\ncf.connect(cf.emulator.Emulator(rate=None, latency=0.5), store=False)\ndf=cf.sample('tickets')",
            "p = df.cfai.playground('text', n=3)\np",
        ]
    ) as page:
        page.browser.set_default_timeout(15000)
        page.screenshot(PICS / "open.png")
        try:
            page.run()
        finally:
            page.screenshot(PICS / "run.png")
        page.browser.wait_for_timeout(1500)
        page.screenshot(PICS / "p0.png")
        out = page.output(1)
        box = out.get_by_label("Prompt", exact=True)
        box.fill("Summarize in five words: {te")
        page.browser.wait_for_timeout(800)
        page.screenshot(PICS / "p1.png")
        page.button(1, "{text}").click()
        page.button(1, "Add variant").click()
        page.browser.wait_for_timeout(800)
        out.get_by_label("Model").fill("llama-3.2-3b-instruct")
        page.button(1, "Run").click()
        page.browser.wait_for_timeout(300)
        page.screenshot(PICS / "p2.png")
        page.browser.wait_for_timeout(2500)
        page.screenshot(PICS / "p3.png")
        out.get_by_label("Prompt", exact=True).fill("Summarize in ten words: {text} {product}")
        page.button(1, "Run").click()
        page.browser.wait_for_timeout(3000)
        page.button(1, "Price all rows").click()
        page.browser.wait_for_timeout(1000)
        page.button(1, "Run on all rows").click()
        page.browser.wait_for_timeout(1500)
        page.screenshot(PICS / "p4.png")
        print(page.errors, page.outside)
