"""The service's batch queue: many requests handed in at once, answered when there is room, fetched by their id.

What was handed in is paid for when it is worked on, whether anybody waits for it or not.  So the id of every submission
is kept in the store with the keys of its requests; a run that finds its rows among them waits for those answers, also
after a restart, and hands in only the rest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pydantic_core

from ..errors import AnswerError, CfaiError, Refused, ServiceError
from ..tasks import Answer, Json, Request
from .engine import Engine
from .gateway import dressed
from .record import Run
from .refusals import refusal

#: A submission holds at most so many requests and bytes (the service takes less than 10 MB), and is handed in when no
#: further request came for a moment.
MOST_REQUESTS, MOST_BYTES, MOMENT = 1_000, 8_000_000, 0.2
#: Seconds between looks at a submission: the first, the longest, and the growth.
FIRST_LOOK, LAST_LOOK, GROWTH = 0.25, 20.0, 1.5
_QUERY = {"queueRequest": "true"}


@dataclass(slots=True, eq=False)
class _Place:
    """One request's place: what was asked, and the answer to come."""

    keys: Sequence[bytes]
    body: Json
    size: int
    answer: asyncio.Future[Answer]


@dataclass(slots=True, eq=False)
class _Submission:
    """What was handed in together.  ``places`` goes by position; a place nobody waits for is missing."""

    id: str
    began: float
    requests: Sequence[Sequence[bytes]]
    places: dict[int, _Place] = field(default_factory=dict)
    looking: asyncio.Task[None] | None = None


class Queue:
    """Hands in the requests of one run, and looks for their answers.

    Parameters
    ----------
    engine : Engine
    run : Run
    """

    def __init__(self, engine: Engine, run: Run) -> None:
        self._engine = engine
        self._run = run
        self._waiting: list[_Place] = []
        self._timer: asyncio.TimerHandle | None = None
        self._handing: set[asyncio.Task[None]] = set()
        self._submissions: dict[str, _Submission] = {}
        self._known: dict[bytes, tuple[_Submission, int]] = {}  # first key of a request handed in before

    def resume(self, pending: Sequence[int]) -> list[list[int]]:
        """Return those of the inputs that were handed in before, grouped as they were."""
        store, plan = self._engine.store, self._run.plan
        if store is None:
            return []
        index = {plan.keys[at]: at for at in pending}
        groups: list[list[int]] = []
        for name, requests in store.queued(self._engine.account, self._engine.origin, plan.model.id):
            submission = _Submission(name, time.perf_counter(), requests)
            for position, keys in enumerate(requests):
                if all(key in index for key in keys):
                    groups.append([index.pop(key) for key in keys])
                    self._known[keys[0]] = submission, position
                    self._submissions[name] = submission
        return groups

    async def ask(self, request: Request, keys: Sequence[bytes]) -> Answer:
        """Hand in a request, or wait for the one that was, and return its answer."""
        body = pydantic_core.to_json(request.json)
        place = _Place(keys, request.json, len(body), asyncio.get_running_loop().create_future())
        known = self._known.pop(keys[0], None)
        if known is not None:
            submission, position = known
            submission.places[position] = place
            self._look_for(submission)
        else:
            self._line_up(place)
        return await place.answer

    async def close(self) -> None:
        """Wait for what is being handed in, so that its id is kept; forget the submissions that are all answered."""
        if self._timer is not None:
            self._timer.cancel()
        while self._handing:
            await asyncio.wait(self._handing)
        for submission in self._submissions.values():
            if submission.looking is not None:
                submission.looking.cancel()
            kept = len(submission.places) == len(submission.requests) and all(
                map(_answered, submission.places.values())
            )
            if kept and self._engine.store is not None:
                self._engine.store.dequeue(submission.id)

    # -- handing in ----------------------------------------------------------------------------------------------

    def _line_up(self, place: _Place) -> None:
        if self._waiting and sum(each.size for each in self._waiting) + place.size > MOST_BYTES:
            self._hand_in()
        self._waiting.append(place)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(MOMENT, self._hand_in)
        if len(self._waiting) >= MOST_REQUESTS:
            self._hand_in()

    def _hand_in(self) -> None:
        waiting, self._waiting = [place for place in self._waiting if not place.answer.done()], []
        if waiting:
            task = asyncio.get_running_loop().create_task(self._submit(waiting))
            self._handing.add(task)
            task.add_done_callback(self._handing.discard)

    async def _submit(self, places: Sequence[_Place]) -> None:
        began = time.perf_counter()
        try:
            told = await self._send({"requests": [place.body for place in places]})
            name = str(told["request_id"])
        except (CfaiError, KeyError, TypeError) as error:
            failure = error if isinstance(error, CfaiError) else AnswerError("no request_id in the answer", "broken")
            for place in places:
                _settle(place, failure)
            return
        submission = _Submission(name, began, [place.keys for place in places], dict(enumerate(places)))
        self._submissions[name] = submission
        if self._engine.store is not None:
            plan = self._run.plan
            self._engine.store.enqueue(
                name, self._engine.account, self._engine.origin, plan.model.id, submission.requests
            )
        self._look_for(submission)

    # -- looking -------------------------------------------------------------------------------------------------

    def _look_for(self, submission: _Submission) -> None:
        if submission.looking is None:
            submission.looking = asyncio.get_running_loop().create_task(self._watch(submission))

    async def _watch(self, submission: _Submission) -> None:
        pause = FIRST_LOOK
        while True:
            await asyncio.sleep(pause)
            pause = min(LAST_LOOK, pause * GROWTH)
            try:
                told = await self._send({"request_id": submission.id})
            except Refused:  # it is not known there any more: handed in anew
                self._submissions.pop(submission.id, None)
                if self._engine.store is not None:
                    self._engine.store.dequeue(submission.id)
                for place in submission.places.values():
                    self._line_up(place)
                return
            except CfaiError as error:
                for place in submission.places.values():
                    _settle(place, error)
                return
            if isinstance(told, Mapping) and isinstance(told.get("responses"), list):
                self._hand_out(submission, told["responses"])
                return

    def _hand_out(self, submission: _Submission, responses: Sequence[Json]) -> None:
        """Give every request its answer, by index: their order is not promised."""
        seconds = time.perf_counter() - submission.began
        by_position = {int(one["id"]): one for one in responses if isinstance(one, Mapping) and "id" in one}
        for position, place in submission.places.items():
            one = by_position.get(position)
            if one is None:
                _settle(place, AnswerError("the batch holds no answer to this request", "broken", again=True))
            elif one.get("success") is False:
                _settle(place, refusal(400, {}, pydantic_core.to_json(one), self._run.plan.model.id))
            else:
                whole = {"result": one.get("result"), "success": True}
                _settle(place, Answer(pydantic_core.to_json(whole), {}, seconds))

    async def _send(self, body: Json) -> Json:
        """Send to the queue; wait and repeat where that helps."""
        options, attempt = self._run.options, 0
        request = dressed(Request(json=body, query=_QUERY), options.gateway)
        while True:
            try:
                return (await self._engine.wire.send(request, self._run.plan.model.id)).json
            except ServiceError as error:
                attempt += 1
                if error.reaction not in ("again", "wait") or (error.reaction == "again" and attempt > 8):
                    raise
                await asyncio.sleep(error.wait or min(LAST_LOOK, 0.2 * 2.0**attempt))


def _answered(place: _Place) -> bool:
    return place.answer.done() and not place.answer.cancelled() and place.answer.exception() is None


def _settle(place: _Place, outcome: Answer | CfaiError) -> None:
    if place.answer.done():
        return
    if isinstance(outcome, Answer):
        place.answer.set_result(outcome)
    else:
        place.answer.set_exception(outcome)
