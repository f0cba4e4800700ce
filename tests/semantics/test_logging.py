"""What a worker's log says of runs, and whose records know which run they are about."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fanwood import Context, EmptyModel, RunContextFilter, TaskRunError
from fanwood.cli.logging_setup import JsonLines, Lines
from tests.serving import serving


class Records(logging.Handler):
    """Keeps what the package, and a task, log."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Any] = []
        self.on: dict[str, Callable[[], None]] = {}
        self._came = threading.Condition()
        self.addFilter(RunContextFilter())

    def emit(self, record: logging.LogRecord) -> None:
        with self._came:
            self.all.append(record)
            self._came.notify_all()
        for beginning, call in self.on.items():
            if record.getMessage().startswith(beginning):
                call()

    def of(self, logger: str, level: int, count: int = 0) -> list[Any]:
        """Those that are there, once it is so many: what becomes of a run is said after it is recorded."""

        def found() -> list[Any]:
            return [record for record in self.all if record.name == logger and record.levelno == level]

        with self._came:
            self._came.wait_for(lambda: len(found()) >= count, 60)
            return found()


@pytest.fixture
def records(request: pytest.FixtureRequest) -> Any:
    found, logger = Records(), logging.getLogger()
    level = logger.level
    logger.addHandler(found)
    logger.setLevel(logging.INFO)
    yield found
    logger.removeHandler(found)
    logger.setLevel(level)
    logging.getLogger("fanwood.runs.completed").setLevel(logging.WARNING)


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_every_retry_and_every_failure_is_said(app: Any, records: Records, colour: str) -> None:
    def fails(input: dict[str, str]) -> int:
        raise ValueError("no stock")

    async def aio_fails(input: dict[str, str]) -> int:
        return fails(input)

    task = app.task(name="build_report", retries=2)(fails if colour == "sync" else aio_fails)
    ref = task.run_no_wait({"which": "x" * 500})
    with pytest.raises(TaskRunError):
        ref.result(timeout=60)
    failures, retries = records.of("fanwood.runs", logging.ERROR, 1), records.of("fanwood.runs", logging.WARNING, 2)
    assert [record.getMessage() for record in retries] == [
        f"build_report failed and is tried again at once (attempt {n}, retry {n} of 2): ValueError: no stock"
        for n in (1, 2)
    ]
    (failure,) = failures
    assert (failure.run, failure.root, failure.attempt, failure.task) == (ref.id, ref.id, 3, "build_report")
    first, traceback, frame, *_ = failure.getMessage().splitlines()
    assert first.startswith(f'build_report failed (run {ref.id}, attempt 3, input {{"which":"xxx')
    assert first.endswith("xxx...): ValueError: no stock")
    assert len(first) < 400
    assert traceback == "Traceback (most recent call last):"
    assert __file__ in frame  # and not one of ours


def test_a_time_out_is_said(app: Any, records: Records) -> None:
    @app.task(execution_timeout=0.05)
    async def slow() -> None:
        await never.wait()

    never = asyncio.Event()
    with pytest.raises(TaskRunError):
        slow.run(timeout=60)
    (failure,) = records.of("fanwood.runs", logging.ERROR, 1)
    assert "execution_timeout of 0.05 s of slow ran out" in failure.getMessage()


def test_completions_are_said_on_request(app: Any, records: Records) -> None:
    @app.task
    async def quick(input: int) -> int:
        return input

    quick.run(1)
    assert records.of("fanwood.runs.completed", logging.INFO) == []
    logging.getLogger("fanwood.runs.completed").setLevel(logging.INFO)
    quick.run(2)
    (record,) = records.of("fanwood.runs.completed", logging.INFO, 1)
    assert record.getMessage().startswith("quick completed in ")
    assert (record.task, record.in_run) == ("quick", f" [quick {record.run}]")


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_a_tasks_own_records_know_their_run(app: Any, records: Records, colour: str) -> None:
    def writes(input: EmptyModel, ctx: Context) -> str:
        logging.getLogger("shop").info("hello")
        return ctx.workflow_run_id

    async def aio_writes(input: EmptyModel, ctx: Context) -> str:
        return writes(input, ctx)

    task = app.task(name="writes")(writes if colour == "sync" else aio_writes)
    root = task.run()
    logging.getLogger("shop").info("outside")
    within, outside = records.of("shop", logging.INFO)
    assert (within.run, within.root, within.attempt, within.task) == (root, root, 1, "writes")
    assert (outside.run, outside.task, outside.in_run) == (None, None, "")


@pytest.mark.parametrize("colour", ["async", "sync"])
def test_a_handler_that_raises_costs_no_run(app: Any, colour: str, capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("the disk is full")

    def fails(input: int) -> int:
        raise ValueError("no stock")

    async def aio_fails(input: int) -> int:
        return fails(input)

    @app.task(execution_timeout=0.05)
    async def slow(input: int) -> None:
        await asyncio.Event().wait()

    task = app.task(name="fails", retries=1)(fails if colour == "sync" else aio_fails)
    handler, logger = Broken(), logging.getLogger("fanwood.runs")
    logger.addHandler(handler)
    try:
        for each in (task, slow):
            results = each.run_many(
                [each.create_bulk_run_item(n) for n in range(50)], return_exceptions=True, timeout=60
            )
            assert all(isinstance(result, TaskRunError) for result in results)
    finally:
        logger.removeHandler(handler)


class Unwritable:
    def __str__(self) -> str:
        raise ValueError("no")

    __repr__ = __str__


@pytest.mark.parametrize("name", ["run", "root", "attempt", "task", "in_run"])
@pytest.mark.parametrize("value", [7, None, "", {1: object()}, "\ud800", 2**70, Unwritable()], ids=range(7))
def test_records_with_names_of_the_users(app: Any, records: Records, name: str, value: Any) -> None:
    @app.task(name="writes")
    def writes() -> str:
        logging.getLogger("shop").info("hello", extra={name: value})
        return "done"

    assert writes.run() == "done"
    logging.getLogger("shop").info("outside", extra={name: value})
    for record in records.of("shop", logging.INFO):
        assert name == "in_run" or getattr(record, name) is value
        assert {"run", "root", "attempt", "task", "in_run"} <= record.__dict__.keys()
        assert isinstance(record.in_run, str)
        assert JsonLines().format(record).startswith("{")


def test_stopping_says_how_long_runs_have_and_what_was_handed_back(make_app: Any, records: Records) -> None:
    app = make_app(local_worker=False, grace=0.2)
    begun, over = threading.Event(), threading.Event()

    @app.task
    def endless() -> None:
        begun.set()
        over.wait(60)

    with serving(app.worker("w", slots=3)):
        endless.run_no_wait()
        assert begun.wait(60)
        records.on["handed back"] = over.set
    said = [record.getMessage() for record in records.of("fanwood.worker", logging.INFO)]
    assert (
        said[0] == f"worker w serves 1 task(s): endless, 3 at a time, from {app.engine().store.url}. Ctrl-C stops it."
    )
    assert said[1:] == [
        "stopping: 1 run has 0.2 s to finish, Ctrl-C again hands them back",
        "handed back 1 run to the queue: 1 endless",
        "worker w has stopped",
    ]


def test_a_script_without_logging_prints_nothing(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from fanwood import Fanwood\n"
        "app = Fanwood()\n"
        "@app.task\n"
        "async def fails(input: int) -> int:\n"
        "    raise ValueError(input)\n"
        "items = [fails.create_bulk_run_item(n) for n in range(3)]\n"
        "print(len(fails.run_many(items, return_exceptions=True)))\n",
        encoding="utf-8",
    )
    command = [sys.executable, script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True)
    assert (done.stdout, done.stderr) == ("3\n", "")


def test_a_workers_lines_can_do_nothing_to_a_terminal() -> None:
    try:
        raise ValueError("\x1b[31mred\x07 and\nanother line")
    except ValueError as error:
        record = logging.LogRecord("fanwood.runs", logging.ERROR, "", 0, "%s failed", ("\x1b]0;title\x07it",), None)
        record.exc_info = (ValueError, error, error.__traceback__)
    text = Lines("%(levelname)s %(message)s").format(record)
    assert text.startswith("ERROR it failed\nTraceback")
    assert text.endswith("ValueError: red and\nanother line")
