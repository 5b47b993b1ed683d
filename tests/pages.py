"""The pages of the documentation as what they are made of: blocks of code, each with what it shows.

``test_docs.py`` runs them. ``python tests/pages.py docs/howto/labels.md ...`` runs pages, and writes what a block shows
now where it showed something else; look at the difference before you keep it.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import functools
import inspect
import io
import re
import sys
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").rglob("*.md") if "_build" not in p.parts)]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def project() -> dict[str, Any]:
    """The table [project] of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return table


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
    # A cell does not have the future imports of this module: annotations in it are not texts.
    compiled = functools.partial(compile, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            evaluate(compiled(tree, "<page>", "exec"), names)
            value = None
            if last is not None:
                value = evaluate(compiled(last, "<page>", "eval"), names)
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


def differences(text: str) -> list[tuple[str, str, str, int]]:
    """(code, what it shows, what it gives, line) of the blocks of a page that do not show what they give."""
    names: dict[str, Any] = {"__name__": "page"}
    found = []
    for code, shown, line in examples(text):
        got = run(code, names)
        if not agrees(shown, got):
            found.append((code, shown, got, line))
    return found


def refresh(path: Path) -> None:
    """Write what the blocks of a page give into the page."""
    text = path.read_text("utf-8")
    for code, shown, got, line in differences(text):
        print(f"{path.name}, line {line}\n{got}", flush=True)
        kept = "\n".join(each.rstrip() for each in got.strip("\n").splitlines())
        before = f"```python\n{code}```\n"
        text = text.replace(f"{before}\n```text\n{shown}```", f"{before}\n```text\n{kept}\n```")
    path.write_text(text, "utf-8")


if __name__ == "__main__":
    import os
    import tempfile

    for name in sys.argv[1:]:
        os.environ["CFAI_STORE"] = str(Path(tempfile.mkdtemp()) / "store.sqlite")
        refresh(Path(name))
