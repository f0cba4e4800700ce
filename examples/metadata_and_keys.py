"""Metadata that children inherit, keys that say which child is which, and priorities.

python examples/metadata_and_keys.py
"""

from typing import Any

from fanwood import ChildKeyConflictError, Context, Fanwood

fanwood = Fanwood()


@fanwood.task
async def show(n: int, ctx: Context) -> str:
    return f"key={ctx.child_key!r} priority={ctx.priority} metadata={ctx.additional_metadata}"


@fanwood.task
async def parent(input: None, ctx: Context) -> list[Any]:
    plain = await show.aio_run(1)
    named = await show.aio_run(2, child_key="second", additional_metadata={"step": "two"}, priority=3)
    again = await show.aio_run_no_wait(2, child_key="second")  # the same key: the same child, not another run
    same = await again == named
    try:
        await show.aio_run(99, child_key="second")  # another input under that key is a mistake, and not a mix-up
    except ChildKeyConflictError:
        conflict = "refused"
    else:
        conflict = "accepted"
    return [plain, named, same, conflict]


if __name__ == "__main__":
    plain, named, same, conflict = parent.run(None, additional_metadata={"customer": "acme"})
    print("plain:", plain)
    print("named:", named)
    print("the same key again is the same child:", same)
    print("the same key with another input:", conflict)
