"""The playground: prompts and models tried on a few rows until they are a line of code.

`variants` holds the drafts, `workbench` runs them on the sample rows, `trial` keeps the answers, `panel` and `page`
show them, `full_run` runs one on all rows, and `playground` is the widget.
"""

from .playground import Playground

__all__ = ["Playground"]
