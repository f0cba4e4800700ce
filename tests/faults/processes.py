"""Processes of the application beside this file, one database, and what can be read from it.

Every process is reaped and its pipes are closed, whatever a test does; a process that hangs is killed after a while.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import apsw

from fanwood import Context, Fanwood
from fanwood.model.states import RunState
from tests.faults import forking

PROGRAM = (sys.executable, "-u", str(Path(__file__).with_name("app.py")))
SOURCE = Path(__file__).parents[2] / "src"
PATIENCE = 180.0


class AppProcess:
    """One process. Its stdout comes line by line, its stderr goes to a file."""

    def __init__(
        self, arguments: list[str], environment: dict[str, str], log: Path, program: tuple[str, ...] = PROGRAM
    ) -> None:
        self.log_path = log
        with log.open("wb") as stderr:
            self.popen = self._started([*program, *arguments], environment, stderr.fileno())
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _started(self, command: list[str], environment: dict[str, str], stderr: int) -> subprocess.Popen[str]:
        if command[:2] == [sys.executable, "-u"] and not command[2].startswith("-"):
            forked = forking.start(command[2:], environment, stderr)
            if forked is not None:
                return forked
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=stderr, text=True)

    def _read(self) -> None:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def line(self, timeout: float = PATIENCE) -> str:
        """The next line of its stdout."""
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise AssertionError(f"it printed nothing for {timeout:g} s; its log:\n{self.log}") from None
        assert line is not None, f"it ended; its log:\n{self.log}"
        return line

    def rest(self) -> list[str]:
        """All lines that it has printed and that nobody has read, of one that has ended."""
        return list(iter(lambda: self._lines.get(timeout=PATIENCE), None))

    def expect(self, text: str) -> AppProcess:
        found = self.line()
        assert found == text, f"{found!r} instead of {text!r}; its log:\n{self.log}"
        return self

    def say(self, text: str = "") -> None:
        assert self.popen.stdin is not None
        try:
            self.popen.stdin.write(text + "\n")
            self.popen.stdin.flush()
        except BrokenPipeError:
            raise AssertionError(f"it ended; its log:\n{self.log}") from None

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def freeze(self) -> None:
        """SIGSTOP; returns when it stands still, which on a busy machine it doesn't at once."""
        self.signal(signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)

    def kill(self, *, reap: bool = True) -> None:
        """`kill -9`; unless reaped, it is a zombie from then on."""
        self.signal(signal.SIGKILL)
        if reap:
            self.popen.wait(PATIENCE)

    def wait(self, timeout: float = PATIENCE) -> int:
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end within {timeout:g} s; its log:\n{self.log}") from None

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    def dispose(self) -> None:
        if self.alive:
            self.popen.send_signal(signal.SIGCONT)
            self.popen.kill()
        self.popen.wait(PATIENCE)
        self._reader.join(PATIENCE)
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


@dataclass(frozen=True)
class JournalLine:
    event: str
    run: str
    attempt: int
    pid: int
    about: Any


class Site:
    """A database, the processes that share it, and a client in this process."""

    def __init__(self, folder: Path, database: Path | None = None) -> None:
        self.folder = folder
        self.database = database or folder / "fanwood.db"
        self.url = f"sqlite:///{self.database}"
        self.journal_path = folder / "journal"
        self.journal_path.touch()
        self._processes: list[AppProcess] = []
        self._client: Fanwood | None = None
        self.client_settings: dict[str, Any] = {}  # beside those of a client; before it is first asked for
        self._reader: apsw.Connection | None = None

    # --- processes -------------------------------------------------------------------------------------------------

    def process(self, *arguments: str, **settings: object) -> AppProcess:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FANWOOD_")},
            "PYTHONPATH": str(SOURCE),
            "FANWOOD_DATABASE_URL": self.url,
            "FAULTS_JOURNAL": str(self.journal_path),
            **{f"FANWOOD_{name.upper()}": str(value) for name, value in settings.items()},
        }
        process = AppProcess(list(arguments), environment, self.folder / f"process-{len(self._processes)}.log")
        self._processes.append(process)
        return process

    def worker(self, *tasks: str, **settings: object) -> AppProcess:
        """A worker that has started."""
        return self.process("worker", *tasks, **settings).expect("started")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.dispose()
        if self._client is not None:
            self._client.close()
        if self._reader is not None:
            self._reader.close()

    # --- the client ------------------------------------------------------------------------------------------------

    @property
    def client(self) -> Fanwood:
        if self._client is None:
            self._client = Fanwood(self.url, local_worker=False, **self.client_settings)
            for name in ("parent", "child", "sync_child", "one_after_another", "patient", "whoami", "killer",
                         "bystander", "blocks_its_loop"):  # fmt: skip
                self._client.task(name=name)(_elsewhere)
        return self._client

    def spawn(self, task: str, **input_: object) -> Any:
        return self.client.find(task).run_no_wait(input_)

    # --- what was recorded -----------------------------------------------------------------------------------------

    def rows(self, query: str, *bindings: object) -> list[Any]:
        """By a connection of this process' one SQLite: two libraries would undo each other's locks."""
        if self._reader is None:
            self._reader = apsw.Connection(str(self.database), flags=apsw.SQLITE_OPEN_READONLY)
            self._reader.set_busy_timeout(60_000)
        return self._reader.execute(query, bindings).fetchall()

    def freeze(self, process: AppProcess) -> None:
        """Stop a process, but not in the middle of a commit: then it holds the file's lock, and nobody can go on."""
        while True:
            process.freeze()
            try:
                self._take_the_lock()
            except apsw.BusyError:
                process.signal(signal.SIGCONT)
            else:
                return

    def _take_the_lock(self) -> None:
        connection = apsw.Connection(str(self.database))
        try:
            connection.set_busy_timeout(200)
            connection.execute("begin immediate; rollback")
        finally:
            connection.close()

    def count(self, query: str, *bindings: object) -> int:
        return self.rows(query, *bindings)[0][0]

    def in_state(self, state: RunState, task: str = "child") -> int:
        return self.count("select count(*) from run where task = ? and state = ?", task, int(state))

    def completed(self) -> dict[str, int]:
        """From id to the attempt with which it was completed."""
        return {id_.hex(): n for id_, n in self.rows("select id, attempt from run where state = 8")}

    def worker_of(self, task: str) -> int:
        """The pid of the worker that holds the one run of `task`."""
        return self.count("select w.pid from run r join worker w on w.id = r.worker_id where r.task = ?", task)

    def journal(self, event: str | None = None) -> list[JournalLine]:
        lines = [JournalLine(*json.loads(line)) for line in self.journal_path.read_text().splitlines()]
        return [line for line in lines if event in (None, line.event)]

    def check_tidy(self) -> None:
        """Everything has ended, and nothing is left behind."""
        assert self.rows("select task, state, count(*) from run where state < 8 group by 1, 2") == []
        assert self.rows("select * from watch") == []
        assert self.rows("select * from mail where worker_id not in (select id from worker)") == []
        twins = "select parent_id, identity from run where parent_id is not null group by 1, 2 having count(*) > 1"
        assert self.rows(twins) == []
        assert self.rows("pragma integrity_check") == [("ok",)]

    def check_never_again(self, completed: dict[str, int]) -> None:
        """No run began again that had been completed."""
        again = [line for line in self.journal() if line.attempt > completed.get(line.run.replace("-", ""), 1 << 30)]
        assert again == []


def _elsewhere(input: dict, ctx: Context) -> Any:
    raise AssertionError("it is to be executed by another process")


def until(condition: Callable[[], object], what: str, timeout: float = PATIENCE) -> float:
    """Look until something is true; how many seconds that took. What takes long is looked for less often: to look keeps
    those busy that are waited for."""
    begin = time.monotonic()
    while not condition():
        waited = time.monotonic() - begin
        assert waited < timeout, f"not within {timeout:g} s: {what}"
        time.sleep(min(max(0.005, waited / 20), 0.1))
    return time.monotonic() - begin
