"""What comes to runs from outside: the verbs by which a wait ends that no clock ends, and events, which end many."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from fanwood.errors import EventConflictError
from fanwood.store.spending import Spending

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.model.commands import Finished
    from fanwood.model.matching import Event
    from fanwood.model.records import Settled
    from fanwood.model.states import RunState

AT_ONCE = 1_000
"""Waits that one transaction ends; an event that ends more is open, and the rest follows."""
SPREAD = 100
"""So many of the rest at a time: who commits beside it waits for one page, and a page of a thousand takes a third of a
second where the machine is busy."""


class Asking(NamedTuple):
    """A wait of which an expression decides. `mark`: where it stands."""

    mark: bytes
    id: bytes
    expression: str


class EventFilter(msgspec.Struct, frozen=True):
    """Which events: the latest before `before` (a number), or all."""

    key: str | None = None
    scope: str | None = None
    since: int = 0
    before: int | None = None
    limit: int = 100


class Outside(Spending):
    """The verbs. Each that changes something is one transaction."""

    @abstractmethod
    async def secret(self) -> str:
        """What tokens of promises are made with: another one in each store."""

    @abstractmethod
    async def number(self) -> int:
        """The number of the last event, or wait for one."""

    @abstractmethod
    async def take_over(self, secret: str, number: int) -> None:
        """Go on with another store's secret and numbers: what it holds was copied from there."""

    @abstractmethod
    async def settle(self, run_id: bytes, state: RunState, output: str | None, error: str | None) -> Settled:
        """End a promise (COMPLETED or FAILED), unless it has ended, or ends with its parent. What it is then.

        Raises:
            RunNotFoundError: there is no such run.
            UsageError: it is no promise.
        """

    @abstractmethod
    async def say(self, run_id: bytes, attempt: int, key: str, value: str) -> bool:
        """A run says something of itself; False if that attempt is over."""

    @abstractmethod
    async def value(self, run_id: bytes, key: str) -> str | None:
        """What a run said last under a key.

        Raises:
            RunNotFoundError: there is no such run.
        """

    @abstractmethod
    async def send(self, run_id: bytes, name: str, envelope: str, once: bytes | None = None) -> bool:
        """Send a message to a run; what waits for one gets it, or it is kept until then. `once`: what is sent twice
        under it is sent once. True: it is sent, and what waits for it may be behind more than was looked at (or it was
        sent before, and nobody may know that), so it is to be delivered yet (`deliver`).

        Raises:
            RunNotFoundError: there is no such run.
            RunEndedError: it has ended.
            UsageError: it is a part of a run, and receives nothing.
        """

    @abstractmethod
    async def deliver(self, run_id: bytes, name: str) -> None:
        """Give a run's messages of one name to its receives that wait for them: in the order in which they were sent,
        and asked for; each once. At most `AT_ONCE` in one transaction, and again until there is nothing to give, or to
        give to: each receive says this when it is kept."""

    def take_ended(self) -> Sequence[tuple[bytes, Finished]]:
        """Waits that verbs have ended here since this was asked last, as far as that is known: who waits for them in
        this process need not look for mail first. (It comes all the same, and to all.)"""
        return ()

    @abstractmethod
    async def push(self, events: Sequence[Event]) -> list[Event]:
        """Keep events, and end waits that they end: `AT_ONCE` in all, and not those of which it did not know what they
        want. As they are kept (`open`: see `finish`); those whose ids are there already are as they were.

        Raises:
            EventConflictError: an id belongs to another event. Nothing is kept.
        """

    @abstractmethod
    async def spread(self, event: Event) -> bool:
        """End some more of the waits that an event ends; whether there are more yet."""

    @abstractmethod
    async def asking(self, event: Event, after: bytes, limit: int) -> list[Asking]:
        """Waits that an event ends if their expression says so, from the mark after `after` on."""

    @abstractmethod
    async def fulfil(self, event: Event, ids: Sequence[bytes], spoilt: Sequence[bytes] = ()) -> None:
        """End these waits, if they wait still. `spoilt`: these fail, as nobody can read what they want."""

    @abstractmethod
    async def close_event(self, event_id: str) -> None:
        """All waits that it may end were looked at."""

    @abstractmethod
    async def open_events(self, limit: int) -> list[Event]:
        """Those of which waits are yet to be looked at, the oldest first."""

    @abstractmethod
    async def event(self, event_id: str) -> Event | None:
        """The event of that id."""

    @abstractmethod
    async def events(self, filter_: EventFilter) -> list[Event]:
        """Events, the latest first."""

    @abstractmethod
    async def forget_events(self, before: int, limit: int) -> int:
        """Delete some that happened before then; how many."""


def same_event(kept: Event, digest: bytes, given: Event) -> Event:
    """One that is kept already under the id that is given.

    Raises:
        EventConflictError: it is another one.
    """
    if digest != given.digest:
        raise EventConflictError(
            f"The event id {given.id!r} is taken: it belongs to an event with another key, payload or scope than this "
            f"one, {given.key!r}. Use an id of its own for each event."
        )
    return kept
