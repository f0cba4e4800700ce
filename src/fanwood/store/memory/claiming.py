"""Which runs a worker takes: by priority, then one root after another, then deeper runs first, then age."""

from __future__ import annotations

from heapq import merge
from itertools import islice, takewhile
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from fanwood.model.commands import ANSWER_BYTES, SUSPECT_DEATHS, ClaimedRun, ClaimRequest
from fanwood.model.states import EndedBy, RunState
from fanwood.store.failures import MAX_ATTEMPTS, UNREADABLE, encode_failure
from fanwood.store.memory.leaving import Ending, Leaving
from fanwood.store.memory.tables import LAST, Run, Suspended, Tables
from fanwood.store.memory.turning import Place, Turning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fanwood.store.memory.pauses import Pauses

FEWER = 100
"""So many are claimed at most while something is closed, or paused."""
CLEARINGS = 5
"""So many times as many of what is paused, and stands first in the queue, a claim moves out of its way."""
LOOKED_AT = 1_000
"""So many of the first in the queue are looked at, if a claim could not be read."""
GROUPS = 32
"""So many roots, of each task, are looked at for the oldest."""


class Claim(NamedTuple):
    """What a claim brought."""

    runs: list[ClaimedRun]
    more: bool  # there may be more
    met_closed: bool


class Claiming:
    """Claims, on one memory."""

    def __init__(self, tables: Tables, leaving: Leaving, pauses: Pauses) -> None:
        self._tables = tables
        self._leaving = leaving
        self._pauses = pauses

    def finds(self, claim: ClaimRequest) -> bool:
        """Whether the queue holds anything for it."""
        return any(self._tables.order("queue", task) for task in _tasks(claim.tasks))

    def claim(self, me: int, now: int, claim: ClaimRequest) -> Claim:
        """Take the best."""
        worker = self._tables.workers.get(me)
        gated, paused = self._leaving.gated, self._pauses.any
        cleared = paused and self._clear(_tasks(claim.tasks))
        if gated or paused:  # what is met and must be ended makes a commit longer
            claim = msgspec.structs.replace(claim, limit=min(claim.limit, FEWER))
        runs, more = self._pick(claim)
        closed = self._leaving.end_closed(now, runs) if gated else {}
        runs = [run for run in runs if run.id not in closed]
        held = self._pauses.hold(runs) if paused else set[bytes]()
        runs = [run for run in runs if run.id not in held]
        if worker is None or worker.lease is None:  # taken for dead: nobody would ever look at them again
            return Claim([], more=False, met_closed=bool(closed))
        met_closed = bool(closed) and not held
        for run in runs:
            self._tables.change(
                run, state=int(RunState.RUNNING), attempt=run.attempt + 1, worker_id=me, started_at=now, expires_at=None
            )
        suspended = self._tables.suspended
        return Claim(
            [claimed(run, suspended.get(run.id)) for run in runs], more or cleared or bool(closed or held), met_closed
        )

    def _clear(self, tasks: Sequence[str]) -> bool:
        """What stands first in the queue, and is paused, waits; whether there was any. (A claim of one run would else
        move one.)"""
        moved = False
        for _ in range(CLEARINGS):
            held = self._pauses.hold(self._best(tasks, FEWER, lambda _: True))
            moved = moved or bool(held)
            if len(held) < FEWER:
                break
        return moved

    def fail_unreadable(self, now: int, tasks: str) -> int:
        """See `Store.fail_unreadable`. Here all can be read; but an attempt may have a number that no other has."""
        found = self._best(_tasks(tasks), LOOKED_AT, lambda _: True)
        error = encode_failure(UNREADABLE)
        endings = [
            Ending(run.id, run.attempt, RunState.QUEUED, RunState.FAILED, None, error, EndedBy.OUTCOME)
            for run in found
            if run.attempt >= MAX_ATTEMPTS
        ]
        return len(endings) - len(self._leaving.end(0, now, endings))

    # --- which -----------------------------------------------------------------------------------------------------

    def _pick(self, claim: ClaimRequest) -> tuple[list[Run], bool]:
        tasks, ours = _tasks(claim.tasks), self._ours(claim.programs)
        runs, more = self._some(tasks, claim, ours)
        if any(_is_suspect(run) for run in runs):
            best = self._best(tasks, 1, ours)
            if claim.idle and _is_suspect(best[0]):
                return best, True
            runs, more = self._some(tasks, claim, lambda run: ours(run) and not _is_suspect(run))
        return runs, more

    def _some(self, tasks: Sequence[str], claim: ClaimRequest, may: Callable[[Run], bool]) -> tuple[list[Run], bool]:
        """The oldest, as many as are to be, those whose turn it is, and the best; as far as their inputs fit into an
        answer."""
        picked = {run.id: run for run in self._oldest(tasks, claim.fair) if may(run)}
        if claim.turns is not None:
            queue = Turning(self._tables, tasks, self._ours(claim.programs))
            picked |= {run.id: run for run in queue.first(claim.turns, claim.limit) if may(run)}
        picked |= {run.id: run for run in self._best(tasks, claim.limit, may)}
        runs = list(picked.values())[: claim.limit]
        fitting = fit(runs, [len(run.input.encode()) for run in runs])
        return fitting, len(runs) >= claim.limit or len(fitting) < len(runs)

    def _ours(self, programs: str) -> Callable[[Run], bool]:
        """Whether a run is below a root of one of these programs, or of nobody's."""
        if not programs:
            return lambda _: True
        wanted = msgspec.json.decode(programs, type=list[int])

        def ours(run: Run) -> bool:
            root = self._tables.runs.get(run.root_id)
            return root is not None and (root.asked == 0 or root.asked in wanted)

        return ours

    def _best(self, tasks: Sequence[str], limit: int, may: Callable[[Run], bool]) -> list[Run]:
        """The first of all tasks together."""
        queues = [self._allowed(task, may) for task in tasks]
        return [run for _, run in islice(merge(*queues, key=lambda head: head[0]), limit)]

    def _allowed(self, task: str, may: Callable[[Run], bool]) -> Iterator[tuple[Place, Run]]:
        for place in self._tables.order("queue", task):
            run = self._tables.runs[place[3]]
            if may(run):
                yield place, run

    # --- the oldest, so that nothing starves -----------------------------------------------------------------------

    def _oldest(self, tasks: Sequence[str], count: int) -> list[Run]:
        """The priorities of each task from the lowest up, within one the roots from the oldest (no root is older than
        its runs: so no further than the oldest run found), in each what is least deep."""
        found: list[bytes] = []
        for task in tasks if count else ():
            for root in islice(self._roots(task), GROUPS):
                found += islice(root, count)
        return [self._tables.runs[id_] for id_ in sorted(found)[:count]]

    def _roots(self, task: str) -> Iterator[Iterator[bytes]]:
        """What is least deep of each root to be looked at."""
        queue = self._tables.order("queue", task)
        priority = _priority(queue.before((1 << 70,)))
        while priority is not None:
            root, oldest = b"", LAST
            while True:
                place: Place | None = next(queue.since((priority, root)), None)
                if place is None or place[0] != priority or place[1] >= oldest:
                    break
                root = place[1]
                depth = next(queue.before((priority, root, 1 << 62)))[2]
                first = next(queue.since((priority, root, depth)))
                yield (p[3] for p in takewhile(_beside(first), queue.since(first)))
                root, oldest = root + b"\0", first[3]
            priority = _priority(queue.before((priority,)))


def _priority(places: Iterator[Place]) -> int | None:
    return next((place[0] for place in places), None)


def _beside(place: Place) -> Callable[[Place], bool]:
    return lambda other: other[:3] == place[:3]


def _tasks(text: str) -> list[str]:
    return msgspec.json.decode(text, type=list[str])


def _is_suspect(run: Run) -> bool:
    return run.deaths >= SUSPECT_DEATHS


def fit(runs: list[Run], sizes: list[int]) -> list[Run]:
    """Those of the first that fit into an answer together; the first in any case."""
    total, fitting = 0, list[Run]()
    for run, size in zip(runs, sizes, strict=True):
        if total >= ANSWER_BYTES:
            break
        total += size
        fitting.append(run)
    return fitting


def claimed(run: Run, before: Suspended | None = None) -> ClaimedRun:
    """As its worker needs it. `before`: what is known of its suspensions."""
    suspended = before if before is not None and before.attempt == run.attempt - 1 else None
    return ClaimedRun(
        hexed(run.id), run.attempt, hexed(run.parent_id), hexed(run.root_id), run.depth, run.task, run.child_index,
        run.child_key, run.input, run.metadata, run.priority, run.retry_count, run.deaths, run.deadline,
        hexed(run.deadline_by), run.trial_start, run.life, before.wakes if before else 0,
        suspended.until if suspended else None, suspended.pending if suspended else None,
    )  # fmt: skip


def hexed(id_: bytes | None) -> str:
    """An id as commands have it."""
    return "" if id_ is None else id_.hex().upper()
