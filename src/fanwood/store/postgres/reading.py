"""What people and `fanwood doctor` look at, beside the common SQL: the server, and its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanwood.model.records import StoreReport
from fanwood.model.states import RunState
from fanwood.store.postgres.schema import OLDEST_SERVER
from fanwood.store.statements import load

if TYPE_CHECKING:
    from fanwood.store.postgres.connection import Address, Transaction

_SQL = load("sql/reading.sql", "postgres/looking.sql")


async def report(db: Transaction, address: Address, now: int) -> StoreReport:
    """What can be told of the server and our schema without changing them."""
    ((version, number, fsync, commits, pages, standby, size, schema),) = await db.rows("server", _SQL["server"])
    counts = await db.rows("counts", _SQL["counts"])
    orphans = await db.rows("orphans", _SQL["orphans"])
    problems = list(_problems(int(number), fsync, commits, pages, standby=standby))
    return StoreReport(
        url=address.shown,
        kind="PostgreSQL",
        version=str(version),
        schema=int(schema),
        durability=f"fsync={fsync}, synchronous_commit={commits}, full_page_writes={pages}"
        + ("" if problems else ": a commit is on the disk when it is acknowledged"),
        durable=fsync == "on" and commits != "off",
        size=int(size),
        now=now,
        counts={RunState(state): count for state, count in counts},
        orphans=[row[0] for row in orphans],
        problems=problems,
    )


def _problems(number: int, fsync: str, commits: str, pages: str, *, standby: bool) -> Any:
    if fsync != "on":
        yield "fsync is off: a crash of the machine can destroy the database. Set fsync = on and restart the server"
    if commits == "off":
        yield (
            "synchronous_commit is off: what was acknowledged in the last second can be lost in a crash. Set it on, "
            "for the server, the database or the role"
        )
    if pages != "on":
        yield "full_page_writes is off: a crash of the machine can tear pages. Set it on"
    if standby:
        yield "this server is a standby: nothing can be written to it"
    if number < OLDEST_SERVER:
        yield f"PostgreSQL {number // 10000} is older than Fanwood supports (14)"
