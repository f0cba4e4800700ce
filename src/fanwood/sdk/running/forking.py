"""What an attempt knows of the run that its own is a fork of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from fanwood.model.forks import Fork, fork_of
from fanwood.model.lives import LIVES, life_of
from fanwood.model.naming import named_in, numbered
from fanwood.model.states import RunState

if TYPE_CHECKING:
    from fanwood.model.forks import Kept
    from fanwood.model.lives import Life


class Origin:
    """Of one attempt: the children of that other run, as they stood when this attempt first asked for any."""

    __slots__ = ("_kept", "fork", "life", "pending")

    def __init__(self, fork: Fork) -> None:
        self.fork = fork
        self.life: Life | None = None  # the present one of the other run, if that has started over
        self._kept: dict[bytes, Kept] | None = None
        self.pending: dict[bytes, object] = {}  # by identity: copies whose outputs are on their way

    @property
    def draws(self) -> bytes | None:
        """By what numbers are drawn."""
        if self.fork.draws is None:
            return None
        id_, text = self.fork.draws
        life = life_of(text or None)
        return bytes.fromhex(id_) if life is None else named_in(bytes.fromhex(id_), life)

    @property
    def known(self) -> bool:
        """Whether it was read."""
        return self._kept is not None

    def learn(self, life: Life | None, kept: list[Kept]) -> None:
        """What was read; the first time."""
        if self._kept is None:
            self.life, self._kept = life, {each.identity: each for each in kept}

    def find(self, identity: bytes) -> Kept | None:
        """What the other run had under this identity."""
        return None if self._kept is None else self._kept.get(self._there(identity))

    def take(self, identity: bytes) -> Kept | None:
        """The same, of what has completed, and is not redone: once."""
        kept = self.find(identity)
        if kept is None or kept.state is not RunState.COMPLETED or self.is_way(kept):
            return None
        assert self._kept is not None
        return self._kept.pop(self._there(identity), None)

    def _there(self, identity: bytes) -> bytes:
        return identity if self.life is None else numbered(identity, LIVES + self.life.number)

    def untold(self) -> list[Kept]:
        """Of what is to be copied, that whose outputs were not read."""
        return [each for each in (self._kept or {}).values() if each.state is RunState.COMPLETED and not each.told]

    def tell(self, kept: Kept, state: RunState, output: str | None) -> None:
        """How one of those stands now."""
        if self._kept is not None and self._kept.get(kept.identity) is kept:
            self._kept[kept.identity] = replace(kept, state=state, output=output, told=True)

    def is_way(self, kept: Kept) -> bool:
        """Whether it is, or has below it, the run from which on nothing is taken."""
        return bool(self.fork.way) and self.fork.way[0] == kept.id.hex()


def origin_in(text: str | None) -> Origin | None:
    """What stands in a run's row, if it takes anything from another one."""
    fork = fork_of(text)
    return Origin(fork) if fork is not None and fork.how == "fork" else None
