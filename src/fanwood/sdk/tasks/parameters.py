"""A task's input as the arguments of a tool: always an object, as those who make models want it.

An input that is an object (a model, a dataclass, a dict) is the arguments itself. Any other is their only field, under
the name that the function's parameter has.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import msgspec

from fanwood.errors import InputValidationError, PayloadError
from fanwood.sdk.declaring.options import NOT_GIVEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fanwood.sdk.declaring.spec import TaskSpec

_HERE = "#/$defs/"


@dataclass(frozen=True, slots=True)
class Parameters:
    """`field`: the only argument's name; None if the input is the object itself. `optional`: it has a default."""

    whole: dict[str, Any]
    field: str | None
    optional: bool

    def schema(self) -> dict[str, Any]:
        """A copy, for whoever changes it."""
        return copy.deepcopy(self.whole)

    def read(self, arguments: Any, subject: str) -> Any:
        """The input that these arguments mean; NOT_GIVEN if it was left out.

        Raises:
            InputValidationError: they are no object, or not of the right fields.
        """
        found = _read(arguments, subject)
        if found is None:
            found = {}
        if not isinstance(found, Mapping):
            raise InputValidationError(subject, [("", "an object is expected, with a field for each argument")])
        given = cast("Mapping[str, Any]", found)
        if self.field is None:
            return NOT_GIVEN if self.optional and not given else dict(given)
        others = [(str(name)[:100], "there is no such argument") for name in given if name != self.field]
        if others:
            raise InputValidationError(subject, others[:10])
        if self.field not in given:
            if self.optional:
                return NOT_GIVEN
            raise InputValidationError(subject, [(self.field, "is required")])
        return given[self.field]

    def named(self, error: InputValidationError) -> InputValidationError:
        """What is wrong with an input, by the names of the arguments that it was made of."""
        if self.field is None:
            return error
        places = [f"{self.field}{'' if place[:1] in ('', '[') else '.'}{place}" for place, _ in error.problems]
        return InputValidationError(
            error.subject, [(at, said) for at, (_, said) in zip(places, error.problems, strict=True)]
        )


def _read(arguments: Any, subject: str) -> Any:
    if not isinstance(arguments, (str, bytes)):
        return arguments
    if not arguments.strip():
        return {}  # of a tool without arguments some models write nothing at all
    try:
        return msgspec.json.decode(arguments)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InputValidationError(subject, [("", f"this is no JSON: {error}")]) from error


def parameters_of(spec: TaskSpec) -> Parameters:
    """Of a task's input. What has no schema is any value."""
    optional = spec.default is not NOT_GIVEN
    if spec.arity == 0:
        return Parameters({"type": "object", "properties": {}}, None, optional)
    found = cast("dict[str, Any]", copy.deepcopy(spec.input.schema()) or {})
    inner, defs = _inlined(found)
    if inner.get("type") == "object":
        return Parameters({"properties": {}, **inner, **_needed(inner, defs)}, None, optional)
    name = _parameter(spec)
    if optional:
        with contextlib.suppress(PayloadError):  # the function knows what it is all the same
            inner = {**inner, "default": msgspec.json.decode(spec.input.encode(spec.default))}
    whole: dict[str, Any] = {"type": "object", "properties": {name: inner}, "additionalProperties": False}
    if not optional:
        whole["required"] = [name]
    return Parameters({**whole, **_needed(inner, defs)}, name, optional)


def _inlined(schema: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema itself, where it is said by a reference only; and what it may refer to."""
    defs = cast("dict[str, Any]", schema.pop("$defs", {}))
    for _ in defs:
        reference = schema.get("$ref")
        if not isinstance(reference, str) or not isinstance(defs.get(reference.removeprefix(_HERE)), dict):
            break
        beside = {word: value for word, value in schema.items() if word != "$ref"}
        schema = {**defs[reference.removeprefix(_HERE)], **beside}
    return schema, defs


def _needed(schema: Any, defs: dict[str, Any]) -> dict[str, Any]:
    """Those definitions that are referred to."""
    wanted, left = dict[str, Any](), list(_references(schema))
    while left:
        name = left.pop()
        if name in defs and name not in wanted:
            wanted[name] = defs[name]
            left += _references(defs[name])
    return {"$defs": {name: wanted[name] for name in defs if name in wanted}} if wanted else {}


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for word, value in cast("dict[str, Any]", node).items():
            if word == "$ref" and isinstance(value, str) and value.startswith(_HERE):
                yield value.removeprefix(_HERE)
            elif word == "mapping" and isinstance(value, dict):  # of a discriminator
                yield from (str(to).removeprefix(_HERE) for to in cast("dict[str, Any]", value).values())
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for value in cast("list[Any]", node):
            yield from _references(value)


def _parameter(spec: TaskSpec) -> str:
    """What the function calls its input."""
    if spec.kind == "workflow":
        return "input"
    try:
        return next(iter(inspect.signature(spec.function).parameters))
    except (ValueError, TypeError, StopIteration):  # of some functions in C, nobody knows
        return "input"
