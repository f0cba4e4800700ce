"""Steps that come by themselves, as where code takes one after another and waits for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.model.states import RunKind

if TYPE_CHECKING:
    from fanwood.model.commands import Batch, Record


def steps_alone(batch: Batch) -> list[Record] | None:
    """The steps of one attempt, if there is nothing else in a batch: all of them new, and each has ended."""
    steps = batch.records
    if not steps or batch.mail or batch.claim is not None or not batch.only_records:
        return None
    kind = steps[0].kind
    if kind.parent_id is None or kind.run_kind is not RunKind.RECORDED or kind.part is not None:
        return None
    for step in steps:
        if step.kind is not kind or not step.state.is_terminal or step.again or step.life is not None:
            return None
        if step.due_at is not None or step.awaits is not None or step.share is not None or step.input_digest:
            return None
    return steps
