"""The catalogue: every published model, no invented price, and what a refresh learns stays learned."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import published
import pytest

import cfai_nb as cf
from cfai_nb._engine.wire import Secret
from cfai_nb.emulator import Emulator
from cfai_nb.models import Usage, catalogue, default, find, price
from cfai_nb.session.endpoint import SERVICE, Endpoint

ROWS = published.models()


@pytest.fixture
def own_catalogue() -> Iterator[None]:
    """A catalogue that forgets at the end what a test taught it."""
    catalogue.cache_clear()
    yield
    catalogue.cache_clear()


#: Figures that other sources contradict or add (dossier of 2026-11-29); their rows keep a note.
CONTEXTS = {
    "@cf/google/gemma-4-26b-a4b-it": 131_072, "@cf/zai-org/glm-5.3": 1_048_576, "@cf/baai/bge-reranker-base": 512,
    "@cf/google/embeddinggemma-300m": 512,
}  # fmt: skip
CACHED = dict.fromkeys(("@cf/google/gemma-4-26b-a4b-it", "@cf/qwen/qwen3.8-27b"), (True, 0, 0.05))


def test_every_published_model_is_there_and_no_other() -> None:
    """The shipped catalogue names exactly the published models."""
    assert set(catalogue()) == {row["id"] for row in ROWS}, (
        "models/catalogue.json differs from what the service publishes; tests/data/README.md says how to refresh that"
    )
    assert len(ROWS) > 100


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_a_row_says_what_is_published(row: dict[str, Any]) -> None:
    """Task, rate, context, dimensions, status and retirement of a model are the published ones."""
    model = catalogue()[row["id"]]
    assert model.task == row["task"]
    assert model.rate == row["rate_limit_per_min"]
    assert model.context == CONTEXTS.get(model.id, row["context_window"])
    assert model.id not in CONTEXTS or "context" in f"{model.notes}" or "tokens" in f"{model.notes}"
    assert model.dims == row["dimensions"]
    assert (model.status == "retired") == (row["status"] == "deprecated")
    assert model.retired_on == row["deprecated"]
    for named in model.replacement:
        assert named in row["replacement"]
    assert bool(model.replacement) == ("@cf/" in (row.get("replacement") or ""))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_prices_are_the_published_ones(row: dict[str, Any]) -> None:
    """Every published Neuron and dollar figure is kept, and an unpublished price is None rather than 0."""
    model = catalogue()[row["id"]]
    if not row["price"]:
        assert model.prices is None
        assert price(Usage({"input_tokens": 1e6, "output_tokens": 1e6}), model).neurons is None
        return
    assert model.prices is not None
    kept = sorted((p.neurons is None, p.neurons or 0, p.usd) for p in model.prices.values())
    listed = {(p.get("neurons") is None, p.get("neurons") or 0, p["usd"]) for p in row["price"]}
    assert set(kept) == listed | {CACHED[name] for name in CACHED if name == model.id}
    for unit in ("input", "output", "cached input"):
        for listing in (p for p in row["price"] if p["unit"] == f"M {unit} tokens"):
            ours = model.prices[f"{unit.replace(' ', '_')}_tokens"]
            assert (ours.per, ours.neurons, ours.usd) == (1e6, listing.get("neurons"), listing["usd"])


def test_a_retired_model_names_its_replacement() -> None:
    """Asking for a retired model is an error that says when it went and what to use instead."""
    retired = [model for model in catalogue().values() if model.status == "retired"]
    assert len(retired) > 10
    for model in retired:
        with pytest.raises(cf.ModelError) as caught:
            find(model.id)
        assert str(model.retired_on) in str(caught.value)
        for other in model.replacement:
            assert other in str(caught.value)
            assert catalogue()[other].status != "retired"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("bge-m4", "@cf/baai/bge-m3"),
        ("@cf/baai/bge-bas-en-v1.5", "@cf/baai/bge-base-en-v1.5"),
        ("clef-flsh", "@cf/cloudflare/clef-flash"),
        ("GLM-4.7-Flsh", "@cf/zai-org/glm-4.7-flash"),
    ],
)
def test_an_unknown_model_gets_a_did_you_mean(typed: str, meant: str) -> None:
    """A misspelt name is an error that suggests the nearest current model."""
    with pytest.raises(cf.ModelError) as caught:
        find(typed)
    assert meant in str(caught.value)
    assert "cf.models" in str(caught.value)


def test_short_names_and_any_case_find_a_model() -> None:
    """A model is found by its id, by its last part, and whatever the case."""
    assert find("bge-m3") is find("@cf/baai/bge-m3") is find("BGE-M3")


def test_defaults_are_current_priced_and_reasoned() -> None:
    """Every default is a current model with a published price, and the data says why it is the default."""
    tasks = {verb.task for verb in vars(cf.Accessor).values() if hasattr(verb, "task")}
    needed = {w for task in tasks for w in (task.default_model, getattr(task, "fallback", "")) if isinstance(w, str)}
    assert set(catalogue().defaults) == needed - {""}
    for work, entry in catalogue().defaults.items():
        model = default(work)
        assert model.status == "current"
        assert model.prices
        assert len(entry["why"]) > 60
    assert default("generate").id == "@cf/zai-org/glm-4.7-flash"
    assert default("classify").id == "@cf/cloudflare/clef-flash"


def test_models_is_a_frame_and_unknown_prices_are_missing() -> None:
    """cf.models() lists current models with missing, never zero, where no price is published."""
    frame = cf.models(retired=True)
    assert frame.index.is_unique
    assert set(frame.index) == set(catalogue())
    assert pd.isna(frame.loc["@cf/google/embeddinggemma-300m", "neurons_per_m_input_tokens"])
    assert frame.loc["@cf/google/embeddinggemma-300m", "prices"] == "unknown"
    assert frame.loc["@cf/baai/bge-m3", "neurons_per_m_input_tokens"] == 1075
    assert frame.loc["@cf/baai/bge-m3", "default_for"] == "embed"
    assert not (cf.models()["status"] == "retired").any()
    assert (cf.models(task="EMBED")["task"] == "Text Embeddings").all()
    assert set(cf.models("Flux-2").index) == {name for name in cf.models().index if "flux-2" in name} != set()


def test_a_verb_lists_the_models_it_works_with() -> None:
    """cf.models of a verb's name are the models of that verb; what matches nothing is an error with what is near."""
    for verb in ("classify", "embed", "transcribe", "rank"):
        found = cf.models(verb)
        assert found["default_for"].notna().any(), verb
        assert set(found["family"]) >= {"bge"} if verb == "embed" else len(found)
    assert set(cf.models("embed").index) >= {"@cf/baai/bge-m3", "@cf/qwen/qwen3-embedding-0.6b"}
    for options, words in (
        ({"name": "clasify"}, "'clasify' in its id.*Did you mean 'classify'"),
        ({"name": "bge-m4"}, "Did you mean 'bge-m3'"),
        ({"name": "to_markdown"}, "verb 'to_markdown' has no model to choose"),
        ({"verb": "task"}, "verb='task': there is no such verb"),
        ({"task": "embedings"}, "'embedings' in its task.*Tasks: .*Text Embeddings"),
        ({"name": "llama", "task": "Text Embeddings"}, "'llama' in its id and 'Text Embeddings' in its task"),
    ):
        with pytest.raises(cf.ModelError, match=words):
            cf.models(**options)


def _connected(store: Path, app: Any) -> cf.Session:
    """A session that takes itself for the service, so that it keeps what it learns."""
    return cf.Session(
        Endpoint(base=SERVICE, account="a" * 32, token=Secret("t" * 40), origin="cloudflare", app=app),
        store=store, rate=None, defaults={},
    )  # fmt: skip


def test_a_refresh_that_says_nothing_new_changes_nothing(tmp_path: Path, own_catalogue: None) -> None:
    """Asking a service that lists exactly what is known leaves every figure as it was, and reports no change."""
    before = {name: dataclasses.replace(model, checked_on="") for name, model in catalogue().items()}
    with _connected(tmp_path / "s.sqlite", Emulator()) as session:
        changed = session.refresh_models()
    after = {name: dataclasses.replace(model, checked_on="") for name, model in catalogue().items()}
    assert after == before
    assert changed == 0


class _Listing:
    """A service whose catalogue holds a new model, a more expensive old one, and one that is about to go."""

    entries: list[dict[str, Any]] = [  # noqa: RUF012
        {
            "name": "@cf/new/wonder-7b",
            "task": {"name": "Text Generation"},
            "properties": [
                {"property_id": "context_window", "value": "32000"},
                {"property_id": "function_calling", "value": "true"},
                {
                    "property_id": "price",
                    "value": [
                        {"unit": "per M input tokens", "price": 0.11, "currency": "USD"},
                        {"unit": "per M output tokens", "price": 0.22, "currency": "USD"},
                    ],
                },
            ],
        },
        {
            "name": "@cf/baai/bge-m3",
            "task": {"name": "Text Embeddings"},
            "properties": [
                {"property_id": "max_input_tokens", "value": "60000"},
                {
                    "property_id": "price",
                    "value": [{"unit": "per M input tokens", "price": 0.022, "currency": "USD"}],
                },
            ],
        },
        {"name": "@cf/new/riddle", "task": {"name": "Text Embeddings"}, "properties": []},
    ]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = json.dumps({"result": self.entries, "success": True, "errors": [], "messages": []}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": body})


def test_a_refresh_keeps_what_it_learns_for_the_next_session(tmp_path: Path, own_catalogue: None) -> None:
    """New models and prices of models/search are learned, and a new session on the same store still knows them."""
    store = tmp_path / "s.sqlite"
    with _connected(store, _Listing()) as session:
        assert session.refresh_models() == 3
    for round_ in range(2):
        wonder = find("wonder-7b")
        assert wonder.context == 32000
        assert wonder.can("function_calling")
        assert price(Usage({"output_tokens": 1e6}), wonder).usd == pytest.approx(0.22)
        assert price(Usage({"input_tokens": 1e6}), find("bge-m3")).usd == pytest.approx(0.022)
        assert find("bge-m3").batch == 100, "what a listing does not tell is kept"
        assert find("riddle").prices is None, "no price listed is unknown"
        if round_ == 0:
            catalogue.cache_clear()
            with pytest.raises(cf.ModelError):
                find("wonder-7b")
            with _connected(store, _Listing()) as later:
                later.store()


def _priced(name: str, *prices: Any) -> dict[str, Any]:
    """An entry of a listing with these prices of output."""
    listed = [{"unit": "per M output tokens", "currency": "USD", **price} for price in prices]
    return {"name": name, "task": {"name": "Text Generation"},
            "properties": [{"property_id": "price", "value": listed}]}  # fmt: skip


@pytest.mark.parametrize(
    "odd",
    [
        {"id": "@cf/odd/one"}, {"name": None}, {"name": "@cf/odd/one", "task": "Text Generation"},
        {"name": "@cf/odd/one", "properties": ["price"]}, "@cf/odd/one", _priced("@cf/odd/one", {"price": "a dollar"}),
        _priced("@cf/odd/one", {"price": -1}), _priced("@cf/odd/one", {"price": "nan"}), [],
    ],
)  # fmt: skip
def test_an_odd_entry_is_left_out_and_named(own_catalogue: None, odd: Any) -> None:
    """An entry of another form does not stop the merge of those around it, and adds no model of its own."""
    known = len(catalogue())
    with pytest.warns(cf.CfaiWarning, match=r"left out: .*"):
        changed = catalogue().merge_listing([_priced("@cf/a/one"), odd, _priced("@cf/a/two")], "2026-12-01")
    assert [model.id for model in changed] == ["@cf/a/one", "@cf/a/two"]
    assert len(catalogue()) == known + 2


@pytest.mark.parametrize("listed", [{"price": None}, {}])
def test_a_price_that_is_not_listed_is_unknown(own_catalogue: None, listed: dict[str, Any]) -> None:
    """Without a number a new model's price is unknown, which is not free, and a known price stays as it was."""
    before = find("glm-4.7-flash").prices
    catalogue().merge_listing([_priced("@cf/a/one", listed), _priced(find("glm-4.7-flash").id, listed)], "2026-12-01")
    assert price(Usage({"output_tokens": 1e6}), find("@cf/a/one")).neurons is None
    assert find("glm-4.7-flash").prices == before


def test_a_refresh_through_the_emulator_reads_the_wire(tmp_path: Path, own_catalogue: None) -> None:
    """cf.models(refresh=True) reads the emulator's models/search and still knows dialects and Neurons afterwards."""
    cf.connect("emulator", store=tmp_path / "s.sqlite")
    frame = cf.models(refresh=True)
    assert frame.loc["@cf/baai/bge-m3", "family"] == "bge-m3"
    assert frame.loc["@cf/baai/bge-m3", "neurons_per_m_input_tokens"] == 1075
    assert set(frame.index) == {name for name, model in catalogue().items() if model.status != "retired"}


def test_a_verb_lists_what_it_takes() -> None:
    """cf.models(verb=...) has the models of the verb alone; an unknown verb or word says what can be searched for."""
    found = cf.models(verb="classify")
    assert "@cf/cloudflare/clef" in found.index
    assert "@cf/baai/bge-m3" not in found.index
    assert cf.models("clef", verb="classify").index.str.contains("clef").all()
    with pytest.raises(cf.ModelError, match=r"Verbs: .*classify"):
        cf.models(verb="sort")
    with pytest.raises(cf.ModelError, match=r"Tasks: .*Text Generation.*Verbs: .*embed.*Authors: .*baai"):
        cf.models("zzz")


@pytest.mark.parametrize(
    ("name", "facts", "word"),
    [
        ("gemma-4-26b-a4b-it", {"context": 131_072}, "256,000"),
        ("glm-5.3", {"context": 1_048_576}, "1,310,720"),
        ("bge-reranker-base", {"context": 512}, "AI Search"),
        ("embeddinggemma-300m", {"context": 512, "dims": 768}, "AI Search"),
        ("deepseek-v4.1-flash-1017", {"context": 1_048_576}, "third party"),
        ("clairic", {}, "third party"),
    ],
)
def test_disputed_facts_keep_their_note(name: str, facts: dict[str, int], word: str) -> None:
    """The listing shows where figures come from, when they were checked, and what other sources say."""
    row = cf.models(name).iloc[0]
    assert {fact: row[fact] for fact in facts} == facts
    assert row["checked_on"] == "2026-11-29"
    assert word in f"{row['evidence']} {row['notes']}"


def test_every_figure_has_a_source_and_a_day() -> None:
    """No row is without, and what no page of Cloudflare states is marked as of a third party."""
    listed = cf.models()
    assert listed["evidence"].str.len().gt(0).all()
    assert listed["checked_on"].isin(["2026-11-21", "2026-11-29"]).all()
    cached = find("qwen3.8-27b")
    assert cached.prices is not None
    assert cached.prices["cached_input_tokens"].usd == 0.05
    assert "third party" in cached.evidence


@pytest.mark.parametrize("name", ["llama-3.2-3b-instruct", "@cf/meta/llama-3.2-3b-instruct"])
def test_a_task_names_its_model_in_any_form(name: str) -> None:
    """The default model of an own task is an id, a short name or a kind of work; an unknown name is refused."""
    assert default(name).id == "@cf/meta/llama-3.2-3b-instruct"
    assert default("embed").id == "@cf/baai/bge-m3"
    with pytest.raises(cf.ModelError, match="no-such-model"):
        default("no-such-model")
