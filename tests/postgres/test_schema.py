"""The schema: how it comes into being and up to date, whose it may be, and who sees what in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fanwood import (
    Fanwood,
    Settings,
    Standalone,
    StoreError,
    StoreForeignError,
    StoreReadOnlyError,
    StoreSchemaError,
    StoreUnavailableError,
)
from fanwood.cli.main import cli
from fanwood.clock import SystemClock
from fanwood.store.opening import store_for
from fanwood.store.postgres.release import present
from fanwood.store.store import Store
from tests.postgres.cluster import Cluster
from tests.postgres.roles import as_role, database_of, role
from tests.postgres.stores import connected

pytestmark = pytest.mark.empty_database

STEPS = [*[step.name for step in present().steps], present().layer_name]
TABLES = {
    "run", "worker", "lease", "worker_task", "task", "gate", "moved_deadline", "unheard", "idem", "watch", "mail",
    "log", "attempt", "event", "message", "value", "setting", "schema_migration", "schema_layer",
    "suspended", "awaited", "tree", "budget", "spend", "pause", "urgency", "shared", "hedge",
    "fork",
}  # fmt: skip


def store(url: str, *, create: bool = True, **settings: object) -> Store:
    return store_for(Settings.load(database_url=url, **settings), SystemClock(), create=create)


async def opened(url: str, **about: object) -> None:
    """Opened, and closed again."""
    found = store(url, **about)  # pyright: ignore[reportArgumentType]
    try:
        await found.open(lambda: None)
        await found.report()
    finally:
        await found.close()


async def refusal(url: str, kind: type[StoreError] = StoreSchemaError, **about: object) -> str:
    """Why it can't be opened; nor be migrated, for the same reason."""
    with pytest.raises(kind) as opening:
        await opened(url, **about)
    return str(opening.value).removeprefix(url)


async def tables(url: str, schema: str = "fanwood") -> set[str]:
    async with connected(url) as connection:
        rows = await connection.fetch("select tablename from pg_tables where schemaname = $1", schema)
        return {row[0] for row in rows}


async def execute(url: str, script: str) -> None:
    async with connected(url) as connection:
        await connection.execute(script)


# --- coming into being -----------------------------------------------------------------------------------------------


async def test_migrate_makes_it_once(postgres_url: str):
    assert await store(postgres_url).migrate(dry_run=True) == STEPS
    assert await tables(postgres_url) == set()
    assert await store(postgres_url).migrate() == STEPS
    assert await tables(postgres_url) == TABLES
    assert await store(postgres_url).migrate(dry_run=True) == []
    assert await store(postgres_url).migrate() == []


async def test_the_first_to_open_it_makes_it(postgres_url: str):
    await opened(postgres_url)
    assert await tables(postgres_url) == TABLES


async def test_eight_who_open_it_and_four_who_migrate_it_at_once(postgres_url: str):
    opening = [opened(postgres_url) for _ in range(8)]
    migrating = [store(postgres_url).migrate() for _ in range(4)]
    done = await asyncio.gather(*opening, *migrating)
    assert sorted(map(len, filter(None, done))) in ([], [len(STEPS)])
    async with connected(postgres_url) as connection:
        assert await connection.fetchval("select count(*) from schema_migration") == len(present().steps)


async def test_who_only_looks_makes_nothing(postgres_url: str):
    said = await refusal(postgres_url, StoreUnavailableError, create=False)
    assert said == " has no schema 'fanwood': nothing has run there yet."
    assert await tables(postgres_url) == set()


async def test_the_isolation_that_a_database_prefers_does_not_matter(postgres_url: str):
    name = database_of(postgres_url)
    await execute(postgres_url, f"alter database {name} set default_transaction_isolation = 'serializable'")
    await asyncio.gather(*(opened(postgres_url) for _ in range(4)))


# --- other schemas than ours -----------------------------------------------------------------------------------------


@pytest.fixture
async def made(postgres_url: str) -> str:
    await store(postgres_url).migrate()
    return postgres_url


async def test_a_newer_one(made: str):
    await execute(made, "insert into schema_migration values (99, '0099_future', 'x')")
    said = await refusal(made)
    assert said.startswith(": schema 'fanwood' has version 99 (functions 1), and this Fanwood knows versions up to 1 ")
    assert said.endswith("It was made by a newer Fanwood: upgrade this one, or name another schema or database.")
    with pytest.raises(StoreSchemaError, match="knows versions up to"):
        await store(made).migrate()


async def test_a_newer_one_that_says_that_it_will_do(made: str):
    await execute(made, """
        insert into schema_migration values (99, '0099_future', 'x');
        insert into setting values ('oldest_program', '1');
    """)  # fmt: skip
    await opened(made)
    assert await store(made).migrate() == []
    await execute(made, "update setting set value = '2' where name = 'oldest_program'")
    assert "knows versions up to 1" in await refusal(made)


async def test_a_newer_one_without_our_functions(made: str):
    await execute(made, """
        insert into setting values ('oldest_program', '1');
        update schema_layer set number = 3;
    """)  # fmt: skip
    assert "has version 1 (functions 3), and this Fanwood" in await refusal(made)


async def test_one_without_its_functions(made: str):
    await execute(made, "delete from schema_layer")
    said = await refusal(made)
    assert said == ": schema 'fanwood' is older than this Fanwood: it lacks functions 1. Run: fanwood db migrate"
    assert await store(made).migrate(dry_run=True) == STEPS[-1:]
    assert await store(made).migrate() == STEPS[-1:]  # over those that are there
    await opened(made)


async def test_functions_of_another_text_are_made_anew(made: str):
    await execute(made, "update schema_layer set checksum = 'x'; drop function fw1_micros")
    assert "it lacks functions 1" in await refusal(made)
    assert await store(made).migrate() == STEPS[-1:]
    await opened(made)


async def test_one_that_was_made_by_another_text(made: str):
    await execute(made, "update schema_migration set checksum = 'x' where number = 1")
    said = await refusal(made)
    assert said.startswith(f": migration {STEPS[0]} was applied to schema 'fanwood' with another text (checksum x, ")
    assert said.endswith("Copy the runs into a new schema (`fanwood db copy`), or name another one.")
    with pytest.raises(StoreSchemaError, match="with another text"):
        await store(made).migrate()


async def test_one_from_before_the_first_release(made: str):
    await execute(made, "drop table schema_layer")
    said = await refusal(made)
    assert said.startswith(": the schema 'fanwood' was made by a Fanwood from before its first release, and can't be ")
    with pytest.raises(StoreSchemaError, match="before its first release"):
        await store(made).migrate()


async def test_somebody_elses(postgres_url: str):
    await execute(postgres_url, "create schema fanwood; create table fanwood.wood (fan int)")
    said = await refusal(postgres_url, StoreForeignError)
    assert said == (
        ": the schema 'fanwood' holds tables that are not Fanwood's. Nothing in it was touched. Name another one: "
        "FANWOOD_POSTGRES_SCHEMA"
    )
    with pytest.raises(StoreForeignError):
        await store(postgres_url).migrate()
    assert await tables(postgres_url) == {"wood"}


async def test_one_that_lost_a_function(made: str):
    await execute(made, "drop function fw1_cancel")
    found = store(made)
    await found.open(lambda: None)
    root = bytes(16)
    await execute(made, """
        insert into run (id, root_id, depth, task, input, priority, on_parent_end, state, attempt, asked, created_at)
        values (decode(repeat('00', 16), 'hex'), '', 0, 'a', '', 0, 0, 0, 0, 0, 0)
    """)  # fmt: skip
    with pytest.raises(
        StoreSchemaError, match=r"is not what this version of Fanwood expects .* Run: fanwood db migrate"
    ):
        await found.cancel(root, "for a test")
    await found.close()


# --- whose it is -----------------------------------------------------------------------------------------------------


@pytest.fixture
def somebody(postgres_cluster: Cluster, postgres_url: str) -> Iterator[str]:
    """The URL of the same database for a role that may do nothing."""
    with role(postgres_cluster, database_of(postgres_url)) as name:
        yield as_role(postgres_url, name)


def name_in(url: str) -> str:
    return url.removeprefix("postgresql://").partition("@")[0]


async def test_a_role_that_may_not_make_it(somebody: str):
    said = await refusal(somebody)
    assert said.startswith(" has no schema 'fanwood', and this role may not make it (permission denied for database ")
    assert said.endswith("Have its owner run `fanwood db migrate`, or grant it: grant create on database ... to ...")
    with pytest.raises(StoreSchemaError, match="may not make it"):
        await store(somebody).migrate()
    assert await store(somebody).migrate(dry_run=True) == STEPS


async def test_a_schema_that_was_made_for_the_role(postgres_url: str, somebody: str):
    await execute(postgres_url, f"create schema fanwood authorization {name_in(somebody)}")
    await opened(somebody)
    assert await tables(postgres_url) == TABLES


async def test_a_schema_in_which_the_role_may_create(postgres_url: str, somebody: str):
    await execute(postgres_url, f"create schema fanwood; grant usage, create on schema fanwood to {name_in(somebody)}")
    assert await store(somebody).migrate() == STEPS
    await opened(somebody)


async def test_a_schema_that_the_role_may_not_enter(made: str, somebody: str):
    said = await refusal(somebody, StoreReadOnlyError)
    assert said == (
        ": permission denied for schema fanwood. The role needs the grants that docs/howto/production.md lists; "
        "`fanwood db migrate` needs an owner's."
    )


# --- the command -----------------------------------------------------------------------------------------------------


Invoke = Callable[..., Result]


@pytest.fixture
def invoke(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    monkeypatch.setenv("FANWOOD_DATABASE_URL", postgres_url)
    return lambda *command: CliRunner().invoke(cli, ["db", "migrate", *command], prog_name="fanwood")


def test_the_command(invoke: Invoke, postgres_url: str):
    lines = "".join(f"{step}\n" for step in STEPS)
    for arguments, said in [
        (("--dry-run",), f"{len(STEPS)} steps to take in {postgres_url}; nothing was changed.\n"),
        ((), f"{postgres_url} is up to date now.\n"),
    ]:
        done = invoke(*arguments)
        assert (done.exit_code, done.stdout, done.stderr) == (0, lines, said)
    done = invoke()
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", f"{postgres_url} is up to date.\n")
    assert json.loads(invoke("--json").stdout) == {"url": postgres_url, "dry_run": False, "steps": [], "workers": []}


async def test_the_command_on_a_newer_one(made: str):
    await execute(made, "insert into schema_migration values (99, '0099_future', 'x')")
    done = await asyncio.to_thread(CliRunner().invoke, cli, ["db", "migrate", "--url", made])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {made}: schema 'fanwood' has version 99")


# --- who sees what ---------------------------------------------------------------------------------------------------


def declared(app: Fanwood, factor: int) -> Standalone[Any, Any]:
    """A task with children."""

    @app.task
    async def times(n: int) -> int:
        return n * factor

    @app.task
    async def all_of(n: int) -> list[int]:
        return await times.aio_run_many([times.create_bulk_run_item(i) for i in range(n)])

    return all_of


@pytest.mark.parametrize("by", ["postgres_schema", "namespace"])
def test_applications_beside_each_other(by: str, postgres_url: str, make_app: Callable[..., Fanwood]):
    apps = [make_app(url=postgres_url, **{by: name}) for name in ("one", "two", "three")]
    refs = [declared(app, n + 2).run_no_wait(n + 5) for n, app in enumerate(apps)]
    for n, (app, ref) in enumerate(zip(apps, refs, strict=True)):
        assert ref.result(timeout=60) == [i * (n + 2) for i in range(n + 5)]
        assert [run.id for run in app.runs.list()] == [ref.id]
        assert {run.task_name.rpartition("/")[2] for run in app.runs.children(ref.id)} == {"times"}


def test_a_name_for_the_schema_from_the_environment(
    postgres_url: str, postgres_cluster: Cluster, make_app: Callable[..., Fanwood], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FANWOOD_POSTGRES_SCHEMA", "our_runs")
    assert declared(make_app(url=postgres_url), 2).run(2) == [0, 2]
    found = postgres_cluster.fetch(
        "select nspname from pg_namespace where nspname ~ 'runs|fanwood'", database=database_of(postgres_url)
    )
    assert found == [("our_runs",)]
