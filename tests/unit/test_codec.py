"""The codec: what goes in comes back, in one way only, or is refused with the place where it sits."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypedDict
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretStr, field_validator

from fanwood.codec import MAX_DEPTH, codec_for
from fanwood.errors import InputValidationError, PayloadEncodingError, PayloadError
from tests.chaos.scale import scaled


class Point(BaseModel):
    x: int
    y: float | None = None


class Bag(BaseModel):
    tags: set[str] = set()
    groups: frozenset[frozenset[int]] = frozenset()
    more: dict[str, Any] = {}


class Other(BaseModel):
    name: str


class Tree(BaseModel):
    kids: list[Tree] = []


class Aliased(BaseModel):
    n: int = Field(alias="N")


class Explosive(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def explode(cls, value: int) -> int:
        raise RecursionError("boom") if value == 1 else KeyError("k")


@dataclasses.dataclass
class Plain:
    n: int
    when: datetime | None = None
    points: list[Point] = dataclasses.field(default_factory=list)
    sizes: dict[int, set[str]] = dataclasses.field(default_factory=dict)


class Typed(TypedDict):
    a: int
    b: str


class Packed(msgspec.Struct, rename="camel"):
    first_name: str
    blob: bytes = b""


NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        (Point, Point(x=1, y=2.5)),
        (Bag, Bag(tags={"a", "b"}, groups=frozenset({frozenset({1}), frozenset({2, 3})}), more={"z": [1]})),
        (Aliased, Aliased(N=3)),
        (Tree, Tree(kids=[Tree(), Tree(kids=[Tree()])])),
        (Plain, Plain(1, NOW, [Point(x=1)], {2: {"a", "b"}, 1: set()})),
        (Typed, {"a": 1, "b": "x"}),
        (Packed, Packed("a", b"\xff\x00")),
        (list[Point], [Point(x=1), Point(x=2)]),
        (Point | None, None),
        (Point | Other, Other(name="n")),
        (list[Point | int], [1, Point(x=2)]),
        (dict[int, str], {1: "a", 20: "b"}),
        (dict, {"a": [1, None]}),
        (datetime, NOW),
        (Decimal, Decimal("1.10")),
        (set[str], {"a", "b"}),
        (None, None),
        (Any, 2**70),
        (Any, "\x00"),
        (Any, {"b": 1, "a": [None, True, 1.5]}),
    ],
)
def test_values_come_back(declared: Any, value: Any) -> None:
    codec = codec_for(declared)
    data = codec.encode(value)
    assert codec.decode(data) == value
    assert codec.decode(data.decode()) == value
    assert codec.encode(codec.decode(data)) == data


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def cyclic() -> Any:
    value: dict[str, Any] = {"a": []}
    value["a"].append(value)
    return value


@pytest.mark.parametrize(
    ("declared", "value", "path", "reason"),
    [
        (Any, {"a": [1, math.nan]}, "input.a[1]", "nan"),
        (Any, math.inf, "input", "inf"),
        (Any, {"when": {1: 2}}, "input.when[1]", "str keys"),
        (Any, [b"x"], "input[0]", "base64"),
        (Any, {"a b": {1, 2}}, "input['a b']", "set"),
        (Any, "\ud800", "input", "surrogate"),
        (Any, {"\ud800": 1}, "input", "surrogate"),
        (Any, [object()], "input[0]", "object"),
        (Any, cyclic(), "input.a[0]", "refers to itself"),
        (Any, nested(10_000), "input[0]", "200 levels"),
        (Any, {"n": 10**5000}, "input.n", "digits"),
        (Any, Plain(1, sizes={1: {2.0, math.nan}}), "input.sizes[1]", "nan"),  # type: ignore[dict-item]
        (Point, Point(x=1, y=math.nan), "input.y", "nan"),
        (Bag, Bag(more={"k": {1: 1}}), "input.more.k[1]", "str keys"),
        (Bag, Bag(more={"k": b"x"}), "input.more.k", "base64"),
        (Bag, Bag(more={"k": SecretStr("s")}), "input.more.k", "SecretStr"),
        (Plain, Plain(1, points=[Point(x=1, y=math.inf)]), "input.points[0].y", "inf"),
        (dict[str, Any], {"s": {1}}, "input.s", "set"),
        (dict, cyclic(), "input.a[0]", "refers to itself"),
    ],
)
def test_hostile_values_are_refused_with_their_place(declared: Any, value: Any, path: str, reason: str) -> None:
    with pytest.raises(PayloadEncodingError) as caught:
        codec_for(declared).encode(value, "task t")
    assert caught.value.path.startswith(path)
    assert reason in caught.value.reason


def test_depth_limit_is_exact_both_ways() -> None:
    codec = codec_for(Any)
    data = codec.encode(nested(MAX_DEPTH))
    assert codec.decode(data) == nested(MAX_DEPTH)
    for declared in (Any, Tree, list[Any]):
        with pytest.raises(PayloadEncodingError, match=r"can't be decoded: its JSON text: .* 200 levels"):
            codec_for(declared).decode(b"[" + data + b"]")
    with pytest.raises(PayloadError):
        codec.decode(b"[" * 100_000)
    assert codec.decode(codec.encode(["[" * 1000, '"[\\'] * 300)) == ["[" * 1000, '"[\\'] * 300


@pytest.mark.parametrize(
    ("declared", "value", "paths"),
    [
        (Point, {"x": "no", "y": "no"}, {"x", "y"}),
        (Point, None, {"x"}),
        (list[Point], [{"x": 1}, {"x": "no", "y": "no"}], {"[1].x", "[1].y"}),
        (Typed, {"a": "no"}, {"a", "b"}),
        (Plain, {"n": "no", "points": [{"x": 1}, {"x": "a"}]}, {"n", "points[1].x"}),
        (Packed, {}, {"firstName"}),
        (int, "x", {""}),
        (Explosive, {"n": 1}, {""}),
        (Explosive, {"n": 2}, {""}),
    ],
)
def test_all_problems_are_told_with_paths(declared: Any, value: Any, paths: set[str]) -> None:
    codec = codec_for(declared)
    with pytest.raises(InputValidationError) as caught:
        codec.encode(value, "task t")
    assert {path for path, _ in caught.value.problems} == paths
    if value is not None:
        with pytest.raises(InputValidationError) as caught:
            codec.decode(msgspec.json.encode(value))
        assert {path for path, _ in caught.value.problems} == paths


def test_an_instance_spoilt_after_validation_is_refused() -> None:
    point = Point(x=1)
    point.x = "no"  # type: ignore[assignment]
    with pytest.raises(InputValidationError):
        codec_for(Point).encode(point)


def test_equal_values_have_equal_canonical_bytes() -> None:
    def canonical(declared: Any, value: Any) -> bytes:
        return codec_for(declared).canonical(codec_for(declared).encode(value))

    assert canonical(Point, {"y": 2, "x": 1}) == canonical(Point, Point(x=1, y=2.0))
    assert canonical(Plain, {"n": 1}) == canonical(Plain, Plain(1))
    assert canonical(Typed, {"b": "x", "a": 1}) == canonical(Typed, {"a": 1, "b": "x"})
    assert canonical(dict, {"b": {"d": 1, "c": 1}, "a": 1}) == canonical(dict, {"a": 1, "b": {"c": 1, "d": 1}})
    assert canonical(Any, [{"b": 2**70, "a": 1.5}]) == canonical(Any, [{"a": 1.5, "b": 2**70}])


@pytest.mark.parametrize("declared", [Any, dict, dict[str, int], Typed, Bag])
def test_keys_keep_their_order(declared: Any) -> None:
    value: Any = {"b": 1, "a": 2}
    given = {"more": value} if declared is Bag else {"b": "x", "a": 1} if declared is Typed else value
    back = codec_for(declared).decode(codec_for(declared).encode(given))
    assert list(back.more if declared is Bag else back) == ["b", "a"]


@pytest.mark.parametrize("value", [1, "x", None, 1.5, [1], {"a": 1}, Other(name="n"), NOW, UUID(int=1), (1, 2)])
@pytest.mark.parametrize("declared", [Point, Plain, int, Any, list[Point]])
def test_outputs_of_another_type_are_written_as_they_are(declared: Any, value: Any) -> None:
    assert codec_for(declared).encode(value, "t", "output") == codec_for(Any).encode(value)


def test_schemas() -> None:
    assert "properties" in (codec_for(Point).schema() or {})
    assert "Tree" in str(codec_for(list[Tree]).schema())
    assert codec_for(Any).schema() is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@settings(max_examples=scaled(200, 25), deadline=None)
@given(JSON)
def test_json_round_trips(value: Any) -> None:
    codec = codec_for(Any)
    assert codec.decode(codec.encode(value)) == value


PROGRAM = """
from enum import Enum
from typing import Any
from dataclasses import dataclass
from pydantic import BaseModel
from fanwood.codec import codec_for
class E(Enum):
    a = "x"; b = "y"; c = "z"
class M(BaseModel):
    s: set[str]; f: frozenset[frozenset[str]]; a: Any; e: set[E]
@dataclass
class D:
    s: set[str]; f: frozenset[frozenset[str]]; m: M; e: set[E]
s = set("abcdefgh"); f = frozenset(frozenset(x) for x in ("ab", "cde", "f")); e = set(E)
m = M(s=s, f=f, a={k: 1 for k in s}, e=e)
d = D(s, f, m, e)
print(*(codec_for(t).canonical(codec_for(t).encode(v)) for t, v in ((M, m), (D, d), (list[D], [d]))))
"""


@pytest.mark.long
def test_bytes_do_not_depend_on_the_hash_seed() -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, env=env)
        for env in ({**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)} for seed in "123")
    ]
    outputs = {process.communicate()[0] for process in running}
    assert len(outputs) == 1
    assert b"".join(outputs)


def test_the_fast_path_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = codec_for(Point)
    assert codec.orderly
    assert not codec_for(Bag).orderly
    monkeypatch.setattr(codec, "_encode_carefully", None)
    assert codec.encode(Point(x=1, y=1.0)) == b'{"x":1,"y":1.0}'
