"""Connections that are cut after a commit was sent and before its answer comes: it may have been done, or not, or be
under way still while it is sent again."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.chaos.backends import Backend
from tests.chaos.conftest import MakeFleet, Report
from tests.chaos.proxy import Moment, Proxy
from tests.chaos.scale import scaled
from tests.faults.processes import until

CUTS = scaled(1_000, 8)
PROBABILITY = 0.1
WORKERS = scaled(3, 2)


@pytest.mark.timeout(600)
def test_commits_are_cut(
    postgres: Backend, make_fleet: MakeFleet, seed: int, dice: random.Random, report: Report
) -> None:
    with Proxy(postgres.url, seed=seed) as proxy:
        fleet = make_fleet(postgres, url=proxy.url, slots=10)
        fleet.workers(WORKERS)
        proxy.cut(PROBABILITY, lambda application, statement: choice(application, statement, dice), CUTS)
        clients = fleet.clients(2, alone=3, trees=2, children=20)
        until(lambda: proxy.cuts.total() >= CUTS, "there were cuts enough", timeout=500)
        report(fleet.stop_clients(clients))
        fleet.come_to_rest()
        moments = Counter({how: sum(n for what, n in proxy.cuts.items() if what.startswith(how)) for how in HOW})
        commits = sum(count for statement, count in proxy.passed.items() if "fw1_commit" in statement)
        report(f"{commits:,} commits were answered; cut when {', '.join(f'{how}: {n}' for how, n in moments.items())}")


HOW: tuple[Moment, ...] = ("answered", "sent")


def choice(application: str, statement: str, dice: random.Random) -> Moment | None:
    """Every commit is as likely as any other; nothing else is cut."""
    if application.endswith(":hot") and "fw1_commit" in statement:
        return dice.choice(HOW)
    return None
