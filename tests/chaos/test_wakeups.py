"""What one process does wakes another at once; and without a word between them all still goes on."""

from __future__ import annotations

import json
import random
import time

import pytest

from tests.chaos.backends import Backend
from tests.chaos.conftest import MakeFleet, Report
from tests.chaos.scale import FULL, scaled

TIMES = scaled(500, 10)
CHILDREN = scaled(5_000, 100)
AT_ONCE = 10
"""Milliseconds in which the quickest tenth must be there, also beside another load: who is not woken looks only after
ten times as long. (How long it takes where nothing else is done, `make bench` measures.)"""


def test_a_child_resumes_its_parent_elsewhere(
    backend: Backend, make_fleet: MakeFleet, seed: int, dice: random.Random, report: Report
) -> None:
    fleet = make_fleet(backend)
    fleet.workers(1, "chain")
    fleet.workers(1, "stamp")
    took = sorted(fleet.spawn("chain", n=TIMES, seed=seed).result(timeout=300)["value"])
    fleet.come_to_rest()
    p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
    report(f"from a child's last line to its parent's next: p50 {p50:.1f} ms, p99 {p99:.1f} ms of {TIMES}")
    if FULL and backend.name == "postgres":  # SQLite's files are looked at every 10 ms
        assert took[len(took) // 10] <= AT_ONCE


def test_an_idle_worker_takes_a_new_root(
    backend: Backend, make_fleet: MakeFleet, dice: random.Random, report: Report
) -> None:
    fleet = make_fleet(backend)
    fleet.workers(1)
    took: list[float] = []
    for n in range(TIMES):
        time.sleep(dice.uniform(0, 0.03))
        begin = time.time()
        took.append((fleet.spawn("stamp", n=n).result(timeout=300)["value"] - begin) * 1000)
    took.sort()
    fleet.come_to_rest()
    p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
    report(f"from the call to the task's first line: p50 {p50:.1f} ms, p99 {p99:.1f} ms of {TIMES}")
    if FULL and backend.name == "postgres":
        assert took[len(took) // 10] <= AT_ONCE


@pytest.mark.long
def test_without_notifications(postgres: Backend, make_fleet: MakeFleet, seed: int, report: Report) -> None:
    fleet = make_fleet(postgres, notify=False, slots=10)
    fleet.workers(1, "parent", "chain")
    fleet.workers(scaled(2, 1), "child", "stamp")
    begin = time.monotonic()
    refs = [
        fleet.spawn("parent", n=CHILDREN, seconds=0.005),
        fleet.spawn("chain", n=10, seed=seed),
        *(fleet.spawn("child", n=n, root="alone") for n in range(20)),
    ]
    for ref in refs:
        ref.result(timeout=300)
    took = time.monotonic() - begin
    rows = fleet.come_to_rest()
    (waits,) = (json.loads(row.output or "{}")["value"] for row in rows if row.task == "chain")
    report(
        f"{len(rows):,} runs in {took:.1f} s by polling; the slowest child's parent went on after {max(waits):.0f} ms"
    )
