"""Worker processes, for what is measured across processes.

`python -m benchmarks.workers` is one: its stdin holds one line, its `Orders` as JSON. It prints `started`, and stops
when its stdin ends: with whoever started it, however that came about.
"""

import subprocess
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

import msgspec

from benchmarks.job import Job
from benchmarks.machine import memory_of
from benchmarks.tasks import declare

STOP_SECONDS = 20


@dataclass(frozen=True)
class Orders:
    """What such a process is told."""

    job: Job
    tasks: tuple[str, ...]  # all, if there are none


class Workers:
    """So many processes that serve these tasks (all, if none is named) of a job, from `with` to its end."""

    def __init__(self, job: Job, *tasks: str, count: int = 1) -> None:
        self._orders = Orders(job, tasks)
        self._count = count
        self._ends = ExitStack()
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        with ExitStack() as started:
            self._processes = [self._start(started) for _ in range(self._count)]
            for process in self._processes:
                self._await(process)
            self._ends = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def kill(self) -> None:
        """By SIGKILL."""
        for process in self._processes:
            process.kill()

    @property
    def memory(self) -> float:
        """What they have now, in MB (10^6 bytes), in sum."""
        return sum(memory_of(process.pid) for process in self._processes)

    def _start(self, started: ExitStack) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "benchmarks.workers"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.callback(_end, process)
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(self._orders) + b"\n")
        process.stdin.flush()
        return process

    @staticmethod
    def _await(process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        said = process.stdout.readline()
        if said.strip() != b"started":
            raise RuntimeError(f"a worker process ended before it had started (exit code {process.wait()})")


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.communicate(timeout=STOP_SECONDS)  # closes its stdin first
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def main() -> None:
    orders = msgspec.json.decode(sys.stdin.readline(), type=Orders)
    with declare(orders.job, local_worker=False) as app:
        worker = app.worker(workflows=[app.find(name) for name in orders.tasks] or None)

        def stop_with_stdin() -> None:
            worker.wait_started()
            print("started", flush=True)
            sys.stdin.read()
            worker.stop()

        threading.Thread(target=stop_with_stdin, daemon=True).start()
        worker.start()


if __name__ == "__main__":
    main()
