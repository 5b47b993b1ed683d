"""Adapters: their records, their two files, and the calls that name one."""

from __future__ import annotations

import json
from typing import Any

import pytest

MODEL = "@cf/meta/llama-3.2-11b-vision-instruct"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PLAIN = {"model_type": "llama", "r": 8}


def create(here: Any, **fields: Any) -> Any:
    """Ask for a record."""
    return here.ask("POST", "/finetunes", json={"model": MODEL, "name": "mine", **fields})


def upload(here: Any, finetune: str, name: str, data: bytes) -> Any:
    """Send one file of an adapter."""
    form = {"file_name": (None, name), "file": (name, data)}
    return here.ask("POST", f"/finetunes/{finetune}/finetune-assets", files=form)


def code(answer: Any) -> int:
    """Return the code of a refusal, 0 for none."""
    errors = answer.json().get("errors")
    return int(errors[0]["code"]) if errors else 0


def test_a_record_is_listed_to_its_account(door: Any) -> None:
    """What was created is listed with an id and its times; another account sees it only when it is public."""
    here = door()
    made = create(here, description="For me").json()["result"]
    shared = create(here, name="ours", public=True).json()["result"]
    assert {"id", "created_at", "modified_at"} < made.keys()
    assert (made["model"], made["name"], made["description"], made["public"]) == (MODEL, "mine", "For me", False)
    assert here.ask("GET", "/finetunes").json()["result"] == [made, shared]
    here.account = "b" * 32
    assert here.ask("GET", "/finetunes").json()["result"] == []
    assert here.ask("GET", "/finetunes/public").json()["result"] == [shared]


def test_public_ones_come_in_pages(door: Any) -> None:
    """``limit``, ``offset`` and ``orderBy`` choose which of them, and in which order."""
    here = door()
    for name in "cab":
        create(here, name=name, public=True)
    query = {"limit": 2, "offset": 1, "orderBy": "name"}
    found = here.ask("GET", "/finetunes/public", params=query).json()["result"]
    assert [record["name"] for record in found] == ["b", "c"]
    assert code(here.ask("GET", "/finetunes/public", params={"limit": "some"})) == 5006


@pytest.mark.parametrize(
    ("fields", "refused"),
    [({"model": "@cf/no/body"}, 5007), ({"model": "@cf/zai-org/glm-4.7-flash"}, 5005), ({"name": 3}, 5006), ({}, 0)],
)
def test_a_record_needs_a_model_that_takes_adapters(door: Any, fields: dict[str, Any], refused: int) -> None:
    """An unknown model, one without LoRA and a malformed record are refused."""
    assert code(create(door(), **fields)) == refused


def test_an_adapter_answers_once_its_files_are_there(door: Any) -> None:
    """A call by name or id gets 3039 until both files have come; neither can be sent twice."""
    here = door(terms_accepted=True)
    number = create(here).json()["result"]["id"]
    body = {"prompt": "Hello.", "raw": True}
    for name, data in ((CONFIG, json.dumps(PLAIN).encode()), (WEIGHTS, b"weights")):
        assert (
            code(here.run(MODEL, {**body, "lora": "mine"})) == code(here.run(MODEL, {**body, "lora": number})) == 3039
        )
        assert upload(here, number, name, data).json() == {"success": True}
        assert code(upload(here, number, name, data)) == 5006
    assert here.run(MODEL, {**body, "lora": "mine"}).status_code == 200
    assert here.run(MODEL, {**body, "lora": "of-the-service"}).status_code == 200


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("adapter.bin", b"x"),
        (CONFIG, b"no JSON"),
        (CONFIG, json.dumps({**PLAIN, "model_type": "qwen"}).encode()),
        (CONFIG, json.dumps({**PLAIN, "r": 33}).encode()),
        (CONFIG, json.dumps({**PLAIN, "r": "8"}).encode()),
    ],
)
def test_files_have_their_names_and_bounds(door: Any, name: str, data: bytes) -> None:
    """Another name, another kind of model and too high a rank are refused."""
    here = door()
    number = create(here).json()["result"]["id"]
    assert code(upload(here, number, name, data)) == 5006
    assert code(upload(here, "nobody", WEIGHTS, b"x")) == 7003


def test_an_account_has_a_hundred_adapters(door: Any) -> None:
    """One more is refused."""
    here = door()
    calls = [("POST", "/finetunes", {"json": {"model": MODEL, "name": str(n)}}) for n in range(101)]
    assert sorted(code(answer) for answer in here.gather(calls))[-2:] == [0, 5006]
