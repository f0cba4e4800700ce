"""How long sweeps rest between their pages."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from fanwood.engine import closing as closing_module
from fanwood.engine.closing import ELSEWHERE, LEAST_REST, LONGEST_REST, REST, REST_OF_SERVERS, Closing
from fanwood.errors import StoreError, StoreUnavailableError
from fanwood.model.records import Swept


def test_pages_that_end_nothing_come_less_and_less_often_until_one_does() -> None:
    """As where a failure climbs a chain of a thousand levels, each of which is closed, and below each nothing lives."""
    nobody = cast("Any", None)
    closing = Closing(nobody, nobody, nobody)
    vain = [closing._rest(Swept(0, more=True)) for _ in range(20)]
    assert vain[:3] == [ELSEWHERE] * 3
    assert vain == sorted(vain)
    assert vain[-1] == LONGEST_REST
    assert closing._rest(Swept(3, more=True, held=0.1)) == REST * 0.1
    assert closing._rest(Swept(3, more=True), took=0.1) == REST_OF_SERVERS * 0.1
    assert closing._rest(Swept(0, more=True, looked=1)) == LEAST_REST
    assert closing._rest(Swept(0, more=True)) == ELSEWHERE


async def test_what_was_to_be_ended_in_trouble_is_ended_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever else looks, or not."""
    monkeypatch.setattr(closing_module, "LATER", 0.0)
    told, ended = list[StoreError](), asyncio.Event()

    class Away:
        embedded = True

        async def sweep(self) -> Swept:
            if len(told) < 3:
                raise StoreUnavailableError("away")
            return Swept(1, more=False)

    store: Any = Away()
    closing = Closing(lambda: store, ended.set, told.append)
    closing.note()
    running = asyncio.create_task(closing.run())
    async with asyncio.timeout(60):
        await ended.wait()
    running.cancel()
    assert len(told) == 3
