"""Worlds from seeds; that a seed says everything; and that worlds see what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fanwood.engine.delivery import Delivery
from fanwood.engine.membership import Membership
from fanwood.sdk.attempt import Attempt
from fanwood.store.memory.leaving import Leaving
from fanwood.worker.executor import Executor
from fanwood.worker.slots import Slots
from tests.simulation.__main__ import look_at

AT_ONCE, CHUNKS = 10, 2
SEEDS = Path(__file__).with_name("seeds.txt")
ELSEWHERE = """
import sys
from tests.simulation.__main__ import look_at
for seed in sys.argv[1:]:
    print(look_at(int(seed)).trace)
"""


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_worlds(chunk: int) -> None:
    for seed in range(chunk * AT_ONCE, (chunk + 1) * AT_ONCE):
        assert not look_at(seed).wrong


@pytest.mark.parametrize("line", [line for line in SEEDS.read_text("utf-8").splitlines() if line[0] != "#"])
def test_worlds_that_have_found_something(line: str) -> None:
    assert not look_at(int(line.partition(" ")[0])).wrong


def test_a_seed_says_everything() -> None:
    """In another process, with other hashes, the same happens in the same order."""
    seeds = (2, 10, 19)
    here = [look_at(seed).trace for seed in seeds]
    assert len(set(here)) == len(seeds)
    for hashes in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", ELSEWHERE, *map(str, seeds)],
            env={**os.environ, "PYTHONHASHSEED": hashes}, capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        assert done.stdout.split() == here


# --- planted ---------------------------------------------------------------------------------------------------------


def _nothing(*_: Any, **__: Any) -> None:
    """What should have been done is not."""


# Where to begin: with a world that saw it when it was planted.
PLANTED: dict[str, tuple[int, type, str, Any]] = {
    "a lease that has lapsed counts": (694, Membership, "holds_lease", property(lambda _: True)),
    "a slot is not given back": (100, Slots, "_give_back", _nothing),
    "nobody is told of an end": (100, Leaving, "_tell", _nothing),
    "what is closed begins all the same": (104, Leaving, "closed", _nothing),
    "equal children are one": (100, Attempt, "identify", lambda self, key, content: content),
    "a cancelled attempt is not told": (121, Executor, "notice", _nothing),
    "watches are lost with the worker that had them": (153, Delivery, "watch_all_again", _nothing),
}


@pytest.mark.parametrize("what", PLANTED)
def test_worlds_see_what_is_wrong(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, owner, name, instead = PLANTED[what]
    monkeypatch.setattr(owner, name, instead)
    assert any(look_at(seed).wrong for seed in range(first, first + 60))
