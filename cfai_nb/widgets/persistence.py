"""Work done by hand in a widget (prompts, picks, labels) outlives a second run of its cell.

In: which widget a cell is making, and of what rows.  Out: a dict that belongs to that place in the notebook: empty at
first, and the same one when the cell is run again on the same rows.  The playground, galleries and maps keep there
what a person did; outside of a notebook every dict is new.  Nothing of it outlives the kernel.
"""

from __future__ import annotations

import sys
from typing import Any

import pandas as pd

from ..frame.progress import in_notebook

#: Where a widget stands: its cell, its kind, and which of its kind it is there.
_Place = tuple[str, str, int]
_work: dict[_Place, tuple[pd.Index[Any], object, dict[str, Any]]] = {}
#: Of each cell: the number of its last run, and how many widgets of each kind that run has made.
_counts: dict[str, tuple[int, dict[str, int]]] = {}


def work(kind: str, index: pd.Index[Any], made_of: object) -> dict[str, Any]:
    """Return the dict for the work in a widget that is being made.

    Parameters
    ----------
    kind : str
        The class of the widget.
    index : Index
        Of its frame; with other rows the work starts over, since positions would mean other rows.
    made_of : object
        What else must be equal for the work to be about the same, such as the name of the column.
    """
    found = _place(kind) if in_notebook() else None
    if found is None:
        return {}
    before = _work.get(found)
    if before is None or before[1] != made_of or not before[0].equals(index):
        _work[found] = index, made_of, {}
    return _work[found][2]


def _place(kind: str) -> _Place | None:
    shell = sys.modules["IPython"].get_ipython()
    parent = shell.kernel.get_parent("shell") or {}
    # Notebooks say which cell they run; where one does not, equal code is taken for the same cell.
    cell = parent.get("metadata", {}).get("cellId") or parent.get("content", {}).get("code")
    if not cell:
        return None
    run, made = _counts.get(cell, (-1, {}))
    if run != shell.execution_count:
        run, made = shell.execution_count, {}
    _counts[cell] = run, made
    made[kind] = made.get(kind, 0) + 1
    return cell, kind, made[kind]
