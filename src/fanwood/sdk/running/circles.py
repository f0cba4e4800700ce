"""A run that waits for itself, or for what waits for it, would wait for ever: that is said at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.errors import RunNotFoundError, UsageError
from fanwood.ids import id_text
from fanwood.sdk.running.waiting import asked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fanwood.engine.engine import Engine
    from fanwood.sdk.running.attempt import Attempt


async def refuse_circle(attempt: Attempt, awaited: bytes, engine: Engine) -> None:
    """Before `attempt` waits for a run that it has only the id of.

    Raises:
        UsageError: it is the attempt's own run, or an ancestor of it.
    """
    if awaited == attempt.id or await _is_above(attempt, awaited, engine):
        who = "itself" if awaited == attempt.id else "an ancestor of it, which ends after what is below it"
        raise UsageError(
            f"{attempt.spec.name} (run {id_text(attempt.id)}) waits for run {id_text(awaited)}, and that is {who}: it "
            f"would wait for ever"
        )


async def refuse_circles(attempt: Attempt, awaited: Iterable[tuple[bytes, Engine]]) -> None:
    """The same, of any number."""
    run = attempt.run
    near = {attempt.id, bytes.fromhex(run.parent_id), bytes.fromhex(run.root_id)}
    for id_, engine in awaited:
        if id_ in near or (run.depth > 2 and id_ <= attempt.id):  # of one's own children nothing is asked
            await refuse_circle(attempt, id_, engine)


async def _is_above(attempt: Attempt, awaited: bytes, engine: Engine) -> bool:
    run = attempt.run
    if awaited.hex().upper() in (run.parent_id, run.root_id):
        return True
    if run.depth <= 2 or awaited > attempt.id:  # who is above was born before: of one's own children nothing is asked
        return False
    try:
        above = await asked(engine, lambda store: store.get(awaited), by=attempt)
    except RunNotFoundError:
        return False  # whoever waits is told
    if above.root_id != attempt.root:
        return False
    at, depth = bytes.fromhex(run.parent_id), run.depth - 1
    while depth > above.depth:
        record = await asked(engine, lambda store, id_=at: store.get(id_), by=attempt)
        if record.parent_id is None:
            return False
        at, depth = record.parent_id, depth - 1
    return at == awaited
