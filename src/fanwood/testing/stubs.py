"""What runs in the place of a task's code: a value, an exception, or a function."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from fanwood.checks import shown
from fanwood.errors import UsageError
from fanwood.sdk.declaring.options import NOT_GIVEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.sdk.declaring.spec import TaskSpec
    from fanwood.sdk.tasks.context import Context


class Stub:
    """Made by `TestApp.stub`. Runs of its task are born, claimed, tried again and recorded as ever; only their code is
    another. As a context manager it is undone at the end of the block, else with the test."""

    def __init__(
        self,
        spec: TaskSpec,
        function: Callable[..., Any] | None,
        returns: Any,
        raises: Any,
        undo: Callable[[Stub], None],
        *,
        by_name: str | None,
    ) -> None:
        given = [each is not None and each is not NOT_GIVEN for each in (function, returns, raises)]
        if sum(given) > 1:
            raise UsageError(f"a stub of {spec.name} takes one of: a function, returns=, raises=")
        if raises is not None and not _is_exception(raises):
            raise UsageError(f"a stub of {spec.name}: raises= must be an exception, and is {shown(raises)}")
        if function is not None and not callable(function):
            raise UsageError(f"a stub of {spec.name}: {shown(function)} is no function. A value is given by returns=")
        self.task = spec.name
        self.calls: list[Any] = []
        """The inputs that it was given, an entry for each attempt."""
        self._returns = None if returns is NOT_GIVEN else returns
        self._raises = raises
        self._function = function
        self._undo = undo
        self._of = spec
        self._by_name = by_name  # it stands in for whatever is called so
        self._made: dict[str, tuple[TaskSpec, TaskSpec]] = {}

    def __repr__(self) -> str:
        return f"<Stub of {self.task}, called {self.count} time(s)>"

    @property
    def count(self) -> int:
        """How often it was called."""
        return len(self.calls)

    @property
    def called(self) -> bool:
        """Whether it was."""
        return bool(self.calls)

    def assert_called(self, times: int | None = None) -> None:
        """That it was called, or so many times.

        Raises:
            AssertionError: it was not.
        """
        if times is None and not self.calls:
            raise AssertionError(f"the stub of {self.task} was never called")
        if times is not None and times != self.count:
            raise AssertionError(
                f"the stub of {self.task} was called {self.count} time(s), not {times}: {self.calls!r}"
            )

    def assert_not_called(self) -> None:
        """That it was never called.

        Raises:
            AssertionError: it was.
        """
        if self.calls:
            raise AssertionError(f"the stub of {self.task} was called {self.count} time(s): {self.calls!r}")

    def undo(self) -> None:
        """From now on the task's own code runs again. (What has begun goes on.)"""
        self._undo(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()

    def stands_in_for(self, spec: TaskSpec) -> bool:
        """Whether it does, for this one."""
        if self._by_name is not None:
            return self._by_name in {spec.name, spec.name.rpartition("/")[2]}
        return spec.host is self._of.host and spec.name == self._of.name

    def in_place_of(self, spec: TaskSpec) -> TaskSpec:
        """What is executed instead: of one task the same each time."""
        made = self._made.get(spec.name)
        if made is None or made[0] is not spec:
            made = self._made[spec.name] = spec, self._standing_in(spec, self._function)
        return made[1]

    def _standing_in(self, spec: TaskSpec, function: Callable[..., Any] | None) -> TaskSpec:
        if function is None:

            async def stub(input_: Any, _ctx: Context) -> Any:
                self._note(spec, input_)
                if isinstance(self._raises, BaseException):
                    raise self._raises.with_traceback(None)  # else it would get longer each time
                if self._raises is not None:
                    raise self._raises
                return self._returns

            return replace(spec, function=stub, is_async=True, arity=2)
        arity = _arity(function)
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004

            async def async_stub(input_: Any, ctx: Context) -> Any:
                return await function(*(self._note(spec, input_), ctx)[:arity])

            return replace(spec, function=async_stub, is_async=True, arity=2)

        def sync_stub(input_: Any, ctx: Context) -> Any:
            return function(*(self._note(spec, input_), ctx)[:arity])

        return replace(spec, function=sync_stub, is_async=False, arity=2)

    def _note(self, spec: TaskSpec, input_: Any) -> Any:
        """It is called with that."""
        typed = getattr(spec.input, "typed", None)  # a workflow's is read unread
        given = input_ if typed is None else typed.decode(bytes(input_))
        self.calls.append(given)
        return given


def _arity(function: Callable[..., Any]) -> int:
    """How many of (input, ctx) it takes. What it has a default for is its own, unless it is called a context."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (ValueError, TypeError):  # of some functions in C, nobody knows
        return 1
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return 1
    places = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    wants_context = len(places) > 1 and (places[1].default is places[1].empty or places[1].name in {"ctx", "context"})
    return 2 if wants_context else min(1, len(places))


def _is_exception(given: Any) -> bool:
    return isinstance(given, BaseException) or (isinstance(given, type) and issubclass(given, BaseException))
