"""AI Search: namespaces, instances, items, search and chat, over the wire and through the service's own client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import cloudflare
import pytest

from cfai_nb.emulator import Running

ACCOUNT = "a" * 32
ROOT = f"http://emulator/client/v4/accounts/{ACCOUNT}/ai-search/namespaces/default/instances"
DOCS = {
    "returns.md": "Send a parcel back within 30 days. The refund arrives in a week.",
    "shipping.md": "Parcels leave the warehouse on the day of the order. The courier tracks each parcel.",
    "billing.md": "Invoices are sent by email. A card that was charged twice is refunded.",
}


class Instance:
    """One instance of an emulator in this process, with its documents."""

    def __init__(self, door: Any, **settings: Any) -> None:
        self.door = door(**{"vectorize_delay": 0, **settings})
        fields = [{"field_name": "topic", "data_type": "text"}, {"field_name": "Day", "data_type": "datetime"}]
        self.ask("POST", "", json={"id": "docs", "custom_metadata": fields})
        self.ids = {key: self.upload(key, text)["result"]["id"] for key, text in DOCS.items()}

    def ask(self, method: str, path: str, **arguments: Any) -> Any:
        return self.door.ask(method, ROOT + path, **arguments).json()

    def upload(self, key: str, text: Any, **fields: Any) -> Any:
        data = text if isinstance(text, bytes) else text.encode()
        about = fields.pop("metadata", json.dumps({"topic": key[:-3], "day": "2026-01-02T00:00:00Z"}))
        form = {"metadata": about, **fields}
        return self.ask("POST", "/docs/items", files={"file": (key, data, "text/markdown")}, data=form)

    def search(self, query: Any, **retrieval: Any) -> Any:
        body = {"query": query, "ai_search_options": {"retrieval": retrieval}}
        return self.ask("POST", "/docs/search", json=body)


def filtered(filters: Any) -> Any:
    """The options of a search with a filter."""
    return {"ai_search_options": {"retrieval": {"filters": filters}}}


@pytest.fixture
def docs(door: Any) -> Instance:
    """An instance with three documents."""
    return Instance(door)


@pytest.mark.parametrize("kind", ["vector", "keyword", "hybrid"])
def test_each_mode_finds_the_document(docs: Instance, kind: str) -> None:
    """Every mode puts the document first that has the words; the details say which lists it was found in."""
    found = docs.search("refund parcel back", retrieval_type=kind)["result"]["chunks"]
    assert found[0]["item"]["key"] == "returns.md"
    assert 0 < found[0]["score"] <= 1
    names = {"vector": {"vector"}, "keyword": {"keyword"}, "hybrid": {"vector", "keyword"}}[kind]
    assert {name.partition("_")[0] for name in found[0]["scoring_details"]} - {"fusion"} == names


def test_words_are_all_needed_or_any(docs: Instance) -> None:
    """By default a chunk needs all words of the query, with "or" one of them."""
    every = docs.search("courier invoices", retrieval_type="keyword")["result"]["chunks"]
    some = docs.search("courier invoices", retrieval_type="keyword", keyword_match_mode="or")["result"]["chunks"]
    assert every == []
    assert {chunk["item"]["key"] for chunk in some} == {"shipping.md", "billing.md"}


@pytest.mark.parametrize(
    ("filters", "keys"),
    [
        ({"topic": "billing"}, {"billing.md"}),
        ({"Topic": {"$in": ["billing", "returns"]}}, {"billing.md", "returns.md"}),
        ({"day": {"$gte": "2026-01-02"}}, set(DOCS)),
        ({"day": {"$lt": "2026-01-02"}}, set()),
        ({"filename": "shipping.md"}, {"shipping.md"}),
        ({"folder": ""}, set(DOCS)),
    ],
)
def test_filters(docs: Instance, filters: Any, keys: set[str]) -> None:
    """Own fields and built-in ones narrow a search and a list, in any case of letters, dates as dates."""
    found = docs.search("parcel invoices", filters=filters, match_threshold=-1)["result"]["chunks"]
    assert {chunk["item"]["key"] for chunk in found} == keys
    listed = docs.ask("GET", "/docs/items", params={"metadata_filter": json.dumps(filters)})["result"]
    assert {item["key"] for item in listed} == keys


@pytest.mark.parametrize(
    ("method", "path", "arguments", "status", "code"),
    [
        ("GET", "/other", {}, 404, 7002),
        ("POST", "", {"json": {"id": "docs"}}, 400, 7022),
        ("POST", "/docs/search", {"json": {}}, 400, 7039),
        ("POST", "/docs/chat/completions", {"json": {"messages": []}}, 400, 7038),
        ("POST", "/docs/search", {"json": {"query": "x", **filtered({"no": 1})}}, 400, 7058),
        ("POST", "/docs/search", {"json": {"query": "x", **filtered({"day": "no"})}}, 400, 7057),
        ("GET", "/docs/items/none", {}, 404, 7041),
        ("POST", "/docs/items", {"data": {"metadata": "{}"}, "files": {"other": ("a", b"x")}}, 400, 7055),
        ("PATCH", "", {}, 405, 7001),
    ],
)  # fmt: skip
def test_refusals(docs: Instance, method: str, path: str, arguments: Any, status: int, code: int) -> None:
    """What the service documents as an error is refused with its status and code, and its text bare."""
    answer = docs.door.ask(method, ROOT + path, **arguments)
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert not error["message"].startswith("AiError")


@pytest.mark.parametrize(
    ("query", "found"), [({"page": ""}, 3), ({"page": "2"}, 0), ({"per_page": "two"}, 5006), ({"page": "²"}, 5006)]
)
def test_pages_are_whole_numbers(docs: Instance, query: dict[str, str], found: int) -> None:
    """One that is empty is the first; any other text is refused."""
    answer = docs.ask("GET", "/docs/items", params=query)
    assert (answer["errors"][0]["code"] if answer["errors"] else len(answer["result"])) == found


@pytest.mark.parametrize(
    ("key", "text", "fields", "code"),
    [
        ("x" * 125 + ".txt", "x", {}, 7072),
        ("a.exe", "x", {}, 7060),
        ("a.txt", b"x" * (4 * 2**20 + 1), {}, 7054),
        ("a.txt", "x", {"metadata": "[1]"}, 7056),
        ("a.txt", "x", {"metadata": '{"list": ["a"]}'}, 7056),
        ("returns.md", "other", {}, 7042),
    ],
)
def test_uploads_that_are_refused(docs: Instance, key: str, text: Any, fields: Any, code: int) -> None:
    """Keys, types, sizes and metadata have limits, and a key is there once."""
    assert docs.upload(key, text, **fields)["errors"][0]["code"] == code


@pytest.mark.parametrize(
    "settings",
    [{"chunk_size": "large"}, {"chunk_overlap": 100}, {"score_threshold": None}, {"index_method": ["vector"]},
     {"custom_metadata": [{"field_name": "Folder", "data_type": "text"}]}],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(docs: Instance, settings: Any) -> None:
    """They change nothing: the instance still indexes and answers."""
    assert docs.ask("PUT", "/docs", json=settings)["errors"][0]["code"] == 5006
    docs.upload("new.md", "A discount for students.", wait_for_completion="true")
    assert docs.search("discount students")["result"]["chunks"][0]["item"]["key"] == "new.md"


def test_a_mode_needs_its_index(door: Any) -> None:
    """An instance without keywords refuses a hybrid search."""
    here = door()
    here.ask("POST", ROOT, json={"id": "near", "index_method": {"vector": True, "keyword": False}})
    body = {"query": "x", "ai_search_options": {"retrieval": {"retrieval_type": "hybrid"}}}
    assert here.ask("POST", f"{ROOT}/near/search", json=body).json()["errors"][0]["code"] == 7070


def test_uploads_show_later(door: Any) -> None:
    """An upload is queued, then found; one that waits is found at once; a new schema indexes all again."""
    here = Instance(door, vectorize_delay=3)
    assert here.search("refund")["result"]["chunks"] == []
    assert here.ask("GET", "/docs/stats")["result"]["running"] > 0
    for _ in range(3):
        found = here.search("refund")["result"]["chunks"]
    assert {chunk["item"]["key"] for chunk in found} >= {"returns.md"}
    item = here.upload("new.md", "A discount for students.", wait_for_completion="true")["result"]
    assert item["status"] == "completed"
    fields = [{"field_name": "topic", "data_type": "text"}]
    here.ask("PUT", "/docs", json={"custom_metadata": fields})
    assert here.search("refund")["result"]["chunks"] == []


def test_warnings_name_what_cannot_be_filtered_by(docs: Instance) -> None:
    """A field outside the schema is kept and not filterable; a value of another type is not indexed."""
    told = docs.upload("a.md", "x", metadata='{"colour": "red", "day": "soon"}')["result"]["warnings"]
    assert {one["code"] for one in told} == {
        "custom_metadata_field_not_filterable", "custom_metadata_value_not_indexed",
    }  # fmt: skip


def test_a_token_without_the_permission(door: Any) -> None:
    """Under the quirk every call to AI Search is refused."""
    answer = door(quirks={"no-ai-search"}).ask("GET", ROOT)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (401, 10000)


def test_a_stream_begins_with_the_chunks(docs: Instance) -> None:
    """Server-sent events: the chunks first, the answer piece by piece, then the end."""
    body = {"messages": [{"role": "user", "content": "When does a refund arrive?"}]}
    plain = docs.ask("POST", "/docs/chat/completions", json=body)
    text = docs.door.ask("POST", f"{ROOT}/docs/chat/completions", json={**body, "stream": True}).text
    events = text.split("\n\n")
    assert events[0].startswith("event: chunks\ndata: [")
    pieces = [json.loads(one[6:])["choices"][0]["delta"]["content"] for one in events[1:] if one.startswith("data: {")]
    assert "".join(pieces) == plain["choices"][0]["message"]["content"]
    assert events[-2] == "data: [DONE]"


@pytest.fixture
def flare(service: Running) -> Iterator[Any]:
    """The service's own client, set to refuse an answer that is not of its types."""
    with cloudflare.Cloudflare(
        api_token="x" * 40, base_url=service.url, max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


@pytest.mark.slow
def test_the_official_client_reads_and_writes(flare: Any) -> None:
    """Unchanged, it makes a namespace and an instance, uploads, lists, searches, asks and deletes."""
    spaces = flare.aisearch.namespaces
    where = {"account_id": ACCOUNT, "name": "handbook"}
    spaces.create(account_id=ACCOUNT, name="handbook", description="Tests")
    assert "handbook" in [one.name for one in spaces.list(account_id=ACCOUNT)]
    made = spaces.instances.create(**where, id="docs", custom_metadata=[{"field_name": "topic", "data_type": "text"}])
    assert (made.id, made.namespace, made.custom_metadata[0].field_name) == ("docs", "handbook", "topic")
    items = spaces.instances.items
    for key, text in DOCS.items():
        file = {"file": (key, text.encode(), "text/markdown"), "wait_for_completion": True,
                "metadata": json.dumps({"topic": key[:-3], "other": 1})}  # fmt: skip
        item = items.upload("docs", **where, file=file)
        assert (item.key, item.status, item.source_id) == (key, "completed", "builtin")
        assert item.warnings[0].code == "custom_metadata_field_not_filterable"
    assert {one.key for one in items.list("docs", **where, per_page=2)} == set(DOCS)
    (one,) = items.list("docs", **where, key="returns.md")
    assert items.get(one.id, **where, id="docs").metadata["topic"] == "returns"
    assert items.chunks(one.id, **where, id="docs")[0].text == DOCS["returns.md"]
    assert items.download(one.id, **where, id="docs").read() == DOCS["returns.md"].encode()
    found = spaces.instances.search(
        "docs", **where, query="refund",
        aisearch_options={"retrieval": {"retrieval_type": "hybrid", "filters": {"topic": "returns"}}},
    )  # fmt: skip
    assert [chunk.item.key for chunk in found.chunks] == ["returns.md"]
    said = spaces.instances.chat_completions(
        "docs", **where, messages=[{"role": "user", "content": "When does the refund arrive?"}]
    )
    assert "refund" in said.choices[0].message.content
    assert said.chunks[0].item.key == "returns.md"
    several = spaces.search(
        "handbook", account_id=ACCOUNT, query="refund", aisearch_options={"instance_ids": ["docs", "no"]}
    )
    assert several.chunks[0].instance_id == "docs"
    assert several.errors[0].instance_id == "no"
    assert spaces.instances.stats("docs", **where).completed == 3
    assert items.sync(one.id, **where, id="docs", next_action="INDEX", wait_for_completion=True).status == "completed"
    assert items.delete(one.id, **where, id="docs").key == "returns.md"
    with pytest.raises(cloudflare.BadRequestError, match="7066"):
        spaces.delete("handbook", account_id=ACCOUNT)
    assert spaces.instances.delete("docs", **where).id == "docs"
    spaces.delete("handbook", account_id=ACCOUNT)
    with pytest.raises(cloudflare.NotFoundError, match="7063"):
        spaces.instances.read("docs", **where)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_the_official_client_uses_the_short_path(flare: Any) -> None:
    """Without a namespace in the path, as the client still can, an instance is in the default one."""
    flare.aisearch.instances.create(account_id=ACCOUNT, id="short")
    assert flare.aisearch.namespaces.instances.read("short", account_id=ACCOUNT, name="default").id == "short"
    assert flare.aisearch.instances.search("short", account_id=ACCOUNT, query="x").chunks == []
    assert flare.aisearch.instances.delete("short", account_id=ACCOUNT).id == "short"
