"""A store that is opened for looking only: it shows, changes nothing, and gives up what takes too long."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from fanwood import Settings, StoreError, SystemClock, SystemIds
from fanwood.errors import StoreBusyError, StoreSchemaError, StoreUnavailableError
from fanwood.ids import id_text
from fanwood.model.commands import Batch, Spawn, SpawnKind, WorkerInfo
from fanwood.model.records import RunFilter
from fanwood.server.app import create
from fanwood.server.options import Options
from fanwood.store.opening import store_for
from fanwood.store.postgres.store import PostgresStore
from fanwood.store.sqlite.connection import connect, migrations
from fanwood.store.sqlite.store import SqliteStore
from fanwood.store.store import Store
from tests.server.asgi import Client


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


async def test_that_a_file_that_is_gone_is_not_shown_for_ever(url: str):
    """SQLite would read it on, and what has taken its place would never be seen."""
    settings = Settings.load(database_url=url)
    root = await filled(settings)
    store = await opened(settings, 5.0)
    assert (await store.get(root)).task == "t"
    path = Path(url.removeprefix("sqlite:///"))
    moved = path.rename(path.with_suffix(".moved"))
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="is gone"):
            await store.get(root)
        path.write_bytes(b"")
    moved.replace(path)
    assert (await store.get(root)).task == "t"
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


PATHS = (
    "me", "trees", "trees/{root}/view", "trees/{root}/members", "trees/{root}/slowest", "trees/{root}/critical-path",
    "trees/{root}/waterfall", "runs/{root}", "runs/{root}/children", "runs/{root}/members", "runs/{root}/logs",
    "runs/{root}/why", "runs/{root}/payload/input", "search?q={root}", "failures", "tasks", "workers", "store",
    "actions",
)  # fmt: skip


async def test_that_a_role_that_may_only_select_is_enough(postgres_url: str):
    root = id_text(await filled(Settings.load(database_url=postgres_url)))
    role = f"viewer_{root.replace('-', '')}"
    owner = await asyncpg.connect(postgres_url)
    try:
        await owner.execute(
            f"create role {role} login; grant usage on schema fanwood to {role}; "
            f"grant select on all tables in schema fanwood to {role}"
        )
        place = urlsplit(postgres_url)
        url = place._replace(netloc=f"{role}@{place.netloc.rpartition('@')[2]}").geturl()
        application = create(Settings.load(database_url=url), Options(login=False, read_only=True))
        client = Client(application, None)
        for path in PATHS:
            answer = await client.ask(f"/api/v1/{path.format(root=root)}")
            assert answer.status == 200, (path, answer.json())
        await application.close()
    finally:
        await owner.execute(f"drop owned by {role}; drop role {role}")
        await owner.close()
