"""A worker that can't know whether it was taken for dead begins nothing."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from fanwood import Fanwood, RunState

PATIENCE = 60.0


def until(condition: Callable[[], object], what: str) -> None:
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < PATIENCE, what
        time.sleep(0.01)


@pytest.fixture
def app(make_app: Any) -> Fanwood:
    return make_app(lease=1.0, heartbeat=0.2, sweep=0.2)


def test_what_was_claimed_does_not_begin_while_the_lease_may_have_lapsed(
    app: Fanwood, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    may_renew = threading.Event()

    @app.task
    async def task(n: int) -> int:
        begun.append(n)
        return n

    assert task.run(0) == 0
    engine = app.engine()
    renew = engine.store.renew

    async def late(worker_id: int) -> bool:
        while not may_renew.is_set():
            await asyncio.sleep(0.01)
        return await renew(worker_id)

    monkeypatch.setattr(engine.store, "renew", late)
    until(lambda: not engine.holds_lease, "the lease lapses")
    ref = task.run_no_wait(1)
    until(lambda: ref.status() is RunState.RUNNING, "it is claimed all the same")
    assert begun == [0]
    may_renew.set()
    assert ref.result(timeout=PATIENCE) == 1
    assert begun == [0, 1]
    assert engine.holds_lease


def test_a_heartbeat_that_waits_holds_up_nothing_else(app: Fanwood, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it held up: what an engine does in the background it does side by side."""
    blocked: Future[None] = Future()
    engine = app.engine()

    async def stuck(*_: Any, **__: Any) -> Any:
        if not blocked.done():
            blocked.set_result(None)
        await asyncio.sleep(3600)

    monkeypatch.setattr(engine.store, "look_around", stuck)
    blocked.result(PATIENCE)

    @app.task(retries=1, backoff_factor=2, backoff_max_seconds=1)
    async def flaky(n: int) -> int:
        tried.append(n)
        if len(tried) == 1:
            raise ValueError("once more")
        return n

    tried: list[int] = []
    assert flaky.run_no_wait(7).result(timeout=PATIENCE) == 7
    assert engine.holds_lease
