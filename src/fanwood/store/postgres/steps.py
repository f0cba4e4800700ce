"""Steps by themselves on PostgreSQL: a batch that is nothing but what one attempt has recorded goes a shorter way
(`functions/15_steps.sql`), since code that takes one step after another waits for each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanwood.store.postgres.hot import clean
from fanwood.store.steps import steps_alone

if TYPE_CHECKING:
    from fanwood.model.commands import Batch

PARAMETERS = 21


def arguments(me: int, seq: int, now: int | None, batch: Batch) -> tuple[Any, ...] | None:
    """All parameters of `fw_commit_steps`, in order; None: it is a batch for `fw_commit`."""
    steps = steps_alone(batch)
    if steps is None:
        return None
    kind = steps[0].kind
    return (
        me, seq, now, kind.parent_id, kind.parent_attempt, kind.root_id, kind.depth, kind.run_kind, kind.task,
        kind.priority, kind.on_parent_end, kind.metadata,
        [step.id for step in steps],
        [step.identity for step in steps],
        [step.index for step in steps],
        [step.child_key if step.child_key is None else clean(step.child_key) for step in steps],
        [step.input for step in steps],
        [step.state for step in steps],
        [step.output for step in steps],
        [step.error for step in steps],
        [step.began for step in steps],
    )  # fmt: skip
