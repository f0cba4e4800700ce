"""Whatever is given as an option: an error of ours that names it, at the call; or the run runs to its end. And nobody
else is any the worse for it."""

from __future__ import annotations

import enum
import math
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fanwood import (
    Budget,
    Context,
    DeclarationError,
    FailedTaskRunExceptionGroup,
    Fanwood,
    FanwoodError,
    NotInTaskError,
    RetryAfterException,
    Settings,
    SettingsError,
    TaskPolicy,
    TaskRunError,
    TriggerWorkflowOptions,
    UsageError,
    WaitTimeoutError,
    durations,
)
from fanwood.durations import LONGEST
from fanwood.sdk.declaring.options import AttemptOptions, RunOptions, TaskOptions, WorkflowOptions
from tests.chaos.scale import scaled


class Level(enum.IntEnum):
    HIGH = 7


class Word(str, enum.Enum):  # noqa: UP042  (whose own text is another one than that which it is)
    LATE = "late"


class Text(str):  # noqa: SLOT000
    pass


class Odd:
    def __repr__(self) -> str:
        raise RuntimeError("no")


SPECIAL: list[Any] = [
    *(2**31, -(2**31) - 1, 2**63, -(2**63), 2**64, 10**400, 10**5000, True, False, 0, -1, 1, 1.5, 1e300, 5e-324),
    *(math.nan, math.inf, -math.inf, Level.HIGH, Decimal(1), Decimal("NaN")),
    *(timedelta.max, timedelta.min, timedelta(0), timedelta(microseconds=1), timedelta(days=36_500), datetime.max),
    *(Word.LATE, Text("5s"), Text("continue")),
    *("", " ", "5s", "9" * 400 + "d", "soon", "a\0b", "\ud800", "x" * 501, "x" * 20_000, "cancel", "continue", "info"),
    *({}, {"a": 1}, {"\ud800": 1}, {"a": "\0"}, {1: 2}, {"a": math.nan}, {"a": "x" * 70_000}, {"a": {1, 2}}),
    *([], ["a"], [1], (), set(), b"x", object(), Odd(), int, print, Ellipsis, NotImplemented),
]
VALUES = st.one_of(
    st.sampled_from(SPECIAL),
    st.integers(),
    st.floats(),
    st.timedeltas(),
    st.text(st.characters(exclude_categories=[]), max_size=8),
    st.dictionaries(st.text(max_size=3), st.one_of(st.integers(), st.floats(), st.text(max_size=3)), max_size=3),
)
FEW = settings(max_examples=scaled(12, 6), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
EXAMPLES = settings(
    max_examples=scaled(30, 12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def raised(call: Any) -> FanwoodError | None:
    """The error of ours; None if there was none, or it is how a run ended."""
    try:
        call()
    except (TaskRunError, FailedTaskRunExceptionGroup, WaitTimeoutError):
        return None
    except FanwoodError as error:
        return error
    return None


def refused(call: Any, *names: str) -> bool:
    """Whether the call was refused; in words that name one of these."""
    error = raised(call)
    assert error is None or isinstance(error, (ValueError, TypeError)), repr(error)
    assert error is None or any(name in str(error).split(",")[0] for name in names), str(error)
    return error is not None


@pytest.fixture
def task(app: Fanwood) -> Any:
    @app.task
    async def task(input: int = 0) -> int:
        return input

    return task


@pytest.fixture
def parent(app: Fanwood, task: Any) -> Any:
    """Spawns a child with the options that stand in `asked`."""

    @app.task
    async def parent(input: int) -> None:
        await task.aio_run(input, **cast("Any", parent).asked)

    return parent


def still_at_work(app: Fanwood, task: Any) -> None:
    assert app.engine().alive
    assert task.run(7, timeout=60) == 7


@EXAMPLES
@given(name=st.sampled_from(sorted(RunOptions.__annotations__)), value=VALUES)
def test_of_a_run(app: Fanwood, task: Any, name: str, value: Any) -> None:
    ways = (
        lambda: task.run(1, **{name: value}, timeout=60),
        lambda: task.run(1, TriggerWorkflowOptions(**{name: value}), timeout=60),
        lambda: task.run_many([task.create_bulk_run_item(1, **{name: value})], timeout=60),
    )
    verdicts = [refused(way, name) for way in ways]
    assert len(set(verdicts)) == 1 or value is None
    still_at_work(app, task)


@EXAMPLES
@given(name=st.sampled_from(sorted(RunOptions.__annotations__)), value=VALUES)
def test_of_a_child(app: Fanwood, task: Any, parent: Any, name: str, value: Any) -> None:
    parent.asked = {name: value}
    ref = parent.run_no_wait(1)
    raised(lambda: ref.result(60))
    said = app.runs.get(ref.id).error
    assert said is None or f"UsageError: {name}" in said
    still_at_work(app, task)


@EXAMPLES
@given(value=VALUES)
def test_of_a_wait(app: Fanwood, task: Any, value: Any) -> None:
    ref = task.run_no_wait(1)
    for wait in (
        lambda: task.run(1, timeout=value),
        lambda: task.run_many([task.create_bulk_run_item(1)], timeout=value),
        lambda: ref.result(value),
        lambda: app.runs.get_result(ref.id, value),
    ):
        refused(wait, "timeout")
    still_at_work(app, task)


@EXAMPLES
@given(name=st.sampled_from(["wait_for_result", "return_exceptions"]), value=VALUES)
def test_of_a_call(app: Fanwood, task: Any, name: str, value: Any) -> None:
    refused(lambda: task.run_many([task.create_bulk_run_item(1)], **{name: value}), name)
    still_at_work(app, task)


COUNT = iter(range(10**9))


@EXAMPLES
@given(name=st.sampled_from(["name", *sorted(TaskOptions.__annotations__)]), value=VALUES)
def test_of_a_task(app: Fanwood, task: Any, name: str, value: Any) -> None:
    async def declared(input: int) -> int:
        return input

    declared.__name__ = f"declared{next(COUNT)}"
    made: list[Any] = []
    if not refused(lambda: made.append(app.task(**{name: value})(declared)), name):
        refused(lambda: made[0].run(1, timeout=60), "-")
    still_at_work(app, task)


@EXAMPLES
@given(name=st.sampled_from(["name", *sorted(AttemptOptions.__annotations__)]), value=VALUES)
def test_of_a_step(app: Fanwood, task: Any, name: str, value: Any) -> None:
    flow: Any = app.workflow(name=f"flow{next(COUNT)}")

    @flow.task
    async def first(input: Any) -> int:
        return 1

    async def step(input: Any) -> int:
        return 1

    if not callable(value) and not refused(lambda: flow.task(**{name: value})(step), name):
        refused(lambda: flow.run(timeout=60), "-")
    still_at_work(app, task)


@EXAMPLES
@given(name=st.sampled_from(["name", *sorted(WorkflowOptions.__annotations__)]), value=VALUES)
def test_of_a_workflow(app: Fanwood, task: Any, name: str, value: Any) -> None:
    made: list[Any] = []
    options: dict[str, Any] = {"name": f"flow{next(COUNT)}", name: value}
    if not refused(lambda: made.append(app.workflow(**options)), name):

        @made[0].task
        async def step(input: Any) -> int:
            return 1

        refused(lambda: made[0].run(timeout=60), "-")
    still_at_work(app, task)


@EXAMPLES
@given(value=VALUES)
def test_of_the_context(app: Fanwood, task: Any, value: Any) -> None:
    """In a task, the calls of its context."""
    asked.append(value)
    probe = (
        app.find("probe") if "probe" in {each.name for each in app.tasks} else app.task(execution_timeout=60)(_probe)
    )
    assert probe.run(timeout=60) is None
    still_at_work(app, task)


asked: list[Any] = []


def _probe(input: Any, ctx: Context) -> None:
    refused(lambda: ctx.log("x", asked[-1]), "level")
    if not _soon(asked[-1]):
        refused(lambda: ctx.refresh_timeout(asked[-1]), "extend_by")
    ctx.refresh_timeout(60)
    for draw in (ctx.now, ctx.random, ctx.uuid):
        refused(lambda draw=draw: draw(asked[-1]), "name")
    refused(lambda: ctx.step(dict, key=asked[-1]), "key")
    refused(lambda: ctx.step(dict, key="options", retries=asked[-1]), "retries")
    if not _is_duration(asked[-1]):
        assert refused(lambda: ctx.sleep_for(asked[-1]), "duration")
    if not isinstance(asked[-1], datetime):
        assert refused(lambda: ctx.sleep_until(asked[-1]), "when")
    for name in ("done", "total", "message"):
        refused(lambda name=name: ctx.progress(**{"done": 1, name: asked[-1]}), name)
    for ask in (ctx.task_output, ctx.was_skipped, ctx.get_task_run_error):
        assert isinstance(raised(lambda ask=ask: ask(asked[-1])), NotInTaskError)


def _soon(value: Any) -> bool:
    """Whether it is a duration, and may have gone by before the next line."""
    return _is_duration(value) and 0 < durations.parse(value) < 10


def _is_duration(value: Any) -> bool:
    try:
        durations.parse(value)
    except ValueError:
        return False
    return True


_probe.__name__ = "probe"


@EXAMPLES
@given(
    name=st.sampled_from(["task_name", "status", "since", "until", "limit", "all_runs", "metadata", "after"]),
    value=VALUES,
)
def test_of_a_listing(app: Fanwood, task: Any, name: str, value: Any) -> None:
    refused(lambda: app.runs.list(**{name: value}), name, "state")
    still_at_work(app, task)


@FEW
@given(value=VALUES)
def test_of_a_step_in_a_workflow(app: Fanwood, task: Any, value: Any) -> None:
    """What is no step, where one is named."""
    flow: Any = app.workflow(name=f"flow{next(COUNT)}")
    said: list[FanwoodError | None] = []

    @flow.task
    def step(_input: Any, ctx: Context) -> int:
        said.extend(raised(lambda ask=ask: ask(value)) for ask in (ctx.was_skipped, ctx.task_output))
        return 1

    flow.run(timeout=60)
    assert all(isinstance(error, UsageError) and "must be a step" in str(error) for error in said)
    assert len(said) == 2


@FEW
@given(name=st.sampled_from(["run_id", "interval", "limit", "after"]), value=VALUES)
def test_of_a_look(app: Fanwood, task: Any, name: str, value: Any) -> None:
    id_ = task.run_no_wait(1).id
    if name == "run_id":
        for verb in ("get", "children", "counts", "tree", "logs", "attempts", "why", "cancel", "replay", "wake"):
            assert raised(lambda verb=verb: getattr(app.runs, verb)(value)) is not None
    elif name == "interval":
        refused(lambda: next(iter(app.runs.watch(id_, interval=value))), name)
    else:
        refused(lambda: app.runs.logs(id_, **{name: value}), name)
        refused(lambda: app.runs.tree(id_, limit=value) if name == "limit" else None, name)
        refused(lambda: app.runs.children(id_, limit=value) if name == "limit" else None, name)
    still_at_work(app, task)


@FEW
@given(value=VALUES)
def test_of_a_mock_run(app: Fanwood, value: Any) -> None:
    task = app.task(name=f"mocked{next(COUNT)}")(lambda _n: None)
    for name in ("children", "retry_count", "additional_metadata"):
        refused(lambda name=name: task.mock_run(1, **{name: value}), name)


@FEW
@given(value=VALUES)
def test_of_what_is_declared(value: Any) -> None:
    assume(not callable(value))  # (a `filter` says what it draws from, and a number has too many digits to be said)
    app = Fanwood("memory:")
    assert value is None or refused(lambda: app.step(key=value), "key")
    ways: list[Any] = [app.on_failure, app.on_retry, app.on_complete, app.on_cancel, app.middleware]
    assert all(isinstance(raised(lambda add=add: add(value)), DeclarationError) for add in ways)


@EXAMPLES
@given(name=st.sampled_from(["name", "slots", "workflows", "lifespan"]), value=VALUES)
def test_of_a_worker(app: Fanwood, name: str, value: Any) -> None:
    refused(lambda: app.worker(**{name: value}), name)


# --- without a store -------------------------------------------------------------------------------------------------


@settings(max_examples=scaled(500, 60), deadline=None)
@given(name=st.sampled_from(sorted(Settings.__dataclass_fields__)), value=VALUES)
def test_of_settings(name: str, value: Any) -> None:
    made: list[Fanwood] = []
    error = raised(lambda: made.append(Fanwood(**{"url" if name == "database_url" else name: value})))
    if error is not None:
        assert isinstance(error, SettingsError)
        assert name in str(error)
        assert "x" * 100 not in str(error)
    else:
        assert type(getattr(made[0].settings, name)) in (str, bool, int, float, Level)


@pytest.mark.parametrize("name", ["slots", "lease", "poll", "retention_days", "namespace", "deaths_limit"])
@pytest.mark.parametrize("text", ["nan", "inf", "-1", "1e400", "9" * 400, "9" * 5000, "a/b", "soon"])
def test_of_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(f"FANWOOD_{name.upper()}", text)
    error = raised(Fanwood)
    assert error is None or name in str(error).lower()


@settings(max_examples=scaled(500, 60), deadline=None)
@given(factor=VALUES, longest=VALUES, count=st.integers(0, 2**31), jitter=st.floats(0, 1), after=VALUES)
def test_pauses_have_an_end(factor: Any, longest: Any, count: int, jitter: float, after: Any) -> None:
    made: list[Any] = []
    if not refused(lambda: made.append(TaskPolicy(backoff_factor=factor, backoff_max_seconds=longest)), "backoff_"):
        assert 0 <= made[0].backoff(count, jitter) <= LONGEST
    if not refused(lambda: made.append(RetryAfterException(after=after)), "after"):
        assert 0 <= made[-1].after.total_seconds() <= LONGEST


@pytest.mark.parametrize("name", ["prioritiy", "timeouts", "input_"])
def test_keywords_that_there_are_not(task: Any, name: str) -> None:
    for call in (task.run, task.run_no_wait, task.create_bulk_run_item):
        with pytest.raises(UsageError, match=f"task has no option '{name}'"):
            call(1, **{name: 1})


def test_an_enum_of_text_is_the_text_that_it_is(app: Fanwood) -> None:
    @app.task(name=Word.LATE, description=Text("of text"))
    def named(n: int, ctx: Context) -> int:
        assert ctx.step(lambda: n, key=Text("key")) == ctx.step(lambda: -1, key="key") == n
        assert ctx.now(Text("began")) < ctx.now(Word.LATE)
        assert ctx.random(Text("draw")) != ctx.random("draw")
        ctx.log("said", Text("INFO"))
        ctx.progress(1, message=Text("done"))
        return n

    workflow = app.workflow(name=Text("flow"))

    @workflow.task(name=Word.LATE)
    def first(_input: Any, _ctx: Context) -> int:
        return 1

    @workflow.task(name=Text("second"), parents=[Word.LATE])
    def second(_input: Any, ctx: Context) -> int:
        return ctx.task_output(first)

    assert (named.name, first.name) == ("late", "late")
    runs = [named.run_no_wait(1, idempotency_key=Word.LATE, additional_metadata={Word.LATE: Text("x")}) for _ in "ab"]
    assert [run.result() for run in runs] == [1, 1]
    assert runs[0].id == runs[1].id
    assert app.find(Word.LATE) is named
    assert [run.id for run in app.runs.list(task_name=Word.LATE)] == [runs[0].id]
    assert workflow.run({}) == {"late": 1, "second": 1}
    assert type(Settings(namespace=Word.LATE).namespace) is str


class Number(int):
    """As a library's own may be: JSON has no form for its class."""


def test_a_number_of_another_class_is_the_number_that_it_is(app: Fanwood) -> None:
    three, metadata = Number(3), {"n": Number(7)}

    @app.task(default_priority=three, default_additional_metadata=metadata)
    async def child(n: int) -> int:
        return n

    @app.task
    async def parent(n: int) -> int:
        return await child.aio_run(n, priority=three, budget=Budget(runs=Number(1), units={"usd": three}))

    assert parent.run(1, budget=Budget(runs=three, depth=three), additional_metadata=metadata, timeout=60) == 1
    ref = child.run_no_wait(2)
    assert ref.result(timeout=60) == 2
    for action in ("fork", "reprioritize"):
        priority = three if action == "reprioritize" else None
        asked = app.runs.bulk(action, priority=priority, metadata=metadata, task_name=Text("child"))
        assert asked.result(timeout=60).left == 0
