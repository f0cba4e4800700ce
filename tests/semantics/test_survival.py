"""The engine survives what goes wrong in it: faults of ours in its services, one at a time."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from fanwood.engine import services
from fanwood.store.store import Store
from tests.conftest import MakeApp


def failing_once(verb: Any, error: Exception) -> tuple[Any, list[Exception]]:
    """The verb, which raises once and is then itself; and what it has raised."""
    raised: list[Exception] = []

    async def once(self: Store, *arguments: Any, **named: Any) -> Any:
        if not raised:
            raised.append(error)
            raise error
        return await verb(self, *arguments, **named)

    return once, raised


@pytest.mark.parametrize("name", ["watch", "look_around", "renew", "tick"])
def test_a_service_that_fails_is_there_again(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """What needs all of them still works: mail, timers, the lease."""
    monkeypatch.setattr(services, "RESTART_SECONDS", 0.1)
    app = make_app(heartbeat=0.3, lease=2.0)
    kind = type(app.engine().store)
    once, raised = failing_once(getattr(kind, name), IndexError("list index out of range"))
    told = asyncio.Event()

    @app.task(retries=1, backoff_factor=1.0)
    async def wait(input: dict, ctx: Any) -> str:
        if ctx.retry_count == 0:
            raise ValueError("once more, a second later")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            told.set()
            raise
        return "not cancelled"

    with caplog.at_level(logging.ERROR):
        monkeypatch.setattr(kind, name, once)
        client = make_app(url=app.settings.database_url, local_worker=False)
        ref = wait.run_no_wait({})
        asyncio.run(until_claimed_again(app, ref.id))
        client.runs.cancel(ref.id)
        asyncio.run(asyncio.wait_for(until_set(told), 10))
    assert raised
    assert app.engine().alive
    assert any("begins anew" in record.message for record in caplog.records)
    assert app.runs.get(ref.id).attempt == 2


async def until_claimed_again(app: Any, run_id: str) -> None:
    async with asyncio.timeout(20):
        while (run := await app.runs.aio_get(run_id)).attempt < 2 or run.status.name != "RUNNING":
            await asyncio.sleep(0.02)


async def until_set(event: asyncio.Event) -> None:
    while not event.is_set():
        await asyncio.sleep(0.01)
