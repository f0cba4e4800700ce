"""What attempts report, before any database looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.model.states import RunState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.model.commands import Outcome


def one_of_each(outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """Those that may count: one of each attempt. That is the first; but what was handed back gives way to any other, as
    then it had come to something after all."""
    if len({outcome.run_id for outcome in outcomes}) == len(outcomes):
        return outcomes
    first: dict[tuple[bytes, int], Outcome] = {}
    for outcome in outcomes:
        there = first.setdefault((outcome.run_id, outcome.attempt), outcome)
        if there is not outcome and _is_hand_back(there) and not _is_hand_back(outcome):
            first[outcome.run_id, outcome.attempt] = outcome
    return list(first.values())


def positions(outcomes: Sequence[Outcome], among: Sequence[Outcome]) -> set[int]:
    """Where those of `among` stand in `outcomes`."""
    wanted = {id(outcome) for outcome in among}
    return {number for number, outcome in enumerate(outcomes) if id(outcome) in wanted}


def concerns(me: int, worker_id: int | None, state: int, attempt: int | None) -> bool:
    """Whether a letter about a run may concern an attempt that this worker has claimed: also if others have it by now,
    or nobody. The first attempt of one that others have never was anybody else's."""
    return worker_id == me or (attempt or 0) > 1 or state in (RunState.QUEUED, RunState.WAITING)


def _is_hand_back(outcome: Outcome) -> bool:
    return outcome.state is RunState.QUEUED and not outcome.retry
