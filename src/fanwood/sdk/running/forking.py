"""What an attempt knows of the run that its own is a fork of; and, if that is a fork itself, of those before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from fanwood.model.forks import Fork, fork_of
from fanwood.model.lives import LIVES, life_of
from fanwood.model.naming import named_in, numbered
from fanwood.model.states import RunState

if TYPE_CHECKING:
    from fanwood.model.forks import Kept
    from fanwood.model.lives import Life


class Source(NamedTuple):
    """One run that children are taken of: how it is, by `fork`; its present life, if it has started over; and its
    children by their identities, as they stood when this attempt first asked for any."""

    fork: Fork
    life: Life | None
    kept: dict[bytes, Kept]

    def named(self, identity: bytes) -> bytes:
        """What is asked for under this identity, as it is known there."""
        return identity if self.life is None else numbered(identity, LIVES + self.life.number)


class Origin:
    """Of one attempt: that other run. What it has not asked for itself, as it was a fork that was ended too soon, is
    taken of the run that it is made from."""

    __slots__ = ("_sources", "_ways", "fork", "pending")

    def __init__(self, fork: Fork) -> None:
        self.fork = fork
        self._sources: list[Source] | None = None
        self._ways: dict[str, Fork] = {}  # by the child on each way: how the run is taken that it is of
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
        return self._sources is not None

    def learn(self, sources: list[Source]) -> None:
        """What was read, the nearest first; the first time."""
        if self._sources is None:
            self._sources = sources
            self._ways = {source.fork.way[0]: source.fork for source in sources if source.fork.way}

    def find(self, identity: bytes) -> Kept | None:
        """What the nearest of these runs has under this identity."""
        for source in self._sources or ():
            kept = source.kept.get(source.named(identity))
            if kept is not None:
                return kept
        return None

    def take(self, identity: bytes) -> Kept | None:
        """The same, of what has completed, and is not redone: once."""
        kept = self.find(identity)
        if kept is None or kept.state is not RunState.COMPLETED or self.is_way(kept):
            return None
        for source in self._sources or ():
            source.kept.pop(source.named(identity), None)
        return kept

    def untold(self) -> list[Kept]:
        """Of what is to be copied, that whose outputs were not read."""
        there = [kept for source in self._sources or () for kept in source.kept.values()]
        return [kept for kept in there if kept.state is RunState.COMPLETED and not kept.told]

    def tell(self, kept: Kept, state: RunState, output: str | None) -> None:
        """How one of those stands now."""
        for source in self._sources or ():
            if source.kept.get(kept.identity) is kept:
                source.kept[kept.identity] = replace(kept, state=state, output=output, told=True)

    def way_of(self, kept: Kept) -> Fork | None:
        """If it is, or has below it, the run from which on nothing is taken: how the run is taken that it is of."""
        return self._ways.get(kept.id.hex())

    def is_way(self, kept: Kept) -> bool:
        """Whether it is, or has below it, the run from which on nothing is taken."""
        return self.way_of(kept) is not None


def origin_in(text: str | None) -> Origin | None:
    """What stands in a run's row, if it takes anything from another one."""
    fork = fork_of(text)
    return Origin(fork) if fork is not None and fork.how == "fork" else None
