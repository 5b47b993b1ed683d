"""What vectors say: a flat picture of them, their groups, and the words that tell the groups apart.

scikit-learn is used in this room only, and loaded when a function runs, not when the room is imported.
"""

from .groups import cluster
from .ordering import ordered
from .projection import Projection, project
from .words import terms

__all__ = ["Projection", "cluster", "ordered", "project", "terms"]
