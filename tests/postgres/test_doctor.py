"""`fanwood doctor` on a server: what it says of one that keeps what it acknowledged, and of those that don't."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fanwood import Fanwood
from fanwood.cli.main import cli
from tests.postgres.cluster import Cluster
from tests.postgres.roles import database_of


@pytest.fixture(scope="module")
def careless() -> Iterator[Cluster]:
    with Cluster({"fsync": False, "full_page_writes": False}) as cluster:
        yield cluster


def doctor(url: str, *options: str) -> Result:
    return CliRunner().invoke(cli, ["doctor", "--url", url, *options], prog_name="fanwood")


def make(url: str) -> None:
    with Fanwood(url, local_worker=False) as app:
        app.engine()


def report(url: str) -> dict[str, Any]:
    return json.loads(doctor(url, "--json").stdout)


def test_all_is_well(postgres_cluster: Cluster, postgres_url: str):
    make(postgres_url)
    done = doctor(postgres_url)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == f"store        {postgres_url}"
    assert lines[1].startswith(f"kind         PostgreSQL {postgres_cluster.version}")
    assert lines[2] == (
        "durability   fsync=on, synchronous_commit=on, full_page_writes=on: "
        "a commit is on the disk when it is acknowledged"
    )
    assert lines[3:] == [
        "runs         none unfinished",
        "             runs that have ended are not counted; --full counts them",
        "orphans      none",
        "workers      none",
        "All is well.",
    ]
    found = report(postgres_url)
    assert found["problems"] == []
    assert found["store"]["durable"] is True
    assert found["store"]["kind"] == "PostgreSQL"
    assert found["store"]["bytes"] > 0


@pytest.mark.parametrize("level", ["database", "role"])
def test_synchronous_commit_is_off(level: str, postgres_cluster: Cluster, postgres_url: str):
    make(postgres_url)
    name = database_of(postgres_url)
    where = f"database {name}" if level == "database" else f"role postgres in database {name}"
    postgres_cluster.execute(f"alter {where} set synchronous_commit = off")
    done = doctor(postgres_url)
    assert done.exit_code == 1
    assert "durability   fsync=on, synchronous_commit=off, full_page_writes=on\n" in done.stdout
    assert "problem      synchronous_commit is off: what was acknowledged in the last second can be lost" in done.stdout
    assert "All is well" not in done.stdout
    assert report(postgres_url)["store"]["durable"] is False


def test_fsync_is_off(careless: Cluster):
    url = careless.create_database()
    make(url)
    done = doctor(url)
    assert done.exit_code == 1
    assert "durability   fsync=off, synchronous_commit=on, full_page_writes=off\n" in done.stdout
    assert "problem      fsync is off: a crash of the machine can destroy the database." in done.stdout
    assert "problem      full_page_writes is off" in done.stdout
    found = report(url)
    assert found["store"]["durable"] is False
    assert len(found["problems"]) == 2


@pytest.mark.long
def test_torn_pages_are_no_durability():
    """What is said to people and to programs is one thing."""
    with Cluster({"full_page_writes": False}) as cluster:
        url = cluster.create_database()
        make(url)
        assert "durability   fsync=on, synchronous_commit=on, full_page_writes=off\n" in doctor(url).stdout
        assert report(url)["store"]["durable"] is False


def test_a_synchronous_standby_that_is_not_there(careless: Cluster):
    url = careless.create_database()
    make(url)
    problem = (
        "problem      commits wait for a synchronous standby that is not there (synchronous_standby_names is 'it')"
    )
    try:
        careless.settings["synchronous_standby_names"] = "it"
        careless.reload()
        lost = doctor(url).stdout
        while problem not in lost:  # a server reads its settings soon after it was told to
            lost = doctor(url).stdout
        assert doctor(url).exit_code == 1
    finally:
        del careless.settings["synchronous_standby_names"]
        careless.reload()
