"""Worlds from seeds; that a seed says everything; and that worlds see what is wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fanwood.sdk.running.attempt import Attempt
from fanwood.store.memory.leaving import Leaving
from fanwood.worker.slots import Slots
from tests.beside.worlds import COMMANDS, REPEATED
from tests.simulation.looking import look_at
from tests.simulation.shapes import BRIEF, DAY, DAY_SECONDS, SMALL, named, on

A_DAY = 6
SEEDS = Path(__file__).with_name("seeds.txt")
ELSEWHERE = """
import gc, sys
from tests.simulation.__main__ import look_at
gc.freeze()
for seed in sys.argv[1:]:
    seen = look_at(int(seed))
    print(seen.trace, bool(seen.wrong))
"""


@pytest.mark.timeout(1800)  # beside all other tests, and ten times as much
def test_worlds() -> None:
    """Each ends well; and in so many there was all that may happen. (The first are those below. `make test` does this
    beside all tests: `tests/beside/worlds.py`.)"""
    for command in COMMANDS:
        here = [sys.executable, "-m", "tests.simulation", *command]
        done = subprocess.run(here, check=False, capture_output=True, text=True, timeout=890)
        assert not done.returncode, done.stdout + done.stderr


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_day_of_twenty_workers() -> None:
    """Faults and all, in seconds."""
    seen = look_at(A_DAY, shape=DAY)
    assert not seen.wrong
    assert seen.seconds >= DAY_SECONDS
    assert seen.runs > 50
    assert sum(seen.faults.values()) > 100


@pytest.mark.parametrize("line", [line for line in SEEDS.read_text("utf-8").splitlines() if line[0] != "#"])
def test_worlds_that_have_found_something(line: str) -> None:
    seed, _, said = line.partition(" ")
    options = dict(re.findall(r"--(shape|store|pages) ([\w+]+)", said))
    shape = named(options["shape"]) if "shape" in options else BRIEF if said.startswith("--brief") else SMALL
    pages = int(options["pages"]) if "pages" in options else None
    assert not look_at(int(seed), shape=on(options.get("store", ""), shape, pages)).wrong


@pytest.mark.timeout(600)
def test_a_seed_says_everything() -> None:
    """In another process, with other hashes, the same happens in the same order. (The last are of a file whose rows
    were walked in the order of hashes, and of a group whose tasks were, in that of addresses.)"""
    seeds = [*range(REPEATED), 199, 240]
    beside = [
        subprocess.Popen(
            [sys.executable, "-c", ELSEWHERE, *map(str, seeds)],
            env={**os.environ, "PYTHONHASHSEED": hashes}, stdout=subprocess.PIPE, text=True,
        )
        for hashes in ("1", "2")
    ]  # fmt: skip
    one, other = [process.communicate()[0].splitlines() for process in beside]
    assert one == other
    assert len(set(one)) == len(seeds)
    assert all(line.endswith(" False") for line in one), "something is wrong in one of them"


# --- planted ---------------------------------------------------------------------------------------------------------


def _nothing(*_: Any, **__: Any) -> None:
    """What should have been done is not."""


# Frequent ones, that a few worlds see; all others are patches (`tests/mutants`).
PLANTED: dict[str, tuple[type, str, Any]] = {
    "a slot is not given back": (Slots, "_give_back", _nothing),
    "nobody is told of an end": (Leaving, "_tell", _nothing),
    "what is closed begins all the same": (Leaving, "closed", _nothing),
    "equal children are one": (Attempt, "identify", lambda self, key, content: content),
}


SEEN = {"a slot is not given back": 3, "equal children are one": 38}
"""A world that has seen it, and is asked first."""


@pytest.mark.parametrize("what", PLANTED)
def test_worlds_see_what_is_wrong(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, instead = PLANTED[what]
    monkeypatch.setattr(owner, name, instead)
    assert any(look_at(seed).wrong for seed in (SEEN.get(what, 0), *range(100)))
