"""One definition gives a verb its three forms, its signature and its docstring."""

from __future__ import annotations

import asyncio
import inspect
import re
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cfai_nb as cf
from cfai_nb._engine.run_options import NAMES, RunOptions, documented
from cfai_nb.accessor import WidgetVerb
from cfai_nb.frame.verb import Verb
from cfai_nb.frame.verb_help import ON_VECTORS

TEXTS = ["I want my money back", "Where is my parcel?", "I want my money back", None, "The app crashes"]
WIDGETS = sorted(name for name, made in vars(cf.Accessor).items() if isinstance(made, WidgetVerb))
VERBS = sorted(name for name, made in vars(cf.Accessor).items() if isinstance(made, Verb) and name not in WIDGETS)
#: Verbs on vectors, given texts: what they are called with, and how many calls a plan of it has.
CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any], int]] = {
    "search": (("refund", 2, "text"), {}, 2),
    "similarity": (("text", "refund"), {}, 2),
    "sim_join": ((pd.DataFrame({"text": ["parcel", "refund"]}), "text", "text"), {"top_k": 1}, 2),
    "dedupe": (("text", 0.9), {}, 1),
    "cluster": (("text", 2), {}, 1),
    "project": (("text",), {"method": "pca"}, 1),
    "outliers": (("text", 2), {}, 1),
    "label_clusters": (("text", [0, 1, 0, 0, 1]), {"model": "default"}, 1),
    "map": (("text",), {"method": "pca"}, 1),
}


@pytest.fixture
def frame() -> Iterator[pd.DataFrame]:
    """Five rows, and a session of the emulator that keeps nothing."""
    with cf.connect("emulator", store=False):
        yield pd.DataFrame({"text": TEXTS})


@pytest.mark.parametrize("name", CALLS)
def test_verbs_on_vectors_have_three_forms(frame: pd.DataFrame, name: str) -> None:
    """A plan foretells every request of the call and sends nothing, and the awaited form gives the same result."""
    args, options, calls = CALLS[name]
    verb = getattr(frame.cfai, name)
    plan = verb.plan(*args, **options)
    assert cf.ledger().empty
    plans = getattr(plan, "plans", {"": plan})
    assert len(plans) == calls
    done = verb(*args, **options)
    assert len(cf.ledger()) == sum(each.estimate.requests for each in plans.values())
    again = asyncio.run(verb.aio(*args, **options))
    one, other = (pd.DataFrame(each.points if name == "map" else each) for each in (done, again))
    pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize("name", ["search", "cluster", "compare", "filter", "map", "label_clusters"])
def test_an_awaited_verb_leaves_the_loop_to_its_caller(
    frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Reading rows, drawing up the call and computing the result are done in other threads than the loop's."""
    loop, where = threading.get_ident(), []
    verb = vars(cf.Accessor)[name]
    definition, _ = verb.definition, verb.help

    def watched(*args: Any, **options: Any) -> Any:
        steps = definition(*args, **options)
        where.append(threading.get_ident())
        finish = yield from steps
        where.append(threading.get_ident())

        def result() -> Any:
            where.append(threading.get_ident())
            return finish()

        return result

    monkeypatch.setitem(vars(verb), "definition", watched)
    task = cf.Classify(labels=["a", "b"])
    given: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
        "compare": ((task, "text"), {"models": ["clef-flash", "glm-4.7-flash"]}),
        "filter": (("text", "It is about money."), {}),
    }
    args, options = given.get(name) or CALLS[name][:2]
    asyncio.run(getattr(frame.cfai, name).aio(*args, **options))
    assert len(where) == 3
    assert loop not in where


def test_without_rows_to_send_there_is_nothing_to_price(frame: pd.DataFrame) -> None:
    """A plan of vectors that are there is an error in words, for every verb on vectors."""
    made = frame.assign(vec=frame.cfai.embed("text"))
    for name in ("cluster", "dedupe", "project", "outliers", "map", "as_vectors"):
        options = {"model": "bge-m3", "origin": "emulator"} if name == "as_vectors" else {}
        with pytest.raises(ValueError, match=rf"{name}\(\) sends no rows here, so there is nothing to price"):
            getattr(made.cfai, name).plan("vec", **options)
    assert made.cfai.search.plan("refund", on="vec").estimate.requests == 1


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_explains_itself(frame: pd.DataFrame, name: str) -> None:
    """Its signature names every option its docstring has, run options included, and both are built once."""
    verb = getattr(frame.cfai, name)
    names = list(inspect.signature(verb).parameters)
    for entry in names:
        assert entry == "neurons" or re.search(rf"^(\w+, )*{entry}(, \w+)* :", verb.__doc__, re.MULTILINE)
    assert name == "as_vectors" or names[-len(NAMES) :] == list(NAMES)
    assert "data" not in names
    assert verb.__name__ == name
    for section in ("\nReturns\n-------\n", "\nExamples\n--------\n>>> "):
        assert section in verb.__doc__, "give what it returns and an example: in accessor.py, or in its docstring"
    assert getattr(frame.cfai, name).__doc__ is verb.__doc__
    assert getattr(cf.Accessor, name).__doc__ == verb.__doc__


@pytest.mark.parametrize("name", sorted(ON_VECTORS.keys() - {"as_vectors"}))
def test_examples_of_vector_verbs_run(frame: pd.DataFrame, name: str) -> None:
    """The example in the help of a verb on vectors gives rows of the frame; `verbs` runs those of the others."""
    shop = frame.assign(vector=frame.cfai.embed("text"))
    assert set(eval(ON_VECTORS[name], {"shop": shop}).index) <= {*shop.index, *range(len(shop))}


def test_the_column_may_be_given_by_name(frame: pd.DataFrame) -> None:
    """``on=`` by name is the first argument, in every form."""
    assert frame.cfai.embed.plan(on="text").estimate.distinct == 3
    assert frame.cfai.embed(on="text").notna().sum() == 4
    assert len(asyncio.run(frame.cfai.filter.aio(on="text", condition="It is about money."))) <= 4


@pytest.mark.parametrize("name", WIDGETS)
def test_widgets_explain_themselves(frame: pd.DataFrame, name: str) -> None:
    """What opens a widget shows the signature and docstring of the widget, without the data."""
    verb = getattr(frame.cfai, name)
    assert "data" not in inspect.signature(verb).parameters
    assert "\nExamples\n--------\n>>> " in verb.__doc__
    assert "\ndata :" not in verb.__doc__


@pytest.mark.parametrize("name", WIDGETS)
def test_widgets_have_three_forms(frame: pd.DataFrame, name: str) -> None:
    """They open plainly and awaited, and have no price."""
    picture = np.zeros((4, 4), dtype=np.uint8)
    sound = b"RIFF" + bytes(4) + b"WAVEfmt " + bytes(28)
    data = frame.assign(picture=[picture] * 5, sound=[sound] * 5)
    args = {"review": ("text", ["a", "b", "a", "b", "a"]), "playground": ("text",)}.get(name, ())
    verb = getattr(data.cfai, name)
    opened = verb(*args)
    assert type(asyncio.run(verb.aio(*args))) is type(opened)
    with pytest.raises(ValueError, match=rf"{name}\(\) sends no rows here, so there is nothing to price"):
        verb.plan(*args)


def test_run_options_are_declared_once() -> None:
    """Every option a user may give is documented, and resolves to one of a run; ``connect`` takes them all."""
    fields = set(RunOptions.__dataclass_fields__)
    assert set(NAMES) - {"neurons"} == fields - {"on_token", "part"}
    assert list(documented()) == [name for name in NAMES if name != "neurons"]
    assert set(NAMES) < set(inspect.signature(cf.connect).parameters)
