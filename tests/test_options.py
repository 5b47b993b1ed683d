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
from cfai_nb.errors import near, refuse_unknown, takes_options

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
    refuse_unknown("f", ["k"], ["k"])
