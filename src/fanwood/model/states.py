"""The life of a run, as one table.

A run is born QUEUED (or, when the worker that spawns it has a free slot, RUNNING at once: the claim and the birth
are then one write). QUEUED means that it may be claimed now. A worker *claims* it: RUNNING, and its attempt number
rises by one. That number is the *fence*: whatever an attempt writes names it, and is refused when it is no longer the
current one. So a worker that froze and wakes up, or that lost its lease without noticing, can't change anything.

RUNNING does not mean that code is executing. A run that waits for its children stays RUNNING, under the lease of its
worker, and holds no slot.

WAITING means: not in the queue, under no worker, and something in the store moves it on. What that is stands in the row
(`Waits`): a time, for a retry that is not due yet, or a sleep; something that comes from outside; the ends of others,
for a parent whose code was unloaded (*suspended*); or that something above it, or itself, is resumed (*paused*).

What is paused is never begun. It may be born WAITING; it may be QUEUED, as what it waited for has come, and then the
claim that meets it moves it to WAITING. It is not looked for: pausing a tree writes one row, whatever its size.

What a run waits for, or has recorded, is a child of it, of a kind that no worker executes (`FIRST_WAIT`). A sleep is
born WAITING and ends when it is due, others end when what they wait for comes; a recorded step is born as it ended. A
parent that tries again and asks for one that had failed or been cancelled has it done anew, in place.

From RUNNING a run ends (COMPLETED, FAILED, CANCELLED), or goes back to QUEUED or WAITING: because it failed and has
retries left, because its worker was lost, or because its worker stopped and handed it back. The three differ in what
they charge. A failure uses up a retry and begins a new *trial*; a lost worker is charged as a death, if the run was
executing; handing back charges nothing. Suspending charges nothing either.

What must hold of a suspended run: the ends that it misses are to come. It is WAITING for so many (`missing`) of those
that it awaits, all of them unfinished, and each end, whatever its cause, lowers that in its own transaction; at nothing
it is queued. Waking too early is harmless, waking too late must be impossible.

What several calls of a tree share (`RunKind.SHARE`) is one run, a child of the root. Each call has a link to it, a part
of its own run that is WAITING only while what is shared lives, or its links are being told of its end. What has no link
any more that waits is cancelled.

A run can be made from another one (a *fork*). When it asks for what that had finished, a child of its own is born
COMPLETED, as a copy, whatever its kind.

The end is the end, but for an explicit retry or replay, and for one more thing: a parent that *tries again* (a new
trial) and asks for a child that had failed or been cancelled has it run again. A parent that merely *resumes* (after
a lost worker or a hand-back) finds what was recorded, failures too.

`TRANSITIONS` below is that, and nothing else. It is law: the numbers in the stores' SQL, their CHECK constraints and
their guards are held against it by tests.
"""

from __future__ import annotations

from enum import IntEnum


class RunState(IntEnum):
    """Where a run is in its life. Numbers from `FIRST_TERMINAL` on are ends; there is room below it."""

    QUEUED = 0
    RUNNING = 1
    WAITING = 2
    COMPLETED = 8
    FAILED = 9
    CANCELLED = 10

    def __str__(self) -> str:
        return self.name

    @classmethod
    def _missing_(cls, value: object) -> RunState | None:
        """A number that there is not (a newer program's, or somebody wrote it by hand) is read as what the one
        comparison says of it, so that who meets such a row goes on."""
        if not isinstance(value, int) or isinstance(value, bool):
            return None
        return cls.FAILED if value >= FIRST_TERMINAL else cls.WAITING

    @property
    def is_terminal(self) -> bool:
        """Whether the run has ended."""
        return self >= FIRST_TERMINAL


FIRST_TERMINAL = 8
"""The one comparison that tells what has ended: `state >= FIRST_TERMINAL`. (SQL says 8; a test knows all such
places.)"""


class Cause(IntEnum):
    """Why a run changes its state. Where a store's statement must know, it is told the number."""

    CLAIM = 1  # a worker takes it
    OUTCOME = 2  # its attempt ended, for good
    RETRY = 3  # its attempt failed and has retries left
    LEASE_LOST = 4  # its worker died or froze past its lease
    HAND_BACK = 5  # its worker stopped in good order, or does not have the version of its code
    CANCEL = 6  # a call, or a parent that ended
    EXPIRE = 7  # its schedule timeout or deadline ran out
    REPLAY = 8  # somebody asked for it again, or its parent's new trial did
    DUE = 9  # what it was waiting for has come
    FIRE = 10  # the same, of what is only that: it has no code
    RECORD = 11  # its parent did it again, or waits for it again
    SUSPEND = 12  # its code waits, and is unloaded
    PAUSE = 13  # a claim met it, and it is paused, or something above it is
    PATCH = 14  # somebody gives it an output
    HELP = 15  # a hedge of it completed


_Q, _R, _W, _C, _F, _X = RunState

TRANSITIONS: dict[tuple[RunState, Cause], frozenset[RunState]] = {
    (_Q, Cause.CLAIM): frozenset({_R}),
    (_Q, Cause.CANCEL): frozenset({_X}),
    (_Q, Cause.EXPIRE): frozenset({_F}),
    (_Q, Cause.PAUSE): frozenset({_W}),
    (_R, Cause.OUTCOME): frozenset({_C, _F, _X}),
    (_R, Cause.RETRY): frozenset({_Q, _W}),
    (_R, Cause.HAND_BACK): frozenset({_Q, _W}),  # (WAITING: for another worker, with the version of its code)
    (_R, Cause.LEASE_LOST): frozenset({_Q, _F}),
    (_R, Cause.CANCEL): frozenset({_X}),
    (_R, Cause.EXPIRE): frozenset({_F, _Q, _W}),
    (_R, Cause.SUSPEND): frozenset({_W}),
    (_Q, Cause.HELP): frozenset({_C}),
    (_R, Cause.HELP): frozenset({_C}),
    (_W, Cause.HELP): frozenset({_C}),
    (_W, Cause.DUE): frozenset({_Q}),
    (_W, Cause.FIRE): frozenset({_C, _F}),
    (_W, Cause.CANCEL): frozenset({_X}),
    (_W, Cause.EXPIRE): frozenset({_F}),
    (_C, Cause.REPLAY): frozenset({_Q}),
    (_F, Cause.REPLAY): frozenset({_Q}),
    (_X, Cause.REPLAY): frozenset({_Q}),
    (_F, Cause.RECORD): frozenset({_C, _F, _W}),
    (_X, Cause.RECORD): frozenset({_C, _W}),
    **{(state, Cause.PATCH): frozenset({_C}) for state in RunState},
}
"""From a state, for a cause, to which states. What isn't here can't happen. What would be queued below something that
is closed is CANCELLED instead (`Cause.CANCEL`)."""

UNFINISHED = tuple(state for state in RunState if not state.is_terminal)
TERMINAL = tuple(state for state in RunState if state.is_terminal)


class RunKind(IntEnum):
    """What a run is. Never renumbered. From `FIRST_WAIT` on there is no code to be claimed."""

    TASK = 0
    WORKFLOW = 1
    STEP = 2  # of a workflow
    BATCH = 3
    RECORDED = 10  # a step of a run's own, as it ended
    SLEEP = 11
    EVENT = 12
    PROMISE = 13
    MESSAGE = 14
    SHARE = 15  # a call's part in a run that several calls of its tree share


FIRST_WAIT = 10
"""Kinds from here on (recorded steps, sleeps, events, promises, messages, shares) have no code, and are never
claimed."""

BORN: dict[RunKind, frozenset[RunState]] = {
    **dict.fromkeys((RunKind.TASK, RunKind.WORKFLOW, RunKind.STEP, RunKind.BATCH), frozenset({_Q, _R, _W, _C})),
    # (WAITING: below something that is paused; or a hedge, until it is due. COMPLETED: copied into a fork.)
    RunKind.RECORDED: frozenset({_C, _F}),
    RunKind.SLEEP: frozenset({_W, _C}),  # COMPLETED: it was slept before it was recorded
    **dict.fromkeys((RunKind.EVENT, RunKind.PROMISE, RunKind.MESSAGE), frozenset({_W, _C})),  # (as above)
    RunKind.SHARE: frozenset({_W, _C, _F, _X}),  # as what is shared stands
}
"""In which states runs of a kind are born."""

WAIT_NAMES = {
    RunKind.RECORDED: "~step",
    RunKind.SLEEP: "~sleep",
    RunKind.EVENT: "~event",
    RunKind.PROMISE: "~promise",
    RunKind.MESSAGE: "~message",
    RunKind.SHARE: "~share",
}
"""What stands in the place of a task's name. (No task's name begins so.)"""


class Waits(IntEnum):
    """What a WAITING run waits for. Never renumbered."""

    CHILDREN = 1
    TIME = 2
    EVENT = 3
    PROMISE = 4
    MESSAGE = 5
    SHARE = 6  # the end of a run that is shared
    RESUME = 9  # that it is paused no more


def waits_named(number: int | None) -> str | None:
    """What a run waits for, in a word; a newer program may know others."""
    return next((waits.name.lower() for waits in Waits if waits == number), None)


WAITS_OF = {
    RunKind.SLEEP: Waits.TIME,
    RunKind.EVENT: Waits.EVENT,
    RunKind.PROMISE: Waits.PROMISE,
    RunKind.MESSAGE: Waits.MESSAGE,
    RunKind.SHARE: Waits.SHARE,
}
"""What a WAITING one of a kind that has no code waits for. (In SQL: the kind's number less 9.)"""


class Awaited(IntEnum):
    """What the end of a run means to a suspended one that waits for it."""

    ONE_OF = 1  # one of so many
    WAKES = 2  # it goes on
    ONE_OF_UNLESS_FAILED = 3  # one of so many; if it did not complete, it goes on


class EndedBy(IntEnum):
    """By whom or what a run ended; stored beside it, so that lists can tell without reading its error."""

    OUTCOME = 1  # its own code: returned, raised, ran out of its time
    CALL = 2  # somebody cancelled it
    ANCESTOR = 3  # something above it ended or was cancelled
    EXPIRY = 4  # it was not begun in time
    POISON = 5  # its workers died
    PATCH = 6  # somebody gave it its output by hand
    HEDGE = 7  # another run of the same: its hedge completed it, or its first has ended


class GateKind(IntEnum):
    """What a gate does to what is below its run."""

    CLOSED = 1  # nothing below starts, all of it ends
    PRUNED = 3  # the tree is being deleted: nothing of it can be asked for again


class OnParentEnd(IntEnum):
    """What becomes of an unfinished child when its parent ends."""

    DEFAULT = 0  # cancelled if the parent fails, times out or is cancelled; goes on if it completes
    CANCEL = 1  # cancelled however the parent ends
    CONTINUE = 2  # goes on however the parent ends
    SHARED = (
        3  # as DEFAULT, whichever attempt of the parent was the last when it was asked for: it is not the parent's own
    )


class Open(IntEnum):
    """How far a run is that calls share."""

    OVER = 0
    LIVING = 1
    TELLING = 2  # it has ended, and there are calls that were not told yet
