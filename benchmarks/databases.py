"""A database of its own for each measurement: a file in a new folder, or a new schema of a server; gone afterwards."""

import asyncio
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from fanwood import Settings

SQLITE, POSTGRES = STORES = ("sqlite", "postgres")
LOCK_SECONDS = 10
"""How long a process that was killed may keep its tables from being dropped."""


@dataclass(frozen=True)
class Database:
    """One measurement's. Without a URL it is SQLite's, in the folder."""

    folder: str
    url: str = ""
    schema: str = ""

    @property
    def store(self) -> str:
        return POSTGRES if self.url else SQLITE

    def settings(self, name: str = "bench") -> Settings:
        """Fanwood's; another name is another database."""
        if self.url:
            return Settings.load(database_url=self.url, postgres_schema=self.name(name))
        return Settings.load(database_url=f"sqlite:///{self.path(name)}")

    def path(self, name: str) -> Path:
        """The file of that database, with SQLite."""
        return Path(self.folder) / f"{name}.db"

    def name(self, name: str) -> str:
        """The schema of that database, with PostgreSQL."""
        return f"{self.schema}_{name}"


@dataclass(frozen=True)
class Place:
    """Where new databases come from: a folder on a disk; with a URL, a server besides."""

    folder: Path
    url: str = ""

    @contextmanager
    def new(self) -> Iterator[Database]:
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            if not self.url:
                yield Database(folder)
                return
            schema = f"bench_{secrets.token_hex(4)}"
            try:
                yield Database(folder, self.url, schema)
            finally:
                asyncio.run(_drop(self.url, schema))


async def _drop(url: str, prefix: str) -> None:
    """All schemas whose names begin so."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"set lock_timeout to '{LOCK_SECONDS}s'")
        found = await connection.fetch("select nspname from pg_namespace where starts_with(nspname, $1)", prefix)
        for (name,) in found:
            await connection.execute(f'drop schema "{name}" cascade')
    finally:
        await connection.close()
