"""What a store should do, in plain Python: dictionaries, and a loop where the store has a statement."""

from __future__ import annotations

from dataclasses import dataclass

from fanwood import RunState
from fanwood.model.states import OnParentEnd

QUEUED, RUNNING, WAITING, COMPLETED, FAILED, CANCELLED = RunState
DEATHS_LIMIT = 3


@dataclass
class Run:
    id: bytes
    number: int
    parent: bytes | None
    root: bytes
    depth: int
    priority: int
    policy: OnParentEnd
    asked: int
    state: RunState = QUEUED
    attempt: int = 0
    trial_start: int = 0
    retry_count: int = 0
    deaths: int = 0
    worker: int | None = None

    @property
    def visible(self) -> tuple[RunState, int, int, int]:
        """What is compared with the store."""
        return self.state, self.attempt, self.retry_count, self.deaths


class Oracle:
    def __init__(self) -> None:
        self.runs: dict[bytes, Run] = {}

    def children(self, run: Run) -> list[Run]:
        return [other for other in self.runs.values() if other.parent == run.id]

    def is_current(self, id_: bytes, attempt: int) -> bool:
        return self.runs[id_].state is RUNNING and self.runs[id_].attempt == attempt

    def spawn(self, id_: bytes, parent: bytes | None, asked: int, priority: int, policy: OnParentEnd) -> bool:
        """Whether it was born."""
        if parent is not None and not self.is_current(parent, asked):
            return False
        depth = 0 if parent is None else self.runs[parent].depth + 1
        root = id_ if parent is None else self.runs[parent].root
        self.runs[id_] = Run(id_, len(self.runs), parent, root, depth, priority, policy, asked)
        return True

    def claim(self, worker: int, limit: int, *, idle: bool) -> list[bytes]:
        queued = [run for run in self.runs.values() if run.state is QUEUED]
        queued.sort(key=lambda run: (-run.priority, run.root, -run.depth, run.number))
        if idle and queued and queued[0].deaths >= DEATHS_LIMIT - 1:
            taken = queued[:1]  # a suspect executes alone, on a worker that does nothing else
        else:
            taken = [run for run in queued if run.deaths < DEATHS_LIMIT - 1][:limit]
        for run in taken:
            run.state, run.attempt, run.worker = RUNNING, run.attempt + 1, worker
        return [run.id for run in taken]

    def end(self, id_: bytes, attempt: int, state: RunState) -> bool:
        """Whether it counted."""
        if not self.is_current(id_, attempt):
            return False
        run = self.runs[id_]
        run.state = state
        self._resolve(run)
        return True

    def requeue(self, id_: bytes, attempt: int, *, retry: bool) -> bool:
        if not self.is_current(id_, attempt):
            return False
        run = self.runs[id_]
        run.state = QUEUED
        if retry:  # what is handed back before it has begun is charged as before
            run.deaths = 0
            run.retry_count += 1
            run.trial_start = run.attempt + 1
        return True

    def _resolve(self, run: Run) -> None:
        for child in self.children(run):
            if child.policy is OnParentEnd.CONTINUE:
                continue
            if run.state is COMPLETED:
                dropped = child.asked < run.attempt and child.policy is not OnParentEnd.SHARED
                doomed = child.policy is OnParentEnd.CANCEL or dropped
                if child.state.is_terminal or not doomed:
                    continue
            self._cancel_below(child)

    def _cancel_below(self, run: Run) -> int:
        count = 0
        if not run.state.is_terminal:
            run.state, count = CANCELLED, 1
        below = [child for child in self.children(run) if child.policy is not OnParentEnd.CONTINUE]
        return count + sum(self._cancel_below(child) for child in below)

    def cancel(self, id_: bytes) -> int:
        return self._cancel_below(self.runs[id_])

    def replay(self, id_: bytes) -> bool:
        run = self.runs[id_]
        if not run.state.is_terminal:
            return False
        self._revive(run)
        return True

    @staticmethod
    def _revive(run: Run) -> None:
        run.state, run.retry_count, run.deaths, run.trial_start = QUEUED, 0, 0, run.attempt + 1

    def attach(self, parent: bytes, attempt: int, child: bytes) -> RunState | None:
        """The state in which the child is found; None if the attempt is over."""
        if not self.is_current(parent, attempt):
            return None
        run = self.runs[child]
        if run.state in (FAILED, CANCELLED) and run.asked < self.runs[parent].trial_start:
            self._revive(run)
        run.asked = attempt
        return run.state

    def reap(self, worker: int) -> None:
        mine = [run for run in self.runs.values() if run.state is RUNNING and run.worker == worker]
        executing = [run for run in mine if all(child.state.is_terminal for child in self.children(run))]
        for run in mine:
            run.state = QUEUED
        for run in executing:
            run.deaths += 1
        for run in executing:
            if run.deaths >= DEATHS_LIMIT:
                run.state = FAILED
                self._resolve(run)
