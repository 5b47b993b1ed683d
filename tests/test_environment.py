"""environment.yml, checked without conda and without a network."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pages import ROOT, project

#: Where conda-forge has another name than the package index.
ON_CONDA = {"matplotlib": "matplotlib-base", "soundfile": "pysoundfile"}
#: Listed for the notebook, or for reading its files, and no dependency of the package.
BESIDE = {"python", "pip", "jupyterlab", "ipykernel", "pyarrow", "polars"}
SPEC = re.compile(r"(?P<name>[a-z0-9][a-z0-9._-]*)(?: (?P<versions>\S+))?")


def environment() -> dict[str, Any]:
    """The file, read."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    return document


def parse(spec: str) -> tuple[str, SpecifierSet]:
    """Read a conda spec of the kind used here: a name, and versions in the syntax both package worlds share."""
    match = SPEC.fullmatch(spec)
    if match is None:
        raise ValueError(f"{spec!r} is no name with versions")
    return match["name"], SpecifierSet(match["versions"] or "")


def listed() -> dict[str, SpecifierSet]:
    """Conda packages of the environment, with their versions."""
    return dict(parse(spec) for spec in environment()["dependencies"] if isinstance(spec, str))


def needed() -> dict[str, SpecifierSet]:
    """What the package needs at run time on the Python of the environment, by its conda name."""
    python = {"python_version": "3.13"}
    found = [Requirement(text) for text in project()["dependencies"]]
    return {ON_CONDA.get(r.name, r.name): r.specifier for r in found if r.marker is None or r.marker.evaluate(python)}


def test_keys_and_channels() -> None:
    """It has a name, conda-forge alone, dependencies, and no prefix of anybody's machine."""
    document = environment()
    assert set(document) == {"name", "channels", "dependencies"}
    assert document["channels"] == ["conda-forge", "nodefaults"]


def test_every_spec_is_one() -> None:
    """Every conda spec is a name with valid versions, and none is listed twice."""
    specs = [spec for spec in environment()["dependencies"] if isinstance(spec, str)]
    assert len({parse(spec)[0] for spec in specs}) == len(specs) >= 15


@pytest.mark.parametrize("spec", ["pandas >>2.2", "pandas >= 2.2", "Pandas", "pandas=>2", "pandas >=2.2 <3"])
def test_a_broken_spec_is_noticed(spec: str) -> None:
    """The check above refuses what conda would not take."""
    with pytest.raises((ValueError, InvalidSpecifier)):
        parse(spec)


def test_nothing_needed_is_missing() -> None:
    """Every dependency of the package is in the environment, with the bounds of pyproject.toml."""
    have = listed()
    assert {name: have.get(name) for name in needed()} == needed()


def test_nothing_is_there_without_a_reason() -> None:
    """Every conda package is a dependency of the package or one of the few named here."""
    assert set(listed()) - set(needed()) == BESIDE


def test_python_is_the_packages_own() -> None:
    """The oldest Python of the environment is the oldest the package takes."""
    python = listed()["python"]
    oldest = project()["requires-python"]
    assert oldest in {str(specifier) for specifier in python}


def test_pip_installs_this_folder() -> None:
    """pip is listed before its block, and its block installs the package from this folder and nothing else."""
    dependencies = environment()["dependencies"]
    block = dependencies.index({"pip": ["-e ."]})
    assert dependencies.index("pip") < block == len(dependencies) - 1
