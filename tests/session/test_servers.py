"""Any server in OpenAI's dialect: chat and embeddings of Ollama's and llama.cpp's kind, free, and marked as theirs."""

from __future__ import annotations

import dataclasses
import json
import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import cfai_nb as cf
from cfai_nb.models import external_model
from cfai_nb.session.endpoint import resolve_endpoint

ROWS = pd.Series(["a red boat", "a blue tree", None, "a red boat"], index=list("wxyz"))
LABELS, SCHEMA = ["boat", "tree"], {"n": int, "mood": ["glad", "sad"]}
TOKEN = "sk-secret-of-the-tests-0123456789"


class Server:
    """What such servers do, as far as their clients see it.

    ``usage``: whether answers tell it.  ``models``: which there are.  ``key``: what it wants for a token.  ``streams``:
    whether it answers a stream with one.  ``wide``: a text with which all vectors of a request have a number more.
    """

    def __init__(self) -> None:
        self.usage, self.models, self.key, self.streams, self.wide = True, ["llama3.2:3b"], "", True, ""
        self.seen: list[tuple[str, dict[str, Any], str]] = []

    def routes(self) -> list[Route]:
        return [
            Route("/v1/models", self.listed), Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/embeddings", self.embed, methods=["POST"]),
        ]  # fmt: skip

    async def listed(self, request: Request) -> Response:
        self.seen.append(("/v1/models", {}, request.headers["authorization"]))
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]})

    async def read(self, request: Request) -> tuple[dict[str, Any], Response | None]:
        body = await request.json()
        self.seen.append((request.url.path, body, request.headers["authorization"]))
        if self.key and request.headers["authorization"] != f"Bearer {self.key}":
            error = {"message": "Invalid API Key", "type": "authentication_error", "code": 401}
            return body, JSONResponse({"error": error}, 401)
        if body["model"] not in self.models:
            error = {"message": f"model '{body['model']}' not found", "type": "not_found_error", "param": None}
            return body, JSONResponse({"error": error | {"code": None}}, 404)
        if "forbidden" in str(body):
            error = {"message": "the request exceeds the available context size", "type": "x", "code": 400}
            return body, JSONResponse({"error": error}, 400)
        return body, None

    async def chat(self, request: Request) -> Response:
        body, wrong = await self.read(request)
        if wrong is not None:
            return wrong
        said = "You said: " + str(body["messages"][-1]["content"])
        if schema := body.get("response_format", {}).get("json_schema", {}).get("schema"):
            said = json.dumps({
                name: (field.get("enum") or [7 if field.get("type") == "integer" else "x"])[0]
                for name, field in schema["properties"].items()
            })  # fmt: skip
        usage = {"usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}} if self.usage else {}
        if body.get("stream") and self.streams:

            async def frames() -> Any:
                for word in said.split():
                    yield f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': word + ' '}}]})}\n\n"
                yield f"data: {json.dumps({'choices': [{'index': 0, 'delta': {}, 'finish_reason': 'stop'}]})}\n\n"
                yield "data: [DONE]\n\n"

            return StreamingResponse(frames(), media_type="text/event-stream")
        message = {"role": "assistant", "content": said}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return JSONResponse({"id": "c", "object": "chat.completion", "choices": [choice], **usage})

    async def embed(self, request: Request) -> Response:
        body, wrong = await self.read(request)
        if wrong is not None:
            return wrong
        data = [
            {
                "object": "embedding",
                "index": at,
                "embedding": [float(len(text)), float(at), 1.0, *([0.5] if self.wide in body["input"] else [])],
            }
            for at, text in enumerate(body["input"])
        ]
        usage = {"usage": {"prompt_tokens": 9, "total_tokens": 9}} if self.usage else {}
        return JSONResponse({"object": "list", "data": data[::-1], "model": body["model"], **usage})


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Server, str]]:
    """The server on a port of this machine, and its host and port."""
    server = Server()
    app = Starlette(routes=server.routes())
    served = uvicorn.Server(uvicorn.Config(app, ws="none", lifespan="off", log_level="critical"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=served.run, args=([listener],), daemon=True)
        thread.start()
        yield server, f"127.0.0.1:{listener.getsockname()[1]}"
        served.should_exit = True
        thread.join(timeout=10)


@pytest.fixture(params=[True, False], ids=["usage", "no usage"])
def server(request: pytest.FixtureRequest, running: tuple[Server, str]) -> Server:
    """A server as new, and a connection to it without any credentials."""
    here, host = running
    here.__init__()  # type: ignore[misc]
    here.usage = request.param
    cf.connect(base_url=f"http://{host}/v1/", store=None)
    return here


CALLS = {
    "generate": (lambda **o: ROWS.cfai.generate("Say {value}", **o), "You said: Say a red boat", 2),
    "schema": (
        lambda **o: ROWS.cfai.generate("Say {value}", schema=SCHEMA, **o)["n"],
        7,
        2,
    ),
    "classify": (lambda **o: ROWS.cfai.classify(LABELS, **o), "boat", 2),
    "ask": (lambda **o: ROWS.cfai.ask({"what": cf.choice(*LABELS)}, **o)["what"], "boat", 2),
    "summarize": (lambda **o: ROWS.cfai.summarize(**o), None, 2),
    "embed": (lambda **o: ROWS.cfai.embed(**o), [10.0, 0.0, 1.0], 1),
}


@pytest.mark.parametrize("verb", CALLS)
def test_verbs_work_free_of_charge(server: Server, running: Any, verb: str) -> None:
    """Its one model is taken; 0 Neurons, exact, in plan, receipt and ledger, under its own name; kept as ever."""
    call, cell, requests = CALLS[verb]
    told = call()
    assert told.notna().tolist() == [True, True, False, True]
    assert cell is None or (told["w"].tolist() if verb == "embed" else told["w"]) == cell
    chats = [body for path, body, _ in server.seen if path != "/v1/models"]
    assert len(chats) == requests
    assert {body["model"] for body in chats} == {"llama3.2:3b"}
    assert all(("max_tokens" in body) is (verb != "embed") for body in chats)
    assert not any("max_completion_tokens" in body or "options" in body for body in chats)
    ledger = cf.ledger()
    assert set(ledger["origin"]) == {running[1]}
    assert ledger["neurons"].tolist() == [0.0] * requests
    assert ledger["exact"].all()
    assert "0 Neurons ($0)" in cf.last_run().receipt
    assert "~" not in cf.last_run().receipt
    call(budget=0)
    assert cf.last_run().run.requests == 0
    if verb == "embed":
        assert cf.matrix(told[told.notna()]).shape == (3, 3)
        assert told["w"].space.origin == running[1]


def test_a_plan_names_it(server: Server, running: Any) -> None:
    """Where it goes, and that it costs nothing."""
    plan = ROWS.cfai.generate.plan("Say {value}", model="llama3.2:3b")
    assert f"llama3.2:3b on {running[1]}" in repr(plan)
    assert plan.estimate.cost.neurons == 0
    assert plan.estimate.cost.exact
    assert server.seen == []


def test_one_prompt_streams(server: Server) -> None:
    """Piece by piece, with or without totals at the end."""
    pieces = list(cf.stream("Tell me of rivers.", max_tokens=50))
    assert "".join(pieces) == "You said: Tell me of rivers. "
    assert len(pieces) > 3
    (row,) = cf.ledger().to_dict("records")
    assert (row["neurons"], row["exact"], row["verb"]) == (0.0, True, "stream")
    assert server.seen[-1][1]["stream"] is True


def test_a_server_that_does_not_stream_has_answered(server: Server) -> None:
    """What it sends as JSON where a stream was asked for is the answer, whole and charged once."""
    server.streams = False
    assert list(cf.stream("Tell me of rivers.", max_tokens=50)) == ["You said: Tell me of rivers."]
    assert [path for path, _, _ in server.seen].count("/v1/chat/completions") == 1
    call = pd.Series(["a boat"]).cfai.generate.call("{value}")
    heard: list[str | None] = []
    call.options = dataclasses.replace(call.options, on_token=heard.append)
    assert call.wait().tolist() == ["You said: a boat"]
    assert [path for path, _, _ in server.seen].count("/v1/chat/completions") == 2
    assert heard == [None]


def test_vectors_of_another_length_fail_their_rows_and_are_charged(server: Server) -> None:
    """Where a server's second answer has vectors of another length, its rows fail and its request is in the ledger."""
    server.wide = "a red boat"
    with pytest.warns(cf.CfaiWarning, match=r"9 of 41 rows failed.*vectors of 4 dimensions.*cache=\"refresh\""):
        pd.Series([f"text {at}" for at in range(40)] + ["a red boat"]).cfai.embed(concurrency=1)
    sent = [path for path, _, _ in server.seen].count("/v1/embeddings")
    assert len(cf.ledger()) == sent == 2


def test_the_model_is_named_where_there_are_several(server: Server) -> None:
    """No model given and several there: ModelError names them; the name of an embedding model need not say so."""
    server.models = ["llama3.2:3b", "all-minilm"]
    with pytest.raises(cf.ModelError, match=r"Give model=: .* has llama3.2:3b, all-minilm"):
        ROWS.cfai.generate("{value}")
    assert np.array_equal(ROWS.cfai.embed(model="all-minilm")["x"], [11.0, 1.0, 1.0])
    server.models = []
    with pytest.raises(cf.ModelError, match="no model"):
        ROWS.cfai.embed()


def test_its_refusals_are_reported(server: Server) -> None:
    """A model it does not have ends the run and is named; a row it refuses fails alone; its codes are not ours."""
    with pytest.raises(cf.AccessError, match="other: HTTP 404: model 'other' not found -- check base_url"):
        ROWS.cfai.generate("{value}", model="other")
    with pytest.warns(cf.CfaiWarning, match=r"row 'f'.*available context size"):
        told = pd.Series({"e": "well", "f": "forbidden"}).cfai.generate("{value}")
    assert told.notna().tolist() == [True, False]
    with pytest.raises(cf.ModelError, match="cannot use"):
        ROWS.cfai.speak()


def test_vectors_that_leave_gaps_are_not_taken() -> None:
    """Two vectors of one index are not an answer to two texts."""
    answer = cf.Answer(json.dumps({"data": [{"index": 0, "embedding": [1.0]}] * 2}).encode())
    with pytest.raises(cf.AnswerError, match="gaps"):
        answer.listed()


def test_a_token_is_sent_and_never_shown(
    running: Any, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """api_token goes into the header; messages, reprs, logs and the store do not hold it."""
    here, host = running
    here.__init__()
    here.key = TOKEN
    caplog.set_level(logging.DEBUG)
    with cf.connect(base_url=f"http://{host}/v1", store=False), pytest.raises(cf.AccessError, match="Invalid API Key"):
        ROWS.cfai.generate("{value}")
    session = cf.connect(base_url=f"http://{host}/v1", api_token=TOKEN, store=None)
    assert ROWS.cfai.generate("{value}").notna().sum() == 3
    assert here.seen[-1][2] == f"Bearer {TOKEN}"
    with pytest.raises(cf.AccessError) as caught:
        ROWS.cfai.generate("{value}", model="other")
    session.store().flush()  # type: ignore[union-attr]
    shown = [repr(session), repr(session.endpoint), str(caught.value), caplog.text, *capsys.readouterr()]
    assert TOKEN not in "".join(shown)
    assert TOKEN.encode() not in session.store_path.read_bytes()  # type: ignore[union-attr]


def test_the_environments_token_stays_at_home(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token of Cloudflare's is never sent to another server."""
    here, host = running
    here.__init__()
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", TOKEN)
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "a" * 32)
    cf.connect(base_url=f"http://{host}/v1", store=False)
    ROWS.cfai.generate("{value}")
    assert TOKEN not in str(here.seen)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"gateway": "g"}, "gateway= only works with Workers AI"), ({"queue": True}, "queue= only works with Workers AI")],
)
def test_what_is_the_services_own_is_refused(options: dict[str, Any], words: str) -> None:
    """Gateway, queue and capacity are Workers AI's."""
    with pytest.raises(ValueError, match=words):
        cf.connect(base_url="http://127.0.0.1:1/v1", store=False, **options)
    cf.connect(base_url="http://127.0.0.1:1/v1", store=False)
    with pytest.raises(ValueError, match="queue= only works with Workers AI"):
        ROWS.cfai.generate("{value}", model="m", queue=True)


@pytest.mark.parametrize(
    ("url", "near"),
    [
        ("http://localhost:11434/v1", True), ("http://127.0.0.1:8080/v1", True), ("http://[::1]:1/v1", True),
        ("http://192.168.1.5:8000/v1", True), ("http://gpu-box:8000/v1", True), ("http://box.local/v1", True),
        ("https://api.openai.com/v1", False), ("http://8.8.8.8/v1", False), ("https://llm.example.org/v1", False),
    ],
)  # fmt: skip
def test_only_what_is_near_is_free(url: str, near: bool) -> None:
    """On this machine or network a server is free; elsewhere the price is unknown, which is not free."""
    endpoint = resolve_endpoint(None, None, None, url)
    assert (endpoint.is_server, endpoint.is_local) == (True, near)
    assert (external_model("m", "server", free=near).prices is None) is not near


def test_the_services_openai_address_is_no_free_server() -> None:
    """Workers AI's own address of that form is refused: its calls are billed."""
    with pytest.raises(cf.SetupError, match="remove it"):
        cf.connect(base_url=f"https://api.cloudflare.com/client/v4/accounts/{'a' * 32}/ai/v1", api_token=TOKEN)


@pytest.mark.slow
def test_a_server_that_is_not_there_is_reported() -> None:
    """The error about a server that is not running says what to check."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    cf.connect(base_url=f"http://127.0.0.1:{port}/v1", store=False)
    with pytest.raises(cf.Unavailable, match="check the network and base_url"):
        ROWS.cfai.generate("{value}")


def test_vectors_of_a_server_are_searched_with_a_text(server: Server, tmp_path: Path) -> None:
    """Queries for vectors of a server are embedded by that server and model; the catalogue is not asked."""
    server.models = ["minilm", "other"]
    frame = pd.DataFrame({"text": ["a red boat", "a blue tree", None]})
    frame["vec"] = frame.cfai.embed("text", model="minilm")
    server.seen.clear()
    assert frame.cfai.search("a red boat", 1)["text"].tolist() == ["a red boat"]
    assert frame.cfai.search(["tree"], 1, model="minilm")["query"].tolist() == ["tree"]
    assert frame.cfai.similarity("vec", "a red boat").iloc[0] == pytest.approx(1)
    joined = frame.cfai.sim_join(pd.DataFrame({"other": ["a red boat"]}), "vec", "other")
    assert joined["other"].tolist() == ["a red boat"] * 2
    assert {body["model"] for _, body, _ in server.seen} == {"minilm"}
    with pytest.raises(ValueError, match=r"model='other': the vectors are of minilm"):
        frame.cfai.search("a red boat", model="other")
    frame.to_parquet(tmp_path / "f.parquet")
    assert len(pd.read_parquet(tmp_path / "f.parquet").cfai.search("a red boat", 1)) == 1
    with cf.connect("emulator", store=False), pytest.raises(ValueError, match="this session asks emulator"):
        frame.cfai.search("a red boat")
