"""Who acts upon programs from outside: settles promises, says what has happened, sends messages, ends sleeps."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from fanwood import Fanwood, FanwoodError, PromiseSettledError, PromiseTokenError, RunEndedError, RunNotFoundError
from fanwood.ids import id_text
from fanwood.model.states import RunKind
from fanwood.sdk.running.waiting import called
from tests.simulation.plans import KEYS

if TYPE_CHECKING:
    from tests.simulation.world import World

MANY = 1_000
TIRED = 30
"""So often somebody asks for the same."""


async def settle(world: World, token: str, value: dict[str, Any], app: Fanwood) -> None:
    """Says the value of a promise, or that there will be none."""
    await asyncio.sleep(world.random.random() * 4)
    world.parts.sends(token, value)
    if world.random.random() < 0.2:
        await _insistently(world, partial(app.promises.aio_reject, token, "no"))
    elif await _insistently(world, partial(app.promises.aio_resolve, token, value)):
        world.tell(world.parts.settled(token, value))


async def cancel_sleep(world: World, run_id: bytes, said: dict[str, Any], after: float, app: Fanwood) -> None:
    """Just before it would end: whoever tries again then finds it cancelled, and has slept long enough."""
    await asyncio.sleep(max(0.0, after))
    sleep = world.parts.find(run_id, RunKind.SLEEP, said)
    if sleep is not None:
        await _insistently(world, partial(app.runs.aio_cancel, id_text(sleep.id)))


async def push(world: World, key: str, value: dict[str, Any], app: Fanwood) -> None:
    """Says that something has happened: whoever waits for it by then goes on."""
    await asyncio.sleep(world.random.random() * 4)
    world.parts.sends(key, value)
    waiting = world.parts.waiting_for(key)
    pushed = await _insistently(world, partial(app.events.aio_push, key, value, id=f"event {value['made']}"))
    if pushed is not None and await _insistently(world, partial(_is_left, app, pushed.id)) is False:
        world.tell(world.parts.heard(waiting))


async def _is_left(app: Fanwood, event_id: str) -> bool:
    """Whether more is to be done for an event: where the store was in trouble, a worker does that."""
    left = await called(app.engine().call(lambda store: store.open_events(MANY)))
    return any(event.id == event_id for event in left)


async def push_all(world: World, app: Fanwood) -> None:
    """All that may happen happens: whoever waits for something or a sleep has but the one, if the other was
    cancelled."""
    for key in KEYS:
        await push(world, key, {"key": key, "made": world.parts.made()}, app)


async def resume_all(world: World, app: Fanwood) -> None:
    """Nothing is paused any more."""
    for run_id in list(world.tables.pauses):
        world.watch.paused.discard(run_id)
        world.resumed.add(run_id)
        await _insistently(world, partial(app.runs.aio_resume, id_text(run_id)))


async def send(world: World, run_id: bytes, name: str, app: Fanwood) -> None:
    """Sends a run a message, or does not know whether it has: then it sends another one."""
    await asyncio.sleep(world.random.random() * 4)

    async def again() -> None:
        sent = world.parts.posts(run_id, name)
        await app.runs.aio_send(id_text(run_id), name, sent)
        world.parts.posted(run_id, name, sent)

    await _insistently(world, again)


async def _insistently(world: World, ask: Any) -> Any:
    """Until it is said, or can't be; None: it was not."""
    for _ in range(TIRED):
        try:
            return await ask()
        except (PromiseSettledError, PromiseTokenError, RunEndedError, RunNotFoundError):
            return None  # it has ended otherwise, or is gone
        except FanwoodError as error:
            world.note("outside", f"{type(error).__name__}")
            await asyncio.sleep(1.0)
    return None
