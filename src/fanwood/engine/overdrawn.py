"""A commit would have used more of a budget than there is: who asked for that is told, and all else is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.model.commands import Record
from fanwood.store.budgets import exceeded

if TYPE_CHECKING:
    from fanwood.engine.inbox import SpawnRequest
    from fanwood.model.budgets import Overdrawn, Refusal
    from fanwood.model.commands import Batch


def refuse_overdrawn(batch: Batch, requests: list[SpawnRequest], error: Overdrawn) -> bool:
    """Take requests out of a batch that are at fault, and all others of the same calls; whether there were any."""
    kinds = {id(spawn.kind): error.refused[spawn.id] for spawn in batch.spawns if spawn.id in error.refused}
    refused = [(request, why) for request in requests if (why := _why(request, kinds, error)) is not None]
    gone = {
        id(command)
        for request, _ in refused
        for command in (*request.spawns, *request.attaches, *request.records, *request.hedges)
    }
    ids = {spawn.id for request, _ in refused for spawn in request.spawns}
    batch.spawns = [spawn for spawn in batch.spawns if id(spawn) not in gone]
    batch.attaches = [attach for attach in batch.attaches if id(attach) not in gone]
    batch.records = [record for record in batch.records if id(record) not in gone]
    batch.hedges = [hedge for hedge in batch.hedges if id(hedge) not in gone]
    batch.watch = [run_id for run_id in batch.watch if run_id not in ids]
    for request, why in refused:
        requests.remove(request)
        command = (request.spawns or request.attaches or request.records)[0]
        kind = command.kind
        task = kind.task if not isinstance(command, Record) or command.share is None else command.share.kind.task
        count = len(request.spawns) + len(request.attaches) + len(request.records)
        what = f"spawn {count:,} run{'' if count == 1 else 's'} of {task}"
        request.answer(exceeded(why, kind.parent_id or b"", kind.root_id or b"", what))
    return bool(refused)


def _why(request: SpawnRequest, kinds: dict[int, Refusal], error: Overdrawn) -> Refusal | None:
    for kind in request.kinds:
        if id(kind) in kinds:
            return kinds[id(kind)]
    for command in (*request.spawns, *request.attaches, *request.records):
        if command.id in error.refused:
            return error.refused[command.id]
    return None
