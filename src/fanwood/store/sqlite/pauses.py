"""What is paused on SQLite: who asks, and how it is queued again once that is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.model.records import Swept
from fanwood.model.states import Waits
from fanwood.store.pausing import MEANWHILE, PAGE
from fanwood.store.sqlite.leaving import encoded
from fanwood.store.statements import load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.model.commands import Spawn
    from fanwood.store.sqlite.driver import Database
    from fanwood.store.sqlite.leaving import Leaving

SQL = load("sqlite/pausing.sql")
_TELL = load("sqlite/chores.sql")["tell_workers"]

AT_ONCE = 50
"""So many pauses that were taken back, each of another tree, are looked at together: to find the oldest takes longer
than to queue a small tree."""

_ids = msgspec.json.Decoder(list[str])
_resumed = msgspec.json.Decoder(list[tuple[str, str, str]])
_waiting = msgspec.json.Decoder(list[tuple[str, int, int, int, int]])


class Pauses:
    """Those of one connection, inside transactions that the caller begins."""

    def __init__(self, connection: Database, leaving: Leaving) -> None:
        self._execute = connection.execute
        self._changes = connection.changes
        self._leaving = leaving
        self._parents = set[str]()  # those of the present batch that are paused

    def _one(self, name: str, /, **bindings: Any) -> Any:
        return self._execute(SQL[name], bindings).get

    @property
    def any(self) -> bool:
        """Whether anything is paused, anywhere."""
        return bool(self._one("has_pauses"))

    def held(self, ids: Sequence[str]) -> set[str]:
        """Which of these are paused. Ids in upper case."""
        return set(_ids.decode(self._one("held", ids=encoded(ids)))) if ids else set()

    def look(self, parents: Sequence[tuple[bytes, int]]) -> None:
        """A batch has children of these: which are paused."""
        self._parents = self.held([parent.hex() for parent, _ in parents])

    def spare(self, spawns: Sequence[Spawn]) -> list[str]:
        """Of these those that are to wait as soon as they are born, and are claimed by nobody."""
        held = [spawn for spawn in spawns if (spawn.kind.parent_id or b"").hex().upper() in self._parents]
        for spawn in held:
            spawn.claimed = False
        return [spawn.id.hex() for spawn in held]

    def hold(self, ids: Sequence[str]) -> set[str]:
        """Of these, which are queued, those wait from now on that are paused; which."""
        held = self.held(ids)
        if held:
            self.wait(sorted(held))
        return held

    def wait(self, ids: Sequence[str]) -> None:
        """These, which are queued, wait from now on."""
        self._execute(SQL["hold_runs"], {"ids": encoded(ids)})

    def pause(self, run_id: bytes, root: bytes, by: str, now: int) -> bool:
        """See `Pausing.pause`."""
        self._execute(SQL["make_pause"], {"id": run_id, "root": root, "by": by, "now": now, "meanwhile": MEANWHILE})
        new = self._changes() > 0
        if new:
            self._execute(_TELL, {"id": run_id, "now": now})
        return new

    def resume(self, run_id: bytes, now: int, only: str = "") -> bool:
        """See `Pausing.resume`."""
        self._execute(SQL["end_pause"], {"id": run_id, "now": now, "only": only})
        return self._changes() > 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is paused, nor to be queued after it was."""
        return not self._one("has_any")

    def resuming(self, root: bytes | None) -> bool:
        """Whether any pause was taken back (of that tree), and not all that waited for that is queued."""
        return bool(self._resumed(root, 1))

    def _resumed(self, root: bytes | None, limit: int) -> list[tuple[str, str, str]]:
        """The pauses that were taken back first, of all trees or of one."""
        if root is None:
            return _resumed.decode(self._one("oldest_resumed", limit=limit))
        return _resumed.decode(self._one("oldest_resumed_of", root=root))

    def release(self, now: int, root: bytes | None) -> Swept:
        """One page of what waits in trees in which a pause was taken back: what nothing else pauses is queued."""
        looked, waiting, trees = 0, list[tuple[str, int, int, int]](), set[str]()
        for run_id, of, place in self._resumed(root, AT_ONCE):
            if of in trees or looked >= PAGE:
                break
            trees.add(of)
            left = PAGE - looked
            about = {"root": bytes.fromhex(of), "after": bytes.fromhex(place), "limit": left}
            page = _waiting.decode(self._one("waiting_in", **about))
            waiting += [run[:4] for run in page if run[4] == Waits.RESUME]
            looked += max(1, len(page))
            if len(page) == left:
                self._execute(SQL["note_place"], {"id": bytes.fromhex(run_id), "place": bytes.fromhex(page[-1][0])})
            else:
                self._execute(SQL["forget_pause"], {"id": bytes.fromhex(run_id)})
        held = self.held([run[0] for run in waiting]) if self.any else set[str]()
        self._leaving.promote(now, [run for run in waiting if run[0] not in held])
        return Swept(0, more=self.resuming(root), looked=looked)
