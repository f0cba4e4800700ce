"""
A database for each test, quickly: as it is when it is new, or with Fanwood's schema in it and nothing else.

A server takes a tenth of a second and more to create a database and to drop it, and the schema takes longer still; but
little is enough to empty both. A new name comes with each use, so that what is left of one test can't reach into the
next. What a test has changed so that it can't be undone makes the database go.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

from fanwood import Settings
from fanwood.clock import SystemClock
from fanwood.store.opening import store_for
from tests.postgres.cluster import LOOK, Cluster
from tests.postgres.sessions import Sessions

# None is left, then: what they were about to commit is there, or never will be.
_DISCONNECT = "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = $1"

_DISCONNECT_OTHERS = (
    "select count(pg_terminate_backend(pid)) from pg_stat_activity"
    " where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
)
_KEPT_TABLES = {"setting", "schema_migration", "schema_layer"}

_OTHERS = (
    "select count(*) from pg_stat_activity"
    " where datname = current_database() and backend_type = 'client backend' and pid <> all($1::int[])"
)

_DROP_SCHEMAS = """
    do $$
    declare name text;
    begin
        for name in
            select nspname from pg_namespace where nspname !~ '^(pg_|information_schema$|public$)'
        loop
            execute format('drop schema %I cascade', name);
        end loop;
    end $$
"""

_TABLES = "select tablename from pg_tables where schemaname = 'fanwood' order by 1"
_SEQUENCES = "select sequencename from pg_sequences where schemaname = 'fanwood' order by 1"

# What a test may change in a database besides rows: then something is missing, or is of a later transaction than $1.
# Whatever is made depends on something, and so has a row of its own in `depend` as well.
_CATALOGS = {
    **dict.fromkeys(
        ("class", "attribute", "attrdef", "constraint", "trigger", "proc", "type", "depend", "default_acl"),
        "true",
    ),
    "namespace": r"nspname !~ '^pg_(toast_)?temp_'",
    "statistic": "starelid >= 16384",
    "db_role_setting": "setdatabase = (select oid from pg_database where datname = current_database())",
}  # fmt: skip
_LATER = "count(*), count(*) filter (where age(xmin) < age($1::text::xid))"
_INVENTORY = (
    "select datacl::text, datconnlimit::text"
    + "".join(f", (select ({_LATER})::text from pg_{name} where {which})" for name, which in _CATALOGS.items())
    + " from pg_database where datname = current_database()"
)


@dataclass(frozen=True)
class _Kept:
    """What there is in a new database: all of it was made by a transaction of the past."""

    made_by: str
    inventory: tuple[object, ...]

    @classmethod
    async def of(cls, connection: Any) -> Self:
        made_by = await connection.fetchval("select pg_current_xact_id()::xid::text")
        return cls(made_by, tuple(await connection.fetchrow(_INVENTORY, made_by)))

    async def is_all_of(self, connection: Any) -> bool:
        return tuple(await connection.fetchrow(_INVENTORY, self.made_by)) == self.inventory


class Databases:
    """Those of one cluster; as many are there at a time as are in use."""

    _numbers = itertools.count(1)  # for all of us: two may have the same cluster

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._free: dict[bool, list[str]] = {False: [], True: []}
        self._as_new: dict[str, _Kept] = {}
        self._with_schema: set[str] = set()
        self._empty_schema = ""
        self._template = ""  # one with a schema, that nobody is given
        self._asking = ThreadPoolExecutor(1)  # with a loop of its own, since the caller's may be running
        self._runner = asyncio.Runner()
        self._main: Any = None  # a connection that stays
        self._sessions = Sessions(cluster.port, cluster.folder)
        self._kept: dict[str, Any] = {}  # databases whose sessions are used again; in each a connection that stays
        self._free_kept: list[str] = []

    def __enter__(self) -> Self:
        self._sessions.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for name in tuple(self._kept):
            self._keep_no_longer(name)
        self._sessions.__exit__()
        if self._main is not None:
            self._run(self._main.close)
        self._asking.submit(self._runner.close).result()
        self._asking.shutdown()

    def take_kept(self) -> str:
        """The name of a database with Fanwood's schema where sessions outlive who has them. It is not new: nobody else
        is connected to it, but whoever had it and comes back later finds it."""
        if self._free_kept:
            return self._free_kept.pop()
        name = self.take(schema=True)
        self._kept[name] = self._run(lambda: self._connect(name, statement_cache_size=100))
        self._sessions.keep(name)
        return name

    def take(self, *, schema: bool = False) -> str:
        """The name of a database that is empty; or that has Fanwood's schema, as it is when it was just made."""
        name = f"test_{next(self._numbers)}"
        if self._free[schema]:
            self._rename(self._free[schema].pop(), name)
        elif schema:
            self._copy_schema(name)
        else:
            self._administer(f"create database {name}")
            self._as_new[name] = self._on(name, _Kept.of)
        return name

    def give_back(self, name: str) -> None:
        """Nobody is connected to it any more, then."""
        if self._emptied(name):
            self._free_kept.append(name)
            return
        schema = name in self._with_schema
        if self._alone(name, self._without_rows if schema else self._cleared):
            self._free[schema].append(name)
        else:
            self._administer(f"drop database {name} with (force)")

    def empty(self, name: str) -> None:
        """Of one with a schema: its rows are as they were when it was taken, and its name is the same."""
        if not self._emptied(name):
            self._alone(name, self._without_rows)

    # --- behind the scenes -------------------------------------------------------------------------------------------

    def _emptied(self, name: str) -> bool:
        """Empty it again, if it is kept and nobody is at it; otherwise it isn't kept from now on."""
        keeper = self._kept.get(name)
        if keeper is None:
            return False

        async def empty() -> bool:
            known = [keeper.get_server_pid(), *self._sessions.idle(name)]
            return not await keeper.fetchval(_OTHERS, known) and await self._without_rows(keeper)

        with contextlib.suppress(Exception):  # what has befallen it may have befallen our connection
            if self._run(empty):
                return True
        self._keep_no_longer(name)
        return False

    def _keep_no_longer(self, name: str) -> None:
        self._sessions.forget(name)
        self._asking.submit(self._kept.pop(name).terminate).result()

    def _rename(self, old: str, new: str) -> None:
        self._administer(f"alter database {old} rename to {new}")
        self._as_new[new] = self._as_new.pop(old)
        if old in self._with_schema:
            self._with_schema.remove(old)
            self._with_schema.add(new)

    def _copy_schema(self, name: str) -> None:
        """To copy files takes a server a tenth of what it takes to make the schema."""
        if not self._template:
            template = self.take()
            self._run(lambda: self._make_schema(template))
            self._template = template
        self._administer(f"create database {name} template {self._template}")
        self._as_new[name] = self._as_new[self._template]
        self._with_schema.add(name)

    async def _make_schema(self, name: str) -> None:
        await store_for(Settings.load(database_url=self._cluster.url(name)), SystemClock()).migrate()
        connection = await self._connect(name)
        try:
            self._empty_schema = await _emptying(connection)
            self._as_new[name] = await _Kept.of(connection)
            self._with_schema.add(name)
        finally:
            await connection.close()

    async def _without_rows(self, connection: Any) -> bool:
        """Whether nothing else was changed."""
        await connection.execute(self._empty_schema)
        return await self._is_as_new(connection)

    async def _cleared(self, connection: Any) -> bool:
        await connection.execute(_DROP_SCHEMAS)
        return await self._is_as_new(connection)

    async def _is_as_new(self, connection: Any) -> bool:
        return await self._as_new[await connection.fetchval("select current_database()")].is_all_of(connection)

    def _administer(self, command: str) -> None:
        async def execute() -> None:
            await (await self._its_main()).execute(command)

        self._run(execute)

    async def _its_main(self) -> Any:
        import asyncpg

        if self._main is None:
            self._main = await asyncpg.connect(self._cluster.url())
        return self._main

    def _alone(self, name: str, question: Callable[[Any], Awaitable[Any]]) -> Any:
        """As `_on`, when nobody else is connected any more."""

        async def disconnect() -> None:
            while await (await self._its_main()).fetchval(_DISCONNECT, name):
                await asyncio.sleep(LOOK)

        self._run(disconnect)
        return self._on(name, question)

    def _on(self, name: str, question: Callable[[Any], Awaitable[Any]]) -> Any:
        async def ask() -> Any:
            connection = await self._connect(name)
            try:
                return await question(connection)
            finally:
                await connection.close()

        return self._run(ask)

    async def _connect(self, name: str, *, statement_cache_size: int = 0) -> Any:
        import asyncpg

        return await asyncpg.connect(self._cluster.url(name), statement_cache_size=statement_cache_size)

    def _run(self, what: Callable[[], Any]) -> Any:
        return self._asking.submit(lambda: self._runner.run(what())).result()


def emptied(url: str, *, schema: bool) -> None:
    """Of whoever has a database for himself: nobody is connected to it any more, and it is empty; or its schema has the
    rows of a new one. (Then it has a schema, and nothing was changed in it but rows.)"""

    async def empty() -> None:
        import asyncpg

        connection = await asyncpg.connect(url, statement_cache_size=0)
        try:
            while await connection.fetchval(_DISCONNECT_OTHERS):
                await asyncio.sleep(LOOK)
            tables = await connection.fetch(_TABLES)
            if schema and tables:
                emptying = [f"delete from fanwood.{name}" for (name,) in tables if name not in _KEPT_TABLES]
                await connection.execute("; ".join(emptying))
            else:
                await connection.execute(_DROP_SCHEMAS)
        finally:
            await connection.close()

    asyncio.run(empty())


async def _emptying(connection: Any) -> str:
    """A script that leaves the rows that are there now, and no others."""
    script: list[str] = []
    for (table,) in await connection.fetch(_TABLES):
        script.append(f"delete from fanwood.{table}")
        rows = await connection.fetchval(f"select quote_literal(json_agg(t)) from fanwood.{table} t")
        if rows is not None:
            found = f"json_populate_recordset(null::fanwood.{table}, {rows})"
            script.append(f"insert into fanwood.{table} select * from {found}")
    script += [f"select setval('fanwood.{name}', 1, false)" for (name,) in await connection.fetch(_SEQUENCES)]
    return ";\n".join(script)
