"""A real JupyterLab in a headless Chromium: notebooks are opened, run, clicked and looked at.

    def test_something(lab):
        with lab.open(["import cfai_nb as cf", "cf.widgets.models()"]) as page:
            page.run()
            page.cell(1).get_by_label("Search").fill("embed")
            page.screenshot(path)

At the end of the block the page must have seen no console error and asked for nothing outside of this machine.  Nothing
is downloaded: the driver is a Python package, Chromium is the system's.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nbconvert
import nbformat
import pytest

#: The folder whose modules, such as hostile texts, a notebook imports.
TESTS = Path(__file__).parent.parent
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: Milliseconds after which something that should have appeared has not.
PATIENCE = 60_000
#: The map draws with WebGL, which needs no graphics card; pages are put together without one, as by a Chromium that
#: finds none: an emulated card needs 50 ms for each frame.
_WEBGL = ("--enable-unsafe-swiftshader", "--disable-gpu-compositing")
#: Noise of the browser or of JupyterLab itself, on any notebook.
NOISE = re.compile(r"favicon|GPU|WebGL|net::ERR_ABORTED")
#: What hostile text would set if it could run (tests/hostile.py).
ALARM = "window.__alarm"


def chromium() -> str | None:
    """The system's Chromium; ``CHROMIUM`` may name another."""
    return os.environ.get("CHROMIUM") or next((found for name in CHROMIUM if (found := shutil.which(name))), None)


def see(where: Any, text: str | re.Pattern[str]) -> None:
    """Wait until a text is shown."""
    where.get_by_text(text).first.wait_for()


def exported(path: Path) -> str:
    """What `nbconvert --to html` makes of a notebook, without its own scripts and styles."""
    body, _ = nbconvert.HTMLExporter(template_name="basic").from_notebook_node(nbformat.read(path, as_version=4))
    return str(body)


_KERNEL_READY = """async () => {
  await jupyterapp.restored;
  const context = jupyterapp.shell.currentWidget.sessionContext;
  await context.ready;
  const kernel = context.session.kernel;
  await kernel.info;
  // The manager of widgets asks a kernel for its widgets, and then draws again what is shown: not while a test looks.
  for (let asked = 0; asked < 3; asked++) {
    await kernel.requestCommInfo({target_name: 'jupyter.widget'});
    await kernel.requestExecute({code: '', silent: true}).done;
  }
}"""
_RUN = """at => {
  const notebook = jupyterapp.shell.currentWidget.content;
  notebook.deselectAll();
  notebook.activeCellIndex = at;
  notebook.activeCell.setPrompt('*');  // after a restart it still shows a number
  jupyterapp.commands.execute('notebook:run-cell');
}"""


#: Open another notebook in a page that is there, in the light theme, and dispose of the one before.
_OPEN_NEXT = """async path => {
  const before = jupyterapp.shell.currentWidget;
  if (document.body.dataset.jpThemeLight === 'false')
    await jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Light'});
  const next = await jupyterapp.commands.execute('docmanager:open', {path, factory: 'Notebook'});
  await next.context.ready;
  before.dispose();
  jupyterapp.shell.activateById(next.id);
}"""
#: Whether it is the only one, and current; disposing of the other may have taken that from it again.
_IS_CURRENT = """path => {
  const shell = jupyterapp.shell, shown = [...shell.widgets('main')].find(each => each.context?.path === path);
  if (shown && shell.currentWidget !== shown) shell.activateById(shown.id);
  return shown && shell.currentWidget === shown && document.querySelectorAll('.jp-NotebookPanel').length === 1
    && document.body.dataset.jpThemeLight === 'true';
}"""
#: Close the widgets of a kernel, forget its names and outputs, and return its id.
_EMPTIED = """async () => {
  const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const code = "import ipywidgets; ipywidgets.Widget.close_all(); get_ipython().run_line_magic('reset', '-f')";
  await kernel.requestExecute({code, silent: true}).done;
  return kernel.id;
}"""
#: Texts whose colour is not apart from what is behind them, and drawings that are brighter than their page.
_ILLEGIBLE = """where => {
  const pen = Object.assign(document.createElement('canvas'), {width: 1, height: 1}).getContext('2d');
  const parts = colour => {  // whatever way a colour is written, as red, green, blue and how solid
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    const [red, green, blue, solid] = pen.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, solid / 255];
  };
  const linear = part => part <= 10 ? part / 3294 : ((part / 255 + .055) / 1.055) ** 2.4;
  const light = colour => {
    const [red, green, blue] = parts(colour).map(linear);
    return .2126 * red + .7152 * green + .0722 * blue;
  };
  const ground = element => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor, [, , , solid] = parts(colour);
      if (solid > .5) return light(colour);
    }
    return 1;
  };
  const written = element => [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
  const apart = (a, b) => (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  const all = [...where.querySelectorAll('*')]  // but for the notebook's own prompt, such as [2]:
    .filter(element => element.offsetParent && !element.closest('.jp-OutputPrompt'));
  return [
    ...all.filter(element => written(element) && apart(light(getComputedStyle(element).color), ground(element)) < 4.5)
      .map(element => element.textContent.trim().slice(0, 60)),
    ...all.filter(element => element.tagName === 'CANVAS' && apart(ground(element), ground(where)) > 2)
      .map(element => element.tagName),
  ];
}"""


class Page:
    """A notebook in JupyterLab; what is not here is on ``browser``, a page of playwright."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser
        self.errors: list[str] = []
        self.outside: list[str] = []
        self.reusable = True  # a test that leaves something in the page says that it is not
        browser.set_default_timeout(PATIENCE)
        browser.on("console", self._console)
        browser.on("pageerror", lambda error: self.errors.append(str(error)))
        browser.on("request", self._request)
        browser.on("dialog", self._dialog)

    def _console(self, message: Any) -> None:
        if message.type == "error" and not NOISE.search(f"{message.text} {message.location}"):
            self.errors.append(message.text)

    def _request(self, request: Any) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:", "about:")):
            self.outside.append(request.url)

    def _dialog(self, dialog: Any) -> None:
        self.errors.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def cell(self, at: int) -> Any:
        """A code cell, counted from 0."""
        return self.browser.locator(".jp-Notebook .jp-CodeCell").nth(at)

    def output(self, at: int) -> Any:
        """The outputs of a code cell."""
        return self.cell(at).locator(".jp-Cell-outputWrapper")

    def button(self, at: int, text: str) -> Any:
        """A button of ipywidgets in the outputs of a cell; its icon is part of its accessible name."""
        return self.output(at).locator("button.jupyter-button", has_text=re.compile(f"^{re.escape(text)}$"))

    def run(self, *at: int) -> None:
        """Run these cells, or all, one after the other, and wait until each is done."""
        for number in at or range(self.browser.locator(".jp-Notebook .jp-CodeCell").count()):
            self.start(number)
            self.done(number)

    def start(self, at: int) -> None:
        """Run a cell and do not wait."""
        self.browser.evaluate(_RUN, at)

    def done(self, at: int) -> None:
        """Wait until a cell was run."""
        counted = self.cell(at).locator(".jp-InputArea-prompt", has_text=re.compile(r"\[\d+\]"))
        counted.wait_for()

    def restart(self) -> None:
        """Restart the kernel."""
        self.browser.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
        self.browser.evaluate(_KERNEL_READY)

    def dark(self) -> None:
        """Change to JupyterLab's dark theme."""
        self.browser.evaluate("() => jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
        self.browser.wait_for_function("() => document.body.dataset.jpThemeLight === 'false'")

    def illegible(self, at: int) -> list[str]:
        """Return what cannot be read in the outputs of a cell, or is a bright box on a dark page."""
        return list(self.output(at).evaluate(_ILLEGIBLE))

    def save(self) -> None:
        """Save the notebook and wait until it is on the disk."""
        self.browser.evaluate("async () => { await jupyterapp.commands.execute('docmanager:save'); }")

    def screenshot(self, path: Path | str, of: Any = None) -> None:
        """Take a picture of the window, or of a part of it."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        (of or self.browser).screenshot(path=str(path))

    def check(self) -> None:
        """No console error, nothing fetched from outside, and nothing hostile ran."""
        assert self.errors == []
        assert self.outside == []
        assert self.browser.evaluate(f"{ALARM} === undefined")


class Lab:
    """A JupyterLab server on loopback, and a browser whose cache all pages share.

    What a test leaves in order is given to the next one: the kernel, emptied, and the page, in which the next notebook
    is opened. To start a kernel, to import the package and to load JupyterLab take longer than most tests.
    """

    def __init__(self, url: str, token: str, folder: Path, themes: Path, context: Any) -> None:
        self.url, self.token, self.folder, self.themes, self.context = url, token, folder, themes, context
        self._number = 0
        self._kernel: str | None = None  # its id
        self._page: Page | None = None
        self._opened: set[str] = set()  # the names of the notebooks in this page

    def write(self, cells: Sequence[str], name: str = "") -> Path:
        """Write a notebook of these code cells."""
        self._number += 1
        path = self.folder / f"{name or 'test'}{self._number}.ipynb"
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(source) for source in cells], metadata={"kernelspec": kernel}
        )
        nbformat.write(notebook, path)
        return path

    @contextlib.contextmanager
    def open(
        self, cells: Sequence[str] | Path, *, kernel: bool = True, size: tuple[int, int] = (1280, 1400)
    ) -> Iterator[Page]:
        """Open a notebook of these cells, or one that is there; without a kernel it shows what was saved."""
        path = cells if isinstance(cells, Path) else self.write(cells)
        if not kernel:
            notebook = nbformat.read(path, as_version=4)
            notebook.metadata["kernelspec"] = {"name": "none", "display_name": "No kernel", "language": "python"}
            path = path.with_name(f"{path.stem}-saved.ipynb")
            nbformat.write(notebook, path)
        if kernel and self._kernel is not None:
            session = {"path": path.name, "name": path.name, "type": "notebook", "kernel": {"id": self._kernel}}
            self._ask("sessions", "POST", session)
        page, self._page = self._page, None
        kept = False
        try:
            page = self._shown(page, path, size)
            if kernel:
                page.browser.evaluate(_KERNEL_READY)
            yield page
            page.check()
            if kernel:
                self._kernel = page.browser.evaluate(_EMPTIED)
            kept = True
        finally:
            if kept and page is not None and page.reusable:
                self._page = page
            elif page is not None:
                page.browser.close()
            if not kept:
                self._shut_down()

    def _shown(self, page: Page | None, path: Path, size: tuple[int, int]) -> Page:
        """Show a notebook in the page of the test before, or in a new one."""
        if page is not None and path.name in self._opened:
            page.browser.close()
            page = None
        if page is None:
            self.themes.unlink(missing_ok=True)  # light, unless this test asks for the dark one
            self._opened.clear()
            page = Page(self.context.new_page())
            page.browser.set_viewport_size({"width": size[0], "height": size[1]})
            page.browser.goto(
                f"{self.url}/doc/tree/{path.name}?token={self.token}&reset", wait_until="domcontentloaded"
            )
        else:
            page.browser.set_viewport_size({"width": size[0], "height": size[1]})
            page.browser.evaluate(_OPEN_NEXT, path.name)
            page.browser.wait_for_function(_IS_CURRENT, arg=path.name)
            page.errors.clear()
        self._opened.add(path.name)
        page.browser.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        return page

    def _shut_down(self) -> None:
        self._kernel = None
        for kernel in self._ask("kernels"):
            self._ask(f"kernels/{kernel['id']}", "DELETE")

    def _ask(self, path: str, method: str = "GET", content: Any = None) -> Any:
        request = urllib.request.Request(
            f"{self.url}/api/{path}", method=method, headers={"Authorization": f"token {self.token}"},
            data=None if content is None else json.dumps(content).encode(),
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = response.read()
        return json.loads(answer) if answer else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """The folder for screenshots: CFAI_PICTURES, for whoever wants to look at them, or one that does not stay."""
    return Path(os.environ.get("CFAI_PICTURES") or tmp_path)


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab and Chromium, started once; skipped, with a word why, where one of them is not installed.

    Of the package and not of the session: playwright's loop counts as running in this thread as long as it lives, so
    a test of another folder in the same process could not call ``asyncio.run``.
    """
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed: pip install -e '.[dev]'")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install -e '.[dev]'"
    )
    binary = chromium()
    if binary is None:
        pytest.skip("no Chromium on this machine: install it from the system's packages (apt-get install chromium)")
    home = tmp_path_factory.mktemp("lab")
    folder = home / "notebooks"
    folder.mkdir()
    token, port = secrets.token_hex(16), _free_port()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("CLOUDFLARE_", "CF_", "WORKERS_AI_"))
    }
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR"):
        environment[name] = str(home / name.lower())
    environment |= {
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"), "IPYTHONDIR": str(home / "ipython"),
        "CFAI_STORE": str(home / "store.sqlite"), "JUPYTER_TOKEN": token,
    }  # fmt: skip
    # No questions about news of JupyterLab; and a cell out of sight is in the page all the same.
    settings = home / "jupyterlab_settings_dir" / "@jupyterlab"
    for name, setting in (
        ("apputils-extension/notification", {"fetchNews": "false", "checkForUpdates": False}),
        ("notebook-extension/tracker", {"windowingMode": "none"}),
    ):
        file = settings / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(setting))
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
        "--ServerApp.ip=127.0.0.1", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}",
        "--LabApp.extension_manager=readonly", "--LabApp.expose_app_in_browser=True",
    ]  # fmt: skip
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=home)
    try:
        url = f"http://127.0.0.1:{port}"
        _await_server(server, f"{url}/api", home / "log")
        with playwright.sync_playwright() as driver:
            flags = ["--no-sandbox", *_WEBGL, "--disable-background-networking", "--disable-component-update"]
            browser = driver.chromium.launch(executable_path=binary, args=flags)
            try:
                themes = settings / "apputils-extension" / "themes.jupyterlab-settings"
                yield Lab(url, token, folder, themes, browser.new_context())
            finally:
                browser.close()
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def _await_server(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + 90
    while time.monotonic() < until:
        if server.poll() is not None:
            break
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")
