"""A server that cuts connections, crashes, and stays away: clients and tasks see a delay, not an error."""

from __future__ import annotations

import random
import time
from bisect import bisect_left
from collections.abc import Iterator

import pytest

from tests.chaos.backends import Backend, migrated
from tests.chaos.conftest import MakeFleet, Report
from tests.chaos.scale import FULL, scaled
from tests.faults.processes import until
from tests.postgres.cluster import Cluster

WORKERS = scaled(3, 2)
CHILDREN = scaled(20_000, 400)
SECONDS = scaled(0.005, 0.02)  # they last for a while, however few they are
TERMINATIONS, PAUSE = scaled((150, 0.2), (8, 0.1))
CRASHES, UP, LONGEST = scaled((15, 1.5, 2.0), (1, 0.5, 0.5))
BEFORE, AWAY, BACK_WITHIN = 8.0, 30.0, 5.0
FULL_RATE = 0.7  # of the one before: rates of seconds vary


@pytest.fixture(scope="module")
def fragile() -> Iterator[Cluster]:
    """A server of our own, to be ill-treated."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def crashing(fragile: Cluster) -> Backend:
    return migrated(fragile.create_database())


def test_connections_are_terminated(
    postgres: Backend, make_fleet: MakeFleet, dice: random.Random, report: Report
) -> None:
    fleet = make_fleet(postgres, slots=20)
    fleet.workers(WORKERS)
    clients = fleet.clients(2)
    answer = fleet.answer(fleet.spawn("parent", n=CHILDREN, seconds=SECONDS))
    ended = 0
    while ended < TERMINATIONS or not answer.done():
        time.sleep(PAUSE)
        pids = postgres.rows(
            "select pid from pg_stat_activity where application_name like 'fanwood:%' "
            "and datname = current_database() order by pid"
        )
        ended += sum(done for (done,) in postgres.rows("select pg_terminate_backend($1)", dice.choice(pids)[0]))
    report(f"{ended} connections were terminated during {CHILDREN:,} children")
    report(fleet.stop_clients(clients))
    assert answer.result()["value"] == sum(n * n for n in range(CHILDREN))
    fleet.come_to_rest()


@pytest.mark.long
def test_the_server_crashes(
    crashing: Backend, fragile: Cluster, make_fleet: MakeFleet, dice: random.Random, report: Report
) -> None:
    fleet = make_fleet(crashing, slots=20)
    fleet.workers(WORKERS)
    clients = fleet.clients(2)
    answer = fleet.answer(fleet.spawn("parent", n=CHILDREN, seconds=SECONDS))
    away = 0.0
    for _ in range(CRASHES):
        time.sleep(dice.uniform(0.2, UP))
        begin = time.monotonic()
        fragile.stop("immediate")
        time.sleep(dice.uniform(0, LONGEST))
        fragile.start()
        away += time.monotonic() - begin
    report(f"{CRASHES} crashes; the server was away for {away:.0f} s in all")
    report(fleet.stop_clients(clients))
    assert answer.result(300)["value"] == sum(n * n for n in range(CHILDREN))
    fleet.come_to_rest()


@pytest.mark.skipif(not FULL, reason="make chaos: rates need time")
def test_the_server_is_away_for_long(
    crashing: Backend, fragile: Cluster, make_fleet: MakeFleet, report: Report
) -> None:
    fleet = make_fleet(crashing, slots=20)
    fleet.workers(WORKERS)
    clients = fleet.clients(2, trees=4)
    until(lambda: len(fleet.completions()) > 500, "work is under way")
    time.sleep(BEFORE)
    gone_at = time.time()
    fragile.stop("immediate")
    time.sleep(AWAY)
    fragile.start()
    back_at = time.time()
    before = rate(fleet.completions(), gone_at - BEFORE, gone_at)
    while (
        after := recovered(fleet.completions(), back_at, before)
    ) is None and time.time() < back_at + 2 * BACK_WITHIN:
        time.sleep(0.5)  # looking is work for the server, too
    report(f"{before:,.0f} children/s before; away for {back_at - gone_at:.1f} s; full rate {after} s after its return")
    report(fleet.stop_clients(clients))
    fleet.come_to_rest()
    seconds = [round(rate(fleet.completions(), back_at + n, back_at + n + 1)) for n in range(5)]
    assert after is not None, f"children/s in the seconds after its return: {seconds}"
    assert after <= BACK_WITHIN


def recovered(completions: list[float], since: float, before: float) -> float | None:
    """How many seconds later a second began in which the rate was the full one; None: it hasn't yet."""
    steps = (n / 10 for n in range(int((time.time() - since) * 10)))
    return next(
        (step for step in steps if rate(completions, since + step, since + step + 1) > before * FULL_RATE), None
    )


def rate(completions: list[float], begin: float, end: float) -> float:
    return (bisect_left(completions, end) - bisect_left(completions, begin)) / (end - begin)
