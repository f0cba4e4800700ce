"""Other priorities on SQLite: who asks, and how what lives hears of them.

What is closed keeps the priority that it has: the sweep that is to end it goes by priorities, and would miss what goes
to another one meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from fanwood.model.commands import Spawn
from fanwood.model.records import Swept
from fanwood.model.states import FIRST_TERMINAL
from fanwood.store.prioritizing import PAGE, Above, last_said, reprioritized_line
from fanwood.store.sqlite.leaving import encoded
from fanwood.store.statements import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fanwood.model.commands import Record, SpawnKind
    from fanwood.store.sqlite.driver import Database
    from fanwood.store.sqlite.leaving import Leaving

_SQL = load("sqlite/urgency.sql")
_NOTE = load("sqlite/patching.sql")["note_patch"]

_above = msgspec.json.Decoder(list[Above])
_about = msgspec.json.Decoder(tuple[int, str])
_open = msgspec.json.Decoder(tuple[str, str, str])
_page = msgspec.json.Decoder(list[tuple[str, str, int, int]])


class Urgency:
    """Those of one connection, inside transactions that the caller begins."""

    def __init__(self, connection: Database, leaving: Leaving) -> None:
        self._execute = connection.execute
        self._leaving = leaving
        self._said: dict[str, int] = {}  # of parents of the present batch

    def _one(self, name: str, /, **bindings: Any) -> Any:
        return self._execute(_SQL[name], bindings).get

    def _last(self, ids: Sequence[str]) -> dict[str, int]:
        return last_said(_above.decode(self._one("above", ids=encoded(ids))), ids) if ids else {}

    # --- births ----------------------------------------------------------------------------------------------------

    def look(self, parents: Iterable[bytes]) -> None:
        """A batch has children of these: what was said last of each."""
        self._said = self._last([parent.hex().upper() for parent in parents])

    def spare(self, born: Iterable[Spawn | Record]) -> None:
        """What is born below these has their priority; if it was sent with another one, it is claimed as others are."""
        kinds: dict[int, SpawnKind] = {}  # one for each: siblings are told by theirs
        for each in born if self._said else ():
            said = self._said.get((each.kind.parent_id or b"").hex().upper())
            if said is not None and said != each.kind.priority:
                number = id(each.kind)
                kinds[number] = kinds.get(number) or replace(each.kind, priority=said)
                each.kind = kinds[number]
                if isinstance(each, Spawn):
                    each.claimed = False

    def set(self, ids: Sequence[str], *, living: bool = False) -> None:
        """These have the priorities from now on that were said last; those that live, or all."""
        said = self._last(ids)
        if said:
            self._execute(_SQL["set_priorities"], {"rows": encoded(list(said.items())), "living": living})

    # --- what lives ------------------------------------------------------------------------------------------------

    def say(self, run_id: bytes, priority: int, by: str, now: int) -> int:
        """See `Prioritizing.reprioritize`."""
        before, root = _about.decode(self._one("about", id=run_id))
        about = {"id": run_id, "root": bytes.fromhex(root), "priority": priority, "by": by, "now": now}
        self._execute(_SQL["make_urgency"], about)
        if not self._leaving.closed([run_id.hex().upper()]):
            self._execute(_SQL["set_priorities"], {"rows": encoded([(run_id.hex(), priority)]), "living": False})
        self._execute(_NOTE, {"id": run_id, "now": now, "message": reprioritized_line(by, before, priority)})
        return before

    def open(self, root: bytes | None) -> str | None:
        """What was said first, and not told to all below yet: of all trees, or of one."""
        return self._one("oldest") if root is None else self._one("oldest_of", root=root)

    def tell(self, now: int, root: bytes | None) -> Swept:
        """One page of a tree; what is closed ends."""
        found = self.open(root)
        if found is None:
            return Swept(0, more=False)
        run_id, of, place = _open.decode(found)
        at = {"root": bytes.fromhex(of), "parent": bytes.fromhex(place[:32]), "id": bytes.fromhex(place[32:])}
        page = _page.decode(self._one("page", **at, limit=PAGE))
        living = [(id_, attempt, state) for _, id_, attempt, state in page if state < FIRST_TERMINAL]
        closed = self._leaving.end_closed(now, living)  # and with these others may
        self.set([id_ for id_, _, _ in living if id_ not in closed], living=True)
        next_ = bytes.fromhex("".join(page[-1][:2])) if len(page) == PAGE else None
        self._execute(_SQL["note_place"], {"id": bytes.fromhex(run_id), "place": next_})
        if next_ is None:
            self._execute(_SQL["tell_workers"], {"id": bytes.fromhex(run_id), "now": now})
        return Swept(0, more=self.open(root) is not None, looked=max(1, len(page)))
