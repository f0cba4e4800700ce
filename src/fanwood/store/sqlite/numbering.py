"""The numbers of events, messages and waits, in one row of a file's table of settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood import logs
from fanwood.store.statements import load

if TYPE_CHECKING:
    from fanwood.store.sqlite.driver import Database

logger = logs.logger("fanwood.store")

_SQL = load("sqlite/numbering.sql")


class Numbering:
    """Of one connection, inside transactions that the caller begins."""

    def __init__(self, connection: Database) -> None:
        self._execute = connection.execute

    def next(self) -> int:
        """The next one."""
        number = self._execute(_SQL["next_number"]).get
        return self._found_again() + 1 if number is None else number

    def check(self) -> None:
        """Who begins to work there sees that numbers go on after those that were given."""
        if self._execute(_SQL["is_behind"]).get:
            self._found_again()

    def _found_again(self) -> int:
        """Somebody has spoilt the row, or it is gone: the last number that anything has, and one is taken."""
        mark = self._execute(_SQL["last_mark"]).get
        last = max(int(self._execute(_SQL["last_number"]).get), int.from_bytes(mark or b"", "big"))
        self._execute(_SQL["set_number"], {"number": last + 1})
        logger.error("the setting 'number' of the database was spoilt: events and waits are counted on from %d", last)
        return last
