from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import apsw

from fanwood import Fanwood


def test_all_is_well(invoke, family):
    result = invoke("doctor")
    assert result.exit_code == 0
    assert "kind         SQLite 3." in result.stdout
    assert "synchronous=full" in result.stdout
    assert "runs         27 completed, 2 failed\n" in result.stdout
    assert result.stdout.endswith("All is well.\n")


def test_json(invoke, family):
    report = json.loads(invoke("doctor", "--json").stdout)
    assert set(report) == {"url", "store", "runs", "orphans", "engines", "problems"}
    assert set(report["store"]) == {"kind", "version", "schema", "durability", "durable", "bytes"}
    assert report["runs"] == {"QUEUED": 0, "RUNNING": 0, "COMPLETED": 27, "FAILED": 2, "CANCELLED": 0}


def test_no_database_is_a_problem_and_stays_none(invoke, here: Path):
    result = invoke("doctor")
    assert result.exit_code == 1
    assert f"{here}/fanwood.db does not exist: nothing has run there yet." in result.stdout
    assert json.loads(invoke("doctor", "--json").stdout)["store"] is None
    assert not (here / "fanwood.db").exists()


def test_somebody_elses_database(invoke, here: Path):
    db = apsw.Connection(str(here / "fanwood.db"))
    db.execute("create table mine (x)")
    db.close()
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "not one of Fanwood's. Nothing in it was touched." in result.stdout


def test_engines_and_who_lives(invoke, here: Path, app: Fanwood):
    app.engine()
    [engine] = json.loads(invoke("doctor", "--json").stdout)["engines"]
    assert (engine["kind"], engine["live"], engine["slots"]) == ("client", True, 0)
    assert 0 < engine["lease_seconds_left"] <= 10


def test_work_that_nobody_does(invoke, here: Path, make_app: Callable[..., Fanwood]):
    app = make_app(local_worker=False)

    @app.task
    async def waits() -> int:
        return 1

    waits.run_no_wait()
    app.close()
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "1 unfinished run and no live worker: they wait until one starts" in result.stdout
