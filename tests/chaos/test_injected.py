"""A store whose every verb may raise anything at any time, before it does something and after it did: no engine dies,
no caller hangs, and all ends well. Also with values at random in payloads and options.

A file's commit has no answer that could be lost; a server's is lost between the two.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import apsw
import asyncpg
import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st

from fanwood import Context, Fanwood, FanwoodError, RunState, WaitTimeoutError
from fanwood.engine import commits, services
from fanwood.errors import StoreBusyError, StoreError, StoreReadOnlyError, StoreSchemaError, StoreUnavailableError
from fanwood.store.looks import Looks
from fanwood.store.postgres.store import PostgresStore
from fanwood.store.store import Store
from tests.chaos import checker
from tests.chaos.backends import Backend
from tests.chaos.scale import scaled
from tests.faults.processes import until
from tests.semantics.test_options import SPECIAL, VALUES

ERRORS: list[type[BaseException]] = [
    sqlite3.OperationalError, apsw.BusyError, apsw.IOError, asyncpg.InterfaceError, asyncpg.InternalServerError,
    OSError, ConnectionResetError, TimeoutError, MemoryError, ValueError, KeyError, IndexError, RuntimeError,
    AssertionError, RecursionError, asyncio.CancelledError, StoreError, StoreBusyError, StoreUnavailableError,
    StoreReadOnlyError, StoreSchemaError,
]  # fmt: skip
UNTOUCHED = {"open", "close", "migrate", "now"}
VERBS = sorted(Store.__abstractmethods__ - Looks.__abstractmethods__ - UNTOUCHED)
PROBABILITY = 0.2
CALLERS, ROUNDS = scaled(8, 3), scaled(40, 3)
HARMED = scaled(100, 5)
"""Commits to be harmed: it goes on until so many were."""


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "RESTART_SECONDS", 0.1)
    monkeypatch.setattr(services, "TROUBLED_SECONDS", 0.05)
    monkeypatch.setattr(commits, "APART_SECONDS", 0.2)


class Trouble:
    """Stands before a store's verbs, and behind them."""

    def __init__(self, store: Store, dice: random.Random) -> None:
        self.on = True
        self.raised: dict[str, int] = {}
        self._dice = dice
        for name in VERBS:
            setattr(store, name, self._around(name, getattr(store, name), after=name != "commit"))
        if isinstance(store, PostgresStore):
            store._ask = self._losing(store._ask)

    def _perhaps(self, name: str, errors: list[type[BaseException]] = ERRORS) -> None:
        if self.on and self._dice.random() < PROBABILITY / 2:
            self.raised[name] = self.raised.get(name, 0) + 1
            raise self._dice.choice(errors)(f"injected into {name}")

    def _around(self, name: str, verb: Any, *, after: bool) -> Any:
        async def perhaps(*arguments: Any, **named: Any) -> Any:
            self._perhaps(name)
            answer = await verb(*arguments, **named)
            if after:
                self._perhaps(name)
            return answer

        return perhaps

    def _losing(self, ask: Any) -> Any:
        async def perhaps(arguments: Any) -> Any:
            answer = await ask(arguments)
            self._perhaps("an answer", [StoreUnavailableError])
            return answer

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


def test_a_store_that_raises_anything_anywhere(make_app: Any, seed: int, report: Any) -> None:
    app = make_app(heartbeat=0.2, sweep=0.1)
    parent = declare(app)
    assert parent.run({}) == 28
    engine = app.engine()
    trouble = Trouble(engine.store, random.Random(seed))
    results: list[int] = []
    refused: list[Exception] = []

    def calls() -> None:
        rounds = 0
        while rounds < ROUNDS or trouble.raised.get("commit", 0) < HARMED:
            rounds += 1
            try:
                results.append(parent.run({}))
            except Exception as error:
                refused.append(error)

    threads = [threading.Thread(target=calls, daemon=True) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(500)
    assert not any(thread.is_alive() for thread in threads), f"a caller hangs; {trouble.raised}"
    trouble.on = False
    assert engine.alive
    assert parent.run({}, timeout=60) == 28
    assert set(results) <= {28}
    assert all("injected" in str(error) or "CancelledError" in str(error) for error in refused), refused
    runs = app.runs.list(all_runs=True, limit=10_000)
    assert {run.status for run in runs} <= {RunState.COMPLETED, RunState.QUEUED, RunState.RUNNING}
    report(f"{len(results)} results, {len(refused)} callers refused, raised {sum(trouble.raised.values())} times")


OPTIONS = ("priority", "child_key", "additional_metadata", "on_parent_end", "detached", "idempotency_key")
AT_ONCE = 3


def declare_echoes(app: Fanwood) -> Any:
    @app.task
    async def echo(input: Any) -> Any:
        return input

    @app.task(retries=1)
    def returns(input: dict) -> Any:
        """Something that may not travel."""
        return SPECIAL[input["special"]]

    @app.task
    async def parent(input: dict, ctx: Context) -> str:
        values = input["values"]
        found = await echo.aio_run_many([echo.create_bulk_run_item(value) for value in values])
        await asyncio.gather(returns.aio_run(input), return_exceptions=True)
        ctx.log(str(values))
        return "equal" if found == values else f"{found} != {values}"

    return parent


def test_values_at_random_while_the_store_raises(make_app: Any, backend: Backend, seed: int, report: Any) -> None:
    app = make_app(heartbeat=0.2, sweep=0.1, lease=2.0)
    parent = declare_echoes(app)
    assert parent.run({"values": [1], "special": 0, "call": -1}) == "equal"
    engine, numbers = app.engine(), count()
    trouble, answers, refused = Trouble(engine.store, random.Random(seed)), [], []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=scaled(300, 4),
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    @given(
        st.lists(VALUES, max_size=4),
        st.dictionaries(st.sampled_from(OPTIONS), VALUES, max_size=1),
        st.integers(0, len(SPECIAL) - 1),
    )
    def example(values: list[Any], options: dict[str, Any], special: int) -> None:
        def call(cancels: bool) -> None:
            asked = {"values": values, "special": special, "call": next(numbers)}
            try:
                ref = parent.run_no_wait(asked, **options)
                if cancels:
                    app.runs.cancel(ref.id)
                else:
                    answers.append(ref.result(timeout=180))
            except Exception as error:
                refused.append(error)

        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(call, [number == 1 for number in range(AT_ONCE)]))

    example()
    while not answers or trouble.raised.get("commit", 0) < HARMED:
        example()
    trouble.on = False
    assert engine.alive
    assert not [error for error in refused if isinstance(error, WaitTimeoutError)], f"a caller hangs; {trouble.raised}"
    assert set(answers) <= {"equal"}
    odd = [error for error in refused if not isinstance(error, FanwoodError) and "injected" not in str(error)]
    assert [error for error in odd if not isinstance(error, asyncio.CancelledError)] == []
    living = "select count(*) from run where state < 8"
    until(lambda: backend.rows(living) == [(0,)], "all has ended", 180)
    until(lambda: not list(checker._left_over(backend, {os.getpid()})), "all is swept", 180)
    app.close()
    rows = [checker.Row(*row) for row in backend.rows(f"select {', '.join(checker.Row._fields)} from run")]
    findings = [*checker._unique(rows), *checker._no_orphans(rows), *checker._left_over(backend, {os.getpid()})]
    assert findings == []
    report(
        f"{len(answers)} answers, {len(refused)} refused, {len(rows)} runs, raised {sum(trouble.raised.values())} times"
    )
