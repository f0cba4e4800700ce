"""A temporary folder, and servers that run in it: as another user when we are root, and never longer than we do."""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

WATCHDOG = Path(__file__).with_name("watchdog.py")
PATIENCE = 180.0


class ServerError(RuntimeError):
    """A server that can't be started, stopped or asked."""


class Shelter:
    """Everything in it ends with close(), at the latest when this process ends, even by `kill -9`."""

    def __init__(self, name: str, below: Path | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"fanwood-{name}-", dir=below))
        self._account = _unprivileged() if os.geteuid() == 0 else None
        self._user = self._account.pw_uid if self._account else None
        self._group = self._account.pw_gid if self._account else None
        self._groups = [] if self._account else None
        if self._account:
            os.chown(self.folder, self._account.pw_uid, self._account.pw_gid)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._closed = False
        self._home = os.getpid()
        self._watchdog = subprocess.Popen(
            [sys.executable, "-I", "-S", WATCHDOG, self.folder], stdin=subprocess.PIPE, start_new_session=True
        )
        atexit.register(self.close)

    def start(self, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """Start a server. In a session of its own, so that a Ctrl-C is for us only, who end it in order."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                self._runnable(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env=self._environment,
                start_new_session=True,
                user=self._user,
                group=self._group,
                extra_groups=self._groups,
            )
        self._processes.append(process)
        self._tell(f"+{process.pid}")
        return process

    def ended(self, process: subprocess.Popen[bytes], timeout: float = PATIENCE) -> None:
        """Wait until it has ended, as it was told to."""
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ServerError(f"{process.args} did not end within {timeout:g} s.") from None
        self._processes.remove(process)
        self._tell(f"-{process.pid}")

    def run(self, command: Sequence[str], input: bytes = b"") -> bytes:
        """Run a program to its end; its output."""
        done = subprocess.run(
            self._runnable(command),
            input=input,
            capture_output=True,
            cwd=self.folder,
            env=self._environment,
            check=False,
            timeout=PATIENCE,
            user=self._user,
            group=self._group,
            extra_groups=self._groups,
        )
        if done.returncode:
            said = (done.stdout + done.stderr).decode(errors="replace")
            raise ServerError(f"{' '.join(command)} failed ({done.returncode}):\n{said}")
        return done.stdout

    def close(self) -> None:
        if self._closed or os.getpid() != self._home:  # a fork of us, which ends before we do
            return
        self._closed = True
        atexit.unregister(self.close)
        for process in tuple(self._processes):
            for number in (signal.SIGCONT, signal.SIGQUIT):
                process.send_signal(number)
            with contextlib.suppress(ServerError):
                self.ended(process, 15)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._watchdog.communicate(timeout=PATIENCE)
        self._watchdog.wait(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- who runs it, and with what -----------------------------------------------------------------------------------

    @property
    def account(self) -> str:
        """Another user's name; empty: ours."""
        return self._account.pw_name if self._account else ""

    @property
    def _environment(self) -> dict[str, str]:
        """Nothing of ours: PGDATA, PGPORT and a language of messages would be somebody else's."""
        return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.folder), "LC_ALL": "C", "TZ": "UTC"}

    def _runnable(self, command: Sequence[str]) -> Sequence[str]:
        """Refuse what the other user can't reach, before it fails with an error that doesn't say so."""
        if self._account is None:
            return command
        test = ("test", "-x", command[0])
        probe = subprocess.run(test, check=False, user=self._user, group=self._group, extra_groups=self._groups)
        if probe.returncode:
            raise ServerError(
                f"As root, tests run servers as the user {self._account.pw_name}, who may not execute {command[0]}. "
                "Move it, or this project, to a folder that everybody may read; or run the tests as another user."
            )
        return command

    def _tell(self, line: str) -> None:
        assert self._watchdog.stdin is not None
        self._watchdog.stdin.write(f"{line}\n".encode())
        self._watchdog.stdin.flush()


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise ServerError(
        "PostgreSQL refuses to run as root, and this machine has neither a user postgres nor a user nobody to run it "
        "as. Add one (useradd --system postgres), or run the tests as another user than root."
    )


def free_port() -> int:
    """
    A port of 127.0.0.1 that nobody listens on, and that no outgoing connection is given: a client that tries again
    and again while its server is down would sooner or later be connected to itself, and keep the server out.
    """
    first_outgoing = _first_outgoing_port()
    lowest = 10_000
    for _attempt in range(100 if first_outgoing > lowest else 0):
        port = random.randrange(lowest, first_outgoing)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    with socket.socket() as probe:  # all of them are given to outgoing connections
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _first_outgoing_port() -> int:
    with contextlib.suppress(OSError):
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    return 49_152  # as registered, and as macOS has it


def children(pid: int) -> list[int]:
    """The processes that a process has started, and that are still there."""
    stats = [_stat(path) for path in Path("/proc").glob("[0-9]*/stat")]
    if not stats:  # no Linux
        found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
        return [int(line) for line in found.split()]
    return [child for child, parent in stats if parent == pid]


def _stat(path: Path) -> tuple[int, int]:
    """A process, and its parent; the name between them may hold anything."""
    with contextlib.suppress(OSError):
        return int(path.parent.name), int(path.read_text(errors="replace").rpartition(")")[2].split()[1])
    return 0, 0


def which(program: str) -> str | None:
    """On the PATH, or where servers are, which isn't on everybody's."""
    return shutil.which(program) or shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin:/opt/homebrew/bin")
