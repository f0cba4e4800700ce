"""A batch as what it is made of: so that it can be committed in parts, down to a single request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from fanwood.engine.inbox import Joint
from fanwood.model.commands import Batch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fanwood.engine.inbox import SpawnRequest

REQUEST = "request"


class Item(NamedTuple):
    """What goes or fails as one: a request for runs, or one entry of the batch's field of that name."""

    field: str
    what: Any


def items_of(batch: Batch, requests: Iterable[SpawnRequest]) -> list[Item]:
    """All of a batch, in the order in which it is done; but for a claim and a look at the mail, which the next one asks
    for again. What is recorded comes before runs: an attempt may have recorded why it asks for them, and not waited."""
    requests = sorted(requests, key=lambda request: not request.records)
    theirs = {spawn.id for request in requests if request.watch for spawn in request.spawns}
    return [
        *[Item("logs", line) for line in batch.logs],
        *[Item(REQUEST, part) for one in requests for part in (one.apart() if isinstance(one, Joint) else (one,))],
        *[Item("outcomes", outcome) for outcome in batch.outcomes],
        *[Item("suspends", suspend) for suspend in batch.suspends],
        *[Item("deadlines", deadline) for deadline in batch.deadlines],
        *[Item("unwatch", run_id) for run_id in batch.unwatch],
        *[Item("watch", run_id) for run_id in batch.watch if run_id not in theirs],
        *[Item("heard", run_id) for run_id in batch.heard],
        *[Item("blocks", block) for block in batch.blocks],
    ]


def assembled(items: Iterable[Item]) -> tuple[Batch, list[SpawnRequest]]:
    """A batch of these, and the requests in it."""
    batch, requests = Batch(), list["SpawnRequest"]()
    for field, what in items:
        if field == REQUEST:
            requests.append(what)
            batch.spawns += what.spawns
            batch.attaches += what.attaches
            batch.records += what.records
            batch.hedges += what.hedges
            batch.marks += what.marks
            batch.watch += [spawn.id for spawn in what.spawns] if what.watch else []
        else:
            getattr(batch, field).append(what)
    return batch, requests
