"""How it looks: data and an `ax` in, the axes out. matplotlib is used in this room only.

`clusters` draws a map of vectors or points with its labels on it, `similarity` how alike rows are, `cost` what calls
have cost, `confidence` how sure a model was and whether it was right to be, `latency` and `concurrency` how a run
went, `compare` how models did on the same rows. None touches a global style or shows anything by itself.
"""

from .certainty import confidence
from .frontier import compare
from .heat import similarity
from .money import cost
from .scatter import clusters
from .timing import concurrency, latency

__all__ = ["clusters", "compare", "concurrency", "confidence", "cost", "latency", "similarity"]
