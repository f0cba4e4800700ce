"""What people look at, as frozen records."""

from __future__ import annotations

import platform
from collections import Counter, defaultdict
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.model.records import (
    AttemptRecord,
    Few,
    Known,
    LeftOver,
    LogRecord,
    Page,
    Recorded,
    RunFilter,
    RunRecord,
    StoreReport,
    TaskCount,
    TreeRun,
    Unserved,
    WorkerRecord,
)
from fanwood.model.states import FIRST_TERMINAL, FIRST_WAIT, UNFINISHED, RunState
from fanwood.store import listing as listings
from fanwood.store import rows
from fanwood.store.failures import UNSERVED, decode_failure
from fanwood.store.memory.leaving import gate_of
from fanwood.store.unserved import FAR, LONG, said

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fanwood.store.memory.tables import Run, Tables

ORPHANS = 100
"""At most so many are told of."""
_SHOWN_ENDS = (RunState.FAILED, RunState.CANCELLED)


def record(run: Run, *, whole: bool = True) -> RunRecord:
    """A run as it stands; in listings without its contents."""
    return rows.record(_columns(run, whole=whole))


def _columns(run: Run, *, whole: bool) -> tuple[Any, ...]:
    return (
        run.id, run.parent_id, run.root_id, run.depth, run.task, run.child_key, run.input if whole else None,
        run.metadata, run.priority, run.state, run.attempt, run.retry_count, run.deaths, run.worker_id, run.deadline,
        run.created_at, run.started_at, run.finished_at, run.due_at, run.output if whole else None, run.error,
        run.kind, run.busy, run.life, run.waits, run.expires_at,
    )  # fmt: skip


def ids_of(tables: Tables, name: str, about: dict[str, Any]) -> list[tuple[Any]]:
    """What a statement of `store/finding.py` brings."""
    order = tables.order("runs")
    if name == "runs_from":
        from_low = takewhile(lambda id_: id_ <= about["high"], order.since(about["low"]))
        return [(id_,) for id_ in islice(from_low, about["limit"])]
    between = takewhile(lambda id_: id_ >= about["lowest"], order.before(about["before"]))
    if name == "ids_counted":
        return [(sum(1 for _ in between),)]
    return [(b"".join(islice(between, about["far"])),)]


# --- listings --------------------------------------------------------------------------------------------------------


def listing(tables: Tables, filter_: RunFilter) -> Page:
    """See `Store.listing`."""
    about = listings.bindings(filter_)
    walked = islice(_walk(tables, filter_, about), about["walk"])
    return listings.page(filter_, ((*_columns(run, whole=False), _passes(run, about)) for run in walked))


def _walk(tables: Tables, filter_: RunFilter, about: dict[str, Any]) -> Iterator[Run]:
    """The best order for it, from where it goes on."""
    at, after, since = about["at"], about["after"], about["since"]
    statement = listings.statement(filter_)
    name = {
        "list_roots": ("roots",),
        "list_roots_of_task": ("roots in", RunState.QUEUED) if filter_.task is None else ("roots of", filter_.task),
        "list_roots_in_state": ("roots in", filter_.state),
        "list_failed": ("failed",),
        "list_runs": ("runs",),
    }[statement]
    if statement in listings.BY_ID:
        for id_ in tables.order(*name).before(after):
            if id_ < about["since_id"]:
                return
            yield tables.runs[id_]
        return
    for when, id_ in tables.order(*name).before((at, after)):
        if when < since:
            return
        yield tables.runs[id_]


def _passes(run: Run, about: dict[str, Any]) -> bool:
    return (
        (about["task"] is None or run.task == about["task"])
        and (about["prefix"] is None or about["prefix"] <= run.task < about["prefix_end"])
        and (about["state"] is None or run.state == about["state"])
        and _has_metadata(run, about["metadata"])
    )


def _has_metadata(run: Run, wanted: str) -> bool:
    """Whether these names have these values; of other types they are others."""
    names: dict[str, Any] = msgspec.json.decode(wanted)
    if not names:
        return True
    try:
        there: Any = msgspec.json.decode(run.metadata or "{}")
    except msgspec.DecodeError:
        return False
    encode = msgspec.json.encode
    return isinstance(there, dict) and all(
        name in there and encode(there[name]) == encode(value) for name, value in names.items()
    )


def children(
    tables: Tables, parent_id: bytes, task: str | None, state: RunState | None, after: bytes, limit: int
) -> list[RunRecord]:
    """See `Store.children`."""
    found = (tables.runs[id_] for id_ in tables.order("children", parent_id).after(after))
    fitting = (run for run in found if (task is None or run.task == task) and (state is None or run.state == state))
    return [record(run, whole=False) for run in islice(fitting, limit)]


# --- trees -----------------------------------------------------------------------------------------------------------


def below(tables: Tables, run_id: bytes) -> Iterator[Run]:
    """A run, and all below it, from the top down."""
    level = [run_id] if run_id in tables.runs else []
    while level:
        for id_ in level:
            yield tables.runs[id_]
        level = [child for id_ in level for child in tables.order("children", id_)]


def child_counts(tables: Tables, parent_id: bytes) -> list[TaskCount]:
    """See `Store.child_counts`."""
    return _counted((tables.runs[id_] for id_ in tables.order("children", parent_id)), took=True)


def tree_counts(tables: Tables, run_id: bytes) -> list[TaskCount]:
    """See `Store.tree_counts`."""
    return _counted(below(tables, run_id), took=False)


def _counted(runs: Iterable[Run], *, took: bool) -> list[TaskCount]:
    groups: defaultdict[tuple[str, int], list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.task, run.state].append(run)
    return rows.counts((*place, *_summary(group, took=took)) for place, group in sorted(groups.items(), key=_place))


def _place(group: tuple[tuple[str, int], list[Run]]) -> tuple[str, int]:
    return group[0]


def _summary(group: list[Run], *, took: bool) -> tuple[Any, ...]:
    last = max(run.finished_at or 0 for run in group)
    if not took:
        return len(group), min(run.created_at for run in group), last
    first = min((run.started_at for run in group if run.started_at is not None), default=None)
    times = [time for run in group if (time := _took(run)) is not None]
    return len(group), first, last, min(times, default=None), max(times, default=None)


def _took(run: Run) -> int | None:
    return None if run.finished_at is None or run.started_at is None else run.finished_at - run.started_at


def slowest(tables: Tables, run_id: bytes, task: str | None, limit: int) -> list[TreeRun]:
    """See `Store.tree_slowest`."""
    found = [r for r in below(tables, run_id) if r.state == RunState.COMPLETED and (task is None or r.task == task)]
    found.sort(key=lambda run: (-(_took(run) or 0), run.id))
    return [TreeRun(run.id, run.task, run.input, _took(run), None) for run in found[:limit]]


def failures(tables: Tables, run_id: bytes, task: str | None, limit: int) -> list[TreeRun]:
    """See `Store.tree_failures`."""
    found = [r for r in below(tables, run_id) if r.state in _SHOWN_ENDS and (task is None or r.task == task)]
    found.sort(key=lambda run: run.id)
    return [TreeRun(run.id, run.task, run.input, None, run.error) for run in found[:limit]]


# --- a run's own -----------------------------------------------------------------------------------------------------


def logs(tables: Tables, run_id: bytes, after: int, limit: int, until: int) -> list[LogRecord]:
    """See `Store.logs`."""
    lines = sorted(tables.logs.get(run_id, {}).items())
    found = [(seq, line) for seq, line in lines if after < seq < until]
    return [LogRecord(seq, line.attempt, line.at, line.level, line.message) for seq, line in found[:limit]]


def attempts(tables: Tables, run_id: bytes) -> list[AttemptRecord]:
    """See `Store.attempts`: those that are kept, and the one that the run's own row tells of."""
    run, past = tables.runs.get(run_id), tables.past.get(run_id, {})
    found: dict[int, tuple[Any, ...]] = {
        number: (number, one.worker_id, one.worker, one.state, one.started_at, one.finished_at, one.error)
        for number, one in past.items()
    }
    if run is not None and run.attempt > 0 and (run.is_over or run.state == RunState.RUNNING):
        worker = tables.workers.get(run.worker_id or 0)
        name = None if worker is None else worker.info.name
        error = run.error if run.is_over else None
        found.setdefault(
            run.attempt, (run.attempt, run.worker_id, name, run.state, run.started_at, run.finished_at, error)
        )
    return rows.attempts(found[number] for number in sorted(found))


# --- all of it -------------------------------------------------------------------------------------------------------


def workers(tables: Tables) -> list[WorkerRecord]:
    """See `Store.workers`."""
    return [
        WorkerRecord(
            worker.id, worker.info.name, worker.info.host, worker.info.pid, worker.info.slots, worker.started_at,
            worker.info.lease, worker.lease or 0, len(tables.order("running", worker.id)),
        )
        for worker in tables.workers.values()
    ]  # fmt: skip


def left_over(tables: Tables, tasks: Sequence[str], programs: Sequence[int], limit: int) -> list[LeftOver]:
    """See `Store.left_over`."""
    found: list[LeftOver] = []
    for task in tasks:
        roots = [tables.runs[place[1]] for place in islice(tables.order("queue", task), limit)]
        foreign = sum(root.asked != 0 and root.asked not in programs for root in roots)
        known = tables.tasks.get(task)
        if roots:
            version = known.version if known is not None else 0
            found.append(LeftOver(task, len(roots), foreign, version, more=len(roots) >= limit))
    return found


def unserved(tables: Tables, now: int) -> list[Unserved]:
    """See `Store.unserved`."""
    living = [worker for worker in tables.workers.values() if worker.lease is not None and worker.lease > now]
    found: list[Unserved] = []
    for task in sorted({run.task for run in tables.runs.values() if run.state == RunState.QUEUED}):
        queued = [tables.runs[place[3]] for place in tables.order("queue", task)]
        if not any(task in worker.serves for worker in living):
            found.append(Unserved(task, len(queued), min(run.created_at for run in queued)))
    return found


def report(tables: Tables, url: str, now: int, *, full: bool) -> StoreReport:
    """See `Store.report`."""
    counts = Counter(RunState(run.state) for run in tables.runs.values())
    running = [run for run in tables.runs.values() if run.state == RunState.RUNNING]
    orphans = sorted((run.worker_id or 0, run.id) for run in running if run.worker_id not in tables.workers)
    return StoreReport(
        url=url,
        kind="memory",
        version=f"Python {platform.python_version()}",
        schema=0,
        durability="nothing is kept: all is gone with the process",
        durable=False,
        size=0,
        now=now,
        counts={state: counts[state] for state in RunState if counts[state] and (full or state in UNFINISHED)},
        counted=full,
        orphans=[id_ for _, id_ in orphans[:ORPHANS]],
        problems=said(_put_off(tables), now),
    )


def _put_off(tables: Tables) -> list[tuple[str, str, int, int]]:
    due = (tables.runs[place[1]] for place in islice(tables.order("due"), FAR))
    groups = defaultdict[tuple[str, str], list[int]](list)
    for run in due:
        late = run.kind < FIRST_WAIT and (run.due_at or 0) - (run.started_at or 0) > LONG
        if late and decode_failure(run.error).kind == UNSERVED:
            groups[run.task, run.error or ""].append(run.created_at)
    return [(*key, len(created), min(created)) for key, created in sorted(groups.items())]


def recalled(tables: Tables, parent_id: bytes, after: bytes, limit: int, most: int) -> list[Known]:
    """See `Store.recalled`."""
    children = (tables.runs[id_] for id_ in tables.order("children", parent_id).after(after))
    runs = islice((run for run in children if run.kind < FIRST_WAIT and run.identity is not None), limit)
    found: list[Known] = []
    for run in runs:
        size = len((run.output or "").encode()) + len((run.error or "").encode())
        told = run.state >= FIRST_TERMINAL and size <= most
        output, error = (run.output, run.error) if told else (None, None)
        state = RunState(run.state)
        found.append(Known(run.identity or b"", run.id, state, run.asked, run.input_digest, told, output, error))
    return found


def recorded(tables: Tables, parent_id: bytes, after: bytes, limit: int) -> list[Recorded]:
    """See `Store.recorded`."""
    return [_recorded(tables, run) for run in islice(_parts(tables, parent_id, after), limit)]


def _parts(tables: Tables, parent_id: bytes, after: bytes) -> Iterator[Run]:
    children = (tables.runs[id_] for id_ in tables.order("children", parent_id).after(after))
    return (run for run in children if run.kind >= FIRST_WAIT)


def _recorded(tables: Tables, run: Run) -> Recorded:
    gate = gate_of(tables, run)
    state, error = (run.state, run.error) if gate is None else (RunState.CANCELLED, gate.error)
    return Recorded(run.identity or b"", run.id, RunState(state), run.output, error, run.asked)


def recorded_few(tables: Tables, parent_id: bytes, after: bytes, limit: int, most: int) -> Few:
    """Of one of these: see `Store.recorded_few`."""
    if len([*islice(tables.order("children", parent_id).after(after), limit + 1)]) > limit:
        return None
    parts = _parts(tables, parent_id, after)
    sizes = [len((run.output or "").encode()) + len((run.error or "").encode()) for run in parts]
    return None if max(sizes, default=0) > most else recorded(tables, parent_id, after, limit)
