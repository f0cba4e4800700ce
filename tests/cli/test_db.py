from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from fanwood import Fanwood
from fanwood.store.sqlite import connection
from fanwood.store.sqlite.connection import APPLICATION_ID, migrations

STEPS = [name for _, name, _ in migrations()]


# --- migrate ---------------------------------------------------------------------------------------------------------


def test_migrate_makes_a_new_database(invoke, here: Path):
    dry = invoke("db", "migrate", "--dry-run")
    assert (dry.exit_code, dry.stdout.splitlines()) == (0, STEPS)
    assert dry.stderr.endswith("/fanwood.db; nothing was changed.\n")
    assert not (here / "fanwood.db").exists()
    result = invoke("db", "migrate")
    assert (result.exit_code, result.stdout.splitlines()) == (0, STEPS)
    assert result.stderr == f"sqlite:///{here}/fanwood.db is up to date now.\n"
    again = invoke("db", "migrate")
    assert (again.exit_code, again.stdout) == (0, "")
    assert again.stderr == f"sqlite:///{here}/fanwood.db is up to date.\n"


@pytest.fixture
def upgrade(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on this is a version with one step more."""

    def to_the_next() -> None:
        steps = [*migrations(), (1000, "1000_more", "create table more (x);")]
        monkeypatch.setattr(connection, "migrations", lambda: steps)

    return to_the_next


def test_migrate_takes_an_older_schema_further(invoke, family, here: Path, upgrade):
    upgrade()
    about = {"url": f"sqlite:///{here}/fanwood.db", "steps": ["1000_more"], "workers": []}
    for _ in range(2):
        assert json.loads(invoke("db", "migrate", "--dry-run", "--json").stdout) == {**about, "dry_run": True}
    assert json.loads(invoke("db", "migrate", "--json").stdout) == {**about, "dry_run": False}
    assert json.loads(invoke("db", "migrate", "--json").stdout)["steps"] == []
    assert json.loads(invoke("runs", "get", family.id, "--json").stdout)["output"] == 28


def test_migrate_says_who_is_at_work(invoke, stocked, upgrade):
    stocked(live=True)
    upgrade()
    who = {"name": "far", "host": "elsewhere", "pid": 1, "kind": "worker"}
    assert json.loads(invoke("db", "migrate", "--dry-run", "--json").stdout)["workers"] == [who]
    for options in (("--dry-run",), ()):
        result = invoke("db", "migrate", *options)
        assert (result.exit_code, result.stdout) == (0, "1000_more\n")
        assert result.stderr.startswith("warning: 1 program at work on sqlite:")
        assert ": worker far on elsewhere. A program of an older version can't go on in a newer file: " in result.stderr
    again = invoke("db", "migrate")
    assert again.stderr.endswith("/fanwood.db is up to date.\n")
    assert "far" not in again.stderr


def test_migrate_does_not_name_the_dead(invoke, stocked, upgrade):
    stocked()
    upgrade()
    result = invoke("db", "migrate")
    assert (result.exit_code, result.stdout, "far" in result.stderr) == (0, "1000_more\n", False)


def test_migrate_of_what_can_not_be_read(invoke, here: Path):
    """A file of ours with other tables: nothing can be said of workers, and the migration says what it makes of it."""
    db = apsw.Connection(str(here / "fanwood.db"))
    db.execute("create table worker (id integer)")
    db.pragma("application_id", APPLICATION_ID)
    db.pragma("user_version", int(STEPS[-1].partition("_")[0]))
    db.close()
    assert json.loads(invoke("db", "migrate", "--dry-run", "--json").stdout)["workers"] == []
    (here / "fanwood.db").write_bytes(b"no database at all" * 1000)
    result = invoke("db", "migrate")
    assert (result.exit_code, "is not a SQLite database" in result.stderr) == (2, True)


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_migrate_leaves_what_it_does_not_know_alone(invoke, family, here: Path, options):
    db = apsw.Connection(str(here / "fanwood.db"))
    db.pragma("user_version", 999)
    db.close()
    result = invoke("db", "migrate", *options)
    assert result.exit_code == 2
    assert "has schema version 999" in result.stderr


# --- prune -----------------------------------------------------------------------------------------------------------


def test_prune_wants_to_know_how_old(invoke, family):
    result = invoke("db", "prune")
    assert result.exit_code == 2
    assert result.stderr == "error: How old is old? Say --older-than 30d, or set FANWOOD_RETENTION_DAYS.\n"


def test_prune(invoke, family):
    assert invoke("db", "prune", "--older-than", "30d").stdout == "0 runs deleted.\n"
    dry = invoke("db", "prune", "--older-than", "1us", "--dry-run")
    assert dry.stdout == "29 runs of 1 tree would be deleted.\n"
    assert invoke("runs", "get", family.id).exit_code == 0
    result = invoke("db", "prune", "--older-than", "1us", "--batch", "5")
    assert (result.exit_code, result.stdout) == (0, "29 runs deleted.\n")
    assert invoke("runs", "get", family.id).exit_code == 2


def test_prune_takes_the_setting_and_speaks_json(invoke, family, monkeypatch):
    monkeypatch.setenv("FANWOOD_RETENTION_DAYS", "0.0000000001")
    found = json.loads(invoke("db", "prune", "--dry-run", "--json").stdout)
    assert (found.pop("before")[:2], found) == ("20", {"runs": 29, "trees": 1, "dry_run": True})
    found = json.loads(invoke("db", "prune", "--json").stdout)
    assert (found["runs"], found["trees"], found["dry_run"]) == (29, None, False)


def test_prune_keeps_to_its_namespace(invoke, here: Path, make_app: Callable[..., Fanwood], monkeypatch):
    for namespace in ("", "x"):
        with make_app(namespace=namespace) as app:
            app.task(_leaf).run()
    monkeypatch.setenv("FANWOOD_NAMESPACE", "x")
    assert invoke("db", "prune", "--older-than", "1us").stdout == "1 run deleted.\n"
    monkeypatch.delenv("FANWOOD_NAMESPACE")
    [run] = json.loads(invoke("runs", "ls", "--json").stdout)["runs"]
    assert run["task"] == "_leaf"


async def _leaf() -> int:
    return 1


@pytest.mark.parametrize("command", [("migrate", "--dry-run"), ("prune", "--older-than", "1d", "--dry-run")])
def test_nothing_is_made_by_looking(invoke, here: Path, command):
    invoke("db", *command)
    assert not (here / "fanwood.db").exists()


# --- copy ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def urls(here: Path) -> tuple[str, str]:
    return f"sqlite:///{here}/fanwood.db", f"sqlite:///{here}/elsewhere/copy.db"


def without_worker(shown: dict[str, Any]) -> None:
    """Which worker had a run means nothing elsewhere."""
    for each in (shown, *shown.get("attempts", ())):
        each.pop("worker_id", None)
        each.pop("worker", None)


def test_copy(invoke, family, urls):
    result = invoke("db", "copy", *urls)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"Copied 3 tasks, 29 runs, 25 logs from {urls[0]} to {urls[1]}.\n"
    for command in (("runs", "get", family.id), ("runs", "get", family.leaves[0]), ("tree", family.id)):
        here, there = (json.loads(invoke(*command, "--json", "--url", url).stdout) for url in urls)
        for shown in (here, there):
            without_worker(shown)
            shown.pop("now", None)
        assert here == there
    again = json.loads(invoke("db", "copy", *urls, "--json").stdout)
    assert again == {"from": urls[0], "to": urls[1], "copied": {"task": 0, "run": 0, "key": 0, "log": 0, "attempt": 0}}


@pytest.mark.long
def test_copy_to_postgres_and_back(invoke, family, urls, postgres_url):
    there, back = postgres_url, urls[1]
    assert invoke("db", "migrate", "--url", there).exit_code == 0
    for source, target in ((urls[0], there), (there, back)):
        copied = json.loads(invoke("db", "copy", source, target, "--json").stdout)["copied"]
        assert copied == {"task": 3, "run": 29, "key": 0, "log": 25, "attempt": 0}
    for run in (family.id, *family.leaves[:3]):  # one that has completed, failed ones, and the root
        shown = [
            json.loads(invoke("runs", "get", run, "--json", "--url", url).stdout) for url in (urls[0], there, back)
        ]
        for each in shown:
            without_worker(each)
        assert shown[0] == shown[1] == shown[2]
    assert invoke("db", "prune", "--older-than", "1us", "--url", there).stdout == "29 runs deleted.\n"


def test_copy_of_nothing(invoke, here: Path, urls):
    result = invoke("db", "copy", *urls)
    assert result.exit_code == 2
    assert "does not exist: nothing has run there yet" in result.stderr
    assert not (here / "elsewhere").exists()


def test_copy_onto_itself(invoke, family, urls):
    result = invoke("db", "copy", urls[0], urls[0])
    assert result.exit_code == 2
    assert result.stderr == f"error: FROM and TO are the same database: {urls[0]}\n"


@pytest.mark.parametrize("side", [0, 1])
def test_copy_while_somebody_works(invoke, family, urls, make_app: Callable[..., Fanwood], side):
    (app := make_app(url=urls[side])).engine()
    result = invoke("db", "copy", *urls)
    assert result.exit_code == 2
    assert f"error: 1 program at work on {urls[side]}: client " in result.stderr
    app.close()
    assert invoke("db", "copy", *urls).exit_code == 0


def test_copy_into_another_history(invoke, family, urls, make_app: Callable[..., Fanwood]):
    with make_app(url=urls[1]) as app:
        app.task(_leaf).run()
    result = invoke("db", "copy", *urls)
    assert result.exit_code == 2
    assert "a copy would mix two histories. Nothing was changed." in result.stderr


def test_copy_of_what_is_no_url(invoke, family, urls):
    result = invoke("db", "copy", urls[0], "copy.db")
    assert result.exit_code == 2
    assert "'copy.db' is not a database URL" in result.stderr
