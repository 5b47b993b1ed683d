"""Interrupts, kills and forks of real processes, and Stop in a real Jupyter kernel."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from processes import TOKEN, Kernel, begin, connect_in, ended, kernel, script, until

import cfai_nb as cf
from cfai_nb.emulator import Emulator, Running, running

pytestmark = pytest.mark.slow

LABELS = ["billing", "shipping"]
__all__ = ["kernel"]  # a fixture


def finish_in_this_process(server: Running, store: Path, count: int) -> pd.Series:
    with cf.connect(base_url=server.url, account_id="a" * 32, api_token=TOKEN, store=store, rate=None):
        return pd.Series([f"text number {i}" for i in range(count)]).cfai.classify(LABELS)


STOPPABLE = """
try:
    rows.cfai.classify(labels)
    print("finished")
except KeyboardInterrupt as error:
    print(type(error).__name__, "|", error)
    print(int(cf.last_run().frame().notna().sum()))
    print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


def test_an_interrupt_stops_and_keeps(tmp_path: Path) -> None:
    """SIGINT in mid-run: nothing new is issued, what is in flight is kept, Stopped says so, a re-run sends the rest."""
    store = tmp_path / "s.sqlite"
    with running(rate=None, latency=0.3) as server, ended(begin(script(STOPPABLE, 60), server, store)) as child:
        until(lambda: server.emulator.requests >= 8)
        child.send_signal(signal.SIGINT)
        sent = server.emulator.requests
        out, err = child.communicate(timeout=60)
        assert err == ""
        said, done, restored = out.splitlines()
        assert said.startswith("Stopped | Stopped. ")
        assert f"{done} of 60 rows are done and kept" in said
        assert "running the same call again sends only the rest" in said
        assert restored == "True", "the old handler is back"
        assert server.emulator.requests <= sent + 4
        assert int(done) == sum(call.charged for call in server.emulator.calls), "what was in flight is kept"
        assert finish_in_this_process(server, store, 60).notna().all()
        assert set(server.emulator.billed_inputs.values()) == {1}
        assert server.emulator.requests == 60


def test_a_second_interrupt_drops_everything_at_once(tmp_path: Path) -> None:
    """Two SIGINTs end the run at once, without waiting for answers that take long."""
    with running(rate=None, latency=25) as server:
        with ended(begin(script(STOPPABLE, 20), server, tmp_path / "s.sqlite")) as child:
            until(lambda: server.emulator.requests >= 4)
            child.send_signal(signal.SIGINT)
            time.sleep(0.5)  # the first one is seen
            begun = time.monotonic()
            child.send_signal(signal.SIGINT)
            out, _ = child.communicate(timeout=15)
            assert time.monotonic() - begun < 5
        assert out.startswith("Stopped")
        assert server.emulator.requests == 4


def test_a_kill_loses_at_most_what_was_in_flight(tmp_path: Path) -> None:
    """kill -9 in mid-run: a new process sends only what was not answered, or was on its way to the disk."""
    store = tmp_path / "s.sqlite"
    with running(rate=None, latency=0.1) as server, ended(begin(script(STOPPABLE, 80), server, store)) as child:
        until(lambda: len(server.emulator.calls) >= 30)
        child.kill()
        child.wait(timeout=10)
        until(lambda: server.emulator.in_flight == 0)
        before = sum(call.charged for call in server.emulator.calls)
        assert 30 <= before < 80
        assert finish_in_this_process(server, store, 80).notna().all()
        bought_twice = sum(server.emulator.billed_inputs.values()) - 80
        assert bought_twice <= 8, "four under way, and four that had just arrived"


@pytest.mark.parametrize(
    "body",
    [
        "rows.cfai.embed(); print('used')",
        "asyncio.run(rows.cfai.embed.aio()); print('used')",
        "rows.cfai.embed.plan(); print('used')",
        "rows.cfai.embed(); session.close(); session.close(); rows.cfai.embed(); print('used')",
        "with session: rows.cfai.embed()\nprint('used')",
    ],
    ids=["sync", "awaited", "planned", "closed and used again", "in a block"],
)
def test_a_process_ends_by_itself(tmp_path: Path, body: str) -> None:
    """Whatever was used and however it was left, the interpreter exits by itself, silently and soon."""
    with running(rate=None) as server, ended(begin(script(body, 5), server, tmp_path / "s.sqlite")) as child:
        out, err = child.communicate(timeout=60)
        assert (out, err, child.returncode) == ("used\n", "", 0)


THREAD = """
work = threading.Thread(target=lambda: rows.cfai.classify(labels), daemon=True)
work.start()
while not session.charges():
    time.sleep(0.05)
print("leaving")
"""


def test_a_process_can_end_while_a_run_goes_on(tmp_path: Path) -> None:
    """Leaving in the middle of a run in a background thread neither hangs nor goes on spending."""
    with running(rate=None, latency=0.5) as server:
        with ended(begin(script(THREAD, 400), server, tmp_path / "s.sqlite")) as child:
            out, _ = child.communicate(timeout=15)
            assert out == "leaving\n"
        assert server.emulator.requests < 40


def test_what_is_in_flight_when_a_process_ends_is_kept(tmp_path: Path) -> None:
    """Python ends in the middle of a run: what was sent is awaited and kept, and nothing more is sent."""
    store = tmp_path / "s.sqlite"
    with running(rate=None, latency=0.5) as server:
        with ended(begin(script(THREAD, 400), server, store)) as child:
            child.communicate(timeout=15)
        billed = sum(call.charged for call in server.emulator.calls)
        assert billed == server.emulator.requests, "every answer was awaited"
        assert finish_in_this_process(server, store, 400).notna().all()
        assert server.emulator.requests == 400


FORK = """
print(rows.cfai.embed().notna().sum())
child = os.fork()
if not child:
    print("child", (rows + "!").cfai.embed().notna().sum(), flush=True)
    session.close()
    os._exit(0)
print("status", os.waitpid(child, 0)[1])
print("parent", (rows + "?").cfai.embed().notna().sum())
print("shared", (rows + "!").cfai.embed(cache="only").notna().sum())
"""


def test_a_fork_after_use_works_on_both_sides(tmp_path: Path) -> None:
    """After a fork parent and child each have a loop and a store of their own, and share the file."""
    with running(rate=None) as server, ended(begin(script(FORK, 5), server, tmp_path / "s.sqlite")) as child:
        out, err = child.communicate(timeout=60)
        assert out.splitlines() == ["5", "child 5", "status 0", "parent 5", "shared 5"], err
        assert server.emulator.requests == 3


FORK_WITHIN = """
ended = []
def fork(event):
    if event.requests and not ended:
        child = os.fork()
        if not child:
            os._exit(0 if signal.getsignal(signal.SIGINT) is signal.default_int_handler else 1)
        ended.append(os.waitpid(child, 0)[1])
with cf.listen(fork):
    rows.cfai.classify(labels)
print(ended)
"""


def test_a_fork_during_a_call_has_its_own_ctrl_c(tmp_path: Path) -> None:
    """A child of a process that waits for a call waits for none: an interrupt is its own."""
    with running(rate=None, latency=0.1) as server:
        with ended(begin(script(FORK_WITHIN, 20), server, tmp_path / "s.sqlite")) as child:
            out, err = child.communicate(timeout=60)
        assert (out, err) == ("[0]\n", "")


def test_a_stop_before_the_first_request_leaves_nothing_behind(tmp_path: Path) -> None:
    """Stopped at whatever moment of its beginning, a run leaves no trace that a re-run would wait for."""
    cf.connect(Emulator(rate=None), store=False)
    rows = pd.Series([f"text number {i}" for i in range(30)])

    async def main() -> None:
        for step in range(40):
            run = asyncio.ensure_future(rows.cfai.classify.aio(LABELS))
            if step % 4 == 0:
                for _ in range(step):
                    await asyncio.sleep(0)
            else:
                await asyncio.sleep(step * 0.0005)
            run.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await run
        again = await asyncio.wait_for(rows.cfai.classify.aio(LABELS), 20)
        assert again.notna().all()

    asyncio.run(main())


def test_an_awaited_run_can_time_out(tmp_path: Path) -> None:
    """asyncio's own timeout ends an awaited run like Stop: what was in flight is kept."""
    emulator = Emulator(rate=None, latency=0.2)
    cf.connect(emulator, store=tmp_path / "s.sqlite", concurrency=2)
    rows = pd.Series([f"text number {i}" for i in range(30)])

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(rows.cfai.classify.aio(LABELS), 0.7)

    asyncio.run(main())
    sent = emulator.requests
    assert 2 <= sent <= 10
    assert rows.cfai.classify(LABELS, concurrency=30).notna().all()
    assert emulator.requests == 30


@pytest.mark.parametrize(
    ("settings", "rate"),
    [({}, 5), ({"rate": 5}, None), ({"faults": {"3040": 1.0}}, None), ({"faults": {"500": 1.0}, "slow": 0}, None)],
    ids=["the minute told", "the minute learned", "capacity", "a fault"],
)
def test_a_run_that_waits_can_be_stopped(tmp_path: Path, settings: dict[str, Any], rate: float | None) -> None:
    """Stop is heard at once also while a run waits for the minute, for capacity, or between attempts."""
    emulator = Emulator(**{"rate": None, **settings})
    cf.connect(emulator, store=tmp_path / "s.sqlite", rate=rate, concurrency=2)
    rows = pd.Series([f"text number {i}" for i in range(30)])

    async def main() -> float:
        run = asyncio.ensure_future(rows.cfai.classify.aio(LABELS))
        deadline = time.monotonic() + 10
        while emulator.requests < 4 and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        begun = time.monotonic()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        return time.monotonic() - begun

    assert asyncio.run(main()) < 1.0
    sent = emulator.requests
    assert sent < 30
    assert cf.last_run().run.in_flight == 0


def test_other_tasks_go_on_while_a_run_is_awaited(tmp_path: Path) -> None:
    """An awaited run leaves the caller's own loop free."""
    cf.connect(Emulator(rate=None, latency=0.5), store=tmp_path / "s.sqlite")

    async def main() -> int:
        run = asyncio.ensure_future(pd.Series(["a", "b"]).cfai.classify.aio(LABELS))
        ticks = 0
        while not run.done():
            await asyncio.sleep(0.01)
            ticks += 1
        await run
        return ticks

    assert asyncio.run(main()) >= 20


# -- a real kernel -----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client", "ignore::DeprecationWarning:zmq")
def test_stop_in_a_real_kernel(kernel: Kernel, tmp_path: Path) -> None:
    """Stop in a sync cell and in an awaiting one: spending ends, rows are kept, and the next cell does the rest."""
    with running(rate=None, latency=0.2) as server:
        emulator = server.emulator
        connect_in(kernel, server, tmp_path / "s.sqlite", 60)
        for code, errors in (
            ("result = rows.cfai.classify(labels)", {"Stopped"}),
            ("result = await rows.cfai.classify.aio(labels)", {"Stopped", "CancelledError", "KeyboardInterrupt"}),
        ):
            emulator.clear()
            target = 8
            cell = kernel.begin(code)
            until(lambda: emulator.requests >= target)  # noqa: B023
            begun = time.monotonic()
            kernel.interrupt()
            sent = emulator.requests
            content = kernel.reply(cell)
            assert time.monotonic() - begun < 4
            assert content["status"] == "error"
            assert content["ename"] in errors
            if content["ename"] == "Stopped":
                assert "rows are done and kept" in content["evalue"]
            done = int(kernel.value("int(cf.last_run().frame().notna().sum())"))
            assert emulator.requests <= sent + 4
            assert done < 60
        emulator.clear()
        kernel.run("result = await rows.cfai.classify.aio(labels)")
        assert kernel.value("int(result.notna().sum())") == "60"
        assert emulator.requests == 60 - done
        assert kernel.value("rows.cfai.classify(labels).equals(result)") == "True"
        assert emulator.requests == 60 - done


NEST = """
ticks = 0
async def tick():
    global ticks
    while True:
        await asyncio.sleep(0.02)
        ticks += 1
ticker = asyncio.ensure_future(tick())
cf.use_notebook_loop()
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client", "ignore::DeprecationWarning:zmq")
def test_the_notebooks_own_loop(kernel: Kernel, tmp_path: Path) -> None:
    """use_notebook_loop(): sync and awaited calls mix, background tasks go on, Stop stops, and there is a way back."""
    with running(rate=None, latency=0.2) as server:
        emulator = server.emulator
        connect_in(kernel, server, tmp_path / "s.sqlite", 60)
        kernel.run("(rows[:2] + '!').cfai.classify(labels)")
        kernel.run(NEST)
        kernel.run("before = ticks; (rows[:8] + '?').cfai.classify(labels); during = ticks - before")
        assert int(kernel.value("during")) >= 5, "the notebook's tasks go on during a sync call"
        kernel.run("one = await (rows[:4] + 'a').cfai.classify.aio(labels)")
        kernel.run("session.close(); two = (rows[:4] + 'b').cfai.classify(labels)")
        assert kernel.value("bool(one.notna().all() and two.notna().all())") == "True"
        assert kernel.value("len(list(cf.stream('Say hello.'))) > 1") == "True"
        emulator.clear()
        cell = kernel.begin("rows.cfai.classify(labels)")
        until(lambda: emulator.requests >= 8)
        kernel.interrupt()
        sent = emulator.requests
        content = kernel.reply(cell)
        assert content["status"] == "error"
        assert content["ename"] == "Stopped"
        assert emulator.requests <= sent + 4
        kernel.run("cf.use_notebook_loop(False)")
        kernel.run("result = rows.cfai.classify(labels)")
        assert kernel.value("int(result.notna().sum())") == "60"
        assert emulator.requests == 60


def test_the_notebook_loop_needs_a_notebook() -> None:
    """use_notebook_loop() outside of a running loop is an error in words, and changes nothing."""
    with pytest.raises(cf.SetupError, match="notebook"):
        cf.use_notebook_loop()
    assert not getattr(asyncio, "_nest_patched", False)
