"""Pydantic's classes, known by what they carry, and whether their serializer has more than one way to write a value."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, cast

from fanwood.codec.rewriting import BINARY, readable

if TYPE_CHECKING:
    from collections.abc import Callable

# What pydantic's serializer writes in one way only. Whatever isn't listed takes the careful way.
_ORDERLY = frozenset(
    (  # noqa: SIM905  (a list of forty lines says no more)
        "model model-fields model-field dataclass dataclass-args dataclass-field nullable default int str bool float "
        "none list tuple union tagged-union literal enum date time datetime timedelta uuid decimal bytes url "
        "multi-host-url function-before function-after definitions definition-ref alias"
    ).split()
)
_SIMPLE = {"int": int, "str": str, "bool": bool, "none": type(None)}
_SIMPLE_MODEL = frozenset(
    {"type", "cls", "schema", "custom_init", "root_model", "config", "ref", "metadata", "frozen", "generic_origin"}
)
_SIMPLE_FIELD = frozenset({"type", "schema", "metadata", "frozen"})
_SIMPLE_DEFAULT = frozenset({"type", "schema", "default", "default_factory", "default_factory_takes_data"})
_NOT_SCHEMA = frozenset({"metadata", "default", "cls", "members", "expected", "computed_fields", "definitions"})


@dataclasses.dataclass(frozen=True)
class Machinery:
    """What pydantic compiled for a class, or for a union of classes. Fields are written by name, read by either."""

    from_json: Callable[[bytes | str], Any]
    from_python: Callable[[Any], Any]
    to_json: Callable[..., bytes]
    to_python: Callable[..., Any]
    orderly: bool
    """Whether every value is written in one way by one call of `to_json`."""
    simple: tuple[tuple[str, frozenset[type]], ...] | None
    """The fields and their classes, of a model that has nothing else: what holds these comes back as it is."""
    has_floats: bool
    kinds: frozenset[str]
    """What its core schema is made of."""
    core: Any


def is_pydantic(hint: object) -> bool:
    return isinstance(hint, type) and hasattr(hint, "__pydantic_validator__") and hasattr(hint, "__pydantic_fields__")


@functools.cache
def machinery_of(cls: Any) -> Machinery:
    """Raises what pydantic raises if a name in the class's annotations can't be found."""
    if not getattr(cls, "__pydantic_complete__", True) and hasattr(cls, "model_rebuild"):
        cls.model_rebuild()
    return assemble(cls.__pydantic_validator__, cls.__pydantic_serializer__, cls.__pydantic_core_schema__)


def assemble(validator: Any, serializer: Any, core: Any) -> Machinery:
    """Raises ValueError if nobody could read what would be written."""
    config = BINARY if "bytes" in _Kinds.of(core) else {}
    changed = readable(core, config)
    if changed is not core or config:
        core, (validator, serializer) = changed, _compiled(changed, config)
    kinds = _Kinds.of(core)
    by_either = {"by_alias": True, "by_name": True}
    return Machinery(
        from_json=functools.partial(validator.validate_json, **by_either)
        if "alias" in kinds
        else validator.validate_json,
        from_python=validator.validate_python,
        to_json=serializer.to_json,
        to_python=functools.partial(serializer.to_python, mode="json", round_trip=True, by_alias=False, warnings=False),
        orderly=kinds <= _ORDERLY,
        simple=_simple(core),
        has_floats="float" in kinds,
        kinds=frozenset(kinds),
        core=core,
    )


def _compiled(core: Any, config: Any) -> tuple[Any, Any]:
    from pydantic_core import SchemaSerializer, SchemaValidator  # noqa: PLC0415  (its own schema is at hand)

    try:
        anew: Any = {"_use_prebuilt": False}  # or else models within are taken as they were compiled
        return SchemaValidator(core, config, **anew), SchemaSerializer(core, config, **anew)
    except TypeError:  # before 2.12
        return SchemaValidator(core, config), SchemaSerializer(core, config)


def _simple(core: Any) -> tuple[tuple[str, frozenset[type]], ...] | None:
    """Only what is known to change nothing on its way: no validators, aliases, constraints, private attributes."""
    if core["type"] != "model" or not core.keys() <= _SIMPLE_MODEL or core["custom_init"] or core["root_model"]:
        return None
    fields = core["schema"]
    plain = core["config"].keys() <= {"title"} and fields.keys() <= {"type", "fields", "model_name", "computed_fields"}
    if not plain or fields["type"] != "model-fields" or fields.get("computed_fields"):
        return None
    found = tuple((name, _simple_classes(field)) for name, field in fields["fields"].items())
    return found if all(classes for _, classes in found) else None


def _simple_classes(field: Any) -> frozenset[type]:
    """The classes that a field's values may have; none if it isn't as simple as that."""
    schema, classes = field["schema"], set[type]()
    if field.keys() <= _SIMPLE_FIELD and schema["type"] == "default" and schema.keys() <= _SIMPLE_DEFAULT:
        schema = schema["schema"]
    if schema["type"] == "nullable" and schema.keys() == {"type", "schema"}:
        schema, classes = schema["schema"], {type(None)}
    known = field.keys() <= _SIMPLE_FIELD and schema.keys() == {"type"} and schema["type"] in _SIMPLE
    return frozenset({*classes, _SIMPLE[schema["type"]]}) if known else frozenset()


class _Kinds:
    """What a pydantic core schema is made of; "custom", "alias", "recursive" and "any" stand for what matters here."""

    def __init__(self) -> None:
        self._found: set[str] = set()
        self._known: dict[str, Any] = {}
        self._done: set[str] = set()

    @classmethod
    def of(cls, core: Any) -> set[str]:
        kinds = cls()
        kinds._visit(core, frozenset())
        return kinds._found

    def _visit(self, node: Any, inside: frozenset[str]) -> None:
        if isinstance(node, (list, tuple)):
            for part in cast("list[Any]", node):
                self._visit(part, inside)
        elif isinstance(node, dict):
            self._visit_dict(cast("dict[str, Any]", node), inside)

    def _visit_dict(self, node: dict[str, Any], inside: frozenset[str]) -> None:
        kind = node.get("type")
        if isinstance(kind, str):
            self._found.add(kind)
        if kind == "definitions":
            self._known.update({part["ref"]: part for part in node["definitions"]})
        if kind == "union" and self._has_likenesses(node["choices"]):
            self._found.add("custom")
        if kind == "definition-ref":
            self._follow(node["schema_ref"], inside)
        if node.get("init_only") and node["schema"]["type"] != "default":
            raise ValueError(f"{node['name']} is an InitVar without a default, which nobody could give it again")
        for key, part in node.items():
            if key == "serialization":
                self._found.add("custom")
            elif key.endswith("alias") and part is not None:
                self._found.add("alias")
            elif key == "extra_fields_behavior" and part == "allow":
                self._found.add("any")
            elif key not in _NOT_SCHEMA:
                self._visit(part, inside)

    def _has_likenesses(self, choices: list[Any]) -> bool:
        """Whether an enum is beside a class to whose values its members may be equal."""
        nodes: list[Any] = [cast("Any", choice)[0] if isinstance(choice, tuple) else choice for choice in choices]
        nodes = [self._known.get(node.get("schema_ref"), node) for node in nodes]
        return any(node["type"] == "enum" for node in nodes) and any(node["type"] in ("str", "int") for node in nodes)

    def _follow(self, ref: str, inside: frozenset[str]) -> None:
        if ref in inside:
            self._found.add("recursive")
        elif ref not in self._done:
            self._visit(self._known.get(ref, {"type": "unknown"}), inside | {ref})
            self._done.add(ref)
