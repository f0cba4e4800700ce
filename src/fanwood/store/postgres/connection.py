"""Connections that come back: up to four of them to a process, each for one purpose, made when it is needed.

`hot` carries commits and nothing else, so that nothing makes them wait. `beat` renews the lease and listens, and
nothing else either, so that no chore makes a worker look dead. `side` does the chores of an engine: looking around,
timers, lost workers, cancelling, sweeping. `reader` does what may take long: looking, pruning, copying.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fanwood.errors import FanwoodError, StoreError, StoreSchemaError, StoreUnavailableError
from fanwood.store.postgres.arrays import write_arrays
from fanwood.store.postgres.driver import connection_class, driver
from fanwood.store.postgres.release import Release, in_layer, present
from fanwood.store.postgres.statements import numbered
from fanwood.store.postgres.troubles import translated

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from fanwood.store.postgres.driver import Connection

CONNECT_SECONDS = 3.0
ANSWER_SECONDS = 20.0
"""How long a chore may take before its connection counts as cut. (It may have been done.)"""
HELD_SECONDS = 5
"""How long a process that froze within a transaction may hold its locks before the server ends it."""
_WAYS = ("seqscan", "bitmapscan", "hashjoin", "mergejoin")
_BY_INDEX = "; ".join(f"set local enable_{way} to off" for way in _WAYS)
"""Row by row and in order, as everything here is meant to be found: statistics are always late in a queue."""


OURS = {
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "search_path": "pg_catalog, pg_temp",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "array_nulls": "on",
    "enable_indexscan": "on",
    "enable_indexonlyscan": "on",
    "enable_nestloop": "on",
    "enable_sort": "on",
    "enable_material": "on",
    "enable_tidscan": "on",
    "jit": "off",
}
"""Whatever the settings of the role and the database are: these are those that the functions are written for, and what
takes long is waited for."""
_OURS_IN_TRANSACTION = "; ".join(
    f"set local {name} to {value!r}"
    for name, value in OURS.items()
    if not name.startswith(("default_transaction", "search_path", "idle"))
)
"""Behind a pooler: the session isn't ours."""
NOTICE_SECONDS = 5


def one_by_one(url: str) -> list[str]:
    """A URL for each host of `url`: the driver's patience is for all of them, and the first could use it up."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    return [parts._replace(netloc=f"{user}{at}{host}").geturl() for host in hosts.split(",")]


async def _have_it_notice(connection: Connection) -> None:
    """Have the server notice, also while it executes or waits for a lock, that we are gone. (Not all platforms can.)"""
    try:
        with suppress(driver().PostgresError):
            await connection.execute(f"set client_connection_check_interval to '{NOTICE_SECONDS}s'")
    except BaseException:
        connection.terminate()
        raise


_PACKED_QUICKLY = """
select set_config('default_toast_compression', 'lz4', false) from pg_settings
where name = 'default_toast_compression' and source = 'default' and 'lz4' = any (enumvals)
"""
"""Large values: the server's own way takes a third of all that it does in a commit of large outputs. If it was built
with this one, and nobody has chosen."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the database is, and how to speak to it."""

    url: str = field(repr=False)  # with its password
    shown: str  # without
    schema: str
    process: str = ""  # who we are, for pg_stat_activity
    pooled: bool = False  # through pgbouncer in transaction mode: each transaction may meet another connection
    reads_only: bool = False
    release: Release = field(default_factory=present, repr=False)

    def named(self, text: str) -> str:
        """SQL of ours, with the names that our functions have in the schema."""
        return in_layer(text, self.release.layer)

    def function(self, name: str, parameters: int) -> str:
        """The statement that calls a function of ours."""
        places = ", ".join(f"${number}" for number in range(1, parameters + 1))
        return self.named(f'select "{self.schema}".fw_{name}({places})')

    async def connect(self, role: str, timeout: float = 0.0) -> Connection:
        """A new connection. `timeout`: seconds after which the server gives up a statement; 0: never.

        Raises:
            StoreError: none could be made; a `StoreUnavailableError` if that may pass.
        """
        settings = {"application_name": f"fanwood:{self.process}:{role}"[:63]}
        if not self.pooled:
            settings.update(OURS, statement_timeout=str(round(timeout * 1000)))
            settings["default_transaction_read_only"] = "on" if self.reads_only else "off"
        trouble: StoreError | None = None
        for url in one_by_one(self.url):
            try:
                with translated(self.shown):
                    connection = await driver().connect(
                        url,
                        timeout=CONNECT_SECONDS,
                        statement_cache_size=0 if self.pooled else 100,
                        server_settings=settings,
                        connection_class=connection_class(),
                    )
                    if not self.pooled:
                        await _have_it_notice(connection)
                    return connection
            except StoreUnavailableError as error:
                trouble = error
            except StoreSchemaError as error:  # not of a schema: we haven't asked for anything yet
                raise StoreError(f"{self.shown}: the server refuses a part of the URL: {error.__cause__}.") from error
        assert trouble is not None
        raise trouble

    async def for_commits(self, connection: Connection) -> None:
        """A new connection for commits, which are arrays, and may be large."""
        await write_arrays(connection)
        if not self.pooled:
            await connection.execute(_PACKED_QUICKLY)

    async def enter(self, connection: Connection) -> None:
        """A new connection for looks: it is in our schema, and goes by index, in each of its transactions."""
        if not self.pooled:
            ways = "; ".join(f"set enable_{way} to off" for way in _WAYS)
            await connection.execute(f'set search_path to "{self.schema}", pg_temp; {ways}')


@dataclass(slots=True)
class Link:
    """One connection, made when it is needed, and made again after it was lost. One user at a time."""

    address: Address
    role: str
    patience: float | None = ANSWER_SECONDS  # seconds; None: for as long as it takes
    timeout: float = 0.0  # seconds after which the server gives up a statement; 0: never
    on_connect: Callable[[Connection], Awaitable[None]] | None = None
    connection: Connection | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def pid(self) -> int:
        """The server's process at the other end; 0 without one."""
        return self.connection.get_server_pid() if self.alive and self.connection is not None else 0

    @property
    def alive(self) -> bool:
        """Whether it is connected, as far as we know."""
        return self.connection is not None and not self.connection.is_closed()

    @asynccontextmanager
    async def use(self) -> AsyncGenerator[Connection, None]:
        """The connection, for us alone; thrown away after anything but an error that the server itself reported.

        Raises:
            StoreError: what went wrong.
        """
        async with self._lock:
            try:
                with translated(self.address.shown):
                    async with asyncio.timeout(self.patience):
                        yield await self._connected()
            except BaseException as error:
                if not _was_answered(error.__cause__ or error):
                    self.lose()
                raise

    async def _connected(self) -> Connection:
        connection = self.connection
        if connection is None or connection.is_closed():
            self.connection = None
            connection = await self.address.connect(self.role, self.timeout)
            try:
                if self.on_connect is not None:
                    await self.on_connect(connection)
            except BaseException:
                connection.terminate()
                raise
            self.connection = connection
        return connection

    def lose(self) -> None:
        """Close it at once."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        """Say good-bye."""
        async with self._lock:
            connection, self.connection = self.connection, None
            if connection is not None and not connection.is_closed():
                try:
                    await connection.close(timeout=1.0)
                except Exception:  # noqa: BLE001  (it is gone either way)
                    connection.terminate()

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Transaction, None]:
        """A transaction in our schema; rolled back if the body raises.

        Raises:
            StoreError: what went wrong.
        """
        async with self.use() as connection:
            try:
                await connection.execute(self._begin())
                yield Transaction(connection, self.address)
                await connection.execute("commit")
            except BaseException as error:
                if _was_answered(error) and not connection.is_closed():
                    await connection.execute("rollback")
                raise

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[Transaction, None]:
        """For one statement that only looks: a transaction by itself, in one round trip. The connection was entered.

        Raises:
            StoreError: what went wrong.
        """
        if self.address.pooled:
            async with self.transaction() as db:
                yield db
        else:
            async with self.use() as connection:
                yield Transaction(connection, self.address)

    def _begin(self) -> str:
        begin = "begin isolation level read committed"
        if self.address.pooled:
            begin += f" read {'only' if self.address.reads_only else 'write'}; {_OURS_IN_TRANSACTION}"
        return (
            f'{begin}; set local search_path to "{self.address.schema}", pg_temp; '
            f"set local statement_timeout to {round(self.timeout * 1000)}; {_BY_INDEX}; "
            f"set local idle_in_transaction_session_timeout to '{HELD_SECONDS}s'"
        )

    async def ask(self, sql: str, *values: Any) -> Any:
        """What one statement says, which is a transaction of its own."""
        if self.address.pooled:  # prepare and execute must meet one and the same connection
            async with self.transaction() as db:
                return await db.connection.fetchval(sql, *values)
        async with self.use() as connection:
            return await connection.fetchval(sql, *values)

    async def call(self, function: str, *values: Any) -> Any:
        """What a function of ours says that sets its own search_path: one round trip."""
        return await self.ask(self.address.function(function, len(values)), *values)


def _was_answered(error: BaseException) -> bool:
    """Whether the connection is as good as before: the server said no, or the trouble was ours."""
    return isinstance(error, (driver().PostgresError, driver().DataError)) or (
        isinstance(error, FanwoodError) and not isinstance(error, StoreError)
    )


class Transaction:
    """Statements inside a transaction, by their names."""

    def __init__(self, connection: Connection, address: Address) -> None:
        self.connection = connection
        self._address = address

    def named(self, text: str) -> str:
        """See `Address.named`."""
        return self._address.named(text)

    async def rows(self, name: str, sql: str, /, **bindings: Any) -> list[Any]:
        """All rows of a named statement."""
        statement = numbered(name, self._address.named(sql))
        return await self.connection.fetch(statement.text, *statement.values(bindings))

    async def call(self, function: str, *values: Any) -> list[Any]:
        """The rows of a function of ours."""
        places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        return await self.connection.fetch(self._address.named(f"select * from {function}({places})"), *values)

    async def value(self, sql: str, *values: Any) -> Any:
        """The first row's first column of a statement of ours; None without rows."""
        return await self.connection.fetchval(self._address.named(sql), *values)
