"""What people and `fanwood doctor` look at."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from fanwood.model.records import Few, Page, RunFilter, RunRecord, StoreReport, TaskCount, TreeRun
from fanwood.store import listing as listings
from fanwood.store import noted, rows
from fanwood.store.postgres.schema import OLDEST_SERVER
from fanwood.store.statements import load
from fanwood.store.unserved import FAR, LONG, said

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from fanwood.store.postgres.connection import Address, Transaction

_HINT = re.compile(r"/\* in postgres: (.*?) \*/", re.DOTALL)
"""What is said to PostgreSQL alone, in statements that others read as well. (Bounds of rows say nothing new, but only
an index of a tree has them. Without, where one parent has nearly all rows, it takes each parent for such a one.)"""
SQL = {
    name: _HINT.sub(r"\1", sql)
    for name, sql in load(
        "sql/reading.sql", "sql/why.sql", "sql/lens.sql", "postgres/looking.sql", "postgres/listing.sql"
    ).items()
}
"""Children at a time."""
FEW = 2_000
"""So many roots with the same metadata are sorted; if there are more, walking finds enough of them soon."""
SPARSE = 10
"""A walk that finds less than this part of a page does not find enough of them soon."""
_NO_JSONB = re.compile(r"\\u(0000|[dD][89abAB])|[0-9]{250}|(:|,|\[)\s*-?[0-9.]+[eE][+]?[0-9]{4,}\s*(,|\]|\})")
"""What the index `run_metadata` leaves out, as jsonb can't hold it: nothing that is looked for is like that."""


async def get(db: Transaction, run_id: bytes) -> RunRecord | None:
    found = await db.rows("get_run", SQL["get_run"], id=run_id)
    return rows.record(found[0]) if found else None


async def recorded_few(
    looked: Callable[..., Awaitable[list[Any]]], parents: Sequence[tuple[bytes, bytes]], limit: int, most: int
) -> list[Few]:
    """See `Store.recorded_few`."""
    ids, afters = [parent for parent, _ in parents], [after for _, after in parents]
    of = [list[Any]() for _ in parents]
    for number, *row in await looked("recorded_few", ids=ids, afters=afters, limit=limit + 1, most=most):
        of[number - 1].append(row)
    return [rows.recorded_few(few, limit) for few in of]


async def listing(db: Transaction, filter_: RunFilter) -> Page:
    """See `Store.listing`."""
    name, bindings = listings.statement(filter_), listings.bindings(filter_)
    if _NO_JSONB.search(bindings["metadata"]):
        return Page([])
    page = listings.page(filter_, await db.rows(name, SQL[name], **bindings))
    sparse = page.after is not None and len(page.runs) * SPARSE < filter_.limit
    if filter_.metadata and name == "list_roots" and sparse:
        return await _few(db, filter_, bindings["metadata"], page)
    return page


async def _few(db: Transaction, filter_: RunFilter, metadata: str, page: Page) -> Page:
    """After a walk that found next to nothing: all the others at once, if there are few with this metadata."""
    few, name = "few_with_metadata", "list_with_metadata"
    await db.value("set local enable_bitmapscan to on")
    if len(await db.rows(few, SQL[few], metadata=metadata, limit=FEW + 1)) > FEW:
        return page
    left = replace(filter_, after=page.after, limit=filter_.limit - len(page.runs))
    rest = listings.page(left, await db.rows(name, SQL[name], **{**listings.bindings(left), "walk": FEW + 1}))
    return Page([*page.runs, *rest.runs], rest.after)


async def tree_counts(db: Transaction, run_id: bytes) -> list[TaskCount]:
    root = await _root(db, run_id)
    name = "tree_counts" if root == run_id else "subtree_counts"
    return rows.counts(await db.rows(name, SQL[name], id=run_id, root=root))


async def slowest(db: Transaction, run_id: bytes, task: str | None, limit: int) -> list[TreeRun]:
    about = {"id": run_id, "root": await _root(db, run_id), "task": task, "limit": limit}
    name = "tree_slowest" if about["root"] == run_id else "subtree_slowest"
    return rows.slowest(await db.rows(name, SQL[name], **about))


async def failures(db: Transaction, run_id: bytes, task: str | None, limit: int) -> list[TreeRun]:
    about = {"id": run_id, "root": await _root(db, run_id), "task": task, "limit": limit}
    name = "tree_failures" if about["root"] == run_id else "subtree_failures"
    return rows.failures(await db.rows(name, SQL[name], **about))


async def _root(db: Transaction, run_id: bytes) -> bytes | None:
    found = await db.rows("get_root", SQL["get_root"], id=run_id)
    return found[0][0] if found else None


async def report(db: Transaction, address: Address, now: int, *, full: bool) -> StoreReport:
    """What can be told of the server and our schema without changing them."""
    ((version, number, fsync, commits, pages, standby, size, schema),) = await db.rows("server", SQL["server"])
    name = "counts" if full else "unfinished_counts"
    counts = await db.rows(name, SQL[name])
    orphans = await db.rows("orphans", SQL["orphans"])
    put_off = said(await db.rows("put_off", SQL["put_off"], most=FAR, long=LONG), now)
    problems = list(_problems(int(number), fsync, commits, pages, standby=standby))
    for (awaited,) in await db.rows("lost_standbys", SQL["lost_standbys"]):
        problems.append(
            f"commits wait for a synchronous standby that is not there (synchronous_standby_names is {awaited!r}): "
            f"nothing is acknowledged until it is. Start it, or take it out of that setting and reload the server"
        )
    problems += noted.problems([*await db.rows("settings", SQL["settings"]), ("number", "0")])
    durable = fsync == "on" and commits != "off" and pages == "on"
    return StoreReport(
        url=address.shown,
        kind="PostgreSQL",
        version=str(version),
        schema=int(schema),
        durability=f"fsync={fsync}, synchronous_commit={commits}, full_page_writes={pages}"
        + (": a commit is on the disk when it is acknowledged" if durable else ""),
        durable=durable,
        size=int(size),
        now=now,
        counts=rows.tally(counts),
        counted=full,
        orphans=[row[0] for row in orphans],
        problems=[*problems, *put_off],
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
