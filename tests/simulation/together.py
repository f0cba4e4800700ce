"""Steps of programs whose children belong together: groups, streams, and ends as they come."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from fanwood import (
    Cancelled,
    Completed,
    Context,
    FailedTaskRunExceptionGroup,
    TaskRunError,
    TimedOut,
    as_completed,
)
from fanwood.engine.signals import running_loop
from fanwood.ids import id_bytes
from tests.simulation.plans import GROUPS, last_life, only_of, options_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from tests.simulation.plans import Plan
    from tests.simulation.programs import Program

FAILED = (TaskRunError, FailedTaskRunExceptionGroup)
"""How a child, or a root, may end beside returning."""
DECIDED = ("its group was decided without it", "its group's time was over")
"""Of whom a group has left out."""


class Together:
    """One such step, of one attempt."""

    def __init__(self, program: Program, ctx: Context, step: list[Any], which: tuple[Plan, int]) -> None:
        self._program = program
        self._world = program.world
        self._ctx = ctx
        self._kind, self._children, self._about = step
        self._plan, self._number = which
        self._which = self._plan["n"], self._number  # of whose plan, and the how-manyeth
        self._own = only_of(self._plan, step)

    async def wait(self) -> None:
        match self._kind:
            case "group":
                with contextlib.suppress(*FAILED):
                    await self._group()
            case "stream":
                await self._stream()
            case _:
                await self._each()

    def _check(self, child: Plan, result: Any) -> None:
        if isinstance(result, BaseException):
            if not isinstance(result, FAILED):
                raise result
        else:
            self._program.check(child, result, "a parent")

    # --- groups ----------------------------------------------------------------------------------------------------

    async def _group(self) -> None:
        ctx, how = self._ctx, dict(GROUPS[self._about["how"]])
        if "quorum" in how:
            how["quorum"] = min(how["quorum"], len(self._children))  # runs may have been left out of this world
        name = None if self._number % 2 else f"group {self._number}"
        group = ctx.group(name, **how)
        try:
            async with group:
                for child in self._children:
                    group.spawn(self._program.tasks[child["task"]], child, **options_of(child))
        except FAILED:
            self._look_at(group)
            raise
        self._look_at(group)
        completed = [one for one in group.outcomes if isinstance(one, Completed)]
        few = len(completed) < how.get("quorum", 0) and how.get("on_error") != "collect"
        if few and not self._world.shape.meddlers:  # by whom a member may have run again, and ended otherwise
            self._world.wrong(f"{ctx.task_run_id[-6:]}'s group has {len(completed)} successes, and raises nothing")

    def _look_at(self, group: Any) -> None:
        """What came of it: that is decided once."""
        left_out: list[int] = []
        for number, (child, outcome) in enumerate(zip(self._children, group.outcomes, strict=True)):
            if isinstance(outcome, Completed):
                self._check(child, outcome.value)
            elif isinstance(outcome, Cancelled | TimedOut) and str(outcome.error.message) in DECIDED:
                left_out.append(number)
        run_id = id_bytes(self._ctx.task_run_id)
        if left_out:
            parts, attempt = self._world.parts, self._ctx._attempt.run.attempt
            self._world.tell(parts.answered(run_id, ("group", *self._which), left_out))
            if self._world.is_sound:
                losers = self._own.intersection(self._children[number]["n"] for number in left_out)
                self._world.tell(parts.left(run_id, attempt, losers))

    # --- what comes as it comes -------------------------------------------------------------------------------------

    async def _stream(self) -> None:
        """In order or not, in a window of two; some take the first only."""
        task, children = self._program.tasks["plain"], self._children
        how = {"window": 2, "ordered": self._number % 2 == 0, "return_exceptions": self._about["keep"]}
        items = [self._program.item(child) for child in children]
        there, taken = {last_life(child)["n"]: child for child in children}, 0
        with contextlib.suppress(*FAILED):
            async with _closing(task.map if running_loop() is None else task.aio_map, items, how) as stream:
                async for result in _awaited(stream):
                    self._came(result, there, children[taken] if how["ordered"] else None)
                    taken += 1
                    if self._about["timeout"] is not None:
                        break
        if taken > len(children) or (taken < len(children) and self._about["keep"] and self._about["timeout"] is None):
            self._world.wrong(f"{self._ctx.task_run_id[-6:]} got {taken} results of {len(children)}")

    def _came(self, result: Any, there: dict[int, Plan], whose: Plan | None) -> None:
        """A result, which is that of one of them, once."""
        if isinstance(result, BaseException):
            self._check(self._children[0], result)
            return
        child = there.pop(result["n"], None) if whose is None and "n" in result else whose
        if child is not None:
            self._check(child, result)
        elif "n" in result:
            self._world.wrong(f"{self._ctx.task_run_id[-6:]} got {result} twice, or from nobody")

    async def _each(self) -> None:
        """References, in the order in which they end; each once."""
        items = [self._program.item(child) for child in self._children]
        refs = await self._program.tasks["plain"].aio_run_many_no_wait(items)
        left = {ref.id: child for ref, child in zip(refs, self._children, strict=True)}
        async for ref in _awaited(as_completed(refs)):
            child = left.pop(ref.id, None)
            if child is None:
                self._world.wrong(f"{ref.id} has ended a second time")
                continue
            with contextlib.suppress(*FAILED):
                self._check(child, await ref.aio_result())
        if left:
            self._world.wrong(f"{len(left)} of {len(refs)} never ended, and all had")


@contextlib.asynccontextmanager
async def _closing(map_: Any, items: list[Any], how: dict[str, Any]) -> AsyncGenerator[Any]:
    """A stream, which is closed afterwards."""
    stream = map_(items, **how)
    try:
        yield stream
    finally:
        if hasattr(stream, "aclose"):
            await stream.aclose()
        else:
            stream.close()


def _awaited(each: Any) -> Any:
    """For `async for`, whatever it is: in a task that has a thread it blocks."""
    return each if running_loop() is not None else _one_by_one(each)


async def _one_by_one(each: Iterable[Any]) -> AsyncGenerator[Any]:
    for one in each:
        yield one
