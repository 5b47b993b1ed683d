"""Stop at every moment: not one request leaves afterwards, nothing goes on unseen, and Ctrl-C is as it was."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from inputs import words
from processes import Kernel, begin, connect_in, ended, kernel, script, until

import cfai_nb as cf
from cfai_nb._engine.bridge import bridge
from cfai_nb.emulator import Emulator, running
from cfai_nb.models.ledger import Budget

__all__ = ["kernel"]  # a fixture

LABELS = ["billing", "shipping"]
LLAMA = "llama-3.3-70b-instruct-fp8-fast"
ASKED = pd.Series(["What is the weather in Rome?"])

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="no SIGINT to another process, or to oneself"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client", "ignore::DeprecationWarning:zmq"),
]


def _either(one: Callable[[], bool], other: Callable[[], bool]) -> bool:
    return one() or other()


@contextlib.contextmanager
def pressed(*when: Callable[[], bool]) -> Iterator[None]:
    """Send this process a SIGINT each time a condition has come true, one after the other."""

    over = threading.Event()

    def press() -> None:
        for condition in when:
            until(functools.partial(_either, over.is_set, condition))
            if not over.is_set():
                os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def interrupted() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)


@pytest.fixture(autouse=True)
def _the_handler_is_back() -> Iterator[None]:
    """Whatever a test did, Ctrl-C works afterwards as before."""
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.set_wakeup_fd(-1) == -1


# -- a plain script ----------------------------------------------------------------------------------------------------

#: Notes when requests are written and when Stop is first asked for, all by the clock of the machine.
WATCHED = """
import json
import asyncio.selector_events as selector
from cfai_nb._engine.stopping import Stop

written, asked = [], []
def watch(owner, name, note):
    original = getattr(owner, name)
    def watched(self, given):
        note(given)
        return original(self, given)
    setattr(owner, name, watched)
def wrote(data):
    first = bytes(data if isinstance(data, (bytes, bytearray, memoryview)) else (data := list(data))[0])
    if first.startswith(b"POST"):
        written.append(time.monotonic())
transport = selector._SelectorSocketTransport
for name in ("write", "writelines"):
    if name in vars(transport):
        watch(transport, name, wrote)
watch(Stop, "ask", lambda level: asked.append(time.monotonic()) if level else None)
try:
    {call}
except BaseException as error:
    print(type(error).__name__)
print(json.dumps([written, asked[0]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "call",
    ["rows.cfai.classify(labels, concurrency=32)", "asyncio.run(rows.cfai.classify.aio(labels, concurrency=32))"],
    ids=["plain", "awaited"],
)
def test_not_one_request_leaves_after_stop(tmp_path: Path, call: str) -> None:
    """With hundreds of requests a second under way, none is written from the moment the process has the signal."""
    code = script(WATCHED.format(call=call), 5_000)
    with running(rate=None, latency=0.1) as server, ended(begin(code, server, tmp_path / "s.sqlite")) as child:
        until(lambda: server.emulator.requests >= 100)
        begun = time.monotonic()
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    assert err == ""
    said, noted = out.splitlines()
    assert said in ("Stopped", "KeyboardInterrupt")
    written, asked = json.loads(noted)
    assert begun <= asked < begun + 0.5
    assert [each - asked for each in written if each > asked] == []
    assert len(written) < 5_000


@pytest.mark.slow
@pytest.mark.parametrize("again", [False, True], ids=["sent", "from the store"])
def test_one_press_ends_a_loop_of_short_calls(tmp_path: Path, again: bool) -> None:
    """Whenever it comes, between two calls or at the last moment of one, also where all of it was in the store."""
    body = """
rows.cfai.classify(labels)
print("begun", flush=True)
try:
    for at in range(100_000):
        (rows + ("" if {again} else f" {{at}}")).cfai.classify(labels)
    print("finished")
except KeyboardInterrupt:
    print("stopped", at)
"""
    code = script(body.format(again=again), 1)
    with running(rate=None, latency=0.01) as server, ended(begin(code, server, tmp_path / "s.sqlite")) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        for _ in range(1 if again else 2):
            time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        sent = server.emulator.requests
        out, err = child.communicate(timeout=60)
    assert err == ""
    assert out.startswith("stopped")
    assert server.emulator.requests <= sent + 1, "what was in flight"


@pytest.mark.slow
@pytest.mark.parametrize("gap", [0.005, 0.02, 0.033])
def test_three_quick_presses_leave_nothing_behind(tmp_path: Path, gap: float) -> None:
    """However close they come, the run is over when the prompt is back, and the process goes on."""
    body = """
for work in (lambda: rows.cfai.classify(labels), *[lambda: time.sleep(0.1)] * 3):
    try:  # the later presses may find the call over: they are the program's own then
        work()
    except KeyboardInterrupt:
        pass
print("back", flush=True)
time.sleep(0.7)
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""
    code = script(body, 2_000)
    with running(rate=None, latency=0.02) as server, ended(begin(code, server, tmp_path / "s.sqlite")) as child:
        until(lambda: server.emulator.requests >= 20)
        for _ in range(3):
            child.send_signal(signal.SIGINT)
            time.sleep(gap)
        assert child.stdout is not None
        assert child.stdout.readline() == "back\n"
        sent = server.emulator.requests
        out, err = child.communicate(timeout=60)
    assert (out, err, child.returncode) == ("True\n", "", 0)
    assert server.emulator.requests <= sent + 1


@pytest.mark.slow
@pytest.mark.parametrize("body", ["time.sleep(60)", "\n    while True: pass"], ids=["blocks", "computes"])
def test_a_tool_under_way_does_not_disturb_the_end(tmp_path: Path, body: str) -> None:
    """Stop while a tool blocks or computes, and the script ends: it ends as any other."""
    code = f"""
def endless_weather(city: str) -> str:
    "Say what the weather is in a city."
    os.kill(os.getpid(), signal.SIGINT)
    {body}
try:
    pd.Series(["What is the weather in Rome?"]).cfai.generate("{{value}}", tools=[endless_weather], model="{LLAMA}")
except KeyboardInterrupt as error:
    print(type(error).__name__)
"""
    code = "".join(script("", 1)) + code
    with running(rate=None) as server, ended(begin(code, server, tmp_path / "s.sqlite")) as child:
        out, err = child.communicate(timeout=60)
    assert (out, err, child.returncode) == ("Stopped\n", "", 0)


LATE = {
    "a thread that outlives the program": (
        "def late():\n    time.sleep(0.3)\n    print(int(rows.cfai.classify(labels).notna().sum()), flush=True)\n"
        "threading.Thread(target=late).start()",
        "20\n",
        20,
    ),
    "atexit, after a call": ("import atexit\nrows[:2].cfai.classify(labels)\natexit.register(late)", "SetupError\n", 2),
    "atexit, before a call": (
        "import atexit\natexit.register(late)\nrows[:2].cfai.classify(labels)",
        "SetupError\n",
        2,
    ),
    "atexit, a stream": (
        "import atexit\natexit.register(lambda: late(lambda: list(cf.stream('Hello')))) ",
        "SetupError\n",
        0,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LATE)
def test_a_call_at_the_end_works_or_is_refused(tmp_path: Path, name: str) -> None:
    """A verb in a thread that outlives main works; one in atexit is refused before anything is sent; none hangs."""
    body, said, requests = LATE[name]
    late = """
def late(call=lambda: rows.cfai.classify(labels)):
    try:
        call()
    except cf.SetupError as error:
        assert "nothing was sent" in str(error)
        print(type(error).__name__, flush=True)
"""
    with running(rate=None) as server, ended(begin(script(late + body, 20), server, tmp_path / "s.sqlite")) as child:
        out, err = child.communicate(timeout=60)
    assert (out, err, child.returncode) == (said, "", 0)
    assert server.emulator.requests == requests


@pytest.mark.slow
def test_the_end_of_the_program_awaits_what_is_in_flight(tmp_path: Path) -> None:
    """A call that timed out leaves answers in flight: they are kept and charged although the script ends."""
    body = """
async def main():
    begun = time.monotonic()
    try:
        async with asyncio.timeout(0.8):
            await rows.cfai.classify.aio(labels)
    except TimeoutError as error:
        print(time.monotonic() - begun < 1.4, "4 requests in flight" in str(error.__cause__))
asyncio.run(main())
"""
    store = tmp_path / "s.sqlite"
    with running(rate=None, latency=1.5) as server, ended(begin(script(body, 20), server, store)) as child:
        out, err = child.communicate(timeout=60)
        assert (out, err) == ("True True\n", "")
        assert server.emulator.requests == 4
        with cf.connect(
            base_url=server.url, account_id="a" * 32, api_token="t" * 40, store=store, rate=None
        ) as session:
            assert len(session.charges()) == 4
            with pytest.warns(cf.CfaiWarning, match="16 of 20 rows failed"):
                assert words(20).cfai.classify(LABELS, cache="only").notna().sum() == 4


# -- within one process ------------------------------------------------------------------------------------------------


@pytest.fixture
def emulator(tmp_path: Path) -> Emulator:
    made = Emulator(rate=None, latency=0.05, terms_accepted=True)
    cf.connect(made, store=tmp_path / "s.sqlite", concurrency=4)
    return made


@pytest.mark.parametrize("stored", [False, True], ids=["sent", "from the store"])
def test_a_press_at_the_last_moment_counts(emulator: Emulator, stored: bool) -> None:
    """All rows are done when it comes: the call ends as stopped all the same, and says what is done."""
    if stored:
        words(3).cfai.classify(LABELS)

    def last(event: Any) -> None:
        if event.done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with cf.listen(last), pytest.raises(KeyboardInterrupt):
        words(3).cfai.classify(LABELS)
    assert cf.last_run().frame().notna().all()


def test_stopped_says_what_is_done_even_if_it_is_all(emulator: Emulator) -> None:
    """A run that had ended when Stop was asked for: its rows are there, and the same call sends nothing."""
    job = words(3).cfai.classify.call(LABELS)
    runner, report = job.prepare()
    bridge.wait(runner, lambda: None)
    runner.stop()
    with pytest.raises(cf.Stopped, match=r"3 of 3 rows are done and kept.*sends nothing"):
        report.conclude("keep")


def test_stop_and_an_error_is_stop(emulator: Emulator) -> None:
    """A press during a call that ends with an error ends it as stopped, so that no loop goes on; the error shows."""
    job = words(300).cfai.classify.call(LABELS, neurons=1.0)
    runner, report = job.prepare()
    bridge.wait(runner, lambda: None)
    runner.stop()
    with pytest.raises(cf.Stopped) as caught:
        report.conclude("keep")
    assert isinstance(caught.value.__cause__, cf.BudgetError)


@pytest.mark.slow
@pytest.mark.parametrize("raised", [RuntimeError, SystemExit, GeneratorExit, asyncio.CancelledError])
@pytest.mark.parametrize("awaited", [False, True])
def test_whatever_leaves_the_wait_ends_the_run(emulator: Emulator, raised: type[BaseException], awaited: bool) -> None:
    """A listener that raises whatever it likes: no request goes out after the call has ended."""

    def broken(event: Any) -> None:
        raise raised

    def call() -> None:
        if awaited:
            asyncio.run(words(200).cfai.classify.aio(LABELS))
        else:
            words(200).cfai.classify(LABELS)

    with cf.listen(broken), pytest.raises(raised):
        call()
    until(lambda: emulator.in_flight == 0)
    sent = emulator.requests
    time.sleep(0.2)
    assert emulator.requests == sent < 100


def test_an_awaited_call_that_is_thrown_away_ends(emulator: Emulator) -> None:
    """A coroutine that is closed in the middle leaves nothing that goes on."""

    async def main() -> None:
        coroutine = words(200).cfai.classify.aio(LABELS)
        task = asyncio.ensure_future(coroutine)
        while emulator.requests < 4:
            await asyncio.sleep(0.005)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    pending = words(200, start=500).cfai.classify.aio(LABELS)
    task = loop.create_task(pending)
    while emulator.requests < 20:
        loop.run_until_complete(asyncio.sleep(0.005))
    task.get_coro().close()  # type: ignore[union-attr]
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()
    until(lambda: emulator.in_flight == 0)
    sent = emulator.requests
    time.sleep(0.2)
    assert emulator.requests == sent < 100


def test_stop_gives_reservations_back(emulator: Emulator) -> None:
    """What was reserved for requests that never left is free again, and what was spent is what was charged."""
    budget = Budget(1_000.0, "1,000 Neurons")
    with pressed(lambda: emulator.requests >= 10), pytest.raises(cf.Stopped):
        words(400).cfai.classify(LABELS, budget=budget)
    assert budget.reserved == 0
    assert budget.spent == pytest.approx(cf.last_run().run.neurons) == pytest.approx(emulator.billed)


def test_stop_keeps_all_that_was_answered(emulator: Emulator) -> None:
    """Every answer that was paid for is in the store: the same call buys exactly the rest."""
    with pressed(lambda: emulator.requests >= 10), pytest.raises(cf.Stopped):
        words(60).cfai.classify(LABELS)
    paid = sum(call.charged for call in emulator.calls)
    assert cf.last_run().run.done == paid == emulator.requests < 60
    assert words(60).cfai.classify(LABELS).notna().all()
    assert emulator.requests == 60


@pytest.mark.slow
def test_stop_keeps_what_the_queue_was_given(tmp_path: Path) -> None:
    """Stop while requests wait in the service's queue: their id is kept, and the same call fetches their answers."""
    emulator = Emulator(rate=None, queue_seconds=2.0)
    cf.connect(emulator, store=tmp_path / "s.sqlite")
    with pressed(lambda: emulator.requests >= 2), pytest.raises(cf.Stopped):
        words(20).cfai.embed(queue=True)
    sent = emulator.requests
    time.sleep(0.5)
    assert emulator.requests == sent
    assert words(20).cfai.embed(queue=True).notna().all()
    assert max(emulator.billed_inputs.values()) == 1


def test_a_second_press_drops_what_is_in_flight(tmp_path: Path) -> None:
    """The first awaits answers of a minute, the second does not."""
    emulator = Emulator(rate=None, latency=60)
    cf.connect(emulator, store=tmp_path / "s.sqlite")
    begun = time.monotonic()
    with pytest.raises(cf.Stopped), pressed(lambda: emulator.in_flight >= 4, lambda: cf.last_run().run.stopped):
        words(20).cfai.classify(LABELS)
    assert time.monotonic() - begun < 5


def test_a_connection_that_is_being_made_is_not_in_flight(tmp_path: Path) -> None:
    """Stop while a server does not accept the connection: nothing was written, so nothing is awaited."""
    import socket

    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf, contextlib.ExitStack() as fill:
        for _ in range(4):  # the queue of connections to accept is full: the next handshakes wait
            one = fill.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(deaf.getsockname())
        cf.connect(base_url=f"http://127.0.0.1:{deaf.getsockname()[1]}/client/v4", account_id="a" * 32,
                   api_token="t" * 40, store=tmp_path / "s.sqlite", rate=None)  # fmt: skip
        begun = time.monotonic()
        with pressed(lambda: time.monotonic() > begun + 0.5), pytest.raises(cf.Stopped):
            words(4).cfai.classify(LABELS)
        assert time.monotonic() - begun < 5


def test_waits_within_waits(emulator: Emulator) -> None:
    """A call in a listener of another call: a press stops the inner one, and with it the outer one."""
    inner = words(200, start=1_000)

    def listener(event: Any) -> None:
        if event.requests and event.rows == 300:
            inner.cfai.classify(LABELS, progress=False)

    with cf.listen(listener), pytest.raises(cf.Stopped), pressed(lambda: emulator.requests > 40):
        words(300).cfai.classify(LABELS)
    until(lambda: emulator.in_flight == 0)
    sent = emulator.requests
    time.sleep(0.2)
    assert emulator.requests == sent < 500


# -- jobs inside jobs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("presses", [1, 2])
def test_stop_reaches_a_verb_inside_a_tool(emulator: Emulator, presses: int) -> None:
    """The call a tool makes stops with its own; what it has in flight is kept, and no other call begins."""
    ends: list[BaseException] = []

    def weather_report(city: str) -> str:
        """Say what the weather is in a city."""
        for at in range(2):
            try:
                words(400, start=1_000 * at).cfai.classify(LABELS)
            except BaseException as error:
                ends.append(error)
        return city

    conditions = [lambda: emulator.requests >= 20, lambda: True][:presses]
    with pytest.raises(KeyboardInterrupt), pressed(*conditions):  # the second may find the call over
        ASKED.cfai.generate("{value}", tools=[weather_report], model=LLAMA)
    sent = emulator.requests
    until(lambda: len(ends) == 2)
    assert [type(error) for error in ends] == [cf.Stopped, cf.Stopped]
    assert emulator.requests == sent < 60
    if presses == 1:
        paid = sum(call.charged for call in emulator.calls)
        assert cf.ledger()["requests"].sum() == paid == sent


def test_a_stream_inside_a_tool_stops_too(emulator: Emulator) -> None:
    """A tool that listens to a stream is left, and the stream is closed."""
    ends: list[BaseException] = []

    def weather_report(city: str) -> str:
        """Say what the weather is in a city."""
        try:
            for _ in cf.stream("Tell me of rivers and of stones."):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.2)
        except BaseException as error:
            ends.append(error)
        return city

    with pytest.raises(cf.Stopped):
        ASKED.cfai.generate("{value}", tools=[weather_report], model=LLAMA)
    until(lambda: len(ends) == 1)
    assert isinstance(ends[0], cf.Stopped)


def test_a_run_that_ends_early_ends_the_calls_of_its_tools(emulator: Emulator) -> None:
    """Not only Stop: where the budget ends a run, the calls that its tools made end as well."""
    ends: list[BaseException] = []
    begun = threading.Event()

    def weather_report(city: str) -> str:
        """Say what the weather is in a city."""
        begun.set()
        try:
            words(400).cfai.classify(LABELS)
        except BaseException as error:
            ends.append(error)
        return city

    job = ASKED.cfai.generate.call("{value}", tools=[weather_report], model=LLAMA)
    runner, _ = job.prepare()
    future = bridge.start(runner)
    begun.wait(10)
    until(lambda: emulator.requests >= 10)
    bridge.loop().call_soon_threadsafe(runner.halt, cf.BudgetError("it is used up"))
    future.result(timeout=10)
    sent = emulator.requests
    until(lambda: len(ends) == 1)
    assert isinstance(ends[0], cf.Stopped)
    assert emulator.requests == sent < 60


def test_a_tool_that_asks_its_own_question_does_not_wait_for_itself(emulator: Emulator) -> None:
    """The row it asks about fails with the reason, alone or across rows, and everything else is answered."""
    rows = pd.Series(["What is the weather in Rome?", "Tell me the weather of Oslo."])
    both = threading.Barrier(2, timeout=20)

    def own_weather(city: str) -> str:
        """Say what the weather is in a city."""
        with pytest.raises(cf.RowsFailed, match="would wait for itself") as failed:
            rows[:1].cfai.generate("{value}", tools=[own_weather], model=LLAMA)
        return str(failed.value)

    assert rows[:1].cfai.generate("{value}", tools=[own_weather], model=LLAMA).notna().all()

    def other_weather(city: str) -> str:
        """Say what the weather is in a city."""
        both.wait()
        other = rows[1:] if city == "Rome" else rows[:1]
        try:
            return str(other.cfai.generate("{value}", tools=[other_weather], model=LLAMA).iloc[0])
        except cf.RowsFailed as error:
            refused.append(str(error))
            return "unknown"

    refused: list[str] = []
    assert rows.cfai.generate("{value}", tools=[other_weather], model=LLAMA).notna().all()
    assert any("would wait for itself" in each for each in refused)


# -- streams -----------------------------------------------------------------------------------------------------------


def test_between_the_pieces_an_interrupt_is_the_users(emulator: Emulator) -> None:
    """No handler is held while the caller's code runs; whatever ends the loop closes the stream."""
    handler = signal.getsignal(signal.SIGINT)

    def listen() -> None:
        for _ in cf.stream("Tell me of rivers and of stones."):
            assert signal.getsignal(signal.SIGINT) is handler
            interrupted()

    with pytest.raises(KeyboardInterrupt) as caught:
        listen()
    assert not isinstance(caught.value, cf.Stopped)
    until(lambda: not bridge._jobs)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_streams_end_in_any_order_and_in_any_thread(emulator: Emulator, order: tuple[int, int]) -> None:
    """Two streams side by side, closed here or elsewhere: Ctrl-C works as before, and nothing is left."""
    streams: list[Any] = [cf.stream("Tell me of rivers and stones."), cf.stream("Tell me of the sea and of salt.")]
    for each in streams:
        next(each)
    streams[order[0]].close()
    thread = threading.Thread(target=streams[order[1]].close)
    thread.start()
    thread.join()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    until(lambda: not bridge._jobs)


@pytest.mark.parametrize("where", ["for its place", "for its first piece"])
def test_a_press_ends_a_stream_that_waits(tmp_path: Path, where: str) -> None:
    """While it waits for whatever it is, Stop is heard at once; a place and a reservation are given back."""
    emulator = Emulator(rate=None, latency=30)
    session = cf.connect(emulator, store=tmp_path / "s.sqlite")
    budget = Budget(40.0, "40 Neurons")
    limiter = session.engine(cache=False).limiter(session.model_for(cf.Generate(), None))
    if where == "for its place":
        limiter.concurrency.limit = 0.0
    begun = time.monotonic()
    condition = (lambda: budget.reserved > 0) if where == "for its place" else (lambda: emulator.in_flight == 1)
    with pressed(condition), pytest.raises(cf.Stopped):
        list(cf.stream("Tell me of rivers.", budget=budget))
    assert time.monotonic() - begun < 3
    until(lambda: not bridge._jobs)
    assert (budget.reserved, budget.spent, limiter.concurrency.in_use) == (0, 0, 0)
    assert emulator.requests == (0 if where == "for its place" else 1)


@pytest.mark.slow
def test_a_cancelled_stream_holds_up_no_later_run(emulator: Emulator) -> None:
    """The reservation of a stream that was dropped while it waited is there for the next call."""
    session = cf.session.current()
    budget = Budget(40.0, "40 Neurons")
    limiter = session.engine(cache=False).limiter(session.model_for(cf.Generate(), None))
    limiter.concurrency.limit = 0.0
    with pressed(lambda: budget.reserved > 0), pytest.raises(cf.Stopped):
        list(cf.stream("Tell me of rivers.", budget=budget))
    limiter.concurrency.limit = 24.0
    until(lambda: not bridge._jobs)
    assert budget.reserved == 0
    assert words(40).cfai.generate("{value}", budget=budget).notna().all()


# -- awaited -----------------------------------------------------------------------------------------------------------


def test_cancelling_from_outside_returns_promptly_and_keeps_what_arrives(tmp_path: Path) -> None:
    """A timeout ends the wait at once; nothing new is sent, and what is in flight is kept, charged and reported."""
    emulator = Emulator(rate=None, latency=0.8)
    cf.connect(emulator, store=tmp_path / "s.sqlite", concurrency=4)
    budget = Budget(1_000.0, "1,000 Neurons")

    async def main() -> int:
        task = asyncio.ensure_future(words(40).cfai.classify.aio(LABELS, budget=budget))
        while emulator.in_flight < 4:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError, match="4 requests in flight"):
            await task
        return emulator.in_flight

    assert asyncio.run(main()) == 4, "it did not wait for an answer"
    until(lambda: cf.last_run().run.finished)
    assert emulator.requests == 4
    assert cf.last_run().frame().notna().sum() == 4
    assert cf.ledger()["requests"].sum() == 4
    assert budget.reserved == 0
    assert budget.spent == pytest.approx(emulator.billed)


def test_a_task_left_behind_by_asyncio_run_leaves_no_handler(emulator: Emulator) -> None:
    """asyncio.run takes its own handler away when it ends; a call that goes on beyond that does not bring it back."""

    async def main() -> None:
        main.task = asyncio.ensure_future(words(40).cfai.classify.aio(LABELS))  # type: ignore[attr-defined]
        while emulator.requests < 4:
            await asyncio.sleep(0.005)

    asyncio.run(main())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.fixture
def frame(tmp_path: Path) -> pd.DataFrame:
    cf.connect(Emulator(rate=None, latency=0.4), store=tmp_path / "s.sqlite")
    count = 4_000
    return pd.DataFrame(
        {
            "text": [f"what customer {i} wrote of order {i * 7}" for i in range(count)],
            "group": [i % 7 for i in range(count)],
        }
    )


AWAITED: dict[str, Callable[[pd.DataFrame], Any]] = {
    "a verb": lambda df: df.cfai.embed.aio("text"),
    "filter": lambda df: df[:50].cfai.filter.aio("text", "it is about an order"),
    "compare": lambda df: df.cfai.compare.aio(
        cf.Classify(labels=LABELS), "text", models=[LLAMA, "glm-4.7-flash"], sample=8
    ),
    "label_clusters": lambda df: df.cfai.label_clusters.aio("text", "group"),
    "to_vectorize": lambda df: df[:200].cfai.to_vectorize.aio("index", "text", create=True),
    "map": lambda df: df[:300].cfai.map.aio("text", method="pca"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", AWAITED)
def test_awaited_forms_leave_the_callers_loop_free(frame: pd.DataFrame, name: str) -> None:
    """Preparing, embedding, computing and building frames are done elsewhere: the caller's loop never stands still."""

    async def main() -> float:
        call = asyncio.ensure_future(AWAITED[name](frame))
        longest, last = 0.0, time.monotonic()
        while not call.done():
            await asyncio.sleep(0.01)
            now = time.monotonic()
            longest, last = max(longest, now - last), now
        await call
        return longest

    for _tried in range(2):  # other work on the machine can hold up a loop, too
        if (longest := asyncio.run(main())) < 0.5:
            break
    assert longest < 0.5


def test_cancelling_while_it_prepares_stops_what_that_sends(tmp_path: Path) -> None:
    """to_vectorize embeds before it writes: cancelled then, the embedding ends, and nothing is written."""
    emulator = Emulator(rate=None, latency=0.1)
    cf.connect(emulator, store=tmp_path / "s.sqlite", concurrency=1)

    async def main() -> None:
        task = asyncio.ensure_future(words(3_000).cfai.to_vectorize.aio("index", create=True))
        while emulator.requests < 2:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    until(lambda: not bridge._jobs)
    sent = emulator.requests
    time.sleep(0.3)
    assert emulator.requests == sent < 10


# -- sessions ----------------------------------------------------------------------------------------------------------


def test_a_session_is_entered_by_several_threads_and_twice() -> None:
    """Blocks of one session overlap in any way; each ends what it began."""
    outer, session = cf.connect(Emulator(rate=None), store=False), cf.connect(Emulator(rate=None), store=False)
    inside, errors = threading.Barrier(3, timeout=20), []

    def use() -> None:
        try:
            with session:
                inside.wait()
                assert cf.session.current() is session
                inside.wait()
            assert cf.session.current() is outer
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with outer, session:
        with session:
            assert cf.session.current() is session
        assert cf.session.current() is session
        with outer:
            assert cf.session.current() is outer
        assert cf.session.current() is session


# -- a real kernel -----------------------------------------------------------------------------------------------------

TOOL = f"""
def weather_report(city: str) -> str:
    "Say what the weather is in a city."
    return str((rows + "?").cfai.classify(labels).notna().sum())
def ask_with_a_tool():
    pd.Series(["What is the weather in Rome?"]).cfai.generate("{{value}}", tools=[weather_report], model="{LLAMA}")
def loop_of(suffix):
    for at in range(100_000):
        (rows[:1] + suffix(at)).cfai.classify(labels)
def listen():
    for at in range(100_000):
        for piece in cf.stream(f"Tell me of rivers and of stones, {{at}}.", model="{LLAMA}"):
            time.sleep(0.02)
"""
CELLS = {
    "one call": ("rows.cfai.classify(labels)", {"Stopped"}),
    "short calls": ("loop_of(lambda at: f' {at}')", {"Stopped", "KeyboardInterrupt"}),
    "from the store": ("loop_of(lambda at: '')", {"Stopped", "KeyboardInterrupt"}),
    "in a tool": ("ask_with_a_tool()", {"Stopped"}),
    "between the pieces": ("listen()", {"Stopped", "KeyboardInterrupt"}),
    "awaited": ("await (rows + 'a').cfai.classify.aio(labels)", {"CancelledError"}),
    "awaited together": (
        "await asyncio.gather(*[(rows + s).cfai.classify.aio(labels) for s in 'bcd'])",
        {"CancelledError"},
    ),
}
ONE_AT_A_TIME = ("short calls", "from the store", "between the pieces")


@pytest.mark.slow
def test_stop_in_every_kind_of_cell(kernel: Kernel, tmp_path: Path) -> None:
    """One press ends the cell soon, at most what was in flight is sent afterwards, and the next cell works."""
    with running(rate=None, latency=0.1, terms_accepted=True) as server:
        emulator = server.emulator
        connect_in(kernel, server, tmp_path / "s.sqlite", 400)
        kernel.run(TOOL + "rows[:1].cfai.classify(labels)")
        for name, (code, errors) in CELLS.items():
            until(lambda: emulator.in_flight == 0)
            emulator.clear()
            # A place is used again after an answer: the press reaches the kernel sooner than that.
            emulator.latency = 0.1 if name in ONE_AT_A_TIME else 0.5
            cell = kernel.begin(code)
            if name == "from the store":
                time.sleep(0.5)
            else:
                until(lambda: emulator.requests >= 6)
            kernel.interrupt()
            sent, begun = emulator.requests, time.monotonic()
            content = kernel.reply(cell)
            assert time.monotonic() - begun < 3, name
            assert content["status"] == "error", name
            assert content["ename"] in errors, (name, content)
            until(lambda: emulator.in_flight == 0)
            arrived = emulator.requests
            time.sleep(0.2)
            assert emulator.requests == arrived <= sent + 4, name
        emulator.latency = 0.0
        kernel.run("result = rows[:3].cfai.classify(labels)")


@pytest.mark.slow
def test_presses_in_a_kernel_drop_what_is_in_flight(kernel: Kernel, tmp_path: Path) -> None:
    """A second press drops answers that take long: in a plain cell, an awaiting one, a stream; quick ones as well."""
    slow, quick = [0.5], [0.02, 0.02]
    plain, awaiting = "(rows + {0!r}).cfai.classify(labels)", "await (rows + {0!r}).cfai.classify.aio(labels)"
    stream = f"for piece in cf.stream('Tell me of rivers, {{0}}.', model='{LLAMA}'): pass"
    with running(rate=None, latency=30, terms_accepted=True) as server:
        emulator = server.emulator
        connect_in(kernel, server, tmp_path / "s.sqlite", 40)
        for at, (code, gaps) in enumerate(
            [(plain, slow), (awaiting, slow), (plain, quick), (awaiting, quick), (stream, slow), (stream, quick)]
        ):
            emulator.clear()
            cell = kernel.begin(code.format(str(at)))
            least = 1 if code == stream else 4
            until(lambda least=least: emulator.requests >= least)
            kernel.interrupt()
            for gap in gaps:
                time.sleep(gap)
                kernel.interrupt()
            begun = time.monotonic()
            assert kernel.reply(cell)["status"] == "error"
            assert time.monotonic() - begun < 5, code
            sent = emulator.requests
            time.sleep(0.3)
            assert emulator.requests == sent <= 8, code
        kernel.run("import signal; assert cf.last_run().run.in_flight == 0")
