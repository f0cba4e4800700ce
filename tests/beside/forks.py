"""
Tests in several processes (`-p tests.beside.forks --forks 4`): they are collected once, and processes that are forked
then take one file after the other. Where each process collects for itself, that takes each of them as long as hundreds
of tests do, and three times as long in a new clone.

Whoever is forked has fixtures of its own, also those of a session. One that ends before its time ends the tests.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import math
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from time import monotonic  # as it is: tests put others in its place
from typing import Any, NoReturn, TextIO

import pytest
import pytest_timeout
from _pytest import fixtures

PATIENCE = 20.0
LINES = 60
SELDOM = 600.0
TOGETHER = {"architecture", "browser"}
COLLECTIONS = (10_000, 20, 100)
"""Of garbage: seldom, since a test makes little of it."""
CHILDREN = Path(__file__).with_name("children")
"""What each Python that tests start reads first."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--forks", type=int, default=0, help="run tests in so many processes, a file at a time")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Nothing that is collected ends before the tests do: to look for garbage in it takes a quarter of the time."""
    if not session.config.getoption("--forks"):
        return (yield)
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    many = session.config.getoption("--forks")
    if not many or session.testsfailed or session.config.option.collectonly:
        return None  # as ever
    files = [list(tests) for _, tests in itertools.groupby(session.items, key=_block)]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(CHILDREN), os.environ.get("PYTHONPATH"))))
    _Loop(session, files).run(many)
    return True


def _block(test: pytest.Item) -> Path:
    """What one process takes: a file; or a folder, if what its tests share is dear, as a browser is, or the
    package, parsed."""
    return test.path.parent if test.path.parent.name in TOGETHER else test.path


@dataclass
class _Fork:
    """As its parent knows it."""

    pid: int
    wire: Connection
    output: TextIO
    at: str = "its beginning"  # which test
    done: bool = False

    def last_words(self) -> str:
        self.output.seek(0)
        return "".join(self.output.readlines()[-LINES:])


class _Loop:
    def __init__(self, session: pytest.Session, files: list[list[pytest.Item]]) -> None:
        self._session = session
        self._hook = session.config.hook
        self._files = files
        self._next = iter(range(len(files)))
        self._forks: list[_Fork] = []

    def run(self, many: int) -> None:
        temporary = self._session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        gc.collect()
        gc.freeze()  # what there is now stays: collections of garbage needn't go through it again and again
        try:
            for number in range(min(many, len(self._files))):
                self._forks.append(self._fork(number, temporary / str(number)))
            while wires := {fork.wire: fork for fork in self._forks if not fork.done}:
                heard = wait(list(wires), timeout=1.0)
                for wire in heard:
                    self._hear(wires[wire])  # type: ignore[index]
                for fork in wires.values() if not heard else ():
                    if _has_ended(fork.pid) and not fork.wire.poll():
                        self._lost(fork)  # a process that it has left behind may hold the wire open
                self._stop_if_asked()
        finally:
            self._end()

    def _fork(self, number: int, temporary: Any) -> _Fork:
        ours, theirs = multiprocessing.Pipe()
        output: Any = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed with the fork's end)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            for wire in (ours, *(fork.wire for fork in self._forks)):
                wire.close()  # so that who is left alone hears of it
            _be_forked(self._session, self._files, theirs, output, temporary)
        theirs.close()
        return _Fork(pid, ours, output)

    def _hear(self, fork: _Fork) -> None:
        try:
            kind, data = fork.wire.recv()
        except (EOFError, OSError):
            self._lost(fork)
        if kind == "next":
            fork.wire.send(next(self._next, None))
        elif kind == "starts":
            fork.at = data
        elif kind == "reports":
            for each in data:
                self._report(self._hook.pytest_report_from_serializable(config=self._session.config, data=each))
        elif kind == "failed":
            self._fail("a process has failed", data)
        else:
            fork.done = True

    def _report(self, report: Any) -> None:
        self._hook.pytest_runtest_logreport(report=report)
        if report.when == "teardown":
            self._hook.pytest_runtest_logfinish(nodeid=report.nodeid, location=report.location)

    def _lost(self, fork: _Fork) -> NoReturn:
        self._fail(f"a process has ended at {fork.at}", fork.last_words())

    def _fail(self, message: str, details: str) -> NoReturn:
        self._session.testsfailed += 1
        self._session.shouldfail = message
        self._session.config.get_terminal_writer().write(f"\n{details}\n")
        raise self._session.Failed(message)

    def _stop_if_asked(self) -> None:
        if self._session.shouldfail:
            raise self._session.Failed(self._session.shouldfail)
        if self._session.shouldstop:
            raise self._session.Interrupted(self._session.shouldstop)

    def _end(self) -> None:
        """Those that aren't done are interrupted, and take down what they have set up."""
        for fork in self._forks:
            if not fork.done:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(fork.pid, signal.SIGINT)
        deadline = time.monotonic() + PATIENCE
        for fork in self._forks:
            while not fork.done and wait([fork.wire], timeout=max(deadline - time.monotonic(), 0)):
                try:
                    fork.done = fork.wire.recv()[0] == "done"
                except (EOFError, OSError):
                    fork.done = True  # it has ended, one way or another
            if not fork.done:
                os.kill(fork.pid, signal.SIGKILL)
            os.waitpid(fork.pid, 0)
            fork.wire.close()
            fork.output.close()


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


# --- in a process that was forked ------------------------------------------------------------------------------------


class _Teller:
    """Says what became of a test when it is over: each message wakes our parent, and somebody waits meanwhile."""

    def __init__(self, config: pytest.Config, wire: Connection) -> None:
        self._config = config
        self._wire = wire
        self._reports: list[Any] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._wire.send(("starts", nodeid))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._reports.append(data)
        if report.when == "teardown":
            self._wire.send(("reports", self._reports))
            self._reports = []


class _Limits:
    """Those of tests' time, which one thread looks after. (pytest-timeout begins a thread for each test, and waits for
    its end: a thirtieth of what a small test takes.)"""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._test: Any = None
        self._until = math.inf
        self._looks = 0.0  # when it does so next
        threading.Thread(target=self._look, name="limits of tests", daemon=True).start()

    def pytest_timeout_set_timer(self, item: pytest.Item, settings: Any) -> bool | None:
        if settings.method != "thread":
            return None
        with self._changed:
            self._test, self._until = (item, settings), monotonic() + settings.timeout
            if self._until < self._looks:
                self._changed.notify()
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_timeout_cancel_timer(self) -> None:
        with self._changed:
            self._until = math.inf

    def _look(self) -> None:
        with self._changed:
            while (left := self._until - monotonic()) > 0:
                left = min(left, SELDOM)
                self._looks = monotonic() + left
                self._changed.wait(left)
        theirs: Any = pytest_timeout
        theirs.timeout_timer(*self._test)


class _Later:
    """Instead of the next test, when there may be one: it needs what belongs to the session, and nothing else."""

    def __init__(self, session: pytest.Session) -> None:
        self._session = session

    def listchain(self) -> list[pytest.Session]:
        return [self._session]


def _be_forked(
    session: pytest.Session, files: list[list[pytest.Item]], wire: Connection, output: TextIO, temporary: Any
) -> NoReturn:
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _set_apart(session.config, output, temporary)
        gc.set_threshold(*COLLECTIONS)
        _spare_signatures()
        session.config.pluginmanager.register(_Teller(session.config, wire))
        if hasattr(session.config.hook, "pytest_timeout_set_timer"):
            session.config.pluginmanager.register(_Limits())
        later: Any = _Later(session)
        try:
            for tests in _assigned(files, wire):
                for test, following in itertools.zip_longest(tests, tests[1:], fillvalue=later):
                    session.config.hook.pytest_runtest_protocol(item=test, nextitem=following)
        finally:
            session._setupstate.teardown_exact(None)
            session.config._ensure_unconfigure()
        wire.send(("done", None))
        code = 0
    except KeyboardInterrupt:
        code = 2
    except BaseException:
        with contextlib.suppress(OSError):
            wire.send(("failed", traceback.format_exc()))
    finally:
        output.flush()
        os._exit(code)


def _spare_signatures() -> None:
    """For each fixture that takes `request` pytest makes a definition of that, and reads the signature of the same
    function: a twentieth of what a small test takes."""
    theirs: Any = fixtures
    read = theirs.getfuncargnames

    def names(function: Any, *, name: str = "", cls: type | None = None) -> tuple[str, ...]:
        if name == "request" and function.__name__ == "<lambda>":
            return ()
        return read(function, name=name, cls=cls)

    theirs.getfuncargnames = names


def _assigned(files: list[list[pytest.Item]], wire: Connection) -> Iterator[list[pytest.Item]]:
    while True:
        wire.send(("next", None))
        number = wire.recv()
        if number is None:
            return
        yield files[number]


def _set_apart(config: pytest.Config, output: TextIO, temporary: Any) -> None:
    """From its parent and those beside it: what it captures, what it prints, where it writes."""
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.stop_global_capturing()
    os.dup2(output.fileno(), 1)  # for what captures nothing, and for the stacks of a test that hangs
    os.dup2(output.fileno(), 2)
    if capture is not None:
        capture.start_global_capturing()
    config.get_terminal_writer()._file = output
    temporary.mkdir(mode=0o700)
    config._tmp_path_factory._basetemp = temporary  # type: ignore[attr-defined]
