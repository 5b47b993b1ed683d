"""The table: what the emulator claims about the service, a statement a row.

Add a row to ``TABLE`` to state something else: name, the statement in words, the request, and what must hold of status,
code, headers and body (``expectations`` has the notation).  Requests are as small as they can be.
"""

from __future__ import annotations

import base64
import io
import math
import struct
import wave
import zlib
from collections.abc import Mapping
from typing import Any

from ...models import tokens_in
from ...tasks import Json, Request
from .expectations import Expected, Statement

BGE, M3, QWEN = "@cf/baai/bge-small-en-v1.5", "@cf/baai/bge-m3", "@cf/qwen/qwen3-embedding-0.6b"
LLAMA, GLM, OSS = "@cf/meta/llama-3.2-3b-instruct", "@cf/zai-org/glm-4.7-flash", "@cf/openai/gpt-oss-20b"
CLEF, CLAIRIC = "@cf/cloudflare/clef-flash", "@cf/cloudflare/clairic"
PAID = "@cf/moonshotai/kimi-k2.6"
_TURBO = "@cf/openai/whisper-large-v3-turbo"
#: What the writing statements make, use and delete.
NAME = "cfai-nb-conformance"
_GATEWAY = {"cf-aig-gateway-id": "default"}
_COUNT = "Write the numbers 1 2 3 4 5 6 7 8 and nothing else."
_CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_WEATHER = {"name": "weather", "description": "The weather of a city", "parameters": _CITY}
_TOOL = {"type": "function", "function": _WEATHER}
_FORCED = {"type": "function", "function": {"name": "weather"}}
#: The statements of a refusal by Workers AI.
_REFUSAL: Mapping[str, Expected] = {
    "success": False, "result": ("<object>", "<null>"), "errors.0.code": "<number>",
    "errors.0.message": "~^AiError: AiError: ",
}  # fmt: skip
_ENVELOPE: Mapping[str, Expected] = {"success": True, "errors": [], "messages": []}
_NEURONS = {"cf-ai-neurons": r"~^\d+(\.\d+)?$", "cf-ray": "~."}

#: Why codes of the emulator have no statement: only an exhausted, a foreign or a misused account shows them.
LEFT_OUT: Mapping[int, str] = {
    1015: "the edge's own limit of requests: it would have to be exceeded",
    2001: "a gateway is created on its first use, so none is unknown",
    2008: "only on the host of the gateway, where no session sends",
    2009: "a gateway with a provider's wrong key",
    2021: "a gateway without credits",
    3006: "a request larger than the limit, which is not published",
    3007: "a fault of the service",
    3008: "a fault of the service",
    3010: "one recorder's form of 5021",
    3021: "the minute's requests would have to be used up",
    3023: "a blocked account",
    3030: "a prompt that the safety filter flags",
    3036: "an account whose day is used up; the documented form of 4006",
    3039: "a fine-tune of the account without its files",
    3040: "a model without capacity at the moment",
    3041: "a model that is not open to the account",
    4006: "an account whose day is used up",
    5016: "an account that has not accepted the terms, and accepting changes it for good",
    5018: "a model that the account would have to apply for",
    5019: "an old SDK",
    5035: "an account without a paid plan: the statement chat.paid shows it as not open",
    7032: "a paused instance",
    7042: "shown by ai-search.again where writing is allowed, as 409",
    7064: "a second namespace of one name",
    7065: "changing the default namespace",
    7066: "deleting a namespace with instances",
    7074: "a search over more than ten instances",
    9106: "a malformed token",
    10000: "a token of another account",
}


def _run(
    name: str, says: str, model: str, body: Json, /, *, most: int = 0, uses: Mapping[str, float] | None = None,
    query: Mapping[str, str | list[str]] | None = None, gateway: bool = False, **holds: Any,
) -> Statement:  # fmt: skip
    """Return a statement about a call of a model; `most` is the output tokens it may use."""
    tokens = {"input_tokens": float(tokens_in(str(body)) + 64), "output_tokens": float(most)}
    request = Request(json=body, path=f"/ai/run/{model}", query=query or {}, headers=_GATEWAY if gateway else {})
    return Statement(name=name, says=says, request=request, model=model, uses=tokens if uses is None else uses, **holds)


def _refused(name: str, says: str, model: str, body: Json, code: int, status: int = 400, /, **more: Any) -> Statement:
    """Return a statement about a refusal of a model, which costs nothing."""
    holds = {**_REFUSAL, **more.pop("body", {})}
    return _run(name, says, model, body, uses={}, status=status, code=code, body=holds, **more)


def _v1(name: str, says: str, route: str, body: Mapping[str, Json], /, *, most: int = 0, **holds: Any) -> Statement:
    """Return a statement about one of the OpenAI addresses."""
    uses = {"input_tokens": float(tokens_in(str(body)) + 64), "output_tokens": float(most)}
    request = Request(json=body, path=f"/ai/v1/{route}")
    return Statement(name=name, says=says, request=request, model=str(body.get("model", "")), uses=uses, **holds)


def _bytes(
    name: str, says: str, model: str, content: bytes, media: str, uses: Mapping[str, float], **holds: Any
) -> Statement:
    """Return a statement about a call with raw bytes."""
    query = holds.pop("query", {})
    request = Request(content=content, content_type=media, path=f"/ai/run/{model}", query=query)
    return Statement(name=name, says=says, request=request, model=model, uses=uses, **holds)


def _form(name: str, says: str, path: str, form: Mapping[str, Any], **holds: Any) -> Statement:
    """Return a statement about a multipart form."""
    return Statement(name=name, says=says, request=Request(form=form, path=path), **holds)


def _at(name: str, says: str, method: str, path: str, body: Json = None, /, **holds: Any) -> Statement:
    """Return a statement about an address that runs no model."""
    query, kind = holds.pop("query", {}), holds.pop("content_type", "application/json")
    content = body if isinstance(body, bytes) else None
    sent = Request(
        json=None if content is not None else body, content=content, content_type=kind, path=path, query=query
    )
    return Statement(name=name, says=says, method=method, request=sent, **holds)


def say(text: str, **more: Any) -> dict[str, Json]:
    """Return the body of a chat of one message."""
    return {"messages": [{"role": "user", "content": text}], **more}


def sound() -> bytes:
    """Return half a second of a tone, as a WAV file."""
    held = io.BytesIO()
    with wave.open(held, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        tone = (int(8_000 * math.sin(2 * math.pi * 440 * at / 16_000)) for at in range(8_000))
        file.writeframes(b"".join(struct.pack("<h", value) for value in tone))
    return held.getvalue()


def picture() -> bytes:
    """Return a red square of 64 x 64 pixels, as a PNG file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress((b"\0" + b"\xd0\x20\x20" * 64) * 64)
    head = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


_WAV, _PNG = sound(), picture()
_WAV64, _PNG64 = (base64.b64encode(data).decode() for data in (_WAV, _PNG))
_MINUTE = {"audio_minutes": 0.02}
_QUESTIONS = {"late": {"type": "noul", "instructions": "Is the parcel late?"}}
_CHOICE = {"team": {"type": "choice", "instructions": "Which team?", "criteria": {"billing": None, "shipping": None}}}
_SCORE = {"mood": {"type": "score", "instructions": "How friendly?", "criteria": ["rude", "neutral", "kind"]}}
_VECTORS, _SEARCH = "/vectorize/v2/indexes", "/ai-search/namespaces/default/instances"
_CHAT = "result.choices.0"

_EMBED = [
    _run("embed.shape", "two texts give two vectors and their shape", BGE, {"text": ["one", "two"]},
         headers=_NEURONS, body={**_ENVELOPE, "result.shape": [2, 384], "result.data.0.0": "<number>"}),
    _run("embed.pooling", "the answer names the pooling that was asked for", BGE, {"text": "one", "pooling": "cls"},
         body={"result.pooling": "cls", "result.shape": [1, 384]}),
    _run("embed.m3", "bge-m3 answers as the others do", M3, {"text": ["one"]}, body={"result.shape": [1, 1024]}),
    _run("embed.m3-contexts", "bge-m3 with contexts alone answers under `response`", M3,
         {"contexts": [{"text": "one"}]}, body={"result.response.0.0": "<number>"}),
    _run("embed.m3-query", "bge-m3 with a query scores its contexts", M3,
         {"query": "one", "contexts": [{"text": "one"}, {"text": "two"}]},
         body={"result.response.0.id": "<number>", "result.response.0.score": "<number>"}),
    _run("embed.queries", "qwen3-embedding takes queries apart from documents", QWEN, {"queries": ["one"]},
         body={"result.shape": [1, 1024]}),
    _v1("embed.openai", "the OpenAI address answers without an envelope", "embeddings",
        {"model": BGE, "input": ["one", "two"], "encoding_format": "float"},
        body={"object": "list", "data.1.index": 1, "data.0.embedding.0": "<number>", "result": "!~."}),
    _refused("embed.empty", "a body without a text is refused with 5006", BGE, {}, 5006),
    _refused("embed.many", "101 texts are refused with 5006", BGE, {"text": ["a"] * 101}, 5006),
    _run("rank.scores", "the reranker scores contexts by their place", "@cf/baai/bge-reranker-base",
         {"query": "one", "contexts": [{"text": "one"}, {"text": "two"}]},
         body={"result.response.0.id": "<number>", "result.response.0.score": "<number>"}),
]  # fmt: skip

_CHATS = [
    _run("chat.native", "a legacy model answers with `response` and `usage`", LLAMA, say("Say hello.", max_tokens=8),
         most=8, headers=_NEURONS,
         body={**_ENVELOPE, "result.response": "<text>", "result.usage.total_tokens": "<number>"}),
    _run("chat.prompt", "a legacy model takes a bare prompt", LLAMA, {"prompt": "Say hello.", "max_tokens": 8}, most=8,
         body={"result.response": "<text>"}),
    _run("chat.number", "a reply that is a number is a text in `response`", LLAMA,
         say("What is 40 + 2? Write the number alone.", max_tokens=8), most=8, body={"result.response": "<text>"}),
    _run("chat.hazard", "a harmless prompt with a word such as attack is answered", LLAMA,
         say("What is an attack in chess?", max_tokens=8), most=8, body={"result.response": "<text>"}),
    _run("chat.json", "with a bare schema, `response` is already parsed", "@cf/meta/llama-3.3-70b-instruct-fp8-fast",
         say("Name a city.", max_tokens=64, response_format={"type": "json_schema", "json_schema": _CITY}), most=64,
         body={"result.response.city": "<text>"}),
    _run("chat.tool", "a legacy model calls a tool without an id, with arguments as an object",
         "@cf/meta/llama-3.3-70b-instruct-fp8-fast", say("What is the weather in Rome?", max_tokens=64, tools=[_TOOL]),
         most=64, body={"result.tool_calls.0.arguments": "<object>", "result.tool_calls.0.id": "!<text>"}),
    _run("chat.stream", "a native stream has a space after `data:`, numbers as numbers, totals last", LLAMA,
         say(_COUNT, max_tokens=32, stream=True), most=32, headers={"content-type": "~text/event-stream"},
         body={"ended": True, "spaced": True, "events.*.response": "<number>",
               "events.*.usage.total_tokens": "<number>"}),
    _run("chat.openai-family", "an openai model answers with a chat completion on /run", GLM,
         say("Say hello.", max_completion_tokens=256), most=256,
         body={"result.object": "chat.completion", f"{_CHAT}.message.content": "<text>",
               f"{_CHAT}.finish_reason": "<text>"}),
    _run("chat.openai-stream", "its stream on /run ends with a native event of totals", GLM,
         say("Say hello.", max_completion_tokens=256, stream=True), most=256,
         body={"ended": True, "events.*.choices.0.delta.content": "<text>", "events.*.response": ("<text>", "<null>"),
               "events.*.usage.total_tokens": "<number>"}),
    _v1("chat.v1", "the OpenAI address answers without an envelope", "chat/completions",
        {"model": LLAMA, **say("Say hello.", max_tokens=8)}, most=8,
        body={"object": "chat.completion", "choices.0.message.content": "<text>", "success": "!<boolean>"}),
    _v1("chat.v1-stream", "its stream has text in its deltas, numbers too", "chat/completions",
        {"model": GLM, **say(_COUNT, max_tokens=256, stream=True)}, most=256,
        body={"ended": True, "spaced": True, "events.*.choices.0.delta.content": "<text>",
              "events.*.choices.*.delta.content": "!<number>"}),
    _v1("chat.forced-tool", "gpt-oss calls a tool that it is told to call, with arguments as a text",
        "chat/completions",
        {"model": OSS, **say("What is the weather in Rome?", max_tokens=256, tools=[_TOOL], tool_choice=_FORCED)},
        most=256, body={"choices.0.message.tool_calls.0.function.arguments": "<text>"}),
    _v1("chat.responses", "gpt-oss answers the Responses address", "responses",
        {"model": OSS, "input": "Say hello.", "max_output_tokens": 128}, most=128,
        body={"object": "response", "output.*.type": "message"}),
    _run("chat.guard", "llama-guard says safe or unsafe", "@cf/meta/llama-guard-3-8b", say("How do I bake bread?"),
         most=16, body={"result.response": ("~safe", "<object>")}),
    _run("chat.paid", "a model of the paid plan answers", PAID, say("Say hello.", max_completion_tokens=64), most=64,
         body={"result.object": "chat.completion"}),
    _refused("chat.tool-any", "tool_choice \"any\" is refused with 8001", GLM,
             say("Hello.", tools=[_TOOL], tool_choice="any"), 8001),
    _refused("chat.window", "more tokens than the window are refused with 5021", LLAMA,
             {"prompt": "Hello.", "max_tokens": 10_000_000}, 5021, 413),
    _refused("chat.adapter", "an adapter on a model without them is refused with 5005", GLM,
             say("Hello.", lora="none"), 5005, 405),
    _refused("chat.warm", "a temperature above 5 is refused with 5006", LLAMA, say("Hello.", temperature=9), 5006),
    _refused("chat.unknown", "a model that is not there is refused with 5007", "@cf/no/such-model", {"prompt": "x"},
             5007),
    _refused("chat.misnamed", "a name that no model can have is refused with 3042", "nonsense", {"prompt": "x"}, 3042,
             404),
    _at("chat.no-body", "a call without a body is refused with 3003", "POST", f"/ai/run/{LLAMA}", b"",
        status=400, code=3003, body=_REFUSAL),
]  # fmt: skip

_DECISIONS = [
    _run("decide.yes-no", "a yes/no question is answered with a probability", CLEF,
         {"model": "clef-flash", "state": "It is a week late.", "questions": _QUESTIONS},
         body={"result.answers.late.type": "noul", "result.answers.late.noul": "<number>",
               "result.usage.input_tokens": "<number>"}),
    _run("decide.choice", "a choice has a probability for each option", CLEF,
         {"model": "clef-flash", "state": "It is a week late.", "questions": _CHOICE},
         body={"result.answers.team.choice": "<text>", "result.answers.team.probabilities.billing": "<number>"}),
    _run("decide.score", "a score has its legend", CLEF,
         {"model": "clef-flash", "state": "Thank you!", "questions": _SCORE},
         body={"result.answers.mood.score": "<number>",
               "result.answers.mood.legend": ("<list>", "<object>", "<text>")}),
    _refused("decide.no-model", "a missing short name is refused with 5006", CLEF,
             {"state": "x", "questions": _QUESTIONS}, 5006),
    _run("decide.malformed", "a malformed question is a 422 with JSON as a text in the message", CLEF,
         {"model": "clef-flash", "state": "x", "questions": {"a": {"type": "choice", "instructions": "x"}}}, uses={},
         status=422, body={"success": False, "errors.0.message": r'~^\{.*"detail"'}),
    _run("extract.number", "a number comes typed, with its confidence", CLAIRIC,
         {"model": "clairic", "state": "The invoice is over 42 euros.", "fields": {"sum": {"type": "number"}}},
         body={"result.answers.sum.type": "number", "result.answers.sum.value": ("<number>", "<null>"),
               "result.truncated": False, "result.usage.passes": "<number>"}),
]  # fmt: skip

_MEDIA = [
    _run("media.flux-1", "flux-1-schnell answers with base64", "@cf/black-forest-labs/flux-1-schnell",
         {"prompt": "a red circle", "steps": 1}, uses={"tiles": 4.0, "steps": 4.0}, body={"result.image": "<text>"}),
    _form("media.flux-2", "flux-2-klein takes a form and answers with base64",
          "/ai/run/@cf/black-forest-labs/flux-2-klein-4b", {"prompt": "a red circle", "width": "256", "height": "256"},
          model="@cf/black-forest-labs/flux-2-klein-4b", uses={"tiles": 1.0}, body={"result.image": "<text>"}),
    _refused("media.flux-2-json", "flux-2 refuses JSON with 5006", "@cf/black-forest-labs/flux-2-klein-4b",
             {"prompt": "a red circle"}, 5006),
    _run("media.phoenix", "phoenix answers with the picture itself, without its Neurons", "@cf/leonardo/phoenix-1.0",
         {"prompt": "a red circle", "width": 256, "height": 256, "num_steps": 1}, uses={"tiles": 0.25, "steps": 0.25},
         headers={"content-type": "~^image/", "cf-ai-neurons": "<none>"}, body={"mime": "~^image/"}),
    _bytes("media.resnet", "resnet names what is in the bytes of a picture", "@cf/microsoft/resnet-50", _PNG,
           "image/png", {"images": 1.0}, body={"result.0.label": "<text>", "result.0.score": "<number>"}),
    _run("media.moondream", "moondream answers a question about a picture", "@cf/moondream/moondream3.1-9B-A2B",
         {"task": "query", "image": f"data:image/png;base64,{_PNG64}", "question": "Which color?"}, most=64,
         uses={"input_tokens": 1000.0, "output_tokens": 64.0}, body={"result.answer": "<text>"}),
    _bytes("media.whisper", "whisper takes the bytes of a sound", "@cf/openai/whisper", _WAV, "audio/wav", _MINUTE,
           body={"result.text": "<text>"}),
    _run("media.whisper-turbo", "whisper-large-v3-turbo takes base64", _TURBO,
         {"audio": _WAV64}, uses=_MINUTE,
         body={"result.text": "<text>", "result.transcription_info.language": "<text>"}),
    _refused("media.whisper-list", "whisper-large-v3-turbo refuses a list of bytes", _TURBO,
             {"audio": [1, 2, 3]}, 5006),
    _refused("media.not-base64", "what is not base64 is refused with 5004", _TURBO,
             {"audio": "not base64!"}, 5004),
    _bytes("media.nova", "nova-3 takes bytes, with options in the query", "@cf/deepgram/nova-3", _WAV, "audio/wav",
           _MINUTE, query={"language": "en"}, body={"result.results.channels.0.alternatives.0.transcript": "<text>"}),
    _run("media.aura", "aura answers with the sound itself, MP3", "@cf/deepgram/aura-1", {"text": "Hi."},
         uses={"characters": 3.0}, headers={"content-type": "~^audio/"}, body={"mime": "~^audio/"}),
    _run("media.melotts", "melotts answers with base64", "@cf/myshell-ai/melotts", {"prompt": "Hi."}, uses=_MINUTE,
         body={"result.audio": "<text>"}),
    _run("text.sentiment", "distilbert answers with a list of labels", "@cf/huggingface/distilbert-sst-2-int8",
         {"text": "good"}, body={"result.*.label": "POSITIVE", "result.0.score": "<number>"}),
    _run("text.translate", "m2m100 answers with translated_text", "@cf/meta/m2m100-1.2b",
         {"text": "Hello.", "source_lang": "en", "target_lang": "de"}, most=64,
         body={"result.translated_text": "<text>"}),
    _form("text.markdown", "tomarkdown answers a row a file, with its format", "/ai/tomarkdown",
          {"files": ("a.html", b"<h1>Hello</h1>", "text/html")},
          body={"result.0.name": "a.html", "result.0.format": "markdown", "result.0.data": "~Hello"}),
]  # fmt: skip

_ADDRESSES = [
    _at("list.search", "a search that finds nothing is an empty list", "GET", "/ai/models/search",
        query={"search": "no-model-is-called-like-this"}, body={**_ENVELOPE, "result": []}),
    _at("list.values", "properties of models are texts, prices a list", "GET", "/ai/models/search",
        query={"search": "bge-m3"}, body={"result.*.name": M3, "result.*.properties.*.property_id": "price",
                                          "result.*.properties.*.value.*.unit": "<text>"}),
    _at("list.schema", "a model's schemas are input and output", "GET", "/ai/models/schema", query={"model": BGE},
        body={"result.input": "<object>", "result.output": "<object>"}),
    _at("list.tasks", "tasks are listed", "GET", "/ai/tasks/search", body={"result.*.name": "Text Embeddings"}),
    _at("list.authors", "authors are listed", "GET", "/ai/authors/search", body={"result.*.name": "<text>"}),
    _at("list.formats", "the formats of tomarkdown are extension and media type", "GET", "/ai/tomarkdown/supported",
        body={"result.*.extension": ".html", "result.*.mimeType": "text/html"}),
    _at("list.finetunes", "fine-tunes of the account are a list", "GET", "/ai/finetunes", body={"result": "<list>"}),
    _at("list.public", "public fine-tunes are a list", "GET", "/ai/finetunes/public", query={"limit": "1"},
        body={"result": "<list>"}),
    _at("list.v1", "there is no /v1/models: 7001", "GET", "/ai/v1/models", status=405, code=7001,
        body={"success": False}),
    _at("list.method", "a model cannot be fetched: 7001", "GET", f"/ai/run/{LLAMA}", status=405, code=7001),
    _at("list.nowhere", "an unknown address is 7003", "GET", "/ai/no-such-address", status=404, code=7003),
    _run("queue.send", "a queued batch is acknowledged with its id", BGE, {"requests": [{"text": "one"}]},
         query={"queueRequest": "true"}, body={"result.status": ("queued", "running"), "result.request_id": "<text>"}),
    _run("gateway.envelope", "through a gateway, /run keeps its envelope", BGE, {"text": "one"}, gateway=True,
         headers={"cf-aig-log-id": "~.", "cf-aig-cache-status": "~^(HIT|MISS)$"},
         body={**_ENVELOPE, "result.shape": [1, 384]}),
    _at("gateway.generic", "POST /run without a gateway is refused with 3003", "POST", "/ai/run",
        {"model": BGE, "input": {"text": "one"}}, status=400, code=3003),
]  # fmt: skip

_STORES = [
    _at("vectorize.unknown", "an index that is not there is 3000", "GET", f"{_VECTORS}/{NAME}-none", status=404,
        code=3000, body={"success": False, "errors.0.message": "~^vectorize"}),
    _at("vectorize.create", "an index has dimensions and a metric", "POST", _VECTORS,
        {"name": NAME, "config": {"dimensions": 3, "metric": "cosine"}}, writes=True,
        body={"result.name": NAME, "result.config.dimensions": 3, "result.created_on": "<text>"}),
    _at("vectorize.taken", "a second index of the name is 3002", "POST", _VECTORS,
        {"name": NAME, "config": {"dimensions": 3, "metric": "cosine"}}, writes=True, status=(400, 409), code=3002),
    _at("vectorize.upsert", "a write answers with the id of its mutation", "POST", f"{_VECTORS}/{NAME}/upsert",
        b'{"id": "a", "values": [1, 0, 0], "metadata": {"n": 1}}', content_type="application/x-ndjson", writes=True,
        body={"result.mutationId": "<text>"}),
    _at("vectorize.query", "a query answers with a count and matches", "POST", f"{_VECTORS}/{NAME}/query",
        {"vector": [1, 0, 0], "topK": 1}, writes=True,
        body={"result.count": "<number>", "result.matches": "<list>"}),
    _at("vectorize.dimensions", "a query of other dimensions is 40006", "POST", f"{_VECTORS}/{NAME}/query",
        {"vector": [1, 0]}, writes=True, status=400, code=40006),
    _at("vectorize.many", "a topK of 1,000 is 40025", "POST", f"{_VECTORS}/{NAME}/query",
        {"vector": [1, 0, 0], "topK": 1000}, writes=True, status=400, code=40025),
    _at("vectorize.info", "the index says what it has processed", "GET", f"{_VECTORS}/{NAME}/info", writes=True,
        body={"result.vectorCount": "<number>", "result.dimensions": 3}),
    _at("vectorize.delete", "an index can be deleted", "DELETE", f"{_VECTORS}/{NAME}", writes=True,
        body={"success": True}),
    _at("ai-search.unknown", "an instance that is not there is 7002", "GET", f"{_SEARCH}/{NAME}-none", status=404,
        code=7002, body={"errors.0.message": "~ai_search_not_found"}),
    _at("ai-search.nowhere", "a namespace that is not there is 7063", "GET",
        f"/ai-search/namespaces/{NAME}-none/instances", status=404, code=7063),
    _at("ai-search.list", "instances of the default namespace are a list with pages", "GET", _SEARCH,
        body={"result": "<list>", "result_info.total_count": "<number>"}),
    _at("ai-search.create", "a new instance has indexes of vectors and of words", "POST", _SEARCH,
        {"id": NAME, "custom_metadata": [{"field_name": "topic", "data_type": "text"}]}, writes=True,
        body={"result.id": NAME, "result.index_method.vector": True, "result.index_method.keyword": True,
              "result.custom_metadata.0.field_name": "topic"}),
    _at("ai-search.taken", "a second instance of the name is 7022", "POST", _SEARCH, {"id": NAME}, writes=True,
        status=400, code=7022),
    _form("ai-search.upload", "an upload that waits answers with its item", f"{_SEARCH}/{NAME}/items",
          {"file": ("a.txt", b"A refund takes a week.", "text/plain"), "metadata": '{"topic": "returns"}',
           "wait_for_completion": "true"}, writes=True,
          body={"result.key": "a.txt", "result.status": ("completed", "running", "queued"), "result.id": "<text>"}),
    _form("ai-search.again", "a second upload of a key is 7042", f"{_SEARCH}/{NAME}/items",
          {"file": ("a.txt", b"A refund takes a day.", "text/plain")}, writes=True, status=409, code=7042),
    _form("ai-search.no-file", "an upload without a file is 7055", f"{_SEARCH}/{NAME}/items",
          {"metadata": "{}", "other": ("b.txt", b"x", "text/plain")}, writes=True, status=400, code=7055),
    _form("ai-search.metadata", "metadata that is no object is 7056", f"{_SEARCH}/{NAME}/items",
          {"file": ("c.txt", b"x", "text/plain"), "metadata": "[1]"}, writes=True, status=400, code=7056),
    _form("ai-search.type", "a file of an unknown type is 7060", f"{_SEARCH}/{NAME}/items",
          {"file": ("a.exe", b"x", "application/octet-stream")}, writes=True, status=400, code=7060),
    _form("ai-search.long-key", "a key of 129 characters is 7072", f"{_SEARCH}/{NAME}/items",
          {"file": ("x" * 125 + ".txt", b"x", "text/plain")}, writes=True, status=400, code=7072),
    _form("ai-search.large", "a text over 4 MiB is 7054", f"{_SEARCH}/{NAME}/items",
          {"file": ("large.txt", b"x" * (4 * 2**20 + 1), "text/plain")}, writes=True, status=413, code=7054),
    _at("ai-search.no-item", "an item that is not there is 7041", "GET", f"{_SEARCH}/{NAME}/items/{NAME}", writes=True,
        status=404, code=7041),
    _at("ai-search.search", "a search answers with chunks", "POST", f"{_SEARCH}/{NAME}/search", {"query": "refund"},
        writes=True, body={"result.chunks": "<list>", "result.search_query": ("<text>", "<null>")}),
    _at("ai-search.no-query", "a search without a query is 7039", "POST", f"{_SEARCH}/{NAME}/search", {}, writes=True,
        status=400, code=7039),
    _at("ai-search.no-question", "a chat without a question is 7038", "POST", f"{_SEARCH}/{NAME}/chat/completions",
        {"messages": []}, writes=True, status=400, code=7038),
    _at("ai-search.filter", "a filter by a field that is not there is 7058", "POST", f"{_SEARCH}/{NAME}/search",
        {"query": "x", "ai_search_options": {"retrieval": {"filters": {"none": 1}}}}, writes=True, status=400,
        code=7058),
    _at("ai-search.chat", "a question is answered in OpenAI's form, without an envelope, with its chunks", "POST",
        f"{_SEARCH}/{NAME}/chat/completions", say("How long does a refund take?"), writes=True,
        body={"choices": "<list>", "chunks": "<list>", "success": "!<boolean>"}),
    _at("ai-search.delete", "an instance can be deleted", "DELETE", f"{_SEARCH}/{NAME}", writes=True,
        body={"success": True}),
]  # fmt: skip

TABLE: tuple[Statement, ...] = (*_EMBED, *_CHATS, *_DECISIONS, *_MEDIA, *_ADDRESSES, *_STORES)
