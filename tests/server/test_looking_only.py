"""A store that is opened for looking only: it shows, changes nothing, and gives up what takes too long."""

from __future__ import annotations

import pytest

from fanwood import Settings, StoreError, SystemClock, SystemIds
from fanwood.errors import StoreBusyError, StoreSchemaError, StoreUnavailableError
from fanwood.model.commands import Batch, Spawn, SpawnKind, WorkerInfo
from fanwood.model.records import RunFilter
from fanwood.store.opening import store_for
from fanwood.store.postgres.store import PostgresStore
from fanwood.store.sqlite.connection import connect, migrations
from fanwood.store.sqlite.store import SqliteStore
from fanwood.store.store import Store


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest) -> Settings:
    return Settings.load(database_url=request.getfixturevalue("url" if request.param == "sqlite" else "postgres_url"))


async def opened(settings: Settings, looks: float | None) -> Store:
    store = store_for(settings, SystemClock(), looks=looks)
    await store.open(lambda: None)
    return store


async def filled(settings: Settings) -> bytes:
    store = await opened(settings, None)
    root = SystemIds().new_id()
    worker = await store.register(WorkerInfo("w", "h/1", 1, 1), [])
    await store.commit(worker, Batch(spawns=[Spawn(SpawnKind("t"), root, None, "{}")]))
    await store.close()
    return root


async def test_that_it_shows_and_changes_nothing(settings: Settings):
    root = await filled(settings)
    store = await opened(settings, 5.0)
    assert (await store.get(root)).task == "t"
    assert [run.id for run in (await store.listing(RunFilter())).runs] == [root]
    with pytest.raises(StoreError):
        await store.register(WorkerInfo("w", "h/1", 1, 1), [])
    with pytest.raises(StoreError):
        await store.cancel(root, "no")
    assert (await store.get(root)).state.name == "QUEUED"
    await store.close()


async def test_that_a_look_that_takes_too_long_is_given_up(settings: Settings):
    root = await filled(settings)
    store = await opened(settings, 0.001)
    with pytest.raises(StoreBusyError):
        await endless(store)
    await store.close()
    store = await opened(settings, 60.0)
    assert (await store.get(root)).id == root
    await store.close()


async def endless(store: Store) -> None:
    if isinstance(store, PostgresStore):
        async with store._reader.transaction() as db:
            await db.value("select pg_sleep(60)")
    assert isinstance(store, SqliteStore)
    await store._read(lambda db: db.execute(ENDLESS).fetchall())


ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"


async def test_that_nothing_is_made(url: str, tmp_path):
    with pytest.raises(StoreUnavailableError, match="nothing has run there yet"):
        await opened(Settings.load(database_url=url), 5.0)
    assert list(tmp_path.iterdir()) == []


async def test_that_nothing_is_migrated(url: str, tmp_path):
    settings = Settings.load(database_url=url)
    await filled(settings)
    connection = connect(tmp_path / "fanwood.db")
    newest = migrations()[-1][0]
    connection.pragma("user_version", newest + 1)
    connection.close()
    with pytest.raises(StoreSchemaError, match="newer Fanwood"):
        await opened(settings, 5.0)
