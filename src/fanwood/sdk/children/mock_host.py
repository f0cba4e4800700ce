"""The host of a mock run: it has no store, and children are answered for by what stands in for them."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NoReturn, Self

from fanwood.engine.signals import running_loop
from fanwood.errors import TaskRunError, UsageError
from fanwood.sdk.children.refs import TaskRunRef
from fanwood.sdk.declaring.outcomes import failure_of, single_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from fanwood.durations import Duration
    from fanwood.sdk.declaring.budget import Budget
    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.declaring.items import BulkRunItem
    from fanwood.sdk.declaring.spec import TaskSpec


class _NoStore:
    """In the place of the engine: what a task says is lost, and what it asks is refused."""

    def __init__(self, task: str, now: Callable[[], int]) -> None:
        self._task = task
        self.now = now
        self.store = self

    def log(self, _: object) -> None: ...

    def note_progress(self, _: object) -> None: ...

    def set_limit(self, *_: object) -> None: ...

    def move_deadline(self, *_: object) -> None: ...

    def __getattr__(self, name: str) -> NoReturn:
        raise UsageError(f"a mock run of {self._task} has no store: what it asked for needs one")


class MockHost:
    """In the place of the application; it has that one's settings, hooks, ids and clock."""

    def __init__(self, host: Host, task: str, children: Mapping[Any, Any]) -> None:
        self.settings, self.ids, self.clock, self.hooks = host.settings, host.ids, host.clock, host.hooks
        self.spec = host.spec
        self._task = task
        self._children = {getattr(child, "name", child): answer for child, answer in children.items()}
        self._engine = _NoStore(task, host.clock.now)

    def engine(self) -> Any:
        return self._engine

    async def prepare(self, tasks: Iterable[str]) -> None: ...

    def retire_local(self) -> None: ...

    async def answer(self, item: BulkRunItem[Any, Any], *, keep_errors: bool = False) -> Any:
        """What a child returns.

        Raises:
            TaskRunError: what stands in for it raised something.
            UsageError: nothing stands in for it.
        """
        spec = item.spec
        if spec.name not in self._children:
            raise UsageError(
                f"{self._task} runs {spec.name}, and a mock run has no store: say what that returns, by "
                f"children={{{spec.name}: ...}}, a function of its input"
            )
        given, stands_in = spec.input.decode(spec.input.encode(item.input)), self._children[spec.name]
        try:
            result = stands_in(given) if callable(stands_in) else stands_in
            if inspect.isawaitable(result):
                if running_loop() is None:
                    raise UsageError(f"what stands in for {spec.name} is async, and {self._task} is not")
                result = await result
        except UsageError:
            raise
        except Exception as error:
            failure = single_error(failure_of(error), self.ids.new_id(), spec.name)
            if not keep_errors:
                raise failure from error
            return failure
        return result

    async def answers(
        self,
        items: Sequence[BulkRunItem[Any, Any]],
        *,
        keep_errors: bool = False,
        timeout: float | None = None,  # noqa: ARG002
    ) -> list[Any]:
        """Of several. (They take no time.)"""
        return [await self.answer(item, keep_errors=keep_errors) for item in items]

    async def ref(self, item: BulkRunItem[Any, Any]) -> TaskRunRef[Any]:
        """A reference to a child, which has ended already."""
        return _MockRef(self, item.spec, await self.answer(item, keep_errors=True))


class MockedError(Exception):
    """Runs are asked for inside a mock run: its host answers."""

    def __init__(self, host: MockHost) -> None:
        super().__init__()
        self.host = host


class _MockRef(TaskRunRef[Any]):
    """To a child that never ran."""

    __slots__ = ("_answer",)

    def __init__(self, host: Any, spec: TaskSpec, answer: Any) -> None:
        super().__init__(host, host.ids.new_id(), spec.name, spec.output)
        self._answer = answer

    @property
    def has_end(self) -> bool:
        return True

    @property
    def has_failed(self) -> bool:
        return isinstance(self._answer, TaskRunError)

    async def _fork(self, given: Any, at: str | None, budget: Budget | None, by: str | None) -> Self:  # noqa: ARG002
        raise UsageError("A mocked child never ran, and can't be forked")

    async def _result(self, timeout: Duration | None) -> Any:  # noqa: ARG002
        if isinstance(self._answer, TaskRunError):
            raise self._answer
        return self._answer
