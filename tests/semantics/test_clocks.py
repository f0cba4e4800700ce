"""Wall clocks that are set, or differ between processes: nobody is taken for dead, and no timer comes early or late."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fanwood import Context, EmptyModel, Fanwood, RunState, SystemClock, TaskRunTimedOut
from fanwood.ids import id_bytes
from fanwood.store.sqlite.store import SqliteStore
from fanwood.store.store import Store
from tests.conformance.stage import SECOND, Stage
from tests.conftest import MakeApp
from tests.semantics.in_time import in_time

HOUR = 3_600_000_000
PATIENCE = 60.0


class SetClock(SystemClock):
    """A wall clock that is set, by so many microseconds."""

    def __init__(self, ahead: int = 0) -> None:
        self.ahead = ahead

    def now(self) -> int:
        return super().now() + self.ahead


@contextmanager
def working(app: Fanwood) -> Iterator[None]:
    worker = app.worker(slots=3)
    thread = threading.Thread(target=worker.start, daemon=True)
    thread.start()
    assert worker.wait_started(PATIENCE)
    try:
        yield
    finally:
        worker.stop()
        thread.join(PATIENCE)


def asked(app: Fanwood, verb: Any) -> Any:
    return app.engine().call(verb).result(PATIENCE)


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "back"])
def test_a_wall_clock_that_is_set_takes_nobody_for_dead(make_app: MakeApp, jump: int) -> None:
    clock, gate, begun = SetClock(), threading.Event(), threading.Semaphore(0)
    apps = [make_app(local_worker=False, clock=clock, sweep=0.05, heartbeat=0.1) for _ in range(2)]

    def waits(input: int) -> int:
        begun.release()
        assert gate.wait(PATIENCE)
        return input

    first, _ = [app.task(name="waits")(waits) for app in apps]
    with working(apps[0]), working(apps[1]):
        refs = [first.run_no_wait(n) for n in range(6)]
        for _ in refs:
            assert begun.acquire(timeout=PATIENCE)
        before = leases(apps[0])
        clock.ahead += jump
        until(lambda: all(leases(apps[0])[worker] > end for worker, end in before.items()))  # looked around meanwhile
        gate.set()
        assert sorted(ref.result(timeout=PATIENCE) for ref in refs) == list(range(6))
        found = [asked(apps[0], lambda store, ref=ref: store.get(id_bytes(ref.id))) for ref in refs]
    assert {(record.attempt, record.deaths) for record in found} == {(1, 0)}


def leases(app: Fanwood) -> dict[int, int]:
    workers = asked(app, lambda store: store.workers())
    return {worker.id: worker.lease_expires_at for worker in workers if worker.slots}


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "back"])
@in_time
def test_limits_and_timers_come_as_if_the_wall_clock_had_not_been_set(
    make_app: MakeApp, limit: float, begun: threading.Event, jump: int
) -> None:
    """A limit that is far away does not come, one that is near does, and so does a retry."""
    clock = SetClock()
    app = make_app(clock=clock)
    started, over = [asyncio.Event() for _ in range(2)], list[bool]()

    @app.task(execution_timeout=600, schedule_timeout=600)
    async def long(input: EmptyModel, ctx: Context) -> int:
        started[0].set()
        while not over:
            await asyncio.sleep(0.01)
        return ctx.attempt_number

    @app.task(execution_timeout=limit)
    async def short() -> None:
        started[1].set()
        await asyncio.Event().wait()

    @app.task(retries=1, backoff_factor=1.1)
    async def again(input: EmptyModel, ctx: Context) -> int:
        if ctx.retry_count == 0:
            raise ValueError("once")
        return ctx.attempt_number

    refs = [long.run_no_wait(), short.run_no_wait()]
    until(lambda: started[0].is_set() and (started[1].is_set() or refs[1].status().is_terminal))
    clock.ahead += jump
    assert refs[1].status() is RunState.RUNNING, "its limit ran out before the clock was set"
    begun.set()
    retried = again.run_no_wait()
    with pytest.raises(TaskRunTimedOut):
        refs[1].result(timeout=PATIENCE)
    over.append(True)
    assert refs[0].result(timeout=PATIENCE) == 1
    assert retried.result(timeout=PATIENCE) == 2


@pytest.mark.parametrize("ahead", [HOUR, -HOUR], ids=["ahead", "behind"])
def test_who_comes_with_another_wall_clock_goes_by_that_of_those_who_are_there(
    make_app: MakeApp, url: str, ahead: int
) -> None:
    first = make_app(local_worker=False)

    @first.task
    def here() -> None: ...

    with working(first):
        other = make_app(local_worker=False, clock=SetClock(ahead))
        assert abs(other.engine().store.now() - first.engine().store.now()) < HOUR // 10

        @other.task(name="there", schedule_timeout=600)
        def there(input: int) -> int:
            return input

        with working(other):
            assert there.run(1, timeout=PATIENCE) == 1
            assert len(leases(first)) == 2
        said = " ".join(asked(other, lambda store: store.report()).problems)
        assert ("the file's clock is 3,600 s" in said) is url.startswith("sqlite")


# --- a file that nobody has open any more ----------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [HOUR, -HOUR], ids=["ahead", "behind"])
async def test_once_nobody_is_there_the_wall_clock_counts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    """And the lease of one who is dead does not last for an hour, because the clock was set back."""
    clock = SetClock()

    def make(_clock: object) -> Store:
        return SqliteStore(tmp_path / "fanwood.db", clock)

    async with Stage(make) as dead:  # it goes without taking leave
        await dead.store.renew(dead.worker)
    clock.ahead = ahead
    monkeypatch.setattr(SystemClock, "timeline", "since the machine was started anew")
    async with Stage(make) as stage:
        assert abs(stage.store.now() - clock.now()) < HOUR // 10
        (old,) = [worker for worker in await stage.store.workers() if worker.id == dead.worker]
        assert old.lease_expires_at <= stage.store.now() + 10 * SECOND
        assert await stage.state(await stage.born()) is RunState.QUEUED


async def test_who_was_taken_for_dead_goes_by_the_clock_of_who_came_after_him(tmp_path: Path) -> None:
    """Before he judges anybody's lease."""
    here, there = SetClock(), SetClock(-HOUR)
    async with Stage(lambda _: SqliteStore(tmp_path / "fanwood.db", here)) as frozen:
        await frozen.store.reap(frozen.worker, 3)
        async with Stage(lambda _: SqliteStore(tmp_path / "fanwood.db", there)) as stage:
            assert abs(stage.store.now() - there.now()) < HOUR // 10
            await frozen.store.look_around(frozen.worker, "host")
            assert abs(frozen.store.now() - there.now()) < HOUR // 10


# --- real processes --------------------------------------------------------------------------------------------------

PROGRAM = """
import sys, fanwood
app = fanwood.Fanwood(sys.argv[1], local_worker=False)
print(app.engine().store.now(), flush=True)
sys.stdin.readline()
"""


def test_a_process_with_a_faked_clock(tmp_path: Path) -> None:
    """A real one, if the program faketime is there."""
    faketime = shutil.which("faketime")
    if faketime is None:
        pytest.skip("the program faketime is not installed")
    url = f"sqlite:///{tmp_path}/fanwood.db"
    times: list[int] = []
    with Fanwood(url, local_worker=False) as app:
        here = app.engine().store.now()
        for offset in ("+1h", "-1h"):
            environment = {**os.environ, "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
            done = subprocess.run(
                [faketime, "-f", offset, sys.executable, "-c", PROGRAM, url],
                input="\n", capture_output=True, text=True, check=True, timeout=300, env=environment,
            )  # fmt: skip
            times.append(int(done.stdout))
    assert all(abs(there - here) < HOUR // 10 for there in times)


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "back"])
def test_how_long_ago_something_was_is_said_by_the_stores_clock(make_app: MakeApp, jump: int) -> None:
    clock = SetClock()
    app = make_app(clock=clock)

    @app.task
    async def task() -> int:
        return 1

    assert task.run() == 1
    pushed = app.events.push("key", {})
    clock.ahead += jump
    assert [len(app.runs.list(since="10m")), len(app.runs.list(until="10m"))] == [1, 0]
    assert [event.id for event in app.events.list(since="10m")] == [pushed.id]
    newer, older = app.runs.bulk_preview("replay", since="10m"), app.runs.bulk_preview("replay", until="10m")
    assert (newer.count, older.count) == (1, 0)
