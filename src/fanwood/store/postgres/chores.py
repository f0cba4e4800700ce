"""What runs suffer outside the hot path: lost workers, timers, cancellation. Each function is part of one transaction.

They are the common SQL, but for what must be safe against commits that are under way at the same moment: that is done
by the functions of `migrations/`, which lock what they change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.ids import id_text
from fanwood.model.commands import Failure
from fanwood.store.failures import encode_failure, expired, poisoned
from fanwood.store.statements import load

if TYPE_CHECKING:
    from fanwood.store.postgres.connection import Transaction

_SQL = load("sql/lifecycle.sql", "sql/workers.sql", "postgres/chores.sql")


class Chores:
    """One transaction's chores, and whom they concern. `notify` them at its end."""

    def __init__(self, db: Transaction, now: int) -> None:
        self.db = db
        self._now = now
        self._told: list[int] = []
        self._ready: list[str] = []

    async def notify(self) -> None:
        """Tell those who listen, when the transaction is committed."""
        if self._told or self._ready:
            await self.db.value("select announce($1, $2)", self._told, self._ready)

    # --- lost workers ----------------------------------------------------------------------------------------------

    async def bury(self, worker: int, deaths_limit: int, *, if_lapsed: bool) -> int:
        """See `Store.bury`. The worker's row is locked first: a commit of its own waits, or is waited for."""
        db, now = self.db, self._now
        if not await db.rows("lock_worker", _SQL["lock_worker"], worker=worker, now=now if if_lapsed else 1 << 62):
            return 0
        fatal = await db.rows("poisoned_runs", _SQL["poisoned_runs"], worker=worker, limit=deaths_limit)
        # While it shows who waited for whom.
        released = await db.rows("release_runs", _SQL["release_runs"] + " returning task", worker=worker, now=now)
        self._ready += {row[0] for row in released}
        for run_id, task, deaths in fatal:
            error = encode_failure(poisoned(task, deaths + 1))
            await db.rows("poison_run", _SQL["poison_run"], id=run_id, worker=worker, now=now, error=error)
            await self._tell(run_id)
            await self._settle(run_id, "failed")
        await self.remove_worker(worker)
        return len(released) - len(fatal)

    async def remove_worker(self, worker: int) -> None:
        """Take out a worker that holds no runs."""
        for name in ("remove_worker_tasks", "remove_worker_mail", "remove_worker_watches", "remove_worker"):
            await self.db.rows(name, _SQL[name], worker=worker)
        await self.db.rows("remove_stray_mail", _SQL["remove_stray_mail"])

    # --- timers ----------------------------------------------------------------------------------------------------

    async def fire(self) -> int | None:
        """See `Store.tick`."""
        db, now = self.db, self._now
        promoted = await db.rows("promote_due", _SQL["promote_due"] + " returning task", now=now)
        self._ready += {row[0] for row in promoted}
        for row in await db.rows("expired_runs", _SQL["expired_runs"], now=now):
            run_id, task, deadline, deadline_by, schedule_timeout, expires_at, _parent = row
            by_deadline = deadline is not None and deadline <= expires_at
            error = encode_failure(expired(task, run_id, deadline_by if by_deadline else None, schedule_timeout))
            if await db.rows("expire_run", _SQL["expire_run"] + " returning id", id=run_id, now=now, error=error):
                await self._tell(run_id)
                await self._settle(run_id, "timed out")
        return await self.next_due()

    async def next_due(self) -> int | None:
        """When the next timer is due."""
        ((due,),) = await self.db.rows("next_due", _SQL["next_due"])
        return due

    # --- what people ask for ---------------------------------------------------------------------------------------

    async def cancel(self, run_id: bytes, reason: str) -> int:
        """Cancel a run and its subtree; how many it were."""
        error = encode_failure(Failure("cancelled", message=reason))
        below = encode_failure(Failure("cancelled", message=f"its ancestor {id_text(run_id)} was cancelled: {reason}"))
        rows = await self.db.rows("cancel", _SQL["cancel"], id=run_id, now=self._now, error=error, error_below=below)
        ((told, cancelled),) = rows
        self._told += told
        return cancelled

    async def replay(self, run_id: bytes) -> bool:
        """Queue an ended run again; False if somebody was quicker."""
        rows = await self.db.rows("replay_run", _SQL["replay_run"] + " returning task", id=run_id, now=self._now)
        self._ready += [row[0] for row in rows]
        return bool(rows)

    # --- within ----------------------------------------------------------------------------------------------------

    async def _tell(self, run_id: bytes) -> None:
        self._told += await self.db.value("select tell(0, array[$1::bytea])", run_id)

    async def _settle(self, run_id: bytes, how: str) -> None:
        error = encode_failure(Failure("cancelled", message=f"its ancestor {id_text(run_id)} {how}"))
        self._told += await self.db.value("select settle($1, true, 0, $2, $3)", run_id, self._now, error)
