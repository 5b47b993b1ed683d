"""Damaged requests: whatever stands in a body, it is answered or refused in the service's form."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from .conftest import ACCOUNT, HOST, spots

JUNK: list[Any] = [
    None,
    True,
    3,
    -1,
    1.5,
    "",
    "x",
    [],
    {},
    [1],
    [""],
    [None],
    {"type": "text"},
    {"a": 1},
    "auto",
    [{}],
    1e300,
]
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "day": {"anyOf": [{"type": "number"}, {"type": "null"}]}},
    "required": ["city"],
}
TOOL = {"name": "weather", "description": "The weather of a city", "parameters": PARAMETERS}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
CHAT = {
    "messages": [{"role": "user", "content": "The weather?"}],
    "tools": [{"type": "function", "function": TOOL}],
    "tool_choice": "required",
    "response_format": {"type": "json_schema", "json_schema": SCHEMA},
    "reasoning_effort": "low",
    "reasoning": {"effort": "low"},
    "chat_template_kwargs": {"enable_thinking": False},
}
LISTED = [
    {"provider": "workers-ai", "endpoint": "@cf/qwen/qwq-32b", "headers": {"cf-aig-cache-ttl": "60"}, "query": CHAT},
    {"provider": "openai", "endpoint": "chat/completions", "headers": {}, "query": {"model": "gpt-5.5", **CHAT}},
]
MESSAGES = {
    "model": "anthropic/claude-sonnet-5",
    "max_tokens": 50,
    "system": [{"type": "text", "text": "Be kind."}],
    "tools": [{"name": "weather", "input_schema": PARAMETERS}],
    "tool_choice": {"type": "any"},
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "The weather?"}]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "1", "name": "weather", "input": {"city": "Rome"}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "Rain."}]},
    ],
}
EXTRACTION = {
    "model": "clairic",
    "state": "Due 5 May 2026, 30 people",
    "fields": {
        "many": {"type": "estimate", "min": 0, "max": 5, "null_threshold": 0.1},
        "due": {"type": "forecast", "min": "2026-01-01", "max": "2026-02-02", "horizon": 3},
        "dates": {"type": "list", "items": "date"},
    },
    "reference_date": "2026-01-01",
    "options": {"include_quantiles": True},
}
ROOT = f"http://emulator/client/v4/accounts/{ACCOUNT}"
INSTANCES, INDEXES = f"{ROOT}/ai-search/namespaces/default/instances", f"{ROOT}/vectorize/v2/indexes"
INSTANCE = {"custom_metadata": [{"field_name": "topic", "data_type": "text"}], "index_method": {"vector": True}}
OPTIONS = {
    "ai_search_options": {
        "retrieval": {"retrieval_type": "vector", "filters": {"topic": {"$in": ["x"]}}, "match_threshold": 0.1}
    }
}
ROUTES: dict[str, tuple[str, Any]] = {
    "messages": ("/v1/messages", MESSAGES),
    "universal": (HOST, LISTED),
    "unified": (f"{HOST}/compat/chat/completions", {"model": "workers-ai/@cf/zai-org/glm-4.7-flash", **CHAT}),
    "own": ("/run/@cf/zai-org/glm-5.3", CHAT),
    "older": ("/run/@cf/meta/llama-3.3-70b-instruct-fp8-fast", CHAT),
    "finetunes": ("/finetunes", {"model": "@cf/google/gemma-2b-it-lora", "name": "x", "public": True}),
    "extraction": ("/run/@cf/cloudflare/clairic", EXTRACTION),
    "instances": (INSTANCES, {"id": "x", "chunk_size": 256, "chunk_overlap": 10, **INSTANCE}),
    "search": (f"{INSTANCES}/docs/search", {"query": "refund", **OPTIONS}),
    "answer": (f"{INSTANCES}/docs/chat/completions", {"messages": [{"role": "user", "content": "refund"}], **OPTIONS}),
    "query": (
        f"{INDEXES}/one/query",
        {"vector": [1, 2], "topK": 3, "returnMetadata": "all", "filter": {"n": {"$gt": 0}}},
    ),
    "property": (f"{INDEXES}/one/metadata_index/delete", {"propertyName": "n"}),
}
#: What these addresses need first.
MADE = [
    (INSTANCES, {"id": "docs", **INSTANCE}),
    (INDEXES, {"name": "one", "config": {"dimensions": 2, "metric": "cosine"}}),
]


def damaged(body: Any, chance: random.Random) -> Any:
    """Return a body with up to three parts gone or replaced."""
    body = copy.deepcopy(body)
    for _ in range(chance.randint(1, 3)):
        places = list(spots(body))
        if not places:
            break
        *way, last = chance.choice(places)
        parent = body
        for step in way:
            parent = parent[step]
        if chance.random() < 0.3:
            del parent[last]
        else:
            parent[last] = copy.deepcopy(chance.choice(JUNK))
    return body


@pytest.mark.slow
@pytest.mark.parametrize("name", ROUTES)
def test_damage_is_answered_or_refused(door: Any, name: str) -> None:
    """No damage breaks the emulator: each request gets an answer, or a refusal with a code of the service."""
    path, body = ROUTES[name]
    chance = random.Random(name)
    here = door(terms_accepted=True, vectorize_delay=0)
    here.gather([("POST", made, {"json": given}) for made, given in MADE])
    found = here.gather([("POST", path, {"json": damaged(body, chance)}) for _ in range(300)])
    refused = [answer.json() for answer in found if answer.status_code >= 400]
    assert refused
    assert all((one.get("errors") or one.get("error"))[0]["code"] > 0 for one in refused)
