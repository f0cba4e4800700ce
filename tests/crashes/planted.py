"""Mistakes that show only when a process dies at the wrong moment, each as it might be made; and what must be seen."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fanwood.store.sqlite.chores import Chores
from fanwood.store.sqlite.store import SqliteStore


def torn() -> None:
    """What should be one transaction is many."""

    @contextlib.contextmanager
    def transaction(store: SqliteStore) -> Iterator[Any]:
        assert store._connection is not None
        yield store._connection

    SqliteStore._transaction = transaction  # type: ignore[method-assign, assignment]


def hasty() -> None:
    """An answer is given, and what it is about is committed later."""

    @contextlib.contextmanager
    def transaction(store: SqliteStore) -> Iterator[Any]:
        assert store._connection is not None
        if not store._connection.in_transaction:
            store._connection.execute("begin immediate")
        yield store._connection

    SqliteStore._transaction = transaction  # type: ignore[method-assign, assignment]


def forgetful() -> None:
    """A dead worker goes before what it had."""
    take = Chores.take_lease

    def take_lease(chores: Chores, worker_id: int, now: int, *, if_lapsed: bool) -> bool:
        taken = take(chores, worker_id, now, if_lapsed=if_lapsed)
        chores._execute("delete from worker where id = ?", [worker_id])
        return taken

    Chores.take_lease = take_lease  # type: ignore[method-assign]


@dataclass(frozen=True)
class Mistake:
    """`plant` makes it, in the process that is killed at `point`."""

    plant: Callable[[], None]
    scenario: str
    point: str
    seen: str


PLANTED = (
    Mistake(torn, "idempotent_root", "sqlite: commit/insert_run", "a key of no run"),
    Mistake(hasty, "bulk", "engine: LocalWorker.close: begins", "was acknowledged, and is gone"),
    Mistake(forgetful, "reaping", "sqlite: reap/queue_runs", "RUNNING under nobody"),
)
