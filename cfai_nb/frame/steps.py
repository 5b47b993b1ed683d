"""The three forms of a verb, from one definition: call it, await ``.aio``, or price it with ``.plan``.

A definition is a generator.  It reads the frame, yields each ``Step`` whose result it needs (a ``Call`` sends rows
through the engine), and returns a function that computes the result of the verb from them.  ``Forms`` carries it out:
plainly; awaited, with everything but the waiting in a thread, since the loop is the caller's; or priced, where each
call is answered by a placeholder and nothing is sent.  So a verb is written once, and its forms cannot differ.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import types
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import pandas as pd

from .._engine.plan import Plan
from .._engine.run_options import RunOptions
from .._engine.stopping import in_thread
from ..errors import FOLDED, CfaiError, Stopped, fold
from ..models import Cost, Model
from ..models.ledger import money
from .call import Call, warn
from .cascades import CascadePlan
from .progress import Display, working

if TYPE_CHECKING:
    from .._engine.engine import Engine
    from ..session.requests import RequestJob


T = TypeVar("T")


class Step(Protocol):
    """Something a verb waits for."""

    def wait(self, display: Display | None = None) -> Any:
        """Do it and wait; `display` makes the progress bar of a notebook."""

    async def wait_async(self, display: Display | None = None) -> Any:
        """Do it; awaited, on any event loop."""


#: Yields steps, is sent their results, and returns what computes the result of the verb.
Steps: TypeAlias = Generator[Step, Any, Callable[[], T]]


class Requests:
    """A step that sends a few requests that are not rows of a run, such as those to an index of vectors.

    `work` and `drain` are those of a ``RequestJob``; `stopped` says what Stop left behind.  Where it is `skippable`, a
    plan goes on without its result, which is None then.
    """

    def __init__(
        self, name: str, engine: Engine, work: Callable[[RequestJob[Any]], Awaitable[Any]], options: RunOptions, *,
        drain: bool, stopped: Callable[[], str], skippable: bool = False,
    ) -> None:  # fmt: skip
        from ..session.requests import RequestJob

        self._name, self._progress, self._stopped, self.skippable = name, options.progress, stopped, skippable
        self._job: RequestJob[Any] = RequestJob(engine, work, drain=drain, patience=options.patience)
        self._say: Callable[[str], None] = lambda text: None

    def tell(self, text: str) -> None:
        """Show how far it is."""
        self._say(text)

    def refuse_stopped(self) -> None:
        """Raise Stopped if Stop was pressed."""
        if self._job.stopped:
            raise Stopped(self._stopped())

    def wait(self, display: Display | None = None) -> Any:
        """Send them and wait."""
        from .._engine.bridge import bridge

        with working(self._name, self._progress) as self._say:
            return bridge.wait(self._job, lambda: None)

    async def wait_async(self, display: Display | None = None) -> Any:
        """Send them; awaited."""
        from .._engine.bridge import bridge

        with working(self._name, self._progress) as self._say:
            try:
                return await bridge.wait_async(self._job, lambda: None)
            except asyncio.CancelledError:
                raise asyncio.CancelledError(self._stopped()) from None


class Now:
    """A step that waits for nothing: it does what is due between two calls.

    `do` is called with ``say``, which takes warnings as that of a ``Call`` does, and with what makes the progress bar.
    """

    def __init__(self, do: Callable[[Callable[[str], object], Display | None], object]) -> None:
        self._do = do
        self.say: Callable[[str], object] = warn

    def wait(self, display: Display | None = None) -> None:
        """Do it."""
        self._do(self.say, display)

    async def wait_async(self, display: Display | None = None) -> None:
        """Do it."""
        self.wait(display)


class Outlined(Protocol):
    """What an outline is of: the calls of a cascade."""

    @property
    def label(self) -> str:
        """What a plan of several calls names it."""

    @property
    def model(self) -> Model:
        """The strong model."""

    def plan(self) -> CascadePlan:
        """Price it as a range."""


#: Sent to a definition in place of a result: what follows is priced already.
PRICED = object()


class Outline(Now):
    """The step before the calls of a cascade: priced as a whole, since what follows depends on answers.

    Those who carry it out themselves may say what its `call` is one of many calls of, and take its answers.
    """

    def __init__(self, call: Outlined) -> None:
        super().__init__(lambda say, display: None)
        self.call, self.part, self.model, self.plan = call, call.label, call.model, call.plan

    def placeholder(self) -> Any:
        """Return what a definition is sent when it was priced."""
        return PRICED


def requested(
    name: str, engine: Engine, work: Callable[[RequestJob[Any]], Awaitable[Any]], options: RunOptions, stopped: str, *,
    skippable: bool = False,
) -> Generator[Step, Any, Any]:  # fmt: skip
    """Yield the step of requests that change nothing, and return what it made; Stop drops them and says `stopped`."""
    step = Requests(name, engine, work, options, drain=False, stopped=lambda: stopped, skippable=skippable)
    made = yield step
    step.refuse_stopped()
    return made


class Form:
    """A form of a verb as a method of it: ``?`` shows the options and the docstring of the verb, not ``**options``."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __get__(self, verb: Any, owner: type) -> Any:
        function = self._function
        if verb is None:
            return function

        @functools.wraps(function)
        def form(*args: Any, **options: Any) -> Any:
            return function(verb, *args, **options)

        signature = getattr(verb, "__signature__", None) or inspect.signature(types.MethodType(function, verb))
        form.__signature__ = signature  # type: ignore[attr-defined]
        form.__doc__ = f"{inspect.getdoc(function)}\n\n{inspect.getdoc(verb)}"
        return form


class Forms(ABC):
    """The three forms of a verb; a subclass gives its ``_steps``."""

    __name__ = ""
    #: Makes the progress bar of a notebook.
    _display: Display | None = None

    @abstractmethod
    def _steps(self, *args: Any, **options: Any) -> Steps[Any]:
        """Define the verb."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Do it and wait."""
        try:
            return self._done(*args, **options)
        except FOLDED as error:
            fold(error)
            raise

    def _done(self, *args: Any, **options: Any) -> Any:
        steps = self._steps(*args, **options)
        with contextlib.closing(steps):  # also by an interrupt, which would else leave it half done
            step, finish = advance(steps)
            while step is not None:
                answer, error = None, None
                try:
                    answer = step.wait(self._display)
                except CfaiError as raised:  # a verb may go on without it, as compare does
                    error = raised
                step, finish = advance(steps, answer, error)
        return finish()

    @Form
    async def aio(self, *args: Any, **options: Any) -> Any:
        """Do it; awaited, on any event loop."""
        try:
            return await self._awaited(*args, **options)
        except (asyncio.CancelledError, *FOLDED) as error:
            fold(error)
            raise

    async def _awaited(self, *args: Any, **options: Any) -> Any:
        steps = await in_thread(lambda: self._steps(*args, **options))
        left = False  # whether the caller has stopped waiting, possibly while a thread carries out a part

        def go_on(answer: Any = None, error: CfaiError | None = None) -> tuple[Step | None, Any]:
            try:
                return advance(steps, answer, error)
            finally:
                if left:  # what it holds, such as the lock of a folder, is free even if the error is kept
                    steps.close()

        try:
            step, finish = await in_thread(go_on)
            while step is not None:
                answer, error = None, None
                try:
                    answer = await step.wait_async(self._display)
                except CfaiError as raised:
                    error = raised
                step, finish = await in_thread(lambda: go_on(answer, error))  # noqa: B023
        finally:
            left = True
            with contextlib.suppress(ValueError):  # a thread that was left behind carries it out, and closes it
                steps.close()
        return await in_thread(finish)

    @Form
    def plan(self, *args: Any, **options: Any) -> Plan | Plans | CascadePlan:
        """Price it and send nothing; a ValueError where no rows would be sent."""
        try:
            return self._priced(*args, **options)
        except FOLDED as error:
            fold(error)
            raise

    def _priced(self, *args: Any, **options: Any) -> Plan | Plans | CascadePlan:
        steps = self._steps(*args, **options)
        plans: dict[str, Plan | CascadePlan] = {}
        step, _ = advance(steps)
        while isinstance(step, (Call, Outline)) or (isinstance(step, Requests) and step.skippable):
            if isinstance(step, Requests):
                step, _ = advance(steps)
                continue
            plans[step.part or step.model.id] = step.plan()
            step, _ = advance(steps, step.placeholder())  # what else a verb may wait for has no price here
        steps.close()
        if not plans:
            raise ValueError(f"{self.__name__}() sends no rows here, so there is nothing to price.")
        if len(plans) == 1:
            return next(iter(plans.values()))
        return Plans(plans)


def advance(steps: Steps[Any], answer: Any = None, error: CfaiError | None = None) -> tuple[Step | None, Any]:
    """Go on with a definition: return its next step, or None and what computes the result."""
    try:
        return (steps.send(answer) if error is None else steps.throw(error)), None
    except StopIteration as end:
        return None, end.value


@dataclass(frozen=True, slots=True)
class Plans:
    """The plans of a verb that makes several calls; nothing is sent.

    Attributes
    ----------
    plans : dict of str to Plan
        By model where one task is put to several, else by what is embedded.
    """

    plans: Mapping[str, Plan | CascadePlan]

    @property
    def cost(self) -> Cost:
        """The most all calls together can cost; unknown where a model publishes no price."""
        return sum((plan.estimate.cost for plan in self.plans.values()), Cost(0.0))

    @property
    def table(self) -> pd.DataFrame:
        """By call: rows, requests, what is stored, tokens, Neurons and dollars at most, minutes at the rate limit."""
        rows = {}
        for model, plan in self.plans.items():
            e = plan.estimate
            rows[model] = {
                "rows": e.rows, "requests": e.requests, "stored": e.stored, "tokens": e.usage.tokens,
                "neurons": e.cost.neurons, "usd": e.cost.usd, "minutes": e.minutes,
            }  # fmt: skip
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis(self._kind)

    @property
    def _kind(self) -> str:
        return "model" if all(name == plan.model.id for name, plan in self.plans.items()) else "call"

    def __repr__(self) -> str:
        return self.describe("nothing sent")

    def describe(self, what: str) -> str:
        """Return the plans in a few lines; `what` says what happens next, such as "nothing sent"."""
        lines, known = list[str](), list[float]()
        for name, plan in self.plans.items():
            e = plan.estimate
            stored = f", {e.stored:,} in the store" if e.stored else ""
            lines.append(f"  {name}: {e.requests:,} requests{stored}, {money(e.cost.neurons, False)}")
            known += [] if e.cost.neurons is None else [e.cost.neurons]
        parts = [f"{money(sum(known), False)} at most"] if known else []
        parts += ["what is unknown"] if len(known) < len(lines) else []
        further = dict.fromkeys(f"  {plan.further}" for plan in self.plans.values() if plan.further)
        further |= dict.fromkeys(f"  {remark}" for plan in self.plans.values() for remark in plan.remarks)
        total = f"  {' and '.join(parts)}; estimated, {what}"
        return "\n".join([f"{len(self.plans)} {self._kind}s", *lines, total, *further])
