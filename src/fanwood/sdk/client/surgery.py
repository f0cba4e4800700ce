"""What `fanwood.runs` does to whole subtrees by hand: pausing and resuming them, other priorities, results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanwood import checks
from fanwood.codec import codec_for
from fanwood.engine.signals import block
from fanwood.errors import PayloadTooLargeError
from fanwood.ids import id_bytes, id_text
from fanwood.model.states import RunState
from fanwood.sdk.recording.once import once
from fanwood.sdk.running.acting import who_acts
from fanwood.sdk.running.waiting import asked
from fanwood.store import surgery
from fanwood.store.retrying import failures_retried

if TYPE_CHECKING:
    from fanwood.sdk.declaring.host import Host


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

    def retry_failures(self, run_id: str, *, by: str | None = None) -> int:
        """Run again what failed of a run that has ended and all below it, also where what is above it has completed all
        the same; how many runs had failed. What is above them runs again, finds all that completed as it was, and asks
        for the others once more. With nothing that failed nothing is done.

        Args:
            run_id: which one.
            by: who wants it; this process (or the run whose code calls) if it is left out.

        Raises:
            RunNotFoundError: there is no such run.
            UsageError: it has not ended, or it is a part of its parent, such as a sleep.
        """
        return block(self._retry_failures(run_id, by), "runs.retry_failures")

    async def aio_retry_failures(self, run_id: str, *, by: str | None = None) -> int:
        """As `retry_failures`."""
        return await self._retry_failures(run_id, by)

    def reprioritize(self, run_id: str, priority: int, *, by: str | None = None) -> int:
        """Give a run, and all below it, another priority; which one the run had. Also what is spawned below later has
        it, whatever its task or its caller says. Of several such calls above a run the last one counts. Of a large tree
        a part hears of it afterwards, while everything else goes on. A line in its log keeps who did it.

        Args:
            run_id: which one.
            priority: higher goes first.
            by: who wants it; this process (or the run whose code calls) if it is left out.

        Raises:
            RunNotFoundError: there is no such run.
            UsageError: it is a part of its parent, such as a sleep; or that is no priority.
        """
        return block(self._reprioritize(run_id, priority, by), "runs.reprioritize")

    async def aio_reprioritize(self, run_id: str, priority: int, *, by: str | None = None) -> int:
        """As `reprioritize`."""
        return await self._reprioritize(run_id, priority, by)

    def patch(self, run_id: str, *, output: Any, by: str | None = None) -> RunState:
        """Give a run an output by hand; in which state it was. One that has not ended ends with it: its code is told,
        and all below it is cancelled. One that failed or was cancelled has completed. One that has completed gets
        another output, if its parent has ended. A line in its log keeps who did it, and what was there before.

        Args:
            run_id: which one.
            output: what it is to have returned. Where its task is declared here, it must be of the type that that
                returns.
            by: who wants it; this process (or the run whose code calls) if it is left out.

        Raises:
            RunNotFoundError: there is no such run.
            UsageError: it is a part of its parent, such as a sleep; or it has completed, and its parent has not ended.
            InputValidationError: the output is not of that type.
        """
        return block(self._patch(run_id, output, by), "runs.patch")

    async def aio_patch(self, run_id: str, *, output: Any, by: str | None = None) -> RunState:
        """As `patch`."""
        return await self._patch(run_id, output, by)

    # --- the one implementation ------------------------------------------------------------------------------------

    async def _pause(self, run_id: str, by: str | None) -> bool:
        id_, who = id_bytes(run_id), who_acts(by)

        async def act(_: object) -> bool:
            return await asked(self._host.engine(), lambda store: surgery.paused(store, id_, who), changes=True)

        return await once("runs.pause", id_text(id_), id_, act)

    async def _resume(self, run_id: str) -> bool:
        id_, engine = id_bytes(run_id), self._host.engine()

        async def act(_: object) -> bool:
            return await asked(engine, lambda store: surgery.resumed(store, id_, engine.look), changes=True)

        return await once("runs.resume", id_text(id_), id_, act)

    async def _retry_failures(self, run_id: str, by: str | None) -> int:
        id_, who, host = id_bytes(run_id), who_acts(by), self._host
        record = await asked(host.engine(), lambda store: store.get(id_))
        await host.prepare((record.task,))

        async def act(_: object) -> int:
            return await asked(host.engine(), lambda store: failures_retried(store, id_, who), changes=True)

        return await once("runs.retry_failures", id_text(id_), id_, act)

    async def _reprioritize(self, run_id: str, priority: int, by: str | None) -> int:
        id_, who = id_bytes(run_id), who_acts(by)
        priority = checks.whole(priority, "priority")

        async def act(_: object) -> int:
            engine = self._host.engine()
            return await asked(engine, lambda store: surgery.reprioritized(store, id_, priority, who), changes=True)

        return await once("runs.reprioritize", id_text(id_), id_ + str(priority).encode(), act)

    async def _patch(self, run_id: str, output: Any, by: str | None) -> RunState:
        id_, who = id_bytes(run_id), who_acts(by)
        record = await asked(self._host.engine(), lambda store: store.get(id_))
        text = self._typed(record.task, output)

        async def act(_: object) -> int:
            engine = self._host.engine()
            return int(await asked(engine, lambda store: surgery.patched(store, id_, text, who), changes=True))

        return RunState(await once("runs.patch", id_text(id_), id_ + text.encode(), act))

    def _typed(self, task: str, output: Any) -> str:
        """An output as it is stored: that of the task, as far as it is known here."""
        spec, limit = self._host.spec(task), self._host.settings.max_payload_bytes
        codec = codec_for(Any) if spec is None else spec.output
        data = codec.encode(output, f"the output of {task}", "output")
        if len(data) > limit:
            raise PayloadTooLargeError(f"the output of {task}", len(data), limit)
        text = data.decode()
        codec.decode(text)
        return text
