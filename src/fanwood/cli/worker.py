"""`fanwood worker`: execute runs until told to stop."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from dataclasses import replace
from typing import Any

import click
import msgspec

from fanwood.app import Fanwood
from fanwood.cli import output, text
from fanwood.cli.base import Command, Common, Exit, Sentence, common
from fanwood.cli.loading import app_of, load
from fanwood.errors import EngineClosedError, StoreUnavailableError
from fanwood.sdk.current import current_run_id
from fanwood.store.urls import without_password
from fanwood.worker.worker import Worker


@click.command(
    name="worker",
    cls=Command,
    epilog="Examples:\n  fanwood worker app:fanwood\n  fanwood worker app:fanwood --processes 4 --slots 50\n"
    "  fanwood worker app:fanwood --reload\n\n"
    "JSON: the log as lines of {at, level, logger, message, run_id}, on stderr.",
)
@click.argument("target", metavar="MODULE:OBJECT")
@click.option(
    "--slots", type=click.IntRange(1), help="Runs that execute at a time. Default: 100; waiting ones are free."
)
@click.option("--threads", type=click.IntRange(1), help="Sync runs that may wait for children. Default: 1,000.")
@click.option("--processes", type=click.IntRange(1), default=1, help="Worker processes; one that dies is replaced.")
@click.option("--reload", is_flag=True, help="Start anew when a .py file below this folder changes.")
@click.option("--supervised", is_flag=True, hidden=True, help="Stop when stdin ends: the supervisor is gone.")
@common
def command(
    target: str,
    slots: int | None,
    threads: int | None,
    processes: int,
    reload: bool,
    supervised: bool,
    common: Common,
) -> None:
    """Execute runs of the tasks of MODULE:OBJECT, a Fanwood or a Worker; this folder is on the Python path.

    Ctrl-C (or SIGTERM) stops it: what executes may finish for a while, the rest goes back to the queue. A second
    Ctrl-C hands everything back at once.
    """
    if processes > 1 or reload:
        raise SystemExit(_supervise(target, slots, threads, processes, reload=reload, common=common))
    worker, app = _worker(target, slots)
    settings = app.settings if common.url is None else replace(app.settings, database_url=common.url)
    app.settings = settings if threads is None else replace(settings, waiting_threads=threads)
    _configure_logging(as_json=common.as_json)
    if supervised:
        threading.Thread(target=_stop_with_stdin, name="fanwood-supervised", daemon=True).start()
    if not common.as_json:
        output.note(_greeting(worker, app))
    try:
        worker.start()
    except (EngineClosedError, StoreUnavailableError) as error:
        output.note(f"error: {error}")
        raise SystemExit(Exit.FAILED) from None  # not USAGE: a supervisor may try again
    finally:
        app.close()


def _worker(target: str, slots: int | None) -> tuple[Worker, Fanwood]:
    found = load(target)
    if isinstance(found, Worker):
        if slots is not None:
            found.slots = slots
        return found, app_of(found)
    if not found.tasks:
        raise Sentence(f"{target} declares no tasks: nothing could run here. Does its module import those that do?")
    return found.worker(slots=slots), found


def _greeting(worker: Worker, app: Fanwood) -> str:
    names = ", ".join(text.clean(name, 60) for name in worker.tasks[:8])
    more = f" and {len(worker.tasks) - 8} more" if len(worker.tasks) > 8 else ""
    return (
        f"worker {worker.name} serves {names}{more}, {worker.slots} at a time, "
        f"from {without_password(app.settings.database_url)}. Ctrl-C stops it."
    )


def _stop_with_stdin() -> None:
    """The supervisor holds the other end, so this returns when it is gone, however it went."""
    while os.read(sys.stdin.fileno(), 64):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _supervise(
    target: str, slots: int | None, threads: int | None, processes: int, *, reload: bool, common: Common
) -> int:
    from fanwood.cli.supervisor import Supervisor

    if not reload:
        _worker(target, slots)  # what is wrong with it is said once, here
    arguments = [target, "--supervised"]
    for name, value in (("--slots", slots), ("--threads", threads), ("--url", common.url)):
        if value is not None:
            arguments += [name, str(value)]
    if common.as_json:
        arguments.append("--json")
    return Supervisor([sys.executable, "-m", "fanwood", "worker", *arguments], processes, reload=reload).run()


# --- logging ---------------------------------------------------------------------------------------------------------


class _RunId(logging.Filter):
    """Every line knows the run whose code wrote it."""

    def filter(self, record: logging.LogRecord) -> bool:
        run_id = current_run_id.get()
        record.run_id = run_id
        record.in_run = f" [{run_id}]" if run_id else ""
        return True


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": text.instant(round(record.created * 1e6)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "run_id": getattr(record, "run_id", None),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def _configure_logging(*, as_json: bool) -> None:
    """Unless the user's module has done so."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler()
    handler.addFilter(_RunId())
    plain = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s%(in_run)s: %(message)s")
    handler.setFormatter(_JsonLines() if as_json else plain)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
