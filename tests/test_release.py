"""What is released: wheel and sdist hold what they should, install into an empty environment, and run the demo."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from pages import ROOT, project

import cfai_nb as cf


def test_one_version_everywhere() -> None:
    """Package, project, citation and the newest entry of the changelog have the same version."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert newest is not None
    assert {cf.__version__, project()["version"], str(citation["version"]), newest[1]} == {cf.__version__}
    assert citation["license"] == project()["license"]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_wheel_and_sdist_install_and_run(tmp_path: Path) -> None:
    """The wheel, built from the sdist, runs the demo in an environment with nothing but its dependencies."""
    pytest.importorskip("build", reason='build is not installed: pip install -e ".[dev]"')
    made = subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(tmp_path), str(ROOT)],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert made.returncode == 0, made.stderr[-2000:]
    (sdist,), (wheel,) = tmp_path.glob("*.tar.gz"), tmp_path.glob("*.whl")
    with tarfile.open(sdist) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", "cfai_nb/__init__.py"} <= names
    assert not [name for name in names if name.startswith(("docs/_build", "cfai-demo", ".venv"))]
    with zipfile.ZipFile(wheel) as packed_wheel:
        inside = packed_wheel.namelist()
    assert {"cfai_nb/py.typed", "cfai_nb/accessor.pyi", "cfai_nb/models/catalogue.json"} <= set(inside)
    assert {name.partition("/")[0] for name in inside} == {"cfai_nb", f"cfai_nb-{cf.__version__}.dist-info"}
    # Dependencies come from here: that they can be installed by themselves is what .ci/run shows.
    venv.create(tmp_path / "env")
    python = tmp_path / "env" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    where = [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]
    site = subprocess.run(where, capture_output=True, text=True, check=True).stdout.strip()
    here = Path(yaml.__file__).parent.parent
    install = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", wheel]
    subprocess.run(install, check=True, timeout=100)
    (Path(site) / "dependencies.pth").write_text(f"{here}\n")
    table = tmp_path / "a.csv"
    table.write_text("text;stars\nlate parcel;1\nbroken lamp;2\n")
    ran = subprocess.run(
        [python, "-I", "-m", "cfai_nb.cli", "demo", "--csv", table, "--text", "text", "--out", tmp_path / "out"],
        capture_output=True, text=True, timeout=100, cwd=tmp_path,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "Receipt" in ran.stdout
    where = [python, "-I", "-c", "import cfai_nb; print(cfai_nb.__file__)"]
    assert str(tmp_path) in subprocess.run(where, capture_output=True, text=True, check=True).stdout
