"""What a JSON schema is held against, and what it is not."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import pytest
from msgspec import Meta

from fanwood.codec import codec_for
from fanwood.codec.schemas import MOST, faults

POINT = {"$ref": "#/$defs/Point", "$defs": {"Point": {"type": "object", "properties": {"x": {"type": "integer"}}}}}
TREE: dict[str, Any] = {
    "$ref": "#/$defs/T",
    "$defs": {"T": {"type": "object", "properties": {"l": {"anyOf": [{"$ref": "#/$defs/T"}, {"type": "null"}]}}}},
}


@pytest.mark.parametrize(
    ("schema", "fits", "faulty"),
    [
        ({"type": "integer"}, [1, 2.0, -(10**30)], [1.5, "1", True, None]),
        ({"type": ["string", "null"]}, ["", None], [1, False]),
        ({"type": "boolean"}, [True], [1, 0, "true"]),
        ({"type": "number", "minimum": 0, "exclusiveMaximum": 1}, [0, 0.5], [-1, 1]),
        ({"enum": ["a", 1, None]}, ["a", 1, None], ["b", True]),
        ({"const": 0}, [0], [False, 1]),
        ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "äöü"], ["a", "abcd"]),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 2}, [[], [1, 2]], [[1, 2, 3], ["a"]]),
        ({"type": "array", "prefixItems": [{"type": "string"}], "items": False}, [["a"], []], [[1], ["a", "b"]]),
        ({"type": "object", "required": ["a"]}, [{"a": 1}], [{}, [], None]),
        ({"type": "object", "properties": {"a": True}, "additionalProperties": False}, [{"a": 1}], [{"b": 1}]),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, [{"x": 1}], [{"x": "1"}]),
        ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, [1, 2, "text"], [0, 3]),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, [1, "1"], [None]),
        (POINT, [{"x": 1}, {}], [{"x": "a"}, 1]),
        (TREE, [{"l": {"l": None}}], [{"l": {"l": 3}}]),
        ({"$ref": "https://elsewhere/schema"}, [1, None], []),
        ({"$ref": "#/nowhere"}, [1], []),
        ({"pattern": "(a+)+$"}, ["a" * 40 + "b"], []),
        (True, [1], []),
    ],
)
def test_what_fits(schema: object, fits: list[object], faulty: list[object]):
    assert [faults(value, schema) for value in fits] == [[]] * len(fits)
    assert all(faults(value, schema) for value in faulty)


@pytest.mark.parametrize(
    ("declared", "fits", "faulty"),
    [
        (date, "2026-02-28", "2026-02-30"),
        (Annotated[time, Meta(tz=True)], "12:00:00", "noon"),
        (timedelta, "PT1H30M", "1h30m"),
        (UUID, "01a221ed-164f-7649-abf8-767fac86e0ad", "01a221ed"),
        (Decimal, "0.25", "a quarter"),
        (bytes, "eA==", "??"),
        (dict[str, list[date | None]], {"a": [None, "2026-01-31"]}, {"a": ["tomorrow"]}),
        (Annotated[datetime, Meta(tz=True)], "2026-01-31T12:00:00Z", "2026-01-31"),
        (list[Annotated[str, Meta(pattern="^(a+)+$")]], ["a" * 40], ["a" * 40, "a" * 40 + "b"]),
    ],
)
def test_texts_that_are_to_be_something(declared: Any, fits: Any, faulty: Any):
    schema = codec_for(declared).schema()
    assert faults(fits, schema, formats=True) == []
    (told,) = faults(faulty, schema, formats=True)
    assert "must be a" in told or "must be bytes" in told or told == "input[1]: must match the pattern '^(a+)+$'"
    assert faults(faulty, schema) == []  # a model may take it, and looks again


def test_places_are_named():
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}, "required": ["b"]}
    assert faults({"a": [1, "x"]}, schema) == ["input.b: is missing", "input.a[1]: must be integer"]


def test_what_goes_in_circles_ends():
    circle = {"$ref": "#"}
    assert faults(1, circle) == []
    assert len(faults(["x"] * 1000, {"items": {"type": "integer"}})) == MOST


@pytest.mark.parametrize(
    "schema",
    [
        {"minLength": "3"}, {"minLength": {}, "maxLength": None}, {"enum": None}, {"enum": {"a": 1}}, {"type": [[1]]},
        {"type": 1.5}, {"properties": "abc", "required": 4}, {"properties": True}, {"allOf": 7}, {"anyOf": {"a": 1}},
        {"prefixItems": True}, {"prefixItems": {"a": {}}}, {"required": [[1], None]}, {"$ref": [1]}, {"minimum": "1"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", ["x", 1, [1], {"a": 1}, None])
def test_what_is_no_schema_is_passed_over(schema: dict[str, object], value: object):
    assert faults(value, schema) == []


def test_fields_by_patterns_are_not_taken_for_others():
    schema = {"patternProperties": {"^x-": {"type": "string"}}, "additionalProperties": {"type": "integer"}}
    assert faults({"x-a": "text"}, schema) == []


@pytest.mark.long
def test_alternatives_of_alternatives_come_to_an_end():
    endless = {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}
    assert faults({"a": 1}, endless) == []


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ({"a": "x"}, ["input.a: must be integer"]),  # it is not told to be a number
        ({}, ["input.a: is missing"]),
        ("x", ["input: must be integer or object"]),
        (1.5, ["input: must be integer or object"]),
        (None, ["input: must be integer or object"]),
    ],
)
def test_what_is_wrong_is_told_of_the_alternative_that_was_meant(value: Any, wrong: list[str]) -> None:
    inner = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    assert faults(value, {"anyOf": [{"type": "integer"}, inner]}) == wrong


def test_what_may_be_left_out_must_be_what_it_is() -> None:
    assert faults("x", {"anyOf": [{"type": "integer"}, {"type": "null"}]}) == ["input: must be integer"]
    assert faults(None, {"anyOf": [{"type": "integer"}, {"type": "string"}]}) == ["input: must be integer or string"]


TAGGED = [
    {"type": "object", "properties": {"kind": {"const": "a"}, "x": {"type": "integer"}}, "required": ["kind"]},
    {"type": "object", "properties": {"kind": {"const": "b"}, "y": {"type": "integer"}}, "required": ["kind", "y"]},
]


@pytest.mark.parametrize(
    ("value", "schemas", "wrong"),
    [
        (-5, [{"type": "string"}, {"type": "integer", "minimum": 0}], "input: must be at least 0"),
        (-5, [{"type": "null"}, {"type": "integer", "minimum": 0}], "input: must be at least 0"),
        (3, TAGGED, "input: must be object"),
        ({"kind": "b"}, TAGGED, "input.y: is missing"),
        ({"kind": "b", "y": "z"}, TAGGED, "input.y: must be integer"),
        ({"kind": "b", "y": "z"}, [*TAGGED, {"type": "null"}], "input.y: must be integer"),
        ({"kind": "c"}, TAGGED, "input.kind: must be 'a'"),
        (3, [*TAGGED, {"type": "null"}], "input: fits none of what may stand here"),
        (3, [{"type": "null"}, {"type": "null"}], "input: must be null"),
    ],
)
def test_the_alternative_that_was_meant_is_of_the_values_kind_and_tag(value: Any, schemas: Any, wrong: str) -> None:
    assert faults(value, {"anyOf": schemas}) == [wrong]
