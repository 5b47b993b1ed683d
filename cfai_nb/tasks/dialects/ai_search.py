"""The dialect of AI Search: the path of an instance, the options of its search, the passages it returns.

``AnswerFrom`` and the verbs of ``frame/ai_search`` use it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...errors import check_count
from .request import Json

#: The ways in which an instance searches passages.
MODES = ("vector", "keyword", "hybrid")
#: Passages an instance returns at most.
MOST_PASSAGES = 50
#: The end of a document's key, after the id of its row: AI Search recognizes types of files by their names.
SUFFIX = ".txt"
#: Metadata that AI Search itself keeps for every document.
OWN = frozenset({"filename", "folder", "timestamp"})
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")


def instance_path(instance: Any, namespace: Any) -> str:
    """Return the path of an instance, or raise ValueError for an impossible name."""
    for word, name in (("instance", instance), ("namespace", namespace)):
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f"{word}={name!r}: give a name of AI Search; lower-case letters, digits, hyphens and underscores."
            )
    return f"/ai-search/namespaces/{namespace}/instances/{instance}"


def retrieval(mode: Any, top_k: Any, filter: Mapping[str, Json] | None) -> dict[str, Json]:
    """Return the options of a search as they are sent, or raise ValueError."""
    if mode is not None and mode not in MODES:
        raise ValueError(f"mode={mode!r}: give one of {', '.join(MODES)}; by default the instance's own.")
    check_count(top_k=top_k)
    if top_k > MOST_PASSAGES:
        raise ValueError(f"top_k={top_k!r}: AI Search returns 1 to {MOST_PASSAGES} passages for a query.")
    given = {"retrieval_type": mode, "filters": dict(filter) if filter else None, "max_num_results": top_k}
    return {"retrieval": {name: value for name, value in given.items() if value is not None}}


def source(chunk: Mapping[str, Json]) -> dict[str, Json]:
    """Return one passage of an answer: ``id`` (of its row, if it has one), ``score``, ``text`` and ``metadata``."""
    item = chunk["item"]
    return {
        "id": str(item["key"]).removesuffix(SUFFIX), "score": float(chunk["score"]), "text": str(chunk["text"]),
        "metadata": {name: value for name, value in (item.get("metadata") or {}).items() if name not in OWN},
    }  # fmt: skip
