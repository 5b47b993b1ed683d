"""The playground without a browser: traits, variants, versions, prices, code, and the panel's boxes and buttons."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hostile
import pandas as pd
import pydantic
import pytest

import cfai_nb as cf
from cfai_nb.emulator import Emulator
from cfai_nb.widgets.playground import draft as text_forms
from cfai_nb.widgets.playground.page import changed
from cfai_nb.widgets.playground.trial import Outcome, Round, Trial

VIEW = "application/vnd.jupyter.widget-view+json"


class Verdict(pydantic.BaseModel):
    """A schema that lines cannot say."""

    mood: str


@pytest.fixture
def df() -> Iterator[pd.DataFrame]:
    """Four rows, one without text, and an emulator that answers."""
    with cf.connect("emulator", store=False):
        texts = ["I was charged twice. Please help.", None, "The parcel is late.", "It rains."]
        yield pd.DataFrame({"text": texts, "n": [1, 2, 3, 4]}, index=[10, 11, 12, 13])


@pytest.fixture
def p(df: pd.DataFrame) -> cf.widgets.Playground:
    """A playground on two rows."""
    return df.cfai.playground("text", n=2)


def test_prompt_run_results_code(p: Any) -> None:
    """Pinned rows are those with text; a run gives answer, price, tokens and time of each, and of 1,000 such rows."""
    p.prompt = "Repeat: {text}"
    p.run()
    results = p.results
    assert results["row"].tolist() == [10, 12]
    assert results["state"].tolist() == ["answered", "answered"]
    assert results["answer"].str.startswith("[emulator]").all()
    assert results[["seconds", "tokens", "neurons", "usd"]].notna().all(axis=None)
    assert results["exact"].all()
    assert results["tokens"].dtype == "Int64"
    trial = p.versions[0]
    assert trial.cost.neurons == pytest.approx(results["neurons"].sum())
    assert trial.per_thousand.neurons == pytest.approx(results["neurons"].mean() * 1000)
    assert (trial.cost.exact, trial.per_thousand.exact) == (True, False)
    assert p.code == "df.cfai.generate('Repeat: {text}')"
    assert "emulator, would be" in repr(p)


@pytest.mark.parametrize("store", [True, False])
def test_equal_rows_are_asked_once_and_priced(tmp_path: Path, store: bool) -> None:
    """A duplicate among the tried rows shares the answer and costs nothing; only what was stored is from the store."""
    texts = pd.Series(["It rains.", "It snows.", "It rains.", "It rains."], name="text")
    with cf.connect("emulator", store=tmp_path / "s.sqlite" if store else False):
        p = texts.cfai.playground(n=4)
        p.prompt = "Repeat: {text}"
        p.add()
        p.run()
        for trial in p.versions:
            assert [o.state for o in trial.outcomes] == ["answered"] * 4
            assert [o.same_as for o in trial.outcomes] == [None, None, 0, 0]
            assert trial.outcomes[2].answer == trial.outcomes[0].answer
            assert trial.cost.neurons == pytest.approx(sum(o.neurons for o in trial.outcomes[:2]))
            assert trial.per_thousand.neurons == pytest.approx(trial.cost.neurons / 2 * 1000)
        assert "unknown" not in repr(p)
        assert "from the store" not in p.page()
        assert "same as row 0" in p.page()
        assert cf.ledger()["requests"].sum() == 2
        if store:
            again = texts.cfai.playground(n=4)
            again.prompt = "Repeat: {text}"
            again.run()
            assert [o.state for o in again.versions[0].outcomes] == ["stored"] * 4
            assert again.versions[0].cost.neurons == pytest.approx(p.versions[0].cost.neurons)


def test_an_answer_of_another_run_is_not_from_the_store() -> None:
    """A row another run has asked for at the same time is neither from the store nor of unknown price."""
    emulator = Emulator(rate=None, latency=0.3)
    texts = pd.Series(["It rains.", "It snows."], name="text")
    with cf.connect(emulator, store=False):
        p = texts.head(1).cfai.playground(n=1)
        p.prompt = "Repeat: {text}"

        async def at_once() -> None:
            other = asyncio.ensure_future(texts.cfai.generate.aio("Repeat: {text}"))
            while emulator.requests < 2:
                await asyncio.sleep(0.005)
            p.run(wait=False)
            await other
            while p.running:
                await asyncio.sleep(0.01)

        asyncio.run(at_once())
        (outcome,) = p.versions[0].outcomes
        assert emulator.requests == 2
        assert (outcome.state, outcome.paid, outcome.answer) == ("answered", False, "[emulator] It rains.")
        assert "asked by another run" in p.page()
        assert "unknown" not in repr(p)


DRAFTS: list[tuple[dict[str, Any], str]] = [
    ({"prompt": "A {text}\n'q' \"d\" {n:.1f}"}, "generate"),
    ({"prompt": "{text}", "system": "Be\nshort", "temperature": 0.5, "max_tokens": 90, "seed": 3}, "generate"),
    ({"prompt": "{text}", "schema": "mood: glad | sad\nyear: int\ndue: date\ntags: list[str]"}, "generate"),
    ({"prompt": "{text}", "schema": Verdict}, "generate"),
    ({"prompt": "{text}", "labels": "bill: money\nship", "instructions": "Which?"}, "classify"),
    ({"prompt": "{text} {n}", "labels": ["a", "b"], "model": "clef-flash"}, "classify"),
    ({"prompt": "{text}", "labels": pd.Series(["a", "b"])}, "classify"),
    ({"prompt": "{text}", "labels": pd.Series(["a", "b", "a"]).unique()}, "classify"),
    ({"prompt": "{text}", "questions": "m: Late?\nt: a | b\ns: low < high: How much?"}, "ask"),
    (
        {"prompt": "{text}", "questions": {"t": cf.choice("a", **{"not ok": "bad"}), "y": cf.yes_no("?", yes="j")}},
        "ask",
    ),
    ({"prompt": "{text}", "fields": "vendor\ntotal: number", "max_tokens": 70}, "extract"),
    ({"prompt": "{text}", "fields": {"vendor": str, "due": datetime.date}}, "extract"),
]


@pytest.mark.parametrize(("draft", "mode"), DRAFTS)
def test_code_is_the_call(df: pd.DataFrame, draft: dict[str, Any], mode: str) -> None:
    """`eval` of the code prices the very same questions: task and inputs are equal."""
    if "seed" in draft:
        with pytest.raises(TypeError, match="no option seed"):
            df.cfai.playground("text", **draft)
        draft = {name: value for name, value in draft.items() if name != "seed"}
    p = df.cfai.playground("text", mode=mode, **draft)
    assert p.problem == ""
    names = {"df": df, "cf": cf, "datetime": datetime, "Verdict": Verdict}
    there = eval(p.code.replace(f".{mode}(", f".{mode}.plan(", 1), names)
    assert there.keys == p.plan().keys
    p.run()
    assert set(p.results["state"]) == {"answered"}


def test_a_series_needs_no_column(df: pd.DataFrame) -> None:
    """On a Series the code names no column, and begins with the series."""
    s = df["text"].cfai.playground(n=1)
    assert s.code == "s.cfai.generate('{text}')"
    s.mode, s.labels = "classify", "a\nb"
    assert s.code == "s.cfai.classify(['a', 'b'])"
    s.run()
    assert s.results["state"].tolist() == ["answered"]
    s.truth = "text"
    assert s.panel.truth.label == "text"
    assert "right 0 of 1" in s.page()


@pytest.mark.parametrize("name", [0, ("a", "b"), 2.5, "text"])
@pytest.mark.parametrize("mode", ["generate", "classify", "ask", "extract"])
def test_columns_have_names_of_any_type(df: pd.DataFrame, name: Any, mode: str) -> None:
    """A column is tried and written as code by its label, which may not be a text."""
    shape = {"classify": {"labels": ["a", "b"]}, "ask": {"questions": "m: Late?"}, "extract": {"fields": "vendor"}}
    frame = pd.DataFrame({"n": [1, 2, 3, 4], "other": df["text"]})
    frame.columns = pd.Index(["n", name], dtype=object, tupleize_cols=False)
    p = frame.cfai.playground(name, mode=mode, n=2, **shape.get(mode, {}))
    assert p.problem == ""
    p.run()
    assert p.results["state"].tolist() == ["answered"] * 2
    assert eval(p.code.replace(f".{mode}(", f".{mode}.plan(", 1), {"df": frame, "cf": cf}).keys == p.plan().keys


def test_there_is_a_row_to_try(df: pd.DataFrame) -> None:
    """A number of rows below 1 is refused."""
    for n in (0, -1):
        with pytest.raises(ValueError, match=f"n={n} must be a whole number of at least 1"):
            df.cfai.playground("text", n=n)


def test_apply_is_the_code_on_all_rows(p: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """`apply` prices first, then returns what the verb returns, with its options for travelling."""
    p.mode, p.labels = "classify", "bill\nship"
    result = p.apply(progress=False)
    assert "at most; estimated, sending" in capsys.readouterr().out
    assert result.index.tolist() == [10, 11, 12, 13]
    assert result.isna().tolist() == [False, True, False, False]
    assert p.result is result
    with pytest.raises(cf.BudgetError):
        p.apply(neurons=0.0001)


def test_pinned_rows_are_not_paid_twice(df: pd.DataFrame) -> None:
    """What was streamed in a trial is kept under the verb's own key: `apply` sends only the rest."""
    with cf.connect("emulator"):
        p = df.cfai.playground("text", n=2)
        p.run()
        p.apply(progress=False)
        assert (cf.last_run().run.stored, cf.last_run().run.requests) == (2, 1)
        p.run(again=True)
        assert set(p.results["state"]) == {"answered"}
        q = df.cfai.playground("text", n=2)
        q.run()
        assert set(q.results["state"]) == {"stored"}
        assert q.versions[0].cost.neurons == pytest.approx(p.versions[0].cost.neurons)
        assert "had cost" in q.page()


_ASKED = cf.choice("bill", "ship")
TRUTHS: list[tuple[str, dict[str, Any], list[Any], str, list[Any]]] = [
    ("classify", {"labels": ["bill", "ship"]}, ["bill", None, "ship", "ship"], "right 2 of 3 (21 to 94 %)", [1, 1, 0]),
    ("classify", {"labels": ["bill", "ship"]}, [None] * 4, "no answer to compare with truth", [None] * 3),
    (
        "ask",
        {"questions": {"truth": cf.choice("bill", "ship"), "b": cf.yes_no("?")}},
        ["bill"] * 4,
        "right 2 of 3",
        [1],
    ),
    ("ask", {"questions": {"a": cf.choice("bill", "ship"), "b": cf.yes_no("?")}}, ["a"] * 4, "no answer", [None]),
]


@pytest.mark.parametrize(("mode", "shape", "truth", "words", "right"), TRUTHS)
def test_answers_are_compared_with_a_column(
    df: pd.DataFrame, mode: str, shape: dict[str, Any], truth: list[Any], words: str, right: list[Any]
) -> None:
    """Rows with answer and truth are judged, with Wilson's interval; several columns by the one of the same name."""
    p = df.assign(truth=truth).cfai.playground("text", mode=mode, n=4, truth="truth", **shape)
    trial = Trial(1, "A", p.draft, "", [Outcome(row, "answered") for row in (10, 12, 13)], "", "")
    for outcome, answer in zip(trial.outcomes, ["bill", "ship", "bill"], strict=True):
        name = next(iter(shape["questions"])) if mode == "ask" else ""
        further = {each: True for each in shape.get("questions", ()) if each != name}
        outcome.answer = {name: answer, f"{name}__p": 0.9, **further} if name else answer
    p.versions.append(trial)
    p._tried._latest["A"] = trial
    found = [None if flag is pd.NA else int(flag) for flag in p.results["right"]]
    assert found[: len(right)] == right
    assert words in p.page()
    assert words in repr(p)
    assert ("✗ truth: ship" in p.page()) == (mode == "classify" and truth[-1] == "ship")
    p.panel.truth.value = 0
    assert p.truth is None
    assert "right" not in p.results
    assert words not in p.page()


def test_variants_and_versions(p: Any) -> None:
    """Variants run side by side; only what changed runs again; versions are kept, compared and brought back."""
    p.prompt = "Five words: {text}"
    assert p.add(model="llama-3.2-3b-instruct", temperature=0.2) == "B"
    p.run()
    assert [(v.number, v.variant) for v in p.versions] == [(1, "A"), (2, "B")]
    assert p.results["variant"].tolist() == ["A", "A", "B", "B"]
    p.run()
    assert len(p.versions) == 2
    p.prompt = "Ten words: {text}"
    p.run()
    assert [(v.number, v.variant) for v in p.versions[2:]] == [(3, "B")]
    page = p.page()
    assert "Five</del>" in page
    assert "Ten</ins>" in page
    p.compare = False
    assert "</ins>" not in p.page()
    p.variant = "A"
    assert (p.prompt, p.model) == ("Five words: {text}", "")
    p.restore(3)
    assert (p.prompt, p.model, p.temperature) == ("Ten words: {text}", "llama-3.2-3b-instruct", 0.2)
    p.drop("B")
    assert list(p.variants) == ["A"]
    with pytest.raises(ValueError, match="last variant"):
        p.drop("A")
    with pytest.raises(TypeError, match=r"no option modle\. Did you mean model\?"):
        p.add(modle="x")
    assert list(p.variants) == ["A"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prompt": "Hello {txt}"}, "Did you mean 'text'"),
        ({"prompt": ""}, "Write a prompt"),
        ({"model": "glm"}, "has no model 'glm'"),
        ({"mode": "classify"}, "Give labels"),
        ({"mode": "classify", "labels": "one"}, "two"),
        ({"temperature": 9.0}, "outside"),
    ],
)
def test_mistakes_are_reported_in_place(p: Any, changes: dict[str, Any], words: str) -> None:
    """A mistake is in `problem` as soon as it is made, and running raises it, before anything is sent."""
    for name, value in changes.items():
        setattr(p, name, value)
    assert words in p.problem
    with pytest.raises((cf.CfaiError, ValueError), match=words):
        p.run()
    assert p.versions == []
    assert len(cf.ledger()) == 0


def test_rows_can_be_chosen(df: pd.DataFrame) -> None:
    """`rows` and `try_rows` say which rows are tried; one that is not there is an error."""
    p = df.cfai.playground("text", rows=[13])
    p.run()
    assert p.results["row"].tolist() == [13]
    p.try_rows(11, 10)
    p.run()
    assert p.results["state"].tolist() == ["no text", "answered"]
    with pytest.raises(ValueError, match="no row 99"):
        p.try_rows(99)
    for prompt in ("text", "Draw {text}", "{n}: {text}"):
        assert df.cfai.playground(prompt, n=2).rows.index.tolist() == [10, 12]
    for prompt in ("Draw {txt}", "Draw {"):  # not yet a prompt
        assert df.cfai.playground(prompt, n=2).rows.index.tolist() == [10, 11]
    with pytest.raises(ValueError, match="wait=False needs an event loop"):
        p.run(wait=False)
    assert not p.running


def test_a_failed_row_keeps_its_place(df: pd.DataFrame) -> None:
    """A row that fails says why in its cell; its price is counted, and the others stand."""
    with cf.connect(cf.emulator.Emulator(rate=None, faults=["length"]), store=False):
        p = df.cfai.playground("text", n=2)
        p.run()
        results = p.results
        assert sorted(results["state"]) == ["answered", "failed"]
        failed = results[results["state"] == "failed"].iloc[0]
        assert "max_tokens" in failed["error"]
        assert "cut at max_tokens" in p.page()
        assert p.versions[0].cost.neurons == pytest.approx(results["neurons"].sum())


def test_lines_and_values_are_one() -> None:
    """What lines mean is written as the same lines; what they cannot say is not written at all."""
    for what, text in (
        ("schema", "a: int\nb: x | y\nc: list[str]"),
        ("labels", "a\nb"),
        ("labels", "a: one\nb: two"),
        ("questions", "a: Is it?\nb: x | y: Which?\nc: low < high"),
        ("fields", "a\nb: number"),
    ):
        assert text_forms.write(what, text_forms.read(what, text)) == text
    assert text_forms.write("schema", Verdict) is None
    assert text_forms.write("labels", 5) is None
    assert text_forms.write("questions", {"a": cf.yes_no("?", yes="j")}) is None
    with pytest.raises(ValueError, match="Did you mean 'int'"):
        text_forms.read("schema", "a: intt")
    with pytest.raises(ValueError, match="write a name, a colon"):
        text_forms.read("questions", "what")


# -- what is shown ---------------------------------------------------------------------------------------------------


def test_one_bundle_holds_all_forms(p: Any) -> None:
    """Widget view, HTML and text are in one bundle; HTML and text come from the same trials."""
    p.run()
    bundle = p._repr_mimebundle_()
    assert set(bundle) == {VIEW, "text/html", "text/plain"}
    assert "1,000 such rows" in bundle["text/html"]
    assert "1,000 such rows" in bundle["text/plain"]


def test_boxes_and_buttons(p: Any) -> None:
    """Boxes set traits and show them, chips complete the open brace, buttons do what the methods do."""
    panel = p.panel
    panel.prompt.value = "Say {te"
    assert [chip.description for chip in panel.chips.children[1].children] == ["{text}"]
    assert panel.run.disabled
    panel.chips.children[1].children[0].click()
    assert p.prompt == panel.prompt.value == "Say {text}"
    panel.chips.children[1].children[1].click()
    assert p.prompt == "Say {text} {n}"
    panel.temperature.value, panel.max_tokens.value = "0.5", "60"
    assert (p.temperature, p.max_tokens) == (0.5, 60)
    panel.max_tokens.value = "many"
    assert "max_tokens" in p.problem
    panel.max_tokens.value = ""
    assert (p.max_tokens, p.problem) == (None, "")
    panel.run.click()
    assert len(p.versions) == 1
    assert panel.history.value == 1
    panel.add.click()
    assert panel.variant.options == ("A", "B")
    panel.mode.value = "classify"
    assert "Give labels" in panel.problem.value
    panel.shape.value = "a\nb"
    assert p.labels == ["a", "b"]
    panel.prompt.value = "{text}"
    panel.run.click()
    panel.price.click()
    assert "nothing sent" in panel.message.value
    panel.apply.click()
    assert len(p.result) == 4
    panel.restore.click()
    panel.drop.click()
    assert panel.variant.options == ("A",)
    panel.model.value = "<b>"
    assert "&lt;b&gt;" in panel.problem.value


def test_background_and_stop(df: pd.DataFrame) -> None:
    """Started from a button the run goes on behind other cells; Stop keeps what is done and sends nothing more."""
    open_gate: dict[str, bool] = {}

    async def scenario() -> None:
        p = df.cfai.playground("text", n=3)
        p.panel.run.click()
        assert p.running
        assert p.panel.run.disabled
        assert not p.panel.stop.disabled
        with pytest.raises(ValueError, match="already"):
            p.run()
        p.panel.stop.click()
        await asyncio.wait_for(p._watcher, 20)
        assert not p.running
        assert p.panel.stop.disabled
        open_gate.update(dict.fromkeys(p.results["state"], True))
        p.panel.run.click()
        await asyncio.wait_for(p._watcher, 20)
        assert set(p.results["state"]) == {"answered"}

    with cf.connect(cf.emulator.Emulator(rate=None, latency=0.05), store=False):
        asyncio.run(scenario())
    assert set(open_gate) <= {"answered", "not run", "failed"}


def test_all_rows_in_the_background(df: pd.DataFrame) -> None:
    """A double click runs all rows once; the words say how far it is, what it cost and where the result is."""

    async def scenario() -> None:
        p = df.cfai.playground("text", n=1)
        panel = p.panel
        panel.price.click()
        panel.apply.click()
        panel.apply.click()
        assert panel.full_run.busy
        assert panel.apply.disabled
        assert not panel.stop.disabled
        await asyncio.wait_for(panel.full_run._watcher, 20)
        assert "generate: 3 of 3 rows" in panel.message.value
        assert "3 requests" in panel.message.value
        assert "The result is in p.result." in panel.message.value
        assert len(p.result) == 4
        assert not panel.apply.disabled

    with cf.connect(cf.emulator.Emulator(rate=None, latency=0.05), store=False):
        asyncio.run(scenario())


def test_all_rows_in_the_background_are_a_run_like_any(df: pd.DataFrame) -> None:
    """What it says of ``cf.last_run()`` is about this run, and those who listen hear of it to its end."""
    events: list[Any] = []

    async def scenario() -> None:
        p = df.cfai.playground("text", n=1)
        p.panel.price.click()
        with cf.listen(events.append):
            p.panel.apply.click()
            await asyncio.wait_for(p.panel.full_run._watcher, 20)
        assert "1 of 4 rows failed and are missing" in p.panel.message.value
        assert "cf.last_run().failures lists them" in p.panel.message.value
        assert len(cf.last_run().failures) == p.result.isna().sum() - 1 == 1

    with cf.connect(cf.emulator.Emulator(rate=None, faults=["length"]), store=False):
        asyncio.run(scenario())
    assert [event.finished for event in events].count(True) == 1
    assert events[-1].finished


def test_a_listener_that_raises_ends_a_run_in_the_background(df: pd.DataFrame) -> None:
    """Its error is shown, nothing more is sent, and the next run can begin."""

    async def scenario() -> None:
        p = df.cfai.playground("text", n=3)
        p.panel.price.click()
        with cf.listen(lambda event: 1 / 0):
            p.panel.run.click()
            await asyncio.wait_for(p._watcher, 20)
            assert p.problem == "ZeroDivisionError: division by zero"
            p.panel.apply.click()
            await asyncio.wait_for(p.panel.full_run._watcher, 20)
            assert "division by zero" in p.panel.message.value
        assert not p.running
        assert not p.panel.full_run.busy
        p.run(again=True)
        assert set(p.results["state"]) == {"answered"}

    with cf.connect(cf.emulator.Emulator(rate=None, latency=0.3), store=False):
        asyncio.run(scenario())


@pytest.mark.parametrize("fields", [["vendor", "urgent: boolean"], ["urgent: boolean"]])
def test_what_the_verb_does_with_two_models_the_playground_does(df: pd.DataFrame, fields: list[str]) -> None:
    """Fields the extraction model has no type for are tried, priced and applied as ``df.cfai.extract`` does it."""
    with cf.connect("emulator"):
        p = df.cfai.playground("text", n=2, mode="extract", fields=fields)
        assert p.problem == ""
        assert repr(p.plan()) == repr(df.cfai.extract.plan("text", fields))
        p.run()
        verb = df.iloc[[0, 2]].cfai.extract("text", fields)
        assert cf.last_run().run.requests == 0
        assert p.results[list(verb.columns)].to_numpy().tolist() == verb.to_numpy().tolist()
        assert p.versions[0].model.split(", ") == list(dict.fromkeys(verb.attrs["cfai"]["model"].split(", ")))
        paid = sum(outcome.neurons for outcome in p.versions[0].outcomes)
        assert paid == pytest.approx(cf.ledger()["neurons"].sum())
        result = df.cfai.extract("text", fields)
        pd.testing.assert_frame_equal(p.apply(), result)

        async def in_the_background() -> None:
            p.panel.price.click()
            p.panel.apply.click()
            await asyncio.wait_for(p.panel.full_run._watcher, 20)

        asyncio.run(in_the_background())
        pd.testing.assert_frame_equal(p.result, result)
        assert "extract: 3 of 3 rows" in p.panel.message.value
        assert cf.last_run().run.done == 3


def test_a_weakness_of_a_model_is_shown(df: pd.DataFrame) -> None:
    """What the verb warns of, a version shows, and so does the run on all rows."""
    labels = [*(f"label {at}" for at in range(30)), "other"]

    async def scenario() -> None:
        p = df.cfai.playground("text", mode="classify", labels=labels, model="clef-flash", n=2)
        p.panel.price.click()
        p.panel.apply.click()
        await asyncio.wait_for(p.panel.full_run._watcher, 20)
        assert "model= chooses." in p.panel.message.value
        p.run()
        (note,) = p.versions[0].notes
        assert "model= chooses." in note
        assert "model= chooses." in p.page()

    asyncio.run(scenario())


@pytest.mark.parametrize("after", [0, 1])
def test_stop_ends_all_rows_in_the_background(df: pd.DataFrame, after: int) -> None:
    """Stop at once sends nothing; later it keeps what is in flight, and says how far it came."""
    emulator = Emulator(rate=None, latency=0.2)

    async def scenario() -> None:
        p = df.cfai.playground("text", n=1)
        p.panel.price.click()
        p.panel.apply.click()
        while emulator.requests < after:
            await asyncio.sleep(0.005)
        p.panel.stop.click()
        await asyncio.wait_for(p.panel.full_run._watcher, 20)
        assert emulator.requests == after
        assert "Stopped." in p.panel.message.value
        assert not p.panel.full_run.busy
        if after:
            assert p.result.notna().sum() == 1
            assert "generate: 1 of 3 rows" in p.panel.message.value
        p.panel.apply.click()
        await asyncio.wait_for(p.panel.full_run._watcher, 20)
        assert p.result.notna().sum() == 3

    with cf.connect(emulator, store=False, concurrency=1):
        asyncio.run(scenario())


def test_a_failure_of_a_row_ends_the_round(df: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error that is not of a row no more is sent, and it is raised."""
    emulator, ask = Emulator(rate=None), Round._ask

    async def broken(self: Round, trial: Trial, outcome: Outcome, *given: Any) -> None:
        if outcome.row == 10:
            raise cf.CfaiError("not this one")
        await ask(self, trial, outcome, *given)

    monkeypatch.setattr(Round, "_ask", broken)
    with cf.connect(emulator, store=False):
        p = df.cfai.playground("text", n=3)
        with pytest.raises(cf.CfaiError, match="not this one"):
            p.run()
        assert not p.running
        assert set(p.results["state"]) == {"not run"}
        assert emulator.requests == 0


def test_rows_of_one_label_are_compared_with_themselves(df: pd.DataFrame) -> None:
    """Changes are marked since the answer of this row before, also where labels repeat."""
    p = df.set_axis([7, 7, 7, 7]).cfai.playground("text", n=3)
    p.run()
    p.prompt = "Say: {text}"
    p.run()
    _, _, body = p.page().partition("<tbody>")
    assert "Say" in p.page()
    assert "<ins>" not in body


def test_answers_are_heard_while_written(df: pd.DataFrame) -> None:
    """Text is streamed piece by piece into the cell; the whole answer and its price are those of the plain call."""
    p = df.cfai.playground("text", n=1)
    p.run()
    (outcome,) = p.versions[0].outcomes
    assert len(outcome.pieces) > 3
    assert "".join(outcome.pieces) == outcome.answer
    plain = df.iloc[:1].cfai.generate("{text}", progress=False)
    assert plain.iloc[0] == outcome.answer
    assert cf.last_run().run.spent.neurons == pytest.approx(outcome.neurons)


@pytest.mark.parametrize("fault", ["truncated-stream", "500", "reset"])
def test_a_broken_stream_is_asked_again(df: pd.DataFrame, fault: str) -> None:
    """A stream that breaks off is repeated like any other fault, and nothing of the first attempt stays."""
    with cf.connect(cf.emulator.Emulator(rate=None, faults=[fault]), store=False):
        p = df.cfai.playground("text", n=1)
        p.run()
        (outcome,) = p.versions[0].outcomes
        assert outcome.state == "answered"
        assert "".join(outcome.pieces) == outcome.answer


@pytest.mark.slow
def test_hostile_answers_are_text() -> None:
    """Scripts, handlers, links, formulas, control characters and megabytes are escaped, cut, and never typeset."""
    name = "<img src=x onerror=alert(1)>"
    count = len(hostile.TEXTS) + len(hostile.BROKEN)
    frame = pd.DataFrame(
        {name: [f"<script>{n}</script> {n}" for n in range(count)]}, index=[f"<i>{n}" for n in range(count)]
    )
    with cf.connect(hostile.service, store=False):
        p = frame.cfai.playground("{" + name + "}", n=count, system=name)
        p.run()
        p.add(system="</div>")
        p.run()
        page = p.page()
    assert p.results["state"].tolist()[:count] == ["answered"] * len(hostile.TEXTS) + ["failed"] * len(hostile.BROKEN)
    for tag in ("<script", "<img", "<svg", "<iframe", "<a ", "<i>", "<b><b>"):
        assert tag not in page
    assert '<div class="mathjax_ignore' in page
    assert "1,000,000 characters" in page
    assert not set(page) & set(map(chr, [*range(9), *range(11, 32), 127]))
    assert len(page) < 150_000
    page.encode()


def test_long_texts_are_not_compared_word_by_word() -> None:
    """Two texts of thousands of signs are shown without marks rather than compared for minutes."""
    marked = changed("a." * 50_000, "b." * 50_000)
    assert "<ins" not in marked
    assert changed("one two", "one three").count("<ins") == 1
