"""A standby of a server of ours: what it commits is streamed there, and can be read."""

from __future__ import annotations

from pathlib import Path

from tests.postgres.cluster import USER, Cluster


class Standby(Cluster):
    """Of that server, which runs."""

    def __init__(self, primary: Cluster) -> None:
        super().__init__(primary.settings, binaries=primary.binaries)
        self._primary = primary

    @staticmethod
    def is_possible(primary: Cluster) -> bool:
        """Not every package of a server has the program that copies one."""
        return Path(primary.binaries.path("pg_basebackup")).exists()

    def pause(self) -> None:
        """It gets what is committed, and shows none of it."""
        self.fetch("select pg_wal_replay_pause()")

    def resume(self) -> None:
        self.fetch("select pg_wal_replay_resume()")

    def _make(self) -> None:
        self.shelter.run(
            [
                self.binaries.path("pg_basebackup"), "--host=127.0.0.1", f"--port={self._primary.port}",
                f"--username={USER}", f"--pgdata={self.data}", "--write-recovery-conf", "--wal-method=stream",
                "--checkpoint=fast", "--no-sync",
            ]
        )  # fmt: skip

    def _ready(self, pid: int) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() in ("ready", "standby")
