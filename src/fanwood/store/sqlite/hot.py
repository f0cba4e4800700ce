"""The hot verb on SQLite: one `Batch`, one transaction, one step per statement.

Why one step per statement: see the head of `hot.sql`.
"""

from __future__ import annotations

from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.ids import id_text
from fanwood.model.commands import (
    Attach,
    Attached,
    Batch,
    ClaimedRun,
    ClaimRequest,
    Committed,
    Finished,
    Notice,
    Outcome,
    Spawn,
    up_to_suspect,
)
from fanwood.model.states import RunState
from fanwood.store.expiry import expiry
from fanwood.store.statements import RowsStatement, load

if TYPE_CHECKING:
    from fanwood.store.sqlite.driver import Database

_SQL = load("sql/lifecycle.sql", "sqlite/hot.sql")
_INSERT = RowsStatement.of(_SQL["insert_run"])
_UNLESS_TAKEN = " on conflict do nothing"
_ROWS_PER_INSERT = 1000  # 22 columns each: below SQLite's limit of 32,766 placeholders

_ALIKE_FROM = 8  # siblings, for which their own statement pays

_json = msgspec.json.Encoder()
_claimed = msgspec.json.Decoder(list[ClaimedRun])
_ended = msgspec.json.Decoder(list[tuple[str, int, str | None, str | None, str]])
_children = msgspec.json.Decoder(list[tuple[str, int, str | None, str | None, int, str, str]])
_keyed = msgspec.json.Decoder(list[tuple[str, tuple[str, int, str | None, str | None, int, str, str]]])
_mail = msgspec.json.Decoder(list[tuple[str, int, int, int, str | None, str | None, str, int | None]])
_indexes = msgspec.json.Decoder(list[int])


class HotPath:
    """`commit`, on one connection, for one worker."""

    def __init__(self, connection: Database) -> None:
        self._execute = connection.execute
        self._changes = connection.changes
        self._own_mail = False  # there may be mail from ourselves

    def run(self, me: int, now: int, batch: Batch) -> Committed:
        """Everything in `batch`, inside a transaction that the caller began."""
        done = Committed()
        if batch.logs:
            self._log(batch)
        if batch.spawns or batch.attaches:
            fenced = self._fence(batch, done)
            if batch.spawns:
                spawns = [s for s in batch.spawns if _parent(s) not in fenced] if fenced else batch.spawns
                self._spawn(me, now, spawns, done)
            if batch.attaches:
                self._attach(now, [a for a in batch.attaches if _parent(a) not in fenced], done)
        for owner, attempt, deadline in batch.deadlines:
            if self._one("current_attempts", pairs=_json.encode([(owner.hex(), attempt)]).decode()) != "[]":
                self._move_deadline(owner, deadline)
        if batch.outcomes:
            self._report(me, now, batch.outcomes, done)
        if batch.watch:
            self._watch(me, batch.watch, done)
        if batch.claim:
            self._claim(me, now, batch.claim, done)
        if batch.mail or self._own_mail:
            self._own_mail = False
            self._read_mail(me, done)
        return done

    def finds(self, me: int, batch: Batch) -> bool:
        """Whether mail or a claim would bring anything; needs no transaction."""
        if batch.mail and self._one("has_mail", me=me):
            return True
        return batch.claim is not None and bool(self._one("has_ready", tasks=batch.claim.tasks))

    def _one(self, name: str, **bindings: Any) -> Any:
        return self._execute(_SQL[name], bindings).get

    # --- spawning --------------------------------------------------------------------------------------------------

    def _fence(self, batch: Batch, done: Committed) -> set[tuple[bytes, int]]:
        """The parents among those of `batch` that may no longer spawn."""
        asked = {_parent(s) for s in batch.spawns} | {_parent(a) for a in batch.attaches}
        pairs = [pair for pair in asked if pair[0]]
        if pairs:
            rows = _json.encode([(parent.hex(), attempt) for parent, attempt in pairs]).decode()
            current = _indexes.decode(self._one("current_attempts", pairs=rows))
            if len(current) != len(pairs):
                kept = set(current)
                done.fenced_parents = {pair for i, pair in enumerate(pairs) if i not in kept}
        return done.fenced_parents

    def _spawn(self, me: int, now: int, spawns: list[Spawn], done: Committed) -> None:
        """Siblings of a fan-out in one way, which takes the least of Python's time; the rest in the general one."""
        if any(spawn.claimed for spawn in spawns) and not self._one("is_registered", me=me):
            for spawn in spawns:  # our lease was lost: born claimed, they would be nobody's
                spawn.claimed = False
        rest: list[Spawn] = []
        for _, group in groupby(spawns, _likeness):
            alike = list(group)
            if len(alike) < _ALIKE_FROM or alike[0].identity is None or alike[0].child_key is not None:
                rest += alike
            else:
                rows = _json.encode(
                    [f"{s.id.hex()}{(s.identity or b'').hex()}{s.index:010d}{s.input}" for s in alike]
                ).decode()
                columns = dict(zip(_INSERT.columns, _row(alike[0], me, now), strict=True))
                for own in ("id", "identity", "child_index", "input", "child_key", "input_digest"):
                    del columns[own]
                self._execute(_SQL["insert_alike"], {**columns, "rows": rows})
        keyed = [spawn for spawn in rest if spawn.is_keyed_root]
        if keyed:
            rest = [spawn for spawn in rest if not spawn.is_keyed_root]
            self._insert(me, now, keyed, _UNLESS_TAKEN)
            self._read_keyed(keyed, done)
        self._insert(me, now, rest)

    def _insert(self, me: int, now: int, spawns: list[Spawn], unless: str = "") -> None:
        for start in range(0, len(spawns), _ROWS_PER_INSERT):
            rows = [_row(spawn, me, now) for spawn in spawns[start : start + _ROWS_PER_INSERT]]
            self._execute(_INSERT.text(len(rows)) + unless, tuple(chain.from_iterable(rows)))

    def _read_keyed(self, keyed: list[Spawn], done: Committed) -> None:
        """Who holds the keys of those that weren't born."""
        asked = [
            (s.id.hex(), (s.identity or b"").hex(), s.kind.task, (s.input_digest or b"").hex().upper()) for s in keyed
        ]
        holders = _keyed.decode(self._one("read_keyed", rows=_json.encode(asked).decode()))
        done.taken = {bytes.fromhex(asked_for): _attached(*holder) for asked_for, holder in holders}

    def _attach(self, now: int, attaches: list[Attach], done: Committed) -> None:
        rows = _json.encode([_attach_row(a) for a in attaches]).decode()
        self._execute(_SQL["revive_children"], {"rows": rows, "now": now})
        self._execute(_SQL["attach_children"], {"rows": rows})
        moved = {a.kind.parent_id: a.kind.deadline for a in attaches if a.kind.deadline_by == a.kind.parent_id}
        for owner, deadline in moved.items():
            if owner is not None and deadline is not None:
                self._move_deadline(owner, deadline)
        found = _children.decode(self._one("read_children", rows=rows))
        done.attached = [_attached(*row) for row in found]

    def _move_deadline(self, owner: bytes, deadline: int) -> None:
        self._own_mail = True
        self._execute(_SQL["move_mail"], {"owner": owner})
        self._execute(_SQL["move_deadline"], {"owner": owner, "deadline": deadline})

    # --- reporting -------------------------------------------------------------------------------------------------

    def _log(self, batch: Batch) -> None:
        lines = [(line.run_id.hex(), line.attempt, line.at, line.level, line.message) for line in batch.logs]
        self._execute(_SQL["insert_log"], {"lines": _json.encode(lines).decode()})

    def _report(self, me: int, now: int, outcomes: list[Outcome], done: Committed) -> None:
        ended = [o for o in outcomes if o.state is not RunState.QUEUED]
        requeued = [o for o in outcomes if o.state is RunState.QUEUED] if len(ended) != len(outcomes) else []
        if ended:
            rows = _json.encode([(o.run_id.hex(), o.attempt, o.state, o.output, o.error) for o in ended]).decode()
            self._execute(_SQL["end_runs"], {"rows": rows, "now": now})
            self._note_fenced("ended_now", ended, rows, now, done)
        told = [o for o in ended if o.run_id not in done.fenced_outcomes] if done.fenced_outcomes else ended
        if requeued:
            rows = _json.encode(
                [(o.run_id.hex(), o.attempt, o.delay, int(o.retry), o.error) for o in requeued]
            ).decode()
            self._execute(_SQL["requeue_runs"], {"rows": rows, "now": now})
            self._note_fenced("requeued_now", requeued, rows, None, done)
            done.fenced_outcomes -= {o.run_id for o in told}  # it ended just before it was handed back
        self._tell(me, told)
        for outcome in told:
            if outcome.settles:
                self._settle(now, outcome)

    def _note_fenced(self, check: str, outcomes: list[Outcome], rows: str, now: int | None, done: Committed) -> None:
        if self._changes() == len(outcomes):
            return
        bindings: dict[str, Any] = {"rows": rows} if now is None else {"rows": rows, "now": now}
        kept = set(_indexes.decode(self._one(check, **bindings)))
        done.fenced_outcomes |= {o.run_id for i, o in enumerate(outcomes) if i not in kept}

    def _tell(self, me: int, ended: list[Outcome]) -> None:
        """Mail for those who wait elsewhere. Who waits here is told by the engine."""
        watched = bool(self._one("has_watchers", me=me))
        ids = [o.run_id.hex() for o in ended if watched or not o.local]
        if ids:
            rows = _json.encode(ids).decode()
            self._execute(_SQL["mail_ended"], {"ids": rows, "me": me})
            self._execute(_SQL["forget_watches"], {"ids": rows})

    def _settle(self, now: int, outcome: Outcome) -> None:
        """Cancel the children that must not outlive this parent, and all below them."""
        which = {
            "parent": outcome.run_id,
            "all": int(outcome.state is not RunState.COMPLETED),
            "attempt": outcome.attempt,
        }
        if not self._one("settle_needed", **which):
            return
        self._own_mail = True
        self._execute(_SQL["settle_mail"], which)
        self._execute(_SQL["settle_runs"], {**which, "now": now, "error": _parent_ended(outcome)})

    # --- claiming --------------------------------------------------------------------------------------------------

    def _claim(self, me: int, now: int, claim: ClaimRequest, done: Committed) -> None:
        bindings: dict[str, Any] = {"tasks": claim.tasks, "limit": claim.limit}
        if claim.fair:
            picked = self._one("pick_fair", **bindings, fair=claim.fair)
        else:
            picked = self._one("pick_best", **bindings)
        done.claimed = up_to_suspect(_claimed.decode(picked))
        if done.claimed:
            ids = '["' + '","'.join([run.id for run in done.claimed]) + '"]'
            self._execute(_SQL["take_runs"], {"ids": ids, "me": me, "now": now})
            if not self._changes():
                done.claimed = []

    # --- waiting ---------------------------------------------------------------------------------------------------

    def _watch(self, me: int, ids: list[bytes], done: Committed) -> None:
        rows = _json.encode([id_.hex() for id_ in ids]).decode()
        found: set[bytes] = set()
        for text, state, output, error, task in _ended.decode(self._one("read_runs", ids=rows)):
            id_ = bytes.fromhex(text)
            found.add(id_)
            if state >= RunState.COMPLETED:
                done.finished[id_] = Finished(RunState(state), output, error, task)
        done.unknown = [id_ for id_ in ids if id_ not in found]
        if len(done.finished) + len(done.unknown) < len(ids):
            self._execute(_SQL["add_watches"], {"ids": rows, "me": me})

    def _read_mail(self, me: int, done: Committed) -> None:
        letters = _mail.decode(self._one("read_mail", me=me))
        if not letters:
            return
        for text, state, attempt, worker_id, output, error, task, deadline in letters:
            id_ = bytes.fromhex(text)
            if state >= RunState.COMPLETED:
                done.finished[id_] = Finished(RunState(state), output, error, task)
            if worker_id == me:
                done.mine.append(Notice(id_, attempt, RunState(state), error, deadline))
        self._execute(_SQL["clear_mail"], {"me": me})


def _attached(
    id_: str, state: int, output: str | None, error: str | None, matches: int, task: str, input_: str
) -> Attached:
    return Attached(bytes.fromhex(id_), RunState(state), output, error, bool(matches), task, input_)


def _parent(command: Spawn | Attach) -> tuple[bytes, int]:
    kind = command.kind
    return (kind.parent_id or b"", kind.parent_attempt)


def _likeness(spawn: Spawn) -> tuple[int, bool]:
    """Equal for spawns that `insert_alike` may insert together: those of one call are of one and the same kind."""
    plain = spawn.identity is not None and spawn.child_key is None
    return (id(spawn.kind) if plain else 0, spawn.claimed)


def _row(spawn: Spawn, me: int, now: int) -> tuple[Any, ...]:
    kind = spawn.kind
    claimed = spawn.claimed
    expires_at = None if claimed else expiry(now, kind.schedule_timeout, kind.deadline)
    return (
        spawn.id,
        kind.parent_id,
        kind.root_id or spawn.id,
        kind.depth,
        kind.task,
        spawn.identity,
        spawn.index if kind.parent_id else None,
        spawn.child_key,
        spawn.input_digest,
        spawn.input,
        kind.metadata,
        kind.priority,
        int(kind.on_parent_end),
        1 if claimed else 0,
        1 if claimed else 0,
        kind.parent_attempt,
        me if claimed else None,
        kind.deadline,
        kind.deadline_by,
        kind.schedule_timeout,
        expires_at,
        now,
        now if claimed else None,
    )


def _attach_row(attach: Attach) -> tuple[Any, ...]:
    kind = attach.kind
    return (
        attach.id.hex(),
        kind.parent_attempt,
        kind.deadline,
        (kind.deadline_by or b"").hex(),
        kind.task,
        (attach.input_digest or b"").hex().upper(),
        int(kind.on_parent_end),
    )


def _parent_ended(outcome: Outcome) -> str:
    how = {RunState.COMPLETED: "completed", RunState.FAILED: "failed", RunState.CANCELLED: "was cancelled"}
    failure = {"kind": "cancelled", "message": f"its ancestor {id_text(outcome.run_id)} {how[outcome.state]}"}
    return _json.encode(failure).decode()
