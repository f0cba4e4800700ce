"""Rows for people, as frozen records. Each function is one look through the reading connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanwood.errors import RunNotFoundError
from fanwood.model.commands import TaskInfo
from fanwood.model.records import (
    LogRecord,
    RunFilter,
    RunRecord,
    StoreReport,
    TaskCount,
    TreeRun,
    WorkerRecord,
)
from fanwood.model.states import RunState
from fanwood.store.statements import load

if TYPE_CHECKING:
    from pathlib import Path

    from fanwood.store.sqlite.driver import Database


_SQL = load("sql/reading.sql", "sql/workers.sql")
_ID_HEX_DIGITS = 32
SAFE_SQLITE = (3, 51, 3)  # older ones can corrupt a database in WAL mode that several connections write to
_STATE = 9  # the column of the state in a run's row


def _record(row: Any) -> RunRecord:
    values = list(row)
    values[_STATE] = RunState(values[_STATE])
    return RunRecord(*values)


def run(db: Database, run_id: bytes) -> RunRecord | None:
    row = db.execute(_SQL["get_run"], {"id": run_id}).fetchone()
    return None if row is None else _record(row)


def find(db: Database, prefix: str, url: str) -> bytes:
    digits = prefix.replace("-", "").lower()
    if not digits or len(digits) > _ID_HEX_DIGITS or not set(digits) <= set("0123456789abcdef"):
        raise RunNotFoundError(f"{prefix!r} is not a run id, nor the beginning of one")
    low, high = bytes.fromhex(digits.ljust(_ID_HEX_DIGITS, "0")), bytes.fromhex(digits.ljust(_ID_HEX_DIGITS, "f"))
    rows = db.execute(_SQL["runs_from"], {"low": low, "high": high}).fetchall()
    if len(rows) == 1:
        return rows[0][0]
    what = "more than one run's id begins" if rows else "no run's id begins"
    raise RunNotFoundError(f"In {url} {what} with {prefix!r}")


def roots(db: Database, filter_: RunFilter) -> list[RunRecord]:
    bindings = {
        "task": filter_.task,
        "prefix": filter_.prefix,
        "prefix_end": None if filter_.prefix is None else filter_.prefix + "\U0010ffff",
        "state": filter_.state,
        "since": filter_.since,
        "limit": filter_.limit,
    }
    return [_record(row) for row in db.execute(_SQL["list_roots"], bindings).fetchall()]


def children(db: Database, bindings: dict[str, Any]) -> list[RunRecord]:
    return [_record(row) for row in db.execute(_SQL["list_children"], bindings).fetchall()]


def counts(db: Database, statement: str, bindings: dict[str, Any]) -> list[TaskCount]:
    rows = db.execute(_SQL[statement], bindings).fetchall()
    return [
        TaskCount(task, RunState(state), count, first, last or None, *took)
        for task, state, count, first, last, *took in rows
    ]


def slowest(db: Database, run_id: bytes, task: str | None, limit: int) -> list[TreeRun]:
    rows = db.execute(_SQL["tree_slowest"], {"id": run_id, "task": task, "limit": limit}).fetchall()
    return [TreeRun(id_, name, input_, took, None) for id_, name, input_, took in rows]


def failures(db: Database, run_id: bytes, task: str | None, limit: int) -> list[TreeRun]:
    rows = db.execute(_SQL["tree_failures"], {"id": run_id, "task": task, "limit": limit}).fetchall()
    return [TreeRun(id_, name, input_, None, error) for id_, name, input_, error in rows]


def logs(db: Database, run_id: bytes, after: int, limit: int) -> list[LogRecord]:
    rows = db.execute(_SQL["logs"], {"id": run_id, "after": after, "limit": limit}).fetchall()
    return [LogRecord(*row) for row in rows]


def workers(db: Database) -> list[WorkerRecord]:
    return [WorkerRecord(*row) for row in db.execute(_SQL["workers"]).fetchall()]


def tasks(db: Database) -> list[TaskInfo]:
    return [TaskInfo(*row) for row in db.execute(_SQL["known_tasks"]).fetchall()]


def task_bindings(task: TaskInfo) -> dict[str, Any]:
    return {
        "name": task.name,
        "kind": task.kind,
        "description": task.description,
        "priority": task.priority,
        "schedule_timeout": task.schedule_timeout,
        "metadata": task.metadata,
        "schema": task.schema,
    }


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
