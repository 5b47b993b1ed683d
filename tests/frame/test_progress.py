"""Progress: the bar of a notebook without a kernel and in one, the line of a terminal, and silence elsewhere."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import nbclient
import nbformat
import pandas as pd
import pytest

import cfai_nb as cf
from cfai_nb.frame import progress
from cfai_nb.widgets import progress as room

VIEW = "application/vnd.jupyter.widget-view+json"
TEXTS = pd.Series(["first", "second", "third", "third"], name="text")


class Handle:
    """Stands in for a display in a notebook, and keeps what was shown."""

    def __init__(self) -> None:
        self.shown: list[dict[str, Any]] = []

    def display(self, bar: Any, display_id: bool = False) -> Handle:
        """As IPython's display."""
        self.update(bar)
        return self

    def update(self, bar: Any) -> None:
        """As a DisplayHandle's."""
        self.shown.append(bar._repr_mimebundle_())


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Handle:
    """What a notebook would show."""
    handle = Handle()
    monkeypatch.setattr(room, "publish", handle.display)
    return handle


class Staged:
    """A report of our own making: an event that can be changed, and the rest of a real one."""

    def __init__(self, real: cf.Report, **changes: Any) -> None:
        self._real = real
        self.event = replace(real.event, finished=False, **changes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@pytest.fixture
def real() -> cf.Report:
    """The report of a finished run."""
    with cf.connect("emulator"):
        TEXTS.cfai.embed(progress=False)
    return cf.last_run()


def test_a_bar_lives_and_leaves_its_receipt(screen: Handle, real: cf.Report) -> None:
    """While it runs the bundle holds widget, HTML and text; at the end HTML and text with the receipt, no widget."""
    with room.bar() as show:
        show(Staged(real, done=1, in_flight=2, left=3.0))
        show(real)
    running, ended = screen.shown
    assert set(running) == {"text/plain", "text/html", VIEW}
    assert set(ended) == {"text/plain", "text/html"}
    assert "embed 1/4" in running["text/plain"]
    assert "2 in flight" in running["text/html"]
    assert real.receipt in ended["text/plain"]
    assert "4 of 4 rows" in ended["text/html"]


def test_the_widget_shows_rows_and_how_to_stop(screen: Handle, real: cf.Report) -> None:
    """The bar stands at the rows done, its words tell how to stop, and both have a label."""
    bar = room.Bar(clock=iter(range(10)).__next__)
    bar.show(Staged(real, done=2, failed=1))
    assert (bar.bar.value, bar.bar.max) == (3, 4)
    assert "interrupt the kernel to stop; finished rows are kept" in bar.message.value
    assert bar.bar.tooltip == "embed: rows done"
    assert 'role="status"' in bar.message.value
    bar.show(Staged(real, done=3, stopped=True))
    assert bar.bar.bar_style == "warning"
    assert "stopping" in bar.message.value
    assert "interrupt the kernel to stop" not in bar.message.value


def test_drawn_only_when_due_and_changed(screen: Handle, real: cf.Report) -> None:
    """Two looks within a quarter of a second are one drawing, and so are two at the same state."""
    times = [0.0, 0.1, 1.0, 2.0]
    bar = room.Bar(clock=iter(times).__next__)
    drawn = []
    for done in (0, 1, 1, 1):
        bar.show(Staged(real, done=done))
        drawn.append((bar.bar.value, bar._drawn))
    assert drawn == [(0, 0.0), (0, 0.0), (1, 1.0), (1, 1.0)]
    assert len(screen.shown) == 1, "a drawing must change the widget, not the output"


def test_widgets_are_closed(screen: Handle, real: cf.Report) -> None:
    """When the run is over no widget of it is left in the kernel."""
    with room.bar() as show:
        bar = show.__self__  # type: ignore[attr-defined]
        show(Staged(real, done=1))
        widgets = [bar.box, *bar.box.children]
        show(real)
    assert {widget.comm for widget in widgets} == {None}


def test_broken_off(screen: Handle, real: cf.Report) -> None:
    """A run that ends without an end, by an error of its own, leaves the last known state and no widget."""
    context = room.bar()
    show = context.__enter__()
    show(Staged(real, done=2))
    assert not context.__exit__(RuntimeError, RuntimeError("gone"), None)
    assert screen.shown[-1]["text/plain"].startswith("! embed 2/4")
    assert screen.shown[-1]["text/plain"].endswith("broken off")
    assert VIEW not in screen.shown[-1]


def test_quick_runs_make_no_widget(screen: Handle, real: cf.Report) -> None:
    """A run that is over before the first look shows its receipt alone."""
    with room.bar() as show:
        show(real)
    assert [set(bundle) for bundle in screen.shown] == [{"text/plain", "text/html"}]


def test_everything_is_escaped(screen: Handle, real: cf.Report) -> None:
    """A verb written in a cell may be called anything; its name reaches the HTML escaped."""
    with room.bar() as show:
        show(Staged(real, done=1, verb="<img src=x onerror=alert(1)>"))
    for bundle in screen.shown:
        assert "<img" not in bundle["text/html"]
        assert "&lt;img" in bundle["text/html"]


def test_signs_tell_how_it_ended(screen: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The receipt carries a sign beside its colour: done, or rows failed."""
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    with cf.connect("emulator"):
        TEXTS.cfai.embed()
        with pytest.warns(cf.CfaiWarning, match="1 of 2 rows failed"):
            pd.Series(["fine", {"no": "text"}], name="text").cfai.embed()
    assert [bundle["text/plain"][0] for bundle in screen.shown] == ["✓", "!"]


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self) -> bool:
        """Say that it is one."""
        return True


def test_line_of_a_terminal(monkeypatch: pytest.MonkeyPatch, real: cf.Report) -> None:
    """In a terminal one line is written over, never wider than the screen, and the receipt stays."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "40")
    with progress.listener(None) as show:
        show(Staged(real, done=1, in_flight=7, left=100.0))
        show(real)
    first, last = terminal.getvalue().strip("\r\n").split("\r")
    assert len(first) == 39
    assert last.rstrip() == real.receipt
    assert terminal.getvalue().endswith("\n")


def test_silence_elsewhere(capfd: pytest.CaptureFixture[str]) -> None:
    """Output that is no terminal and no notebook gets nothing at all, unless it is asked for."""
    with cf.connect("emulator"):
        TEXTS.cfai.embed()
        assert capfd.readouterr() == ("", "")
        TEXTS.cfai.embed(progress=True)
    out, err = capfd.readouterr()
    assert (out, err.strip()) == ("", cf.last_run().receipt)


def test_listeners_hear_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """cf.listen gets events of every run, the last one finished, also where nothing is shown, until it is closed."""
    monkeypatch.setattr(progress, "listeners", [])
    heard: list[Any] = []
    brief: list[Any] = []
    once = cf.listen(lambda event: (brief.append(event), once.close()))
    with cf.connect("emulator", store=False):
        with cf.listen(heard.append):
            TEXTS.cfai.embed(progress=False)
        told = len(heard)
        TEXTS.cfai.embed(progress=False)
    assert heard[-1].finished
    assert (heard[-1].rows, heard[-1].done) == (4, 4)
    assert (len(heard), len(brief)) == (told, 1)
    assert progress.listeners == []


def test_time_left_knows_the_rate() -> None:
    """The first requests of a minute go at once: what the rest takes at the limit counts, not their speed."""
    lefts: list[Any] = []
    with cf.connect("emulator", store=False, rate=600), cf.listen(lambda event: lefts.append((event.done, event.left))):
        pd.Series([f"text {at}" for at in range(60)]).cfai.classify(["a", "b"], progress=False)
    under_way = [(done, left) for done, left in lefts if 0 < done < 60]
    assert all(left > (60 - done) / 600 * 60 * 0.9 for done, left in under_way)


@pytest.mark.slow
def test_in_a_real_kernel(bare_environment: dict[str, str]) -> None:
    """In a kernel each call leaves one output: the receipt as text and HTML, which a saved notebook keeps."""
    source = """
import cfai_nb as cf, pandas as pd
cf.connect(cf.emulator.Emulator(rate=None, latency=0.6))
vectors = pd.Series(["one", "two"]).cfai.embed()
labels = await pd.Series(["one", "two"]).cfai.classify.aio(["one", "two"])
cf.connect("emulator", store=False)
moods = await pd.Series(["one", "two"]).cfai.sentiment.aio()
"""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    client = nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3")
    client.execute(env=bare_environment)
    outputs = notebook.cells[0].outputs
    assert [output.output_type for output in outputs] == ["display_data"] * 3, json.dumps(outputs)
    for output, verb in zip(outputs, ("embed", "classify", "sentiment"), strict=True):
        assert set(output.data) == {"text/plain", "text/html"}
        assert output.data["text/plain"].startswith(f"✓ {verb}: 2 of 2 rows")
