"""What programs do: tasks and workflows that follow their plans."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

from fanwood import BudgetExceeded, Context, Fanwood, WaitTimeoutError
from fanwood.engine.signals import Signal, block, running_loop
from fanwood.ids import id_bytes
from tests.simulation.alone import Alone
from tests.simulation.plans import (
    ALL,
    DURABLE_STEPS,
    NEW,
    OLD,
    STEP_RETRIES,
    SYNC,
    VERSIONED,
    WAITING,
    WORKFLOWS,
    Plan,
    is_strict,
    only_of,
    options_of,
    total_of,
    within,
)
from tests.simulation.together import FAILED, Together

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.world import World

OWNING = (*WAITING, "group", "stream")
"""Steps that own the children for which they wait."""
SOON = 3.0
"""Seconds in which what nobody wants any more is cancelled, where nothing goes wrong ..."""
LATER = 20.0
"""... and where something did, and does no more."""


class BrokenError(Exception):
    """Of a bulk whose items end too soon."""


class Program:
    """The tasks of one process. `deployed`: the version of what has several, and whether it has the others as well."""

    def __init__(self, world: World, app: Fanwood, deployed: tuple[str, bool]) -> None:
        self.world = world
        self.app = app
        self.deployed = deployed
        self.tasks: dict[str, Any] = {}
        for name, options in ALL.items():
            self._declare_task(name, options)
        for name, steps in WORKFLOWS.items():
            self._declare_workflow(name, steps)

    def _declare_task(self, name: str, options: dict[str, Any]) -> None:
        async def task(input: dict[str, Any], ctx: Context) -> dict[str, Any]:
            return await self._executed(input, ctx)

        def sync_task(input: dict[str, Any], ctx: Context) -> dict[str, Any]:
            return block(self._executed(input, ctx), "a task")

        if name in VERSIONED:
            self._declare_versions(name, options)
            return
        declare: Any = self.app.durable_task if "eviction_policy" in options else self.app.task
        self.tasks[name] = declare(name=name, **options)(sync_task if name in SYNC else task)

    def _declare_versions(self, name: str, options: dict[str, Any]) -> None:
        def code(version: str) -> Any:
            async def task(input: dict[str, Any], ctx: Context) -> dict[str, Any]:
                if ctx.version != version:
                    self.world.wrong(f"{ctx.task_run_id[-6:]} is of version {ctx.version}, and executed by {version}")
                return await self._executed(input, ctx)

            return task

        present, whole = self.deployed
        others: dict[str | None, Any] = {
            version: code(version) for version in (OLD, NEW) if whole and version != present
        }
        declare = self.app.durable_task(name=name, version=present, versions=others, **options)
        self.tasks[name] = declare(code(present))

    def _declare_workflow(self, name: str, steps: dict[str, tuple[str, ...]]) -> None:
        workflow = self.tasks[name] = self.app.workflow(name=name, input_validator=dict[str, Any])
        for step, parents in steps.items():
            self._declare_step(workflow, step, parents)

    def _declare_step(self, workflow: Any, name: str, parents: tuple[str, ...]) -> None:
        async def step(input: dict[str, Any], ctx: Context) -> dict[str, Any]:
            for parent in parents:
                self.check(input["parts"][parent], ctx.task_output(workflow.steps[parent]), "a step")
            return await self._executed(input["parts"][name], ctx)

        policy = DURABLE_STEPS.get((workflow.name, name))
        declare = workflow.task if policy is None else partial(workflow.durable_task, eviction_policy=policy)
        declare(name, parents=parents, retries=STEP_RETRIES)(step)

    async def _executed(self, plan: Plan, ctx: Context) -> dict[str, Any]:
        if not self.world.maker.knows(plan):
            self.world.wrong(f"a run got {plan}, and not what was sent")
        with self.world.executing(self.app, ctx, plan):
            return await _Attempt(self, plan, ctx).follow()

    def item(self, child: Plan) -> Any:
        """A run to be, of a bulk."""
        return self.tasks[child["task"]].create_bulk_run_item(child, **options_of(child))

    def check(self, plan: Plan, result: Any, who: str) -> None:
        """What somebody got is the right one."""
        expected = self.world.maker.answer(plan)
        if result != expected:
            self.world.wrong(f"{who} got {result} from {plan['n']}, and not {expected}")


def declare(world: World, app: Fanwood, deployed: tuple[str, bool]) -> Program:
    """The tasks of one process."""
    return Program(world, app, deployed)


class _Attempt:
    """One attempt of a task, which follows its plan."""

    def __init__(self, program: Program, plan: Plan, ctx: Context) -> None:
        self._program = program
        self._plan = plan
        self._ctx = ctx
        self._refs: list[tuple[Plan, Any]] = []
        self._total = plan["n"]
        self._world, self._parts = program.world, program.world.parts
        self._run = id_bytes(ctx.task_run_id), ctx._attempt.run.attempt
        self._alone = Alone(program.world, plan, ctx)

    async def follow(self) -> dict[str, Any]:
        self._alone.begin()
        for number, step in enumerate(self._plan["steps"]):
            seconds = within(step)
            if seconds is None:
                await self._afford(step, number)
                continue
            with contextlib.suppress(*FAILED):
                try:
                    async with asyncio.timeout(seconds) if running_loop() is not None else contextlib.nullcontext():
                        await self._afford(step, number)
                except TimeoutError:
                    self._gave_up(step)
        return {"n": self._plan["n"], "text": self._plan["text"], "total": self._total}

    async def _afford(self, step: list[Any], number: int) -> None:
        """If there is as much as it takes; it may be done without, perhaps."""
        try:
            await self._do(step, number)
        except BudgetExceeded as error:
            self._world.tell(self._world.purse.refused(error))
            if is_strict(step):
                raise

    def _gave_up(self, step: list[Any]) -> None:
        """A wait was cancelled, and with it what it was for."""
        world = self._world
        if step[0] not in OWNING or not (world.harmless or world.calm) or world.shape.meddlers:
            return
        numbers = only_of(self._plan, step)

        async def look(_: Fanwood) -> None:
            await asyncio.sleep(SOON if world.harmless else LATER)
            if not world.is_dead(self._program.app):  # (else what was to be cancelled is for the next attempt to say)
                world.tell(self._parts.left(*self._run, numbers, of_old=False))

        world.outside(look)

    async def _do(self, step: list[Any], number: int) -> None:
        ctx, program = self._ctx, self._program
        match step[0]:
            case "sleep":
                await Signal().wait(step[1])
            case "fail":
                if ctx.retry_count < step[1]:
                    raise ValueError(f"{self._plan['n']} fails")
            case "die":
                await program.world.die_of(program.app)
            case "log":
                ctx.log("said")
                ctx.progress(1, 2)
            case "extend":
                if "execution_timeout" in ALL.get(self._plan["task"], {}):
                    ctx.refresh_timeout(step[1])
            case "over":
                ctx.start_over(step[1])
            case "group" | "stream" | "each":
                await Together(self._program, self._ctx, step, (self._plan, number)).wait()
            case "above":
                if ctx.parent_workflow_run_id is not None:
                    await program.app.runs.aio_cancel(ctx.parent_workflow_run_id)
            case "join" | "cancel" | "cancel all":
                await self._afterwards(step[0])
            case "start" | "break":
                await self._start(step)
            case _:
                if not await self._alone.do(step, number):
                    await self._wait(step)

    async def _afterwards(self, kind: str) -> None:
        """With those that were started."""
        for child, ref in self._refs[: 1 if kind == "cancel" else None]:
            if kind != "join":
                await ref.aio_cancel()
                continue
            with contextlib.suppress(*FAILED):
                self._program.check(child, await ref.aio_result(), "a parent")

    async def _start(self, step: list[Any]) -> None:
        def items() -> Iterator[Any]:
            for child in step[1]:
                yield self._program.item(child)
            if step[0] == "break":
                raise BrokenError

        with contextlib.suppress(BrokenError):
            started = await self._program.tasks["plain"].aio_run_many_no_wait(items())
            self._refs += zip(step[1], started, strict=True)

    async def _wait(self, step: list[Any]) -> None:
        kind, children, about = step
        if kind == "twice":
            children = [*children, *children]
        with contextlib.suppress(WaitTimeoutError), self._timed(step):
            if kind == "gather" and running_loop() is not None:
                found = await asyncio.gather(*self._each(step), return_exceptions=about["keep"])
            elif kind == "shared":
                found = [await one for one in self._each(step, times=2)]
                children = [*children, *children]
            else:
                items = [self._program.item(child) for child in children]
                found = await self._program.tasks["plain"].aio_run_many(
                    items, return_exceptions=about["keep"], timeout=about["timeout"]
                )
            self._look_at(step, list(zip(children, found, strict=True)))

    @contextlib.contextmanager
    def _timed(self, step: list[Any]) -> Iterator[None]:
        """Whether a durable run's wait was in time is the same for each attempt of a trial that comes past it."""
        kind, _, about = step
        told = about["timeout"] is not None and "eviction_policy" in ALL.get(self._plan["task"], {})
        number = next(number for number, each in enumerate(self._plan["steps"]) if each is step)
        what = f"wait {number} of trial {self._ctx._attempt.run.trial_start}"
        try:
            yield
        except WaitTimeoutError:
            if told and kind not in ("gather", "shared"):
                self._alone.drawn.append((what, "gave up"))
            raise
        except FAILED:
            raise
        if told and kind not in ("gather", "shared"):
            self._alone.drawn.append((what, "in time"))

    def _each(self, step: list[Any], times: int = 1) -> Iterator[Any]:
        """One by one; those of a shared key again and again, and it is one run."""
        _, children, about = step
        tasks = self._program.tasks
        for child in [*children] * times:
            call = tasks[child["task"]].aio_run(child, timeout=about["timeout"], **options_of(child))
            yield _kept(call) if about["keep"] and times > 1 else call

    def _look_at(self, step: list[Any], found: list[tuple[Plan, Any]]) -> None:
        for child, result in found:
            if not isinstance(result, BaseException):
                self._program.check(child, result, "a parent")
                self._total += total_of(result) if is_strict(step) else 0
            elif not isinstance(result, (*FAILED, WaitTimeoutError)):
                raise result


async def _kept(call: Any) -> Any:
    """As `return_exceptions` has it."""
    try:
        return await call
    except FAILED as error:
        return error
