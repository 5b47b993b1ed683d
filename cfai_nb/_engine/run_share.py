"""What one run may have in flight, and whether an error that would end it is confirmed.

The places for requests belong to the account and model (``Pace``); a run has a share of them: all, or as many as its
``concurrency=`` says.  When a request is refused access or quota, which would concern every row, the run is in doubt:
from then on it sends one request at a time.  An answer ends the doubt; refusals of other rows confirm it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

#: The rows a request is about, by key.
Rows: TypeAlias = frozenset[bytes]


class Witnesses:
    """Requests about different rows that ended in the same way, with no answer in between."""

    def __init__(self) -> None:
        self._rows: list[Rows] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, rows: Rows) -> None:
        """Count a request; part of one that counts already takes its place, and some rows of several count as none."""
        met = [at for at, others in enumerate(self._rows) if others & rows]
        if not met:
            self._rows.append(rows)
        elif rows <= self._rows[met[0]]:
            self._rows[met[0]] = rows

    def clear(self) -> list[Rows]:
        """Count none of them any more, and return them."""
        rows, self._rows = self._rows, []
        return rows


class Share:
    """The requests of one run that may be in flight at once.

    Parameters
    ----------
    most : int or None
        None: as many as the model has places.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._in_use = 0
        self._witnesses = Witnesses()
        self._doubted = self._last = 0.0  # when the first refusal and the last that counts came
        self._asking = False  # in doubt: a request is in flight that was sent since
        self._alone: set[bytes] = set()  # rows that alone are refused so

    @property
    def free(self) -> bool:
        """Whether another request may be sent."""
        if self._witnesses:
            return not self._asking
        return self._most is None or self._in_use < self._most

    def take(self) -> None:
        """Note that a request is sent."""
        self._in_use += 1
        self._asking = bool(self._witnesses)

    def leave(self, sent: float) -> None:
        """Note that the request sent at ``sent`` has ended."""
        self._in_use -= 1
        if self._witnesses and sent >= self._doubted:
            self._asking = False

    def refused(self, rows: Collection[bytes], sent: float, now: float, *, needed: int) -> bool:
        """Note that a request was refused what would end the run; return whether that is confirmed.

        Parameters
        ----------
        rows : collection of bytes
            What it was about.
        sent, now : float
        needed : int
            Requests about different rows that must say so.
        """
        rows = frozenset(rows)
        if rows <= self._alone:
            return False
        if not self._witnesses:
            self._doubted = now
        elif sent <= self._last:  # it was in flight when the one before was refused: it confirms nothing
            return False
        before = len(self._witnesses)
        self._witnesses.add(rows)
        if len(self._witnesses) > before:
            self._last = now
        return len(self._witnesses) >= needed

    def answered(self, sent: float) -> None:
        """Note that the request sent at ``sent`` was answered."""
        if self._witnesses and sent > self._doubted:
            self._asking = False
            for rows in self._witnesses.clear():
                self._alone |= rows if len(rows) == 1 else frozenset()
