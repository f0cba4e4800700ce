"""What a JSON schema is held against, and what it is not."""

from __future__ import annotations

from typing import Any

import pytest

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


def test_places_are_named():
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}, "required": ["b"]}
    assert faults({"a": [1, "x"]}, schema) == ["input.b: is missing", "input.a[1]: must be integer"]


def test_what_goes_in_circles_ends():
    circle = {"$ref": "#"}
    assert faults(1, circle) == []
    assert len(faults(["x"] * 1000, {"items": {"type": "integer"}})) == MOST
