"""The key is complete: what is edited, and what answers elsewhere, is asked again; what is unchanged is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from inputs import picture

import cfai_nb as cf
from cfai_nb._engine.plan import keys_of
from cfai_nb.emulator import Emulator
from cfai_nb.media import Parts
from cfai_nb.media.source import of_bytes
from cfai_nb.models import find
from cfai_nb.session.endpoint import resolve_endpoint
from cfai_nb.tasks import Generate
from cfai_nb.tasks.dialects import schema
from cfai_nb.tasks.dialects.key import key_of_model

MODEL = find("llama-3.3-70b-instruct-fp8-fast")

TASK = """
from dataclasses import dataclass
from typing import Annotated, ClassVar
import enum, re
import pydantic
import cfai_nb as cf

WORDS, SEEN = ("please", "now"), []

def polite(text):
    return f"{text}, {WORDS[0]}"

def times(count):
    def repeat(text):
        return text * count
    return repeat

class Base(cf.Task):
    def parse(self, answer, inputs, model):
        SEEN.append(1)
        return [answer.json["response"].strip()]

@dataclass(frozen=True, kw_only=True)
class Mine(Base):
    name: ClassVar[str] = "mine"
    lead: ClassVar[str] = "Say:"
    loud: bool = False

    def build_request(self, inputs, model, most=100):
        # a comment
        shout = times(2) if self.loud else polite
        ends = {"a", "b", "c"}
        return cf.Request(json={"prompt": f"{self.lead} {shout(inputs[0])[:10]}", "max_tokens": most})

asked = Mine()
"""
SCHEMA = """
import enum
from typing import Annotated
import pydantic
from cfai_nb.tasks import Extract, Generate

LIMIT = 2100

def clean(text):
    return text.strip()

class Mood(enum.Enum):
    glad = "glad"
    sad = "sad"

    @classmethod
    def _missing_(cls, value):
        return cls.glad

class Inner(pydantic.BaseModel):
    note: Annotated[str, pydantic.BeforeValidator(clean)] = ""

class Root(pydantic.BaseModel):
    @pydantic.model_validator(mode="after")
    def whole(self):
        return self

class Answer(Root):
    model_config = {"str_strip_whitespace": True}
    year: int
    mood: Mood
    inner: list[Inner] = []

    @pydantic.field_validator("year")
    @classmethod
    def recent(cls, value):
        return min(value, LIMIT)

    @pydantic.computed_field
    @property
    def age(self) -> int:
        return 2026 - self.year

asked = [Generate(schema=Answer), Extract(fields=Answer), Generate(schema={"a": Inner, "b": Mood})]
"""


def keys(source: str, name: str = "__main__") -> list[str]:
    """Return the keys of what a notebook cell asks; its source is nowhere to be found."""
    space: dict[str, Any] = {"__name__": name}
    exec(compile(source, "<cell>", "exec", dont_inherit=True), space)
    tasks = space["asked"] if isinstance(space["asked"], list) else [space["asked"]]
    return [keys_of(task, MODEL, ["x"], "cloudflare")[0].hex() for task in tasks]


@pytest.mark.parametrize(("was", "becomes"), [
    ("{self.lead} {shout", "{shout"), ("most=100", "most=101"), ('"Say:"', '"Tell:"'), ("strip()", "lower()"),
    ('"please", "now"', '"pray", "now"'), ("{text}, {WORDS", "{text} {WORDS"), ("text * count", "text + 'x' * count"),
    ("[:10]", "[:11]"), ('"c"}', '"d"}'),
])  # fmt: skip
def test_an_edited_task_is_asked_again(was: str, becomes: str) -> None:
    """Its methods, its parents', defaults, class attributes, and the functions and texts they name are in the key."""
    assert was in TASK
    assert keys(TASK) != keys(TASK.replace(was, becomes))


@pytest.mark.parametrize(("was", "becomes"), [
    ("# a comment", "# another"), ("\n\n", "\n\n\n"), ("shout", "said"), ("now\"), []", "now\"), [1, 2]"),
    ("asked = ", "other = 1; asked = "),
])  # fmt: skip
def test_an_unchanged_task_is_not_asked_again(was: str, becomes: str) -> None:
    """Comments, layout, names of locals, other variables and lists that a program fills change nothing."""
    assert was in TASK
    assert keys(TASK) == keys(TASK.replace(was, becomes)) == keys(TASK, "a_module")


@pytest.mark.parametrize(("was", "becomes", "which"), [
    ("min(value, LIMIT)", "max(value, LIMIT)", (0, 1)), ("LIMIT = 2100", "LIMIT = 2200", (0, 1)),
    ("text.strip()", "text.lower()", (0, 1, 2)), ("return self\n", "return self.model_copy()\n", (0, 1)),
    ("2026 - self", "2027 - self", (0, 1)), ("cls.glad", "cls.sad", (0, 1, 2)),
    ('"str_strip_whitespace": True', '"str_strip_whitespace": False', (0, 1)),
])  # fmt: skip
def test_an_edited_validator_is_asked_again(was: str, becomes: str, which: tuple[int, ...]) -> None:
    """Validators of fields and models, of bases and of what is within, and what they refer to are in the key."""
    assert was in SCHEMA
    before, after = keys(SCHEMA), keys(SCHEMA.replace(was, becomes))
    assert tuple(at for at in range(3) if before[at] != after[at]) == which
    assert keys(SCHEMA) == before


def test_an_edited_tool_is_asked_again_without_its_source() -> None:
    """A function typed in where no source is kept is known by its code."""
    tool = """
from cfai_nb.tasks import Generate
def add(x: int = 1) -> int:
    "Add one."
    return x + 1
asked = Generate(tools=[add])
"""
    assert keys(tool) == keys(tool.replace("\n    return", "\n    # why\n    return"))
    assert keys(tool) != keys(tool.replace("x + 1", "x + 2"))


def test_a_schema_without_code_is_known_by_its_json_schema_alone() -> None:
    """Types, constraints and nested models without validators need no code, and keep the keys they had."""
    import pydantic

    class Part(pydantic.BaseModel):
        note: str = ""

    class Plain(pydantic.BaseModel):
        year: int = pydantic.Field(ge=1900)
        parts: list[Part] = []

    assert (
        set(key_of_model(Plain)) == set(key_of_model(schema.model_of({"year": int, "mood": ["a", "b"]}))) == {"schema"}
    )


@pytest.mark.slow
def test_keys_of_own_code_are_the_same_in_every_process(tmp_path: Path) -> None:
    """Two processes with other hash seeds, one with the code in a file, one with it typed in, make the same keys."""
    (tmp_path / "made.py").write_text(TASK)
    show = "\nfrom cfai_nb._engine.plan import keys_of; from cfai_nb.models import find\n" + (
        f'print(keys_of(asked, find("{MODEL.id}"), ["x"], "cloudflare")[0].hex())'
    )
    found = set()
    for seed, code in (("1", TASK), ("2", TASK), ("3", "from made import asked")):
        path = os.pathsep.join([str(Path(__file__).parents[2]), str(tmp_path)])
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": path, "PATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", code + show], capture_output=True, text=True, env=environment, check=True, timeout=60
        )
        found.add(done.stdout)
    assert len(found) == 1


def test_no_text_equals_parts() -> None:
    """A text that spells out what parts are made of, and parts cut elsewhere, have keys of their own."""
    shown, document = of_bytes(picture()), of_bytes(b"\xc2\xa0 words", "a.txt")
    spelled = "ab\1" + "".join(map(chr, shown.identity))
    inputs: list[Any] = [
        "ab", Parts(("ab",)), Parts(("a", "b")), Parts(("ab", shown)), Parts(("a", shown, "b")), spelled,
        Parts(("ab", shown, "\1")), Parts(("ab", document)), Parts(("ab", document, "x")), shown,
    ]  # fmt: skip
    assert len(set(keys_of(Generate(), MODEL, inputs, "cloudflare"))) == len(inputs)


@pytest.mark.parametrize(("one", "other", "equal"), [
    ("http://box:8000/a/v1", "http://box:8000/b/v1", False), ("http://box/v1", "https://box/v1", False),
    ("http://box:8000/v1", "http://box:8001/v1", False), ("http://box/client/v4", "http://box/v1", False),
    ("http://BOX:80/v1/", "http://box/v1", True), ("https://box:443/v1", "https://box/v1", True),
])  # fmt: skip
def test_the_whole_address_of_a_server_is_in_the_key(one: str, other: str, equal: bool) -> None:
    """Scheme, port and path tell servers apart; spelling, a slash at the end and the usual port do not."""
    servers = [resolve_endpoint(None, "a" * 32, "t" * 40, url).server for url in (one, other)]
    assert (servers[0] == servers[1]) is equal
    assert len({keys_of(Generate(), MODEL, ["x"], server)[0] for server in servers}) == (1 if equal else 2)


def test_two_servers_on_one_host_are_shown_apart() -> None:
    """The origin that is shown holds the path, where there is one, and nothing else than host, port and path."""
    shown = {url: resolve_endpoint(None, "a" * 32, "t" * 40, url).origin for url in (
        "http://box:8000/a/v1", "http://box:8000/v1", "http://box/client/v4", "https://api.cloudflare.com/client/v4/",
    )}  # fmt: skip
    assert list(shown.values()) == ["box:8000/a", "box:8000", "box", "cloudflare"]


def test_a_fine_tune_belongs_to_its_account(tmp_path: Path) -> None:
    """lora= names something of the account's own: another account asks again, and everything else is shared."""
    tuned = "mistral-7b-instruct-v0.2-lora"
    requests = []
    for account in ("a" * 32, "b" * 32):
        emulator = Emulator(rate=None)
        with cf.connect(emulator, account_id=account, store=tmp_path / "s.sqlite") as session:
            for options in ({}, {"lora": "mine"}):
                plan = session.plan(Generate(**options), find(tuned), ["x"], cache=False)
                requests.append(plan.keys[0])
    assert requests[0] == requests[2]
    assert requests[1] != requests[3]


def test_an_instance_belongs_to_its_account_and_state() -> None:
    """Answers of an instance of AI Search are those of one account and one state, which has to be named."""
    asked = [(cf.AnswerFrom(instance="docs", as_of=state), who) for state in ("may", "june") for who in ("a", "b")]
    assert len({keys_of(task, task.default_model, ["x"], "cloudflare", who)[0] for task, who in asked}) == 4
    with pytest.raises(ValueError, match="as_of=''"):
        cf.AnswerFrom(instance="docs", as_of="")
