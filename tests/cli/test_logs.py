"""`fanwood logs`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable

from fanwood import Context, EmptyModel, Fanwood
from fanwood.cli import runs
from tests.serving import serving


def test_all_lines_or_the_last(invoke, app: Fanwood, monkeypatch):
    @app.task
    async def talks(input: int, ctx: Context) -> None:
        for n in range(input):
            ctx.log(f"line {n}", "warning" if n == 7 else "info")

    talks.run(8)
    app.close()
    shown = invoke("logs")
    assert [line.split()[-2:] for line in shown.stdout.splitlines()] == [["line", str(n)] for n in range(8)]
    assert shown.stderr == ""
    monkeypatch.setattr("fanwood.cli.logs.LOG_LINES", 3)
    monkeypatch.setattr("fanwood.cli.logs.PAGE", 2)
    last = invoke("logs")
    assert [line.split()[-2:] for line in last.stdout.splitlines()] == [["line", str(n)] for n in (5, 6, 7)]
    assert last.stderr.startswith("5 earlier lines: fanwood logs ")
    assert len(invoke("logs", "--all").stdout.splitlines()) == 8
    lines = [json.loads(line) for line in invoke("logs", "--json").stdout.splitlines()]
    assert [(line["level"], line["attempt"], line["message"]) for line in lines] == [
        ("info", 1, "line 5"), ("info", 1, "line 6"), ("warning", 1, "line 7"),
    ]  # fmt: skip


def test_failed_attempts_stand_among_the_lines(invoke, app: Fanwood):
    @app.task(retries=2)
    async def talks(input: EmptyModel, ctx: Context) -> None:
        ctx.log(f"begin {ctx.attempt_number}")
        if ctx.attempt_number < 3:
            raise ValueError("no stock")

    talks.run()
    app.close()
    lines = invoke("logs").stdout.splitlines()
    assert [line.split("  ", 1)[1].strip() for line in lines] == [
        "info     begin 1", "attempt 1 failed: ValueError: no stock",
        "info     begin 2", "attempt 2 failed: ValueError: no stock",
        "info     begin 3",
    ]  # fmt: skip
    assert len(invoke("logs", "--json").stdout.splitlines()) == 3
    shown = invoke("runs", "get").stdout
    assert re.search(
        r"attempts:\n  1  \S+ \S+  failed in .* on \S+: ValueError: no stock\n  2 .*\n  3 .* completed", shown
    )
    first, _, last = json.loads(invoke("runs", "get", "--json").stdout)["attempts"]
    assert (first["number"], first["status"], first["error"]["message"]) == (1, "FAILED", "no stock")
    assert (last["number"], last["status"], last["error"]) == (3, "COMPLETED", None)


def test_get_says_how_many_lines_came_before(invoke, app: Fanwood, monkeypatch):
    @app.task
    async def talks(input: int, ctx: Context) -> None:
        for n in range(input):
            ctx.log(f"line {n}")

    talks.run(5)
    app.close()
    monkeypatch.setattr(runs, "LOG_LINES", 2)
    shown = invoke("runs", "get").stdout
    assert "logs:\n  3 earlier lines: fanwood logs " in shown
    assert "line 2" not in shown
    assert json.loads(invoke("runs", "get", "--json").stdout)["logs_left_out"] == 3


def test_following_until_the_end(here, make_app: Callable[..., Fanwood]):
    app = make_app(local_worker=False)
    go_on = threading.Event()

    @app.task
    def talks(input: dict[str, int], ctx: Context) -> None:
        ctx.log("first")
        assert go_on.wait(60)
        ctx.log("second")

    with serving(app.worker("talker")):
        ref = talks.run_no_wait({})
        command = [sys.executable, "-m", "fanwood", "logs", ref.id, "--follow"]
        with subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, text=True) as follower:
            assert follower.stdout is not None
            assert follower.stdout.readline().endswith("first\n")
            go_on.set()
            assert follower.stdout.readline().endswith("second\n")
            assert follower.stdout.read() == ""
            assert follower.wait(60) == 0
