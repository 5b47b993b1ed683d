"""The house stays small: rooms, files, functions, names, and the files one row passes through."""

from __future__ import annotations

import ast
import collections
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cfai_nb as cf

HOUSE = Path(cf.__file__).parent
#: What is allowed.  A number here only goes down, but for the file of a new verb, plot, widget or family of models.
ENTRIES, FILES, LINES_OF_A_FILE, LINES_OF_A_FUNCTION, NAMES_TWICE = 18, 198, 450, 60, 3
FILES_OF_A_ROW, CHANGES_OF_FILE = 37, 222


def sources() -> list[Path]:
    """The package's modules."""
    return sorted(HOUSE.rglob("*.py"))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """(name, lines of its body without the docstring) of each function of a module."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            if body:
                yield f"{path.relative_to(HOUSE)}:{node.name}", (node.end_lineno or 0) - body[0].lineno + 1


def test_the_top_of_the_package_is_seen_at_a_glance() -> None:
    """There are few entries, so that one look says where a thing belongs."""
    entries = {path.relative_to(HOUSE).parts[0] for path in [*sources(), HOUSE / "py.typed"]}
    assert len(entries) <= ENTRIES, sorted(entries)


def test_files_are_few_and_of_a_readable_size() -> None:
    """A file is one idea; none is longer than what can be read in one go."""
    count = len(sources())
    assert count <= FILES, (
        f"{count} files: put the new part into the file that has this idea, or merge two; for a new verb, plot, widget "
        "or family of models, which have a file each, raise FILES in tests/test_house.py by one"
    )
    sizes = {str(path.relative_to(HOUSE)): len(path.read_text("utf-8").splitlines()) for path in sources()}
    assert {name: lines for name, lines in sizes.items() if lines > LINES_OF_A_FILE} == {}, "split these"


def test_functions_fit_on_a_screen() -> None:
    """No function's body is longer than a screen."""
    assert {n: lines for path in sources() for n, lines in functions(path) if lines > LINES_OF_A_FUNCTION} == {}


def test_a_module_name_means_one_thing() -> None:
    """Few module names occur twice, so that an import says where it leads."""
    names = collections.Counter(path.stem for path in sources() if not path.stem.startswith("__"))
    assert len(twice := [name for name, count in names.items() if count > 1]) <= NAMES_TWICE, twice


TRACE = """
import sys, threading, pandas as pd, cfai_nb as cf
from cfai_nb._engine import bridge
bridge.BEAT = 60.0  # one look at the progress, at the end: how many there are depends on how busy the machine is
root, apart, entered, on = cf.__path__[0] + "/", cf.__path__[0] + "/emulator/", {}, False
def watch(frame, event, argument):
    name = frame.f_code.co_filename
    if on and event == "call" and name.startswith(root) and not name.startswith(apart):
        passed = entered.setdefault(threading.get_ident(), [])
        if not passed or passed[-1] != name:
            passed.append(name)
threading.setprofile(watch)
sys.setprofile(watch)
frame = pd.DataFrame({"text": ["a first row", "a second row"]})
with cf.connect("emulator", store=sys.argv[1]):
    frame.head(1).cfai.embed("text", progress=False)
    on = True
    frame.tail(1).cfai.embed("text", progress=False)
    on = False
files = sorted({name[len(root):] for passed in entered.values() for name in passed})
print(len(files), sum(map(len, entered.values())), *files)
"""


@pytest.mark.slow
def test_one_row_passes_through_few_files(tmp_path: Path) -> None:
    """Who follows one new row of ``embed`` from the frame to the store and back opens few files."""
    command = [sys.executable, "-c", TRACE, str(tmp_path / "store.sqlite")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    count, changes, *names = done.stdout.split()
    assert int(count) <= FILES_OF_A_ROW, names
    assert int(changes) <= CHANGES_OF_FILE
