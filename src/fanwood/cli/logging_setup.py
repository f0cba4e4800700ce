"""How a worker's log looks, unless the user's module has set up logging."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from fanwood.cli import text
from fanwood.sdk.running.log_context import RunContextFilter

COMPLETIONS = "fanwood.runs.completed"


class Lines(logging.Formatter):
    """A record as text that can do nothing to a terminal: errors and inputs are in it as somebody gave them."""

    def format(self, record: logging.LogRecord) -> str:
        return text.clean_block(super().format(record))


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": text.instant(round(record.created * 1e6)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _plain(record.getMessage()),
            "run_id": _plain(getattr(record, "run", None)),
            "root_id": _plain(getattr(record, "root", None)),
            "attempt": _plain(getattr(record, "attempt", None)),
            "task": _plain(getattr(record, "task", None)),
        }
        if record.exc_info:
            line["traceback"] = _plain(self.formatException(record.exc_info))
        return msgspec.json.encode(line).decode()


def _plain(value: object) -> int | str | None:
    """What JSON can hold: the names of these attributes may be the user's, with values of any type."""
    if value is None or type(value) is int:
        return value
    try:
        return str(value).encode(errors="backslashreplace").decode()
    except Exception:  # noqa: BLE001  (a value of the user's, which can't be written)
        return None


def configure(level: str | None, *, as_json: bool) -> None:
    """Log to stderr. Whoever names the level, and it lets INFO through, gets completed runs as well."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler()
    handler.addFilter(RunContextFilter())
    plain = Lines("%(asctime)s %(levelname)-7s %(name)s%(in_run)s: %(message)s")
    handler.setFormatter(JsonLines() if as_json else plain)
    root.addHandler(handler)
    root.setLevel(level.upper() if level else logging.INFO)
    if level in ("debug", "info"):
        logging.getLogger(COMPLETIONS).setLevel(logging.INFO)
