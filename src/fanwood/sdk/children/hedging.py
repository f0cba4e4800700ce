"""Hedges: a second run of what takes longer than it should, whose end counts for both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood import checks
from fanwood.durations import in_microseconds
from fanwood.model.commands import Hedge, Spawn
from fanwood.sdk.declaring.lateness import PERCENTILES, after

if TYPE_CHECKING:
    from fanwood.engine.latencies import Latencies
    from fanwood.model.commands import SpawnKind
    from fanwood.sdk.running.attempt import Attempt


def hedge_of(
    attempt: Attempt, latencies: Latencies, kind: SpawnKind, target: bytes, data: str, hedge: after | str
) -> Hedge | None:
    """The second run of a child that is asked for; None: it is not known yet what takes too long."""
    if isinstance(hedge, after):
        delay = in_microseconds(checks.seconds(hedge.delay, "delay"))
    else:
        latencies.asked(kind.task, target)
        known = latencies.percentile(kind.task, PERCENTILES[hedge])
        if known is None:
            return None
        delay = max(1, round(known * 1e6))
    return Hedge(Spawn(kind, attempt.new_id(), None, data), target, delay)
