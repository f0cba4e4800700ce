"""Steps of workflows that wait for more than their parents, are skipped, or cancelled."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from fanwood import (
    Context,
    FailedTaskRunExceptionGroup,
    Fanwood,
    ParentCondition,
    RunState,
    SleepCondition,
    Step,
    TaskRunCancelled,
    TaskRunError,
    UsageError,
    UserEventCondition,
    Workflow,
    WorkflowDeclarationError,
    or_,
)
from fanwood.sdk.tasks.workflow import _Coordination
from fanwood.sdk.waits import choosing
from tests.conftest import MakeApp
from tests.faults.processes import until

LONG = 3600
COLOURS = ["async", "sync"]


def made(app: Fanwood, colour: Any = "async", **conditions: Any) -> tuple[Workflow[Any], list[str]]:
    """`first` returns the input's `n`; `second` has these conditions, `third` follows it, `last` follows both."""
    flow, ran = app.workflow(name="flow", input_validator=dict[str, int]), list[str]()

    @flow.task
    async def first(input: dict[str, int]) -> dict[str, int]:
        return {"n": input["n"]}

    def step(name: str, *parents: str, **given: Any) -> None:
        def told(ctx: Context) -> list[bool]:
            ran.append(name)
            return [ctx.was_skipped(flow.steps[parent]) for parent in parents]

        if colour == "sync":

            @flow.task(name=name, parents=parents, **given)
            def plain(input: Any, ctx: Context) -> list[bool]:
                return told(ctx)

        else:

            @flow.task(name=name, parents=parents, **given)
            async def plain(input: Any, ctx: Context) -> list[bool]:
                return told(ctx)

    step("second", "first", **conditions)
    step("third", "second")
    step("last", "first", "second")
    return flow, ran


def over_five(output: dict[str, int]) -> bool:
    return output["n"] > 5


def waiting(app: Fanwood, run_id: str, count: int) -> None:
    until(lambda: [c.status for c in app.runs.children(run_id)].count(RunState.WAITING) == count, "it waits")


def said(app: Fanwood, run_id: str) -> list[Any]:
    return [child.output for child in app.runs.children(run_id) if child.task_name == "~step"]


SKIPPED = {"first": {"n": 7}, "last": [False, True]}
ALL = {"second": [False], "third": [False], "last": [False, False]}


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("expression", [over_five, "output.n > 5"], ids=["function", "cel"])
def test_a_step_is_skipped_by_what_its_parent_returned(app: Fanwood, colour: str, expression: Any) -> None:
    if isinstance(expression, str):
        pytest.importorskip("cel")
    flow, ran = made(app, colour, skip_if=[ParentCondition("first", expression)])
    ref = flow.run_no_wait({"n": 7})
    assert ref.result(60) == SKIPPED
    assert ran == ["last"]
    decided = [child for child in app.runs.children(ref.id) if child.task_name == "~step"]
    assert [child.child_key for child in decided] == ["second", "third"]
    assert [app.runs.why(child.id).text.split(": ", 1)[1].split(",")[0] for child in decided] == [
        "step second was skipped: skip_if: what became of first",
        "step third was skipped: all its parents were skipped",
    ]
    assert flow.run({"n": 5}) == {"first": {"n": 5}, **ALL}


def test_a_step_that_is_cancelled_cancels_what_follows_it(app: Fanwood) -> None:
    flow, ran = made(app, cancel_if=ParentCondition("first", over_five), skip_if=ParentCondition("first"))
    told = []

    @flow.task
    async def beside() -> None:
        told.append("beside")

    @flow.on_failure_task
    async def failed() -> None:
        told.append("failed")

    ref = flow.run_no_wait({"n": 7})
    with pytest.raises(TaskRunCancelled, match="cancel_if: what became of first"):
        ref.result(60)
    assert (ran, told) == ([], ["beside"])
    assert app.runs.get_status(ref.id) is RunState.CANCELLED


@pytest.mark.parametrize("colour", COLOURS)
def test_a_step_waits_for_all_of_its_conditions(app: Fanwood, colour: str) -> None:
    event = UserEventCondition("go", match={"n": 1})
    flow, ran = made(app, colour, wait_for=[SleepCondition(0.02), or_(event, SleepCondition(LONG))])
    ref = flow.run_no_wait({"n": 1})
    waiting(app, ref.id, 2)
    assert ran == []
    app.events.push("go", {"n": 2})
    app.events.push("go", {"n": 1})
    assert ref.result(60) == {"first": {"n": 1}, **ALL}
    states = {(child.task_name, child.status) for child in app.runs.children(ref.id) if child.task_name[0] == "~"}
    assert states == {
        ("~sleep", RunState.COMPLETED),
        ("~sleep", RunState.CANCELLED),
        ("~event", RunState.COMPLETED),
        ("~step", RunState.COMPLETED),
    }


@pytest.mark.parametrize("option", ["skip_if", "cancel_if"])
def test_what_comes_first_decides(app: Fanwood, option: str) -> None:
    flow, ran = made(
        app, wait_for=SleepCondition(LONG), **{option: [UserEventCondition("no"), UserEventCondition("go")]}
    )
    ref = flow.run_no_wait({"n": 7})
    waiting(app, ref.id, 3)
    app.events.push("no")
    waiting(app, ref.id, 2)
    app.events.push("go")
    if option == "skip_if":
        assert ref.result(60) == SKIPPED
    else:
        with pytest.raises(TaskRunCancelled, match="event no, event go"):
            ref.result(60)
    assert ran == (["last"] if option == "skip_if" else [])


def test_an_event_of_before_skips_what_waits_for_nothing(app: Fanwood) -> None:
    app.events.push("no")
    flow, _ = made(app, skip_if=UserEventCondition("no", lookback_window="1h"))
    assert flow.run({"n": 7}) == SKIPPED


def test_what_can_not_come_any_more_skips(app: Fanwood) -> None:
    flow, ran = made(app, wait_for=[SleepCondition(LONG), ParentCondition("first", over_five)])
    assert flow.run({"n": 1}) == {"first": {"n": 1}, "last": [False, True]}
    assert ran == ["last"]


def test_who_cancels_what_a_step_waits_for_cancels_the_step(app: Fanwood) -> None:
    flow, ran = made(app, wait_for=UserEventCondition("go"))
    ref = flow.run_no_wait({"n": 1})
    waiting(app, ref.id, 1)
    (event,) = [child.id for child in app.runs.children(ref.id) if child.task_name == "~event"]
    app.runs.cancel(event)
    with pytest.raises((TaskRunCancelled, FailedTaskRunExceptionGroup)):
        ref.result(60)
    assert ran == []


def test_after_a_crash_between_condition_and_step_the_same_is_decided(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """... though by now it would be decided otherwise."""
    app, reached, spawn = make_app(grace=0), threading.Event(), _Coordination._spawn
    over = False

    async def lost(self: Any, step: Step[Any, Any], key: str) -> None:
        if key == "second" and not reached.is_set():
            reached.set()
            await asyncio.Event().wait()
        await spawn(self, step, key)

    monkeypatch.setattr(_Coordination, "_spawn", lost)
    given = {"wait_for": UserEventCondition("go"), "skip_if": ParentCondition("first", lambda _: over)}
    flow, ran = made(app, **given)
    ref = flow.run_no_wait({"n": 1})
    waiting(app, ref.id, 1)
    app.events.push("go")
    assert reached.wait(60)
    over = True
    app.close()
    other = make_app()
    again, ran = made(other, **given)
    assert again.get_run_ref(ref.id).result(60) == {"first": {"n": 1}, **ALL}
    assert sorted(ran) == ["last", "second", "third"]
    assert len(said(other, ref.id)) == 1


def test_after_a_crash_before_the_others_are_ended_they_are_ended(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a step waited for, and was decided without, by whoever goes on."""
    app, reached, end = make_app(grace=0), threading.Event(), choosing.end

    async def lost(attempt: Any, name: str, losers: list[bytes]) -> None:
        if losers and not reached.is_set():
            reached.set()
            await asyncio.Event().wait()
        await end(attempt, name, losers)

    monkeypatch.setattr(choosing, "end", lost)
    given = {"wait_for": or_(SleepCondition(LONG), UserEventCondition("go"))}
    flow, _ = made(app, **given)
    ref = flow.run_no_wait({"n": 1})
    waiting(app, ref.id, 2)
    app.events.push("go")
    assert reached.wait(60)
    app.close()
    other = make_app()
    again, _ = made(other, **given)
    assert again.get_run_ref(ref.id).result(60) == {"first": {"n": 1}, **ALL}
    (sleep,) = (child for child in other.runs.children(ref.id) if child.task_name == "~sleep")
    assert "what becomes of second has come without it" in str(sleep.error)


async def _later(_: Any) -> bool:
    return True


def test_a_condition_may_ask_in_a_steps_own_code_whether_a_parent_was_skipped(app: Fanwood) -> None:
    """What comes with it is nothing, whatever the parent would have returned."""
    pytest.importorskip("cel")
    flow = app.workflow(name="flow")

    @flow.task
    async def first() -> int:
        return 7

    @flow.task(parents=[first], skip_if=ParentCondition(first))
    async def second() -> int:
        return 8

    @flow.task(parents=[first, second])
    def third(input: Any, ctx: Context) -> Any:
        skipped, both = ParentCondition(second, "output.skipped"), ParentCondition(first)
        result = ctx.wait_for("it", skipped, both)
        return [result[skipped], result[both]]

    assert flow.run()["third"] == [None, 7]


def test_a_condition_in_a_steps_own_code(app: Fanwood) -> None:
    flow = app.workflow(name="flow")
    later: Any = _later  # (types refuse it)

    @flow.task
    async def first() -> int:
        return 7

    @flow.task(parents=[first])
    def second(input: Any, ctx: Context) -> Any:
        seven = ParentCondition(first, lambda n: n == 7)
        result = ctx.wait_for("it", or_(SleepCondition(LONG), seven))
        with pytest.raises(UsageError, match="can't come"):
            ctx.wait_for("never", ParentCondition(first, lambda n: n == 8))
        with pytest.raises(UsageError, match="no parent"):
            ctx.wait_for("nobody", ParentCondition("third"))
        with pytest.raises(UsageError, match="plain function"):
            ctx.wait_for("async", ParentCondition(first, later))
        return [result.first is seven, result[seven]]

    @app.task
    def alone(input: Any, ctx: Context) -> None:
        ctx.wait_for("it", ParentCondition(first))

    assert flow.run()["second"] == [True, 7]
    with pytest.raises(TaskRunError, match="NotInTaskError"):
        alone.run()


def test_what_is_no_condition_is_refused_when_it_is_declared(app: Fanwood) -> None:
    flow, _ = made(app)
    parents: list[Any] = [7, "first"]
    nothings = [7, ["x"], [SleepCondition], *[ParentCondition(each, 7) for each in parents], UserEventCondition("")]  # pyright: ignore[reportArgumentType]
    for option in ("wait_for", "skip_if", "cancel_if"):
        for nothing in nothings:
            with pytest.raises(UsageError):
                flow.task(**{option: nothing})
    with pytest.raises(UsageError):
        flow.on_failure_task(skip_if=[])  # pyright: ignore[reportCallIssue]
    other = app.workflow(name="other")

    @other.task
    async def foreign() -> None: ...

    with pytest.raises(WorkflowDeclarationError, match="no step of workflow flow"):
        flow.task(skip_if=ParentCondition(foreign))(lambda: None)
    with pytest.raises(WorkflowDeclarationError, match="cycle"):
        flow.task(name="itself", wait_for=ParentCondition("itself"))(lambda: None)
