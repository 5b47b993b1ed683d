"""How many requests may be in flight at once: learned from refusals at the service, from throughput at another server.

A ``Limiter`` has one of the two and reports answers and refusals.  Workers AI refuses what exceeds its capacity.  A
server on your machine (llama.cpp, Ollama, vLLM) does not: it has a few slots and lets the rest wait in its own queue,
where a request cannot be stopped any more (llama.cpp: 4 slots; with 38 requests there, a Stop took 13.6 s).
"""

from __future__ import annotations

import math

#: Requests at once to begin with (but no more than a second's worth of a known rate), and the most there are unless a
#: call asks for more.  At 64 in flight the documented rates (300 a minute for text, 3,000 for embeddings) are reached
#: at latencies of 12 s and 1.3 s.
START, MOST = 24, 64
#: Requests at once to begin with at another server: the slots that llama.cpp has unless it is set otherwise.
SLOTS = 4
#: How much faster the server must answer with twice as many places to keep them: with free slots it is nearly twice as
#: fast.
_FASTER = 1.3
#: Rounds of answers until another number of places is tried; doubled after each attempt without a gain.
_REST, _LONGEST_REST = 8, 64


class Concurrency:
    """How many requests may be under way: grows while answers are clean and places are used, cut on a refusal.

    A refusal shows how many requests the service holds: those still in flight.  The limit falls to that number and
    stays there for a cool-down.  Then one more place is tried; if that is refused at once, the next cool-down is
    doubled.
    """

    def __init__(self, start: int) -> None:
        self.limit = float(start)  # requests at once at the moment
        self.most = MOST  # the limit's upper bound
        self.wanted = 0  # the most that a call asked for
        self.in_use = 0
        self._refused = False  # from the first refusal on: no more doubling
        self._patience = 1  # rounds of clean answers before the next growth
        self._clean = 0
        self._grown = 0  # growths since the last refusal

    @property
    def free(self) -> bool:
        """Whether a place is free."""
        return self.in_use < int(self.limit)

    def want(self, most: int) -> None:
        """Note that a call asks for so many requests at once."""
        self.wanted = max(self.wanted, most)
        self.most = max(self.most, most)

    def clean(self, now: float) -> None:
        """Note an answer; ``in_use`` still counts its place."""
        if self.in_use < int(self.limit):
            return  # not all places are used, so more would change nothing
        self._clean += 1
        if not self._refused:
            self.limit = min(self.limit + 1, max(self.most, self.limit))
        elif self._clean >= self._patience * self.limit and self.limit < self.most:
            self.limit = min(self.limit + max(1.0, self.limit // 10), float(self.most))
            self._clean = 0
            self._grown += 1
            if self._grown > 1:
                self._patience = 1  # two increases in a row without a refusal: the service has more room now

    def refused(self) -> None:
        """Note a refusal for lack of capacity; ``in_use`` still counts its place."""
        if self._grown == 1:
            self._patience = min(32, self._patience * 2)  # the place just tried was one too many
        self._refused = True
        self.limit = float(max(1, min(int(self.limit), self.in_use) - 1))
        self._clean = self._grown = 0


class ServerConcurrency(Concurrency):
    """How many requests may be in flight at a server that lets requests wait instead of refusing them.

    A round measures how many requests are answered a second while all places are used.  Then twice as many places are
    tried for a round: they stay if the server answers faster with them, since then it had slots for them; otherwise the
    requests only waited, and the places go back to what they were.  After a rest half as many are tried too, so that
    an unlucky measurement does not stay.
    """

    def __init__(self) -> None:
        super().__init__(SLOTS)
        self._since = 0.0  # when the measured part of this round began
        self._before: tuple[float, float] | None = None  # places and answers a second before others were tried
        self._rest, self._next_rest = 0, _REST  # rounds until another number is tried
        self._fewer = False  # whether fewer places are tried next

    def want(self, most: int) -> None:
        """Take the number that a call asks for: its caller may know how many slots the server has."""
        if self.limit < most > self.wanted:
            self.limit, self._clean, self._before = float(most), 0, None
        super().want(most)

    def clean(self, now: float) -> None:
        """Note an answer; ``in_use`` still counts its place."""
        places = int(self.limit)
        if self.in_use < places:
            self._clean = 0  # the run had too few requests to show what the server can do
            return
        self._clean += 1
        if self._clean == places:  # earlier requests had another number of places, or loaded the model
            self._since = now
        elif self._clean >= 3 * places:
            seconds = now - self._since
            self._judge(2 * places / seconds if seconds > 0 else math.inf)
            self._clean = 0

    def _judge(self, speed: float) -> None:
        if self._before is not None:
            before, self._before = self._before, None
            fewer, more = sorted([before, (self.limit, speed)])
            self.limit = more[0] if more[1] >= _FASTER * fewer[1] else fewer[0]
            if self.limit <= before[0]:  # more places brought no gain
                self._rest, self._next_rest = self._next_rest, min(2 * self._next_rest, _LONGEST_REST)
                return
            self._fewer = False
        if self._rest > 0:
            self._rest -= 1
            return
        fewer_next = self._fewer and self.limit > max(SLOTS, self.wanted)
        self._fewer = not self._fewer
        if fewer_next or self.limit < self.most:
            self._before = self.limit, speed
            self.limit = max(self.limit // 2, SLOTS) if fewer_next else min(2 * self.limit, float(self.most))

    def refused(self) -> None:
        """Note a refusal for lack of capacity; ``in_use`` still counts its place."""
        super().refused()
        self._before, self._rest = None, self._next_rest
