"""Core schemas of pydantic's, changed where it writes what it doesn't read; and refused where nobody could read it.

Pydantic writes an enum as its value. From JSON it doesn't find `(1, 2)` again, which has become a list; nor, among the
keys of a dict, the number 1, which has become text. Such enums are written by name here, or as the text of the number.
And bytes are base64, unless a config says else: pydantic takes them for UTF-8, as which few of them can be written.
"""

from __future__ import annotations

import functools
import json
import math
from enum import Enum, Flag
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

_NO_KEYS = {
    **dict.fromkeys(("nullable", "none"), "None"),
    **dict.fromkeys(
        "tuple call named-tuple list set frozenset dict dataclass model typed-dict".split(),  # noqa: SIM905  (as a list of lines)
        "a value of several parts",
    ),
    "complex": "a complex number",
}
_TAKEN_OFF = ("default", "nullable", "function-before", "function-after", "function-wrap", "json-or-python")
_NOT_SCHEMA = ("metadata", "default", "cls", "members", "expected", "computed_fields", "config")


BINARY = {"ser_json_bytes": "base64", "val_json_bytes": "base64"}


def no_key(what: str) -> ValueError:
    return ValueError(f"the keys of a dict are text in JSON, and {what} is none: use a list of pairs")


def readable(core: Any, config: dict[str, Any]) -> Any:
    """The same object if there is nothing to change. The config is for what says nothing else in its own.

    Raises:
        ValueError: two alternatives are written alike, or a dict has keys without a text.
    """
    return _Rewriting(core, config).changed(core)


class _Rewriting:
    def __init__(self, core: Any, config: dict[str, Any]) -> None:
        self._config = config
        found = core.get("definitions", ()) if core["type"] == "definitions" else ()
        self._known = {part["ref"]: part for part in found}

    def changed(self, node: Any) -> Any:
        if isinstance(node, (list, tuple)):
            given = list(cast("list[Any]", node))
            parts = [self.changed(part) for part in given]
            return cast("Any", node) if all(map(_is, parts, given)) else parts
        if not isinstance(node, dict):
            return node
        node = cast("dict[str, Any]", node)
        if node.get("type") == "enum" and not all(map(_is_scalar, _values(node["members"]))):
            return _looked_up(node, node["members"], by_text=False)
        if node.get("type") == "literal" and any(isinstance(each, Enum) for each in node["expected"]):
            return _looked_up(node, node["expected"], by_text=False)
        if node.get("type") == "union":
            self._check_arms(node)
        parts = {key: self._part(key, part) for key, part in node.items()}
        return node if all(part is node[key] for key, part in parts.items()) else parts

    def _part(self, key: str, part: Any) -> Any:
        if key == "keys_schema":
            return self._key(part)
        if key == "config" and self._config:
            return {**self._config, **part}
        return part if key in _NOT_SCHEMA else self.changed(part)

    def _key(self, node: Any) -> Any:
        """What stands for a key. Serializers of the user's own may write anything as text."""
        found = self._known.get(node["schema_ref"], node) if node["type"] == "definition-ref" else node
        kind = found["type"]
        if "serialization" in found:
            return node
        if kind in _NO_KEYS or (kind == "literal" and None in found["expected"]):
            raise no_key(_NO_KEYS.get(kind, "None"))
        if kind == "enum" and not all(type(value) is str for value in _values(found["members"])):
            return _looked_up(found, found["members"], by_text=True)
        if kind == "literal" and not all(type(value) is str for value in found["expected"]):
            return _looked_up(found, found["expected"], by_text=True)
        if kind == "union":
            self._check_arms(found)
            return {**found, "choices": [self._choice(choice, self._key) for choice in found["choices"]]}
        if kind in _TAKEN_OFF and "schema" in found:
            return {**found, "schema": self._key(found["schema"])}
        return node

    def _choice(self, choice: Any, change: Callable[[Any], Any]) -> Any:
        return (change(choice[0]), choice[1]) if isinstance(choice, tuple) else change(choice)

    def _check_arms(self, node: dict[str, Any]) -> None:
        kinds = {cast("Any", part[0] if isinstance(part, tuple) else part)["type"] for part in node["choices"]}
        if kinds >= {"set", "frozenset"}:
            raise ValueError("a set and a frozenset are written alike, and equal: declare one of them")


def _is(one: object, other: object) -> bool:
    return one is other


def _values(members: list[Any]) -> list[Any]:
    return [member.value if isinstance(member, Enum) else member for member in members]


def _is_scalar(value: object) -> bool:
    """Whether JSON gives it back as it is."""
    return value is None or type(value) in (str, int, bool) or (type(value) is float and math.isfinite(value))


def _looked_up(node: dict[str, Any], members: list[Any], *, by_text: bool) -> dict[str, Any]:
    from pydantic_core import core_schema  # noqa: PLC0415  (not required; the node is its own)

    cls, forms = node.get("cls", object), _forms(members, by_text=by_text)
    table = list(zip(members, forms, strict=True))
    read, write = functools.partial(_read, table), functools.partial(_write, table)
    if by_text and issubclass(cls, Flag):
        read, write = functools.partial(_read_flag, cls), functools.partial(_write_flag, cls)
    schema: Any = core_schema.no_info_plain_validator_function(
        read,
        serialization=core_schema.plain_serializer_function_ser_schema(write),
        metadata={"pydantic_js_functions": [functools.partial(_schema, cls, forms)]},
    )
    return {**schema, "ref": node["ref"]} if "ref" in node and not by_text else schema


def _forms(members: list[Any], *, by_text: bool) -> list[Any]:
    """What each is written as: its value if JSON gives that back, or else its name."""
    by_value = _texts(_values(members), by_text=by_text)
    if all(map(_is_scalar, _values(members))) and _are_apart(by_value):
        return by_value
    by_name = _texts([each.name if isinstance(each, Enum) else each for each in members], by_text=by_text)
    if not _are_apart(by_name):
        raise ValueError("two of its values would be written alike: give the enum's member another name")
    return by_name


def _are_apart(forms: list[Any]) -> bool:
    return len(set(map(repr, forms))) == len(forms)


def _texts(values: list[Any], *, by_text: bool) -> list[Any]:
    return [json.dumps(value, default=str) if by_text and type(value) is not str else value for value in values]


def _schema(cls: type, forms: list[Any], *_: Any) -> dict[str, Any]:
    return {"title": cls.__name__, "enum": forms}


def _read(table: list[tuple[Any, Any]], given: Any) -> Any:
    """As it is written, or as a caller may give it: what is there itself goes before another one's value."""
    for meant in (_itself, _written, _value):
        for member, form in table:
            each = meant(member, form)
            if given is each or (type(given) is type(each) and given == each):
                return member
    raise ValueError(f"Input should be one of {', '.join(repr(form) for _, form in table)}")


def _itself(member: Any, _: Any) -> Any:
    return member


def _written(_: Any, form: Any) -> Any:
    return form


def _value(member: Any, _: Any) -> Any:
    return member.value if isinstance(member, Enum) else member


def _write(table: list[tuple[Any, Any]], value: Any) -> Any:
    for member, form in table:
        if value is member or (not isinstance(member, Enum) and type(value) is type(member) and value == member):
            return form
    raise _another()


def _read_flag(cls: Any, given: Any) -> Any:
    return given if isinstance(given, cls) else cls(int(given))


def _write_flag(cls: Any, value: Any) -> str:
    if isinstance(value, cls):
        return str(value.value)
    raise _another()


def _another() -> Exception:
    from pydantic_core import PydanticSerializationUnexpectedValue  # noqa: PLC0415  (as above)

    return PydanticSerializationUnexpectedValue("of another alternative")
