"""The disk fills up under a worker: nothing acknowledged is lost, and work goes on when there is room again."""

import contextlib
import logging
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fanwood import Fanwood
from fanwood.engine import membership
from fanwood.errors import StoreFullError
from tests.faults.processes import Site, until

MEGABYTE = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m,mode=0777", "tmpfs", str(disk)]
    try:
        done = subprocess.run(mount, check=False, capture_output=True, text=True, timeout=300)
    except OSError as error:
        pytest.skip(f"no mount command: {error}")
    if done.returncode:
        pytest.skip(f"mounting a tmpfs is not permitted here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True, timeout=300)


def fill(task: Any) -> tuple[list[Any], StoreFullError]:
    """Start runs until there is no more room: those that were acknowledged, and what the next one raised."""
    acknowledged: list[Any] = []
    for n in range(1000):
        try:
            acknowledged.append(task.run_no_wait({"n": n, "data": "x" * 20_000}))
        except StoreFullError as error:
            return acknowledged, error
    raise AssertionError("the disk is too large")


def fill_disk(ballast: Path) -> None:
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(64 * 1024)):
            pass


def test_disk_full(small_disk: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(MEGABYTE))
    path = small_disk / "fanwood.db"
    begun, go_on = threading.Semaphore(0), threading.Event()
    with Site(tmp_path, path) as site, Fanwood(site.url, local_worker=True) as app:

        @app.task
        def work(input: dict) -> int:
            begun.release()
            go_on.wait(60)
            return input["n"]

        @app.task
        async def store(input: dict) -> int:
            return input["n"]

        running = [work.run_no_wait({"n": n}) for n in range(10)]
        for _ in running:
            assert begun.acquire(timeout=300)

        acknowledged, error = fill(store)
        assert str(error).startswith(f"{path}: no space left to write (")
        assert str(error).endswith("free). What was acknowledged is safe; work goes on when there is room again.")
        assert 10 < len(acknowledged) < 200
        assert any(str(path) in r.message for r in caplog.records if r.levelno == logging.ERROR)

        go_on.set()  # their results can't be written now
        more, _ = fill(store)
        known = {id_.hex() for (id_,) in site.rows("select id from run")}
        assert known >= {ref.id.replace("-", "") for ref in [*running, *acknowledged, *more]}

        ballast.unlink()
        assert [ref.result(timeout=300) for ref in running] == list(range(10))
        assert [ref.result(timeout=300) for ref in acknowledged] == list(range(len(acknowledged)))
        assert store.run({"n": 7}) == 7
        until(lambda: any("work goes on" in r.message for r in caplog.records if r.levelno == logging.WARNING), "told")
        site.check_tidy()


def test_a_worker_stops_though_the_disk_is_full(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "RETIRE_SECONDS", 0.1)
    with Fanwood(f"sqlite:///{small_disk}/fanwood.db", local_worker=True) as app:

        @app.task
        async def store(input: dict) -> int:
            return input["n"]

        assert store.run({"n": 1}) == 1
        fill_disk(small_disk / "ballast")
        fill(store)
