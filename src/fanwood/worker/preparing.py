"""The code of an attempt, and what it is called with."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from fanwood.ids import hex_text
from fanwood.sdk.recording.replaying import replayed
from fanwood.sdk.running.current import current_attempt, current_run_id
from fanwood.sdk.tasks.context import Context

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.sdk.running.attempt import Attempt


def prepared(attempt: Attempt, may_begin: Callable[[Attempt], None]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Where it is executed. `may_begin` raises if it must not begin after all.

    Raises:
        InputValidationError: its input is none of its task's.
    """
    current_attempt.set(attempt)
    current_run_id.set(hex_text(attempt.run.id))
    if attempt.spec.versions is None or attempt.is_first:
        function, arguments = _code(attempt)
    else:  # which code it goes on with is read first
        function, arguments = partial(_call, attempt, may_begin), ()
    if attempt.unloading is not None:
        function = replayed(attempt, function, partial(may_begin, attempt))
    return function, arguments


def _call(attempt: Attempt, may_begin: Callable[[Attempt], None]) -> Any:
    function, arguments = _code(attempt)
    may_begin(attempt)  # last, as everywhere
    return function(*arguments)


def _code(attempt: Attempt) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    spec, step = attempt.spec, None
    value = spec.read(attempt.run.input)
    if spec.kind == "step":
        value, step = value
    attempt.in_function = True
    function, context = spec.function, Context(attempt, step)
    if attempt.host.hooks.middleware and spec.kind != "workflow":
        function = attempt.host.hooks.surround(function, context, is_async=spec.is_async)
    return function, (value, context)[: spec.arity]
