"""Promises are settled by whoever has their token, logged in or not."""

from __future__ import annotations

import asyncio
from queue import Queue
from typing import Any

import msgspec

from fanwood import Context, Fanwood, Settings
from tests.server.asgi import Client
from tests.server.desk import Desk, desk


async def _said(server: Desk, path: str, body: Any = None) -> tuple[int, Any]:
    client, method = Client(server.application), "GET" if body is None else "POST"
    answer = await client.ask(
        f"/api/v1/promises/{path}", method, body=b"" if body is None else msgspec.json.encode(body)
    )
    return answer.status, answer.json()


async def test_promises_are_settled_by_their_tokens(settings: Settings) -> None:
    app, tokens = Fanwood(settings.database_url, local_worker=True), Queue[str]()

    @app.task
    async def ask(input: dict, ctx: Context) -> bool:
        promise = await ctx.aio_promise(bool, "approval")
        tokens.put(promise.token)
        return await promise

    async with desk(settings) as server:
        ref = await ask.aio_run_no_wait({})
        token = await asyncio.to_thread(tokens.get, timeout=60)
        status, promise = await _said(server, token)
        assert (status, promise["name"], promise["state"], promise["schema"]) == (
            200, "approval", "waiting", {"type": "boolean"},
        )  # fmt: skip
        [child] = (await server.get(f"/runs/{ref.id}/children")).body["runs"]
        assert (await server.get(f"/runs/{child['id']}/promise", "operator")).body["token"] == token
        assert (await server.get(f"/runs/{child['id']}/promise", "viewer")).status == 403
        assert (await server.get(f"/runs/{ref.id}/promise", "operator")).status == 404
        assert (await _said(server, f"{token}/resolve", {"value": "yes"}))[0] == 422
        assert await _said(server, f"{token}/resolve", {"value": True}) == (
            200, {"state": "completed", "settled": True},
        )  # fmt: skip
        assert await ref.aio_result(60) is True
        assert (await _said(server, token))[1]["ended"] == "It is settled."
        assert (await _said(server, f"{token}/resolve", {"value": True}))[1] == {"state": "completed", "settled": False}
        status, problem = await _said(server, f"{token}/reject", {"reason": "no"})
        assert (status, problem["code"]) == (409, "promise_settled")
        assert "resolved already" in problem["detail"]
        for wrong in (token[:-1], "nonsense", "%00", "%ff", "x" * 500):
            for path, body in ((wrong, None), (f"{wrong}/resolve", {"value": 1}), (f"{wrong}/reject", {})):
                assert (await _said(server, path, body))[0] == 404
    await app.aio_close()


async def test_who_only_shows_gives_out_no_tokens(settings: Settings) -> None:
    """With one anybody settles the promise, at another server."""
    app = Fanwood(settings.database_url, local_worker=True)

    @app.task
    async def ask(input: dict, ctx: Context) -> None:
        await ctx.aio_promise(bool, "approval")
        asked.put(1)
        await asyncio.Event().wait()

    asked = Queue[int]()
    ref = await ask.aio_run_no_wait({})
    await asyncio.to_thread(asked.get, timeout=60)
    async with desk(settings, read_only=True) as server:
        [child] = (await server.get(f"/runs/{ref.id}/children")).body["runs"]
        said = await server.get(f"/runs/{child['id']}/promise", "operator")
    assert (said.status, said.body["name"], said.body.get("token")) == (200, "approval", None)
    await app.runs.aio_cancel(ref.id)
    await asyncio.to_thread(app.close)


async def test_how_a_promise_has_ended_is_said(settings: Settings) -> None:
    app = Fanwood(settings.database_url, local_worker=True)

    @app.task
    async def ask(input: dict, ctx: Context) -> None:
        names = ["late", "rejected", "cancelled"]
        each = [await ctx.aio_promise(bool, name, timeout=0 if name == "late" else "1h") for name in names]
        asked.put([one.token for one in each])
        await asyncio.gather(*(one.aio_result() for one in each), return_exceptions=True)
        await asyncio.Event().wait()

    asked = Queue[list[str]]()
    ref = await ask.aio_run_no_wait({})
    late, rejected, cancelled = await asyncio.to_thread(asked.get, timeout=60)
    async with desk(settings) as server:
        open_ = (await _said(server, rejected))[1]
        assert open_["expires_at"] == open_["created_at"] + 3_600_000_000
        assert "ended" not in open_
        await _said(server, f"{rejected}/reject", {"reason": "no"})
        await app.runs.aio_cancel(ref.id)
        said = dict.fromkeys((late, rejected, cancelled), "")
        async with asyncio.timeout(60):
            while not all(said.values()):
                said = {token: (await _said(server, token))[1].get("ended", "") for token in said}
        assert list(said.values()) == ["It was not settled in time.", "It was rejected.", "It was cancelled."]
    await app.aio_close()
