"""Write every file that is made of the code: run ``python tests/freeze.py`` after a change on purpose.

It writes ``tests/frozen/``, what must not change by accident: the packages that ``import cfai_nb`` loads, every public
name with its signature, every verb's options, the texts of the command line, and a digest of every request that each
verb sends to each model.  And it writes the stub of the accessor (``make_stub.py``) and the table of verbs in the
documentation.  ``test_frozen.py``, ``test_stub.py`` and ``test_docs.py`` compare; the difference in git says what
changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import inspect
import io
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pydantic_core

FOLDER = Path(__file__).parent / "frozen"
#: What a test that compares says.
HINT = "if this change is on purpose, run `python tests/freeze.py` and look at the difference in git"
TABLE = Path(__file__).parent.parent / "docs" / "reference" / "table.md"
_FROM, _TO = "<!-- verbs -->\n", "\n<!-- /verbs -->"
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
#: What of a request goes over the wire.
_TRAVELS = ("path", "query", "headers", "content_type", "content", "form", "json")
_CALL = re.compile(rb'"tool_call_id":"([^"]+)"')


def loaded() -> Iterator[str]:
    """Which of the packages it requires importing the package loads."""
    code = "import sys, cfai_nb; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    required = {re.split(r"[^\w-]", line)[0] for line in metadata.requires("cfai_nb") or () if "extra ==" not in line}
    owners = metadata.packages_distributions()
    yield from sorted(name for name in done.stdout.split() if required & set(owners.get(name, ())))


def public() -> Iterator[str]:
    """Public names, those of public modules too, and how each is called."""
    import cfai_nb as cf

    for name in sorted(cf.__all__):
        value = getattr(cf, name)
        yield f"{name}{_signature(value)}"
        if inspect.ismodule(value):
            yield from (f"{name}.{each}{_signature(getattr(value, each))}" for each in sorted(value.__all__))


def verbs() -> Iterator[str]:
    """What a frame can be asked, with all options; those that all verbs share are written once."""
    import pandas as pd

    import cfai_nb as cf
    from cfai_nb._engine.run_options import NAMES

    shared = "".join(f", {name}=None" for name in NAMES)
    yield f"every verb with **run_options: {shared[2:]}"

    accessor = cf.Accessor(pd.DataFrame({"text": ["a"]}))
    for name in sorted(name for name in dir(accessor) if not name.startswith("_")):
        yield f"{name}{_signature(getattr(accessor, name))}".replace(shared, ", **run_options")


def _signature(thing: Any) -> str:
    try:
        return _ADDRESS.sub("", str(inspect.signature(thing)))
    except (TypeError, ValueError):
        return ""


def commands() -> Iterator[str]:
    """The help of every command."""
    from cfai_nb import cli

    listed = next(each.choices for each in cli.parser()._actions if isinstance(each.choices, dict))
    for command in ([], *([name] for name in listed)):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            cli.main([*command, "--help"])
        yield from out.getvalue().splitlines()


def requests() -> Iterator[str]:
    """A digest of what each verb sends to each model, with every set of options of ``test_requests``."""
    import test_requests as sent

    from cfai_nb._engine.wire import Secret, Wire
    from cfai_nb.emulator import Emulator

    wire = Wire(
        f"http://emulator/client/v4/accounts/{'a' * 32}", Secret("x" * 40), Emulator(rate=None, terms_accepted=True)
    )

    async def asked() -> list[str]:
        lines = []
        for verb in sent.VERBS:
            tasks: list[Any] = []
            for task, model in sent.cases(verb):
                tasks += [task] if task not in tasks else []
                told: list[Any] = []
                for inputs in sent.inputs_for(task, model):
                    async for request in sent.sent(task, model, inputs, wire):
                        told.append([getattr(request, name) for name in _TRAVELS])
                written = pydantic_core.to_json(told, bytes_mode="base64")
                for at, name in enumerate(dict.fromkeys(_CALL.findall(written))):  # ids of calls are made up
                    written = written.replace(name, b"call %d" % at)
                digest = hashlib.blake2b(written, digest_size=8).hexdigest()
                lines.append(f"{verb} {tasks.index(task)} {model.name} {len(told)} {digest}")
        return lines

    yield from asyncio.run(asked())


PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "loaded": loaded, "public": public, "verbs": verbs, "commands": commands, "requests": requests,
}  # fmt: skip


def table() -> str:
    """Return the page of the documentation with the table of verbs, made again."""
    from cfai_nb.cli.verbs import markdown

    before, start, rest = TABLE.read_text(encoding="utf-8").partition(_FROM)
    _, end, after = rest.partition(_TO)
    return "".join([before, start, markdown(), end, after])


def main() -> None:
    """Write all files."""
    import make_stub

    make_stub.STUB.write_text(make_stub.stub(), encoding="utf-8")
    TABLE.write_text(table(), encoding="utf-8")
    FOLDER.mkdir(exist_ok=True)
    for name, lines in PARTS.items():
        (FOLDER / f"{name}.txt").write_text("\n".join(lines()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
