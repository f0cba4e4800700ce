"""Running a task's bare function with a fake context, for unit tests: no store, no worker, and children that the test
stands in for."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from fanwood import checks
from fanwood.engine.signals import running_loop
from fanwood.errors import TaskRunError, UsageError
from fanwood.ids import id_text
from fanwood.model.commands import ClaimedRun
from fanwood.sdk.attempt import Attempt
from fanwood.sdk.context import Context
from fanwood.sdk.current import current_attempt, current_run_id
from fanwood.sdk.options import NOT_GIVEN, MockOptions, metadata_json
from fanwood.sdk.outcomes import failure_of, single_error
from fanwood.sdk.refs import TaskRunRef

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from fanwood.durations import Duration
    from fanwood.sdk.host import Host
    from fanwood.sdk.items import BulkRunItem
    from fanwood.sdk.spec import TaskSpec
    from fanwood.sdk.step import StepInputs


class _NoSlots:
    """A fake attempt holds nothing that others want."""

    foreign_loop = False

    def park(self, attempt: Attempt) -> None: ...

    def resume(self, attempt: Attempt, go_on: Callable[[], None]) -> None:  # noqa: ARG002
        go_on()

    def unpark(self, attempt: Attempt) -> None: ...

    def free(self, attempt: Attempt) -> None: ...


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

    async def _result(self, timeout: Duration | None) -> Any:  # noqa: ARG002
        if isinstance(self._answer, TaskRunError):
            raise self._answer
        return self._answer


def mock_call(
    host: Host, spec: TaskSpec, input_: Any, given: MockOptions, step: tuple[Any, StepInputs] | None = None
) -> Any:
    """Call the function as a worker would; a coroutine if it is async. `step`: what a step is called with."""
    id_ = host.ids.new_id().hex().upper()
    metadata, retry_count = given.get("additional_metadata"), given.get("retry_count", 0)
    text = metadata_json(metadata, "additional_metadata") if metadata is not None else None
    checks.whole(retry_count, "retry_count", 0)
    if unknown := given.keys() - MockOptions.__annotations__.keys():
        raise UsageError(f"a mock run takes {', '.join(MockOptions.__annotations__)}, and not {', '.join(unknown)}")
    children = given.get("children") or {}
    if not isinstance(children, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
        raise checks.refused("children", "must be a dict: what stands in for each child that is spawned", children)
    run = ClaimedRun(id_, retry_count + 1, "", id_, 0, spec.name, None, None, "null", text, 1, retry_count, 0, None, "")
    attempt = Attempt(run, spec, MockHost(host, spec.name, children), _NoSlots())
    attempt.lifespan = given.get("lifespan")
    if step is None:
        value = spec.nothing() if input_ is NOT_GIVEN else input_
        value, handed = spec.input.decode(spec.input.encode(value, f"the input of {spec.name}")), None
    else:
        value, handed = step
    arguments = (value, Context(attempt, handed))[: spec.arity]
    if spec.is_async:
        return _awaited(attempt, spec.function, arguments)
    with _running(attempt):
        return spec.function(*arguments)


async def _awaited(attempt: Attempt, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    with _running(attempt):
        return await function(*arguments)


@contextlib.contextmanager
def _running(attempt: Attempt) -> Generator[None]:
    """While inside, the attempt's code is what runs."""
    tokens = current_attempt.set(attempt), current_run_id.set(id_text(attempt.id))
    try:
        yield
    finally:
        current_attempt.reset(tokens[0])
        current_run_id.reset(tokens[1])
