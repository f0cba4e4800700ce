"""What a running task may know and do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

import msgspec

from fanwood import checks
from fanwood.clock import moment
from fanwood.codec import codec_for
from fanwood.durations import in_microseconds
from fanwood.engine.signals import block
from fanwood.errors import NotInTaskError, TaskRunError, UsageError
from fanwood.ids import id_text
from fanwood.model.commands import PROGRESS, LogLine
from fanwood.model.states import FIRST_WAIT
from fanwood.sdk.children import chunks
from fanwood.sdk.children.decisions import GroupKeywords, GroupOptions
from fanwood.sdk.children.groups import Group
from fanwood.sdk.children.refs import TaskRunRef
from fanwood.sdk.recording.spending import Spending
from fanwood.sdk.running.infos import attempt_info
from fanwood.sdk.running.waiting import asked
from fanwood.sdk.waits import sleeping
from fanwood.sdk.waits.outside import Outside
from fanwood.sdk.waits.steps import Call, StepOptions, policy_of, recorded
from fanwood.store.cancelling import cancel
from fanwood.store.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import datetime
    from uuid import UUID

    from fanwood.durations import Duration
    from fanwood.sdk.declaring.step import Step, StepInputs
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.sdk.running.infos import AttemptInfo

T = TypeVar("T")
_EXACT = 2**53  # from here on not every whole number is a float
_LEVELS = {"debug", "info", "warning", "error", "critical"}


class Context(Outside, Spending):
    """Handed to a task beside its input. Belongs to one attempt of one run."""

    __slots__ = ("_attempt", "_step")

    def __init__(self, attempt: Attempt, step: StepInputs | None = None) -> None:
        self._attempt = attempt
        self._step = step

    # --- who am I --------------------------------------------------------------------------------------------------

    @property
    def task_run_id(self) -> str:
        """The id of this run."""
        return id_text(self._attempt.id)

    @property
    def workflow_run_id(self) -> str:
        """The id of the workflow's run; of this run, if it is no workflow's step."""
        if self._step is not None:
            return id_text(bytes.fromhex(self._attempt.run.parent_id))
        return self.task_run_id

    @property
    def workflow_name(self) -> str:
        """The workflow's name; the task's, if it is no workflow's step."""
        return self._step.workflow if self._step is not None else self._attempt.spec.name

    @property
    def task_name(self) -> str:
        """The task's name."""
        return self._attempt.spec.name.rpartition(":")[2]

    @property
    def worker_id(self) -> str:
        """The worker that executes this attempt."""
        return str(self._attempt.worker_id)

    @property
    def parent_workflow_run_id(self) -> str | None:
        """The id of the run that spawned this one; None for a root."""
        parent = self._attempt.run.parent_id
        return id_text(bytes.fromhex(parent)) if parent else None

    @property
    def child_key(self) -> str | None:
        """The key that the parent gave, if it did."""
        return self._attempt.run.child_key

    @property
    def child_index(self) -> int | None:
        """How many children its parent's attempt had spawned before this one; None for a root.

        It is for show: a child is identified by its content or its key, never by its index.
        """
        return self._attempt.run.child_index

    @property
    def depth(self) -> int:
        """How far below the root; a root's is 0."""
        return self._attempt.run.depth

    # --- how am I tried --------------------------------------------------------------------------------------------

    @property
    def retry_count(self) -> int:
        """How many failures have been charged before this attempt."""
        return self._attempt.run.retry_count

    @property
    def attempt_number(self) -> int:
        """How many times the run has been claimed, with this time, but for going on after it was suspended. At least
        `retry_count` + 1."""
        return self._attempt.run.attempt - self._attempt.since + 1 - self._attempt.run.wakes

    @property
    def invocation_count(self) -> int:
        """How many times its code has been begun, with this time: tries, and how often it went on after it had been
        suspended."""
        return self._attempt.run.attempt - self._attempt.since + 1

    @property
    def max_attempts(self) -> int:
        """How many tries the task's policy allows."""
        return self._attempt.spec.policy.retries + 1

    @property
    def priority(self) -> int:
        """The run's priority; higher goes first."""
        return self._attempt.run.priority

    @property
    def additional_metadata(self) -> dict[str, Any]:
        """The run's metadata: its own, and what it inherited."""
        text = self._attempt.run.metadata
        return msgspec.json.decode(text) if text else {}

    @property
    def deadline(self) -> datetime | None:
        """When this attempt must have ended, by its own timeout or an ancestor's."""
        when, _ = self._attempt.deadline
        return moment(when) if when is not None else None

    @property
    def is_cancelled(self) -> bool:
        """Whether this attempt is over: cancelled, timed out, or taken away from a worker that seemed lost."""
        return self._attempt.interruption is not None and not self.is_suspending

    @property
    def is_suspending(self) -> bool:
        """Whether the code of this durable task is being unloaded, to go on later from the top: `finally` blocks run
        then, and nothing has ended."""
        return self._attempt.unloading is not None and self._attempt.unloading.is_suspending

    @property
    def lifespan(self) -> Any:
        """What the worker's lifespan yielded."""
        return self._attempt.lifespan

    def group(self, name: str | None = None, **how: Unpack[GroupKeywords]) -> Group:
        """Children that end together: `async with ctx.group() as g: g.spawn(child, input)`; `with` in sync tasks.
        Leaving the block waits for them, and none of them goes on after it but who was detached. How the group came out
        is recorded, and stands when this run is executed again.

        Args:
            name: tells the group from others of this run. Default: its number, which in branches that run at the same
                time is not sure: give them names.
            how: see `GroupKeywords`.

        Raises:
            UsageError: an option that can't be.
        """
        return Group(self._attempt, GroupOptions.of(name, how))

    # --- what can I do ---------------------------------------------------------------------------------------------

    def log(self, message: object, level: str = "info") -> None:
        """Store a line with the run; `fanwood runs get` shows it. Returns at once. Of an attempt that is
        over, as a thread may say that it left behind, it is left out.

        Raises:
            UsageError: no such level.
        """
        if not isinstance(level, str) or level.lower() not in _LEVELS:  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
            raise checks.refused("level", f"must be one of {', '.join(sorted(_LEVELS))}", level)
        attempt = self._attempt
        if attempt.replay is not None:
            return  # it was said before
        text = str(message).encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
        engine = attempt.host.engine()
        engine.log(LogLine(attempt.id, attempt.run.attempt, engine.store.now(), level.lower(), text))

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Say how far this run is: `fanwood.runs.counts`, `watch` and `fanwood runs get` show what was said last.
        Returns at once, and may be called as often as you like: it is stored about four times a second at most. Of an
        attempt that is over it is left out.

        Raises:
            UsageError: these are no numbers, or the message is no text.
        """
        message = checks.storable(message, "message", checks.MAX_TEXT_LENGTH)
        said = Progress(_number(done, "done"), None if total is None else _number(total, "total"), message)
        attempt = self._attempt
        if attempt.replay is not None:
            return  # it was said before
        engine = attempt.host.engine()
        text = msgspec.json.encode(said).decode()
        engine.note_progress(LogLine(attempt.id, attempt.run.attempt, engine.store.now(), PROGRESS, text))

    def put_stream(self, chunk: str | bytes) -> None:
        """Give out a piece of what this run is making, a model's tokens say: whoever reads `ref.stream()` gets all
        pieces in order, those of a later attempt marked as such. Returns at once, unless more is given out than the
        store takes: a sync task waits then, in an async one use `aio_put_stream`.

        Raises:
            PayloadTooLargeError: it has more than 256 KiB.
            RunInterrupted: this attempt is over.
            StoreBusyError: on an event loop, if the store does not take it within half a second.
        """
        chunks.put(self._attempt, chunk)

    async def aio_put_stream(self, chunk: str | bytes) -> None:
        """As `put_stream`; waits until the store takes it."""
        await chunks.aio_put(self._attempt, chunk)

    def cancel(self) -> None:
        """Cancel this run and its subtree; the task is interrupted at its next await or Fanwood call.

        Raises:
            RunInterrupted: this attempt is over.
        """
        block(self._cancel(), "cancel")

    async def aio_cancel(self) -> None:
        """As `cancel`."""
        await self._cancel()

    async def _cancel(self) -> None:
        attempt = self._attempt
        attempt.check()
        engine, number = attempt.host.engine(), attempt.run.attempt
        await asked(engine, lambda store: cancel(store, attempt.id, "by itself", number), changes=True, by=attempt)

    def refresh_timeout(self, extend_by: Duration) -> None:
        """Move this attempt's execution timeout to `extend_by` from now, and with it the deadlines of children that
        inherited it. An ancestor's deadline stays.

        Raises:
            UsageError: the task has no execution timeout, or that is no duration.
            RunInterrupted: this attempt is over.
        """
        attempt = self._attempt
        attempt.check()
        extension = in_microseconds(checks.seconds(extend_by, "extend_by"))
        if attempt.limit is None:
            raise UsageError(f"{attempt.spec.name} has no execution_timeout that could be moved")
        engine = attempt.host.engine()
        attempt.limit = engine.store.now() + extension
        when, _ = attempt.deadline  # an ancestor's, if that comes sooner
        engine.set_limit(attempt.run.id, attempt.run.attempt, when)
        engine.move_deadline(attempt.id, attempt.run.attempt, attempt.limit)

    def release_slot(self) -> None:
        """Give up this run's slot for good, though it goes on: for tasks that only wait for the outside world.
        Of an attempt that is over there is none."""
        self._attempt.share.free(self._attempt)

    def children(self) -> list[TaskRunRef[Any]]:
        """References to the children that this run has spawned, oldest first."""
        return block(self._children(), "children")

    async def aio_children(self) -> list[TaskRunRef[Any]]:
        """As `children`."""
        return await self._children()

    async def _children(self) -> list[TaskRunRef[Any]]:
        attempt, refs, after = self._attempt, list[TaskRunRef[Any]](), self._attempt.floor
        while True:
            start = after
            engine = attempt.host.engine()
            page = await asked(engine, lambda store: store.children(attempt.id, after=start), by=attempt)  # noqa: B023
            for record in page:
                if record.kind >= FIRST_WAIT:
                    continue
                spec = attempt.host.spec(record.task)
                refs.append(TaskRunRef(attempt.host, record.id, record.task, spec.output if spec else codec_for(Any)))
            if not page:
                return refs
            after = page[-1].id

    def attempts(self) -> list[AttemptInfo]:
        """The attempts before this one: what became of each. (Those that were handed back are not among them.)"""
        return block(self._attempts(), "attempts")

    async def aio_attempts(self) -> list[AttemptInfo]:
        """As `attempts`."""
        return await self._attempts()

    async def _attempts(self) -> list[AttemptInfo]:
        attempt = self._attempt
        if attempt.is_first:
            return []
        found = await asked(attempt.host.engine(), lambda store: store.attempts(attempt.id), by=attempt)
        return [attempt_info(each) for each in found if attempt.since <= each.number < attempt.run.attempt]

    # --- what is kept over whatever happens ------------------------------------------------------------------------

    def step(self, function: Callable[..., T], *args: Any, key: str | None = None, **options: Unpack[StepOptions]) -> T:
        """Call `function(*args)` here and now, once in the life of this run: what it returned is recorded, and given
        back to whatever attempt asks for it again. What it raised is recorded as well, after its retries: a resumed
        attempt finds that, and one that tries again does the step again.

        It is told from others by the function's name and the arguments, or by `key`: in the same attempt equal
        arguments make another step each time, the same key gives what there is.

        Args:
            function: a function; in an async task, `aio_step` takes async ones as well.
            args: what it is called with.
            key: what tells it from this run's other steps. A lambda, a function that uses variables of the one around
                it, and arguments that can't be encoded need one.
            options: `retries`, how often it is called again after an exception, and the pauses between, by
                `backoff_factor` and `backoff_max_seconds`.

        Raises:
            TaskRunError: the function raised something, now or before.
            UsageError: it can't be told apart; an equal one is under way.
            RunInterrupted: this attempt is over.
        """
        return block(recorded(self._call(function, args, key, options, threads=False)), "ctx.step")

    @overload
    async def aio_step(
        self,
        function: Callable[..., Coroutine[Any, Any, T]],
        *args: Any,
        key: str | None = None,
        **options: Unpack[StepOptions],
    ) -> T: ...

    @overload
    async def aio_step(
        self, function: Callable[..., T], *args: Any, key: str | None = None, **options: Unpack[StepOptions]
    ) -> T: ...

    async def aio_step(  # pyright: ignore[reportInconsistentOverload]  # its signature is that of its twin
        self, function: Callable[..., T], *args: Any, key: str | None = None, **options: Unpack[StepOptions]
    ) -> T:
        """As `step`. A function that is not async is called on a thread."""
        return await recorded(self._call(function, args, key, options, threads=True))

    def _call(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        key: str | None,
        options: StepOptions,
        *,
        threads: bool,
    ) -> Call:
        return Call(self._attempt, function, args, {}, key, policy_of(options), threads)

    def sleep_for(self, duration: Duration) -> None:
        """Sleep, by the store's clock, without holding a slot. A later attempt of this run sleeps what is left of it.

        Raises:
            TaskRunCancelled: somebody cancelled the sleep.
            RunInterrupted: this attempt is over.
        """
        block(sleeping.sleep_for(self._attempt, duration), "ctx.sleep_for")

    async def aio_sleep_for(self, duration: Duration) -> None:
        """As `sleep_for`."""
        await sleeping.sleep_for(self._attempt, duration)

    def sleep_until(self, when: datetime) -> None:
        """As `sleep_for`, until a moment, which has a time zone. One that has passed is no sleep."""
        block(sleeping.sleep_until(self._attempt, when), "ctx.sleep_until")

    async def aio_sleep_until(self, when: datetime) -> None:
        """As `sleep_until`."""
        await sleeping.sleep_until(self._attempt, when)

    def now(self, name: str | None = None) -> datetime:
        """The time, in UTC, recorded under this name: every attempt of this run is given the same. Asked for again in
        one attempt it is another one. Without a name only in the run's own asyncio task or thread."""
        return block(sleeping.now(self._attempt, name), "ctx.now")

    async def aio_now(self, name: str | None = None) -> datetime:
        """As `now`."""
        return await sleeping.now(self._attempt, name)

    def random(self, name: str | None = None) -> float:
        """A random number from 0 to below 1: the next under this name, the same in every attempt. Names as `now`."""
        return sleeping.random(self._attempt, name)

    def uuid(self, name: str | None = None) -> UUID:
        """A random UUID: the next one under this name, the same in every attempt of this run. Without one as `now`."""
        return sleeping.uuid_of(self._attempt, name)

    # --- in a workflow's step --------------------------------------------------------------------------------------

    def task_output(self, step: Step[Any, T]) -> T:
        """What a parent step returned.

        Raises:
            NotInTaskError: this is no workflow's step.
            UsageError: that step is not among this one's parents, or was skipped.
        """
        inputs = self._in_step("task_output", step)
        raw = inputs.outputs.get(step.name)
        if raw is None:
            known = ", ".join(sorted(inputs.outputs)) or "none"
            raise UsageError(f"{self.task_name} has no output of {step.name}: its parents with outputs are: {known}")
        return step.spec.output.decode(bytes(raw), f"the output of {step.name}")

    def was_skipped(self, step: Step[Any, Any]) -> bool:
        """Whether a parent step was skipped."""
        inputs = self._in_step("was_skipped", step)
        return step.name in inputs.skipped

    @property
    def task_run_errors(self) -> dict[str, str]:
        """In an on_failure task: the failed steps, and why, in one line each."""
        return dict(self._in_step("task_run_errors").errors)

    def get_task_run_error(self, step: Step[Any, Any]) -> TaskRunError | None:
        """In an on_failure task: why that step failed; None if it didn't."""
        inputs = self._in_step("get_task_run_error", step)
        made_of = inputs.causes.get(step.name)
        return None if made_of is None else TaskRunError(*made_of)

    def _in_step(self, what: str, *steps: object) -> StepInputs:
        if self._step is None:
            raise NotInTaskError(
                f"ctx.{what} needs a workflow's step, and {self._attempt.spec.name} is a task by itself"
            )
        for step in steps:
            if not hasattr(step, "name") or not hasattr(step, "spec"):
                raise checks.refused(f"the step of ctx.{what}", "must be a step of this workflow", step)
        return self._step


def _number(value: float, subject: str) -> int | float:
    number = checks.real(value, subject)
    return round(number) if number.is_integer() and number < _EXACT else number
