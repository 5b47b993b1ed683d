"""The typed stub of the accessor says what the verbs take."""

from __future__ import annotations

from freeze import HINT
from make_stub import STUB, stub


def test_the_stub_is_up_to_date() -> None:
    """As made from the verbs; after a change of a verb, ``python tests/freeze.py`` writes it again."""
    assert STUB.read_text(encoding="utf-8") == stub(), HINT
