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
from fanwood.model.commands import FIRST_CHUNK, TEXT_CHUNK
from fanwood.server.calls import API, Call, Route
from fanwood.server.identity import Role
from fanwood.server.live import event
from fanwood.server.masking import masked_text
from fanwood.server.problems import Refusal
from fanwood.server.queries import StreamQuery

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fanwood.model.records import LogRecord
    from fanwood.store.store import Store

PAGE = 100
FIRST_PAUSE, LAST_PAUSE = 0.05, 0.5
"""Seconds between two looks: shorter after something has come."""
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
    at, attempt, wait, quiet = first - 2, None, FIRST_PAUSE, 0.0  # the one before is looked at: whose attempt put it

    async def look(store: Store) -> tuple[str, list[LogRecord]]:
        state = (await store.get(run_id)).state  # in this order: what is put is there before the end is
        return state.name.lower() if state.is_terminal else "", await store.logs(run_id, at, PAGE, LAST_CHUNK)

    with call.site.limits.stream(call.identity.name):
        yield b": \n\n"
        while call.may() and not call.site.live.is_over:
            ended, page = await call.ask(look)
            said: list[bytes] = []
            for line in page:
                if line.seq >= first:
                    said.append(_event(line, starts_over=attempt not in (None, line.attempt)))
                at, attempt = line.seq, line.attempt
            if said:
                yield b"".join(said)
                wait, quiet = FIRST_PAUSE, 0.0
            if len(page) == PAGE:
                continue
            if ended:
                yield event("end", {"state": ended})
                return
            await asyncio.sleep(wait)
            wait, quiet = min(LAST_PAUSE, wait * 1.5), quiet + wait
            if quiet >= BEAT:
                yield b": \n\n"
                quiet = 0.0


def _event(line: LogRecord, *, starts_over: bool) -> bytes:
    seq = line.seq - FIRST_CHUNK
    data: dict[str, Any] = {"seq": seq, "attempt": line.attempt, "at": line.at}
    if line.level == TEXT_CHUNK:
        data["text"] = masked_text(line.message)
    else:
        data["bytes"] = line.message
    if starts_over:
        data["starts_over"] = True
    return event("chunk", data, str(seq))


ROUTES = (Route("GET", f"{API}/runs/{{id}}/stream", Role.VIEWER, stream, None, StreamQuery),)
