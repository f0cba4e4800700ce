"""What programs do: tasks and workflows that follow their plans, and clients that start, cancel and replay them."""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from fanwood import (
    Context,
    Fanwood,
    FanwoodError,
    PromiseSettledError,
    PromiseTokenError,
    RunEndedError,
    RunNotFoundError,
    SleepCondition,
    UsageError,
    UserEventCondition,
    WaitTimeoutError,
    or_,
)
from fanwood.engine.signals import Signal, block, running_loop
from fanwood.ids import id_bytes, id_text
from fanwood.model.states import RunKind, RunState
from tests.simulation.parts import Asked
from tests.simulation.plans import (
    ALL,
    DURABLE_STEPS,
    KEYS,
    STEP_RETRIES,
    SYNC,
    WAITING,
    WORKFLOWS,
    Plan,
    is_strict,
    is_sure,
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
"""Seconds in which what nobody wants any more is cancelled, where nothing goes wrong."""
TIRED = 30
"""So often a client asks for the same."""


_here: ContextVar[_Attempt] = ContextVar("_here")
"""Who follows a plan in this task, or on this thread."""


class BrokenError(Exception):
    """Of a bulk whose items end too soon."""


class Program:
    """The tasks of one process."""

    def __init__(self, world: World, app: Fanwood) -> None:
        self.world = world
        self.app = app
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

        declare: Any = self.app.durable_task if "eviction_policy" in options else self.app.task
        self.tasks[name] = declare(name=name, **options)(sync_task if name in SYNC else task)

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
        if plan != self.world.maker.plans[plan["n"]]:
            self.world.wrong(f"a run got {plan}, and not what was sent")
        with self.world.executing(self.app, ctx, plan):
            return await _Attempt(self, plan, ctx).follow()

    def item(self, child: Plan) -> Any:
        """A run to be, of a bulk."""
        return self.tasks[child["task"]].create_bulk_run_item(child, **child.get("options", {}))

    def check(self, plan: Plan, result: Any, who: str) -> None:
        """What somebody got is the right one."""
        expected = self.world.maker.answer(plan)
        if result != expected:
            self.world.wrong(f"{who} got {result} from {plan['n']}, and not {expected}")


def declare(world: World, app: Fanwood) -> Program:
    """The tasks of one process."""
    return Program(world, app)


class _Attempt:
    """One attempt of a task, which follows its plan."""

    def __init__(self, program: Program, plan: Plan, ctx: Context) -> None:
        self._program = program
        self._plan = plan
        self._ctx = ctx
        self._refs: list[tuple[Plan, Any]] = []
        self._total = plan["n"]
        self._world, self._parts = program.world, program.world.parts
        self._run = id_bytes(ctx.task_run_id), ctx.invocation_count
        self._drawn: list[tuple[str, Any]] = []  # since something was recorded last

    async def follow(self) -> dict[str, Any]:
        _here.set(self)
        for number, step in enumerate(self._plan["steps"]):
            seconds = within(step)
            if seconds is None:
                await self._do(step, number)
                continue
            with contextlib.suppress(*FAILED):
                try:
                    async with asyncio.timeout(seconds) if running_loop() is not None else contextlib.nullcontext():
                        await self._do(step, number)
                except TimeoutError:
                    self._gave_up(step)
        return {"n": self._plan["n"], "text": self._plan["text"], "total": self._total}

    def _gave_up(self, step: list[Any]) -> None:
        """A wait was cancelled, and with it what it was for."""
        world = self._world
        if step[0] not in OWNING or any(world.rates.values()):
            return
        numbers = [child["n"] for child in step[1]]

        async def look(_: Fanwood) -> None:
            await asyncio.sleep(SOON)
            world.tell(self._parts.left(*self._run, numbers))

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
            case "nap" | "until":
                await self._sleep(number, step[0], step[1])
            case "promise" | "event" | "message" | "any":
                waits = {"promise": self._promise, "event": self._event, "message": self._message, "any": self._any}
                with contextlib.suppress(*FAILED):
                    await waits[step[0]](number, step[1], step[2])
            case "group" | "stream" | "each":
                await Together(self._program, self._ctx, step, number).wait()
            case "record":
                with contextlib.suppress(*FAILED if step[1]["keep"] else ()):
                    await self._record(number, step[1]["retries"])
            case "now":
                name = f"now {number}"
                self._drawn.append((name, (await ctx.aio_now(name), ctx.random(name), ctx.uuid(name))))
            case "above":
                if ctx.parent_workflow_run_id is not None:
                    await program.app.runs.aio_cancel(ctx.parent_workflow_run_id)
            case "join" | "cancel" | "cancel all":
                await self._afterwards(step[0])
            case "start" | "break":
                await self._start(step)
            case _:
                await self._wait(step)

    async def _sleep(self, number: int, kind: str, span: float) -> None:
        ctx, now = self._ctx, self._world.ground.now
        if kind == "nap":
            asked = Asked({"for": span}, span, None, now())
            await ctx.aio_sleep_for(span)
        else:
            until = await ctx.aio_now(f"until {number}") + timedelta(seconds=span)
            asked = Asked({"until": until.isoformat()}, span, round(until.timestamp() * 1e6), now())
            if self._world.random.random() < 0.4:
                self._world.outside(partial(_cancel_sleep, self._world, self._run[0], asked.said, span - 0.6))
            await ctx.aio_sleep_until(until)
        self._world.tell(self._parts.slept(*self._run, asked, self._world.watch.punctual_from))

    async def _promise(self, number: int, key: str, timeout: float) -> None:
        """Somebody is given the token, perhaps, and says a value; or two do."""
        world = self._world
        promise = await self._ctx.aio_promise(dict[str, Any], key, timeout=timeout)
        for _ in range(world.random.choice([0, 1, 1, 1, 2])):
            world.outside(partial(_settle, world, promise.token, {"n": self._plan["n"], "made": self._parts.made()}))
        value = await promise
        world.tell(self._parts.settled(promise.token, value))
        world.tell(self._parts.answered(self._run[0], f"promise {number}", value))

    async def _event(self, number: int, key: str, timeout: float) -> None:
        """It happens, perhaps."""
        world = self._world
        if world.random.random() < 0.7:
            world.outside(partial(_push, world, key, {"key": key, "made": self._parts.made()}))
        value = await self._ctx.aio_wait_for_event(key, timeout=timeout)
        world.tell(self._parts.happened(key, value))
        world.tell(self._parts.answered(self._run[0], f"event {number}", value))

    async def _message(self, number: int, name: str, timeout: float) -> None:
        """Some are sent to this run, perhaps; it receives one."""
        world, run_id = self._world, self._run[0]
        for _ in range(world.random.choice([0, 1, 1, 2])):
            world.outside(partial(_send, world, run_id, name))
        message = await self._ctx.aio_receive(name, timeout=timeout)
        world.tell(self._parts.received(run_id, name, message.payload))
        world.tell(self._parts.answered(run_id, f"message {number}", message.payload))

    async def _any(self, number: int, key: str, span: float) -> None:
        """What happens, or a while: whichever comes first, that is what came."""
        world = self._world
        if world.random.random() < 0.5:
            world.outside(partial(_push, world, key, {"key": key, "made": self._parts.made()}))
        while_, event = SleepCondition(span), UserEventCondition(key)
        came = await self._ctx.aio_wait_for(f"any {number}", or_(while_, event))
        if event in came:
            world.tell(self._parts.happened(key, came[event]))
        world.tell(self._parts.answered(self._run[0], f"any {number}", [while_ in came, came.get(event)]))

    async def _record(self, number: int, retries: int) -> None:
        """A step: what it gave stands there, and so does all that was drawn before."""
        value = await self._ctx.aio_step(_made, self._plan["n"], number, retries=retries)
        for what, answer in [*self._drawn, (number, value)]:
            self._world.tell(self._parts.answered(self._run[0], what, answer))
        self._drawn.clear()

    async def make(self, number: int) -> dict[str, Any]:
        """What a step does: another thing each time; it fails as its plan says, and first of all if it is tried
        again."""
        about = self._plan["steps"][number][1]
        self._world.tell(self._parts.does(*self._run, number, [self._plan["n"], number]))
        await Signal().wait(self._world.random.choice([0.0, 0.0, 0.05, 0.5]))
        if self._ctx.retry_count < about["fails"] or self._parts.times(*self._run, number) <= about["retries"]:
            raise ValueError(f"{self._plan['n']} makes nothing")
        return {"n": self._plan["n"], "text": self._plan["text"], "made": self._parts.made()}

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
        kind, children, about = step
        told = about["timeout"] is not None and "eviction_policy" in ALL.get(self._plan["task"], {})
        what = f"wait for {children[0]['n']} of trial {self._ctx._attempt.run.trial_start}"
        try:
            yield
        except WaitTimeoutError:
            if told and kind not in ("gather", "shared"):
                self._drawn.append((what, "gave up"))
            raise
        except FAILED:
            raise
        if told and kind not in ("gather", "shared"):
            self._drawn.append((what, "in time"))

    def _each(self, step: list[Any], times: int = 1) -> Iterator[Any]:
        """One by one; those of a shared key again and again, and it is one run."""
        _, children, about = step
        tasks = self._program.tasks
        for child in [*children] * times:
            call = tasks[child["task"]].aio_run(child, timeout=about["timeout"], **child.get("options", {}))
            yield _kept(call) if about["keep"] and times > 1 else call

    def _look_at(self, step: list[Any], found: list[tuple[Plan, Any]]) -> None:
        for child, result in found:
            if not isinstance(result, BaseException):
                self._program.check(child, result, "a parent")
                self._total += total_of(result) if is_strict(step) else 0
            elif not isinstance(result, (*FAILED, WaitTimeoutError)):
                raise result


async def _made(n: int, number: int) -> dict[str, Any]:
    """Of some run's plan, this step's."""
    attempt = _here.get()
    assert attempt._plan["n"] == n
    return await attempt.make(number)


async def _kept(call: Any) -> Any:
    """As `return_exceptions` has it."""
    try:
        return await call
    except FAILED as error:
        return error


# --- from outside ----------------------------------------------------------------------------------------------------


async def _settle(world: World, token: str, value: dict[str, Any], app: Fanwood) -> None:
    """Says the value of a promise, or that there will be none."""
    await asyncio.sleep(world.random.random() * 4)
    world.parts.sends(token, value)
    if world.random.random() < 0.2:
        await _insistently(world, partial(app.promises.aio_reject, token, "no"))
    elif await _insistently(world, partial(app.promises.aio_resolve, token, value)):
        world.tell(world.parts.settled(token, value))


async def _cancel_sleep(world: World, run_id: bytes, said: dict[str, Any], after: float, app: Fanwood) -> None:
    """Just before it would end: whoever tries again then finds it cancelled, and has slept long enough."""
    await asyncio.sleep(max(0.0, after))
    sleep = world.parts.find(run_id, RunKind.SLEEP, said)
    if sleep is not None:
        await _insistently(world, partial(app.runs.aio_cancel, id_text(sleep.id)))


async def _push(world: World, key: str, value: dict[str, Any], app: Fanwood) -> None:
    """Says that something has happened: whoever waits for it by then goes on."""
    await asyncio.sleep(world.random.random() * 4)
    world.parts.sends(key, value)
    waiting = world.parts.waiting_for(key)
    if await _insistently(world, partial(app.events.aio_push, key, value, id=f"event {value['made']}")) is not None:
        world.tell(world.parts.heard(waiting))


async def push_all(world: World, app: Fanwood) -> None:
    """All that may happen happens: whoever waits for something or a sleep has but the one, if the other was
    cancelled."""
    for key in KEYS:
        await _push(world, key, {"key": key, "made": world.parts.made()}, app)


async def resume_all(world: World, app: Fanwood) -> None:
    """Nothing is paused any more."""
    for run_id in list(world.tables.pauses):
        world.watch.paused.discard(run_id)
        await _insistently(world, partial(app.runs.aio_resume, id_text(run_id)))


async def _send(world: World, run_id: bytes, name: str, app: Fanwood) -> None:
    """Sends a run a message, or does not know whether it has: then it sends another one."""
    await asyncio.sleep(world.random.random() * 4)

    async def send() -> None:
        sent = world.parts.posts(run_id, name)
        await app.runs.aio_send(id_text(run_id), name, sent)
        world.parts.posted(run_id, name, sent)

    await _insistently(world, send)


async def _insistently(world: World, ask: Any) -> Any:
    """Until it is said, or can't be; None: it was not."""
    for _ in range(TIRED):
        try:
            return await ask()
        except (PromiseSettledError, PromiseTokenError, RunEndedError, RunNotFoundError):
            return None  # it has ended otherwise, or is gone
        except FanwoodError as error:
            world.note("outside", f"{type(error).__name__}")
            await asyncio.sleep(1.0)
    return None


# --- clients ---------------------------------------------------------------------------------------------------------


async def client(world: World, program: Program, app: Fanwood, plans: list[Plan]) -> None:
    """Starts some roots, one after another or at once, and wants to know how they end."""
    roots = [_Root(program, app, plan) for plan in plans]
    if world.random.random() < 0.5 and not world.shape.in_turn:
        await asyncio.gather(*(root.live() for root in roots))
    else:
        for root in roots:
            await root.live()


class _Root:
    """What a client does with one root."""

    def __init__(self, program: Program, app: Fanwood, plan: Plan) -> None:
        self._program = program
        self._world = program.world
        self._app = app
        self._plan = plan
        self._ref: Any = None
        self._sure = False  # it can't fail

    async def live(self) -> None:
        random = self._world.random
        await asyncio.sleep(random.random() * self._world.shape.between)
        self._ref = await self._start()
        if self._ref is None:
            return
        self._world.acknowledged[self._ref.id] = self._plan
        fate = random.random()
        calm = not any(self._world.rates.values()) and not self._world.maker.kills
        self._sure = calm and fate >= 0.35 and is_sure(self._plan) and self._world.maker.answer(self._plan) is not None
        if fate < 0.35:
            await asyncio.sleep(random.random() * 5)
            await self._cancel(self._ref.id if fate < 0.25 else await self._some_child(parts=True))
        elif fate < 0.45:
            await asyncio.sleep(random.random() * 5)
            await self._wake()
        elif fate < 0.5:
            await asyncio.sleep(random.random() * 5)
            queued = [
                child.id for child in await self._children(self._ref.id, parts=False) if child.status is RunState.QUEUED
            ]
            await self._patch(queued[0] if queued else await self._some_child())
        if random.random() < 0.12:
            await self._pause(self._ref.id if random.random() < 0.7 else await self._some_child())
        await self._result()
        if fate > 0.8 or 0.25 < fate < 0.32:
            await self._again(self._ref.id)
            await self._result()
        elif fate > 0.7:
            await self._again(await self._some_child())
        elif fate > 0.65:
            await self._patch(self._ref.id)

    async def _start(self) -> Any:
        """Once, or by an idempotency key twice at once: that is the same run."""
        random, task = self._world.random, self._program.tasks[self._plan["task"]]
        options = {**self._plan.get("options", {})}
        times = 1
        if random.random() < 0.3:
            options["idempotency_key"] = f"key of {self._plan['n']}"
            times = random.choice([1, 2])
        asked = [self._asked(lambda: task.aio_run_no_wait(self._plan, **options)) for _ in range(times)]
        refs = [ref for ref in await asyncio.gather(*asked) if ref is not None]
        if len({ref.id for ref in refs}) > 1 and not self._world.kept:
            self._world.wrong(f"{self._plan['n']} was started as {[ref.id for ref in refs]}, by one idempotency key")
        return refs[0] if refs else None

    async def _some_child(self, *, parts: bool = False) -> str | None:
        """Some run below the root, if there is any; or a part of one."""
        found, id_ = None, self._ref.id
        while children := await self._children(id_, parts=parts):
            id_ = found = self._world.random.choice(children).id
            if self._world.random.random() < 0.5:
                break
        return found

    async def _children(self, id_: str, *, parts: bool) -> list[Any]:
        found = await self._asked(partial(self._app.runs.aio_children, id_))
        return [child for child in found or () if parts or not child.task_name.startswith("~")]

    async def _wake(self) -> None:
        """Some sleeps below the root."""
        id_ = self._ref.id
        while children := await self._children(id_, parts=True):
            for child in children:
                if child.task_name == "~sleep" and child.status is RunState.WAITING:
                    woken = await self._asked(partial(self._app.runs.aio_wake, child.id))
                    self._world.tell(self._world.parts.woken(id_bytes(child.id), woken=bool(woken)))
            id_ = self._world.random.choice(children).id

    async def _pause(self, run_id: str | None) -> None:
        """For a while: nothing of it begins meanwhile. It is resumed in any case, as its answer may have been lost."""
        if run_id is None:
            return
        await asyncio.sleep(self._world.random.random() * 2)
        paused = await self._asked(lambda: self._app.runs.aio_pause(run_id))
        if paused is not None:
            self._world.watch.paused.add(id_bytes(run_id))
            await asyncio.sleep(self._world.random.random() * 4)
            self._world.watch.paused.discard(id_bytes(run_id))
        while await self._asked(lambda: self._app.runs.aio_resume(run_id)) is None:
            if id_bytes(run_id) in self._world.watch.deleted:
                break

    async def _patch(self, run_id: str | None) -> None:
        """What it would return, if nothing went wrong, is given to it by hand."""
        if run_id is None:
            return
        info = await self._asked(lambda: self._app.runs.aio_get(run_id))
        number = info.input.get("n", 0) if info and isinstance(info.input, dict) else 0
        plan = self._world.maker.plans.get(number)
        answer = self._world.maker.answer(plan) if plan and "parts" not in plan else None
        if answer is not None:
            with contextlib.suppress(UsageError):  # it has completed, and its parent may have gone on with that
                await self._asked(lambda: self._app.runs.aio_patch(run_id, output=answer), passed=(UsageError,))

    async def _cancel(self, run_id: str | None) -> None:
        began = self._world.time.now
        if run_id is not None and await self._asked(lambda: self._app.runs.aio_cancel(run_id)) is not None:
            self._world.cancelled(run_id, began)

    async def _again(self, run_id: str | None) -> None:
        if run_id is not None:
            await self._asked(lambda: self._app.runs.aio_replay(run_id))

    async def _result(self) -> None:
        try:
            result = await self._asked(self._ref.aio_result)
        except FAILED as error:
            if self._sure:
                self._world.wrong(f"{self._plan['n']} can't fail, and did: {error}")
        else:
            if result is not None:
                self._program.check(self._plan, result, "a client")

    async def _asked(self, ask: Any, passed: tuple[type[Exception], ...] = ()) -> Any:
        """As a careful client does: what the store could not do is asked for again, for a while; None if it never
        could."""
        for _ in range(TIRED):
            try:
                return await self._world.asked(ask)
            except (*FAILED, *passed):
                raise
            except RunNotFoundError:
                return None  # it was kept for a short time only
            except FanwoodError as error:
                self._world.note("client", f"{type(error).__name__}")
                await asyncio.sleep(1.0)
        return None
