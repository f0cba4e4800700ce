"""The members of a group: children that are asked for one by one, at once, and are sent as the group's limit allows."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.engine.waits import Stream
from fanwood.errors import UsageError
from fanwood.model.states import Awaited
from fanwood.sdk.children.births import Birth
from fanwood.sdk.children.planned import Planned
from fanwood.sdk.children.sharing import link_content
from fanwood.sdk.children.spawning import Spawner
from fanwood.sdk.recording.origins import learn_large
from fanwood.sdk.recording.recalling import learn_keys
from fanwood.sdk.recording.recording import parts_of
from fanwood.sdk.running.answers import Answer
from fanwood.sdk.running.attempt import registering

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.engine.inbox import SpawnRequest
    from fanwood.model.commands import Ended, SpawnKind
    from fanwood.sdk.declaring.items import BulkRunItem
    from fanwood.sdk.declaring.options import TriggerWorkflowOptions
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.sdk.running.keys import Keys


class _Stream(Stream):
    """Sends the next request of those that are held as soon as one has ended (on the engine's thread)."""

    __slots__ = ("_held", "_in_flight", "_limit", "_send", "enough", "roomless", "stopped")

    def __init__(self, limit: int | None, send: Callable[[SpawnRequest, Birth], None]) -> None:
        super().__init__(owns=True)
        self._limit = limit
        self._send = send
        self._held: deque[tuple[int, SpawnRequest, Birth]] = deque()
        self._in_flight = 0
        self.roomless: set[int] = set()  # that had ended before: they were not sent
        self.stopped = False
        self.enough: Callable[[], tuple[Awaited, int]] = lambda: (Awaited.WAKES, 1)  # what ends mean

    def send(self, number: int, request: SpawnRequest, birth: Birth) -> None:
        """Send it, or hold it until there is room. Under `registering`, as all of these."""
        if self._limit is None or self._in_flight < self._limit:
            self._in_flight += 1
            self._send(request, birth)
        else:
            birth.is_held = True
            self._held.append((number, request, birth))

    def put(self, index: int, finished: Ended) -> None:
        if self._limit is not None and index in self._open and index not in self.roomless:
            with registering:
                self._in_flight -= 1
                if self._held and not self.stopped:
                    self._in_flight += 1
                    self._send(*self._held.popleft()[1:])
        super().put(index, finished)

    def awaited(self) -> tuple[list[bytes], Awaited, int]:
        """As above; but after how many ends the group could be over, it knows. With some held each end lets one go."""
        if not self._held:
            left, _, _ = super().awaited()
            return left, *self.enough()
        held = {number for number, _, _ in list(self._held)}
        sent = [id_ for number, id_ in self.under_way() if number in self._open and number not in held]
        return [] if self._come else sent, Awaited.WAKES, 1

    def release(self, number: int) -> None:
        """Number `number` is none of the group's any more: if it is held, it is sent, whatever room there is."""
        with registering:
            for held in [each for each in self._held if each[0] == number]:
                self._held.remove(held)
                self.roomless.add(number)
                self._send(*held[1:])

    def stop(self) -> list[int]:
        """Send nothing any more; which ones were held, and never will be."""
        with registering:
            held, self.stopped = [number for number, _, _ in self._held], True
            self._held.clear()
        return held


class _Answer(Answer):
    """The engine's answer to the request for a member: then it is there, if it was not refused."""

    __slots__ = ("_birth",)

    def __init__(self, request: SpawnRequest, collector: Any, attempt: Attempt | None, birth: Birth) -> None:
        super().__init__(request, collector, attempt)
        self._birth = birth

    def _done(self, error: Any, taken: Any, found: Any) -> None:
        super()._done(error, taken, found)
        self._birth.is_there()


class Members(Spawner):
    """Spawns the members of a group, one at a time and at once."""

    def __init__(self, attempt: Attempt, limit: int | None, deadline: int | None, group: bytes = b"") -> None:
        self.stream = _Stream(limit, self._send_now)
        super().__init__(attempt.host, wait=True, collector=self.stream)
        self._of = attempt
        self._keys: Keys | None = None
        self._deadline = deadline
        self._group = group.hex()  # its identity
        self._release = self.stream.release
        self.all: list[Planned] = []
        self.living: dict[int, Planned] = {}
        self.births: dict[int, Birth] = {}
        self.stream.under_way = lambda: [(number, run.id) for number, run in list(self.living.items())]

    async def begin(self) -> None:
        """As above, as often as it is broken off. Of a run in a fork also what is large is read, as a member has its
        reference at once."""
        await super().begin()
        attempt = self._of
        if self._keys is None:
            self._keys = attempt.hold_keys()  # who adds one can't wait until they were read
        await learn_keys(attempt, self._keys)
        if attempt.fork is not None:
            await learn_large(attempt, attempt.fork)

    def shut(self) -> None:
        """No more are added."""
        self.stream.stop()
        if self._keys is not None:
            self._keys.hold(-1)
            self._keys = None

    def add(self, item: BulkRunItem[Any, Any]) -> Planned:
        """One more."""
        encoded = [self._encode(item)]
        with registering:
            number = self.stream.grow(1)
            birth = self.birth(number)
            for request in self._register(encoded, number):
                self.stream.send(number, request, birth)
            if self._copies is not None:
                self._copy(self._copies)
        if self._answered:
            self.stream.roomless.add(number)
            self._put_answered()
        run = self.planned.at(0)
        self.planned.clear()
        self._taken_out += 1
        self.all.append(run)
        self.living[number] = run
        return run

    def birth(self, number: int) -> Birth:
        """That of member `number`: when it comes to be."""
        birth = self.births[number] = Birth(self._group, number, self._release)
        return birth

    def _send_now(self, request: SpawnRequest, birth: Birth) -> None:
        self._unanswered.append(_Answer(request, self.collector, self._attempt, birth))
        (self._engine.record if request.records else self._engine.spawn)(request)
        birth.sent()

    def reserve(self, item: BulkRunItem[Any, Any]) -> Planned:
        """One more, of a group that was decided before: as it stands, or that never was."""
        attempt = self._attempt
        assert attempt is not None
        _, options, _, content, _, _ = self._encode(item)
        with registering:
            shared = options.share is not None
            identity = attempt.identify(options.effective_key, link_content(content) if shared else content)
            attempt.children += 1
            link = parts_of(attempt).found.get(identity) if shared else None
            known = (attempt.known or {}).get(identity) if link is None else link.id
            attempt.asks(item.spec.name, identity)
        run = Planned(known or attempt.new_id(), item.spec)
        self.all.append(run)
        if known is not None:
            self.living[len(self.all) - 1] = run
        return run

    def give_up(self) -> None:
        self._engine.give_up(self.stream, self.unfinished())

    def unfinished(self) -> list[bytes]:
        return [run.id for run in self.living.values()]

    def _new_kind(self, spec: Any, options: TriggerWorkflowOptions, attempt: Attempt | None) -> SpawnKind:
        if attempt is None:
            raise UsageError(
                f"{spec.name} can't be a root in a group: its members are children. Leave out detached=True"
            )
        kind = super()._new_kind(spec, options, attempt)
        if self._deadline is None or (kind.deadline is not None and kind.deadline <= self._deadline):
            return kind
        return msgspec.structs.replace(kind, deadline=self._deadline, deadline_by=attempt.id)
