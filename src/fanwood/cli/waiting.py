"""Waiting for a run from a command, while something else is shown."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from fanwood.cli import output, text
from fanwood.engine.waits import Collector

if TYPE_CHECKING:
    from fanwood.app import Fanwood
    from fanwood.model.commands import Ended


class Waiting:
    """The end of one run. Warns, as every waiting client does, when nobody serves its task."""

    def __init__(self, app: Fanwood, run_id: bytes, task: str) -> None:
        self._app = app
        self._task = task
        self._done = threading.Event()
        self._patience: float | None = app.settings.no_worker_warning
        self._waited_from = app.clock.monotonic()
        self._collector = Collector(fail_fast=False)
        self._collector.grow(1)
        self._collector.close()
        app.engine().watch(run_id, self._collector, 0)
        self._collector.when_ready(self._done.set)

    def wait(self, seconds: float | None) -> bool:
        """Wait at most so many seconds; whether the run has ended."""
        waited = self._app.clock.monotonic() - self._waited_from
        if self._patience is not None:
            left = self._patience - waited
            if seconds is None or seconds > left:
                if self._done.wait(max(0.0, left)):
                    return True
                self._patience = None
                self._warn_unserved()
                seconds = None if seconds is None else max(0.0, seconds - left)
        return self._done.wait(seconds)

    @property
    def ended(self) -> Ended:
        """How it ended.

        Raises:
            FanwoodError: it can't be waited for any more.
        """
        if self._collector.error is not None:
            raise self._collector.error
        ended = self._collector.results[0]
        assert ended is not None
        return ended

    def _warn_unserved(self) -> None:
        engine = self._app.engine()
        if engine.dispatcher.serves(self._task):
            return
        if not engine.call(lambda store: store.served(engine.worker_id, self._task)).result():
            output.warn(
                f"no live worker serves {text.clean(self._task)}: its run stays queued until one does. Start one with "
                f"`fanwood worker module:app`, or run it here: --app module:app"
            )
