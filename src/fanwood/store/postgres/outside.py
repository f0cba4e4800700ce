"""What comes to runs from outside, in PostgreSQL: see `store/outside.py`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from fanwood.model.budgets import Refusal
from fanwood.model.commands import Finished
from fanwood.model.matching import (
    LAST_MARK,
    Event,
    inbox_mark,
    is_spoilt,
    key_lock,
    key_mark,
    numbered_mark,
    probes,
    read,
    shape_end,
)
from fanwood.model.records import Settled
from fanwood.model.states import WAIT_NAMES, RunKind, RunState
from fanwood.store.failures import UNREADABLE, encode_failure
from fanwood.store.outside import AT_ONCE, Asking, EventFilter, Outside, same_event
from fanwood.store.parts import must_promise, must_receive
from fanwood.store.postgres.chores import PAGE, SQL, Work, chores
from fanwood.store.postgres.gates import part_of, wake
from fanwood.store.postgres.served import Served
from fanwood.store.postgres.shapes import KnownShapes, Shapes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.model.budgets import Spend
    from fanwood.store.postgres.connection import Transaction

_EVER = 2**62
_MOST = LAST_MARK[16:]
_shapes = msgspec.json.Decoder(list[tuple[int, str, str]]).decode
_pushed = msgspec.json.Decoder(tuple[int, list[int], set[int], list[tuple[str, int]]]).decode
_refusals = msgspec.json.Decoder(list[Refusal | None])
_encode = msgspec.json.Encoder().encode


class PostgresOutside(Served, Outside):
    """The verbs, on a store that has a server."""

    def __init__(self) -> None:
        super().__init__()
        self._ended: list[tuple[bytes, Finished]] = []
        self._shapes_known = KnownShapes()

    def take_ended(self) -> Sequence[tuple[bytes, Finished]]:
        ended, self._ended = self._ended, []
        return ended

    async def secret(self) -> str:
        return await self.side.call("secret") or ""

    async def number(self) -> int:
        return (await self._rows("number"))[0][0]

    async def take_over(self, secret: str, number: int) -> None:
        async with self.side.transaction() as db:
            await db.rows("take_over", SQL["take_over"], secret=secret)
            await db.rows("number_on", SQL["number_on"], number=number)

    async def _rows(self, name: str, **bindings: Any) -> list[Any]:
        async with self.side.transaction() as db:
            return await db.rows(name, SQL[name], **bindings)

    async def wake(self, run_id: bytes) -> bool:
        """See `Store.wake`."""
        return await wake(self, run_id)

    async def settle(self, run_id: bytes, state: RunState, output: str | None, error: str | None) -> Settled:
        kind, _ = await part_of(self, run_id)
        must_promise(run_id, kind)
        async with chores(self) as work:
            await work.db.call("fw_enter_gates")
            ((done, end, output, error, told),) = await work.db.call(
                "fw_settle", run_id, work.now, int(state), output, error
            )
            work.told += told
        return Settled(done, RunState(end), output, error)

    async def say(self, run_id: bytes, attempt: int, key: str, value: str) -> bool:
        async with self.side.transaction() as db:
            return await db.value("select fw_publish($1, $2, $3, $4)", run_id, attempt, key, value)

    async def value(self, run_id: bytes, key: str) -> str | None:
        await part_of(self, run_id)
        rows = await self._rows("value", id=run_id, key=key)
        return rows[0][0] if rows else None

    async def spend(self, spends: Sequence[Spend]) -> list[Refusal | None]:
        rows = [
            (
                one.run_id.hex(), one.attempt, one.id.hex(), one.amounts, one.reserve,
                None if one.of is None else one.of.hex(), one.release,
            )
            for one in spends
        ]  # fmt: skip
        return _refusals.decode(await self.side.call("spend", _encode(rows).decode()))

    # --- messages --------------------------------------------------------------------------------------------------

    async def send(self, run_id: bytes, name: str, envelope: str, once: bytes | None = None) -> bool:
        kind, _ = await part_of(self, run_id)
        must_receive(run_id, kind, over=False)
        place = inbox_mark(run_id, name)
        async with chores(self) as work:
            await work.db.call("fw_enter_gates")
            about = (run_id, name, envelope, once, place, place + LAST_MARK, AT_ONCE)
            ((answer, told, more),) = await work.db.call("fw_send", work.now, key_lock(place), *about)
            work.told += told
        must_receive(run_id, kind, over=answer != 0)
        return bool(more)

    async def deliver(self, run_id: bytes, name: str) -> None:
        place, more = inbox_mark(run_id, name), True
        while more:
            async with chores(self) as work:
                await work.db.call("fw_enter_gates")
                await work.db.value("select pg_advisory_xact_lock($1)", key_lock(place))
                about = (work.now, run_id, name, place, place + LAST_MARK, AT_ONCE)
                ((told, more),) = await work.db.call("fw_deliver", *about)
                work.told += told

    # --- events ----------------------------------------------------------------------------------------------------

    async def push(self, events: Sequence[Event]) -> list[Event]:
        return await self._push_at_once(events) or await self._push(events)

    async def _push_at_once(self, events: Sequence[Event]) -> list[Event] | None:
        """In one statement, where it is known which shapes are waited for; else that is asked for before. None: there
        is more to it, as an id is there already, or a wait is spoilt."""
        ids = [event.id for event in events]
        keys = {key: n for n, key in enumerate(dict.fromkeys(event.key for event in events), 1)}
        low = [key_mark(key) for key in keys]
        high = [mark + LAST_MARK for mark in low]
        shapes = await self._shapes_of(list(keys))
        if shapes is None or len(set(ids)) < len(ids):
            return None
        known = [mark for each in shapes.values() for mark in each.marks]
        sought: list[tuple[int, bytes, str]] = []
        asks: list[int] = []
        for n, event in enumerate(events, 1):
            for mark, is_asked in probes(event, shapes[event.key].texts):
                if is_asked:
                    asks.append(n)
                else:
                    sought.append((n, mark, event.payload))
        answer = await self.side.call(
            "push_at_once", self.given_now, self.notifies, [key_lock(mark) for mark in low], _written(events), ids,
            [keys[event.key] for event in events], low, high, known, asks, *map(list, zip(*sought, strict=True)),
            *([[], [], []] if not sought else []), _MOST, AT_ONCE,
        )  # fmt: skip
        if answer is None:
            return None
        at, numbers, left, ended = _pushed(answer)
        if left:
            self._shapes_known.forget({events[n - 1].key for n in left})
        self._ended += [(bytes.fromhex(id_), _ended_by(sought[n - 1][2])) for id_, n in ended]
        return [
            replace(event, at=at, number=number, open=n in left)
            for n, (event, number) in enumerate(zip(events, numbers, strict=True), 1)
        ]

    async def _shapes_of(self, keys: Sequence[str]) -> dict[str, Shapes] | None:
        """Those of each key, as they were a moment ago. None: a wait is spoilt."""
        now = asyncio.get_running_loop().time()
        shapes = {key: self._shapes_known.of(key, now) for key in keys}
        unknown = [key for key, known in shapes.items() if known is None]
        found = {key: Shapes() for key in unknown}
        if unknown:
            low = [key_mark(key) for key in unknown]
            high = [mark + LAST_MARK for mark in low]
            for n, mark, text in _shapes(await self.side.call("shapes_of", low, high, _MOST)):
                key, at = unknown[n - 1], bytes.fromhex(mark)
                if is_spoilt(text, at, key):
                    return None
                found[key].texts.append(text)
                found[key].marks.append(at[:16])
            for key, each in found.items():
                self._shapes_known.learn(key, each, now)
        return {key: known or found[key] for key, known in shapes.items()}

    async def _push(self, events: Sequence[Event]) -> list[Event]:
        keys, spoilt = [key_lock(key_mark(event.key)) for event in events], list[bytes]()
        async with chores(self) as work:
            await work.db.call("fw_enter_gates")
            rows = await work.db.call("fw_push", work.now, keys, _written(events))
            new: dict[str, Event] = {}
            for event, (_, number, digest) in zip(events, rows, strict=True):
                if digest is None:
                    new[event.id] = replace(event, at=work.now, number=number, open=True)
                else:
                    same_event(event, digest, event)
            more, _ = await self._end(work, list(new.values()), spoilt, waits=False)
            await work.db.rows("close_event", SQL["close_event"], events=sorted(new.keys() - more))
            known = {id_: replace(event, open=id_ in more) for id_, event in new.items()}
            for event in events:
                if event.id not in known and (there := await self._event(work.db, event.id)) is not None:
                    known[event.id] = there
        await self._fail_spoilt(spoilt)
        return [known[event.id] for event in events]

    async def _end(
        self, work: Work, events: Sequence[Event], spoilt: list[bytes], *, waits: bool
    ) -> tuple[set[str], bool]:
        """End waits; of which events there is more to be done, and whether that is any but to ask expressions. `waits`:
        also for those that others hold, if there are no others."""
        more: set[str] = set()
        sought: list[tuple[bytes, bytes, str]] = []
        owners: list[str] = []
        shapes = {key: await self._shapes(work.db, key, spoilt) for key in {event.key: None for event in events}}
        for event in events:
            for mark, asks in probes(event, shapes[event.key]):
                if asks:
                    more.add(event.id)
                else:
                    sought.append((mark, numbered_mark(mark, event.number), event.payload))
                    owners.append(event.id)
        if not sought:
            return more, False
        columns = [list(column) for column in zip(*sought, strict=True)]
        ((_, left, told, *_),) = await work.db.call(
            "fw_end_waits", work.now, *columns, PAGE if waits else AT_ONCE, waits
        )
        work.told += told
        return more | {owners[n - 1] for n in left}, bool(left)

    async def _shapes(self, db: Transaction, key: str, spoilt: list[bytes]) -> list[str]:
        """Of each shape that is waited for under a key what one wait wants; and what is in the way, into `spoilt`."""
        places = [(key_mark(key), key_mark(key) + LAST_MARK)]
        found: list[str] = []
        while places:
            for id_, mark, text in await db.call("fw_shapes", *places.pop(), _MOST):
                if not is_spoilt(text, mark, key):
                    found.append(text)
                    continue
                places.append((mark, shape_end(mark)))  # others of its shape
                if len(spoilt) < AT_ONCE:
                    spoilt.append(id_)
        return found

    async def _fail_spoilt(self, waits: Sequence[bytes]) -> None:
        """Nobody can tell what they want. Each by itself, as whoever holds one is waited for."""
        for id_ in waits:
            async with chores(self) as work:
                await work.db.call("fw_enter_gates")
                error = encode_failure(UNREADABLE)
                ((*_, told),) = await work.db.call("fw_settle", id_, work.now, int(RunState.FAILED), None, error)
                work.told += told

    async def _event(self, db: Transaction, event_id: str) -> Event | None:
        rows = await db.rows("event", SQL["event"], event=event_id)
        return _event(rows[0]) if rows else None

    async def spread(self, event: Event) -> bool:
        spoilt: list[bytes] = []
        async with chores(self) as work:
            await work.db.call("fw_enter_gates")
            _, left = await self._end(work, [event], spoilt, waits=True)
        await self._fail_spoilt(spoilt)
        return left

    async def asking(self, event: Event, after: bytes, limit: int) -> list[Asking]:
        found: list[Asking] = []
        async with self.side.transaction() as db:
            for mark, asks in probes(event, await self._shapes(db, event.key, [])):
                if asks:
                    place = {"mark": max(mark, after), "mark_end": numbered_mark(mark, event.number), "limit": limit}
                    rows = await db.rows("awaiting", SQL["awaiting"], **place)
                    found += [Asking(at, id_, read(text).expression or "") for at, id_, text in rows]
        return sorted(found)[:limit]

    async def fulfil(self, event: Event, ids: Sequence[bytes], spoilt: Sequence[bytes] = ()) -> None:
        async with chores(self) as work:
            await work.db.call("fw_enter_gates")
            work.told += await work.db.value("select fw_fulfil($1, $2, $3)", work.now, list(ids), event.payload)
        await self._fail_spoilt(spoilt)

    async def close_event(self, event_id: str) -> None:
        await self._rows("close_event", events=[event_id])

    async def open_events(self, limit: int) -> list[Event]:
        return [_event(row) for row in await self._rows("open_events", limit=limit)]

    async def event(self, event_id: str) -> Event | None:
        async with self.side.transaction() as db:
            return await self._event(db, event_id)

    async def events(self, filter_: EventFilter) -> list[Event]:
        until = _EVER if filter_.before is None else filter_.before
        about: dict[str, Any] = {"scope": filter_.scope, "since": filter_.since, "upto": until, "limit": filter_.limit}
        if filter_.key is None:
            return [_event(row) for row in await self._rows("events", **about)]
        return [_event(row) for row in await self._rows("events_of_key", key=filter_.key, **about)]

    async def forget_events(self, before: int, limit: int) -> int:
        async with self.side.transaction() as db:
            return len(await db.rows("forget_events", SQL["forget_events"], since=before, limit=limit))


def _ended_by(payload: str) -> Finished:
    return Finished(RunState.COMPLETED, payload, None, WAIT_NAMES[RunKind.EVENT])


def _written(events: Sequence[Event]) -> str:
    return _encode(
        [
            {
                "id": e.id, "key": e.key, "scope": e.scope, "payload": e.payload, "metadata": e.metadata,
                "digest": e.digest.hex(),
            }
            for e in events
        ]
    ).decode()  # fmt: skip


def _event(row: Any) -> Event:
    *about, is_open = row
    return Event(*about, open=bool(is_open))
