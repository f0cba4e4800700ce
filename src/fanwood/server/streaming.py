"""A run's stream (`ctx.put_stream`) as server-sent events: what was given out, and what comes, until it has ended.

    chunk {seq, attempt, at, text | bytes, starts_over}     bytes in base64; `starts_over`: by another attempt
    end   {state}                                           nothing more will come

Who was cut off goes on by `Last-Event-ID`, or `after`. It is asked for while somebody reads along, and by nobody else.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from starlette.responses import StreamingResponse

from fanwood.ids import id_bytes
from fanwood.lens.pages import LAST_CHUNK
from fanwood.model.commands import FIRST_CHUNK, TEXTS
from fanwood.server.calls import API, Call, Route
from fanwood.server.identity import Role
from fanwood.server.live import event
from fanwood.server.masking_streams import Piece, StreamMask
from fanwood.server.problems import Refusal
from fanwood.server.queries import StreamQuery

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fanwood.model.records import LogRecord
    from fanwood.store.store import Store

PAGE, BEFORE = 100, 2_000
"""Chunks of one look, as each may be large; and those before the first that is asked for, which are looked at for what
they begin."""
FIRST_PAUSE, LAST_PAUSE = 0.05, 0.5
"""Seconds between two looks: shorter after something has come."""
PATIENCE = 2.0
"""... before the end of what has come is told, though it may go on as a secret."""
BEAT = 15.0
"""Seconds without anything before a comment is sent."""


async def stream(call: Call) -> StreamingResponse:
    """What a run gives out with `ctx.put_stream`, as it comes: server-sent events."""
    query: StreamQuery = call.query
    if not call.sees_payloads:
        raise Refusal(403, "payloads_hidden", "Payloads are not shown here")
    call.site.limits.check_streams(call.identity.name)
    run_id, last = id_bytes(call.path["id"]), call.headers.get("last-event-id", "")
    await call.ask(lambda store: store.get(run_id))
    after = int(last) if last.isdecimal() and len(last) < len(str(FIRST_CHUNK)) else query.after
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_chunks(call, run_id, after), media_type="text/event-stream", headers=headers)


async def _chunks(call: Call, run_id: bytes, after: int) -> AsyncGenerator[bytes, None]:
    first = FIRST_CHUNK + after + 1
    reading, wait, quiet = _Reading(first), FIRST_PAUSE, 0.0

    async def look(store: Store) -> tuple[str, list[LogRecord]]:
        state = (await store.get(run_id)).state  # in this order: what is put is there before the end is
        found = await store.logs(run_id, reading.at, PAGE, LAST_CHUNK)
        return state.name.lower() if state.is_terminal else "", found

    if call.site.limits.is_full(call.identity.name):
        return
    with call.site.limits.stream(call.identity.name):
        yield b": \n\n"
        while call.may() and not call.site.live.is_over:
            ended, lines = await call.ask(look)
            said = [event_ for line in lines for event_ in reading.events(line)]
            if len(lines) < PAGE and (ended or quiet >= PATIENCE):
                said += reading.rest()
            if said:
                yield b"".join(said)
                wait, quiet = FIRST_PAUSE, 0.0
            if len(lines) == PAGE:
                continue
            if ended:
                yield event("end", {"state": ended})
                return
            await asyncio.sleep(wait)
            wait, quiet = min(LAST_PAUSE, wait * 1.5), quiet + wait
            if quiet >= BEAT:
                yield b": \n\n"
                quiet = 0.0


class _Reading:
    """A stream that is read from chunk `first` on. Those before are looked at: whose attempt put them, and what they
    begin."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._attempt: int | None = None
        self._told: int | None = None  # the attempt whose chunk was looked at before the next one
        self._mask = StreamMask()
        self.at = max(FIRST_CHUNK - 1, first - 1 - BEFORE)

    def events(self, line: LogRecord) -> list[bytes]:
        """What can be told after one more chunk."""
        self.at = line.seq
        pieces: list[Piece] = []
        if line.attempt != self._attempt or line.level not in TEXTS:  # no text goes on beyond these
            pieces, self._mask, self._attempt = self._mask.rest(), StreamMask(), line.attempt
        pieces += self._mask.add(line) if line.level in TEXTS else [Piece(line, None)]
        return self._events(pieces)

    def rest(self) -> list[bytes]:
        """What waited for more."""
        return self._events(self._mask.rest())

    def _events(self, pieces: list[Piece]) -> list[bytes]:
        said: list[bytes] = []
        for line, text in pieces:
            if line.seq >= self._first:
                said.append(_event(line, text, starts_over=line.starts_over(self._told)))
            self._told = line.attempt
        return said


def _event(line: LogRecord, text: str | None, *, starts_over: bool) -> bytes:
    seq = line.seq - FIRST_CHUNK
    data: dict[str, Any] = {"seq": seq, "attempt": line.attempt, "at": line.at}
    if text is None:
        data["bytes"] = line.message
    else:
        data["text"] = text
    if starts_over:
        data["starts_over"] = True
    return event("chunk", data, str(seq))


ROUTES = (Route("GET", f"{API}/runs/{{id}}/stream", Role.VIEWER, stream, None, StreamQuery),)
