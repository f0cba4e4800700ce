"""The table of transitions, from every state, by every verb; and nothing besides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from fanwood import RunState
from fanwood.model.commands import ClaimedRun
from fanwood.model.states import TERMINAL, TRANSITIONS, Cause
from tests.conformance.stage import SECOND, Stage, completed, failed, handed_back, put_off, retried

Verb = Callable[[Stage, ClaimedRun], Awaitable[object]]


async def _expire(stage: Stage, run: ClaimedRun) -> None:
    stage.clock.advance(100)
    await stage.store.tick()


VERBS: dict[str, tuple[Cause, Verb]] = {
    "claim": (Cause.CLAIM, lambda stage, run: stage.claim(10)),
    "complete": (Cause.OUTCOME, lambda stage, run: stage.report(completed(run))),
    "fail": (Cause.OUTCOME, lambda stage, run: stage.report(failed(run))),
    "retry": (Cause.RETRY, lambda stage, run: stage.report(retried(run))),
    "retry later": (Cause.RETRY, lambda stage, run: stage.report(retried(run, 5))),
    "hand back": (Cause.HAND_BACK, lambda stage, run: stage.report(handed_back(run))),
    "put off": (Cause.HAND_BACK, lambda stage, run: stage.report(put_off(run))),
    "reap": (Cause.LEASE_LOST, lambda stage, run: stage.store.reap(stage.worker, 3)),
    "reap as poison": (Cause.LEASE_LOST, lambda stage, run: stage.store.reap(stage.worker, 1)),
    "cancel": (Cause.CANCEL, lambda stage, run: stage.cancel(run.key, "")),
    "expire": (Cause.EXPIRE, _expire),
    "patch": (Cause.PATCH, lambda stage, run: stage.store.patch(run.key, "5", "ann")),
    "replay": (Cause.REPLAY, lambda stage, run: stage.store.replay(run.key, TERMINAL)),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("state", list(RunState), ids=lambda state: state.name)
async def test_verbs_change_states_as_the_table_says(stage: Stage, state: RunState, verb: str) -> None:
    cause, act = VERBS[verb]
    run = await stage.running(schedule_timeout=50 * SECOND)
    match state:
        case RunState.QUEUED:
            await stage.report(handed_back(run))
        case RunState.COMPLETED:
            await stage.complete(run)
        case RunState.FAILED:
            await stage.fail(run)
        case RunState.CANCELLED:
            await stage.cancel(run.key, "")
        case RunState.WAITING:
            await stage.report(retried(run, 5))
        case RunState.RUNNING:
            pass
    await act(stage, run)
    after = await stage.state(run)
    allowed = TRANSITIONS.get((state, cause), frozenset({state}))
    if state is RunState.RUNNING and cause is Cause.EXPIRE:
        allowed = frozenset({state})  # of those that execute, the engine keeps the limits
    assert after in allowed


@pytest.mark.parametrize("state", TERMINAL, ids=lambda state: state.name)
async def test_an_ended_run_has_an_end_and_an_unfinished_one_has_none(stage: Stage, state: RunState) -> None:
    run = await stage.into(state)
    assert (await stage.get(run)).finished_at is not None
    await stage.store.replay(run.key, TERMINAL)
    assert (await stage.get(run)).finished_at is None
