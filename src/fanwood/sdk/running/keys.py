"""The keys that an attempt has given to its children, in little memory.

Of a child without a key there is no second one: equal ones are told apart by their numbers. But a key that is given
again stands for the child that has it, and that can be said at once only of children whose ids are kept. Of a million
keys that would be 200 MB. So those that were given long ago, and whose children are committed, are kept as eight bytes
of their digests (see `ordinals.py`); if one of them seems to be given again, all of them are read from the store, and
kept from then on: code that does that does it often.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from fanwood.sdk.running.ordinals import Fingerprints

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fanwood.model.commands import Spawn

KEPT = 16_384
"""So many keys, the newest that are committed, are kept as they are, and up to as many again."""


class Keys:
    """Of one attempt; but for `hold` under `registering`."""

    __slots__ = ("_committed", "_holds", "_is_whole", "_lock", "_old")

    def __init__(self) -> None:
        self._committed: deque[bytes] = deque()
        self._old: Fingerprints | None = None
        self._lock = threading.Lock()
        self._holds = 0
        self._is_whole = False

    @property
    def is_cut(self) -> bool:
        """Whether some are not kept as they are."""
        return self._old is not None

    def is_old(self, identity: bytes) -> bool:
        """Whether that one seems to have been given, and is not kept."""
        return self._old is not None and identity in self._old

    def hold(self, times: int = 1) -> None:
        """Until it is let go (by -1), none is kept shorter."""
        with self._lock:
            self._holds += times

    def be_whole(self) -> None:
        """All are known again, and are kept."""
        self._is_whole, self._old = True, None
        self._committed.clear()

    def committed(self, spawns: Iterable[Spawn], known: dict[bytes, bytes]) -> None:
        """These are in the store. `known`: the children that have keys, of which the oldest may be left out now."""
        if self._is_whole:
            return
        self._committed.extend(
            [spawn.identity for spawn in spawns if spawn.child_key is not None and spawn.identity is not None]
        )
        if len(self._committed) < 2 * KEPT or self._holds:
            return
        old = [self._committed.popleft() for _ in range(len(self._committed) - KEPT)]
        if self._old is None:
            self._old = Fingerprints()
        self._old.add(old)
        for identity in old:
            known.pop(identity, None)
