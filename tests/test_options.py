"""Options: every public callable refuses what it does not know, and says what was probably meant."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cfai_nb as cf
from cfai_nb.errors import hint, near, refuse_unknown, takes_options
from cfai_nb.models import find
from cfai_nb.vectors import search

#: What some calls cannot do without before their options are looked at.
NEEDED: dict[str, tuple[Any, ...]] = {
    "to_vectorize": ("index",), "run": (cf.Embed(),), "compare": (cf.Classify(labels=["a", "b"]),),
    "label_clusters": ("text", [0, 1]), "to_ai_search": ("instance",),
}  # fmt: skip


@pytest.fixture
def frame(tmp_path: Path) -> Iterator[pd.DataFrame]:
    """Two rows with text and vectors, and a session of the emulator that nothing may be asked of."""
    made = pd.DataFrame({"text": ["one", "two"], "vec": [np.ones(4, "f4"), np.zeros(4, "f4")]})
    with cf.connect("emulator", store=tmp_path / "s.sqlite"):
        yield made
        assert cf.ledger().empty


def forms(call: Any) -> list[Any]:
    """The call itself, and its awaited and priced forms where there are such."""

    def awaited(*args: Any, **options: Any) -> Any:
        async def wait() -> Any:
            return await call.aio(*args, **options)

        return asyncio.run(wait())

    return [call, *([awaited] if hasattr(call, "aio") else []), *([call.plan] if hasattr(call, "plan") else [])]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in dir(cf.Accessor) if not name.startswith("_")])
def test_every_verb_refuses_an_unknown_option(frame: pd.DataFrame, name: str) -> None:
    """Every verb, on texts and on vectors, in each of its forms, names what it does not know, and sends nothing."""
    for data in (frame, frame["text"], frame["vec"]):
        for form in forms(getattr(data.cfai, name)):
            with pytest.raises(TypeError, match=r"\w+\(\) has no option nonsense\. Options: .*\w"):
                form(*NEEDED.get(name, ()), nonsense=1)


@pytest.mark.parametrize(
    "path",
    [
        *(f"plots.{name}" for name in cf.plots.__all__), *(f"widgets.{name}" for name in cf.widgets.__all__),
        *(f"vectors.{name}" for name in cf.vectors.__all__ if name[0].islower()),
        "connect", "stream", "models", "ledger", "feedback", "Classify", "Embed", "Generate", "Cascade",
    ],
)  # fmt: skip
def test_every_plot_widget_and_function_refuses_an_unknown_option(path: str) -> None:
    """Plots, widgets, tasks and the functions that take options name one they do not know."""
    call: Any = cf
    for part in path.split("."):
        call = getattr(call, part)
    with pytest.raises(TypeError, match=r"\(\) has no option nonsense\. Options: \w+"):
        call(nonsense=1)


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (lambda d: d.cfai.cluster("vec", k=5), "n_clusters"),
        (lambda d: d.cfai.dedupe("vec", treshold=0.1), "threshold"),
        (lambda d: d.cfai.outliers("vec", share=0.1), "contamination"),
        (lambda d: d.cfai.project("vec", seed=1), "random_state"),
        (lambda d: d.cfai.search("a", on="vec", k=3), "top_k"),
        (lambda d: d.cfai.map("vec", colour="text"), "color"),
        (lambda d: d.cfai.preview(rows=3), "n"),
        (lambda d: d.cfai.gallery("vec", captions="text"), "caption"),
        (lambda d: d.cfai.playground("text", modle="x"), "model"),
        (lambda d: d.cfai.to_vectorize("i", metdata=["text"]), "metadata"),
        (lambda d: d.cfai.classify("text", ["a", "b"], budgte=1), "budget"),
        (lambda d: cf.plots.clusters(d["vec"], colours={}), "colors"),  # type: ignore[call-arg]
        (lambda d: cf.stream("a", max_new_tokens=3), "max_tokens"),
        (lambda d: cf.connect("emulator", budegt=1), "budget"),  # type: ignore[call-arg]
        (lambda d: cf.Classify(label=["a", "b"]), "labels"),  # type: ignore[call-arg]
        (lambda d: cf.Cascade("clef-flash", "clef-omni", acuracy=0.9), "accuracy"),  # type: ignore[call-arg]
    ],
)
def test_the_option_that_was_meant_is_named(frame: pd.DataFrame, call: Any, meant: str) -> None:
    """The error about a misspelt option, or one of another library, names the option here."""
    with pytest.raises(TypeError, match=rf"Did you mean {meant}\? Options: "):
        call(frame)


def test_options_by_position_say_their_names() -> None:
    """A task given its options by position says how to give them."""
    with pytest.raises(TypeError, match=r"Classify\(\) takes options by name, such as Classify\(labels=\.\.\.\)"):
        cf.Classify(["a", "b"])  # type: ignore[call-arg]


def test_signatures_stay_as_they_are() -> None:
    """Checked functions show the signature and the words of the function, and pass on what is right."""

    @takes_options("further")
    def made(one: int, *, two: int = 2, **rest: Any) -> tuple[Any, ...]:
        """Say it."""
        return one, two, rest

    assert list(inspect.signature(made).parameters) == ["one", "two", "rest"]
    assert (made.__name__, made.__doc__) == ("made", "Say it.")
    assert made(1, two=3, further=4) == (1, 3, {"further": 4})
    with pytest.raises(TypeError, match=r"made\(\) has no options tow, zzz\. Did you mean two\?"):
        made(1, tow=1, zzz=1)
    assert near("TRESHOLD", ["k", "threshold"]) == "threshold"
    assert near("nonsense", ["k"]) == ""
    assert (near("TXET", ["Text", "k"]), near("shop.nmae", ["Shop.Name"])) == ("Text", "Shop.Name")
    assert (hint("txt", ["text", 3]), hint(None, ["text"])) == (" Did you mean 'text'?", "")
    refuse_unknown("f", ["k"], ["k"])


@pytest.mark.parametrize(
    "options",
    [
        {"concurrency": np.int64(3)}, {"patience": np.float32(2)}, {"budget": np.float32(1)}, {"neurons": np.int64(9)},
        {"queue": np.bool_(True)}, {"fetch": np.bool_(False)}, {"progress": np.bool_(False)}, {"cache": np.bool_(True)},
    ],
)  # fmt: skip
def test_numbers_of_numpy_are_numbers(options: dict[str, Any]) -> None:
    """A run option is taken from an array as from Python, and kept as Python's own."""
    with cf.connect("emulator") as session:
        made = session.options(options)
        assert made == session.options({name: value.item() for name, value in options.items()}) or made.budget
        assert isinstance(made.concurrency, int | str)
        assert made.budget is None or type(made.budget.limit) is float


def test_settings_of_numpy_are_sent_as_numbers() -> None:
    """Options of a task that come out of an array are part of a request like others."""
    given = cf.Generate(max_tokens=np.int64(20), temperature=np.float32(0.5), seed=np.uint8(3))  # type: ignore[arg-type]
    request = next(given.conversation(["hello"], find("glm-4.7-flash")))
    assert [type(request.json[name]) for name in ("max_completion_tokens", "temperature", "seed")] == [int, float, int]
    drawn = cf.GenerateImage(size=(np.int64(512), np.int64(256)))  # type: ignore[arg-type]
    assert [type(each) for each in drawn.size or ()] == [int, int]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda d: d.cfai.embed("text", queue="no"), r"queue='no': give True or False"),
        (lambda d: d.cfai.embed("text", fetch="no"), r"fetch='no': give True or False"),
        (lambda d: d.cfai.embed("text", progress=2), r"progress=2: give True or False"),
        (lambda d: cf.connect("emulator", queue="no"), r"queue='no': give True or False"),
        (lambda d: d.cfai.embed("text", concurrency=True), "concurrency=True"),
        (lambda d: d.cfai.embed("text", patience="long"), "patience='long': give seconds"),
        (lambda d: d.cfai.embed("text", budget=float("nan")), "budget=nan must be a non-negative number"),
        (lambda d: d.cfai.generate("{text}", temperature="hot"), r"temperature='hot' is outside the range .*: 0 to 2"),
        (lambda d: d.cfai.generate("{text}", temperature=True), "temperature=True"),
        (lambda d: d.cfai.generate("{text}", seed="hot"), "seed='hot': give a whole number"),
        (lambda d: d.cfai.generate("{text}", max_tokens=np.float32(20)), r"max_tokens=20.0 must be a whole number"),
        (lambda d: d.cfai.filter("text", "it is short", threshold=True), "threshold=True"),
        (lambda d: search(np.eye(3), np.eye(3), top_k=True), "top_k=True must be a whole number of at least 1"),
        (lambda d: cf.Gateway("g", cache_key=5), "cache_key=5"),  # type: ignore[arg-type]
        (lambda d: cf.Gateway("my.gw"), "at most 64 letters, digits, - and _"),
    ],
)
def test_a_value_of_another_type_is_refused_in_words(frame: pd.DataFrame, call: Any, words: str) -> None:
    """What is not a number, or not a yes or no, names the option and what it takes; nothing is guessed."""
    with pytest.raises(ValueError, match=words):
        call(frame)
