"""What is said of tasks: of which runs."""

from __future__ import annotations

from bisect import bisect, bisect_left
from typing import Any

from fanwood.ids import first_id
from fanwood.lens import people
from fanwood.model.looks import RecentRow

NOW = 1_800_000_000_000_000
MINUTE = 60_000
BURST, AFTER = 44_000, 30_000  # milliseconds: so long was it, and so long ago


def _id(row: tuple[int, bytes, str, int]) -> bytes:
    return row[1]


class Runs:
    """A store with twenty thousand runs that were made within 44 seconds, half a minute ago: of one task in the first
    half, of another in the second, of which one in fifty failed. `looks`: how many runs each look brought."""

    def __init__(self, alone: int = 0) -> None:
        begin = NOW // 1000 - BURST - AFTER
        ids = [(begin + BURST * n // 20_000, n) for n in range(20_000)]
        self.rows = [
            (at, first_id(at)[:6] + n.to_bytes(10, "big"), "early" if n < 10_000 else "late", n) for at, n in ids
        ]
        self.rows += [(begin - n * MINUTE, first_id(begin - n * MINUTE)[:15] + b"1", "seldom", 1) for n in range(alone)]
        self.rows.sort(key=_id)
        self.looks: list[int] = []

    def now(self) -> int:
        return NOW

    async def recent(self, after: bytes, until: bytes, limit: int) -> list[RecentRow]:
        found = [
            RecentRow(id_, id_, task, 9 if n % 50 == 0 and task == "late" else 8, False, at * 1000, at * 1000 + 5)
            for at, id_, task, n in self.rows[
                bisect(self.rows, after, key=_id) : bisect_left(self.rows, until, key=_id)
            ][:limit]
        ]
        self.looks.append(len(found))
        return found


async def test_a_burst_is_looked_at_from_its_beginning_to_its_end() -> None:
    """Of a part of the hour with more runs than are looked at, its first ones are not all that there was."""
    store: Any = Runs(alone=20)
    lately = await people._lately(store, {})
    assert lately["seldom"].ended == 20
    assert lately["early"].ended >= 500
    assert lately["late"].ended >= 500
    assert 0.005 < lately["late"].failed / lately["late"].ended < 0.05
    assert lately["early"].failed == 0
    assert len(store.looks) <= people.SLICES + people.MORE
    assert max(store.looks) <= people.OF_SLICE


async def test_what_is_little_is_looked_at_once() -> None:
    store: Any = Runs()
    store.rows = store.rows[:100]
    assert (await people._lately(store, {}))["early"].ended == 100
    assert len(store.looks) == people.SLICES
