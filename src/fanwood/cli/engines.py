"""The engines that a store knows of, and which of them live."""

from __future__ import annotations

from dataclasses import dataclass

from fanwood.cli import text
from fanwood.engine.liveness import host_identity, is_dead
from fanwood.model.records import WorkerRecord


@dataclass(frozen=True, slots=True)
class Engine:
    """A worker or client, and whether it lives."""

    record: WorkerRecord
    live: bool
    verdict: str

    @property
    def kind(self) -> str:
        return "worker" if self.record.slots else "client"


def judged(worker: WorkerRecord, now: int) -> Engine:
    """By its process, where that can be seen from here; else by its lease."""
    left = worker.lease_expires_at - now
    if worker.host == host_identity() and is_dead(worker.pid):
        return Engine(worker, False, "its process is gone")
    if left <= 0:
        return Engine(worker, False, f"its lease lapsed {text.took(-left)} ago")
    return Engine(worker, True, f"renewed {text.took(worker.lease - left)} ago")
