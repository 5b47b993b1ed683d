"""How it looks: data and an `ax` in, the axes out. matplotlib is used in this room only.

`clusters` draws a map of vectors or points with its labels on it; `cost` draws what calls have cost.
Neither touches a global style or shows anything by itself.
"""

from .money import cost
from .scatter import clusters

__all__ = ["clusters", "cost"]
