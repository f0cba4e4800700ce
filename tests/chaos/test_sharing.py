"""One large fan-out, and how several workers share it when nothing goes wrong."""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest

from tests.chaos.backends import Backend
from tests.chaos.checker import Row
from tests.chaos.conftest import MakeFleet, Report
from tests.chaos.scale import scaled

CHILDREN, SLOTS = scaled((100_000, 100), (1_200, 3))  # so few that one worker alone has not done before the others wake
SECONDS = scaled(0.005, 0.01)
WORKERS = scaled(4, 3)
ALL = {(store, how) for store in ("sqlite", "postgres") for how in ("supervised", "separate")}
TRIED = scaled(ALL, {("sqlite", "supervised"), ("postgres", "separate")})
# The largest share, as a multiple of the smallest, of those who only execute children (the parent's worker bears all of
# them, and hears of each end: on a busy machine it hardly comes to more). A short fan-out is over before all have come
# up to speed, and the processes of one SQLite file take turns as the file's lock has it.
LARGEST = {"sqlite": 8, "postgres": scaled(2, 5)}


@pytest.mark.parametrize("how", ["supervised", "separate"])
def test_sharing(backend: Backend, make_fleet: MakeFleet, report: Report, how: str) -> None:
    if (backend.name, how) not in TRIED:
        pytest.skip("its short form adds nothing")
    fleet = make_fleet(backend, slots=SLOTS)
    fleet.client  # noqa: B018  (the database is there)
    fleet.supervised(WORKERS) if how == "supervised" else fleet.workers(WORKERS)
    begin = time.monotonic()
    answer = fleet.answer(fleet.spawn("parent", n=CHILDREN, seconds=SECONDS))
    assert answer.result(100)["value"] == sum(n * n for n in range(CHILDREN))
    took = time.monotonic() - begin
    rows = fleet.come_to_rest()
    shares = Counter(by(row) for row in rows if row.task == "child")
    parents = next(by(row) for row in rows if row.task == "parent")
    others = sorted(share for who, share in shares.items() if who != parents)
    report(f"{CHILDREN:,} children of {SECONDS * 1000:g} ms in {took:.1f} s ({CHILDREN / took:,.0f}/s)")
    told = ", ".join(f"{share / CHILDREN:.0%}" for share in others)
    report(f"shares: {told}, the parent's {shares[parents] / CHILDREN:.0%}")
    assert [row for row in rows if row.attempt != 1] == []  # the checker has seen that no attempt was executed twice
    assert len(shares) == WORKERS
    assert others[-1] <= LARGEST[backend.name] * others[0]


def by(row: Row) -> str:
    return json.loads(row.output or "{}")["by"]
