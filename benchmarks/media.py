"""Captions of 1,000 pictures of 1 MB, in files or in the frame: memory beside the frame, and files read."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

#: The beginning of a BMP file of 500 x 666 pixels, whose pixels are any bytes.
_NUMBERS = (1_000_054, 0, 54, 40, 500, 666, 0x180001, 0, 0, 0, 0, 0, 0)
HEAD = b"BM" + b"".join(number.to_bytes(4, "little") for number in _NUMBERS)
SAID = b'{"result": {"caption": "a picture", "finish_reason": "stop"}, "success": true}'


def picture(number: int) -> bytes:
    """Return a picture of 1 MB, another for every number."""
    return HEAD + number.to_bytes(4, "little") + bytes(999_996)


async def service(scope: Any, receive: Any, send: Any) -> None:
    """Read a request to its end, work for a moment, and answer."""
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(0.1)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": SAID})


def memory(line: str) -> float:
    """Return what Linux says of this process, in MB: ``VmRSS`` now, or ``VmHWM`` at most since the last reset."""
    told = next(each for each in Path("/proc/self/status").read_text("ascii").splitlines() if each.startswith(line))
    return int(told.split()[1]) / 1000


def main() -> None:
    """Measure with pictures held as HOW (bytes or files), COUNT of them."""
    how, count = sys.argv[1], int(sys.argv[2])
    import cfai_nb as cf
    from cfai_nb.media import source

    with tempfile.TemporaryDirectory() as folder:
        cells: list[Any] = [picture(number) for number in range(count)]
        if how == "files":
            for number, content in enumerate(cells):
                Path(folder, f"{number}.bmp").write_bytes(content)
            cells = [str(Path(folder, f"{number}.bmp")) for number in range(count)]
        frame = pd.DataFrame({"photo": cells})
        reads: list[Path] = []
        read = source._read
        source._read = lambda path: (reads.append(path), read(path))[1]  # type: ignore[func-returns-value]
        cf.connect(service, store=folder + "/store.sqlite", rate=None)
        pd.DataFrame({"photo": [picture(10**6)]}).cfai.caption("photo")  # what is loaded on first use
        before = memory("VmRSS")
        with contextlib.suppress(OSError):  # else the peak counts from the start, frame included
            Path("/proc/self/clear_refs").write_text("5")
        begin = time.perf_counter()
        done = int(frame.cfai.caption("photo").notna().sum())
        wall, peak = time.perf_counter() - begin, memory("VmHWM") - before
        flying, first = int(cf.last_run().flow["in_flight"].max()), len(reads)
        frame.cfai.caption("photo")
        cf.session.current().close()
    print(json.dumps({"wall": wall, "peak_mb": peak, "flying": flying, "first": first, "again": len(reads) - first,
                      "wrong": count - done}))  # fmt: skip


if __name__ == "__main__":
    main()
