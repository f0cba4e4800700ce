"""From `kill -9` to running elsewhere: how long it takes those who see that the process is gone, and those who only
have its lease to go by."""

from __future__ import annotations

import random
import time

import pytest

from tests.chaos.backends import Backend
from tests.chaos.conftest import MakeFleet, Report
from tests.chaos.fleet import Fleet
from tests.chaos.scale import FULL, scaled
from tests.faults.processes import AppProcess, until

ROUNDS = scaled(20, 1)
WORKERS = scaled(3, 2)
HOSTS = scaled(12, 2)
LEASE = scaled(
    {"lease": 10.0, "heartbeat": 2.0}, {"lease": 5.0, "heartbeat": 0.5}
)  # longer than the machine stands still
MARGIN = scaled(2.0, 100.0)  # seconds, beyond the lease, and without one: in the short form others are at work as well


def test_a_process_is_gone(backend: Backend, make_fleet: MakeFleet, dice: random.Random, report: Report) -> None:
    fleet = make_fleet(backend, lease=300)  # by which nobody tells in time
    workers = fleet.workers(WORKERS)
    took: list[float] = []
    for n in range(ROUNDS):
        ref = fleet.spawn("patient", n=n, seconds=60)
        victim = workers[[str(worker.pid) for worker in workers].index(holder(fleet, ref))]
        time.sleep(dice.uniform(0, 0.5))
        killed_at = time.time()
        victim.kill(reap=dice.random() < 0.5)
        workers[workers.index(victim)] = fleet.worker()
        assert ref.result(timeout=250)["by"] != str(victim.pid)
        took.append(second_begin(fleet, ref) - killed_at)
        until(lambda: fleet.count("select count(*) from worker where slots > 0") == len(workers), "all are there again")
    say(report, took)
    fleet.come_to_rest()
    assert max(took) <= MARGIN


def test_only_the_lease_can_tell(backend: Backend, make_fleet: MakeFleet, dice: random.Random, report: Report) -> None:
    if FULL and backend.name == "sqlite":
        pytest.skip("workers of one SQLite file are on one host; the short form is enough")
    fleet = make_fleet(backend, **LEASE)
    doomed = {host: fleet.worker("patient", host=host, slots=1) for host in (f"host-{n}" for n in range(HOSTS))}
    for worker in doomed.values():
        worker.expect("started")
    refs = [fleet.spawn("patient", n=n, seconds=60) for n in range(HOSTS)]
    holders = [holder(fleet, ref) for ref in refs]
    fleet.workers(scaled(2, 1), host="survivors")
    killed_at = kill_one_by_one(doomed, holders, dice)
    assert all(ref.result(timeout=250)["by"].startswith("survivors/") for ref in refs)
    took = [second_begin(fleet, ref) - at for ref, at in zip(refs, killed_at, strict=True)]
    say(report, took)
    fleet.come_to_rest()
    assert max(took) <= LEASE["lease"] + MARGIN
    assert min(took) >= LEASE["lease"] - LEASE["heartbeat"] - 0.5, "somebody could tell before the lease had lapsed"


def kill_one_by_one(doomed: dict[str, AppProcess], holders: list[str], dice: random.Random) -> list[float]:
    """At moments of their own between two heartbeats; when, in the order of the runs that they held."""
    when: list[float] = []
    for who in holders:
        time.sleep(dice.uniform(0, LEASE["heartbeat"] / HOSTS * 2))
        when.append(time.time())
        doomed[who.split("/")[0]].kill()
    return when


def holder(fleet: Fleet, ref: object) -> str:
    """Who executes it, as soon as it has begun."""
    until(lambda: begins_of(fleet, ref), "it has begun")
    return begins_of(fleet, ref)[0].by


def second_begin(fleet: Fleet, ref: object) -> float:
    return begins_of(fleet, ref)[1].at


def begins_of(fleet: Fleet, ref: object) -> list:
    run = ref.id.replace("-", "")  # pyright: ignore[reportAttributeAccessIssue]
    return [begin for begin in fleet.begins() if begin.run == run]


def say(report: Report, took: list[float]) -> None:
    ordered = sorted(took)
    p50, slowest = ordered[len(ordered) // 2], ordered[-1]
    report(f"running elsewhere after {p50:.2f} s (median), {slowest:.2f} s (slowest of {len(ordered)})")
