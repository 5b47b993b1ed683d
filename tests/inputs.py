"""Small inputs that tests of several rooms share: texts, tickets, a picture, and waits that are short."""

from __future__ import annotations

import io
import random
from typing import Any

import pandas as pd
import pytest
from PIL import Image

import cfai_nb as cf
from cfai_nb._engine import batch_queue, limiter, sender


def words(count: int, start: int = 0, mark: str = "") -> pd.Series[str]:
    """Return texts that differ in a number, and from those of another mark."""
    return pd.Series([f"text number {at}{mark}" for at in range(start, start + count)])


def tickets(rows: int = 12) -> pd.Series[str]:
    """Return texts of tickets."""
    return cf.sample("tickets").dropna(subset=["text"])["text"].head(rows)


def picture(colour: Any = "red", form: str = "PNG", size: tuple[int, int] = (8, 6), **options: Any) -> bytes:
    """Return the file of a picture of one colour."""
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, form, **options)
    return out.getvalue()


def quick_queue(monkeypatch: pytest.MonkeyPatch, seconds: float = 0.01) -> None:
    """Wait so long for the emulator's queue, at most twice, and half of it before the first look."""
    for name, share in {"MOMENT": 1, "FIRST_LOOK": 0.5, "LAST_LOOK": 2}.items():
        monkeypatch.setattr(batch_queue, name, seconds * share)


def quick_retries(monkeypatch: pytest.MonkeyPatch, faster: float, minute: float) -> None:
    """Wait so many times less between attempts, as long each time, and for a minute of so many seconds."""
    monkeypatch.setattr(random, "uniform", lambda low, high: high / faster)
    monkeypatch.setattr(sender, "MINUTE", minute)
    monkeypatch.setattr(limiter, "_WINDOW", minute)
    monkeypatch.setattr(limiter, "_QUICK", (0.01, 0.03, 0.09))
