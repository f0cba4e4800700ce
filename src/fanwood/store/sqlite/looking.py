"""The store for who only looks: the file is there, is opened for reading, and nothing in it is changed or migrated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Never

from fanwood.errors import StoreReadOnlyError
from fanwood.store.sqlite.connection import check_schema
from fanwood.store.sqlite.store import SqliteStore

if TYPE_CHECKING:
    from fanwood.store.sqlite.driver import Database


class LookingStore(SqliteStore):
    """Its verbs that change something are refused."""

    def _prepare(self, connection: Database) -> None:
        check_schema(connection, self.path)

    def _transaction(self) -> Never:
        raise StoreReadOnlyError(f"{self.path} was opened for looking only")
