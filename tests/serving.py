"""A worker in this process, for as long as a test needs it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from fanwood import Worker


@contextmanager
def serving(worker: Worker) -> Iterator[threading.Thread]:
    """`worker` on a thread of its own, from its start to its end."""
    thread = threading.Thread(target=worker.start)
    thread.start()
    assert worker.wait_started(60)
    try:
        yield thread
    finally:
        worker.stop()
        thread.join(60)
        assert not thread.is_alive()
