"""Wrong URLs, and servers that won't have us: a sentence that says what to do, and never the password."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fanwood import Fanwood, SettingsError, StoreError, StoreUnavailableError
from fanwood.cli.main import cli
from fanwood.store.urls import check_server_url, without_password
from tests.postgres.cluster import Cluster

SECRET = "sesame"
APP = """
from fanwood import Fanwood

fanwood = Fanwood()


@fanwood.task
async def square(n: int) -> int:
    return n**2
"""
COMMANDS = [("runs", "ls"), ("doctor",), ("db", "migrate"), ("run", "square", "--input", "2")]
Invoke = Callable[..., Result]


@pytest.fixture(scope="module")
def strict() -> Iterator[Cluster]:
    """A server that wants passwords, and whose fsync is off."""
    with Cluster({"fsync": False, "password_encryption": "scram-sha-256"}) as cluster:
        cluster.execute(f"create role ann login password '{SECRET}/@#:?'")
        cluster.execute("create database shop owner ann")
        rules = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        (cluster.data / "pg_hba.conf").write_text(rules)
        cluster.reload()
        yield cluster


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """A command on a database, in a folder with a module `shop`. Nobody waits for a server that may come back."""
    monkeypatch.setattr("fanwood.store.postgres.troubles.REFUSED_SECONDS", 0)
    (tmp_path / "shop.py").write_text(APP, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def call(url: str, *command: str) -> Result:
        monkeypatch.setenv("FANWOOD_DATABASE_URL", url)
        return CliRunner().invoke(cli, list(command), prog_name="fanwood")

    return call


# --- what is shown ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:sesame@host:5432/shop", "postgresql://ann:***@host:5432/shop"),
        ("postgres://ann:@host/shop", "postgres://ann:***@host/shop"),
        ("postgresql://ann@host/shop", "postgresql://ann@host/shop"),
        ("postgresql://ann:ses%40ame@[::1]:5432/shop", "postgresql://ann:***@[::1]:5432/shop"),
        ("postgresql://ann:sesame@a:1,b:2,[::1]/shop", "postgresql://ann:***@a:1,b:2,[::1]/shop"),
        ("postgresql://ann:sesame@%2Fvar%2Frun/shop", "postgresql://ann:***@%2Fvar%2Frun/shop"),
        ("postgresql://host/shop?user=ann&password=sesame", "postgresql://host/shop?user=ann&password=***"),
        ("postgresql:///shop?pass%77ord=ses@me&x=1", "postgresql:///shop?pass%77ord=***&x=1"),
        ("postgresql://host/shop?sslpassword=sesame", "postgresql://host/shop?sslpassword=***"),
        ("postgresql://", "postgresql://"),
        ("mysql://ann:sesame@host/shop", "mysql://ann:***@host/shop"),
        ("sqlite:////srv/a:b@c.db", "sqlite:////srv/a:b@c.db"),
        ("shop.db", "shop.db"),
        # Those that can't be read: with them nobody knows where the password begins, and where it ends.
        ("postgresql://ann:ses@me@host/shop", "postgresql://***"),
        ("postgresql://ann:ses/ame@host/shop", "postgresql://***"),
        ("postgresql://ann:1/sesame@host/shop", "postgresql://***"),
        ("postgresql://ann:ses?ame@host/shop", "postgresql://***"),
        ("postgresql://ann:ses#ame@host/shop", "postgresql://***"),
        ("postgresql://ann:ses ame@host/shop", "postgresql://***"),
        ("mysql://ann:ses@me@host/shop", "mysql://***"),
        ("host=localhost password=sesame", "***"),
        ("ann:sesame@host/shop", "***"),
    ],
)
def test_what_is_shown_of_a_url(url: str, shown: str):
    assert without_password(url) == shown


@pytest.mark.parametrize(
    ("rest", "why"),
    [
        ("ann:sesame/@host/shop", "can't be read. It has the form postgresql://user:password@host:port/database"),
        ("ann:sesame@host:port/shop", "percent-encoded"),
        ("ann:sesame@[::1/shop", "percent-encoded"),
        ("ann:sesame@host/shop?sslmode", "percent-encoded"),
        ("ann:sesame@host:65536/shop", "names a port that can't be: the last is 65535"),
    ],
)
def test_a_url_that_cannot_be_read(rest: str, why: str, invoke: Invoke):
    with pytest.raises(SettingsError, match=why.replace("?", r"\?")) as caught:
        check_server_url(f"postgresql://{rest}")
    assert SECRET not in str(caught.value)
    for name in ("FANWOOD_DATABASE_URL", "FANWOOD_LISTEN_URL"):
        env = {"FANWOOD_DATABASE_URL": "postgresql://127.0.0.1:1/shop", name: f"postgresql://{rest}"}
        result = CliRunner().invoke(cli, ["runs", "ls"], env=env)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == f"error: {caught.value}\n"


@pytest.mark.parametrize("scheme", ["postgresql+asyncpg", "mysql", "Postgresql", "postgresql+psycopg"])
def test_a_wrong_scheme(scheme: str, invoke: Invoke):
    for command in COMMANDS:
        result = invoke(f"{scheme}://ann:sesame@127.0.0.1/shop", *command)
        assert result.exit_code == 2
        assert result.stderr == (
            f"error: '{scheme}://ann:***@127.0.0.1/shop' is not a database URL that this version knows. Use "
            f"sqlite:///relative/path.db, sqlite:////absolute/path.db or postgresql://user:password@host:port/database"
            "; memory: keeps nothing\n"
        )


# --- servers that won't ----------------------------------------------------------------------------------------------


PASSWORD = f"{SECRET}%2F%40%23%3A%3F"
REFUSALS = {
    "the password": (
        "ann:sesame-oil@127.0.0.1:{port}/shop",
        'refuses us: password authentication failed for user "ann"',
    ),
    "the password, further on": (
        "127.0.0.1:{port}/shop?user=ann&password=sesame-oil",
        'refuses us: password authentication failed for user "ann"',
    ),
    "the user": (
        f"bob:{PASSWORD}@127.0.0.1:{{port}}/shop",
        'refuses us: password authentication failed for user "bob"',
    ),
    "the database": (f"ann:{PASSWORD}@127.0.0.1:{{port}}/chop", 'refuses us: database "chop" does not exist'),
    "a parameter": (
        f"ann:{PASSWORD}@127.0.0.1:{{port}}/shop?sslmod=require",
        'the server refuses a part of the URL: unrecognized configuration parameter "sslmod"',
    ),
    "its value": (
        f"ann:{PASSWORD}@127.0.0.1:{{port}}/shop?sslmode=no",
        "can't be used as it is: `sslmode` parameter must",
    ),
    "encryption": (f"ann:{PASSWORD}@127.0.0.1:{{port}}/shop?sslmode=require", "rejected SSL upgrade"),
}


@pytest.mark.parametrize("wrong", REFUSALS)
def test_a_server_that_refuses_us(wrong: str, strict: Cluster, invoke: Invoke, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    rest, why = REFUSALS[wrong]
    url = f"postgresql://{rest.format(port=strict.port)}"
    for command in COMMANDS:
        result = invoke(url, *command)
        assert result.exit_code == (1 if command == ("doctor",) else 2)
        assert why in result.output
        assert without_password(url) in result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert SECRET not in result.output
    app = Fanwood(url)
    with pytest.raises(StoreError) as caught:
        app.engine()
    app.close()
    assert why in str(caught.value)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(app.settings)
    assert SECRET not in caplog.text


def test_a_password_of_special_characters(strict: Cluster, invoke: Invoke):
    url = f"postgresql://ann:{PASSWORD}@127.0.0.1:{strict.port}/shop"
    result = invoke(url, "db", "migrate", "--dry-run")
    assert result.exit_code == 0
    assert f"steps to take in postgresql://ann:***@127.0.0.1:{strict.port}/shop; nothing was changed." in result.stderr


def test_nobody_listens(invoke: Invoke):
    url = "postgresql://ann:sesame@127.0.0.1:1/shop"
    result = invoke(url, "runs", "ls")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: postgresql://ann:***@127.0.0.1:1/shop does not answer: [Errno ")
    result = invoke(url, "doctor")
    assert result.exit_code == 1
    assert "problem      postgresql://ann:***@127.0.0.1:1/shop does not answer" in result.stdout
    app = Fanwood(url)
    with pytest.raises(StoreUnavailableError, match=r"^postgresql://ann:\*\*\*@127\.0\.0\.1:1/shop does not answer"):
        app.engine()
    app.close()


def test_a_worker_that_cannot_begin(strict: Cluster, invoke: Invoke, tmp_path: Path):
    url = f"postgresql://ann:sesame-oil@127.0.0.1:{strict.port}/shop"
    command = [sys.executable, "-m", "fanwood", "worker", "shop:fanwood"]
    environment = {**os.environ, "FANWOOD_DATABASE_URL": url}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    (error,) = done.stderr.splitlines()  # and no greeting: nothing has answered
    assert (done.returncode, done.stdout) == (2, "")
    assert error.startswith(f"error: {without_password(url)} ")
    assert SECRET not in done.stderr


# --- no driver -------------------------------------------------------------------------------------------------------


def test_the_driver_is_missing(invoke: Invoke, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    for command in COMMANDS:
        result = invoke("postgresql://127.0.0.1/shop", *command)
        assert result.exit_code == 2
        assert result.stderr.startswith("error: A PostgreSQL URL needs the driver asyncpg, which can't be imported")
        assert result.stderr.endswith("Install it: pip install 'fanwood[postgres]'\n")
    with pytest.raises(SettingsError, match=r"pip install 'fanwood\[postgres\]'"):
        Fanwood("postgresql://127.0.0.1/shop").engine()
