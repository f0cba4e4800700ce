"""Rows for people, as frozen records. Each function is one look through the reading connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanwood.model.commands import TaskInfo
from fanwood.model.records import LogRecord, RunFilter, RunRecord, StoreReport, TaskCount, TreeRun, WorkerRecord
from fanwood.model.states import RunState
from fanwood.store import rows
from fanwood.store.statements import load

if TYPE_CHECKING:
    from pathlib import Path

    from fanwood.store.sqlite.driver import Database


_SQL = load("sql/reading.sql", "sql/workers.sql")
SAFE_SQLITE = (3, 51, 3)  # older ones can corrupt a database in WAL mode that several connections write to


def run(db: Database, run_id: bytes) -> RunRecord | None:
    row = db.execute(_SQL["get_run"], {"id": run_id}).fetchone()
    return None if row is None else rows.record(row)


def find(db: Database, prefix: str, url: str) -> bytes:
    return rows.the_one(db.execute(_SQL["runs_from"], rows.id_range(prefix)).fetchall(), prefix, url)


def roots(db: Database, filter_: RunFilter) -> list[RunRecord]:
    return [rows.record(row) for row in db.execute(_SQL["list_roots"], rows.roots_bindings(filter_)).fetchall()]


def children(db: Database, bindings: dict[str, Any]) -> list[RunRecord]:
    return [rows.record(row) for row in db.execute(_SQL["list_children"], bindings).fetchall()]


def counts(db: Database, statement: str, bindings: dict[str, Any]) -> list[TaskCount]:
    return rows.counts(db.execute(_SQL[statement], bindings).fetchall())


def slowest(db: Database, run_id: bytes, task: str | None, limit: int) -> list[TreeRun]:
    bindings = {"id": run_id, "task": task, "limit": limit}
    return rows.slowest(db.execute(_SQL["tree_slowest"], bindings).fetchall())


def failures(db: Database, run_id: bytes, task: str | None, limit: int) -> list[TreeRun]:
    bindings = {"id": run_id, "task": task, "limit": limit}
    return rows.failures(db.execute(_SQL["tree_failures"], bindings).fetchall())


def logs(db: Database, run_id: bytes, after: int, limit: int) -> list[LogRecord]:
    found = db.execute(_SQL["logs"], {"id": run_id, "after": after, "limit": limit}).fetchall()
    return [LogRecord(*row) for row in found]


def workers(db: Database) -> list[WorkerRecord]:
    return [WorkerRecord(*row) for row in db.execute(_SQL["workers"]).fetchall()]


def tasks(db: Database) -> list[TaskInfo]:
    return [TaskInfo(*row) for row in db.execute(_SQL["known_tasks"]).fetchall()]


def report(db: Database, path: Path, url: str, now: int) -> StoreReport:
    """What can be told of the file without changing it."""
    version = str(db.execute("select sqlite_version()").get)
    problems: list[str] = []
    if tuple(int(part) for part in version.split(".")) < SAFE_SQLITE:
        problems.append(f"SQLite {version} can corrupt a database that several processes write to; use 3.51.3 or later")
    journal = str(db.pragma("journal_mode"))
    if journal != "wal":
        problems.append(f"journal mode is {journal}, expected wal")
    check = str(db.execute("pragma quick_check(1)").get)
    if check != "ok":
        problems.append(f"the file is damaged: {check}")
    return StoreReport(
        url=url,
        kind="SQLite",
        version=version,
        schema=int(db.pragma("user_version")),
        durability=f"journal_mode={journal}, synchronous=full: a commit is on the disk when it is acknowledged",
        durable=journal == "wal",
        size=sum(f.stat().st_size for f in (path, path.with_name(path.name + "-wal")) if f.exists()),
        now=now,
        counts={RunState(state): count for state, count in db.execute(_SQL["counts"]).fetchall()},
        orphans=[row[0] for row in db.execute(_SQL["orphans"]).fetchall()],
        problems=problems,
    )
