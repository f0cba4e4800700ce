"""Databases with a history: made trees of 1,000 and single runs, written in bulk, and the same for the same number.

Each step of history is a tree, and a ninth as many single runs after it: so a tenth of all runs are roots without
children, and there are as many roots to list as there would be in use. One run in a hundred has failed, one was
cancelled; one root in a hundred bears metadata.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import apsw
import asyncpg

from benchmarks.databases import POSTGRES, Database
from fanwood.model.states import EndedBy, RunState

BRANCHES, TWIGS, LEAVES = 9, 10, 900  # below a root: so many branches with so many twigs each, and so many leaves
TREE = 1 + BRANCHES + BRANCHES * TWIGS + LEAVES
SINGLES = 111
STEP = TREE + SINGLES
STEP_MICROS = 60_000_000
TASKS = ("alpha/order", "alpha/report", "beta/order", "nightly")
"""Of roots. Three of four have a namespace, and half of them this one:"""
NAMESPACE = "alpha"
LEAF, BRANCH = "alpha/leaf", "alpha/branch"
TEAM = ("team", '"red"')
"""The metadata of one root in a hundred; beside it each of these has its own `order`."""
LOG_LINES = 50
AT_A_TIME = 50_000

COLUMNS = (
    "id", "parent_id", "root_id", "depth", "task", "identity", "child_index", "input", "metadata", "priority",
    "on_parent_end", "state", "attempt", "asked", "worker_id", "created_at", "started_at", "finished_at", "busy",
    "ended_by", "output", "error",
)  # fmt: skip
LOG_COLUMNS = ("run_id", "seq", "attempt", "at", "level", "message")
Row = tuple[Any, ...]

_C, _F, _X = int(RunState.COMPLETED), int(RunState.FAILED), int(RunState.CANCELLED)
_OUTPUT = '{"n":1}'
_FAILED = '{"kind":"failed","type":"ValueError","message":"made so"}'
_CANCELLED = '{"kind":"cancelled","message":"made so"}'
_ENDS = {
    _C: (int(EndedBy.OUTCOME), _OUTPUT, None),
    _F: (int(EndedBy.OUTCOME), None, _FAILED),
    _X: (int(EndedBy.CALL), None, _CANCELLED),
}


@dataclass(frozen=True)
class History:
    """So many runs, until `end` (microseconds)."""

    runs: int
    end: int

    @classmethod
    def until_now(cls, runs: int) -> History:
        return cls(runs, time.time_ns() // 1000)

    @property
    def steps(self) -> int:
        return self.runs // STEP

    def step_at(self, step: int) -> int:
        """When a step began."""
        return self.end - (self.steps - step + 1) * STEP_MICROS

    def root(self, step: int) -> bytes:
        """The root of a step's tree."""
        return _id(self.step_at(step), 0)

    def branch(self, step: int, number: int) -> bytes:
        """One of the branches below it."""
        return _id(self.step_at(step), 1 + number)

    def single(self, step: int, number: int) -> bytes:
        at = self.step_at(step)
        return _id(at + _single_after(number), TREE + number)

    def rows(self) -> Iterator[Row]:
        """All runs, by id: each index but the smallest grows at its end."""
        for step in range(self.steps):
            yield from _tree(step, self.step_at(step))
            yield from _singles(step, self.step_at(step))

    def log_rows(self) -> Iterator[Row]:
        for step in range(self.steps):
            at, root = self.step_at(step), self.root(step)
            yield from ((root, seq, 1, at + seq, "INFO", f"line {seq}") for seq in range(LOG_LINES))


def state_of(number: int) -> int:
    """One in a hundred has failed, one was cancelled."""
    return {0: _F, 1: _X}.get(number % 100, _C)


def failed_single(step: int) -> int:
    """The number of a single run of that step that has failed."""
    return -(step * SINGLES) % 100


def is_marked(number: int) -> bool:
    """Whether a single root bears metadata."""
    return number % 100 == 50


def _tree(step: int, at: int) -> Iterator[Row]:
    root, below = _id(at, 0), TREE - 1
    yield _row(root, TASKS[step % len(TASKS)], state_of(step), at, 30_000_000)
    branches = [_id(at, 1 + number) for number in range(BRANCHES)]
    for number, branch in enumerate(branches):
        yield _row(branch, BRANCH, _C, at, 20_000_000, parent=root, root=root, depth=1, index=number)
    for number in range(BRANCHES, below):
        twig = number < BRANCHES + BRANCHES * TWIGS
        parent, depth = (branches[number % BRANCHES], 2) if twig else (root, 1)
        took, state = 1_000_000 + number * 1000, state_of(number)
        yield _row(_id(at, 1 + number), LEAF, state, at, took, parent=parent, root=root, depth=depth, index=number)


def _singles(step: int, at: int) -> Iterator[Row]:
    for number in range(SINGLES):
        when, serial = at + _single_after(number), step * SINGLES + number
        metadata = f'{{"team":"red","order":{serial}}}' if is_marked(serial) else None
        task = TASKS[serial % len(TASKS)]
        yield _row(_id(when, TREE + number), task, state_of(serial), when, 100_000, metadata=metadata)


def _single_after(number: int) -> int:
    return 1_000_000 + number * 500_000


def _row(
    id_: bytes, task: str, state: int, at: int, took: int, *, parent: bytes | None = None, root: bytes | None = None,
    depth: int = 0, index: int | None = None, metadata: str | None = None,
) -> Row:  # fmt: skip
    ended_by, output, error = _ENDS[state]
    return (
        id_, parent, root or id_, depth, task, id_[::-1] if parent else None, index, "1", metadata, 1, 0, state, 1,
        1 if parent else 0, 1, at, at + 1000, at + took, took, ended_by, output, error,
    )  # fmt: skip


def _id(at: int, number: int) -> bytes:
    """A uuid7: of that millisecond, the one with that number (below 4,096). The rest is spread, but no dice."""
    rest = hashlib.blake2b(at.to_bytes(8, "big") + number.to_bytes(2, "big"), digest_size=7).digest()
    return (at // 1000).to_bytes(6, "big") + (0x7000 | number).to_bytes(2, "big") + b"\x80" + rest


# --- filling ---------------------------------------------------------------------------------------------------------


async def fill(database: Database, name: str, history: History) -> None:
    """Write it into a schema that is there, and leave it as a database is that has been in use for long."""
    tables = {"run": (COLUMNS, history.rows()), "log": (LOG_COLUMNS, history.log_rows())}
    await write(database, name, tables)


async def write(database: Database, name: str, tables: dict[str, tuple[tuple[str, ...], Iterator[Row]]]) -> None:
    """Rows for some tables, in bulk. Nobody else may be connected to an SQLite file meanwhile."""
    if database.store == POSTGRES:
        await _write_postgres(database.url, database.name(name), tables)
    else:
        _write_sqlite(database, name, tables)


def _write_sqlite(database: Database, name: str, tables: dict[str, tuple[tuple[str, ...], Iterator[Row]]]) -> None:
    connection = apsw.Connection(str(database.path(name)))
    try:
        for pragma, value in (("journal_mode", "off"), ("synchronous", "off"), ("cache_size", -512 * 1024)):
            connection.pragma(pragma, value)  # it is gone if the machine fails, and made anew then
        connection.execute("begin immediate")
        for table, (columns, rows) in tables.items():
            marks = ", ".join("?" * len(columns))
            connection.executemany(f"insert into {table} ({', '.join(columns)}) values ({marks})", rows)
        connection.execute("commit")
    finally:
        connection.close()


async def _write_postgres(url: str, schema: str, tables: dict[str, tuple[tuple[str, ...], Iterator[Row]]]) -> None:
    connection: Any = await asyncpg.connect(url)
    try:
        await connection.execute(f'set search_path to "{schema}"')
        for table, (columns, rows) in tables.items():
            while page := list(islice(rows, AT_A_TIME)):
                await connection.copy_records_to_table(table, records=page, columns=columns)
            await connection.execute(f"vacuum analyze {table}")  # as autovacuum would, but not in the midst of it
        with contextlib.suppress(asyncpg.InsufficientPrivilegeError):  # then it comes when it comes
            await connection.execute("checkpoint")
    finally:
        await connection.close()
