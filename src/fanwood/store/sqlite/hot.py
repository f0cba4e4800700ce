"""The hot verb on SQLite: one `Batch`, one transaction, one step per statement.

Why one step per statement: see the head of `spawning.sql`.
"""

from __future__ import annotations

from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.model.commands import (
    ANSWER_BYTES,
    Attach,
    Attached,
    Batch,
    Closing,
    Committed,
    Finished,
    Notice,
    Outcome,
    Record,
    Spawn,
)
from fanwood.model.states import Cause, EndedBy, RunState
from fanwood.store.failures import UNREADABLE, ancestor_ended, encode_failure
from fanwood.store.reports import concerns, one_of_each, positions
from fanwood.store.sqlite.asking import attach_row, key_row, revival
from fanwood.store.sqlite.births import insert, insert_alike
from fanwood.store.sqlite.claiming import Claiming
from fanwood.store.sqlite.driver import in_bytes, mended
from fanwood.store.sqlite.hedging import Hedging
from fanwood.store.sqlite.leaving import ALL, THOSE_THAT_END, Ending, Gate, Leaving, Queueing, encoded
from fanwood.store.sqlite.moving import Moving
from fanwood.store.sqlite.pauses import Pauses
from fanwood.store.sqlite.recording import insert_records
from fanwood.store.sqlite.renewing import Renewals
from fanwood.store.sqlite.sharing import Sharing
from fanwood.store.sqlite.urgency import Urgency
from fanwood.store.statements import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.store.sqlite.driver import Database

_SQL = load("sqlite/spawning.sql", "sqlite/waiting.sql")
_UNREADABLE = encode_failure(UNREADABLE)

LETTERS = 2000
"""So many at a time."""

_kind = attrgetter("kind")
_children = msgspec.json.Decoder(list[tuple[int, tuple[str, int, int, str, str]]])
_keyed = msgspec.json.Decoder(list[tuple[str, tuple[str, int, int, str, str]]])
_revivable = msgspec.json.Decoder(list[tuple[tuple[str, int, int], int]])
_asked = msgspec.json.Decoder(list[tuple[str, int, int]])
_runs = msgspec.json.Decoder(list[tuple[str, int, str]])
_contents = msgspec.json.Decoder(list[tuple[str, str | None, str | None]])
_mail = msgspec.json.Decoder(list[tuple[str, int | None, int | None, int, str | None, str | None, int | None]])
_closings = msgspec.json.Decoder(list[Closing])
_indexes = msgspec.json.Decoder(list[int])


class HotPath:
    """`commit`, on one connection, for one worker.

    What only others, or other verbs, change is not asked for again as long as no transaction came between two commits:
    one process alone asks nothing of it at all.
    """

    def __init__(self, connection: Database) -> None:
        self._execute = connection.execute
        self._version = connection.data_version
        self.leaving = Leaving(connection)
        self.sharing, self.hedging = Sharing(connection, self.leaving), Hedging(connection, self.leaving)
        self.moving = Moving(connection, self.leaving)
        self.pauses = Pauses(connection, self.leaving)
        self.urgency = Urgency(connection, self.leaving)
        self.claiming = Claiming(connection, self.leaving, self.pauses)
        self._gated = False  # something is closed, as this transaction sees it
        self._paused = False  # something is paused
        self._urged = False  # something was given another priority
        self._watched = False  # some other engine watches something
        self._registered = False  # we hold a lease
        self._suspended = False  # some run is suspended, or was
        self._shared = self._hedged = False  # something is shared that is not over; there are hedges
        self._budgeted = False  # there is a budget
        self._seen: tuple[int, int] | None = None  # by whom, and at which version of the data, all this was seen

    def run(self, me: int, now: int, batch: Batch) -> Committed:
        """Everything in `batch`, inside a transaction that the caller began."""
        done = Committed()
        if self._seen != (me, self._version()):
            self._look(me)
        self._seen = None  # until it is committed: what is undone was not seen
        leaving, sharing, hedging = self.leaving, self.sharing, self.hedging
        suspending, budgets = leaving.suspending, leaving.budgets
        suspending.known, sharing.known, hedging.known = self._suspended, self._shared, self._hedged
        budgets.known = self._budgeted
        leaving.woken = leaving.has_closed = leaving.is_telling = False
        try:
            self._run(me, now, batch, done)
        finally:
            self._suspended, suspending.known = bool(suspending.known), None
            self._shared, sharing.known = bool(sharing.known), None
            self._hedged, hedging.known = bool(hedging.known), None
            self._budgeted, budgets.known = bool(budgets.known), None
        if leaving.woken:
            done.has_more = True
        return done

    def _run(self, me: int, now: int, batch: Batch, done: Committed) -> None:
        if batch.logs:
            self._log(batch)
        if batch.spawns or batch.attaches or batch.records:
            self._add(me, now, batch, done)
        if batch.deadlines and self.moving.note(now, batch.deadlines):
            done.has_closed = True
        if batch.outcomes:
            self._report(me, now, batch.outcomes, done)
        if batch.suspends:
            done.going_on = self.leaving.suspend(batch.suspends)
        done.has_closed = done.has_closed or self.leaving.is_telling
        if batch.watch:
            self._watch(me, batch.watch, done)
        if batch.unwatch:
            self._execute(_SQL["unwatch"], {"me": me, "ids": _hexes(batch.unwatch)})
        if batch.claim:
            claim = self.claiming.claim(me, now, batch.claim, gated=self._gated, paused=self._paused)
            done.claimed, done.has_more = claim.runs, claim.more
            done.has_closed = done.has_closed or claim.met_closed
        if batch.heard:
            self._execute(_SQL["hear"], {"me": me, "ids": _hexes(batch.heard)})
        if batch.mail:
            self._read_mail(me, done)
        if batch.blocks:
            done.sizes = self.leaving.budgets.take_blocks(batch.blocks)

    def committed(self, me: int) -> None:
        """The transaction was committed."""
        self._seen = (me, self._version())

    def _look(self, me: int) -> None:
        standing = int(self._one("standing"))
        self._gated, self._paused, self._urged = (bool(standing & bit) for bit in (1, 2, 4))
        self._watched = self.leaving.has_watchers(me)
        self._registered = bool(self._one("is_registered", me=me))
        self._suspended = self.leaving.suspending.any
        self._shared, self._hedged = self.sharing.any, self.hedging.any
        self._budgeted = self.leaving.budgets.any

    def finds(self, me: int, batch: Batch) -> bool:
        """Whether mail or a claim would bring anything; needs no transaction."""
        if batch.mail and self._one("has_mail", me=me):
            return True
        return batch.claim is not None and self.claiming.finds(batch.claim)

    def _one(self, name: str, /, **bindings: Any) -> Any:
        try:
            return self._execute(_SQL[name], bindings).get
        except UnicodeError:  # somebody wrote what is no text
            return mended(self._execute(in_bytes(_SQL[name]), bindings).get)

    # --- spawning --------------------------------------------------------------------------------------------------

    def _add(self, me: int, now: int, batch: Batch, done: Committed) -> None:
        fenced = self._fence(batch, done)
        if self._gated and batch.attaches:
            rows = encoded([attach_row(a) for a in batch.attaches if _parent(a) not in fenced])
            self.leaving.cut(now, _asked.decode(self._one("asked_again", rows=rows)))
        if self._urged:
            self.urgency.spare([*batch.spawns, *batch.records, *(hedge.spawn for hedge in batch.hedges)])
        if batch.spawns:
            spawns = [s for s in batch.spawns if _parent(s) not in fenced] if fenced else batch.spawns
            self._spawn(me, now, spawns, done)
        if batch.marks:
            self._execute(_SQL["mark"], {"rows": encoded([(id_.hex(), text) for id_, text in batch.marks])})
        if batch.attaches:
            self._attach(now, {i: a for i, a in enumerate(batch.attaches) if _parent(a) not in fenced}, done)
        if batch.records:
            self._record(now, [r for r in batch.records if _parent(r) not in fenced])
        if batch.hedges:
            self.hedging.born(now, [h for h in batch.hedges if _parent(h.spawn) not in fenced])
        if self.leaving.has_closed:
            self._gated = done.has_closed = True

    def _fence(self, batch: Batch, done: Committed) -> set[tuple[bytes, int]]:
        """The parents among those of `batch` that may no longer spawn: their attempt is over, or they are closed."""
        kinds = {id(kind): kind for kind in map(_kind, chain(batch.spawns, batch.attaches, batch.records))}
        pairs = list({(kind.parent_id, kind.parent_attempt): None for kind in kinds.values() if kind.parent_id})
        if pairs:
            if len(pairs) == 1:
                ((parent, attempt),) = pairs
                current = [0] if self._one("current_attempt", id=parent, attempt=attempt) else []
            else:
                rows = encoded([(parent.hex(), attempt) for parent, attempt in pairs])
                current = _indexes.decode(self._one("current_attempts", pairs=rows))
            if len(current) != len(pairs):
                kept = set(current)
                done.fenced_parents = {pair for i, pair in enumerate(pairs) if i not in kept}
            if self._gated:
                closed = self.leaving.closed([parent.hex() for parent, _ in pairs])
                done.fenced_parents |= {pair for pair in pairs if pair[0].hex().upper() in closed}
            if self._paused:
                self.pauses.look(pairs)
            if self._urged:
                self.urgency.look(parent for parent, _ in pairs)
        return done.fenced_parents

    def _spawn(self, me: int, now: int, spawns: list[Spawn], done: Committed) -> None:
        """Siblings of a fan-out in one way, which takes the least of Python's time; the rest in the general one."""
        held = self.pauses.spare(spawns) if self._paused else ()
        if not self._registered:
            for spawn in spawns:  # our lease was lost: born claimed, they would be nobody's
                spawn.claimed = False
        budgets = self.leaving.budgets.born(spawns)
        rest = insert_alike(self._execute, me, now, spawns, budgets)
        keyed = [spawn for spawn in rest if spawn.is_keyed_root]
        if keyed:
            self._spawn_keyed(me, now, keyed, done)
            rest = [spawn for spawn in rest if not spawn.is_keyed_root]
        insert(self._execute, me, now, rest, budgets)
        if held:
            self.pauses.wait(held)

    def _spawn_keyed(self, me: int, now: int, keyed: list[Spawn], done: Committed) -> None:
        """Those are born that get their keys; who holds the others' is in `done.taken`."""
        rows = encoded([key_row(spawn) for spawn in keyed])
        self._execute(_SQL["take_keys"], {"rows": rows})
        won = _indexes.decode(self._one("keys_won", rows=rows))
        self.leaving.budgets.born([keyed[i] for i in won], keyed=True)
        insert(self._execute, me, now, [keyed[i] for i in won], {})
        if len(won) < len(keyed):
            holders = _keyed.decode(self._one("read_keyed", rows=rows))
            found = self._attached([holder for _, holder in holders], done)
            done.taken = {bytes.fromhex(asked): found[i] for i, (asked, _) in enumerate(holders)}

    def _attach(self, now: int, asked: dict[int, Attach], done: Committed) -> None:
        attaches = list(asked.values())
        rows = encoded([attach_row(a) for a in attaches])
        revivable = _revivable.decode(self._one("revivable", rows=rows))
        self._execute(_SQL["attach_children"], {"rows": rows})
        if revivable:
            if self._urged:
                self.urgency.set([run[0] for run, _ in revivable])
            self.leaving.queue(now, [revival(attaches[number], *run) for run, number in revivable])
        found = _children.decode(self._one("read_children", rows=rows))
        runs = self._attached([run for _, run in found], done)
        places = list(asked)
        done.attached = {places[number]: run for (number, _), run in zip(found, runs, strict=True)}

    def _attached(self, found: list[tuple[str, int, int, str, str]], done: Committed) -> list[Attached]:
        contents = self._read_contents([run[0] for run in found if run[1] >= RunState.COMPLETED], done)
        attached: list[Attached] = []
        for id_, state, matches, task, input_ in found:
            output, error = contents.get(id_, (None, None))
            found_in = RunState.FAILED if error is _UNREADABLE else RunState(state)
            run = Attached(bytes.fromhex(id_), found_in, output, error, bool(matches), task, input_)
            attached.append(run)
        return attached

    def _record(self, now: int, records: list[Record]) -> None:
        shares = [record for record in records if record.share is not None]
        if shares:
            records = [record for record in records if record.share is None]
        born = [record for record in records if not record.again]
        if born:
            insert_records(self._execute, now, born, self.leaving.next_number)
        if len(born) < len(records):
            self.leaving.record_again(now, [record for record in records if record.again])
        if shares:
            self.sharing.urgency = self.urgency if self._urged else None
            self.sharing.link(now, shares)

    # --- reporting -------------------------------------------------------------------------------------------------

    def _log(self, batch: Batch) -> None:
        lines = [(line.run_id.hex(), line.attempt, line.at, line.level, line.message) for line in batch.logs]
        self._execute(_SQL["insert_log"], {"lines": encoded(lines)})

    def _report(self, me: int, now: int, reported: list[Outcome], done: Committed) -> None:
        outcomes = one_of_each(reported)
        late: list[Outcome] = []
        if outcomes is not reported:
            kept_ids = {id(o) for o in outcomes}
            late = [o for o in reported if id(o) not in kept_ids]
        if self._gated:
            outcomes = self._without_closed(me, now, outcomes, done, late)
        ended = [o for o in outcomes if o.state is not RunState.QUEUED]
        requeued = [o for o in outcomes if o.state is RunState.QUEUED] if len(ended) != len(outcomes) else []
        kept = self._end(me, now, ended, late) if ended else []
        if requeued:
            rows = [
                Queueing(
                    o.run_id.hex().upper(), o.attempt, RunState.RUNNING,
                    Cause.RETRY if o.retry else Cause.HAND_BACK, o.delay, 0, o.error, o.busy,
                )
                for o in requeued
            ]  # fmt: skip
            renewals = Renewals(self._execute, requeued)
            refused, closed = self.leaving.queue(now, rows)
            late += [requeued[i] for i in refused]
            if renewals.left and renewals.renew(self.leaving, now, closed):
                self._gated = done.has_closed = True
        if late:
            done.fenced_outcomes = positions(reported, late)
        gates = [_gate(o) for o in kept if o.closes]
        if (gates and self.leaving.close(now, gates)) or self.leaving.has_closed:
            self._gated = done.has_closed = True

    def _end(self, me: int, now: int, ended: list[Outcome], late: list[Outcome]) -> list[Outcome]:
        """Those of them that counted; `late` gets the others."""
        told = None if self._watched else [o.run_id.hex() for o in ended if not o.local]
        number = ended[0].attempt  # (a list is quicker)
        if all([o.attempt == number and o.state is RunState.COMPLETED and o.output is not None for o in ended]):  # noqa: C419
            refused = self.leaving.complete(me, now, ended, told)
        else:
            refused = self.leaving.end(me, now, [_ending(o) for o in ended], told)
        if not refused:
            return ended
        numbers = set(refused)
        late += [ended[i] for i in refused]
        return [o for i, o in enumerate(ended) if i not in numbers]

    def _without_closed(
        self, me: int, now: int, outcomes: Sequence[Outcome], done: Committed, late: list[Outcome]
    ) -> Sequence[Outcome]:
        """Attempts below something that is closed end as cancelled, whatever they say. The other outcomes."""
        closed = self.leaving.closed([o.run_id.hex() for o in outcomes])
        if not closed:
            return outcomes
        over = [o for o in outcomes if o.run_id.hex().upper() in closed]
        errors = [closed[o.run_id.hex().upper()] for o in over]
        refused = set(self.leaving.end(me, now, [_ending(o, error) for o, error in zip(over, errors, strict=True)]))
        late += over
        for number, (outcome, error) in enumerate(zip(over, errors, strict=True)):
            if number not in refused:
                done.finished[outcome.run_id] = Finished(RunState.CANCELLED, None, error, outcome.task)
        return [o for o in outcomes if o.run_id.hex().upper() not in closed]

    # --- waiting ---------------------------------------------------------------------------------------------------

    def _watch(self, me: int, ids: list[bytes], done: Committed) -> None:
        rows = _hexes(ids)
        found = _runs.decode(self._one("read_runs", ids=rows))
        ended = {id_: (state, task) for id_, state, task in found if state >= RunState.COMPLETED}
        self._finished(ended, done)
        there = {bytes.fromhex(id_) for id_, _, _ in found}
        done.unknown = [id_ for id_ in ids if id_ not in there]
        if len(ended) < len(found):
            self._execute(_SQL["add_watches"], {"ids": rows, "me": me})

    def _finished(self, ended: dict[str, tuple[int, str]], done: Committed) -> None:
        for id_, (output, error) in self._read_contents(list(ended), done).items():
            state, task = ended[id_]
            ended_in = RunState.FAILED if error is _UNREADABLE else RunState(state)
            done.finished[bytes.fromhex(id_)] = Finished(ended_in, output, error, task)

    def _read_contents(self, ids: list[str], done: Committed) -> dict[str, tuple[str | None, str | None]]:
        """Outputs and errors, as far as they fit; the others are for later."""
        if not ids:
            return {}
        bindings = {"ids": encoded(ids), "bytes": ANSWER_BYTES}
        try:
            rows = _contents.decode(self._execute(_SQL["read_contents"], bindings).get)
        except UnicodeError:
            if len(ids) == 1:
                return {ids[0]: (None, _UNREADABLE)}
            return {id_: contents for one in ids for id_, contents in self._read_contents([one], done).items()}
        found = {id_: (output, error) for id_, output, error in rows}
        done.later |= {bytes.fromhex(id_) for id_ in ids if id_ not in found}
        return found

    def _read_mail(self, me: int, done: Committed) -> None:
        done.closings = _closings.decode(self._one("read_unheard", me=me))
        letters = _mail.decode(self._one("read_mail", me=me, limit=LETTERS))
        if not letters:
            return
        ended = {
            text: (state, task or "")
            for text, state, _, _, _, task, _ in letters
            if state is not None and state >= RunState.COMPLETED
        }
        self._finished(ended, done)
        for text, state, attempt, worker_id, error, _, deadline in letters:
            if state is not None and attempt is not None and concerns(me, worker_id, state, attempt):
                done.mine.append(Notice(bytes.fromhex(text), attempt, RunState(state), error, deadline))
        self._execute(_SQL["take_away"], {"me": me, "ids": encoded([letter[0] for letter in letters])})
        done.has_more = done.has_more or len(letters) == LETTERS


def _hexes(ids: list[bytes]) -> str:
    return encoded([id_.hex() for id_ in ids])


def _parent(command: Spawn | Attach | Record) -> tuple[bytes, int]:
    kind = command.kind
    return (kind.parent_id or b"", kind.parent_attempt)


def _ending(outcome: Outcome, closed: str | None = None) -> Ending:
    """An outcome as it is recorded; or, if it comes from below something that is closed, what is instead."""
    id_, number, busy = outcome.run_id.hex(), outcome.attempt, outcome.busy
    if closed is not None:
        return Ending(id_, number, RunState.RUNNING, RunState.CANCELLED, None, closed, busy, EndedBy.ANCESTOR)
    return Ending(id_, number, RunState.RUNNING, outcome.state, outcome.output, outcome.error, busy, EndedBy.OUTCOME)


def _gate(outcome: Outcome) -> Gate:
    how = {RunState.COMPLETED: "completed", RunState.FAILED: "failed", RunState.CANCELLED: "was cancelled"}
    which = THOSE_THAT_END if outcome.state is RunState.COMPLETED else ALL
    error = ancestor_ended(outcome.run_id, how[outcome.state])
    return Gate(outcome.run_id.hex(), which, outcome.attempt, error, 1 if which == THOSE_THAT_END else 3)
