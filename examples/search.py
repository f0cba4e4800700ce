"""A recursive search: rooms lead to rooms, all are looked into at the same time, and who finds it ends the rest.

    python examples/search.py

Each room is a run, and its doors are its children. The first branch that comes back with the treasure ends the group,
and with it what the others have begun, however deep that is.
"""

import asyncio
from dataclasses import dataclass

from fanwood import Completed, Context, Fanwood

fanwood = Fanwood()

TREASURE = "02"
DEEPEST = 7


@dataclass
class Room:
    name: str = ""


def has_treasure(found: object) -> bool:
    return isinstance(found, Completed) and found.value is not None


@fanwood.task
async def search(room: Room, ctx: Context) -> str | None:
    """Where the treasure is, in this room or behind its doors."""
    await asyncio.sleep(len(room.name) / 20)  # the deeper, the darker
    if room.name == TREASURE:
        return room.name
    if len(room.name) == DEEPEST:
        return None
    async with ctx.group(on_error="collect", until=has_treasure) as doors:
        for door in range(3):
            doors.spawn(search, Room(f"{room.name}{door}"))
    return next((found.value for found in doors.outcomes if isinstance(found, Completed) and found.value), None)


if __name__ == "__main__":
    run = search.run_no_wait(Room())
    print(f"found: {run.result()}")
    looked_into = fanwood.runs.counts(run.id).total + 1
    print(f"most rooms were never looked into: {looked_into < 3**DEEPEST / 2}")
