"""Who is lost again and again soon after it began is charged, though it has children that live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood import RunState
from fanwood.model.commands import RELAPSE_WITHIN, RELAPSES
from fanwood.store.failures import decode_failure
from tests.conformance.stage import SECOND, handed_back, retried

if TYPE_CHECKING:
    from tests.conformance.stage import Stage


async def lost_with_a_child(stage: Stage, times: int, pause: float = 1) -> bytes:
    """A run that had a living child each time when its worker died, `pause` seconds after it had begun."""
    parent = None
    for _ in range(times):
        other = await stage.register(lease=1000)
        if parent is None:
            parent = await stage.running(worker=other)
            await stage.born("b", parent)
        else:
            (again,) = await stage.claim(1, tasks=["a"], worker=other, idle=True)
            assert again.key == parent.key
        stage.clock.advance(pause)
        await stage.store.reap(other, 3)
    assert parent is not None
    return parent.key


async def deaths(stage: Stage, id_: bytes) -> int:
    return (await stage.get(id_)).deaths


async def test_who_is_lost_again_and_again_is_charged_though_it_has_children(stage: Stage) -> None:
    """It may have begun them, and then killed its worker. Executed alone, in the end, it fails."""
    id_ = await lost_with_a_child(stage, RELAPSES - 1)
    assert await deaths(stage, id_) == 0
    for expected in (1, 2):
        other = await stage.register()
        (again,) = await stage.claim(1, tasks=["a"], worker=other, idle=True)
        assert again.key == id_
        await stage.store.reap(other, 3)
        assert await deaths(stage, id_) == expected
    other = await stage.register()
    (suspect,) = await stage.claim(1, tasks=["a"], worker=other, idle=True)
    assert suspect.is_suspect
    await stage.store.reap(other, 3)
    record = await stage.get(id_)
    assert record.state is RunState.FAILED
    assert "poison" in decode_failure(record.error or "").message


async def test_who_lives_for_a_while_each_time_is_never_charged_for_waiting(stage: Stage) -> None:
    id_ = await lost_with_a_child(stage, RELAPSES + 2, pause=RELAPSE_WITHIN / SECOND + 1)
    assert await deaths(stage, id_) == 0


async def test_a_hand_back_between_them_begins_the_count_of_losses_anew(stage: Stage) -> None:
    id_ = await lost_with_a_child(stage, RELAPSES - 1)
    other = await stage.register()
    (run,) = await stage.claim(1, tasks=["a"], worker=other, idle=True)
    await stage.report(handed_back(run), worker=other)
    for _ in range(2):
        other = await stage.register()
        await stage.claim(1, tasks=["a"], worker=other, idle=True)
        await stage.store.reap(other, 3)
    assert await deaths(stage, id_) == 0


async def test_tries_that_failed_by_themselves_are_no_losses(stage: Stage) -> None:
    """Nor does one that was lost once, at last, and waited, become what kills."""
    run = await stage.running()
    for _ in range(RELAPSES - 1):
        stage.clock.advance(1)
        again = await stage.retry(run)
        assert again is not None
        run = again
    await stage.report(retried(run))
    dying = await stage.register()
    (last,) = await stage.claim(1, tasks=["a"], worker=dying, idle=True)
    assert last.attempt > RELAPSES
    await stage.born("b", last)
    await stage.store.reap(dying, 3)
    assert await deaths(stage, run.key) == 0
