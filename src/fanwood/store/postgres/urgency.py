"""Other priorities on PostgreSQL: see `store/prioritizing.py`, and `functions/14_urgency.sql`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fanwood.errors import RunNotFoundError
from fanwood.ids import id_text
from fanwood.model.records import Swept
from fanwood.store.pausing import must_have_code
from fanwood.store.postgres.chores import chores
from fanwood.store.postgres.gates import PASSES, part_of, wait_for_others
from fanwood.store.prioritizing import PAGE, Prioritizing

if TYPE_CHECKING:
    from fanwood.store.postgres.chores import Host, Places
    from fanwood.store.postgres.connection import Link, Transaction

_decode_told = msgspec.json.Decoder(tuple[int, bool, str | None]).decode


async def tell_urgency(host: Host, root: bytes | None) -> Swept:
    """A page of a tree hears of another priority. One round trip, but for the first page while others are at work."""
    seen = None
    for _ in range(PASSES):
        answer = await host.side.call("tell_urgency", root, seen, host.given_now, PAGE, host.notifies)
        looked, more, token = _decode_told(answer)
        if token is None:
            return Swept(0, more, looked)
        seen = token if await wait_for_others(host) else None
    return Swept(0, more=True)


class PostgresPrioritizing(Prioritizing):
    """The verb, on a store that has a server."""

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

    async def reprioritize(self, run_id: bytes, priority: int, by: str) -> int:
        kind, _ = await part_of(self, run_id)
        must_have_code(run_id, kind, "reprioritized")
        async with chores(self) as work:
            before = await work.db.value("select fw_reprioritize($1, $2, $3, $4)", run_id, work.now, priority, by)
        if before is None:
            raise RunNotFoundError(f"There is no run {id_text(run_id)} in {self.url}")
        return before
