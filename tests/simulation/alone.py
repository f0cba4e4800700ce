"""What a run does of its own: sleeps, recorded steps, waits for what comes from outside, and what it spends."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from fanwood import BudgetExceeded, Context, SleepCondition, UserEventCondition, or_
from fanwood.engine.signals import Signal
from fanwood.ids import id_bytes
from tests.simulation import outside
from tests.simulation.parts import Asked
from tests.simulation.plans import VERSIONED, Plan, within
from tests.simulation.together import FAILED

if TYPE_CHECKING:
    from tests.simulation.world import World

_here: ContextVar[Alone] = ContextVar("_here")
"""Who follows a plan in this task, or on this thread."""


class Alone:
    """Of one attempt."""

    def __init__(self, world: World, plan: Plan, ctx: Context) -> None:
        self.plan = plan
        self._ctx = ctx
        self._world, self._parts, self._purse = world, world.parts, world.purse
        self._run = id_bytes(ctx.task_run_id), ctx._attempt.run.attempt
        self._versions = plan["task"] in VERSIONED
        self.drawn: list[tuple[str, Any]] = []  # since something was recorded last
        if self._versions:
            self.drawn.append(("version", ctx.version))

    def begin(self) -> None:
        """What is done in this task, or on this thread, is this attempt's."""
        _here.set(self)

    async def do(self, step: list[Any], number: int) -> bool:
        """Whether it is such a step; it is done then."""
        ctx = self._ctx
        match step[0]:
            case "nap" | "until":
                await self._sleep(number, step[0], step[1])
            case "promise" | "event" | "message" | "any":
                waits = {"promise": self._promise, "event": self._event, "message": self._message, "any": self._any}
                with contextlib.suppress(*FAILED):
                    await waits[step[0]](number, step[1], step[2])
            case "record":
                with contextlib.suppress(*FAILED if step[1]["keep"] else ()):
                    await self._record(number, step[1]["retries"])
            case "now":
                name = f"now {number}"
                self.drawn.append((name, (await ctx.aio_now(name), ctx.random(name), ctx.uuid(name))))
                if self._versions:
                    self.drawn.append((f"version {number}", await ctx.aio_version_at(name)))
            case "spend":
                await self._purse.spend(ctx, self._named("spend", number), step[1])
            case "reserve":
                await self._purse.reserve(ctx, self._named("reserve", number), *step[1:])
            case _:
                return False
        return True

    def _answered(self, kind: str, number: int, value: Any) -> None:
        """... which is the same in each attempt: unless a wait before it for the same was given up, and taken up by
        this one. That may be in time when it is tried again."""
        steps = self.plan["steps"]
        same = [step for step in steps[:number] if step[:2] == steps[number][:2]]
        if not any(within(step) is not None for step in same):
            self._world.tell(self._parts.answered(self._run[0], self._named(kind, number), value))

    def _named(self, *what: Any) -> tuple[Any, ...]:
        """Something of this run's; in another life it follows another plan."""
        return self.plan["n"], *what

    async def _sleep(self, number: int, kind: str, span: float) -> None:
        ctx, now = self._ctx, self._world.ground.now
        if kind == "nap":
            asked = Asked({"for": span}, span, None, now())
            await ctx.aio_sleep_for(span)
        else:
            until = await ctx.aio_now(f"until {number}") + timedelta(seconds=span)
            if self._world.shape.even:
                until = until.replace(microsecond=0) + timedelta(seconds=1)
            asked = Asked({"until": until.isoformat()}, span, round(until.timestamp() * 1e6), now())
            if self._world.random.random() < 0.4:
                self._world.outside(partial(outside.cancel_sleep, self._world, self._run[0], asked.said, span - 0.6))
            await ctx.aio_sleep_until(until)
        self._world.tell(self._parts.slept(*self._run, asked, self._world.watch.punctual_from))

    async def _promise(self, number: int, key: str, timeout: float) -> None:
        """Somebody is given the token, perhaps, and says a value; or two do."""
        world = self._world
        promise = await self._ctx.aio_promise(dict[str, Any], key, timeout=timeout)
        for _ in range(world.random.choice([0, 1, 1, 1, 2])):
            world.outside(
                partial(outside.settle, world, promise.token, {"n": self.plan["n"], "made": self._parts.made()})
            )
        value = await promise
        world.tell(self._parts.settled(promise.token, value, forked=self._parts.origin(self._run[0]) is not None))
        self._answered("promise", number, value)

    async def _event(self, number: int, key: str, timeout: float) -> None:
        """It happens, perhaps."""
        world = self._world
        if world.random.random() < 0.7:
            world.outside(partial(outside.push, world, key, {"key": key, "made": self._parts.made()}))
        value = await self._ctx.aio_wait_for_event(key, timeout=timeout)
        world.tell(self._parts.happened(key, value))
        self._answered("event", number, value)

    async def _message(self, number: int, name: str, timeout: float) -> None:
        """Some are sent to this run, perhaps; it receives one."""
        world, run_id = self._world, self._run[0]
        for _ in range(world.random.choice([0, 1, 1, 2])):
            world.outside(partial(outside.send, world, run_id, name))
        message = await self._ctx.aio_receive(name, timeout=timeout)
        world.tell(self._parts.received(run_id, name, message.payload))
        self._answered("message", number, message.payload)

    async def _any(self, number: int, key: str, span: float) -> None:
        """What happens, or a while: whichever comes first, that is what came."""
        world = self._world
        if world.random.random() < 0.5:
            world.outside(partial(outside.push, world, key, {"key": key, "made": self._parts.made()}))
        while_, event = SleepCondition(span), UserEventCondition(key)
        came = await self._ctx.aio_wait_for(f"any {number}", or_(while_, event))
        if event in came:
            world.tell(self._parts.happened(key, came[event]))
        world.tell(self._parts.answered(self._run[0], self._named("any", number), [while_ in came, came.get(event)]))

    async def _record(self, number: int, retries: int) -> None:
        """A step: what it gave stands there, and so does all that was drawn before."""
        value = await self._ctx.aio_step(_made, self.plan["n"], number, retries=retries)
        for what, answer in [*self.drawn, (number, value)]:
            self._world.tell(self._parts.answered(self._run[0], self._named(what), answer))
        self.drawn.clear()

    async def make(self, number: int) -> dict[str, Any]:
        """What a step does: another thing each time; it fails as its plan says, and first of all if it is tried
        again."""
        about = self.plan["steps"][number][1]
        self._world.tell(self._parts.does(*self._run, number, [self.plan["n"], number]))
        await Signal().wait(self._world.random.choice([0.0, 0.0, 0.05, 0.5]))
        if about["costs"]:
            with contextlib.suppress(BudgetExceeded):
                await self._purse.spend(self._ctx, None, about["costs"])
        if self._ctx.retry_count < about["fails"] or self._parts.times(*self._run, number) <= about["retries"]:
            raise ValueError(f"{self.plan['n']} makes nothing")
        return {"n": self.plan["n"], "text": self.plan["text"], "made": self._parts.made()}


async def _made(n: int, number: int) -> dict[str, Any]:
    """Of some run's plan, this step's."""
    alone = _here.get()
    assert alone.plan["n"] == n
    return await alone.make(number)
