"""Answers of a bounded size, whatever hangs on them; and claims that reach every task, and spare suspects."""

from __future__ import annotations

from typing import Any

import pytest

from fanwood import RunState
from fanwood.model.commands import ANSWER_BYTES, ClaimRequest
from tests.conformance.stage import Stage, completed, handed_back
from tests.raw import watched

BIG = '"' + "x" * (ANSWER_BYTES // 4) + '"'
"""Five of these are more than an answer brings."""
COUNT = 6


async def big_children(stage: Stage, parent_worker: int | None = None) -> tuple[list[bytes], object]:
    parent = await stage.running(worker=parent_worker)
    ids: list[bytes] = []
    for _ in range(COUNT):
        child = await stage.running("b", parent)
        await stage.complete(child, BIG, local=False)
        ids.append(child.key)
    return ids, parent


async def all_of(stage: Stage, ids: list[bytes], worker: int | None = None) -> int:
    """Watch them until all have come with their contents; how many answers it took."""
    got: set[bytes] = set()
    wanted, answers = ids, 0
    while wanted:
        done = await stage.commit(worker, watch=wanted)
        answers += 1
        assert sum(len(end.output or "") for end in done.finished.values()) <= ANSWER_BYTES + len(BIG)
        assert done.finished, "it comes to an end"
        assert not done.later & set(done.finished)
        assert done.later | set(done.finished) == set(wanted)
        got |= set(done.finished)
        wanted = [id_ for id_ in wanted if id_ in done.later]
    assert got == set(ids)
    return answers


async def test_who_waits_for_much_gets_it_in_pages(stage: Stage) -> None:
    ids, _ = await big_children(stage)
    assert await all_of(stage, ids) >= 2


async def test_letters_of_much_come_in_pages(stage: Stage) -> None:
    waiting = await stage.register()
    ids, _ = await big_children(stage, waiting)
    got: set[bytes] = set()
    for _ in range(COUNT):
        done = await stage.commit(waiting, mail=True)
        assert sum(len(end.output or "") for end in done.finished.values()) <= ANSWER_BYTES + len(BIG)
        got |= set(done.finished)
        if done.later:
            await all_of(stage, list(done.later), waiting)
            got |= done.later
        if not done.has_more and got == set(ids):
            break
    assert got == set(ids)


async def test_what_is_asked_for_again_comes_in_pages(stage: Stage) -> None:
    ids, parent = await big_children(stage)
    again = await stage.hand_back(parent)  # pyright: ignore[reportArgumentType]
    attaches = [stage.attachment(again, id_, "b") for id_ in ids]
    done = await stage.commit(attaches=attaches)
    assert {found.id for found in done.attached.values()} == set(ids)
    assert {found.state for found in done.attached.values()} == {RunState.COMPLETED}
    assert sum(len(found.output or "") for found in done.attached.values()) <= ANSWER_BYTES + len(BIG)
    assert done.later == {found.id for found in done.attached.values() if found.output is None}
    assert done.later
    await all_of(stage, list(done.later))


async def test_claims_of_large_inputs_come_a_few_at_a_time(stage: Stage) -> None:
    ids = {await stage.born("a", input=BIG) for _ in range(COUNT)}
    got: set[bytes] = set()
    while got != ids:
        done = await stage.commit(claim=ClaimRequest('["a","b"]', 100))
        assert sum(len(run.input) for run in done.claimed) <= ANSWER_BYTES + len(BIG)
        assert done.claimed
        got |= {run.key for run in done.claimed}
        assert done.has_more or got == ids


# --- every task is come to -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tasks", [2, 30, 33, 60])
async def test_the_fair_share_reaches_every_task(stage: Stage, tasks: int) -> None:
    names = [f"t{number:02}" for number in range(tasks)]
    starving = await stage.born(names[-1], priority=0)
    await stage.commit(spawns=[stage.spawn(names[0], priority=9) for _ in range(100)])
    claimed = [run.key for run in await stage.claim(8, tasks=names, fair=1)]
    assert starving in claimed


async def test_the_fair_share_reaches_a_young_root_beside_an_old_one_that_goes_on(stage: Stage) -> None:
    old = await stage.running()
    young = await stage.running()
    starving = await stage.born("b", young)
    for _ in range(5):
        await stage.commit(spawns=[stage.spawn("b", old) for _ in range(10)])
        claimed = await stage.claim(4, tasks=["b"], fair=1)
        if starving in [run.key for run in claimed]:
            return
        await stage.report(*[completed(run) for run in claimed])
    raise AssertionError("it was never come to")


@pytest.mark.parametrize("limit", [1, 7, 40, 200, 1000])
async def test_of_many_tasks_the_best_come_first(stage: Stage, limit: int) -> None:
    """However they are spread: they are merged lazily, and nobody may notice."""
    names = [f"t{number:02}" for number in range(50)]
    spawns = [
        stage.spawn(names[(number * number) % 50 if number % 3 else 7], priority=number % 4) for number in range(400)
    ]
    await stage.commit(spawns=spawns)
    claimed = [run.key for run in await stage.claim(limit, tasks=names)]
    best = sorted(spawns, key=lambda spawn: (-spawn.kind.priority, spawn.id))
    assert claimed == [spawn.id for spawn in best[:limit]]


# --- suspects --------------------------------------------------------------------------------------------------------


async def suspect(stage: Stage, priority: int = 1) -> bytes:
    """A queued run that was executing on two workers that died."""
    id_ = await stage.born("a", priority=priority)
    for _ in range(2):
        other = await stage.register()
        (run,) = await stage.claim(1, tasks=["a"], worker=other)
        assert run.key == id_
        await stage.store.reap(other, 3)
    return id_


@pytest.mark.parametrize("fair", [0, 1])
async def test_a_suspect_goes_to_an_idle_worker_only_and_alone(stage: Stage, fair: int) -> None:
    id_ = await suspect(stage, priority=3)
    others = {await stage.born("b") for _ in range(3)}
    busy = await stage.claim(10, fair=fair)
    assert {run.key for run in busy} == others
    assert not (await stage.commit(claim=ClaimRequest('["a","b"]', 10, fair))).has_more
    others = {await stage.born("b") for _ in range(3)}
    assert [run.key for run in await stage.claim(10, idle=True, fair=fair)] == [id_]
    assert {run.key for run in await stage.claim(10, fair=fair)} == others


async def test_a_suspect_that_is_the_oldest_does_not_take_anothers_place(stage: Stage) -> None:
    await suspect(stage, priority=1)
    other = await stage.born("a", priority=1)
    assert [run.key for run in await stage.claim(1, fair=1)] == [other]


@pytest.mark.parametrize("programs", [(), (7,)], ids=["all", "of a program"])
@pytest.mark.parametrize("idle", [False, True])
async def test_suspects_do_not_take_others_places(stage: Stage, idle: bool, programs: tuple[int, ...]) -> None:
    """Whether trees have their turns or not, and however many there are of them."""
    best = [await stage.born("b", priority=3)] if idle else []
    for _ in range(3):
        await suspect(stage, priority=2)
    others = [await stage.born("a", priority=priority) for priority in (2, 2, 1)]
    worker = await stage.register(programs=programs)
    for turns in (None, {}):
        claimed = await stage.claim(3, worker=worker, idle=idle, programs=programs, turns=turns)
        assert [run.key for run in claimed] == (best + others)[:3]
        await stage.report(*[handed_back(run) for run in claimed])


async def test_an_idle_worker_takes_what_is_better_than_a_suspect_first(stage: Stage) -> None:
    id_ = await suspect(stage, priority=1)
    better = await stage.born("b", priority=2)
    worse = await stage.born("b", priority=0)
    assert [run.key for run in await stage.claim(10, idle=True)] == [better, worse]
    assert [run.key for run in await stage.claim(10, idle=True)] == [id_]


async def test_who_gave_up_is_not_told(stage: Stage) -> None:
    """What one gave up another still hears of."""
    one, other = await stage.register(name="one"), await stage.register(name="other")
    runs = [await stage.running() for _ in range(3)]
    ids = [run.key for run in runs]
    for who in (one, other):
        await stage.commit(who, watch=ids)
    await stage.commit(one, unwatch=[*ids[:2], stage.ids.new_id()])
    await stage.report(*[completed(run) for run in runs])
    assert (await stage.commit(one, mail=True)).finished.keys() == {ids[2]}
    assert (await stage.commit(other, mail=True)).finished.keys() == set(ids)
    assert await watched(stage.store.url) == []


@pytest.mark.parametrize("how", ["completed", "failed", "cancelled", "swept", "met by a claim", "poison", "expired"])
async def test_however_a_run_ends_who_waits_is_told_and_no_watch_is_left(stage: Stage, how: str) -> None:
    waiting = await stage.register(name="waiting", slots=0)
    parent = await stage.running("c")
    queued = how in ("met by a claim", "expired")
    about: dict[str, Any] = {"schedule_timeout": 1} if how == "expired" else {}
    id_ = await stage.born("a", parent, **about)
    run = None if queued else (await stage.claim(1, tasks=["a"]))[0]
    await stage.commit(waiting, watch=[id_])
    stage.sweeps = how != "met by a claim"
    match how:
        case "completed":
            assert run is not None
            await stage.complete(run)
        case "failed":
            assert run is not None
            await stage.fail(run)
        case "cancelled":
            await stage.cancel(id_)
        case "swept":
            await stage.fail(parent, closes=True)
        case "met by a claim":
            await stage.fail(parent, closes=True)
            assert await stage.claim(5, tasks=["a"]) == []
        case "poison":
            await stage.store.reap(stage.worker, 1)
        case _:
            stage.clock.advance(5)
            await stage.store.tick()
    assert (await stage.commit(waiting, mail=True)).finished.keys() >= {id_}
    assert await watched(stage.store.url) == []
