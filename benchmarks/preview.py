"""A preview of 1,000 rows with pictures of 1 MB: seconds to the first page, and bytes in the notebook's file."""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
from PIL import Image


def picture(number: int) -> bytes:
    """A photograph of 11 megapixels as JPEG, or noise as PNG: about 1 MB either way."""
    random = np.random.default_rng(number)
    file = io.BytesIO()
    if number % 2:
        Image.fromarray(random.integers(0, 255, (600, 580, 3), dtype=np.uint8)).save(file, "PNG")
    else:
        coarse = Image.fromarray(random.integers(0, 255, (60, 80, 3), dtype=np.uint8))
        coarse.resize((3_900, 2_900), Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
    return file.getvalue()


def main() -> None:
    """Measure with pictures held as HOW: bytes or files."""
    made = [picture(number) for number in range(12)]
    cells: list[object] = [made[at % 12] + at.to_bytes(2, "big") for at in range(1_000)]
    with tempfile.TemporaryDirectory() as folder:
        if sys.argv[1] == "files":
            for at, content in enumerate(cells):
                Path(folder, f"{at}.jpg").write_bytes(content)  # type: ignore[arg-type]
            cells = [str(Path(folder, f"{at}.jpg")) for at in range(1_000)]
        frame = pd.DataFrame({"photo": cells, "caption": [f"picture {at}" for at in range(1_000)]})
        import cfai_nb  # noqa: F401

        begin = time.perf_counter()
        shown = frame.cfai.preview()
        bundle = shown._repr_mimebundle_()
        first = time.perf_counter() - begin
        begin = time.perf_counter()
        shown.page = 1
        second = time.perf_counter() - begin
    output = nbformat.v4.new_output("execute_result", data=json.loads(json.dumps(bundle)), execution_count=1)
    cell = nbformat.v4.new_code_cell("df.cfai.preview()", outputs=[output])
    size = len(nbformat.writes(nbformat.v4.new_notebook(cells=[cell])))
    megabytes = sum(map(len, made)) / 12 / 1e6
    print(
        f"{megabytes:.2f} MB a picture, first page in {first:.2f} s [<= 1] with the widgets' import, "
        f"next in {second:.2f} s, {size / 1e6:.2f} MB in the file [<= 2]"
    )


if __name__ == "__main__":
    main()
