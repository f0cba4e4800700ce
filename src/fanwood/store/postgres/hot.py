"""The hot verb on PostgreSQL: one `Batch` becomes one call of `fw_commit` (functions/09_commit.sql), and its answer a
`Committed`.

A batch travels as columns, not as rows: the driver writes an array of a thousand values in one go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.ids import id_text
from fanwood.model.commands import (
    PROGRESS,
    Attached,
    Batch,
    ClaimedRun,
    Closing,
    Committed,
    Finished,
    LogLine,
    Notice,
    Outcome,
    Spawn,
    SpawnKind,
)
from fanwood.model.states import EndedBy, RunState
from fanwood.store.failures import ancestor_ended
from fanwood.store.reports import concerns, one_of_each, positions

if TYPE_CHECKING:
    from collections.abc import Iterable

Columns = tuple[list[Any], ...]
_NONE: list[Any] = []

PARAMETERS = 68
_KEYED_ANSWER = tuple[str, str, int, str | None, str | None, bool, str, str, bool]
_FOUND = tuple[str, int, str | None, str | None, bool, str, str, bool, int]
_ENDED = tuple[str, int, str | None, str | None, str, bool]
_LETTER = tuple[int, str | None, int | None, int | None, int, str | None, str | None, str | None, int | None, bool]

_json = msgspec.json.Encoder()
_tasks = msgspec.json.Decoder(list[str])


class Answer(msgspec.Struct, array_like=True):
    """What `fw_commit` says. Numbers count from 1, in the order in which things were sent."""

    used: bool | None  # whether the commit's number was used; None: it had been taken
    registered: bool | int = True  # of a number that was taken: the last one
    fenced: list[int] = []
    attached: list[_FOUND] = []
    taken: list[_KEYED_ANSWER] = []
    refused: list[int] = []
    not_queued: list[int] = []
    overruled: list[tuple[str, str | None, str]] = []
    claimed: list[ClaimedRun] = []
    watched: list[_ENDED] = []
    letters: list[_LETTER] = []
    closings: list[Closing] = []
    has_more: bool = False
    has_closed: bool = False
    now: int = 0
    going_on: list[int] = []
    sizes: list[tuple[str, int]] = []
    unclaimed: list[int] = []


decode_answer = msgspec.json.Decoder(Answer).decode


class Call:
    """One batch as the arguments of `fw_commit`, and what its answer means."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._owners: dict[tuple[bytes, int], int] = {}
        self._kinds: dict[int, int] = {}
        self._alike: dict[SpawnKind, int] = {}
        self._kind_rows: list[SpawnKind] = []
        outcomes = sorted(one_of_each(batch.outcomes), key=_by_id)  # a cancellation locks in this order as well
        self._ended = [o for o in outcomes if o.state is not RunState.QUEUED]
        self._requeued = [o for o in outcomes if o.state is RunState.QUEUED]
        # In this order: the parts number owners and kinds as they meet them.
        spawns, attaches, records, deadlines = self._spawns(), self._attaches(), self._records(), self._deadlines()
        kinds = self._kind_columns()
        self._columns = (
            *self._logs(), *self._owner_columns(), *kinds, *spawns, *attaches, records, *deadlines, *self._ends(),
            *self._requeues(), self._renewals(), self._suspends(), batch.unwatch, batch.watch, *self._claim(),
        )  # fmt: skip

    def arguments(
        self, me: int, seq: int, now: int | None, *, again: bool, notify: bool, read: Iterable[int]
    ) -> tuple[Any, ...]:
        """All parameters in order. `read`: letters that were read before; `again`: it was sent before, perhaps done."""
        batch = self._batch
        looks, columns = batch.only_looks, self._columns
        return (me, seq, now, again, notify, looks, *columns, batch.mail, list(read), batch.heard, self._budgets())

    # --- there -----------------------------------------------------------------------------------------------------

    def _owner(self, run_id: bytes | None, attempt: int) -> int:
        if run_id is None:
            return 0
        return self._owners.setdefault((run_id, attempt), len(self._owners) + 1)

    def _kind(self, kind: SpawnKind) -> int:
        number = self._kinds.get(id(kind))
        if number is None:
            number = self._alike.get(kind)  # each wait brings one of its own, and a server finds it by counting
            if number is None:
                self._kind_rows.append(kind)
                number = self._alike[kind] = len(self._kind_rows)
            self._kinds[id(kind)] = number
        return number

    def _logs(self) -> Columns:
        return _columns(
            [(line.run_id, line.attempt, line.at, line.level, clean(line.message)) for line in _told(self._batch.logs)],
            5,
        )

    def _owner_columns(self) -> Columns:
        return _columns(list(self._owners), 2)

    def _kind_columns(self) -> Columns:
        rows = [
            (
                self._owner(k.parent_id, k.parent_attempt) or -k.program, k.root_id, k.depth, k.task, k.priority,
                k.metadata, k.schedule_timeout, k.deadline, k.deadline_by, int(k.on_parent_end), int(k.run_kind),
                k.namespace,
            )
            for k in self._kind_rows
        ]  # fmt: skip
        return _columns(rows, 12)

    def _spawns(self) -> Columns:
        spawns, kind = self._batch.spawns, self._kind
        if not spawns:
            return (_NONE,) * 8
        return (
            [kind(s.kind) for s in spawns],
            [s.id for s in spawns],
            [s.identity for s in spawns],
            [s.index for s in spawns],
            [s.child_key if s.child_key is None else clean(s.child_key) for s in spawns],
            [s.input_digest for s in spawns],
            [s.input for s in spawns],
            [s.claimed for s in spawns],
        )

    def _attaches(self) -> Columns:
        return _columns([(self._kind(a.kind), a.id, a.input_digest) for a in self._batch.attaches], 3)

    def _records(self) -> str | None:
        if not self._batch.records and not self._batch.hedges and not self._batch.marks:
            return None
        hedges = [
            {
                "kind": self._kind(h.spawn.kind), "id": h.spawn.id.hex(), "input": h.spawn.input,
                "hedge": {"target": h.target.hex(), "delay": h.delay},
            }
            for h in self._batch.hedges
        ]  # fmt: skip
        return _json.encode(
            [
                *hedges,
                *[{"id": run_id.hex(), "mark": text} for run_id, text in self._batch.marks],
                *[
                {
                    "kind": self._kind(r.kind), "id": r.id.hex(), "identity": r.identity.hex(), "index": r.index,
                    "key": r.child_key if r.child_key is None else clean(r.child_key), "input": r.input,
                    "state": r.state, "output": r.output, "error": r.error, "began": r.began, "due": r.due_at,
                    "timeout": r.timeout, "attempt": r.attempt, "again": r.again,
                    "awaits": None if r.awaits is None else r.awaits.hex(),
                    "share": None if r.share is None else _share(r.share),
                    **({} if r.life is None else {"life": r.life, "digest": r.input_digest and r.input_digest.hex()}),
                }
                for r in self._batch.records
                ],
            ]
        ).decode()  # fmt: skip

    def _deadlines(self) -> Columns:
        return _columns([(self._owner(run, attempt), when) for run, attempt, when in self._batch.deadlines], 2)

    def _ends(self) -> Columns:
        ended = self._ended
        if not ended:
            return (_NONE,) * 10
        return (
            [o.run_id for o in ended],
            [o.attempt for o in ended],
            [o.state for o in ended],
            [o.output for o in ended],
            [o.error for o in ended],
            [EndedBy.OUTCOME] * len(ended),
            [o.busy for o in ended],
            [o.local for o in ended],
            [(1 if o.state is RunState.COMPLETED else 0) if o.closes else None for o in ended],
            [_parent_ended(o) if o.closes else None for o in ended],
        )

    def _requeues(self) -> Columns:
        return _columns([(o.run_id, o.attempt, o.delay, o.error, o.busy, o.retry) for o in self._requeued], 6)

    def _renewals(self) -> str | None:
        if not any(o.renews for o in self._requeued):
            return None
        rows = [
            (number, o.run_id.hex(), o.output, ancestor_ended(o.run_id, "started over"))
            for number, o in enumerate(self._requeued, 1)
            if o.renews
        ]
        return _json.encode(rows).decode()

    def _suspends(self) -> str | None:
        suspends = self._batch.suspends
        if not suspends:
            return None
        rows = [
            (
                s.run_id.hex(),
                s.attempt,
                s.missing,
                s.until,
                s.busy,
                [[id_.hex(), weight] for id_, weight in s.awaited],
                s.pending,
            )
            for s in suspends
        ]
        return _json.encode(rows).decode()

    def _budgets(self) -> str | None:
        parts = {n: dict(kind.part) for n, kind in enumerate(self._kind_rows, 1) if kind.part is not None}
        blocks = [(root.hex(), runs) for root, runs in self._batch.blocks]
        return _json.encode({"blocks": blocks, "parts": parts}).decode() if blocks or parts else None

    def _claim(self) -> tuple[Any, ...]:
        claim = self._batch.claim
        if claim is None:
            return [], 0, 0, False, None
        return _tasks.decode(claim.tasks), claim.limit, claim.fair, claim.idle, claim.turns

    # --- and back --------------------------------------------------------------------------------------------------

    def committed(self, me: int, answer: Answer) -> Committed:
        """What the answer means to the engine."""
        batch, done = self._batch, Committed()
        if answer.fenced:
            owners = list(self._owners)
            done.fenced_parents = {owners[number - 1] for number in answer.fenced}
        if not answer.registered:
            for spawn in batch.spawns:  # our lease was lost: born claimed, they would be nobody's
                spawn.claimed = False
        for number in answer.unclaimed:  # below something that is paused
            batch.spawns[number - 1].claimed = False
        done.attached = {number - 1: _attached(found, done) for *found, number in answer.attached}
        done.taken = {bytes.fromhex(asked): _attached(found, done) for asked, *found in answer.taken}
        self._note_refused(answer, done)
        done.going_on = {number - 1 for number in answer.going_on}
        done.claimed = answer.claimed
        self._note_watched(answer, done)
        for letter in answer.letters:
            _read(letter, me, done)
        done.closings = answer.closings
        done.has_more, done.has_closed = answer.has_more, answer.has_closed
        if answer.sizes:
            done.sizes = {bytes.fromhex(root): runs for root, runs in answer.sizes}
        return done

    def _note_refused(self, answer: Answer, done: Committed) -> None:
        sent = len(self._ended) + len(self._requeued)
        if answer.refused or answer.not_queued or sent < len(self._batch.outcomes):
            refused, not_queued = set(answer.refused), set(answer.not_queued)
            kept = [o for number, o in enumerate(self._ended, 1) if number not in refused]
            kept += [o for number, o in enumerate(self._requeued, 1) if number not in not_queued]
            done.fenced_outcomes = set(range(len(self._batch.outcomes))) - positions(self._batch.outcomes, kept)
            for text, error, task in answer.overruled:
                done.finished[bytes.fromhex(text)] = Finished(RunState.CANCELLED, None, error, task)

    def _note_watched(self, answer: Answer, done: Committed) -> None:
        found: set[bytes] = set()
        for text, state, output, error, task, later in answer.watched:
            id_ = bytes.fromhex(text)
            found.add(id_)
            _note_end(done, id_, Finished(RunState(state), output, error, task), later=later)
        done.unknown = [id_ for id_ in self._batch.watch if id_ not in found]


def _note_end(done: Committed, id_: bytes, end: Finished, *, later: bool) -> None:
    if end.state.is_terminal:
        if later:
            done.later.add(id_)
        else:
            done.finished[id_] = end


def _read(letter: tuple[Any, ...], me: int, done: Committed) -> None:
    _, text, state, attempt, worker_id, output, error, task, deadline, later = letter
    if text is None:  # pruned meanwhile
        return
    id_ = bytes.fromhex(text)
    _note_end(done, id_, Finished(RunState(state), output, error, task), later=later)
    if concerns(me, worker_id, state, attempt):
        done.mine.append(Notice(id_, attempt, RunState(state), error, deadline))


def _attached(found: Iterable[Any], done: Committed) -> Attached:
    text, state, output, error, matches, task, input_, later = found
    id_ = bytes.fromhex(text)
    if later:
        done.later.add(id_)
    return Attached(id_, RunState(state), output, error, bool(matches), task, input_)


def _share(share: Spawn) -> dict[str, Any]:
    kind = share.kind
    return {
        "root": (kind.parent_id or b"").hex(), "digest": (share.input_digest or b"").hex(), "id": share.id.hex(),
        "kind": kind.run_kind, "task": kind.task, "input": share.input, "metadata": kind.metadata,
        "priority": kind.priority, "timeout": kind.schedule_timeout,
    }  # fmt: skip


def _by_id(outcome: Outcome) -> bytes:
    return outcome.run_id


def _columns(rows: list[Any], count: int) -> Columns:
    return tuple(list(column) for column in zip(*rows, strict=True)) if rows else (_NONE,) * count


def _parent_ended(outcome: Outcome) -> str:
    how = {RunState.COMPLETED: "completed", RunState.FAILED: "failed", RunState.CANCELLED: "was cancelled"}
    failure = {"kind": "cancelled", "message": f"its ancestor {id_text(outcome.run_id)} {how[outcome.state]}"}
    return _json.encode(failure).decode()


def clean(text: str) -> str:
    """Text as PostgreSQL can hold it: without NUL characters, and without halves of surrogate pairs."""
    if text.isascii():
        return text.replace("\0", "\ufffd") if "\0" in text else text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _told(lines: list[LogLine]) -> list[LogLine]:
    """Of what an attempt says of its progress the last line: a statement writes a row once."""
    last = {(line.run_id, line.attempt): line for line in lines if line.level == PROGRESS}
    if not last:
        return lines
    return [line for line in lines if line.level != PROGRESS or last[line.run_id, line.attempt] is line]
