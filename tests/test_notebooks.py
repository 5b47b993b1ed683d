"""The notebooks: they run from top to bottom without an account, and what is kept in them is what a run gives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
#: What differs from run to run, or from one version of pandas to the next.
PASSING = re.compile(r"\d+\.\d s\b|\s+")


def read(path: Path) -> Any:
    """Read a notebook."""
    return nbformat.read(path, as_version=4)


def outputs(notebook: Any) -> list[list[tuple[str, ...]]]:
    """Kinds of the outputs of each code cell, in order."""
    return [
        [(o.output_type, *sorted(o.get("data", ()))) for o in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def said(notebook: Any) -> list[str]:
    """Receipts and printed lines, without what passes."""
    texts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "stream":
                texts.append(output.text)
            elif output.output_type == "display_data" and "image/png" not in output.data:
                texts.append(output.data["text/plain"])
    return [PASSING.sub(" ", text).strip() for text in texts]


def test_there_is_a_quickstart() -> None:
    """The notebook the README names is there."""
    assert "01_quickstart.ipynb" in [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_without_an_account(path: Path, bare_environment: dict[str, str], tmp_path: Path) -> None:
    """In a fresh kernel with no credentials every cell runs, and shows and says what is kept in the file."""
    kept, fresh = read(path), read(path)
    inline = bare_environment | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    client = nbclient.NotebookClient(
        fresh, timeout=90, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute(env=inline)
    assert outputs(fresh) == outputs(kept)
    assert said(fresh) == said(kept)


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
    assert path.stat().st_size < 500_000
