"""When a child takes too long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fanwood import checks

if TYPE_CHECKING:
    from fanwood.durations import Duration

PERCENTILES = {"p95": 95}


@dataclass(frozen=True, slots=True)
class after:  # noqa: N801  (reads as what it says: hedge=after(2.0))
    """`hedge=after(2.0)`: a second run begins if the first has not ended after so long.

    Args:
        delay: a duration, counted from when the run is asked for.

    Raises:
        UsageError: that is none.
    """

    delay: Duration

    def __post_init__(self) -> None:
        checks.seconds(self.delay, "delay")


def checked(hedge: object) -> None:
    """Refuse what says nothing of when.

    Raises:
        UsageError: it does not.
    """
    if not isinstance(hedge, after) and not (isinstance(hedge, str) and hedge in PERCENTILES):
        raise checks.refused("hedge", 'must be after(seconds), such as after(2.0), or "p95"', hedge)
