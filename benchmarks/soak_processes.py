"""`fanwood worker` processes, for a soak and the like, and what a process of this machine takes."""

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from benchmarks.runner import CHECKOUT, environment
from fanwood import Settings

SOAK = "benchmarks.soak_tasks:fanwood"
STOP_SECONDS = 20
TAIL = 10  # lines of a log


class WorkerDiedError(Exception):
    """A worker process ended by itself, or never began."""


class Workers:
    """So many `fanwood worker`s, as anybody starts them, from `with` to its end. Also if this process is killed."""

    def __init__(
        self,
        settings: Settings,
        count: int,
        folder: Path,
        *,
        app: str = SOAK,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._app = app
        self.logs = [folder / f"worker-{number}.log" for number in range(1, count + 1)]
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ends = ExitStack()
        self._environment = {
            **environment(),
            "FANWOOD_DATABASE_URL": settings.database_url,
            "FANWOOD_POSTGRES_SCHEMA": settings.postgres_schema,
            "FANWOOD_RETENTION_DAYS": str(settings.retention_days),
            "FANWOOD_SLOTS": str(settings.slots),
            **(variables or {}),
        }

    def __enter__(self) -> Self:
        with ExitStack() as started:
            for log in self.logs:
                self._processes.append(self._start(started, log))
            self._ends = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def check(self) -> None:
        """
        Raises:
            WorkerDiedError: one has ended.
        """
        for process, log in zip(self._processes, self.logs, strict=True):
            if process.poll() is not None:
                last = "\n".join(log.read_text(errors="replace").splitlines()[-TAIL:])
                raise WorkerDiedError(f"a worker process ended by itself (exit code {process.returncode}):\n{last}")

    def complaints(self) -> list[str]:
        """What they logged as warnings or errors, the last lines."""
        lines = [line for log in self.logs for line in log.read_text(errors="replace").splitlines()]
        return [line for line in lines if " WARNING " in line or " ERROR " in line][-TAIL:]

    def _start(self, started: ExitStack, log: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "fanwood", "worker", self._app, "--supervised"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=CHECKOUT,
                env=self._environment,
                start_new_session=True,  # a Ctrl-C is for us only, who end them in order
            )
        started.callback(_end, process)
        return process


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.communicate(timeout=STOP_SECONDS)  # closes its stdin first
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


# --- what processes take ---------------------------------------------------------------------------------------------


def memory(pid: int, line: str = "VmRSS") -> float | None:
    """In MB (10^6 bytes); None where the system doesn't tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    found = next((text for text in status.splitlines() if text.startswith(f"{line}:")), None)
    return None if found is None else int(found.split()[1]) * 1024 / 1e6


def cpu_seconds(pid: int) -> float:
    """Of its life so far; 0 where the system doesn't tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class CpuMeter:
    """Seconds of processor time that some processes have taken since the last look."""

    def __init__(self) -> None:
        self._before: dict[int, float] = {}

    def spent(self, pids: Iterable[int]) -> float:
        now = {pid: cpu_seconds(pid) for pid in pids}
        spent = sum(seconds - self._before.get(pid, seconds) for pid, seconds in now.items())
        self._before = now
        return spent


def is_postgres(pid: int) -> bool:
    """Whether this process of this machine is one of a PostgreSQL server: its server might be elsewhere."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "postgres"
    except OSError:
        return False
