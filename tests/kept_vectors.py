"""The vectors of the local stand-in, kept in a folder for all processes of one run of the tests.

The model reads about 28 texts a second and core, and the notebooks and the pages ask it about the same sample: each
text is read once in a run. ``keep`` does it in this process; ``startup`` gives a kernel a file that does it there.
A vector depends on the text alone, so what is shown is the same; nothing that measures the model's time uses this.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: The module of the model, which a process imports only when a stand-in answers.
MODULE = "cfai_nb.emulator.standins.local_model"


def kept(raw: Callable[[Any, str], Any], folder: Path) -> Callable[[Any, str], Any]:
    """Return ``LocalModel.raw`` with a folder of what it has returned before."""
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)

    def found(self: Any, text: str) -> Any:
        file = folder / hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
        try:
            return np.frombuffer(file.read_bytes(), np.float32)
        except FileNotFoundError:
            vector = raw(self, text)
        part = file.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        part.write_bytes(np.asarray(vector, np.float32).tobytes())
        part.replace(file)
        return vector

    return found


def startup(ipython: Path, folder: Path) -> Path:
    """Write the startup file of a kernel whose ``IPYTHONDIR`` is `ipython`; it adds no name to the notebook."""
    place = ipython / "profile_default" / "startup" / "00-kept-vectors.py"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"__import__('runpy').run_path({__file__!r}, {{'FOLDER': {str(folder)!r}}}, 'kernel')\n")
    return ipython


def _in_kernel(folder: Path) -> None:
    """Keep vectors from the first cell after the one that imports the model; import nothing for the notebook."""
    from IPython import get_ipython

    events = get_ipython().events  # type: ignore[no-untyped-call]

    def look() -> None:
        if (module := sys.modules.get(MODULE)) is not None:
            module.LocalModel.raw = kept(module.LocalModel.raw, folder)  # type: ignore[attr-defined]
            events.unregister("pre_execute", look)

    events.register("pre_execute", look)


if __name__ == "kernel":
    _in_kernel(Path(globals()["FOLDER"]))
