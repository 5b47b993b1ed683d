"""The service's batch queue: many requests are submitted at once, answered when there is room, and fetched by an id.

``RunSender`` passes the first request of each conversation to ``Queue.ask`` where ``queue=True``, and gets the answer
as if it had been sent alone.  A submission is paid for once the service works on it, whether or not a run waits for it.
So the store keeps the id of every submission with the keys of its requests; a later run that needs these rows waits for
those answers, also after a restart, and submits only the rest.
"""

from __future__ import annotations

import array
import asyncio
import collections
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pydantic_core

from ..errors import AnswerError, CfaiError, Refused, RowError, ServiceError, bare
from ..models import price
from ..tasks import Answer, Json, Request, reported
from .engine import Engine
from .run_state import Run
from .service_errors import service_error

#: The most requests and bytes of a submission (the service takes less than 10 MB), and the seconds without a further
#: request after which it is submitted.
MOST_REQUESTS, MOST_BYTES, MOMENT = 1_000, 8_000_000, 0.2
#: The most inputs of a submission: the vectors of all of them come in one answer, which has at most 64 MiB.
MOST_INPUTS = 3_000
#: Seconds between looks at a submission: the first, the longest, and the growth.
FIRST_LOOK, LAST_LOOK, GROWTH = 0.25, 20.0, 1.5
#: How often an unreadable answer is asked for again.
_GARBLED = 8
_QUERY = {"queueRequest": "true"}
_KEY = 16


@dataclass(slots=True, eq=False)
class _Place:
    """One request: what was asked, and the answer to come."""

    keys: Sequence[bytes]
    body: Json
    size: int
    answer: asyncio.Future[tuple[Answer, tuple[str, int]]]


@dataclass(slots=True, eq=False)
class _Submission:
    """Requests that were submitted together; of a million rows little more than their keys stays in memory."""

    id: str
    began: float
    sizes: Sequence[int]  # inputs of each request
    packed: bytes  # the keys of all inputs, one behind the other
    places: dict[int, _Place] = field(default_factory=dict)  # by position, of those that a conversation waits for
    read: bytearray = field(init=False)  # by position: whether a conversation has its answer
    ours: bool = False  # this run submitted it
    done: bool = False  # it was answered
    looking: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.read = bytearray(len(self.sizes))

    @classmethod
    def of(
        cls, name: str, began: float, requests: Sequence[Sequence[bytes]], places: Sequence[_Place] = ()
    ) -> _Submission:
        """Return a submission of these requests, the keys of which are given."""
        sizes = array.array("l", [len(keys) for keys in requests])
        packed = b"".join(key for keys in requests for key in keys)
        return cls(name, began, sizes, packed, dict(enumerate(places)), ours=bool(places))

    def take(self, position: int) -> None:
        """Note that a conversation has the answer to a request."""
        self.read[position] = True
        del self.places[position]
        if not self.places:
            self.places = {}  # a dict keeps the room it once needed

    def keys(self, *, without: Callable[[int], bool] = lambda position: False) -> Iterator[bytes]:
        """Yield the keys of its inputs, except those of some requests."""
        at = 0
        for position, size in enumerate(self.sizes):
            for end in range(at + _KEY, at + size * _KEY + 1, _KEY) if not without(position) else ():
                yield self.packed[end - _KEY : end]
            at += size * _KEY


class Queue:
    """Submits the requests of one run and fetches their answers; ``in_flight`` are tasks with a request in flight."""

    def __init__(
        self, engine: Engine, run: Run, send: Callable[..., Awaitable[Answer]], in_flight: set[asyncio.Task[None]]
    ) -> None:
        self._engine, self._run, self._send, self._in_flight = engine, run, send, in_flight
        self._waiting: list[_Place] = []
        self._inputs = self._size = 0  # of those that wait: inputs, and bytes
        self._timer: asyncio.TimerHandle | None = None
        self._submitting: set[asyncio.Task[None]] = set()
        self._submissions: dict[str, _Submission] = {}
        self._known: dict[tuple[bytes, ...], tuple[_Submission, int]] = {}  # requests submitted before

    async def resume(self, pending: Sequence[int]) -> list[list[int]]:
        """Return the inputs that were submitted before, grouped as they were."""
        store, plan = self._engine.store, self._run.plan
        if store is None or self._run.options.cache == "refresh":
            return []
        submitted = await asyncio.to_thread(store.queued, self._engine.account, self._engine.origin, plan.model.id)
        index = {plan.keys[at]: at for at in pending} if submitted else {}
        groups: list[list[int]] = []
        for name, requests in submitted:
            submission = _Submission.of(name, time.perf_counter(), requests)
            for position, keys in enumerate(requests):
                if all(key in index for key in keys):
                    groups.append([index.pop(key) for key in keys])
                    self._known[tuple(keys)] = submission, position
                    self._submissions[name] = submission
            if name not in self._submissions and self._stored(submission.keys()):
                store.dequeue(name)  # of a process that ended before it could
        return groups

    def _stored(self, keys: Iterable[bytes]) -> bool:
        """Whether the store holds the answers to all of these."""
        wanted, store = list(keys), self._engine.store
        return not wanted or (store is not None and bool((store.locate(wanted)[0] >= 0).all()))

    async def ask(self, request: Request, keys: Sequence[bytes]) -> tuple[Answer, tuple[str, int]]:
        """Submit a request, or wait for the earlier one; return its answer, and its submission and position."""
        body = pydantic_core.to_json(request.json)
        place = _Place(keys, request.json, len(body), asyncio.get_running_loop().create_future())
        known = self._known.pop(tuple(keys), None)
        if known is not None:
            submission, position = known
            submission.places[position] = place
            self._look_for(submission)
        else:
            self._add(place)
        answer, (name, position) = await place.answer
        self._submissions[name].take(position)
        return answer, (name, position)

    def abandon(self) -> None:
        """Drop even what is being submitted."""
        for task in self._submitting:
            task.cancel()

    async def close(self, *, whole: bool) -> None:
        """Wait for what is being submitted, so that its id is kept, and forget finished submissions.

        ``whole``: every answer that came was read.  Otherwise the run was stopped, and answers that the store does not
        hold have to be fetched again.
        """
        if self._timer is not None:
            self._timer.cancel()
        for task in self._submitting - self._in_flight:
            task.cancel()
        while self._submitting:
            await asyncio.wait(self._submitting)
        for submission in self._submissions.values():
            if submission.looking is not None:
                submission.looking.cancel()
        if (store := self._engine.store) is None:
            return
        await self._engine.written()
        for submission in self._submissions.values():
            read, failed = submission.read, submission.places
            rest = submission.keys(without=lambda at: whole and (bool(read[at]) or at in failed))  # noqa: B023
            if submission.done and self._stored(rest):
                store.dequeue(submission.id)

    def _add(self, place: _Place) -> None:
        if self._waiting and (self._size + place.size > MOST_BYTES or self._inputs + len(place.keys) > MOST_INPUTS):
            self._submit_waiting()
        self._inputs, self._size = self._inputs + len(place.keys), self._size + place.size
        self._waiting.append(place)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(MOMENT, self._submit_waiting)
        if len(self._waiting) >= MOST_REQUESTS:
            self._submit_waiting()

    def _submit_waiting(self) -> None:
        waiting, self._waiting = [place for place in self._waiting if not place.answer.done()], []
        self._inputs = self._size = 0
        if waiting:
            task = asyncio.get_running_loop().create_task(self._submit(waiting))
            self._submitting.add(task)
            task.add_done_callback(self._submitting.discard)

    async def _submit(self, places: Sequence[_Place]) -> None:
        parts = collections.deque([places])
        while parts:
            part = parts.popleft()
            failure = await self._submitted(part)
            if failure is None:
                continue
            middle = len(part) // 2  # halved until the failing request is alone
            no_row = not isinstance(failure, RowError) or failure.code == "no connection"
            if not middle or no_row:
                for place in part:
                    _settle(place, failure)
            elif isinstance(failure, RowError) and failure.reaction == "stop":  # the other half may confirm it
                parts.extend([part[:middle], part[middle:]])
            else:
                parts.extendleft([part[middle:], part[:middle]])

    async def _submitted(self, places: Sequence[_Place]) -> CfaiError | None:
        """Submit requests together; return why they were refused, if they were."""
        began = time.perf_counter()
        try:
            rows = [key for place in places for key in place.keys]
            response = await self._post({"requests": [place.body for place in places]}, rows)
            name = str(response["request_id"])
        except CfaiError as error:
            return bare(error)
        except (KeyError, TypeError):
            return AnswerError("the queue's answer holds no request_id", "broken", again=True)
        requests = [place.keys for place in places]
        submission = _Submission.of(name, began, requests, places)
        self._submissions[name] = submission
        if (store := self._engine.store) is not None:
            engine, model = self._engine, self._run.plan.model
            store.enqueue(name, engine.account, engine.origin, model.id, requests)
        self._look_for(submission)
        return None

    def _look_for(self, submission: _Submission) -> None:
        # An answered submission is fetched again for a request that came late, such as one that waited for budget.
        if submission.looking is None or submission.looking.done():
            submission.looking = asyncio.get_running_loop().create_task(self._watch(submission))

    async def _watch(self, submission: _Submission) -> None:
        """Ask for the answers until they are there, and settle every place that waits for one."""
        pause, garbled = FIRST_LOOK, 0
        while True:
            await asyncio.sleep(pause)
            pause = min(LAST_LOOK, pause * GROWTH)
            try:
                response = await self._post({"request_id": submission.id})
                if self._distribute(submission, response):
                    return
            except CfaiError as error:
                if isinstance(error, AnswerError) and error.reaction == "again" and garbled < _GARBLED:
                    garbled += 1  # asked for again; submitted again it would be paid for twice
                    continue
                unknown = isinstance(error, Refused) or (isinstance(error, ServiceError) and error.status == 404)
                if unknown and not submission.ours:  # a new submission would only be refused again
                    self._resubmit(submission)
                else:
                    for place in submission.places.values():
                        _settle(place, error)
                return

    def _resubmit(self, submission: _Submission) -> None:
        """Submit requests again that the service has dropped."""
        self._submissions.pop(submission.id, None)
        if self._engine.store is not None:
            self._engine.store.dequeue(submission.id)
        places, submission.places = list(submission.places.values()), {}
        for place in places:
            self._add(place)

    def _distribute(self, submission: _Submission, response: Json) -> bool:
        """Give every request its answer by its id, since their order is not promised; False if there is none yet.

        AnswerError is raised where the submission is neither waiting nor answered.
        """
        if not isinstance(response, Mapping) or not isinstance(response.get("responses"), list):
            status = response.get("status") if isinstance(response, Mapping) else None
            if status in ("queued", "running"):
                return False
            raise AnswerError(
                f"the batch queue reports status {status!r:.100} for {submission.id}; run the call again to check once "
                'more, or with cache="refresh" to submit it again',
                "broken",
            )
        submission.done = True
        seconds = time.perf_counter() - submission.began
        by_position = {str(one.get("id")): one for one in response["responses"] if isinstance(one, Mapping)}
        bills = self._shares(submission, by_position, response.get("usage"))
        for position, place in submission.places.items():
            one = by_position.get(str(position))
            if one is None:
                _settle(place, AnswerError("the batch holds no answer to this request", "broken", again=True))
            elif one.get("success") is False:
                error = service_error(None, {}, pydantic_core.to_json(one), self._run.plan.model.id)
                passing = error.reaction in ("wait", "again")
                _settle(place, AnswerError(str(error), str(error.code), again=True) if passing else error)
            else:
                whole = pydantic_core.to_json({"result": one.get("result"), "success": True})
                headers = {"cf-ai-neurons": str(bills[position])} if position in bills else {}
                _settle(place, (Answer(whole, headers, seconds), (submission.id, position)))
        return True

    def _shares(self, submission: _Submission, answered: Mapping[str, Json], usage: Json) -> dict[int, float]:
        """Divide the Neurons that the service reported for the submission among its requests, by their inputs.

        Empty where the requests report their own, or the price does not follow.
        """
        usage = reported(Answer(pydantic_core.to_json({"usage": usage})))
        total = None if usage is None else price(usage, self._run.plan.model).neurons
        sizes = {at: size for at, size in enumerate(submission.sizes) if _result(answered, at) is not None}
        if not total or any(isinstance(one := _result(answered, at), Mapping) and one.get("usage") for at in sizes):
            return {}
        return {at: total * size / sum(sizes.values()) for at, size in sizes.items()}

    async def _post(self, body: Json, rows: Sequence[bytes] = ()) -> Json:
        """Send to the queue, past a gateway's cache, which would repeat its first answer, "queued"."""
        gateway = self._run.options.gateway
        request = Request(json=body, query=_QUERY, expected="vectors")
        model = self._run.plan.model
        request = request if gateway is None else gateway.uncached().route(request, model)
        return (await self._send(request, model.id, keys=rows)).json


def _result(answered: Mapping[str, Json], position: int) -> Json:
    one = answered.get(str(position), {})
    return None if one.get("success") is False else one.get("result")


def _settle(place: _Place, outcome: tuple[Answer, tuple[str, int]] | CfaiError) -> None:
    if place.answer.done():
        return
    if isinstance(outcome, CfaiError):
        place.answer.set_exception(outcome)
    else:
        place.answer.set_result(outcome)
