"""Why a run is where it is: each cause as it comes about, and what is said of it."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from fanwood import (
    Budget,
    Context,
    EvictionPolicy,
    Fanwood,
    NonRetryableException,
    TaskRunError,
    WhyCause,
    after,
)
from fanwood.cli.main import main
from fanwood.model.matching import Wanted
from fanwood.store import why
from fanwood.store.why_beside import push_of
from tests.semantics.test_streams import until

if TYPE_CHECKING:
    from fanwood.sdk.children.refs import TaskRunRef
    from tests.conftest import MakeApp

DAY = 86_400


class Seeded:
    """Tasks that get stuck in so many ways, and stay there until they are let go on."""

    def __init__(self, app: Fanwood, foreign: Fanwood) -> None:
        self.app = app
        self.go_on = threading.Event()

        @app.task
        async def held(n: int) -> int:
            while not self.go_on.is_set():
                await asyncio.sleep(0.002)
            return n

        @app.task(retries=1, backoff_factor=float(DAY), backoff_max_seconds=DAY)
        async def flaky(n: int) -> None:
            raise ValueError("the disk is full")

        @app.task
        async def hopeless(n: int) -> None:
            raise NonRetryableException("there is no such file")

        @app.task
        async def naps(n: int, ctx: Context) -> None:
            await ctx.aio_sleep_for(DAY)

        @app.task
        async def paid(n: int, ctx: Context) -> None:
            await ctx.aio_wait_for_event("order:paid", scope="77")

        @app.task
        async def asks(n: int, ctx: Context) -> str:
            return await ctx.promise(str, "approval")

        @app.task
        async def hears(n: int, ctx: Context) -> Any:
            return await ctx.aio_receive("news")

        @app.task
        async def parent(n: int) -> int:
            return await held.aio_run(n)

        @app.task
        async def sharing(n: int) -> list[int]:
            return await asyncio.gather(*(held.aio_run(9, share="tree") for _ in range(2)))

        @app.durable_task(eviction_policy=EvictionPolicy(ttl=0))
        async def unloaded(n: int, ctx: Context) -> None:
            await ctx.aio_sleep_for(DAY)

        @foreign.task
        async def elsewhere(n: int) -> None: ...

        self.elsewhere = elsewhere

    def start(self, name: str, n: int = 0) -> TaskRunRef[Any]:
        return self.app.find(name).run_no_wait(n)

    def child(self, ref: TaskRunRef[Any], task: str) -> str:
        """The id of the child that stands for what it waits for."""
        found: list[str] = []

        def there() -> bool:
            found[:] = [run.id for run in self.app.runs.children(ref.id) if run.task_name == task]
            return bool(found)

        until(there)
        return found[0]

    def comes_to(self, run: str, cause: WhyCause) -> str:
        """What is said of a run, once that is so."""
        until(lambda: self.app.runs.why(run).cause is cause)
        return self.app.runs.why(run).text


@pytest.fixture
def seeded(make_app: MakeApp) -> Seeded:
    return Seeded(make_app(slots=100), make_app(local_worker=False))


def test_twelve_causes(seeded: Seeded) -> None:
    said = seeded.comes_to
    held, parent = seeded.start("held"), seeded.start("parent", 1)
    flaky, hopeless, sharing = seeded.start("flaky"), seeded.start("hopeless"), seeded.start("sharing")
    naps, paid, asks, hears = (seeded.start(name) for name in ("naps", "paid", "asks", "hears"))
    unloaded, elsewhere = seeded.start("unloaded"), seeded.elsewhere.run_no_wait(0)

    assert "executing for" in said(held.id, WhyCause.EXECUTING)
    assert "1 child that has not ended" in said(parent.id, WhyCause.WAITING_FOR_CHILDREN)
    assert "for retry 1 (its last attempt failed: ValueError: the disk is full)" in said(flaky.id, WhyCause.DELAYED)
    assert "there is no such file" in said(hopeless.id, WhyCause.FAILED)
    assert "it sleeps until" in said(seeded.child(naps, "~sleep"), WhyCause.SLEEPING)
    assert "it waits for event order:paid" in said(seeded.child(paid, "~event"), WhyCause.WAITING)
    assert "it waits for somebody to settle approval" in said(seeded.child(asks, "~promise"), WhyCause.WAITING)
    assert "it waits for a message news" in said(seeded.child(hears, "~message"), WhyCause.WAITING)
    assert "its code is unloaded" in said(unloaded.id, WhyCause.SUSPENDED)
    assert "no live worker serves" in said(elsewhere.id, WhyCause.NO_WORKER)
    shared = next(run for run in seeded.app.runs.children(sharing.id) if run.task_name == "held").id
    assert shared[-8:] in said(seeded.child(sharing, "~share"), WhyCause.WAITING)

    app = seeded.app
    later = app.find("parent").run_no_wait(2)
    app.runs.pause(later.id, by="ann")
    assert "paused by ann since" in app.runs.why(later.id).text
    app.runs.cancel(naps.id)
    assert "by request" in said(naps.id, WhyCause.CANCELLED)
    seeded.go_on.set()
    assert sharing.result(60) == [9, 9]
    assert "it returned" in said(held.id, WhyCause.COMPLETED)


def test_what_is_ahead_and_what_is_paused(make_app: MakeApp) -> None:
    seeded = Seeded(make_app(slots=1), make_app(local_worker=False))
    said, app = seeded.comes_to, seeded.app
    first = seeded.start("held")
    said(first.id, WhyCause.EXECUTING)
    others = [seeded.start("held", n) for n in range(1, 4)]
    assert "ahead" in said(others[-1].id, WhyCause.SLOTS_BUSY)
    app.runs.pause(others[0].id, by="ben")
    assert "it is paused by ben" in said(others[0].id, WhyCause.PAUSED)
    app.runs.pause(first.id, by="ann")
    assert "paused by ann" in app.runs.why(first.id).text
    assert app.runs.why(first.id).cause is WhyCause.EXECUTING
    seeded.go_on.set()
    assert first.result(60) == 0
    app.runs.resume(others[0].id)
    assert [ref.result(60) for ref in others] == [1, 2, 3]


def test_what_waits_for_others(make_app: MakeApp) -> None:
    """For a run that is shared, beside a hedge, and with a budget of which nothing is left."""
    app, go_on = make_app(slots=20), threading.Event()

    @app.task
    async def held(n: int) -> int:
        while not go_on.is_set():
            await asyncio.sleep(0.002)
        return n

    @app.task
    async def sharing(n: int) -> int:
        return await held.aio_run(n, share="tree")

    @app.task
    async def hedging(n: int) -> int:
        return await held.aio_run(n, hedge=after(0.01 if n else DAY))

    @app.durable_task(eviction_policy=EvictionPolicy(ttl=0))
    async def unloaded(n: int, ctx: Context) -> int:
        return await held.aio_run(n, share="tree")

    @app.task
    async def poor(n: int) -> int:
        return await held.aio_run(n) + await held.aio_run(n + 1)

    def says(run: str, text: str) -> None:
        until(lambda: text in app.runs.why(run).text)

    refs = [sharing.run_no_wait(1), unloaded.run_no_wait(1)]
    for ref in refs:
        says(ref.id, "the oldest is the shared run ")
    later, now = hedging.run_no_wait(0), hedging.run_no_wait(1)
    until(lambda: len(app.runs.children(now.id, status="RUNNING")) == 2)
    for ref in (later, now):
        first, hedge = [run.id for run in app.runs.children(ref.id)]
        says(first, f"its hedge is held {hedge[-8:]}")
        says(hedge, f"it is a hedge of held {first[-8:]}")
    broke = poor.run_no_wait(1, budget=Budget(runs=1))
    says(broke.id, f"of 1 runs in the budget of {broke.id[-8:]} none are left")
    assert app.runs.why(broke.id).cause is WhyCause.WAITING_FOR_CHILDREN
    go_on.set()
    with pytest.raises(TaskRunError):
        broke.result(60)
    assert app.runs.why(broke.id).cause is WhyCause.BUDGET_EMPTY
    assert app.runs.why(broke.id).facts == {"limit": "runs", "budget": broke.id}
    assert [ref.result(60) for ref in (*refs, later, now)] == [1, 1, 0, 1]


def test_who_was_left_out_of_a_group(make_app: MakeApp) -> None:
    """It was no cancel by hand, and who waited for it goes on."""
    app, go_on = make_app(slots=20), threading.Event()

    @app.task
    async def held(n: int) -> int:
        while not go_on.is_set():
            await asyncio.sleep(0.002)
        return n

    @app.task
    async def quick(n: int) -> int:
        return n

    @app.task
    async def racing(n: int, ctx: Context) -> int:
        async with ctx.group(quorum=1) as group:
            group.spawn(held, 1)
            group.spawn(quick, 2)
        return n

    ref = racing.run_no_wait(1)
    assert ref.result(60) == 1
    (loser,) = [run.id for run in app.runs.children(ref.id) if run.task_name == "held"]
    until(lambda: app.runs.get(loser).status.is_terminal)
    said = app.runs.why(loser)
    assert said.cause is WhyCause.CANCELLED
    assert "its group was decided without it" in said.text
    go_on.set()


def test_what_helps_can_be_done(make_app: MakeApp) -> None:
    """What is pushed as it says ends the wait; and there are all commands that it names."""
    app = make_app()

    @app.task
    async def paid(n: int, ctx: Context) -> Any:
        return await ctx.aio_wait_for_event("it is paid", scope="shop 7", match={"order.id": 7, "by": "ann's"})

    ref = paid.run_no_wait(1)
    until(lambda: len(app.runs.children(ref.id)) == 1)
    (wait,) = app.runs.children(ref.id)
    *_, key, payload, option, scope = shlex.split(app.runs.why(wait.id).command or "")
    assert option == "--scope"
    app.events.push(key, json.loads(payload), scope)
    assert ref.result(60) == {"order": {"id": 7}, "by": "ann's"}
    assert push_of(Wanted("paid", match={"a": 1, "a.b": 2, "a.b.c": 3})).startswith("fanwood events push paid ")
    source = Path(why.__file__).read_text() + push_of(Wanted("paid"))
    named = set(re.findall(r"fanwood ((?:[a-z]+ ?)+)", source))
    assert len(named) > 10
    for words in named:
        place: Any = main
        for word in words.split():
            found = place.get_command(click.Context(place), word) if isinstance(place, click.Group) else place
            assert found is not None, words
            place = found
