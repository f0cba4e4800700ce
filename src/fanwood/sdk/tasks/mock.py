"""Running a task's bare function with a fake context, for unit tests: no store, no worker, and children that the test
stands in for."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fanwood import checks
from fanwood.errors import UsageError
from fanwood.ids import id_text
from fanwood.model.commands import ClaimedRun
from fanwood.sdk.children.mock_host import MockHost
from fanwood.sdk.declaring.options import NOT_GIVEN, MockOptions, metadata_json
from fanwood.sdk.declaring.versions import mocked
from fanwood.sdk.running.attempt import Attempt
from fanwood.sdk.running.current import current_attempt, current_run_id
from fanwood.sdk.tasks.context import Context

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.declaring.spec import TaskSpec
    from fanwood.sdk.declaring.step import StepInputs


class NoSlots:
    """A fake attempt holds nothing that others want."""

    foreign_loop = False

    def park(self, attempt: Attempt) -> None: ...

    def resume(self, attempt: Attempt, go_on: Callable[[], None]) -> None:  # noqa: ARG002
        go_on()

    def unpark(self, attempt: Attempt) -> None: ...

    def make_room(self) -> bool:
        return False

    def free(self, attempt: Attempt) -> None: ...


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
    if (version := given.get("version")) is not None:
        spec = mocked(spec, version)
    none: Mapping[Any, Any] = {}
    children = none if (asked := given.get("children")) is None else asked  # (what is given may refuse to be a bool)
    if not isinstance(children, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
        raise checks.refused("children", "must be a dict: what stands in for each child that is spawned", children)
    run = ClaimedRun(id_, retry_count + 1, "", id_, 0, spec.name, None, None, "null", text, 1, retry_count, 0, None, "")
    attempt = Attempt(run, spec, MockHost(host, spec.name, children), NoSlots())
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
