"""What a seed does not say of a world: how long it lasts, how many there are in it; and what is left out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.simulation.pages import SIZES, USUAL

DAY_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Shape:
    """Durations are in seconds."""

    safety: float = 20.0
    """With faults."""
    liveness: float = 400.0
    """Without, until everything must have ended."""
    workers: tuple[int, int] = (1, 3)
    clients: tuple[int, int] = (1, 2)
    roots: tuple[int, int] = (1, 3)
    """Of each client."""
    sizes: tuple[int, ...] = (*(3, 4, 4, 5, 5, 7, 7, 10, 11, 14) * 4, *(20, 25, 40, 40))
    """Runs that programs ask for, about: most of what goes wrong needs few."""
    between: float = 2.0
    """From one root of a client to the next, at most."""
    in_turn: bool = False
    """Each client begins one root after another, never all at once."""
    poll: float = 3.0
    """How often everybody looks at a server."""
    sweeps: tuple[float, ...] = (1.0, 2.0, 3.0)
    settings: Mapping[str, Any] = field(
        default_factory=lambda: {"switch_interval": 0.0, "lease": 6.0, "heartbeat": 2.0, "grace": 3.0}
    )
    rarity: float = 1.0
    """By how much there are fewer faults."""
    most_steps: int = 100_000
    stores: tuple[str, ...] = (*["memory"] * 19, "sqlite")
    """A seed has one of them, each in its turn; or all have this one."""
    pages: tuple[int, ...] = (*[USUAL] * 4, *SIZES)
    """A seed draws one of them; or all have this one."""

    def __str__(self) -> str:
        """Options that make it."""
        is_day = self.safety == DAY_SECONDS
        store = f" --store {self.stores[0]}" if len(self.stores) == 1 else ""
        brief = " --brief" * (self.roots == BRIEF.roots and not is_day)
        pages = f" --pages {self.pages[0]}" if len(self.pages) == 1 and not is_day else ""
        return f"{' --day' * is_day}{brief}{store}{pages}"


SMALL = Shape()
BRIEF = replace(SMALL, workers=(1, 2), clients=(1, 1), roots=(1, 1))
"""Of these many more are seen in the same time. Where there is one tree, and few who could have it, what comes back
always goes to the same."""
DAY = Shape(
    safety=DAY_SECONDS,
    liveness=DAY_SECONDS,
    workers=(20, 20),
    clients=(2, 2),
    roots=(40, 40),
    sizes=(300,),
    between=2.5 * DAY_SECONDS / 40,  # so that hardly any client has done before the day is over
    in_turn=True,
    poll=300.0,
    sweeps=(300.0,),
    settings={"switch_interval": 0.0, "lease": 900.0, "heartbeat": 300.0, "grace": 3.0},
    rarity=20.0,
    most_steps=4_000_000,
    pages=(USUAL,),
)
"""A day of twenty workers."""


STORES = tuple(sorted({*SMALL.stores}))


def on(store: str, shape: Shape, pages: int | None = None) -> Shape:
    """The same, of one store, and with these pages; of any, if none is named."""
    shape = replace(shape, stores=(store,)) if store else shape
    return shape if pages is None else replace(shape, pages=(pages,))


@dataclass(frozen=True)
class Less:
    """What of a world there is not: faults, by name, and runs, by their numbers in the program."""

    faults: tuple[str, ...] = ()
    runs: tuple[int, ...] = ()

    def __str__(self) -> str:
        faults = f' --without "{",".join(self.faults)}"' if self.faults else ""
        return faults + (f" --drop {','.join(map(str, self.runs))}" if self.runs else "")
