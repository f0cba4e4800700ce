"""Whose turn it is on SQLite: the roots that have something in the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.store.sqlite.leaving import encoded
from fanwood.store.statements import load
from fanwood.store.turns import Root, in_turns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fanwood.store.sqlite.driver import Database

_SQL = load("sqlite/turns.sql")
_CONDITION = load("sqlite/claiming.sql")["of_programs"].rstrip(";")
_OWN = {name: text.replace("q.state = 0", _CONDITION) for name, text in _SQL.items()}

Place = tuple[str, int, str]
"""Root, depth (negated), id."""

_ready = msgspec.json.Decoder(list[tuple[str, int, str, int, int]])
_roots = msgspec.json.Decoder(list[tuple[int, str, int]])
_heads = msgspec.json.Decoder(list[list[Place]])
_lists = msgspec.json.Decoder(list[list[str]])
_list = msgspec.json.Decoder(list[str])


class Turning:
    """The queue of some tasks, on one connection; `programs` as in a claim."""

    def __init__(self, connection: Database, tasks: str, programs: str) -> None:
        self._execute = connection.execute
        self._about: dict[str, Any] = {"tasks": tasks, "programs": programs}
        self._sql = _OWN if programs else _SQL
        self._tasks: list[str] = []  # those that have something in the queue

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
        self._tasks = tasks
        if len(tasks) == 1:
            self._about["task"] = tasks[0]
        self._about["tasks"] = encoded(tasks)
        lower = lower or len(priorities) > 1
        return tasks, in_turns(self, turns, limit, len(tasks), max(priorities), lower=lower)

    def priority(self, below: int) -> int | None:
        """See `turns.Queue`."""
        return self._one("priority", below=below)

    def roots(self, priority: int, after: Mapping[int, str]) -> dict[int, Root]:
        """See `turns.Queue`."""
        if len(self._tasks) == 1:
            found = self._one("root_of_one", priority=priority, after=after[0])
            return {} if found is None else {0: Root(found.lstrip("+"), 0 if found[0] == "+" else None)}
        tasks = list(after)
        rows = encoded([(self._tasks[task], after[task]) for task in tasks])
        found = _roots.decode(self._one("roots", priority=priority, after=rows))
        return {tasks[n]: Root(root, tasks[n] if is_queued else None) for n, root, is_queued in found}

    def heads(self, priority: int, roots: list[Root], count: int) -> list[list[str]]:
        """See `turns.Queue`."""
        begun = [root.id for root in roots if root.of is None]
        read = self._heads if len(self._tasks) > 1 else self._heads_of_one
        found = iter(read(begun, priority=priority, count=count) if begun else ())
        return [
            next(found) if root.of is None else self._heads_from(root.of, root.id, priority=priority, count=count)
            for root in roots
        ]

    def _heads(self, roots: list[str], **about: int) -> list[list[str]]:
        found = _heads.decode(self._one("heads", roots=encoded(roots), **about))
        tasks = len(found) // len(roots)
        return [_best(found[n : n + tasks], about["count"]) for n in range(0, len(found), tasks)]

    def _heads_of_one(self, roots: list[str], **about: int) -> list[list[str]]:
        return _lists.decode(self._one("heads_of_one", roots=encoded(roots), **about))

    def _heads_from(self, task: int, root: str, **about: int) -> list[str]:
        return _list.decode(self._one("heads_from", task=self._tasks[task], root=root, **about))


def _best(tasks: list[list[Place]], count: int) -> list[str]:
    return [id_ for _, _, id_ in sorted([place for task in tasks for place in task])[:count]]
