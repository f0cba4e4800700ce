"""Forks: new runs that are made from others, and take what those had finished."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Any

import pytest

from fanwood import (
    ChildKeyConflictError,
    Context,
    ForkInfo,
    InputValidationError,
    RunInfo,
    RunNotFoundError,
    RunState,
    SleepCondition,
    TaskRunError,
    UsageError,
    UserEventCondition,
    after,
    or_,
)
from fanwood.model.forks import DEPTH
from tests.faults.processes import until


class Calls:
    """What was executed, and what is to fail for now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: Counter[str] = Counter()
        self.failing: set[str] = set()

    def made(self, what: str) -> None:
        with self._lock:
            self._made[what] += 1
        if what in self.failing:
            raise ValueError(f"{what} is not yet ready")

    def taken(self) -> dict[str, int]:
        with self._lock:
            made, self._made = self._made, Counter()
        return dict(made)


STEPS = Calls()


def step(n: int) -> str:
    STEPS.made(f"step {n}")
    return str(n)


def failed(app: Any, ref: Any) -> str:
    with pytest.raises((TaskRunError, ExceptionGroup)):
        ref.result(timeout=60)
    return str(ref.id)


def how(runs: list[RunInfo]) -> list[str]:
    return [run.fork.how if run.fork is not None else "" for run in runs]


@pytest.mark.parametrize("numbers", [[2, 1, 2], [2, 2, 1], [2, 1]], ids=str)
def test_a_key_that_is_given_twice_at_once_is_said_as_in_the_first(make_app: Any, numbers: list[int]) -> None:
    """Its copy was recorded, and looked for, in one commit: not found it was to be born again, under the same id."""
    app = make_app()

    @app.task
    async def leaf(n: int) -> int:
        return n

    @app.durable_task
    async def parent(input: Any, ctx: Context) -> list[str | int]:
        asked = [leaf.aio_run(n, child_key="k") for n in numbers]
        return [
            given if isinstance(given, int) else type(given).__name__
            for given in await asyncio.gather(*asked, return_exceptions=True)
        ]

    first = parent.run_no_wait({})
    expected = [2 if n == 2 else ChildKeyConflictError.__name__ for n in numbers]
    assert first.result(timeout=60) == expected
    assert first.fork().result(timeout=60) == expected


def test_what_was_finished_is_copied_as_it_is_asked_for(make_app: Any) -> None:
    """Equal children, keys, large outputs, a bulk, and what was not waited for; a child that failed takes its own."""
    app, calls = make_app(), Calls()

    @app.task
    def leaf(input: int) -> str:
        calls.made(f"leaf {input}")
        return "x" * (40_000 if input == 2 else input)

    @app.task
    def middle(input: int) -> str:
        calls.made("middle")
        return leaf.run(10) + leaf.run(11)

    @app.task
    def top(input: str) -> list[int]:
        calls.made("top")
        first = leaf.run_many([leaf.create_bulk_run_item(n) for n in (1, 2, 3, 3, 3)])
        keyed = [*(len(leaf.run(5, child_key="k")) for _ in range(2)), len(leaf.run(2, child_key="large"))]
        leaf.run_no_wait(4).result()
        return [*map(len, first), *keyed, len(middle.run(0))]

    calls.failing = {"leaf 11"}
    origin = failed(app, top.run_no_wait("a"))
    assert calls.taken() == {
        "top": 1, "leaf 1": 1, "leaf 2": 2, "leaf 3": 3, "leaf 4": 1, "leaf 5": 1, "middle": 1,
        "leaf 10": 1, "leaf 11": 1,
    }  # fmt: skip
    calls.failing = set()
    ref = app.runs.fork(origin, by="ann")
    assert ref.result(timeout=60) == [1, 40_000, 3, 3, 3, 5, 5, 40_000, 21]
    assert calls.taken() == {"top": 1, "middle": 1, "leaf 11": 1}
    children = app.runs.children(ref.id)
    assert how(children) == [*["copy"] * 8, "fork"]
    assert {child.status for child in children} == {RunState.COMPLETED}
    before = {run.id for run in app.runs.children(origin)}
    assert {child.fork.of for child in children if child.fork} == before
    assert how(app.runs.children(children[-1].id)) == ["copy", "fork"]
    info = app.runs.get(ref.id)
    assert isinstance(info.fork, ForkInfo)
    assert (info.fork.of, info.fork.by, info.fork.at, info.fork.changed, info.parent_id) == (
        origin, "ann", None, False, None,
    )  # fmt: skip
    assert app.runs.forks(origin) == [info.fork]
    assert app.runs.get(origin).fork is None
    again = app.runs.fork(ref.id, input="b")  # a fork of a fork, with another input
    assert again.result(timeout=60)[-1] == 21
    assert calls.taken() == {"top": 1}
    assert app.runs.get(again.id).input == "b"
    assert app.runs.forks(ref.id)[0].changed


def test_from_a_run_below_on(make_app: Any) -> None:
    """It, what was asked for after it, and what is above it: with another input for it, or as it was."""
    app, calls = make_app(), Calls()

    @app.task
    def leaf(input: int) -> int:
        calls.made(f"leaf {input}")
        return input

    @app.task
    def middle(input: int) -> int:
        calls.made(f"middle {input}")
        return leaf.run(input + 1) + leaf.run(input + 2) + leaf.run(input + 3)

    @app.task
    def top(input: int) -> int:
        calls.made("top")
        return sum(middle.run(n) for n in (10, 20, 30))

    origin = top.run_no_wait(0)
    assert origin.result(timeout=60) == 198
    calls.taken()
    middles = app.runs.children(origin.id)
    (_, at, _) = app.runs.children(middles[1].id)
    ref = app.runs.fork(origin.id, at=at.id, input=1000)
    assert ref.result(timeout=60) == 198 + 978
    assert calls.taken() == {
        "top": 1, "middle 20": 1, "leaf 1000": 1, "leaf 23": 1, "middle 30": 1,
        "leaf 31": 1, "leaf 32": 1, "leaf 33": 1,
    }  # fmt: skip
    first, second, third = app.runs.children(ref.id)
    assert how([first, second, third]) == ["copy", "fork", ""]
    inner = app.runs.children(second.id)
    assert how(inner) == ["copy", "again", ""]
    assert (inner[1].fork.of, inner[1].fork.changed, app.runs.get(inner[1].id).input) == (at.id, True, 1000)
    assert app.runs.get(ref.id).fork.at == at.id
    with pytest.raises(InputValidationError):
        app.runs.fork(origin.id, at=at.id, input="much")
    with pytest.raises(InputValidationError):
        app.runs.fork(origin.id, input="much")
    again = app.runs.fork(ref.id, at=inner[1].id)
    assert again.result(timeout=60) == 198 + 978
    assert calls.taken()["leaf 1000"] == 1
    copied = app.runs.fork(ref.id, at=app.runs.children(ref.id)[2].id)
    assert copied.result(timeout=60) == 198 + 978
    same = app.runs.fork(app.runs.children(ref.id)[1].id)  # a copy of what had another input has that
    assert same.result(timeout=60) == 1000 + 21 + 23
    (_, kept, _) = app.runs.children(same.id)
    assert (how([kept]), kept.fork.changed, app.runs.get(kept.id).input) == (["copy"], True, 1000)


def test_what_is_recorded(make_app: Any) -> None:
    """Steps, sleeps, promises, events, messages, times, what is drawn, what is done once; and from a step on."""
    app, calls = make_app(), STEPS
    calls.taken()

    @app.task
    def other(input: str) -> str:
        calls.made("other")
        return input

    tokens: list[str] = []

    @app.durable_task()
    async def top(input: Any, ctx: Context) -> list[str]:
        calls.made("top")
        said = [await ctx.aio_step(step, 1), str(await ctx.aio_now("now")), str(ctx.uuid("u")), str(ctx.random("r"))]
        await other.aio_run_no_wait(said[2], detached=True)
        promise = await ctx.aio_promise(str, "p")
        tokens.append(promise.token)
        said += [await promise, str(await ctx.aio_wait_for_event("e")), str((await ctx.aio_receive("m")).payload)]
        await ctx.aio_sleep_for(0.01)
        await app.events.aio_push("done", 1)
        async with ctx.group(name="g", quorum=1) as group:
            group.spawn(other, "winner")
        said.append(str(getattr(group.winner, "value", None)))
        said += [
            await ctx.aio_step(step, 2),
            await ctx.aio_step(step, 3, key="k"),
            await ctx.aio_step(step, 3, key="k"),
        ]
        return said

    calls.failing = {"step 3"}
    ref = top.run_no_wait()
    until(lambda: tokens != [], "it has made its promise")
    app.promises.resolve(tokens[0], "yes")
    until(lambda: any(run.task_name == "~event" for run in app.runs.children(ref.id)), "it waits for its event")
    app.events.push("e", "come")
    app.runs.send(ref.id, "m", "hello")
    origin = failed(app, ref)
    assert calls.taken()["step 1"] == 1
    calls.failing = set()
    fork = app.runs.fork(origin)
    said = fork.result(timeout=60)
    assert said[4:] == ["yes", "come", "hello", "winner", "2", "3", "3"]
    assert calls.taken() == {"top": 1, "step 3": 1}
    children = app.runs.children(fork.id)
    assert Counter(how(children)) == {"copy": len(children) - 1, "": 1}
    assert len(tokens) == len(set(tokens))
    at = next(run for run in app.runs.children(fork.id) if app.runs.get(run.id).output == "2")
    again = app.runs.fork(fork.id, at=at.id)
    assert again.result(timeout=60) == said
    assert calls.taken() == {"top": 1, "step 2": 1, "step 3": 1}


def test_of_several_waits_in_one_what_had_come_is_copied(make_app: Any) -> None:
    """What was decided is; and of what was not yet, what had come: else a fork would sleep anew."""
    app = make_app()

    @app.durable_task()
    async def top(input: Any, ctx: Context) -> list[str]:
        come = await ctx.aio_wait_for("first", or_(SleepCondition(0.02), UserEventCondition("never")))
        await ctx.aio_wait_for("second", SleepCondition(0.03), UserEventCondition("e"))
        return [str(each) for each in come]

    def sleeps(run_id: str) -> list[Any]:
        return [run for run in app.runs.children(run_id) if run.task_name == "~sleep"]

    ref = top.run_no_wait()
    until(lambda: [run.status.name for run in sleeps(ref.id)] == ["COMPLETED"] * 2, "it has slept twice")
    app.runs.cancel(ref.id)
    fork = app.runs.fork(ref.id)
    until(lambda: any(run.task_name == "~event" for run in app.runs.children(fork.id)), "it waits for its event")
    assert [how([run]) for run in sleeps(fork.id)] == [["copy"]]  # (of what was decided the decision is)
    app.events.push("e", "come")
    assert len(fork.result(timeout=60)) == 1


def test_workflows(make_app: Any) -> None:
    """Steps that were done are copied; their outputs are there for those after them."""
    app, calls = make_app(), Calls()
    flow = app.workflow(name="flow")

    @flow.task()
    def first(input: Any, ctx: Context) -> int:
        calls.made("first")
        return 1

    @flow.task(parents=[first])
    def second(input: Any, ctx: Context) -> int:
        calls.made("second")
        return int(ctx.task_output(first)) + 1

    calls.failing = {"second"}
    origin = failed(app, flow.run_no_wait())
    calls.taken()
    calls.failing = set()
    ref = app.runs.fork(origin)
    assert ref.result(timeout=60)["second"] == 2
    assert calls.taken() == {"second": 1}
    (step, _) = sorted(app.runs.children(ref.id), key=lambda run: run.task_name)
    with pytest.raises(UsageError, match="it is a step of a workflow"):
        app.runs.fork(step.id)
    assert app.runs.fork(ref.id, at=step.id).result(timeout=60)["second"] == 2
    assert calls.taken() == {"first": 1, "second": 1}


def test_at_a_step_with_another_input(make_app: Any) -> None:
    """Of the workflow; or with all that the step is handed, as `runs.get` shows it."""
    app = make_app()
    flow = app.workflow(name="flow", input_validator=int)

    @flow.task()
    def first(input: int, ctx: Context) -> int:
        return input

    @flow.task(parents=[first])
    def second(input: int, ctx: Context) -> list[int]:
        return [ctx.task_output(first), input]

    ref = flow.run_no_wait(1)
    assert ref.result(timeout=60) == {"first": 1, "second": [1, 1]}
    (step,) = [run.id for run in app.runs.children(ref.id) if run.task_name == "flow:second"]
    assert ref.fork(at=step, input=5).result(timeout=60) == {"first": 1, "second": [1, 5]}
    whole = {**app.runs.get(step).input, "outputs": {"first": 9}}
    other = ref.fork(at=step, input=whole)
    assert other.result(timeout=60) == {"first": 1, "second": [9, 1]}
    (again,) = [run.id for run in app.runs.children(other.id) if run.task_name == "flow:second"]
    assert other.fork(at=again, input=7).result(timeout=60) == {"first": 1, "second": [9, 7]}
    with pytest.raises(InputValidationError, match="the input of flow: 1 problem"):
        ref.fork(at=step, input="five")


def test_in_a_durable_task_once(make_app: Any) -> None:
    app = make_app()

    @app.task
    def small(input: int) -> int:
        return input

    @app.durable_task()
    async def top(input: str, ctx: Context) -> None:
        _ = [await app.runs.aio_fork(input), await app.runs.aio_fork(input), await app.runs.aio_fork(input, input=3)]
        await ctx.aio_sleep_for(0.01)
        raise ValueError("once more")

    origin = small.run_no_wait(2)
    assert origin.result(timeout=60) == 2
    ref = top.run_no_wait(origin.id)
    failed(app, ref)
    app.runs.replay(ref.id)
    failed(app, ref)
    assert len(app.runs.forks(origin.id)) == 3


def test_a_fork_that_is_interrupted_goes_on(make_app: Any) -> None:
    """An attempt that has copied a part: the next one finds that, and copies the rest."""
    app, calls, fails = make_app(), Calls(), list[str]()

    @app.task
    def leaf(input: int) -> int:
        calls.made(f"leaf {input}")
        return input

    @app.task(retries=1)
    def top(input: int) -> int:
        total = sum(leaf.run_many([leaf.create_bulk_run_item(n) for n in range(3)]))
        if fails:
            raise ValueError(fails.pop())
        return total + sum(leaf.run_many([leaf.create_bulk_run_item(n) for n in range(1, 5)]))

    origin = top.run_no_wait(0)
    assert origin.result(timeout=60) == 13
    calls.taken()
    fails.append("once")
    ref = app.runs.fork(origin.id)
    assert ref.result(timeout=60) == 13
    assert not calls.taken()
    assert app.runs.get(ref.id).attempt == 2
    assert how(app.runs.children(ref.id)) == ["copy"] * 7


def test_a_fork_of_a_fork_that_asked_for_nothing(make_app: Any) -> None:
    """What the first would have copied is copied by whoever is made from it; also from where that was forked at on."""
    app, calls, holds = make_app(), Calls(), threading.Event()

    @app.task
    def leaf(input: int) -> int:
        calls.made(f"leaf {input}")
        return input

    @app.task
    def middle(input: int) -> int:
        calls.made("middle")
        return leaf.run(10) + leaf.run(11)

    @app.durable_task()
    async def top(input: str, ctx: Context) -> list[int]:
        calls.made("top")
        if input == "stands" and holds.is_set():
            await ctx.aio_sleep_for(600)
        await ctx.aio_step(step, 1)
        return [await leaf.aio_run(1), await leaf.aio_run(2), await middle.aio_run(0)]

    def stopped(run_id: str, **how: Any) -> str:
        """A fork that begins, and asks for nothing of what is there."""
        holds.set()
        ref = app.runs.fork(run_id, **how)
        until(lambda: app.runs.get(ref.id).attempt, "it begins")
        until(lambda: [run for run in app.runs.children(ref.id) if run.task_name.startswith("~")], "it sleeps")
        app.runs.cancel(ref.id)
        holds.clear()
        assert app.runs.get(ref.id).status is RunState.CANCELLED
        return str(ref.id)

    calls.failing = {"leaf 11"}
    origin = failed(app, top.run_no_wait("stands"))
    calls.failing = set()
    calls.taken()
    STEPS.taken()
    (*_, at, _) = [run for run in app.runs.children(origin) if not run.task_name.startswith("~")]
    first = stopped(stopped(origin))
    calls.taken()
    ref = app.runs.fork(first)
    assert ref.result(timeout=60) == [1, 2, 21]
    assert calls.taken() == {"top": 1, "middle": 1, "leaf 11": 1}
    children = [run for run in app.runs.children(ref.id) if not run.task_name.startswith("~")]
    assert (how(children), how(app.runs.children(children[-1].id))) == (["copy", "copy", "fork"], ["copy", "fork"])
    assert app.runs.get(ref.id).fork.of == first
    second = stopped(origin, at=at.id, input=5)
    calls.taken()
    assert app.runs.fork(second).result(timeout=60) == [1, 5, 21]
    assert calls.taken() == {"top": 1, "leaf 5": 1, "middle": 1, "leaf 10": 1, "leaf 11": 1}
    assert STEPS.taken() == {}


def test_what_is_refused(make_app: Any) -> None:
    app, go = make_app(), threading.Event()

    @app.task
    def leaf(input: int) -> int:
        go.wait(60)
        return input

    @app.task
    def top(input: int) -> int:
        return leaf.run(input)

    ref = top.run_no_wait(1)
    until(lambda: app.runs.children(ref.id) != [], "it has a child")
    (child,) = app.runs.children(ref.id)
    with pytest.raises(UsageError, match="only what has ended can be forked"):
        app.runs.fork(ref.id)
    go.set()
    ref.result(timeout=60)
    for wrong in ({"at": ref.id}, {"at": "0" * 32}, {"by": "\ud800"}, {"by": "x" * 100_000}):
        with pytest.raises((UsageError, RunNotFoundError)):
            app.runs.fork(ref.id, **wrong)
    with pytest.raises(UsageError, match="is not below"):
        app.runs.fork(child.id, at=ref.id)
    with pytest.raises(RunNotFoundError):
        app.runs.fork("0" * 32)
    with pytest.raises(RunNotFoundError):
        app.runs.forks("0" * 32)
    assert app.runs.forks(ref.id) == []
    assert app.settings.max_depth <= DEPTH


def test_nothing_is_forked_at_what_no_code_asks_for(make_app: Any) -> None:
    """It would not be met on the way: nothing would be done again, and another input be lost without a word."""
    app, known = make_app(), threading.Event()

    @app.task
    def rate(input: str) -> int:
        return 7 + leaf.run(1)

    @app.task
    def leaf(input: int) -> int:
        return input

    @app.task
    def slow(input: int, ctx: Context) -> int:
        assert known.wait(60)
        until(lambda: ctx.is_cancelled or len(app.runs.children(ref.id)) > 3, "it has a hedge")
        return leaf.run(2)

    @app.task
    def top(input: int) -> int:
        return rate.run("EUR", share="tree") + slow.run(1, hedge=after(0.001))

    @app.durable_task()
    async def again(input: int, ctx: Context) -> int:
        await leaf.aio_run(input)
        if input < 1:
            ctx.start_over(input + 1)
        return input

    ref = top.run_no_wait(0)
    known.set()  # which run it is
    assert ref.result(timeout=60) == 10
    there = app.runs.children(ref.id)
    shared = next(run for run in there if run.task_name == "rate")
    first, hedge = [run for run in there if run.task_name == "slow"]
    for wrong in (shared, app.runs.children(shared.id)[0]):
        with pytest.raises(UsageError, match="which calls of its tree share"):
            app.runs.fork(ref.id, at=wrong.id)
    with pytest.raises(UsageError, match=f"a hedge: the second run of slow {first.id}"):
        app.runs.fork(ref.id, at=hedge.id, input=9)
    for right in (first, next(run for run in there if run.task_name == "~share")):
        assert app.runs.fork(ref.id, at=right.id).result(timeout=60) == 10
    ref = again.run_no_wait(0)
    assert ref.result(timeout=60) == 1
    old, new = app.runs.children(ref.id)
    with pytest.raises(UsageError, match="has started over since"):
        app.runs.fork(ref.id, at=old.id, input=9)
    assert app.runs.fork(ref.id, at=new.id, input=9).result(timeout=60) == 1


def test_a_child_that_had_started_over_goes_on_with_its_last_life(app: Any) -> None:
    """It takes what that had finished; so it has the input of that, and not the one that it is asked for with."""
    lives = Calls()

    @app.task
    async def child(input: int, ctx: Context) -> list[Any]:
        said = [input, await ctx.aio_step(step, input), ctx.random("it")]
        if input < 2:
            ctx.start_over(input + 1)
        await ctx.aio_step(step, 10)
        lives.made("last")
        return said

    @app.task
    async def top(input: int) -> list[Any]:
        return await child.aio_run(1)

    lives.failing = {"last"}
    STEPS.taken()
    ref = top.run_no_wait(0)
    failed(app, ref)
    assert STEPS.taken() == {"step 1": 1, "step 2": 1, "step 10": 1}
    lives.failing = set()
    fork = app.runs.fork(ref.id)
    assert fork.result(timeout=60)[:2] == [2, "2"]
    assert STEPS.taken() == {}
    (made,) = app.runs.children(fork.id)
    assert app.runs.get(made.id).input == 2
