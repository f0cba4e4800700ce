"""A task as a tool of a language model: how it is described to one, how a call is read, and what the model is told.

What the model writes is somebody's text. Whatever is wrong with it is said to the model, which may do better next time;
an exception is raised only for what no model can mend.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast, overload

from fanwood import checks
from fanwood.engine.signals import block
from fanwood.errors import (
    FailedTaskRunExceptionGroup,
    InputValidationError,
    PayloadError,
    PayloadTooLargeError,
    TaskRunError,
    TaskRunTimedOut,
    UsageError,
)
from fanwood.sdk.declaring.options import NOT_GIVEN, merged
from fanwood.sdk.tasks.parameters import Parameters, parameters_of

if TYPE_CHECKING:
    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.declaring.items import BulkRunItem
    from fanwood.sdk.declaring.options import TriggerWorkflowOptions
    from fanwood.sdk.declaring.spec import TaskSpec

LONGEST_NAME = 64
"""Of a tool, for every provider that we know of."""
MOST_CHARACTERS = 50_000
"""Of one answer to the model, unless it is said otherwise."""
_STRANGE = re.compile(r"[^a-zA-Z0-9_-]+")


class Runs(Protocol):
    """A task or workflow, as far as tools know it."""

    spec: TaskSpec

    @property
    def name(self) -> str: ...

    def asked_for(self, input_: Any, options: TriggerWorkflowOptions) -> BulkRunItem[Any, Any]: ...

    async def aio_run_many(self, items: Iterable[BulkRunItem[Any, Any]], *, return_exceptions: Any) -> Any: ...

    def as_tool(self) -> Tool: ...


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of one call. `text` is for the model; `value` is what the task returned, `error` what it raised."""

    name: str
    call_id: str
    text: str
    value: Any = None
    error: BaseException | None = field(default=None, compare=False)

    @property
    def is_error(self) -> bool:
        """Whether the text says what went wrong."""
        return self.error is not None

    @property
    def is_refused(self) -> bool:
        """Whether the call was wrong, and nothing was run."""
        return isinstance(self.error, (PayloadError, UsageError))

    def openai(self) -> dict[str, Any]:
        """As a message of OpenAI's chat completions."""
        return {"role": "tool", "tool_call_id": self.call_id, "content": self.text}

    def openai_responses(self) -> dict[str, Any]:
        """As an input item of OpenAI's responses."""
        return {"type": "function_call_output", "call_id": self.call_id, "output": self.text}

    def anthropic(self) -> dict[str, Any]:
        """As a block of a user's message to Anthropic's messages."""
        block: dict[str, Any] = {"type": "tool_result", "tool_use_id": self.call_id, "content": self.text}
        return {**block, "is_error": True} if self.is_error else block


class Tool:
    """A task or workflow that a model may call; made by `task.as_tool()`."""

    def __init__(
        self,
        runnable: Runs,
        host: Host,
        name: str | None,
        description: str | None,
        max_characters: int,
        options: Mapping[str, Any],
    ) -> None:
        spec = runnable.spec
        self.runnable = runnable
        self._host = host
        self.name = _usual_name(spec.name) if name is None else _name(name)
        told = spec.policy.description or f"Runs {spec.name}." if description is None else description
        self.description = checks.storable(told, "description", checks.MAX_TEXT_LENGTH)
        self.max_characters = checks.whole(max_characters, "max_characters", 1)
        for option in ("child_key", "idempotency_key"):
            if options.get(option) is not None:
                raise UsageError(f"{option} can't be given to as_tool: all calls of the tool would be one run")
        self._options = merged(None, options, NOT_GIVEN, f"{spec.name}.as_tool")
        self._parameters: Parameters = parameters_of(spec)

    def __repr__(self) -> str:
        return f"<Tool {self.name!r} of {self.runnable.name}>"

    @property
    def schema(self) -> dict[str, Any]:
        """Its arguments, as JSON Schema: always an object."""
        return self._parameters.schema()

    # --- for the model ---------------------------------------------------------------------------------------------

    def openai(self) -> dict[str, Any]:
        """As OpenAI's chat completions take it."""
        return {"type": "function", "function": self._described("parameters")}

    def openai_responses(self) -> dict[str, Any]:
        """As OpenAI's responses take it. (Not strict: that allows no optional arguments.)"""
        return {"type": "function", **self._described("parameters"), "strict": False}

    def anthropic(self) -> dict[str, Any]:
        """As Anthropic's messages take it."""
        return self._described("input_schema")

    def _described(self, schema: str) -> dict[str, Any]:
        return {"name": self.name, "description": self.description, schema: self.schema}

    # --- called ----------------------------------------------------------------------------------------------------

    def run(self, arguments: str | bytes | Mapping[str, Any], *, call_id: str = "") -> ToolResult:
        """Run it: inside a running task as a child of that.

        Args:
            arguments: as the model wrote them: JSON text, or an object.
            call_id: the model's own id of this call, which the answer is to carry.
        """
        return block(self._run(arguments, call_id), f"{self.name}.run")

    async def aio_run(self, arguments: str | bytes | Mapping[str, Any], *, call_id: str = "") -> ToolResult:
        """As `run`, awaited."""
        return await self._run(arguments, call_id)

    async def _run(self, arguments: Any, call_id: str) -> ToolResult:
        return (await answered([Asked(self.name, call_id, arguments, self)]))[0]

    def item(self, arguments: Any) -> BulkRunItem[Any, Any]:
        """A call as a run that is asked for.

        Raises:
            PayloadError: the arguments are no JSON, or don't fit.
        """
        spec, subject = self.runnable.spec, f"the arguments of {self.name}"
        given = self._parameters.read(arguments, subject)
        value = spec.nothing() if given is NOT_GIVEN else given
        try:
            size, most = len(spec.input.encode(value, subject)), self._host.settings.max_payload_bytes
        except InputValidationError as error:
            raise self._parameters.named(error) from error
        if size > most:
            raise PayloadTooLargeError(subject, size, most)
        return self.runnable.asked_for(value, self._options)

    def result(self, call_id: str, value: Any) -> ToolResult:
        """What the task returned, or raised, as it is told to the model."""
        if isinstance(value, BaseException):
            return ToolResult(self.name, call_id, _cut(_said_of(value), self.max_characters), error=value)
        if isinstance(value, str):
            text = value
        else:
            text = self.runnable.spec.output.encode(value, f"what {self.name} returned", "output").decode()
        return ToolResult(self.name, call_id, _cut(text, self.max_characters), value)


class Tools(Sequence[Tool]):
    """The tools of one agent. What the model asks for in one turn is run at the same time."""

    def __init__(self, *tools: Tool | Runs) -> None:
        self._tools: dict[str, Tool] = {}
        for given in tools:
            tool = given if isinstance(given, Tool) else _made_of(given)
            if tool.name in self._tools:
                raise UsageError(
                    f"two tools are named {tool.name}: {self._tools[tool.name].runnable.name} and "
                    f"{tool.runnable.name}. Give one another name: as_tool(name=)"
                )
            self._tools[tool.name] = tool

    def __repr__(self) -> str:
        return f"<Tools {', '.join(self._tools)}>"

    def __len__(self) -> int:
        return len(self._tools)

    @overload
    def __getitem__(self, key: int | str) -> Tool: ...

    @overload
    def __getitem__(self, key: slice) -> list[Tool]: ...

    def __getitem__(self, key: int | str | slice) -> Tool | list[Tool]:
        """By number, or by name."""
        return self._tools[key] if isinstance(key, str) else list(self._tools.values())[key]

    def openai(self) -> list[dict[str, Any]]:
        """As OpenAI's chat completions take them."""
        return [tool.openai() for tool in self]

    def openai_responses(self) -> list[dict[str, Any]]:
        """As OpenAI's responses take them."""
        return [tool.openai_responses() for tool in self]

    def anthropic(self) -> list[dict[str, Any]]:
        """As Anthropic's messages take them."""
        return [tool.anthropic() for tool in self]

    def run(self, calls: Iterable[Any] | None) -> list[ToolResult]:
        """Run what the model asks for, all at the same time; the answers in the order of the calls.

        Args:
            calls: `message.tool_calls` of OpenAI's chat completions, `response.output` of its responses,
                `message.content` of Anthropic's; as objects, or as dicts. What is no call is passed over.

        Raises:
            UsageError: these are no calls.
        """
        return block(self._run(calls), "tools.run")

    async def aio_run(self, calls: Iterable[Any] | None) -> list[ToolResult]:
        """As `run`, awaited."""
        return await self._run(calls)

    async def _run(self, calls: Iterable[Any] | None) -> list[ToolResult]:
        return await answered([Asked(*call, self._tools.get(call[0])) for call in _calls(calls)], list(self._tools))


@dataclass(slots=True)
class Asked:
    """One call. `tool`: None if there is none of that name."""

    name: str
    call_id: str
    arguments: Any
    tool: Tool | None


async def answered(asked: Sequence[Asked], known: Sequence[str] = ()) -> list[ToolResult]:
    """What came of each call, in order. They are one bulk, so a later attempt finds them in the same order."""
    results: dict[int, ToolResult] = {}
    items: dict[int, BulkRunItem[Any, Any]] = {}
    for number, call in enumerate(asked):
        if call.tool is None:
            there = ", ".join(known) or "none"
            error = UsageError(f"There is no tool {checks.shown(call.name)}. There are: {there}")
            results[number] = ToolResult(call.name, call.call_id, str(error), error=error)
            continue
        try:
            items[number] = call.tool.item(call.arguments)
        except PayloadError as error:
            results[number] = call.tool.result(call.call_id, error)
    if items:
        first = asked[next(iter(items))].tool
        assert first is not None
        values: list[Any] = await first.runnable.aio_run_many(items.values(), return_exceptions=True)
        for number, value in zip(items, values, strict=True):
            call = asked[number]
            assert call.tool is not None
            results[number] = call.tool.result(call.call_id, value)
    return [results[number] for number in range(len(asked))]


def _made_of(given: Any) -> Tool:
    if not hasattr(given, "as_tool"):
        raise checks.refused("a tool", "must be a task, a workflow, or what as_tool() made of one", given)
    return cast("Runs", given).as_tool()


def _usual_name(task: str) -> str:
    return _STRANGE.sub("_", task)[-LONGEST_NAME:] or "tool"


def _name(name: Any) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or _STRANGE.search(name):
        raise checks.refused("name", f"must be 1 to {LONGEST_NAME} letters, digits, - or _, as models take it", name)
    return name


def _said_of(error: BaseException) -> str:
    """An error in the model's terms: its own arguments, or what the task said. No ids, which mean nothing to it."""
    if isinstance(error, InputValidationError):
        problems = "; ".join(f"{place or 'arguments'}: {what}" for place, what in error.problems)
        return f"The arguments do not fit, and nothing was run. {problems}"
    if isinstance(error, PayloadError):
        return f"Nothing was run: {error}"
    if isinstance(error, TaskRunTimedOut):
        return f"It took too long: {error.message or error.limit}"
    if isinstance(error, TaskRunError):
        return f"{error.exc_type or type(error).__name__}: {error.message or 'no cause was recorded'}"
    if isinstance(error, FailedTaskRunExceptionGroup):
        return error.message
    return f"{type(error).__name__}: {error}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}\n... (cut: {len(text):,} characters in all)"


# --- what the model asks for, in the shapes of those who make models --------------------------------------------------


def _calls(given: Any) -> Iterator[tuple[str, str, Any]]:
    """Name, id and arguments of each call."""
    if given is None:
        return
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        raise checks.refused("calls", "must be the list of what the model asks for", given)
    for call in cast("Iterable[Any]", given):
        kind, function = _of(call, "type"), _of(call, "function")
        if function is not None:  # chat completions; some servers leave the type out
            yield _text(_of(function, "name")), _text(_of(call, "id")), _of(function, "arguments")
        elif kind == "function_call":
            yield _text(_of(call, "name")), _text(_of(call, "call_id")), _of(call, "arguments")
        elif kind == "tool_use":
            yield _text(_of(call, "name")), _text(_of(call, "id")), _of(call, "input")
        elif kind is None:
            raise checks.refused("a call", "must be one of OpenAI's or Anthropic's", call)


def _of(value: Any, name: str) -> Any:
    return cast("Mapping[str, Any]", value).get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)
