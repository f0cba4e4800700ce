"""Copying one database into another: history, queued work, logs, keys; and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from fanwood import RunState
from fanwood.errors import StoreError
from fanwood.model.budgets import Spend
from fanwood.model.commands import Hedge, LogLine, Outcome, Spawn, SpawnKind
from fanwood.model.forks import Fork
from fanwood.model.matching import Event
from fanwood.model.states import OnParentEnd, RunKind
from fanwood.store import copying
from fanwood.store.copying import TABLES, copy
from fanwood.store.forking import NewFork
from fanwood.store.store import Store
from tests.conformance.stage import SECOND, MakeStore, Stage, digest

Rows = dict[str, list[tuple[Any, ...]]]


@pytest.fixture
async def source(store_factories: Callable[[], MakeStore]) -> AsyncIterator[Stage]:
    async with Stage(store_factories()) as stage:
        yield stage


@pytest.fixture
async def target(source: Stage, store_factories: Callable[[], MakeStore]) -> AsyncIterator[Stage]:
    """Another database, opened by nobody but the copy; its clock is the source's."""
    factory = store_factories()
    stage = Stage(factory)
    stage.clock, stage.ids = source.clock, source.ids
    stage.store = factory(source.clock)
    await stage.store.open(lambda: None)
    yield stage
    await stage.close()


async def nobody() -> None:
    pass


def unseen(*_: object) -> None:
    pass


async def everything(store: Store) -> Rows:
    return {table: [row async for row in copying._each(store, table)] for table in TABLES}


async def fill(stage: Stage) -> None:
    """Some of all that there is. A worker dies in the midst of it, and is reaped."""
    old = await stage.running("a", metadata='{"who":"me"}', priority=3)
    for number in range(3):
        child = await stage.running("b", old, child_key=f"key {number}", input_digest=digest("x"), input='"ä\\u0000"')
        await stage.commit(logs=[LogLine(child.key, 1, 5, "info", f"line {n}") for n in range(3)])
        await (stage.fail(child) if number == 2 else stage.complete(child, '"ö"'))
    await stage.complete(old)
    cancelled = await stage.born("c", schedule_timeout=60 * SECOND)
    await stage.cancel(cancelled, "no more")
    keyed = Spawn(SpawnKind("c"), stage.ids.new_id(), digest("k"), "{}", 0, "k", digest("c {}"))
    await stage.commit(spawns=[keyed])
    later = await stage.running("a", schedule_timeout=600 * SECOND)
    await stage.retry(later, delay=100)
    dying = await stage.register(name="dying")
    part = (("usd", 5),)
    half_done = await stage.running("a", worker=dying, part=part, deadline=stage.store.now() + 900 * SECOND)
    first = await stage.running("b", half_done, on_parent_end=OnParentEnd.CANCEL, child_key="first")
    await stage.born("b", half_done, child_key="second")
    await stage.complete(first)
    link = stage.part(half_done, kind=RunKind.SHARE)
    kind = SpawnKind("c", half_done.key, 0, half_done.key, 1, on_parent_end=OnParentEnd.SHARED)
    link.share = Spawn(kind, stage.ids.new_id(), None, "{}", input_digest=digest("c"))
    await stage.commit(records=[link])
    helped, helps = stage.spawn("c", half_done), stage.spawn("c", half_done)
    helps.identity = None
    await stage.commit(spawns=[helped], hedges=[Hedge(helps, helped.id, SECOND)])
    spend = Spend(half_done.key, 1, b"s" * 16, {"usd": 2})
    await stage.store.spend([spend, replace(spend, id=b"r" * 16, reserve=True)])
    assert await stage.store.say(half_done.key, 1, "k", "1")
    await stage.store.reap(dying, 3)
    await stage.commit(blocks=[(half_done.key, 10_000)])
    events = [Event("z", "k", "1", "s", '{"m":1}'), Event("a", "k", '"ä\\u0000"')]
    await stage.store.push(events)
    await stage.store.pause(cancelled, "ann")
    await stage.store.reprioritize(cancelled, 3, "ann")
    for n in range(2):
        await stage.store.send(half_done.key, "cmd", f"{n}")
    life = Fork(old.key.hex()).text
    assert await stage.store.fork(NewFork(stage.ids.new_id(), old.key, life, '"ö"', at=first.key, changed=1, by="ann"))


async def test_that_everything_is_carried_over(source: Stage, target: Stage) -> None:
    await fill(source)
    before = await everything(source.store)
    counts = await copy(source.store, target.store, nobody, unseen)
    after = await everything(target.store)
    assert after == before
    assert await target.store.secret() == await source.store.secret()
    assert await target.store.number() == await source.store.number()
    small = {"task": 3, "gate": 0, "idem": 1, "log": 10, "attempt": 2, "event": 2, "message": 2, "value": 1}
    small |= {"tree": 1, "shared": 1, "hedge": 1, "pause": 1, "urgency": 1, "fork": 1, "budget": 1, "spend": 1}
    assert counts == {**small, "run": len(before["run"])}
    for row in before["run"]:
        assert await target.store.get(row[0]) == _unheld(await source.store.get(row[0]))


def _unheld(run: Any) -> Any:
    """Which worker had it means nothing elsewhere."""
    return type(run)(**{**{name: getattr(run, name) for name in run.__struct_fields__}, "worker_id": None})


async def test_that_a_tree_goes_on_where_it_was(source: Stage, target: Stage) -> None:
    await fill(source)
    await copy(source.store, target.store, nobody, unseen)
    target.worker = await target.register()
    [parent] = [run for run in await target.claim(10, tasks=["a"]) if run.deadline is not None]
    assert (parent.attempt, parent.trial_start) == (2, 0)
    known = {child.identity: child.id for child in await target.store.recalled(parent.key)}
    found = await target.attach(parent, known[digest("key first")], "b")
    assert (found.state, found.matches) == (RunState.COMPLETED, True)
    [child] = await target.claim(10, tasks=["b"])
    assert child.child_key == "second"
    late = await target.report(Outcome(parent.key, 1, RunState.COMPLETED, "1"))
    assert late.fenced_outcomes == {0}
    await target.complete(child)
    assert not (await target.complete(parent)).fenced_outcomes
    assert await target.state(parent) is RunState.COMPLETED


async def test_that_keys_are_carried_over(source: Stage, target: Stage) -> None:
    await fill(source)
    await copy(source.store, target.store, nobody, unseen)
    target.worker = await target.register()
    again = Spawn(SpawnKind("c"), target.ids.new_id(), digest("k"), "{}", 0, "k", digest("c {}"))
    done = await target.commit(spawns=[again])
    assert done.taken[again.id].matches


async def test_that_delays_and_limits_are_carried_over(source: Stage, target: Stage) -> None:
    await fill(source)
    await copy(source.store, target.store, nobody, unseen)
    target.worker = await target.register()
    assert {run.retry_count for run in await target.claim(10, tasks=["a"])} == {0}
    target.clock.advance(101)
    await target.store.tick()
    assert [run.retry_count for run in await target.claim(10, tasks=["a"])] == [1]


async def test_that_a_running_run_comes_as_queued(source: Stage, target: Stage) -> None:
    run = await source.running()
    await copy(source.store, target.store, nobody, unseen)
    target.worker = await target.register()
    [again] = await target.claim(10)
    assert (again.key, again.attempt) == (run.key, 2)


async def test_that_an_interrupted_copy_is_taken_up_again(
    source: Stage, target: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "PAGE", 20)  # a page of one row to begin with
    await fill(source)
    before = await everything(source.store)

    def stop(table: str, done: int, total: int) -> None:
        if table == "run" and done > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await copy(source.store, target.store, nobody, stop)
    there = await target.store.count("run")
    assert 2 < there < len(before["run"])
    counts = await copy(source.store, target.store, nobody, unseen)
    small = {"task": 0, "gate": 0, "idem": 1, "log": 10, "attempt": 2, "event": 2, "message": 2, "value": 1}
    small |= {"tree": 1, "shared": 1, "hedge": 1, "pause": 0, "urgency": 0, "fork": 1, "budget": 1, "spend": 1}
    assert counts == {**small, "run": len(before["run"]) - there}
    assert await everything(target.store) == before
    assert await copy(source.store, target.store, nobody, unseen) == dict.fromkeys(TABLES, 0)


async def test_that_progress_is_told(source: Stage, target: Stage) -> None:
    await fill(source)
    seen: list[tuple[str, int, int]] = []
    await copy(source.store, target.store, nobody, lambda *at: seen.append(at))
    total = await source.store.count("run")
    assert [at for at in seen if at[0] == "run"] == [("run", 0, total), ("run", total, total)]
    assert [table for table, done, _ in seen if done == 0] == list(TABLES)


async def test_that_two_histories_are_not_mixed(source: Stage, target: Stage) -> None:
    await fill(source)
    target.worker = await target.register()
    await target.born()
    before = await everything(target.store)
    with pytest.raises(StoreError, match="holds runs that are not in"):
        await copy(source.store, target.store, nobody, unseen)
    assert await everything(target.store) == before


async def test_that_a_copy_that_went_on_is_not_mixed_either(source: Stage, target: Stage) -> None:
    await fill(source)
    await copy(source.store, target.store, nobody, unseen)
    target.worker = await target.register()
    assert await target.claim(1, tasks=["c"])
    await target.store.reap(target.worker, 3)
    with pytest.raises(StoreError, match="not with the same contents"):
        await copy(source.store, target.store, nobody, unseen)


async def test_that_it_stops_when_somebody_begins_to_work(source: Stage, target: Stage) -> None:
    await fill(source)
    looks = 0

    async def guard() -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            raise RuntimeError("somebody is there")

    with pytest.raises(RuntimeError, match="somebody is there"):
        await copy(source.store, target.store, guard, unseen)


async def test_that_large_rows_come_in_small_pages(
    source: Stage, target: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "PAGE_BYTES", 10_000)
    text = '"' + "x" * 4_000 + '"'
    await source.commit(spawns=[source.spawn(input=text) for _ in range(300)])
    sizes = [len(rows) async for rows in copying._pages(source.store, "run")]
    assert sum(sizes) == 300
    assert set(sizes[1:]) == {2}
    await copy(source.store, target.store, nobody, unseen)
    assert await target.store.count("run") == 300
