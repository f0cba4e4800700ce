"""Programs and workers whose database is behind a pgbouncer in transaction mode."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fanwood import Fanwood, SettingsError, TaskRunCancelled
from fanwood.store.postgres.store import PostgresStore
from tests.postgres.cluster import Cluster
from tests.postgres.pgbouncer import Pgbouncer
from tests.postgres.roles import database_of


@pytest.fixture
def pgbouncer(postgres_cluster: Cluster, pgbouncer_program: str) -> Iterator[Pgbouncer]:
    with Pgbouncer(postgres_cluster, {"default_pool_size": 2}) as pgbouncer:
        yield pgbouncer


@pytest.fixture(params=[True, False], ids=["listening", "polling"])
def make(
    request: pytest.FixtureRequest,
    pgbouncer: Pgbouncer,
    postgres_url: str,
    make_app: Callable[..., Fanwood],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Fanwood]:
    """Makes applications by the environment, as docs/howto/production.md says."""
    monkeypatch.setenv("FANWOOD_DATABASE_URL", pgbouncer.url(database_of(postgres_url)))
    monkeypatch.setenv("FANWOOD_PGBOUNCER", "1")
    if request.param:
        monkeypatch.setenv("FANWOOD_LISTEN_URL", postgres_url)
    return lambda **settings: make_app(url=None, **settings)


def declare(app: Fanwood, begun: threading.Event) -> tuple[Any, Any, Any]:
    @app.task(retries=1)
    async def child(n: int) -> int:
        app.get_current_context().log(f"child {n}")
        if n % 10 == 3 and app.get_current_context().retry_count == 0:
            raise ValueError(n)
        return n

    @app.task
    async def parent(n: int) -> int:
        return sum(await child.aio_run_many([child.create_bulk_run_item(i) for i in range(n)]))

    @app.task
    async def endless(n: int) -> None:
        begun.set()
        await child.aio_run_many([child.create_bulk_run_item(i) for i in range(n)])
        await asyncio.Event().wait()

    return child, parent, endless


def test_a_client_and_two_workers(make: Callable[..., Fanwood], postgres_cluster: Cluster):
    begun = threading.Event()
    client, *workers = make(local_worker=False), make(slots=3), make(slots=5)
    _, parent, endless = declare(client, begun)
    for worker in workers:
        declare(worker, begun)
        worker.find("parent").run(1, timeout=60)  # from now on it works
    refs = [parent.run_no_wait(40, idempotency_key=f"{n}") for n in range(3)]
    assert [ref.result(timeout=60) for ref in refs] == [sum(range(40))] * 3
    assert parent.run_no_wait(40, idempotency_key="0").id == refs[0].id
    doomed = endless.run_no_wait(5)
    assert begun.wait(60)
    assert client.runs.cancel(doomed.id) >= 1
    with pytest.raises(TaskRunCancelled):
        doomed.result(timeout=60)
    assert len(client.runs.children(refs[0].id)) == 40
    store = client.engine().store
    assert isinstance(store, PostgresStore)
    pids = [row[0] for row in postgres_cluster.fetch("select pid from pg_stat_activity")]
    assert (store._beat.pid in pids) == bool(client.settings.listen_url)  # the pooler's are its own numbers
    assert store._hot.pid not in pids


@pytest.mark.parametrize("make", [True], indirect=True, ids=["listening"])
def test_two_ways_to_two_databases(
    make: Callable[..., Fanwood], postgres_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
):
    make().engine()
    name = "another_database"
    monkeypatch.setenv("FANWOOD_LISTEN_URL", postgres_cluster.create_database(name))
    try:
        with pytest.raises(SettingsError, match=f"^The listen_url .*/{name} leads to another database than"):
            make(local_worker=False).engine()
    finally:
        postgres_cluster.drop_database(name)


@pytest.mark.long
def test_the_pooler_is_restarted(make: Callable[..., Fanwood], pgbouncer: Pgbouncer):
    worker = make(slots=4)
    gate = threading.Event()

    @worker.task
    async def child(n: int) -> int:
        if n == 5:
            pgbouncer.stop()
            gate.set()
        return n

    @worker.task
    async def parent(n: int) -> int:
        return sum(await child.aio_run_many([child.create_bulk_run_item(i) for i in range(n)]))

    ref = parent.run_no_wait(50)
    assert gate.wait(60)
    pgbouncer.start()
    assert ref.result(timeout=60) == sum(range(50))
