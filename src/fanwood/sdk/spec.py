"""A task as its executor knows it: the function, what goes in and comes out, and how it is tried."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec

from fanwood.codec import Codec, codec_for
from fanwood.errors import DeclarationError
from fanwood.model.commands import TaskInfo
from fanwood.sdk.options import EmptyModel, TaskPolicy

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """What is needed to execute a run of one task. `arity`: how many of (input, ctx) the function takes."""

    name: str
    function: Callable[..., Any]
    is_async: bool
    arity: int
    input: Codec[Any]
    output: Codec[Any]
    policy: TaskPolicy
    kind: str = "task"  # task, workflow, step
    where: str = ""  # file and line of the function
    ready: Callable[[], None] | None = None  # raises if the declaration is not whole yet

    def info(self) -> TaskInfo:
        """What is published of it."""
        metadata = self.policy.default_additional_metadata
        schema = self.input.schema()
        return TaskInfo(
            name=self.name,
            kind=self.kind,
            description=self.policy.description,
            priority=self.policy.default_priority,
            schedule_timeout=self.policy.schedule_limit,
            metadata=msgspec.json.encode(metadata).decode() if metadata else None,
            schema=msgspec.json.encode(schema).decode() if schema is not None else None,
        )


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function's signature says: its colour, how many arguments it takes, and their types."""

    is_async: bool
    arity: int
    input_type: Any
    output_type: Any
    where: str


def read_signature(function: Callable[..., Any], input_validator: Any) -> Signature:
    """Read a task function once, at its declaration.

    Raises:
        DeclarationError: it takes something else than (input, ctx), (input) or ().
    """
    where = location(function)
    parameters = [
        p
        for p in inspect.signature(function).parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    if len(parameters) > 2 or _needs_keywords(function):
        raise DeclarationError(
            f"{where}: {function.__name__} must take (input, ctx), (input) or (), "
            f"and takes {inspect.signature(function)}"
        )
    hints = _hints(function)
    if parameters and getattr(hints.get(parameters[0].name), "__name__", "") == "Context":
        raise DeclarationError(
            f"{where}: the first argument of {function.__name__} is its input, and the context comes second: "
            f"write (input: EmptyModel, ctx: Context) for a task without input"
        )
    if input_validator is None:
        input_validator = hints.get(parameters[0].name, Any) if parameters else EmptyModel
    return Signature(
        is_async=inspect.iscoroutinefunction(function),
        arity=len(parameters),
        input_type=input_validator,
        output_type=hints.get("return", Any),
        where=where,
    )


def _needs_keywords(function: Callable[..., Any]) -> bool:
    return any(
        p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in inspect.signature(function).parameters.values()
    )


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations; those that can't be resolved here (names of a local scope) count as not given."""
    try:
        return get_type_hints(function, include_extras=True)
    except Exception:  # noqa: BLE001  (whatever an annotation's evaluation raises)
        return {}


def location(function: Callable[..., Any]) -> str:
    """Where a function is written: file and line."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)


def output_codec(declared: Any) -> Codec[Any]:
    """The codec of a return annotation; one that we can't make anything of means: any JSON value."""
    try:
        return codec_for(declared)
    except DeclarationError:
        return codec_for(Any)
