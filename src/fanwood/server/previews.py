"""What an action would be about, seen before: how many runs, some of them, and a token that confirms exactly that."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from fanwood.ids import new_secret
from fanwood.server.choosing import PAGE, page
from fanwood.server.deeds import Bulk

if TYPE_CHECKING:
    from fanwood.clock import Clock
    from fanwood.model.records import RunRecord
    from fanwood.server.choosing import Wanted
    from fanwood.server.identity import Identity
    from fanwood.store.store import Store

SECONDS = 0.25
"""For how long runs are counted."""
SAMPLE = 10
KEPT = 1000
LIFE = 600_000_000
"""Microseconds for which a preview can be confirmed."""


class Seen(NamedTuple):
    """How many runs there are, or are at least; the first of them; how many of each task."""

    runs: int
    at_least: bool
    sample: list[RunRecord]
    tasks: Counter[str]


async def look(store: Store, wanted: Wanted) -> Seen:
    """Count, for a bounded time."""
    loop = asyncio.get_running_loop()
    end, after, count = loop.time() + SECONDS, "", 0
    sample, tasks = list[bytes](), Counter[str]()
    while True:
        found = await page(store, wanted, after, PAGE)
        count += len(found.runs)
        tasks.update(run.task for run in found.runs)
        sample += [run.id for run in found.runs[: SAMPLE - len(sample)]]
        if found.after is None or loop.time() >= end:
            return Seen(count, found.after is not None, await store.briefs(sample), tasks)
        after = found.after
        await asyncio.sleep(0)


class Previews:
    """Those that can be confirmed. They go with the server: what was previewed is looked at again then."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, tuple[Identity, Bulk, int]] = OrderedDict()

    def keep(self, who: Identity, wanted: Wanted, seen: Seen) -> str:
        """A token for it."""
        token = new_secret()
        deed = Bulk(wanted, who.name, seen.runs, seen.at_least, token[:8])
        self._kept[token] = (who, deed, self._clock.now() + LIFE)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return token

    def find(self, who: Identity, token: str) -> Bulk | None:
        """What was previewed, by the same person, and not long ago. It may be asked for again: it is done once."""
        kept = self._kept.get(token)
        if kept is None or kept[0] != who or kept[2] < self._clock.now():
            return None
        return kept[1]
