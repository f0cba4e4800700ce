"""Slots: who may execute, who goes on first, and that none is ever lost or given twice."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from fanwood import TooManyWaitingThreadsError
from fanwood.model.commands import ClaimedRun
from fanwood.worker.slots import CAREFUL, Slots


class FakeSpec:
    def __init__(self, is_async: bool) -> None:
        self.is_async = is_async
        self.name = "task"


class FakeAttempt:
    """As much of an attempt as slots look at."""

    def __init__(self, run: ClaimedRun, is_async: bool = True) -> None:
        self.run = run
        self.spec = FakeSpec(is_async)
        self.holding = True
        self.waits = 0
        self.thread_waits = 0
        self.code_ended = False
        self.went_on = 0

    def go_on(self) -> None:
        self.went_on += 1

    def hold(self) -> None:
        self.holding = True

    def let_go(self) -> None:
        self.holding = False


def claimed(name: str = "00", deaths: int = 0, attempt: int = 1) -> ClaimedRun:
    row = dict.fromkeys(ClaimedRun.__struct_fields__)
    return ClaimedRun(**{**row, "id": name, "attempt": attempt, "task": "task", "deaths": deaths})


class Stand:
    def __init__(self, count: int, waiting_threads: int = 10) -> None:
        self.changes = 0
        self.slots: Any = Slots(count, waiting_threads, self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def begin(self, *runs: ClaimedRun, is_async: bool = True) -> list[FakeAttempt]:
        self.slots.offer(list(runs) or [claimed()])
        return [FakeAttempt(run, is_async) for run in self.slots.take()]

    def pump(self) -> None:
        while (go_on := self.slots.next_resuming()) is not None:
            go_on()


def test_no_more_begin_than_there_are_slots() -> None:
    stand = Stand(2)
    begun = stand.begin(*(claimed(f"0{n}") for n in range(5)))
    assert [attempt.run.id for attempt in begun] == ["00", "01"]
    assert stand.slots.busy == 2
    stand.slots.finish([begun[0]])
    assert [run.id for run in stand.slots.take()] == ["02"]


def test_a_wait_frees_a_slot_and_its_end_takes_one() -> None:
    stand = Stand(1)
    (parent,) = stand.begin()
    stand.slots.park(parent)
    assert (stand.slots.busy, stand.changes) == (0, 1)
    (child,) = stand.begin()
    stand.slots.finish([child])
    stand.slots.resume(parent, parent.go_on)
    assert (parent.went_on, stand.slots.busy) == (1, 1)


def test_who_goes_on_goes_before_who_begins() -> None:
    stand = Stand(1)
    (parent,) = stand.begin()
    stand.slots.park(parent)
    (child,) = stand.begin()
    stand.slots.resume(parent, parent.go_on)
    assert parent.went_on == 0
    stand.slots.offer([claimed()])
    stand.slots.finish([child])
    assert stand.slots.take() == []
    stand.pump()
    assert parent.went_on == 1
    assert stand.slots.take() == []


def test_of_two_waits_the_first_to_end_goes_on_without_a_slot() -> None:
    stand = Stand(1)
    (parent,) = stand.begin()
    stand.slots.park(parent)
    stand.slots.park(parent)
    stand.slots.resume(parent, parent.go_on)
    assert (parent.went_on, stand.slots.busy) == (1, 0)
    stand.slots.resume(parent, parent.go_on)
    assert (parent.went_on, stand.slots.busy) == (2, 1)
    stand.slots.finish([parent])
    assert stand.slots.busy == 0


def test_a_run_that_waits_again_while_it_queues_for_a_slot_does_not_hold_it() -> None:
    """Its first wait is over, and queues for a slot; meanwhile another of its coroutines began to wait."""
    stand = Stand(1)
    (parent,) = stand.begin()
    stand.slots.park(parent)
    (other,) = stand.begin()
    stand.slots.resume(parent, parent.go_on)
    stand.slots.park(parent)
    stand.slots.finish([other])
    stand.pump()
    assert parent.went_on == 1
    assert stand.slots.busy == 0, "a run that waits holds the slot that its child needs"


def test_a_run_that_queues_twice_for_a_slot_takes_one() -> None:
    stand = Stand(1)
    (parent,) = stand.begin()
    stand.slots.park(parent)
    (other,) = stand.begin()
    stand.slots.resume(parent, parent.go_on)
    stand.slots.park(parent)  # the first wait was given up while it queued; the code waits for something else
    stand.slots.resume(parent, parent.go_on)
    stand.slots.finish([other])
    stand.pump()
    assert (parent.went_on, stand.slots.busy) == (2, 1)
    stand.slots.finish([parent])
    assert stand.slots.busy == 0


def test_a_wait_that_is_given_up_goes_on_at_once() -> None:
    stand = Stand(1)
    (parent,) = stand.begin()
    stand.slots.park(parent)
    (child,) = stand.begin()
    stand.slots.unpark(parent)
    assert stand.slots.busy == 2
    stand.slots.finish([child])
    stand.slots.finish([parent])
    assert stand.slots.busy == 0


def test_a_run_that_ends_while_it_queues_is_skipped() -> None:
    stand = Stand(1)
    (parent,) = stand.begin()
    stand.slots.park(parent)
    (child,) = stand.begin()
    stand.slots.resume(parent, parent.go_on)
    stand.slots.finish([parent])
    stand.slots.finish([child])
    stand.pump()
    assert (parent.went_on, stand.slots.busy) == (0, 0)


def test_a_slot_that_was_released_does_not_come_back_twice() -> None:
    stand = Stand(1)
    (run,) = stand.begin()
    stand.slots.free(run)
    assert stand.slots.busy == 0
    stand.slots.park(run)
    stand.slots.resume(run, run.go_on)
    assert (run.went_on, stand.slots.busy) == (1, 0)
    stand.slots.finish([run])
    assert stand.slots.busy == 0


def test_waiting_threads_are_bounded_and_returned() -> None:
    stand = Stand(3, waiting_threads=2)
    runs = stand.begin(*(claimed(f"0{n}") for n in range(3)), is_async=False)
    stand.slots.park(runs[0])
    stand.slots.park(runs[1])
    with pytest.raises(TooManyWaitingThreadsError, match="waiting_threads allows no more"):
        stand.slots.park(runs[2])
    assert stand.slots.busy == 1
    stand.slots.resume(runs[0], runs[0].go_on)
    stand.slots.park(runs[2])


def test_a_suspect_executes_alone() -> None:
    stand = Stand(2)
    (first,) = stand.begin(claimed("01"))
    suspect = claimed("02", deaths=2)
    stand.slots.offer([suspect, claimed("03")])
    assert stand.slots.take() == []
    assert stand.slots.demand() == 0
    stand.slots.finish([first])
    assert [run.id for run in stand.slots.take()] == ["02"]
    assert stand.slots.take() == []
    stand.slots.finish([FakeAttempt(suspect)])
    assert [run.id for run in stand.slots.take()] == ["03"]


def test_nothing_goes_on_beside_a_suspect() -> None:
    stand = Stand(2)
    (parent,) = stand.begin(claimed("01"))
    stand.slots.park(parent)
    (suspect,) = stand.begin(claimed("02", deaths=2))
    stand.slots.resume(parent, parent.go_on)
    assert parent.went_on == 0
    stand.slots.park(suspect)  # it waits, and is no danger meanwhile
    stand.pump()
    assert parent.went_on == 1


def test_withdrawing() -> None:
    stand = Stand(1)
    stand.slots.offer([claimed("01"), claimed("02"), claimed("03")])
    assert [run.id for run in stand.slots.withdraw(run="02")] == ["02"]
    assert stand.slots.waiting_to_begin("02") is None
    assert stand.slots.waiting_to_begin("03").id == "03"
    assert [run.id for run in stand.slots.withdraw()] == ["01", "03"]
    assert stand.slots.take() == []


def test_withdrawing_what_another_attempt_has_taken_the_place_of() -> None:
    stand = Stand(1)
    stand.slots.offer([claimed("01"), claimed("01", attempt=3), claimed("02")])
    assert [run.attempt for run in stand.slots.withdraw(run="01", attempt=2)] == [1]
    assert [(run.id, run.attempt) for run in stand.slots.withdraw()] == [("01", 3), ("02", 1)]


def test_what_waits_behind_slow_runs_is_given_to_others_who_serve_it() -> None:
    stand = Stand(1)
    ours, theirs = frozenset({"task"}), frozenset({"another"})
    stand.begin(claimed("01"), claimed("02"), claimed("03"))
    assert stand.slots.give_up(ours) == [], "something has begun since the last look"
    assert stand.slots.give_up(ours) == [], "for the first time"
    assert stand.slots.give_up(theirs) == [], "nobody else could begin it"
    assert stand.slots.give_up(frozenset()) == []
    assert [run.id for run in stand.slots.give_up(ours)] == ["02", "03"]
    assert stand.slots.demand() == 0


def test_of_what_waits_behind_runs_that_turned_slow_as_much_stays_as_begins_soon() -> None:
    """Something begins all the while, and the last of them would begin in a minute."""
    stand, ours = Stand(2), frozenset({"task"})
    begun = stand.begin(*(claimed(f"{n:02}") for n in range(40)))
    assert stand.slots.give_up(ours) == [], "for the first time"
    stand.slots.finish(begun)
    assert [run.id for run in stand.slots.take()] == ["02", "03"]
    assert [run.id for run in stand.slots.give_up(ours)] == [f"{n:02}" for n in range(8, 40)]
    stand.slots.finish([FakeAttempt(claimed("02")), FakeAttempt(claimed("03"))])
    assert [run.id for run in stand.slots.take()] == ["04", "05"]
    assert [stand.slots.give_up(ours) for _ in range(2)] == [[], []], "the others may begin soon"


def test_who_has_given_some_up_claims_less_ahead() -> None:
    """Else it claimed the same again, in place of others."""
    stand, ours = Stand(2), frozenset({"task"})
    ids = count()

    def claim() -> int:
        wanted = stand.slots.demand()
        stand.slots.offer([claimed(f"{next(ids):06}") for _ in range(wanted)])
        return wanted

    def end_all() -> None:
        while taken := stand.slots.take():
            stand.slots.finish([FakeAttempt(run) for run in taken])

    for _ in range(10):
        claim()
        end_all()
    assert claim() > 40
    stand.slots.take()  # and these turn out to be slow
    stand.slots.give_up(ours)
    stand.slots.give_up(ours)
    assert stand.slots.give_up(ours)
    stand.slots.finish([FakeAttempt(claimed(name)) for name in ("slow", "too")])
    end_all()
    assert stand.slots.demand() <= 4


def test_what_begins_soon_is_not_given_up() -> None:
    stand, ours = Stand(2), frozenset({"task"})
    stand.slots.offer([claimed(f"{n:02}") for n in range(40)])
    for _ in range(5):
        for _ in range(2):
            stand.slots.finish([FakeAttempt(run) for run in stand.slots.take()])
        assert stand.slots.give_up(ours) == []


def test_no_more_are_claimed_than_there_is_time_to_unload(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is to be unloaded holds no slot, and is in memory until the store has answered."""
    monkeypatch.setattr("fanwood.worker.slots.MOST_LEAVING", 5)
    stand = Stand(4)
    leaving = stand.begin(*(claimed(f"0{n}") for n in range(4)))
    for attempt in leaving:
        stand.slots.park(attempt)
    assert stand.slots.demand() == 4
    for attempt in leaving:
        stand.slots.leave(attempt, True)
    assert stand.slots.demand() == 1
    stand.slots.leave(leaving[0], False)
    stand.slots.finish(leaving[1:3])
    stand.slots.leave(leaving[1], True)  # too late
    assert stand.slots.demand() == 4
    changes = stand.changes
    stand.slots.leave(leaving[3], False)
    assert stand.changes == changes + 1  # there may be room
    assert stand.slots.demand() == 4


# --- who would be charged with a second death ------------------------------------------------------------------------


def test_what_was_charged_before_is_not_claimed_ahead() -> None:
    """Else a run that kills two workers makes suspects of a thousand others, which then execute one at a time."""
    stand = Stand(2)
    begun = stand.begin(*(claimed(f"0{n}", deaths=1) for n in range(5)), claimed("05"))
    assert [attempt.run.id for attempt in begun] == ["00", "01"]
    assert [run.id for run in stand.slots.spare()] == ["02", "03", "04"]
    assert [run.id for run in stand.slots.starting] == ["05"]
    stand.slots.finish(begun)
    assert [run.id for run in stand.slots.take()] == ["05"]
    assert stand.slots.demand() == 1  # the slot that is free, however many have ended


def test_much_is_claimed_ahead_again_some_time_after_the_last_of_these() -> None:
    stand, demands = Stand(1), list[int]()
    stand.slots.finish(stand.begin(claimed(deaths=1)))
    for _ in range(CAREFUL + 1):
        begun = stand.begin()
        assert stand.slots.spare() == []
        stand.slots.finish(begun)
        demands.append(stand.slots.demand())
    assert demands[: CAREFUL - 1] == [1] * (CAREFUL - 1)
    assert demands[-1] > 1


def test_suspects_wait_until_the_worker_is_idle() -> None:
    stand = Stand(2)
    stand.begin()
    assert stand.begin(claimed("01", deaths=2)) == []
    assert stand.slots.spare() == []


@pytest.mark.parametrize(("limit", "spared"), [(0, 0), (1, 0), (2, 1), (3, 1), (1000, 1)])
def test_nor_what_the_first_death_would_fail(limit: int, spared: int) -> None:
    slots = Slots(1, 1, lambda: None, limit)
    slots.offer([claimed("00"), claimed("01"), claimed("02", deaths=1)])
    slots.take()
    given = [run.id for run in slots.spare()]
    assert given == (["02"] if spared else ["01", "02"])
