"""The table of the emulator's claims about the service, one statement per row.

A row has a name, the statement in words, the request, and the expected status, code, headers and body (``expectations``
has the notation).  Requests are as small as possible.  ``store_statements`` has the rows about Vectorize and AI Search.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from .expectations import (
    REFUSAL,
    Expected,
    Statement,
    asks,
    picture,
    refuses,
    runs,
    say,
    sound,
    takes_bytes,
    takes_form,
    v1,
)
from .store_statements import STORES

BGE, M3, QWEN = "@cf/baai/bge-small-en-v1.5", "@cf/baai/bge-m3", "@cf/qwen/qwen3-embedding-0.6b"
LLAMA, GLM, OSS = "@cf/meta/llama-3.2-3b-instruct", "@cf/zai-org/glm-4.7-flash", "@cf/openai/gpt-oss-20b"
CLEF, CLAIRIC = "@cf/cloudflare/clef-flash", "@cf/cloudflare/clairic"
PAID = "@cf/moonshotai/kimi-k2.6"
_TURBO = "@cf/openai/whisper-large-v3-turbo"
_COUNT = "Write the numbers 1 2 3 4 5 6 7 8 and nothing else."
_CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_WEATHER = {"name": "weather", "description": "The weather of a city", "parameters": _CITY}
_TOOL = {"type": "function", "function": _WEATHER}
_FORCED = {"type": "function", "function": {"name": "weather"}}
_ENVELOPE: Mapping[str, Expected] = {"success": True, "errors": [], "messages": []}
_NEURONS = {"cf-ai-neurons": r"~^\d+(\.\d+)?$", "cf-ray": "~."}

#: Why codes, families and addresses of the emulator have no statement: most of them only occur with an exhausted, a
#: foreign or a misused account.
LEFT_OUT: Mapping[int | str, str] = {
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
    7064: "a second namespace of one name",
    7065: "changing the default namespace",
    7066: "deleting a namespace with instances",
    7074: "a search over more than ten instances",
    7070: "an instance without an index of words",
    8006: "a call of a tool that thinking leaves no tokens for",
    9106: "a malformed token",
    10000: "a token of another account",
    "anthropic": "another provider's models, which it bills; so is the address /ai/v1/messages",
    "lucid": "160 Neurons for an answer of the form that flux-1 has",
    "/ai/v1/messages": "see anthropic",
    "/ai/finetunes/{finetune}/finetune-assets": "files of a fine-tune cannot be replaced or deleted",
    "/ai-gateway/gateways/{gateway}/logs/{log}": "the id of a log is not known beforehand; so are the two below it",
    "/ai-gateway/gateways/{gateway}/logs/{log}/request": "see above",
    "/ai-gateway/gateways/{gateway}/logs/{log}/response": "see above",
    "/ai-search/instances": "the short form of the addresses of the default namespace",
}


_WAV, _PNG = sound(), picture()
_WAV64, _PNG64 = (base64.b64encode(data).decode() for data in (_WAV, _PNG))
_MINUTE = {"audio_minutes": 0.02}
_QUESTIONS = {"late": {"type": "noul", "instructions": "Is the parcel late?"}}
_CHOICE = {"team": {"type": "choice", "instructions": "Which team?", "criteria": {"billing": None, "shipping": None}}}
_SCORE = {"mood": {"type": "score", "instructions": "How friendly?", "criteria": ["rude", "neutral", "kind"]}}
_CHAT = "result.choices.0"

_EMBED = [
    runs("embed.shape", "two texts give two vectors and their shape", BGE, {"text": ["one", "two"]},
         headers=_NEURONS, body={**_ENVELOPE, "result.shape": [2, 384], "result.data.0.0": "<number>"}),
    runs("embed.pooling", "the answer names the pooling that was asked for", BGE, {"text": "one", "pooling": "cls"},
         body={"result.pooling": "cls", "result.shape": [1, 384]}),
    runs("embed.m3", "bge-m3 answers as the others do", M3, {"text": ["one"]}, body={"result.shape": [1, 1024]}),
    runs("embed.m3-contexts", "bge-m3 with contexts alone answers under `response`", M3,
         {"contexts": [{"text": "one"}]}, body={"result.response.0.0": "<number>"}),
    runs("embed.m3-query", "bge-m3 with a query scores its contexts", M3,
         {"query": "one", "contexts": [{"text": "one"}, {"text": "two"}]},
         body={"result.response.0.id": "<number>", "result.response.0.score": "<number>"}),
    runs("embed.queries", "qwen3-embedding takes queries apart from documents", QWEN, {"queries": ["one"]},
         body={"result.shape": [1, 1024]}),
    v1("embed.openai", "the OpenAI address answers without an envelope", "embeddings",
        {"model": BGE, "input": ["one", "two"], "encoding_format": "float"},
        body={"object": "list", "data.1.index": 1, "data.0.embedding.0": "<number>", "result": "!~."}),
    runs("embed.plamo", "plamo answers as the others do", "@cf/pfnet/plamo-embedding-1b", {"text": ["one"]},
         body={"result.shape": [1, 2048]}),
    refuses("embed.refused", "the result of a refusal is an empty object", BGE, {}, 5006, body={"result": {}}),
    refuses("embed.empty", "a body without a text is refused with 5006", BGE, {}, 5006),
    refuses("embed.many", "101 texts are refused with 5006", BGE, {"text": ["a"] * 101}, 5006),
    runs("rank.scores", "the reranker scores contexts by their place", "@cf/baai/bge-reranker-base",
         {"query": "one", "contexts": [{"text": "one"}, {"text": "two"}]},
         body={"result.response.0.id": "<number>", "result.response.0.score": "<number>"}),
]  # fmt: skip

_CHATS = [
    runs("chat.native", "a legacy model answers with `response` and `usage`", LLAMA, say("Say hello.", max_tokens=8),
         most=8, headers=_NEURONS,
         body={**_ENVELOPE, "result.response": "<text>", "result.usage.total_tokens": "<number>"}),
    runs("chat.prompt", "a legacy model takes a bare prompt", LLAMA, {"prompt": "Say hello.", "max_tokens": 8}, most=8,
         body={"result.response": "<text>"}),
    runs("chat.cut", "a reply that max_tokens cuts says so: finish_reason length", GLM,
         say(_COUNT, max_completion_tokens=4), most=4, body={f"{_CHAT}.finish_reason": "length"}),
    runs("chat.number", "a reply that is a number is a text in `response`", LLAMA,
         say("What is 40 + 2? Write the number alone.", max_tokens=8), most=8, body={"result.response": "<text>"}),
    runs("chat.hazard", "a harmless prompt with a word such as attack is answered", LLAMA,
         say("What is an attack in chess?", max_tokens=8), most=8, body={"result.response": "<text>"}),
    runs("chat.json", "with a bare schema, `response` is already parsed", "@cf/meta/llama-3.3-70b-instruct-fp8-fast",
         say("Name a city.", max_tokens=64, response_format={"type": "json_schema", "json_schema": _CITY}), most=64,
         body={"result.response.city": "<text>"}),
    runs("chat.tool", "a legacy model calls a tool without an id, with arguments as an object",
         "@cf/meta/llama-3.3-70b-instruct-fp8-fast", say("What is the weather in Rome?", max_tokens=64, tools=[_TOOL]),
         most=64, body={"result.tool_calls.0.arguments": "<object>", "result.tool_calls.0.id": "!<text>"}),
    runs("chat.stream", "a native stream has a space after `data:`, numbers as numbers, totals last", LLAMA,
         say(_COUNT, max_tokens=32, stream=True), most=32, headers={"content-type": "~text/event-stream"},
         body={"ended": True, "spaced": True, "events.*.response": "<number>",
               "events.*.usage.total_tokens": "<number>"}),
    runs("chat.openai-family", "an openai model answers with a chat completion on /run", GLM,
         say("Say hello.", max_completion_tokens=256), most=256,
         body={"result.object": "chat.completion", f"{_CHAT}.message.content": "<text>",
               f"{_CHAT}.finish_reason": "<text>"}),
    runs("chat.openai-stream", "its stream on /run ends with a native event of totals", GLM,
         say("Say hello.", max_completion_tokens=256, stream=True), most=256,
         body={"ended": True, "events.*.choices.0.delta.content": "<text>", "events.*.response": ("<text>", "<null>"),
               "events.*.usage.total_tokens": "<number>"}),
    v1("chat.v1", "the OpenAI address answers without an envelope", "chat/completions",
        {"model": LLAMA, **say("Say hello.", max_tokens=8)}, most=8,
        body={"object": "chat.completion", "choices.0.message.content": "<text>", "success": "!<boolean>"}),
    v1("chat.v1-stream", "its stream has text in its deltas, numbers too", "chat/completions",
        {"model": GLM, **say(_COUNT, max_tokens=256, stream=True)}, most=256,
        body={"ended": True, "spaced": True, "events.*.choices.0.delta.content": "<text>",
              "events.*.choices.*.delta.content": "!<number>"}),
    v1("chat.forced-tool", "gpt-oss calls a tool that it is told to call, with arguments as a text",
        "chat/completions",
        {"model": OSS, **say("What is the weather in Rome?", max_tokens=256, tools=[_TOOL], tool_choice=_FORCED)},
        most=256, body={"choices.0.message.tool_calls.0.function.arguments": "<text>"}),
    v1("chat.responses", "gpt-oss answers the Responses address", "responses",
        {"model": OSS, "input": "Say hello.", "max_output_tokens": 128}, most=128,
        body={"object": "response", "output.*.type": "message"}),
    runs("chat.guard", "llama-guard says safe or unsafe", "@cf/meta/llama-guard-3-8b", say("How do I bake bread?"),
         most=16, body={"result.response": ("~safe", "<object>")}),
    runs("chat.paid", "a model of the paid plan answers", PAID, say("Say hello.", max_completion_tokens=64), most=64,
         body={"result.object": "chat.completion"}),
    refuses("chat.tool-any", "tool_choice \"any\" is refused with 8001", GLM,
             say("Hello.", tools=[_TOOL], tool_choice="any"), 8001),
    refuses("chat.window", "more tokens than the window are refused with 5021", LLAMA,
             {"prompt": "Hello.", "max_tokens": 10_000_000}, 5021, 413),
    refuses("chat.adapter", "an adapter on a model without them is refused with 5005", GLM,
             say("Hello.", lora="none"), 5005, 405),
    refuses("chat.warm", "a temperature above 5 is refused with 5006", LLAMA, say("Hello.", temperature=9), 5006),
    refuses("chat.unknown", "a model that is not there is refused with 5007", "@cf/no/such-model", {"prompt": "x"},
             5007),
    refuses("chat.misnamed", "a name that no model can have is refused with 3042", "nonsense", {"prompt": "x"}, 3042,
             404),
    asks("chat.no-body", "a call without a body is refused with 3003", "POST", f"/ai/run/{LLAMA}", b"",
        status=400, code=3003, body=REFUSAL),
]  # fmt: skip

_DECISIONS = [
    runs("decide.yes-no", "a yes/no question is answered with a probability", CLEF,
         {"model": "clef-flash", "state": "It is a week late.", "questions": _QUESTIONS},
         body={"result.answers.late.type": "noul", "result.answers.late.noul": "<number>",
               "result.usage.input_tokens": "<number>"}),
    runs("decide.choice", "a choice has a probability for each option", CLEF,
         {"model": "clef-flash", "state": "It is a week late.", "questions": _CHOICE},
         body={"result.answers.team.choice": "<text>", "result.answers.team.probabilities.billing": "<number>"}),
    runs("decide.score", "a score has its legend", CLEF,
         {"model": "clef-flash", "state": "Thank you!", "questions": _SCORE},
         body={"result.answers.mood.score": "<number>",
               "result.answers.mood.legend": ("<list>", "<object>", "<text>")}),
    refuses("decide.no-model", "a missing short name is refused with 5006", CLEF,
             {"state": "x", "questions": _QUESTIONS}, 5006),
    runs("decide.malformed", "a malformed question is a 422 with JSON as a text in the message", CLEF,
         {"model": "clef-flash", "state": "x", "questions": {"a": {"type": "choice", "instructions": "x"}}}, uses={},
         status=422, body={"success": False, "errors.0.message": r'~^\{.*"detail"'}),
    runs("extract.number", "a number comes typed, with its confidence", CLAIRIC,
         {"model": "clairic", "state": "The invoice is over 42 euros.", "fields": {"sum": {"type": "number"}}},
         uses={"input_tokens": 300.0},
         body={"result.answers.sum.type": "number", "result.answers.sum.value": ("<number>", "<null>"),
               "result.truncated": False, "result.usage.passes": "<number>"}),
    runs("extract.passes", "each field is a pass over the text", CLAIRIC,
         {"model": "clairic", "state": "42 euros by May 3.", "fields": {"sum": {"type": "number"},
                                                                          "due": {"type": "date"}}},
         uses={"input_tokens": 600.0}, body={"result.answers.due.type": "date", "result.usage.passes": 2}),
    refuses("extract.no-fields", "fields that are empty are refused with 6003", CLAIRIC,
            {"model": "clairic", "state": "42 euros.", "fields": {}}, 6003),
    runs("extract.definition", "a definition that is not accepted is refused with 3030, a 422", CLAIRIC,
         {"model": "clairic", "state": "42 euros.", "fields": {"sum": {"type": "estimate"}}}, uses={}, status=422,
         code=3030, body={"success": False}),
]  # fmt: skip

_MEDIA = [
    runs("media.flux-1", "flux-1-schnell answers with base64", "@cf/black-forest-labs/flux-1-schnell",
         {"prompt": "a red circle", "steps": 1}, uses={"tiles": 4.0, "steps": 4.0}, body={"result.image": "<text>"}),
    takes_form("media.flux-2", "flux-2-klein takes a form and answers with base64",
          "/ai/run/@cf/black-forest-labs/flux-2-klein-4b", {"prompt": "a red circle", "width": "256", "height": "256"},
          model="@cf/black-forest-labs/flux-2-klein-4b", uses={"tiles": 1.0}, body={"result.image": "<text>"}),
    refuses("media.flux-2-json", "flux-2 refuses JSON with 5006", "@cf/black-forest-labs/flux-2-klein-4b",
             {"prompt": "a red circle"}, 5006),
    runs("media.phoenix", "phoenix answers with the picture itself, without its Neurons", "@cf/leonardo/phoenix-1.0",
         {"prompt": "a red circle", "width": 256, "height": 256, "num_steps": 1}, uses={"tiles": 0.25, "steps": 0.25},
         headers={"content-type": "~^image/", "cf-ai-neurons": "<none>"}, body={"mime": "~^image/"}),
    takes_bytes("media.resnet", "resnet names what is in the bytes of a picture", "@cf/microsoft/resnet-50", _PNG,
           "image/png", {"images": 1.0}, body={"result.0.label": "<text>", "result.0.score": "<number>"}),
    runs("media.moondream", "moondream answers a question about a picture", "@cf/moondream/moondream3.1-9B-A2B",
         {"task": "query", "image": f"data:image/png;base64,{_PNG64}", "question": "Which color?"}, most=64,
         uses={"input_tokens": 1000.0, "output_tokens": 64.0}, body={"result.answer": "<text>"}),
    takes_bytes("media.whisper", "whisper takes the bytes of a sound", "@cf/openai/whisper", _WAV, "audio/wav", _MINUTE,
           body={"result.text": "<text>"}),
    runs("media.whisper-turbo", "whisper-large-v3-turbo takes base64", _TURBO,
         {"audio": _WAV64}, uses=_MINUTE,
         body={"result.text": "<text>", "result.transcription_info.language": "<text>"}),
    refuses("media.whisper-list", "whisper-large-v3-turbo refuses a list of bytes", _TURBO,
             {"audio": [1, 2, 3]}, 5006),
    refuses("media.not-base64", "what is not base64 is refused with 5004", _TURBO,
             {"audio": "not base64!"}, 5004),
    takes_bytes("media.nova", "nova-3 takes bytes, with options in the query", "@cf/deepgram/nova-3", _WAV, "audio/wav",
           _MINUTE, query={"language": "en"}, body={"result.results.channels.0.alternatives.0.transcript": "<text>"}),
    runs("media.aura", "aura answers with the sound itself, MP3", "@cf/deepgram/aura-1", {"text": "Hi."},
         uses={"characters": 3.0}, headers={"content-type": "~^audio/"}, body={"mime": "~^audio/"}),
    runs("media.melotts", "melotts answers with base64", "@cf/myshell-ai/melotts", {"prompt": "Hi."}, uses=_MINUTE,
         body={"result.audio": "<text>"}),
    runs("media.sdxl", "sdxl-lightning answers with the picture itself", "@cf/bytedance/stable-diffusion-xl-lightning",
         {"prompt": "a red circle", "width": 256, "height": 256, "num_steps": 1}, uses={"images": 1.0},
         headers={"content-type": "~^image/"}, body={"mime": "~^image/"}),
    runs("media.llava", "llava describes a picture", "@cf/llava-hf/llava-1.5-7b-hf",
         {"image": list(_PNG), "prompt": "Which color?", "max_tokens": 16}, uses={"images": 1.0},
         body={"result.description": "<text>"}),
    runs("text.indic", "indictrans2 answers with a list of translations", "@cf/ai4bharat/indictrans2-en-indic-1B",
         {"text": "Hello.", "target_language": "hin_Deva"}, most=64, body={"result.translations.0": "<text>"}),
    runs("text.sentiment", "distilbert answers with a list of labels", "@cf/huggingface/distilbert-sst-2-int8",
         {"text": "good"}, body={"result.*.label": "POSITIVE", "result.0.score": "<number>"}),
    runs("text.translate", "m2m100 answers with translated_text", "@cf/meta/m2m100-1.2b",
         {"text": "Hello.", "source_lang": "en", "target_lang": "de"}, most=64,
         body={"result.translated_text": "<text>"}),
    takes_form("text.markdown", "tomarkdown answers a row a file, with its format", "/ai/tomarkdown",
          {"files": ("a.html", b"<h1>Hello</h1>", "text/html")},
          body={"result.0.name": "a.html", "result.0.format": "markdown", "result.0.data": "~Hello"}),
]  # fmt: skip

_ADDRESSES = [
    asks("list.search", "a search that finds nothing is an empty list", "GET", "/ai/models/search",
        query={"search": "no-model-is-called-like-this"}, body={**_ENVELOPE, "result": []}),
    asks("list.values", "properties of models are texts, prices a list", "GET", "/ai/models/search",
        query={"search": "bge-m3"}, body={"result.*.name": M3, "result.*.properties.*.property_id": "price",
                                          "result.*.properties.*.value.*.unit": "<text>"}),
    asks("list.schema", "a model's schemas are input and output", "GET", "/ai/models/schema", query={"model": BGE},
        body={"result.input": "<object>", "result.output": "<object>"}),
    asks("list.tasks", "tasks are listed", "GET", "/ai/tasks/search", body={"result.*.name": "Text Embeddings"}),
    asks("list.authors", "authors are listed", "GET", "/ai/authors/search", body={"result.*.name": "<text>"}),
    asks("list.formats", "the formats of tomarkdown are extension and media type", "GET", "/ai/tomarkdown/supported",
        body={"result.*.extension": ".html", "result.*.mimeType": "text/html"}),
    asks("list.finetunes", "fine-tunes of the account are a list", "GET", "/ai/finetunes", body={"result": "<list>"}),
    asks("list.public", "public fine-tunes are a list", "GET", "/ai/finetunes/public", query={"limit": "1"},
        body={"result": "<list>"}),
    asks("list.v1", "there is no /v1/models: 7001", "GET", "/ai/v1/models", status=405, code=7001,
        body={"success": False}),
    asks("list.method", "a model cannot be fetched: 7001", "GET", f"/ai/run/{LLAMA}", status=405, code=7001),
    asks("list.nowhere", "an unknown address is 7003", "GET", "/ai/no-such-address", status=404, code=7003),
    runs("queue.send", "a queued batch is acknowledged with its id", BGE, {"requests": [{"text": "one"}]},
         query={"queueRequest": "true"}, body={"result.status": ("queued", "running"), "result.request_id": "<text>"}),
    runs("gateway.envelope", "through a gateway, /run keeps its envelope", BGE, {"text": "one"}, gateway=True,
         writes=True, headers={"cf-aig-log-id": "~.", "cf-aig-cache-status": "~^(HIT|MISS)$"},
         body={**_ENVELOPE, "result.shape": [1, 384]}),
    asks("gateway.logs", "a gateway's logs are a list with cost and tokens", "GET",
        "/ai-gateway/gateways/default/logs", query={"per_page": "1"}, writes=True, body={"result": "<list>"}),
    asks("gateway.generic", "POST /run without a gateway is refused with 3003", "POST", "/ai/run",
        {"model": BGE, "input": {"text": "one"}}, status=400, code=3003),
]  # fmt: skip

TABLE: tuple[Statement, ...] = (*_EMBED, *_CHATS, *_DECISIONS, *_MEDIA, *_ADDRESSES, *STORES)
