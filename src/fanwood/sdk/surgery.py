"""What `fanwood.runs` does to whole subtrees by hand: pausing and resuming them."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from fanwood import checks
from fanwood.engine.signals import block
from fanwood.ids import id_bytes, id_text
from fanwood.sdk.current import current_attempt
from fanwood.sdk.once import once
from fanwood.sdk.waiting import called
from fanwood.store import surgery

if TYPE_CHECKING:
    from fanwood.sdk.host import Host


class Surgery:
    """The methods. Every one has an `aio_` twin."""

    _host: Host

    def pause(self, run_id: str, *, by: str | None = None) -> bool:
        """Pause a run and all below it, however much that is; False if it was paused already. Once this returns nothing
        of it begins, on any worker, until `resume`. What executes goes on; sleeps end, and time limits count.

        Args:
            run_id: which one.
            by: who wants it, for those who look; this process (or the run whose code calls) if it is left out.

        Raises:
            RunNotFoundError: there is no such run.
            UsageError: it is a part of its parent, such as a sleep.
        """
        return block(self._pause(run_id, by), "runs.pause")

    async def aio_pause(self, run_id: str, *, by: str | None = None) -> bool:
        """As `pause`."""
        return await self._pause(run_id, by)

    def resume(self, run_id: str) -> bool:
        """Take back the pause of a run: what waits for that is queued, unless something else pauses it; False if the
        run was not paused itself. Of a large tree a part is queued afterwards, while everything else goes on.

        Raises:
            RunNotFoundError: there is no such run.
        """
        return block(self._resume(run_id), "runs.resume")

    async def aio_resume(self, run_id: str) -> bool:
        """As `resume`."""
        return await self._resume(run_id)

    # --- the one implementation ------------------------------------------------------------------------------------

    async def _pause(self, run_id: str, by: str | None) -> bool:
        id_, who = id_bytes(run_id), caller() if by is None else checks.storable(by, "by", checks.MAX_TEXT_LENGTH)

        async def act(_: object) -> bool:
            return await called(self._host.engine().call(lambda store: surgery.paused(store, id_, who), changes=True))

        return await once("runs.pause", id_text(id_), id_, act)

    async def _resume(self, run_id: str) -> bool:
        id_ = id_bytes(run_id)

        async def act(_: object) -> bool:
            return await called(self._host.engine().call(lambda store: surgery.resumed(store, id_), changes=True))

        return await once("runs.resume", id_text(id_), id_, act)


def caller() -> str:
    """Who acts, if nobody says so."""
    attempt = current_attempt.get()
    if attempt is not None:
        return f"{attempt.spec.name} {id_text(attempt.id)}"
    return f"process {os.getpid()} on {socket.gethostname()}"
