"""Programs, drawn from a seed: trees of tasks of any shape, and clients that start, cancel and replay them.

A task does what its input says, so that it does the same in each attempt. It checks what its children return.
"""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from typing import TYPE_CHECKING, Any

from fanwood import Context, Fanwood, FanwoodError, RunNotFoundError, TaskRunError, WaitTimeoutError
from fanwood.engine.signals import Signal, block, running_loop

if TYPE_CHECKING:
    from tests.simulation.world import World

Plan = dict[str, Any]

TASKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "steady": {"retries": 1},
    "stubborn": {"retries": 3, "backoff_factor": 1.5},
    "eager": {"retries": 2},
    "hasty": {"retries": 1, "execution_timeout": 3},
    "fresh": {"schedule_timeout": 4},
    "limited": {"execution_timeout": 8},
}
SYNC: dict[str, dict[str, Any]] = {
    "sync": {},
    "sync stubborn": {"retries": 2},
    "sync limited": {"execution_timeout": 6},
}
"""Those that have a thread."""
TEXTS = ("", "a", "ä\u2028\U0001f600", '"\\', "x" * 300)
DEEPEST = 4


class Maker:
    """Draws plans."""

    def __init__(self, random: Random, most: int) -> None:
        self._random = random
        self._most = most
        self._count = 0
        # There is one already that takes its process with it: each of its runs does so three times. (Before it has
        # children: who has any is taken for waiting, and never charged.)
        self._kills = False

    def plan(self, depth: int = 0) -> Plan:
        random = self._random
        self._count += 1
        plan: Plan = {
            "n": self._count,
            "task": random.choice([*TASKS, *SYNC]),
            "text": random.choice(TEXTS),
            "steps": [],
        }
        if random.random() < 0.2:
            plan["options"] = {"priority": random.randint(0, 3)}
        for _ in range(random.choice([0, 1, 2, 2, 3] if depth else [1, 2, 3, 4])):
            plan["steps"].append(self._step(depth, first=not plan["steps"]))
        return plan

    def _step(self, depth: int, *, first: bool) -> list[Any]:
        random = self._random
        kinds = (
            ["sleep", "sleep", "log"]
            + ["fail"] * (random.random() < 0.15)
            + ["die"] * (first and not self._kills and random.random() < 0.1)
        )
        if depth < DEEPEST and self._count < self._most:
            kinds += ["run", "many", "many", "start", "start", "join", "cancel", "twice", "keyed", "gather"]
        kind = random.choice(kinds)
        match kind:
            case "sleep":
                return [kind, random.choice([0.0, 0.01, 0.1, 0.3, 1.0, 4.0])]
            case "fail":
                return [kind, random.choice([1, 1, 1, 2, 4])]
            case "log" | "join" | "cancel" | "die":
                self._kills = self._kills or kind == "die"
                return [kind]
            case _:
                count = 1 if kind in ("run", "keyed") else random.choice([1, 2, 3, 6])
                children = [self.plan(depth + 1) for _ in range(count)]
                for child in children:
                    if random.random() < 0.2:
                        child.setdefault("options", {})["on_parent_end"] = random.choice(["cancel", "continue"])
                    if kind == "keyed":
                        child.setdefault("options", {})["child_key"] = f"key {child['n']}"
                timeout = random.choice([None] * 6 + [0.5, 5.0])
                return [kind, children, {"keep": random.random() < 0.75, "timeout": timeout}]


def without(plans: list[Plan], numbers: tuple[int, ...]) -> list[Plan]:
    """These, and all below them, but for those of these numbers."""
    kept = [plan for plan in plans if plan["n"] not in numbers]
    if numbers:
        for plan in kept:
            for step in plan["steps"]:
                if _has_children(step):
                    step[1] = without(step[1], numbers)
            plan["steps"] = [step for step in plan["steps"] if not _has_children(step) or step[1]]
    return kept


def shown(plans: list[Plan], indent: int = 2) -> str:
    """As text, a line for each run."""
    lines: list[str] = []
    for plan in plans:
        steps = ", ".join(" ".join(str(each) for each in step if not isinstance(each, list)) for step in plan["steps"])
        lines.append(f"{' ' * indent}{plan['n']} {plan['task']} {plan.get('options', '')}: {steps}\n")
        lines += [shown(step[1], indent + 2) for step in plan["steps"] if _has_children(step)]
    return "".join(lines)


def _has_children(step: list[Any]) -> bool:
    return len(step) > 1 and isinstance(step[1], list)


def declare(world: World, app: Fanwood) -> dict[str, Any]:
    """The tasks, of one process."""
    tasks: dict[str, Any] = {}

    def make(name: str, options: dict[str, Any]) -> None:
        async def task(input: dict[str, Any], ctx: Context) -> dict[str, Any]:
            with world.executing(app, ctx, input):
                return await _follow(world, app, tasks, input, ctx)

        def sync_task(input: dict[str, Any], ctx: Context) -> dict[str, Any]:
            with world.executing(app, ctx, input):
                return block(_follow(world, app, tasks, input, ctx), "a task")

        tasks[name] = app.task(name=name, **options)(sync_task if name in SYNC else task)

    for name, options in {**TASKS, **SYNC}.items():
        make(name, options)
    return tasks


async def _follow(world: World, app: Fanwood, tasks: dict[str, Any], plan: Plan, ctx: Context) -> dict[str, Any]:
    refs: list[tuple[Plan, Any]] = []
    for step in plan["steps"]:
        match step[0]:
            case "sleep":
                await Signal().wait(step[1])
            case "fail":
                if ctx.retry_count < step[1]:
                    raise ValueError(f"{plan['n']} fails")
            case "die":
                await world.die_of(app)
            case "log":
                ctx.log("said")
                ctx.progress(1, 2)
            case "join":
                for child, ref in refs:
                    with contextlib.suppress(TaskRunError):
                        _check(world, child, await ref.aio_result())
            case "cancel":
                for _, ref in refs[:1]:
                    await ref.aio_cancel()
            case "start":
                items = [_item(tasks, child) for child in step[1]]
                started = await tasks["plain"].aio_run_many_no_wait(items)
                refs += zip(step[1], started, strict=True)
            case _:
                await _wait(world, tasks, step)
    return {"n": plan["n"], "text": plan["text"]}


async def _wait(world: World, tasks: dict[str, Any], step: list[Any]) -> None:
    kind, children, about = step
    if kind == "twice":
        children = [*children, *children]
    with contextlib.suppress(WaitTimeoutError):
        if kind == "gather" and running_loop() is not None:
            each = [
                tasks[child["task"]].aio_run(child, timeout=about["timeout"], **child.get("options", {}))
                for child in children
            ]
            found = await asyncio.gather(*each, return_exceptions=about["keep"])
        else:
            found = await tasks["plain"].aio_run_many(
                [_item(tasks, child) for child in children], return_exceptions=about["keep"], timeout=about["timeout"]
            )
        for child, result in zip(children, found, strict=True):
            if not isinstance(result, BaseException):
                _check(world, child, result)
            elif not isinstance(result, (TaskRunError, WaitTimeoutError)):
                raise result


def _item(tasks: dict[str, Any], child: Plan) -> Any:
    return tasks[child["task"]].create_bulk_run_item(child, **child.get("options", {}))


def _check(world: World, plan: Plan, result: Any) -> None:
    expected = {"n": plan["n"], "text": plan["text"]}
    if result != expected:
        world.wrong(f"a parent got {result} from its child {plan['n']}, and not {expected}")


# --- clients ---------------------------------------------------------------------------------------------------------


async def client(world: World, tasks: dict[str, Any], app: Fanwood, plans: list[Plan]) -> None:
    """Starts some roots, one after another or at once, and wants to know how they end."""
    random = world.random
    if random.random() < 0.5 and not world.shape.in_turn:
        await asyncio.gather(*(_one_root(world, tasks, app, plan) for plan in plans))
    else:
        for plan in plans:
            await _one_root(world, tasks, app, plan)


async def _one_root(world: World, tasks: dict[str, Any], app: Fanwood, plan: Plan) -> None:
    random = world.random
    await asyncio.sleep(random.random() * world.shape.between)
    options = dict(plan.get("options", {}))
    if random.random() < 0.3:
        options["idempotency_key"] = f"key {random.randint(0, 3)} of {plan['n']}"
    ref = await _asked(world, lambda: tasks[plan["task"]].aio_run_no_wait(plan, **options))
    if ref is None:
        return
    world.acknowledged[ref.id] = plan
    fate = random.random()
    if fate < 0.25:
        await asyncio.sleep(random.random() * 5)
        if await _asked(world, lambda: _cancelled(ref)):
            world.cancelled(ref.id)
    await _result(world, plan, ref)
    if fate > 0.8:
        world.revived(ref.id)
        await _asked(world, lambda: app.runs.aio_replay(ref.id))
        await _result(world, plan, ref)


async def _cancelled(ref: Any) -> bool:
    await ref.aio_cancel()
    return True


async def _result(world: World, plan: Plan, ref: Any) -> None:
    with contextlib.suppress(TaskRunError):
        result = await _asked(world, ref.aio_result)
        if result is not None:
            _check(world, plan, result)


async def _asked(world: World, ask: Any) -> Any:
    """As a careful client does: what the store could not do is asked for again, for a while; None if it never could."""
    for _ in range(30):
        try:
            return await world.asked(ask)
        except TaskRunError:
            raise
        except RunNotFoundError:
            return None  # it was kept for a short time only
        except FanwoodError as error:
            world.note("client", f"{type(error).__name__}")
            await asyncio.sleep(1.0)
    return None
