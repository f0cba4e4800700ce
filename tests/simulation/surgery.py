"""What clients of a world do to trees by hand when they have ended: they fork, retry what failed, and act on all that a
filter lets through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanwood import FanwoodError, UsageError
from fanwood.ids import id_bytes
from fanwood.sdk.running.waiting import called
from fanwood.server.choosing import Action, ActionFilter, Wanted, page
from fanwood.server.deeds import _do
from tests.simulation.outside import TIRED
from tests.simulation.plans import is_sure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fanwood import Fanwood
    from tests.simulation.plans import Plan
    from tests.simulation.programs import Program

GENERATIONS = 3
"""A fork of a fork of a fork."""
PAGE = 3
"""Runs that an action finds together."""
ACTIONS: tuple[Action, ...] = ("retry", "replay", "reprioritize", "retry_failures", "cancel")


class Surgeon:
    """Of one client. `ask`: as he asks for anything."""

    def __init__(self, program: Program, app: Fanwood, ask: Callable[..., Awaitable[Any]]) -> None:
        self._world = program.world
        self._app = app
        self._ask = ask

    async def fork(self, run_id: str, plan: Plan, at: str | None) -> Any:
        """A fork of a run; of it, or of what it is made at, with another input, perhaps. None: it can't be made."""
        runs, maker = self._app.runs, self._world.maker
        given: dict[str, Any] = {}
        if self._world.random.random() < 0.3:
            place = plan if at is None else await self._plan_of(at)
            given = {} if place is None else {"input": maker.another(place)}
        try:
            ref = await self._ask(lambda: runs.aio_fork(run_id, at=at, **given), passed=(UsageError,))
        except UsageError as error:
            self._world.note("client", f"can't fork: {error}")
            return None
        if ref is None:
            return None
        self._world.acknowledged[ref.id] = plan
        info, forks = await self._ask(lambda: runs.aio_get(ref.id)), await self._ask(lambda: runs.aio_forks(run_id))
        made = None if info is None else info.fork
        if info is not None and (made is None or (made.of, made.at, made.changed) != (run_id, at, bool(given))):
            self._world.wrong(f"{ref.id} is {made}, and was made of {run_id}, at {at}")
        there = info is not None and id_bytes(ref.id) not in self._world.watch.deleted  # (old trees are, meanwhile)
        if there and forks is not None and ref.id not in [each.id for each in forks]:
            self._world.wrong(f"{ref.id} is not among the forks of {run_id}")
        return ref

    async def retry(self, run_id: str) -> None:
        """What failed of it runs again."""
        self._world.watch.retried.add(id_bytes(run_id))
        count = await self._ask(lambda: self._app.runs.aio_retry_failures(run_id), passed=(UsageError,))
        self._world.note("client", f"retries {count} failures of {run_id[-6:]}")

    async def do_to_all(self, root_id: str) -> None:
        """One action on all of a tree that fits, page after page, as the tasks of an action do it."""
        random, store = self._world.random, self._app.engine().call
        action = random.choice(ACTIONS)
        priority = random.randint(-2, 3) if action == "reprioritize" else None
        after: str | None = ""
        wanted = Wanted(action, ActionFilter(tree=root_id), "", self._world.ground.now() + 1, priority)
        while after is not None:
            found = await self._ask(lambda: called(store(lambda there: page(there, wanted, after or "", PAGE))))  # noqa: B023
            if found is None:
                return
            ids, after = [run.id for run in found.runs], found.after
            if ids:
                self._world.watch.replays.update(ids if action in ("retry", "replay") else ())
                self._world.watch.retried.update(ids if action == "retry_failures" else ())
                await self._do(wanted, ids)

    async def _do(self, wanted: Wanted, ids: list[bytes]) -> None:
        for again in [False] + [True] * TIRED:
            try:
                ask = self._app.engine().call
                done = await self._world.asked(
                    lambda: called(
                        ask(lambda store: _do(store, wanted, ids, "all", again=again), changes=True)  # noqa: B023
                    )
                )
            except FanwoodError as error:
                self._world.note("client", f"{wanted.action}: {type(error).__name__}")
                continue
            if not 0 <= done <= len(ids):
                self._world.wrong(f"{wanted.action} was done to {done} of {len(ids)} runs")
            return

    async def _plan_of(self, run_id: str) -> Plan | None:
        """What a run with code was given, if it can be given something else."""
        info = await self._ask(lambda: self._app.runs.aio_get(run_id))
        given = None if info is None or info.task_name.startswith("~") else info.input
        plan = self._world.maker.plans.get(given["n"]) if isinstance(given, dict) and "n" in given else None
        return plan if plan is not None and plan["task"] != "step" else None

    def sure(self, plan: Plan) -> bool:
        """Whether a fork of it can't fail."""
        world = self._world
        calm = not any(world.rates.values()) and not world.maker.kills
        return calm and is_sure(plan) and world.maker.answer(plan) is not None
