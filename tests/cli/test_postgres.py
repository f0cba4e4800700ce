"""The commands that look, on a PostgreSQL server: what they say is the same, but where servers and files differ."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest


@pytest.fixture
def server(postgres_url: str, here, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("FANWOOD_DATABASE_URL", postgres_url)
    return postgres_url


def _ids(invoke, *options: str) -> list[str]:
    result = invoke("runs", "ls", "--json", *options)
    assert result.exit_code == 0, result.stderr
    return [run["id"] for run in json.loads(result.stdout)["runs"]]


def test_listing(invoke, stocked, server):
    stock = stocked(children=20, queued=3, to=server)
    assert _ids(invoke) == [*stock.queued[::-1], stock.root]
    assert _ids(invoke, "--all", "--limit", "100") == [*stock.queued[::-1], *stock.children[::-1], stock.root]
    assert _ids(invoke, "--all", "--status", "waiting") == [stock.children[14], stock.children[4]]
    assert _ids(invoke, "--status", "queued", "--after", stock.queued[1]) == [stock.queued[0]]
    assert _ids(invoke, "--all", "--status", "failed", "--after", stock.children[13]) == [stock.children[3]]
    assert _ids(invoke, "--task", "order", "--since", "1h") == stock.queued[::-1]
    for meta, found in (
        ("customer=7", True),
        ('tags={"b":"x","a":[1,2]}', True),
        ("name=7", False),
        ("none=null", True),
    ):
        assert _ids(invoke, "--meta", meta) == ([stock.root] if found else [])
    for strange in ("a=\\", "a'b=1", 'a="\\u0000"', "a=9223372036854775808", "a=NaN", "%=%"):
        assert _ids(invoke, "--meta", strange) == []
    assert _ids(invoke, "--all", "--meta", "customer=7", "--limit", "1000000") == [stock.root]


def test_doctor(invoke, stocked, server):
    stocked(children=20, to=server)
    quick = invoke("doctor").stdout
    assert "runs         2 queued, 3 running, 2 waiting\n" in quick
    assert "runs that have ended are not counted; --full counts them\n" in quick
    report = json.loads(invoke("doctor", "--full", "--json").stdout)
    assert (report["counted"], report["closing"], report["runs"]["COMPLETED"]) == (True, False, 12)


def test_cancel_and_tree(invoke, stocked, server):
    stock = stocked(children=20, to=server)
    assert "1 waiting" not in invoke("tree", stock.root).stderr
    assert "2 waiting, 2 queued" in invoke("tree", stock.root).stderr
    assert "\ndue          20" in invoke("runs", "get", stock.children[4]).stdout
    assert invoke("runs", "cancel", stock.root).stdout == f"Cancelled 7 runs: shop {stock.root}\n"


@pytest.mark.empty_database
def test_migrate_says_who_is_at_work(invoke, stocked, server, monkeypatch: pytest.MonkeyPatch):
    """Those that live go on with their own functions."""
    made = json.loads(invoke("db", "migrate", "--json").stdout)
    assert (made["workers"], made["steps"][0]) == ([], "0001_base")
    stocked(live=True, to=server)
    who = {"name": "far", "host": "elsewhere", "pid": 1, "kind": "worker"}
    assert json.loads(invoke("db", "migrate", "--dry-run", "--json").stdout)["workers"] == [who]
    assert "far" not in invoke("db", "migrate").stderr  # there is nothing to do
    _upgrade(monkeypatch)
    for options in (("--dry-run",), ()):
        result = invoke("db", "migrate", *options)
        assert (result.exit_code, result.stdout) == (0, "1000_more\n"), result.stderr
        assert (
            ": worker far on elsewhere. They go on with the functions of their version; replace them" in result.stderr
        )


def _upgrade(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on this is a version with one step more."""
    from fanwood.store.postgres import connection
    from fanwood.store.postgres.release import Step, present

    more = Step(1000, "1000_more", "create table more (x integer);")
    newer = replace(present(), steps=(*present().steps, more))
    monkeypatch.setattr(connection, "Address", partial(connection.Address, release=newer))


def test_with_the_code_it_is_executed_here_unless_somebody_else_does(invoke, server):
    result = invoke("run", "total", "--app", "shop:fanwood", "--input", '{"n": 3}', "--timeout", "60s")
    assert (result.exit_code, result.stdout) == (0, "5\n")
    assert "no live worker" not in result.stderr
