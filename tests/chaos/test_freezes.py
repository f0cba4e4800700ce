"""Workers that freeze for three lease times (SIGSTOP), and wake up without knowing it: what they write is refused.

Whether one of them writes before it notices is as it happens. tests/semantics/test_crossings.py has one that does.
"""

from __future__ import annotations

import random
import signal
import time
from typing import Any

import pytest

from tests.chaos.backends import Backend
from tests.chaos.conftest import MakeFleet, Report
from tests.chaos.fleet import Fleet
from tests.chaos.scale import scaled
from tests.faults.processes import AppProcess, until

LEASE, HEARTBEAT, SWEEP = 0.5, 0.12, 0.1
WORKERS = scaled(5, 3)
SLOTS, CHILDREN = scaled((20, 300), (5, 40))
ROUNDS, AT_A_TIME = scaled((25, 2), (1, 2))


@pytest.mark.timeout(600)
def test_workers_are_frozen(backend: Backend, make_fleet: MakeFleet, dice: random.Random, report: Report) -> None:
    fleet = make_fleet(backend, slots=SLOTS, lease=LEASE, heartbeat=HEARTBEAT, sweep=SWEEP)
    workers = fleet.workers(WORKERS)
    # So that every worker is at work when it freezes.
    clients = fleet.clients(1, trees=3, children=CHILDREN, seconds=0.2, pause=0)
    recorded: dict[bytes, Any] = {}
    for _ in range(ROUNDS):
        time.sleep(dice.uniform(0.1, 0.3))
        for frozen in (victims := dice.sample(workers, AT_A_TIME)):
            freeze_at_work(fleet, frozen)
        time.sleep(3 * LEASE)
        for frozen in victims:
            until(lambda pid=frozen.pid: not at_work(fleet, pid), "others have what it had")
        recorded |= completed(fleet)
        for frozen in victims:
            wake(frozen)
    report(fleet.stop_clients(clients))
    fleet.come_to_rest()

    now = completed(fleet)
    changed = [id_.hex() for id_, was in recorded.items() if now[id_] != was]
    assert changed == []
    refused = fleet.logs().count("came too late and were refused")
    report(f"{ROUNDS * AT_A_TIME} freezes of {3 * LEASE:g} s; {refused} times late results were refused")


def completed(fleet: Fleet) -> dict[bytes, Any]:
    rows = fleet.backend.rows("select id, attempt, output, finished_at from run where state = 8")
    return {bytes(id_): rest for id_, *rest in rows}


def freeze_at_work(fleet: Fleet, worker: AppProcess) -> None:
    """Then it has something to lose."""
    while True:
        until(lambda: at_work(fleet, worker.pid), "it executes something")
        fleet.freeze(worker)
        if at_work(fleet, worker.pid):
            return
        worker.signal(signal.SIGCONT)


def at_work(fleet: Fleet, pid: int) -> bool:
    query = (
        "select count(*) from run r join worker w on w.id = r.worker_id "
        "where w.pid = $1 and r.state = 1 and r.task = 'child'"
    )
    ((count,),) = fleet.backend.rows(query, pid)
    return count > 0


def wake(frozen: AppProcess) -> None:
    """Returns when it has noticed."""
    before = frozen.log.count("it starts anew")
    frozen.signal(signal.SIGCONT)
    until(lambda: frozen.log.count("it starts anew") > before, "it has noticed that its lease had lapsed")
