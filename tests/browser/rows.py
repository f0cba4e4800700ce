"""Writes runs into a store's file by hand, in any state and with any text in them, the same for the same clock."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import apsw

from fanwood import Settings, SystemClock
from fanwood.ids import id_text
from fanwood.model.commands import FIRST_CHUNK, TEXT_CHUNK
from fanwood.model.states import EndedBy, RunState, Waits
from fanwood.store.opening import store_for

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
SLOTS = 8
LEASE = 10 * SECOND

Q, R, W, C, F, X = RunState
_ENDED_BY = {C: EndedBy.OUTCOME, F: EndedBy.OUTCOME, X: EndedBy.CALL}


class Writer:
    """A new file, in which nothing else writes. `now`: when all of it is seen."""

    def __init__(self, file: Path, now: int, *, lease: int = HOUR) -> None:
        self.file = file
        self.url = f"sqlite:///{file}"
        self.now = now
        self._lease = lease  # how much longer workers live, if nobody looks after them
        asyncio.run(_create(self.url))
        self._tables: dict[str, list[dict[str, Any]]] = {}
        self._runs: dict[bytes, dict[str, Any]] = {}
        self._logged: dict[bytes, int] = {}
        self._given: dict[bytes, int] = {}
        self._workers = 0
        self._events = 0

    def run(
        self, task: str, state: RunState = C, parent: bytes | None = None, *, at: int, took: int = SECOND,
        queued: int = 2_000, input: Any = None, output: Any = None, error: dict[str, str] | None = None,
        metadata: dict[str, Any] | None = None, busy: int | None = None, **columns: Any,
    ) -> bytes:  # fmt: skip
        """A run that was spawned at that time, waited for `queued` microseconds, and took so long since."""
        id_ = _id(at, len(self._runs))
        above = self._runs.get(parent, {}) if parent else {}
        started = None if state is Q or (state is W and not columns.get("attempt")) else at + queued
        ended = state.is_terminal
        row: dict[str, Any] = {
            "id": id_, "parent_id": parent, "root_id": above.get("root_id", id_), "depth": above.get("depth", -1) + 1,
            "task": task, "identity": hashlib.blake2b(id_, digest_size=16).digest() if parent else None,
            "child_index": len(self._runs) if parent else None, "input": _json({} if input is None else input),
            "metadata": None if metadata is None else _json(metadata), "priority": 1, "on_parent_end": 0,
            "state": int(state), "waits": int(Waits.TIME) if state is W else None, "attempt": int(started is not None),
            "asked": 1, "created_at": at, "started_at": started,
            "finished_at": (started or at) + took if ended else None,
            "busy": took if busy is None and ended else busy or 0, "ended_by": int(_ENDED_BY[state]) if ended else None,
            "output": _json(output) if state is C else None, "error": _json(error) if error else None,
        }  # fmt: skip
        if state is X and error is None:
            row["error"] = _json({"kind": "cancelled", "message": "cancelled by a call"})
        self._runs[id_] = row | columns
        return id_

    def worker(self, name: str, host: str, tasks: list[str], *, slots: int = SLOTS, up: int = HOUR) -> int:
        self._workers += 1
        number = self._workers
        self.add("worker", id=number, name=name, host=host, pid=4_000 + number, slots=slots,
                  started_at=self.now - up, lease=LEASE)  # fmt: skip
        self.add("lease", worker_id=number, expires_at=self.now + self._lease + self._workers * SECOND // 10)
        for task in tasks:
            self.add("worker_task", task=task, worker_id=number)
        return number

    def task(self, name: str, description: str = "", kind: str = "task", schema: dict[str, Any] | None = None) -> None:
        self.add("task", name=name, kind=kind, description=description, priority=1, updated_at=self.now,
                  schema=None if schema is None else _json(schema))  # fmt: skip

    def key(self, run: bytes, key: str) -> None:
        """A root's."""
        self._runs[run]["child_key"] = key
        self.add("idem", namespace="", key=key, run_id=run, digest=run)

    def log(self, run: bytes, message: str, *, at: int, level: str = "info", attempt: int = 1) -> None:
        seq = self._logged[run] = self._logged.get(run, -1) + 1
        self.add("log", run_id=run, seq=seq, attempt=attempt, at=at, level=level, message=message)

    def chunk(self, run: bytes, text: str, *, at: int, attempt: int = 1) -> None:
        """Something that it gave out."""
        seq = self._given[run] = self._given.get(run, FIRST_CHUNK - 1) + 1
        self.add("log", run_id=run, seq=seq, attempt=attempt, at=at, level=TEXT_CHUNK, message=text)

    def event(self, key: str, payload: Any, *, at: int, scope: str | None = None, id: str | None = None,
              metadata: dict[str, Any] | None = None) -> str:  # fmt: skip
        """Something that has happened, after all that were given before; its id."""
        self._events += 1
        id_ = id_text(_id(at, self._events)) if id is None else id
        self.add("event", id=id_, number=self._events, key=key, scope=scope, payload=_json(payload), at=at, open=0,
                 metadata=None if metadata is None else _json(metadata), digest=b"x")  # fmt: skip
        return id_

    def attempt(
        self, run: bytes, number: int, *, at: int, took: int, worker: str, error: dict[str, str] | None
    ) -> None:
        """One after which its run went on; without an error its worker was lost."""
        self.add("attempt", run_id=run, number=number, worker_id=None, worker=worker, state=int(F if error else Q),
                  started_at=at, finished_at=at + took, due_at=at + took,
                  error=None if error is None else _json(error))  # fmt: skip

    def write(self) -> None:
        tables = {**self._tables, "run": list(self._runs.values())}
        with contextlib.closing(apsw.Connection(str(self.file))) as connection:
            connection.execute("begin immediate")
            for table, rows in tables.items():
                columns = list(dict.fromkeys(name for row in rows for name in row))
                marks = ", ".join("?" * len(columns))
                connection.executemany(
                    f"insert or replace into {table} ({', '.join(columns)}) values ({marks})",
                    ([row.get(name) for name in columns] for row in rows),
                )
            connection.execute("update setting set value = '1' where name = 'members'")
            connection.execute("commit; analyze")

    def add(self, table: str, **row: Any) -> None:
        """A row of any other table."""
        self._tables.setdefault(table, []).append(row)


async def _create(url: str) -> None:
    store = store_for(Settings.load(database_url=url), SystemClock())
    await store.open(lambda: None)
    await store.close()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _id(at: int, number: int) -> bytes:
    """A uuid7 of that time: the rest is spread, but no dice."""
    rest = hashlib.blake2b(number.to_bytes(8, "big"), digest_size=7).digest()
    return (at // 1000).to_bytes(6, "big") + (0x7000 | number % 4096).to_bytes(2, "big") + b"\x80" + rest
