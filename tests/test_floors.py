"""The house keeps its floors: who may import whom, read from the syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent / "cfai_nb"
#: From the top down.  An import points to a lower floor; rooms of one floor do not know each other.
FLOORS = (
    {"cli"},
    {"__init__"},  # the front door
    {"accessor"},  # opens widgets when they are used
    {"widgets"},
    {"plots"},  # a widget's static form
    {"frame"},
    {"session"},
    {"_engine"},
    {"quality"},
    {"tasks"},
    {"models", "media", "vectors"},
    {"errors", "html", "data", "emulator"},
)
HEIGHT = {room: -floor for floor, rooms in enumerate(FLOORS) for room in rooms}
#: Packages with one home; a trailing dot means the room and all in it.
HOMES = {
    "matplotlib": {"plots."},
    "ipywidgets": {"widgets."},
    "anywidget": {"widgets."},
    "traitlets": {"widgets."},
    "jscatter": {"widgets.map.chart"},
    "IPython": {"widgets."},
    "sklearn": {"vectors.", "emulator."},
    "scipy": {"vectors.", "quality."},
    "umap": {"vectors."},
    "httpx": {"_engine.wire"},
    "aiohttp": {"_engine.wire", "_engine.connections", "media.fetch"},
    "PIL": {"media.", "emulator.", "plots.", "widgets."},
    "tinytag": {"media."},
    "sqlite3": {"_engine.store."},
    "nest_asyncio": {"_engine.bridge"},
    "nest_asyncio2": {"_engine.bridge"},
    "soundfile": {"emulator."},
    "starlette": {"emulator."},
    "uvicorn": {"emulator."},
    "platformdirs": {"session.endpoint"},
    "polars": {"frame.polars", "frame.enrich.batches"},
    "dask": {"frame.dask"},
    "distributed": {"frame.dask", "frame.dask_part", "session.cluster"},
}
#: Rooms and modules that know no pandas.
WITHOUT_PANDAS = (
    "_engine.",
    "tasks.",
    "models.",
    "errors.",
    "emulator.",
    "vectors.vector.",
    "quality.",
    "session.session.",
    "session.endpoint.",
)


def modules() -> Iterator[tuple[str, str]]:
    """(dotted name within the house, source) of every module."""
    for path in sorted(HOUSE.rglob("*.py")):
        parts = path.relative_to(HOUSE).with_suffix("").parts
        yield ".".join(parts), path.read_text("utf-8")


def imports(module: str, source: str) -> Iterator[str]:
    """Yield what a module imports, anywhere in it, as absolute dotted names (``cfai_nb.plots.clusters``)."""
    package = ["cfai_nb", *module.split(".")[:-1]]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def room_of(name: str) -> str | None:
    """The room an imported name is in; None for a name from outside."""
    house, _, rest = name.partition(".")
    if house != "cfai_nb":
        return None
    room = rest.split(".")[0]
    return room if (HOUSE / room).is_dir() or (HOUSE / f"{room}.py").is_file() else "__init__"


def wrong_ways(module: str, source: str) -> list[str]:
    """Say which imports of a module do not point down."""
    room = module.split(".")[0]
    found = sorted({(room_of(name), name) for name in imports(module, source)} - {(None, "")}, key=str)
    return [
        f"{module} ({room}) imports {name}"
        for other, name in found
        if other is not None and other != room and HEIGHT[other] >= HEIGHT[room]
    ]


def out_of_place(module: str, source: str) -> list[str]:
    """Say which packages a module imports that live elsewhere."""
    found = {name.split(".")[0] for name in imports(module, source)} & set(HOMES)
    return [
        f"{module} imports {package}"
        for package in sorted(found)
        if not any(module == home or (home.endswith(".") and f"{module}.".startswith(home)) for home in HOMES[package])
    ]


def test_every_room_has_a_floor() -> None:
    """A new room is entered in the list above, and the list names no room that is gone."""
    assert {module.split(".")[0] for module, _ in modules()} == set(HEIGHT)


def test_imports_point_down() -> None:
    """No room imports one above it or beside it."""
    assert [wrong for module, source in modules() for wrong in wrong_ways(module, source)] == []


@pytest.mark.slow
def test_packages_stay_in_their_rooms() -> None:
    """matplotlib is for plots only, ipywidgets for widgets, httpx for the wire, and so on."""
    assert [wrong for module, source in modules() for wrong in out_of_place(module, source)] == []


def test_pandas_stays_upstairs() -> None:
    """Engine, tasks, models and emulator know no pandas."""
    rooms = {m: list(imports(m, source)) for m, source in modules() if f"{m}.".startswith(WITHOUT_PANDAS)}
    assert len(rooms) > 30
    assert [m for m, names in rooms.items() if any(name.split(".")[0] == "pandas" for name in names)] == []


def test_a_verb_is_a_small_file() -> None:
    """Every verb's file has at most 100 lines: what is longer has a part that deserves a name of its own."""
    files = [file for file in (HOUSE / "tasks").glob("*.py") if file.name not in ("__init__.py", "task.py")]
    assert len(files) > 10
    lines = {file.name: len(file.read_text("utf-8").splitlines()) for file in files}
    assert {name: count for name, count in lines.items() if count > 100} == {}, (
        "give one of its verbs a file of its own, or move what a family of models needs to tasks/dialects/"
    )


def test_emulator_imports_nothing_of_the_house() -> None:
    """What pretends to be the service shares no code with what is tested against it."""
    known = {
        room_of(name)
        for module, source in modules()
        if module.startswith("emulator.")
        for name in imports(module, source)
    }
    assert known == {None, "emulator"}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("_engine.plan", "from ..session import Session"),
        ("tasks.embed", "from .. import session"),
        ("vectors.vector", "def later():\n    from .. import models"),
        ("frame.rows", "import cfai_nb.plots"),
        ("frame.report", "from .. import __version__"),
    ],
)
def test_an_import_upwards_is_noticed(module: str, source: str) -> None:
    """The check finds an import that points up or sideways, in any spelling and any depth."""
    assert len(wrong_ways(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [("_engine.run", "import httpx"), ("accessor", "from matplotlib import pyplot"), ("wire", "import httpx.x")],
)
def test_a_package_out_of_place_is_noticed(module: str, source: str) -> None:
    """The check finds a package outside of its home."""
    assert len(out_of_place(module, source)) == 1


def circles(modules: Mapping[str, str]) -> list[list[str]]:
    """Return the groups of modules that import each other, each sorted, from their sources.

    Every import counts: at the top, inside a function, and for type checking alone. Names are dotted and relative to
    the package; a package's ``__init__`` is named as such.
    """
    below = {
        module: {
            known for name in imports(module, source) if (known := _module_of(name, modules)) not in (None, module)
        }
        for module, source in modules.items()
    }
    reached = {module: set(targets) for module, targets in below.items()}
    for middle in below:  # everything each module reaches (Warshall)
        for targets in reached.values():
            if middle in targets:
                targets |= reached[middle]
    groups = {tuple(sorted({m} | {o for o in reached[m] if m in reached[o]})) for m in below if m in reached[m]}
    return sorted(map(list, groups))


def _module_of(name: str, modules: Mapping[str, str]) -> str | None:
    """Return the module that an imported name is, or is in."""
    house, *parts = name.split(".")
    for count in range(len(parts) if house == "cfai_nb" else -1, -1, -1):
        for found in (".".join(parts[:count]), ".".join([*parts[:count], "__init__"])):
            if found in modules:
                return found
    return None


def test_no_import_goes_round_in_a_circle() -> None:
    """No two modules import each other, directly or through others: between rooms, inside one, or for types alone."""
    sources = dict(modules())
    assert len(sources) > 150
    assert circles(sources) == []


def test_the_house_is_as_small_as_it_is_drawn() -> None:
    """At most 18 rooms on at most 12 floors."""
    assert len(HEIGHT) <= 18
    assert len(FLOORS) <= 12


def test_the_rooms_of_the_emulator_are_floors() -> None:
    """Inside the emulator too, an import points down: from the app to service to families to stand-ins to schemas."""
    floors = (
        {"__init__"},
        {"app"},
        {"search_namespaces"},
        {"search_instance"},
        {"vectorize"},
        {"service"},
        {"families"},
        {"standins"},
        {"json_schema"},
        {"model_catalogue", "error_codes"},
    )
    height = {room: -floor for floor, rooms in enumerate(floors) for room in rooms}
    found = {
        (module, name)
        for module, source in modules()
        if module.startswith("emulator.")
        for name in imports(module, source)
        if name.startswith("cfai_nb.emulator.")
    }
    rooms = {(module.split(".")[1], name.split(".")[2], module) for module, name in found}
    assert [
        edge for edge in rooms if edge[1] in height and edge[0] != edge[1] and height[edge[1]] >= height[edge[0]]
    ] == []
    assert {room for room, *_ in rooms} <= set(height)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("from .b import x", "from .a import y"),
        ("from . import b", "def later():\n    from .a import y"),
        ("import cfai_nb.room.b", "if TYPE_CHECKING:\n    from . import a"),
    ],
)
def test_a_circle_is_noticed(one: str, other: str) -> None:
    """The check finds a circle in any spelling, also for types alone and inside a function."""
    assert circles({"room.a": one, "room.b": other, "room.c": "from . import a"}) == [["room.a", "room.b"]]
