"""Functions as people write them: taken as they are meant, or refused where they are declared, with a sentence."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import pickle
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NotRequired, Protocol, TypedDict, TypeVar, cast

import msgspec
import pytest
from pydantic import BaseModel, dataclasses

from fanwood import Context, DeclarationError, EmptyModel, Fanwood, FanwoodError, UsageError

if TYPE_CHECKING:
    import collections.abc
    import concurrent.futures
    import fractions
    from decimal import Decimal as Number  # noqa: TC004  (pydantic does not find it there; the declaration does)

    from nowhere import Nothing  # noqa: TC004  # pyright: ignore[reportMissingImports]


@dataclass
class Page:
    n: int = 1


class Model(BaseModel):
    n: int = 1


class Packed(msgspec.Struct):
    n: int = 1


class Loose(TypedDict, total=False):
    n: int


# --- annotations -----------------------------------------------------------------------------------------------------


def test_names_of_a_local_scope(app: Fanwood) -> None:
    @dataclass
    class Inner:
        n: int

    @app.task
    async def task(inner: Inner, ctx: Context) -> list[Inner]:
        return [inner]

    assert task.run(Inner(3)) == [Inner(3)]


def test_names_that_only_type_checkers_import(app: Fanwood) -> None:
    @app.task
    async def task(n: Number) -> Number:
        return n

    assert str(cast("Any", task).run("1.50")) == "1.50"

    @app.task
    async def module(n: fractions.Fraction) -> str:
        return str(n)

    assert cast("Any", module).run("1/3") == "1/3"

    @app.task
    async def submodule(n: collections.abc.Sequence[int], ctx: concurrent.futures.Future[int] | Context) -> int:
        return n[0]

    assert cast("Any", submodule).run([1]) == 1


def test_fields_are_resolved_as_annotations_are(app: Fanwood) -> None:
    @dataclass
    class Leaf:
        n: Number
        leaves: list[Leaf]

    class Bundle(msgspec.Struct):
        leaf: Leaf | None = None

    class Pair(NamedTuple):
        bundle: Bundle
        n: Number

    class Shelf(TypedDict):
        pairs: list[Pair]
        n: NotRequired[Number]

    @app.task
    async def echo(shelf: Shelf) -> Shelf:
        return shelf

    given: Shelf = {"pairs": [Pair(Bundle(Leaf(Decimal(1), [])), Decimal("2.50"))], "n": Decimal(3)}
    assert echo.run(given) == given


def test_fields_of_models_are_resolved_as_annotations_are(app: Fanwood) -> None:
    class Inner(BaseModel):
        n: Number

    class Outer(BaseModel):
        inner: Inner | None = None
        outers: list[Outer] = []

    @app.task
    async def echo(outer: Outer) -> Outer:
        return outer

    @dataclasses.dataclass
    class Root:
        n: Number

    @dataclass
    class Plain:
        roots: list[Root]

    @app.task
    async def plain(given: Plain) -> Plain:
        return given

    inner: Any = Inner(n=Decimal("1.50"))
    assert echo.run(Outer(inner=inner, outers=[Outer()])) == Outer(inner=inner, outers=[Outer()])
    assert plain.run(Plain([Root(Decimal(1))])) == Plain([Root(Decimal(1))])


def test_a_field_that_cannot_be_resolved_is_named(app: Fanwood) -> None:
    class Model(BaseModel):
        n: Nothing

    @dataclass
    class Plain:
        models: list[Nothing]

    with pytest.raises(DeclarationError, match="name 'Nothing' is not defined"):

        @app.task
        async def of_model(model: Model) -> None:
            pass

    with pytest.raises(DeclarationError, match="name 'Nothing' is not defined"):

        @app.task
        async def of_class(plain: Plain) -> None:
            pass


def test_an_annotation_that_cannot_be_resolved_is_named(app: Fanwood) -> None:
    with pytest.raises(
        DeclarationError, match=r"annotation of page of child, 'Nothing', can't be resolved: name 'Nothing'"
    ):

        @app.task
        async def child(page: Nothing) -> int:
            return 1

    with pytest.raises(DeclarationError, match=r"the return annotation of other, 'list\[Missing\]', can't be resolved"):

        @app.task
        async def other(page: int) -> list[Missing]:  # noqa: F821  # pyright: ignore[reportUndefinedVariable]
            return []


# --- what is refused -------------------------------------------------------------------------------------------------


def bad(app: Fanwood) -> list[tuple[Any, str]]:
    class Shop:
        def method(self, n: int) -> int:
            return n

        @classmethod
        def of_class(cls, n: int) -> int:
            return n

    def two(a: int, b: int) -> int:
        return a + b

    def two_with_default(a: int, b: int = 1) -> int:
        return a + b

    def three(a: Any, b: Any, c: Any) -> None: ...

    def many(*a: int) -> None: ...

    def keyword(a: int, *, b: int) -> None: ...

    def generator(n: int) -> Any:
        yield n

    async def async_generator(n: int) -> Any:
        yield n

    def context_first(ctx: Context) -> None: ...

    def the_other_way_round(ctx: Context, n: int) -> None: ...

    def two_contexts(n: int, ctx: list[Context]) -> None: ...

    return [
        (max, "must take"),
        (two_contexts, "is the Context"),
        (Shop.method, "is a method"),
        (Shop.__dict__["of_class"], "must be a function"),
        (two, "is the Context, and is declared as <class 'int'>"),
        (two_with_default, "is the Context"),
        (three, "must take"),
        (many, "functools.wraps"),
        (keyword, "must take"),
        (generator, "is a generator"),
        (async_generator, "is a generator"),
        (functools.partial(generator), "is a generator"),
        (context_first, "the context comes second"),
        (the_other_way_round, r"the context comes second: write \(n, ctx: Context\)"),
        (Shop, "must be a function"),
        (7, "must be a function"),
    ]


def test_what_is_refused(app: Fanwood) -> None:
    for function, said in bad(app):
        with pytest.raises(DeclarationError, match=said):
            app.task(function)
        with pytest.raises(DeclarationError, match=said):
            app.workflow(name=f"flow{id(function)}").task(name="step")(function)


# --- what is taken ---------------------------------------------------------------------------------------------------


class Adder:
    """Adds."""

    async def __call__(self, n: int, ctx: Context) -> int:
        return n + 1


def decorated(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def scaled(scale: int, n: int) -> int:
    return scale * n


class Tools:
    @staticmethod
    async def double(n: int) -> int:
        return 2 * n

    @staticmethod
    async def same(self: int) -> int:  # noqa: PLW0211  # pyright: ignore[reportSelfClsParameterName]
        return self


def blocking(function: Any) -> Any:
    """As `asgiref.async_to_sync`, say."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return asyncio.run(function(*args, **kwargs))

    return wrapper


@blocking
async def waited_for(n: int) -> int:
    await asyncio.sleep(0)
    return -n


@decorated
async def negated(n: int) -> int:
    return -n


@pytest.mark.parametrize(
    ("function", "name", "expected"),
    [
        (Adder(), "Adder", 6),
        (functools.partial(scaled, 3), "scaled", 15),
        (functools.partial(Adder()), "Adder", 6),
        (Tools.double, "double", 10),
        (Tools.__dict__["double"], "double", 10),
        (Tools.same, "same", 5),
        (Tools.__dict__["same"], "same", 5),
        (negated, "negated", -5),
        (waited_for, "waited_for", -5),
        (functools.partial(waited_for), "waited_for", -5),
        (lambda n: n, "<lambda>", 5),
    ],
    ids=lambda each: str(each)[:20],
)
def test_what_can_be_called_is_a_task(app: Fanwood, function: Any, name: str, expected: int) -> None:
    task: Any = app.task(function)
    assert task.name == name
    assert task.run(5) == expected


@pytest.mark.parametrize("function", [negated, waited_for], ids=["awaitable", "blocking"])
async def test_what_is_sync_outside_is_a_sync_task(app: Fanwood, function: Any) -> None:
    task: Any = app.task(function)
    assert not task.is_async_function
    assert await task.aio_run(5) == -5
    assert await asyncio.to_thread(task.mock_run, 5) == -5
    if function is negated:  # the other can't be called where a loop runs
        assert await task.aio_mock_run(5) == -5


class Own(Context):
    """A subclass."""


class HasId(Protocol):
    @property
    def task_run_id(self) -> str: ...


C = TypeVar("C")
D = TypeVar("D", bound=Context)
CONTEXTS = [
    Any,
    object,
    Context,
    Context | None,
    Annotated[Context, "it"],
    Own,
    HasId,
    HasId | None,
    C,
    D,
    None,
    "bare",
]


@pytest.mark.parametrize("declared", CONTEXTS, ids=str)
def test_what_a_context_may_be_declared_as(app: Fanwood, declared: Any) -> None:
    async def task(n: int, ctx: Any) -> str:
        return ctx.task_run_id

    task.__annotations__["ctx"] = declared
    if declared == "bare":
        del task.__annotations__["ctx"]
    ref = cast("Any", app.task(task)).run_no_wait(1)
    assert ref.result(timeout=60) == ref.id


def test_a_model_of_the_users_may_be_called_context(app: Fanwood) -> None:
    named: Any = dataclass(type("Context", (), {"__annotations__": {"n": int}}))
    for declared, value in ((named, named(1)), (list[named], [named(1)]), (dict[str, named], {"a": named(1)})):

        async def task(value: Any, ctx: Context) -> Any:
            return value

        task.__annotations__.update({"value": declared, "return": declared})
        made: Any = app.task(name=f"of {declared}".replace("/", "").replace(":", "")[:50])(task)
        assert made.run(value) == value


def test_defaults_of_parameters(app: Fanwood) -> None:
    @app.task
    async def task(n: int = 3) -> int:
        return n

    @app.task
    async def maybe(page: Page | None = None) -> bool:
        return page is None

    assert (task.run(), task.run(4)) == (3, 4)
    assert task.run_many([task.create_bulk_run_item(), task.create_bulk_run_item(5)]) == [3, 5]
    assert maybe.run() is True


@pytest.mark.parametrize("declared", [Page, Model, Packed, Loose, dict, dict[str, int], EmptyModel, Any])
def test_no_input_where_one_can_be_made_of_nothing(app: Fanwood, declared: Any) -> None:
    async def task(value: Any) -> str:
        return type(value).__name__

    made: Any = app.task(input_validator=declared)(task)
    expected = "dict" if declared in (Loose, Any) else getattr(declared, "__name__", "dict")
    assert made.run() == expected


def test_no_input_where_one_is_needed(app: Fanwood) -> None:
    @app.task
    async def task(n: int) -> int:
        return n

    with pytest.raises(FanwoodError, match="the input of task"):
        task.run()  # pyright: ignore[reportCallIssue]


def test_a_task_keeps_what_its_function_says_of_itself(app: Fanwood) -> None:
    @app.task(name="other")
    async def task(n: int) -> int:
        """Text."""
        return n

    flow = app.workflow(name="flow")

    @flow.task
    async def step(input: Any) -> int:
        """Of the step."""
        return 1

    for each, name, text in ((task, "task", "Text."), (step, "step", "Of the step.")):
        plain: Any = each
        assert (plain.__name__, plain.__doc__, plain.__module__) == (name, text, __name__)
        assert plain.__wrapped__.__name__ == name
        assert list(inspect.signature(plain).parameters) == ["n" if name == "task" else "input"]
    assert (task.name, repr(task), step.name) == ("other", "<Standalone 'other'>", "step")
    assert repr(app).startswith("<Fanwood sqlite:///")
    ref = task.run_no_wait(1)
    assert str(ref) == ref.id


# --- bulks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["plain", "one", "none", "references", "async"])
def test_what_is_no_bulk(app: Fanwood, what: str) -> None:
    @app.task
    async def child(n: int) -> int:
        return n

    async def items() -> Any:
        yield child.create_bulk_run_item(1)

    item: Any = child.create_bulk_run_item(1)
    given: Any = {
        "plain": [item, 2],
        "one": item,
        "none": None,
        "references": [child.run_no_wait(1)],
        "async": items(),
    }[what]
    with pytest.raises(UsageError, match="create_bulk_run_item") as caught:
        child.run_many(given)
    place = {"plain": "items[1] must", "references": "items[0] must"}.get(what, "items must")
    assert str(caught.value).startswith(place)


def test_a_generator_is_a_bulk(app: Fanwood) -> None:
    @app.task
    async def child(n: int) -> int:
        return n

    assert child.run_many(child.create_bulk_run_item(n) for n in range(3)) == [0, 1, 2]


# --- as functions are ------------------------------------------------------------------------------------------------

importable = Fanwood("memory:")


@importable.task
def doubled(n: int) -> int:
    return 2 * n


def test_a_task_is_pickled_by_its_name_in_its_module(app: Fanwood) -> None:
    assert pickle.loads(pickle.dumps(doubled)) is doubled
    assert pickle.loads(pickle.dumps(doubled.mock_run))(4) == 8
    assert copy.copy(doubled) is copy.deepcopy(doubled) is doubled

    @app.task
    def local(n: int) -> int:
        return n

    with pytest.raises((pickle.PicklingError, AttributeError), match="local"):
        pickle.dumps(local)
