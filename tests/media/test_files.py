"""A frame from a stranger is data: its texts name no files, unless a folder was allowed, and then none outside it."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from inputs import picture

import cfai_nb as cf
from cfai_nb.emulator import Emulator
from cfai_nb.media import as_folder
from cfai_nb.media.source import media_of

SECRET = "<h1>token=hunter2</h1>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a picture, a page and a folder in it; beside it a secret, and links that lead there."""
    made = tmp_path / "allowed"
    (made / "below").mkdir(parents=True)
    (tmp_path / "secret.html").write_text(SECRET)
    (tmp_path / "allowed2").mkdir()
    (tmp_path / "allowed2" / "near.html").write_text(SECRET)
    (made / "a.png").write_bytes(picture())
    (made / "below" / "page.html").write_text("<h1>Hi</h1>")
    (made / "link.html").symlink_to(tmp_path / "secret.html")
    (made / "up").symlink_to(tmp_path)
    (made / "inner.png").symlink_to(made / "a.png")
    os.mkfifo(made / "pipe.html")
    return made


OUTSIDE = [
    "../secret.html", "below/../../secret.html", "link.html", "up/secret.html", "inner.png", "pipe.html", "below", ".",
    "",
    "~/x.html", "/etc/passwd", "/proc/self/environ", "/dev/zero", "/sys/kernel/notes", "{beside}/secret.html",
    "{folder}/../secret.html", "{folder}2/near.html", "{folder}/up/secret.html", "//etc/passwd", "below\0/page.html",
]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
def test_nothing_outside_the_folder_is_read(folder: Path, name: str) -> None:
    """Links, `..`, absolute paths, other folders of a like name, pipes, devices, /proc: each fails its row at once."""
    cell = name.replace("{folder}", str(folder)).replace("{beside}", str(folder.parent))
    with pytest.raises(cf.InputError) as caught:
        media_of(cell, as_folder(folder))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["below/page.html", "./below/page.html", "{folder}/below/page.html"])
def test_what_is_below_the_folder_is_read(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative names are below the folder, wherever the notebook stands; also where the folder is itself a link."""
    monkeypatch.chdir("/")
    (folder.parent / "elsewhere").symlink_to(folder)
    for given in (folder, str(folder), folder.parent / "elsewhere"):
        media = media_of(name.replace("{folder}", str(given)), as_folder(given))
        assert media.content() == b"<h1>Hi</h1>"  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["proc/self/environ", "/proc/self/environ", "proc/self/root/etc/passwd", "dev/zero"])
def test_never_proc(name: str) -> None:
    """Not even where the whole machine was allowed; nor as the folder itself."""
    with pytest.raises(cf.InputError, match="files below /proc"):
        media_of(name, as_folder("/"))
    with pytest.raises(ValueError, match="files below /proc"):
        as_folder("/proc/self")


def test_a_link_swapped_in_is_not_followed(folder: Path) -> None:
    """While a name changes between a file and a link that leads out, what is read is the file or nothing."""
    done = threading.Event()
    target, other = folder / "swap.html", folder / "other.html"

    def swap() -> None:
        while not done.is_set():
            other.write_text("<h1>Hi</h1>")
            other.replace(target)
            other.symlink_to(folder.parent / "secret.html")
            other.replace(target)

    thread = threading.Thread(target=swap)
    thread.start()
    read = 0
    try:
        for _ in range(3_000):
            try:
                content = media_of("swap.html", as_folder(folder)).content()  # type: ignore[union-attr]
            except cf.InputError:
                continue
            assert content != SECRET.encode()
            read += 1
    finally:
        done.set()
        thread.join()
    assert read


VERBS: dict[str, Any] = {
    "to_markdown": lambda frame, **options: frame.cfai.to_markdown("x", **options),
    "caption": lambda frame, **options: frame.cfai.caption("x", **options),
    "detect": lambda frame, **options: frame.cfai.detect("x", "thing", **options),
    "transcribe": lambda frame, **options: frame.cfai.transcribe("x", **options),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("allowed", [False, True])
def test_no_verb_reads_a_file_that_a_text_names(folder: Path, verb: str, allowed: bool) -> None:
    """By default no text is a path: its row fails with a word on files=; with a folder, what is outside it fails."""
    cells = [str(folder.parent / "secret.html"), "../secret.html", "/proc/self/environ", "/etc/passwd"]
    options = {"files": folder} if allowed else {}
    with cf.connect(Emulator(rate=None), store=False):
        with pytest.raises(cf.RowsFailed, match="files="):
            VERBS[verb](pd.DataFrame({"x": cells}), **options)
        assert cf.last_run().frame().isna().all(axis=None)
        assert cf.last_run().run.requests == 0
        assert cf.last_run().failures["message"].str.contains("files=").all()


def test_the_folder_is_given_to_a_call_or_a_session(folder: Path) -> None:
    """files= of a call, or of connect for all calls; False takes it back; a template never opens a text."""
    frame = pd.DataFrame({"x": ["below/page.html", None]})
    with cf.connect(Emulator(rate=None), store=False):
        assert frame.cfai.to_markdown("x", files=folder).tolist()[:1] == ["# Hi"]
        assert frame.cfai.to_markdown.plan("x", files=str(folder)).estimate.distinct == 1
    with cf.connect(Emulator(rate=None), store=False, files=folder):
        assert frame.cfai.to_markdown("x").tolist()[:1] == ["# Hi"]
        assert "below/page.html" in frame.cfai.generate("Say: {x}")[0]
        with pytest.raises(cf.RowsFailed, match="files="):
            frame.cfai.to_markdown("x", files=False)
    with pytest.raises(ValueError, match="no such folder"):
        cf.connect(Emulator(rate=None), store=False, files=folder / "nowhere")
    with cf.connect(Emulator(rate=None), store=False), pytest.raises(ValueError, match="is not a folder"):
        frame.cfai.to_markdown("x", files=folder / "a.png")
    with cf.connect(Emulator(rate=None), store=False), pytest.raises(ValueError, match="give a folder"):
        frame.cfai.to_markdown("x", files=True)


@pytest.mark.parametrize("widget", ["preview", "gallery", "player"])
def test_no_widget_reads_a_file_that_a_text_names(folder: Path, widget: str) -> None:
    """Shown is the text, or a word on files=; with the folder it is the picture, and nothing outside it."""
    (folder.parent / "secret.png").write_bytes(picture("blue"))
    frame = pd.DataFrame({"x": ["a.png", str(folder.parent / "secret.png"), "up/secret.png", "../secret.png"]})

    def pictures(**options: Any) -> int:
        arguments = {} if widget == "preview" else {"column": "x"}
        return getattr(frame.cfai, widget)(**arguments, **options).fragment().count("<img")

    assert pictures() == 0
    assert pictures(files=folder) == 1
    with cf.connect(Emulator(rate=None), store=False, files=folder):
        assert pictures() == 1
        assert pictures(files=False) == 0


def test_a_gallery_of_names_says_how_they_are_read(folder: Path) -> None:
    """Names of pictures without files= say how they are read; a column of other texts is refused."""
    with pytest.raises(cf.ColumnError, match="files="):
        pd.DataFrame({"x": ["a.png"]}).cfai.gallery()
    frame = pd.DataFrame({"x": ["a.png"], "review": ["It is great."]})
    assert "files=&quot;folder&quot;" in frame.cfai.gallery("x").fragment()
    with pytest.raises(cf.ColumnError, match="holds texts, not pictures"):
        frame.cfai.gallery("review")


def test_a_path_object_is_the_users_own(folder: Path) -> None:
    """pathlib.Path in a cell is read as ever, links included, without any folder."""
    frame = pd.DataFrame({"x": [folder / "inner.png", folder / "a.png"]})
    with cf.connect(Emulator(rate=None), store=False):
        assert frame.cfai.caption("x").notna().all()
