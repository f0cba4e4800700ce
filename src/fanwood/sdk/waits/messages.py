"""Messages to a run: each received once, in order, over whatever happens to its worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood import checks
from fanwood.clock import moment
from fanwood.codec import codec_for
from fanwood.durations import in_microseconds
from fanwood.engine.signals import block
from fanwood.errors import PayloadTooLargeError, UsageError
from fanwood.ids import id_text
from fanwood.model.commands import Finished, Record
from fanwood.model.matching import Wanted, inbox_mark
from fanwood.model.states import RunKind, RunState
from fanwood.sdk.declaring.identity import content_digest
from fanwood.sdk.declaring.outcomes import error_of
from fanwood.sdk.recording.losing import losing
from fanwood.sdk.recording.recording import awaited, found_in, kind_of, known_parts, one_end, write, written
from fanwood.sdk.running.attempt import registering
from fanwood.sdk.running.parts import GivenUp, counts
from fanwood.sdk.running.waiting import begins, called
from fanwood.sdk.waits.given_up import as_found, kept, take_up
from fanwood.sdk.waits.promises import Promises

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from datetime import datetime

    from fanwood.durations import Duration
    from fanwood.engine.waits import Collector
    from fanwood.model.commands import Ended
    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.running.attempt import Attempt


class _Envelope(msgspec.Struct):
    """As it is stored."""

    id: str
    payload: msgspec.Raw
    at: int
    reply: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """What was sent to a run."""

    id: str
    name: str
    payload: Any
    sent_at: datetime
    _reply_to: str | None = field(default=None, repr=False)
    _host: Any = field(default=None, repr=False, compare=False)

    def reply(self, value: Any = None) -> bool:
        """Settle the promise that the sender gave as `reply_to`. False: an earlier attempt has settled it so.

        Raises:
            UsageError: he gave none.
            PromiseSettledError: it has ended otherwise.
        """
        return block(self.aio_reply(value), "message.reply")

    async def aio_reply(self, value: Any = None) -> bool:
        """As `reply`."""
        return await self._promises().aio_resolve(self._token(), value)

    def _promises(self) -> Promises:
        return Promises(self._host)

    def _token(self) -> str:
        if self._reply_to is None:
            raise UsageError(f"The message {self.name} {self.id} wants no reply: it was sent without reply_to=")
        return self._reply_to


class Messages:
    """The messages of one name, in `for` and `async for`."""

    def __init__(self, attempt: Attempt, name: str) -> None:
        self._attempt = attempt
        self._name = name

    def __iter__(self) -> Iterator[Message]:
        while True:
            yield block(receive(self._attempt, self._name, None), "ctx.messages")

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            yield await receive(self._attempt, self._name, None)


def sent(host: Host, name: str, payload: Any, reply_to: str | None) -> tuple[str, bytes, str]:
    """A message's name, what tells it from others, and it as it is stored."""
    name = checks.needed_key(name, "name", "a message needs one")
    data = codec_for(Any).encode(payload, f"the message {name}", "payload")
    if len(data) > host.settings.max_payload_bytes:
        raise PayloadTooLargeError(f"the message {name}", len(data), host.settings.max_payload_bytes)
    reply = None if reply_to is None else checks.storable(reply_to, "reply_to", checks.MAX_TEXT_LENGTH)
    envelope = _Envelope(id_text(host.ids.new_id()), msgspec.Raw(data), host.engine().store.now(), reply)
    return name, f"{name}\0{reply}\0".encode() + data, msgspec.json.encode(envelope).decode()


async def receive(attempt: Attempt, name: str, timeout: Duration | None) -> Message:
    """See `Context.receive`."""
    attempt.check()
    name = checks.needed_key(name, "name", "a message has one")
    limit = None if timeout is None else in_microseconds(checks.seconds(timeout, "timeout", zero=True))
    if attempt.is_mocked:
        raise UsageError(f"nobody sends the message {name} to a mock run")
    ended, id_ = await _ended(attempt, name, limit)
    if ended.state is not RunState.COMPLETED:
        raise error_of(ended, id_, ended.task)
    envelope = msgspec.json.decode(ended.output or "null", type=_Envelope)
    payload = msgspec.json.decode(envelope.payload)
    return Message(envelope.id, name, payload, moment(envelope.at), envelope.reply, attempt.host)


async def _ended(attempt: Attempt, name: str, limit: int | None) -> tuple[Ended, bytes]:
    await begins(attempt)
    parts, content = await known_parts(attempt), content_digest("~message", name.encode())
    with registering:
        again = take_up(parts, content)
        identity = attempt.identify(None, content) if again is None else again.identity
        index = attempt.children
        attempt.children += 1
    there = found_in(attempt, parts, identity, f"~message {name}") if again is None else as_found(again, attempt)
    waits = there is not None and counts(there, attempt.run.trial_start)
    id_ = attempt.new_id() if there is None else there.id
    collector: Collector | None = None
    wait = GivenUp(index, identity, id_, limit)
    with kept(attempt, parts, content, wait):
        async with losing(attempt, identity, id_, f"a message {name}"):
            if there is not None and waits and there.state.is_terminal:
                return Finished(there.state, there.output, there.error, "~message"), there.id
            if not waits or (again is not None and again.limit != limit):
                kind, text = kind_of(attempt, RunKind.MESSAGE), msgspec.json.encode(Wanted(name)).decode()
                record = Record(kind, id_, identity, text, RunState.WAITING, index, timeout=limit,
                                again=there is not None, awaits=inbox_mark(attempt.id, name))  # fmt: skip
                attempt.spawned = attempt.cancel_children = True
                collector = None if waits else one_end()
                await written(attempt, write(attempt, record, collector))
            await _deliver(attempt, name)  # what was sent before
            return await awaited(attempt, id_, f"a message {name}", collector), id_


async def _deliver(attempt: Attempt, name: str) -> None:
    engine = attempt.host.engine()
    await called(engine.call(lambda store: store.deliver(attempt.id, name), changes=True, steadfast=True))
