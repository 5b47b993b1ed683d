"""How it looks: data and an `ax` in, the axes out. matplotlib is used in this room only.

`clusters` draws a map of vectors or points with its labels on it, `similarity` how alike rows are, `cost` what calls
have cost, `confidence` how sure a model was and whether it was right to be, `latency` and `concurrency` how a run
went, `compare` how models did on the same rows. None touches a global style or shows anything by itself.

All take `ax` (where to draw; without one a new figure is made), `title` (in place of the usual one; ``""`` for none)
and `mark` (a word to stamp on it). What the emulator made is stamped by itself where the data say so, as results of
verbs, vectors, runs, comparisons and the ledger do; plain arrays and lists cannot.
"""

from .clusters import clusters
from .compare import compare
from .confidence import confidence
from .cost import cost
from .similarity import similarity
from .timing import concurrency, latency

__all__ = ["clusters", "compare", "concurrency", "confidence", "cost", "latency", "similarity"]
