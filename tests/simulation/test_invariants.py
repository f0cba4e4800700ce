"""What only worlds see speaks as well: each fault is planted into a memory that a world would look at."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from fanwood import ManualClock
from fanwood.model.commands import WorkerInfo
from fanwood.model.states import EndedBy, GateKind, RunState, Waits
from fanwood.store.memory.memory import Memory
from fanwood.store.memory.tables import Gate, Run
from tests.simulation import invariants
from tests.simulation.invariants import LATE, Watch

GIVEN = '{"n":1,"text":""}'


class Scene:
    """A memory with a worker, a root that it executes, and a child; and what is said of it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.memory = Memory(self.clock)
        self.tables = self.memory.tables
        self.said: list[str] = []
        self.watch = Watch(self.memory, self.said.append, lambda *_: None)
        self.me = self.memory.chores.register(WorkerInfo("w", "h", 1, 1, (), 10**9, ()), [], self.memory.now())
        with self.memory.transaction(0) as now:
            self.root = self.born(b"root", now)
            self.claim(self.root)
            self.child = self.born(b"child", now, self.root)

    def born(self, id_: bytes, now: int, parent: Run | None = None) -> Run:
        run = Run(
            id=id_, parent_id=parent and parent.id, root_id=b"root", depth=int(parent is not None), kind=0, task="t",
            identity=parent and id_, child_index=None, child_key=None, input_digest=None, input=GIVEN, metadata=None,
            priority=0, on_parent_end=0, state=0, waits=None, due_at=None, attempt=0, trial_start=0, retry_count=0,
            deaths=0, asked=parent.attempt if parent else 0, worker_id=None, deadline=None, deadline_by=None,
            schedule_timeout=None, expires_at=None, created_at=now, started_at=None, finished_at=None, busy=0,
            ended_by=None, output=None, error=None, limit_at=None,
        )  # fmt: skip
        self.tables.add(run)
        return run

    def claim(self, run: Run) -> None:
        how = {"worker_id": self.me, "started_at": self.memory.now(), "expires_at": None}
        self.tables.change(run, state=int(RunState.RUNNING), attempt=run.attempt + 1, **how)

    def end(self, run: Run, state: RunState = RunState.FAILED, by: EndedBy = EndedBy.OUTCOME) -> None:
        output, error = (GIVEN, None) if state is RunState.COMPLETED else (None, '{"kind":"cancelled"}')
        how = {"finished_at": self.memory.now(), "ended_by": int(by), "output": output, "error": error}
        self.tables.change(run, state=int(state), **how)

    def wait(self, run: Run, seconds: int) -> None:
        due = self.memory.now() + seconds * 10**6
        about = {"waits": int(Waits.TIME), "due_at": due, "trial_start": run.attempt + 1, "retry_count": 1}
        self.tables.change(run, state=int(RunState.WAITING), **about)

    def over(self) -> None:
        self.claim(self.child)
        for run in (self.child, self.root):
            self.end(run, RunState.COMPLETED)


def _goes_on_early(scene: Scene) -> None:
    scene.wait(scene.root, 5)
    scene.tables.change(scene.root, state=int(RunState.QUEUED), waits=None, due_at=None)


def _expires_early(scene: Scene) -> None:
    scene.tables.change(scene.child, expires_at=scene.memory.now() + 1)
    scene.end(scene.child, by=EndedBy.EXPIRY)


def _is_born_twice(scene: Scene) -> None:
    scene.tables.add(replace(scene.child))


def _is_born_late(scene: Scene) -> None:
    scene.end(scene.root)
    scene.born(b"late", scene.memory.now(), scene.root)


def _is_held_by_the_dead(scene: Scene) -> None:
    scene.memory.chores.take_lease(scene.me, scene.memory.now(), if_lapsed=False)
    scene.claim(scene.child)


def _changes_its_output(scene: Scene) -> None:
    scene.claim(scene.child)
    scene.end(scene.child, RunState.COMPLETED)
    scene.tables.change(scene.child, output='{"n":2}')


def _is_opened_and_not_swept(scene: Scene) -> None:
    gate = Gate(scene.root.id, scene.root.id, int(GateKind.CLOSED), 0, 1, "{}", scene.memory.now())
    scene.tables.gates[scene.root.id] = gate
    scene.end(scene.root)
    scene.watch.settle(scene.memory.now())
    assert not scene.said
    del scene.tables.gates[scene.root.id]


def _is_late(scene: Scene) -> None:
    scene.wait(scene.root, 5)
    scene.watch.punctual_from = scene.memory.now()
    scene.clock.advance(5 + LATE / 10**6 + 0.001)


CHANGES: dict[str, Callable[[Scene], None]] = {
    "too early": _goes_on_early,
    "was to be failed at": _expires_early,
    "is born a second time": _is_born_twice,
    "is born below an attempt that is over": _is_born_late,
    "which holds no lease": _is_held_by_the_dead,
    "had ended, and was changed": _changes_its_output,
    "lives, and nobody ends it": _is_opened_and_not_swept,
    "was due 5 s ago": _is_late,
}


@pytest.mark.parametrize("said", CHANGES)
def test_a_fault_that_is_seen_as_it_is_made(said: str) -> None:
    scene = Scene()
    assert scene.said == []
    with scene.memory.transaction(0):
        CHANGES[said](scene)
    assert any(said in found for found in scene.said), scene.said


def _is_unfinished(scene: Scene) -> None:
    scene.wait(scene.root, 5)


def _is_closed(scene: Scene) -> None:
    scene.tables.gates[b"root"] = Gate(b"root", b"root", int(GateKind.CLOSED), 0, 1, "{}", 0)


def _is_watched(scene: Scene) -> None:
    scene.tables.watchers[b"root"].add(scene.me)


def _has_anothers_output(scene: Scene) -> None:
    scene.child.output = '{"n":2,"text":""}'


def _has_failed_of_nothing(scene: Scene) -> None:
    scene.child.state, scene.child.output, scene.child.error = int(RunState.FAILED), None, "boom"


def _is_lost(scene: Scene) -> None:
    scene.watch._remove(scene.child)


ENDS: dict[str, Callable[[Scene], None]] = {
    "is WAITING: attempt 1": _is_unfinished,
    "still closed": _is_closed,
    "still watches": _is_watched,
    "which is another run's": _has_anothers_output,
    "is FAILED": _has_failed_of_nothing,
    "1 were spawned, and 0 are there": _is_lost,
}


@pytest.mark.parametrize("said", ENDS)
def test_a_fault_that_is_seen_in_the_end(said: str) -> None:
    scene = Scene()
    scene.over()
    assert scene.said == list(invariants.at_the_end(scene.tables, scene.watch.history)) == []
    ENDS[said](scene)
    found = list(invariants.at_the_end(scene.tables, scene.watch.history))
    assert any(said in one for one in found), found
