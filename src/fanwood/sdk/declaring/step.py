"""A workflow's step, and what it is handed."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack

import msgspec

from fanwood.codec import Codec, codec_for
from fanwood.errors import UsageError
from fanwood.sdk.declaring.options import NOT_GIVEN, MockOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fanwood.sdk.declaring.spec import TaskSpec

In = TypeVar("In")
Out = TypeVar("Out")


class Step(Generic[In, Out]):
    """A task of a workflow; made by `@workflow.task`."""

    def __init__(
        self,
        name: str,
        spec: TaskSpec,
        parents: tuple[str, ...],
        function: Callable[..., Any],
        mock: Callable[..., Any],
    ) -> None:
        functools.update_wrapper(self, function, updated=())
        self.name = name
        self.spec = spec
        self.parents = parents
        self._mock = mock

    def __repr__(self) -> str:
        return f"<Step {self.spec.name!r}>"

    def __call__(self, *_: object, **__: object) -> None:
        raise UsageError(f"{self.spec.name} is a workflow's step: it runs when its workflow does")

    @property
    def is_async_function(self) -> bool:
        """Whether the function is a coroutine function."""
        return self.spec.is_async

    def mock_run(
        self, input: Any = NOT_GIVEN, *, parent_outputs: Mapping[Any, Any] | None = None, **given: Unpack[MockOptions]
    ) -> Out:
        """Call the bare function (a sync one) with a fake context, as `mock_run` of a task. `parent_outputs`: what the
        steps before it have returned, by step or name."""
        if self.spec.is_async:
            raise UsageError(f"{self.spec.name} is async: use `await {self.name}.aio_mock_run(...)`")
        return self._mocked(input, parent_outputs, given)

    async def aio_mock_run(
        self, input: Any = NOT_GIVEN, *, parent_outputs: Mapping[Any, Any] | None = None, **given: Unpack[MockOptions]
    ) -> Out:
        """As `mock_run`, for async and sync functions."""
        result: Any = self._mocked(input, parent_outputs, given)
        return await result if self.spec.is_async else result

    def _mocked(self, input_: Any, outputs: Mapping[Any, Any] | None, given: MockOptions) -> Any:
        codec = self.spec.input
        assert isinstance(codec, StepCodec)
        value = codec.given({} if input_ is NOT_GIVEN else input_, f"the input of {self.spec.name}")
        texts = {
            getattr(parent, "name", parent): msgspec.Raw(codec_for(Any).encode(output, "a parent's output", "output"))
            for parent, output in (outputs or {}).items()
        }
        handed = StepInputs(msgspec.Raw(b"null"), texts, workflow=codec.workflow)
        return self._mock(self.spec, NOT_GIVEN, given, (value, handed))


class StepInputs(msgspec.Struct):
    """What a workflow's step is handed beside the workflow's input."""

    input: msgspec.Raw
    outputs: dict[str, msgspec.Raw] = {}
    skipped: list[str] = []
    errors: dict[str, str] = {}
    causes: dict[str, tuple[str, ...]] = {}  # of the same steps: what a TaskRunError is made of
    workflow: str = ""


class RawCodec(Codec[Any]):
    """For a coordinator, which passes its input on unread; checked all the same, by the codec of the declared type."""

    def __init__(self, declared: Codec[Any]) -> None:
        self.typed = declared

    def encode(self, value: object, subject: str = "value", root: str = "input") -> bytes:
        return self.typed.encode(value, subject, root)

    def canonical(self, data: bytes) -> bytes:
        return self.typed.canonical(data)

    def decode(self, data: bytes | str, subject: str = "value") -> msgspec.Raw:
        self.typed.decode(data, subject)
        return msgspec.Raw(data.encode() if isinstance(data, str) else data)

    def schema(self) -> dict[str, object] | None:
        return self.typed.schema()


class StepCodec(Codec[Any]):
    """A step's input: the workflow's, beside what the steps before it returned. Written by us, and always alike."""

    orderly = True

    def __init__(self, workflow_input: Codec[Any], workflow: str) -> None:
        self._input = workflow_input.typed if isinstance(workflow_input, RawCodec) else workflow_input
        self.workflow = workflow
        self._decoder = msgspec.json.Decoder(StepInputs)

    def encode(self, value: object, subject: str = "value", root: str = "input") -> bytes:  # noqa: ARG002  (always fits)
        return msgspec.json.encode(value)

    def given(self, value: Any, subject: str) -> Any:
        """The workflow's input, as a test gives it."""
        return self._input.decode(self._input.encode(value, subject))

    def decode(self, data: bytes | str, subject: str = "value") -> tuple[Any, StepInputs]:
        """The workflow's input, and the rest."""
        inputs = self._decoder.decode(data)
        return self._input.decode(bytes(inputs.input), subject), inputs

    def schema(self) -> dict[str, object] | None:
        return None
