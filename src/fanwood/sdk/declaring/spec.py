"""A task as its executor knows it: the function, what goes in and comes out, and how it is tried."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from fanwood.errors import InputValidationError
from fanwood.model.commands import TaskInfo
from fanwood.sdk.declaring.changes import next_number
from fanwood.sdk.declaring.options import NOT_GIVEN, TaskPolicy, metadata_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fanwood.codec import Codec


class Origin(NamedTuple):
    """Which program a task belongs to, and which version of it (origins.py). Numbers of 31 bits."""

    program: int = 0
    version: int = 0


NOWHERE = Origin()


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
    default: Any = NOT_GIVEN  # the input, if none is given
    origin: Origin = NOWHERE  # the program that it belongs to
    durable: Any = None  # of a durable task: its EvictionPolicy
    strict: bool = False  # whether its code must ask again for all that it had asked for
    versions: Mapping[str | None, TaskSpec | None] | None = None  # older code that is served (versions.py)
    host: Any = field(default=None, compare=False, repr=False)  # the object that it was declared on
    number: int = field(default_factory=next_number, compare=False, repr=False)  # of two, which was declared later

    def nothing(self) -> Any:
        """The input of a run that none is given for: the function's default; else what is made of no fields."""
        return {} if self.default is NOT_GIVEN else self.default

    def read(self, stored: str) -> Any:
        """The input of a stored run.

        Raises:
            InputValidationError: it doesn't fit the declared type (any more).
        """
        try:
            return self.input.decode(stored)
        except InputValidationError as error:
            by = "a command, a page, or other code than this"
            raise InputValidationError(f"the input of {self.name}, stored by {by}", error.problems) from None

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
            metadata=metadata_json(metadata, "default_additional_metadata") if metadata else None,
            schema=msgspec.json.encode(schema).decode() if schema is not None else None,
            version=self.origin.version,
        )
