"""What a test has in its hands: an app in memory, on virtual time; it stubs, travels, and shows what became of runs."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from fanwood import checks, durations
from fanwood import home as homes
from fanwood.app import Fanwood, unknown_task
from fanwood.clock import MICROSECONDS, moment
from fanwood.errors import EngineClosedError, UnknownTaskError, UsageError
from fanwood.ids import id_bytes
from fanwood.sdk.declaring.options import NOT_GIVEN
from fanwood.sdk.declaring.step import Step
from fanwood.sdk.tasks.task import Runnable
from fanwood.sdk.tasks.workflow import Workflow
from fanwood.testing import telling
from fanwood.testing.ground import here
from fanwood.testing.stubs import Stub
from fanwood.testing.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from fanwood.durations import Duration
    from fanwood.engine.engine import Engine
    from fanwood.sdk.children.refs import TaskRunRef
    from fanwood.sdk.declaring.spec import TaskSpec
    from fanwood.sdk.running.infos import RunInfo


class TestApp(Fanwood):
    """An app for a test, made by `on_memory` or the fixture `fanwood_app`. While it is there, all `Fanwood` objects of
    this process keep their runs in memory, whatever their URLs, and time passes when there is nothing to do.
    """

    __test__ = False  # pytest, this is no test

    def __init__(self, in_world: World) -> None:
        super().__init__("memory:fanwood.testing", shared=False, clock=in_world.clock, ids=in_world.ids)
        self._world = in_world

    def engine(self) -> Engine:
        if self._world.over:
            raise EngineClosedError("This test is over, and its app with it")
        return super().engine()

    @property
    def lifespan(self) -> Any:
        """What `ctx.lifespan` is in tasks; set it before the first run."""
        return self._world.lifespan

    @lifespan.setter
    def lifespan(self, value: Any) -> None:
        self._world.lifespan = value

    def stub(
        self,
        task: Runnable[Any, Any] | Step[Any, Any] | Callable[..., Any] | str,
        function: Callable[..., Any] | None = None,
        /,
        *,
        returns: Any = NOT_GIVEN,
        raises: BaseException | type[BaseException] | None = None,
    ) -> Stub:
        """From now on, until the end of the test, runs of `task` do something else than its code.

        Args:
            task: a task, a workflow, a step, or a task's bare function; of any app. Or a name: whatever is called so.
            function: called in its place: with (input, ctx), (input) or nothing; sync or async.
            returns: what it returns; without anything else, None.
            raises: what it raises. It is tried again as if the task's code had raised it.

        Raises:
            UnknownTaskError: there is no such task.
        """
        spec = _spec_of(task)
        stub = Stub(spec, function, returns, raises, self._undo, by_name=task if isinstance(task, str) else None)
        self._world.stubs.append(stub)
        self._serve()
        return stub

    def _undo(self, stub: Stub) -> None:
        if stub in self._world.stubs:
            self._world.stubs.remove(stub)
            self._serve()

    def _serve(self) -> None:
        for place in self._world.places.values():
            if place.worker is not None:
                place.worker.serve()

    def travel(self, to: Duration | datetime | None = None, /, **units: float) -> None:
        """As the function `travel`."""
        travel(to, **units)

    def drain(self) -> None:
        """As the function `drain`."""
        drain()

    def tree(self, run: TaskRunRef[Any] | RunInfo | str | None = None) -> str:
        """As the function `tree`."""
        return tree(run)

    def now(self) -> datetime:
        """What time it is in this test."""
        return moment(self.clock.now())


@contextlib.contextmanager
def on_memory(*, patience: float = 10.0) -> Generator[TestApp]:
    """While inside, the runs of all `Fanwood` objects of this process are in memory and on virtual time, whatever their
    URLs; afterwards they are where they were before, and what was here is gone.

    `patience`: how many seconds of work a wait may take, and how many seconds something real (a thread, a socket) may,
    before the test fails.
    """
    checks.real(patience, "patience", durations.LONGEST)
    with World(patience=patience).there() as made:
        app = TestApp(made)
        try:
            yield app
        finally:
            made.stubs.clear()


MARKS = 1000
"""Microseconds by which a store may be ahead, as each of its transactions has a time of its own."""


def travel(to: Duration | datetime | None = None, /, **units: float) -> None:
    """Go on to a later time; what is due until then happens, in its order.

    Args:
        to: a time from now (seconds, a timedelta, text such as "1h30m"), or a datetime.
        units: those of a timedelta: `travel(days=30)`.

    Raises:
        UsageError: that is in the past, or this is no test.
        StuckError: what happens until then has no end.
    """
    world = here()
    if (to is None) == (not units):
        raise UsageError("travel() takes a time to go to, or units such as days=30")
    try:
        if isinstance(to, datetime):
            target = round((to if to.tzinfo else to.astimezone()).timestamp() * MICROSECONDS) - world.time.ahead
        else:
            target = world.time.now + round(durations.parse(timedelta(**units) if to is None else to) * MICROSECONDS)
    except (TypeError, ValueError, OverflowError) as error:  # whatever datetime says of what it can't
        raise UsageError(f"travel(): {error}") from None
    if target < world.time.now:
        raise UsageError(f"travel() goes to later times only, and it is {moment(world.clock.now()).astimezone(UTC)}")
    world.drive(lambda: False, target)
    following = world.next_time()
    if following is not None and following <= target + MARKS:
        world.drive(lambda: False, target + MARKS)
        world.time.ahead -= MARKS


def drain() -> None:
    """Until nothing is left to do now: what is begun goes on until it ends, or waits for a later time. No time passes.

    Raises:
        StuckError: it has no end.
    """
    here().drive(lambda: False, passes=False)


def tree(run: TaskRunRef[Any] | RunInfo | str | None = None) -> str:
    """A run and what is below it, as text; None: all that there is. Equal behaviour gives equal text: without ids, and
    without times.

    Raises:
        UsageError: there is no such run.
    """
    world = here()
    everything = [memory.tables for memory in world.memories.values()]
    if run is None:
        return "\n".join(
            telling.tree_text(tables, each)
            for tables in everything
            for each in tables.runs.values()
            if each.parent_id is None
        )
    id_ = run if isinstance(run, str) else getattr(run, "id", None)
    if not isinstance(id_, str):
        raise UsageError(f"tree() takes a run's id, a TaskRunRef or a RunInfo, and not {checks.shown(run)}")
    wanted = id_bytes(id_)
    for tables in everything:
        if wanted in tables.runs:
            return telling.tree_text(tables, tables.runs[wanted])
    raise UsageError(f"there is no run {checks.shown(run)} in this test")


def _spec_of(task: Any) -> TaskSpec:
    """What a stub stands in for."""
    if isinstance(task, (Runnable, Step)):
        return task.spec
    known: dict[str, TaskSpec] = {}
    for home in homes.all_homes():
        for runnable in home.declared.values():
            specs = [runnable.spec, *(step.spec for step in runnable.tasks)] if isinstance(runnable, Workflow) else None
            for spec in specs or [runnable.spec]:
                known[spec.name] = spec
                if spec.function is task or spec.name.rpartition("/")[2] == task:
                    return spec
    if isinstance(task, str) and task in known:
        return known[task]
    raise UnknownTaskError(unknown_task(task if isinstance(task, str) else repr(task), known))
