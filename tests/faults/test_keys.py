"""Processes that race for the same idempotency keys: exactly one run each, and all are told of the same."""

import json

from tests.faults.processes import Site

PROCESSES = 5
KEYS = 200


def test_processes_that_race_for_the_same_keys(site: Site) -> None:
    racers = [site.process("keys", str(KEYS), str(seed)).expect("ready") for seed in range(PROCESSES)]
    for racer in racers:
        racer.say()
    told = [json.loads(racer.line()) for racer in racers]
    assert all(ids == told[0] for ids in told)
    assert len(set(told[0])) == KEYS
    assert site.count("select count(*) from run") == KEYS
    for racer in racers:
        assert racer.wait() == 0
    site.worker("child")
    child = site.client.find("child")
    results = child.run_many([child.create_bulk_run_item({"n": n}, idempotency_key=f"key {n}") for n in range(KEYS)])
    assert results == [n * n for n in range(KEYS)]
    assert site.count("select count(*) from run where attempt <> 1") == 0
    site.check_tidy()
