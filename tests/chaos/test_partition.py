"""Workers that can't reach the database for a while, nor know it: their runs go elsewhere, what they write late is
refused, and they come back by themselves."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.chaos.backends import Backend
from tests.chaos.conftest import MakeFleet, Report
from tests.chaos.fleet import Fleet
from tests.chaos.proxy import Proxy
from tests.chaos.scale import scaled
from tests.faults.processes import AppProcess, until

AWAY = scaled(60.0, 10.5)
LEASE = scaled({"lease": 10.0, "heartbeat": 2.0}, {"lease": 8.0, "heartbeat": 0.25})
"""Longer than a busy machine keeps a worker waiting: one that loses its lease before it is cut off shows nothing."""
PATIENT = 4
SLOTS = 10


@pytest.mark.long
def test_a_partition(
    postgres: Backend, make_fleet: MakeFleet, dice: random.Random, report: Report, tmp_path: Path
) -> None:
    """One worker's bytes are held back until it heals, another's are lost; two more go on."""
    with Proxy(postgres.url) as holding, Proxy(postgres.url) as losing:
        fleet = make_fleet(postgres, slots=SLOTS, **LEASE)
        cut_off = [fleet.worker(url=proxy.url, host="far away", slots=PATIENT // 2) for proxy in (holding, losing)]
        for worker in cut_off:
            worker.expect("started")
        enough = tmp_path / "enough"
        patient = [fleet.spawn("patient", n=n, until=str(enough)) for n in range(PATIENT)]
        until(lambda: {begin.by for begin in fleet.begins()} == set(map(who, cut_off)), "both execute some")
        until(lambda: len({begin.run for begin in fleet.begins()}) == PATIENT, "all have begun")
        fleet.workers(scaled(2, 1))
        clients = fleet.clients(1, trees=2, pause=scaled(0.0, 0.3))
        time.sleep(dice.uniform(0, 0.5))

        begin = time.time()
        holding.partition(lossy=False)
        losing.partition(lossy=True)
        results = [ref.result(timeout=LEASE["lease"] + scaled(5, 200)) for ref in patient]
        taken_over = time.time() - begin
        assert {result["by"] for result in results}.isdisjoint(map(who, cut_off))
        enough.touch()
        until(lambda: fleet.journal.read_text().count('["end"') == PATIENT, "those who are cut off have results, too")
        time.sleep(max(0.0, AWAY - (time.time() - begin)))
        assert {b.by for b in fleet.begins() if b.at > begin + LEASE["lease"] + 2}.isdisjoint(map(who, cut_off))
        healed_at = time.time()
        holding.heal()
        losing.heal()
        back = [until(lambda w=worker: works_since(fleet, w, healed_at), "it works again") for worker in cut_off]

        report(f"cut off for {healed_at - begin:.1f} s; their runs were completed elsewhere after {taken_over:.1f} s")
        report(f"at work again {max(back):.1f} s after it had healed")
        report(fleet.stop_clients(clients))
        fleet.come_to_rest()
    for worker in cut_off:
        assert "came too late and were refused" in worker.log


def works_since(fleet: Fleet, worker: AppProcess, since: float) -> bool:
    return any(begin.by == who(worker) and begin.at > since for begin in fleet.begins())


def who(worker: AppProcess) -> str:
    return f"far away/{worker.pid}"
