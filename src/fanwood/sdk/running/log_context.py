"""Log records that know whose they are."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fanwood.ids import hex_text
from fanwood.sdk.running.current import current_attempt

if TYPE_CHECKING:
    from fanwood.model.commands import ClaimedRun


class RunContextFilter(logging.Filter):
    """Gives each record `run`, `root` (ids), `attempt` (a number) and `task`: of the task whose code wrote it, or that
    it is about; None elsewhere. What a record has already it keeps. `in_run` is ` [task run-id]`, or empty, for a
    format string."""

    def filter(self, record: logging.LogRecord) -> bool:
        about = record.__dict__  # some of these names may be the user's, who gave them as `extra`
        attempt = current_attempt.get()
        for name, value in _NOTHING.items() if attempt is None else context_of(attempt.run).items():
            about.setdefault(name, value)
        about["in_run"] = _text(about)
        return True


def context_of(run: ClaimedRun) -> dict[str, object]:
    """Which run a record is about."""
    return {"run": hex_text(run.id), "root": hex_text(run.root_id), "attempt": run.attempt, "task": run.task}


_NOTHING: dict[str, object] = {"run": None, "root": None, "attempt": None, "task": None}


def _text(about: dict[str, object]) -> str:
    run, task = about.get("run"), about.get("task")
    try:
        return "" if run is None else f" [{run if task is None else f'{task} {run}'}]"
    except Exception:  # noqa: BLE001  (a value of the user's, which can't be written; and logging must not raise)
        return ""
