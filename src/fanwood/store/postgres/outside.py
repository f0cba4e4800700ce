"""What comes to runs from outside, in PostgreSQL: see `store/outside.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.model.records import Settled
from fanwood.model.states import RunState
from fanwood.store.outside import Outside
from fanwood.store.parts import must_promise
from fanwood.store.postgres.chores import SQL, chores
from fanwood.store.postgres.gates import part_of, wake

if TYPE_CHECKING:
    from fanwood.store.postgres.chores import Places
    from fanwood.store.postgres.connection import Link, Transaction


class PostgresOutside(Outside):
    """The verbs, on a store that has a server."""

    url: str
    lease: float
    places: Places
    side: Link
    notifies: bool

    @property
    def given_now(self) -> int | None:
        raise NotImplementedError

    async def instant(self, db: Transaction) -> int:
        raise NotImplementedError

    async def secret(self) -> str:
        return await self.side.call("secret")

    async def take_secret(self, secret: str) -> None:
        async with self.side.transaction() as db:
            await db.rows("take_secret", SQL["take_secret"], secret=secret)

    async def wake(self, run_id: bytes) -> bool:
        """See `Store.wake`."""
        return await wake(self, run_id)

    async def settle(self, run_id: bytes, state: RunState, output: str | None, error: str | None) -> Settled:
        kind, _ = await part_of(self, run_id)
        must_promise(run_id, kind)
        async with chores(self) as work:
            await work.db.call("fw_enter_gates")
            ((done, end, output, error, told),) = await work.db.call(
                "fw_settle", run_id, work.now, int(state), output, error
            )
            work.told += told
        return Settled(done, RunState(end), output, error)
