"""The raw floor of SQLite: apsw, with the settings of Fanwood's own connections. See `floor.py`."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import apsw

from benchmarks.floor import BATCH, WORKER, batches
from fanwood.ids import SystemIds
from fanwood.store.sqlite.connection import CHECKPOINT_PAGES

COMMITS = 200


@dataclass(frozen=True)
class Shape:
    """What a row is, in the four statements of its life. Each takes what `insert_row` and so on below make."""

    name: str
    schema: str
    insert: str
    claim: str
    complete: str
    insert_row: Callable[[bytes, bytes, int, int], tuple[object, ...]]  # id, parent, number, now
    claim_row: Callable[[int], tuple[object, ...]]  # now
    complete_row: Callable[[bytes, int], tuple[object, ...]]  # id, now


DURABLE = Shape(
    name="floor",
    schema="""
        create table run (
            id blob not null primary key, parent_id blob, task text not null, state integer not null,
            priority integer not null, input text not null, output text, attempt integer not null, worker_id integer,
            created_at integer not null, started_at integer, finished_at integer
        ) without rowid;
        create index run_queue on run (priority desc, id) where state = 0;
        create index run_parent on run (parent_id, id);
    """,
    insert="""
        insert into run (id, parent_id, task, state, priority, input, attempt, created_at)
        values (?, ?, ?, ?, ?, ?, ?, ?)
    """,
    claim="""
        update run set state = 1, attempt = attempt + 1, worker_id = ?, started_at = ?
        where id in (select id from run where state = 0 order by priority desc, id limit 1000)
        returning id, input
    """,
    complete="""
        update run set state = ?, output = ?, finished_at = ? where id = ? and state = 1 and attempt = ?
    """,
    insert_row=lambda id_, parent, number, now: (id_, parent, "child", 0, 1, f'{{"n":{number}}}', 0, now),
    claim_row=lambda now: (WORKER, now),
    complete_row=lambda id_, now: (2, "1", now, id_, 1),
)

BARE = Shape(
    name="bare floor",
    schema="""
        create table run (id blob not null primary key, state integer not null, payload text not null) without rowid;
        create index run_queue on run (id) where state = 0;
    """,
    insert="insert into run (id, state, payload) values (?, 0, ?)",
    claim="""
        update run set state = 1 where id in (select id from run where state = 0 order by id limit 1000)
        returning id, payload
    """,
    complete="update run set state = 2, payload = ? where id = ? and state = 1",
    insert_row=lambda id_, parent, number, now: (id_, f'{{"n":{number}}}'),
    claim_row=lambda now: (),
    complete_row=lambda id_, now: ("1", id_),
)


def seconds_for(shape: Shape, path: Path, rows: int) -> float:
    """How long `rows` rows of that shape take from insert to completion, in a new database at `path`."""
    connection = _connect(path)
    try:
        connection.execute(shape.schema)
        _live(connection, shape, BATCH)  # statements prepared, file grown: as the fan-out's warm-up
        start = time.perf_counter()
        completed = sum(_live(connection, shape, count) for count in batches(rows))
        seconds = time.perf_counter() - start
    finally:
        connection.close()
    assert completed == rows, f"the {shape.name} completed {completed} of {rows} rows"
    return seconds


def commit_ms(path: Path) -> float:
    """What inserting one row of the bare shape takes, alone, in a new database at `path`. The median of many."""
    connection, taken = _connect(path), list[float]()
    try:
        connection.execute(BARE.schema)
        for number in range(COMMITS):
            row = BARE.insert_row(SystemIds().new_id(), bytes(16), number, 0)
            start = time.perf_counter()
            with _transaction(connection):
                connection.execute(BARE.insert, row)
            taken.append(time.perf_counter() - start)
    finally:
        connection.close()
    return median(taken) * 1e3


def asked(path: Path, statement: str) -> int:
    """One number."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return connection.execute(statement).get
    finally:
        connection.close()


def _connect(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path))
    for name, value in (
        ("journal_mode", "wal"),
        ("synchronous", "full"),
        ("wal_autocheckpoint", CHECKPOINT_PAGES),
        ("cache_size", -32 * 1024),
    ):
        connection.pragma(name, value)
    return connection


def _live(connection: apsw.Connection, shape: Shape, count: int) -> int:
    """The whole life of `count` rows; how many were completed."""
    new_id, now, parent = SystemIds().new_id, time.time_ns() // 1000, bytes(16)
    with _transaction(connection):
        rows = [shape.insert_row(new_id(), parent, number, now) for number in range(count)]
        connection.executemany(shape.insert, rows)
    with _transaction(connection):
        claimed = [id_ for id_, _ in connection.execute(shape.claim, shape.claim_row(now))]
    before = connection.total_changes()
    with _transaction(connection):
        connection.executemany(shape.complete, [shape.complete_row(id_, now) for id_ in claimed])
    return connection.total_changes() - before


class _transaction:  # noqa: N801  (reads as the statement that it is)
    """`begin immediate` ... `commit`. (apsw's own context manager makes savepoints.)"""

    def __init__(self, connection: apsw.Connection) -> None:
        self._execute = connection.execute

    def __enter__(self) -> None:
        self._execute("begin immediate")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._execute("commit" if kind is None else "rollback")
