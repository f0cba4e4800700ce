"""Server-sent events: one stream for each tab, over as many topics as it follows.

    hello {schema, now, interval}
    view  {topic, version, view}          a whole picture
    delta {topic, version, of, delta}     what is different since the version `of` (deltas.py says how it is written)
    gone  {topic, code}                   there is no such thing (any more)
    trouble {topic, code}                 the database can't be asked just now; it is tried again

Topics: `tree:ID` (TreeView), `trees` (RunsPage: the newest roots), `workers` (WorkersView). All who follow a topic
share its pictures. It is looked at when the store has changed, and now and then for what changes with time alone; never
more often than its lens wants. While nobody follows anything, nothing is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from fanwood import logs
from fanwood.errors import RunNotFoundError, StoreError
from fanwood.ids import short_text
from fanwood.server.deltas import patch
from fanwood.server.problems import code_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

    from fanwood.ids import IdSource
    from fanwood.server.reader import Reader

SCHEMA = 1
BEAT = 15.0
"""Seconds without anything else before a comment is sent."""
CHECK = 5.0
"""Seconds between two looks whether who follows still may."""
PAUSE = 0.5
"""Seconds between two events of a topic, at least (but while it is read for the first time)."""
LARGE = 4096
"""Bytes of an event; what is larger comes as much less often."""
SLOW = 5.0
"""Seconds between two looks at what nothing is heard of."""
KEPT = 64
"""Deltas with which somebody who was cut off may go on; and topics that are kept for it."""
TROUBLE = 2.0
"""Seconds before a database that is away is asked again."""

logger = logs.logger("fanwood.server")


class Picture(NamedTuple):
    """What a topic looks like. `pause`: seconds before it may be looked at again. `more`: there is more to see at once,
    without a change."""

    view: msgspec.Struct
    pause: float = PAUSE
    more: bool = False


class Channel:
    """One topic, for all who follow it and may see the same."""

    def __init__(
        self,
        topic: str,
        epoch: str,
        look: Callable[[], Awaitable[Picture]],
        attend: Callable[[], Awaitable[None]],
    ) -> None:
        self.topic = topic
        self._epoch = epoch
        self._look = look
        self._attend = attend  # to what changes from now on
        self._number = 0  # of the last event
        self._events = deque[bytes](maxlen=KEPT)
        self._shown: dict[str, Any] | None = None
        self._version = ""  # of what is shown
        self._bells = set[asyncio.Event]()
        self._hint, self._hurry = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_followed(self) -> bool:
        """Whether anybody looks."""
        return bool(self._bells)

    def follow(self, bell: asyncio.Event) -> None:
        """Ring it when there is something new."""
        self._bells.add(bell)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name=f"fanwood-ui {self.topic}")

    def leave(self, bell: asyncio.Event) -> None:
        """Enough."""
        self._bells.discard(bell)
        if not self._bells and self._task is not None:
            self._task.cancel()
            self._task = None

    def hint(self) -> None:
        """The store has changed."""
        self._hint.set()

    def hurry(self) -> None:
        """Somebody has done something here, and waits to see it."""
        self._hurry.set()
        self._hint.set()

    def number_of(self, version: str) -> int:
        """Which of our events that was; 0: none from which one could go on."""
        epoch, _, text = version.partition(".")
        number = int(text) if text.isdecimal() and len(text) < KEPT else 0
        return number if epoch == self._epoch and 0 <= self._number - number <= len(self._events) else 0

    def news(self, seen: int) -> tuple[list[bytes], int]:
        """What is new for who has seen event `seen` (0: none), and which one they have seen then."""
        behind = self._number - seen
        if behind == 0:
            return [], seen
        if seen and behind <= len(self._events):
            return list(self._events)[-behind:], self._number
        return [self._events[-1] if self._shown is None else self._whole()], self._number

    # --- looking ---------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self._hint.clear()
            self._hurry.clear()
            try:
                await self._attend()
                found = await self._look()
            except RunNotFoundError as error:
                self._say("gone", code_of(type(error)))
                return
            except StoreError as error:
                logger.warning("%s can't be shown: %s", self.topic, error)
                self._say("trouble", code_of(type(error)))
                await asyncio.sleep(TROUBLE)
                continue
            except Exception:
                logger.exception("%s can't be shown", self.topic)
                self._say("gone", "internal")
                return
            size = self._show(found.view)
            if found.more:
                await asyncio.sleep(found.pause)
                continue
            await asyncio.sleep(PAUSE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(found.pause, PAUSE * size / LARGE) - PAUSE):
                    await self._hurry.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SLOW):
                    await self._hint.wait()

    def _show(self, view: msgspec.Struct) -> int:
        """How many bytes it takes to say what is new."""
        new: dict[str, Any] = msgspec.to_builtins(view)
        old, of = self._shown, self._version
        change = {} if old is None else patch(old, new)
        if old is not None and not change.keys() - {"as_of", "version"}:
            return 0
        self._shown, self._version = new, f"{self._epoch}.{self._number + 1}"
        said = self._whole()
        if old is not None:
            data = {"topic": self.topic, "version": self._version, "of": of, "delta": change}
            said = min(event("delta", data, self._version), said, key=len)
        self._publish(said)
        return len(said)

    def _whole(self) -> bytes:
        data = {"topic": self.topic, "version": self._version, "view": self._shown}
        return event("view", data, self._version)

    def _say(self, name: str, code: str) -> None:
        """There is nothing to show: what comes next is shown whole."""
        self._shown = None
        self._publish(event(name, {"topic": self.topic, "code": code}))

    def _publish(self, said: bytes) -> None:
        self._number += 1
        self._events.append(said)
        for bell in self._bells:
            bell.set()


def event(name: str, data: dict[str, Any], version: str | None = None) -> bytes:
    """One event, as it goes over the wire."""
    id_ = f"id: {version}\n" if version else ""
    return f"event: {name}\n{id_}data: ".encode() + msgspec.json.encode(data) + b"\n\n"


class Live:
    """All channels."""

    def __init__(self, reader: Reader, ids: IdSource) -> None:
        self._reader = reader
        self._ids = ids
        self._channels = OrderedDict[object, Channel]()
        self._is_over = False
        self._bells = set[asyncio.Event]()
        reader.on_change = self._changed

    def channel(self, key: object, topic: str, look: Callable[[], Awaitable[Picture]]) -> Channel:
        """That of a topic. `key`: the topic, and what else tells what is to be seen."""
        found = self._channels.get(key)
        if found is None:
            found = self._channels[key] = Channel(topic, short_text(self._ids.new_id()), look, self._reader.attend)
        self._channels.move_to_end(key)
        idle = [each for each, one in self._channels.items() if one is not found and not one.is_followed]
        for old in idle[: max(0, len(self._channels) - KEPT)]:
            del self._channels[old]
        return found

    async def stream(
        self, hello: bytes, channels: list[Channel], last: str, may: Callable[[], bool]
    ) -> AsyncGenerator[bytes, None]:
        """What one tab gets. `last`: the version that it saw last; `may`: whether it still may."""
        bell = asyncio.Event()
        seen = {channel: channel.number_of(last) for channel in channels}
        quiet = 0.0
        self._bells.add(bell)
        async with self._reader.watched():
            try:
                for channel in channels:
                    channel.follow(bell)
                yield hello
                while may() and not self._is_over:
                    bell.clear()
                    found = b"".join(self._since(seen)) or (b": \n\n" if quiet >= BEAT else b"")
                    if found:
                        quiet = 0.0
                        yield found
                    try:
                        async with asyncio.timeout(CHECK):
                            await bell.wait()
                    except TimeoutError:
                        quiet += CHECK
            finally:
                self._bells.discard(bell)
                for channel in channels:
                    channel.leave(bell)

    @staticmethod
    def _since(seen: dict[Channel, int]) -> Iterator[bytes]:
        for channel, number in seen.items():
            events, seen[channel] = channel.news(number)
            yield from events

    def hurry(self) -> None:
        """Somebody who looks has done something: they see it without the pauses that looking at its size would take."""
        for channel in self._channels.values():
            channel.hurry()

    def _changed(self) -> None:
        for channel in self._channels.values():
            channel.hint()

    @property
    def is_over(self) -> bool:
        """Whether the server ends."""
        return self._is_over

    def end(self) -> None:
        """The server ends: all streams do."""
        self._is_over = True
        for bell in self._bells:
            bell.set()
