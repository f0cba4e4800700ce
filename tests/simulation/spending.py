"""What runs spend: what their code was told, and what stands in the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanwood import BudgetExceeded, Context
from fanwood.engine.signals import Signal
from fanwood.ids import id_bytes
from fanwood.model.budgets import SCALE, TOTAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.world import World


class Purse:
    """Of one world. All that is spent is gold."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._begun: dict[bytes, dict[Any, float]] = {}  # what each run was about to spend
        self._done: dict[bytes, set[Any]] = {}  # ... and was told that it has
        self._times = 0

    async def spend(self, ctx: Context, what: Any, amount: float, held: Any = None) -> None:
        """In the own code of a durable run once, whatever becomes of its attempts; each time in others, and if it is
        called nothing (`what`).

        Raises:
            BudgetExceeded: there is not so much.
        """
        self._times += 1
        lasting = what is not None and ctx._attempt.spec.durable is not None
        run_id, key = id_bytes(ctx.task_run_id), what if lasting else self._times
        self._begun.setdefault(run_id, {})[key] = amount
        try:
            await (ctx if held is None else held).aio_spend(gold=amount)
        except BudgetExceeded as error:
            self._world.tell(self.refused(error))
            if key in self._done.get(run_id, ()):
                self._world.wrong(f"{run_id.hex()[-6:]} has spent {amount} ({what}), and is refused it")
            del self._begun[run_id][key]
            raise
        if not lasting or self._world.parts.origin(run_id) is None:  # else it may be recorded that it was done before
            self._done.setdefault(run_id, set()).add(key)

    async def reserve(self, ctx: Context, what: tuple[Any, ...], held: float, amount: float, pause: float) -> None:
        """Hold so much for a while, and spend so much of it, or more.

        Raises:
            BudgetExceeded: there is not so much.
        """
        async with ctx.reserve(gold=held) as reservation:
            await Signal().wait(pause)
            await self.spend(ctx, what, amount, reservation)

    def refused(self, error: BudgetExceeded) -> Iterator[str]:
        """Somebody was refused something: there is not so much."""
        over = error.limit == "seconds" and error.used >= error.most
        if (error.used + error.wanted <= error.most and not over) or not error.owner:
            yield f"{error.run_id} was refused what there is: {error}"

    def at_the_end(self) -> Iterator[str]:
        """What was acknowledged stands there, and nothing that nobody was about to spend."""
        tables = self._world.tables
        for run_id in tables.spends:
            rows = tables.spends[run_id].values()
            there = sum(row.amount for row in rows if row.id != TOTAL and not row.held)
            begun, done = self._begun.get(run_id, {}), self._done.get(run_id, set())
            least, most = (
                sum(round(amount * SCALE) for key, amount in begun.items() if within is None or key in within)
                for within in (done, None)
            )
            if not least <= there <= most:
                yield f"{run_id.hex()[-6:]} has spent {there}, and was told of {least}, of {most} that it was about to"
        for run_id in self._done:
            if self._done[run_id] and run_id in tables.runs and run_id not in tables.spends:
                yield f"{run_id.hex()[-6:]} has spent something, and nothing of it is written"
