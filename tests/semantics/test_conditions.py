"""Waiting for several things: all, or any; what came is what every attempt is told, and the losers end."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from fanwood import Context, Fanwood, RunState, SleepCondition, UserEventCondition, or_
from fanwood.errors import TaskRunCancelled, TaskRunError, UsageError
from fanwood.sdk.waits import conditions
from tests.conftest import MakeApp
from tests.faults.processes import until

COLOURS = ["async", "sync"]
LONG = 3600


def chooser(app: Fanwood, colour: str, conditions: Any, told: Any = None, **options: Any) -> Any:
    """A task that waits for conditions, and says which came (their numbers), with what."""

    def said(ctx: Context, all_: list[Any], result: Any) -> list[Any]:
        if told is not None:
            told(ctx)
        return [[all_.index(each), result[each]] for each in result] + [all_.index(result.first)]

    if colour == "async":

        @app.task(name="chooser", **options)
        async def aio_chooser(input: dict, ctx: Context) -> Any:
            all_, arguments = conditions()
            return said(ctx, all_, await ctx.aio_wait_for("choice", *arguments))

        return aio_chooser

    @app.task(name="chooser", **options)
    def chooser(input: dict, ctx: Context) -> Any:
        all_, arguments = conditions()
        return said(ctx, all_, ctx.wait_for("choice", *arguments))

    return chooser


def either() -> tuple[list[Any], list[Any]]:
    all_ = [SleepCondition(LONG), UserEventCondition("a"), UserEventCondition("b", match={"n": 1})]
    return all_, [or_(*all_)]


def both() -> tuple[list[Any], list[Any]]:
    all_ = [SleepCondition(0.02), UserEventCondition("a"), UserEventCondition("b"), SleepCondition(LONG)]
    return all_, [all_[0], all_[1], or_(*all_[2:])]


def waits(app: Fanwood, run_id: str, count: int) -> None:
    until(lambda: [c.status for c in app.runs.children(run_id)].count(RunState.WAITING) == count, "it waits")


def states(app: Fanwood, run_id: str) -> dict[str, list[RunState]]:
    found: dict[str, list[RunState]] = {}
    for child in app.runs.children(run_id):
        found.setdefault(child.task_name, []).append(child.status)
    return found


@pytest.mark.parametrize("colour", COLOURS)
def test_of_an_or_the_first_one_counts_and_the_others_end(app: Fanwood, colour: str) -> None:
    ref = chooser(app, colour, either).run_no_wait({})
    waits(app, ref.id, 3)
    app.events.push("b", {"n": 2})
    app.events.push("b", {"n": 1})
    assert ref.result(60) == [[2, {"n": 1}], 2]
    assert states(app, ref.id) == {
        "~sleep": [RunState.CANCELLED],
        "~event": [RunState.CANCELLED, RunState.COMPLETED],
        "~step": [RunState.COMPLETED],
    }


@pytest.mark.parametrize("colour", COLOURS)
def test_who_goes_on_ends_the_others(app: Fanwood, colour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Since who was told what came has not come to it."""
    end = conditions.end

    async def broken_off(attempt: Any, name: str, losers: list[bytes]) -> None:
        if attempt.run.retry_count == 0:
            raise ValueError("once more")
        await end(attempt, name, losers)

    monkeypatch.setattr(conditions, "end", broken_off)
    ref = chooser(app, colour, either, retries=1).run_no_wait({})
    waits(app, ref.id, 3)
    app.events.push("a", 1)
    assert ref.result(60) == [[1, 1], 1]
    (sleep,) = (child for child in app.runs.children(ref.id) if child.task_name == "~sleep")
    assert "choice has come without it" in str(app.runs.get(sleep.id).error)


@pytest.mark.parametrize("colour", COLOURS)
def test_all_of_the_arguments_must_come(app: Fanwood, colour: str) -> None:
    ref = chooser(app, colour, both).run_no_wait({})
    waits(app, ref.id, 3)  # the short sleep is over
    app.events.push("b", "bee")
    waits(app, ref.id, 2)
    assert app.runs.get_status(ref.id) is RunState.RUNNING
    app.events.push("a", "ay")
    *came, first = ref.result(60)
    assert sorted(came) == [[0, None], [1, "ay"], [2, "bee"]]
    assert first == came[0][0]  # (what came before this process looked is told at once, in any order)


@pytest.mark.parametrize("colour", COLOURS)
def test_the_next_attempt_is_told_the_same(make_app: MakeApp, colour: str) -> None:
    """Though by now the other has come as well, which it asks for again."""
    app, attempts, go_on = make_app(), list[int](), threading.Event()

    def told(ctx: Context) -> None:
        attempts.append(ctx.attempt_number)
        if len(attempts) == 1:
            raise ValueError("once more")
        go_on.wait(60)

    ref = chooser(app, colour, either, told, retries=1).run_no_wait({})
    waits(app, ref.id, 3)
    app.events.push("a", 1)
    until(lambda: len(attempts) == 2, "it tries again")
    app.events.push("b", {"n": 1})
    go_on.set()
    assert ref.result(60) == [[1, 1], 1]
    assert attempts == [1, 2]
    assert len(app.runs.children(ref.id)) == 4


@pytest.mark.parametrize("colour", COLOURS)
def test_a_wait_for_several_goes_on_in_the_next_attempt(make_app: MakeApp, colour: str) -> None:
    app = make_app()
    ref = chooser(app, colour, both).run_no_wait({})
    waits(app, ref.id, 3)
    app.events.push("a", 1)
    waits(app, ref.id, 2)
    app.close()
    other = make_app()
    task = chooser(other, colour, both)
    other.events.push("b", 2)
    result = task.get_run_ref(ref.id).result(60)
    assert sorted(result[:-1]) == [[0, None], [1, 1], [2, 2]]
    assert len(other.runs.children(ref.id)) == 5


def test_what_is_cancelled_can_not_come(app: Fanwood) -> None:
    ref = chooser(app, "async", lambda: ((c := [UserEventCondition("a"), UserEventCondition("b")]), c)).run_no_wait({})
    waits(app, ref.id, 2)
    app.runs.cancel(app.runs.children(ref.id)[0].id)
    with pytest.raises(TaskRunError) as told:
        ref.result(60)
    assert told.value.exc_type == TaskRunCancelled.__name__


def test_looking_back_and_typed_payloads(app: Fanwood) -> None:
    app.events.push("a", {"n": 1})
    event = UserEventCondition("a", payload_validator=dict[str, int], lookback_window="1h")
    task = chooser(app, "async", lambda: ([event, SleepCondition(LONG)], [or_(event, SleepCondition(LONG))]))
    assert task.run({}) == [[0, {"n": 1}], 0]


def test_an_or_within_an_or_is_one(app: Fanwood) -> None:
    first, second, third = UserEventCondition("a"), SleepCondition(0.01), SleepCondition(LONG)
    task = chooser(app, "async", lambda: ([first, second, third], [or_(or_(first, second), or_(third))]))
    assert task.run({})[0] == [1, None]


@pytest.mark.parametrize("conditions", [(), (7,), ("a",), (None,), (SleepCondition(-1),), (UserEventCondition(""),)])
def test_what_is_no_condition_is_refused(app: Fanwood, conditions: Any) -> None:
    with pytest.raises(TaskRunError) as told:
        chooser(app, "async", lambda: ([], conditions)).run({})
    assert told.value.exc_type == UsageError.__name__
    with pytest.raises(UsageError):
        or_(*[each for each in conditions if not isinstance(each, SleepCondition | UserEventCondition)])
