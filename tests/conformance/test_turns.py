"""Claims go round the roots that have something in the queue."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from fanwood.store.turns import FEW, ROOTS
from tests.conformance.stage import handed_back

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fanwood.model.commands import ClaimedRun
    from tests.conformance.stage import Stage


async def tree(stage: Stage, count: int, task: str = "a", *, priority: int = 1, depths: int = 1) -> ClaimedRun:
    """A root that executes, with so many children in the queue; of other depths than one: as many below one of them."""
    root = parent = await stage.running("c")
    for _ in range(depths):
        await stage.commit(spawns=[stage.spawn(task, parent, priority=priority) for _ in range(count)])
        if depths > 1:
            parent = await stage.running("c", parent)
    return root


def roots_of(runs: Iterable[ClaimedRun]) -> list[str]:
    return [run.root_id for run in runs]


async def test_roots_have_their_turns_and_within_one_deeper_runs_go_first(stage: Stage) -> None:
    large = await tree(stage, 40, depths=2)
    small = await tree(stage, 4)
    runs = await stage.claim(6, turns={})
    assert roots_of(runs) == [large.id, small.id] * 3
    assert [run.depth for run in runs if run.root_id == large.id] == [2, 2, 2]
    ids = [run.id for run in runs if run.root_id == small.id]
    assert ids == sorted(ids)


@pytest.mark.parametrize("limit", [1, 2, 3, 5])
async def test_the_next_turn_is_of_the_root_after_the_last(stage: Stage, limit: int) -> None:
    trees = [(await tree(stage, 30)).id for _ in range(4)]
    turns: dict[int, str] = {}
    order: list[str] = []
    for _ in range(8):
        order += (now := roots_of(await stage.claim(limit, turns=turns)))
        turns = {1: max([root for root in now if root > turns.get(1, "")] or now)}
    counts = Counter(order)
    assert set(counts) == set(trees)
    assert max(counts.values()) <= 2 * min(counts.values())


async def test_what_turns_leave_over_goes_to_the_best(stage: Stage) -> None:
    """A claim brings as many as there are."""
    large = await tree(stage, 30)
    small = await tree(stage, 3)
    runs = await stage.claim(20, turns={})
    assert Counter(roots_of(runs)) == {large.id: 17, small.id: 3}
    assert len({run.id for run in runs}) == 20
    assert len(await stage.claim(100, turns={1: small.id})) == 13


@pytest.mark.parametrize("urgent", [2, 9])
async def test_priorities_stand_above_turns(stage: Stage, urgent: int) -> None:
    """And what is left of a claim goes round the roots of the priority below."""
    large = await tree(stage, 30)
    small = await tree(stage, 30)
    first = await tree(stage, urgent, priority=5)
    runs = await stage.claim(10, turns={})
    assert roots_of(runs[:urgent]) == [first.id] * urgent
    rest = Counter(roots_of(runs[urgent:]))
    assert rest[large.id] - rest[small.id] == (10 - urgent) % 2


async def test_turns_hold_over_several_tasks(stage: Stage) -> None:
    """A root that has something of each has no more turns for that."""
    large = await tree(stage, 30, "a")
    await stage.commit(spawns=[stage.spawn("b", large, priority=1) for _ in range(30)])
    small = await tree(stage, 30, "b")
    assert Counter(roots_of(await stage.claim(10, turns={}))) == {large.id: 5, small.id: 5}


async def test_roots_that_have_not_begun_share_a_turn_the_oldest_first(stage: Stage) -> None:
    """Or soon as many trees would be half done as there are roots."""
    large = await tree(stage, 30)
    small = await tree(stage, 30)
    waiting = [await stage.born("a") for _ in range(30)]
    for number in range(3):
        runs = await stage.claim(9, turns={})
        assert [run.key for run in runs if not run.parent_id] == waiting[3 * number : 3 * number + 3]
    counts = Counter(roots_of(await stage.claim(9, turns={1: waiting[20].hex().upper()})))
    assert (counts[large.id], counts[small.id]) == (3, 3)
    assert [run.key for run in await stage.claim(30, tasks=["a"], turns={}) if not run.parent_id][:4] == waiting[9:13]


async def test_many_roots_are_not_all_walked(stage: Stage) -> None:
    """So many have their turn, and then the next."""
    trees = sorted([(await tree(stage, 2)).id for _ in range(ROOTS + 3)])
    first = await stage.claim(ROOTS, turns={})
    assert roots_of(first) == trees[:ROOTS]
    second = await stage.claim(ROOTS, turns={1: trees[ROOTS - 1]})
    assert roots_of(second) == trees[ROOTS:] + trees[: ROOTS - 3]


async def test_turns_are_among_what_is_ours(stage: Stage) -> None:
    worker = await stage.register(programs=[7])
    ours, others, free = [await stage.running("c", program=program) for program in (7, 8, 0)]
    for root in (ours, others, free):
        await stage.commit(spawns=[stage.spawn("a", root) for _ in range(20)])
    runs = await stage.claim(10, turns={}, programs=[7], worker=worker)
    assert Counter(roots_of(runs)) == {ours.id: 5, free.id: 5}


async def test_a_tree_that_began_after_what_is_queued_has_its_turn(stage: Stage) -> None:
    """A hundred thousand roots that were suspended are queued again, say; what a later one has spawned is of another
    task."""
    waiting = [await stage.born("a") for _ in range(30)]
    tree_ = await tree(stage, 20, "b")
    for number in range(3):
        turns = {1: waiting[3 * number].hex().upper()} if number else {}
        assert Counter(roots_of(await stage.claim(6, tasks=["a", "b"], turns=turns)))[tree_.id] == 3


async def test_roots_of_each_task_have_a_turn(stage: Stage) -> None:
    """However many of another one are older."""
    first = [await stage.born("a") for _ in range(30)]
    second = [await stage.born("b") for _ in range(4)]
    third = await tree(stage, 3, "c")
    runs = await stage.claim(6, tasks=["a", "b", "c"], turns={1: first[10].hex().upper()})
    assert [run.key for run in runs if run.task == "a"] == first[11:13]
    assert [run.key for run in runs if run.task == "b" and not run.parent_id] == second[:2]
    assert roots_of(runs).count(third.id) == 2
    runs = await stage.claim(6, tasks=["a", "b", "c"], turns={1: third.id})
    assert [run.key for run in runs if run.task == "a"] == first[:3]
    assert [run.key for run in runs if run.task == "b" and not run.parent_id] == second[2:]


async def test_a_queued_root_is_no_root_to_be_begun_for_what_it_has_spawned(stage: Stage) -> None:
    """It goes on after it was suspended, and some of its children are queued still."""
    parent = await tree(stage, 5, "b")
    others = [await stage.born("a") for _ in range(10)]
    later = await tree(stage, 5, "b")
    await stage.report(handed_back(parent))
    runs = await stage.claim(9, tasks=["a", "b", "c"], turns={})
    assert Counter(run.task for run in runs) == {"a": 3, "b": 5, "c": 1}
    assert Counter(run.root_id for run in runs if run.task == "b").keys() == {parent.id, later.id}
    assert [run.key for run in runs if run.task == "a"] == others[:3]


async def test_of_many_roots_that_have_begun_it_is_as_many_beside_those_that_have_not(stage: Stage) -> None:
    trees = sorted([(await tree(stage, 2, "b")).id for _ in range(ROOTS)])
    waiting = [await stage.born("a") for _ in range(5)]
    runs = await stage.claim(FEW + 1, tasks=["a", "b"], turns={})
    assert roots_of(runs) == [*trees[:FEW], waiting[0].hex().upper()]
    runs = await stage.claim(FEW + 1, tasks=["a", "b"], turns={1: trees[FEW - 1]})
    assert sorted(roots_of(runs)) == [*trees[FEW : 2 * FEW], waiting[1].hex().upper()]
