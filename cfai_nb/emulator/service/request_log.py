"""The request log: requests, refusals and charges. ``app`` writes it, tests read it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock


@dataclass(frozen=True)
class LoggedRequest:
    """One request, after it was answered or refused.

    Attributes
    ----------
    path, model : str
        The address after ``/ai`` and the model (empty when the request names none).
    status, code : int
        HTTP status (0: the connection was dropped) and body code (0: none).
    fault : str
        The injected fault, empty for none.
    items : int
        Number of input texts.
    neurons, charged : float, bool
        The charge (0 without a published price), and whether an answer was made and charged.
    seconds : float
        From arrival to answer, by the emulator's clock.
    digest : str
        Digest of the input texts, to recognise equal calls.
    """

    path: str
    model: str
    status: int
    code: int
    fault: str
    items: int
    neurons: float
    charged: bool
    seconds: float
    digest: str


class RequestLog:
    """Thread-safe log of an emulator. Attributes can be read at any time; changes take a lock.

    Attributes
    ----------
    calls : list of LoggedRequest
        In order of completion.
    requests, refused : int
        Inference requests that arrived; those with an error status of any kind.
    billed : float
        Neurons charged, known prices only.
    billed_inputs : Counter of (model, text)
        Every input text that was processed, whether or not its answer arrived.
    served_inputs : Counter of (model, text)
        Input texts that were charged and answered completely. A count above 1 is an avoidable second charge.
    in_flight, most_in_flight : int
        Calls in progress, now and at most.
    """

    def __init__(self) -> None:
        self._lock, self.in_flight = Lock(), 0
        self.clear()

    def clear(self) -> None:
        """Forget everything except calls in flight."""
        with self._lock:
            self.calls: list[LoggedRequest] = []
            self.requests = 0
            self.refused = 0
            self.billed = 0.0
            self.billed_inputs: Counter[tuple[str, str]] = Counter()
            self.served_inputs: Counter[tuple[str, str]] = Counter()
            self.most_in_flight = self.in_flight

    def count_request(self) -> None:
        """Count a request."""
        with self._lock:
            self.requests += 1

    @contextmanager
    def slot(self, capacity: int | None) -> Iterator[bool]:
        """Occupy one of `capacity` slots; yields whether one was free."""
        with self._lock:
            free = capacity is None or self.in_flight < capacity
            if free:
                self.in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            yield free
        finally:
            if free:
                with self._lock:
                    self.in_flight -= 1

    def add(self, call: LoggedRequest, texts: Sequence[str], *, whole: bool) -> None:
        """Log one call; `whole` means that its answer was sent undamaged."""
        keys = [(call.model, text) for text in texts]
        with self._lock:
            self.calls.append(call)
            self.refused += call.status >= 400
            self.billed += call.neurons
            if call.charged:
                self.billed_inputs.update(keys)
                if whole:
                    self.served_inputs.update(keys)


def digest(texts: Sequence[str]) -> str:
    """Return a short digest of input texts, in order."""
    state = hashlib.blake2b(digest_size=8)
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        state.update(len(raw).to_bytes(8, "big") + raw)
    return state.hexdigest()
