"""Errors: the tree that is drawn is the tree there is, and every message says what to do."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from pathlib import Path

import pandas as pd
import pytest

import cfai_nb as cf
from cfai_nb import errors
from cfai_nb.emulator import Emulator

LABELS = ["billing", "shipping"]


def drawn() -> dict[str, str]:
    """Class -> parent, as the docstring of errors.py draws them."""
    assert errors.__doc__ is not None
    parents, found = {0: "Exception"}, {}
    for line in errors.__doc__.splitlines():
        at = re.match(r"^    ([│├└─ ]*)([A-Z]\w+)\b", line)
        if at and (at[1] or at[2] == "CfaiError"):
            depth = len(at[1]) // 4
            found[at[2]] = parents[depth]
            parents[depth + 1] = at[2]
    return found


def classes() -> dict[str, type[BaseException]]:
    return {n: c for n, c in vars(errors).items() if inspect.isclass(c) and issubclass(c, BaseException)}


def test_the_drawn_tree_is_the_tree() -> None:
    """Every error class but RowError (the row failures' common shape) stands in the drawing, below its parent."""
    tree = drawn()
    assert len(tree) >= 14
    assert set(tree) | {"RowError", "Stopped", "CfaiWarning"} == set(classes())
    for name, parent in tree.items():
        made = classes()[name]
        nearest = next(base.__name__ for base in made.__mro__[1:] if base.__name__ != "RowError")
        assert nearest == parent, name


def test_every_error_is_public() -> None:
    """Whatever can be raised can be caught by a name of the front door."""
    for name, made in classes().items():
        assert getattr(cf, name) is made
        assert name in cf.__all__
        assert made.__doc__


@pytest.mark.parametrize(
    ("made", "also"),
    [
        (cf.ColumnError, ValueError),
        (cf.ModelError, ValueError),
        (cf.Stopped, KeyboardInterrupt),
        (cf.TooLarge, cf.Refused),
    ],
)
def test_errors_are_also_what_python_calls_them(made: type[BaseException], also: type[BaseException]) -> None:
    """Wrong columns and models are ValueErrors too, and Stopped is a KeyboardInterrupt but no CfaiError."""
    assert issubclass(made, also)
    assert not issubclass(cf.Stopped, (cf.CfaiError, Exception))


def test_reactions_are_those_of_the_drawing() -> None:
    """What the drawing says of each class (fails the row, waits, goes again, stops the run) is its reaction."""
    assert errors.__doc__ is not None
    words = {
        "fails the row": ("row", "split"),
        "waits, goes again": ("wait",),
        "goes again": ("again",),
        "stops": ("stop",),
    }
    for line in errors.__doc__.splitlines():
        name = re.search(r"([A-Z]\w+)", line)
        told = next((word for word in words if f"  {word}" in line), None)
        if name and told and name[1] in classes() and issubclass(classes()[name[1]], errors.RowError):
            assert classes()[name[1]].reaction in words[told], name[1]  # type: ignore[attr-defined]


@pytest.mark.parametrize("made", [c for c in classes().values() if issubclass(c, cf.ServiceError)])
def test_service_errors_survive_a_copy(made: type[cf.ServiceError]) -> None:
    """Errors can be copied and sent between processes (dask, joblib) with all they carry."""
    error = made("words", 3040, status=429, model="@m/m/m", wait=1.0)
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(again) is made
        assert (str(again), again.code, again.status, again.model, again.wait) == ("words", 3040, 429, "@m/m/m", 1.0)


FAULTS = ["5006", "5021", "3030", "8001", "3006", "empty", "length"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_row_failure_names_code_and_model(tmp_path: Path, fault: str) -> None:
    """The list of failures gives label, code, words and model of each failed row."""
    cf.connect(Emulator(rate=None, faults=[None, fault]), store=tmp_path / "s.sqlite", concurrency=1)
    rows = pd.Series(["one", "two", "three"], index=["a", "b", "c"])
    with pytest.warns(cf.CfaiWarning, match="row 'b'") as warned:
        rows.cfai.generate("Repeat this sentence: {value}")
    (failure,) = cf.last_run().failures.to_dict("records")
    assert failure["row"] == "b"
    assert str(failure["code"]) == fault
    assert failure["model"] == "@cf/zai-org/glm-4.7-flash"
    assert len(failure["message"]) > 10
    named = f"@cf/zai-org/glm-4.7-flash: {fault}: " if fault.isdigit() else ""  # the list has columns for them
    assert f": {named}{failure['message']}" in str(warned[0].message)
    assert "cf.last_run().failures" in str(warned[0].message)
    assert "@cf/" not in failure["message"]


def test_a_receipt_counts_the_rows_that_could_not_be_sent() -> None:
    """Done and failed count the same rows: a cell that is not a text counts, an empty one does not."""
    cf.connect(Emulator(rate=None), store=False)
    with pytest.warns(cf.CfaiWarning, match=r"\(and 1 more row\)"):
        pd.Series(["one", ["two"], ["three"], None]).cfai.embed()
    assert cf.last_run().receipt.startswith("embed: 1 of 3 rows · 2 failed · 1 without text · 1 request ·")


def test_a_warning_points_at_the_users_line(tmp_path: Path) -> None:
    """The warning about failed rows is reported for the line that called the verb, in each form."""
    cf.connect(Emulator(rate=None, faults=lambda number, model: "" if number % 2 else "5006"), store=False)
    for call in (
        lambda: pd.Series(["a", "b"]).cfai.classify(LABELS),
        lambda: pd.Series(["a", "b"]).cfai.run(cf.Classify(labels=LABELS)),
    ):
        with pytest.warns(cf.CfaiWarning) as warned:
            call()
        assert warned[0].filename == __file__


@pytest.mark.parametrize(
    ("settings", "options", "error", "words"),
    [
        ({"neurons_per_day": 0.0}, {}, cf.QuotaExhausted, ["00:00 UTC"]),
        ({}, {"neurons": 0.0001}, cf.BudgetError, ["Nothing was sent", "raise budget="]),
        ({"faults": {"10000": 1.0}}, {}, cf.AccessError, ["CLOUDFLARE_API_TOKEN"]),
        ({"faults": {"5035": 1.0}}, {"model": "clef-flash"}, cf.AccessError, ["cf.models()"]),
    ],
)
def test_what_ends_a_run_says_what_to_do(
    tmp_path: Path, settings: dict[str, object], options: dict[str, float], error: type[cf.CfaiError], words: list[str]
) -> None:
    """Quota, budget and access end a run with an error that names the way on."""
    cf.connect(Emulator(rate=None, **settings), store=tmp_path / "s.sqlite")  # type: ignore[arg-type]
    with pytest.raises(error) as caught:
        pd.Series([f"text {i}" for i in range(20)]).cfai.classify(LABELS, **options)
    for word in words:
        assert word in str(caught.value)
    assert type(caught.value).__name__ in cf.__all__, "an error a user sees has a public name"


def test_the_end_of_a_budget_has_a_public_name(tmp_path: Path) -> None:
    """A budget that ends in mid-run raises cf.BudgetError itself."""
    cf.connect(Emulator(rate=None), store=tmp_path / "s.sqlite", concurrency=1)
    rows = pd.Series([f"text {i}" for i in range(50)])
    whole = rows.cfai.generate.plan("Repeat: {value}").estimate.cost.neurons
    with pytest.raises(cf.BudgetError) as caught:
        rows.cfai.generate("Repeat: {value}", neurons=whole * 0.02)
    assert type(caught.value).__name__ in cf.__all__


def test_a_notebook_shows_the_message_and_the_users_line(tmp_path: Path) -> None:
    """Frames of the package are left out, for its own errors and for those of Python; %tb shows all of them."""
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    try:
        shell.run_cell(
            "import pandas as pd, cfai_nb as cf\nemulator = cf.connect('emulator')\nf = pd.DataFrame({'text': ['a']})"
        )
        for cell, name in (
            ("f.cfai.embed('txt')", "ColumnError"), ("f.cfai.embed('text', modle=1)", "TypeError"),
            ("f.cfai.generate('{text}', n=-1)", "Error"), ("f.cfai.embde", "AttributeError"),
            ("f.groupby('text').apply(lambda g: g.cfai.embed('txt'))", "ColumnError"),
        ):  # fmt: skip
            error = shell.run_cell(cell).error_in_exec
            error._shown = False
            first, *lines = error._render_traceback_()
            assert name in first
            assert any(cell in line for line in lines), lines
            assert not any(".py" in line for line in lines), lines  # those of pandas are not the user's either
            assert ".py" in "\n".join(error._render_traceback_())
    finally:
        InteractiveShell.clear_instance()
