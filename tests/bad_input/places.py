"""Where tasks can be executed, and running one there with a limit: nothing may hang."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fanwood import Fanwood

PATIENCE = 60.0
Declare = Callable[[Fanwood], Any]


class Script:
    """A plain script: the tasks run on a thread of its own process."""

    def __init__(self, url: str) -> None:
        self.app = Fanwood(url, local_worker=True)

    def start(self) -> None:
        pass

    def outcome(self, task: Any, input_: Any = None) -> Any:
        """The output, or the error."""
        try:
            return task.run(input_, timeout=PATIENCE)
        except Exception as error:
            return error

    def stop(self) -> None:
        self.app.close()


class AsyncScript(Script):
    """A script with `asyncio.run`: the tasks run on its loop, for as long as that lives."""

    def outcome(self, task: Any, input_: Any = None) -> Any:
        refs: list[Any] = []

        async def main() -> Any:
            refs.append(await task.aio_run_no_wait(input_))
            return await refs[0].aio_result(timeout=PATIENCE)

        try:
            return asyncio.run(main())
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            if refs and not hasattr(error, "run_id"):  # the loop ended under it: the run must end nevertheless
                with contextlib.suppress(Exception):
                    return refs[0].result(timeout=PATIENCE)
                return self._error_of(refs[0])
            return error

    @staticmethod
    def _error_of(ref: Any) -> BaseException:
        with pytest.raises(Exception) as caught:
            ref.result(timeout=PATIENCE)
        return caught.value


class WorkerProcess(Script):
    """`worker.start()`, on a thread here, and a client."""

    def __init__(self, url: str) -> None:
        self.app = Fanwood(url, local_worker=False)
        self._worker: Any = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._worker = self.app.worker()
        self._thread = threading.Thread(target=self._worker.start)
        self._thread.start()
        assert self._worker.wait_started(PATIENCE)

    def stop(self) -> None:
        if self._thread is not None:
            self._worker.stop()
            self._thread.join(PATIENCE)
            assert not self._thread.is_alive()
        self.app.close()


PLACES = {"script": Script, "asyncio.run": AsyncScript, "worker.start": WorkerProcess}


@contextlib.contextmanager
def place(kind: str, url: str) -> Iterator[Script]:
    where = PLACES[kind](url)
    try:
        yield where
    finally:
        where.stop()
