"""Whatever the body of a request says, to each route that takes one: an answer in short, that is no error of ours."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from benchmarks.trees import make as make_tree
from benchmarks.trees import wide
from fanwood import Settings
from fanwood.clock import SystemClock
from fanwood.ids import id_text
from fanwood.server.app import create
from fanwood.server.calls import Route
from fanwood.server.options import Options
from fanwood.server.routes import ROUTES
from fanwood.store.opening import store_for
from tests.server.asgi import Client

TOKEN = "x"
SOON = 120.0
WITH_BODIES = [route for route in ROUTES if route.method not in ("GET", "HEAD")]
DEEP = b"[" * 10_000 + b"]" * 10_000
ODD = [
    b"null", b"true", b"0", b"-1", b"1.5", b"1e400", b"-1e400", b"NaN", b"Infinity", b"9223372036854775808",
    b"18446744073709551616", b"-9223372036854775809", b"9" * 5000, b'""', b'" "', b'"x"', b'"\\ud800"', b'"\\u0000"',
    b'"\xff"', b'"\\u202e"', b"[]", b"{}", b"[[]]", b'[""]', b'{"":1}', b'{"a":1,"a":2}', DEEP,
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000, b'"' + b"x" * 100_000 + b'"', b'"2099-01-01"', b'"P1D"',
    b"[1,", b"'x'", b"",
]  # fmt: skip
WHOLE = [
    *ODD,
    b"\xff\xfe{\x00}\x00",
    b"{" * 10_000,
    b"\x00",
    b'{"x":1}',
    b" " * 70_000,
    b'{"' + b"k" * 70_000 + b'":1}',
]


def _fields(kind: Any) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(kind)] if isinstance(kind, type) else []


def _bodies(route: Route) -> list[bytes]:
    names = _fields(route.body)
    each = [b'{"%s":%s}' % (name.encode(), odd) for name in names for odd in ODD]
    twice = [b'{"%s":1,"%s":2}' % (name.encode(), name.encode()) for name in names]
    return [*WHOLE, *each, *twice]


async def _begin(settings: Settings) -> tuple[Client, list[str]]:
    made = await make_tree(settings, wide(30, failed=3, cancelled=1))
    store = store_for(settings, SystemClock())
    await store.open(lambda: None)
    below = await store.children(made.root, limit=3)
    await store.close()
    return Client(create(settings, Options(token=TOKEN)), TOKEN), [id_text(made.root), *(id_text(x.id) for x in below)]


@pytest.mark.parametrize("route", WITH_BODIES, ids=lambda route: f"{route.method} {route.path}")
async def test_whatever_a_body_says(url: str, route: Route) -> None:
    client, ids = await _begin(Settings.load(database_url=url))
    path = route.path.replace("{id}", ids[1]).replace("{name:path}", "ingest").replace("{token}", "fwp_" + "a" * 40)
    try:
        for body in _bodies(route):
            answer = await asyncio.wait_for(client.ask(path, route.method, body=body), SOON)
            assert answer.status < 500, (path, body[:100], answer.status, answer.body[:1000])
            if answer.status >= 400:
                assert answer.code
                assert len(answer.body) < 3000, (path, body[:100], answer.body[:3000])
    finally:
        await client.app.close()
