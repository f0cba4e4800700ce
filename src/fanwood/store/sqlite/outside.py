"""What comes to runs from outside, in a file: see `store/outside.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from fanwood.model.matching import (
    LAST_MARK,
    Event,
    inbox_mark,
    is_spoilt,
    key_mark,
    numbered_mark,
    probes,
    read,
    shape_end,
)
from fanwood.model.records import Settled
from fanwood.model.states import RunState
from fanwood.store.failures import UNREADABLE, encode_failure
from fanwood.store.outside import AT_ONCE, SPREAD, Asking, EventFilter, Outside, same_event
from fanwood.store.parts import must_promise, must_receive
from fanwood.store.sqlite.connection import translated
from fanwood.store.sqlite.driver import mended
from fanwood.store.sqlite.infile import InFile
from fanwood.store.sqlite.leaving import encoded
from fanwood.store.statements import load

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fanwood.model.budgets import Refusal, Spend
    from fanwood.store.sqlite.driver import Database
    from fanwood.store.sqlite.leaving import Leaving

_SQL = load("sqlite/outside.sql")
_end = msgspec.json.Decoder(tuple[RunState, str | None, str | None])
_EVER = 2**62


class _Ends:
    """What one transaction has found out: shapes, by key; the waits that it ends, with attempts and outputs; and those
    that somebody has spoilt, with attempts."""

    __slots__ = ("found", "shapes", "spoilt")

    def __init__(self) -> None:
        self.found: dict[str, tuple[int, str]] = {}
        self.shapes: dict[str, list[str]] = {}
        self.spoilt: dict[str, int] = {}


class SqliteOutside(InFile, Outside):
    """The verbs, on a store that has a file."""

    _leaving: Leaving
    _connection: Database | None
    path: Path

    def _value(self, name: str) -> Any:
        assert self._connection is not None
        with translated(self.path):
            return self._connection.execute(_SQL[name]).get

    async def secret(self) -> str:
        return mended(self._value("secret")) or ""

    async def number(self) -> int:
        return self._value("number")

    async def take_over(self, secret: str, number: int) -> None:
        with self._transaction() as db:
            db.execute(_SQL["take_over"], {"secret": secret, "number": number})

    async def settle(self, run_id: bytes, state: RunState, output: str | None, error: str | None) -> Settled:
        with self._transaction() as db:
            before, attempt, _, _, kind = self._about(run_id)
            must_promise(run_id, kind)
            id_ = run_id.hex().upper()
            waits = before is RunState.WAITING
            if waits and (closed := self._leaving.closed([id_])):
                return Settled(False, RunState.CANCELLED, None, closed[id_])
            if waits:
                self._leaving.fulfil(self._instant(), [(id_, attempt)], state, output, error)
            ended = Settled(waits, *_end.decode(db.execute(_SQL["how_it_ended"], {"id": run_id}).get))
        self._on_notify()  # our own worker is told as well
        return ended

    async def say(self, run_id: bytes, attempt: int, key: str, value: str) -> bool:
        with self._transaction() as db:
            db.execute(_SQL["publish"], {"run": run_id, "attempt": attempt, "key": key, "value": value})
            return db.changes() > 0

    async def value(self, run_id: bytes, key: str) -> str | None:
        with translated(self.path):
            self._about(run_id)
        return await self._reader.read(lambda db: db.execute(_SQL["value"], {"run": run_id, "key": key}).get)

    async def spend(self, spends: Sequence[Spend]) -> list[Refusal | None]:
        with self._transaction():
            return self._leaving.budgets.spend(spends)

    # --- messages --------------------------------------------------------------------------------------------------

    async def send(self, run_id: bytes, name: str, envelope: str, once: bytes | None = None) -> bool:
        with self._transaction() as db:
            state, _, _, _, kind = self._about(run_id)
            if once is not None and db.execute(_SQL["was_sent"], {"run": run_id, "once": once}).get:
                return True
            must_receive(run_id, kind, over=state.is_terminal or bool(self._leaving.closed([run_id.hex().upper()])))
            about = {"run": run_id, "number": self._leaving.next_number(), "name": name, "envelope": envelope}
            db.execute(_SQL["send"], {**about, "once": once})
            more = self._deliver(db, run_id, name)
        self._on_notify()
        return more

    async def deliver(self, run_id: bytes, name: str) -> None:
        more = True
        while more:
            with self._transaction() as db:
                more = self._deliver(db, run_id, name)
            self._on_notify()

    def _deliver(self, db: Database, run_id: bytes, name: str) -> bool:
        """Whether there may be more to be done."""
        place, now = inbox_mark(run_id, name), self._instant()
        about = {"after": place, "end": place + LAST_MARK, "limit": 1}
        for _ in range(AT_ONCE):
            row = db.execute(_SQL["sent"], {"run": run_id, "name": name}).fetchone()
            wait = None if row is None else db.execute(_SQL["awaiting"], about).fetchone()
            if row is None or wait is None:
                return False  # those that wait on are not looked at
            id_, attempt, about["after"], text = wait
            if read(mended(text) or "").key != name:
                self._fail_spoilt({id_: attempt})
            elif not self._leaving.end_closed(now, [(id_, attempt, int(RunState.WAITING))]):
                number, envelope = row
                self._leaving.fulfil(now, [(id_, attempt)], RunState.COMPLETED, envelope, None)
                received = {"run": run_id, "name": name, "number": number}
                db.execute(_SQL["received"], received)
                db.execute(_SQL["received_once"], received)
        return True

    # --- events ----------------------------------------------------------------------------------------------------

    async def push(self, events: Sequence[Event]) -> list[Event]:
        kept: list[Event] = []
        with self._transaction() as db:
            left, ends = AT_ONCE, _Ends()
            for event in events:
                there = db.execute(_SQL["event"], {"id": event.id}).fetchone()
                if there is not None:
                    digest = db.execute(_SQL["event_digest"], {"id": event.id}).get
                    kept.append(same_event(_event(there), digest, event))
                    continue
                number = self._leaving.next_number()
                new = replace(event, at=self._instant(), number=number)
                ended, more = self._find(db, new, left, ends)
                left -= ended
                kept.append(new := replace(new, open=more))
                db.execute(_SQL["push_event"], {**_bindings(new), "digest": new.digest})
            self._fulfil(ends.found)
            self._fail_spoilt(ends.spoilt)
        self._on_notify()
        return kept

    def _find(self, db: Database, event: Event, limit: int, ends: _Ends) -> tuple[int, bool]:
        """The waits that an event ends; how many, and whether there is more to be done."""
        left, more = limit, False
        if (shapes := ends.shapes.get(event.key)) is None:
            shapes = ends.shapes[event.key] = self._shapes(db, event, ends.spoilt)
        for mark, asks in probes(event, shapes):
            if asks:
                more = True
                continue
            found = self._awaiting(db, mark, b"", event.number, left + 1 + len(ends.found))
            new = [(id_, attempt) for id_, attempt, *_ in found if id_ not in ends.found]
            more = more or len(new) > left
            ends.found.update((id_, (attempt, event.payload)) for id_, attempt in new[:left])
            left -= min(left, len(new))
        return limit - left, more

    def _shapes(self, db: Database, event: Event, spoilt: dict[str, int]) -> list[str]:
        """Of each shape that is waited for under a key what one wait wants; and what is in the way, into `spoilt`."""
        found, place = list[str](), key_mark(event.key)
        end = place + LAST_MARK
        while row := db.execute(_SQL["next_shape"], {"after": place, "end": end}).fetchone():
            id_, attempt, place, text = row
            text = mended(text) or ""
            if is_spoilt(text, place, event.key):
                if len(spoilt) < AT_ONCE:
                    spoilt[id_] = attempt
                continue
            found.append(text)
            place = shape_end(place)
        return found

    def _awaiting(self, db: Database, mark: bytes, after: bytes, number: int, limit: int) -> list[Any]:
        place = {"after": max(mark, after), "end": numbered_mark(mark, number), "limit": limit}
        return db.execute(_SQL["awaiting"], place).fetchall()

    def _fulfil(self, waits: dict[str, tuple[int, str]]) -> None:
        now, leaving = self._instant(), self._leaving
        closed = leaving.end_closed(now, [(id_, attempt, int(RunState.WAITING)) for id_, (attempt, _) in waits.items()])
        left = [(id_, attempt, payload) for id_, (attempt, payload) in waits.items() if id_ not in closed]
        if left:
            leaving.come(now, left)

    def _fail_spoilt(self, waits: dict[str, int]) -> None:
        """Nobody can tell what they want."""
        now, error = self._instant(), encode_failure(UNREADABLE)
        closed = self._leaving.end_closed(now, [(id_, n, int(RunState.WAITING)) for id_, n in waits.items()])
        if left := [(id_, attempt) for id_, attempt in waits.items() if id_ not in closed]:
            self._leaving.fulfil(now, left, RunState.FAILED, None, error)

    async def spread(self, event: Event) -> bool:
        assert self._connection is not None
        with self._unsynced():  # should it be lost, the event is open still
            ended, _ = self._find(self._connection, event, SPREAD, ends := _Ends())
            self._fulfil(ends.found)
            self._fail_spoilt(ends.spoilt)
        self._on_notify()
        return ended == SPREAD

    async def asking(self, event: Event, after: bytes, limit: int) -> list[Asking]:
        assert self._connection is not None
        db, found = self._connection, list[Asking]()
        with translated(self.path):
            for mark, asks in probes(event, self._shapes(db, event, {})):
                for id_, _, at, text in self._awaiting(db, mark, after, event.number, limit) if asks else ():
                    found.append(Asking(at, bytes.fromhex(id_), read(mended(text) or "").expression or ""))
        return sorted(found)[:limit]

    async def fulfil(self, event: Event, ids: Sequence[bytes], spoilt: Sequence[bytes] = ()) -> None:
        with self._transaction() as db:
            self._fulfil({id_: (attempt, event.payload) for id_, attempt in _still_waiting(db, ids)})
            self._fail_spoilt(dict(_still_waiting(db, spoilt)))
        self._on_notify()

    async def close_event(self, event_id: str) -> None:
        with self._transaction() as db:
            db.execute(_SQL["close_event"], {"id": event_id})

    async def open_events(self, limit: int) -> list[Event]:
        assert self._connection is not None
        with translated(self.path):
            return [_event(row) for row in self._connection.execute(_SQL["open_events"], {"limit": limit}).fetchall()]

    async def event(self, event_id: str) -> Event | None:
        row = await self._reader.read(lambda db: db.execute(_SQL["event"], {"id": event_id}).fetchone())
        return None if row is None else _event(row)

    async def events(self, filter_: EventFilter) -> list[Event]:
        about = filter_bindings(filter_)
        name = "events" if filter_.key is None else "events_of_key"
        return [_event(row) for row in await self._reader.read(lambda db: db.execute(_SQL[name], about).fetchall())]

    async def forget_events(self, before: int, limit: int) -> int:
        with self._transaction() as db:
            db.execute(_SQL["forget_events"], {"before": before, "limit": limit})
            return db.changes()


def filter_bindings(filter_: EventFilter) -> dict[str, Any]:
    """What the statements take."""
    about: dict[str, Any] = msgspec.structs.asdict(filter_)
    about["before"] = _EVER if filter_.before is None else filter_.before
    if filter_.key is None:
        del about["key"]
    return about


def _still_waiting(db: Database, ids: Sequence[bytes]) -> Sequence[tuple[str, int]]:
    """Of these waits, with their attempts."""
    return db.execute(_SQL["still_waiting"], {"ids": encoded([id_.hex() for id_ in ids])}).fetchall() if ids else ()


def _bindings(event: Event) -> dict[str, Any]:
    return {**msgspec.structs.asdict(event), "open": int(event.open)}


def _event(row: Any) -> Event:
    *about, is_open = row
    return Event(*about, open=bool(is_open))
