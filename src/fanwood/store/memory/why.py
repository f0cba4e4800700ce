"""What a run's being where it is depends on: see `fanwood/store/why.py`, which puts it into words."""

from __future__ import annotations

from collections import Counter
from itertools import islice, takewhile
from typing import TYPE_CHECKING

import msgspec

from fanwood.model.commands import FIRST_CHUNK
from fanwood.model.looks import Bond, Kin
from fanwood.model.records import Circumstances, Holding, Living, Patched, Pause, Serving
from fanwood.model.states import FIRST_WAIT, WAIT_NAMES, EndedBy, GateKind, RunKind, RunState, Waits
from fanwood.store.memory import reading
from fanwood.store.memory.budgets import balances
from fanwood.store.memory.looks import kin_of
from fanwood.store.memory.tables import LAST
from fanwood.store.patching import patch_of
from fanwood.store.why import FAR, SAMPLE, SERVERS, empty

if TYPE_CHECKING:
    from fanwood.store.memory.hot import HotPath
    from fanwood.store.memory.leaving import Leaving
    from fanwood.store.memory.tables import Run, Tables


def circumstances(tables: Tables, hot: HotPath, run: Run, now: int) -> Circumstances:
    """See `Store.circumstances`."""
    pause = None if run.is_over else hot.pauses.above(run)
    found, kin = _circumstances(tables, hot.leaving, run, now), _kin(tables, run)
    oldest, shared, links = found.oldest, None, 0
    if not run.is_over and oldest is not None and oldest.task == WAIT_NAMES[RunKind.SHARE]:
        shared = tables.runs.get((tables.runs[oldest.id].awaits or b"")[:16])
    if not run.is_over and kin is not None and kin.bond is Bond.SHARED:
        waiting = islice(tables.order("awaiting").after((run.id,)), FAR)
        links = sum(1 for _ in takewhile(lambda place: place[0][:16] == run.id, waiting))
    has_limits = not run.is_over and run.kind < FIRST_WAIT
    return msgspec.structs.replace(
        found, kin=kin, links=links, patched=_patched(tables, run), mark=run.awaits,
        expires_at=run.expires_at if run.kind >= FIRST_WAIT and not run.is_over else None,
        shared=None if shared is None else _living(shared),
        empty=empty(balances(tables, run.id)) if has_limits else (),
        paused=None if pause is None else Pause(pause.run_id, pause.root_id, pause.made_at, pause.asked_by),
    )  # fmt: skip


def _kin(tables: Tables, run: Run) -> Kin | None:
    found = kin_of(tables, run)
    if found is None and run.ended_by == EndedBy.HEDGE and run.state == RunState.COMPLETED and run.parent_id:
        siblings = (tables.runs[id_] for id_ in islice(tables.order("children", run.parent_id).after(run.id), FAR))
        hedge = next((one for one in siblings if one.awaits == run.id and one.state == RunState.COMPLETED), None)
        return None if hedge is None else Kin(run.id, Bond.HELPED, hedge.id, hedge.task, RunState(hedge.state))
    return found


def _patched(tables: Tables, run: Run) -> Patched | None:
    if run.ended_by != EndedBy.PATCH or run.state != RunState.COMPLETED:
        return None
    lines = tables.logs.get(run.id, {})
    last = sorted((seq for seq in lines if 0 <= seq < FIRST_CHUNK), reverse=True)[:20]
    return patch_of((lines[seq].message, lines[seq].at) for seq in last)


def _circumstances(tables: Tables, leaving: Leaving, run: Run, now: int) -> Circumstances:
    record = reading.record(run)
    if run.is_over:
        return Circumstances(record, now)
    above, whole = leaving.gate_above(run), tables.gates.get(run.root_id)
    deleting = whole is not None and whole.what == GateKind.PRUNED
    gate = above.run_id if above is not None and not deleting else None
    if run.state == RunState.QUEUED:
        queue = islice(tables.order("queue", run.task), FAR)
        place = next((n for n, key in enumerate(queue, 1) if key[3] == run.id), None)
        return Circumstances(record, now, gate, deleting, place, _serving(tables, run.task, now))
    if run.waits == Waits.CHILDREN and (entry := tables.suspended.get(run.id)) is not None:
        awaited = sorted(id_ for id_, waiters in tables.awaited.items() if run.id in waiters)
        oldest = _living(tables.runs[awaited[0]]) if awaited else None
        return Circumstances(
            record, now, gate, deleting, missing=entry.missing, awaited=min(len(awaited), FAR), oldest=oldest
        )
    if run.kind == RunKind.SHARE and (shared := tables.runs.get((run.awaits or b"")[:16])) is not None:
        return Circumstances(record, now, gate, deleting, oldest=_living(shared))
    if run.state != RunState.RUNNING:
        serving = _serving(tables, run.task, now) if run.kind < FIRST_WAIT and run.due_at is None else ()
        return Circumstances(record, now, gate, deleting, serving=serving)
    newest = [tables.runs[id_] for id_ in islice(tables.order("children", run.id).before(LAST), FAR)]
    living = sorted((child for child in newest if not child.is_over), key=lambda child: child.id)
    running = [child for child in living if child.state == RunState.RUNNING]
    slowest = min(running, key=lambda child: (child.started_at or 0, child.id), default=None)
    states = Counter(RunState(child.state) for child in living)
    return Circumstances(
        record, now, gate, deleting,
        holding=_holding(tables, run),
        living=tuple(sorted(states.items())),
        oldest=_living(living[0]) if living else None,
        slowest=None if slowest is None else _living(slowest),
        took=() if living else _took(tables, run),
    )  # fmt: skip


def _living(child: Run) -> Living:
    return Living(child.id, child.task, RunState(child.state), child.created_at, child.started_at)


def _serving(tables: Tables, task: str, now: int) -> tuple[Serving, ...]:
    found = [
        Serving(one.id, one.info.name, one.info.slots, bool(one.info.programs), len(tables.order("running", one.id)))
        for one in tables.workers.values()
        if task in one.serves and one.info.slots > 0 and one.lease is not None and one.lease > now
    ]
    return tuple(found[:SERVERS])


def _holding(tables: Tables, run: Run) -> Holding | None:
    worker = tables.workers.get(run.worker_id or 0)
    if worker is None:
        return None
    running = min(FAR, len(tables.order("running", worker.id)))
    return Holding(worker.id, worker.info.name, worker.info.slots, worker.lease or 0, running)


def _took(tables: Tables, run: Run) -> tuple[int, ...]:
    if run.parent_id is None:
        order = sorted((r for r in tables.runs.values() if r.parent_id is None and r.task == run.task),
                       key=lambda root: (root.created_at, root.id), reverse=True)  # fmt: skip
    else:
        order = [tables.runs[id_] for id_ in islice(tables.order("children", run.parent_id).before(LAST), SAMPLE)]
    others = [each for each in order[:SAMPLE] if each.task == run.task and each.state == RunState.COMPLETED]
    return tuple(each.finished_at - each.started_at for each in others if each.finished_at and each.started_at)
