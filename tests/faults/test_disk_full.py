"""The disk fills up under a worker: nothing acknowledged is lost, and work goes on when there is room again."""

import logging
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanwood import Fanwood
from fanwood.engine import engine as engine_module
from fanwood.errors import StoreFullError
from tests.faults.processes import Site, until

MEGABYTE = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m,mode=0777", "tmpfs", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, timeout=10)
    except OSError as error:
        pytest.skip(f"no mount command: {error}")
    if done.returncode:
        pytest.skip(f"mounting a tmpfs is not permitted here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True, timeout=10)


def test_disk_full(small_disk: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(MEGABYTE))
    path = small_disk / "fanwood.db"
    begun, go_on = threading.Semaphore(0), threading.Event()
    with Site(tmp_path, path) as site, Fanwood(site.url, local_worker=True) as app:

        @app.task
        def work(input: dict) -> int:
            begun.release()
            go_on.wait(20)
            return input["n"]

        @app.task
        async def store(input: dict) -> int:
            return input["n"]

        running = [work.run_no_wait({"n": n}) for n in range(10)]
        for _ in running:
            assert begun.acquire(timeout=5)

        acknowledged = []
        with pytest.raises(StoreFullError) as caught:
            for n in range(1000):
                acknowledged.append(store.run_no_wait({"n": n, "data": "x" * 20_000}))
        assert str(caught.value).startswith(f"{path}: no space left to write (")
        assert str(caught.value).endswith(
            "free). What was acknowledged is safe; work goes on when there is room again."
        )
        assert 10 < len(acknowledged) < 200
        assert any(str(path) in r.message for r in caplog.records if r.levelno == logging.ERROR)

        go_on.set()  # their results can't be written now
        with pytest.raises(StoreFullError, match=r"disk/fanwood\.db: no space left to write"):
            for n in range(100):
                store.run_no_wait({"n": n, "data": "y" * 20_000})
        known = {id_.hex() for (id_,) in site.rows("select id from run")}
        assert known >= {ref.id.replace("-", "") for ref in [*running, *acknowledged]}

        ballast.unlink()
        assert [ref.result(timeout=20) for ref in running] == list(range(10))
        assert [ref.result(timeout=20) for ref in acknowledged] == list(range(len(acknowledged)))
        assert store.run({"n": 7}) == 7
        until(lambda: any("work goes on" in r.message for r in caplog.records if r.levelno == logging.WARNING), "told")
        site.check_tidy()


def test_a_worker_stops_though_the_disk_is_full(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "RETIRE_SECONDS", 0.1)
    with Fanwood(f"sqlite:///{small_disk}/fanwood.db", local_worker=True) as app:

        @app.task
        async def store(input: dict) -> int:
            return input["n"]

        assert store.run({"n": 1}) == 1
        with (small_disk / "ballast").open("wb") as ballast, pytest.raises(OSError, match="No space left"):
            while True:
                ballast.write(bytes(64 * 1024))
                ballast.flush()
        with pytest.raises(StoreFullError):
            for n in range(100):
                store.run_no_wait({"n": n, "data": "x" * 20_000})
