"""The server that tests are given: what it keeps, whom it lets in, and that nothing of it is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.chaos.scale import scaled
from tests.faults.processes import until
from tests.postgres.cluster import Cluster
from tests.postgres.databases import Databases
from tests.postgres.shelter import ServerError, Shelter, children

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]

STARTED_ELSEWHERE = """
from tests.postgres.cluster import Cluster
cluster = Cluster().start()
print(cluster.folder, cluster.port, flush=True)
input()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One that may be stopped."""
    with Cluster() as cluster:
        yield cluster


def test_it_is_as_durable_as_servers_are(postgres_cluster: Cluster):
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        assert postgres_cluster.fetch(f"show {setting}") == [("on",)]


def test_a_stop_a_crash_and_a_kill_lose_nothing(cluster: Cluster):
    url = cluster.create_database("kept")
    cluster.execute("create table number (n int); insert into number values (1)", database="kept")
    for end in (cluster.stop, lambda: cluster.stop("immediate"), cluster.kill):
        end()
        assert not cluster.running
        cluster.start()
        assert cluster.url("kept") == url
        assert cluster.fetch("select n from number", database="kept") == [(1,)]


def test_settings_are_as_asked_and_change_by_a_reload():
    with Cluster({"fsync": False, "work_mem": "5MB", "application_name": r"it's \ here"}) as cluster:
        assert cluster.fetch("show fsync") == [("off",)]
        assert cluster.fetch("show work_mem") == [("5MB",)]
        assert cluster.fetch("show application_name") == [(r"it's \ here",)]
        cluster.settings["work_mem"] = "6MB"
        cluster.reload()
        assert cluster.fetch("show work_mem") == [("6MB",)]


def test_only_this_machine_can_reach_it(postgres_cluster: Cluster):
    assert postgres_cluster.fetch("show listen_addresses") == [("127.0.0.1",)]
    assert Path(postgres_cluster.fetch("show unix_socket_directories")[0][0]) == postgres_cluster.folder
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", postgres_cluster.port), timeout=300)


async def test_it_can_be_asked_from_a_coroutine(postgres_cluster: Cluster):
    assert postgres_cluster.fetch("select $1::int + 1", 1) == [(2,)]


def test_its_folder_and_its_processes_are_gone_at_the_end():
    with Cluster() as cluster:
        assert cluster.data.exists()
        family = [cluster.pid, *children(cluster.pid)]
        assert len(family) > 1
    assert not cluster.folder.exists()
    assert not any(_alive(pid) for pid in family)


@pytest.mark.parametrize("end", ["killed", "forgotten"])
def test_it_never_outlives_those_who_started_it(end: str):
    with subprocess.Popen(
        [sys.executable, "-c", STARTED_ELSEWHERE],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as process:
        assert process.stdout is not None
        folder, port = process.stdout.readline().split()
        assert Path(folder).exists()
        if end == "killed":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.communicate("\n")
    until(lambda: not Path(folder).exists(), "its folder is gone")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)), timeout=300)


def test_a_port_that_somebody_took_meanwhile_is_left_to_them():
    cluster = Cluster()
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", cluster.port))
        somebody.listen()
        with cluster:
            assert cluster.port != somebody.getsockname()[1]
            assert cluster.fetch("select 1") == [(1,)]


def test_a_server_that_does_not_start_says_why():
    with (
        pytest.raises(ServerError, match=r"did not start:(.|\n)*unrecognized configuration parameter \"nonsense\""),
        Cluster({"nonsense": 1}),
    ):
        pass


def test_a_program_that_the_servers_user_may_not_reach_is_named(tmp_path: Path):
    if os.geteuid() != 0:
        pytest.skip("only root starts servers as another user")
    program = tmp_path / "private" / "postgres"
    program.parent.mkdir(mode=0o700)
    program.touch(mode=0o755)
    with Shelter("test") as shelter, pytest.raises(ServerError, match=f"may not execute {program}"):
        shelter.run([str(program)])


# --- databases -------------------------------------------------------------------------------------------------------


@pytest.fixture
def databases(postgres_cluster: Cluster) -> Iterator[Databases]:
    with Databases(postgres_cluster) as databases:
        yield databases


async def test_a_database_comes_back_empty_and_under_another_name(postgres_cluster: Cluster, databases: Databases):
    first = databases.take()
    left_behind = await asyncpg.connect(postgres_cluster.url(first))
    await left_behind.execute("create schema of_mine create table t (i int)")
    databases.give_back(first)
    second = databases.take()
    try:
        with pytest.raises(asyncpg.PostgresError):
            await left_behind.execute("select 1")
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            await asyncpg.connect(postgres_cluster.url(first))
        assert _oid(postgres_cluster, second)
        schemas = "select count(*) from pg_namespace where nspname = 'of_mine'"
        assert postgres_cluster.fetch(schemas, database=second) == [(0,)]
    finally:
        left_behind.terminate()
        databases.give_back(second)


@pytest.mark.parametrize(
    "change",
    [
        "create table in_public (i int)",
        "alter database {name} set work_mem = '1MB'",
        "revoke all on schema public from public",
        "revoke connect on database {name} from public",
    ],
)
@pytest.mark.parametrize("schema", scaled([False, True], [True]), ids=lambda it: "with a schema" if it else "empty")
def test_a_database_that_cannot_be_made_as_new_is_dropped(
    postgres_cluster: Cluster, databases: Databases, change: str, schema: bool
):
    name = databases.take(schema=schema)
    oid = _oid(postgres_cluster, name)
    postgres_cluster.execute(change.format(name=name), database=name)
    databases.give_back(name)
    assert postgres_cluster.fetch("select 1 from pg_database where oid = $1", oid) == []


CHANGES = [
    "create schema more",
    "create table fanwood.more (i int)",
    "alter table fanwood.run set (fillfactor = 50)",
    "drop index fanwood.run_ready",
    "alter function fanwood.fw1_micros() cost 7",
    "create or replace function fanwood.fw1_micros() returns bigint language sql as 'select 1'",
]


@pytest.mark.parametrize("change", scaled(CHANGES, CHANGES[::3]))
def test_nor_is_one_kept_whose_schema_was_changed(postgres_cluster: Cluster, databases: Databases, change: str):
    name = databases.take(schema=True)
    oid = _oid(postgres_cluster, name)
    postgres_cluster.execute(change, database=name)
    databases.give_back(name)
    assert postgres_cluster.fetch("select 1 from pg_database where oid = $1", oid) == []


def test_a_database_comes_back_with_a_schema_as_it_was_made(postgres_cluster: Cluster, databases: Databases):
    def rows(name: str) -> dict[str, int]:
        return {
            table: postgres_cluster.fetch(f"select count(*) from fanwood.{table}", database=name)[0][0]
            for (table,) in postgres_cluster.fetch(
                "select tablename from pg_tables where schemaname = 'fanwood'", database=name
            )
        }

    first = databases.take(schema=True)
    oid, new = _oid(postgres_cluster, first), rows(first)
    assert sum(new.values()) > 0
    for _ in range(2):
        postgres_cluster.execute(USED, database=first)
        assert postgres_cluster.fetch("select id, name from fanwood.worker", database=first) == [(1, "w")]
        databases.give_back(first)
        first = databases.take(schema=True)
        assert (_oid(postgres_cluster, first), rows(first)) == (oid, new)
        settings = dict(postgres_cluster.fetch("select name, value from fanwood.setting", database=first))
        assert len(settings.pop("secret")) == 64
        assert settings == {"members": "0"}
    databases.give_back(first)


USED = """
    insert into fanwood.worker (started_at, lease, pid, slots, name, host) values (1, 1, 1, 1, 'w', 'h');
    update fanwood.setting set value = '5';
    create temporary table mine (i int)
"""


@pytest.mark.empty_database
def test_each_test_has_a_database(postgres_url: str):
    async def tables() -> int:
        connection = await asyncpg.connect(postgres_url)
        try:
            return await connection.fetchval("select count(*) from pg_tables where schemaname !~ '^(pg_|information_)'")
        finally:
            await connection.close()

    assert asyncio.run(tables()) == 0


# --- behind the scenes -----------------------------------------------------------------------------------------------


def _oid(cluster: Cluster, name: str) -> int:
    return cluster.fetch("select oid from pg_database where datname = $1", name)[0][0]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
