"""What `fanwood.runs` has for forks: new runs that are made from others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fanwood.engine.signals import block
from fanwood.ids import id_bytes
from fanwood.sdk.children.reforking import fork_run
from fanwood.sdk.children.refs import TaskRunRef, untyped_ref
from fanwood.sdk.running.lineage import ForkInfo, lineage_info
from fanwood.sdk.running.waiting import asked

if TYPE_CHECKING:
    from fanwood.sdk.declaring.budget import Budget
    from fanwood.sdk.declaring.host import Host


class Forks:
    """The methods. Every one has an `aio_` twin."""

    _host: Host

    def fork(
        self,
        run_id: str,
        *,
        input: Any = ...,
        at: str | None = None,
        budget: Budget | None = None,
        by: str | None = None,
    ) -> TaskRunRef[Any]:
        """A new run, with a tree of its own, made from one that has ended. Its code is executed; what that one had
        finished is copied when it asks for it, and what had failed is run again. Takes no longer for a large tree.

        Args:
            run_id: the run to make it from.
            input: another input for it; with `at`, for that one.
            at: a run (or a step) below, which is done again, with what was asked for after it: nothing of
                that is copied.
            budget: what the new run, and all below it, may use.
            by: who wants it, for those who look; this process (or the run whose code calls) if it is left out.

        Raises:
            RunNotFoundError: there is no such run.
            UsageError: it has not ended, or has no code of its own; `at` is not below it.
            InputValidationError: that is no input for its task, as far as it is declared here.
        """
        return block(self._fork(run_id, input, at, budget, by), "runs.fork")

    async def aio_fork(
        self,
        run_id: str,
        *,
        input: Any = ...,
        at: str | None = None,
        budget: Budget | None = None,
        by: str | None = None,
    ) -> TaskRunRef[Any]:
        """As `fork`."""
        return await self._fork(run_id, input, at, budget, by)

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

    async def _fork(
        self, run_id: str, given: Any, at: str | None, budget: Budget | None, by: str | None
    ) -> TaskRunRef[Any]:
        made = await fork_run(self._host, id_bytes(run_id), given, at, budget, by)
        return untyped_ref(self._host, made.id, made.task)

    async def _forks(self, run_id: str) -> list[ForkInfo]:
        id_ = id_bytes(run_id)
        await asked(self._host.engine(), lambda store: store.get(id_))
        found = await asked(self._host.engine(), lambda store: store.forks(id_))
        return [lineage_info(each) for each in found]
