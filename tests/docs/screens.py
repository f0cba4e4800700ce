"""What commands look like on terminals of two sizes: writes docs/reference/screens.md (`make screens`).

Each terminal is a pseudo-terminal with a process in it, which makes a database with a clock and ids of its own, and
calls the commands. So the page is the same each time, and `test_screens.py` holds it against what would be written now.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import shlex
import struct
import sys
import tempfile
import termios
from pathlib import Path
from typing import Any

import fanwood.clock
from fanwood.clock import MICROSECONDS, ManualClock

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "screens.md"
SIZES = ((80, 24), (140, 40))
CLOCK = ManualClock(1_767_258_000 * MICROSECONDS)
WATCH = "run survey --watch"
"""Not called, but shown as it looks meanwhile."""
COMMANDS = (
    "runs ls",
    "runs ls --all --failed",
    "runs get 965eda32",
    "tree 73cf256d",
    "tree 73cf256d --critical",
    "logs 73cf256d",
    WATCH,
    "top --once",
    "doctor",
)
HEAD = """# Screens

What the commands look like on terminals of 80 and of 140 columns, without their colours. This page is made by a script:
`make screens`.
"""
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_VARYING = (
    (re.compile(r"sqlite:///\S+/"), "sqlite:////home/ada/site/.fanwood/"),
    (re.compile(r"SQLite [\d.]+"), "SQLite 3.x"),
    (re.compile(r"\d+\.\d kB"), "98.3 kB"),
    (re.compile(r" +\d us  "), "      7 us  "),
)
_PROMPT = "\x1e"  # before each command


def page() -> str:
    """The page, as it would be written now."""
    parts = [HEAD]
    for columns, rows in SIZES:
        parts.append(f"## {columns} columns, {rows} lines\n")
        parts += [f"```text\n$ fanwood {shown}\n```\n" for shown in _captured(columns, rows)]
    return "\n".join(parts)


def _captured(columns: int, rows: int) -> list[str]:
    """What each command shows."""
    with tempfile.TemporaryDirectory() as folder:
        pid, terminal = pty.fork()
        if pid == 0:
            _become(folder)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.write(terminal, b"\n")  # now it has its size
        said = _all_of(terminal)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, said
    text = _ESCAPES.sub("", said).replace("\r\n", "\n")
    for pattern, instead in _VARYING:
        text = pattern.sub(instead, text)
    return ["\n".join(line.rstrip() for line in shown.rstrip().splitlines()) for shown in text.split(_PROMPT)[1:]]


def _become(folder: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FANWOOD_")}
    environment |= {
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "TZ": "UTC", "TERM": "xterm-256color", "COLUMNS": "",
        "LINES": "", "PYTHONIOENCODING": "utf-8", "SCREENS_FOLDER": folder,
    }  # fmt: skip
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        environment.pop(name, None)
    os.execve(sys.executable, [sys.executable, "-m", "tests.docs.screens", "inside"], environment)


def _all_of(terminal: int) -> str:
    said = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # the process has ended
            piece = b""
        if not piece:
            os.close(terminal)
            return said.decode()
        said += piece


# --- inside the terminal ---------------------------------------------------------------------------------------------


def inside() -> None:
    """Make the database, and call all commands."""
    sys.stdin.readline()
    fanwood.clock.SystemClock = lambda: CLOCK  # before anybody imports it
    os.chdir(os.environ["SCREENS_FOLDER"])
    asyncio.run(_fill())
    CLOCK.advance(12)
    from fanwood.cli.main import cli

    for command in COMMANDS:
        sys.stdout.write(f"{_PROMPT}{command}\n")
        sys.stdout.flush()
        if command == WATCH:
            _show_progress()
        else:
            with contextlib.suppress(SystemExit):
                cli(shlex.split(command), prog_name="fanwood", standalone_mode=False)
        sys.stdout.flush()


async def _fill() -> None:
    """A tree that has ended, with failures; one that is under way; one that has just been queued."""
    from fanwood.settings import Settings
    from fanwood.store.opening import store_for

    store = store_for(Settings(), CLOCK)
    await store.open(lambda: None)
    await Story(store).tell()
    await store.close()


class Story:
    """What has happened in the database."""

    def __init__(self, store: Any) -> None:
        from fanwood.ids import SeededIds

        self._store = store
        self._ids = SeededIds(11)
        self._worker = 0

    async def tell(self) -> None:
        from fanwood.model.commands import LogLine, TaskInfo, WorkerInfo
        from fanwood.model.states import RunState

        tasks = [TaskInfo(name, "task") for name in ("survey", "count_page", "mail")]
        about = WorkerInfo("web-1", "elsewhere/1", 4711, 8, tuple(task.name for task in tasks), 60 * MICROSECONDS)
        self._worker = await self._store.register(about, tasks)
        first = await self._born("survey", '{"site":"https://example.org","depth":2}')
        pages = [await self._born("count_page", f'{{"url":"/page/{n}"}}', first, n) for n in range(6)]
        lines = [
            LogLine(first, 1, CLOCK.now(), "INFO", "6 pages to count"),
            LogLine(first, 1, CLOCK.now(), "WARNING", "2 pages are slow"),
        ]
        await self._commit(logs=lines)
        CLOCK.advance(1.5)
        for n, page in enumerate(pages):
            CLOCK.advance(0.25)
            if n == 4:
                await self._ends(
                    page, RunState.FAILED, error=("ConnectionError", "no answer from example.org within 5 s")
                )
            else:
                await self._ends(page, RunState.COMPLETED, output=str(100 * n))
        await self._ends(first, RunState.COMPLETED, output="1100")
        CLOCK.advance(3600)
        second = await self._born("survey", '{"site":"https://example.com","depth":3}')
        pages = [await self._born("count_page", f'{{"url":"/page/{n}"}}', second, n) for n in range(30)]
        CLOCK.advance(8)
        for n, page in enumerate(pages[:18]):
            done = n % 9 != 5
            error = None if done else ("ValueError", f"/page/{n} has no text")
            await self._ends(
                page, RunState.COMPLETED if done else RunState.FAILED, output="1" if done else None, error=error
            )
        await self._store.renew(self._worker)
        CLOCK.advance(2)
        await self._born("mail", '{"to":"ada@example.org"}', claimed=False)

    async def _born(
        self, task: str, input_: str, parent: bytes | None = None, n: int = 0, *, claimed: bool = True
    ) -> bytes:
        from fanwood.model.commands import Spawn, SpawnKind

        id_ = self._ids.new_id()
        about = {"parent_id": parent, "parent_attempt": 1, "root_id": parent, "depth": 1} if parent else {}
        spawn = Spawn(SpawnKind(task, **about), id_, n.to_bytes(16, "big") if parent else None, input_, n)
        spawn.claimed = claimed
        await self._commit(spawns=[spawn])
        return id_

    async def _ends(
        self, run: bytes, state: Any, output: str | None = None, error: tuple[str, str] | None = None
    ) -> None:
        from fanwood.model.commands import Failure, Outcome
        from fanwood.store.failures import encode_failure

        text = None if error is None else encode_failure(Failure("failed", type=error[0], message=error[1]))
        await self._commit(outcomes=[Outcome(run, 1, state, output, text, busy=250_000)])

    async def _commit(self, **batch: Any) -> None:
        from fanwood.model.commands import Batch

        await self._store.commit(self._worker, Batch(**batch))


def _show_progress() -> None:
    from fanwood.cli import output
    from fanwood.cli.progress import Crew, Progress, Sight, TaskLine

    lines = [
        TaskLine("survey", done=0, running=1, queued=0, failed=0, rate=0),
        TaskLine("count_page", done=6_120, running=16, queued=3_840, failed=24, rate=512),
    ]
    output.console().print(Progress().picture(Sight(lines, 12.4, Crew(2, 16, 17), (490.0, 512.0))))


if __name__ == "__main__":
    if sys.argv[1:] == ["inside"]:
        inside()
    else:
        PAGE.write_text(page(), encoding="utf-8")
