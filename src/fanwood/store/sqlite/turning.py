"""Whose turn it is on SQLite: the roots that have something in the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.store.sqlite.leaving import encoded
from fanwood.store.statements import load
from fanwood.store.turns import Root, in_turns

if TYPE_CHECKING:
    from fanwood.store.sqlite.driver import Database

_SQL = load("sqlite/turns.sql")
_CONDITION = load("sqlite/claiming.sql")["of_programs"].rstrip(";")
_OWN = {name: text.replace("q.state = 0", _CONDITION) for name, text in _SQL.items()}

Place = tuple[str, int, str]
"""Root, depth (negated), id."""

_ready = msgspec.json.Decoder(list[tuple[str, int, str, int, int]])
_heads = msgspec.json.Decoder(list[list[Place]])
_lists = msgspec.json.Decoder(list[list[str]])
_list = msgspec.json.Decoder(list[str])


class Turning:
    """The queue of some tasks, on one connection; `programs` as in a claim."""

    def __init__(self, connection: Database, tasks: str, programs: str) -> None:
        self._execute = connection.execute
        self._about: dict[str, Any] = {"tasks": tasks, "programs": programs}
        self._sql = _OWN if programs else _SQL
        self._several = True

    def _one(self, name: str, /, **bindings: Any) -> Any:
        return self._execute(self._sql[name], self._about | bindings).get

    def first(self, turns: str, limit: int) -> tuple[list[str], list[str]]:
        """The tasks that have something in the queue, and what is to be claimed before anything else. Nothing, if there
        is one root only."""
        ready = _ready.decode(self._one("ready"))
        tasks = [task for task, *_ in ready]
        priorities, lower = {priority for _, priority, *_ in ready}, any(lower for *_, lower in ready)
        others = any(others for *_, others, _ in ready) or len({root for _, _, root, *_ in ready}) > 1
        if not (others or lower or len(priorities) > 1):
            return tasks, []
        if len(tasks) == 1:
            self._about["task"], self._several = tasks[0], False
        self._about["tasks"] = encoded(tasks)
        lower = lower or len(priorities) > 1
        return tasks, in_turns(self, turns, limit, len(tasks), max(priorities), lower=lower)

    def priority(self, below: int) -> int | None:
        """See `turns.Queue`."""
        return self._one("priority", below=below)

    def root(self, priority: int, after: str) -> Root | None:
        """See `turns.Queue`."""
        found = self._one("root" if self._several else "root_of_one", priority=priority, after=after)
        return None if found is None else Root(found.lstrip("+"), found[0] == "+")

    def heads(self, priority: int, roots: list[Root], count: int) -> list[list[str]]:
        """See `turns.Queue`."""
        begun = [root.id for root in roots if not root.is_queued]
        read = self._heads if self._several else self._heads_of_one
        found = read(begun, priority=priority, count=count) if begun else []
        for number, root in enumerate(roots):
            if root.is_queued:
                found.insert(number, self._heads_from(root.id, priority=priority, count=count))
        return found

    def _heads(self, roots: list[str], **about: int) -> list[list[str]]:
        found = _heads.decode(self._one("heads", roots=encoded(roots), **about))
        tasks = len(found) // len(roots)
        return [_best(found[n : n + tasks], about["count"]) for n in range(0, len(found), tasks)]

    def _heads_of_one(self, roots: list[str], **about: int) -> list[list[str]]:
        return _lists.decode(self._one("heads_of_one", roots=encoded(roots), **about))

    def _heads_from(self, root: str, **about: int) -> list[str]:
        if not self._several:
            return _list.decode(self._one("heads_from_of_one", root=root, **about))
        return _best(_heads.decode(self._one("heads_from", root=root, **about)), about["count"])


def _best(tasks: list[list[Place]], count: int) -> list[str]:
    return [id_ for _, _, id_ in sorted([place for task in tasks for place in task])[:count]]
