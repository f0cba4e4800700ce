"""What worlds see of surgery speaks as well: each fault is planted into a memory in which a run is forked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from fanwood.model.forks import Fork, Lineage
from fanwood.model.states import RunKind, RunState
from fanwood.store.memory.tables import Run, Urgent
from tests.simulation.test_invariants import ANSWER, Scene

OF = b"done child".ljust(16)


class Forked(Scene):
    """... and there is a tree that is over: `done`, with a child that completed; and a fork of it, which runs."""

    def __init__(self) -> None:
        super().__init__()
        with self.memory.transaction(0) as now:
            self.done = self.born(b"done".ljust(16), now)
            self.claim(self.done)
            self.of = self.born(OF, now, self.done)
            self.claim(self.of)
            self.end(self.of, RunState.COMPLETED)
            self.end(self.done, RunState.COMPLETED)
        self.clock.advance(1)
        with self.memory.transaction(0) as now:
            self.fork = self.born(b"fork".ljust(16), now)
            self.tables.change(self.fork, life=Fork(self.done.id.hex()).text)
            self.made(at=None)
        with self.memory.transaction(0):
            self.claim(self.fork)

    def made(self, at: bytes | None) -> None:
        self.tables.forks[self.fork.id] = Lineage(self.fork.id, self.done.id, self.done.id, at, 0, 0, "ann")

    def below(self, *, life: Fork | None = None, **about: Any) -> Run:
        """A child of the fork, as it is asked for like that of the old run."""
        now = self.memory.now()
        run = replace(
            self.of, id=b"new".ljust(16), parent_id=self.fork.id, root_id=self.fork.id, created_at=now, life=None
        )
        queued = {"state": int(RunState.QUEUED), "attempt": 0, "output": None, "finished_at": None, "ended_by": None}
        for name, value in {**queued, "started_at": None, "worker_id": None, **about}.items():
            setattr(run, name, value)
        self.tables.add(run)
        if life is not None:
            self.tables.change(run, life=life.text)
        return run

    def copy(self, **about: Any) -> Run:
        how = {"state": int(RunState.COMPLETED), "finished_at": self.memory.now(), "ended_by": 1, "output": ANSWER}
        return self.below(life=Fork(OF.hex(), "copy"), **{**how, **about})


def _does_it_again(scene: Forked) -> None:
    scene.below()


def _runs_it_again(scene: Forked) -> None:
    scene.below(life=Fork(OF.hex()))


def _copies_another_output(scene: Forked) -> None:
    scene.copy(output='{"n":2}')


def _copies_twice(scene: Forked) -> None:
    scene.copy()
    scene.copy(id=b"newer".ljust(16))


def _copies_what_is_done_again(scene: Forked) -> None:
    scene.tables.change(scene.fork, life=Fork(scene.done.id.hex(), way=[OF.hex()]).text)
    scene.copy()


def _copies_a_strangers(scene: Forked) -> None:
    scene.below(life=Fork(scene.root.id.ljust(16).hex(), "copy"))
    scene.tables.runs[scene.root.id.ljust(16)] = scene.root


def _is_given_another_input(scene: Forked) -> None:
    scene.copy(input='{"n":2}')


def _runs_and_is_a_copy(scene: Forked) -> None:
    scene.below(life=Fork(OF.hex(), "copy"))


def _is_in_no_fork(scene: Forked) -> None:
    scene.tables.change(scene.fork, life=None)
    scene.copy()


def _has_lost_its_way(scene: Forked) -> None:
    scene.below(life=Fork(OF.hex(), way=[OF.hex()]))


def _runs_again_unasked(scene: Forked) -> None:
    scene.tables.change(
        scene.done, state=int(RunState.QUEUED), output=None, finished_at=None, ended_by=None, trial_start=2
    )


def _is_given_a_priority(scene: Forked) -> None:
    scene.tables.urgent[scene.root.id] = Urgent(scene.root.id, scene.root.id, 7, scene.memory.now(), "ann", None)


def _is_born_without_it(scene: Forked) -> None:
    scene.tables.urgent[scene.root.id] = Urgent(scene.root.id, scene.root.id, 7, 0, "ann", b"")
    scene.born(b"late", scene.memory.now(), scene.root, priority=1)


def _is_claimed(scene: Forked) -> None:
    scene.watch.paused.add(scene.root.id)
    scene.claim(scene.child)


PLANTED: dict[str, Callable[[Forked], None]] = {
    "is done again in a fork": _does_it_again,
    "is run again in a fork": _runs_it_again,
    "and not the same": _copies_another_output,
    "is a second copy": _copies_twice,
    "nothing was to be taken": _copies_what_is_done_again,
    "is no child of": _copies_a_strangers,
    "has another input": _is_given_another_input,
    "is a copy, and QUEUED": _runs_and_is_a_copy,
    "its parent is in no fork": _is_in_no_fork,
    "and its parent's is": _has_lost_its_way,
    "which nobody wanted": _runs_again_unasked,
    "was given 7, by ann": _is_given_a_priority,
    "has the priority 1": _is_born_without_it,
    "is claimed, and": _is_claimed,
}


@pytest.mark.parametrize("said", PLANTED)
def test_a_fault_is_seen(said: str) -> None:
    scene = Forked()
    assert scene.said == []
    with scene.memory.transaction(0):
        PLANTED[said](scene)
    assert any(said in found for found in scene.said), scene.said


def test_what_is_right_is_no_fault() -> None:
    scene = Forked()
    with scene.memory.transaction(0):
        scene.copy()
        scene.below(id=b"else".ljust(16), identity=b"else", kind=int(RunKind.TASK))
    assert scene.said == []


def test_a_fork_that_is_entered_wrong() -> None:
    scene = Forked()
    with scene.memory.transaction(0) as now:
        one = scene.born(b"other".ljust(16), now)
        scene.tables.change(one, life=Fork(scene.done.id.hex()).text)
    assert any("is entered as None" in found for found in scene.said), scene.said
