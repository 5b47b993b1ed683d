"""Work done by hand in a widget outlives a second run of its cell, in a real kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from processes import Kernel

pytestmark = pytest.mark.slow

BEGIN = """
import numpy as np, pandas as pd, cfai_nb as cf
cf.connect("emulator", store=False)
df = pd.DataFrame({"text": ["one", "two", "three"], "vec": [np.array([x, 1.0]) for x in (0.0, 1.0, 2.0)],
                   "photo": [np.zeros((4, 4), dtype=np.uint8)] * 3})
"""


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    made = Kernel()
    made.run(BEGIN)
    yield made
    made.close()


def cell(kernel: Kernel, code: str, name: str | None = "cell-1") -> None:
    """Run a cell as a notebook does that says which one it is; None: one that does not say it."""
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    metadata = {} if name is None else {"cellId": name}
    message = kernel.client.session.msg("execute_request", content, metadata=metadata)
    kernel.client.shell_channel.send(message)
    reply = kernel.reply(message["header"]["msg_id"])
    assert reply["status"] == "ok", "\n".join(reply.get("traceback", []))


def test_a_playground_keeps_its_prompts_and_versions(kernel: Kernel) -> None:
    """Run again, a cell shows the variants and versions that were made by hand; a changed opening wins over them."""
    again = 'p = df.cfai.playground("text", n=2)'
    cell(kernel, again)
    kernel.run('p.prompt = "Say: {text}"; p.run(); p.add(prompt="Sing: {text}"); p.run(); p.truth = "text"')
    cell(kernel, again)
    assert kernel.value("[d.prompt for d in p.variants.values()]") == "['Say: {text}', 'Sing: {text}']"
    assert kernel.value("p.variant, p.prompt, len(p.versions), p.truth") == "('B', 'Sing: {text}', 2, 'text')"
    assert kernel.value("len(p.results)") == "4"
    cell(kernel, 'p = df.cfai.playground("Draw {text}", n=2)')
    assert kernel.value("p.prompt, list(p.variants), len(p.versions)") == "('Draw {text}', ['A'], 2)"


def test_answers_about_other_rows_are_not_shown_for_these(kernel: Kernel) -> None:
    """When the rows that are tried have changed, the prompt is kept and has to be run again."""
    again = 'p = df.cfai.playground("text", n=2)'
    cell(kernel, again)
    kernel.run('p.prompt = "Say: {text}"; p.run()')
    kernel.run('df["text"] = ["other", "texts", "now"]')
    cell(kernel, again)
    assert kernel.value("p.prompt, len(p.results)") == "('Say: {text}', 0)"
    kernel.run("p.run()")
    assert kernel.value("len(p.results), len(p.versions)") == "(2, 2)"


def test_a_gallery_keeps_its_picks(kernel: Kernel) -> None:
    """Picks are still there after a second run on the same rows, each in its own gallery, and not on other rows."""
    again = 'a = df.cfai.gallery("photo"); b = df.cfai.gallery("photo")'
    cell(kernel, again)
    kernel.run("a.picks = (0, 2)")
    cell(kernel, again)
    assert kernel.value("a.picks, b.picks") == "((0, 2), ())"
    kernel.run("df = df.iloc[::-1]")
    cell(kernel, again)
    assert kernel.value("a.picks") == "()"


def test_a_map_keeps_labels_and_selection(kernel: Kernel) -> None:
    """Labels written on a map and its selection are still there, and can still be taken back."""
    again = 'm = df.cfai.map("vec")'
    cell(kernel, again)
    kernel.run('m.select([0, 1]); m.label("low")')
    cell(kernel, again)
    assert kernel.value("m.frame['label'].tolist()[:2], m.selection, m.color") == "(['low', 'low'], (0, 1), 'label')"
    kernel.run("m.undo()")
    cell(kernel, again)
    assert kernel.value("'label' in m.frame, m.color") == "(False, None)"


def test_a_notebook_that_does_not_name_its_cells_goes_by_their_code(kernel: Kernel) -> None:
    """Without cell ids equal code is the same cell, and other code is another one."""
    cell(kernel, 'g = df.cfai.gallery("photo")', None)
    kernel.run("g.picks = (1,)")
    cell(kernel, 'g = df.cfai.gallery("photo")', None)
    assert kernel.value("g.picks") == "(1,)"
    cell(kernel, 'g = df.cfai.gallery("photo", n=6)', None)
    assert kernel.value("g.picks") == "()"
