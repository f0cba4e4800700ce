"""What a run and all below it may use: exactly, whoever spends, and however often it is tried."""

from __future__ import annotations

import asyncio
import math
import pickle
import threading
from decimal import Decimal, localcontext
from typing import Any

import pytest

from fanwood import Budget, BudgetExceeded, Context, Fanwood, RunState, TaskRunError, UsageError
from fanwood.model.budgets import SCALE
from fanwood.store.budgets import quantity
from tests.conftest import MakeApp


def spent(app: Fanwood, ref: Any) -> dict[str, Decimal]:
    """By a run itself."""
    return app.runs.get(ref.workflow_run_id).spent


def left(app: Fanwood, ref: Any) -> dict[str, tuple[Decimal | int, Decimal | int]]:
    """Of its budget: used, held."""
    return {limit.unit: (limit.used, limit.held) for limit in app.runs.get(ref.workflow_run_id).budget}


def test_a_tenth_ten_times_is_one_and_no_more(app: Fanwood) -> None:
    @app.task
    async def burn(input: int, ctx: Context) -> str:
        for _ in range(input):
            await ctx.aio_spend(usd=0.1)
        try:
            await ctx.aio_spend(usd=0.000001)
        except BudgetExceeded as error:
            return f"{error.limit} {error.most} {error.used} {error.wanted} {error.owner == error.run_id}"
        return "all of it"

    assert burn.run(9, budget=Budget(units={"usd": 1})) == "all of it"
    ref = burn.run_no_wait(10, budget=Budget(units={"usd": 1}))
    assert ref.result() == "usd 1 1 0.000001 True"
    assert spent(app, ref) == {"usd": Decimal(1)}
    assert left(app, ref) == {"usd": (1, 0)}
    assert burn.run(3) == "all of it"


def test_children_spend_of_it_sync_and_async_and_a_race_has_one_winner(app: Fanwood) -> None:
    @app.task
    def sync(input: int, ctx: Context) -> bool:
        try:
            ctx.spend(usd=1, tokens=input)
        except BudgetExceeded:
            return False
        return True

    @app.task
    async def parent(input: int, ctx: Context) -> int:
        return sum(await sync.aio_run_many([sync.create_bulk_run_item(n) for n in range(input)]))

    ref = parent.run_no_wait(20, budget=Budget(units={"usd": 7}))
    assert ref.result() == 7
    assert left(app, ref) == {"usd": (7, 0)}


def test_what_a_budget_refuses_is_not_tried_again(app: Fanwood) -> None:
    tried: list[str] = []

    @app.task(retries=3)
    async def spends(input: float, ctx: Context) -> None:
        tried.append("spends")
        await ctx.aio_spend(usd=input)

    @app.task(retries=3)
    def asks(input: float, ctx: Context) -> None:
        tried.append("asks")
        spends.run(input)

    @app.durable_task(retries=3)
    async def groups(input: float, ctx: Context) -> None:
        tried.append("groups")
        async with ctx.group() as members:
            members.spawn(spends, input)

    @app.task(retries=2)
    async def gives_a_part(input: float, ctx: Context) -> None:
        tried.append("gives a part")
        await spends.aio_run(input, budget=Budget(units={"usd": 1}))

    @app.task(retries=2)
    async def has_some(input: float, ctx: Context) -> None:
        tried.append("has some")
        await asks.aio_run(input, budget=Budget(units={"usd": 1}))

    @app.task(retries=3)
    async def in_between(input: float, ctx: Context) -> None:
        tried.append("in between")
        await asks.aio_run(input)

    @app.task(retries=1)
    async def far(input: float, ctx: Context) -> None:
        tried.append("far")
        await in_between.aio_run(input, budget=Budget(units={"usd": 1}))

    @app.task(retries=1)
    async def farther(input: float, ctx: Context) -> None:
        tried.append("farther")
        await far.aio_run(input)

    for task, expected in [
        (spends, ["spends"]),
        (asks, ["asks", "spends"]),
        (groups, ["groups", "spends"]),
        (gives_a_part, ["gives a part", "spends"] * 3),  # it is taken anew
        (has_some, ["has some", "asks", "spends"] * 3),
        (far, ["far", "in between", "asks", "spends"] * 2),  # (whose budget it is that refuses stands far above)
        (farther, ["farther", *["far", "in between", "asks", "spends"] * 2] * 2),
    ]:
        tried.clear()
        with pytest.raises(TaskRunError, match=r"BudgetExceeded|ExceptionGroup"):
            task.run(2, budget=Budget(units={"usd": 1}))
        assert tried == expected


def test_a_recursion_without_end_is_not_tried_again_on_each_of_its_levels(make_app: MakeApp) -> None:
    app, tried = make_app(max_depth=4), list[int]()

    @app.task(retries=2)
    async def dig(level: int) -> None:
        tried.append(level)
        await dig.aio_run(level + 1)

    with pytest.raises(TaskRunError, match="BudgetExceeded"):
        dig.run(0)
    assert tried == [0, 1, 2, 3, 4]


def test_what_was_refused_and_then_spent_is_spent_when_its_code_runs_again(app: Fanwood) -> None:
    @app.durable_task(retries=1)
    async def durable(input: str, ctx: Context) -> None:
        try:
            async with ctx.reserve(usd=5):
                await ctx.aio_spend(usd=4)
        except BudgetExceeded:
            await ctx.aio_spend(usd=4)
        if ctx.attempt_number == 1:
            raise ValueError("again")

    ref = durable.run_no_wait("", budget=Budget(units={"usd": 8}))
    ref.result(60)
    assert spent(app, ref) == {"usd": 4}
    assert left(app, ref) == {"usd": (4, 0)}


def test_each_execution_of_a_task_and_of_a_step_counts_and_durable_code_once(app: Fanwood) -> None:
    trials: list[str] = []

    @app.task(retries=2)
    async def plain(input: str, ctx: Context) -> None:
        await ctx.aio_spend(usd=1)
        if ctx.attempt_number < 3:
            raise ValueError("again")

    @app.durable_task(retries=2)
    async def durable(input: str, ctx: Context) -> None:
        await ctx.aio_spend(usd=1)
        await ctx.aio_spend(usd=1)

        async def burn() -> None:
            await ctx.aio_spend(tokens=1)
            trials.append("step")
            if len(trials) < 3:
                raise ValueError("again")

        await ctx.aio_step(burn, key="burn")

    one, other = plain.run_no_wait("a", budget=Budget(units={"usd": 3})), durable.run_no_wait("b")
    one.result()
    other.result()
    assert spent(app, one) == {"usd": 3}
    assert spent(app, other) == {"usd": 2, "tokens": 3}


def test_what_is_reserved_is_there_and_what_is_left_of_it_returns(app: Fanwood) -> None:
    @app.task
    async def careful(input: int, ctx: Context) -> list[str]:
        said: list[str] = []
        async with ctx.reserve(usd=6) as held:
            for amount in (5, 4):
                try:
                    await ctx.aio_spend(usd=amount)
                    said.append(f"spent {amount}")
                except BudgetExceeded as error:
                    told = "6 of these are only held" in str(error) and "RetryAfterException" in str(error)
                    said.append(f"refused {amount}, {error.used} are taken, {error.held} are held, {told}")
            await held.aio_spend(usd=2)
        with pytest.raises(BudgetExceeded, match=r"may not reserve 5 usd: 6 of 10 usd are used or held.* 5 more$"):
            async with ctx.reserve(usd=5):
                raise AssertionError("it was refused")
        with pytest.raises(UsageError, match="once"):
            async with held:
                pass
        return said

    @app.task
    def blocking(input: int, ctx: Context) -> int:
        with ctx.reserve(usd=6) as held:
            held.spend(usd=5)
        with ctx.reserve(usd=5):
            raise ValueError("in the middle")

    ref = careful.run_no_wait(0, budget=Budget(units={"usd": 10}))
    assert ref.result() == ["refused 5, 6 are taken, 6 are held, True", "spent 4"]
    assert left(app, ref) == {"usd": (6, 0)}
    ref = blocking.run_no_wait(0, budget=Budget(units={"usd": 10}))
    with pytest.raises(TaskRunError, match="in the middle"):
        ref.result()
    assert left(app, ref) == {"usd": (5, 0)}


def test_what_is_reserved_is_free_again_where_the_code_itself_gave_up(app: Fanwood) -> None:
    @app.task
    async def impatient(input: str, ctx: Context) -> list[Decimal | int]:
        held: list[Decimal | int] = []

        async def hold() -> None:
            async with ctx.reserve(usd=3) as reserved:
                await reserved.aio_spend(usd=1)
                begun.set()
                await asyncio.Event().wait()

        begun = asyncio.Event()
        task = asyncio.create_task(hold())
        await begun.wait()
        held += [limit.held for limit in (await app.runs.aio_get(ctx.task_run_id)).budget]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return [*held, *(limit.held for limit in (await app.runs.aio_get(ctx.task_run_id)).budget)]

    assert impatient.run("", budget=Budget(units={"usd": 3})) == [2, 0]


def test_a_durable_task_does_not_reserve_again_what_it_has_left(app: Fanwood) -> None:
    failed: list[int] = []

    @app.durable_task(retries=1)
    async def durable(input: int, ctx: Context) -> str:
        async with ctx.reserve(usd=8) as held:
            await held.aio_spend(usd=7)
        if not failed:
            failed.append(1)
            raise ValueError("again")
        return "done"

    ref = durable.run_no_wait(0, budget=Budget(units={"usd": 10}))
    assert ref.result() == "done"
    assert left(app, ref) == {"usd": (7, 0)}


def test_a_durable_task_reserves_again_what_it_gave_up_in_the_midst(app: Fanwood) -> None:
    """Its code gave up waiting within the block: that was not left as its end is."""
    held: list[list[Decimal | int]] = []

    async def hold(ctx: Context, *, gives_up: bool) -> None:
        async with ctx.reserve(usd=3):
            held.append([limit.held for limit in (await app.runs.aio_get(ctx.task_run_id)).budget])
            if gives_up:
                begun.set()
                await asyncio.Event().wait()

    @app.durable_task(retries=1)
    async def durable(input: int, ctx: Context) -> str:
        if ctx.retry_count == 0:
            task = asyncio.create_task(hold(ctx, gives_up=True))
            await begun.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise ValueError("again")
        await hold(ctx, gives_up=False)
        return "done"

    begun = asyncio.Event()
    ref = durable.run_no_wait(0, budget=Budget(units={"usd": 10}))
    assert ref.result(60) == "done"
    assert len(held) > 1
    assert all(each == [3] for each in held)
    assert left(app, ref) == {"usd": (0, 0)}


def test_a_part_is_taken_from_its_parent_s_and_what_is_left_returns(app: Fanwood) -> None:
    @app.task
    async def child(input: int, ctx: Context) -> int:
        await ctx.aio_spend(usd=input)
        return input

    @app.task
    async def parent(input: int, ctx: Context) -> list[str]:
        said: list[str] = []
        part = Budget(units={"usd": 4})
        for wanted in (3, 5, 1):
            try:
                said.append(str(await child.aio_run(wanted, budget=part)))
            except (BudgetExceeded, TaskRunError) as error:
                said.append(type(error).__name__)
        with pytest.raises(BudgetExceeded, match=r"may not spawn 1 run of child: 4 of 8 usd are used or held"):
            await child.aio_run(1, budget=Budget(units={"usd": 5}))
        bulk = [child.create_bulk_run_item(n, budget=part) for n in range(2)]
        with pytest.raises(BudgetExceeded):
            await child.aio_run_many(bulk)
        assert await child.aio_run_many(bulk[:1]) == [0]  # whoever was refused asks for the same
        return said

    ref = parent.run_no_wait(0, budget=Budget(units={"usd": 8}))
    assert ref.result() == ["3", "TaskRunError", "1"]
    assert left(app, ref) == {"usd": (4, 0)}


def test_runs_and_depths_are_limited_for_all_below(app: Fanwood) -> None:
    limits = set[str]()

    @app.task
    async def grow(input: int, ctx: Context) -> int:
        """How many there are, with itself."""
        found = 1
        for n in range(2):
            try:
                found += await grow.aio_run(input * 2 + n)
            except BudgetExceeded as error:
                limits.add(error.limit)
        return found

    assert grow.run(1, budget=Budget(depth=3)) == 15
    ref = grow.run_no_wait(1, budget=Budget(runs=10, depth=30))
    assert ref.result() == 11
    assert limits == {"runs", "depth"}
    assert left(app, ref)["runs"] == (10, 0)
    assert len(list(app.runs.children(ref.workflow_run_id))) <= 2


def test_seconds_are_those_of_executing_and_stop_what_would_go_on(app: Fanwood) -> None:
    gate = threading.Event()

    @app.task
    def work(input: int) -> int:
        gate.wait(0.02)
        return input

    @app.task
    async def parent(input: int, ctx: Context) -> int:
        for n in range(1000):
            try:
                await work.aio_run(n)
            except BudgetExceeded as error:
                return n if error.limit == "seconds" else -1
        return -1

    ref = parent.run_no_wait(0, budget=Budget(seconds=0.05))
    assert 0 < ref.result() <= 4
    [limit] = app.runs.get(ref.workflow_run_id).budget
    assert limit.used >= Decimal("0.05")


def test_a_replay_by_hand_has_what_it_had(app: Fanwood) -> None:
    @app.task
    async def burn(input: int, ctx: Context) -> None:
        await ctx.aio_spend(usd=3)
        raise ValueError("no")

    ref = burn.run_no_wait(0, budget=Budget(units={"usd": 5}))
    for times in (1, 2):
        with pytest.raises(TaskRunError):
            ref.result()
        assert left(app, ref) == {"usd": (3 * times, 0)}
        app.runs.replay(ref.workflow_run_id)
    with pytest.raises(TaskRunError, match="ValueError"):
        ref.result()


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({}, "limits nothing"),
        ({"runs": -1}, "must not be negative"),
        ({"runs": True}, "whole number"),
        ({"runs": 2**63}, "at most"),
        ({"depth": 1.5}, "whole number"),
        ({"seconds": math.nan}, "seconds"),
        ({"units": {"usd": math.nan}}, "usd of units must be a finite number"),
        ({"units": {"usd": math.inf}}, "finite"),
        ({"units": {"usd": Decimal("NaN")}}, "finite"),
        ({"units": {"usd": -1}}, "negative"),
        ({"units": {"usd": True}}, "must be a number"),
        ({"units": {"usd": "1"}}, "must be a number"),
        ({"units": {"usd": 2**63}}, "at most"),
        ({"units": {"": 1}}, "must be a name"),
        ({"units": {"~runs": 1}}, "must be a name"),
        ({"units": {"runs": 1}}, "a limit of its own"),
        ({"units": {"x" * 65: 1}}, "64"),
        ({"units": [1]}, "must be a dict"),
        ({"units": {str(n): 1 for n in range(33)}}, "32 units"),
    ],
    ids=str,
)
def test_what_no_budget_can_be_is_refused_where_it_is_said(how: dict[str, Any], error: str) -> None:
    with pytest.raises(UsageError, match=error):
        Budget(**how)


def test_amounts_are_to_the_millionth_and_never_nothing() -> None:
    with localcontext(prec=3):  # of the user's own sums
        assert dict(Budget(units={"usd": Decimal("1234567.891")}).part) == {"usd": 1_234_567_891_000}
        assert quantity("usd", 1_234_567_891_000) == Decimal("1234567.891")
    assert [str(quantity("tokens", n * SCALE)) for n in (200_000, 20, 0, 10**12)] == ["200000", "20", "0", f"{10**12}"]
    given = Budget(runs=1, seconds=2, depth=3, units={"a": 0.1 + 0.2, "b": 1e-9, "c": Decimal("0.0000015"), "d": 0})
    assert dict(given.part) == {
        "a": 3 * SCALE // 10, "b": 1, "c": 2, "d": 0, "~runs": 1, "~depth": 3, "~seconds": 2 * SCALE,
    }  # fmt: skip
    again = pickle.loads(pickle.dumps(given))
    assert again == given
    assert hash(again) == hash(given)


def test_a_spend_that_can_t_be_is_refused(make_app: MakeApp) -> None:
    app = make_app()

    @app.task
    async def burn(input: int, ctx: Context) -> None:
        for amounts in ({}, {"usd": -1}, {"usd": math.nan}, {"seconds": 1}):
            with pytest.raises(UsageError):
                await ctx.aio_spend(**amounts)
        await asyncio.gather(*(ctx.aio_spend(usd=n) for n in range(5)))

    ref = burn.run_no_wait(0)
    ref.result()
    assert spent(app, ref) == {"usd": 10}
    with pytest.raises(UsageError, match="must be a Budget"):
        burn.run(0, budget=5)  # type: ignore[arg-type]
    assert app.runs.get(ref.workflow_run_id).status is RunState.COMPLETED


async def test_what_is_shared_is_refused_where_no_run_is_left(app: Fanwood) -> None:
    @app.task
    async def rate(currency: str) -> str:
        return currency

    @app.task
    async def ask(currency: str) -> str:
        try:
            return await rate.aio_run(currency, share="tree")
        except BudgetExceeded as error:
            return f"{error.used} of {error.most} {error.limit}"

    @app.task
    async def asks(n: int) -> list[str]:
        said = [await ask.aio_run("EUR"), await ask.aio_run("EUR")]
        said += await ask.aio_run_many([ask.create_bulk_run_item(currency) for currency in ("EUR", "USD", "GBP")])
        with pytest.raises(BudgetExceeded, match="may not spawn 1 run of rate: 6 of 6 runs are used"):
            await rate.aio_run("CHF", share="tree")
        return [*said, await rate.aio_run("EUR", share="tree")]

    ref = await asks.aio_run_no_wait(1, budget=Budget(runs=6))
    assert await ref.aio_result() == ["EUR"] * 3 + ["6 of 6 runs"] * 2 + ["EUR"]


def test_what_is_asked_for_after_an_equal_one_was_refused_is_another_one(app: Fanwood) -> None:
    @app.task
    async def leaf(input: int) -> int:
        return input

    @app.task
    async def parent(input: int) -> int:
        refused, _ = await asyncio.gather(
            leaf.aio_run_no_wait(1, budget=Budget(units={"usd": 9})), leaf.aio_run_no_wait(1), return_exceptions=True
        )
        assert isinstance(refused, BudgetExceeded)
        return await leaf.aio_run(1)

    ref = parent.run_no_wait(1, budget=Budget(units={"usd": 1}))
    ref.result()
    engine = app.engine()
    known = engine.call(lambda store: store.recalled(ref.key)).result()
    assert len({child.identity for child in known}) == 2


async def test_a_reservation_says_what_it_is(app: Fanwood) -> None:
    @app.task
    async def held(n: int, ctx: Context) -> list[str]:
        one = ctx.reserve(usd=0.5, tokens=n)
        said = [repr(one)]
        async with one:
            return [*said, repr(one)]

    assert await held.aio_run(7) == [
        "<Reservation of 7 tokens, 0.5 usd, not entered>", "<Reservation of 7 tokens, 0.5 usd, held>",
    ]  # fmt: skip
