"""Entrance: from a request to an ask. Which door, which gateway, which model, in which form, now or queued."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.requests import Request

from . import bodies, documents
from .catalogue import Model, find
from .errors import refuse
from .families import FAMILIES, unserved
from .finetunes import Finetunes
from .gateway import OUTSIDE, Gateways, outside
from .passage import Passage
from .queue import Queue
from .terms import Terms
from .words import tokens
from .work import Ask, Family

_MODEL = "/run/{model:path}"
_ROUTES = {
    "/v1/chat/completions": "chat",
    "/v1/embeddings": "embeddings",
    "/v1/responses": "responses",
    "/v1/messages": "messages",
}

#: The addresses after ``/ai`` that work is asked for at.
DOORS = (_MODEL, "/run", "/tomarkdown", *_ROUTES)

_NAME = re.compile(r"@[a-z]+/[\w.\-]+/[\w.\-]+", re.I)
_OUTSIDE = re.compile(r"[a-z][\w.\-]*/[\w.:\-]+", re.I)


@dataclass
class Visit:
    """One inference request on its way through.

    Attributes
    ----------
    patient : bool
        Whether it would wait for a place rather than be refused.
    passage : Passage, optional
        Its way through a gateway.
    """

    path: str
    start: float
    name: str = ""
    fault: str = ""
    texts: list[str] = field(default_factory=list)
    neurons: float = 0.0
    charged: bool = False
    patient: bool = True
    passage: Passage | None = None


class Entrance:
    """Reads requests.

    Parameters
    ----------
    batch_tokens : int, optional
        Estimated tokens of one call's texts together, above which it is refused with 3006.
    """

    def __init__(
        self,
        gateways: Gateways,
        queue: Queue,
        terms: Terms,
        finetunes: Finetunes,
        quirks: frozenset[str],
        batch_tokens: int | None,
    ) -> None:
        self._gateways, self._queue, self._terms, self._finetunes = gateways, queue, terms, finetunes
        self._quirks, self._batch_tokens = quirks, batch_tokens

    async def read(self, request: Request, visit: Visit) -> tuple[Ask, Family]:
        """Return the ask of a request whose gateway and model exist and whose input is in order, and who answers it."""
        visit.passage = await self._pass(request)
        ask, family = await self._identify(request, visit)
        if "free-plan" in self._quirks and ask.model.has("requires_workers_paid"):
            raise refuse(5035)
        account = request.path_params["account"].casefold()
        options = ask.body.get("options")
        if isinstance(options, dict) and "rejectIfBusy" in options:
            visit.patient = options.pop("rejectIfBusy") is not True
            if not options:  # Clairic has options of its own
                del ask.body["options"]
        ask = replace(ask, quirks=self._quirks)
        self._terms.admit(account, ask)
        if request.query_params.get("queueRequest", "").casefold() == "true":
            family = self._queue.family(account, family, len(await request.body()))
        family.check(ask)
        if isinstance(name := ask.body.get("lora"), str):
            self._finetunes.admit(account, name)
        visit.texts = family.texts(ask)
        if self._batch_tokens is not None and sum(map(tokens, visit.texts)) > self._batch_tokens:
            raise refuse(3006)
        return ask, family

    async def _pass(self, request: Request, *, default: bool = False) -> Passage | None:
        return await self._gateways.enter(request, default=default, broke="no-credits" in self._quirks)

    async def _identify(self, request: Request, visit: Visit) -> tuple[Ask, Family]:
        raw = await request.body()
        if not raw:
            raise refuse(3003)
        if visit.path == "/tomarkdown":
            ask = await documents.read(request)
            visit.name = ask.model.id
            return ask, FAMILIES[ask.model.family]
        if "model" in request.path_params:
            model, family = _served(request.path_params["model"], "run")
            visit.name = model.id
            return await bodies.read(request, model, family), family
        body, route = bodies.parse(raw), _ROUTES.get(visit.path, "run")
        name = _named(body)
        model, family = await self._anywhere(request, visit, name, route)
        visit.name = model.id
        if visit.path == "/run":
            body = body.get("input")
            if not isinstance(body, dict):
                raise refuse(5006, why="required properties at '/' are 'input'")
        return Ask(model, body, route), family

    async def _anywhere(self, request: Request, visit: Visit, name: str, route: str) -> tuple[Model, Family]:
        """Return the model named in a body: the service's own, or a third party's, which needs a gateway."""
        if _OUTSIDE.fullmatch(name) and route in OUTSIDE:
            visit.passage = visit.passage or await self._pass(request, default=True)
            model = outside(name, route)
            return model, FAMILIES[model.family]
        if visit.path == "/run" and visit.passage is None:
            raise refuse(3003, text=f"POST /run of {name} needs the header cf-aig-gateway-id")
        return _served(name, route)


def _served(name: str, route: str) -> tuple[Model, Family]:
    if not _NAME.fullmatch(name):
        raise refuse(3042, name=name)
    model = find(name)
    if model is None:
        raise refuse(5007, name=name)
    family = FAMILIES.get(model.family)
    if family is None:
        raise unserved(model)
    if route not in family.routes and not (route == "responses" and "chat" in family.routes):
        raise refuse(5007, name=name)
    return model, family


def _named(body: Any) -> str:
    name = body.get("model") if isinstance(body, dict) else None
    if not isinstance(name, str):
        raise refuse(5006, why="required properties at '/' are 'model'")
    return name


def short(request: Request) -> str:
    """Return the part of the address after ``/ai``."""
    return "/" + request.url.path.split("/", 6)[-1]
