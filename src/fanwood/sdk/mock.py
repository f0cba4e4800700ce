"""Running a task's bare function with a fake context, for unit tests: no store, no worker, no children."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fanwood import checks
from fanwood.codec import codec_for
from fanwood.model.commands import ClaimedRun
from fanwood.sdk.attempt import Attempt
from fanwood.sdk.context import Context
from fanwood.sdk.options import NOT_GIVEN, metadata_json
from fanwood.sdk.step import StepCodec, StepInputs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fanwood.sdk.host import Host
    from fanwood.sdk.options import Metadata
    from fanwood.sdk.spec import TaskSpec

_JSON = codec_for(Any)


class _NoSlots:
    """A fake attempt holds nothing that others want."""

    def park(self, attempt: Attempt) -> None: ...

    def resume(self, attempt: Attempt, go_on: Callable[[], None]) -> None:  # noqa: ARG002
        go_on()

    def unpark(self, attempt: Attempt) -> None: ...

    def free(self, attempt: Attempt) -> None: ...


def mock_call(
    host: Host,
    spec: TaskSpec,
    input_: Any,
    metadata: Metadata | None,
    retry_count: int,
    lifespan: object,
    parent_outputs: Mapping[str, Any] | None = None,
) -> Any:
    """Call the function as a worker would; a coroutine if it is async. A step sees the outputs that it is given."""
    id_ = host.ids.new_id().hex().upper()
    text = metadata_json(metadata, "additional_metadata") if metadata is not None else None
    checks.whole(retry_count, "retry_count", 0)
    run = ClaimedRun(id_, retry_count + 1, "", id_, 0, spec.name, None, None, "null", text, 1, retry_count, 0, None, "")
    attempt = Attempt(run, spec, host, _NoSlots())
    attempt.lifespan = lifespan
    given = spec.nothing() if input_ is NOT_GIVEN else input_
    codec, step = spec.input, None
    if isinstance(codec, StepCodec):
        codec, outputs = codec.of_workflow, parent_outputs or {}
        raw = {name: msgspec.Raw(_JSON.encode(value, f"the output of {name}")) for name, value in outputs.items()}
        step = StepInputs(msgspec.Raw(b"null"), raw, workflow=spec.name.rpartition(":")[0])
    value = codec.decode(codec.encode(given, f"the input of {spec.name}"))
    return spec.function(*(value, Context(attempt, step))[: spec.arity])
