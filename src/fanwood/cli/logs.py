"""`fanwood logs`: what a run logged, and what it logs from now on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fanwood.cli import looking, output, text
from fanwood.cli.base import Common
from fanwood.cli.finding import find
from fanwood.cli.runs import LOG_LINES, why
from fanwood.ids import short_text
from fanwood.model.states import RunState

if TYPE_CHECKING:
    from fanwood.model.records import AttemptRecord, LogRecord
    from fanwood.store.store import Store

PAGE = 1000
LOOK_EVERY = 1.0
"""Seconds after which to look again, if the store does not notify before."""
_STYLES = {"warning": "yellow", "error": "red", "critical": "bold red", "debug": "dim"}


def logs(run: str | None, follow: bool, everything: bool, common: Common) -> None:
    changed = asyncio.Event()

    async def ask(store: Store) -> None:
        id_ = await find(store, run, common.settings().namespace)
        last = -1 if everything else max(-1, await store.log_end(id_) - LOG_LINES)
        if last >= 0 and not common.as_json:
            output.note(f"{last + 1:,} earlier lines: fanwood logs {short_text(id_)} --all")
        failed = _Failed(since=last >= 0)
        while True:
            changed.clear()
            over = not follow or (await store.get(id_)).state.is_terminal  # before the last look at what it logged
            attempts = [] if common.as_json else await store.attempts(id_)
            while page := await store.logs(id_, last, PAGE):
                for line in page:
                    failed.print_until(line.at, attempts)
                    _print(line, common)
                last = page[-1].seq
            failed.print_until(None, attempts)
            if over:
                return
            await _a_change(changed)

    looking.look(common, ask, changed.set)


async def _a_change(changed: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(LOOK_EVERY):
            await changed.wait()
    except TimeoutError:
        pass


class _Failed:
    """Attempts that failed, among the lines; `since`: those from before the first line are left out with the lines."""

    def __init__(self, *, since: bool) -> None:
        self._since = since
        self._number = 0

    def print_until(self, at: int | None, attempts: list[AttemptRecord]) -> None:
        """Those that had ended by then, and were not printed yet."""
        for attempt in attempts:
            ended = attempt.finished_at
            if attempt.number <= self._number or ended is None or (at is not None and ended > at):
                continue
            self._number = attempt.number
            if attempt.state is not RunState.COMPLETED and not self._since:
                said = f"attempt {attempt.number} {attempt.state.name.lower()}{why(attempt)}"
                output.print_line((f"{text.local_time(ended)}  ", "dim"), (said, "red"))
        self._since = False


def _print(line: LogRecord, common: Common) -> None:
    if common.as_json:
        output.print_json_line(looking.log_json(line))
    else:
        style = _STYLES.get(line.level.lower(), "")
        output.print_line(
            (f"{text.local_time(line.at)}  ", "dim"), (f"{line.level:<8} ", style), text.clean_block(line.message)
        )
