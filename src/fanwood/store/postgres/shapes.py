"""Which shapes of waits a key was seen to have: a push asks for those that it can't know, and for no others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SECONDS = 5.0
"""How long a shape is taken for one that is waited for. If there is none of it any more, a push looks in vain; what
came meanwhile is noticed in the push itself (`fw_push_at_once`). But what is in the way (a wait that was damaged by
hand) is only found by who asks."""
KEYS = 1000
BYTES = 4096
"""Of the texts of one key, to be kept."""


@dataclass(slots=True)
class Shapes:
    """Of one key: what a wait of each shape wants, and how the marks of that shape begin."""

    texts: list[str] = field(default_factory=list[str])
    marks: list[bytes] = field(default_factory=list[bytes])


class KnownShapes:
    """Of the keys that were asked for last."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Shapes]] = {}

    def of(self, key: str, now: float) -> Shapes | None:
        """Those of a key; None: they have to be asked for."""
        since, shapes = self._known.get(key, (0.0, None))
        return shapes if now - since < SECONDS else None

    def learn(self, key: str, shapes: Shapes, now: float) -> None:
        """What a key had, right now. (That it had none is not kept: the first wait makes a shape.)"""
        self._known.pop(key, None)
        if shapes.texts and sum(map(len, shapes.texts)) <= BYTES:
            self._known[key] = now, shapes
            if len(self._known) > KEYS:
                del self._known[next(iter(self._known))]

    def forget(self, keys: Iterable[str]) -> None:
        """There is more to them now."""
        for key in keys:
            self._known.pop(key, None)
