"""The notebooks: they run from top to bottom without an account, and what is kept in them is what a run gives."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import kept_vectors
import nbclient
import nbformat
import pytest
import yaml

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
#: What differs from run to run, or from one version of pandas to the next.
PASSING = re.compile(r"\d+\.\d s\b|\d+ ms\b|\s+")
#: Lines that are there only where something took long enough.
WAITING = re.compile(r"(?![✓!✗…]).+ · \d+(\.\d)? s( · done)?\s*")  # a receipt begins with a sign
#: Notebooks about what is installed, or stopped at a moment: their numbers are those of this machine.
LOCAL = {"02_explore_embeddings", "06_files_larger_than_memory"}
#: Notebooks that the local stand-in answers: 25 to 40 seconds of one core for vectors that no test before has kept.
MEANING = {"01_quickstart", "02_explore_embeddings", "07_how_sure"}
#: Bytes a notebook may have; those with more than a picture or two say how many.
LARGEST = {
    "01_quickstart": 800_000,
    "05_cost_limits_resuming": 700_000,
    "02_explore_embeddings": 1_500_000,
    "03_pictures_and_sound": 2_000_000,
}


def read(path: Path) -> Any:
    """Read a notebook."""
    return nbformat.read(path, as_version=4)


def lasting(cell: Any) -> list[Any]:
    """Outputs of a cell without the lines that say how long something takes; an answer that is streamed is one."""
    lasts: list[Any] = []
    for output in cell.outputs:
        if output.output_type == "stream":
            lines = (line[line.rfind("\r") + 1 :] for line in output.text.splitlines(keepends=True))
            text = "".join(line for line in lines if not WAITING.fullmatch(line))
            if not text:
                continue
            before = lasts[-1] if lasts else {}
            if before.get("name") == output.name:
                text = lasts.pop().text + text
            lasts.append(nbformat.from_dict({**output, "text": text}))
        elif not WAITING.fullmatch(output.get("data", {}).get("text/plain", "")):
            lasts.append(output)
    return lasts


def test_what_takes_long_is_left_out() -> None:
    """A line that is written over and over goes, what was printed before it stays."""
    texts = ["@cf/baai/bge-m3 (1024)\n", "\rmap · 1 s", "\rmap · t-SNE · 2 s   \n", "said\n"]
    cells = [nbformat.v4.new_output("stream", text=text) for text in texts]
    whole = nbformat.v4.new_output("stream", text="".join(texts))
    for given in (cells, [whole]):
        (kept,) = lasting(nbformat.v4.new_code_cell(outputs=given))
        assert kept.text == "@cf/baai/bge-m3 (1024)\nsaid\n"


def outputs(notebook: Any, live: bool = False) -> list[list[tuple[str, ...]]]:
    """Kinds of the outputs of each code cell, in order; `live` leaves out what only a running kernel can show."""
    return [
        [(o.output_type, *sorted(k for k in o.get("data", ()) if not (live and "widget" in k))) for o in lasting(cell)]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def said(notebook: Any, numbers: bool = True) -> list[str]:
    """Receipts and printed lines, without what passes, and without `numbers` where they depend on the machine."""
    texts = []
    for cell in notebook.cells:
        for output in lasting(cell) if cell.cell_type == "code" else ():
            if output.output_type == "stream":
                texts.append(output.text)
            elif output.output_type == "display_data" and "image/png" not in output.data:
                texts.append(output.data["text/plain"])
    texts = texts if numbers else [re.sub(r"\d[\d.,]*", "#", text) for text in texts]
    return [PASSING.sub(" ", text).strip() for text in texts]


def test_all_notebooks_are_run() -> None:
    """The notebooks are numbered without a gap, so that none is missing below."""
    assert [path.name[:3] for path in NOTEBOOKS] == [f"{number:02}_" for number in range(1, 8)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_imports_what_is_installed_for_notebooks(path: Path) -> None:
    """A notebook imports the package, the standard library, and what the environment file brings."""
    listed = yaml.safe_load((FOLDER.parent / "environment.yml").read_text("utf-8"))["dependencies"]
    brought = {each.split()[0].removesuffix("-base") for each in listed if isinstance(each, str)}
    code = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "code")
    names = set(re.findall(r"^ *(?:import|from) (\w+)", code, re.MULTILINE))
    assert names - sys.stdlib_module_names <= {"cfai_nb", *brought}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_without_an_account(
    path: Path, bare_environment: dict[str, str], tmp_path: Path, vectors_folder: Path
) -> None:
    """In a fresh kernel with no credentials every cell runs, and shows and says what is kept in the file."""
    kept, fresh = read(path), read(path)
    inline = bare_environment | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    if path.stem in MEANING:
        del inline["CFAI_STANDINS"]
        inline["IPYTHONDIR"] = str(kept_vectors.startup(tmp_path / "ipython", vectors_folder))
    client = nbclient.NotebookClient(
        fresh, timeout=180, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute(env=inline)
    assert outputs(fresh, live=True) == outputs(kept)
    assert said(fresh, path.stem not in LOCAL) == said(kept, path.stem not in LOCAL)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_kept_outputs_are_static(path: Path) -> None:
    """Outputs are kept, with pictures and receipts; no widget state, no warnings, and nothing of anybody's machine."""
    notebook = read(path)
    assert "widgets" not in notebook.metadata
    kinds = {kind for cell in outputs(notebook) for output in cell for kind in output}
    assert {"image/png", "text/html"} <= kinds
    assert not {kind for kind in kinds if "widget" in kind or kind == "error"}
    assert "stderr" not in {o.get("name") for c in notebook.cells for o in c.get("outputs", ())}
    assert not re.search(r"/(home|root|tmp|Users|work)/", path.read_text("utf-8"))
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert all(cell.metadata == {} for cell in notebook.cells)
    assert path.stat().st_size < LARGEST.get(path.stem, 500_000)
