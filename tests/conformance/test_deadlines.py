"""Deadlines that move: noted at once, however much is below; told by and by; nobody is failed too early meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from fanwood import RunState
from fanwood.model.commands import Attach, Batch, ClaimedRun
from fanwood.store.failures import decode_failure
from fanwood.store.memory.store import MemoryStore
from tests.conformance.costs import cost
from tests.conformance.stage import SECOND, Stage, completed, retried
from tests.conformance.test_lives import renewed

MANY = 6_000
PAGE = 300


@pytest.fixture
async def lazy(stage: Stage) -> Stage:
    """A stage on which nobody is told of a moved deadline unless that is asked for."""
    stage.sweeps = False
    return stage


async def commit_cost(stage: Stage, **batch: Any) -> int:
    return await cost(stage.store, lambda: stage.store.commit(stage.worker, Batch(**batch)))


async def with_children(stage: Stage, finished: int, living: int) -> tuple[ClaimedRun, list[bytes]]:
    """A parent and its children, half of those that live claimed; all have their deadlines from it."""
    parent = await stage.running()
    spawns = [
        stage.spawn(
            "b", parent, deadline=stage.clock.now() + SECOND, deadline_by=parent.key, claimed=n % 2 == 0 or n < finished
        )
        for n in range(finished + living)
    ]
    for start in range(0, len(spawns), 1000):
        await stage.commit(spawns=spawns[start : start + 1000])
    for start in range(0, finished, 1000):
        over = spawns[start : min(finished, start + 1000)]
        await stage.report(*(completed(_claimed(spawn.id)) for spawn in over))
    return parent, [spawn.id for spawn in spawns[finished:]]


def _claimed(id_: bytes) -> ClaimedRun:
    return ClaimedRun(id_.hex().upper(), 1, "", "", 1, "b", None, None, "{}", None, 1, 0, 0, None, "")


async def test_a_move_costs_as_much_above_many_children_as_above_few(lazy: Stage) -> None:
    """Also that of a new attempt, which asks for its children again, and gives them its own limit."""
    costs: list[list[int]] = []
    many = MANY // 3 if isinstance(lazy.store, MemoryStore) else MANY
    for finished, living in ((10, 10), (many // 2, many // 2)):
        parent, children = await with_children(lazy, finished, living)
        now = lazy.clock.now()
        moved = await commit_cost(lazy, deadlines=[(parent.key, 1, now + 60 * SECOND)])
        await lazy.report(retried(parent))
        again = await lazy.claim_again(parent)
        assert again is not None
        about: dict[str, Any] = {"deadline": now + 90 * SECOND, "deadline_by": parent.key}
        attaches = [lazy.attachment(again, child, "b", **about) for child in children[:5]]
        limit = [(parent.key, again.attempt, now + 90 * SECOND)]
        costs.append([moved, await commit_cost(lazy, attaches=attaches, deadlines=limit)])
        assert await lazy.store.deadlines(children[-1:]) == {children[-1]: now + 90 * SECOND}
        while (await lazy.store.sweep()).more:
            pass
    assert min(costs[0]) > 0
    # What each child costs would be one at the very least; an index with one more level costs some blocks a row, and
    # what a server's process has seen already less than what it sees for the first time.
    assert all(above_many <= above_few + many // 8 for above_few, above_many in zip(*costs, strict=True)), costs


async def test_those_below_are_told_in_pages_and_what_has_ended_is_not_looked_at(lazy: Stage) -> None:
    parent, children = await with_children(lazy, finished=3000, living=1000)
    limit = lazy.clock.now() + 9 * SECOND
    assert (await lazy.commit(deadlines=[(parent.key, 1, limit)])).has_closed
    assert (await lazy.store.look_around(lazy.worker, "host")).closed
    looked: list[int] = []
    while (swept := await lazy.store.sweep()).more:
        looked.append(swept.looked)
    assert max(looked) <= PAGE
    assert sum(looked) <= len(children) + 1 + len(looked)
    records = await lazy.records()
    assert {records[child].deadline for child in children} == {limit}
    assert not (await lazy.store.look_around(lazy.worker, "host")).closed


async def test_nobody_is_failed_by_the_old_deadline_before_he_is_told(lazy: Stage) -> None:
    """Whether queued, waiting for a retry, or below another one; and all are by the new one."""
    owner = await lazy.running()
    now = lazy.clock.now()
    about: dict[str, Any] = {"deadline": now + SECOND, "deadline_by": owner.key}
    child = await lazy.running("b", owner, **about)
    waiting = await lazy.running("b", child, **about)
    await lazy.report(retried(waiting, 5))
    queued = [await lazy.born("c", parent, **about) for parent in (owner, child) for _ in range(3)]
    impatient = await lazy.born("c", owner, **about, schedule_timeout=SECOND // 2)
    other = await lazy.born("c", owner, deadline=now + SECOND, deadline_by=child.key)
    await lazy.commit(deadlines=[(owner.key, 1, now + 9 * SECOND)])
    lazy.clock.advance(2)
    for _ in range(3):
        await lazy.store.tick()
    living = [waiting.key, *queued]
    assert {await lazy.state(run) for run in queued} == {RunState.QUEUED}
    assert await lazy.state(waiting) is RunState.WAITING
    assert await lazy.state(impatient) is RunState.FAILED
    assert await lazy.state(other) is RunState.FAILED
    assert await lazy.store.deadlines([child.key, *living]) == dict.fromkeys([child.key, *living], now + 9 * SECOND)
    lazy.clock.advance(8)
    for _ in range(3):
        await lazy.store.tick()
    assert {await lazy.state(run) for run in living} == {RunState.FAILED}
    failure = decode_failure((await lazy.get(queued[0])).error)
    assert (failure.limit, failure.owner.replace("-", "")) == ("deadline", owner.key.hex())


async def test_what_is_claimed_or_born_meanwhile_can_be_looked_up(lazy: Stage) -> None:
    owner = await lazy.running()
    now = lazy.clock.now()
    about: dict[str, Any] = {"deadline": now + SECOND, "deadline_by": owner.key}
    await lazy.born("b", owner, **about)
    await lazy.commit(deadlines=[(owner.key, 1, now + 9 * SECOND)])
    (claimed,) = await lazy.claim(1, tasks=["b"])
    late = await lazy.born("c", claimed, **about)  # by a parent that was not told yet
    lazy.clock.advance(2)
    await lazy.store.tick()
    assert await lazy.state(late) is RunState.QUEUED
    assert await lazy.store.deadlines([claimed.key, late]) == dict.fromkeys([claimed.key, late], now + 9 * SECOND)
    assert await lazy.store.deadlines([owner.key]) == {}
    await lazy.sweep()
    mine = (await lazy.commit(mail=True)).mine
    assert [(n.run_id, n.deadline) for n in mine] == [(claimed.key, now + 9 * SECOND)]


@pytest.mark.parametrize(("top", "middle", "expected"), [(60, 30, 30), (20, 30, 20), (60, 90, 60), (None, 90, 50)])
async def test_a_deadline_is_the_least_of_those_above(
    stage: Stage, top: int | None, middle: int, expected: int
) -> None:
    """Also where an ancestor's moved after one's own, and the other way round."""
    now = stage.clock.now()
    root = await stage.running()
    child = await stage.running("b", root, deadline=now + 50 * SECOND, deadline_by=root.key)
    leaf = await stage.born("c", child, deadline=now + 10 * SECOND, deadline_by=child.key)
    await stage.commit(deadlines=[(child.key, 1, now + middle * SECOND)])
    if top is not None:
        await stage.commit(deadlines=[(root.key, 1, now + top * SECOND)])
    assert (await stage.get(leaf)).deadline == now + expected * SECOND
    assert await stage.store.deadlines([leaf]) == {leaf: now + expected * SECOND}


async def test_a_deadline_that_comes_sooner_is_told_as_well(stage: Stage) -> None:
    owner = await stage.running()
    now = stage.clock.now()
    child = await stage.born("b", owner, deadline=now + 60 * SECOND, deadline_by=owner.key)
    await stage.commit(deadlines=[(owner.key, 1, now + SECOND)])
    stage.clock.advance(2)
    await stage.store.tick()
    assert await stage.state(child) is RunState.FAILED


async def test_a_deadline_that_moves_while_they_are_told_of_another(lazy: Stage) -> None:
    parent, children = await with_children(lazy, finished=0, living=1000)
    now = lazy.clock.now()
    await lazy.commit(deadlines=[(parent.key, 1, now + 5 * SECOND)])
    await lazy.store.sweep()
    await lazy.commit(deadlines=[(parent.key, 1, now + 6 * SECOND), (parent.key, 1, now + 9 * SECOND)])
    await lazy.sweep()
    records = await lazy.records()
    assert {records[child].deadline for child in children} == {now + 9 * SECOND}


async def test_a_limit_that_did_not_move_is_nobodys_business(lazy: Stage) -> None:
    owner = await lazy.running()
    moved = [(owner.key, 1, 5 * SECOND)]
    await lazy.commit(deadlines=moved)
    assert not (await lazy.store.look_around(lazy.worker, "host")).closed  # there is nobody below
    await lazy.born("b", owner, deadline=SECOND, deadline_by=owner.key)
    assert not (await lazy.commit(deadlines=moved)).has_closed


@pytest.mark.parametrize("how", ["moved", "asked for again"])
async def test_no_schedule_timeout_outlasts_a_deadline_that_comes_before_it(lazy: Stage, how: str) -> None:
    """It was the sooner of the two, and is the later one now."""
    parent, now = await lazy.running(), lazy.clock.now()
    about: dict[str, Any] = {"schedule_timeout": 20 * SECOND, "deadline_by": parent.key}
    id_ = await lazy.born("b", parent, deadline=now + 60 * SECOND, **about)
    if how == "moved":
        await lazy.commit(deadlines=[(parent.key, 1, now + 10 * SECOND)])
        await lazy.sweep()
    else:
        await lazy.attach(parent, id_, "b", deadline=now + 10 * SECOND, **about)
    lazy.clock.advance(11)
    while (due := await lazy.store.tick()) is not None and due <= lazy.clock.now():
        pass
    record = await lazy.get(id_)
    assert record.state is RunState.FAILED
    assert decode_failure(record.error).limit == "deadline"


@pytest.mark.parametrize("told", [False, True], ids=["when it would fail", "when it is told"])
@pytest.mark.parametrize("after", ["its birth", "a retry", "a retry and a replay"])
async def test_a_deadline_that_moves_leaves_a_schedule_timeout(lazy: Stage, told: bool, after: str) -> None:
    """It was the later of the two, and is the sooner one now."""
    parent, start = await lazy.running(), lazy.clock.now()
    about: dict[str, Any] = {"schedule_timeout": 10 * SECOND, "deadline": start + 5 * SECOND, "deadline_by": parent.key}
    if after == "its birth":
        id_, begun = await lazy.born("b", parent, **about), start
    else:
        child = await lazy.running("b", parent, **about)
        lazy.clock.advance(1)
        await lazy.report(retried(child, 1))
        id_, begun = child.key, start + 2 * SECOND  # when it is due again
    if after == "a retry and a replay":
        await lazy.store.cancel(id_, "for a test")
        lazy.clock.advance(2)
        await lazy.store.replay(id_, [RunState.CANCELLED])
        attach = Attach(lazy.spawn("b", parent, **about).kind, id_)
        await lazy.commit(attaches=[attach])
        begun = start + 3 * SECOND
    await lazy.commit(deadlines=[(parent.key, 1, start + 60 * SECOND)])
    if told:
        await lazy.sweep()
    lazy.clock.advance((start + 6 * SECOND - lazy.clock.now()) / SECOND)
    await lazy.store.tick()
    assert not (await lazy.get(id_)).state.is_terminal
    await lazy.store.tick()
    lazy.clock.advance((begun + 10 * SECOND - lazy.clock.now()) / SECOND + 0.001)
    while (due := await lazy.store.tick()) is not None and due <= lazy.clock.now():
        pass
    assert (await lazy.get(id_)).state is RunState.FAILED
    assert decode_failure((await lazy.get(id_)).error).limit == "schedule_timeout"


@pytest.mark.parametrize("how", ["is tried again", "starts over"])
async def test_the_limit_of_an_attempt_that_is_over_is_no_later_one_s(stage: Stage, how: str) -> None:
    """Else what is told next fails what the next attempt waits for."""
    root = await stage.running()
    owner = await stage.running("b", root)
    now = stage.clock.now()
    await stage.commit(deadlines=[(owner.key, 1, now + 2 * SECOND)])
    await stage.report(retried(owner) if how == "is tried again" else renewed(owner))
    again = await stage.claim_again(owner)
    assert again is not None
    child = await stage.born("c", again, deadline=now + 9 * SECOND, deadline_by=owner.key)
    assert await stage.store.deadlines([child]) == {child: now + 9 * SECOND}
    await stage.commit(deadlines=[(root.key, 1, now + 99 * SECOND)])  # somebody else's has moved: all are told
    stage.clock.advance(3)
    await stage.store.tick()
    await stage.sweep()
    await stage.store.tick()
    assert await stage.state(child) is RunState.QUEUED


async def test_who_was_not_told_yet_keeps_the_limit_that_an_attempt_had(lazy: Stage) -> None:
    """Its row has the one before still, and that has come."""
    owner = await lazy.running()
    now = lazy.clock.now()
    child = await lazy.born("b", owner, deadline=now + SECOND, deadline_by=owner.key)
    await lazy.commit(deadlines=[(owner.key, 1, now + 9 * SECOND)])
    await lazy.report(retried(owner))
    lazy.clock.advance(2)
    await lazy.store.tick()
    assert await lazy.state(child) is RunState.QUEUED
    assert await lazy.store.deadlines([child]) == {child: now + 9 * SECOND}
