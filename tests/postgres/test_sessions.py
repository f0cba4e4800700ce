"""Sessions that several clients have, one after the other: nobody finds anything of those before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import asyncpg
import pytest

from fanwood.engine.signals import new_loop
from tests.chaos.scale import scaled
from tests.postgres.cluster import Cluster
from tests.postgres.databases import Databases

pytestmark = pytest.mark.long

Client = Callable[[Any], Coroutine[Any, Any, Any]]


class Place:
    def __init__(self, cluster: Cluster, databases: Databases, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self.databases = databases
        self.name = databases.take_kept()
        self.url = cluster.url(self.name)
        self._loop = loop

    def pid(self, client: Client, *, settings: dict[str, str] | None = None) -> int:
        """The server's process that somebody has had, who says good-bye in the end."""

        async def run() -> int:
            connection = await asyncpg.connect(self.url, server_settings=settings)
            pid = connection.get_server_pid()
            await client(connection)
            await connection.close()
            return pid

        with asyncio.Runner(loop_factory=self._loop) as runner:
            return runner.run(run())


LOOPS = {"asyncio": asyncio.new_event_loop, "ours": new_loop}


@pytest.fixture(params=[*LOOPS][scaled(0, 1) :])
def place(request: pytest.FixtureRequest, postgres_cluster: Cluster) -> Iterator[Place]:
    with Databases(postgres_cluster) as databases:
        yield Place(postgres_cluster, databases, LOOPS[request.param])


async def look(connection: Any) -> None:
    assert await connection.fetchval("select 1") == 1


async def change_all_that_can_be_changed(connection: Any) -> None:
    await connection.execute("set work_mem to '1MB'; set session authorization pg_monitor; reset session authorization")
    await connection.execute("select pg_advisory_lock(7); create temp table t (i int); prepare p as select 1")
    await connection.add_listener("news", lambda *_: None)
    await connection.fetchval("select $1::int", 5)
    await connection.execute(
        "begin; lock fanwood.run; declare c cursor with hold for select 1; insert into t values (1)"
    )


async def see_nothing_of_it(connection: Any) -> None:
    assert await connection.fetchval("show work_mem") != "1MB"
    assert not connection.is_in_transaction()
    assert not await connection.fetch("select from pg_locks where pid = pg_backend_pid() and locktype = 'advisory'")
    for what in ("pg_prepared_statements where name = 'p'", "pg_cursors where name = 'c'", "pg_listening_channels()"):
        assert not await connection.fetch(f"select from {what}"), what
    assert await connection.fetchval("select to_regclass('t')::text") is None
    assert await connection.fetchval("select $1::int", 5) == 5


def test_who_comes_next_has_it_as_new(place: Place):
    first = place.pid(change_all_that_can_be_changed)
    assert place.pid(see_nothing_of_it) == first


def test_it_is_for_one_who_would_begin_another_like_it(place: Place):
    settings = {"work_mem": "1MB", "application_name": "a"}
    first = place.pid(look, settings=settings)
    assert place.pid(look) != first
    assert place.pid(look, settings=settings | {"application_name": "b"}) == first


def test_who_goes_without_a_good_bye_ends_it(place: Place):
    async def just_go(connection: Any) -> None:
        connection.terminate()

    async def go_while_it_works(connection: Any) -> None:
        asking = asyncio.create_task(connection.execute("select pg_sleep(100)"))
        await asyncio.sleep(0)
        connection.terminate()
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await asking

    gone = {place.pid(just_go), place.pid(go_while_it_works)}
    assert len(gone | {place.pid(look)}) == 3


def test_one_that_was_ended_is_nobodys(place: Place):
    async def end(connection: Any) -> None:
        await connection.execute(f"select pg_terminate_backend({first}, 60000)")

    first = place.pid(look)
    place.pid(end, settings={"work_mem": "1MB"})
    assert place.pid(look) != first


def test_a_database_where_nobody_is_left_is_emptied_with_its_sessions(place: Place):
    async def write(connection: Any) -> None:
        await connection.execute("insert into fanwood.unheard (worker_id, run_id) values (1, '')")

    async def find_nothing(connection: Any) -> None:
        assert not await connection.fetch("select from fanwood.unheard")

    first = place.pid(write)
    place.databases.give_back(place.name)
    assert place.databases.take_kept() == place.name
    assert place.pid(find_nothing) == first


@pytest.mark.parametrize("leaves", ["a connection", "a table"])
def test_one_where_somebody_or_something_is_left_is_not_kept(place: Place, leaves: str):
    async def leave() -> None:
        connection = await asyncpg.connect(place.url)
        if leaves == "a table":
            await connection.execute("create table left_over (i int)")
            await connection.close()
        place.databases.give_back(place.name)
        assert place.databases.take_kept() != place.name
        if leaves == "a connection":
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                await connection.fetchval("select 1")

    asyncio.run(leave())
