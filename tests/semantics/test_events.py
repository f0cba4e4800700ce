"""Events: who waits for one goes on, once, over crashes and retries; and what is pushed by mistake is told."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
from typing import Any

import pytest
from pydantic import BaseModel

from fanwood import Context, EventConflictError, EvictionPolicy, Fanwood, PushEvent, RunState
from fanwood.engine import spreading as service
from fanwood.errors import (
    InputValidationError,
    PayloadError,
    RunNotFoundError,
    StoreBusyError,
    TaskRunError,
    TaskRunTimedOut,
    UsageError,
)
from fanwood.model.matching import Event as Kept
from fanwood.store import spreading
from tests.conftest import MakeApp
from tests.faults.processes import until

COLOURS = ["async", "sync"]


class Paid(BaseModel):
    order: int
    by: str = "card"


def waiter(app: Fanwood, colour: str, **options: Any) -> Any:
    """A task that waits for an event, as its input says."""
    if colour == "async":

        @app.task(name="waiter", **options)
        async def aio_waiter(input: dict, ctx: Context) -> Any:
            return await ctx.aio_wait_for_event(input.pop("key", "paid"), **input)

        return aio_waiter

    @app.task(name="waiter", **options)
    def waiter(input: dict, ctx: Context) -> Any:
        return ctx.wait_for_event(input.pop("key", "paid"), **input)

    return waiter


def until_waiting(app: Fanwood, *run_ids: str) -> None:
    def wait() -> bool:
        children = [child for id_ in run_ids for child in app.runs.children(id_, limit=2)]
        return [child.status for child in children].count(RunState.WAITING) == len(run_ids)

    until(wait, "they wait")


@pytest.mark.parametrize("colour", COLOURS)
def test_who_waits_goes_on_with_the_payload(app: Fanwood, colour: str) -> None:
    task = waiter(app, colour)
    refs = [task.run_no_wait({"match": {"order": n}, "scope": "shop"}) for n in range(3)]
    until_waiting(app, *[ref.id for ref in refs])
    assert "waits for event paid since" in str(app.runs.why(app.runs.children(refs[1].id)[0].id))
    assert "scope shop, order = 1" in str(app.runs.why(app.runs.children(refs[1].id)[0].id))
    event = app.events.push("paid", {"order": 1}, scope="shop", metadata={"by": "a test"})
    assert refs[1].result(60) == {"order": 1}
    assert app.events.get(event.id) == event
    assert (event.key, event.scope, event.metadata) == ("paid", "shop", {"by": "a test"})
    app.events.bulk_push([PushEvent("paid", {"order": n}, scope="shop") for n in (2, 0)])
    assert [ref.result(60)["order"] for ref in refs] == [0, 1, 2]


@pytest.mark.parametrize("colour", COLOURS)
def test_a_wait_goes_on_in_the_next_attempt(make_app: MakeApp, colour: str) -> None:
    app = make_app()
    ref = waiter(app, colour).run_no_wait({"match": {"order": 7}})
    until_waiting(app, ref.id)
    app.close()
    other = make_app()
    task = waiter(other, colour)
    other.events.push("paid", {"order": 7, "nobody": "is there"})
    assert task.get_run_ref(ref.id).result(60) == {"order": 7, "nobody": "is there"}
    assert len(other.runs.children(ref.id)) == 1


@pytest.mark.parametrize("colour", COLOURS)
def test_a_wait_may_time_out_and_a_new_trial_waits_again(app: Fanwood, colour: str) -> None:
    ref = waiter(app, colour, retries=1).run_no_wait({"timeout": 0.02})
    with pytest.raises(TaskRunError, match=r"its timeout of 0\.02 s ran out") as told:
        ref.result(60)
    assert told.value.exc_type == TaskRunTimedOut.__name__
    (wait,) = app.runs.children(ref.id)
    assert wait.status is RunState.FAILED


async def test_looking_back_gives_the_latest(app: Fanwood) -> None:
    task = waiter(app, "async")
    for n in range(3):
        await app.events.aio_push("paid", {"order": n, "odd": n % 2}, scope="ab"[n % 2])
    back = {"lookback_window": "1h"}
    assert (await task.aio_run({**back}))["order"] == 2
    assert (await task.aio_run({**back, "match": {"odd": 1}}))["order"] == 1
    assert (await task.aio_run({**back, "scope": "a", "match": {"odd": 0}}))["order"] == 2
    with pytest.raises(TaskRunError, match="timed out"):
        await task.aio_run({"lookback_window": 0, "match": {"order": 1}, "timeout": 0.02})
    with pytest.raises(TaskRunError, match="event_retention"):
        await task.aio_run({"lookback_window": "30d"})


async def test_an_expression_decides(app: Fanwood) -> None:
    pytest.importorskip("cel")
    task = waiter(app, "async")
    wanted = ["input.n > 5", "input.n < 5 && metadata.x == 'y'", "input.missing == 1", "input.n", "scope == 's'"]
    refs = [await task.aio_run_no_wait({"expression": each}) for each in wanted]
    await asyncio.to_thread(until_waiting, app, *[ref.id for ref in refs])
    await app.events.aio_push("paid", {"n": 6})
    assert await refs[0].aio_result(60) == {"n": 6}
    await app.events.aio_push("paid", {"n": 1}, scope="s", metadata={"x": "y"})
    assert await refs[1].aio_result(60) == await refs[4].aio_result(60) == {"n": 1}
    assert [await app.runs.aio_get_status(ref.id) for ref in refs[2:4]] == [RunState.RUNNING] * 2
    with pytest.raises(TaskRunError, match="not in CEL"):
        await task.aio_run({"expression": "input.("})
    for strange in ("payload.n > 5", "input.n > 5 && metdata.x == 'y'", "nothing(input)"):  # nothing would ever be so
        with pytest.raises(TaskRunError, match="asks for") as told:
            await task.aio_run({"expression": strange})
        assert told.value.exc_type == UsageError.__name__
    await app.events.aio_push("paid", {"n": 7})
    assert (await task.aio_run({"expression": "input.n == 6", "lookback_window": "1h"})) == {"n": 6}


async def test_without_the_extra_an_expression_is_refused_in_a_sentence(
    app: Fanwood, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cel", None)
    spreading.compiled.cache_clear()
    with pytest.raises(TaskRunError, match=r"pip install 'fanwood\[cel\]'"):
        await waiter(app, "async").aio_run({"expression": "true"})


async def test_a_payload_has_the_type_that_is_asked_for(app: Fanwood) -> None:
    got: list[Any] = []

    @app.task
    async def typed(input: dict, ctx: Context) -> None:
        got.append(await ctx.aio_wait_for_event("paid", payload_validator=Paid, lookback_window=60))

    await app.events.aio_push("paid", {"order": 7})
    await typed.aio_run({})
    assert got == [Paid(order=7)]
    await app.events.aio_push("paid", {"by": "cash"})
    with pytest.raises(TaskRunError, match="order") as told:
        await typed.aio_run({})
    assert told.value.exc_type == InputValidationError.__name__


def test_an_id_is_one_event(app: Fanwood) -> None:
    one = app.events.push("paid", {"order": 7}, id="7")
    assert app.events.push("paid", {"order": 7}, id="7") == one
    for order, scope in ((8, None), (7, "s")):
        with pytest.raises(EventConflictError, match="'7' is taken"):
            app.events.push("paid", {"order": order}, scope, id="7")
    with pytest.raises(EventConflictError):
        app.events.bulk_push([PushEvent("paid", 1, id="8"), PushEvent("unpaid", {"order": 7}, id="7")])
    with pytest.raises(RunNotFoundError, match="no event '8'"):
        app.events.get("8")
    assert [event.id for event in app.events.list("paid")] == ["7"]


def test_an_event_is_answered_as_it_is_kept(app: Fanwood) -> None:
    """Also to code that is run again."""
    first = app.events.push("k", 1, metadata={"by": "ann"}, id="one")
    bare = app.events.push("k", 1, id="bare")
    for metadata in ({"by": "bob"}, None):
        assert app.events.push("k", 1, metadata=metadata, id="one") == first
    assert app.events.push("k", 1, metadata={"by": "bob"}, id="bare") == bare

    @app.durable_task(eviction_policy=EvictionPolicy(ttl=0))
    async def pushes(input: dict, ctx: Context) -> list[Any]:
        given = [PushEvent("k", 1, name, metadata={"by": "eve"}) for name in ("new", "one", "bare")]
        pushed = await app.events.aio_bulk_push(given)
        await ctx.aio_wait_for_event("go")
        return [ctx.invocation_count, *(event.metadata for event in pushed)]

    ref = pushes.run_no_wait({})
    until(lambda: ref.status() is RunState.WAITING, "it to be unloaded")
    app.events.push("go")
    assert ref.result(timeout=60) == [2, {"by": "eve"}, {"by": "ann"}, {}]
    assert [app.events.get(name).metadata for name in ("new", "one", "bare")] == [{"by": "eve"}, {"by": "ann"}, {}]


@pytest.mark.parametrize("payload", [None, 7, 2**63, "text", [1, {"a": None}], {"": {"": 1}}, "x" * 1_000_000])
def test_a_payload_may_be_anything(app: Fanwood, payload: Any) -> None:
    event = app.events.push("any", payload)
    assert app.events.get(event.id).payload == payload


@pytest.mark.parametrize(
    ("about", "error"),
    [
        ({"key": ""}, UsageError),
        ({"key": "k\0"}, UsageError),
        ({"key": "\ud800"}, UsageError),
        ({"key": 7}, UsageError),
        ({"key": "k" * 501}, UsageError),
        ({"payload": math.nan}, PayloadError),
        ({"payload": {"a": "\ud800"}}, PayloadError),
        ({"payload": {1, 2}}, PayloadError),
        ({"payload": "x" * 5_000_000}, PayloadError),
        ({"scope": ""}, UsageError),
        ({"scope": 7}, UsageError),
        ({"id": ""}, UsageError),
        ({"id": "\ud800"}, UsageError),
        ({"id": ".."}, UsageError),
        ({"metadata": [1]}, UsageError),
    ],
)
def test_what_is_no_event_is_refused(app: Fanwood, about: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        app.events.push(**{"key": "k", "payload": {}, **about})
    assert app.events.list() == []


@pytest.mark.parametrize(
    "about",
    [
        {"key": ""},
        {"match": []},
        {"match": {"": 1}},
        {"match": {1: 1}},
        {"match": {"a": math.nan}},
        {"match": {f"p{n}": n for n in range(101)}},
        {"scope": ""},
        {"expression": 7},
        {"timeout": -1},
        {"lookback_window": "nonsense"},
    ],
)
async def test_what_can_not_be_waited_for_is_refused(app: Fanwood, about: dict[str, Any]) -> None:
    @app.task
    async def wrong(input: dict, ctx: Context) -> None:
        await ctx.aio_wait_for_event(about.get("key", "k"), **{name: about[name] for name in about if name != "key"})

    with pytest.raises(TaskRunError) as told:
        await wrong.aio_run({})
    assert told.value.exc_type in {UsageError.__name__, "PayloadEncodingError"}
    assert await app.runs.aio_list(all_runs=True, task_name=None, limit=10)


def test_pushed_from_eight_threads(app: Fanwood) -> None:
    task = waiter(app, "async")
    refs = [task.run_no_wait({"match": {"n": n}}) for n in range(40)]
    until_waiting(app, *[ref.id for ref in refs])

    def push(which: int) -> None:
        for n in range(which, 40, 8):
            app.events.push("paid", {"n": n})

    threads = [threading.Thread(target=push, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    assert [ref.result(60) for ref in refs] == [{"n": n} for n in range(40)]
    for thread in threads:
        thread.join()


def test_what_a_pusher_left_open_is_done_by_a_worker(app: Fanwood, monkeypatch: pytest.MonkeyPatch) -> None:
    """He died after he had kept the event."""

    monkeypatch.setattr(service, "LOOK_EVERY", 0.01)
    for module in ("memory", "sqlite", "postgres"):
        monkeypatch.setattr(f"fanwood.store.{module}.outside.AT_ONCE", 1)
    task = waiter(app, "async")
    refs = [task.run_no_wait({}) for _ in range(3)]
    until_waiting(app, *[ref.id for ref in refs])
    app.engine().call(lambda store: store.push([Kept("e", "paid", '"left"')]), changes=True).result(60)
    assert [ref.result(60) for ref in refs] == ["left"] * 3
    until(lambda: not app.engine().call(lambda store: store.open_events(1)).result(60), "it is closed")


def test_what_is_pushed_is_pushed_whatever_becomes_of_the_rest(app: Fanwood, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event is kept, and the store in trouble before all waits were looked at: a worker does it."""
    monkeypatch.setattr(service, "LOOK_EVERY", 0.01)
    for module in ("memory", "sqlite", "postgres"):
        monkeypatch.setattr(f"fanwood.store.{module}.outside.AT_ONCE", 1)
    task = waiter(app, "async")
    refs = [task.run_no_wait({}) for _ in range(3)]
    until_waiting(app, *[ref.id for ref in refs])
    store: Any = app.engine().store
    spread, troubles = store.spread, 2

    async def spreads(event: Kept) -> bool:
        nonlocal troubles
        if troubles:
            troubles -= 1
            raise StoreBusyError("busy")
        return await spread(event)

    store.spread = spreads
    event = app.events.push("paid", "once")
    assert [ref.result(60) for ref in refs] == ["once"] * 3
    assert [each.id for each in app.events.list("paid")] == [event.id]


def test_old_events_are_forgotten(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr(service, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(service, "FORGET_EVERY", 1)
    app = make_app(event_retention=0.001)
    app.events.push("paid", 1)
    waiter(app, "async").run_no_wait({})  # now there is a worker
    until(lambda: app.events.list() == [], "it is gone")


async def until_asked(sizes: list[int]) -> None:
    """All tasks of this loop have begun, and the first of their calls has come to the store."""
    while not sizes:
        await asyncio.sleep(0.002)


async def test_pushes_at_the_same_moment_go_together_and_fail_alone(
    app: Fanwood, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, sizes, asked = app.engine().store, list[int](), threading.Event()
    push = store.push

    async def noting(events: Any) -> Any:
        sizes.append(len(events))
        while not asked.is_set():  # whoever is quicker: the first waits until all others have been asked for
            await asyncio.sleep(0.002)
        return await push(events)

    await app.events.aio_push("paid", {"n": -1}, id="taken")
    monkeypatch.setattr(store, "push", noting)
    pushes = [app.events.aio_push("paid", {"n": n}, id="taken" if n == 20 else f"event {n}") for n in range(40)]
    waits = [asyncio.ensure_future(each) for each in pushes]
    await until_asked(sizes)
    asked.set()
    pushed = await asyncio.gather(*waits, return_exceptions=True)
    assert isinstance(pushed.pop(20), EventConflictError)
    assert [each.payload["n"] for each in pushed if not isinstance(each, BaseException)] == [
        n for n in range(40) if n != 20
    ]
    assert max(sizes) > 1
    assert len(await app.events.aio_list("paid", limit=100)) == 40
