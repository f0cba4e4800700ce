"""Why a run is where it is, where that has to do with others: with shared runs, hedges, and budgets that are empty."""

from __future__ import annotations

from fanwood import RunState
from fanwood.ids import id_text, short_text
from fanwood.model.commands import Record, SpawnKind
from fanwood.model.forks import Fork
from fanwood.model.looks import Bond
from fanwood.store.forked import forked
from fanwood.store.why import WhyCause
from tests.conformance.stage import Stage, completed, digest
from tests.conformance.test_budgets import USD, budgeted, spend
from tests.conformance.test_hedging import due, hedged
from tests.conformance.test_sharing import claimed, family, linked
from tests.conformance.test_suspending import suspended
from tests.conformance.test_why import why


async def bonds(stage: Stage, *ids: bytes) -> dict[bytes, tuple[Bond, bytes]]:
    return {one.run_id: (one.bond, one.other) for one in await stage.store.kin(ids)}


async def test_of_whom_links_and_shared_runs_are(stage: Stage) -> None:
    root, (one, other) = await family(stage)
    first, second = await linked(stage, one), await linked(stage, other)
    shared = await claimed(stage)
    assert await bonds(stage, first, root.key, shared.key, second, first) == {
        first: (Bond.SHARES, shared.key), second: (Bond.SHARES, shared.key), shared.key: (Bond.SHARED, shared.key),
    }  # fmt: skip
    assert await stage.store.kin([]) == await stage.store.kin([root.key, stage.ids.new_id()]) == []
    said = await why(stage, shared)
    assert "it is shared, and 2 calls of its tree wait for it" in said.text
    assert said.facts["links"] == 2
    said = await why(stage, one)
    assert said.cause is WhyCause.WAITING_FOR_CHILDREN
    assert f"the oldest is the shared run {short_text(shared.key)} of b, RUNNING" in said.text
    assert (said.command, said.facts["shared"]) == (f"fanwood why {short_text(shared.key)}", id_text(shared.key))
    await suspended(stage, other, [second])
    said = await why(stage, other)
    assert said.cause is WhyCause.SUSPENDED
    assert f"the oldest is the shared run {short_text(shared.key)} of b, RUNNING" in said.text
    await stage.complete(shared)
    assert (await bonds(stage, first))[first] == (Bond.SHARES, shared.key)
    assert (await why(stage, shared)).text.endswith("it is shared by calls of its tree.")


async def test_of_whom_a_hedge_is(stage: Stage) -> None:
    parent = await stage.running()
    first, hedge = await hedged(stage, parent)
    assert await bonds(stage, first, hedge) == {first: (Bond.HELPED, hedge), hedge: (Bond.HELPS, first)}
    said = await why(stage, hedge)
    assert said.cause is WhyCause.DELAYED
    assert f"it is a hedge of b {short_text(first)}, QUEUED" in said.text
    assert (said.command, said.facts["hedge_of"]) == (f"fanwood why {short_text(first)}", id_text(first))
    run = await claimed(stage)
    said = await why(stage, first)
    assert said.cause is WhyCause.EXECUTING
    assert f"its hedge is b {short_text(hedge)}, WAITING" in said.text
    await due(stage)
    other = await claimed(stage)
    assert other.key == hedge
    assert f"it is a hedge of b {short_text(first)}, RUNNING" in (await why(stage, hedge)).text
    await stage.report(completed(other, "7"))
    said = await why(stage, run)
    assert f"its hedge, {short_text(hedge)}, completed it" in said.text
    assert said.facts["hedge"] == id_text(hedge)
    assert await bonds(stage, first, hedge) == {hedge: (Bond.HELPS, first)}


async def test_a_hedge_that_failed_is_nothing_to_retry(stage: Stage) -> None:
    """Nobody asks for it again: the run that it was to help is what counts."""
    parent = await stage.running()
    first, hedge = await hedged(stage, parent)
    await claimed(stage)
    await due(stage)
    await stage.fail(await claimed(stage))
    said = await why(stage, hedge)
    assert (said.cause, said.command) == (WhyCause.FAILED, f"fanwood why {short_text(first)}")


async def test_budgets_of_which_nothing_is_left(stage: Stage) -> None:
    root = await budgeted(stage, usd=2 * USD, runs=1)
    child = await stage.running("b", root)
    assert [one["unit"] for one in (await why(stage, child)).facts["empty"]] == ["runs"]
    assert await spend(stage, child, 2 * USD) is None
    for run in (root, child):
        said = await why(stage, run)
        assert {(one["run_id"], one["unit"], one["amount"]) for one in said.facts["empty"]} == {
            (id_text(root.key), "usd", "2"), (id_text(root.key), "runs", "1"),
        }  # fmt: skip
        assert f"of 2 usd in the budget of {short_text(root.key)} none are left" in said.text
    await stage.complete(child)
    assert "empty" not in (await why(stage, child)).facts


async def test_who_gave_it_its_output(stage: Stage) -> None:
    """Neither what was patched nor what was copied has returned anything."""
    root = await stage.running()
    child, failed = await stage.running("b", root), await stage.running("b", root)
    await stage.fail(failed)
    for run in (child, failed):
        await stage.store.patch(run.key, "42", "ann; or ben")
        await stage.store.reprioritize(run.key, 7, "carl")  # which is a line of its log as well
        stage.clock.advance(3)
    said = await why(stage, failed)
    assert (said.cause, said.facts["patched_by"]) == (WhyCause.COMPLETED, "ann; or ben")
    assert "ann; or ben gave it its output by hand 3.0 s ago" in said.text
    assert "by hand 6.0 s ago" in (await why(stage, child)).text
    await stage.complete(root)
    fork, of = stage.ids.new_id(), await stage.get(root)
    assert await forked(stage.store, of, fork, None, None, "ann")
    (mine,) = await stage.claim()
    kind, life = SpawnKind("b", mine.key, mine.attempt, mine.key, 1), Fork(child.key.hex(), "copy").text
    copy = Record(kind, stage.ids.new_id(), digest("k"), "1", RunState.COMPLETED, 3, "k", '"out"', life=life)
    await stage.commit(records=[copy])
    said = await why(stage, copy.id)
    assert said.facts == {"copy_of": id_text(child.key)}
    assert f"from {short_text(child.key)}, which had completed: nothing was executed" in said.text
    await stage.complete(mine)
    assert "it returned" in (await why(stage, mine)).text
