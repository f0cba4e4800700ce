"""Runs of a SQLite file whose code is unloaded while it waits: how they are suspended, and what ends mean to them.

What must hold: a run that waits for children is moved on by their ends. So suspending counts in one transaction what
has ended already, and whatever ends comes by `Suspending.ended`, whatever the cause (leaving.py). Waking too early is
harmless.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.store.statements import load

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from fanwood.model.commands import Suspend
    from fanwood.store.sqlite.driver import Database

_SQL = load("sqlite/leaving.sql")
_json = msgspec.json.Encoder()
_indexes = msgspec.json.Decoder(list[int])
_counts = msgspec.json.Decoder(list[tuple[int, int, int]])
_ends = msgspec.json.Decoder(list[tuple[str, int, int]])
_awake = msgspec.json.Decoder(list[tuple[str, int, int, int]])

Awake = list[tuple[str, int, int, int]]
"""Runs that go on: id, attempt, state, kind."""


class Suspending:
    """On one connection. `known`: whether there is any suspended run, as this transaction sees it; None: look."""

    def __init__(self, connection: Database) -> None:
        self.known: bool | None = None
        self._execute = connection.execute

    def _one(self, name: str, /, **bindings: Any) -> Any:
        return self._execute(_SQL[name], bindings).get

    @property
    def any(self) -> bool:
        """Whether there is a suspended run, or one that was."""
        return bool(self._one("has_suspended")) if self.known is None else self.known

    def suspend(self, suspends: Sequence[Suspend], closed: Callable[[Sequence[str]], Collection[str]]) -> set[int]:
        """The numbers of those that go on, as what they wait for is there. What is over is passed by."""
        pairs = [(s.run_id.hex(), s.attempt) for s in suspends]
        present = set(_indexes.decode(self._one("suspendable", rows=_text(pairs))))
        below = closed([pairs[number][0] for number in sorted(present)])
        asked = [(n, id_.hex(), weight) for n in sorted(present) for id_, weight in suspends[n].awaited]
        over = {
            n: (count, enough) for n, count, enough in _counts.decode(self._one("count_awaited", rows=_text(asked)))
        }
        going_on: set[int] = set()
        rows: list[tuple[Any, ...]] = []
        awaited: list[tuple[str, str, int]] = []
        for number in sorted(present):
            suspend, (count, enough) = suspends[number], over.get(number, (0, 0))
            id_ = pairs[number][0]
            if enough or count >= suspend.missing or id_.upper() in below:
                going_on.add(number)
                continue
            rows.append((id_, suspend.attempt, suspend.until, suspend.busy, suspend.missing - count, suspend.pending))
            awaited += [(id_, run_id.hex(), weight) for run_id, weight in suspend.awaited]
        if rows:
            text = _text(rows)
            self._execute(_SQL["suspend_runs"], {"rows": text})
            self._execute(_SQL["note_suspended"], {"rows": text})
            self._execute(_SQL["note_awaited"], {"rows": _text(awaited)})
            if self.known is not None:
                self.known = True
        return going_on

    def ended(self, ids: Sequence[str]) -> Awake:
        """These have ended (or not: that is looked at): who goes on now."""
        if not self.any:
            return []
        text = _text(ids)
        ends = _ends.decode(self._one("ends_awaited", ids=text))
        self._execute(_SQL["drop_waiters"], {"ids": text})
        self._execute(_SQL["drop_suspended"], {"ids": text})
        if not ends:
            return []
        self._execute(_SQL["drop_awaited"], {"ids": text})
        rows = _text(ends)
        self._execute(_SQL["lower_missing"], {"rows": rows})
        return _awake.decode(self._one("awake", rows=rows))

    def forget(self, ids: Sequence[str]) -> None:
        """These go on, whatever they waited for."""
        if ids and self.any:
            self._execute(_SQL["drop_waiters"], {"ids": _text(ids)})

    def history(self, ids: Sequence[str]) -> list[tuple[str, int, int, int | None, str | None]]:
        """Of those of these that were suspended: id, attempt, how often, limit, and what was pending."""
        return _history.decode(self._one("read_suspended", ids=_text(ids))) if self.any else []


_history = msgspec.json.Decoder(list[tuple[str, int, int, int | None, str | None]])


def _text(rows: Any) -> str:
    return _json.encode(rows).decode()
