"""A store that raises anything when it is asked: each request is answered, in short, and the next one is as ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fanwood.server.routes import ROUTES
from fanwood.store.looks import Looks
from fanwood.store.store import Store
from tests.server.asgi import Client
from tests.server.conftest import World

VERBS = sorted((Looks.__abstractmethods__ | Store.__abstractmethods__) - {"open", "close", "now", "watch", "migrate"})


class Another(BaseException):
    """Of a driver."""


KINDS = [
    KeyError, MemoryError, RecursionError, KeyboardInterrupt, SystemExit, GeneratorExit, StopIteration,
    asyncio.CancelledError, Another,
]  # fmt: skip


def raising(kind: type[BaseException]) -> Callable[..., Any]:
    async def raises(*_: Any, **__: Any) -> Any:
        raise kind("injected: hidden-host")

    return raises


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_each_request_is_answered(client: Client, world: World, kind: type[BaseException]) -> None:
    assert (await client.ask("/api/v1/trees")).status == 200
    store: Any = client.app.site.reader._store
    for verb in VERBS:
        setattr(store, verb, raising(kind))
    asked = 0
    for route in ROUTES:
        path = route.path.replace("{id}", world.shop[0]).replace("{name:path}", "shop/order").replace("{what}", "input")
        if route.is_safe and "{token}" not in path:
            answer = await asyncio.wait_for(client.ask(path), 60)
            asked += answer.status >= 500
            assert answer.status < 500 or answer.code, (path, answer)
            assert b"hidden-host" not in answer.body
    assert asked > 10
    for verb in VERBS:
        delattr(store, verb)
    assert (await client.ask("/api/v1/trees")).status == 200
