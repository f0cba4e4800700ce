"""A SQLite file that the disk has damaged in one place."""

from __future__ import annotations

import logging
from pathlib import Path

import apsw
import pytest

from fanwood import Fanwood

RUNS, WHOLE = 40, 20
"""A leaf holds eight of them; and to find a run others of its leaf are looked at."""


@pytest.mark.parametrize("kind", ["leaf", "overflow"])
def test_what_is_damaged_is_passed_by(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """Of its own task all others are executed; and it is said which is not."""
    file = tmp_path / "runs.db"
    _queue(file)
    _damage(file, kind)
    done: set[str] = set()
    with caplog.at_level(logging.ERROR, "fanwood.store"):
        app = Fanwood(f"sqlite:///{file}", local_worker=True, poll=0.05)

        @app.task
        def large(text: str) -> None:
            done.add(text)

        @app.task
        def small(n: int) -> int:
            return n

        try:
            assert small.run(7, timeout=300) == 7  # and whoever comes to the queue as a worker takes what is there
            while len(done) < WHOLE:
                assert small.run(8, timeout=300) == 8
        finally:
            app.close()
    assert "its part of the file is damaged" in caplog.text


def _queue(file: Path) -> None:
    app = Fanwood(f"sqlite:///{file}", local_worker=False)

    @app.task
    def large(_text: str) -> int:
        return 1

    large.run_many([large.create_bulk_run_item(f"{n:03}" * 5000) for n in range(RUNS)], wait_for_result=False)
    app.close()


def _damage(file: Path, kind: str) -> None:
    """Overwrite one of the first pages of the table of runs."""
    connection = apsw.Connection(str(file))
    connection.pragma("wal_checkpoint(truncate)")
    sql = "select min(pageno) from dbstat where name = 'run' and pagetype = ?"
    number = connection.execute(sql, (kind,)).get
    connection.close()
    with file.open("r+b") as opened:
        opened.seek((number - 1) * 4096)
        opened.write(b"\xb3" * 4096)
