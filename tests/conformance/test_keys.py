"""Roots with an idempotency key: one root for each key, and whoever asks later is told who that is."""

from __future__ import annotations

import asyncio
from typing import Any

from fanwood import RunState
from fanwood.model.commands import ClaimRequest, Committed, Spawn, SpawnKind
from fanwood.model.records import RunFilter
from tests.conformance.stage import FAILURE, Stage, digest


def keyed(stage: Stage, key: str, task: str = "a", input_: str = "{}", **about: Any) -> Spawn:
    kind = SpawnKind(task, **about)
    return Spawn(kind, stage.ids.new_id(), digest(f"root {key}"), input_, 0, key, digest(f"{task} {input_}"))


async def roots(stage: Stage) -> list[bytes]:
    return [run.id for run in (await stage.store.listing(RunFilter(limit=10_000))).runs]


def holders(done: Committed) -> dict[bytes, bytes]:
    return {asked_for: found.id for asked_for, found in done.taken.items()}


async def test_that_the_first_is_born_and_the_others_are_told_of_it(stage: Stage) -> None:
    first, second = keyed(stage, "k", input_="[1]"), keyed(stage, "k", input_="[1]")
    assert (await stage.commit(spawns=[first])).taken == {}
    done = await stage.commit(spawns=[second])
    assert holders(done) == {second.id: first.id}
    found = done.taken[second.id]
    assert (found.state, found.output, found.error, found.matches) == (RunState.QUEUED, None, None, True)
    assert (found.task, found.input) == ("a", "[1]")
    assert await roots(stage) == [first.id]
    run = await stage.get(first.id)
    assert (run.child_key, run.state, run.attempt) == ("k", RunState.QUEUED, 0)
    assert [await stage.store.holder(*place) for place in (("", "k"), ("", "l"), ("x", "k"))] == [first.id, None, None]


async def test_that_of_two_in_one_batch_the_first_is_born(stage: Stage) -> None:
    first, second, other = keyed(stage, "k"), keyed(stage, "k"), keyed(stage, "other")
    done = await stage.commit(spawns=[first, other, second])
    assert holders(done) == {second.id: first.id}
    assert sorted(await roots(stage)) == sorted([first.id, other.id])


async def test_that_others_in_the_batch_are_born(stage: Stage) -> None:
    parent = await stage.running("b")
    await stage.commit(spawns=[keyed(stage, "k")])
    child, root, second = stage.spawn("c", parent), stage.spawn("c"), keyed(stage, "k")
    done = await stage.commit(spawns=[child, second, root])
    assert list(done.taken) == [second.id]
    assert {run.key for run in await stage.claim(10, tasks=["c"])} == {child.id, root.id}


async def test_that_a_fenced_parent_takes_no_root_with_it(stage: Stage) -> None:
    parent = await stage.running("b")
    await stage.cancel(parent.key, "")
    root = keyed(stage, "k")
    done = await stage.commit(spawns=[stage.spawn("c", parent), root])
    assert done.fenced_parents == {(parent.key, 1)}
    assert [run.key for run in await stage.claim(10)] == [root.id]


async def test_that_the_end_of_the_holder_is_told(stage: Stage) -> None:
    good, bad = keyed(stage, "good"), keyed(stage, "bad", "b")
    await stage.commit(spawns=[good, bad])
    [run] = await stage.claim(1, tasks=["a"])
    await stage.complete(run, "[7]")
    [run] = await stage.claim(1, tasks=["b"])
    await stage.fail(run)
    again = keyed(stage, "good"), keyed(stage, "bad", "b")
    done = await stage.commit(spawns=list(again))
    found = [done.taken[spawn.id] for spawn in again]
    assert [(f.state, f.output) for f in found] == [(RunState.COMPLETED, "[7]"), (RunState.FAILED, None)]
    assert found[1].error == FAILURE


async def test_that_another_task_or_input_does_not_match(stage: Stage) -> None:
    holder = keyed(stage, "k", input_="[1]")
    await stage.commit(spawns=[holder])
    for other in (keyed(stage, "k", "b", "[1]"), keyed(stage, "k", "a", "[2]")):
        found = (await stage.commit(spawns=[other])).taken[other.id]
        assert (found.id, found.matches, found.task, found.input) == (holder.id, False, "a", "[1]")
    assert await roots(stage) == [holder.id]


async def test_that_an_identity_below_a_parent_is_nobodys_key(stage: Stage) -> None:
    parent = await stage.running("b")
    child, root = stage.spawn("c", parent, child_key="x"), keyed(stage, "k")
    root.identity = child.identity
    assert (await stage.commit(spawns=[child])).taken == {}
    assert (await stage.commit(spawns=[root])).taken == {}
    twin = stage.spawn("c", parent, child_key="x")
    assert (await stage.commit(spawns=[twin])).taken == {}


async def test_that_the_key_is_kept_through_replays_and_cancellation(stage: Stage) -> None:
    first = keyed(stage, "k")
    await stage.commit(spawns=[first])
    for _ in range(2):
        await stage.cancel(first.id, "")
        second = keyed(stage, "k")
        found = (await stage.commit(spawns=[second])).taken[second.id]
        assert (found.id, found.state) == (first.id, RunState.CANCELLED)
        assert await stage.store.replay(first.id, [RunState.CANCELLED])


async def test_that_who_waits_finds_the_holder_and_not_what_he_asked_for(stage: Stage) -> None:
    first, second = keyed(stage, "k"), keyed(stage, "k")
    await stage.commit(spawns=[first])
    done = await stage.commit(spawns=[second], watch=[second.id])
    assert done.unknown == [second.id]
    other = await stage.register(name="other")
    assert (await stage.commit(other, watch=[first.id])).finished == {}
    [run] = await stage.claim(1)
    await stage.complete(run, "[7]")
    assert (await stage.commit(other, mail=True)).finished[first.id].output == "[7]"


async def test_a_claim_in_the_same_batch_sees_it(stage: Stage) -> None:
    first, second = keyed(stage, "k"), keyed(stage, "k")
    done = await stage.commit(spawns=[first, second], claim=ClaimRequest('["a"]', 10))
    assert [run.key for run in done.claimed] == [first.id]
    assert holders(done) == {second.id: first.id}


async def test_more_keys_than_one_statement_takes(stage: Stage) -> None:
    first = [keyed(stage, f"k{n}") for n in range(2500)]
    assert (await stage.commit(spawns=first)).taken == {}
    second = [keyed(stage, f"k{n}") for n in reversed(range(2500))]
    done = await stage.commit(spawns=second)
    assert holders(done) == {b.id: a.id for a, b in zip(first, reversed(second), strict=True)}
    assert len(await roots(stage)) == 2500


async def test_racing_for_the_same_keys(stage: Stage) -> None:
    stores = [await stage.another_store() for _ in range(4)]
    asked = [[keyed(stage, f"k{n}") for n in range(200)] for _ in stores]
    for number, spawns in enumerate(asked):
        if number % 2:
            spawns.reverse()
    answers = await asyncio.gather(
        *(stage.commit(store=store, spawns=spawns) for store, spawns in zip(stores, asked, strict=True))
    )
    born = await roots(stage)
    assert len(born) == 200
    records = await stage.records()
    for spawns, done in zip(asked, answers, strict=True):
        for spawn in spawns:
            holder = done.taken[spawn.id].id if spawn.id in done.taken else spawn.id
            assert holder in born
            assert records[holder].child_key == spawn.child_key
