"""Durable parents that are suspended again and again, while workers are killed and frozen: none sleeps too long."""

from __future__ import annotations

import random
import signal
from concurrent.futures import wait

import pytest

from tests.chaos.backends import Backend
from tests.chaos.conftest import MakeFleet, Report
from tests.chaos.scale import scaled
from tests.faults.processes import until

LEASE, HEARTBEAT, SWEEP = 0.5, 0.12, 0.1
PARENTS, ROUNDS, CHILDREN = scaled((200, 6, 5), (8, 2, 2))
SECONDS, SLOTS = 0.05, scaled(6, 2)
EVERY = scaled(1.0, 0.1)
ENOUGH = scaled(30, 2)
SUSPENDED = "select count(*) from run where state = 2 and waits = 1 and task = 'durable'"


@pytest.mark.timeout(600)
def test_workers_of_suspended_parents_are_killed_and_frozen(
    backend: Backend, make_fleet: MakeFleet, dice: random.Random, report: Report
) -> None:
    fleet = make_fleet(backend, slots=SLOTS, lease=LEASE, heartbeat=HEARTBEAT, sweep=SWEEP)
    workers = fleet.workers(3)
    about = {"parents": PARENTS, "rounds": ROUNDS, "n": CHILDREN, "seconds": SECONDS}
    answer = fleet.answer(fleet.spawn("durables", **about))
    until(lambda: fleet.count(SUSPENDED) > 0, "some are suspended")
    most = harmed = 0
    while not wait([answer], EVERY if harmed < ENOUGH else None).done:
        most = max(most, fleet.count(SUSPENDED))
        number = dice.randrange(len(workers))
        if harmed % 2:
            fleet.freeze(workers[number])
            wait([answer], 1.5 * LEASE)
            workers[number].signal(signal.SIGCONT)
        else:
            workers[number].kill(reap=dice.random() < 0.5)
            workers[number] = fleet.worker()
        harmed += 1
    assert answer.result()["value"] == PARENTS * ROUNDS * sum(n * n for n in range(CHILDREN))
    rows = fleet.come_to_rest()
    begun = sum(row.attempt for row in rows if row.task == "durable")
    report(
        f"{PARENTS} parents were begun {begun} times, {most} suspended at a time; {harmed} workers killed and frozen"
    )
    assert begun > PARENTS
