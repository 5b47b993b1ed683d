"""The catalogue over the wire."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cfai_nb.emulator.model_catalogue import models


def found(door: Any, **query: str) -> list[dict[str, Any]]:
    """Return what a search finds."""
    answer = door().ask("GET", "/models/search", params=query).json()
    assert answer["success"] is True
    result: list[dict[str, Any]] = answer["result"]
    return result


def test_search_lists_every_current_model_with_string_values(door: Any) -> None:
    """Every property is a string except prices, which are lists of unit, price and currency."""
    listed = found(door)
    assert {one["name"] for one in listed} == {model.id for model in models().values() if model.status == "current"}
    values = [one for model in listed for one in model["properties"]]
    prices = [one["value"] for one in values if one["property_id"] == "price"]
    assert prices
    assert all(set(row) == {"unit", "price", "currency"} for price in prices for row in price)
    assert all(isinstance(one["value"], str) for one in values if one["property_id"] != "price")


def test_search_narrows_by_name_task_and_author(door: Any) -> None:
    """Each filter is one more condition; nothing found is an empty list and costs nothing."""
    assert [one["name"] for one in found(door, search="bge-m3")] == ["@cf/baai/bge-m3"]
    assert {one["task"]["name"] for one in found(door, task="Text Embeddings")} == {"Text Embeddings"}
    assert all(one["name"].startswith("@cf/meta/") for one in found(door, author="meta"))
    assert found(door, search="no such thing") == []


def test_per_page_is_ignored_and_pages_end(door: Any) -> None:
    """The whole list comes back whatever is asked, and the second page is empty."""
    assert len(found(door, per_page="5")) == len(found(door))
    assert found(door, page="2") == []


def test_retired_models_are_kept_for_three_months_on_request(door: Any) -> None:
    """By the catalogue's date, what was retired before that is gone even with include_deprecated."""
    names = {one["name"] for one in found(door, include_deprecated="true")}
    assert "@cf/meta/llama-3.1-8b-instruct" not in names
    assert "@cf/zai-org/glm-4.7-flash" in names


def test_beta_models_can_be_hidden(door: Any) -> None:
    """hide_experimental leaves beta models out."""
    assert len(found(door, hide_experimental="true")) < len(found(door))


@pytest.mark.parametrize(
    "model", ["@cf/baai/bge-m3", "@cf/zai-org/glm-4.7-flash", "@cf/cloudflare/clef", "@cf/openai/gpt-oss-20b"]
)
def test_schema_answers_valid_json_schemas(door: Any, model: str) -> None:
    """Input and output are JSON Schemas that a validator takes."""
    result = door().ask("GET", "/models/schema", params={"model": model}).json()["result"]
    assert set(result) == {"input", "output"}
    for schema in result.values():
        Draft202012Validator.check_schema(schema)


def test_answers_fit_the_schemas_that_are_published_for_them(door: Any) -> None:
    """What the emulator answers satisfies the output schema it publishes."""
    here = door()
    asked = {
        "@cf/baai/bge-base-en-v1.5": {"text": "x"},
        "@cf/zai-org/glm-4.7-flash": {"messages": [{"role": "user", "content": "x"}]},
        "@cf/meta/llama-3.2-3b-instruct": {"prompt": "x"},
        "@cf/huggingface/distilbert-sst-2-int8": {"text": "x"},
        "@cf/baai/bge-reranker-base": {"query": "x", "contexts": [{"text": "y"}]},
        "@cf/cloudflare/clef": {
            "model": "clef",
            "state": "x",
            "questions": {"a": {"type": "noul", "instructions": "?"}},
        },
    }
    for model, body in asked.items():
        schema = here.ask("GET", "/models/schema", params={"model": model}).json()["result"]["output"]
        Draft202012Validator(schema).validate(here.result(model, body))


def test_schema_of_nothing_is_refused(door: Any) -> None:
    """An unknown model, and one not emulated yet, are 5007."""
    for name in ("@cf/no/body", "@cf/deepgram/flux", ""):
        answer = door().ask("GET", "/models/schema", params={"model": name})
        assert answer.json()["errors"][0]["code"] == 5007
