"""Workers on several hosts: network namespaces of this machine, each with its own address and its own pids. Where they
can't be made, processes that pass for others' stand in, and nobody's plug is pulled."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

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
CHILDREN = scaled(20_000, 2_000)
SLOTS = scaled(100, 10)
LEASE = scaled({"lease": 2.0, "heartbeat": 0.5}, {"lease": 1.0, "heartbeat": 0.25})
PATIENT = 6


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


def test_several_hosts(network: Network, make_fleet: MakeFleet, report: Report) -> None:
    if network.why_not:
        report(f"separate processes stand in for hosts: {network.why_not}")
    fleet = make_fleet(migrated(network.cluster.create_database()), slots=SLOTS, **LEASE)
    workers = start(network, fleet)

    begin = time.monotonic()
    answer = fleet.spawn("parent", n=CHILDREN, seconds=0.005).result(timeout=60)
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
    refs, victim = spawn_patient(fleet)
    host = next(host for host in hosts.hosts if host.name == victim)
    begin = time.time()
    hosts.cut_off(host)
    assert all(by_whom(ref, victim) for ref in refs)
    taken_over = time.time() - begin
    hosts.plug_in(host)
    plugged_in = time.time()
    until(lambda: works_since(fleet, host, plugged_in), "it takes work again")
    report(f"unplugged: taken over after {taken_over:.1f} s, at work again {time.time() - plugged_in:.1f} s after")


def kill_one(fleet: Fleet, workers: dict[str, AppProcess], report: Report) -> None:
    refs, victim = spawn_patient(fleet)
    begin = time.time()
    workers[victim].kill()
    assert all(by_whom(ref, victim) for ref in refs)
    report(f"killed: taken over after {time.time() - begin:.1f} s")


def spawn_patient(fleet: Fleet) -> tuple[list[object], str]:
    """Runs that take long where they are, and a host that has at least one."""
    before = len(fleet.begins())
    refs = [fleet.spawn("patient", n=n, root=before, seconds=LEASE["lease"] * 2) for n in range(PATIENT)]
    until(lambda: len(fleet.begins()) == before + PATIENT, "all have begun")
    return refs, fleet.begins()[-1].by.partition("/")[0]


def by_whom(ref: object, victim: str) -> bool:
    """It has ended, and not by the victim."""
    result = ref.result(timeout=LEASE["lease"] * 2 + 5)  # pyright: ignore[reportAttributeAccessIssue]
    return not result["by"].startswith(f"{victim}/")


def works_since(fleet: Fleet, host: Host, since: float) -> bool:
    fleet.spawn("stamp", n=int(time.time() * 1e6))
    return any(begin.by.startswith(f"{host}/") and begin.at > since for begin in fleet.begins())
