"""What comes to runs from outside, in memory: see `store/outside.py`."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from msgspec.structs import replace

from fanwood.model.matching import LAST_MARK, Event, inbox_mark, key_mark, numbered_mark, probes, read, shape_end
from fanwood.model.records import Settled
from fanwood.model.states import RunState
from fanwood.store.failures import UNREADABLE, encode_failure
from fanwood.store.memory import budgets
from fanwood.store.memory.tables import Message
from fanwood.store.outside import AT_ONCE, SPREAD, Asking, EventFilter, Outside, same_event
from fanwood.store.parts import must_promise, must_receive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fanwood.model.budgets import Balance, Counted, Refusal, Spend
    from fanwood.store.memory.memory import Memory
    from fanwood.store.memory.tables import Run


class MemoryOutside(Outside):
    """The verbs, on a store that has a memory."""

    _memory: Memory
    _user: int
    _on_notify: Callable[[], None]

    def _run(self, run_id: bytes) -> Run:
        raise NotImplementedError

    async def secret(self) -> str:
        return self._memory.tables.secret

    async def number(self) -> int:
        return self._memory.tables.number

    async def take_over(self, secret: str, number: int) -> None:
        tables = self._memory.tables
        tables.secret, tables.number = secret, max(tables.number, number)

    async def settle(self, run_id: bytes, state: RunState, output: str | None, error: str | None) -> Settled:
        leaving = self._memory.hot.leaving
        with self._memory.transaction(self._user) as now:
            run = self._run(run_id)
            must_promise(run_id, run.kind)
            waits = run.state == RunState.WAITING
            if waits and (closed := leaving.closed(run)) is not None:
                return Settled(False, RunState.CANCELLED, None, closed)
            if waits:
                leaving.fulfil(now, run, state, output, error)
            settled = Settled(waits, RunState(run.state), run.output, run.error)
        self._on_notify()  # our own worker is told as well
        return settled

    async def say(self, run_id: bytes, attempt: int, key: str, value: str) -> bool:
        with self._memory.transaction(self._user):
            run = self._memory.tables.runs.get(run_id)
            if run is None or not run.is_at(RunState.RUNNING, attempt):
                return False
            self._memory.tables.values.setdefault(run_id, {})[key] = value
        return True

    async def value(self, run_id: bytes, key: str) -> str | None:
        with self._memory.reading() as tables:
            return tables.values.get(self._run(run_id).id, {}).get(key)

    # --- budgets ---------------------------------------------------------------------------------------------------

    async def spend(self, spends: Sequence[Spend]) -> list[Refusal | None]:
        with self._memory.transaction(self._user):
            return self._memory.hot.leaving.budgets.spend(spends)

    async def balances(self, run_id: bytes) -> list[Balance]:
        with self._memory.reading() as tables:
            return budgets.balances(tables, run_id)

    async def spent(
        self, root_id: bytes, run_id: bytes | None = None, limit: int = 1000
    ) -> list[tuple[bytes, str, int]]:
        with self._memory.reading() as tables:
            return budgets.spent(tables, root_id, run_id, limit)

    async def counted(self, root_id: bytes | None = None) -> list[Counted]:
        with self._memory.reading() as tables:
            return budgets.counted(tables, root_id)

    # --- messages --------------------------------------------------------------------------------------------------

    async def send(self, run_id: bytes, name: str, envelope: str, once: bytes | None = None) -> bool:
        tables = self._memory.tables
        with self._memory.transaction(self._user) as now:
            run = self._run(run_id)
            sent = tables.messages.setdefault(run_id, {})
            if once is not None and any(each.once == once for each in sent.values()):
                return True
            must_receive(run_id, run.kind, over=run.is_over or self._memory.hot.leaving.closed(run) is not None)
            message = Message(run_id, name, tables.next_number(), envelope, once)
            sent[message.number] = message
            more = self._deliver(now, run_id, name)
        self._on_notify()
        return more

    async def deliver(self, run_id: bytes, name: str) -> None:
        more = True
        while more:
            with self._memory.transaction(self._user) as now:
                more = self._deliver(now, run_id, name)
            self._on_notify()

    def _deliver(self, now: int, run_id: bytes, name: str) -> bool:
        """Whether there may be more to be done."""
        tables, leaving, place = self._memory.tables, self._memory.hot.leaving, inbox_mark(run_id, name)
        sent = tables.messages.get(run_id, {})
        after = (place, b"")
        for _ in range(AT_ONCE):
            found = min((number for number, message in sent.items() if message.name == name), default=None)
            after = next(iter(tables.order("awaiting").after(after)), None)
            if found is None or after is None or after[0] >= place + LAST_MARK:
                return False  # those that wait on are not looked at
            run = tables.runs[after[1]]
            if leaving.end_closed(now, [run]):
                continue
            if read(run.input).key != name:
                leaving.fulfil(now, run, RunState.FAILED, None, encode_failure(UNREADABLE))
            else:
                leaving.fulfil(now, run, RunState.COMPLETED, sent[found].envelope, None)
                if (there := sent.pop(found)).once is not None:  # so that it is known
                    sent[found] = replace(there, name="", envelope="")
        return True

    # --- events ----------------------------------------------------------------------------------------------------

    async def push(self, events: Sequence[Event]) -> list[Event]:
        tables = self._memory.tables
        kept: list[Event] = []
        with self._memory.transaction(self._user) as now:
            first = {event.id: event for event in reversed(events)}
            there = {event.id: tables.events.get(event.id, first[event.id]) for event in events}
            for event in events:
                same_event(there[event.id], there[event.id].digest, event)
            left = AT_ONCE
            for event in events:
                if event.id not in tables.events:
                    new = replace(event, at=now, number=tables.next_number(), open=True)
                    ended, more = self._end(now, new, left)
                    left -= ended
                    tables.events[event.id] = replace(new, open=more)
                kept.append(tables.events[event.id])
        self._on_notify()
        return kept

    def _end(self, now: int, event: Event, limit: int) -> tuple[int, bool]:
        """End waits; how many, and whether there is more to be done."""
        leaving, more, ended = self._memory.hot.leaving, False, 0
        for run, _, expression in self._found(event):
            if expression is not None or ended == limit:
                more = True
            elif not leaving.end_closed(now, [run]):
                leaving.fulfil(now, run, RunState.COMPLETED, event.payload, None)
                ended += 1
        return ended, more

    def _found(self, event: Event) -> Iterator[tuple[Run, bytes, str | None]]:
        """Waits that an event may end, with their marks and expressions."""
        tables = self._memory.tables
        order = tables.order("awaiting")
        for mark, _ in list(probes(event, self._shapes(event))):
            end = numbered_mark(mark, event.number)
            found = list(order.after((mark, b"")))
            for at, id_ in found:
                if at >= end:
                    break
                yield tables.runs[id_], at, read(tables.runs[id_].input).expression

    def _shapes(self, event: Event) -> list[str]:
        """Of each shape that is waited for under a key what one wait wants."""
        tables, place = self._memory.tables, key_mark(event.key)
        found: list[str] = []
        while entry := next(islice(tables.order("awaiting").after((place, b"")), 1), None):
            mark, id_ = entry
            if mark > key_mark(event.key) + LAST_MARK:
                break
            found.append(tables.runs[id_].input)
            place = shape_end(mark)
        return found

    async def spread(self, event: Event) -> bool:
        with self._memory.transaction(self._user) as now:
            ended, _ = self._end(now, event, SPREAD)
        self._on_notify()
        return ended == SPREAD

    async def asking(self, event: Event, after: bytes, limit: int) -> list[Asking]:
        with self._memory.reading():
            found = [Asking(mark, run.id, said) for run, mark, said in self._found(event) if said is not None]
        return sorted(each for each in found if each.mark > after)[:limit]

    async def fulfil(self, event: Event, ids: Sequence[bytes], spoilt: Sequence[bytes] = ()) -> None:
        leaving, error = self._memory.hot.leaving, encode_failure(UNREADABLE)
        ends = [(id_, RunState.COMPLETED, event.payload, None) for id_ in ids]
        ends += [(id_, RunState.FAILED, None, error) for id_ in spoilt]
        with self._memory.transaction(self._user) as now:
            for id_, state, output, why in ends:
                run = self._memory.tables.runs.get(id_)
                if run is not None and run.state == RunState.WAITING and not leaving.end_closed(now, [run]):
                    leaving.fulfil(now, run, state, output, why)
        self._on_notify()

    async def close_event(self, event_id: str) -> None:
        with self._memory.transaction(self._user):
            events = self._memory.tables.events
            if event_id in events:
                events[event_id] = replace(events[event_id], open=False)

    async def open_events(self, limit: int) -> list[Event]:
        with self._memory.reading() as tables:
            found = [event for event in tables.events.values() if event.open]
            return sorted(found, key=lambda event: event.number)[:limit]

    async def event(self, event_id: str) -> Event | None:
        with self._memory.reading() as tables:
            return tables.events.get(event_id)

    async def events(self, filter_: EventFilter) -> list[Event]:
        with self._memory.reading() as tables:
            found = [event for event in tables.events.values() if _is_in(filter_, event)]
            return sorted(found, key=lambda event: -event.number)[: filter_.limit]

    async def forget_events(self, before: int, limit: int) -> int:
        with self._memory.transaction(self._user):
            events = self._memory.tables.events
            old = sorted((e.number, e.id) for e in events.values() if e.at < before and not e.open)[:limit]
            for _, event_id in old:
                del events[event_id]
        return len(old)


def _is_in(filter_: EventFilter, event: Event) -> bool:
    return (
        (filter_.key is None or event.key == filter_.key)
        and (filter_.scope is None or event.scope == filter_.scope)
        and event.at >= filter_.since
        and (filter_.before is None or event.number < filter_.before)
    )
