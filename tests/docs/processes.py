"""Processes that a test starts, reads and ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Queue

from tests.docs.pages import ROOT

PATIENCE = 180.0


class Process:
    """A process in the tutorial's folder, and what it prints."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.lines: Queue[str | None] = Queue()
        self.seen: list[str] = []
        self._ended = False
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1", "FANWOOD_DATABASE_URL": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def wait_for(self, text: str, times: int = 1) -> None:
        while times:
            line = self.lines.get(timeout=PATIENCE)
            self._ended = line is None
            assert line is not None, f"it ended before it said {text!r}: {self.seen}"
            self.seen.append(line)
            times -= text in line

    def end(self) -> list[str]:
        while not self._ended:
            line = self.lines.get(timeout=PATIENCE)
            self._ended = line is None
            self.seen += [] if line is None else [line]
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return self.seen

    def kill(self, number: int = signal.SIGKILL) -> None:
        self._process.send_signal(number)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None


Start = Callable[..., Process]
