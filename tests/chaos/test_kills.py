"""`kill -9` of a random worker, again and again, in the middle of one large fan-out."""

from __future__ import annotations

import random
import time
from concurrent.futures import wait

import pytest

from tests.chaos.backends import Backend
from tests.chaos.conftest import MakeFleet, Report
from tests.chaos.scale import scaled

CHILDREN, KILLS, EVERY = scaled((100_000, 60, 1.0), (600, 1, 0.2))
SECONDS = scaled(0.015, 0.1)  # (five seconds at least: so many kills come in time, however busy the machine is)
MOST = scaled(1_000, 3)  # killed so quickly one after another, a parent gets nowhere
WORKERS = scaled(4, 3)
SLOTS = scaled(6, 4)  # few, so that the children outlast the kills: at most 1,600 or 800 a second


@pytest.mark.timeout(900)
def test_workers_are_killed(backend: Backend, make_fleet: MakeFleet, dice: random.Random, report: Report) -> None:
    fleet = make_fleet(backend, slots=SLOTS)
    workers = fleet.workers(WORKERS)
    begin = time.monotonic()
    answer = fleet.answer(fleet.spawn("parent", n=CHILDREN, seconds=SECONDS))
    kills = 0
    while not wait([answer], EVERY if kills < MOST else None).done:
        number = dice.randrange(WORKERS)
        workers[number].kill(reap=dice.random() < 0.5)
        kills += 1
        workers[number] = fleet.worker()
    took = time.monotonic() - begin
    report(f"{CHILDREN:,} children in {took:.1f} s ({CHILDREN / took:,.0f}/s), {kills} workers killed meanwhile")
    assert answer.result()["value"] == sum(n * n for n in range(CHILDREN))
    rows = fleet.come_to_rest()
    again = sum(row.attempt - 1 for row in rows)
    report(f"{again} attempts were lost and made again")
    assert kills >= KILLS, "the children ended too soon: make them slower"
