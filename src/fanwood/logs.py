"""Loggers of which no handler, and no filter, can end who logs: they are the user's, and may raise anything."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class Guarded(logging.LoggerAdapter[logging.Logger]):
    """A logger; what its handlers raise goes to where logging goes without any."""

    def log(self, level: int, msg: object, *args: object, **about: Any) -> None:
        try:
            if self.logger.isEnabledFor(level):
                self.logger.log(level, msg, *args, stacklevel=2, **about)
        except BaseException as error:
            if not isinstance(error, Exception) and threading.current_thread() is threading.main_thread():
                raise  # somebody's Ctrl-C
            note_failure(self.logger.name)


def logger(name: str) -> Guarded:
    """The logger of that name."""
    return Guarded(logging.getLogger(name))


def note_failure(name: str) -> None:
    """In the handling of what a handler, or what it was told, has raised."""
    with contextlib.suppress(Exception):
        about: Mapping[str, Any] = {"name": name, "levelno": logging.ERROR, "levelname": "ERROR"}
        record = logging.makeLogRecord({**about, "msg": "A logging handler failed", "exc_info": sys.exc_info()})
        (logging.lastResort or logging.NullHandler()).handle(record)
