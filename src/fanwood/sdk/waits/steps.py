"""Steps that a run records: a function is called here and now, and what it returned or raised is given back for ever
after."""

from __future__ import annotations

import asyncio
import functools
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypedDict, TypeVar, Unpack, overload
from weakref import WeakKeyDictionary

import msgspec

from fanwood import checks
from fanwood.codec import Codec, codec_for
from fanwood.durations import LONGEST
from fanwood.engine.signals import block, running_loop
from fanwood.errors import (
    AttemptFencedError,
    BlockingCallError,
    BudgetExceeded,
    NonRetryableException,
    PayloadError,
    PayloadTooLargeError,
    RetryAfterException,
    UsageError,
)
from fanwood.model.commands import Finished, Record
from fanwood.model.records import Recorded
from fanwood.model.states import RunKind, RunState
from fanwood.sdk.declaring.annotations import Resolver
from fanwood.sdk.declaring.functions import code_of, is_async, location, module_of
from fanwood.sdk.declaring.identity import content_digest, part_identity
from fanwood.sdk.declaring.options import TaskPolicy
from fanwood.sdk.declaring.outcomes import error_of, failure_of, typed_output
from fanwood.sdk.recording.once import inside
from fanwood.sdk.recording.recording import found_in, kind_of, known_parts, write_step, written
from fanwood.sdk.running.attempt import registering
from fanwood.sdk.running.current import current_attempt
from fanwood.sdk.running.parts import Parts, counts
from fanwood.sdk.running.waiting import pause
from fanwood.store.failures import encode_failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.sdk.running.attempt import Attempt

P = ParamSpec("P")
R = TypeVar("R")


class StepOptions(TypedDict, total=False):
    """How often a step is tried, here and now, before it has failed."""

    retries: int
    backoff_factor: float | None
    backoff_max_seconds: float | None


SHOWN = 4000
"""Characters of its arguments that are kept, for people."""
_ANY: Codec[Any] = codec_for(Any)
_ONCE = TaskPolicy()
_FINAL = (NonRetryableException, PayloadError, BudgetExceeded)
"""What fails a step at once. (What a budget refused would be burnt again, and be refused again.)"""


@dataclass(frozen=True, slots=True)
class About:
    """A function as a step. `nameless`: why it can't be told apart by its name and arguments."""

    name: str
    is_async: bool
    output: Codec[Any]
    nameless: str


_known: WeakKeyDictionary[Any, About] = WeakKeyDictionary()


def about(function: Callable[..., Any]) -> About:
    """What there is to know of a function, found out once."""
    try:
        found = _known.get(function)
        if found is None:
            found = _known[function] = _about(function)
    except TypeError:  # what it is can't be kept
        return _about(function)
    return found


def _about(function: Callable[..., Any]) -> About:
    if not callable(function):
        raise UsageError(f"a step must be a function, and is {checks.shown(function)}")
    code: Any = function if inspect.isbuiltin(function) else code_of(function)
    name = f"{module_of(code)}.{getattr(code, '__qualname__', type(function).__qualname__)}"
    returns = Resolver(code, location(function), name).resolve("return")
    return About(name, is_async(function), codec_for(returns), _nameless(function, code))


def _nameless(function: Callable[..., Any], code: Any) -> str:
    owner = getattr(function, "__self__", None)
    if getattr(code, "__name__", "") == "<lambda>":
        return "a lambda has no name"
    if getattr(getattr(code, "__code__", None), "co_freevars", ()):
        return "it uses variables of the function around it"
    if owner is not None and not inspect.ismodule(owner) and not isinstance(owner, type):
        return "it is a method, and depends on its object"
    if isinstance(function, functools.partial) or not hasattr(function, "__qualname__"):
        return "it is an object, and no plain function"
    return ""


@dataclass(slots=True)
class Call:
    """One call of a function, as a step of an attempt. `threads`: it is on a loop; what is not async needs one."""

    attempt: Attempt
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    key: str | None
    policy: TaskPolicy
    threads: bool
    identity: bytes = b""

    async def perform(self, step: About) -> Any:
        """What the function returns."""
        with inside(self.identity):
            return await self._perform(step)

    async def _perform(self, step: About) -> Any:
        if step.is_async:
            return await self.function(*self.args, **self.kwargs)
        if self.threads:
            return await asyncio.to_thread(self.function, *self.args, **self.kwargs)
        return self.function(*self.args, **self.kwargs)

    def content(self, step: About) -> tuple[bytes, str]:
        """What tells it apart, and what it is for people.

        Raises:
            UsageError: nothing does.
        """
        args: str | msgspec.Raw
        if self.key is not None:
            self.key = checks.key(self.key, "key", "for a step that is known by its arguments")
            return part_identity("step", self.key), msgspec.json.encode({"step": step.name, "key": self.key}).decode()
        if step.nameless:
            raise UsageError(
                f"{step.name} needs a key to be a step: {step.nameless}. Give one that says what it does: key="
            )
        given = [list(self.args), self.kwargs] if self.kwargs else list(self.args)
        try:
            data = _ANY.encode(given, f"the arguments of {step.name}")
        except PayloadError as error:
            raise UsageError(f"{error}. Without them the step needs a key that says what it does: key=") from error
        args = msgspec.Raw(data) if len(data) <= SHOWN else data[:SHOWN].decode(errors="replace")
        shown = msgspec.json.encode({"step": step.name, "args": args}).decode()
        return content_digest(f"~step {step.name}", _ANY.canonical(data)), shown


async def recorded(call: Call) -> Any:
    """What the function returned, now or before.

    Raises:
        TaskRunError: it had failed, now or before.
        UsageError: it can't be told apart.
    """
    attempt = call.attempt
    attempt.check()
    call.function = getattr(call.function, _PLAIN, call.function)
    step = about(call.function)
    if step.is_async and not call.threads:
        raise UsageError(f"{step.name} is async, and ctx.step blocks: use `await ctx.aio_step(...)` in an async task")
    if attempt.is_mocked:
        return await call.perform(step)
    content, shown = call.content(step)
    parts = await known_parts(attempt)
    with registering:
        if content in parts.under_way:
            raise UsageError(
                f"{step.name} is under way already as a step of this run, with the same "
                f"{'arguments' if call.key is None else 'key'}: a later attempt could not tell which is which. "
                f"Give each a key of its own: key="
            )
        number = attempt.number(content) if call.key is None else 0
        identity = attempt.numbered(content, number)
        parts.under_way.add(content)
        call.identity = identity
    try:
        found = found_in(attempt, parts, identity, f"~step {shown}", keep=True)
        if found is not None and counts(found, attempt.run.trial_start):
            if call.key is None:
                del parts.found[identity]
            return _answer(found, step)
        return await _done(attempt, parts, call, step, Asked(content, number, identity, shown, found))
    finally:
        with registering:
            parts.under_way.discard(content)


@dataclass(slots=True)
class Asked:
    """A step that is to be done: who it is, and as what it stands there, if it had failed."""

    content: bytes
    number: int
    identity: bytes
    shown: str
    before: Recorded | None


async def _done(attempt: Attempt, parts: Parts, call: Call, step: About, asked: Asked) -> Any:
    began = attempt.host.engine().store.now()
    try:
        state, output, error, cause = await _ended(attempt, call, step)
    except BaseException:
        if call.key is None:
            with registering:
                attempt.forget(
                    (), [(asked.content, asked.number)]
                )  # nothing came of it: who asks again asks for the same
        raise
    with registering:
        if parts.kind is None:
            parts.kind = kind_of(attempt, RunKind.RECORDED)
        index = attempt.children
        attempt.children += 1
    record = Record(
        parts.kind,
        attempt.new_id() if asked.before is None else asked.before.id,
        asked.identity,
        asked.shown,
        state,
        index,
        call.key,
        output,
        error,
        began,
        again=asked.before is not None,
    )
    await written(attempt, write_step(attempt, parts, record))
    if parts.joint is not None and parts.joint.taken:
        parts.joint = None  # it is kept by nobody else
    found = Recorded(asked.identity, record.id, state, output, error, attempt.run.attempt)
    if call.key is not None:
        parts.found[asked.identity] = found
    return _answer(found, step, cause)


async def _ended(
    attempt: Attempt, call: Call, step: About
) -> tuple[RunState, str | None, str | None, Exception | None]:
    """What came of it, after its retries: state, output, error; and the exception itself."""
    trial = 0
    while True:
        try:
            value = await call.perform(step)
            output = step.output.encode(value, f"what {step.name} returned", "output")
            limit = attempt.host.settings.max_payload_bytes
            if len(output) > limit:
                raise PayloadTooLargeError(f"what {step.name} returned", len(output), limit)
        except Exception as error:
            if attempt.interruption is not None or isinstance(error, AttemptFencedError):
                raise
            if trial >= call.policy.retries or isinstance(error, _FINAL):
                return RunState.FAILED, None, encode_failure(failure_of(error)), error
            wait = call.policy.backoff(trial, attempt.host.ids.jitter())
            if isinstance(error, RetryAfterException):
                wait = max(0.0, error.after.total_seconds())
        else:
            return RunState.COMPLETED, output.decode(), None, None
        await pause(attempt, min(wait, LONGEST))
        trial += 1


def _answer(found: Recorded, step: About, cause: Exception | None = None) -> Any:
    if found.state is RunState.COMPLETED:
        return typed_output(found.output, step.output, step.name)
    ended = Finished(found.state, found.output, found.error, step.name)
    raise error_of(ended, found.id, step.name) from cause


# --- how they are asked for -------------------------------------------------------------------------------------------

_PLAIN = "__fanwood_step__"
"""Of what `step` makes of a function: that function."""


def policy_of(options: StepOptions) -> TaskPolicy:
    """How often a step is tried."""
    if not options:
        return _ONCE
    return TaskPolicy.of(options, StepOptions.__annotations__, "a step")


class Stepping:
    """What `Fanwood` objects have for steps that a run records."""

    @overload
    def step(self, function: Callable[P, R], /) -> Callable[P, R]: ...

    @overload
    def step(
        self, function: None = None, /, *, key: Callable[..., str] | None = None, **options: Unpack[StepOptions]
    ) -> Callable[[Callable[P, R]], Callable[P, R]]: ...

    def step(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        key: Callable[..., str] | None = None,
        **options: Unpack[StepOptions],
    ) -> Any:
        """Declare a function that is a recorded step wherever a run calls it, as by `ctx.step`; outside of any run it
        is what it was.

        Args:
            function: sync or async.
            key: what tells one call from another, made of its arguments; else the arguments themselves do.
            options: as those of `ctx.step`.

        Raises:
            UsageError: `key` is no function, or an option can't be.
        """
        if key is not None and not callable(key):
            raise checks.refused("key", "must be a function of the step's arguments", key)
        policy = policy_of(options)
        return functools.partial(_declared, key, policy) if function is None else _declared(key, policy, function)


def _declared(key: Callable[..., str] | None, policy: TaskPolicy, function: Callable[..., Any]) -> Any:
    def call(attempt: Attempt, args: tuple[Any, ...], kwargs: dict[str, Any], *, threads: bool) -> Call:
        return Call(attempt, function, args, kwargs, None if key is None else key(*args, **kwargs), policy, threads)

    if about(function).is_async:

        @functools.wraps(function)
        async def aio_step(*args: Any, **kwargs: Any) -> Any:
            attempt = current_attempt.get()
            if attempt is None:
                return await function(*args, **kwargs)
            return await recorded(call(attempt, args, kwargs, threads=True))

        made: Any = aio_step
    else:

        @functools.wraps(function)
        def step(*args: Any, **kwargs: Any) -> Any:
            attempt = current_attempt.get()
            if attempt is None:
                return function(*args, **kwargs)
            if running_loop() is not None:
                name = about(function).name
                raise BlockingCallError(
                    f"{name} is a step, and blocks, and an event loop runs on this thread: it, and all tasks on it, "
                    f"would freeze. Use `await ctx.aio_step({name.rpartition('.')[2]}, ...)` here."
                )
            return block(recorded(call(attempt, args, kwargs, threads=False)), "step")

        made = step
    setattr(made, _PLAIN, function)
    return made
