"""How a widget is shown: its controls, and under them a page that is drawn again and again and saved as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import traitlets
from IPython.display import display

from ..frame.progress import in_notebook

_display: Callable[..., Any] = display  # IPython does not say what it takes
_VIEW = "application/vnd.jupyter.widget-view+json"


class Shown(traitlets.HasTraits):  # type: ignore[misc, unused-ignore]
    """A widget: traits, ``controls`` (an ipywidget), and a ``page`` in HTML that is its static form as well.

    The page is an output of its own under the controls: the saved notebook keeps its last state, which it could not if
    it were part of the widget, and drawing it does not take the focus out of the controls.
    """

    def __init__(self) -> None:
        super().__init__()
        self._handle: Any = None

    @property
    def controls(self) -> Any:
        """Boxes and buttons; None where there is nothing to set."""
        return None

    def page(self) -> str:
        """Return the page as HTML, live and saved alike."""
        raise NotImplementedError

    def update(self) -> None:
        """Draw the page again, where it is shown."""
        if self._handle is not None:
            self._handle.update(self._still(), raw=True)

    def _still(self) -> dict[str, Any]:
        return {"text/plain": repr(self), "text/html": self.page()}

    def _view(self) -> dict[str, Any]:
        return {_VIEW: {"version_major": 2, "version_minor": 0, "model_id": self.controls.model_id}}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return self._still() | (self._view() if self.controls is not None else {})

    def _ipython_display_(self) -> None:
        if not in_notebook():
            print(repr(self))
            return
        if self.controls is not None:
            # Nothing stands in for controls that are not alive: the page says it all.
            _display({"text/plain": "", "text/html": "<span></span>", **self._view()}, raw=True)
        self._handle = _display(self._still(), raw=True, display_id=True)
