"""The one way in which runs of a SQLite file end, and the one in which they are queued.

Whatever the cause (an outcome, a retry, a hand-back, a lost lease, a call, a time that came, a sweep), runs leave their
state through `Leaving.end` or `Leaving.queue`, inside a transaction that the caller began. Here, and nowhere else,
stands what goes with it: the fence, mail, watches, the gate of what is below, and that nothing is queued below a closed
run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from fanwood.model.commands import SLEPT
from fanwood.model.matching import numbered_mark
from fanwood.model.states import FIRST_WAIT, Cause, EndedBy, RunState
from fanwood.store.sqlite.budgets import Budgets
from fanwood.store.sqlite.numbering import Numbering
from fanwood.store.sqlite.suspending import Suspending
from fanwood.store.statements import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fanwood.model.commands import Outcome, Record, Suspend
    from fanwood.store.sqlite.driver import Database

_SQL = load("sqlite/leaving.sql")

_json = msgspec.json.Encoder()
_indexes = msgspec.json.Decoder(list[int])
_ids = msgspec.json.Decoder(list[str])
_closed = msgspec.json.Decoder(list[tuple[str, list[str]]])

_COMPLETED = "%016d %s"
"""A row of `complete_runs`: busy, output. (Other ways of formatting take half as long again.)"""

KEPT_ATTEMPTS = 100
"""So many of a run's attempts, the last ones, are remembered."""

ALL, THOSE_THAT_END = 0, 1
"""`gate.which`: all children, but for those that were spawned to go on; or only those that end with their parent."""


class Ending(NamedTuple):
    """A run that ends. The order is that of `end_runs`."""

    id: str  # hex
    attempt: int
    before: int  # the state that it leaves
    state: int
    output: str | None
    error: str | None
    busy: int
    by: EndedBy


class Queueing(NamedTuple):
    """A run that is to be queued, or to wait for `delay` microseconds first. The order is that of `queue_runs`."""

    id: str  # hex
    attempt: int
    before: int
    cause: Cause
    delay: int = 0
    charge: int = 0  # LEASE_LOST: whether it was executing
    error: str | None = None
    busy: int = 0
    deadline: int | None = None  # REPLAY: its new one ...
    deadline_by: str = ""  # ... and whose that is


class Gate(NamedTuple):
    """What is below a run that has ended is closed. The order is that of `make_gates`."""

    run_id: str  # hex
    which: int
    attempt: int
    error: str
    unless: int = 0  # 1: unless it has few children, all of which have ended; 2: and had none themselves; 3: or failed


class Beside(Protocol):
    """What ends mean to others: to hedges (hedging.py), and ..."""

    known: bool | None  # whether there are any, as this transaction sees it; None: look

    def ended(self, now: int, ids: Sequence[str]) -> None:
        """These have ended (or not: that is looked at)."""
        ...


class Links(Beside, Protocol):
    """... to runs that are shared, and to the links to them (sharing.py)."""

    def replayed(self, ids: Sequence[str]) -> None:
        """These are queued again."""
        ...

    def tell_some(self, now: int) -> None:
        """Some links are told of an end that were not yet."""
        ...


class Leaving:
    """The ways out and in, on one connection."""

    def __init__(self, connection: Database) -> None:
        self._execute = connection.execute
        self._changes = connection.changes
        self.suspending = Suspending(connection)
        self.budgets = Budgets(connection)
        self.numbering = Numbering(connection)
        self.sharing: Links | None = None
        self.hedging: Beside | None = None
        self.woken = False  # somebody who was suspended was queued, or a link has ended
        self.has_closed = False  # something was closed by that nobody shares it any more
        self.is_telling = False  # links are left that are to be told of an end

    def _one(self, name: str, /, **bindings: Any) -> Any:
        return self._execute(_SQL[name], bindings).get

    # --- out -------------------------------------------------------------------------------------------------------

    def end(self, me: int, now: int, endings: Sequence[Ending], told: Iterable[str] | None = None) -> list[int]:
        """Runs end; the numbers of those that had left their state before.

        `told`: only these are told to who waits for them (their workers' parents and watchers, but for `me`); the
        others are known to be told by the engine itself.
        """
        rows = encoded(endings)
        self._execute(_SQL["end_runs"], {"rows": rows, "now": now})
        refused = self._refused("ended_now", rows, len(endings), now=now)
        self._tell(me, [e.id for e in endings], refused, told)
        held = [e.id for e in endings if e.before == RunState.RUNNING and e.by is not EndedBy.OUTCOME]
        self.tell_holders(held)
        self._wake(now, [e.id for e in endings])
        return refused

    def complete(self, me: int, now: int, outcomes: Sequence[Outcome], told: list[str] | None = None) -> list[int]:
        """As `end`, for attempts of one number that have completed: most ends are such."""
        of = {"ids": b"".join([o.run_id for o in outcomes]), "attempt": outcomes[0].attempt, "now": now}
        rows = encoded([_COMPLETED % (o.busy, o.output) for o in outcomes])
        self._execute(_SQL["complete_runs"], {"rows": rows, **of})
        refused = self._refused("completed_now", rows, len(outcomes), **of)
        if told is None or told:  # (no calls where there is nothing to do: it is for each end of a sequence)
            self._tell(me, [o.run_id.hex() for o in outcomes], refused, told)
        shared, hedged = self.sharing, self.hedging
        if (
            self.suspending.known is not False
            or self.budgets.known is not False
            or shared is None or shared.known is not False
            or hedged is None or hedged.known is not False
        ):  # fmt: skip
            self._wake(now, [o.run_id.hex() for o in outcomes])
        return refused

    def _wake(self, now: int, ids: Sequence[str]) -> None:
        """After ends: what is left of budgets is given back; links end with what they share; who was suspended, and
        misses nothing any more, is queued."""
        self.budgets.even_out(ids)
        for beside in (self.hedging, self.sharing):
            if beside is not None:
                beside.ended(now, ids)
        if awake := self.suspending.ended(ids):
            self.woken = True
            self.promote(now, awake)

    def suspend(self, suspends: Sequence[Suspend]) -> set[int]:
        """Runs whose code waits are unloaded; the numbers of those that go on, as what they wait for is there."""
        going_on = self.suspending.suspend(suspends, self.closed)
        self.budgets.even_out([suspend.run_id.hex() for suspend in suspends])
        return going_on

    def _tell(self, me: int, ids: list[str], refused: list[int], told: Iterable[str] | None) -> None:
        if told is not None:
            wanted = set(told)
            if not wanted:
                return
        else:
            wanted = set(ids)
        wanted.difference_update([ids[number] for number in refused])
        if wanted:
            text = encoded([id_ for id_ in ids if id_ in wanted])
            self._execute(_SQL["mail_ended"], {"ids": text, "me": me})
            self._execute(_SQL["forget_watches"], {"ids": text})

    def tell_holders(self, ids: Sequence[str]) -> None:
        """Something has happened to these runs, which somebody executes: tell him."""
        if ids:
            self._execute(_SQL["mail_holders"], {"ids": encoded(ids)})

    def has_watchers(self, me: int) -> bool:
        """Whether any engine but `me` watches any run."""
        return bool(self._one("has_watchers", me=me))

    # --- in --------------------------------------------------------------------------------------------------------

    def queue(self, now: int, queueings: Sequence[Queueing]) -> tuple[list[int], dict[str, str]]:
        """Runs are queued; the numbers of those that had left their state before, and which were cancelled instead, as
        something above them is closed, and with what error."""
        closed = self.closed([q.id for q in queueings])
        refused: list[int] = []
        if closed:
            endings = [_cancelled(q.id, q.attempt, q.before, q.busy, closed[q.id]) for q in queueings if q.id in closed]
            numbers = [i for i, q in enumerate(queueings) if q.id in closed]
            refused = [numbers[i] for i in self.end(0, now, endings)]
        rows = encoded([q for q in queueings if q.id not in closed] if closed else queueings)
        self.budgets.again([q.id for q in queueings if q.cause is Cause.REPLAY and q.id not in closed])
        self._keep_attempts(now, queueings, rows)
        self._execute(_SQL["queue_runs"], {"rows": rows, "now": now})
        self.budgets.even_out([q.id for q in queueings if q.id not in closed])
        numbers = [i for i, q in enumerate(queueings) if q.id not in closed]
        refused += [numbers[i] for i in self._refused("queued_now", rows, len(numbers))]
        if self.sharing is not None:
            self.sharing.replayed([q.id for q in queueings if q.cause is Cause.REPLAY and q.id not in closed])
        return refused, closed

    def _keep_attempts(self, now: int, queueings: Sequence[Queueing], rows: str) -> None:
        if any(q.cause is not Cause.HAND_BACK for q in queueings):
            self._execute(_SQL["keep_attempts"], {"rows": rows, "now": now})
        if any(q.attempt > KEPT_ATTEMPTS for q in queueings):
            self._execute(_SQL["forget_attempts"], {"rows": rows, "kept": KEPT_ATTEMPTS})

    def promote(self, now: int, due: Sequence[tuple[str, int, int, int]]) -> None:
        """As `queue`, for runs (id, attempt, state, kind) whose time has come. What has no code ends."""
        closed = self.end_closed(now, [run[:3] for run in due])
        left = [run for run in due if run[0] not in closed]
        self.fire(now, [run[:3] for run in left if run[3] >= FIRST_WAIT], EndedBy.OUTCOME)
        ids = [run[0] for run in left if run[3] < FIRST_WAIT]
        self._execute(_SQL["promote_runs"], {"ids": encoded(ids)})
        self.suspending.forget(ids)

    def fire(self, now: int, due: Sequence[tuple[str, int, int]], by: EndedBy) -> None:
        """What waits for a time, and has no code, ends."""
        if due:
            self.end(0, now, [Ending(*run, RunState.COMPLETED, SLEPT, None, 0, by) for run in due])

    def fulfil(
        self, now: int, runs: Sequence[tuple[str, int]], state: RunState, output: str | None, error: str | None
    ) -> None:
        """What these (id, attempt), which are WAITING, wait for has come, and was this."""
        how = (RunState.WAITING, state, output, error, 0, EndedBy.CALL)
        self.end(0, now, [Ending(*run, *how) for run in runs])

    def come(self, now: int, runs: Sequence[tuple[str, int, str]]) -> None:
        """As `fulfil`, for (id, attempt, output)."""
        before, completed, by = RunState.WAITING, RunState.COMPLETED, EndedBy.CALL
        self.end(0, now, [Ending(id_, n, before, completed, said, None, 0, by) for id_, n, said in runs])

    def record_again(self, now: int, records: Sequence[Record]) -> None:
        """What had failed or been cancelled, and has no code, is done again in place."""
        rows = encoded([record_row(record, self.next_number) for record in records])
        self._execute(_SQL["record_again"], {"rows": rows, "now": now})

    def next_number(self) -> int:
        """The next one of events and waits for them."""
        return self.numbering.next()

    def _refused(self, check: str, rows: str, count: int, **bindings: Any) -> list[int]:
        if self._changes() == count:
            return []
        kept = set(_indexes.decode(self._one(check, rows=rows, **bindings)))
        return [i for i in range(count) if i not in kept]

    # --- gates -----------------------------------------------------------------------------------------------------

    def close(self, now: int, gates: Sequence[Gate]) -> bool:
        """What is below these is closed; whether there is anything."""
        self._execute(_SQL["make_gates"], {"rows": encoded(gates), "now": now})
        return self._changes() > 0

    def cut(self, now: int, runs: Sequence[tuple[str, int, int]]) -> dict[str, str]:
        """These (id, attempt, state) are about to be asked for again. Those that are below something closed end first,
        as by a sweep; which. And as what is above closes them no more then, what is below them is closed by gates of
        their own."""
        cut = self.end_closed(now, [run for run in runs if run[2] < RunState.COMPLETED])
        ended = {id_: attempt for id_, attempt, state in runs if state >= RunState.COMPLETED or id_ in cut}
        closed = self.closed(list(ended), stay=True)
        gates = [Gate(id_, ALL, attempt, closed[id_]) for id_, attempt in ended.items() if id_ in closed]
        if gates and self.close(now, gates):
            self.has_closed = True
        return cut

    @property
    def gated(self) -> bool:
        """Whether anything is closed, anywhere."""
        return bool(self._one("is_gated"))

    def closed(self, ids: Sequence[str], *, stay: bool = False) -> dict[str, str]:
        """Which of these runs are below something that is closed, and what is said of them then. Ids in upper case."""
        if not ids or not self.gated:
            return {}
        found = _closed.decode(self._one("closed", ids=encoded(ids), stay=stay))
        return {id_: error for error, over in found for id_ in over}

    def end_closed(self, now: int, runs: Sequence[tuple[str, int, int]]) -> dict[str, str]:
        """Of these (id, attempt, state) end those that are below something that is closed; which, and with what error.

        Their parents are closed as well, or have ended: nobody but those who watch, and those who hold them, is told.
        """
        closed = self.closed([run[0] for run in runs])
        for error in dict.fromkeys(closed.values()):  # in an order that is the same in each process
            over = [run for run in runs if closed.get(run[0]) == error]
            rows = encoded([f"{id_}{attempt:010d}{state:d}" for id_, attempt, state in over])
            self._execute(_SQL["close_runs"], {"rows": rows, "error": error, "now": now})
        if closed:
            self.tell_holders([id_ for id_, _, state in runs if state == RunState.RUNNING and id_ in closed])
            if self.has_watchers(0):
                text = encoded(list(closed))
                self._execute(_SQL["mail_watchers"], {"ids": text})
                self._execute(_SQL["forget_watches"], {"ids": text})
            self._wake(now, list(closed))
        return closed

    def end_children(self, now: int, place: dict[str, Any], limit: int) -> int:
        """End some of what is queued at a place (root, task, priority, depth), if all that is said of it is one thing;
        how many. It is asked of the parents, which are fewer."""
        page = {**place, "limit": limit}
        closed = self.closed(_ids.decode(self._one("parents_of_level", **page)), stay=True)
        errors = set(closed.values())
        if len(errors) > 1:
            return 0
        below = {"parents": encoded(list(closed)), "error": errors.pop() if errors else None}
        self._execute(_SQL["close_children"], {**page, **below, "now": now})
        return self._changes()


def _cancelled(id_: str, attempt: int, before: int, busy: int, error: str) -> Ending:
    return Ending(id_, attempt, before, RunState.CANCELLED, None, error, busy, EndedBy.ANCESTOR)


def encoded(rows: Any) -> str:
    """Rows as the statements read them."""
    return _json.encode(rows).decode()


def record_row(record: Record, number: Callable[[], int]) -> tuple[Any, ...]:
    """A row of `insert_records`, and of `record_again`."""
    kind = record.kind
    return (
        record.id.hex(),
        record.identity.hex(),
        record.index,
        record.child_key,
        record.input,
        record.state,
        record.output,
        record.error,
        record.began,
        record.due_at,
        record.attempt,
        kind.parent_attempt,
        kind.deadline,
        (kind.deadline_by or b"").hex(),
        (kind.parent_id or b"").hex(),
        (kind.root_id or b"").hex(),
        kind.depth,
        kind.run_kind,
        kind.task,
        kind.priority,
        kind.on_parent_end,
        record.timeout,
        None if record.awaits is None else numbered_mark(record.awaits, number()).hex(),
        None if record.input_digest is None else record.input_digest.hex(),
        record.life,
        kind.metadata,
    )
