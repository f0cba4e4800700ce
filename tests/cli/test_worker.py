from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from queue import Queue
from types import TracebackType
from typing import Self

import pytest

from fanwood import Fanwood


class Program:
    """A command that goes on, and what it says on stderr. Stopped in the end, and so are those below it."""

    def __init__(self, here: Path, *args: str) -> None:
        command = [sys.executable, "-m", "fanwood", *args]
        self.process = subprocess.Popen(command, cwd=here, stderr=subprocess.PIPE, text=True, start_new_session=True)
        self._lines: Queue[str] = Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(line)
        self._lines.put("")

    def says(self, pattern: str) -> re.Match[str]:
        while line := self._lines.get(timeout=60):
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"it ended without saying {pattern!r}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._reader.join(60)
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.process.wait()


@pytest.fixture
def client(here: Path, make_app) -> Fanwood:
    return make_app(local_worker=False)


def _square(client: Fanwood):
    @client.task
    async def square(input: dict[str, int]) -> int:
        raise AssertionError("the worker has the code")

    return square


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_works_until_a_signal(here: Path, client: Fanwood, number):
    with Program(here, "worker", "shop:fanwood", "--slots", "3", "--threads", "9") as worker:
        assert "square" in worker.says(r"serves (.*), 3 at a time, from sqlite:///").group(1)
        assert _square(client).run({"n": 4}, timeout=60) == 16
        assert worker.stop(number) == 0


def test_json_log(here: Path, invoke):
    with Program(here, "worker", "shop", "--json") as worker:
        line = json.loads(worker.says(r"^\{.*serves.*\}$").group(0))
        assert set(line) == {"at", "level", "logger", "message", "run_id", "root_id", "attempt", "task"}
        assert worker.stop() == 0


def _pids(invoke) -> set[int]:
    engines = json.loads(invoke("doctor", "--json").stdout)["engines"]
    return {engine["pid"] for engine in engines if engine["kind"] == "worker" and engine["live"]}


def test_processes_are_replaced_and_stopped(here: Path, client: Fanwood, invoke):
    with Program(here, "worker", "shop:fanwood", "--processes", "2") as supervisor:
        first = {int(supervisor.says(r"fanwood.worker: worker \S+-(\d+) serves").group(1)) for _ in range(2)}
        assert _pids(invoke) == first
        victim = min(first)
        os.kill(victim, signal.SIGKILL)
        supervisor.says("a worker process was ended by SIGKILL; another one starts in 0.2 s")
        third = int(supervisor.says(r"fanwood.worker: worker \S+-(\d+) serves").group(1))
        assert third not in first
        assert _square(client).run({"n": 5}, timeout=60) == 25
        assert supervisor.stop(signal.SIGINT) == 0
    assert _pids(invoke) == set()


def test_workers_stop_when_their_supervisor_is_killed(here: Path, invoke):
    with Program(here, "worker", "shop:fanwood", "--processes", "2") as supervisor:
        for _ in range(2):
            supervisor.says("fanwood.worker: worker .* serves")
        supervisor.stop(signal.SIGKILL)
        for _ in range(2):
            supervisor.says("fanwood.worker: worker .* has stopped")


@pytest.mark.long
def test_reload(here: Path):
    with Program(here, "worker", "shop:fanwood", "--reload") as supervisor:
        supervisor.says("serves 5 task")
        source = (here / "shop.py").read_text(encoding="utf-8")
        (here / "shop.py").write_text(source + "\n@fanwood.task\ndef sixth() -> None: ...\n", encoding="utf-8")
        supervisor.says("shop.py changed: starting anew")
        supervisor.says("serves 6 task")
        (here / "shop.py").write_text("def (:", encoding="utf-8")
        supervisor.says("Waiting for a change")
        (here / "shop.py").write_text(source, encoding="utf-8")
        supervisor.says("serves 5 task")
        assert supervisor.stop() == 0


def test_what_is_wrong_is_said_once(program):
    result = program("worker", "shap:fanwood", "--processes", "3")
    assert result.returncode == 2
    assert result.stderr.count("There is no module named 'shap'") == 1


def test_interrupted_client(here: Path, client: Fanwood, monkeypatch: pytest.MonkeyPatch):
    """Ctrl-C while waiting: 130, and no traceback."""
    monkeypatch.setenv("FANWOOD_GRACE", "0.2")  # if it executes by then, it never ends by itself
    with Program(here, "run", "endless", "--app", "shop:fanwood") as run:
        run.says("^run ")
        assert run.stop(signal.SIGINT) == 130
        run.says("Not waited for any more; the run goes on where there is a worker")
