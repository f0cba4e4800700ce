"""The threads of sync tasks, where threads are scarce, and what they do ends badly."""

from __future__ import annotations

import threading

import pytest

from fanwood.worker.threads import ThreadPool

PATIENCE = 60.0


def test_a_system_without_threads_delays_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    done = [threading.Event() for _ in range(3)]
    pool = ThreadPool("test", lambda: 0)
    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", refuses)
        pool.submit([event.set for event in done])
        pool.look()
        assert not any(event.is_set() for event in done)
    pool.look()
    assert all(event.wait(PATIENCE) for event in done)
    pool.close()


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_job_that_raises_ends_no_thread(error: type[BaseException]) -> None:
    """Else the pool would count on it."""
    threads: list[threading.Thread] = []
    done = threading.Event()

    def fails() -> None:
        threads.append(threading.current_thread())
        raise error

    pool = ThreadPool("test", lambda: 0)
    pool.submit([fails, done.set])
    assert done.wait(PATIENCE)
    assert threads[0].is_alive()
    pool.close()
