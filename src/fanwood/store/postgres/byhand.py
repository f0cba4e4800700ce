"""What is done to runs of a server by hand."""

from __future__ import annotations

from fanwood.model.records import Swept
from fanwood.store import pausing, prioritizing
from fanwood.store.postgres.chores import SQL
from fanwood.store.postgres.gates import paged, sweep
from fanwood.store.postgres.many import PostgresMany
from fanwood.store.postgres.patching import PostgresPatching
from fanwood.store.postgres.pausing import PostgresPausing
from fanwood.store.postgres.urgency import PostgresPrioritizing


class PostgresByHand(PostgresPausing, PostgresPatching, PostgresPrioritizing, PostgresMany):
    """All of it, on a store that has a server."""

    async def sweep(self, run_id: bytes | None = None) -> Swept:
        """See `Store.sweep`. A page of what was paused is queued as well, and one hears of other priorities: of all
        trees or of that of one run."""
        swept, others = await sweep(self, run_id)
        if not others:
            return swept
        root = None
        if run_id is not None:
            async with self.side.transaction() as db:
                root = (await db.rows("root_of", SQL["root_of"], id=run_id))[0][0]
        released = await paged(self, "release", root, pausing.PAGE)
        told = await paged(self, "tell_urgency", root, prioritizing.PAGE)
        more = swept.more or released.more or told.more
        return Swept(swept.ended, more, swept.looked + released.looked + told.looked)
