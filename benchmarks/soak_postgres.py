"""A soak's view of a PostgreSQL database."""

import json
from typing import Any

import asyncpg

from benchmarks.soak_looking import UNFINISHED, Figures, percentile, some_of, waits
from benchmarks.soak_processes import CpuMeter, is_postgres, memory
from benchmarks.soak_tasks import LEAF, TREE
from fanwood import Settings

READER = "soak reader"
NOW = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint"

ROOTS = """
    select id, created_at, started_at, finished_at from run
    where parent_id is null and created_at > $1 and created_at <= $2 order by created_at, id
"""
CHILDREN = """
    select c.id, c.created_at, c.started_at, c.finished_at
    from unnest($1::bytea[]) r (id) join run c on c.root_id = r.id and c.parent_id = r.id
"""
OLDEST = "select created_at from run where parent_id is null order by created_at, id limit 1"
SIZES = """
    select c.relname, c.relkind = 'i',
           case when c.relkind = 'i' then pg_relation_size(c.oid) else pg_table_size(c.oid) end
    from pg_class c where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'i')
"""
ACTIVITY = """
    select relname, n_live_tup, n_dead_tup, n_tup_ins, n_tup_upd, n_tup_hot_upd, n_tup_del, autovacuum_count,
           extract(epoch from clock_timestamp() - last_autovacuum)::float8
    from pg_stat_user_tables where schemaname = current_schema()
"""
ROWS = """
    select (select count(*) from mail), (select count(*) from watch),
           pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8
"""
SESSIONS = f"""
    select pid, coalesce(extract(epoch from clock_timestamp() - xact_start), 0)::float8,
           application_name like 'fanwood:%'
    from pg_stat_activity
    where datname = current_database() and backend_type = 'client backend' and application_name <> '{READER}'
"""

# What a claim begins with: how many pages it walks through, until it knows of the next run or that there is none.
WALK = """
    explain (analyze, buffers, format json)
    select r.id from run r where r.task = '{task}' and r.state = 0
    order by r.task, r.priority desc, r.root_id, r.depth desc, r.id limit 1
"""
WALKS = 5  # a queue that is empty at this moment, or not: the median


class PostgresWatcher:
    """See `Watcher`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: Any = None
        self._until = 0  # up to when trees were looked at
        self._rows_before: dict[str, tuple[int, ...]] = {}
        self._wal_before: float | None = None
        self._at = 0
        self._meter = CpuMeter()

    async def open(self) -> None:
        # As in the store: the planner is kept from reading whole tables, whatever it believes of them.
        server = {"application_name": READER, "search_path": self._settings.postgres_schema, "enable_seqscan": "off"}
        self._connection = await asyncpg.connect(
            self._settings.database_url, server_settings={**server, "enable_bitmapscan": "off", "jit": "off"}
        )
        self._until = self._at = await self._connection.fetchval(NOW)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def unfinished(self) -> int:
        return await self._connection.fetchval(UNFINISHED.format(tree=f"'{TREE}'"))

    async def look(self) -> Figures:
        now = await self._connection.fetchval(NOW)
        seconds, self._at = (now - self._at) / 1e6, now
        return {
            **await self._trees(now),
            **await self._walks(),
            **await self._sizes(),
            **await self._activity(seconds),
            **await self._contents(now, seconds),
            **await self._sessions(),
        }

    async def _trees(self, now: int) -> Figures:
        """Those of the time since the last look, up to a second ago: most have ended."""
        since, self._until = self._until, now - 1_000_000
        roots = await self._connection.fetch(ROOTS, since, self._until)
        children = await self._connection.fetch(CHILDREN, some_of(roots))
        return {**waits("root", roots, now), **waits("child", children, now)}

    async def _walks(self) -> Figures:
        pages: list[float] = []
        milliseconds: list[float] = []
        for _ in range(WALKS):
            plans = [json.loads(await self._connection.fetchval(WALK.format(task=task)))[0] for task in (LEAF, TREE)]
            pages.append(sum(_pages(plan["Plan"]) for plan in plans))
            milliseconds.append(sum(plan["Execution Time"] for plan in plans))
        return {"walk_pages": percentile(pages, 0.5), "walk_ms": percentile(milliseconds, 0.5)}

    async def _sizes(self) -> Figures:
        found = await self._connection.fetch(SIZES)
        figures = {f"{'index' if index else 'table'}:{name}": size / 1e6 for name, index, size in found}
        return {**figures, "all": sum(figures.values())}

    async def _activity(self, seconds: float) -> Figures:
        figures: Figures = {}
        for name, live, dead, *counts, vacuums, vacuumed in await self._connection.fetch(ACTIVITY):
            figures |= {f"dead:{name}": dead, f"vacuums:{name}": vacuums}
            if vacuumed is not None:
                figures[f"vacuumed:{name}"] = vacuumed
            if name == "run":
                before = self._rows_before.get(name, counts)
                inserted, updated, hot, deleted = (now - then for now, then in zip(counts, before, strict=True))
                figures |= {"live": live, "inserts": inserted / seconds, "deletes": deleted / seconds}
                figures["hot"] = 100 * hot / updated if updated else 0.0
                self._rows_before[name] = tuple(counts)
        return figures

    async def _contents(self, now: int, seconds: float) -> Figures:
        mail, watch, wal = await self._connection.fetchrow(ROWS)
        oldest = await self._connection.fetchval(OLDEST)
        written, self._wal_before = wal - (wal if self._wal_before is None else self._wal_before), wal
        figures = {"mail": mail, "watch": watch, "wal": written / 1e6 / seconds}
        return figures if oldest is None else {**figures, "oldest": (now - oldest) / 1e6}

    async def _sessions(self) -> Figures:
        sessions = await self._connection.fetch(SESSIONS)
        figures: Figures = {
            "connections": len(sessions),
            "transaction": max((age for _, age, _ in sessions), default=0),
        }
        ours = [pid for pid, _, is_ours in sessions if is_ours and is_postgres(pid)]
        held = [size for pid in ours if (size := memory(pid, "RssAnon")) is not None]
        if held:
            figures |= {"backend_memory": max(held), "backend_cpu": self._meter.spent(ours)}
        return figures


def _pages(plan: dict[str, Any]) -> int:
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
