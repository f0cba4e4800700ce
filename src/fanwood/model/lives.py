"""The lives of a run that starts over: each has its own children, and knows nothing of those before."""

from __future__ import annotations

import msgspec

from fanwood.ids import first_id

LIVES = 1 << 62
"""Added to the number of a life: beyond all numbers of equal children."""


class Life(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The present life of a run that has started over. It stands in the run's row, as JSON."""

    number: int  # how often the run has started over
    since: int  # the attempt with which this life began
    at: int  # when the one before ended, in microseconds

    @property
    def floor(self) -> bytes:
        """No child of this life has an id as low as this; those of the lives before have, but for a few (clocks
        differ), which are told by the attempt that asked for them."""
        return first_id(self.at // 1000)

    @property
    def text(self) -> str:
        """As it is stored."""
        return _encode(self).decode()


_encode = msgspec.json.Encoder().encode
_decoded = msgspec.json.Decoder(Life)


def life_of(text: str | None) -> Life | None:
    """What stands in a row; None: it has never started over (or somebody wrote by hand what is none)."""
    if text is None:
        return None
    try:
        return _decoded.decode(text)
    except msgspec.DecodeError:
        return None


def since_of(text: str | None) -> int:
    """The attempt with which the present life began."""
    life = life_of(text)
    return 1 if life is None else life.since


def next_life(text: str | None, attempt: int, now: int) -> Life:
    """The one that comes after this attempt."""
    before = life_of(text)
    return Life(1 if before is None else before.number + 1, attempt + 1, now)
