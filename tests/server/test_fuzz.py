"""Whatever is asked: an answer that is no error of ours, and soon."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from benchmarks.trees import make, wide
from fanwood import Settings
from fanwood.clock import SystemClock
from fanwood.ids import id_text
from fanwood.server.app import create
from fanwood.server.calls import Route
from fanwood.server.options import Options
from fanwood.server.routes import ROUTES
from fanwood.store.opening import store_for
from tests.chaos.scale import scaled
from tests.server.asgi import HOST, Client

TOKEN = "x"
SOON = 120.0  # seconds, for what hangs
EXAMPLES = scaled(2_000, 60)
QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
HOSTILE = [
    "", "0", "-1", "1", str(2**31), str(2**53), str(2**53 + 1), str(2**63), str(2**64), str(10**400), "1e400", "NaN",
    "-Infinity", "0x10", "1.5", "\u0661", "null", "true", "[]", "{}", "failed", "RUNNING", "%00", "%ff", "%C0%AF",
    "%ed%a0%80", "a\tb", "' or 1=1--", "../..", "%2e%2e%2f", "x" * 1000, "x" * 1001, "'", '"', "*", "%", "_", "\u202e",
    "\U0001f525", "ff-ff", "1-", "-", "1-zz", f"{2**70}-00", "0" * 32, "0" * 31, "g" * 32, "0-0", "1.2", "1:1.ff", "+1",
    '{"a":1}', '{"a":NaN}', '{"' + "a" * 900 + '":[]}', " 1",
]  # fmt: skip
"""What no one would type."""


@pytest.fixture
def place(settings: Settings) -> Iterator[tuple[asyncio.Runner, Client, list[str]]]:
    """A loop, a server on a store of each kind with a small tree, and ids of its runs."""
    with asyncio.Runner() as runner:

        async def begin() -> tuple[Client, list[str]]:
            made = await make(settings, wide(301, failed=9, cancelled=3))
            store = store_for(settings, SystemClock())
            await store.open(lambda: None)
            below = await store.children(made.root, limit=3)
            await store.close()
            return Client(create(settings, Options(token=TOKEN)), TOKEN), [
                id_text(made.root),
                *(id_text(x.id) for x in below),
            ]

        client, ids = runner.run(begin())
        yield runner, client, ids
        runner.run(client.app.close())


def _targets(ids: list[str]) -> st.SearchStrategy[tuple[str, Route]]:
    texts = st.one_of(st.sampled_from(HOSTILE), st.sampled_from(ids), st.text(max_size=40), st.integers().map(str))
    given_ = st.one_of(texts, st.sampled_from(ids), st.sampled_from(ids))

    @st.composite
    def target(draw: st.DrawFn) -> tuple[str, Route]:
        route = draw(st.sampled_from(ROUTES))
        path = route.path
        for part in ("{id}", "{name:path}", "{token}", "{what}"):
            if part in path:
                value = draw(st.sampled_from(["input", "error"]) if part == "{what}" else given_)
                path = path.replace(part, _quoted(value) or "x")
        names = st.one_of(st.sampled_from([*route.query.__struct_fields__, "x"]), st.text(max_size=8))
        pairs = draw(st.lists(st.tuples(names, given_), max_size=4))
        return f"{path}?{'&'.join(f'{_quoted(name)}={_quoted(value)}' for name, value in pairs)}", route

    return target()


def _quoted(text: str) -> str:
    """As it stands, if it says bytes; else as a browser would."""
    return text if text.startswith("%") else quote(text.encode("utf-8", "surrogatepass"), safe="{}[]:,")


def test_whatever_a_url_says(place: tuple[asyncio.Runner, Client, list[str]]) -> None:
    runner, client, ids = place

    @settings(max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=QUIET)
    @given(target=_targets(ids))
    def check(target: tuple[str, Route]) -> None:
        url, route = target
        method = "HEAD" if route.answer is None and route.is_safe else "GET"  # (a stream has no end)
        answer = runner.run(asyncio.wait_for(client.ask(url, method), SOON))
        assert answer.status < 500, (method, url, answer)
        assert answer.status < 400 or method == "HEAD" or answer.code, (url, answer)

    check()


_JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.sampled_from(HOSTILE),
        st.text(max_size=9),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)


def test_whatever_a_filter_of_an_action_says(place: tuple[asyncio.Runner, Client, list[str]]) -> None:
    """It is only previewed."""
    runner, client, ids = place
    some = st.one_of(_JSON, st.sampled_from(ids), st.lists(st.sampled_from(["ingest", "parse", "x"]), max_size=3))
    fields = ("tree", "path", "parent", "ids", "task", "state", "cluster", "since", "until", "metadata", "all", "x")
    filters = st.dictionaries(st.sampled_from(fields), some, max_size=4)
    bodies = st.fixed_dictionaries(
        {
            "action": st.sampled_from(["retry", "cancel", "replay", "delete"]),
            "dry_run": st.just(value=True),
            "filter": filters,
        }
    )

    @settings(max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=QUIET)
    @given(body=bodies)
    def check(body: object) -> None:
        answer = runner.run(
            asyncio.wait_for(client.ask("/api/v1/actions", "POST", body=msgspec.json.encode(body)), SOON)
        )
        assert answer.status < 500, (body, answer)

    check()


def test_whatever_bytes_a_request_has(place: tuple[asyncio.Runner, Client, list[str]]) -> None:
    """Also such as no browser sends: a path and a query that are no text, headers that are none of ours."""
    runner, client, ids = place
    texts = st.one_of(st.binary(max_size=30), st.sampled_from([text.encode("utf-8", "replace") for text in HOSTILE]))

    @settings(max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=QUIET)
    @given(
        path=texts,
        query=texts,
        header=texts,
        name=st.sampled_from(["last-event-id", "if-none-match", "cookie", "accept"]),
    )
    def check(path: bytes, query: bytes, header: bytes, name: str) -> None:
        whole = b"/api/v1/trees/" + ids[0].encode() + b"/" + path
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "method": "GET",
            "path": whole.decode("utf-8", "surrogateescape"), "raw_path": whole, "query_string": query,
            "headers": [(b"host", HOST.encode()), (b"authorization", b"Bearer x"), (name.encode(), header)],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8765),
        }  # fmt: skip
        for at in (scope, {**scope, "path": f"/api/v1/trees/{ids[0]}/view"}, {**scope, "path": "/api/v1/trees"}):
            sent = client.sent(dict(at), [{"type": "http.request", "body": b"", "more_body": False}])
            assert runner.run(asyncio.wait_for(sent, SOON)).status < 500, (path, query, name, header)

    check()
