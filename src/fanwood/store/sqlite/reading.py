"""Rows for people, as frozen records. Each function is one look through the reading connection."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from fanwood.model.commands import ANSWER_BYTES, FIRST_CHUNK, TaskInfo
from fanwood.model.records import (
    AttemptRecord,
    Audited,
    Few,
    Known,
    LeftOver,
    LogRecord,
    Page,
    RunFilter,
    RunRecord,
    StoreReport,
    TaskCount,
    TreeRun,
    Unserved,
    Walk,
    WorkerRecord,
)
from fanwood.store import listing as listings
from fanwood.store import noted, rows
from fanwood.store.sqlite.driver import damaged
from fanwood.store.sqlite.leaving import encoded
from fanwood.store.statements import load
from fanwood.store.unserved import FAR, LONG, said

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fanwood.store.sqlite.connection import Syncing
    from fanwood.store.sqlite.driver import Database
    from fanwood.store.store import Place


_HINT = re.compile(r"/\* (indexed by \w+|not indexed) \*/")
"""What is said to SQLite alone, in statements that others read as well."""
_SQL = {
    name: _HINT.sub(r"\1", sql)
    for name, sql in load("sql/reading.sql", "sql/why.sql", "sql/lens.sql", "sqlite/listing.sql").items()
}
SYNCHRONOUS, FULL = ("off", "normal", "full", "extra"), 2
FIRST_ROOTS = 4  # that are looked at together; then twice as many
SAFE_SQLITE = (3, 51, 3)  # older ones can corrupt a database in WAL mode that several connections write to


def run(db: Database, run_id: bytes) -> RunRecord | None:
    row = db.execute(_SQL["get_run"], {"id": run_id}).fetchone()
    return None if row is None else rows.record(row)


def looked(db: Database, name: str, bindings: dict[str, Any]) -> list[Any]:
    return db.execute(_SQL[name], bindings).fetchall()


def left_over(db: Database, tasks: Sequence[str], programs: Sequence[int], limit: int) -> list[LeftOver]:
    found = (_left_over_of(db, task, programs, limit) for task in tasks)
    return [left for left in found if left.count]


def _left_over_of(db: Database, task: str, programs: Sequence[int], limit: int) -> LeftOver:
    """To find a row by its id SQLite compares it with whole rows: with large inputs a few are enough."""
    roots: list[tuple[str, int]] = msgspec.json.decode(
        db.execute(_SQL["left_over"], {"task": task, "limit": limit}).get
    )
    count = foreign = size = place = 0
    while place < len(roots) and size < ANSWER_BYTES:
        page = roots[place : 2 * place + FIRST_ROOTS]
        bindings = {"roots": encoded([root for root, _ in page])}
        whose = msgspec.json.decode(db.execute(_SQL["left_over_of"], bindings).get)
        for (_, runs), (asked, bytes_) in zip(page, whose, strict=False):
            count, size = count + runs, size + bytes_
            foreign += runs if asked and asked not in programs else 0
        place += len(page)
    version = db.execute(_SQL["task_version"], {"task": task}).get or 0
    return LeftOver(task, count, foreign, version, more=place < len(roots) or count >= limit)


def previews(db: Database, ids: Sequence[bytes], length: int) -> list[str]:
    return [db.execute(_SQL["preview"], {"id": id_, "length": length}).get or "" for id_ in ids]


def log_end(db: Database, run_id: bytes) -> int:
    last = db.execute(_SQL["log_end"], {"id": run_id, "until": FIRST_CHUNK}).get
    return -1 if last is None else last


def listing(db: Database, filter_: RunFilter) -> Page:
    found = db.execute(_SQL[listings.statement(filter_)], listings.bindings(filter_))
    try:
        return listings.page(filter_, found)
    finally:
        found.close()  # it may not have come to its end, and would hold up the log's being begun anew


def counts(db: Database, statement: str, bindings: dict[str, Any]) -> list[TaskCount]:
    return rows.counts(db.execute(_SQL[statement], bindings).fetchall())


def recalled(db: Database, parent_id: bytes, after: bytes, limit: int, most: int) -> list[Known]:
    about = {"parent": parent_id, "after": after, "limit": limit, "most": most}
    return rows.recalled(db.execute(_SQL["recalled"], about).fetchall())


def recorded_few(db: Database, parents: Sequence[tuple[bytes, bytes]], limit: int, most: int) -> list[Few]:
    asked = encoded([(parent.hex(), after.hex()) for parent, after in parents])
    found = db.execute(_SQL["recorded_few"], {"parents": asked, "limit": limit + 1, "most": most}).get
    return [
        rows.recorded_few([(bytes.fromhex(identity), bytes.fromhex(id_), *rest) for identity, id_, *rest in of], limit)
        for of in msgspec.json.decode(found)
    ]


def tree_counts(db: Database, run_id: bytes) -> list[TaskCount]:
    root = _root(db, run_id)
    return counts(db, "tree_counts" if root == run_id else "subtree_counts", {"id": run_id, "root": root})


def _root(db: Database, run_id: bytes) -> bytes | None:
    return db.execute(_SQL["get_root"], {"id": run_id}).get


def slowest(db: Database, run_id: bytes, task: str | None, limit: int) -> list[TreeRun]:
    bindings = {"id": run_id, "root": _root(db, run_id), "task": task, "limit": limit}
    name = "tree_slowest" if bindings["root"] == run_id else "subtree_slowest"
    return rows.slowest(db.execute(_SQL[name], bindings).fetchall())


def failures(db: Database, run_id: bytes, task: str | None, limit: int) -> list[TreeRun]:
    bindings = {"id": run_id, "root": _root(db, run_id), "task": task, "limit": limit}
    name = "tree_failures" if bindings["root"] == run_id else "subtree_failures"
    return rows.failures(db.execute(_SQL[name], bindings).fetchall())


def logs(db: Database, run_id: bytes, after: int, limit: int, until: int) -> list[LogRecord]:
    found = db.execute(_SQL["logs"], {"id": run_id, "after": after, "limit": limit, "until": until}).fetchall()
    return [LogRecord(*row) for row in found]


def attempts(db: Database, run_id: bytes) -> list[AttemptRecord]:
    return rows.attempts(db.execute(_SQL["attempts"], {"id": run_id}).fetchall())


def workers(db: Database) -> list[WorkerRecord]:
    return [WorkerRecord(*row) for row in db.execute(_SQL["workers"]).fetchall()]


def tasks(db: Database) -> list[TaskInfo]:
    return [TaskInfo(*row) for row in db.execute(_SQL["known_tasks"]).fetchall()]


def unserved(db: Database, now: int) -> list[Unserved]:
    return [Unserved(*row) for row in db.execute(_SQL["unserved"], {"now": now}).fetchall()]


def audit(db: Database, walk: Walk, after: Place, limit: int) -> list[Audited]:
    return rows.audited(db.execute(_SQL["audit"], rows.audit_bindings(walk, after, limit)).fetchall(), walk)


class Seen(NamedTuple):
    """What a report says of the store beside its contents."""

    path: Path
    url: str
    now: int
    syncing: Syncing  # of the connection that commits


def report(db: Database, seen: Seen, *, full: bool) -> StoreReport:
    """What can be told of the file without changing it; `full`: also what takes a look at every page of it."""
    version = str(db.execute("select sqlite_version()").get)
    problems: list[str] = []
    if tuple(int(part) for part in version.split(".")) < SAFE_SQLITE:
        problems.append(f"SQLite {version} can corrupt a database that several processes write to; use 3.51.3 or later")
    journal, synchronous = str(db.pragma("journal_mode")), SYNCHRONOUS[seen.syncing.synchronous]
    if journal != "wal":
        problems.append(f"journal mode is {journal}, expected wal")
    synced = seen.syncing.synchronous >= FULL
    if not synced:
        problems.append(
            f"synchronous is {synchronous}, expected full: what was acknowledged last can be lost in a crash"
        )
    if not seen.syncing.through_the_drive:
        problems.append(
            "fullfsync is off: what was acknowledged last can be lost from the drive's own cache in a crash"
        )
    durable = journal == "wal" and synced and seen.syncing.through_the_drive
    if full and (check := str(db.execute("pragma quick_check(1)").get)) != "ok":
        problems.append(damaged(seen.path, " ".join(check.split())))
    counted = _SQL["counts" if full else "unfinished_counts"]
    problems += said(db.execute(_SQL["put_off"], {"most": FAR, "long": LONG}).fetchall(), seen.now)
    problems += noted.problems(db.execute(_SQL["settings"]).fetchall())
    files = (seen.path, seen.path.with_name(seen.path.name + "-wal"))
    return StoreReport(
        url=seen.url,
        kind="SQLite",
        version=version,
        schema=int(db.pragma("user_version")),
        durability=f"journal_mode={journal}, synchronous={synchronous}"
        + (": a commit is on the disk when it is acknowledged" if durable else ""),
        durable=durable,
        size=sum(file.stat().st_size for file in files if file.exists()),
        now=seen.now,
        counts=rows.tally(db.execute(counted).fetchall()),
        counted=full,
        orphans=[row[0] for row in db.execute(_SQL["orphans"]).fetchall()],
        problems=problems,
    )
