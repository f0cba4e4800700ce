"""A run's stream: chunks of text or bytes that its task gives out while it works, a model's tokens say, for whoever
reads along, or comes later.

Chunks are committed in batches, with all else, before the end of their attempt. They are kept as long as the run is.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, TypeAlias

from fanwood import checks
from fanwood.engine.signals import Signal, block, running_loop
from fanwood.errors import BlockingCallError, PayloadTooLargeError, StoreBusyError
from fanwood.model.commands import BYTES_CHUNK, BYTES_MORE, FIRST_CHUNK, TEXT_CHUNK, TEXT_MORE, TEXTS, LogLine
from fanwood.sdk.running.current import current_attempt
from fanwood.sdk.running.waiting import asked, pause

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from fanwood.model.records import LogRecord
    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.store.store import Store

MAX_CHUNK_BYTES = 256 * 1024
PAGE = 100
FIRST_PAUSE, LAST_PAUSE = 0.01, 0.25
"""Seconds between two looks at a stream: shorter after something has come."""
PATIENCE = 0.5
"""Seconds that an event loop may stand still, while the store takes what was put before."""
_END = 2**31 - 1


class TextChunk(str):
    """A chunk that was put as text; it is that text."""

    __slots__ = ("attempt", "seq", "starts_over")

    seq: int
    """Counts within the run, from 0."""
    attempt: int
    """Of the run, which put it."""
    starts_over: bool
    """It is the first of an attempt, and there were others before it: what these put may come again. (Not where a
    durable run goes on: that says nothing again.)"""


class BytesChunk(bytes):
    """A chunk that was put as bytes; it is these bytes."""

    seq: int
    """As `TextChunk`'s."""
    attempt: int
    """As `TextChunk`'s."""
    starts_over: bool
    """As `TextChunk`'s."""


Chunk: TypeAlias = TextChunk | BytesChunk


def put(attempt: Attempt, chunk: str | bytes) -> None:
    """See `Context.put_stream`."""
    line = _line(attempt, chunk)
    if line is None:
        return
    if not attempt.host.engine().put_chunk(line, None if running_loop() is None else PATIENCE):
        attempt.check()
        raise StoreBusyError(
            f"The stream of {attempt.spec.name} gives out more than the store takes, and on an event loop that "
            f"can't be waited for: use `await ctx.aio_put_stream(...)`"
        )


async def aio_put(attempt: Attempt, chunk: str | bytes) -> None:
    """See `Context.aio_put_stream`."""
    line = _line(attempt, chunk)
    while line is not None and not attempt.host.engine().put_chunk(line, 0):
        await pause(attempt, FIRST_PAUSE)


def _line(attempt: Attempt, chunk: str | bytes) -> LogLine | None:
    attempt.check()
    if not isinstance(chunk, (str, bytes, bytearray, memoryview)):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
        raise checks.refused("chunk", "must be text or bytes", chunk)
    goes_on = attempt.spec.durable is not None and attempt.run.attempt > max(attempt.since, attempt.run.trial_start)
    if isinstance(chunk, str):
        level, data = (
            TEXT_MORE if goes_on else TEXT_CHUNK,
            chunk.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0"),
        )
        size = len(data) if data.isascii() else len(data.encode())
    else:
        level, data = BYTES_MORE if goes_on else BYTES_CHUNK, b64encode(chunk).decode()
        size = len(chunk)
    if size > MAX_CHUNK_BYTES:
        what = f"a chunk of the stream of {attempt.spec.name}"
        raise PayloadTooLargeError(what, size, MAX_CHUNK_BYTES, advice="Give it out in several.")
    if attempt.is_mocked or (goes_on and attempt.replay is not None):  # a new try gives out all of it
        return None
    return LogLine(attempt.id, attempt.run.attempt, attempt.host.engine().store.now(), level, data)


class ChunkStream:
    """For `for chunk in ref.stream()` and `async for`: what the run has put, and puts, into its stream, in order, until
    it has ended. Whoever comes late gets all of it."""

    def __init__(self, host: Host, run_id: bytes, after: int = -1) -> None:
        self._host = host
        self._id = run_id
        self._first = FIRST_CHUNK + checks.whole(after, "after", -1, _END - FIRST_CHUNK - 1) + 1
        self._after = self._first - 2  # the one before is looked at: by which attempt it was put
        self._attempt: int | None = None
        self._come: list[Chunk] = []  # the next one last
        self._over = False

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        if running_loop() is not None:
            raise BlockingCallError("`for ... in ref.stream()` blocks: use `async for` inside an event loop")
        found = self._come.pop() if self._come else block(self._next(), "stream")
        if found is None:
            raise StopIteration
        return found

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        found = self._come.pop() if self._come else await self._next()
        if found is None:
            raise StopAsyncIteration
        return found

    async def _next(self) -> Chunk | None:
        wait = FIRST_PAUSE
        while True:
            if self._over:
                return None
            over, page = await asked(self._host.engine(), self._look)
            if page:
                self._after = page[-1].seq
                found = [self._chunk(line) for line in page]
                self._come = [chunk for chunk, line in zip(found, page, strict=True) if line.seq >= self._first][::-1]
                if self._come:
                    return self._come.pop()
                continue
            self._over = over
            if not over:
                await self._wait(wait)
                wait = min(LAST_PAUSE, wait * 1.5)

    async def _look(self, store: Store) -> tuple[bool, list[LogRecord]]:
        """Whether the run has ended, and what has come. (In this order: what is put is there before the end is.)"""
        over = (await store.get(self._id)).state.is_terminal
        return over, await store.logs(self._id, self._after, PAGE, _END)

    async def _wait(self, seconds: float) -> None:
        attempt = current_attempt.get()
        if attempt is None:
            await Signal().wait(seconds)
        else:
            await pause(attempt, seconds)

    def _chunk(self, line: LogRecord) -> Chunk:
        chunk = TextChunk(line.message) if line.level in TEXTS else BytesChunk(b64decode(line.message))
        chunk.seq, chunk.attempt = line.seq - FIRST_CHUNK, line.attempt
        chunk.starts_over = line.starts_over(self._attempt)
        self._attempt = line.attempt
        return chunk
