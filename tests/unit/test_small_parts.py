"""Durations, ids, settings, options, policies, timers, collectors, signals: each alone."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest

from fanwood import (
    BlockingCallError,
    ManualClock,
    RunNotFoundError,
    SeededIds,
    Settings,
    SettingsError,
    SystemIds,
    TaskPolicy,
    TriggerWorkflowOptions,
    UsageError,
)
from fanwood.checks import seconds
from fanwood.durations import in_microseconds, parse
from fanwood.engine.signals import Signal, block
from fanwood.engine.timers import SLACK, Timers
from fanwood.engine.waits import Collector, Waits
from fanwood.ids import hex_text, id_bytes, id_text
from fanwood.model.commands import Finished
from fanwood.model.states import RunState
from fanwood.store.expiry import expiry
from fanwood.store.opening import store_for

# --- durations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [(1, 1), (0.5, 0.5), ("90s", 90), ("1h30m", 5400), ("1.5 m", 90), ("20ms", 0.02), (timedelta(minutes=2), 120)],
)
def test_durations(given: Any, expected: float) -> None:
    assert seconds(given, "x") == pytest.approx(expected)


@pytest.mark.parametrize("given", [0, -1, "", "5", "5x", "m5", "5m!", float("nan"), float("inf"), timedelta()])
def test_impossible_durations(given: Any) -> None:
    with pytest.raises(UsageError, match="execution_timeout"):
        seconds(given, "execution_timeout")


def test_the_shortest_duration_is_not_none() -> None:
    assert in_microseconds(1e-9) == 1


# --- ids -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [SystemIds(), SeededIds(1)], ids=["system", "seeded"])
def test_ids_rise_and_differ(source: Any) -> None:
    ids = [source.new_id() for _ in range(2000)]
    assert ids == sorted(set(ids))
    assert all(len(id_) == 16 for id_ in ids)
    assert all(0 <= source.jitter() <= 1 for _ in range(100))


def test_seeded_ids_repeat() -> None:
    assert [SeededIds(3).new_id() for _ in range(2)] == [SeededIds(3).new_id() for _ in range(2)]
    assert SeededIds(3).new_id() != SeededIds(4).new_id()


def test_forms_of_an_id() -> None:
    id_ = SystemIds().new_id()
    assert id_bytes(id_text(id_)) == id_
    assert hex_text(id_.hex().upper()) == id_text(id_)
    for wrong in ("", "run", "1234"):
        with pytest.raises(RunNotFoundError, match="not a run id"):
            id_bytes(wrong)


# --- settings ------------------------------------------------------------------------------------------------------


def test_settings_from_arguments_then_environment_then_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FANWOOD_SLOTS", "7")
    monkeypatch.setenv("FANWOOD_GRACE", "")
    assert Settings.load().slots == 7
    assert Settings.load(slots=3, grace=None).slots == 3
    assert Settings.load().grace == Settings().grace
    monkeypatch.setenv("FANWOOD_SLOTS", "many")
    with pytest.raises(SettingsError, match="FANWOOD_SLOTS must be a int"):
        Settings.load()
    monkeypatch.delenv("FANWOOD_SLOTS")
    for name, text in (("LEASE", "nan"), ("SLOTS", "0"), ("NAMESPACE", " a"), ("POSTGRES_SCHEMA", "A"), ("POLL", "0")):
        with monkeypatch.context() as patch:
            patch.setenv(f"FANWOOD_{name}", text)
            with pytest.raises(SettingsError, match=f"^FANWOOD_{name}: {name.lower()} must"):
                Settings.load()


def test_impossible_settings() -> None:
    with pytest.raises(SettingsError, match="Unknown setting 'slot'"):
        Settings.load(slot=1)
    with pytest.raises(SettingsError, match="grace must not be negative"):
        Settings.load(grace=-1)
    with pytest.raises(SettingsError, match="heartbeat"):
        Settings.load(lease=1.0, heartbeat=0.9)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file::memory:",
        "sqlite:///a.db?mode=ro",
        "sqlite:///?timeout=5",
        "mysql://u:secret@host/db",
        "file.db",
    ],
)
def test_urls_that_we_do_not_know(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        store_for(Settings(database_url=url), ManualClock())
    assert "secret" not in str(caught.value)


# --- options and policies ------------------------------------------------------------------------------------------


def test_impossible_options() -> None:
    with pytest.raises(UsageError):
        TriggerWorkflowOptions(key="a", child_key="b")
    with pytest.raises(UsageError, match="on_parent_end"):
        TriggerWorkflowOptions(on_parent_end="explode")  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="priority"):
        TriggerWorkflowOptions(priority="high")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "policy", [{"retries": -1}, {"backoff_factor": 0}, {"backoff_max_seconds": -1}, {"execution_timeout": "soon"}]
)
def test_impossible_policies(policy: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        TaskPolicy(**policy)


def test_backoff() -> None:
    policy = TaskPolicy(backoff_factor=2, backoff_max_seconds=10)
    assert [policy.backoff(n, 0) for n in range(5)] == [2, 4, 8, 10, 10]
    assert policy.backoff(0, 1) == pytest.approx(1.8)
    assert TaskPolicy().backoff(3, 0.5) == 0
    assert TaskPolicy(backoff_factor=10.0).backoff(10_000, 0) == 86_400


@pytest.mark.parametrize(
    ("timeout", "deadline", "expected"), [(None, None, None), (5, None, 15), (None, 12, 12), (5, 12, 12), (1, 12, 11)]
)
def test_expiry(timeout: int | None, deadline: int | None, expected: int | None) -> None:
    assert expiry(10, timeout, deadline) == expected


# --- timers --------------------------------------------------------------------------------------------------------


def test_timers_fire_once_in_order_and_can_be_moved_and_dropped() -> None:
    timers = Timers()
    for run, when in (("a", 30), ("b", 10), ("c", 20), ("d", 5)):
        timers.set(run, 1, when)
    timers.drop("d", 1)
    timers.drop("a", 0)  # of an earlier attempt: late, and of no account
    timers.set("a", 2, 15)
    assert timers.next() == 10
    assert timers.due(9) == []
    assert timers.due(15) == [("b", 1), ("a", 2)]
    timers.set("c", 1, 50)
    assert timers.due(49) == []
    assert timers.due(50) == [("c", 1)]
    assert timers.next() is None


def test_a_limit_of_an_attempt_before_changes_nothing() -> None:
    timers = Timers()
    timers.set("a", 2, 10)
    timers.set("a", 1, 1000)
    timers.drop("a", 1)
    assert timers.due(10) == [("a", 2)]


def test_limits_that_are_over_do_not_stay_behind_one_that_is_not() -> None:
    timers = Timers()
    timers.set("parent", 1, 10)
    for number in range(1000):
        timers.set(f"child {number}", 1, 20)
        timers.drop(f"child {number}", 1)
    assert len(timers._heap) <= 2 + SLACK
    assert timers.due(30) == [("parent", 1)]


# --- collectors ----------------------------------------------------------------------------------------------------


def finished(state: RunState = RunState.COMPLETED) -> Finished:
    return Finished(state, "1", None)


def test_a_collector_is_ready_when_it_is_closed_and_complete() -> None:
    collector, ready = Collector(fail_fast=False), []
    collector.when_ready(lambda: ready.append(1))
    assert collector.grow(2) == 0
    assert collector.grow(1) == 2
    for index in (2, 0, 1):
        collector.put(index, finished())
    assert not ready
    collector.close()
    assert ready == [1]
    collector.when_ready(lambda: ready.append(2))
    assert ready == [1, 2]


def test_a_collector_that_fails_fast_is_ready_at_the_first_failure() -> None:
    collector = Collector(fail_fast=True)
    collector.grow(3)
    collector.put(1, finished(RunState.FAILED))
    assert collector.ready
    assert collector.first_failure == 1


def test_an_end_that_is_told_twice_counts_once() -> None:
    collector = Collector(fail_fast=False)
    collector.grow(2)
    collector.close()
    collector.put(0, finished())
    collector.put(0, finished(RunState.FAILED))
    assert not collector.ready
    assert collector.first_failure is None


def test_waits_of_several_for_one_run() -> None:
    waits, collectors = Waits(), [Collector(fail_fast=False) for _ in range(3)]
    for collector in collectors:
        collector.grow(1)
        collector.close()
        waits.add(b"run", collector, 0)
    waits.deliver(b"other", finished())
    waits.deliver(b"run", finished())
    assert all(collector.ready for collector in collectors)
    assert len(waits) == 0


def test_a_wait_that_is_removed_leaves_the_others() -> None:
    waits, collectors = Waits(), [Collector(fail_fast=False) for _ in range(3)]
    for collector in collectors:
        waits.add(b"run", collector, 0)
    for left, collector in zip((2, 1, 0), collectors, strict=True):
        waits.remove(b"run", collector)
        waits.remove(b"run", collector)
        waits.remove(b"other", collector)
        assert (b"run" in waits) == bool(left)


def test_waits_are_looked_at_in_turn() -> None:
    waits = Waits()
    for name in (b"1", b"2", b"3"):
        waits.add(name, Collector(fail_fast=False), 0)
    assert waits.some(2) == [b"1", b"2"]
    assert waits.some(2) == [b"3", b"1"]


# --- signals -------------------------------------------------------------------------------------------------------


def test_a_signal_blocks_a_thread_until_it_is_fired() -> None:
    signal = Signal()
    threading.Timer(0.01, signal.fire).start()
    assert block(signal.wait(60), "wait") is True
    assert block(signal.wait(60), "wait") is True
    assert block(Signal().wait(0.01), "wait") is False


async def test_a_signal_suspends_a_coroutine_until_it_is_fired() -> None:
    signal = Signal()
    threading.Timer(0.01, signal.fire).start()
    assert await signal.wait(60) is True
    assert await Signal().wait(0.01) is False


async def test_a_wait_for_a_signal_can_be_cancelled_and_begun_again() -> None:
    signal = Signal()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await signal.wait()
    signal.fire()
    assert await signal.wait(1) is True


async def test_block_refuses_to_freeze_a_loop() -> None:
    with pytest.raises(BlockingCallError, match=r"aio_run\b"):
        block(Signal().wait(), "task.run")


@pytest.mark.parametrize(
    "text", ["9" * 100_000, "9" * 100_000 + "d", "1." + "9" * 100_000, "1h" * 30_000 + "!", " " * 100_000]
)
def test_a_duration_of_any_length_is_read_once(text):
    """(Were it not, this would take a minute.)"""
    with pytest.raises(ValueError, match="must be"):
        parse(text)


def test_the_parts_of_a_duration():
    assert parse(" 1h 30m ") == 5400
    assert parse("1.5s500ms") == 2
    for text in ("", "1", "s", "1h30", "h1", "1 .5s x", "1.s", "-1s"):
        with pytest.raises(ValueError, match="must be a duration"):
            parse(text)
