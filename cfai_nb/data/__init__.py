"""Sample frames with known answers, without a download: `sample("tickets")`, `"products"` and `"docstrings"`.

The tickets and products are files of this package, with pictures that the emulator drew; the docstrings are read from
the sources of installed libraries. Users, the demo, notebooks and tests load them.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import inspect
import re
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path

import pandas as pd

_HERE = Path(__file__).parent
_STACK = ("matplotlib", "numpy", "pandas", "scipy", "sklearn")
_ROWS = 1_000
_PER_FILE = 5  # a few from each file, so that no long module dominates its package
_LONGEST_FILE = 300_000  # bytes: limits the time of parsing, whatever is installed
_SHORTEST, _LONGEST = 80, 600  # characters of a text
# Vendored, legacy and internal code, which does not show what a library does.
_SKIPPED = """
tests testing externals extern _vendored array_api_extra distutils f2py fftpack compat sphinxext util utils _examples
_pyinstaller typing _typing conftest.py setup.py
"""
_SECTION = re.compile(r"^.*\n\s*(?:-{3,}|={3,})\s*$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"%\(\w+\)s|\{\w+\}")  # a docstring that is a template, to be filled in later


def sample(name: str) -> pd.DataFrame:
    """Load a small frame to try things on.

    Parameters
    ----------
    name : {"tickets", "products", "docstrings"}
        ``"tickets"``: 606 hand-written customer-support tickets of an invented shop, with the columns ``id``,
        ``text``, ``product``, ``channel``, ``priority``, ``topic`` (the right answer, one of six), ``mood`` (negative,
        neutral or positive), ``language`` (ISO 639-1) and ``ambiguous`` (a second topic that fits as well, missing for
        most). A few texts are missing, a few occur twice, two in five are not in English.

        ``"products"``: the 12 things the shop sells, with the columns ``id``, ``name``, ``category`` (kettle, lamp,
        watch or vacuum), ``color``, ``price``, ``description`` and ``picture`` (the bytes of a JPEG of 320 x 320
        pixels).

        ``"docstrings"``: up to 1,000 docstrings of the installed NumPy, SciPy, pandas, scikit-learn and Matplotlib,
        200 from each where there are as many, with the columns ``name``, ``package`` (the right answer), ``module`` and
        ``text`` (the opening paragraphs, at most 600 characters). The sources are read, not imported. The rows are
        the same on every call; other versions of the libraries give other rows.

    Returns
    -------
    pandas.DataFrame
        A new frame on every call, with a plain index from 0.

    Raises
    ------
    ValueError
        There is no sample of that name; the message lists the names.

    Examples
    --------
    >>> cf.sample("tickets").loc[0, "topic"]
    'billing'
    """
    if name not in _SAMPLES:
        near = difflib.get_close_matches(str(name).lower(), _SAMPLES, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"there is no sample {name!r}; the samples are {', '.join(map(repr, _SAMPLES))}.{hint}")
    return _SAMPLES[name]()


def _tickets() -> pd.DataFrame:
    return pd.read_csv(_HERE / "tickets.csv")


def _products() -> pd.DataFrame:
    made = pd.read_csv(_HERE / "products.csv")
    stems = made["picture"]
    made.insert(3, "color", stems.str.partition("_")[2])
    pictures = [(_HERE / "products" / f"{stem}.jpg").read_bytes() for stem in stems]
    return made.assign(picture=pd.Series(pictures, index=made.index, dtype=object))


def _docstrings() -> pd.DataFrame:
    return pd.DataFrame(list(_read_stack()), columns=["name", "package", "module", "text"])


_SAMPLES: dict[str, Callable[[], pd.DataFrame]] = {
    "tickets": _tickets,
    "products": _products,
    "docstrings": _docstrings,
}


@lru_cache(maxsize=1)
def _read_stack() -> tuple[tuple[str, str, str, str], ...]:
    """Return rows of every installed package of the stack: equally many of each, no text twice."""
    seen: set[str] = set()
    installed = [(package, root) for package in _STACK if (root := _source(package))]
    share = _ROWS // max(1, len(installed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # invalid escapes in the sources of others,
        warnings.simplefilter("ignore", DeprecationWarning)  # which are this warning in Python 3.11
        return tuple(chain.from_iterable(islice(_read_package(*each, seen), share) for each in installed))


def _source(package: str) -> Path | None:
    """Return the folder of an installed package, found without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations)))
    return folder if folder.is_dir() else None


def _read_package(package: str, root: Path, seen: set[str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield docstrings of one package, a few from each file, the subpackages taking turns."""
    for path in _by_turns(root):
        parts = [package, *path.relative_to(root).with_suffix("").parts]
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        try:
            tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError):  # skip a file that cannot be read, keep the rest
            continue
        fresh = ((name, text) for name, text in _read_module(tree) if text not in seen)
        for name, text in islice(fresh, _PER_FILE):
            seen.add(text)
            yield f"{module}.{name}", package, module, text


def _by_turns(root: Path) -> Iterator[Path]:
    """Yield source files of a package: one of each subpackage, then the next of each, always in the same order."""
    queues: dict[str, list[Path]] = {}
    skipped = set(_SKIPPED.split())
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root).parts
        hidden = inside[0].startswith("_") and inside[0] not in ("_core", "__init__.py")
        if not hidden and skipped.isdisjoint(inside) and path.stat().st_size <= _LONGEST_FILE:
            queues.setdefault("/".join(inside[:-1][:2]), []).append(path)
    for turn in range(max(map(len, queues.values()), default=0)):
        yield from (queue[turn] for queue in queues.values() if turn < len(queue))


def _read_module(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of the public functions and classes of a module, then of their public methods."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    outer = [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
    inner = [
        (f"{node.name}.{method.name}", method)
        for node in outer
        if isinstance(node, ast.ClassDef)
        for method in node.body
        if isinstance(method, kinds) and not method.name.startswith("_")
    ]
    for name, node in [*((node.name, node) for node in outer), *inner]:
        text = _opening(ast.get_docstring(node, clean=False) or "")
        if len(text) >= _SHORTEST:
            yield name, text


def _opening(docstring: str) -> str:
    """Return a docstring up to its first section, cut after a sentence or a word; empty if it is a template."""
    if _PLACEHOLDER.search(docstring):
        return ""
    text = _SECTION.split(inspect.cleandoc(docstring), maxsplit=1)[0].strip()
    if len(text) <= _LONGEST:
        return text
    text = text[: _LONGEST - 2]
    sentence = text.rfind(". ") + 1
    return text[:sentence] if sentence > _LONGEST // 2 else text.rsplit(None, 1)[0] + " …"
