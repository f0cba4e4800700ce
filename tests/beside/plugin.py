"""What `make test` does beside the tests: pyright, and worlds, which have the processors when nobody
else wants them, and so fill the time in which tests wait. A plugin of pytest (`-p tests.beside.plugin`).

What it finds ends the tests soon, and is shown with the summary.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

COMMANDS = {
    "types": (sys.executable, "-m", "tests.beside.types", "src", "examples", "benchmarks"),
    "worlds": (sys.executable, "-m", "tests.beside.worlds"),
}
INSTEAD = "test_worlds"
"""A test in `tests/simulation` that does what one of them does."""


LONGEST = 1800.0
"""Seconds, once all tests have ended: only for what hangs."""
PATIENCE = 20.0
"""With what it has started, when it is to end."""


class Beside:
    """One process, from the start of a session to its end. Others beside it: its output is in a file until then."""

    def __init__(self, session: pytest.Session, name: str, command: tuple[str, ...]) -> None:
        self._session = session
        self._name = name
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed with the summary)
        self._process = subprocess.Popen(command, cwd=session.config.rootpath, stdout=self._output, stderr=self._output)

    def pytest_runtest_logreport(self) -> None:
        if self._process.poll():
            self._session.shouldstop = f"{self._name} has found something"

    def pytest_sessionfinish(self) -> None:
        if self._session.exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            self._process.terminate()
        wait_no_more(self._process.pid)
        try:
            failed = self._process.wait(LONGEST) != 0
        except subprocess.TimeoutExpired:
            self._output.seek(0, os.SEEK_END)
            self._output.write(f"It did not end within {LONGEST:g} s after the tests.\n")
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE)
            self._process.kill()
            self._process.wait()
            failed = True
        if failed and not self._session.exitstatus:
            self._session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        self._output.seek(0)
        terminalreporter.section(self._name)
        terminalreporter.write(self._output.read())
        self._output.close()


def wait_no_more(session: int) -> None:
    """All processes of a session have their share from now on: beside another load, what has processors only when
    nobody else wants them would not end. (Where that may not be done, they go on as they are.)"""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another's
            if os.getsid(int(path.name)) != session:
                continue
            (path / "autogroup").write_text("0")
        for thread in path.glob("task/*"):
            with contextlib.suppress(OSError):
                if os.sched_getscheduler(int(thread.name)) == os.SCHED_IDLE:
                    os.sched_setscheduler(int(thread.name), os.SCHED_OTHER, os.sched_param(0))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    done = [item for item in items if item.name == INSTEAD and item.path.parent.name == "simulation"]
    config.hook.pytest_deselected(items=done)
    items[:] = [item for item in items if item not in done]


def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        for name, command in COMMANDS.items():
            session.config.pluginmanager.register(Beside(session, name, command))
