"""What is done about values that come back as something else: inputs are refused, outputs are stored and told of."""

from __future__ import annotations

import dataclasses
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import pytest
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from fanwood.codec import codec_for
from fanwood.errors import PayloadEncodingError, PayloadError

BERLIN = ZoneInfo("Europe/Berlin")
AMBIGUOUS = [datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=fold) for fold in (0, 1)]
SKIPPED = [datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN, fold=fold) for fold in (0, 1)]


class Pair(NamedTuple):
    a: int
    b: int


class Number(BaseModel):
    n: int
    name: str | None = None


class More(Number):
    more: int = 1


@dataclasses.dataclass
class Grows:
    items: list[int]

    def __post_init__(self) -> None:
        self.items.append(0)


class GrowsModel(BaseModel):
    items: dict[str, int]

    @field_validator("items")
    @classmethod
    def _add(cls, items: dict[str, int]) -> dict[str, int]:
        return {**items, str(len(items)): 0}


class GrowsStruct(msgspec.Struct):
    items: list[int]

    def __post_init__(self) -> None:
        self.items.append(0)


@dataclasses.dataclass
class Counts:
    of: dict[str, int]


DICTS: list[Any] = [Counter("aab"), defaultdict(int, a=2, b=1), OrderedDict(a=2, b=1)]
CONTAINERS: list[tuple[Any, Any, Any]] = [
    *((hint, value, dict(value)) for hint in (dict, dict[str, int]) for value in DICTS),
    *((list[dict[str, int]], [value], [dict(value)]) for value in DICTS),
    *(
        (hint, value, [1, 2])
        for hint in (list, list[int], Sequence[int])
        for value in ((1, 2), deque([1, 2]), Pair(1, 2))
    ),
    (tuple[int, ...], Pair(1, 2), (1, 2)),
    (set[int], frozenset({1}), {1}),
    (frozenset[int], {1}, frozenset({1})),
]


@pytest.mark.parametrize(("declared", "value", "back"), CONTAINERS, ids=ascii)
def test_containers_of_another_kind_are_good_outputs(
    declared: Any, value: Any, back: Any, caplog: pytest.LogCaptureFixture
) -> None:
    codec = codec_for(declared)
    assert codec.decode(codec.encode(value, "it", "output")) == back
    assert not caplog.records


@pytest.mark.parametrize("value", DICTS, ids=ascii)
def test_subclasses_of_dict_are_good_inputs(value: Any) -> None:
    for declared, given, back in ((dict, value, dict(value)), (Counts, Counts(value), Counts(dict(value)))):
        assert codec_for(declared).decode(codec_for(declared).encode(given)) == back


OTHERWISE: list[tuple[Any, Any]] = [
    (Grows, Grows([1])),
    (GrowsStruct, GrowsStruct([1])),
    (GrowsModel, GrowsModel(items={"a": 1})),
    (list[Grows], [Grows([1])]),
    (Number, More(n=1)),
    (Number, Number.model_construct(n="3")),
    (Number, Number.model_construct(name="without n")),
    (Number, Number(n=10**4400)),
]


@pytest.mark.parametrize(("declared", "value"), OTHERWISE, ids=map(str, range(8)))
def test_what_comes_back_otherwise(declared: Any, value: Any, caplog: pytest.LogCaptureFixture) -> None:
    """As an input it is refused; as an output it is stored, and told of."""
    with pytest.raises(PayloadError):
        codec_for(declared).encode(value)
    assert codec_for(declared).encode(value, "the output of f", "output")
    (record,) = [record for record in caplog.records if record.name == "fanwood"]
    assert record.getMessage().startswith("the output of f does not come back as it is, and is stored so: output")


FORMLESS: list[tuple[Any, Any]] = [
    (Any, float("nan")),
    (Any, {1}),
    (str, "\ud800"),
    (Number, Number(n=1, name="\ud800")),
]


@pytest.mark.parametrize(("declared", "value"), FORMLESS, ids=["nan", "set", "text", "model"])
def test_outputs_that_have_no_form_fail(declared: Any, value: Any) -> None:
    with pytest.raises(PayloadEncodingError):
        codec_for(declared).encode(value, "it", "output")


@pytest.mark.parametrize("when", AMBIGUOUS + SKIPPED, ids=str)
@pytest.mark.parametrize("root", ["input", "output"])
def test_hours_that_come_twice_or_never(when: datetime, root: str, caplog: pytest.LogCaptureFixture) -> None:
    cls = dataclasses.make_dataclass("At", [("at", datetime)])
    for declared, value in (
        (datetime, when),
        (set[datetime], {when}),
        (dict[datetime, int], {when: 1}),
        (cls, cls(when)),
    ):
        back = codec_for(declared).decode(codec_for(declared).encode(value, "it", root))
        found = back.at if isinstance(back, cls) else back if isinstance(back, datetime) else next(iter(back))
        assert found.timestamp() == when.timestamp()
    assert not caplog.records


# --- the short way ---------------------------------------------------------------------------------------------------


class Renamed(BaseModel):
    n: int = Field(alias="m")


class Checked(BaseModel):
    n: int = Field(gt=0)


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    n: int


class Hidden(BaseModel):
    n: int
    secret: int = Field(default=1, exclude=True)


class Private(BaseModel):
    n: int
    _seen: int = PrivateAttr(default=0)


class Nested(BaseModel):
    inner: Number


def simple(declared: Any) -> bool:
    codec: Any = codec_for(declared)
    return bool(codec._simple)


def test_only_what_nothing_can_change_is_not_read_back() -> None:
    assert simple(Number)
    assert not any(map(simple, (Renamed, Checked, Open, Hidden, Private, Nested, GrowsModel, int | Number)))


def test_the_short_way_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    codec: Any = codec_for(Number)
    monkeypatch.setattr(codec, "_parse", lambda data: pytest.fail("it was read back"))
    assert codec.encode(Number(n=1, name="é")) == b'{"n":1,"name":"\xc3\xa9"}'
    with pytest.raises(pytest.fail.Exception):
        codec.encode(Number.model_construct(n=True))
