"""Ctrl-C, from another thread, while the main one waits.

A signal that comes in the moment before a thread begins to wait for a lock is heeded when that wait ends, and not
before. So it is sent until it has arrived; and once it has, no other one does harm.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

AGAIN = 0.05
"""Seconds until it is sent once more."""


@contextmanager
def interrupted_after(begun: threading.Event) -> Iterator[None]:
    """The main thread, in which this is, is interrupted once after `begun` was set, and not after this has ended."""
    arrived, main = threading.Event(), threading.get_ident()

    def once(*_about: object) -> None:
        if not arrived.is_set():
            arrived.set()
            raise KeyboardInterrupt

    def interrupt() -> None:
        begun.wait(60)
        while not arrived.is_set():
            signal.pthread_kill(main, signal.SIGINT)
            arrived.wait(AGAIN)

    before = signal.signal(signal.SIGINT, once)
    sender = threading.Thread(target=interrupt)
    sender.start()
    try:
        yield
    finally:
        arrived.set()
        begun.set()
        sender.join()
        signal.signal(signal.SIGINT, before)
