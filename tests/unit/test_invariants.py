"""Each invariant says nothing of what is sound, and speaks of the fault that it is there for."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.json import encode
from msgspec.structs import replace

from fanwood import RunState
from fanwood.model.budgets import Counted
from fanwood.model.invariants import STATE, Families, History, lateness, of_a_limit, of_a_row
from fanwood.model.matching import Wanted, inbox_mark, mark_of, numbered_mark
from fanwood.model.records import Above, Audited
from fanwood.model.states import EndedBy, OnParentEnd, Open, RunKind, Waits

ROOT = Audited(
    id=b"root", parent_id=None, root_id=b"root", depth=0, kind=0, task="t", identity=None, on_parent_end=0,
    state=RunState.QUEUED, waits=None, due_at=None, attempt=0, trial_start=0, retry_count=0, deaths=0, asked=0,
    worker_id=None, deadline=None, expires_at=None, created_at=1, started_at=None, finished_at=None, busy=0,
    ended_by=None, missing=None, awaits=0, missed=0, shares=None, open=None, mark=None, wanted=None,
    has_output=False, has_error=False, held=False, gated=False, moved=False, above=None,
)  # fmt: skip
RUNNING = replace(ROOT, state=RunState.RUNNING, attempt=1, started_at=2, worker_id=7, held=True)
WAITING = replace(
    ROOT, state=RunState.WAITING, attempt=1, started_at=2, trial_start=2, retry_count=1, waits=int(Waits.TIME), due_at=9
)
COMPLETED = replace(RUNNING, state=RunState.COMPLETED, finished_at=3, ended_by=int(EndedBy.OUTCOME), has_output=True)
FAILED = replace(COMPLETED, state=RunState.FAILED, has_output=False, has_error=True)
CANCELLED = replace(FAILED, state=RunState.CANCELLED, ended_by=int(EndedBy.CALL))
SUSPENDED = replace(WAITING, waits=int(Waits.CHILDREN), due_at=None, missing=2, awaits=3)
CHILD = replace(
    ROOT, id=b"child", parent_id=b"root", depth=1, identity=b"who", asked=1,
    above=Above(RunState.RUNNING, 1, b"root", 0, None),
)  # fmt: skip
SLEEP = replace(CHILD, kind=int(RunKind.SLEEP), state=RunState.WAITING, waits=int(Waits.TIME), due_at=9)
STEP = replace(
    CHILD, kind=int(RunKind.RECORDED), state=RunState.COMPLETED, attempt=1, started_at=2, finished_at=3,
    ended_by=int(EndedBy.OUTCOME), has_output=True,
)  # fmt: skip
LINK = replace(
    CHILD, kind=int(RunKind.SHARE), state=RunState.WAITING, waits=int(Waits.SHARE), shares=RunState.RUNNING,
    open=int(Open.LIVING),
)  # fmt: skip
WANTED = Wanted("k", match={"n": 1})
EVENT = replace(
    CHILD, kind=int(RunKind.EVENT), state=RunState.WAITING, waits=int(Waits.EVENT), wanted=encode(WANTED).decode(),
    mark=numbered_mark(mark_of(WANTED), 7),
)  # fmt: skip
MESSAGE = replace(
    EVENT, kind=int(RunKind.MESSAGE), waits=int(Waits.MESSAGE), mark=numbered_mark(inbox_mark(b"root", "k"), 7)
)
SHARED = replace(CHILD, on_parent_end=OnParentEnd.SHARED, open=int(Open.LIVING), identity=None)
LATER = replace(CHILD, deadline=50, expires_at=50, above=Above(RunState.RUNNING, 1, b"root", 0, 60))


def below(state: RunState, **about: Any) -> Audited:
    """A child that lives, of a parent that has ended."""
    return replace(CHILD, above=Above(state, 1, b"root", 0, None), **about)


SOUND = [
    ROOT, RUNNING, WAITING, SUSPENDED, COMPLETED, FAILED, CANCELLED, CHILD, LATER, SLEEP, STEP, LINK, SHARED,
    EVENT, MESSAGE,
    replace(LINK, shares=RunState.FAILED, open=int(Open.TELLING)),
    below(RunState.COMPLETED, on_parent_end=OnParentEnd.SHARED, asked=0, open=int(Open.LIVING)),
    replace(LATER, deadline=70, expires_at=70, on_parent_end=OnParentEnd.CONTINUE),  # its group's
    below(RunState.COMPLETED),
    below(RunState.FAILED, on_parent_end=OnParentEnd.CONTINUE),
    below(RunState.FAILED, gated=True),
    replace(CHILD, asked=3, above=Above(RunState.RUNNING, 3, b"root", 0, None, 3)),  # it has started over
    replace(CHILD, on_parent_end=OnParentEnd.CONTINUE, above=Above(RunState.RUNNING, 3, b"root", 0, None, 3)),
    replace(CHILD, gated=True, above=Above(RunState.RUNNING, 3, b"root", 0, None, 3)),
    below(RunState.CANCELLED, trial_start=1),  # it was replayed
]  # fmt: skip

PLANTED: dict[str, list[Audited]] = {
    "shape": [
        replace(ROOT, finished_at=3), replace(COMPLETED, finished_at=None), replace(FAILED, ended_by=None),
        replace(COMPLETED, has_output=False), replace(FAILED, has_output=True), replace(CANCELLED, has_error=False),
    ],
    "counts": [
        replace(RUNNING, trial_start=3), replace(ROOT, retry_count=1), replace(RUNNING, deaths=2),
        replace(RUNNING, started_at=None), replace(ROOT, started_at=1),
    ],
    "holder": [replace(RUNNING, held=False)],
    "reason": [
        replace(WAITING, waits=None), replace(WAITING, waits=99), replace(WAITING, due_at=None),
        replace(ROOT, due_at=5),
    ],
    "waking": [
        replace(SUSPENDED, missing=None), replace(SUSPENDED, missing=0), replace(SUSPENDED, awaits=1),
        replace(SUSPENDED, missed=1),
    ],
    "sharing": [
        replace(LINK, shares=RunState.COMPLETED), replace(LINK, open=0), replace(LINK, shares=None),
        replace(SHARED, open=0),
    ],
    "found": [
        replace(EVENT, mark=None), replace(EVENT, mark=MESSAGE.mark), replace(EVENT, wanted="{"),
        replace(EVENT, kind=99), replace(EVENT, kind=0), replace(EVENT, kind=int(RunKind.PROMISE)),
        replace(MESSAGE, mark=EVENT.mark), replace(MESSAGE, wanted='{"key":"other"}'),
        replace(SLEEP, kind=int(RunKind.PROMISE)),
    ],
    "code": [
        replace(SLEEP, state=RunState.QUEUED, waits=None, due_at=None), replace(RUNNING, kind=int(RunKind.RECORDED)),
        replace(WAITING, kind=int(RunKind.SLEEP)),
    ],
    "tree": [
        replace(ROOT, depth=1), replace(ROOT, root_id=b"other"), replace(CHILD, above=None), replace(CHILD, depth=2),
        replace(CHILD, root_id=b"other"),
    ],
    "asked": [replace(CHILD, asked=2)],
    "closing": [
        below(RunState.FAILED), below(RunState.CANCELLED), below(RunState.COMPLETED, on_parent_end=OnParentEnd.CANCEL),
        replace(below(RunState.COMPLETED), asked=0),
    ],
    "life": [
        replace(CHILD, asked=2, above=Above(RunState.RUNNING, 3, b"root", 0, None, 3)),
        replace(SLEEP, trial_start=1, above=Above(RunState.QUEUED, 2, b"root", 0, None, 3)),
    ],
    "deadline": [
        replace(LATER, deadline=70), replace(LATER, expires_at=None), replace(LATER, expires_at=51),
    ],
}  # fmt: skip
"""By the invariant that speaks, and no other."""


@pytest.mark.parametrize("row", SOUND)
def test_what_is_sound(row: Audited) -> None:
    assert list(of_a_row(row)) == []


@pytest.mark.parametrize("name", STATE)
def test_what_is_wrong_of_a_row(name: str) -> None:
    for row in PLANTED[name]:
        assert [rule for rule, judge in STATE.items() if judge(row) is not None] == [name]
        assert len(list(of_a_row(row))) == 1


LIMIT = Counted(b"root", "usd", 10, 4, 3, 4, 3, 0, closed=False)


@pytest.mark.parametrize(
    "about", [{"used": 5}, {"held": 4}, {"left_over": 1}, {"used": 8, "used_of": 8}, {"amount": 6}], ids=str
)
def test_what_is_wrong_of_a_limit(about: dict[str, int]) -> None:
    assert list(of_a_limit(LIMIT)) == list(of_a_limit(replace(LIMIT, closed=True, amount=0))) == []
    assert len(list(of_a_limit(replace(LIMIT, **about)))) == 1


def test_deadlines_that_moved_are_not_judged() -> None:
    assert list(of_a_row(replace(LATER, deadline=70, moved=True))) == []


def test_two_children_of_one_identity() -> None:
    families = Families()
    other = replace(CHILD, id=b"other")
    assert [list(families.saw(row)) for row in (CHILD, replace(other, parent_id=b"another"))] == [[], []]
    families = Families()
    assert [len(list(families.saw(row))) for row in (ROOT, CHILD, other)] == [0, 0, 1]


def test_what_is_late() -> None:
    assert len(list(lateness(WAITING, now=100, bound=90))) == 1
    assert len(list(lateness(LATER, now=100, bound=40))) == 1
    assert not [*lateness(WAITING, now=100, bound=91), *lateness(replace(WAITING, state=RunState.RUNNING), now=1000)]


# --- history ----------------------------------------------------------------------------------------------------------

AGAIN = replace(
    CANCELLED, state=RunState.QUEUED, finished_at=None, ended_by=None, has_error=False, trial_start=2, retry_count=0
)


def told(*rows: Audited, dense: bool = False) -> int:
    """How many findings."""
    history = History(dense=dense)
    return len([found for row in rows for found in history.saw(row)])


@pytest.mark.parametrize("dense", [False, True])
def test_lives_that_are_sound(dense: bool) -> None:
    second = replace(RUNNING, attempt=2, worker_id=8, trial_start=2, retry_count=1)
    assert told(ROOT, RUNNING, WAITING, replace(WAITING, state=RunState.QUEUED, waits=None), second, dense=dense) == 0
    assert told(ROOT, RUNNING, CANCELLED, AGAIN, replace(AGAIN, state=RunState.CANCELLED), dense=dense) == 0
    assert told(RUNNING, COMPLETED, COMPLETED, dense=dense) == 0


LIVES: dict[str, tuple[Audited, ...]] = {
    "an end that changes": (FAILED, replace(FAILED, finished_at=4)),
    "an end that becomes another": (CANCELLED, replace(COMPLETED, finished_at=3)),
    "a result that is recorded twice": (COMPLETED, replace(COMPLETED, busy=9)),
    "what had ended is queued, and nobody asked": (CANCELLED, replace(AGAIN, trial_start=0)),
    "attempts fall": (replace(RUNNING, attempt=2), RUNNING),
    "a trial that falls": (replace(RUNNING, trial_start=2), RUNNING),
    "two holders of an attempt": (RUNNING, replace(RUNNING, worker_id=8)),
    "another task": (ROOT, replace(ROOT, task="another")),
    "another parent": (CHILD, replace(CHILD, parent_id=b"other")),
    "the same child": (CHILD, replace(CHILD, id=b"other")),
}
LIVES["a step that is done again in the same trial"] = (
    replace(STEP, trial_start=2),
    replace(STEP, trial_start=2, finished_at=4),
)
DENSELY: dict[str, tuple[Audited, ...]] = {
    "a retry in the same trial": (RUNNING, replace(WAITING, retry_count=1, trial_start=0)),
    "from nowhere to an end": (ROOT, COMPLETED),
    "two attempts at once": (ROOT, replace(RUNNING, attempt=2)),
    "claimed, and no attempt": (ROOT, replace(RUNNING, attempt=0)),
    "an attempt that nobody claimed": (ROOT, replace(ROOT, attempt=1)),
    "waiting, and never running": (ROOT, WAITING),
}


@pytest.mark.parametrize("life", [*LIVES, *DENSELY])
def test_what_must_not_become_of_a_run(life: str) -> None:
    rows = {**LIVES, **DENSELY}[life]
    assert told(*rows, dense=life in DENSELY) > 0
    assert told(rows[0], dense=True) == 0


def test_attempts_begin_once_and_in_order() -> None:
    def begun(*attempts: int) -> int:
        history = History()
        return len([found for attempt in attempts for found in history.began(b"run", attempt, "somebody")])

    assert (begun(1, 2, 5), begun(1, 1), begun(2, 1), begun(1, 2, 1, 3)) == (0, 1, 1, 1)


def test_what_is_deleted_had_ended() -> None:
    def gone(row: Audited) -> list[str]:
        history = History()
        return [*history.saw(row), *history.gone(row.id), *history.gone(b"nobody")]

    assert (len(gone(RUNNING)), gone(COMPLETED)) == (1, [])


def test_spawned_is_unfinished_and_ended() -> None:
    history = History()
    for row in (ROOT, CHILD, replace(CHILD, id=b"other", identity=b"other")):
        assert list(history.saw(row)) == []
    balance = [len(list(history.balance(parent, count))) for parent, count in ((None, 1), (b"root", 2), (b"root", 1))]
    assert balance == [0, 0, 1]
    list(history.gone(ROOT.id))
    assert list(history.balance(None, 0)) == []


def test_each_invariant_has_a_fault() -> None:
    assert set(PLANTED) == set(STATE)
