"""Workers on several hosts: network namespaces of this machine, each with its own address and its own pids. Where they
can't be made, processes that pass for others' stand in, and nobody's plug is pulled."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.chaos.backends import migrated
from tests.chaos.conftest import MakeFleet, Report
from tests.chaos.fleet import Fleet
from tests.chaos.hosts import Host, Hosts, NamespaceError, Reachable
from tests.chaos.scale import scaled
from tests.chaos.test_sharing import by
from tests.faults.processes import AppProcess, until
from tests.postgres.cluster import Cluster

HOSTS = 3
CHILDREN = scaled(20_000, 120)
SECONDS = scaled(0.005, 0.25)  # long enough for all hosts to get some
SLOTS = scaled(100, 3)
LEASE = scaled({"lease": 2.0, "heartbeat": 0.5}, {"lease": 5.0, "heartbeat": 0.5})
PATIENT = 200.0  # seconds: whoever has it is the victim, and does not get to the end


@dataclass
class Network:
    cluster: Cluster
    hosts: Hosts | None
    why_not: str = ""


@pytest.fixture
def network() -> Iterator[Network]:
    with ExitStack() as stack:
        try:
            hosts = stack.enter_context(Hosts(HOSTS))
        except NamespaceError as reason:
            yield Network(stack.enter_context(Cluster()), None, str(reason))
        else:
            yield Network(stack.enter_context(Reachable(hosts)), hosts)


@pytest.mark.long
def test_several_hosts(network: Network, make_fleet: MakeFleet, report: Report) -> None:
    if network.why_not:
        report(f"separate processes stand in for hosts: {network.why_not}")
    fleet = make_fleet(migrated(network.cluster.create_database()), slots=SLOTS, **LEASE)
    workers = start(network, fleet)

    begin = time.monotonic()
    answer = fleet.spawn("parent", n=CHILDREN, seconds=SECONDS).result(timeout=300)
    took = time.monotonic() - begin
    assert answer["value"] == sum(n * n for n in range(CHILDREN))
    report(f"{CHILDREN:,} children in {took:.1f} s on {HOSTS} hosts")

    if network.hosts is not None:
        cut_one_off(network.hosts, fleet, workers, report)
    kill_one(fleet, workers, report)
    rows = fleet.come_to_rest()
    shares = Counter(by(row).partition("/")[0] for row in rows if row.task == "child")
    report(f"shares: {', '.join(f'{share / CHILDREN:.0%}' for share in sorted(shares.values()))}")
    assert len(shares) == HOSTS


def start(network: Network, fleet: Fleet) -> dict[str, AppProcess]:
    """A worker on each host."""
    if network.hosts is None:
        workers = {f"host-{n}": fleet.worker(host=f"host-{n}") for n in range(HOSTS)}
    else:
        url = fleet.url.replace("127.0.0.1", network.hosts.server_address)
        workers = {host.name: fleet.worker(host=host, url=url) for host in network.hosts.hosts}
    for worker in workers.values():
        worker.expect("started")
    return workers


def cut_one_off(hosts: Hosts, fleet: Fleet, workers: dict[str, AppProcess], report: Report) -> None:
    """Pull a plug, and put it in again."""
    ref, victim = spawn_patient(fleet)
    host = next(host for host in hosts.hosts if host.name == victim)
    begin = time.time()
    hosts.cut_off(host)
    assert by_whom(ref) != victim
    taken_over = time.time() - begin
    hosts.plug_in(host)
    plugged_in = time.time()
    until(lambda: works_since(fleet, host, plugged_in), "it takes work again")
    report(f"unplugged: taken over after {taken_over:.1f} s, at work again {time.time() - plugged_in:.1f} s after")


def kill_one(fleet: Fleet, workers: dict[str, AppProcess], report: Report) -> None:
    ref, victim = spawn_patient(fleet)
    begin = time.time()
    workers[victim].kill()
    assert by_whom(ref) != victim
    report(f"killed: taken over after {time.time() - begin:.1f} s")


def spawn_patient(fleet: Fleet) -> tuple[Any, str]:
    """A run that takes long where it is, and the host that has it."""
    before = len(fleet.begins())
    ref = fleet.spawn("patient", n=before, seconds=PATIENT)
    run = ref.id.replace("-", "")
    until(lambda: any(begin.run == run for begin in fleet.begins()), "it has begun")
    return ref, [begin.by for begin in fleet.begins() if begin.run == run][-1].partition("/")[0]


def by_whom(ref: Any) -> str:
    """The host on which it ended."""
    return ref.result(timeout=PATIENT - 5)["by"].partition("/")[0]


def works_since(fleet: Fleet, host: Host, since: float) -> bool:
    fleet.spawn("stamp", n=int(time.time() * 1e6))
    return any(begin.by.startswith(f"{host}/") and begin.at > since for begin in fleet.begins())
