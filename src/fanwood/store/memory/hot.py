"""The hot verb in memory: one `Batch`, in the order in which it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.model.commands import (
    ANSWER_BYTES,
    CHUNKS,
    FIRST_CHUNK,
    PROGRESS,
    Attach,
    Attached,
    Batch,
    Closing,
    Committed,
    Finished,
    Notice,
    Outcome,
    Spawn,
)
from fanwood.model.states import Cause, EndedBy, RunState, Waits
from fanwood.store.expiry import expiry
from fanwood.store.failures import ancestor_ended
from fanwood.store.memory.claiming import Claiming, hexed
from fanwood.store.memory.hedging import Hedging
from fanwood.store.memory.leaving import ALL, THOSE_THAT_END, Ending, Leaving, Queueing
from fanwood.store.memory.moving import Moving
from fanwood.store.memory.pauses import Pauses
from fanwood.store.memory.recording import record
from fanwood.store.memory.renewing import have_ended, renew
from fanwood.store.memory.sharing import Sharing
from fanwood.store.memory.tables import Key, Line, Run, Tables
from fanwood.store.memory.urgency import Urgency
from fanwood.store.reports import concerns, one_of_each, positions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LETTERS = 2000
"""So many at a time."""
SHOWN = 1000
"""Characters of an input that tell whose a key is."""


class HotPath:
    """`commit`, on one memory."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.leaving = Leaving(tables)
        self.sharing = Sharing(tables, self.leaving)
        self.hedging = Hedging(tables, self.leaving)
        self.moving = Moving(tables, self.leaving)
        self.pauses = Pauses(tables, self.leaving)
        self.urgency = Urgency(tables, self.leaving)
        self.claiming = Claiming(tables, self.leaving, self.pauses)

    def run(self, me: int, now: int, batch: Batch) -> Committed:
        """Everything in `batch`."""
        done = Committed()
        self.leaving.woken = self.leaving.has_closed = self.leaving.is_telling = False
        self._fence(batch, done)
        self._cut(now, batch.attaches, done)
        self._charge(batch, done)
        self._log(batch)
        self.urgency.spare([*batch.spawns, *batch.records, *(hedge.spawn for hedge in batch.hedges)])
        self._spawn(me, now, batch.spawns, done)
        for run_id, text in batch.marks:
            if (run := self._tables.runs.get(run_id)) is not None:  # else its parent is fenced
                self._tables.change(run, life=text)
        self._attach(now, batch.attaches, done)
        fenced = done.fenced_parents
        asked = [r for r in batch.records if (r.kind.parent_id, r.kind.parent_attempt) not in fenced]
        record(self._tables, self.leaving, self.sharing, now, asked)
        hedges = [h for h in batch.hedges if (h.spawn.kind.parent_id, h.spawn.kind.parent_attempt) not in fenced]
        self.hedging.born(now, hedges, lambda spawn: _born(spawn, me, now, held=False))
        done.has_closed = self.moving.note(now, batch.deadlines)
        self._report(me, now, batch.outcomes, done)
        for number, suspend in enumerate(batch.suspends):
            if not self.leaving.suspend(suspend):
                done.going_on.add(number)
        self._watch(me, batch, done)
        if batch.claim:
            claim = self.claiming.claim(me, now, batch.claim)
            done.claimed, done.has_more = claim.runs, claim.more
            done.has_closed = done.has_closed or claim.met_closed
        for run_id in batch.heard:
            self._tables.unheard[me].discard(run_id)
        if batch.mail:
            self._read_mail(me, done)
        for root, runs in batch.blocks:
            if root in self._tables.runs:
                done.sizes[root] = self._tables.trees[root] = self._tables.trees.get(root, 0) + runs
        done.has_more = done.has_more or self.leaving.woken
        done.has_closed = done.has_closed or self.leaving.has_closed or self.leaving.is_telling
        return done

    def finds(self, me: int, batch: Batch) -> bool:
        """Whether mail or a claim would bring anything."""
        if batch.mail and (self._tables.mail[me] or self._tables.unheard[me]):
            return True
        return batch.claim is not None and self.claiming.finds(batch.claim)

    def _log(self, batch: Batch) -> None:
        """Of a run's progress there is one line, the last one, before all others. Chunks of its stream come after."""
        for line in batch.logs:
            run = self._tables.runs.get(line.run_id)
            if run is not None and run.is_at(RunState.RUNNING, line.attempt):
                lines = self._tables.logs.setdefault(run.id, {})
                seq = -1 if line.level == PROGRESS else _next_line(lines, line.level)
                lines[seq] = Line(run.id, seq, line.attempt, line.at, line.level, line.message)

    # --- spawning --------------------------------------------------------------------------------------------------

    def _fence(self, batch: Batch, done: Committed) -> None:
        """The parents among those of `batch` that may no longer spawn: their attempt is over, or they are closed."""
        for command in (*batch.spawns, *batch.attaches, *batch.records):
            parent_id, attempt = command.kind.parent_id, command.kind.parent_attempt
            if parent_id is not None:
                parent = self._tables.runs.get(parent_id)
                current = parent is not None and parent.is_at(RunState.RUNNING, attempt)
                if parent is None or not current or self.leaving.closed(parent) is not None:
                    done.fenced_parents.add((parent_id, attempt))

    def _cut(self, now: int, attaches: Sequence[Attach], done: Committed) -> None:
        """What is asked for again, and is below something closed, ends first, as a sweep would end it."""
        for attach in attaches if self.leaving.gated else ():
            run = self._tables.runs.get(attach.id)
            parent = attach.kind.parent_id, attach.kind.parent_attempt
            if run is not None and parent not in done.fenced_parents and _matches(attach, run):
                self.leaving.cut(now, run)

    def _charge(self, batch: Batch, done: Committed) -> None:
        """Before anything is changed.

        Raises:
            Overdrawn: what is spawned would use more than there is.
        """
        fenced, budgets = done.fenced_parents, self.leaving.budgets
        spawns = [s for s in batch.spawns if (s.kind.parent_id, s.kind.parent_attempt) not in fenced]
        there = [(a, self._tables.runs.get(a.id)) for a in batch.attaches if self._tables.budgets]
        again = [
            run.id
            for a, run in there
            if run is not None
            and run.id in self._tables.budgets
            and self._is_revivable(run)
            and _matches(a, run)
            and (a.kind.parent_id, a.kind.parent_attempt) not in fenced
        ]
        links = [r for r in batch.records if r.share is not None and self._tables.budgets]
        shares = self.sharing.births([r for r in links if (r.kind.parent_id, r.kind.parent_attempt) not in fenced])
        budgets.born([s for s in spawns if not s.is_keyed_root], again, shares)

    def _spawn(self, me: int, now: int, spawns: Sequence[Spawn], done: Committed) -> None:
        worker = self._tables.workers.get(me)
        for spawn in spawns:
            if worker is None or worker.lease is None:  # our lease was lost: born claimed, it would be nobody's
                spawn.claimed = False
            if held := self.pauses.holds(spawn.kind.parent_id):
                spawn.claimed = False
            if spawn.is_keyed_root:
                holder = self._hold(spawn)
                if holder.run_id != spawn.id:
                    matches = holder.digest == (spawn.input_digest or b"")
                    done.taken[spawn.id] = self._found(self._tables.runs[holder.run_id], spawn, matches=matches)
                    continue
            if (spawn.kind.parent_id, spawn.kind.parent_attempt) not in done.fenced_parents:
                run = _born(spawn, me, now, held=held)
                run.budget = spawn.id if spawn.kind.part is not None else self.leaving.budgets.of(spawn.kind.parent_id)
                self._tables.add(run)
                if spawn.is_keyed_root:
                    self.leaving.budgets.born([spawn])
        self._contents(done, done.taken.values())

    def _hold(self, spawn: Spawn) -> Key:
        """Who holds the key that a root asks for: the root itself, if nobody did."""
        place = (spawn.kind.namespace, spawn.child_key or "")
        holder = self._tables.keys.setdefault(place, Key(*place, spawn.id, spawn.input_digest or b""))
        if holder.run_id == spawn.id:
            self._tables.key_of[spawn.id] = place
        return holder

    def _attach(self, now: int, attaches: Sequence[Attach], done: Committed) -> None:
        asked = [
            (number, attach, run)
            for number, attach in enumerate(attaches)
            if (attach.kind.parent_id, attach.kind.parent_attempt) not in done.fenced_parents
            and (run := self._tables.runs.get(attach.id)) is not None
        ]
        mine = [(attach, run) for _, attach, run in asked if _matches(attach, run)]
        again = [(attach, run) for attach, run in mine if self._is_revivable(run)]
        for attach, run in mine:
            self._ask(attach, run)
        self.urgency.set(run for _, run in again)
        for attach, run in again:
            deadline, owner = attach.kind.deadline, attach.kind.deadline_by
            revival = Queueing(run.id, run.attempt, run.state, Cause.REPLAY, deadline=deadline, deadline_by=owner)
            self.leaving.queue(now, [revival])
        for number, attach, run in asked:
            done.attached[number] = self._found(run, attach, matches=_matches(attach, run))
        self._contents(done, done.attached.values())

    def _is_revivable(self, run: Run) -> bool:
        """Whether it had failed or been cancelled, and this is a new trial of its parent."""
        parent = self._tables.runs.get(run.parent_id or b"")
        failed = run.state in (RunState.FAILED, RunState.CANCELLED)
        return failed and parent is not None and run.asked < parent.trial_start

    def _ask(self, attach: Attach, run: Run) -> None:
        """An attempt that asks twice, and waits for one of the two only: the deadline of that stays."""
        kind = attach.kind
        stays = run.asked == kind.parent_attempt and kind.deadline is None
        if run.is_over or stays:
            deadline, owner, expires_at = run.deadline, run.deadline_by, run.expires_at
        else:
            deadline, owner, expires_at = kind.deadline, kind.deadline_by, run.expires_at
            if run.state != RunState.RUNNING:
                if expires_at is None or expires_at == run.deadline:
                    expires_at = deadline
                elif deadline is not None:
                    expires_at = min(expires_at, deadline)
        self._tables.change(
            run, asked=kind.parent_attempt, deadline=deadline, deadline_by=owner, expires_at=expires_at,
            on_parent_end=int(kind.on_parent_end),
        )  # fmt: skip

    @staticmethod
    def _found(run: Run, command: Spawn | Attach, *, matches: bool) -> Attached:
        shown = run.input[:SHOWN] if run.input_digest is not None else ""
        matches = matches and run.task == command.kind.task
        return Attached(run.id, RunState(run.state), None, None, matches, run.task, shown)

    def _contents(self, done: Committed, found: Iterable[Attached]) -> None:
        """Outputs and errors of what has ended, as far as they fit; the others are for later."""
        ended = [attached for attached in found if attached.state.is_terminal]
        fitting = self._fitting([attached.id for attached in ended], done)
        for attached in ended:
            if attached.id in fitting:
                attached.output, attached.error = fitting[attached.id].output, fitting[attached.id].error

    # --- reporting -------------------------------------------------------------------------------------------------

    def _report(self, me: int, now: int, reported: Sequence[Outcome], done: Committed) -> None:
        outcomes = one_of_each(reported)
        counted = {id(outcome) for outcome in outcomes}
        late = [outcome for outcome in reported if id(outcome) not in counted]
        kept: list[Outcome] = []
        for outcome in outcomes:
            run = self._tables.runs.get(outcome.run_id)
            closed = None if run is None else self.leaving.closed(run)
            if run is not None and closed is not None:  # it ends as cancelled, whatever is said
                late.append(outcome)
                how = (RunState.CANCELLED, None, closed, EndedBy.ANCESTOR, outcome.busy)
                if not self.leaving.end(me, now, [Ending(run.id, outcome.attempt, RunState.RUNNING, *how)]):
                    done.finished[run.id] = Finished(RunState.CANCELLED, None, closed, outcome.task)
            elif self._take(me, now, outcome):
                kept.append(outcome)
                if outcome.renews and run is not None and run.state == RunState.QUEUED:
                    done.has_closed = renew(self._tables, self.leaving, now, outcome) or done.has_closed
            else:
                late.append(outcome)
        done.fenced_outcomes = positions(reported, late)
        for outcome in kept:  # after all: what ends in the same batch ends as it says
            if outcome.closes and outcome.state is not RunState.QUEUED and self._close(now, outcome):
                done.has_closed = True

    def _take(self, me: int, now: int, outcome: Outcome) -> bool:
        """An outcome as it is reported; whether it counted."""
        if outcome.state is RunState.QUEUED:
            cause = Cause.RETRY if outcome.retry else Cause.HAND_BACK
            how = (cause, outcome.delay, 0, outcome.error, outcome.busy)
            return not self.leaving.queue(now, [Queueing(outcome.run_id, outcome.attempt, RunState.RUNNING, *how)])
        what = (outcome.state, outcome.output, outcome.error, EndedBy.OUTCOME, outcome.busy, not outcome.local)
        return not self.leaving.end(me, now, [Ending(outcome.run_id, outcome.attempt, RunState.RUNNING, *what)])

    def _close(self, now: int, outcome: Outcome) -> bool:
        how = {RunState.COMPLETED: "completed", RunState.FAILED: "failed", RunState.CANCELLED: "was cancelled"}
        which = THOSE_THAT_END if outcome.state is RunState.COMPLETED else ALL
        error = ancestor_ended(outcome.run_id, how[outcome.state])
        run = self._tables.runs.get(outcome.run_id)
        fails = which != THOSE_THAT_END
        if run is not None and have_ended(self._tables, run, leaves=fails, or_failed=fails):
            return False
        return self.leaving.close(now, outcome.run_id, which, outcome.attempt, error)

    # --- waiting ---------------------------------------------------------------------------------------------------

    def _watch(self, me: int, batch: Batch, done: Committed) -> None:
        tables = self._tables
        done.unknown = [id_ for id_ in batch.watch if id_ not in tables.runs]
        there = [tables.runs[id_] for id_ in batch.watch if id_ in tables.runs]
        self._finished([run for run in there if run.is_over], done)
        for run in there:
            if not run.is_over:
                tables.watchers[run.id].add(me)
        for id_ in batch.unwatch:
            tables.unwatch(id_, me)

    def _finished(self, ended: Sequence[Run], done: Committed) -> None:
        for run in self._fitting([run.id for run in ended], done).values():
            done.finished[run.id] = Finished(RunState(run.state), run.output, run.error, run.task)

    def _fitting(self, ids: Sequence[bytes], done: Committed) -> dict[bytes, Run]:
        """Those whose contents fit into an answer together, the first in any case; the others are for later."""
        total, fitting = 0, dict[bytes, Run]()
        for run in (self._tables.runs[id_] for id_ in dict.fromkeys(ids)):
            if total < ANSWER_BYTES:
                fitting[run.id] = run
                total += len((run.output or "").encode()) + len((run.error or "").encode())
            else:
                done.later.add(run.id)
        return fitting

    def _read_mail(self, me: int, done: Committed) -> None:
        runs = self._tables.runs
        done.closings = [
            Closing(hexed(id_), hexed(runs[id_].root_id)) for id_ in self._tables.unheard[me] if id_ in runs
        ]
        letters: list[bytes] = self._tables.mail[me].first(LETTERS)
        about = [runs[id_] for id_ in letters if id_ in runs]
        self._finished([run for run in about if run.is_over], done)
        for run in about:
            if concerns(me, run.worker_id, run.state, run.attempt):
                done.mine.append(Notice(run.id, run.attempt, RunState(run.state), run.error, run.deadline))
        for id_ in letters:
            self._tables.mail[me].discard(id_)
        done.has_more = done.has_more or len(letters) == LETTERS


def _matches(attach: Attach, run: Run) -> bool:
    """Whether a child is what is asked for: of that task and, if it has a key, input."""
    return run.task == attach.kind.task and (run.input_digest is None or run.input_digest == attach.input_digest)


def _born(spawn: Spawn, me: int, now: int, *, held: bool) -> Run:
    kind, claimed = spawn.kind, spawn.claimed
    state = RunState.RUNNING if claimed else RunState.WAITING if held else RunState.QUEUED
    child = kind.parent_id is not None
    return Run(
        id=spawn.id,
        parent_id=kind.parent_id,
        root_id=kind.root_id or spawn.id,
        depth=kind.depth,
        kind=int(kind.run_kind),
        task=kind.task,
        identity=spawn.identity if child else None,
        child_index=spawn.index if child else None,
        child_key=spawn.child_key,
        input_digest=spawn.input_digest,
        input=spawn.input,
        metadata=kind.metadata,
        priority=kind.priority,
        on_parent_end=int(kind.on_parent_end),
        state=int(state),
        waits=int(Waits.RESUME) if held else None,
        due_at=None,
        attempt=int(claimed),
        trial_start=0,
        retry_count=0,
        deaths=0,
        asked=kind.parent_attempt or kind.program,
        worker_id=me if claimed else None,
        deadline=kind.deadline,
        deadline_by=kind.deadline_by,
        schedule_timeout=kind.schedule_timeout,
        expires_at=None if claimed else expiry(now, kind.schedule_timeout, kind.deadline),
        created_at=now,
        started_at=now if claimed else None,
        finished_at=None,
        busy=0,
        ended_by=None,
        output=None,
        error=None,
        limit_at=None,
    )


def _next_line(lines: Mapping[int, Line], level: str) -> int:
    """The number of the next line, or of the next chunk."""
    if level in CHUNKS:
        return max(FIRST_CHUNK, max(lines, default=-1) + 1)
    return max((seq for seq in lines if seq < FIRST_CHUNK), default=-1) + 1
