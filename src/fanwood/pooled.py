"""A worker process that a script has started for itself (worker/pool.py), from its beginning to its end."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import traceback
from dataclasses import replace
from multiprocessing import spawn
from typing import TYPE_CHECKING, Any

from fanwood.app import Fanwood
from fanwood.errors import EngineClosedError, StoreUnavailableError, UsageError
from fanwood.home import all_homes, importing
from fanwood.settings import Settings
from fanwood.worker.supervisor import REFUSED
from fanwood.worker.worker import Worker

if TYPE_CHECKING:
    from fanwood.home import Home

LONGEST = 600
"""Bytes of what is said, before they are made JSON: no more than a pipe takes at once."""


class Refused(Exception):  # noqa: N818  (it is said, and never seen)
    """Why this process can't begin."""


def main(told_on: int) -> None:
    """Work until stdin ends. `told_on` is the file descriptor on which it is said that we work, or why we can't."""
    os.set_inheritable(told_on, False)
    about: dict[str, Any] = json.loads(sys.stdin.readline())
    _stop_with(_away_from_stdin())
    try:
        worker, app = worker_for(about)
    except Refused as refused:
        _tell(told_on, str(refused))
        sys.exit(REFUSED)
    threading.Thread(target=_tell_when_it_works, args=(worker, told_on), daemon=True).start()
    try:
        worker.start()
    except (EngineClosedError, StoreUnavailableError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)  # it may be tried again
    finally:
        app.close()


def worker_for(about: dict[str, Any]) -> tuple[Worker, Fanwood]:
    """Import what the script has imported, and find what it works with.

    Raises:
        Refused: it can't be imported, or does not declare the same tasks when it is.
    """
    with importing():
        try:
            spawn.prepare({**about["prepare"], "authkey": bytes.fromhex(about["prepare"]["authkey"])})
            for name in about["modules"]:
                importlib.import_module(name)
        except UsageError as error:
            raise Refused(f"{error}{_at(error)}") from None
        except SystemExit as error:
            raise Refused(f"the program called sys.exit({error.code!r}) when it was imported. {_GUARD}") from None
        except BaseException as error:  # noqa: BLE001  (whatever a program raises)
            said = "".join(traceback.format_exception_only(error)).strip()
            raise Refused(f"the program can't be imported: {said}{_at(error)}") from None
    settings = Settings(**about["settings"])
    app, home = _found(set(about["names"]), settings)
    app.settings = replace(settings, grace=0, processes=1)
    specs = {name: spec for name, spec in home.specs().items() if name in about["names"]}
    slots, own = app.settings.slots, about["own"]
    return Worker(app, specs, name=app.worker_name, slots=slots, lifespan=None, own=own, shares=True), app


_GUARD = 'Put what it does as a program below `if __name__ == "__main__":`'


def _found(names: set[str], settings: Settings) -> tuple[Fanwood, Home]:
    """The object whose tasks these are; of several, the one with these settings.

    Raises:
        Refused: there is none, or several that can't be told apart.
    """
    homes = [home for home in all_homes() if names <= set(home.specs())]
    found = [(app, home) for home in homes for app in home.members if isinstance(app, Fanwood)]
    if len(homes) > 1:
        found = [(app, home) for app, home in found if app.settings == settings]
    if found:
        return found[0]
    known = {name for home in all_homes() for name in home.specs()}
    missing = ", ".join(sorted(names - known)) or "these tasks together"
    raise Refused(
        f"the program does not declare {missing} when it is imported by another process. Declare tasks, and make "
        f"their Fanwood object, at the top level of a module"
    )


def _at(error: BaseException) -> str:
    """Where the program's own code raised it."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith((_OURS, "<"))]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


_OURS = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120  (as in the names of frames)


def _away_from_stdin() -> int:
    """The pipe to who started us, elsewhere: tasks, and what they start, find an empty stdin."""
    pipe, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return pipe


def _stop_with(pipe: int) -> None:
    """When who started us is gone, however that went."""

    def wait() -> None:
        while os.read(pipe, 64):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="fanwood-pooled", daemon=True).start()


def _tell_when_it_works(worker: Worker, told_on: int) -> None:
    worker.wait_started()
    _tell(told_on, None)


def _tell(told_on: int, refused: str | None) -> None:
    text = json.dumps(refused if refused is None else refused.encode()[:LONGEST].decode("utf-8", "ignore"))
    os.write(told_on, f"{text}\n".encode())
