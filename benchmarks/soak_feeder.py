"""Starts trees at an even rate, as a client of its own does, and waits for some of them."""

import asyncio
import time

from benchmarks.soak_pace import Pace
from benchmarks.soak_tasks import TREE, Tree, answer
from fanwood import Fanwood

TICK = 0.02
LATE_SECONDS = 1.0
"""What could not be started within this time is left out."""
AWAITED = 10
"""One tree in so many is awaited, and its answer checked; the others are started and left alone."""
PATIENCE = 120.0
SHOWN = 5


class Feeder:
    """Starts trees until it is cancelled."""

    def __init__(self, app: Fanwood, pace: Pace, children: int) -> None:
        self.started = 0
        self.left_out = 0.0
        self.failures: list[str] = []
        self._tree = app.find(TREE)
        self._pace = pace
        self._children = children
        self._awaited: set[asyncio.Task[None]] = set()
        self._taken: list[float] = []

    async def warm_up(self) -> None:
        """Returns when somebody executes."""
        await asyncio.gather(*(self._await(self._next()) for _ in range(AWAITED)))
        self._taken.clear()

    async def run(self) -> None:
        due, last = 0.0, time.perf_counter()
        while True:
            now = time.perf_counter()
            due += self._pace.rate * (now - last)
            most = 0.0 if self._pace.held else self._pace.rate * LATE_SECONDS
            self.left_out += max(0.0, due - most)
            due, last = min(due, most), now
            inputs = [self._next() for _ in range(int(due))]
            due -= len(inputs)
            for input in inputs:
                if _is_awaited(input):
                    self._watch(input)
            await self._start([input for input in inputs if not _is_awaited(input)])
            await asyncio.sleep(max(0.0, now + TICK - time.perf_counter()))

    async def finish(self) -> None:
        """Wait for those that are awaited."""
        if self._awaited:
            await asyncio.wait(self._awaited, timeout=PATIENCE)

    def taken(self) -> list[float]:
        """Seconds that awaited trees took, since the last call."""
        taken, self._taken = self._taken, []
        return taken

    def _next(self) -> Tree:
        self.started += 1
        return Tree(n=self.started, children=self._children)

    async def _start(self, inputs: list[Tree]) -> None:
        try:
            if inputs:
                await self._tree.aio_run_many_no_wait([self._tree.create_bulk_run_item(input) for input in inputs])
        except Exception as error:
            self.started -= len(inputs)
            self._fail(f"could not start {len(inputs)} trees: {error!r}")

    def _watch(self, input: Tree) -> None:
        task = asyncio.create_task(self._await(input))
        self._awaited.add(task)
        task.add_done_callback(self._awaited.discard)

    async def _await(self, input: Tree) -> None:
        begin = time.perf_counter()
        try:
            got = await self._tree.aio_run(input, timeout=PATIENCE)
        except Exception as error:
            self._fail(f"tree {input.n}: {error!r}")
            return
        self._taken.append(time.perf_counter() - begin)
        if got != answer(input):
            self._fail(f"tree {input.n} returned {got}, and should have returned {answer(input)}")

    def _fail(self, what: str) -> None:
        if len(self.failures) < SHOWN:
            self.failures.append(what)


def _is_awaited(input: Tree) -> bool:
    return input.n % AWAITED == 0
