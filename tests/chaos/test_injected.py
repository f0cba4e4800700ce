"""A store whose every verb may raise anything at any time: no engine dies, no caller hangs, and all ends well.

What a verb raises it raises before it does anything: afterwards a store is asked again, and would know.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
from pathlib import Path
from typing import Any

import apsw
import asyncpg
import pytest

from fanwood import Context, Fanwood, RunState
from fanwood.engine import commits, services
from fanwood.errors import StoreBusyError, StoreError, StoreReadOnlyError, StoreSchemaError, StoreUnavailableError
from fanwood.store.store import Store
from tests.chaos.scale import scaled

ERRORS: list[type[BaseException]] = [
    sqlite3.OperationalError, apsw.BusyError, apsw.IOError, asyncpg.InterfaceError, asyncpg.InternalServerError,
    OSError, ConnectionResetError, TimeoutError, MemoryError, ValueError, KeyError, IndexError, RuntimeError,
    AssertionError, RecursionError, asyncio.CancelledError, StoreError, StoreBusyError, StoreUnavailableError,
    StoreReadOnlyError, StoreSchemaError,
]  # fmt: skip
UNTOUCHED = {"open", "close", "migrate", "now"}
VERBS = sorted(Store.__abstractmethods__ - UNTOUCHED)
PROBABILITY = 0.2
CALLERS, ROUNDS = scaled(4, 8), scaled(6, 40)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path}/fanwood.db"


class Trouble:
    """Stands before a store's verbs."""

    def __init__(self, store: Store, dice: random.Random) -> None:
        self.on = True
        self.raised: dict[str, int] = {}
        self._dice = dice
        for name in VERBS:
            setattr(store, name, self._before(name, getattr(store, name)))

    def _before(self, name: str, verb: Any) -> Any:
        async def perhaps(*arguments: Any, **named: Any) -> Any:
            if self.on and self._dice.random() < PROBABILITY:
                self.raised[name] = self.raised.get(name, 0) + 1
                raise self._dice.choice(ERRORS)(f"injected into {name}")
            return await verb(*arguments, **named)

        return perhaps


def declare(app: Fanwood) -> Any:
    @app.task
    async def leaf(input: dict, ctx: Context) -> int:
        ctx.log(f"leaf {input['n']}")
        return input["n"]

    @app.task
    def sync_leaf(input: dict) -> int:
        return input["n"]

    @app.task(retries=2)
    async def again(input: dict, ctx: Context) -> int:
        if ctx.retry_count == 0:
            raise ValueError("once more")
        return input["n"]

    @app.task
    async def parent(input: dict) -> int:
        leaves = await leaf.aio_run_many([leaf.create_bulk_run_item({"n": n}, key=str(n)) for n in range(5)])
        others = await asyncio.gather(sync_leaf.aio_run({"n": 5}), again.aio_run({"n": 6}), leaf.aio_run({"n": 7}))
        return sum(leaves) + sum(others)

    return parent


def test_a_store_that_raises_anything_anywhere(
    make_app: Any, seed: int, report: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "RESTART_SECONDS", 0.1)
    monkeypatch.setattr(services, "TROUBLED_SECONDS", 0.05)
    monkeypatch.setattr(commits, "APART_SECONDS", 0.2)
    app = make_app(heartbeat=0.2, sweep=0.1)
    parent = declare(app)
    assert parent.run({}) == 28
    engine = app.engine()
    trouble = Trouble(engine.store, random.Random(seed))
    results: list[int] = []
    refused: list[Exception] = []

    def calls() -> None:
        for _ in range(ROUNDS):
            try:
                results.append(parent.run({}))
            except Exception as error:
                refused.append(error)

    threads = [threading.Thread(target=calls, daemon=True) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(scaled(45, 300))
    assert not any(thread.is_alive() for thread in threads), f"a caller hangs; {trouble.raised}"
    trouble.on = False
    assert engine.alive
    assert parent.run({}, timeout=30) == 28
    assert set(results) <= {28}
    assert all("injected" in str(error) or "CancelledError" in str(error) for error in refused), refused
    runs = app.runs.list(all_runs=True, limit=10_000)
    assert {run.status for run in runs} <= {RunState.COMPLETED, RunState.QUEUED, RunState.RUNNING}
    report(f"{len(results)} results, {len(refused)} callers refused, raised {sum(trouble.raised.values())} times")
    assert trouble.raised["commit"]
