from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from fanwood import Fanwood
from fanwood.store import cancelling
from fanwood.store.sqlite.connection import connect
from tests.serving import serving

NOT_COUNTED = "runs that have ended are not counted; --full counts them and checks the whole file\n"


def test_all_is_well(invoke, family):
    result = invoke("doctor")
    assert result.exit_code == 0
    assert "kind         SQLite 3." in result.stdout
    assert "synchronous=full" in result.stdout
    assert f"runs         none unfinished\n             {NOT_COUNTED}" in result.stdout
    assert result.stdout.endswith("All is well.\n")


def test_in_full(invoke, family):
    result = invoke("doctor", "--full")
    assert (result.exit_code, NOT_COUNTED in result.stdout) == (0, False)
    assert "runs         27 completed, 2 failed\n" in result.stdout


def test_what_the_pieces_of_a_tree_say_is_recounted(invoke, family, here: Path):
    """A child that is not below any run of its tree can't come about, so it is planted."""
    db = apsw.Connection(str(here / "fanwood.db"))
    db.execute("update run set parent_id = id where id = (select max(id) from run where task = 'leaf' and state = 8)")
    db.close()
    result = invoke("doctor", "--full")
    assert result.exit_code == 1
    assert "23 runs of leaf are COMPLETED, and by its pieces 22" in re.sub(r"\s+", " ", result.stdout)


@pytest.mark.parametrize("setting", ["off", "normal"])
def test_a_setting_that_may_lose_what_was_acknowledged(invoke, family, monkeypatch, setting: str):
    def careless(path: Path, *, read_only: bool = False) -> Any:
        connection = connect(path, read_only=read_only)
        connection.pragma("synchronous", setting)
        return connection

    monkeypatch.setattr("fanwood.store.sqlite.store.connect", careless)
    result = invoke("doctor")
    assert result.exit_code == 1
    assert f"durability   journal_mode=wal, synchronous={setting}\n" in result.stdout
    assert f"problem      synchronous is {setting}, expected full" in result.stdout
    assert json.loads(invoke("doctor", "--json").stdout)["store"]["durable"] is False


@pytest.mark.parametrize("platform", ["darwin", "linux"])
def test_a_drive_that_is_not_told_to_empty_its_cache(invoke, family, monkeypatch, platform: str):
    """Where a plain sync leaves that full, what SQLite says is believed, and not what it was told."""

    def careless(path: Path, *, read_only: bool = False) -> Any:
        connection = connect(path, read_only=read_only)
        connection.pragma("fullfsync", 0)
        return connection

    monkeypatch.setattr("fanwood.store.sqlite.store.connect", careless)
    monkeypatch.setattr("fanwood.store.sqlite.connection.sys.platform", platform)
    found = json.loads(invoke("doctor", "--json").stdout)
    assert found["store"]["durable"] is (platform == "linux")
    assert [problem.split(" is")[0] for problem in found["problems"]] == ["fullfsync"] * (platform == "darwin")


def test_json(invoke, family):
    report = json.loads(invoke("doctor", "--json").stdout)
    assert set(report) == {"url", "store", "counted", "runs", "closing", "orphans", "engines", "problems"}
    assert set(report["store"]) == {"kind", "version", "schema", "durability", "durable", "bytes"}
    none = {"QUEUED": 0, "RUNNING": 0, "WAITING": 0}
    assert (report["counted"], report["closing"]) == (False, False)
    assert report["runs"] == {**none, "COMPLETED": None, "FAILED": None, "CANCELLED": None}
    full = json.loads(invoke("doctor", "--json", "--full").stdout)
    assert full["counted"]
    assert full["runs"] == {**none, "COMPLETED": 27, "FAILED": 2, "CANCELLED": 0}


def test_what_is_unfinished_and_what_is_being_closed(invoke, stocked, monkeypatch):
    stock = stocked(children=2_000)
    shown = invoke("doctor").stdout
    assert "runs         200 queued, 201 running, 200 waiting\n" in shown
    assert "closing" not in shown
    monkeypatch.setattr(cancelling, "SWEEP_SECONDS", 0.0)
    monkeypatch.setattr(cancelling, "SMALL_SECONDS", 0.0)
    invoke("runs", "cancel", stock.root)
    assert (
        "closing      what is below runs that have ended or were cancelled is being ended\n" in invoke("doctor").stdout
    )
    assert json.loads(invoke("doctor", "--json").stdout)["closing"]


def test_a_damaged_file(invoke, stocked, here: Path):
    stocked(children=500)
    db = here / "fanwood.db"
    size = db.stat().st_size
    with db.open("r+b") as file:
        file.seek(size - size // 3 // 4096 * 4096)
        file.write(b"\xff" * 8192)
    result = invoke("doctor", "--full")
    assert result.exit_code == 1
    assert "problem" in result.stdout


@pytest.mark.parametrize("index", ["run_ready", "run_tree"])
def test_a_damaged_index_and_what_is_said_to_help(invoke, here: Path, make_app: Callable[..., Fanwood], index: str):
    app = make_app(local_worker=False)
    task = app.task(name="task")(lambda _n: None)
    task.run_many([task.create_bulk_run_item(n) for n in range(3)], wait_for_result=False)
    app.close()
    _damage(here / "fanwood.db", index)
    result = invoke("doctor", "--full", "--json")
    assert result.exit_code == 1
    said = " ".join(json.loads(result.stdout)["problems"])
    command = re.search(r"run fanwood (db copy \S+ \S+)\. ", said)
    assert command is not None
    copied = invoke(*command[1].split())
    assert (copied.exit_code, "3 runs" in copied.output) == (0, True)
    shown = invoke("doctor", "--full", "--json", "--url", command[1].split()[-1]).stdout
    assert "is damaged (" not in shown
    assert json.loads(shown)["runs"]["QUEUED"] == 3


def test_what_can_not_be_read_of_a_lost_worker_is_a_sentence(invoke, stocked, here: Path):
    stocked(children=3)
    _damage(here / "fanwood.db", "run_tree")
    result = invoke("db", "copy", f"sqlite:///{here / 'fanwood.db'}", f"sqlite:///{here / 'new.db'}")
    assert (result.exit_code, "is damaged" in result.output) == (2, True)


def _damage(file: Path, index: str) -> None:
    connection = apsw.Connection(str(file))
    connection.pragma("wal_checkpoint(truncate)")
    page = connection.execute("select rootpage from sqlite_schema where name = ?", (index,)).get
    connection.close()
    with file.open("r+b") as opened:
        opened.seek((page - 1) * 4096)
        opened.write(b"\xb3" * 4096)


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
    assert 0 < engine["lease_seconds_left"] < 10.5  # (two processes tell the time of a file to a millisecond or so)


def test_a_run_under_no_worker(invoke, here: Path, make_app: Callable[..., Fanwood]):
    """It can't come about, so it is planted."""
    app = make_app(local_worker=False)

    @app.task
    async def nobodys() -> int:
        return 1

    ref = nobodys.run_no_wait()
    app.close()
    db = apsw.Connection(str(here / "fanwood.db"))
    db.execute("update run set state = 1, attempt = 1, worker_id = 999, started_at = created_at")
    db.close()
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "1 run RUNNING under no worker" in result.stdout
    assert json.loads(invoke("doctor", "--json").stdout)["orphans"] == [str(ref.id)]


def test_rows_that_contradict_what_always_holds(invoke, here: Path, make_app: Callable[..., Fanwood]):
    """Some of what has not ended is looked at in any case; all that has ended only in full."""
    app = make_app(local_worker=False)

    @app.task
    async def spoiled() -> int:
        return 1

    ref = spoiled.run_no_wait()
    app.close()
    db = apsw.Connection(str(here / "fanwood.db"))
    db.execute("update run set retry_count = 3")
    result = invoke("doctor")
    said = f"spoiled {ref.id.replace('-', '')} is QUEUED, and is at attempt 0, with 3 retries"
    assert (result.exit_code, said in " ".join(result.stdout.split())) == (1, True)
    db.execute("update run set state = 8, output = '1', finished_at = 5, ended_by = 1, attempt = 0")
    assert "3 retries" not in invoke("doctor").stdout
    problems = json.loads(invoke("doctor", "--full", "--json").stdout)["problems"]
    assert [problem for problem in problems if "is COMPLETED, and is at attempt 0, with 3 retries" in problem]
    db.close()


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


def test_work_that_no_living_worker_serves(invoke, here: Path, make_app: Callable[..., Fanwood]):
    app = make_app(local_worker=False)

    @app.task
    async def build_report(input: int) -> int:
        return input

    @app.task
    async def served() -> int:
        return 1

    build_report.run_no_wait(1)
    worker = app.worker("half", workflows=[served])
    with serving(worker):
        result = invoke("doctor")
        build_report.run_no_wait(2)
        both = json.loads(invoke("doctor", "--json").stdout)
    assert result.exit_code == 1
    assert re.search(r"1 queued run of build_report \(oldest .+\): no live worker serves it", result.stdout)
    assert "All is well" not in result.stdout
    [problem] = both["problems"]
    assert problem.startswith("2 queued runs of build_report (oldest ")
