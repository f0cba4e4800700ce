"""What only worlds see speaks as well: each fault is planted into a memory that a world would look at."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from random import Random
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from fanwood import ManualClock
from fanwood.model.commands import Attach, Batch, ClaimRequest, Committed, Outcome, SpawnKind, WorkerInfo
from fanwood.model.states import EndedBy, GateKind, RunKind, RunState, Waits
from fanwood.store.memory.claiming import Claiming
from fanwood.store.memory.tables import Gate, Pause, Run, Suspended
from tests.simulation import invariants, judging
from tests.simulation.grounds import InMemory
from tests.simulation.invariants import LATE, Watch
from tests.simulation.parts import Asked, Parts
from tests.simulation.plans import Maker, is_sure

GIVEN = '{"n":1,"task":"plain","text":"","steps":[]}'
ANSWER = '{"n":1,"text":"","total":1}'


class Scene:
    """A memory with a worker, a root that it executes, and a child; and what is said of it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.ground = InMemory(self.clock)
        self.memory = self.ground.memory
        self.tables = self.memory.tables
        self.said: list[str] = []
        self.maker = Maker(Random(0), 0)
        self.maker.plans[1] = msgspec.json.decode(GIVEN)
        self.watch = Watch(self.tables, self.ground.now, self.said.append, lambda *_: None)
        self.ground.watched_by(self.watch)
        self.me = self.memory.chores.register(WorkerInfo("w", "h", 1, 1, (), 10**9, ()), [], self.memory.now())
        with self.memory.transaction(0) as now:
            self.root = self.born(b"root", now)
            self.claim(self.root)
            self.child = self.born(b"child", now, self.root)

    def born(self, id_: bytes, now: int, parent: Run | None = None, priority: int = 0) -> Run:
        run = Run(
            id=id_, parent_id=parent and parent.id, root_id=parent.id if parent else id_,
            depth=int(parent is not None), kind=0, task="t", identity=parent and id_, child_index=None, child_key=None,
            input_digest=None, input=GIVEN, metadata=None, priority=priority, on_parent_end=0, state=0, waits=None,
            due_at=None, attempt=0, trial_start=0, retry_count=0, deaths=0, asked=parent.attempt if parent else 0,
            worker_id=None, deadline=None, deadline_by=None, schedule_timeout=None, expires_at=None, created_at=now,
            started_at=None, finished_at=None, busy=0, ended_by=None, output=None, error=None, limit_at=None,
        )  # fmt: skip
        self.tables.add(run)
        return run

    def claim(self, run: Run) -> None:
        how = {"worker_id": self.me, "started_at": self.memory.now(), "expires_at": None}
        self.tables.change(run, state=int(RunState.RUNNING), attempt=run.attempt + 1, **how)

    def end(self, run: Run, state: RunState = RunState.FAILED, by: EndedBy = EndedBy.OUTCOME) -> None:
        output, error = (ANSWER, None) if state is RunState.COMPLETED else (None, '{"kind":"cancelled"}')
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


def _is_suspended(scene: Scene) -> None:
    scene.tables.suspended[b"root"] = Suspended(1, 1, 1, None, [])


def _is_resumed_half(scene: Scene) -> None:
    scene.tables.pauses[b"root"] = Pause(b"root", b"root", 0, "me", 1, b"")


def _has_anothers_output(scene: Scene) -> None:
    scene.child.output = '{"n":2,"text":"","total":2}'


def _has_anothers_input(scene: Scene) -> None:
    scene.child.input = GIVEN.replace("plain", "steady")


def _has_failed_though_it_does_not(scene: Scene) -> None:
    error = '{"kind":"failed","type":"ValueError","message":"1 fails"}'
    scene.child.state, scene.child.output, scene.child.error = int(RunState.FAILED), None, error


def _has_failed_of_nothing(scene: Scene) -> None:
    scene.child.state, scene.child.output, scene.child.error = int(RunState.FAILED), None, "boom"


def _is_lost(scene: Scene) -> None:
    scene.watch._remove(scene.child)


ENDS: dict[str, Callable[[Scene], None]] = {
    "is WAITING: attempt 1": _is_unfinished,
    "still closed": _is_closed,
    "still watches": _is_watched,
    "is suspended, as it is written": _is_suspended,
    "is resumed, as it is written": _is_resumed_half,
    "and not {'n': 1": _has_anothers_output,
    "which nobody sent": _has_anothers_input,
    "is FAILED: ValueError 1 fails": _has_failed_though_it_does_not,
    "is FAILED:  boom": _has_failed_of_nothing,
    "1 were spawned, and 0 are there": _is_lost,
}


@pytest.mark.parametrize("said", ENDS)
def test_a_fault_that_is_seen_in_the_end(said: str) -> None:
    scene = Scene()
    scene.over()
    assert scene.said == list(invariants.at_the_end(scene.tables, scene.watch.history, scene.maker)) == []
    ENDS[said](scene)
    found = list(invariants.at_the_end(scene.tables, scene.watch.history, scene.maker))
    assert any(said in one for one in found), found


# --- what runs record of their own -----------------------------------------------------------------------------------


class Recording(Scene):
    """... and the root has recorded a step, and a sleep of five seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = Parts(self.tables, self.ground.now, self.watch)
        self.value = {"n": 1, "made": 1}
        with self.memory.transaction(0) as now:
            ended = {"finished_at": now, "ended_by": int(EndedBy.OUTCOME), "output": '{"n":1,"made":1}'}
            step = {"kind": RunKind.RECORDED, "state": RunState.COMPLETED, "input": '{"args":[1,0]}', **ended}
            sleep = {"kind": RunKind.SLEEP, "state": RunState.WAITING, "input": '{"for":5.0}', "waits": Waits.TIME}
            sleep["due_at"] = now + 5_000_000
            for id_, about in ((b"step", step), (b"sleep", sleep)):
                values = {name: int(value) if isinstance(value, IntEnum) else value for name, value in about.items()}
                self.tables.add(replace(self.child, id=id_, identity=id_, asked=1, **values))
        self.sleep = self.tables.runs[b"sleep"]
        self.nap = Asked({"for": 5.0}, 5.0, None, self.sleep.created_at)

    def slept(self) -> list[str]:
        return list(self.parts.slept(b"root", 1, self.nap, None))


def test_a_step_that_is_done_again_though_it_was_recorded() -> None:
    parts = Recording().parts
    assert not list(parts.does(b"root", 1, 1, [1, 1]))
    assert not list(parts.does(b"root", 0, 0, [1, 0]))  # an attempt that is over may not know
    (said,) = parts.does(b"root", 1, 0, [1, 0])
    assert "is done again" in said


def test_a_step_that_is_answered_otherwise_than_it_stands_there() -> None:
    scene = Recording()
    parts = scene.parts
    assert not [*parts.answered(b"root", (1, 0), scene.value), *parts.answered(b"root", (1, 0), scene.value)]
    assert not list(parts.at_the_end())
    assert list(parts.answered(b"root", (1, 0), {"n": 1, "made": 2}))
    scene.tables.runs[b"step"].output = '{"n":1,"made":3}'
    assert list(parts.at_the_end())


def test_sleeps_that_end_early_or_never() -> None:
    scene = Recording()
    (said,) = scene.slept()
    assert "goes on after" in said  # though it has not ended
    scene.clock.advance(5.001)
    with scene.memory.transaction(0) as now:
        scene.memory.hot.leaving.promote(now, [scene.sleep])
    assert scene.said == scene.slept() == []
    scene.nap = scene.nap._replace(until=now + 2_000_000, said={"for": 5.0})
    (said,) = scene.slept()
    assert "too early" in said


def test_values_from_outside_that_nobody_sent_or_that_change() -> None:
    parts = Recording().parts
    for number in (1, 2):
        parts.sends("to", number)
    assert not [*parts.settled("to", 1), *parts.settled("to", 1), *parts.happened("to", 2)]
    assert len(list(parts.settled("to", 2))) == len(list(parts.happened("to", 3))) == 1
    assert len(list(parts.settled("to", 3))) == 2


def test_who_waits_for_what_has_happened() -> None:
    scene = Recording()
    with scene.memory.transaction(0):
        scene.tables.change(scene.sleep, kind=int(RunKind.EVENT), input='{"key":"paid"}')
    waiting = scene.parts.waiting_for("paid")
    assert (waiting, scene.parts.waiting_for("sent")) == ([b"sleep"], [])
    assert len(list(scene.parts.heard(waiting))) == 1
    scene.end(scene.sleep, RunState.COMPLETED, by=EndedBy.CALL)
    assert not list(scene.parts.heard(waiting))


def test_a_sleep_that_is_over_before_its_time_is_seen_as_it_is_made() -> None:
    scene = Recording()
    with scene.memory.transaction(0) as now:
        scene.memory.hot.leaving.fire(now, scene.sleep, EndedBy.CALL)  # it was woken
    assert not scene.said
    scene = Recording()
    with scene.memory.transaction(0) as now:
        scene.memory.hot.leaving.promote(now, [scene.sleep])
    assert any("too early" in said for said in scene.said)


def test_a_part_that_is_recorded_again_by_an_attempt_that_is_over() -> None:
    scene = Recording()
    again = {"state": int(RunState.WAITING), "waits": int(Waits.TIME), "due_at": 1, "finished_at": None}
    with scene.memory.transaction(0):
        scene.end(scene.sleep, RunState.CANCELLED, by=EndedBy.CALL)
        scene.tables.change(scene.sleep, asked=2, error=None, ended_by=None, **again)
    assert any("recorded again by an attempt that is over" in said for said in scene.said)


# --- claims, and what is below something that was cancelled ----------------------------------------------------------


class Queue(Scene):
    """Three roots beside: an important one, an ordinary one that is older, and one that is old and of no importance."""

    def __init__(self) -> None:
        super().__init__()
        with self.memory.transaction(0) as now:
            for id_, priority in ((b"a unimportant", -1), (b"b ordinary", 0), (b"c important", 3)):
                self.born(id_, now, priority=priority)
            self.end(self.child)

    def claimed(self, limit: int, fair: int = 0) -> list[str]:
        request = ClaimRequest('["t"]', limit, fair)
        with self.memory.transaction(self.me) as now:
            self.memory.hot.claiming.claim(self.me, now, request)
        return self.said


@pytest.mark.parametrize(("limit", "fair"), [(1, 0), (2, 0), (2, 1), (1, 1), (3, 1)])
def test_claims_in_order_are_no_fault(limit: int, fair: int) -> None:
    assert Queue().claimed(limit, fair) == []


def test_a_claim_that_passes_over_something_more_important(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Claiming, "_best", lambda self, tasks, limit, may: _from_behind(self, limit))
    (said,) = Queue().claimed(1)
    assert "is claimed before" in said


def _from_behind(claiming: Any, limit: int) -> list[Run]:
    tables = claiming._tables
    return [tables.runs[place[3]] for place in reversed(list(tables.order("queue", "t")))][:limit]


def test_a_claim_that_forgets_who_is_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Claiming, "_oldest", lambda *_: [])
    (said,) = Queue().claimed(1, fair=1)
    assert "is the oldest, and is not claimed" in said


def test_what_is_below_something_cancelled_until_it_is_replayed() -> None:
    scene = Scene()
    scene.clock.advance(1)
    closed = {b"root": scene.memory.now()}
    assert scene.watch.closed_above(b"child", closed) == b"root"
    scene.end(scene.root)
    scene.clock.advance(1)
    again = {"trial_start": 2, "output": None, "error": None, "finished_at": None, "ended_by": None}
    scene.tables.change(scene.root, state=int(RunState.QUEUED), **again)
    assert scene.watch.closed_above(b"child", closed) is None


# --- children that were let go ---------------------------------------------------------------------------------------


class LettingGo(Scene):
    """... and the root's attempt wants its child no more."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = Parts(self.tables, self.ground.now, self.watch)
        self.watch.replays.add(b"child")

    def left(self) -> list[str]:
        return list(self.parts.left(b"root", self.root.attempt, [1]))

    def cancels(self) -> list[str]:
        return list(self.parts.let_go(b"root", self.root.attempt, [b"child"]))

    def completes(self) -> None:
        self.claim(self.child)
        self.end(self.child, RunState.COMPLETED)

    def replay(self) -> None:
        self.clock.advance(1)
        again = {"trial_start": self.child.attempt + 1, "output": None, "error": None}
        self.tables.change(self.child, state=int(RunState.QUEUED), finished_at=None, ended_by=None, **again)


def test_a_child_that_lives_though_it_was_let_go() -> None:
    scene = LettingGo()
    (said,) = scene.left()
    assert "does not want it any more" in said
    (said,) = scene.cancels()
    assert "was cancelled by" in said
    scene.completes()
    assert not [*scene.left(), *scene.cancels()]


def test_a_child_that_somebody_replays_after_it_was_let_go_is_his() -> None:
    scene = LettingGo()
    scene.completes()
    scene.replay()
    assert not scene.left()  # (of its end its parent knew)
    scene.parts.asked_for([b"child"])
    assert scene.left()  # it had been replayed before its parent asked for it, and let it go
    scene.completes()
    assert not scene.cancels()
    scene.replay()
    assert not scene.left()


def test_a_child_that_was_replayed_before_the_attempt_that_let_it_go() -> None:
    scene = LettingGo()
    scene.completes()
    scene.replay()
    scene.tables.change(scene.root, state=int(RunState.QUEUED))
    scene.clock.advance(1)
    scene.claim(scene.root)
    assert scene.left()  # it lived when this attempt looked what there is
    unasked = scene.parts.left(b"root", scene.root.attempt, [1], of_old=False)
    assert not list(unasked)  # of which nobody knows yet whether this attempt will ask for it
    scene.completes()
    scene.replay()
    assert not scene.left()


# --- what a store answers ---------------------------------------------------------------------------------------------


def _told(scene: Scene, batch: Batch, change: Callable[[], None] = lambda: None) -> list[str]:
    """Of a commit that says that all of it counted, and did this."""
    was = judging.before(scene.tables, batch)
    change()
    return list(judging.after(scene.tables, was, batch, Committed()))


def test_an_outcome_of_another_attempt_that_counts() -> None:
    scene = Scene()
    ends = [Outcome(b"root", attempt, RunState.COMPLETED, ANSWER) for attempt in (1, 2)]
    assert not _told(scene, Batch(outcomes=ends[:1]))
    assert not _told(scene, Batch(outcomes=[Outcome(b"child", 0, RunState.QUEUED)]))  # handed back, and has been
    (said,) = _told(scene, Batch(outcomes=ends[1:]))
    assert "attempt 2, counted" in said


def test_what_was_handed_back_and_paused_is_not_queued_by_who_says_it_again() -> None:
    scene = Scene()
    batch = Batch(outcomes=[Outcome(b"child", 0, RunState.QUEUED)])
    scene.tables.change(scene.child, state=int(RunState.WAITING), waits=int(Waits.RESUME))
    assert not _told(scene, batch)
    (said,) = _told(scene, batch, lambda: scene.tables.change(scene.child, state=int(RunState.QUEUED), waits=None))
    assert "is queued by that" in said


def test_a_retry_that_does_not_wait() -> None:
    scene = Scene()
    batch = Batch(outcomes=[Outcome(b"root", 1, RunState.QUEUED, retry=True, delay=5)])
    assert not _told(scene, batch, lambda: scene.wait(scene.root, 5))
    scene = Scene()
    (said,) = _told(scene, batch, lambda: scene.tables.change(scene.root, state=int(RunState.QUEUED)))
    assert "does not wait" in said


def test_a_child_that_is_executed_again_in_the_same_trial() -> None:
    scene = Scene()
    kind = SpawnKind("t", parent_id=b"root", parent_attempt=1)
    scene.claim(scene.child)
    scene.end(scene.child)
    again = {"state": int(RunState.QUEUED), "finished_at": None, "ended_by": None, "error": None, "trial_start": 2}
    (said,) = _told(scene, Batch(attaches=[Attach(kind, b"child")]), lambda: scene.tables.change(scene.child, **again))
    assert "in the same trial" in said


def test_a_slot_that_nobody_has() -> None:
    executor: Any = SimpleNamespace(_slots=SimpleNamespace(busy=1))
    attempts: list[Any] = [SimpleNamespace(holding=True), SimpleNamespace(holding=False)]
    assert not list(judging.of_slots(executor, attempts))
    assert len(list(judging.of_slots(executor, attempts[1:]))) == 1


# --- plans -----------------------------------------------------------------------------------------------------------


def a_plan(n: int, *steps: list[Any], task: str = "plain", **about: Any) -> dict[str, Any]:
    return {"n": n, "task": task, "text": "", "steps": list(steps), **about}


def test_what_a_program_must_answer_is_known_beforehand() -> None:
    maker = Maker(Random(0), 0)
    strict, lenient = {"keep": False, "timeout": None}, {"keep": True, "timeout": None}
    assert maker.answer(a_plan(1, ["fail", 3], task="eager")) is None
    assert maker.answer(a_plan(2, ["fail", 2], task="eager")) == {"n": 2, "text": "", "total": 2}
    children = [a_plan(4), a_plan(5)]
    assert maker.answer(a_plan(3, ["many", children, strict], ["sleep", 1]))["total"] == 12
    assert maker.answer(a_plan(6, ["twice", children, strict]))["total"] == 24
    assert maker.answer(a_plan(7, ["many", children, lenient], ["start", children, strict]))["total"] == 7
    assert maker.answer(a_plan(8, ["run", [a_plan(9, ["fail", 1])], strict])) is None
    flow = a_plan(10, task="line", parts={"a": a_plan(11, task="step"), "b": a_plan(12, task="step")})
    assert maker.answer(a_plan(13, ["run", [flow], strict]))["total"] == 36
    assert is_sure(flow)
    assert not is_sure(a_plan(14, ["start", [a_plan(15, ["above"])], strict]))
    assert not is_sure(a_plan(14, ["run", [a_plan(15, ["fail", 1])], {"keep": False, "timeout": 0.5}]))
