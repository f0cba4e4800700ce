"""What a running task may wait for that comes from outside: the part of its context that is about that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from fanwood.engine.signals import block
from fanwood.sdk.declaring.options import NOT_GIVEN
from fanwood.sdk.recording.renewing import start_over
from fanwood.sdk.recording.replaying import version_of
from fanwood.sdk.recording.versions import version_at
from fanwood.sdk.waits.conditions import wait_for_all
from fanwood.sdk.waits.events import wait_for_event
from fanwood.sdk.waits.messages import Messages, receive
from fanwood.sdk.waits.promises import aio_promised, promised
from fanwood.sdk.waits.publishing import publish

if TYPE_CHECKING:
    from fanwood.durations import Duration
    from fanwood.sdk.declaring.step import StepInputs
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.sdk.waits.conditions import Condition, OrGroup, WaitResult
    from fanwood.sdk.waits.messages import Message
    from fanwood.sdk.waits.promises import Promise

T = TypeVar("T")


class Outside:
    """Methods of `Context`."""

    __slots__ = ()

    _attempt: Attempt
    _step: StepInputs | None

    def promise(self, type_: type[T], name: str, *, timeout: Duration | None = None) -> Promise[T]:
        """A value that somebody else will say, who is given `promise.token`: by `fanwood.promises.resolve`, on the
        command line, or over HTTP. `await promise`, or `promise.result()`, waits for it. A later attempt that asks for
        it by this name has the same promise, with the same token. It ends with the run.

        Args:
            type_: the value's type; what is not of it is refused.
            name: what it is about. Asked for again in one attempt it is another one.
            timeout: after so long it fails.
        """
        return promised(self._attempt, type_, name, timeout)

    async def aio_promise(self, type_: type[T], name: str, *, timeout: Duration | None = None) -> Promise[T]:
        """As `promise`. It is recorded when this returns; an async task may use `promise` as well, which returns at
        once."""
        return await aio_promised(self._attempt, type_, name, timeout)

    def wait_for_event(
        self,
        key: str,
        expression: str | None = None,
        *,
        match: dict[str, Any] | None = None,
        payload_validator: Any = None,
        scope: str | None = None,
        lookback_window: Duration | None = None,
        timeout: Duration | None = None,
    ) -> Any:
        """Wait, without a slot, for an event that is pushed from now on (`fanwood.events.push`). A later attempt of
        this run waits on, or finds what came. It ends with the run.

        Args:
            key: that of the event.
            expression: in CEL, of `input` (the payload), `metadata`, `key` and `scope`: whether this is the event.
            match: values that the payload must have, by their paths: `{"order.id": 7}`. Needs nothing installed, and is
                quick however many wait.
            payload_validator: the payload's type; else it comes as plain JSON.
            scope: only events that were pushed with it.
            lookback_window: also what was pushed so long ago or less; of that the latest.
            timeout: after so long the wait fails.

        Returns:
            The payload.

        Raises:
            TaskRunTimedOut: the time ran out. (It is a `TimeoutError`, too.)
            InputValidationError: the payload is not of that type.
            UsageError: it can't be waited for so.
            RunInterrupted: this attempt is over.
        """
        about = (key, expression, match, payload_validator, scope, lookback_window, timeout)
        return block(wait_for_event(self._attempt, *about), "ctx.wait_for_event")

    async def aio_wait_for_event(
        self,
        key: str,
        expression: str | None = None,
        *,
        match: dict[str, Any] | None = None,
        payload_validator: Any = None,
        scope: str | None = None,
        lookback_window: Duration | None = None,
        timeout: Duration | None = None,
    ) -> Any:
        """As `wait_for_event`."""
        about = (key, expression, match, payload_validator, scope, lookback_window, timeout)
        return await wait_for_event(self._attempt, *about)

    def wait_for(self, name: str, *conditions: Condition | OrGroup) -> WaitResult:
        """Wait, without a slot, until all of these have come: `SleepCondition(...)`, `UserEventCondition(...)`, in a
        workflow's step `ParentCondition(...)`; of an `or_(...)` any. The others of it end then. What came is recorded
        under the name: every attempt of this run is told the same.

        Returns:
            By condition what came with it, in the order in which they came; `first` is the first of them.

        Raises:
            TaskRunError: somebody cancelled what it waits for.
            UsageError: it can't come: a `ParentCondition` is not true.
            RunInterrupted: this attempt is over.
        """
        return block(wait_for_all(self._attempt, name, conditions, self._step), "ctx.wait_for")

    async def aio_wait_for(self, name: str, *conditions: Condition | OrGroup) -> WaitResult:
        """As `wait_for`."""
        return await wait_for_all(self._attempt, name, conditions, self._step)

    def receive(self, name: str, *, timeout: Duration | None = None) -> Message:
        """The next message that was sent to this run under this name (`fanwood.runs.send`); waits for one, without a
        slot. Each is received once, in the order of their sending; a later attempt receives the same ones again.

        Raises:
            TaskRunTimedOut: none came in time. (It is a `TimeoutError`, too.)
            RunInterrupted: this attempt is over.
        """
        return block(receive(self._attempt, name, timeout), "ctx.receive")

    async def aio_receive(self, name: str, *, timeout: Duration | None = None) -> Message:
        """As `receive`."""
        return await receive(self._attempt, name, timeout)

    def messages(self, name: str) -> Messages:
        """To be looped over, with `for` or `async for`: what is sent to this run under this name, without end."""
        return Messages(self._attempt, name)

    def start_over(self, input: Any = NOT_GIVEN) -> NoReturn:
        """End this attempt, and have the run begin anew: under the same id, with this input, and nothing recorded. Its
        children, steps and waits are not known to it any more; those that have not ended are cancelled, but for
        children with `on_parent_end="continue"`. Messages that it has not received are still there. For loops without
        an end, which else would have more children each day.

        It does not return. The run starts over when its code has come to its end, in one commit: if that fails, or the
        worker dies before it, nothing has happened, and the attempt goes on elsewhere.

        Args:
            input: of the declared type, or a dict that fits it.

        Raises:
            RunStartsOver: always. (It is no `Exception`: code that passes over failures lets it pass.)
            InputValidationError: the input doesn't fit.
            UsageError: this is a step of a workflow.
            RunInterrupted: this attempt is over.
        """
        start_over(self._attempt, input)

    @property
    def is_replaying(self) -> bool:
        """Whether the code of this durable task does what it did before, as it was unloaded, or its worker was lost:
        until it comes to what is not recorded yet. Meanwhile `ctx.log`, `ctx.progress`, `ctx.put_stream` and
        `ctx.publish` do nothing: it was said before."""
        return self._attempt.replay is not None

    @property
    def version(self) -> str | None:
        """The task's `version`; of a durable task that of the code that began this run, so that new code can go on as
        that would have. None: the task has none, or had none then."""
        return version_of(self._attempt)

    def version_at(self, name: str) -> str | None:
        """In a durable task: the version of the code that came to this place first in this run, recorded under the
        name; None: of code that did not ask here. So a change of the code can be made where a run has not been yet,
        whenever the run began.

        Raises:
            UsageError: this is no durable task, or it has no `version`.
            RunInterrupted: this attempt is over.
        """
        return block(version_at(self._attempt, name), "ctx.version_at")

    async def aio_version_at(self, name: str) -> str | None:
        """As `version_at`."""
        return await version_at(self._attempt, name)

    def publish(self, key: str, value: Any) -> None:
        """Say something of this run, for who asks by `fanwood.runs.get_value(id, key)`: what was said last counts.

        Raises:
            AttemptFencedError: this attempt is over.
        """
        block(publish(self._attempt, key, value), "ctx.publish")

    async def aio_publish(self, key: str, value: Any) -> None:
        """As `publish`."""
        await publish(self._attempt, key, value)
