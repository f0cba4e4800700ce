"""How far something long has come: on a terminal a line that is written over, in a pipe a line now and then."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from fanwood.cli import output
from fanwood.clock import Clock, SystemClock

if TYPE_CHECKING:
    from rich.live import Live

EVERY = 0.1
"""Seconds between two pictures on a terminal."""
PIPE_EVERY = 5.0
"""Seconds between two lines in a pipe."""


class Meter:
    """A context manager; `show` takes what is to be seen now."""

    def __init__(self, *, quiet: bool = False, clock: Clock | None = None) -> None:
        self._quiet = quiet
        self._clock = clock or SystemClock()
        self._live: Live | None = None
        self._last = self._clock.monotonic()

    def __enter__(self) -> Self:
        if output.on_terminal() and not self._quiet:
            from rich.live import Live

            self._live = Live(console=output.console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, text: str) -> None:
        now = self._clock.monotonic()
        if self._quiet or now - self._last < (PIPE_EVERY if self._live is None else EVERY):
            return
        self._last = now
        if self._live is None:
            output.note(text)
        else:
            self._live.update(output.rich_text(text), refresh=True)
