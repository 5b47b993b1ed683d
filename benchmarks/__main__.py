"""Run the cases and print a table of ratios."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent


@contextlib.contextmanager
def server(*options: object) -> Iterator[str]:
    """Run the server in a process of its own; yields the address up to ``/client/v4``."""
    command = [sys.executable, str(HERE / "server.py"), *map(str, options)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/client/v4"
        finally:
            process.terminate()


def stats(url: str) -> dict[str, Any]:
    """Return what the server counted."""
    with urllib.request.urlopen(url.removesuffix("/client/v4") + "/stats") as response:
        return dict(json.load(response))


def work(client: str, case: str, url: str, count: int, **options: Any) -> dict[str, Any]:
    """Measure one client in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.work", client, case, url, str(count), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent)
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def pairs(url: str, case: str, count: int, times: int = 3, **options: Any) -> tuple[list[dict], list[dict]]:
    """Measure ours and the plain client in turn."""
    places = options.pop("places", 32)
    ours, plain = [], []
    for _ in range(times):
        plain.append(work("plain", case, url, count, places=places))
        ours.append(work("ours", case, url, count, places=places, **options))
    return ours, plain


def ratio(ours: list[dict], plain: list[dict]) -> str:
    """Return the median of the pairwise ratios with their range."""
    ratios = [a["wall"] / b["wall"] for a, b in zip(ours, plain, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def embed() -> str:
    with server("--latency", 0.05, "--per-item", 0.002) as url:
        ours, plain = pairs(url, "embed", 20_000)
        wrong = sum(r["wrong"] for r in ours)
    seconds = f"{ours[0]['wall']:.2f} s, plain {plain[0]['wall']:.2f} s"
    return f"wall {ratio(ours, plain)} x plain [<= 1.0]; {seconds}; wrong {wrong}"


def duplicates() -> str:
    with server("--latency", 0.05, "--per-item", 0.002) as url:
        done = work("ours", "embed", url, 20_000, distinct=2_000)
        counted = stats(url)
    return f"{counted['requests']} requests [20], {counted['twice']} texts billed twice [0], wrong {done['wrong']}"


def generate() -> str:
    with server("--latency", 0.05) as url:
        ours, plain = pairs(url, "generate", 2_000, places=64)
    cpu = statistics.median(r["cpu_us"] for r in ours)
    return (
        f"wall {ratio(ours, plain)} x plain [<= 1.15]; CPU {cpu / 1000:.2f} ms a row [<= 0.8]; wrong {ours[0]['wrong']}"
    )


def capacity() -> str:
    with server("--latency", 0.05, "--capacity", 16) as url:
        done = work("ours", "generate", url, 2_000, places=64)
        counted = stats(url)
    share = counted["refused"] / counted["requests"]
    ideal = 2_000 / 16 * 0.05 / done["wall"]
    return f"lost {done['wrong']} [0], refused {share:.1%} [<= 5 %], {ideal:.2f} of the ideal [>= 0.85]"


def _rate(told: int | None, window: str, rate: int = 600, count: int = 1_800) -> str:
    with server("--latency", 0.05, "--rate", rate, "--window", window) as url:
        done = work("ours", "generate", url, count, places=64, rate=told)
        counted = stats(url)
    share = counted["refused"] / counted["requests"]
    # A sliding minute takes the first ones at once; a bucket holds one second's worth.
    ideal = (count / rate - (1 if window == "sliding" else 1 / 60)) * 60
    return f"{window}: lost {done['wrong']} [0], refused {share:.1%}, {ideal / done['wall']:.2f} of the ideal"


def rate_told() -> str:
    return f"{_rate(600, 'sliding')}; {_rate(600, 'bucket')} [<= 1 %, >= 0.95]"


def rate_learned() -> str:
    return f"{_rate(None, 'sliding')}; {_rate(None, 'bucket')} [<= 10 %, >= 0.90]"


def faults() -> str:
    with server("--latency", 0.02, "--faults", 0.05) as url:
        one = work("ours", "generate", url, 2_000, places=32)
        first = stats(url)
    with server("--latency", 0.02, "--faults", 0.05) as url:
        many = work("ours", "embed", url, 20_000)
        second = stats(url)
    return (
        f"generate: lost or wrong {one['wrong']} [0] of 2,000, {first['faults']} faults, {first['twice']} twice; "
        f"embed: {many['wrong']} [0] of 20,000 at {second['faults']} faults, {second['twice']} texts billed twice "
        "(only cut and garbled answers had to be asked again)"
    )


def quota() -> str:
    with server("--latency", 0.05, "--quota", 500) as url:
        done = work("ours", "generate", url, 2_000, places=64)
        counted = stats(url)
    kept = f"{2_000 - done['wrong']} rows kept of 500 answered"
    return f"{kept}, {counted['refused']} sent beyond [<= 64]: {done['error'][:150]}"


def bulk() -> str:
    lines = []
    for store in (False, True):
        with server() as url:
            done = work("ours", "embed", url, 200_000, cache=store)
        matrix = 200_000 * 768 * 4 / 2**20
        memory = done["peak_mb"] / (matrix + done["start_mb"])
        name = "store" if store else "no store"
        lines.append(
            f"{name}: CPU {done['cpu_us']:.0f} us a row [<= 60], peak {memory:.2f} x (matrix + start) [<= 1.3], "
            f"wrong {done['wrong']}"
        )
    return "; ".join(lines)


def store() -> str:
    with server("--latency", 0.05, "--per-item", 0.002) as url:
        ratios = []
        for _ in range(3):
            without = work("ours", "embed", url, 20_000, cache=False)
            ratios.append(work("ours", "embed", url, 20_000)["wall"] / without["wall"])
    return f"store on is {statistics.median(ratios):.2f} x the wall of cache=False [<= 1.3]"


def queue(*counts: int) -> str:
    """Ask as many rows through the batch queue as sent one by one, and compare what beyond the frame is in memory."""
    lines = []
    for count in counts or (100_000, 300_000, 1_000_000):
        with server("--queue", 1.0) as url:
            done = work("ours", "queue", url, count, queue=True)
            counted = stats(url)
        each = (done["peak_mb"] - done["start_mb"]) / count * 1e6
        lines.append(
            f"{count:,} rows: peak {done['peak_mb']} MB, {each:.0f} MB a million rows, "
            f"CPU {done['cpu_us']:.0f} us a row, "
            f"{counted['submissions']:,} submissions, {counted['looks']:,} looks, billed twice {counted['twice']} [0], "
            f"wrong {done['wrong']} [0], {done['wall']:.0f} s"
        )
    with server() as url:
        direct = work("ours", "queue", url, 100_000)
    alone = (direct["peak_mb"] - direct["start_mb"]) / 100_000 * 1e6
    return "; ".join([*lines, f"sent one by one: {alone:.0f} MB a million rows"])


def recall() -> str:
    path = tempfile.mkdtemp() + "/store.sqlite"
    with server() as url:
        work("ours", "embed", url, 100_000, store=path)
        before = stats(url)["requests"]
        done = work("ours", "embed", url, 100_000, store=path)
        sent = stats(url)["requests"] - before
    return f"100,000 from the store in {done['wall']:.2f} s [<= 3], {sent} requests [0], wrong {done['wrong']}"


def explore(what: str, count: int) -> dict[str, float]:
    """Measure work on vectors in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.explore", what, str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=HERE.parent, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def search() -> str:
    done = explore("search", 1_000_000)
    return (
        f"1,000,000 x 768: {done['first']:.2f} s, again {done['again']:.2f} s [<= 1], with gaps {done['gaps']:.2f} s; "
        f"memory {done['beyond_column']:.1%} of the matrix beyond the column, {done['beyond_matrix']:.1%} beyond the "
        f"matrix [<= 10 %]; wrong {done['wrong']:.0f} [0]"
    )


def picture() -> str:
    done = explore("picture", 20_000)
    return (
        f"20,000 x 768: projected in {done['projected']:.1f} s, drawn after {done['drawn']:.1f} s [<= 30], "
        f"nearest on the map of the same group {done['pure']:.1%}"
    )


def certificate() -> str:
    done = explore("certificate", 100_000)
    return (
        f"100,000 rows, 10 labels: certified in {done['seconds']:.3f} s of CPU [<= 1] beside the models' own time, "
        f"{done['saved']:.1%} never sent, {done['agreed']:.2%} as the strong model says [>= 95 %]"
    )


def imports() -> str:
    code = "import time, pandas; t = time.perf_counter(); import cfai_nb; print(time.perf_counter() - t)"
    seconds = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=HERE.parent).stdout)
        for _ in range(7)
    ]
    return f"{statistics.median(seconds) * 1000:.0f} ms beyond pandas [<= 100]"


def preview() -> str:
    lines = []
    for held in ("bytes", "files"):
        command = [sys.executable, "-m", "benchmarks.preview", held]
        done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent)
        if done.returncode:
            raise SystemExit(done.stderr)
        lines.append(f"{held}: {done.stdout.strip()}")
    return "; ".join(lines)


def media() -> str:
    lines = []
    for held in ("files", "bytes"):
        command = [sys.executable, "-m", "benchmarks.media", held, "1000"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent)
        if done.returncode:
            raise SystemExit(done.stderr)
        told = json.loads(done.stdout)
        each = told["peak_mb"] / told["flying"]
        lines.append(
            f"{held}: {told['peak_mb']:.0f} MB beside the frame at {told['flying']} in flight, {each:.1f} x a picture "
            f"each [<= 6]; read {told['first']}, on a re-run {told['again']} [0]; wrong {told['wrong']}, "
            f"{told['wall']:.1f} s"
        )
    return "1,000 x 1 MB, " + "; ".join(lines)


def files(*words: object) -> dict[str, Any]:
    """Measure files and frames in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.files", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent)
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1])) if done.stdout else {}


def enrich(count: int = 1_000_000) -> str:
    with tempfile.TemporaryDirectory() as folder, server() as url:
        files("fill", f"{folder}/in", count)
        done = files("enrich", url, folder, 512_000_000)
        right = files("check", folder, count)
        twice = stats(url)["twice"]
    return (
        f"{count:,} x 768, memory=512 MB: peak {done['peak_mb']:.0f} MB [<= 1024], CPU {done['cpu_us']:.0f} us a row "
        f"[<= 80], {right['rows']:,} rows, wrong {right['wrong']} [0], billed twice {twice} [0], {done['wall']:.0f} s"
    )


def killed(count: int = 60_000, kills: int = 10) -> str:
    rng = random.Random(3)
    with tempfile.TemporaryDirectory() as folder, server("--latency", 0.02) as url:
        files("fill", f"{folder}/in", count)
        command = [sys.executable, "-m", "benchmarks.files", "enrich", url, folder, "30000000"]
        worst = before = 0
        for left in range(kills, -1, -1):
            answered = stats(url)["answered"]
            process = subprocess.Popen(command, cwd=HERE.parent, stdout=subprocess.DEVNULL)
            until = answered + rng.randint(5, 50)
            while left and process.poll() is None and stats(url)["answered"] < until:
                time.sleep(0.01)
            process.kill() if left else process.wait()
            process.wait()
            worst, before = max(worst, stats(url)["twice"] - before), stats(url)["twice"]
        right, most = files("check", folder, count), stats(url)["most"]
    return (
        f"killed {kills} times: {right['rows']:,} rows of {count:,}, wrong {right['wrong']} [0], texts billed twice "
        f"{before:,}, at most {worst:,} after one kill [<= {most} in flight x 100]"
    )


def polars(count: int = 200_000) -> str:
    with server() as url:
        pairs = [(files("frame", "polars", url, count), files("frame", "pandas", url, count)) for _ in range(3)]
    wall, cpu, peak = (statistics.median(a[one] / b[one] for a, b in pairs) for one in ("wall", "cpu_us", "peak_mb"))
    wrong = sum(one["wrong"] for pair in pairs for one in pair)
    return (
        f"{count:,} x 768 embedded and searched: wall {wall:.2f} x pandas, CPU {cpu:.2f} x, peak {peak:.2f} x "
        f"[<= 1.1], wrong {wrong}"
    )


def cluster(case: str, url: str, **options: Any) -> dict[str, Any]:
    """Measure a cluster from a client in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.cluster", case, url, json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent)
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def dask_rate(rows: int = 1_200, rate: int = 600) -> str:
    lines = []
    for window in ("sliding", "bucket"):
        for kill in (0, rows // 3):
            with server("--latency", 0.05, "--rate", rate, "--window", window) as url:
                done = cluster("ask", url, rows=rows, rate=rate, kill=kill)
                counted = stats(url)
            # What is permitted at once comes on top of what flows in: a minute's worth where the window slides, and
            # that comes in bursts: a few rows that are billed twice may have to wait for a further minute.
            burst, answered = (rate if window == "sliding" else rate / 60), counted["answered"]
            ideal = 60 * (-(-answered // rate) - 1) if window == "sliding" else (answered - burst) / rate * 60
            share = (ideal * rate / 60 + burst) / (counted["seconds"] * rate / 60 + burst)
            lines.append(
                f"{window}{', one killed' if kill else ''}: missing {done['missing']} [0], refused "
                f"{counted['refused'] / counted['requests']:.1%} [<= 1 %], {share:.2f} of what is permitted [>= 0.95], "
                f"billed twice {counted['twice']}"
            )
    return "; ".join(lines)


def dask_capacity(rows: int = 2_000) -> str:
    with server("--latency", 0.1, "--capacity", 16) as url:
        done = cluster("ask", url, rows=rows, places=64)
        counted = stats(url)
    ideal = rows / 16 * 0.1
    return (
        f"missing {done['missing']} [0], refused {counted['refused'] / counted['requests']:.1%} [<= 5 %], "
        f"{ideal / counted['seconds']:.2f} of the ideal [>= 0.85]"
    )


def dask_duplicates(rows: int = 20_000) -> str:
    with server("--latency", 0.05) as url:
        done = cluster("ask", url, rows=rows, verb="embed", distinct=rows // 10)
        counted = stats(url)
    most = -(-rows // 10 // 100) + 16
    asked = f"{counted['requests']} requests [<= {most}]"
    return f"missing {done['missing']} [0], {asked}, billed twice {counted['twice']} [0]"


def dask_overhead() -> str:
    lines = []
    for rows in (50_000, 200_000):
        with server("--latency", 0.05) as url:
            rounds = [
                [cluster("overhead", url, rows=rows, threads=count)["seconds"] for count in (0, 2, 8)] for _ in range(3)
            ]
        for at, count in ((1, 2), (2, 8)):
            ratio = statistics.median(each[at] / each[0] for each in rounds)
            lines.append(f"{rows // 1600} requests a partition, {count} threads: {ratio:.2f} x pandas [<= 1.15]")
    return "; ".join(lines)


CASES: dict[str, Callable[[], str]] = {
    "embed": embed, "duplicates": duplicates, "generate": generate, "capacity": capacity, "rate-told": rate_told,
    "rate-learned": rate_learned, "faults": faults, "quota": quota, "bulk": bulk, "store": store, "queue": queue,
    "recall": recall,
    "import": imports, "search": search, "picture": picture, "preview": preview,
    "media": media, "certificate": certificate, "enrich": enrich, "killed": killed, "polars": polars,
    "dask-rate": dask_rate, "dask-capacity": dask_capacity, "dask-duplicates": dask_duplicates,
    "dask-overhead": dask_overhead,
}  # fmt: skip

if __name__ == "__main__":
    temporary = tempfile.gettempdir()
    for name in sys.argv[1:] or CASES:
        # The stores of a case go with its folder.
        with tempfile.TemporaryDirectory(dir=temporary, ignore_cleanup_errors=True) as folder:
            os.environ["TMPDIR"] = tempfile.tempdir = folder
            print(f"{name:13s} {CASES[name]()}", flush=True)
