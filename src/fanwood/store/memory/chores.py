"""What runs suffer outside the hot path: lost workers, timers, cancellation."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from fanwood.model.commands import RELAPSE_WITHIN, RELAPSES, Failure
from fanwood.model.records import Around, OtherWorker
from fanwood.model.states import FIRST_WAIT, Cause, EndedBy, GateKind, RunState
from fanwood.store.failures import ancestor_ended, encode_failure, expired, poisoned
from fanwood.store.memory.leaving import ALL, Ending, Leaving, Queueing
from fanwood.store.memory.tables import LAST, Run, Tables, Worker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.model.commands import TaskInfo, WorkerInfo
    from fanwood.store.memory.moving import Moving, Sweeping
    from fanwood.store.memory.sharing import Sharing

DUE, EXPIRED, HELD = 250, 100, 100
"""Runs per transaction: that are due, that were not begun in time, that a dead worker had."""


class Chores:
    """Of one memory."""

    def __init__(self, tables: Tables, leaving: Leaving, moving: Moving, sweeping: Sweeping, sharing: Sharing) -> None:
        self._tables = tables
        self._leaving = leaving
        self._moving = moving
        self._sweeping = sweeping
        self._sharing = sharing

    # --- engines and leases ----------------------------------------------------------------------------------------

    def register(self, info: WorkerInfo, tasks: Sequence[TaskInfo], now: int) -> int:
        """See `Store.register`."""
        self._tables.last_worker += 1
        me = self._tables.last_worker
        self._tables.workers[me] = Worker(me, info, now, now + info.lease, {})
        self.publish(me, info.tasks, tasks, now)
        return me

    def publish(self, me: int, serves: Sequence[str], tasks: Sequence[TaskInfo], now: int) -> None:
        """See `Store.publish`."""
        worker = self._tables.workers.get(me)
        if worker is not None:
            worker.serves.update(dict.fromkeys(serves))
        for task in tasks:
            self._tables.tasks[task.name] = task
            self._tables.updated[task.name] = now
        self._tables.members += 1

    def renew(self, me: int, now: int) -> bool:
        """See `Store.renew`."""
        worker = self._tables.workers.get(me)
        if worker is None or worker.lease is None:
            return False
        worker.lease = now + worker.info.lease
        return True

    def look_around(self, me: int, host: str, now: int) -> Around:
        """See `Store.look_around`. Those are seen that can be judged: by their processes on this host, and by their
        leases, if these have lapsed or were taken away."""
        others = [
            OtherWorker(worker.id, worker.info.name, worker.info.host, worker.info.pid, worker.lease or 0)
            for worker in self._tables.workers.values()
            if worker.id != me and (worker.info.host == host or not _lives(worker, now))
        ]
        gate, moved = self._sweeping.oldest(), self._moving.oldest
        lead = None if gate is None else self._tables.gates.get(gate.lead or gate.run_id)
        progress = [] if gate is None else [gate.run_id.hex(), "" if lead is None else lead.place.hex()]
        progress += [] if moved is None else [moved.root_id.hex(), moved.place.hex()]
        resumed = [pause for pause in self._tables.pauses.values() if pause.resumed_at is not None]
        progress += [f"{pause.run_id.hex()}{(pause.place or b'').hex()}" for pause in resumed]
        urged = [each for each in self._tables.urgent.values() if each.place is not None]
        progress += [f"{each.run_id.hex()}{(each.place or b'').hex()}" for each in urged]
        return Around(others, self.next_due(), bool(progress), " ".join(progress), self._tables.members)

    def contended(self, me: int, now: int) -> frozenset[str]:
        """See `Store.contended`. To those that keep to their own roots, others of their kind count as well: they may be
        of one program."""
        mine = self._tables.workers.get(me)
        if mine is None:
            return frozenset()
        others = [w for w in self._tables.workers.values() if w.id != me and _lives(w, now)]
        working = [w for w in others if w.info.slots > 0 and bool(w.info.programs) <= bool(mine.info.programs)]
        return frozenset(task for task in mine.serves if any(task in worker.serves for worker in working))

    def served(self, me: int, task: str, now: int) -> bool:
        """See `Store.served`."""
        return any(
            task in worker.serves and worker.id != me and _lives(worker, now) and not worker.info.programs
            for worker in self._tables.workers.values()
        )

    # --- lost workers ----------------------------------------------------------------------------------------------

    def take_lease(self, id_: int, now: int, *, if_lapsed: bool) -> bool:
        """From now on it is dead. False if it lives."""
        worker = self._tables.workers.get(id_)
        if worker is not None and not (if_lapsed and _lives(worker, now)):
            worker.lease = None
        return worker is None or worker.lease is None

    def release(self, id_: int, now: int, deaths_limit: int) -> tuple[int, bool]:
        """Some runs of a dead worker go back to the queue; those charged too often fail. How many went back, and
        whether there may be more."""
        held = [self._tables.runs[run] for run in self._tables.order("running", id_).first(HELD)]
        # Before anything of them ends.
        waited = {run.id for run in held if self._has_living(run) and not self._relapsed(run, now)}
        released = 0
        for run in held:
            charge = int(run.id not in waited)
            if charge and run.deaths + 1 >= deaths_limit:
                self._poison(run, now)
            else:
                lost = Queueing(run.id, run.attempt, RunState.RUNNING, Cause.LEASE_LOST, charge=charge)
                released += not self._leaving.queue(now, [lost])
        return released, bool(held)

    def _has_living(self, run: Run) -> bool:
        children = self._tables.order("children", run.id)
        living = (run for child in children.before(LAST) if not (run := self._tables.runs[child]).is_over)
        return any(run.kind < FIRST_WAIT for run in living)  # a sleep must not make dying free of charge

    def _relapsed(self, run: Run, now: int) -> bool:
        """Whether this and its last attempts were all lost soon after they had begun."""
        past, last = self._tables.past.get(run.id, {}), range(run.attempt - RELAPSES + 1, run.attempt)
        lost = [past[n] for n in last if n in past and past[n].state == RunState.FAILED and past[n].error is None]
        lives = [now - (run.started_at or 0), *(each.finished_at - (each.started_at or 0) for each in lost)]
        return len(lives) == RELAPSES and max(lives) < RELAPSE_WITHIN

    def _poison(self, run: Run, now: int) -> None:
        error = encode_failure(poisoned(run.task, run.deaths + 1))
        how = (RunState.FAILED, None, error, EndedBy.POISON)
        self._leaving.end(0, now, [Ending(run.id, run.attempt, RunState.RUNNING, *how)])
        self._close(run, now, "failed")

    def _close(self, run: Run, now: int, how: str) -> bool:
        return self._leaving.close(now, run.id, ALL, run.attempt, ancestor_ended(run.id, how))

    def remove_worker(self, id_: int) -> None:
        """Take out a worker that holds no runs. One that could not hand them back loses its lease only: others take it
        for dead, and find them."""
        worker = self._tables.workers.get(id_)
        if worker is not None:
            worker.lease = None
        if self._tables.order("running", id_):
            return
        for table in (self._tables.workers, self._tables.mail, self._tables.unheard):
            table.pop(id_, None)
        for run_id in list(self._tables.watchers):
            self._tables.unwatch(run_id, id_)
        self._tables.members += 1

    # --- timers ----------------------------------------------------------------------------------------------------

    def next_due(self) -> int | None:
        """When the next timer is due."""
        if self._tables.telling:
            return 0
        firsts = [self._tables.order(name).first(1) for name in ("due", "expiring")]
        return min((first[0][0] for first in firsts if first), default=None)

    def tick(self, now: int) -> None:
        """Into the queue with some of what is due; and some of what was not begun in time fails."""
        self._leaving.promote(now, self._until("due", now, DUE))
        self._sharing.tell_some(now)
        late = self._until("expiring", now, EXPIRED)
        moved = self._moving.correct(now, late)
        # Who was moved comes again, if it is time.
        self._expire([run for run in late if run.id not in moved and not run.is_over], now)

    def _until(self, name: str, now: int, count: int) -> list[Run]:
        return [self._tables.runs[id_] for when, id_ in islice(self._tables.order(name), count) if when <= now]

    def _expire(self, late: Sequence[Run], now: int) -> None:
        endings: list[Ending] = []
        for run in late:
            by_deadline = run.deadline is not None and run.expires_at is not None and run.deadline <= run.expires_at
            failure = expired(run.task, run.id, run.deadline_by if by_deadline else None, run.schedule_timeout)
            how = (RunState.FAILED, None, encode_failure(failure), EndedBy.EXPIRY)
            endings.append(Ending(run.id, run.attempt, run.state, *how))
        self._leaving.end(0, now, endings)
        for run in late:
            if run.attempt:
                self._close(run, now, "timed out")

    # --- what people ask for ---------------------------------------------------------------------------------------

    def is_pruned(self, root: bytes) -> bool:
        """Whether a tree is being deleted."""
        gate = self._tables.gates.get(root)
        return gate is not None and gate.what == GateKind.PRUNED

    def cancel(self, run: Run, reason: str, now: int) -> bool:
        """See `Store.cancel`."""
        state = RunState(run.state)
        if not state.is_terminal:
            how = (RunState.CANCELLED, None, encode_failure(Failure("cancelled", message=reason)), EndedBy.CALL)
            self._leaving.end(0, now, [Ending(run.id, run.attempt, state, *how)])
        closed = self._close(run, now, f"was cancelled: {reason}")
        if closed or state is RunState.RUNNING:  # which may be claimed and not begun itself
            self.tell_workers(run, now)
        return not state.is_terminal

    def tell_workers(self, run: Run, now: int) -> None:
        """All that may have claimed something of a tree, and not begun it."""
        for worker in self._tables.workers.values():
            if worker.info.slots > 0 and _lives(worker, now):
                self._tables.unheard[worker.id].add(run.id)
                self._tables.stirred = True

    def is_heard(self, run_id: bytes, now: int) -> bool:
        """See `Store.is_heard`."""
        return not any(
            run_id in self._tables.unheard[worker.id] for worker in self._tables.workers.values() if _lives(worker, now)
        )

    def replay(self, run: Run, now: int) -> bool:
        """Queue an ended run again; False if something above it is closed."""
        if self._leaving.closed(run) is not None:
            return False
        self._leaving.queue(now, [Queueing(run.id, run.attempt, run.state, Cause.REPLAY)])
        return True

    def wake(self, run: Run, now: int) -> bool:
        """See `Store.wake`."""
        waits = run.state == RunState.WAITING and self._leaving.closed(run) is None
        if waits:
            self._leaving.fire(now, run, EndedBy.CALL)
        return waits


def _lives(worker: Worker, now: int) -> bool:
    """Whether it holds a lease that has not lapsed."""
    return worker.lease is not None and worker.lease > now
