"""The playground: prompts and models tried on a few rows until they are a line of code.

`playground` is the widget, `variants` the drafts it edits, `trial` what came of them; `panel` and `page` show it, and
`full_run` runs the result on all rows.
"""

from .playground import Playground

__all__ = ["Playground"]
