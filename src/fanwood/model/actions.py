"""Actions on many runs are runs themselves: what they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fanwood.model.records import RunFilter, RunRecord

SPACE = "fanwood.actions"
"""The namespace of what executes them. No filter of an action leads there."""
BULK, PIECE, START = "bulk", "piece", "start"


def shown(runs: list[RunRecord], filter_: RunFilter) -> list[RunRecord]:
    """Those that a listing shows: of roots no actions, unless their task or namespace is asked for."""
    if filter_.every or filter_.task is not None or (filter_.prefix or "").startswith(SPACE):
        return runs
    return [run for run in runs if not run.task.startswith(f"{SPACE}/")]
