"""What always holds of runs: of one row and those it stands beside (`STATE`, `Families`), and of what one saw of a run
before (`History`).

The simulated worlds, the tests with real processes, and `fanwood doctor` judge by this one module. It knows no store:
it is given rows as `Store.audit` reads them, one after another, and remembers no more of them than it must.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanwood.model.budgets import SECONDS
from fanwood.model.matching import is_found
from fanwood.model.states import (
    FIRST_WAIT,
    TRANSITIONS,
    EndedBy,
    OnParentEnd,
    Open,
    RunKind,
    RunState,
    Waits,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fanwood.model.budgets import Counted
    from fanwood.model.records import Audited

LATE = 60_000_000
"""Microseconds after its time when something should have happened to a run, whatever the load."""
DENSE = {(before, after) for (before, _), targets in TRANSITIONS.items() for after in targets}
"""From which state to which, in one change."""


_WAITS_OF: dict[int, int] = {
    RunKind.SLEEP: Waits.TIME,
    RunKind.EVENT: Waits.EVENT,
    RunKind.PROMISE: Waits.PROMISE,
    RunKind.MESSAGE: Waits.MESSAGE,
    RunKind.SHARE: Waits.SHARE,
}
_OUTSIDE = {int(waits) for waits in _WAITS_OF.values()} - {int(Waits.TIME)}


def short(row: Audited) -> str:
    """A run as findings name it."""
    return f"{row.task} {row.id.hex()}"


# --- of a row ---------------------------------------------------------------------------------------------------------


def _has_its_shape(row: Audited) -> str | None:
    """What belongs to an end is there if it has ended, and at no other time."""
    ended = row.state.is_terminal
    if (row.finished_at is not None) != ended or (row.ended_by is not None) != ended:
        return f"has finished_at {row.finished_at} and ended_by {row.ended_by}"
    if row.has_output != (row.state is RunState.COMPLETED):
        return "has an output" if row.has_output else "has no output"
    if not row.has_error and row.state in (RunState.FAILED, RunState.CANCELLED):
        return "has no error that says why"
    return None


def _has_counted(row: Audited) -> str | None:
    """No count is greater than that of its attempts, and its code was begun if there was one."""
    if not 0 <= row.trial_start <= row.attempt + 1 or not 0 <= row.retry_count <= row.attempt:
        return f"is at attempt {row.attempt}, with {row.retry_count} retries, in a trial from attempt {row.trial_start}"
    if not 0 <= row.deaths <= row.attempt:
        return f"is at attempt {row.attempt}, and {row.deaths} workers died of it"
    if (row.attempt > 0) != (row.started_at is not None):
        return f"is at attempt {row.attempt}, and began at {row.started_at}"
    return None


def _has_a_holder(row: Audited) -> str | None:
    """An attempt that is under way is some worker's, who is there."""
    if row.state is RunState.RUNNING and not (row.attempt and row.held):
        return f"is at attempt {row.attempt} under worker {row.worker_id}, which is not there"
    return None


def _has_a_reason(row: Audited) -> str | None:
    """What waits says for what; that is something which comes."""
    if row.state is not RunState.WAITING:
        return None if row.waits is None and row.due_at is None else f"waits ({row.waits}) until {row.due_at}"
    known = row.waits in set(Waits)
    if not known or (row.waits == Waits.TIME and row.due_at is None):
        return f"waits ({row.waits}) until {row.due_at}"
    return None


def _can_wake(row: Audited) -> str | None:
    """What is suspended misses no more ends than there are to come, and none that has come: else it wakes too late, or
    never."""
    if row.state is not RunState.WAITING or row.waits != Waits.CHILDREN:
        return None
    if row.missing is None or row.missed or not 0 < row.missing <= row.awaits:
        return f"is suspended for {row.missing} ends: {row.awaits} are to come, and {row.missed} were not counted"
    return None


def _is_found(row: Audited) -> str | None:
    """What waits is of the kind that what it waits for looks for, and is found by it."""
    if row.state is not RunState.WAITING or (row.kind < FIRST_WAIT and row.waits not in _OUTSIDE):
        return None
    if row.waits in set(Waits) and _WAITS_OF.get(row.kind) != row.waits:
        return f"is of kind {row.kind}, and waits ({row.waits}): nothing may ever end it"
    if row.kind in (RunKind.EVENT, RunKind.MESSAGE) and not is_found(row.kind, row.parent_id, row.mark, row.wanted):
        return "waits, and is not found by what it waits for: its row was spoilt, and nothing may ever end it"
    return None


def _shares(row: Audited) -> str | None:
    """A link waits only while what it shares lives, or is being told of; and that is known to live for as long."""
    if row.kind == RunKind.SHARE:
        lives = row.shares is not None and not RunState(row.shares).is_terminal
        told = row.open == (Open.LIVING if lives else Open.TELLING)
        if row.state is RunState.WAITING and (row.shares is None or not told):
            return f"is a link to what is {row.shares} (open: {row.open})"
    elif row.on_parent_end == OnParentEnd.SHARED and (row.open == Open.LIVING) is row.state.is_terminal:
        return f"is shared, and open: {row.open}"
    return None


def _has_code(row: Audited) -> str | None:
    """What has none is never queued or executed, and is a part of a parent."""
    if row.kind >= FIRST_WAIT and (row.parent_id is None or row.state in (RunState.QUEUED, RunState.RUNNING)):
        return f"has no code, being of kind {row.kind}, and is a part of {row.parent_id!r}"
    return None


def _is_in_its_tree(row: Audited) -> str | None:
    """Its parent is there, and of the same tree, one step up; a root is its own."""
    if row.parent_id is None:
        return None if row.root_id == row.id and row.depth == 0 else "is a root, and below another one"
    above = row.above
    if above is None:
        return f"has a parent that is not there: {row.parent_id.hex()}"
    if above.root_id != row.root_id or above.depth + 1 != row.depth:
        return (
            f"is in the tree of {row.root_id.hex()} at depth {row.depth}, below {above.depth} of {above.root_id.hex()}"
        )
    return None


def _was_asked_for(row: Audited) -> str | None:
    """By an attempt of its parent that there was."""
    if row.above is not None and row.asked > row.above.attempt:
        return f"was asked for by attempt {row.asked} of its parent, which is at {row.above.attempt}"
    return None


def _ends_with_its_parent(row: Audited) -> str | None:
    """Nothing lives below what has ended, but what may, what was replayed by itself, and what is being ended."""
    above = row.above
    if row.state.is_terminal or above is None or row.gated or not above.state.is_terminal:
        return None
    policy = OnParentEnd(row.on_parent_end)
    if policy is OnParentEnd.CONTINUE or (row.trial_start > 0 and row.kind < FIRST_WAIT):  # it may have been replayed
        return None
    dropped = row.asked < above.attempt and policy is not OnParentEnd.SHARED
    if above.state is RunState.COMPLETED and policy is not OnParentEnd.CANCEL and not dropped:
        return None
    return f"lives, and nobody ends it; its parent is {above.state.name}"


def _is_of_this_life(row: Audited) -> str | None:
    """What was asked for before a run started over lives on only if it may, or was replayed by itself."""
    above = row.above
    if row.state.is_terminal or above is None or row.gated or above.state.is_terminal or row.asked >= above.since:
        return None
    if row.on_parent_end in (OnParentEnd.CONTINUE, OnParentEnd.SHARED) or (row.trial_start and row.kind < FIRST_WAIT):
        return None
    return f"lives, and nobody ends it; its parent has started over since, with attempt {above.since}"


def _has_its_deadline(row: Audited) -> str | None:
    """Not later than its parent's, if it has it from there or from above; and it is not queued beyond it."""
    if row.state.is_terminal or row.deadline is None or row.moved or row.gated:
        return None
    above = row.above
    current = above is not None and above.state is RunState.RUNNING and row.asked == above.attempt
    inherits = current and row.on_parent_end != OnParentEnd.CONTINUE  # else it has one of its group, at most
    limit = above.deadline if above is not None and inherits else None
    if limit is not None and row.deadline > limit:
        return f"has the deadline {row.deadline}, and its parent {limit}"
    if row.state is not RunState.RUNNING and (row.expires_at is None or row.expires_at > row.deadline):
        return f"has the deadline {row.deadline}, and is failed at {row.expires_at}"
    return None


STATE: dict[str, Callable[[Audited], str | None]] = {
    "shape": _has_its_shape,
    "counts": _has_counted,
    "holder": _has_a_holder,
    "reason": _has_a_reason,
    "waking": _can_wake,
    "found": _is_found,
    "sharing": _shares,
    "code": _has_code,
    "tree": _is_in_its_tree,
    "asked": _was_asked_for,
    "closing": _ends_with_its_parent,
    "life": _is_of_this_life,
    "deadline": _has_its_deadline,
}
"""What is wrong of a row, by itself; None: nothing. At any time between two transactions."""


def of_a_row(row: Audited) -> Iterator[str]:
    """All that is wrong of it."""
    for rule in STATE.values():
        if (said := rule(row)) is not None:
            yield f"{short(row)} is {row.state.name}, and {said}"


def of_a_limit(row: Counted) -> Iterator[str]:
    """What is wrong of a limit of a budget, counted once more."""
    name = f"the budget of {row.run_id.hex()}, {row.unit.removeprefix('~')}"
    if row.used != row.used_of:
        yield f"{name}: {row.used} are used, and all that was charged is {row.used_of}"
    if row.held != row.held_of:
        yield f"{name}: {row.held} are held, and all that is reserved or given away is {row.held_of}"
    if row.left_over:
        yield f"{name}: of what is held {row.left_over} reservations are of attempts that are over"
    if not row.closed and row.unit != SECONDS and row.used + row.held > row.amount:
        yield f"{name}: {row.used} are used and {row.held} held of {row.amount}"


def lateness(row: Audited, now: int, bound: int = LATE) -> Iterator[str]:
    """Timers that are late, while there is somebody who looks after them."""
    times = (("due", row.due_at), ("to be failed", row.expires_at))
    for what, when in () if row.state in (RunState.RUNNING, *_ENDS) else times:
        if when is not None and when < now - bound:
            yield f"{short(row)} is {row.state.name}, and was {what} {(now - when) / 1e6:.0f} s ago"


_ENDS = tuple(state for state in RunState if state.is_terminal)


class Families:
    """One child per parent and identity: told of rows family after family, remembers one family."""

    def __init__(self) -> None:
        self._parent: bytes | None = None
        self._known: set[bytes] = set()

    def saw(self, row: Audited) -> Iterator[str]:
        """The next row."""
        if row.parent_id != self._parent:
            self._parent, self._known = row.parent_id, set()
        if row.parent_id is not None and row.identity is not None:
            if row.identity in self._known:
                yield f"{short(row)} is the same child as another one of {row.parent_id.hex()}"
            self._known.add(row.identity)


# --- of what was before -----------------------------------------------------------------------------------------------

_LASTING = ("parent_id", "root_id", "depth", "kind", "task", "identity", "created_at")
_RECORDED = ("state", "attempt", "finished_at", "ended_by", "busy", "has_output", "has_error")
"""Of a run that has ended nothing of this changes, unless it is replayed."""


class History:
    """What may become of runs between two looks. `dense`: it is told of each change."""

    def __init__(self, *, dense: bool = False) -> None:
        self._dense = dense
        self.rows: dict[bytes, Audited] = {}
        self.spawned: dict[bytes | None, int] = {}
        self._children: dict[tuple[bytes, bytes], bytes] = {}
        self._holders: dict[tuple[bytes, int], int | None] = {}
        self._begun: dict[bytes, tuple[int, str]] = {}

    def saw(self, row: Audited) -> Iterator[str]:
        """A run is like this now."""
        before = self.rows.get(row.id)
        self.rows[row.id] = row
        if before is None:
            yield from self._born(row)
        else:
            yield from (f"{short(row)} {said}" for said in self._became(before, row))
        if row.state is RunState.RUNNING:
            holder = self._holders.setdefault((row.id, row.attempt), row.worker_id)
            if holder != row.worker_id:
                yield f"{short(row)} is under worker {row.worker_id} at attempt {row.attempt}, which was {holder}'s"

    def _born(self, row: Audited) -> Iterator[str]:
        self.spawned[row.parent_id] = self.spawned.get(row.parent_id, 0) + 1
        if row.parent_id is not None and row.identity is not None:
            other = self._children.setdefault((row.parent_id, row.identity), row.id)
            if other != row.id:
                yield f"{short(row)} is the same child as {other.hex()}, of one parent"

    def _became(self, before: Audited, row: Audited) -> Iterator[str]:
        yield from _changed(_LASTING, before, row)
        if row.attempt < before.attempt or row.trial_start < before.trial_start:
            yield f"went back from attempt {before.attempt} to {row.attempt}"
        again = row.asked > before.asked if row.kind >= FIRST_WAIT else row.trial_start > before.attempt
        if before.state.is_terminal and not again and row.ended_by != EndedBy.PATCH:
            yield from (f"had ended, and was changed: it {said}" for said in _changed(_RECORDED, before, row))
        if self._dense:
            if row.state is not before.state and (before.state, row.state) not in DENSE:
                yield f"went from {before.state.name} to {row.state.name}"
            claimed = row.state is RunState.RUNNING and before.state is not RunState.RUNNING
            if row.attempt != before.attempt + claimed:
                yield f"went from attempt {before.attempt} to {row.attempt}"
            if row.retry_count > before.retry_count and row.trial_start != before.attempt + 1:
                yield f"is tried again after attempt {before.attempt}, in a trial from attempt {row.trial_start}"

    def began(self, run: bytes, attempt: int, by: str) -> Iterator[str]:
        """Code of an attempt begins, says who executes it."""
        last, who = self._begun.get(run, (0, ""))
        if attempt <= last:
            yield f"attempt {attempt} of {run.hex()} begins at {by}, after attempt {last} did at {who}"
        self._begun[run] = max((last, who), (attempt, by))

    def holder_of(self, run: bytes) -> str:
        """Who has begun the last attempt that was begun; empty: nobody."""
        return self._begun.get(run, (0, ""))[1]

    def gone(self, run: bytes) -> Iterator[str]:
        """A run was deleted."""
        row = self.rows.pop(run, None)
        if row is not None:
            self.spawned[row.parent_id] -= 1
            if not row.state.is_terminal:
                yield f"{short(row)} is {row.state.name}, and was deleted"

    def balance(self, parent: bytes | None, counted: int) -> Iterator[str]:
        """So many are there of those below a run (or of roots), unfinished and ended together."""
        spawned = self.spawned.get(parent, 0)
        if spawned != counted:
            yield f"{parent.hex() if parent else 'roots'}: {spawned} were spawned, and {counted} are there"


def _changed(names: tuple[str, ...], before: Any, row: Any) -> Iterator[str]:
    for name in names:
        one, other = getattr(before, name), getattr(row, name)
        if one != other:
            yield f"had {name} {one!r}, and has {other!r}"
