"""What goes in comes out equal, and of the same type; or it is refused, at the declaration or at the call."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import logging
import pathlib
import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from re import Pattern
from types import UnionType
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    Protocol,
    SupportsInt,
    TypedDict,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)
from uuid import UUID

import attrs
import msgspec
import pytest
import typing_extensions
from annotated_types import Gt
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    IPvAnyAddress,
    PositiveInt,
    PrivateAttr,
    PydanticUserError,
    RootModel,
    create_model,
)
from pydantic import dataclasses as pydantic_dataclasses

from fanwood import EmptyModel
from fanwood.codec import codec_for
from fanwood.errors import DeclarationError, InputValidationError, PayloadEncodingError, PayloadError
from tests.chaos.scale import scaled

T = TypeVar("T")


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Word(enum.StrEnum):
    YES = "y"
    NO = "n"


class Mixed(enum.Enum):
    ONE = 1
    TWO = "two"


class Perm(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


def is_a(kind: type[enum.Enum], value: object) -> bool:
    """Of a flag that it does not know Python 3.11.2 takes what it knows."""
    try:
        kind(value)
    except ValueError:
        return False
    return True


class Bits(enum.IntFlag):
    LOW = 1
    HIGH = 8


class Level(enum.IntEnum):
    HIGH = 7


class Half(enum.Enum):
    SOME = 0.5


class Point(enum.Enum):
    LEFT = (0, 1)
    RIGHT = (2, 3)


@dataclasses.dataclass
class A:
    x: int


@dataclasses.dataclass
class B:
    y: int


@dataclasses.dataclass
class A2:
    x: int


@dataclasses.dataclass
class Derived(A):
    z: int = 0


class Listed(enum.Enum):
    ONE = [1]  # noqa: RUF012
    OBJECT = A2(1)
    DAY = date(2026, 1, 2)
    NAUGHT = None


@dataclasses.dataclass
class Empties:
    one: EmptyModel
    more: list[EmptyModel | None]


@dataclasses.dataclass(eq=False)
class Plain:
    items: list[A]


@dataclasses.dataclass
class Lazy:
    n: int
    cache: int = dataclasses.field(init=False, repr=False, compare=False)


@dataclasses.dataclass
class Box(Generic[T]):
    item: T


@dataclasses.dataclass
class Constrained:
    n: Annotated[int, Gt(0)]


class Pair(NamedTuple):
    a: int
    b: str = "x"


class Sets(NamedTuple):
    numbers: set[int]


class Generics(NamedTuple, Generic[T]):
    items: T
    name: str = ""


class Typed(TypedDict, total=False):
    color: Color
    pair: Pair


class Packed(msgspec.Struct, frozen=True):
    n: int
    when: datetime | None = None


class PackedOne(msgspec.Struct, tag=True):
    n: int


class PackedTwo(msgspec.Struct, tag=True):
    n: int


class Model(BaseModel):
    n: int
    items: list[A] = []
    perm: Perm = Perm.READ


class Enums(BaseModel):
    point: Point
    by_point: dict[Point, list[Point | None]] = {}
    by_perm: dict[Perm, int] = {}
    binary: bytes = b""


class SubModel(Model):
    m: int = 0


class Numbers(RootModel[list[int]]):
    pass


@pydantic_dataclasses.dataclass
class Checked:
    n: PositiveInt


PYDANTIC_TAKES_TYPED_DICTS = sys.version_info >= (3, 12)  # it needs to know their bases

UserId = NewType("UserId", int)
OtherTyped = cast("Any", typing_extensions.TypedDict)("OtherTyped", {"n": int, "more": list[Typed]}, total=False)


@dataclasses.dataclass
class Kept:
    n: int
    added: dataclasses.InitVar[int] = 0


@dataclasses.dataclass
class Unkept:
    n: int
    added: dataclasses.InitVar[int]


class WithUnkept(BaseModel):
    items: list[Unkept] = []


class Named(str):
    __slots__ = ()


class Private(BaseModel):
    n: int
    _seen: int = PrivateAttr(default=0)
    _since: object = PrivateAttr(default_factory=object)


@attrs.define
class OfAttrs:
    _a: int
    b: int = 3


def seen(private: Private) -> Private:
    private._seen = 7
    return private


Ambiguous = Literal[Color.RED, 1]


NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

TRAVEL: list[tuple[Any, Any]] = [
    (Color, Color.RED),
    (list[Color], [Color.RED, Color.BLUE]),
    (dict[Color, int], {Color.RED: 1}),
    (Color | None, Color.BLUE),
    (Word, Word.YES),
    (Mixed, Mixed.TWO),
    (Mixed, Mixed.ONE),
    (Perm, Perm.READ | Perm.WRITE),
    (Perm, Perm(0)),
    (Half, Half.SOME),
    (Bits, Bits.LOW | Bits.HIGH),
    (Level, Level.HIGH),
    (dict[str, Perm], {"a": Perm.READ}),
    (list[Half], [Half.SOME]),
    (Point, Point.LEFT),
    (list[Point], [Point.RIGHT]),
    (dict[Point, int], {Point.LEFT: 1}),
    (Point | Color | None, Color.RED),
    (Literal[Point.LEFT, "x"], Point.LEFT),
    (dict[Literal[Point.LEFT, 1], int], {Point.LEFT: 1, 1: 2}),
    (dict[Mixed, int], {Mixed.ONE: 1, Mixed.TWO: 2}),
    (dict[Half | Color, int], {Half.SOME: 1, Color.RED: 1}),
    (dict[Color, PositiveInt], {Color.BLUE: 1}),
    (dict[Perm, int], {Perm(0): 0, Perm.READ | Perm.WRITE: 1}),
    *((list[Listed], [each]) for each in Listed),
    *((dict[Listed, int], {each: 1}) for each in Listed),
    (Enums, Enums(point=Point.LEFT, by_point={Point.RIGHT: [None, Point.LEFT]}, by_perm={Perm.READ | Perm.WRITE: 1})),
    (list[Enums | Half], [Enums(point=Point.LEFT, binary=b"\xff>?"), Half.SOME]),
    (tuple[bytes, Half], (b"\xff>?", Half.SOME)),
    (dict[bytes, Box[Half]], {b"\xff": Box(Half.SOME)}),
    (Empties, Empties(EmptyModel(a=[1], b={"c": None}), [EmptyModel(), None])),
    (Box[float | str], Box(1.0)),
    (A | B, B(1)),
    (A | B, A(1)),
    (list[A | B], [A(1), B(2)]),
    (A | None, None),
    (Box[int], Box(1)),
    (Box[set[int]], Box({1, 2})),
    (Box[Box[dict[int, bytes]]], Box(Box({1: b"x"}))),
    (Box[A | B], Box(B(1))),
    (Plain, Plain([A(1)])),
    (Pair, Pair(1)),
    (list[Pair], [Pair(1, "y")]),
    (tuple[Sets, ...], (Sets({1, 2}),)),
    (Generics[set[int]], Generics({1})),
    (dict[str, Generics[Generics[bytes]] | None], {"a": Generics(Generics(b"\xff", "x"))}),
    (Sets | tuple[int, int], Sets({1})),
    (list[Sets | Generics[int]], [Sets({1}), Generics(1, "x")]),
    (Sets | tuple[int, bytes], (1, b"\xff")),
    (Typed, {"color": Color.RED, "pair": Pair(2)}),
    (Typed, {}),
    (OtherTyped, {"n": 1, "more": [{"color": Color.RED}, {}]}),
    (Kept, Kept(1)),
    (Packed, Packed(1, NOW)),
    (PackedOne | PackedTwo, PackedTwo(1)),
    (Model, Model(n=1, items=[A(1)], perm=Perm.WRITE)),
    (Numbers, Numbers([1, 2])),
    (Checked, Checked(1)),
    (Constrained, Constrained(1)),
    (UserId, UserId(7)),
    (Literal["a", 1], "a"),
    (pathlib.PurePosixPath, pathlib.PurePosixPath("a/b")),
    (Counter, Counter("aab")),
    (deque[int], deque([1])),
    (Decimal, Decimal("1E+400")),
    (Decimal, Decimal("-0.10")),
    (list[Decimal], [Decimal("-Infinity")]),
    (Ambiguous, Color.RED),
    (Ambiguous, 1),
    (Literal[Word.YES, "y"], "y"),
    (Word | str, "y"),
    (Level | int, 1),
    (Private, Private(n=1)),
    (IPvAnyAddress, IPv4Address("10.0.0.1")),
    (list[IPvAnyAddress], [IPv6Address("::1")]),
    (float, 1e308),
    (timedelta, timedelta(microseconds=-1)),
    (bytes, b"\xff\0"),
    (date, date.max),
    (time, time(1, 2, 3, 4)),
    (UUID, UUID(int=2**127)),
    (set[Color], {Color.RED}),
    (frozenset[tuple[int, str]], frozenset({(1, "a")})),
    (dict[int, list[Color]], {1: [Color.RED]}),
    (tuple[int, ...], (1, 2)),
    (dict[bool, int], {True: 1, False: 2}),
    (datetime, datetime(2026, 1, 2)),
    (datetime, NOW.astimezone(timezone(timedelta(hours=5, minutes=45)))),
    (str, "\0é"),
    *(((dict[str, int] | Typed, {"pair": Pair(2)}),) if PYDANTIC_TAKES_TYPED_DICTS else ()),
]


def alike(a: Any, b: Any) -> bool:
    """Equal, with equal types all the way down. (An IntEnum in the place of an int is its number.)"""
    if type(a) is not type(b):
        return isinstance(b, (Level, Bits, Word)) and a == b
    if isinstance(a, dict):
        return len(a) == len(b) and all(alike(x, y) for x, y in zip([*a, *a.values()], [*b, *b.values()], strict=True))
    if isinstance(a, (list, tuple, deque)):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, (set, frozenset)):
        return a == b and all(any(map(alike, [x] * len(b), b)) for x in a)
    names = [f.name for f in dataclasses.fields(a)] if dataclasses.is_dataclass(a) else None
    names = list(type(a).model_fields) if isinstance(a, BaseModel) else names
    names = list(a.__struct_fields__) if isinstance(a, msgspec.Struct) else names
    return a == b if names is None else all(alike(getattr(a, name), getattr(b, name)) for name in names)


def test_a_whole_number_will_do_for_a_float() -> None:
    codec = codec_for(Box[float | str])
    assert codec.decode(codec.encode(Box(1), "it")) == Box(1.0)


def shown(each: Any) -> str:
    return ascii(each)[:40]


@pytest.mark.parametrize("root", ["input", "output"])
@pytest.mark.parametrize(("declared", "value"), TRAVEL, ids=shown)
def test_what_travels(declared: Any, value: Any, root: str) -> None:
    codec = codec_for(declared)
    assert alike(codec.decode(codec.encode(value, "it", root)), value)


@contextlib.contextmanager
def warnings_logged() -> Iterator[list[str]]:
    """(Hypothesis wants no fixtures.)"""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("fanwood").addHandler(handler)
    try:
        yield said
    finally:
        logging.getLogger("fanwood").removeHandler(handler)


# --- types made of types -------------------------------------------------------------------------------------------

LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, st.integers()),
    (bool, st.booleans()),
    (str, st.text(max_size=5)),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bytes, st.binary(max_size=4)),
    (datetime, st.datetimes(timezones=st.sampled_from([None, UTC]))),
    (date, st.dates()),
    (timedelta, st.timedeltas()),
    (UUID, st.uuids()),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (type(None), st.none()),
    *((cls, st.sampled_from([*cls])) for cls in (Color, Word, Mixed, Level, Half, Point)),
    (Perm, st.sampled_from([Perm(0), Perm.READ, Perm.READ | Perm.WRITE])),
    (Bits, st.sampled_from([Bits(0), Bits.LOW | Bits.HIGH])),
    (A, st.builds(A, st.integers())),
    (B, st.builds(B, st.integers())),
    (A2, st.builds(A2, st.integers())),
    (Pair, st.builds(Pair, st.integers(), st.text(max_size=3))),
    (PositiveInt, st.integers(1)),
]
HASHABLE = [pair for pair in LEAVES if pair[0] not in (A, B, A2)]
Made = tuple[Any, st.SearchStrategy[Any]]


def containers(inner: st.SearchStrategy[Made]) -> st.SearchStrategy[Made]:
    key = st.sampled_from(HASHABLE)
    return st.one_of(
        inner.map(lambda m: (list[m[0]], st.lists(m[1], max_size=3))),
        inner.map(lambda m: (tuple[m[0], ...], st.lists(m[1], max_size=3).map(tuple))),
        st.tuples(inner, inner).map(lambda p: (tuple[p[0][0], p[1][0]], st.tuples(p[0][1], p[1][1]))),
        st.tuples(key, inner).map(lambda p: (dict[p[0][0], p[1][0]], st.dictionaries(p[0][1], p[1][1], max_size=3))),
        key.map(lambda m: (set[m[0]], st.sets(m[1], max_size=3))),
        key.map(lambda m: (frozenset[m[0]], st.frozensets(m[1], max_size=3))),
        st.lists(inner, min_size=2, max_size=3).map(
            lambda ms: (Union[tuple(m[0] for m in ms)], st.one_of([m[1] for m in ms]))  # noqa: UP007  (made of a tuple)
        ),
        inner.map(lambda m: (Box[m[0]], st.builds(Box, m[1]))),
        st.tuples(st.sampled_from([of_dataclass, of_model, of_struct, of_typed_dict, of_tuple]), inner, inner).map(
            lambda p: p[0](p[1], p[2])
        ),
    )


def of_dataclass(a: Made, b: Made) -> Made:
    cls = dataclasses.make_dataclass("Made", [("a", a[0]), ("b", b[0])])
    return cls, st.builds(cls, a[1], b[1])


def of_model(a: Made, b: Made) -> Made:
    try:
        cls = create_model("MadeModel", a=(a[0], ...), b=(b[0], ...))
    except PydanticUserError:  # it takes no Struct, and before Python 3.12 no TypedDict
        reject()
    return cls, st.builds(cls.model_construct, a=a[1], b=b[1])


def of_struct(a: Made, b: Made) -> Made:
    cls: Any = msgspec.defstruct("MadeStruct", [("a", a[0]), ("b", b[0])])
    return cls, st.builds(cls, a[1], b[1])


def of_typed_dict(a: Made, b: Made) -> Made:
    cls: Any = cast("Any", TypedDict)("MadeDict", {"a": a[0], "b": b[0]})
    return cls, st.builds(lambda a, b: {"a": a, "b": b}, a[1], b[1])  # pydantic has them in their declared order


def of_tuple(a: Made, b: Made) -> Made:
    cls: Any = NamedTuple("MadeTuple", [("a", a[0]), ("b", b[0])])
    return cls, st.builds(cls, a[1], b[1])


UNIONS = (Union, UnionType)


def hints_in(hint: Any) -> Iterator[Any]:
    """An annotation, and all in it."""
    yield hint
    fields = get_type_hints(hint, include_extras=True).values() if isinstance(hint, type) else ()
    for part in get_args(hint) or fields:
        yield from hints_in(part)


def is_unsupported(inside: list[Any]) -> bool:
    """The types that are refused at the declaration. All others must not be."""
    keys = [get_args(hint)[0] for hint in inside if get_origin(hint) is dict]
    arms = [{get_origin(arm) for arm in get_args(hint)} for hint in inside if get_origin(hint) in UNIONS]
    only_for_pydantic = (
        arms or bool in keys or any(hint in (Mixed, Half, Point, Perm, Bits, PositiveInt) for hint in inside)
    )
    not_for_pydantic = any(
        getattr(hint, "__struct_fields__", ()) or (is_typeddict(hint) and not PYDANTIC_TAKES_TYPED_DICTS)
        for hint in inside
    )
    return (
        type(None) in keys
        or Pair in keys
        or any({set, frozenset} <= origins for origins in arms)
        or bool(only_for_pydantic and not_for_pydantic)
    )


def has_alternatives(inside: list[Any]) -> bool:
    """Only then a value may be refused that fits: it would come back as another alternative."""
    return any(get_origin(hint) in UNIONS for hint in inside)


@settings(
    max_examples=scaled(1_000, 50),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(st.data(), st.recursive(st.sampled_from(LEAVES), containers, max_leaves=5), st.sampled_from(["input", "output"]))
def test_it_comes_back_or_is_refused(data: st.DataObject, made: Made, root: str) -> None:
    declared, strategy = made
    value = data.draw(strategy)
    inside = list(hints_in(declared))
    try:
        codec = codec_for(declared)
    except DeclarationError:
        assert is_unsupported(inside), declared
        return
    try:
        with warnings_logged() as warned:
            text = codec.encode(value, "it", root)
    except PayloadError:
        assert has_alternatives(inside), (declared, value)
        return
    if warned:
        assert root == "output"  # which is not lost for it
        assert has_alternatives(inside), (declared, value, warned)
        return
    assert alike(codec.decode(text), value), (declared, value, text)
    numbers = any(name in repr(value) for name in ("Bits", "Level", "Word"))  # which are told from others by luck only
    if root == "input" and not numbers:  # outputs have no identity
        assert codec.canonical(text) == codec.canonical(codec.encode(codec.decode(text), "it"))


# --- what is refused -------------------------------------------------------------------------------------------------


class Proto(Protocol):
    def method(self) -> None: ...


class Unknown:
    pass


class StructWithForeign(msgspec.Struct):
    n: Annotated[int, Gt(0)]


class StructWithEnum(msgspec.Struct):
    point: Point


NoneKeys = create_model("NoneKeys", keys=(dict[str | None, int], ...))


@pytest.mark.parametrize(
    "declared",
    [
        *(
            Iterable[int],
            Iterator[int],
            SupportsInt,
            Callable[[int], int],
            Proto,
            Unknown,
            list[Unknown],
            type[int],
            Ellipsis,
        ),
        *(
            dict[tuple[int, int], str],
            list[dict[Pair, int]],
            dict[frozenset[int], int],
            dict[str | tuple[int, ...], int],
        ),
        *(StructWithForeign, "NoSuchName", Box[Unknown], type, tuple[int, *tuple[str, ...]]),
        *(dict[str | None, int], dict[Color | None, int], dict[None, Half]),
        *(set[int] | frozenset[int], Box[frozenset[str] | set[str] | None], dict[Pair | Half, int]),
        *(NoneKeys, Box[NoneKeys], dict[str, NoneKeys], frozenset[Box[NoneKeys]], dict[int, list[NoneKeys]]),
        *(() if PYDANTIC_TAKES_TYPED_DICTS else (dict[str, int] | Typed,)),
        *(Pattern[bytes], dict[complex, int], Literal[Color.RED, 1, "RED"]),
        *(Unkept, list[Unkept], WithUnkept),
    ],
    ids=str,
)
def test_what_is_refused_at_the_declaration(declared: Any) -> None:
    with pytest.raises(DeclarationError, match="can't travel as JSON"):
        codec_for(declared)


@pytest.mark.parametrize(
    ("declared", "advice"),
    [
        (StructWithForeign, "use msgspec.Meta(gt=0)"),
        (StructWithEnum, "make that a dataclass"),
        (range, "knows <class 'range'>: use a dataclass or a model of what is needed of it, or text"),
        (list[Named], "Named'>: use str, or a NewType of it"),
        (Unkept, "added is an InitVar without a default, which nobody could give it again"),
        (Union[int, list["NoSuchName"]], "pydantic.JsonValue for any JSON, or Any"),  # noqa: F821, UP007  # pyright: ignore[reportUndefinedVariable]
        (BaseModel, "name the model that is meant"),
        (cast("Any", [int]), "and no type: write list[int]"),
        (cast("Any", {"a": int}), "and no type: use a TypedDict, or a dataclass"),
        (
            list[OfAttrs],
            "does not write _a of tests.unit.test_travelling.OfAttrs, for its underscore: name it otherwise",
        ),
    ],
)
def test_it_says_what_to_do_instead(declared: Any, advice: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        codec_for(declared)
    assert str(caught.value).endswith(advice)


@pytest.mark.parametrize(
    ("declared", "value", "place", "reason"),
    [
        (A, Derived(1, 2), "input", "without z"),
        (Plain, Plain([Derived(1, 2)]), "input.items[0]", "without z"),
        (Model, SubModel(n=1), "input", "without m"),
        (Model, Model(n=1, items=[Derived(1)]), "input.items[0]", "without z"),
        (Word | str, Word.YES, "input", "Word would come back as a str"),
        (list[Word | str], [Word.YES], "input[0]", "Word would come back as a str"),
        (dict[str, Level | int | None], {"a": Level.HIGH}, "input.a", "Level would come back as a int"),
        (Private, seen(Private(n=1)), "input", "its private attribute _seen would not come back"),
        (list[Private], [seen(Private(n=1))], "input[0]", "its private attribute _seen would not come back"),
        (A | A2, A2(1), "input", "A2 would come back as a tests.unit.test_travelling.A"),
        (Annotated[str, AfterValidator(lambda text: text + "!")], "a", "input", "a!!"),
        (Box[tuple[Perm | int, ...]], Box((Perm(0),)), "input.item[0]", "Perm would come back as a int"),
        (Box[float], Box(Decimal("NaN")), "input.item", "NaN"),
        (Decimal, Decimal("sNaN"), "input", "sNaN"),
        (list[Pair | tuple[int, str]], [(1, "x")], "input[0]", "a tuple would come back as a tests"),
        (set[Pair | tuple[int, str]], {(1, "x")}, "input[0]", "a tuple would come back as a tests"),
        (
            Box[tuple[int, Bits] | tuple[float, ...]],
            Box((0, Bits(0))),
            "input.item[0]",
            "a int would come back as a float",
        ),
        (list[set[int]] | list[frozenset[int]], [frozenset({1})], "input[0]", "a frozenset would come back as a set"),
        (Empties, Empties(EmptyModel(a={1}), []), "input.one.a", "a set would come back as a list"),
        (Box[Typed], Box({"extra": 1}), "input.item", "without 'extra'"),
        (dict[int | str, int], {1: 1, "1": 2}, "input", "two of its keys are the same text"),
    ],
    ids=shown,
)
def test_what_is_refused_at_the_call(declared: Any, value: Any, place: str, reason: str) -> None:
    with pytest.raises(PayloadEncodingError) as caught:
        codec_for(declared).encode(value, "it")
    assert caught.value.path == place
    assert reason in caught.value.reason


@pytest.mark.parametrize("declared", [int, Any, float | int, Box[int]], ids=shown)
@pytest.mark.parametrize("number", [10**4400, -(10**4400)], ids=["positive", "negative"])
def test_numbers_that_python_would_not_read_again(declared: Any, number: int) -> None:
    value, place = (Box(number), "input.item") if get_origin(declared) is Box else (number, "input")
    with pytest.raises(PayloadEncodingError, match="4300 digits") as caught:
        codec_for(declared).encode(value, "it")
    assert caught.value.path == place


@pytest.mark.parametrize(
    ("declared", "value", "place"),
    [
        (PositiveInt, -5, ""),
        (Annotated[list[str], Field(max_length=1)], ["a", "b"], ""),
        (dict[str, PositiveInt], {"a": 0}, "a"),
        (Constrained, Constrained(0), "n"),
        (Constrained, {"n": 0}, "n"),
        (Checked, {"n": -1}, "n"),
        (Lazy, Lazy(3), "cache"),
        (list[A], [A(1), Derived(1, 2)], "[1]"),
        (A, A("x"), "x"),  # pyright: ignore[reportArgumentType]
        (Model, Model.model_construct(n="x"), "n"),
        *((Perm, unknown, "") for unknown in (99,) if not is_a(Perm, unknown)),
        (Color, 3, ""),
        (tuple[int, int], (1, 2, 3), ""),
        (A | dict, {"x": 1}, ""),
        (Typed, {"pair": Pair(1), "extra": 1}, "extra"),
        (dict[str, Typed | None], {"a": {"extra": 1}}, "a.extra"),
        (OtherTyped, {"n": 1, "more": [{}, {"extra": 1}]}, "more[1].extra"),
    ],
    ids=shown,
)
def test_what_does_not_fit(declared: Any, value: Any, place: str) -> None:
    with pytest.raises(InputValidationError) as caught:
        codec_for(declared).encode(value, "it")
    assert [found for found, _ in caught.value.problems] == [place]


@pytest.mark.parametrize(
    ("declared", "within"),
    [
        (set[int], lambda numbers: numbers),
        (tuple[set[int], int], lambda numbers: (numbers, 1)),
        (list[tuple[set[int], ...]], lambda numbers: [(numbers, numbers)]),
        (dict[str, Sets], lambda numbers: {"a": Sets(numbers)}),
        (Box[tuple[Sets, ...]], lambda numbers: Box((Sets(numbers),))),
        (tuple[Numbers, tuple[set[int], ...]], lambda numbers: (Numbers([1]), (numbers,))),
    ],
    ids=["alone", "tuple", "tuples", "named", "box", "models"],
)
def test_sets_are_written_in_one_order_wherever_they_stand(declared: Any, within: Callable[[set[int]], Any]) -> None:
    """Else an input would not be known again after a crash: each process iterates in an order of its own."""
    one, other = set([0, 8]), set([8, 0])  # noqa: C405  (which collide, and so stand in the order in which they came)
    assert list(one) != list(other)
    codec = codec_for(declared)
    assert codec.encode(within(one)) == codec.encode(within(other))


def test_ordered_dicts_and_the_like_come_back_equal() -> None:
    codec = codec_for(dict[str, int])
    assert codec.decode(codec.encode(OrderedDict(b=1, a=2))) == {"b": 1, "a": 2}
    assert codec_for(Hashable).decode(codec_for(Hashable).encode(1)) == 1


@pytest.mark.parametrize("declared", [Typed, list[Typed], OtherTyped], ids=shown)
def test_an_output_keeps_what_its_type_has_no_key_for_and_a_line_says_so(declared: Any) -> None:
    value: Any = [{"extra": 1}] if get_origin(declared) is list else {"extra": 1}
    with warnings_logged() as said:
        text = codec_for(declared).encode(value, "it", "output")
    assert codec_for(Any).decode(text) == value
    assert "without 'extra'" in said[0]


def test_an_output_whose_keys_become_text_is_said_to() -> None:
    codec = codec_for(dict[str | int, int])
    with warnings_logged() as said:
        assert codec.decode(codec.encode({1: 1, "x": 2}, "it", "output")) == {"1": 1, "x": 2}
    assert said == ["it does not come back as it is, and is stored so: output[1]: it would not come back"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="aliases are written so from 3.12 on")
def test_aliases_that_refer_to_themselves_or_have_variables() -> None:
    made: dict[str, Any] = {"dataclass": dataclasses.dataclass}
    source = (  # which no older Python reads
        "type Json = dict[str, Json] | list[Json] | str | int | float | bool | None\n"
        "type Nested = int | list[Nested]\n"
        "type Of[T] = dict[str, T]\n"
        "@dataclass\n"
        "class Document:\n"
        "    name: str\n"
        "    body: Json = None\n"
    )
    exec(compile(source, "aliases.py", "exec", dont_inherit=True), made)
    values: list[tuple[Any, Any]] = [
        (made["Json"], {"a": [1, None, {"b": 2.5}]}),
        (made["Nested"], [1, [2, []]]),
        (made["Of"][set[int]], {"a": {1}}),
        (made["Of"][bytes], {"a": b"\xff"}),
        (made["Document"], made["Document"]("x", {"a": [True]})),
    ]
    for declared, value in values:
        codec = codec_for(declared)
        assert alike(codec.decode(codec.encode(value, "it")), value)


@pytest.mark.parametrize("bases", [(), (BaseModel,)], ids=["dataclass", "model"])
@pytest.mark.parametrize("many", [False, True], ids=["alone", "in a list"])
def test_a_class_that_was_made_anew_is_said(bases: tuple[type, ...], many: bool) -> None:
    def made() -> Any:
        cls: Any = type("Order", bases, {"__annotations__": {"n": int}, "__module__": __name__})
        return cls if bases else dataclasses.dataclass(cls)

    old, new = made(), made()
    declared, value = (list[old], [new(n=1)]) if many else (old, new(n=1))
    with pytest.raises(InputValidationError) as caught:
        codec_for(declared).encode(value, "the input of it")
    assert "this Order is not the one that was declared: the class was made anew since then" in str(caught.value)
