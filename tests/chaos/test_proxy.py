"""The proxy itself: what it cuts was executed, and what it holds back arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.chaos.proxy import Proxy

asyncpg = pytest.importorskip("asyncpg")

GONE = (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)


@pytest.fixture
def proxy(postgres_url: str) -> Iterator[Proxy]:
    with Proxy(postgres_url) as proxy:
        yield proxy


@pytest.fixture
async def direct(postgres_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("create table note (n integer)")
    yield connection
    await connection.close()


async def count(direct: Any) -> int:
    return await direct.fetchval("select count(*) from note")


async def eventually(direct: Any, number: int) -> None:
    async with asyncio.timeout(60):
        while await count(direct) != number:
            await asyncio.sleep(0.005)


def hot_writes(application: str, statement: str) -> Any:
    return "answered" if application.endswith(":hot") and statement.startswith("insert") else None


def named(role: str) -> dict[str, Any]:
    return {"server_settings": {"application_name": f"fanwood:test:{role}"}}


async def test_nothing_is_cut_by_itself(proxy: Proxy, direct: Any) -> None:
    through = await asyncpg.connect(proxy.url)
    await through.execute("insert into note values (1)")
    assert await through.fetchval("select n + $1 from note", 41) == 42
    await through.close()
    assert not proxy.cuts
    assert proxy.passed["select n + $1 from note"] >= 1


async def test_what_is_cut_has_been_executed(proxy: Proxy, direct: Any) -> None:
    proxy.cut(1.0, hot_writes, limit=2)
    for n in range(2):
        through = await asyncpg.connect(proxy.url, **named("hot"))
        assert await through.fetchval("select $1::integer", n) == n
        with pytest.raises(GONE):
            await through.execute("insert into note values ($1)", n)
        assert await count(direct) == n + 1
        through.terminate()
    assert proxy.cuts == {"answered: insert into note values ($1)": 2}
    through = await asyncpg.connect(proxy.url, **named("hot"))
    await through.execute("insert into note values ($1)", 2)
    assert await count(direct) == 3
    await through.close()


async def test_what_is_cut_when_it_was_sent_is_executed_all_the_same(proxy: Proxy, direct: Any) -> None:
    proxy.cut(1.0, lambda _application, statement: "sent" if "pg_sleep" in statement else None, limit=1)
    through = await asyncpg.connect(proxy.url)
    with pytest.raises(GONE):
        await through.execute("with slow as (select pg_sleep(0.1)) insert into note select 1 from slow")
    assert await count(direct) == 0
    await eventually(direct, 1)
    through.terminate()


async def test_others_are_left_alone(proxy: Proxy, direct: Any) -> None:
    proxy.cut(1.0, hot_writes, limit=1000)
    through = await asyncpg.connect(proxy.url, **named("side"))
    await through.execute("insert into note values ($1)", 1)
    await through.close()
    assert not proxy.cuts


async def test_a_partition_holds_back_and_what_was_sent_arrives_late(proxy: Proxy, direct: Any) -> None:
    through = await asyncpg.connect(proxy.url)
    proxy.partition(lossy=False)
    late = asyncio.create_task(through.execute("insert into note values (1)"))
    new = asyncio.create_task(asyncpg.connect(proxy.url))
    done, _ = await asyncio.wait([late, new], timeout=0.2)
    assert not done
    assert await count(direct) == 0
    proxy.heal()
    await asyncio.wait_for(late, 60)
    assert await count(direct) == 1
    await (await asyncio.wait_for(new, 60)).close()
    await through.close()


async def test_what_was_sent_arrives_also_when_its_sender_gave_up(proxy: Proxy, direct: Any) -> None:
    through = await asyncpg.connect(proxy.url)
    proxy.partition(lossy=False)
    with pytest.raises(TimeoutError):
        await through.execute("insert into note values (1)", timeout=0.1)
    through.terminate()
    proxy.heal()
    await eventually(direct, 1)


async def test_a_lossy_partition_resets_who_lost_something(proxy: Proxy, direct: Any) -> None:
    idle, busy = await asyncpg.connect(proxy.url), await asyncpg.connect(proxy.url)
    proxy.partition(lossy=True)
    lost = asyncio.create_task(busy.execute("insert into note values (1)"))
    done, _ = await asyncio.wait([lost], timeout=0.2)
    assert not done
    proxy.heal()
    with pytest.raises(GONE):
        await asyncio.wait_for(lost, 60)
    assert await count(direct) == 0
    await idle.execute("insert into note values (2)")
    assert await count(direct) == 1
    await idle.close()
    busy.terminate()
