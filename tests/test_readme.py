"""The README tells the truth: its blocks are run in order, and what they show is compared with what it says."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import inspect
import io
import re
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import cfai_nb as cf


@pytest.fixture(autouse=True)
def _local_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the local model answer, as it does for whoever follows the README."""
    monkeypatch.delenv("CFAI_STANDINS")


ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def fences(text: str) -> list[tuple[str, str, int]]:
    """(language, content, line) of every fenced block."""
    return [(m[1], m[2], text.count("\n", 0, m.start()) + 1) for m in FENCE.finditer(text)]


def examples(text: str) -> Iterator[tuple[str, str, int]]:
    """(code, what it shows, line) of every python block; a `text` block right behind it holds what it shows."""
    found = fences(text)
    for (language, code, line), (after, shown, _) in zip(found, [*found[1:], ("", "", 0)], strict=True):
        if language == "python":
            yield code, shown if after == "text" else "", line


def run(code: str, names: dict[str, Any]) -> str:
    """Run a block as a notebook cell: printed text, warnings, then the last expression or the error."""
    tree = ast.parse(code)
    last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None  # type: ignore[attr-defined]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            evaluate(compile(tree, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
            value = None
            if last is not None:
                value = evaluate(compile(last, "README.md", "eval", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
            if value is not None:
                print(repr(value))
        except Exception as error:
            print(f"{type(error).__name__}: {error}")
    said = "".join(f"{warning.category.__name__}: {warning.message}\n" for warning in caught)
    return said + out.getvalue()


def evaluate(code: Any, names: dict[str, Any]) -> Any:
    """Evaluate a block, with `await` at its top as in a notebook."""
    value = eval(code, names)
    return asyncio.run(value) if inspect.iscoroutine(value) else value


def agrees(shown: str, got: str) -> bool:
    """Whether the output is what is shown; `...` stands for anything, blanks for blanks."""
    return doctest.OutputChecker().check_output(shown.strip() + "\n", got.strip() + "\n", FLAGS)


@pytest.mark.slow
def test_every_block_shows_what_it_says() -> None:
    """All python blocks, run in order as one notebook on the emulator, show exactly what stands below them."""
    names: dict[str, Any] = {"__name__": "readme"}
    wrong = []
    for code, shown, line in examples(README):
        got = run(code, names)
        if not agrees(shown, got):
            wrong.append(f"README.md, line {line}:\n{code}\nshows:\n{shown}\nbut gives:\n{got}")
    assert not wrong, "\n\n".join(wrong)


def test_every_block_has_its_output() -> None:
    """There are as many python blocks as the sections promise, and each is followed by what it shows."""
    found = list(examples(README))
    assert len(found) >= 8
    assert [line for _, shown, line in found if not shown.strip()] == []
    assert all(set(shown.strip()) != {"."} for _, shown, _ in found)


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


def test_names_exist() -> None:
    """Every cf.name, verb, error, command and extra the README mentions is there."""
    prose = README
    assert {n for n in re.findall(r"\bcf\.(\w+)", prose) if not hasattr(cf, n)} == set()
    assert {n for n in re.findall(r"\.cfai\.(\w+)", prose) if not hasattr(cf.Accessor, n)} == set()
    assert {n for n in re.findall(r"`(\w+Error|Refused|Stopped|Busy)`", prose) if not hasattr(cf, n)} == set()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    named = [name for group in re.findall(r'"\.\[([\w,]+)\]"', prose) for name in group.split(",")]
    assert set(named) <= set(extras)
    from cfai_nb.cli import parser

    known = next(iter(a.choices for a in parser()._actions if isinstance(a.choices, dict)))
    assert set(re.findall(r"cfai-nb (\w+)", prose)) <= set(known)


def test_links_lead_somewhere() -> None:
    """Every relative link names a file of the project, and every link within the page a heading."""
    headings = {
        re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-")
        for h in re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif "://" not in target:
            assert (ROOT / target).exists(), target


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


def test_the_part_about_verbs_is_made_by_the_code() -> None:
    """Every verb that sends something stands in the table with its models, and has an example with its output."""
    from cfai_nb.cli.verbs import EXAMPLES, markdown

    assert set(EXAMPLES) == {name for name, verb in vars(cf.Accessor).items() if hasattr(verb, "task")}
    part = README.partition("<!-- verbs -->\n")[2].partition("\n<!-- /verbs -->")[0]
    assert part == markdown()
