"""Many processes that ask for the same roots at the same time, by idempotency keys."""

from __future__ import annotations

import json
import random

from tests.chaos.backends import Backend
from tests.chaos.conftest import MakeFleet, Report
from tests.chaos.scale import scaled

PROCESSES, KEYS = scaled((16, 1000), (4, 60))


def test_racing_for_root_keys(backend: Backend, make_fleet: MakeFleet, dice: random.Random, report: Report) -> None:
    fleet = make_fleet(backend)
    fleet.client  # noqa: B018  (the database is there)
    racers = [
        fleet.process("race", json.dumps({"keys": KEYS, "seed": dice.randrange(1 << 30)})) for _ in range(PROCESSES)
    ]
    for racer in racers:
        racer.expect("ready")
    for racer in racers:
        racer.say()
    answers = [json.loads(racer.line(60)) for racer in racers]
    for racer in racers:
        assert racer.wait() == 0, racer.log

    assert [answer for answer in answers if answer != answers[0]] == []
    assert len(set(answers[0].values())) == KEYS
    fleet.workers(1)
    rows = fleet.come_to_rest()
    assert {row.id.hex() for row in rows} == {id_.replace("-", "") for id_ in answers[0].values()}
    report(f"{PROCESSES} processes asked for {KEYS:,} keys each: {len(rows):,} runs")
