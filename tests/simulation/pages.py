"""How much is done in one transaction, or read at once: constants of the package. The trees of worlds are smaller than
any of them. So in some worlds they are smaller still, and whatever goes page by page takes more than one.
"""

from __future__ import annotations

from importlib import import_module
from random import Random
from typing import Any

USUAL = 0
SIZES = (1, 2, 3, 7)
STORES = {
    "memory.chores": ("DUE", "EXPIRED", "HELD"),
    "memory.claiming": ("FEWER",),
    "memory.hot": ("LETTERS",),
    "memory.moving": ("PAGE", "TOLD"),
    "memory.outside": ("AT_ONCE", "SPREAD"),
    "memory.pauses": ("PAGE",),
    "memory.urgency": ("PAGE",),
    "sqlite.chores": ("DUE", "EXPIRED", "HELD", "PROBE", "FURTHER"),
    "sqlite.claiming": ("FEWER",),
    "sqlite.hot": ("LETTERS",),
    "sqlite.living": ("STEPS",),
    "sqlite.moving": ("PAGE",),
    "sqlite.outside": ("AT_ONCE", "SPREAD"),
    "sqlite.pauses": ("PAGE", "AT_ONCE"),
    "sqlite.sweeping": ("FEWEST", "MOST", "LEAST"),
    "sqlite.urgency": ("PAGE",),
    "cancelling": ("MANY",),
    "retention": ("DELETED", "LOOK_ROWS", "MOST_HANGING"),
    "retrying": ("PAGE",),
    "sharing": ("LINKS",),
    "spreading": ("PAGE",),
    "surgeries": ("MANY",),
}
ABOVE = {
    "engine.delivery": ("FEW", "MANY"),
    "engine.littles": ("AT_ONCE", "MANY"),
    "engine.retention": ("AT_ONCE",),
    "engine.spending": ("MOST",),
    "engine.spreading": ("AT_ONCE", "OPEN"),
    "sdk.children.chunks": ("PAGE",),
    "sdk.children.groups": ("PAGE",),
    "sdk.children.owning": ("PAGE",),
    "sdk.children.spawning": ("CHUNK",),
    "sdk.recording.origins": ("PAGE",),
    "sdk.recording.recalling": ("PAGE",),
    "sdk.recording.recording": ("PAGE",),
    "sdk.running.sameness": ("PAGE",),
    "sdk.waits.pushing": ("AT_ONCE",),
}
PAGES = [
    (import_module(f"fanwood.{module}"), name)
    for module, names in ({f"store.{module}": names for module, names in STORES.items()} | ABOVE).items()
    for name in names
]


def drawn(seed: int, sizes: tuple[int, ...]) -> int:
    """Of a world: what a page is, or `USUAL`. (With dice of its own: a seed says the same of all else.)"""
    return Random(f"pages of {seed}").choice(sizes)


def instead(size: int) -> list[tuple[Any, str, int]]:
    """What the package has then."""
    return [(module, name, size) for module, name in PAGES] if size else []
