"""How large a scenario is: the full size of `make chaos`, or the short form that `make test` has; and its seed."""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")

FULL = os.environ.get("FANWOOD_CHAOS") == "full"
SEED = os.environ.get("FANWOOD_CHAOS_SEED")

FAILED_SEEDS: dict[str, list[int]] = {
    "test_commits_are_cut": [3847518686],  # what a lost answer had claimed was never executed
}
"""Seeds with which a test has failed once, by the test's name: each is tried again for ever, in the short form."""


def scaled(full: T, short: T) -> T:
    return full if FULL else short


def fresh_seed() -> int:
    """The short form's is always the same (decision 0088)."""
    return int(SEED or scaled(int.from_bytes(os.urandom(4), "big"), 1))
