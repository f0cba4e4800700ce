"""A worker on a daemon thread of a script that ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import threading
from fanwood import Fanwood

app = Fanwood("sqlite:///last.db")

@app.task
def one(n: int) -> int:
    return n

worker = app.worker(slots=2)
threading.Thread(target=worker.start, daemon=True).start()
assert worker.wait_started(60)
assert one.run(1) == 1
worker.stop()
"""


def test_a_worker_that_is_stopped_last(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
