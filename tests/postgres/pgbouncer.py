"""A pgbouncer in front of a cluster: in transaction mode, and as strict as an old one, without prepared statements."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from typing import Self

from tests.postgres.cluster import LOOK, USER, Cluster
from tests.postgres.shelter import PATIENCE, ServerError, Shelter, free_port, which

PREPARES_SINCE = (1, 21)  # there, on unless it is turned off; before, it doesn't even know the setting


def found() -> str | None:
    """Where its program is, if it is there."""
    return which("pgbouncer")


class Pgbouncer:
    def __init__(self, cluster: Cluster, settings: Mapping[str, object] | None = None) -> None:
        program = found()
        if program is None:
            raise ServerError("pgbouncer isn't installed. On Debian and Ubuntu: apt install pgbouncer")
        self._program = program
        self._cluster = cluster
        self.settings = {"pool_mode": "transaction", "default_pool_size": 5, "max_client_conn": 200, **(settings or {})}
        if _version(program) >= PREPARES_SINCE:
            self.settings.setdefault("max_prepared_statements", 0)
        self.port = free_port()
        self._shelter = Shelter("pgbouncer")
        self._log = self._shelter.folder / "pgbouncer.log"
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def url(self, database: str = "postgres", user: str = USER) -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def start(self) -> Self:
        """Returns when it takes connections."""
        self._configure()
        configuration = str(self._shelter.folder / "pgbouncer.ini")
        server = self._server = self._shelter.start([self._program, configuration], self._log)
        deadline = time.monotonic() + PATIENCE
        while not self._listens():
            if server.poll() is not None or time.monotonic() > deadline:
                raise ServerError(f"pgbouncer did not start:\n{self.log}")
            time.sleep(LOOK)
        return self

    def stop(self) -> None:
        """At once, with all its connections."""
        assert self._server is not None, "it isn't started"
        self._server.send_signal(signal.SIGTERM)
        self._shelter.ended(self._server)
        self._server = None

    def close(self) -> None:
        if self._server is not None and self._server.poll() is None:
            self.stop()  # what the shelter would send makes some versions wait for their clients
        self._shelter.close()
        self._server = None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def _configure(self) -> None:
        users = self._shelter.folder / "users.txt"
        users.write_text(f'"{USER}" ""\n')
        ours = {"listen_addr": "127.0.0.1", "listen_port": self.port, "auth_type": "trust", "auth_file": users}
        lines = [
            "[databases]",
            f"* = host=127.0.0.1 port={self._cluster.port}",
            "[pgbouncer]",
            *(f"{name} = {value}" for name, value in {**self.settings, **ours}.items()),
        ]
        (self._shelter.folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n")

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE).close()
        except ConnectionRefusedError:
            return False
        return True


def _version(program: str) -> tuple[int, ...]:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    numbers = re.search(r"(\d+)\.(\d+)", said)
    assert numbers is not None, f"{program} --version says {said!r}"
    return tuple(int(number) for number in numbers.groups())
