"""What the engine answers to a request for runs, and what a key that is taken means to who asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.checks import cut
from fanwood.engine.signals import Signal
from fanwood.errors import ChildKeyConflictError, IdempotencyConflictError, UsageError
from fanwood.ids import id_text
from fanwood.sdk.running.attempt import registering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.engine.inbox import SpawnRequest
    from fanwood.engine.waits import Collector
    from fanwood.model.commands import Attached
    from fanwood.sdk.running.attempt import Attempt


class Answer:
    """The engine's answer to one request, and the caller's waiting for it."""

    __slots__ = ("_attempt", "_collector", "_request", "error", "has_keys", "signal", "signal_is_answer", "taken")

    def __init__(self, request: SpawnRequest, collector: Collector | None, attempt: Attempt | None) -> None:
        self.signal = Signal()
        self.signal_is_answer = False
        self.error: BaseException | None = None
        self.has_keys = bool(request.attaches)
        self.taken: dict[bytes, bytes] = {}  # from roots that weren't born to those that hold their keys
        self._request = request
        self._collector = collector
        self._attempt = attempt
        request.on_done = self._done

    @property
    def asked(self) -> list[bytes]:
        """The ids of the runs that it was asked for."""
        return [spawn.id for spawn in self._request.spawns]

    @property
    def numbers(self) -> list[int]:
        """The collector's, of all that it was asked for."""
        request = self._request
        return [*request.spawn_indexes, *request.attach_indexes, *request.record_indexes]

    def _done(
        self, error: BaseException | None, taken: dict[bytes, Attached], found: Sequence[Attached | None]
    ) -> None:
        """On the engine's thread. `taken`: by the ids that were asked for; `found`: for each attach."""
        if self._attempt is not None:
            if error is None:
                self._attempt.committed(self._request.spawns)
            else:
                with registering:
                    self._attempt.forget(self._request.spawns, self._request.numbers)
        self.error = error or self._conflict(found) or self._taken(taken)
        self.signal_is_answer = True
        self._request.on_done = None  # else the two would hold each other, and 500 runs, until somebody looks for that
        self.signal.fire()
        if self.error is not None and self._collector is not None:
            self._collector.refuse(self.error)

    def _conflict(self, found: Sequence[Attached | None]) -> BaseException | None:
        for attach, child in zip(self._request.attaches, found, strict=False):
            if child is not None and not child.matches:
                return ChildKeyConflictError(
                    f"A child key of run {id_text(attach.kind.parent_id or b'')} is taken: it belongs to "
                    f"{_what(child.task, child.input)} (run {id_text(child.id)}), and was given now to "
                    f"{_what(attach.kind.task, attach.instead.input if attach.instead else '')}. "
                    f"Use a key of its own for each child."
                )
        return None

    def _taken(self, found: dict[bytes, Attached]) -> BaseException | None:
        if not found or self._request.parent[0] is not None:
            return None
        for spawn in self._request.spawns:
            holder = found.get(spawn.id)
            if holder is None:
                continue
            if not holder.matches:
                return IdempotencyConflictError(
                    f"The idempotency key {spawn.child_key!r} is taken: it belongs to "
                    f"{_what(holder.task, holder.input)} (run {id_text(holder.id)}), and was given now to "
                    f"{_what(spawn.kind.task, spawn.input)}. Use a key of its own for each thing to be done."
                )
            if self._collector is not None and self._attempt is not None and self._attempt.root == holder.id:
                return UsageError(
                    f"The idempotency key {spawn.child_key!r} is that of run {id_text(holder.id)}, the root of the "
                    f"tree in which it is waited for: it would wait for itself. Give another key, or don't wait."
                )
            self.taken[spawn.id] = holder.id
        return None


def _what(task: str, input_: str) -> str:
    return f"{task} with input {cut(input_, 200)}"
