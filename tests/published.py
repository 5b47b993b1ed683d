"""What the service publishes about its models, as kept in ``tests/data``: input and output schemas, and the catalogue.

``tests/data/README.md`` names the sources. ``python tests/published.py SCHEMAS MODELS`` packs new copies: a folder
with one JSON file per model (``id``, ``derived_from``, ``input``, ``output``), and the catalogue as one JSON file
(``models``).
"""

from __future__ import annotations

import gzip
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
SCHEMAS, MODELS = DATA / "published_schemas.json.gz", DATA / "published_models.json"
_FIELDS = ("id", "task", "status", "deprecated", "replacement", "dimensions", "context_window", "rate_limit_per_min")
_PRICE = ("unit", "neurons", "usd")


@cache
def schemas() -> dict[str, dict[str, Any]]:
    """Return every published pair of schemas, by model id."""
    return {row["id"]: row for row in json.loads(gzip.decompress(SCHEMAS.read_bytes()))}


@cache
def models() -> list[dict[str, Any]]:
    """Return the rows of the published catalogue, retired models included."""
    rows: list[dict[str, Any]] = json.loads(MODELS.read_text("utf-8"))["models"]
    return rows


def pack(folder: Path, catalogue: Path) -> None:
    """Write both files of ``tests/data`` from new copies of the sources."""
    rows = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]
    text = json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
    SCHEMAS.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    given = json.loads(catalogue.read_text("utf-8"))
    lines = []
    for row in given["models"]:
        prices = [{name: price.get(name) for name in _PRICE} for price in row.get("price") or ()]
        kept = {name: row[name] for name in _FIELDS if name in row}
        lines.append(json.dumps({**kept, "price": prices}, ensure_ascii=False))
    as_of = json.dumps(given["meta"]["as_of"])
    MODELS.write_text(f'{{"as_of": {as_of}, "models": [\n' + ",\n".join(lines) + "\n]}\n", encoding="utf-8")


if __name__ == "__main__":
    pack(*map(Path, sys.argv[1:]))
