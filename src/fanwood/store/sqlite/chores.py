"""What runs suffer outside the hot path on SQLite: lost workers, timers, cancellation. Each function is one bounded
piece of work, inside a transaction that the caller began."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.errors import RunNotFoundError
from fanwood.ids import id_text
from fanwood.model.commands import RELAPSE_WITHIN, RELAPSES, Failure
from fanwood.model.records import Around, OtherWorker
from fanwood.model.states import Cause, EndedBy, RunState
from fanwood.store.failures import ancestor_ended, encode_failure, expired, poisoned
from fanwood.store.sqlite.leaving import ALL, Ending, Gate, Leaving, Queueing, encoded
from fanwood.store.sqlite.moving import Moving
from fanwood.store.sqlite.urgency import Urgency
from fanwood.store.statements import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.model.commands import TaskInfo, WorkerInfo
    from fanwood.store.sqlite.driver import Database

_SQL = load("sqlite/chores.sql", "sql/reading.sql")

DUE, EXPIRED, HELD = 250, 100, 100
"""Runs per transaction: that are due, that were not begun in time, that a dead worker had."""
PROBE = 200
"""So many of a lost run's newest children are looked at to tell whether it was waiting; more only if that is not
enough."""
FURTHER = 5_000

_held = msgspec.json.Decoder(list[tuple[str, int, str, str, int, int, int, int | None]])
_state_of = msgspec.json.Decoder(tuple[int, int, str, str, int])
_further = msgspec.json.Decoder(tuple[int, str, int])
_due = msgspec.json.Decoder(list[tuple[str, int, int, int]])

_AT_ALL = 1 << 62


class Held(msgspec.Struct, array_like=True):
    """A run of a dead worker. `waited`: it was waiting for children, and not executing."""

    id: str
    attempt: int
    root_id: str
    task: str
    deaths: int
    waited: bool
    unsure: bool = False  # it has too many children to tell at a glance


class Chores:
    """One connection's chores."""

    def __init__(self, connection: Database, leaving: Leaving) -> None:
        self._execute = connection.execute
        self._changes = connection.changes
        self._leaving = leaving
        self._moving = Moving(connection, leaving)
        self._urgency = Urgency(connection, leaving)

    def _one(self, name: str, /, **bindings: Any) -> Any:
        return self._execute(_SQL[name], bindings).get

    # --- engines and leases ----------------------------------------------------------------------------------------

    def register(self, info: WorkerInfo, tasks: Sequence[TaskInfo], now: int) -> int:
        """See `Store.register`."""
        about = {"name": info.name, "host": info.host, "pid": info.pid, "slots": info.slots}
        about |= {"lease": info.lease, "own": bool(info.programs)}
        self._leaving.numbering.check()
        worker = int(self._one("enter_worker", **about, now=now))
        self._execute(_SQL["enter_lease"], {"worker": worker, "until": now + info.lease})
        self.publish(worker, info.tasks, tasks, now)
        return worker

    def publish(self, worker: int, serves: Sequence[str], tasks: Sequence[TaskInfo], now: int) -> None:
        """See `Store.publish`."""
        for name in serves:
            self._execute(_SQL["enter_worker_task"], {"task": name, "worker": worker})
        for task in tasks:
            self._execute(_SQL["publish_task"], {**msgspec.structs.asdict(task), "now": now})
        self._execute(_SQL["count_members"])

    def renew(self, worker: int, now: int) -> bool:
        """See `Store.renew`."""
        return self._one("renew_lease", worker=worker, now=now) is not None

    def look_around(self, me: int, host: str, now: int) -> Around:
        """See `Store.look_around`."""
        others = [
            OtherWorker(*row) for row in self._execute(_SQL["others"], {"me": me, "host": host, "now": now}).fetchall()
        ]
        progress = self._one("progress")
        return Around(others, self.next_due(), bool(progress), progress, self._one("members"))

    def contended(self, me: int, now: int) -> frozenset[str]:
        """See `Store.contended`."""
        return frozenset(row[0] for row in self._execute(_SQL["contended"], {"me": me, "now": now}).fetchall())

    def served(self, me: int, task: str, now: int) -> bool:
        """See `Store.served`."""
        return bool(self._one("serving", task=task, me=me, now=now))

    # --- lost workers ----------------------------------------------------------------------------------------------

    def take_lease(self, worker: int, now: int, *, if_lapsed: bool) -> bool:
        """From now on it is dead. False if it lives."""
        self._execute(_SQL["take_lease"], {"worker": worker, "before": now if if_lapsed else _AT_ALL})
        return not self._one("has_lease", worker=worker)

    def held(self, worker: int, now: int) -> list[Held]:
        """Some runs of a dead worker, and whether they were waiting; unsure of those with many children."""
        looks = {"probe": PROBE, "limit": HELD, "relapses": RELAPSES, "soon": RELAPSE_WITHIN}
        rows = _held.decode(self._one("held_page", worker=worker, now=now, **looks))
        return [
            Held(
                id_, attempt, root, task, deaths, bool(lives) and not relapsed,
                unsure=not lives and not relapsed and children == PROBE,
            )
            for id_, attempt, root, task, deaths, lives, children, relapsed in rows
        ]  # fmt: skip

    def has_living(self, parent: str, root: str) -> bool:
        """Whether any child lives: from the newest back, through all of them if need be."""
        place = {"root": bytes.fromhex(root), "parent": bytes.fromhex(parent)}
        before = b"\xff" * 16
        while True:
            lives, first, count = _further.decode(self._one("children_page", **place, before=before, limit=FURTHER))
            if lives or count < FURTHER:
                return bool(lives)
            before = bytes.fromhex(first)

    def release(self, held: list[Held], now: int, deaths_limit: int) -> int:
        """They go back to the queue; those charged too often fail. How many went back."""
        fatal = [run for run in held if not run.waited and run.deaths + 1 >= deaths_limit]
        rest = [run for run in held if run.waited or run.deaths + 1 < deaths_limit]
        refused: list[int] = []
        if rest:
            refused, _ = self._leaving.queue(now, [
                Queueing(run.id, run.attempt, RunState.RUNNING, Cause.LEASE_LOST, charge=int(not run.waited))
                for run in rest
            ])  # fmt: skip
        if fatal:
            self._poison(fatal, now)
        return len(rest) - len(refused)

    def _poison(self, fatal: list[Held], now: int) -> None:
        endings = [
            Ending(
                run.id, run.attempt, RunState.RUNNING, RunState.FAILED, None,
                encode_failure(poisoned(run.task, run.deaths + 1)), 0, EndedBy.POISON,
            )
            for run in fatal
        ]  # fmt: skip
        refused = set(self._leaving.end(0, now, endings))
        ended = [run for i, run in enumerate(fatal) if i not in refused]
        self._leaving.close(now, [_gate(run.id, run.attempt, "failed") for run in ended])

    def remove_worker(self, worker: int) -> None:
        """Take out a worker that holds no runs. One that could not hand them back loses its lease only: others take it
        for dead, and find them."""
        self._execute(_SQL["remove_worker_lease"], {"worker": worker})
        if self._one("holds_runs", worker=worker):
            return
        for what in ("tasks", "mail", "watches", "unheard"):
            self._execute(_SQL[f"remove_worker_{what}"], {"worker": worker})
        self._execute(_SQL["remove_worker"], {"worker": worker})
        self._execute(_SQL["count_members"])

    # --- timers ----------------------------------------------------------------------------------------------------

    def next_due(self) -> int | None:
        """When the next timer is due."""
        return self._one("next_due")

    def promote(self, now: int) -> None:
        """Into the queue with some of what is due; and some links are told of an end."""
        self._leaving.promote(now, _due.decode(self._one("due_page", now=now, limit=DUE)))
        if self._leaving.sharing is not None:
            self._leaving.sharing.tell_some(now)

    def has_expired(self, now: int) -> bool:
        """Whether anything was not begun in time."""
        return bool(self._one("has_expired", now=now))

    def expire(self, now: int) -> None:
        """Some of what was not begun in time fails."""
        rows = self._execute(_SQL["expired_page"], {"now": now, "limit": EXPIRED}).fetchall()
        late = self._moving.correct(now, [row[0].hex().upper() for row in rows])
        rows = [row for row in rows if row[0].hex().upper() not in late]  # they come again, if it is time
        endings: list[Ending] = []
        gates: list[Gate] = []
        for run_id, attempt, state, task, deadline, deadline_by, schedule_timeout, expires_at in rows:
            by_deadline = deadline is not None and deadline <= expires_at
            failure = expired(task, run_id, deadline_by if by_deadline else None, schedule_timeout)
            error = encode_failure(failure)
            id_ = run_id.hex().upper()
            endings.append(Ending(id_, attempt, state, RunState.FAILED, None, error, 0, EndedBy.EXPIRY))
            if attempt:
                gates.append(_gate(run_id.hex(), attempt, "timed out"))
        self._leaving.end(0, now, endings)
        if gates:
            self._leaving.close(now, gates)

    # --- what people ask for ---------------------------------------------------------------------------------------

    def about(self, run_id: bytes, url: str) -> tuple[RunState, int, bytes, bytes, int]:
        """A run's state, attempt, root, parent (empty for a root), and kind.

        Raises:
            RunNotFoundError: there is no such run.
        """
        found = self._one("about_run", id=run_id)
        if found is None:
            raise RunNotFoundError(missing(run_id, url))
        state, attempt, root, parent, kind = _state_of.decode(found)
        return RunState(state), attempt, bytes.fromhex(root), bytes.fromhex(parent), kind

    def cancel(self, run_id: bytes, state: RunState, attempt: int, reason: str, now: int) -> bool:
        """See `Store.cancel`."""
        id_ = run_id.hex().upper()
        if not state.is_terminal:
            error = encode_failure(Failure("cancelled", message=reason))
            self._leaving.end(0, now, [Ending(id_, attempt, state, RunState.CANCELLED, None, error, 0, EndedBy.CALL)])
        closed = self._leaving.close(now, [_gate(id_, attempt, f"was cancelled: {reason}")])
        if closed or state is RunState.RUNNING:  # which may be claimed and not begun itself
            self._execute(_SQL["tell_workers"], {"id": run_id, "now": now})
        return not state.is_terminal

    def cancel_children(self, parent: bytes, attempt: int, ids: Sequence[bytes], reason: str, now: int) -> int:
        """See `Store.cancel_children`."""
        asked = {"parent": parent, "attempt": attempt, "ids": encoded([id_.hex() for id_ in ids])}
        living = self._execute(_SQL["asked_children"], asked).fetchall()
        for run_id, state, current in living:
            self.cancel(run_id, RunState(state), current, reason, now)
        return len(living)

    def is_heard(self, run_id: bytes, now: int) -> bool:
        """See `Store.is_heard`."""
        return not self._one("is_unheard", id=run_id, now=now)

    def is_closed(self, run_id: bytes) -> bool:
        """Whether what is below it is to be swept."""
        return bool(self._one("is_gated", id=run_id))

    def replay(self, run_id: bytes, state: RunState, attempt: int, root: bytes, now: int) -> bool:
        """Queue an ended run again; False if something above it is closed.

        Raises:
            RunNotFoundError: its tree is being deleted.
        """
        if self._one("is_pruned", root=root):
            raise RunNotFoundError(f"Run {id_text(run_id)} is being deleted: its tree is older than runs are kept")
        id_ = run_id.hex().upper()
        if self._leaving.closed([id_]):
            return False
        self._urgency.set([id_])
        self._leaving.queue(now, [Queueing(id_, attempt, state, Cause.REPLAY)])
        return True

    def wake(self, run_id: bytes, state: RunState, attempt: int, now: int) -> bool:
        """See `Store.wake`."""
        id_ = run_id.hex().upper()
        waits = state is RunState.WAITING and not self._leaving.closed([id_])
        if waits:
            self._leaving.fire(now, [(id_, attempt, state)], EndedBy.CALL)
        return waits


def _gate(run_id: str, attempt: int, how: str) -> Gate:
    return Gate(run_id, ALL, attempt, ancestor_ended(bytes.fromhex(run_id), how))


def missing(run_id: bytes, url: str) -> str:
    """What is said of a run that isn't there."""
    return f"There is no run {id_text(run_id)} in {url}"
