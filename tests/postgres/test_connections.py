"""A process has at most four connections, however busy it is."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import pytest

from fanwood import Fanwood
from fanwood.clock import SystemClock
from fanwood.store.postgres import schema
from fanwood.store.postgres.store import PostgresStore
from tests.postgres.cluster import Cluster
from tests.postgres.roles import database_of
from tests.postgres.stores import address_of

_OURS = "select application_name from pg_stat_activity where datname = $1 and application_name like 'fanwood:%'"


@pytest.mark.long
def test_a_busy_process_has_four_connections(
    postgres_cluster: Cluster, postgres_url: str, make_app: Callable[..., Fanwood]
):
    app = make_app(url=postgres_url, heartbeat=0.05, sweep=0.05)

    @app.task
    async def child(n: int) -> int:
        return n

    @app.task
    async def parent(n: int) -> int:
        return sum(await child.aio_run_many([child.create_bulk_run_item(i) for i in range(n)]))

    over = threading.Event()
    seen: list[list[str]] = []

    def watch() -> None:
        while not over.is_set():
            rows = postgres_cluster.fetch(_OURS, database_of(postgres_url))
            seen.append(sorted(row[0] for row in rows))

    def look(id_: str) -> None:
        while not over.is_set():
            app.runs.list()
            app.runs.children(id_)
            app.runs.cancel(id_)

    with ThreadPoolExecutor(8) as threads:
        watching = threads.submit(watch)
        first = parent.run_no_wait(10)
        assert first.result(timeout=180) == 45
        kept = parent.run_no_wait(300)
        looking = [threads.submit(look, kept.id) for _ in range(4)]
        try:
            for _ in range(5):
                parent.run(300, timeout=180)
        finally:
            over.set()
        for done in (watching, *looking):
            done.result()
    most = max(seen, key=len)
    assert most == [f"fanwood:{os.getpid()}:{role}" for role in ("beat", "hot", "reader", "side")]


async def test_what_one_connection_asks_about_types_the_next_does_not(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
):
    """The driver's question takes the server longer than all else that most connections ask."""
    asked: list[list[int]] = []
    theirs: Any = asyncpg.Connection
    ask = theirs._introspect_types

    async def counting(self: Any, typeoids: list[int], timeout: float) -> object:
        asked.append(sorted(typeoids))
        return await ask(self, typeoids, timeout)

    monkeypatch.setattr(theirs, "_introspect_types", counting)
    async with contextlib.AsyncExitStack() as stack:
        first, second = [await address_of(postgres_url).connect("test") for _ in range(2)]
        for connection in (first, second):
            stack.push_async_callback(connection.close)
        assert await first.fetchval("select $1::bytea[]", [b"x"]) == [b"x"]
        before = len(asked)
        assert await second.fetchval("select $1::bytea[]", [b"x"]) == [b"x"]
        assert len(asked) == before

        await first.execute("create type public.pair as (a integer, b text)")  # of users, each has to be asked about
        for number, connection in enumerate((first, second), before + 1):
            assert tuple(await connection.fetchval("select row(1, 'x')::public.pair")) == (1, "x")
            assert len(asked) == number


@pytest.mark.parametrize("chosen", [None, "pglz"])
def test_large_values_are_compressed_quickly_unless_somebody_has_chosen(
    postgres_cluster: Cluster, postgres_url: str, make_app: Callable[..., Fanwood], chosen: str | None
):
    setting = postgres_cluster.fetch("select enumvals from pg_settings where name = 'default_toast_compression'")
    if not setting or "lz4" not in setting[0][0]:
        pytest.skip("this server was built without lz4")
    if chosen is not None:
        name = database_of(postgres_url)
        postgres_cluster.fetch(f'alter database "{name}" set default_toast_compression = {chosen}')
    app = make_app(url=postgres_url)

    @app.task
    async def large(n: int) -> str:
        return "x" * n

    assert large.run(100_000) == "x" * 100_000
    app.close()
    how = "select pg_column_compression(output) from fanwood.run"
    seen = postgres_cluster.fetch(how, database=database_of(postgres_url))
    assert seen[0][0] == (chosen or "lz4")


@pytest.mark.parametrize("cut", ["here", "there", "in the middle", "later"])
async def test_a_connection_that_is_cut_while_a_store_opens_is_made_again(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, cut: str
):
    check, cuts = schema.check, list[str]()

    async def disturbed(connection: Any, *arguments: Any, **named: Any) -> None:
        if not cuts and cut != "later":
            cuts.append(cut)
            if cut == "here":
                connection.terminate()
            elif cut == "there":
                with contextlib.suppress(asyncpg.PostgresError):
                    await connection.execute("select pg_terminate_backend(pg_backend_pid())")
            else:
                raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        await check(connection, *arguments, **named)

    def synchronise(self: PostgresStore, before: float, there: int) -> None:
        if not cuts:
            cuts.append(cut)
            self.side.lose()
        learn(self, before, there)

    learn = PostgresStore._synchronise
    monkeypatch.setattr(PostgresStore, "_synchronise", synchronise)
    monkeypatch.setattr(schema, "check", disturbed)
    store = PostgresStore(address_of(postgres_url), SystemClock())
    await store.open(lambda: None)
    await store.close()
    assert cuts
