"""What `fanwood.runs` has for forks: new runs that are made from others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanwood import checks
from fanwood.codec import codec_for
from fanwood.engine.signals import block
from fanwood.errors import PayloadTooLargeError
from fanwood.ids import id_bytes, id_text
from fanwood.model.naming import part_id
from fanwood.sdk.children.refs import TaskRunRef, untyped_ref
from fanwood.sdk.client.surgery import caller
from fanwood.sdk.recording.once import once
from fanwood.sdk.running.lineage import ForkInfo, lineage_info
from fanwood.sdk.running.waiting import asked
from fanwood.store.forked import forked

if TYPE_CHECKING:
    from fanwood.model.records import RunRecord
    from fanwood.sdk.declaring.host import Host


class Forks:
    """The methods. Every one has an `aio_` twin."""

    _host: Host

    def fork(self, run_id: str, *, input: Any = ..., at: str | None = None, by: str | None = None) -> TaskRunRef[Any]:
        """A new run, with a tree of its own, made from one that has ended. Its code is executed; what that one had
        finished is copied when it asks for it, and what had failed is run again. Takes no longer for a large tree.

        Args:
            run_id: the run to make it from.
            input: another input for it; with `at`, for that one.
            at: a run (or a step) below, which is done again, with what was asked for after it: nothing of
                that is copied.
            by: who wants it, for those who look; this process (or the run whose code calls) if it is left out.

        Raises:
            RunNotFoundError: there is no such run.
            UsageError: it has not ended, or has no code of its own; `at` is not below it.
            InputValidationError: that is no input for its task, as far as it is declared here.
        """
        return block(self._fork(run_id, input, at, by), "runs.fork")

    async def aio_fork(
        self, run_id: str, *, input: Any = ..., at: str | None = None, by: str | None = None
    ) -> TaskRunRef[Any]:
        """As `fork`."""
        return await self._fork(run_id, input, at, by)

    def forks(self, run_id: str) -> list[ForkInfo]:
        """The forks that were made of a run and are there yet, the newest first: a hundred at most.

        Raises:
            RunNotFoundError: there is no such run.
        """
        return block(self._forks(run_id), "runs.forks")

    async def aio_forks(self, run_id: str) -> list[ForkInfo]:
        """As `forks`."""
        return await self._forks(run_id)

    # --- the one implementation ------------------------------------------------------------------------------------

    async def _fork(self, run_id: str, given: Any, at: str | None, by: str | None) -> TaskRunRef[Any]:
        host, id_ = self._host, id_bytes(run_id)
        below = None if at is None else id_bytes(at)
        who = caller() if by is None else checks.storable(by, "by", checks.MAX_TEXT_LENGTH)
        run = await self._record_of(id_)
        place = None if below is None else await self._record_of(below)
        text = None if given is ... else self._input((place or run).task, given)
        await host.prepare([run.task])

        async def act(key: bytes | None) -> str:
            new = host.ids.new_id() if key is None else part_id(key, b"fork")  # (the key is that of what is recorded)
            await asked(host.engine(), lambda store: forked(store, run, new, place, text, who), changes=True)
            return new.hex()

        about = id_ + (below or b"") + (b"" if text is None else text.encode())
        return untyped_ref(host, bytes.fromhex(await once("runs.fork", id_text(id_), about, act)), run.task)

    async def _forks(self, run_id: str) -> list[ForkInfo]:
        id_ = id_bytes(run_id)
        await self._record_of(id_)
        found = await asked(self._host.engine(), lambda store: store.forks(id_))
        return [lineage_info(each) for each in found]

    async def _record_of(self, id_: bytes) -> RunRecord:
        return await asked(self._host.engine(), lambda store: store.get(id_))

    def _input(self, task: str, given: Any) -> str:
        """As it is stored: that of the task, as far as it is known here."""
        spec, limit = self._host.spec(task), self._host.settings.max_payload_bytes
        codec = codec_for(Any) if spec is None else spec.input
        data = codec.encode(given, f"the input of {task}")
        if len(data) > limit:
            raise PayloadTooLargeError(f"the input of {task}", len(data), limit)
        text = data.decode()
        codec.decode(text)
        return text
