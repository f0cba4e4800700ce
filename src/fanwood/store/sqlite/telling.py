"""How far hooks were told of failures, in a file's table of settings."""

from __future__ import annotations

from typing import Any

from fanwood import logs
from fanwood.store import telling
from fanwood.store.sqlite.infile import InFile
from fanwood.store.statements import load

logger = logs.logger("fanwood.store")

_SQL = load("sqlite/telling.sql")


class SqliteTelling(InFile, telling.Telling):
    """The verbs, on a store that has a file."""

    async def turns(self, name: str, /, **bindings: Any) -> list[Any]:
        with self._transaction() as db:
            for _ in range(2):
                try:
                    return list(db.execute(telling.SQL[name], bindings))
                except UnicodeError:  # nobody could say that he has read what is no text
                    db.execute(_SQL["forget_turns"])
                logger.error("settings of the database were spoilt: hooks are told of failures from now on")
        return []
