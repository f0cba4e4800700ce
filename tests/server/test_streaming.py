"""What runs give out with `ctx.put_stream`, as server-sent events."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec

from fanwood import Context, Fanwood, Settings
from tests.server.asgi import Client
from tests.server.desk import SECRETS, Desk, desk


async def _read(server: Desk, run_id: str, query: str = "", *, last: str = "") -> list[tuple[str, str, Any]]:
    """All of a stream: names, ids, data."""
    client, more = Client(server.application, SECRETS["operator"]), [("last-event-id", last)] if last else []
    answer = await client.ask(f"/api/v1/runs/{run_id}/stream{query}", more=more)
    assert (answer.status, answer.headers["content-type"][:17]) == (200, "text/event-stream"), answer
    found = re.findall(r"event: (\w+)\n(?:id: (\d+)\n)?data: (.*)\n\n", answer.body.decode())
    return [(name, id_, msgspec.json.decode(data)) for name, id_, data in found]


async def test_chunks_come_as_they_are_put_and_all_of_them_to_who_comes_late(settings: Settings) -> None:
    app, go_on = Fanwood(settings.database_url, local_worker=True), asyncio.Event()

    @app.task(retries=1, backoff_factor=0.01)
    async def answer(input: dict, ctx: Context) -> None:
        await ctx.aio_put_stream(f"attempt {ctx.attempt_number}, password: hunter2")
        await ctx.aio_put_stream(b"\x00\xff")
        if ctx.attempt_number == 1:
            raise ValueError("not yet")
        await go_on.wait()
        for number in range(250):
            await ctx.aio_put_stream(f"{number} ")

    async with desk(settings) as server:
        ref = await answer.aio_run_no_wait({})
        along = asyncio.create_task(_read(server, ref.id))
        while not (await server.get(f"/runs/{ref.id}")).body.get("has_stream"):
            await asyncio.sleep(0.01)
        go_on.set()
        events = await along
        assert [name for name, _, _ in events] == ["chunk"] * 254 + ["end"]
        chunks = [data for _, _, data in events[:-1]]
        assert [chunk["seq"] for chunk in chunks] == [int(id_) for _, id_, _ in events[:-1]] == list(range(254))
        assert chunks[0]["text"] == "attempt 1, password: (masked)"
        assert (chunks[1]["bytes"], "text" in chunks[1]) == ("AP8=", False)
        assert [(chunk["seq"], chunk["attempt"]) for chunk in chunks if chunk.get("starts_over")] == [(2, 2)]
        assert "".join(chunk["text"] for chunk in chunks[4:]) == "".join(f"{number} " for number in range(250))
        assert events[-1] == ("end", "", {"state": "completed"})
        assert await _read(server, ref.id) == events
        assert await _read(server, ref.id, "?after=99") == await _read(server, ref.id, last="99") == events[100:]
        assert (await _read(server, ref.id, "?after=1"))[0][2]["starts_over"] is True
        assert [name for name, *_ in await _read(server, ref.id, "?after=1000000")] == ["end"]
        await _refused(server, ref.id)
    await app.aio_close()


async def _refused(server: Desk, run_id: str) -> None:
    for id_, who, status in ((run_id, "viewer", 403), (run_id, "shop", 404), ("0" * 32, "operator", 404)):
        assert (await server.get(f"/runs/{id_}/stream", who)).status == status
    assert (await server.get(f"/runs/{run_id}/stream?x=1")).status == 400
    for after in ("-2", str(1 << 30), str(1 << 70), "x", "NaN", ""):
        assert (await server.get(f"/runs/{run_id}/stream?after={after}")).status == 400


async def test_a_secret_in_two_chunks_is_masked_wherever_one_begins_to_read(settings: Settings) -> None:
    app = Fanwood(settings.database_url, local_worker=True)

    @app.task
    async def answer(input: dict, ctx: Context) -> None:
        for chunk in ("pass", "word: ", "hun", "ter2", " and https://ann", ":hunter2", "@host"):
            await ctx.aio_put_stream(chunk)

    said = ["pass", "word: ", "(masked)", "", " and https://ann", ":(masked)", "@host"]
    async with desk(settings) as server:
        ref = await answer.aio_run_no_wait({})
        await ref.aio_result()
        for after in range(-1, len(said)):
            events = await _read(server, ref.id, f"?after={after}")
            assert [data["text"] for name, _, data in events if name == "chunk"] == said[after + 1 :]
    await app.aio_close()
