"""`fanwood worker`: execute runs until told to stop."""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

from fanwood.app import Fanwood
from fanwood.cli import output
from fanwood.cli.base import Common, Exit, Sentence
from fanwood.cli.beside import Dashboard, stop_with_stdin
from fanwood.cli.loading import app_of, load
from fanwood.cli.logging_setup import configure
from fanwood.errors import EngineClosedError, StoreUnavailableError
from fanwood.settings import Settings
from fanwood.worker.worker import Worker


def work(
    target: str,
    slots: int | None,
    threads: int | None,
    processes: int,
    reload: bool,
    ui: bool,
    supervised: str | None,
    common: Common,
    **log: str | None,
) -> None:
    level, as_json = log["log_level"], common.as_json or log["log_format"] == "json"
    if processes > 1 or reload:
        options = (("--slots", slots), ("--threads", threads), ("--url", common.url), ("--log-level", level))
        arguments = [text for name, value in options if value is not None for text in (name, str(value))]
        if as_json:
            arguments.append("--json")
        with _dashboard(common.settings(), wanted=ui):
            raise SystemExit(_supervise(target, slots, arguments, processes, reload=reload))
    worker, app = _worker(target, slots)
    worker.shares = supervised == "sibling"
    settings = app.settings if common.url is None else replace(app.settings, database_url=common.url)
    app.settings = settings if threads is None else replace(settings, waiting_threads=threads)
    configure(level, as_json=as_json)
    if supervised:
        threading.Thread(target=stop_with_stdin, name="fanwood-supervised", daemon=True).start()
    try:
        with _dashboard(app.settings, wanted=ui):
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


@contextmanager
def _dashboard(settings: Settings, *, wanted: bool) -> Generator[None, None, None]:
    with Dashboard(settings, wanted=wanted, always=True) as dashboard:
        if dashboard.is_there:
            output.note(f"The dashboard: {dashboard.home}")
        yield


def _supervise(target: str, slots: int | None, arguments: list[str], processes: int, *, reload: bool) -> int:
    from fanwood.worker.supervisor import Supervisor

    if not reload:
        _worker(target, slots)  # what is wrong with it is said once, here
    supervised = "--sibling" if processes > 1 else "--supervised"
    command = [sys.executable, "-m", "fanwood", "worker", target, supervised, *arguments]
    return Supervisor(command, processes, warn=output.warn, note=output.note, reload=reload).run()
