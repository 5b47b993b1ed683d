"""Exact operations on matrices of embedding vectors: search, duplicates, clusters, projection and topic terms.

Takes matrices or columns of vectors and returns arrays.  Called by the vector verbs of ``frame``, by plots and widgets.
scikit-learn is used in this room only, and imported (with scipy, which it depends on) when a function runs.
"""

from .clustering import cluster, leaf_order, topic_terms
from .matrix import VectorColumn, mean_direction
from .neighbors import duplicates, outliers, search, similarity
from .projection import Projection, project

__all__ = [
    "Projection", "VectorColumn", "cluster", "duplicates", "leaf_order", "mean_direction", "outliers", "project",
    "search", "similarity", "topic_terms",
]  # fmt: skip
