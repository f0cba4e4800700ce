"""Running a flow again and again, each time with a crash at another point.

The points are those at which a process may leave something half done: before and after each commit of the worker, and
where code of a task waits. Each time the worker's process is gone at that point, and another one goes on with what the
store has; the answer must be the same, and what was recorded by `effects.record` must have happened as often as
promised. Who has started the flow is another process, which lives.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
import inspect
import logging
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from fanwood import checks, durations, logs
from fanwood.errors import UsageError
from fanwood.model.commands import Batch
from fanwood.sdk.declaring.options import NOT_GIVEN
from fanwood.sdk.tasks.task import Runnable
from fanwood.testing import telling
from fanwood.testing.errors import ExploreError, StuckError
from fanwood.testing.ground import current
from fanwood.testing.standing import where
from fanwood.testing.threads import Crew
from fanwood.testing.world import World

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Generator

    from fanwood.sdk.running.attempt import Attempt
    from fanwood.testing.hosts import Host
    from fanwood.testing.threads import Hand


_ATTEMPT = re.compile(r"\battempt \d+")


@dataclass(frozen=True, slots=True)
class Explored:
    """What `explore` has seen: the flow's answer, how many points there are, and at how many there was a crash."""

    answer: Any
    points: int
    crashes: int


def explore(
    flow: Runnable[Any, Any] | Callable[[], Any],
    input: Any = NOT_GIVEN,
    *,
    setup: Callable[[], Any] | None = None,
    point: int | None = None,
    at_most: int = 2000,
    patience: float = 10.0,
) -> Explored:
    """Run a flow with a crash at each point, and hold that it does the same each time.

    Args:
        flow: a task or workflow; or a function without arguments, sync or async, which runs some.
        input: of the task.
        setup: called before each time: lets go of what the time before has left in the test's own objects.
        point: crash there only (the number that a failure has told).
        at_most: of more points only so many are tried, evenly spread.
        patience: as of `on_memory`.

    Raises:
        ExploreError: it does not; the message says after a crash at which point, and what is different.
    """
    checks.whole(at_most, "at_most", 1)
    if point is not None:
        checks.whole(point, "point", 1)
    checks.real(patience, "patience", durations.LONGEST)
    if setup is not None and not callable(setup):
        raise UsageError(f"explore(): setup must be a function, and is {checks.shown(setup)}")
    client = _client_of(flow, input)
    name = getattr(flow, "name", None) or getattr(flow, "__name__", repr(flow))

    def live(kill_at: int) -> _Life:
        if setup is not None:
            setup()
        return _Life(client, kill_at, patience)

    usual = live(0)
    if usual.stuck is not None:
        raise ExploreError(f"{name} does not even end without a crash: {usual.stuck}")
    if point is None and (different := live(0).differs_from(usual)):
        raise ExploreError(
            f"{name} is another each time, without any crash (clocks, random numbers and ids belong into a child, "
            f"whose result is kept):\n{_indented(different)}"
        )
    if point is not None and point > usual.points:
        raise UsageError(f"explore(): there is no point {point}: {name} has {usual.points}")
    step = max(1, -(-usual.points // at_most))
    points = range(1, usual.points + 1, step) if point is None else [point]
    for number in points:
        life = live(number)
        if different := life.differs_from(usual):
            raise ExploreError(
                f"{name} does not survive a crash at point {number} of {usual.points}: {life.killed}\n"
                f"{_indented(different)}\nOnly this one: explore(..., point={number})"
            )
    return Explored(usual.answer, usual.points, len(points))


def _client_of(flow: Any, input_: Any) -> Callable[[], Any]:
    if isinstance(flow, Runnable):
        runnable = cast("Runnable[Any, Any]", flow)
        if input_ is NOT_GIVEN:
            return runnable.aio_run
        return lambda: runnable.aio_run(input_)
    if not callable(flow):
        raise UsageError(
            f"explore() takes a task, a workflow, or a function without arguments, and not {checks.shown(flow)}"
        )
    if input_ is not NOT_GIVEN:
        raise UsageError("explore(): an input is for a task; a function takes none, and runs what it runs")
    return flow


class _Life:
    """One time, from the beginning to the end, perhaps with a crash."""

    def __init__(self, client: Callable[[], Any], kill_at: int, patience: float) -> None:
        self.points = 0
        self.killed = "it was never reached"
        self.stuck: str | None = None
        self.answer: Any = None
        self.error: BaseException | None = None
        self._done = False
        self._kill_at = kill_at
        with _quiet(), World(patience=patience, outer=current[-1] if current else None).there() as world:
            world.watchers.append(self)
            try:
                self._live(world, client)
            except StuckError as error:
                self.stuck = str(error)
            self.effects = Counter((what, repr(details)) for what, details, _ in world.effects)
            self.exact = {(what, repr(details)) for what, details, once in world.effects if once}
            self.asked = Counter[tuple[str, ...]]()
            for memory in world.memories.values():
                self.asked.update(telling.asked(memory.tables))

    def _live(self, world: World, client: Callable[[], Any]) -> None:
        if inspect.iscoroutinefunction(client):
            world.bystanders.create_task(self._run_async(client))
            world.drive(lambda: self._done)
        else:
            crew = Crew(world.time, world.hands, world.patience)
            world.crews.append(crew)
            crew.submit([lambda: self._run(client, world)])
            world.drive(lambda: self._done)
        world.drive(lambda: not telling.unfinished_runs(world))  # what it has begun, and not waited for

    async def _run_async(self, client: Callable[[], Any]) -> None:
        try:
            self.answer = await client()
        except Exception as error:  # noqa: BLE001  (what it raises is its answer)
            self.error = error
        self._done = True

    def _run(self, client: Callable[[], Any], world: World) -> None:
        try:
            answer = client()
        except Exception as error:  # noqa: BLE001  (as above)
            self.error, self._done = error, True
            return
        if inspect.isawaitable(answer):
            world.bystanders.create_task(self._run_async(lambda: answer))
        else:
            self.answer, self._done = answer, True

    # --- a crash ---------------------------------------------------------------------------------------------------

    def at_commit(self, host: Host, what: Any, done: Any) -> None:
        """As of a `Watcher`."""
        if host.slots:
            self._pass(host, lambda: f"{'before' if done is None else 'after'} {_told(what, done)}")

    def at_await(self, host: Host, attempt: Attempt | None, task: asyncio.Task[Any]) -> None:
        """As of a `Watcher`."""
        name = attempt.spec.name if attempt is not None else "a task"
        self._pass(host, lambda: f"while {name} waits at {where(task.get_coro()) or 'its beginning'}")

    def at_wait(self, host: Host, hand: Hand) -> None:
        """As of a `Watcher`."""
        self._pass(host, lambda: f"while a sync task waits:\n{_indented(hand.where())}")

    def _pass(self, host: Host, where: Callable[[], str]) -> None:
        self.points += 1
        if self.points == self._kill_at:
            self.killed = where()
            host.kill()

    # --- what is different -----------------------------------------------------------------------------------------

    def differs_from(self, usual: _Life) -> str:
        """In which ways; empty if in none."""
        if self.stuck is not None:
            return f"it does not end: {self.stuck}"
        return "\n".join([*self._answers(usual), *self._children(usual), *self._effects(usual)])

    def _answers(self, usual: _Life) -> list[str]:
        ours, theirs = self._told(), usual._told()
        same = ours == theirs or (self.error is None and usual.error is None and _equal(self.answer, usual.answer))
        return [] if same else [f"it answered {theirs}, and now {ours}"]

    def _told(self) -> str:
        if self.error is not None:
            told = telling.ID.sub("<id>", f"{type(self.error).__name__}: {self.error}")
            return _ATTEMPT.sub("attempt <n>", told)
        return repr(self.answer)

    def _children(self, usual: _Life) -> list[str]:
        found: list[str] = []
        for (*path, given), count in (self.asked - usual.asked).items():
            what, above = f"{path[-1]}({telling.shown(given)})", " of ".join(reversed(path[:-1]))
            if not above:
                found.append(f"{count} more run(s) of {what} were begun")
            else:
                found.append(
                    f"{above} asked for {count} more: {what}. After a crash a parent must ask for the same children, "
                    f"or those from before are not found again: clocks, random numbers and ids belong into a child"
                )
        return found

    def _effects(self, usual: _Life) -> list[str]:
        found: list[str] = []
        for effect in sorted({*self.effects, *usual.effects}):
            count, promised = self.effects[effect], usual.effects[effect]
            exactly = effect in usual.exact or effect in self.exact
            if count < promised or (exactly and count > promised) or (count and not promised):
                how = "exactly" if exactly else "at least"
                found.append(
                    f"effect {effect[0]!r} {effect[1]} is promised {how} {promised} time(s), and happened {count}"
                )
        return found


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001  (whatever a user's __eq__ raises)
        return False


def _told(what: Any, done: Any) -> str:
    """A commit, in words."""
    if not isinstance(what, Batch):
        return f"a {what}"
    parts = [f"{len(what.spawns)} child(ren) of {what.spawns[0].kind.task}"] if what.spawns else []
    parts += [f"{len(what.records)} record(s)"] if what.records else []
    parts += ["a suspension"] if what.suspends else []
    parts += [f"the end of {', '.join(dict.fromkeys(each.task for each in what.outcomes))}"] if what.outcomes else []
    if done is not None and done.claimed:
        parts.append(f"the claim of {', '.join(dict.fromkeys(run.task for run in done.claimed))}")
    return f"the commit of {', and '.join(parts) or 'something'}"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines())


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """A hundred crashes are not worth a hundred warnings."""
    logger = logs.logger("fanwood").logger
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
