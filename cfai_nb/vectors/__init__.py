"""Exact operations on matrices of embedding vectors: search, duplicates, clusters, projection and topic terms.

Takes matrices or columns of vectors and returns arrays.  Called by the vector verbs of ``frame``, by plots and widgets.
scikit-learn is used in this room only, and imported (with scipy, which it depends on) when a function runs.
"""

from .clustering import cluster, leaf_order
from .duplicates import duplicates
from .matrix import mean_direction
from .neighbors import outliers, search, similarity
from .projection import Projection, project
from .topic_terms import topic_terms
from .vector_column import VectorColumn

__all__ = [
    "Projection",
    "VectorColumn",
    "cluster",
    "duplicates",
    "leaf_order",
    "mean_direction",
    "outliers",
    "project",
    "search",
    "similarity",
    "topic_terms",
]
