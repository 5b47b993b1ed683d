"""What vectors say: who is near, what is double, a flat picture, the groups, and the words that tell them apart.

scikit-learn is used in this room only, and loaded (with scipy, which it brings) when a function runs, not when the room
is imported.
"""

from .clustering import cluster
from .duplicates import duplicates
from .matrix import middle
from .neighbours import outliers, search, similarity
from .ordering import ordered
from .projection import Projection, project
from .topic_terms import terms
from .vector_column import Gathered

__all__ = [
    "Gathered",
    "Projection",
    "cluster",
    "duplicates",
    "middle",
    "ordered",
    "outliers",
    "project",
    "search",
    "similarity",
    "terms",
]
