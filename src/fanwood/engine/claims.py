"""When to claim runs, how many, and which need no claim because they are born claimed (*local dispatch*)."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec

from fanwood.model.commands import ClaimedRun, ClaimRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.engine.dispatcher import Dispatcher
    from fanwood.model.commands import Batch, Committed, Spawn

FAIR_SHARE = 8
"""One claimed run in so many is the oldest that is ready, so that nothing starves."""

LEFT_OUT = 3
"""So many commits, one after another, are made without a claim, as a small tree beside a large one waits for them."""

PRIORITIES = 1000
"""Of so many it is remembered whose turn it was."""

_json = msgspec.json.Encoder()
_kind = attrgetter("kind")


class Claims:
    """What this engine believes of the queue. `ready` may be wrong: notifications and the sweep set it right."""

    def __init__(self, *, one_at_a_time: bool) -> None:
        self._one_at_a_time = one_at_a_time  # the store's claims see all that there is
        self.active = False
        self._paused = False
        self.ready = True  # the queue may hold something for us
        self._tasks = "[]"
        self._programs = ""
        self._fairness = 0.0
        self._turns: dict[int, str] = {}  # by priority, the root that had the last turn
        self._asked = False  # a claim is on its way
        self._left_out = 0  # so many commits had none, one after another

    def begin(self, tasks: Sequence[str], programs: Sequence[int] = ()) -> None:
        """Claim runs of `tasks` from now on; only those below roots of `programs`, if there are any."""
        self._tasks = msgspec.json.encode(list(tasks)).decode()
        self._programs = msgspec.json.encode(list(programs)).decode() if programs else ""
        self._paused = self._paused and bool(tasks)
        self.active = bool(tasks) and not self._paused
        self.ready = True

    def pause(self) -> None:
        """Claim no more, whatever is served, until nothing is: who executes is about to stop."""
        self.active, self._paused = False, True

    def wanted(self, dispatcher: Dispatcher) -> bool:
        """Whether a claim might find something, and somebody could take it."""
        return self.ready and self.active and dispatcher.demand() > 0

    def plan(self, batch: Batch, dispatcher: Dispatcher) -> None:
        """Add to `batch` a claim, which sees the batch's own spawns as well; or, when nothing else is queued, let the
        spawns be born claimed."""
        if not self.active:
            return
        if not self.ready:
            if batch.spawns:
                self._begin_here(batch.spawns, dispatcher)
            return
        room = dispatcher.demand()
        if batch.spawns and self._begin(batch.spawns, dispatcher) and self._left_out < LEFT_OUT:
            self._left_out += 1
            return
        self._left_out = 0
        if room > 0:
            self._fairness += room / FAIR_SHARE
            fair = 0
            if self._fairness >= max(1, room / 2):  # not a few of each: to look takes as long as to claim
                fair = min(int(self._fairness), room)
                self._fairness -= fair
            if self._programs:
                fair = 0
            turns = _json.encode(self._turns).decode()
            batch.claim = ClaimRequest(self._tasks, room, fair, dispatcher.idle(), self._programs, turns)
            self._asked = True
            self.ready = False  # what is queued from now on this claim may not see

    def _begin_here(self, spawns: list[Spawn], dispatcher: Dispatcher) -> None:
        """Nothing is queued: as many as there is room for are born claimed."""
        room = dispatcher.demand()
        for spawn in spawns:
            if room == 0:
                self.ready = True
                break
            if dispatcher.serves(spawn.kind.task) and not spawn.is_keyed_root:  # whose birth isn't certain
                spawn.claimed = True
                room -= 1

    def _begin(self, spawns: list[Spawn], dispatcher: Dispatcher) -> bool:
        """A small tree's spawns, whose turn it is: others are queued, but had theirs, and it would wait for a claim.
        Whether there are some."""
        begun = False
        left: dict[tuple[str, int], int] = {}
        for kind, siblings in groupby(spawns, _kind):
            tree = (kind.root_id.hex().upper() if kind.root_id else kind.task, kind.priority)
            if tree not in left:
                left[tree] = dispatcher.turn(*tree)
            if not left[tree] or not dispatcher.serves(kind.task):
                continue
            for spawn in siblings:
                if left[tree] and not spawn.is_keyed_root:
                    spawn.claimed = begun = True
                    left[tree] -= 1
        return begun

    def learn(self, batch: Batch, committed: Committed) -> list[ClaimedRun]:
        """After the commit: what it says of the queue, and the runs that are ours to execute."""
        runs = committed.claimed
        asked, self._asked = self._asked, False
        if batch.claim is not None:
            # With others claiming at the same time, fewer than asked for does not mean that there are no more.
            # And where it met nothing but what is closed, the sweep of that says when to look again: it is quicker.
            more = committed.has_more and (bool(runs) or not committed.has_closed)
            self.ready = self.ready or more or (not self._one_at_a_time and bool(runs))
            self._had_turns(runs)
        elif asked or committed.attached or committed.has_more or any(not spawn.claimed for spawn in batch.spawns):
            self.ready = True
        fenced = committed.fenced_parents
        born = [
            _born(spawn)
            for spawn in batch.spawns
            if spawn.claimed and (not fenced or (spawn.kind.parent_id, spawn.kind.parent_attempt) not in fenced)
        ]
        if batch.marks and born:
            marks = dict(batch.marks)
            for run in born:
                run.life = marks.get(run.key)
        return [*runs, *born] if born else runs

    def _had_turns(self, runs: list[ClaimedRun]) -> None:
        """Roots go round in the order of their ids."""
        had = {(run.priority, run.root_id) for run in runs}
        if len(self._turns) + len(had) > PRIORITIES:
            self._turns.clear()
        before = {priority: self._turns.get(priority, "") for priority, _ in had}
        for priority, last in before.items():
            roots = [root for other, root in had if other == priority]
            self._turns[priority] = max([root for root in roots if root > last] or roots)


def _born(spawn: Spawn) -> ClaimedRun:
    """A run that was born claimed, as a claim would have brought it."""
    kind = spawn.kind
    id_ = spawn.id.hex().upper()
    return ClaimedRun(
        id=id_,
        attempt=1,
        parent_id=kind.parent_id.hex().upper() if kind.parent_id else "",
        root_id=kind.root_id.hex().upper() if kind.root_id else id_,
        depth=kind.depth,
        task=kind.task,
        child_index=spawn.index if kind.parent_id else None,
        child_key=spawn.child_key,
        input=spawn.input,
        metadata=kind.metadata,
        priority=kind.priority,
        retry_count=0,
        deaths=0,
        deadline=kind.deadline,
        deadline_by=kind.deadline_by.hex().upper() if kind.deadline_by else "",
    )
