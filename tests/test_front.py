"""The front door: what it shows, and what it leaves alone until it is used."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import pytest

import cfai_nb as cf

HEAVY = (
    "matplotlib", "ipywidgets", "IPython", "sklearn", "scipy", "dask", "starlette", "uvicorn", "httpx", "aiohttp",
    "pydantic", "sqlite3", "nest_asyncio", "nest_asyncio2", "PIL", "tinytag", "polars",
)  # fmt: skip


def fresh(code: str, environment: dict[str, str]) -> str:
    """Run code in an interpreter of its own and return what it prints."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_import_loads_nothing_heavy(bare_environment: dict[str, str]) -> None:
    """`import cfai_nb` adds none of the heavy packages to those pandas loads."""
    code = (
        "import sys, pandas; before = set(sys.modules); import cfai_nb; "
        f"print(sorted(set({HEAVY!r}) & (set(sys.modules) - before)))"
    )
    assert fresh(code, bare_environment) == "[]"


def test_an_accessor_says_what_it_can_do() -> None:
    """`df.cfai` alone in a cell lists its verbs."""
    said = repr(pd.DataFrame({"text": ["a"] * 1_200}).cfai)
    assert said.startswith("<cfai of 1,200 rows: ")
    assert all(name in said.split(": ")[1] for name in ("embed", "generate", "search", "preview"))
    with pytest.raises(AttributeError, match="Did you mean 'classify'"):
        pd.Series(["a"]).cfai.clasify(["a", "b"])
    assert not hasattr(pd.Series(["a"]).cfai, "_repr_html_")


def test_plan_and_repr_load_no_picture(bare_environment: dict[str, str]) -> None:
    """Connecting and pricing load neither matplotlib nor widgets nor scikit-learn."""
    code = (
        "import sys, pandas as pd, cfai_nb as cf; cf.connect('cloudflare', account_id='a' * 32, api_token='b' * 40); "
        "pd.Series(['x']).cfai.embed.plan(); cf.models(); "
        "print(sorted({'matplotlib', 'ipywidgets', 'IPython', 'sklearn', 'starlette'} & set(sys.modules)))"
    )
    assert fresh(code, bare_environment) == "[]"


def test_all_is_what_is_there() -> None:
    """Every name of __all__ can be imported, dir() shows exactly these, and the list is sorted and without doubles."""
    assert dir(cf) == sorted(set(cf.__all__))
    assert [name for name in cf.__all__ if getattr(cf, name, None) is None] == []
    # Beside them lie only rooms of the house, and what its own source imports.
    rest = {name for name in vars(cf) if not name.startswith("_")} - set(cf.__all__)
    assert {name for name in rest if not inspect.ismodule(vars(cf)[name])} <= {"Any", "TYPE_CHECKING", "annotations"}


def test_the_task_of_every_verb_is_public() -> None:
    """`df.cfai.run`, `compare`, `tune` and `cf.enrich` take tasks, so every verb's own has a public name."""
    tasks = {verb.task.__name__ for verb in vars(cf.Accessor).values() if hasattr(verb, "task")}
    assert tasks - set(cf.__all__) == set(), "name these in cfai_nb/__init__.py: in the import and in __all__"


def test_unknown_name_is_an_attribute_error() -> None:
    """A name that is not there says so, as for any module."""
    with pytest.raises(AttributeError, match="'cfai_nb' has no attribute 'embbed'"):
        cf.embbed  # noqa: B018


def test_frames_and_series_have_the_accessor() -> None:
    """Importing registers `.cfai` on frames and series, the same class that cf.on() returns."""
    frame = pd.DataFrame({"text": ["a"]})
    assert type(frame.cfai) is type(frame["text"].cfai) is type(cf.on(frame)) is cf.Accessor


@pytest.mark.slow
def test_functions_keep_their_names(bare_environment: dict[str, str]) -> None:
    """cf.models and cf.ledger are functions, whatever rooms of these names were imported before or after."""
    code = """
import cfai_nb as cf
first = cf.models, cf.ledger
import cfai_nb.models, cfai_nb.models.ledger, cfai_nb.models.price, cfai_nb.cli, cfai_nb.plots, cfai_nb.session.listings
for name in cf.__all__:
    getattr(cf, name)
cf.connect("emulator")
print(callable(cf.models), callable(cf.ledger), len(cf.models()) > 50, len(cf.ledger()))
from cfai_nb import ledger, models
print(callable(models), callable(ledger))
"""
    assert fresh(code, bare_environment) == "True True True 0\nTrue True"


@pytest.mark.slow
def test_rooms_imported_first(bare_environment: dict[str, str]) -> None:
    """Importing a room of the name of a function before the front door does not take the function's place."""
    code = "import cfai_nb.models.ledger; import cfai_nb as cf; print(callable(cf.ledger), callable(cf.models))"
    assert fresh(code, bare_environment) == "True True"


def test_reload_is_quiet(bare_environment: dict[str, str]) -> None:
    """Reloading the package registers the accessors again without a warning."""
    code = "import importlib, cfai_nb; importlib.reload(cfai_nb); print(callable(cfai_nb.models))"
    assert fresh(code, bare_environment) == "True"


def _functions() -> dict[str, Any]:
    """Public functions, by name."""
    rooms = {"plots": cf.plots, "widgets": cf.widgets}
    found = {name: getattr(cf, name) for name in cf.__all__}
    found |= {f"{room}.{name}": getattr(where, name) for room, where in rooms.items() for name in where.__all__}
    return {name: each for name, each in found.items() if inspect.isfunction(each)}


def test_examples_of_functions_run(emulator: Any) -> None:
    """`?` of every public function shows an example, and it runs."""
    plt.switch_backend("agg")
    topics = ["billing", "bug", "shipping"]
    df = cf.sample("tickets").head(12).assign(good=True, topic=["billing", "bug", "shipping"] * 4)
    df["vector"] = df.cfai.embed("text")
    without = []
    for name, function in _functions().items():
        found = doctest.DocTestParser().get_examples(inspect.getdoc(function) or "")
        without += [] if found else [name]
        names = {"cf": cf, "pd": pd, "df": df, "topics": topics}
        for each in found:
            if name in ("connect", "gold", "use_notebook_loop"):  # another server, labels, a loop that runs
                compile(each.source, name, "single")
            else:
                exec(each.source, names)
    plt.close("all")
    assert without == ["widgets.bar"]  # how runs show themselves
