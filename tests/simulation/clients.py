"""Clients of a world: they start roots, cancel, pause, patch and replay them, and want to know how they end."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

from fanwood import BudgetExceeded, Fanwood, FanwoodError, RunNotFoundError, UsageError
from fanwood.ids import id_bytes
from fanwood.model.states import RunState
from tests.simulation.outside import TIRED
from tests.simulation.plans import Plan, is_sure, options_of
from tests.simulation.surgery import GENERATIONS, Surgeon
from tests.simulation.together import FAILED

if TYPE_CHECKING:
    from tests.simulation.programs import Program
    from tests.simulation.world import World


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
        self._surgeon = Surgeon(program, app, self._asked)

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
        self._sure = self._sure and not self._world.shape.meddlers
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
        if self._world.shape.meddlers:
            await asyncio.gather(*(self._meddle() for _ in range(self._world.shape.meddlers)))
        await self._result()
        if fate > 0.8 or 0.25 < fate < 0.32:
            await self._again(self._ref.id)
            await self._result()
        elif fate > 0.7:
            await self._again(await self._some_child())
        elif fate > 0.65:
            await self._patch(self._ref.id)
        await self._operate()

    async def _meddle(self) -> None:
        """By hand, while it lives."""
        random, surgeon, id_ = self._world.random, self._surgeon, self._ref.id
        for _ in range(4):
            await asyncio.sleep(random.random() * 3)
            at = await self._some_child(parts=random.random() < 0.3) if random.random() < 0.7 else id_
            at = at or id_
            with contextlib.suppress(UsageError):
                match random.choice(["cancel", "pause", "again", "patch", "wake", "retry", "all", "fork"]):
                    case "cancel":
                        await self._cancel(at)
                    case "pause" if id_bytes(at) not in self._world.pausing:
                        self._world.pausing.add(id_bytes(at))
                        try:
                            await self._pause(at)
                        finally:
                            self._world.pausing.discard(id_bytes(at))
                    case "again":
                        await self._again(at)
                    case "patch":
                        await self._patch(at)
                    case "wake":
                        await self._wake()
                    case "retry":
                        await surgeon.retry(at)
                    case "all":
                        await surgeon.do_to_all(id_)
                    case "fork":
                        await surgeon.fork(id_, self._plan, None if at == id_ else at)
                    case _:
                        pass

    async def _operate(self) -> None:
        """By hand, when all is over."""
        random, surgeon, plan = self._world.random, self._surgeon, self._plan
        for generation in range(GENERATIONS):
            if random.random() > (0.25 if not generation else 0.4):
                break
            at = await self._some_child(parts=True) if random.random() < 0.5 else None
            ref = await surgeon.fork(self._ref.id, plan, at)
            if ref is None:
                break
            self._ref, self._sure = ref, surgeon.sure(plan)
            if random.random() < 0.15:
                self._sure = False
                await asyncio.sleep(random.random() * 3)
                await self._cancel(self._ref.id)
            await self._result()
        self._sure = False
        if random.random() < 0.15:
            with contextlib.suppress(UsageError):  # somebody else has it run
                await surgeon.retry(
                    self._ref.id if random.random() < 0.7 else (await self._some_child()) or self._ref.id
                )
            await self._result()
        if random.random() < 0.08:
            await surgeon.do_to_all(self._ref.id)
            await self._result()

    async def _start(self) -> Any:
        """Once, or by an idempotency key twice at once: that is the same run."""
        random, task = self._world.random, self._program.tasks[self._plan["task"]]
        options = options_of(self._plan)
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
        if paused is not None and id_bytes(run_id) not in self._world.resumed:
            self._world.watch.paused.add(id_bytes(run_id))
            await asyncio.sleep(self._world.random.random() * 4)
            self._world.watch.paused.discard(id_bytes(run_id))
        while await self._asked(lambda: self._app.runs.aio_resume(run_id)) is None and self._app.engine().alive:
            if id_bytes(run_id) in self._world.watch.deleted:
                return
        await self._asked(lambda: self._app.runs.aio_reprioritize(run_id, id_bytes(run_id)[-1] % 7 - 3))

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
        done = None if run_id is None else await self._asked(lambda: self._app.runs.aio_cancel(run_id))
        if run_id is not None and done is not None and (done or not self._world.shape.meddlers):
            self._world.cancelled(run_id, began)  # (what had ended closes nothing: what is below was replayed, perhaps)

    async def _again(self, run_id: str | None) -> None:
        if run_id is not None:
            self._world.watch.replays.add(id_bytes(run_id))
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
            except BudgetExceeded as error:
                self._world.tell(self._world.purse.refused(error))
                return None
            except FanwoodError as error:
                self._world.note("client", f"{type(error).__name__}")
                await asyncio.sleep(1.0)
        return None
