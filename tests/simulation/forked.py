"""Forks, as their runs are born: each is made from the run that it should be, and what had completed is copied when it
is asked for, and not run again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fanwood.model.forks import Fork, fork_of
from fanwood.model.lives import life_of
from fanwood.model.states import FIRST_WAIT, RunKind, RunState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fanwood.store.memory.tables import Run, Tables

COPIED = (RunKind.RECORDED, RunKind.SLEEP, RunKind.SHARE)
"""Of what has no code, what is looked for."""


class Forked:
    """Looks at runs once the transaction is over that they are born in. `replayed`: when what had ended ran again."""

    def __init__(self, tables: Tables, replayed: Mapping[bytes, int]) -> None:
        self._tables = tables
        self._replayed = replayed
        self._born: list[Run] = []
        self._copied: set[tuple[bytes, bytes]] = set()

    def born(self, run: Run) -> None:
        """A run is. (What it is in a fork may be said of it after that.)"""
        if self._tables.forks or run.life is not None:
            self._born.append(run)

    def settled(self) -> Iterator[str]:
        """A transaction is over."""
        born, self._born = self._born, []
        for run in born:
            fork, above = fork_of(run.life), self._tables.runs.get(run.parent_id or b"")
            if run.parent_id is None:
                yield from () if fork is None else self._root(run, fork)
            elif above is not None and life_of(above.life) is None:
                yield from self._child(run, above, fork, fork_of(above.life))

    def _root(self, run: Run, fork: Fork) -> Iterator[str]:
        tables, whose = self._tables, run.id.hex()[-6:]
        made, of = tables.forks.get(run.id), tables.runs.get(fork.key)
        if made is None or of is None or (made.origin_id, made.origin_root) != (of.id, of.root_id):
            yield f"{whose} is a fork of {fork.of[-6:]}, which is {of}, and is entered as {made}"
            return
        if not of.is_over or of.task != run.task or (of.input != run.input) > fork.changed:
            yield f"{whose} is a fork of {fork.of[-6:]}, and can't be"
        if (made.at.hex() if made.at else None) != (fork.way[-1] if fork.way else None):
            yield f"{whose} is forked at {made.at}, and its way is {fork.way}"
        if next(iter(tables.order("children", run.id)), None) is not None:
            yield f"{whose} is a fork that has not begun, and has children"

    def _child(self, run: Run, above: Run, fork: Fork | None, origin: Fork | None) -> Iterator[str]:
        if fork is None:
            yield from () if origin is None or origin.how != "fork" else self._anew(run, above, origin)
            return
        whose, of = f"{run.task} {run.id.hex()[-6:]}", self._tables.runs.get(fork.key)
        if origin is None or origin.how != "fork":
            yield f"{whose} is a {fork.how} of {fork.of[-6:]}, and its parent is in no fork"
            return
        if of is not None:  # of that run, or of one that it is made from itself, and has not asked for
            origin = next((each for each in self._before(origin) if each.key == of.parent_id), origin)
        way = origin.way[:1] == [fork.of]
        if fork.way != (origin.way[1:] if way else []) or (fork.how == "again") > (len(origin.way) == 1 and way):
            yield f"{whose} is a {fork.how} with the way {fork.way}, and its parent's is {origin.way}"
        if of is None:
            return  # the tree was deleted
        if (of.parent_id, of.task, of.kind) != (origin.key, run.task, run.kind):
            yield f"{whose} is a {fork.how} of {of.task} {fork.of[-6:]}, which is no child of {origin.of[-6:]}"
        if fork.how == "copy":
            yield from self._copy(run, above, of, origin)
        elif fork.how == "fork" and not way and self._had_completed(of, above):
            yield f"{whose} is run again in a fork, and {fork.of[-6:]} had completed"
        plain = run.kind < FIRST_WAIT and life_of(of.life) is None  # (who has started over has another one)
        if plain and run.input != of.input and not fork.changed:
            yield f"{whose} is a {fork.how} of {fork.of[-6:]}, and has another input"

    def _copy(self, run: Run, above: Run, of: Run, origin: Fork) -> Iterator[str]:
        whose = f"{run.task} {run.id.hex()[-6:]}"
        changed = self._replayed.get(of.id, -1) >= (above.started_at or 0)
        if run.state != RunState.COMPLETED or run.attempt != of.attempt * (run.kind >= FIRST_WAIT):
            yield f"{whose} is a copy, and {RunState(run.state).name}, with attempt {run.attempt}"
        if not changed and (of.state != RunState.COMPLETED or run.output != of.output):
            yield f"{whose} is a copy of {of.id.hex()[-6:]}, and not the same: {run.output}"
        if (above.id, of.id) in self._copied:
            yield f"{whose} is a second copy of {of.id.hex()[-6:]}"
        self._copied.add((above.id, of.id))
        if not self._is_before(of, origin):
            yield f"{whose} is a copy of {of.id.hex()[-6:]}, and nothing was to be taken from there on"

    def _anew(self, run: Run, above: Run, origin: Fork) -> Iterator[str]:
        """A child that is in no fork: there was none before."""
        if run.identity is None or (run.kind >= FIRST_WAIT and (run.kind not in COPIED or _is_decided_anew(run))):
            return
        for each in self._before(origin):
            other = self._tables.runs.get(each.key)
            if other is None or self._replayed.get(each.key, -1) >= (above.started_at or 0):
                return
            if life_of(other.life) is None:
                yield from self._not_found(run, above, each)
            if other.state == RunState.COMPLETED:
                return

    def _not_found(self, run: Run, above: Run, origin: Fork) -> Iterator[str]:
        for id_ in self._tables.order("children", origin.key):
            of = self._tables.runs[id_]
            there = (of.identity, of.input_digest, of.kind) == (run.identity, run.input_digest, run.kind)
            if there and self._is_before(of, origin) and self._had_completed(of, above):
                yield f"{run.task} {run.id.hex()[-6:]} is done again in a fork, and {id_.hex()[-6:]} had completed"

    def _before(self, origin: Fork) -> Iterator[Fork]:
        """How a run is taken; how that one took another, if it may not have asked for all of it; and so on."""
        while True:
            yield origin
            run = self._tables.runs.get(origin.key)
            before = fork_of(run.life) if run is not None and not origin.way else None
            if before is None or before.how == "again":
                return
            origin = before

    def _had_completed(self, of: Run, above: Run) -> bool:
        """Before this attempt began to look, and has not changed since."""
        return of.state == RunState.COMPLETED and (of.finished_at or 0) < (above.started_at or 0)

    def _is_before(self, of: Run, origin: Fork) -> bool:
        """Whether something was asked for before what a fork was made at."""
        way = self._tables.runs.get(bytes.fromhex(origin.way[0])) if origin.way else None
        return way is None or _place(of) < _place(way)


def _is_decided_anew(part: Run) -> bool:
    """A group's decision, or a limit of time."""
    return not {"group", "timeout"}.isdisjoint(msgspec.json.decode(part.input))


def _place(run: Run) -> tuple[int, int]:
    at = run.finished_at if run.kind == RunKind.RECORDED else run.created_at
    return at or 0, run.child_index or 0
