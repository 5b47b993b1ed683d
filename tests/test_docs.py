"""The documentation tells the truth: README and pages are run in order, and compared with what they say they show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kept_vectors
import pandas as pd
import pytest
from freeze import HINT, table
from pages import PAGES, ROOT, agrees, differences, examples, project, run

import cfai_nb as cf
from cfai_nb.emulator.standins.local_model import LocalModel

README = (ROOT / "README.md").read_text("utf-8")
TEXTS = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in PAGES}
WITH_CODE = [name for name, text in TEXTS.items() if "```python" in text]


@pytest.fixture(autouse=True)
def _local_stand_in(monkeypatch: pytest.MonkeyPatch, vectors_folder: Path) -> None:
    """Let the local model answer, as it does for whoever follows a page; it reads no text twice in a run."""
    monkeypatch.delenv("CFAI_STANDINS")
    monkeypatch.setattr(LocalModel, "raw", kept_vectors.kept(LocalModel.raw, vectors_folder))


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_CODE)
def test_every_block_shows_what_it_says(name: str) -> None:
    """The blocks of a page, run in order with a store of its own, show exactly what stands below them."""
    wrong = [
        f"{name}, line {line}:\n{code}\nshows:\n{shown}\nbut gives:\n{got}"
        for code, shown, got, line in differences(TEXTS[name])
    ]
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("name", WITH_CODE)
def test_blocks_have_their_output(name: str) -> None:
    """Every block that does not just set up a page is followed by what it shows."""
    found = list(examples(TEXTS[name]))
    assert [line for code, shown, line in found if not shown.strip() and "import " not in code] == []
    assert all(set(shown.strip()) != {"."} for _, shown, _ in found)


def test_the_pages_are_all_there() -> None:
    """README and the pages people search for have code that is run."""
    assert len(WITH_CODE) >= 20
    assert sum(len(list(examples(text))) for text in map(TEXTS.__getitem__, WITH_CODE)) >= 70


@pytest.mark.parametrize(("code", "shown"), [("1 + 1", "3"), ("print('a')", "b"), ("1 / 0", ""), ("x = 1", "1")])
def test_a_lie_is_noticed(code: str, shown: str) -> None:
    """The comparison fails when a block shows something else, an error, or nothing."""
    ((block, said, _),) = examples(f"```python\n{code}\n```\n\n```text\n{shown}\n```\n")
    assert not agrees(said, run(block, {}))


def test_the_two_commands() -> None:
    """The commands for demo and tests are there once each, and set up everything by themselves."""
    commands = re.findall(r"<!-- command: (\w+) -->\s*```sh\n(.*?)```", README, re.DOTALL)
    assert [name for name, _ in commands] == ["demo", "test"]
    for _, command in commands:
        assert command.startswith("python3 -m venv .venv && ")
        assert command.count("\n") == 1
    assert commands[0][1].strip().endswith("cfai-nb demo")
    assert commands[1][1].strip().endswith("pytest")


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_names_exist(name: str) -> None:
    """Every cf.name, verb, error, command and extra a page mentions is there."""
    prose = TEXTS[name]
    assert {n for n in re.findall(r"\bcf\.(\w+)", prose) if not hasattr(cf, n)} == set()
    assert {n for n in re.findall(r"\.cfai\.(\w+)", prose) if not hasattr(cf.Accessor, n)} == set()
    assert {n for n in re.findall(r"`(\w+Error|Refused|Stopped|Busy)`", prose) if not hasattr(cf, n)} == set()
    extras = project()["optional-dependencies"]
    named = [name for group in re.findall(r'"\.\[([\w,]+)\]"', prose) for name in group.split(",")]
    assert set(named) <= set(extras)
    from cfai_nb.cli import parser

    known = next(iter(a.choices for a in parser()._actions if isinstance(a.choices, dict)))
    assert set(re.findall(r"cfai-nb (\w+)", prose)) <= set(known)


def named(path: str) -> list[Path]:
    """The files or folders a guide names: from the root, from the package, or a file by its name alone."""
    places = [ROOT / path, ROOT / "cfai_nb" / path]
    return [place for place in places if place.exists()] or ([] if "/" in path else [*ROOT.glob(f"cfai_nb/**/{path}")])


@pytest.mark.parametrize("guide", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_guides_name_what_is_there(guide: str) -> None:
    """Every file and folder that a guide names is there, and every name it says is in a file is in it."""
    text = (ROOT / guide).read_text("utf-8")
    paths = {path for path in re.findall(r"`([\w./]+(?:\.py|\.json|\.pyi|/))`", text) if "docs/_build" not in path}
    assert len(paths) > 15
    assert {path for path in paths if not named(path)} == set()
    inside = re.findall(r"`(\w+)` (?:of|in) `([\w./]+\.py)`", text)
    assert inside
    assert [pair for pair in inside if not any(pair[0] in file.read_text("utf-8") for file in named(pair[1]))] == []


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_links_lead_somewhere(name: str) -> None:
    """Every relative link names a file of the project, and every link within the page a heading."""
    headings = {
        re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-")
        for h in re.findall(r"^#+ (.*)$", TEXTS[name], re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[name]):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif "://" not in target and not target.endswith((".rst", "tutorial/index.md")):
            assert (ROOT / name).parent.joinpath(target).exists(), target


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_install_lines_install_from_the_clone(name: str) -> None:
    """No page tells to install the package from an index, where it is not."""
    assert re.findall(r"pip install (?:-q )?\"?cfai", TEXTS[name]) == []


@pytest.mark.parametrize(
    ("verb", "options", "rows", "requests"),
    [
        ("embed", {}, 250, 3),
        ("embed", {"model": "qwen3-embedding-0.6b"}, 250, 8),
        ("classify", {"labels": ["a", "b"]}, 7, 7),
        ("generate", {"on": "Say {value}"}, 7, 7),
        ("generate", {"on": "Say {value}", "schema": {"said": str}}, 7, 7),
    ],
)
def test_the_table_of_requests(verb: str, options: dict[str, Any], rows: int, requests: int) -> None:
    """N distinct rows make the number of requests the table of verbs says, and their doubles make none."""
    texts = pd.Series([f"text {at}" for at in range(rows)] * 2)
    with cf.connect("emulator", standins="hash"):
        bound = getattr(texts.cfai, verb)
        planned = bound.plan(**options).estimate.requests
        bound(**options)
    assert planned == cf.last_run().event.requests == requests


def test_every_plot_is_in_the_gallery() -> None:
    """The gallery draws each plot and has a part about it."""
    page, drawn = TEXTS["docs/gallery.md"], (ROOT / "docs" / "gallery_plots.py").read_text("utf-8")
    shown = [name for name in cf.plots.__all__ if f"## {name}\n" in page and f'"{name}": (' in drawn]
    assert shown == cf.plots.__all__, "a plot has an entry in docs/gallery_plots.py and a part in docs/gallery.md"


def test_the_part_about_verbs_is_made_by_the_code() -> None:
    """Every verb that sends something stands in the table with its models, and has an example with its output."""
    text = TEXTS["docs/reference/table.md"]
    verbs = [name for name, verb in vars(cf.Accessor).items() if hasattr(verb, "task")]
    assert [name for name in verbs if f"| `{name}` |" not in text or f"shop.cfai.{name}(" not in text] == [], HINT
    assert text == table(), HINT
