"""The store for who only looks: the file is there, is opened for reading, and nothing in it is changed or migrated."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from fanwood.errors import StoreReadOnlyError
from fanwood.store.sqlite.connection import check_schema
from fanwood.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Generator

    from fanwood.store.sqlite.driver import Database


class LookingStore(SqliteStore):
    """Its verbs that change something are refused."""

    def _prepare(self, connection: Database) -> None:
        check_schema(connection, self.path)

    @contextmanager
    def _transaction(self) -> Generator[Database, None, None]:
        raise StoreReadOnlyError(f"{self.path} was opened for looking only")
        yield
