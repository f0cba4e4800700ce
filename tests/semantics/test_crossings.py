"""What was on its way when something else came first: late results, claims, renewals; and who gets a turn when."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

from fanwood import Fanwood, RunState
from fanwood.engine.engine import Engine
from fanwood.ids import id_bytes
from fanwood.model.commands import Batch, Committed
from tests.conftest import MakeApp
from tests.faults.processes import until
from tests.serving import serving

PATIENCE = 60.0


class Held:
    """A verb of an engine's store: from the next call on it waits before it is done (or before it answers)."""

    def __init__(self, engine: Engine, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self._go_on = threading.Event(), threading.Event()
        self.do = getattr(engine.store, verb)
        monkeypatch.setattr(engine.store, verb, self)

    async def __call__(self, *arguments: Any) -> Any:
        await self.wait()
        return await self.do(*arguments)

    async def wait(self) -> None:
        self.reached.set()
        while not self._go_on.is_set():
            await asyncio.sleep(0.002)

    def go_on(self) -> None:
        self._go_on.set()


class HeldClaims(Held):
    """Commits that have claimed something: the answer is late."""

    async def __call__(self, *arguments: Any) -> Any:
        done: Committed = await self.do(*arguments)
        if done.claimed:
            await self.wait()
        return done


def reap(app: Fanwood, by: Fanwood) -> None:
    """`by` takes the worker of `app` for dead."""
    worker_id = app.engine().worker_id
    by.engine().call(lambda store: store.reap(worker_id, 3)).result(PATIENCE)


def test_a_result_that_comes_when_another_has_taken_the_run_is_refused(
    make_app: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    frozen, other = make_app(lease=60.0, heartbeat=0.05), make_app()
    begun, go_on = threading.Event(), threading.Event()

    @frozen.task(name="task")
    async def at_first() -> str:
        begun.set()
        while not go_on.is_set():
            await asyncio.sleep(0.002)
        return "too late"

    @other.task(name="task")
    async def again() -> str:
        return "in time"

    ref = at_first.run_no_wait()
    assert begun.wait(PATIENCE)
    renewing = Held(frozen.engine(), "renew", monkeypatch)  # it doesn't notice, as if it stood still
    registration = frozen.engine().worker_id
    reap(frozen, other)
    asyncio.run(other.prepare(("task",)))
    until(lambda: other.runs.get(ref.id).status is RunState.COMPLETED, "the other one has done it")
    was = other.runs.get(ref.id)
    with caplog.at_level(logging.WARNING, "fanwood.engine"):
        go_on.set()
        until(lambda: "1 result(s) came too late and were refused" in caplog.text, "its result has come")
    assert other.runs.get(ref.id) == was
    renewing.go_on()
    until(lambda: frozen.engine().worker_id != registration, "it has noticed, and starts anew")
    assert ref.result(timeout=PATIENCE) == "in time"


def test_a_claim_that_comes_while_the_worker_stops_is_handed_back(
    make_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, client = make_app(local_worker=False), make_app(local_worker=False)
    begun: list[int] = []

    async def task(n: int) -> int:
        begun.append(n)
        return n

    app.task(name="task")(task)
    asked = client.task(name="task")(task)
    worker = app.worker()
    with serving(worker):
        assert asked.run(0, timeout=PATIENCE) == 0
        claims = HeldClaims(app.engine(), "commit", monkeypatch)
        ref = asked.run_no_wait(1)
        assert claims.reached.wait(PATIENCE)
        worker.stop()
        until(lambda: worker._executor is not None and worker._executor._stopping, "it begins nothing any more")
        claims.go_on()
    assert begun == [0]
    run = client.engine().call(lambda store: store.get(id_bytes(ref.id))).result(PATIENCE)
    assert (run.state, run.attempt, run.retry_count, run.deaths) == (RunState.QUEUED, 1, 0, 0)
    with serving(app.worker()):
        assert ref.result(timeout=PATIENCE) == 1


def test_a_renewal_that_meets_a_new_registration_leaves_it_alone(
    make_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is answered concerns the id of before: it was given up, and not lost."""
    app = make_app(local_worker=False, heartbeat=0.05)

    @app.task
    async def task(n: int) -> int:
        return n

    client = app.engine().worker_id
    renewing = Held(app.engine(), "renew", monkeypatch)
    assert renewing.reached.wait(PATIENCE)
    with serving(app.worker(slots=3)):
        worker = app.engine().worker_id
        assert worker != client
        renewed: list[tuple[int, bool]] = []

        async def noted(worker_id: int) -> bool:
            answer = await renew(worker_id)
            renewed.append((worker_id, answer))
            return answer

        renew, renewing.do = renewing.do, noted
        renewing.go_on()
        until(lambda: (worker, True) in renewed, "it goes on to renew")
        assert renewed[0] == (client, False)
        assert app.engine().worker_id == worker
        there = app.engine().call(lambda store: store.workers()).result(PATIENCE)
        assert [(known.id, known.slots) for known in there] == [(worker, 3)]
        assert task.run(1, timeout=PATIENCE) == 1


def test_heartbeats_have_their_turn_while_there_is_work_without_a_pause(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a commit never suspends, as in an embedded database."""
    engine = make_app(heartbeat=0.2).engine()
    beats = threading.Semaphore(0)
    commit, renew = engine.store.commit, engine.store.renew

    async def more_to_do(worker_id: int, batch: Batch) -> Committed:
        engine.look()  # so there is something for the next tick, always
        return await commit(worker_id, batch)

    async def beat(worker_id: int) -> bool:
        beats.release()
        return await renew(worker_id)

    monkeypatch.setattr(engine.store, "commit", more_to_do)
    monkeypatch.setattr(engine.store, "renew", beat)
    engine.call(lambda store: store.workers(), changes=True).result(PATIENCE)
    for _ in range(2):
        assert beats.acquire(timeout=PATIENCE)
