"""Log records that know whose they are."""

from __future__ import annotations

import logging

from fanwood.ids import hex_text
from fanwood.sdk.current import current_attempt


class RunContextFilter(logging.Filter):
    """Gives each record `run`, `root` (ids), `attempt` (a number) and `task`: of the task whose code wrote it, or that
    it is about; None elsewhere. `in_run` is ` [task run-id]`, or empty, for a format string."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "run"):
            attempt = current_attempt.get()
            run = None if attempt is None else attempt.run
            record.run = None if run is None else hex_text(run.id)
            record.root = None if run is None else hex_text(run.root_id)
            record.attempt = None if run is None else run.attempt
            record.task = None if run is None else run.task
        about = record.__dict__
        record.in_run = f" [{about['task']} {about['run']}]" if about["run"] else ""
        return True
