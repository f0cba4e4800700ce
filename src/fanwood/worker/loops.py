"""The loop that async tasks run on: the user's, where there is one; else one on a thread of ours.

User code can stop a loop, or raise SystemExit through it. Neither may end the worker, so whoever drives a loop here
drives it until its own work is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from fanwood import logs
from fanwood.engine.signals import new_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

logger = logs.logger("fanwood.worker")


def drive(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run `coroutine` on `loop` to its end, whatever tasks on it do."""
    main = loop.create_task(coroutine)
    main.add_done_callback(lambda _: loop.stop())
    while not main.done():
        _run(loop)
    return main.result()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Until something stops it, whatever it is."""
    try:
        loop.run_forever()
    except BaseException as error:  # noqa: BLE001  (KeyboardInterrupt too: Ctrl-C is a signal handler's business)
        logger.warning("a task let %s out into its event loop; the worker goes on", type(error).__name__)


class LoopThread:
    """A loop on a daemon thread."""

    def __init__(self, name: str) -> None:
        self.loop = new_loop()
        self._stopped = False
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    def _main(self) -> None:
        asyncio.set_event_loop(self.loop)
        while not self._stopped:  # not "until a task of ours is done": a user's task may cancel all there are
            _run(self.loop)
        with contextlib.suppress(Exception):
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def stop(self) -> None:
        """End the loop and its thread."""
        self._stopped = True
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5)


async def aside(call: Callable[..., object], *arguments: object) -> None:
    """On another thread. Not at all while the interpreter ends, which begins none any more: on a thread that is to end
    with it nothing else is of use."""
    try:
        done = asyncio.get_running_loop().run_in_executor(None, call, *arguments)
    except RuntimeError:
        return
    await done
