"""Promises: a run waits until somebody who has the token says what the value is."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
from datetime import datetime, time
from functools import cached_property
from hashlib import blake2b
from math import inf
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import msgspec

from fanwood import checks
from fanwood.codec import codec_for
from fanwood.codec.schemas import faults
from fanwood.durations import in_microseconds
from fanwood.engine.signals import block, running_loop
from fanwood.errors import (
    InputValidationError,
    PayloadTooLargeError,
    PromiseSettledError,
    PromiseTokenError,
    RunNotFoundError,
    UsageError,
)
from fanwood.ids import id_text
from fanwood.model.commands import Failure, Finished, Record
from fanwood.model.matching import plain, with_whole_numbers
from fanwood.model.naming import part_id
from fanwood.model.states import RunKind, RunState
from fanwood.sdk.declaring.identity import content_digest
from fanwood.sdk.declaring.outcomes import error_of, plain_json
from fanwood.sdk.recording.losing import losing
from fanwood.sdk.recording.once import once
from fanwood.sdk.recording.recording import awaited, found_in, kind_of, known_parts, parts_of, write, written
from fanwood.sdk.running.attempt import registering
from fanwood.sdk.running.parts import GivenUp, counts
from fanwood.sdk.running.waiting import asked, begins
from fanwood.sdk.waits.given_up import as_found, kept, take_up
from fanwood.store.failures import decode_failure, encode_failure, summary
from fanwood.store.noted import checked_secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from fanwood.codec import Codec
    from fanwood.durations import Duration
    from fanwood.model.commands import Ended
    from fanwood.model.records import RunRecord, Settled
    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.sdk.running.parts import Parts
    from fanwood.store.store import Store

T = TypeVar("T")

_schemas: WeakKeyDictionary[Codec[Any], msgspec.Raw] = WeakKeyDictionary()

PREFIX = "fwp_"
"""How a token begins, so that one that got into a text is recognized."""
FORMATS = {datetime: "date-time", time: "time"}
"""Of types whose schema says only that they are text, as it may be with a time zone or without."""
REJECTED = "Rejected"
PATIENCE, PAUSE = 2.0, 0.02
"""Seconds for which a promise whose token is sound is looked for: its run hands the token out in the moment in which it
is recorded."""


# --- tokens -----------------------------------------------------------------------------------------------------------


def token_of(secret: str, run_id: bytes) -> str:
    """The id, and a code that only who knows the store's secret can make of it."""
    return PREFIX + base64.urlsafe_b64encode(run_id + _code(secret, run_id)).rstrip(b"=").decode()


def promise_of(secret: str, token: str) -> bytes:
    """The id of the promise.

    Raises:
        PromiseTokenError: it is no token of this store.
    """
    shown = checks.shown(token)
    if not isinstance(token, str) or not token.isascii():  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
        raise PromiseTokenError(f"{shown} is no token of a promise: one begins with {PREFIX}")
    text = token.strip().removeprefix(PREFIX)
    try:
        data = base64.b64decode(text + "=", b"-_", validate=True)
    except (ValueError, binascii.Error):
        data = b""
    if len(data) != 32 or not hmac.compare_digest(text, token_of(secret, data[:16]).removeprefix(PREFIX)):
        raise PromiseTokenError(
            f"{shown} is no token of a promise of this database: it is incomplete, mistyped, or belongs to another one"
        )
    return data[:16]


def _code(secret: str, run_id: bytes) -> bytes:
    return blake2b(run_id, digest_size=16, key=checked_secret(secret).encode()[:64], person=b"promise").digest()


# --- in a task --------------------------------------------------------------------------------------------------------


def _schema_of(codec: Codec[Any]) -> msgspec.Raw:
    """As JSON; made once for each type: that of a model takes a millisecond, and a run may make very many."""
    text = _schemas.get(codec)
    if text is None:
        told = next((name for kind, name in FORMATS.items() if codec.declared is kind), None)
        schema = codec.schema() if told is None else {"type": "string", "format": told}
        text = msgspec.Raw(msgspec.json.encode(schema))
        if schema is not None:  # else one that is not complete yet, maybe
            _schemas[codec] = text
    return text


class Promise(Generic[T]):
    """What a run waits for: `await promise`, or `promise.result()` in a sync task. Who has `token` may settle it."""

    def __init__(self, attempt: Attempt, name: str, codec: Codec[T], timeout: int | None) -> None:
        self.name = name
        self._attempt = attempt
        self._codec = codec
        self._content = content_digest("~promise", name.encode())
        with registering:
            given_up = not attempt.is_mocked and parts_of(attempt).given_up
            self._again = take_up(parts_of(attempt), self._alike) if given_up else None
            self._number = attempt.number(self._content) if self._again is None else None
            self._identity = attempt.numbered(self._content, self._number or 0)
            if self._again is not None:
                self._identity = self._again.identity
            self._index = attempt.children
            attempt.children += 1
        self._timeout = timeout
        self._ended: Ended | None = None
        self._asks = 0  # how often it was waited for
        self._recording: asyncio.Future[None] | None = None

    # What takes most of the time is made when the promise is recorded: of very many that are gathered a few at a time.

    @cached_property
    def token(self) -> str:
        """Who has it may settle the promise."""
        return PREFIX if self._attempt.is_mocked else token_of(self._attempt.host.engine().secret, self._id)

    @cached_property
    def _id(self) -> bytes:
        return part_id(self._attempt.origin, self._identity)

    @cached_property
    def _shown(self) -> str:
        return msgspec.json.encode({"name": self.name, "schema": _schema_of(self._codec)}).decode()

    @cached_property
    def _alike(self) -> bytes:
        """Only for one of the same type another is taken."""
        return content_digest("~promise", self._shown.encode())

    def __repr__(self) -> str:
        return f"<Promise {self.name!r} {self.id}>"  # (without its token: that is for who shall settle it)

    @property
    def id(self) -> str:
        """The id of the child that waits."""
        return id_text(self._id)

    def result(self) -> T:
        """Wait for the value, without holding a slot.

        Raises:
            TaskRunError: it was rejected; its subclasses: the time ran out, or somebody cancelled it.
            InputValidationError: the value is not of the type, as only this code can tell (by a validator, say).
            RunInterrupted: this attempt is over.
        """
        return block(self._result(), "promise.result")

    async def aio_result(self) -> T:
        """As `result`; `await promise` is the same."""
        return await self._result()

    def __await__(self) -> Generator[Any, None, T]:
        return self._result().__await__()

    async def _result(self) -> T:
        attempt = self._attempt
        attempt.check()
        if attempt.is_mocked:
            raise UsageError(f"nobody settles the promise {self.name} of a mock run")
        if self._recording is not None:
            await asyncio.shield(self._recording)
        asks, self._asks = self._asks, self._asks + 1
        async with losing(attempt, self._identity, self._id, f"the promise {self.name}", asks=asks):
            if self._ended is None:
                self._ended = await awaited(attempt, self._id, f"the promise {self.name}")
        if self._ended.state is not RunState.COMPLETED:
            raise error_of(self._ended, self._id, self._ended.task)
        return _typed(self._ended.output or "null", self._codec, f"the value of the promise {self.name}")

    async def record(self) -> None:
        """Returns when it can be settled. Nobody has the token of one that is given up before: who asks for that name
        again has that promise."""
        attempt, again = self._attempt, self._again
        if attempt.is_mocked:
            return
        parts = await self._parts()
        wait = GivenUp(self._index, self._identity, self._id, self._timeout)
        _ = self.token
        if again is None:
            found = found_in(attempt, parts, self._identity, f"~promise {self._shown}")
        else:
            found = as_found(again, attempt)
        same_limit = again is None or again.limit == self._timeout
        if found is not None and same_limit and counts(found, attempt.run.trial_start):
            if found.state.is_terminal:
                self._ended = Finished(found.state, found.output, found.error, "~promise")
            return
        kind, waits, anew = kind_of(attempt, RunKind.PROMISE), RunState.WAITING, found is not None
        record = Record(
            kind, self._id, self._identity, self._shown, waits, self._index, timeout=self._timeout, again=anew
        )
        attempt.spawned = attempt.cancel_children = True
        with kept(attempt, parts, self._alike, wait):
            await written(attempt, write(attempt, record))

    async def _parts(self) -> Parts:
        """What is recorded. Who gives up before anything of this is has not asked for it."""
        try:
            await begins(self._attempt)
            return await known_parts(self._attempt)
        except BaseException:
            if self._number is not None:
                with registering:
                    self._attempt.forget((), [(self._content, self._number)])
            raise

    def record_beside(self) -> None:
        """The same, while the loop goes on; `await promise` waits for it."""
        self._recording = asyncio.ensure_future(self.record())
        self._recording.add_done_callback(lambda done: done.cancelled() or done.exception())


def _typed(text: str, codec: Codec[T], subject: str) -> T:
    """A value of the declared type. 7.0 is a whole number: so it is in the schema by which it was let in."""
    try:
        return codec.decode(text, subject)
    except InputValidationError as error:
        try:
            given = msgspec.json.decode(text)
        except msgspec.DecodeError:  # somebody wrote it by hand
            raise error from None
        return codec.decode(codec_for(Any).encode(with_whole_numbers(given, inf), subject), subject)


def made(attempt: Attempt, declared: Any, name: str, timeout: Duration | None) -> Promise[Any]:
    """One that is not recorded yet."""
    attempt.check()
    limit = None if timeout is None else in_microseconds(checks.seconds(timeout, "timeout", zero=True))
    return Promise(attempt, checks.name(name, "name"), codec_for(declared), limit)


def promised(attempt: Attempt, declared: Any, name: str, timeout: Duration | None) -> Promise[Any]:
    """See `Context.promise`."""
    promise = made(attempt, declared, name, timeout)
    _ = promise.token  # if it can't be made, that is said here
    if running_loop() is None:
        block(promise.record(), "ctx.promise")
    else:
        promise.record_beside()
    return promise


async def aio_promised(attempt: Attempt, declared: Any, name: str, timeout: Duration | None) -> Promise[Any]:
    """See `Context.aio_promise`."""
    promise = made(attempt, declared, name, timeout)
    await promise.record()
    return promise


# --- from anywhere ----------------------------------------------------------------------------------------------------


class Promises:
    """The promises of one store, for who has their tokens. Every method has an `aio_` twin."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def resolve(self, token: str, value: Any = None) -> bool:
        """Say what the value is; the run that waits for it goes on. False: it was resolved with that before.

        Raises:
            PromiseTokenError: that is no token of this store.
            PromiseSettledError: it has ended otherwise.
            InputValidationError: the value is not of the promise's type.
        """
        return block(self._resolve(token, value), "promises.resolve")

    async def aio_resolve(self, token: str, value: Any = None) -> bool:
        """As `resolve`."""
        return await self._resolve(token, value)

    def reject(self, token: str, reason: str = "") -> bool:
        """Say that there will be no value: in the run that waits for it a `TaskRunError` with this reason is raised.
        False: it was rejected for that before.

        Raises:
            PromiseTokenError: that is no token of this store.
            PromiseSettledError: it has ended otherwise.
        """
        return block(self._reject(token, reason), "promises.reject")

    async def aio_reject(self, token: str, reason: str = "") -> bool:
        """As `reject`."""
        return await self._reject(token, reason)

    async def _resolve(self, token: str, value: Any) -> bool:
        text = encoded(value, self._host.settings.max_payload_bytes)
        return await self._once(token, lambda store: resolve(store, token, text))

    async def _reject(self, token: str, reason: str) -> bool:
        reason = checks.storable(reason, "reason", checks.MAX_TEXT_LENGTH)
        return await self._once(token, lambda store: reject(store, token, reason))

    async def _once(self, token: str, verb: Callable[[Store], Awaitable[bool]]) -> bool:
        about, engine = str(token).encode(errors="replace"), self._host.engine()
        return await once("settle a promise", "", about, lambda _: asked(engine, verb, changes=True))


def encoded(value: Any, limit: int) -> str:
    """A value as it is stored, if it can be."""
    data = codec_for(Any).encode(value, "the value of a promise", "value")
    if len(data) > limit:
        raise PayloadTooLargeError("the value of a promise", len(data), limit)
    return data.decode()


async def resolve(store: Store, token: str, text: str) -> bool:
    """See `Promises.resolve`. `text`: the value as JSON."""
    promise = await find(store, token)
    name, schema = about(promise)
    if wrong := faults(msgspec.json.decode(text), schema, "value", formats=True):
        places = [fault.partition(": ") for fault in wrong]
        raise InputValidationError(f"the value of the promise {name}", [(at, what) for at, _, what in places])
    return _judged(promise, await store.settle(promise.id, RunState.COMPLETED, text, None), text, None)


async def reject(store: Store, token: str, reason: str) -> bool:
    """See `Promises.reject`."""
    promise = await find(store, token)
    error = encode_failure(Failure("failed", type=REJECTED, message=reason))
    return _judged(promise, await store.settle(promise.id, RunState.FAILED, None, error), None, error)


async def find(store: Store, token: str) -> RunRecord:
    """The promise that a token is of.

    Raises:
        PromiseTokenError: it is no token of this store, or its run was deleted.
    """
    id_ = promise_of(await store.secret(), token)
    for _ in range(round(PATIENCE / PAUSE)):
        try:
            return await store.get(id_)
        except RunNotFoundError:
            await asyncio.sleep(PAUSE)
    raise PromiseTokenError(
        f"The promise of this token is not there ({id_text(id_)}): its run was deleted, or has handed the token out "
        f"and not come to record the promise; then it is there as soon as the run goes on"
    )


def about(promise: RunRecord) -> tuple[str, Any]:
    """Its name, and the schema of its value, if it has one."""
    told: dict[str, Any] = msgspec.json.decode(promise.input or "{}")
    return told.get("name", ""), told.get("schema")


def _judged(promise: RunRecord, settled: Settled, output: str | None, error: str | None) -> bool:
    if settled.done:
        return True
    if (output is not None and _same(settled.output, output)) or (error is not None and settled.error == error):
        return False
    raise PromiseSettledError(f"The promise {about(promise)[0]} {how_ended(settled)}", settled.state)


def ended(promise: RunRecord) -> str:
    """In words, for who is shown no value; "": it waits."""
    if promise.state is RunState.FAILED:
        how = {REJECTED: "was rejected", TimeoutError.__name__: "was not settled in time"}
        return f"It {how.get(decode_failure(promise.error).type, 'has failed')}."
    return {RunState.COMPLETED: "It is settled.", RunState.CANCELLED: "It was cancelled."}.get(promise.state, "")


def how_ended(settled: Settled) -> str:
    """In words."""
    if settled.state is RunState.COMPLETED:
        value = settled.output or "null"
        return f"was resolved already, with {checks.cut(value, 200)}"
    failure = decode_failure(settled.error)
    if settled.state is RunState.FAILED and failure.type == REJECTED:
        return f"was rejected already: {failure.message or 'no reason was given'}"
    if settled.state is RunState.FAILED:
        return f"has failed: {summary(failure)}"
    return f"can't be settled any more: it was cancelled, as {failure.message or 'its run has ended'}"


def _same(one: str | None, other: str) -> bool:
    return one is not None and plain(plain_json(one)) == plain(plain_json(other))
