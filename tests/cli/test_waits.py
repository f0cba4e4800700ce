"""What runs wait for: on a terminal, in one line each, and what `fanwood why` says of who waits."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from fanwood import Context, EvictionPolicy, Fanwood
from fanwood.cli import looking
from fanwood.model.records import RunRecord
from fanwood.model.states import RunKind, RunState
from tests.cli.conftest import short
from tests.faults.processes import until

LINES = (
    "~event  waits for event order:paid, scope 77, since",
    "~event  waits for event a, since",
    "~event  waits for event kkkk",
    "~message  waits for a message letters, since",
    '~promise  waits for somebody to settle the "big" one, since',
    "~sleep  sleeping until",
)


@pytest.fixture
def waiting(app: Fanwood) -> Any:
    """One that waits for one of each, in turn; and that was suspended twice by then."""

    @app.durable_task(eviction_policy=EvictionPolicy(ttl=0))
    async def waits(which: int, ctx: Context) -> None:
        await ctx.aio_wait_for_event("go", lookback_window="1h")
        for_ = [
            lambda: ctx.aio_wait_for_event("order:paid", scope="77", match={"id": "x" * 300}),
            lambda: ctx.aio_wait_for_event("a", match={"id": "x" * 300}),
            lambda: ctx.aio_wait_for_event("k" * 400 + "end", scope="78"),
            lambda: ctx.aio_receive("letters", timeout="2h"),
            lambda: _promise(ctx),
            lambda: ctx.aio_sleep_for(timedelta(hours=3)),
        ]
        await for_[which]()

    @app.durable_task(eviction_policy=EvictionPolicy(ttl=0))
    async def all_of_them(input: dict, ctx: Context) -> None:
        await asyncio.gather(*(waits.aio_run(n) for n in range(len(LINES))))

    ref = all_of_them.run_no_wait({})
    app.events.push("go")
    return app, ref


async def _promise(ctx: Context) -> None:
    await (await ctx.aio_promise(bool, 'the "big" one'))


def second_wait(app: Fanwood, run_id: str) -> str:
    """That of a run which has gone on after its first one, and is suspended again."""

    def living() -> list[str]:
        children = app.runs.children(run_id)
        if len(children) < 2 or app.runs.get(run_id).status is not RunState.WAITING:
            return []
        return [each.id for each in children if not each.status.is_terminal]

    until(lambda: len(living()) == 1, "it waits for the second time")
    return living()[0]


def children_of(app: Fanwood, run_id: str) -> list[str]:
    """In the order in which they were asked for, once all are there."""
    until(lambda: len(app.runs.children(run_id)) == len(LINES), "it has asked for them")
    return sorted(run.id for run in app.runs.children(run_id))


@pytest.mark.parametrize("columns", [80, 140])
def test_a_tree_says_for_what(invoke: Any, waiting: Any, terminal: Any, columns: int) -> None:
    app, ref = waiting
    for child in children_of(app, ref.id):
        second_wait(app, child)
    terminal(columns)
    lines = invoke("tree", ref.id).stdout.splitlines()
    for expected in LINES:
        [line] = [line for line in lines if expected in line]
        assert "{" not in line
        assert len(line) <= columns
        assert (", until " in line) == ("letters" in line)
        assert ("...kk" in line and "kend, scope 78, since" in line) == ("kkkk" in line)
    [slept] = [line for line in lines if "~sleep" in line]
    assert "(3.0 h)" in slept
    assert "attempt" not in "".join(lines), "nothing went wrong"
    [over, *_] = [line for line in lines if "✓ ~event" in line]
    assert over.endswith("  go")


def test_why_says_what_who_is_suspended_waits_for(invoke: Any, waiting: Any) -> None:
    app, ref = waiting
    for child, expected in zip(children_of(app, ref.id), LINES, strict=True):
        wait = second_wait(app, child)
        of_itself, (said, *_) = app.runs.why(wait), invoke("why", child).stdout.splitlines()
        assert f". {expected.partition(' ')[0]} {short(wait)}: it " in said
        assert app.runs.why(child).command == (of_itself.command or f"fanwood why {short(wait)}")
    _is_told_in_pipes(invoke, ref.id)


def _is_told_in_pipes(invoke: Any, run_id: str) -> None:
    lines = [line.strip().split("\t") for line in invoke("tree", run_id).stdout.splitlines()]
    due = {name: when for name, state, *_, when in lines if state == "WAITING" and name.startswith("~")}
    assert set(due) == {
        "~event order:paid (scope 77)", "~event a", f"~event {'k' * 37}...{'k' * 17}end (scope 78)",
        "~message letters", '~promise the "big" one', "~sleep",
    }  # fmt: skip
    assert {name for name, when in due.items() if when != "-"} == {"~message letters", "~sleep"}
    runs = msgspec.json.decode(invoke("tree", run_id, "--json").stdout)["runs"]
    told = {run["task"]: run["due_at"] for run in runs if run["status"] == "WAITING"}
    assert told["~message"] is not None
    assert told["~event"] is None


@pytest.mark.parametrize(
    ("preview", "name", "scope"),
    [
        ('{"key":"a","scope":null,"match":{}}', "a", ""),
        ('{"key":"a\\n\\u001b[31mb","scope":"c\\"d"}', "a b", 'c"d'),
        ('{"key":"' + "k" * 192, "k" * 37 + "..." + "k" * 20, ""),  # as it is cut
        ('{"key":"' + "k" * 20 + "\\u12", "k" * 20, ""),
        ('{"key":"' + "k" * 20 + "\\", "k" * 20, ""),
        ('{"key":"kk\\ud83d', "kk\\ud83d", ""),
        ('{"key":"a","scope":"' + "s" * 100, "a", "s" * 37 + "..." + "s" * 20),
        ('{"key":"' + "k" * 300 + 'end","scope":"s"}', "k" * 37 + "..." + "k" * 17 + "end", "s"),
        ('{"name":"approval","schema":{"scope":"x"}}', "approval", ""),
        ('{"key":7}', "", ""),
        ("null", "", ""),
        ("", "", ""),
    ],
)
def test_names_are_told_as_far_as_they_are_known(preview: str, name: str, scope: str) -> None:
    about: Any = dict.fromkeys(RunRecord.__struct_fields__)
    assert looking.named(RunRecord(**{**about, "kind": RunKind.EVENT}), preview) == (name, scope)
    assert looking.named(RunRecord(**{**about, "kind": RunKind.RECORDED}), preview) == ("", "")


def test_a_command_that_helps_does_nothing_to_a_terminal(invoke: Any, app: Fanwood) -> None:
    @app.durable_task(eviction_policy=EvictionPolicy(ttl=0))
    async def waits(input: dict, ctx: Context) -> None:
        await ctx.aio_wait_for_event("a\x1b[31mb", scope="\x1b]0;t\x07")

    ref = waits.run_no_wait({})
    until(lambda: app.runs.get(ref.id).status is RunState.WAITING, "it waits")
    said = invoke("why", ref.id).stdout
    assert "events push" in said
    assert "\x1b" not in said
    assert "\x07" not in said


@pytest.mark.parametrize(
    ("attempt", "retries", "deaths", "again"), [(1, 0, 0, False), (3, 0, 0, False), (2, 1, 0, True), (2, 0, 1, True)]
)
def test_only_what_went_wrong_is_begun_again(attempt: int, retries: int, deaths: int, again: bool) -> None:
    about: Any = dict.fromkeys(RunRecord.__struct_fields__)
    run = RunRecord(**{**about, "attempt": attempt, "retry_count": retries, "deaths": deaths})
    assert run.is_begun_again is again
