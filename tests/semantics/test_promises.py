"""Promises: settled once, by who has the token, over crashes and retries."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Coroutine
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from queue import Queue
from typing import Annotated, Any, cast
from uuid import UUID

import msgspec
import pytest
from pydantic import BaseModel, Field, field_validator

from fanwood import Context, Fanwood, PromiseSettledError, PromiseTokenError, RunState
from fanwood.errors import InputValidationError, PayloadError, PayloadTooLargeError, TaskRunError, TaskRunTimedOut
from fanwood.model.matching import with_whole_numbers
from fanwood.sdk.waits import promises
from fanwood.sdk.waits.promises import PREFIX
from tests.conftest import MakeApp
from tests.faults.processes import until

COLOURS = ["async", "sync"]


class Verdict(BaseModel):
    ok: bool
    by: str = "nobody"


def asker(app: Fanwood, colour: str, tokens: Queue[str], type_: Any = int, timeout: Any = None, **options: Any) -> Any:
    """A task that waits for a promise."""
    if colour == "async":

        @app.task(name="asker", **options)
        async def aio_asker(input: dict, ctx: Context) -> Any:
            promise = await ctx.aio_promise(type_, "approval", timeout=timeout)
            tokens.put(promise.token)
            return [ctx.attempt_number, await promise]

        return aio_asker

    @app.task(name="asker", **options)
    def asker(input: dict, ctx: Context) -> Any:
        promise = ctx.promise(type_, "approval", timeout=timeout)
        tokens.put(promise.token)
        return [ctx.attempt_number, promise.result()]

    return asker


@pytest.fixture
def tokens() -> Queue[str]:
    return Queue()


@pytest.mark.parametrize("colour", COLOURS)
def test_whoever_has_the_token_says_the_value_once(app: Fanwood, colour: str, tokens: Queue[str]) -> None:
    ref = asker(app, colour, tokens, Verdict).run_no_wait({})
    token = tokens.get(timeout=60)
    assert token.startswith(PREFIX)
    assert app.promises.resolve(token, Verdict(ok=True))
    assert ref.result(60) == [1, {"ok": True, "by": "nobody"}]
    assert not app.promises.resolve(token, {"by": "nobody", "ok": True})
    with pytest.raises(PromiseSettledError, match="resolved already, with") as told:
        app.promises.resolve(token, {"ok": False})
    assert told.value.state is RunState.COMPLETED
    with pytest.raises(PromiseSettledError, match="resolved already"):
        app.promises.reject(token, "no")


@pytest.mark.parametrize("colour", COLOURS)
def test_a_rejection_is_an_error_with_its_reason(app: Fanwood, colour: str, tokens: Queue[str]) -> None:
    ref = asker(app, colour, tokens).run_no_wait({})
    token = tokens.get(timeout=60)
    assert app.promises.reject(token, "too dear")
    with pytest.raises(TaskRunError, match="too dear"):
        ref.result(60)
    assert not app.promises.reject(token, "too dear")
    with pytest.raises(PromiseSettledError, match="rejected already: too dear"):
        app.promises.resolve(token, 3)


@pytest.mark.parametrize("colour", COLOURS)
def test_the_next_attempt_has_the_same_promise(make_app: MakeApp, colour: str, tokens: Queue[str]) -> None:
    app = make_app()
    ref = asker(app, colour, tokens).run_no_wait({})
    token = tokens.get(timeout=60)
    app.close()
    other = make_app()
    task = asker(other, colour, tokens)
    assert other.promises.resolve(token, 7)
    assert task.get_run_ref(ref.id).result(60) == [2, 7]
    assert tokens.get(timeout=60) == token
    assert [child.task_name for child in other.runs.children(ref.id)] == ["~promise"]


@pytest.mark.parametrize("colour", COLOURS)
def test_a_new_trial_waits_again_for_what_was_rejected(app: Fanwood, colour: str, tokens: Queue[str]) -> None:
    ref = asker(app, colour, tokens, retries=1).run_no_wait({})
    token = tokens.get(timeout=60)
    assert app.promises.reject(token, "not yet")
    assert tokens.get(timeout=60) == token
    waits_again(app, ref.id)
    assert app.promises.resolve(token, 5)
    assert ref.result(60) == [2, 5]


def waits_again(app: Fanwood, run_id: str) -> None:
    until(lambda: [one.status for one in app.runs.children(run_id)] == [RunState.WAITING], "it waits again")


@pytest.mark.parametrize("colour", COLOURS)
def test_a_promise_may_time_out(app: Fanwood, colour: str, tokens: Queue[str]) -> None:
    errors: list[BaseException] = []

    @app.task(name="hasty")
    async def aio_hasty(input: dict, ctx: Context) -> None:
        try:
            await (await ctx.aio_promise(int, "approval", timeout="20ms"))
        except TimeoutError as error:
            errors.append(error)

    @app.task
    def hasty_in_a_thread(input: dict, ctx: Context) -> None:
        try:
            ctx.promise(int, "approval", timeout=0.02).result()
        except TimeoutError as error:
            errors.append(error)

    (aio_hasty if colour == "async" else hasty_in_a_thread).run({})
    assert isinstance(errors[0], TaskRunTimedOut)
    assert errors[0].limit == "timeout"


def test_the_end_of_the_run_is_the_end_of_the_promise(app: Fanwood, tokens: Queue[str]) -> None:
    @app.task
    async def hopeful(input: dict, ctx: Context) -> str:
        promise = await ctx.aio_promise(int, "approval")
        tokens.put(promise.token)
        return "done without"

    assert hopeful.run({}) == "done without"
    with pytest.raises(PromiseSettledError, match="completed") as told:
        app.promises.resolve(tokens.get(timeout=60), 1)
    assert told.value.state is RunState.CANCELLED


Plate = Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{1,3}-[A-Z]{1,2} \d{1,4}$")]


class Car(BaseModel):
    plate: Annotated[str, Field(pattern="^[A-Z]{3}$")]


@pytest.mark.parametrize(
    ("type_", "value", "error"),
    [
        (int, "five", InputValidationError),
        (int, None, InputValidationError),
        (int, 2**63, None),
        (bool, 1, InputValidationError),
        (Verdict, {"by": "x"}, InputValidationError),
        (list[int], [1, "2"], InputValidationError),
        (Any, {"any": ["thing", None, {"": 2**63}]}, None),
        (Any, math.nan, PayloadError),
        (Any, "\ud800", PayloadError),
        (Any, object(), PayloadError),
        (str, "x" * 5_000_000, PayloadTooLargeError),
        (str, "x" * 1_000_000, None),
        (str, "", None),
        (datetime, "tomorrow", InputValidationError),
        (datetime, datetime(2026, 1, 31, 12), None),
        (datetime, datetime(2026, 1, 31, 12, tzinfo=UTC), None),
        (date, "2026-02-30", InputValidationError),
        (timedelta, "1h", InputValidationError),
        (timedelta, timedelta(hours=1), None),
        (UUID, "1", InputValidationError),
        (UUID, UUID(int=1), None),
        (Decimal, "x", InputValidationError),
        (Plate, "B-7", InputValidationError),
        (Plate, "B-AB 123", None),
        (Car, {"plate": "AB"}, InputValidationError),
        (dict[str, Plate], {"a": "B-AB 1", "b": "?"}, InputValidationError),
        (Annotated[str, msgspec.Meta(pattern=r"^(a+)+$")], "a" * 40 + "b", InputValidationError),
    ],
)
def test_a_value_is_of_the_type(
    app: Fanwood, tokens: Queue[str], type_: Any, value: Any, error: type[BaseException] | None
) -> None:
    ref = asker(app, "async", tokens, type_).run_no_wait({})
    token = tokens.get(timeout=60)
    if error is not None:
        with pytest.raises(error):
            app.promises.resolve(token, value)
        assert app.runs.get_status(ref.id) is RunState.RUNNING
        app.runs.cancel(ref.id)
    else:
        assert app.promises.resolve(token, value)
        assert ref.result(60)[1] == (value if type_ in (Any, int, str, Plate) else str(as_json(value)))


def as_json(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


class Even(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def is_even(cls, n: int) -> int:
        if n % 2:
            raise ValueError(f"{n} is odd")
        return n


@pytest.mark.parametrize(
    ("type_", "value", "told"),
    [
        (Even, {"n": 3}, "3 is odd"),
        (dict[int, str], {"a": "b"}, "int"),
        (int, 7.0, None),
        (list[int], [-1e20], None),
        (Even, {"n": 4.0}, None),
    ],
)
@pytest.mark.parametrize("colour", COLOURS)
def test_what_only_the_code_can_tell_it_is_told_by(
    app: Fanwood, colour: str, tokens: Queue[str], type_: Any, value: Any, told: str | None
) -> None:
    """It is never given what is not of the type, however that came to be its value."""
    ref = asker(app, colour, tokens, type_).run_no_wait({})
    token = tokens.get(timeout=60)
    assert app.promises.resolve(token, value)
    if told is None:
        assert not app.promises.resolve(token, with_whole_numbers(value))  # the same
        found = ref.result(60)[1]
        assert repr(found) in ("7", "{'n': 4}", f"[{-(10**20)}]")  # and no float
        return
    with pytest.raises(TaskRunError, match=told) as error:
        ref.result(60)
    assert error.value.exc_type == InputValidationError.__name__
    assert "the value of the promise approval" in error.value.message


def test_only_a_token_of_this_store_is_one(app: Fanwood, make_app: MakeApp, tokens: Queue[str]) -> None:
    ref = asker(app, "async", tokens).run_no_wait({})
    token = tokens.get(timeout=60)
    other = Fanwood(f"memory:another {ref.id}")
    another = token[:10] + ("A" if token[10] != "A" else "B") + token[11:]
    wrong: list[Any] = [token[:-1], token + "x", token[:20] + "!" + token[20:], token.upper(), "", PREFIX, another]
    for given in cast("list[str]", [*wrong, ref.id, None, 7, "\ud800", "é", "x" * 1_000_000]):
        with pytest.raises(PromiseTokenError):
            app.promises.resolve(given, 1)
    with pytest.raises(PromiseTokenError, match="belongs to another one"):
        other.promises.resolve(token, 1)
    other.close()
    assert app.promises.resolve(token.removeprefix(PREFIX), 1)
    ref.result(60)


def test_of_eight_at_once_one_settles_it(app: Fanwood, tokens: Queue[str]) -> None:
    ref = asker(app, "sync", tokens).run_no_wait({})
    token, said = tokens.get(timeout=60), list[object]()
    start = threading.Barrier(8)

    def settle(value: int) -> None:
        start.wait(60)
        try:
            said.append((value, app.promises.resolve(token, value)))
        except PromiseSettledError as error:
            said.append(error.state)

    threads = [threading.Thread(target=settle, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert said.count(RunState.COMPLETED) == 7
    assert (ref.result(60)[1], True) in said


def test_two_of_a_name_are_two(app: Fanwood, tokens: Queue[str]) -> None:
    @app.task
    async def twice(input: dict, ctx: Context) -> list[int]:
        promises = [ctx.promise(int, "approval") for _ in range(2)]
        for promise in promises:
            tokens.put(promise.token)
        return [await promise for promise in promises]

    ref = twice.run_no_wait({})
    first, second = tokens.get(timeout=60), tokens.get(timeout=60)
    assert first != second
    assert app.promises.resolve(second, 2)
    assert app.promises.resolve(first, 1)
    assert ref.result(60) == [1, 2]


def test_why_it_waits(app: Fanwood, tokens: Queue[str]) -> None:
    ref = asker(app, "async", tokens).run_no_wait({})
    token = tokens.get(timeout=60)
    waits_again(app, ref.id)
    (promise,) = app.runs.children(ref.id)
    assert "waits for somebody to settle approval" in str(app.runs.why(promise.id))
    assert token not in str(app.runs.get(promise.id))
    app.promises.resolve(token, 1)
    ref.result(60)


class Stuck:
    """What is asked for while this is on takes longer than anybody waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.on = False
        self._real = getattr(promises, name)
        monkeypatch.setattr(promises, name, self._waits)

    async def _waits(self, *args: Any) -> Any:
        return await (asyncio.Event().wait() if self.on else self._real(*args))

    async def give_up(self, asking: Coroutine[Any, Any, object]) -> None:
        self.on = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await asking
        self.on = False


def test_one_that_was_given_up_before_it_was_there_is_had_by_who_asks_again(
    app: Fanwood, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody had its token, so nobody could have settled it; and a later attempt, which asks but once, has the token
    that this one gives out."""
    tokens, seen, stuck = Queue[str](), list[int](), Stuck(monkeypatch, "written")

    @app.task(retries=1)
    async def asker(input: dict, ctx: Context) -> Any:
        for limit in ("1h", "2h") * 3 if ctx.attempt_number == 1 else ():
            await stuck.give_up(ctx.aio_promise(int, "approval", timeout=limit))
        promise = await ctx.aio_promise(int, "approval")
        tokens.put(promise.token)
        if ctx.attempt_number == 1:
            other = await ctx.aio_promise(int, "approval")
            assert other.token != promise.token
            seen.append(len(await app.runs.aio_children(ctx.task_run_id)))
            raise ValueError("tried again")
        return await promise

    ref = asker.run_no_wait({})
    first, second = tokens.get(timeout=60), tokens.get(timeout=60)
    assert first == second
    assert app.promises.resolve(first, 7)
    assert ref.result(60) == 7
    assert seen == [2]


def test_one_of_another_type_is_another_one_though_the_first_was_given_up(
    app: Fanwood, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens, stuck = Queue[str](), Stuck(monkeypatch, "written")

    @app.task
    async def asker(input: dict, ctx: Context) -> Any:
        await stuck.give_up(ctx.aio_promise(int, "approval"))
        promise = await ctx.aio_promise(str, "approval")
        tokens.put(promise.token)
        return await promise

    ref = asker.run_no_wait({})
    assert app.promises.resolve(tokens.get(timeout=60), "seven")
    assert ref.result(60) == "seven"


def test_who_gives_up_before_he_has_asked_has_asked_for_nothing(app: Fanwood, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that is not the first reads first what is recorded: meanwhile nothing is written."""
    tokens, stuck = Queue[str](), Stuck(monkeypatch, "known_parts")

    @app.task(retries=1)
    async def asker(input: dict, ctx: Context) -> Any:
        if ctx.attempt_number == 1:
            tokens.put((await ctx.aio_promise(int, "approval")).token)
            raise ValueError("tried again")
        await stuck.give_up(ctx.aio_promise(int, "approval"))
        promise = await ctx.aio_promise(int, "approval")
        tokens.put(promise.token)
        return await promise

    ref = asker.run_no_wait({})
    first, second = tokens.get(timeout=60), tokens.get(timeout=60)
    assert first == second
    assert app.promises.resolve(first, 7)
    assert ref.result(60) == 7
