"""What trees may use: exactly, whoever asks, and however it ends."""

from __future__ import annotations

from typing import Any

import pytest

from fanwood import BudgetExceeded, RunState
from fanwood.model.budgets import MOST, Overdrawn, Refusal, Spend
from fanwood.model.commands import ClaimedRun, Outcome, Spawn
from fanwood.store.auditing import findings
from fanwood.store.postgres import gates
from tests.conformance.stage import SECOND, Stage, completed, failed, handed_back
from tests.conformance.test_hedging import hedged
from tests.conformance.test_sharing import claimed, link, linked

USD = 1_000_000


async def limits(stage: Stage, run: bytes | ClaimedRun) -> dict[str, tuple[int, int, int]]:
    """Of those that a run was given itself: amount, used, held."""
    id_ = run if isinstance(run, bytes) else run.key
    return {b.unit: (b.amount, b.used, b.held) for b in await stage.store.balances(id_) if b.run_id == id_}


async def is_even(stage: Stage) -> None:
    """Nothing is lost, and nothing counted twice."""
    for row in await stage.store.counted():
        assert (row.used, row.held) == (row.used_of, row.held_of), row
        assert row.held >= 0
        assert row.closed or row.unit == "~seconds" or row.used + row.held <= row.amount
    assert [found async for found in findings(stage.store, full=True)] == []


async def spend(stage: Stage, run: ClaimedRun, amount: int, unit: str = "usd", **about: Any) -> Refusal | None:
    one = Spend(run.key, run.attempt, stage.ids.new_id(), {unit: amount}, **about)
    answer = (await stage.store.spend([one]))[0]
    await is_even(stage)
    return answer


async def reserve(stage: Stage, run: ClaimedRun, amount: int) -> bytes:
    one = Spend(run.key, run.attempt, stage.ids.new_id(), {"usd": amount}, reserve=True)
    assert await stage.store.spend([one]) == [None]
    await is_even(stage)
    return one.id


async def refused(stage: Stage, **batch: Any) -> dict[bytes, Refusal]:
    with pytest.raises(Overdrawn) as caught:
        await stage.commit(**batch)
    await is_even(stage)
    return caught.value.refused


async def budgeted(stage: Stage, **part: int) -> ClaimedRun:
    names = {"runs": "~runs", "depth": "~depth", "seconds": "~seconds"}
    return await stage.running(part=tuple((names.get(unit, unit), amount) for unit, amount in part.items()))


async def test_what_is_spent_is_never_more_than_there_is(stage: Stage) -> None:
    root = await budgeted(stage, usd=5 * USD, tokens=10)
    child = await stage.running("b", root)
    grandchild = await stage.running("c", child)
    assert await spend(stage, root, 2 * USD) is None
    assert await spend(stage, grandchild, 2 * USD) is None
    assert await spend(stage, child, USD + 1) == Refusal("usd", 5 * USD, 4 * USD, USD + 1, root.key.hex())
    both = Spend(child.key, 1, b"x" * 16, {"usd": USD, "tokens": 11})
    assert await stage.store.spend([both]) == [Refusal("tokens", 10, 0, 11, root.key.hex())]
    assert await spend(stage, child, USD) is None
    assert await spend(stage, child, 0) is None
    assert await spend(stage, child, 7, "eur") is None  # nobody limits these: they are seen all the same
    assert await limits(stage, root) == {"usd": (5 * USD, 5 * USD, 0), "tokens": (10, 0, 0)}
    assert await stage.store.balances(grandchild.key) == await stage.store.balances(root.key)
    assert set(await stage.store.spent(root.key)) == {
        (root.key, "usd", 2 * USD), (grandchild.key, "usd", 2 * USD), (child.key, "usd", USD), (child.key, "eur", 7),
    }  # fmt: skip
    assert (await stage.store.spent(root.key))[0] == (child.key, "eur", 7)
    assert await stage.store.spent(root.key, limit=1) == [(child.key, "eur", 7), (root.key, "usd", 2 * USD)]
    assert await stage.store.spends(root.key, 2) == 2
    assert await stage.store.spent(root.key, grandchild.key) == [(grandchild.key, "usd", 2 * USD)]


async def test_what_is_spent_under_one_id_is_spent_once_and_by_the_present_attempt_only(stage: Stage) -> None:
    root = await budgeted(stage, usd=5)
    once = Spend(root.key, 1, b"x" * 16, {"usd": 3})
    assert await stage.store.spend([once, once]) == [None, None]
    assert await stage.store.spend([once]) == [None]
    assert await limits(stage, root) == {"usd": (5, 3, 0)}
    await stage.report(handed_back(root))
    for _ in range(2):
        [answer] = await stage.store.spend([Spend(root.key, 1, b"y" * 16, {"usd": 1})])
        assert answer is not None
        assert answer.is_fenced
        assert [run.attempt for run in await stage.claim()] in ([2], [])  # also while another attempt executes
    [answer] = await stage.store.spend([Spend(b"z" * 16, 1, b"y" * 16, {"usd": 1})])
    assert answer is not None
    assert answer.is_fenced
    await is_even(stage)


async def test_a_tree_without_budgets_is_counted_all_the_same(stage: Stage) -> None:
    root = await stage.running()
    assert await spend(stage, root, 7) is None
    assert await stage.store.spent(root.key) == [(root.key, "usd", 7)]
    assert await stage.store.balances(root.key) == []
    held = Spend(root.key, 1, b"r" * 16, {"usd": 3}, reserve=True)
    assert await stage.store.spend([held]) == [None]
    assert await stage.store.spend([Spend(root.key, 1, b"s" * 16, {"usd": 2}, of=held.id)]) == [None]
    assert await stage.store.spent(root.key) == [(root.key, "usd", 9)]
    await is_even(stage)


async def test_sums_may_be_more_than_a_column_holds(stage: Stage) -> None:
    root = await stage.running()
    for _ in range(12):
        assert await spend(stage, root, MOST) is None
    assert await spend(stage, root, 3 * MOST // 4 + 1) is None
    assert await stage.store.spent(root.key) == [(root.key, "usd", 12 * MOST + 3 * MOST // 4 + 1)]
    assert await stage.store.spent(root.key, root.key) == await stage.store.spent(root.key)

    parent = await budgeted(stage, runs=100, usd=MOST)
    first = stage.spawn("b", parent, part=(("eur", MOST), ("usd", MOST)))
    many = [first, *(Spawn(first.kind, stage.ids.new_id(), stage.ids.new_id(), "{}") for _ in range(19))]
    assert await refused(stage, spawns=many) == {first.id: Refusal("usd", MOST, 0, 20 * MOST, parent.key.hex())}
    first = stage.spawn("b", parent, part=(("eur", MOST),))
    many = [first, *(Spawn(first.kind, stage.ids.new_id(), stage.ids.new_id(), "{}") for _ in range(19))]
    await stage.commit(spawns=many)
    assert await limits(stage, parent) == {"~runs": (100, 20, 0), "usd": (MOST, 0, 0)}
    await is_even(stage)


async def test_a_reservation_is_spent_let_go_of_and_ends_with_its_attempt(stage: Stage) -> None:
    root = await budgeted(stage, usd=10)
    held = await reserve(stage, root, 6)
    assert await limits(stage, root) == {"usd": (10, 0, 6)}
    assert await stage.store.spend([Spend(root.key, 1, held, {"usd": 6}, reserve=True)]) == [
        None
    ]  # its answer was lost
    assert await limits(stage, root) == {"usd": (10, 0, 6)}
    assert await spend(stage, root, 5) == Refusal("usd", 10, 6, 5, root.key.hex(), 6)
    assert await spend(stage, root, 4, of=held) is None
    assert await limits(stage, root) == {"usd": (10, 4, 2)}
    assert await spend(stage, root, 7, of=held) == Refusal("usd", 10, 6, 5, root.key.hex(), 2)
    assert await spend(stage, root, 3, of=held) is None  # two that it has, and one more
    assert await limits(stage, root) == {"usd": (10, 7, 0)}
    await stage.store.spend([Spend(root.key, 1, stage.ids.new_id(), of=held, release=True)])
    held = await reserve(stage, root, 2)
    await stage.store.spend([Spend(root.key, 1, stage.ids.new_id(), {"usd": 0}, of=held, release=True)])
    assert await limits(stage, root) == {"usd": (10, 7, 0)}
    await reserve(stage, root, 3)
    await stage.report(handed_back(root))
    assert await limits(stage, root) == {"usd": (10, 7, 0)}
    again = await stage.claim_again(root)
    assert again is not None
    await reserve(stage, again, 3)
    await stage.complete(again)
    assert await limits(stage, root) == {"usd": (10, 7, 0)}
    await is_even(stage)


async def test_runs_are_counted_where_they_are_born_and_what_is_too_much_is_not_born(stage: Stage) -> None:
    root, other = await budgeted(stage, runs=3), await stage.running("b")
    child = await stage.running("c", root)
    many = [stage.spawn("c", child) for _ in range(3)]
    for one in many[1:]:
        one.kind = many[0].kind
    bystander = stage.spawn("c", other)
    why = await refused(stage, spawns=[*many, bystander])
    assert why == {many[0].id: Refusal("~runs", 3, 1, 3, root.key.hex())}
    assert many[0].id not in await stage.records()
    assert bystander.id not in await stage.records()
    await stage.commit(spawns=[*many[:2], bystander])
    assert await limits(stage, root) == {"~runs": (3, 3, 0)}
    one = stage.spawn("b", root)
    assert set(await refused(stage, spawns=[one])) == {one.id}


async def test_a_depth_is_that_below_who_was_given_it(stage: Stage) -> None:
    root = await budgeted(stage, depth=2)
    child = await stage.running("b", root, part=(("~depth", 5),))
    grandchild = await stage.running("c", child)
    too_deep = stage.spawn("c", grandchild)
    assert await refused(stage, spawns=[too_deep]) == {too_deep.id: Refusal("~depth", 2, 2, 1, child.key.hex())}
    less = await stage.running("b", root, part=(("~depth", 0),))
    assert len(await refused(stage, spawns=[stage.spawn("c", less)])) == 1


async def test_a_part_of_one_thing_leaves_the_limits_of_all_others(stage: Stage) -> None:
    root = await budgeted(stage, usd=10, tokens=10, runs=5)
    child = await stage.running("b", root, part=(("usd", 4),))
    grandchild = await stage.running("c", child, part=(("tokens", 3),))
    assert await spend(stage, grandchild, 5) == Refusal("usd", 4, 0, 5, child.key.hex())
    assert await spend(stage, grandchild, 3) is None
    assert await spend(stage, child, 8, "tokens") == Refusal("tokens", 10, 3, 8, root.key.hex(), 3)
    assert await spend(stage, child, 7, "tokens") is None
    spawns = [stage.spawn("d", child) for _ in range(4)]
    assert {each.unit for each in (await refused(stage, spawns=spawns)).values()} == {"~runs"}
    await stage.commit(spawns=spawns[:3])
    await stage.complete(grandchild)
    assert await limits(stage, root) == {"usd": (10, 0, 4), "tokens": (10, 7, 0), "~runs": (5, 5, 0)}


async def test_seconds_are_charged_when_attempts_end_and_then_nothing_more_is_born(stage: Stage) -> None:
    root = await budgeted(stage, seconds=3 * SECOND)
    child = await stage.running("b", root)
    await stage.report(Outcome(child.key, 1, RunState.QUEUED, retry=True, error=None, busy=2 * SECOND))
    assert await limits(stage, root) == {"~seconds": (3 * SECOND, 2 * SECOND, 0)}
    again = await stage.claim_again(child)
    assert again is not None
    await stage.born("c", again)
    await stage.report(Outcome(child.key, 2, RunState.COMPLETED, output="1", busy=2 * SECOND))
    assert await limits(stage, root) == {"~seconds": (3 * SECOND, 4 * SECOND, 0)}
    spawn = stage.spawn("c", root)
    assert await refused(stage, spawns=[spawn]) == {
        spawn.id: Refusal("~seconds", 3 * SECOND, 4 * SECOND, 0, root.key.hex())
    }
    await stage.complete(root)
    await is_even(stage)


ENDS = ["completed", "failed", "cancelled", "with its parent", "lost", "late"]


@pytest.mark.parametrize("how", ENDS)
async def test_what_is_left_of_a_part_returns_however_its_run_ends(how: str, stage: Stage) -> None:
    root = await budgeted(stage, usd=10, runs=10)
    worker = await stage.register(name="dying")
    part = (("usd", 6), ("~runs", 4))
    if how == "late":
        child = stage.spawn("b", root, part=part, schedule_timeout=SECOND)
        await stage.commit(spawns=[child])
        assert await limits(stage, root) == {"usd": (10, 0, 6), "~runs": (10, 1, 4)}
        stage.clock.advance(2)
        await stage.store.tick()
        await is_even(stage)
        assert await limits(stage, root) == {"usd": (10, 0, 0), "~runs": (10, 1, 0)}
        return
    run = await stage.running("b", root, part=part, worker=worker)
    assert await limits(stage, root) == {"usd": (10, 0, 6), "~runs": (10, 1, 4)}
    assert await spend(stage, run, 2) is None
    assert await spend(stage, run, 5) == Refusal("usd", 6, 2, 5, run.key.hex())
    await reserve(stage, run, 3)
    assert len(await refused(stage, spawns=[stage.spawn("c", root, part=(("usd", 5),))])) == 1
    if how == "completed":
        await stage.commit(worker, outcomes=[completed(run)])
    elif how == "failed":
        await stage.commit(worker, outcomes=[failed(run)])
    elif how == "cancelled":
        await stage.cancel(run.key, "no more")
    elif how == "with its parent":
        await stage.fail(root, closes=True)
    else:
        await stage.store.reap(worker, 1)
    await is_even(stage)
    assert (await stage.state(run)).is_terminal
    assert await limits(stage, root) == {"usd": (10, 2, 0), "~runs": (10, 1, 0)}


async def test_the_parts_of_many_siblings_are_theirs_and_return_when_they_are_swept(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "PAGE", 100)
    root = await budgeted(stage, usd=1000)
    child = await stage.running("b", root)
    first = stage.spawn("c", child, part=(("usd", 2),))
    others = [Spawn(first.kind, stage.ids.new_id(), stage.ids.new_id(), "{}", n) for n in range(1, 250)]
    roots = [stage.spawn("d") for _ in range(8)]  # of no kind with them, in the same commit
    await stage.commit(spawns=[first, *others, *roots])
    assert [(await stage.get(spawn.id)).task for spawn in roots] == ["d"] * 8
    assert await limits(stage, others[-1].id) == {"usd": (2, 0, 0)}
    assert await limits(stage, root) == {"usd": (1000, 0, 500)}
    await stage.cancel(child.key)
    await stage.sweep()
    assert await limits(stage, root) == {"usd": (1000, 0, 0)}


async def test_what_is_queued_below_what_was_closed_gives_its_part_back(stage: Stage) -> None:
    root = await budgeted(stage, usd=10)
    for _ in range(20):
        await stage.born("b", root, part=(("usd", 1),)) if _ < 10 else None
    assert await limits(stage, root) == {"usd": (10, 0, 10)}
    await stage.cancel(root.key, "no more")
    await is_even(stage)
    assert await limits(stage, root) == {"usd": (10, 0, 0)}


async def test_who_outlives_a_part_uses_what_it_was_a_part_of(stage: Stage) -> None:
    root = await budgeted(stage, usd=10)
    child = await stage.running("b", root, part=(("usd", 4),))
    heir = await stage.running("c", child, on_parent_end=2)
    own = await stage.running("a", child, on_parent_end=2, part=(("usd", 2),))
    assert await limits(stage, child) == {"usd": (4, 0, 2)}
    assert await spend(stage, heir, 1) is None
    held = await reserve(stage, heir, 1)
    await stage.complete(child)
    await is_even(stage)
    assert await limits(stage, root) == {"usd": (10, 1, 3)}
    assert await spend(stage, heir, 6) is None
    assert await limits(stage, root) == {"usd": (10, 7, 3)}
    assert await spend(stage, heir, 1) == Refusal("usd", 10, 10, 1, root.key.hex(), 3)
    assert await spend(stage, heir, 1, of=held) is None
    assert await spend(stage, own, 1) is None
    await stage.complete(own)
    await stage.complete(heir)
    await is_even(stage)
    assert await limits(stage, root) == {"usd": (10, 9, 0)}


async def test_a_child_that_is_run_again_takes_its_part_anew_or_is_refused(stage: Stage) -> None:
    root = await budgeted(stage, usd=10)
    child = await stage.running("b", root, part=(("usd", 4),))
    assert await spend(stage, child, 3) is None
    await stage.fail(child)
    assert await limits(stage, root) == {"usd": (10, 3, 0)}
    assert await stage.store.replay(child.key, [RunState.FAILED])
    await is_even(stage)
    assert await limits(stage, root) == {"usd": (10, 3, 4)}
    again = await stage.claim_again(child)
    assert again is not None
    assert await spend(stage, again, 4) is None
    assert await spend(stage, again, 1) == Refusal("usd", 7, 7, 1, child.key.hex())
    await stage.fail(again)
    assert await limits(stage, root) == {"usd": (10, 7, 0)}
    with pytest.raises(BudgetExceeded, match=r"may not run again, as it takes its part anew: .* are used or held"):
        await stage.store.replay(child.key, [RunState.FAILED])
    assert await stage.state(child) is RunState.FAILED
    root = await stage.retry(root) or root
    attach = stage.attachment(root, child.key, "b")
    bystander = stage.spawn("c", root)
    assert set(await refused(stage, attaches=[attach], spawns=[bystander])) == {child.key}
    assert bystander.id not in await stage.records()
    await stage.fail(root)
    assert await stage.store.replay(root.key, [RunState.FAILED])  # by hand: it has what it had
    assert await limits(stage, root) == {"usd": (17, 7, 0)}
    await is_even(stage)


async def test_a_root_with_a_key_has_its_budget_once(stage: Stage) -> None:
    def root() -> Spawn:
        one = stage.spawn("a", part=(("usd", 5),), child_key="k", input_digest=b"d" * 16)
        one.identity = b"k" * 16
        return one

    await stage.commit(spawns=[root()])
    done = await stage.commit(spawns=[root()])
    assert len(done.taken) == 1
    assert len(await stage.store.counted()) == 1
    await is_even(stage)


async def test_room_for_more_runs_of_a_tree_is_taken_by_all_engines_in_one_row(stage: Stage) -> None:
    root, other = await stage.running(), await stage.running()
    assert (await stage.commit(blocks=[(root.key, 10_000)])).sizes == {root.key: 10_000}
    done = await stage.commit(blocks=[(other.key, 20_000), (root.key, 10_000)])
    assert done.sizes == {root.key: 20_000, other.key: 20_000}
    assert await stage.store.count("tree") == 2
    done = await stage.commit(blocks=[(root.key, 10_000), (other.key, 10_000), (root.key, 20_000)])
    assert done.sizes == {root.key: 50_000, other.key: 30_000}  # (a tick may spawn more than one block)
    assert (await stage.commit(blocks=[(b"x" * 16, 10_000)])).sizes == {}  # it was deleted
    await stage.complete(root)
    await stage.complete(other)
    stage.clock.advance(1000)
    await stage.store.prune(stage.store.now() - 1, 100)
    assert await stage.store.count("tree") == 0


async def test_what_is_shared_counts_once_and_is_refused_where_no_run_is_left(stage: Stage) -> None:
    root = await budgeted(stage, runs=3)
    one, other = [await stage.running("c", root) for _ in range(2)]
    await linked(stage, one)
    await linked(stage, other)  # to the same: nothing more is used
    assert await limits(stage, root) == {"~runs": (3, 3, 0)}
    asked = [link(stage, other, what) for what in ("y", "z", "x")]
    why = Refusal("~runs", 3, 3, 1, root.key.hex())
    assert await refused(stage, records=asked) == {asked[0].id: why, asked[1].id: why}
    assert [run.id for run in await stage.store.children(other.key)].count(asked[2].id) == 0
    await stage.commit(records=[asked[2]])
    shared = await claimed(stage)
    await stage.complete(shared)
    await is_even(stage)
    assert await limits(stage, root) == {"~runs": (3, 3, 0)}


async def test_a_hedge_counts_and_is_not_born_where_no_run_is_left(stage: Stage) -> None:
    root = await budgeted(stage, runs=3)
    first, hedge = await hedged(stage, root)
    assert await limits(stage, root) == {"~runs": (3, 2, 0)}
    assert (await stage.get(hedge)).state is RunState.WAITING
    second, none = await hedged(stage, root)
    assert await limits(stage, root) == {"~runs": (3, 3, 0)}
    assert [run.id for run in await stage.store.children(root.key)] == [first, hedge, second]
    assert await stage.store.kin([second, none]) == []
    await is_even(stage)


async def test_a_hedge_uses_the_budget_of_its_parent(stage: Stage) -> None:
    root = await budgeted(stage, usd=5)
    _, hedge = await hedged(stage, root)
    stage.clock.advance(6)
    await stage.store.tick()
    run = next(run for run in await stage.claim(9, tasks=["b"]) if run.key == hedge)
    assert await spend(stage, run, 3) is None
    assert await spend(stage, run, 3) == Refusal("usd", 5, 3, 3, root.key.hex())


async def test_nothing_is_born_when_all_seconds_are_used(stage: Stage) -> None:
    root = await budgeted(stage, seconds=2 * SECOND)
    await stage.complete(await stage.running("b", root), busy=2 * SECOND)
    spawn = stage.spawn("b", root)
    assert await refused(stage, spawns=[spawn]) == {
        spawn.id: Refusal("~seconds", 2 * SECOND, 2 * SECOND, 0, root.key.hex())
    }


async def test_nobody_misses_what_is_gone_of_a_tree_that_is_being_deleted(stage: Stage) -> None:
    root = await budgeted(stage, usd=9 * USD)
    child = await stage.running("b", root)
    assert await spend(stage, child, 3 * USD) is None
    await stage.report(completed(child), completed(root))
    cursor, steps = await stage.store.begin_deleting(root.key), 0
    while cursor is not None and cursor.large is not None:
        cursor, steps = (await stage.store.prune(stage.clock.now(), 1, cursor)).cursor, steps + 1
        await is_even(stage)
    assert steps > 2
    assert await stage.records() == {}
