"""What is asked of the store for the pages of a large tree, statement by statement, in this process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fanwood import Settings, SystemClock
from fanwood.ids import id_text
from fanwood.lens import pages
from fanwood.lens.lens import Lens
from fanwood.model.states import RunState
from fanwood.server.choosing import ActionFilter, Wanted
from fanwood.server.previews import look
from fanwood.store.opening import store_for

if TYPE_CHECKING:
    from fanwood.store.store import Store


async def statements(settings: Settings, root: bytes) -> list[tuple[float, str]]:
    """How many milliseconds each took, the slowest first, and its name."""
    store = store_for(settings, SystemClock())
    await store.open(lambda: None)
    took: list[tuple[float, str]] = []
    looked: Any = getattr(store, "looked")  # noqa: B009  (of stores that know SQL)

    async def timed(name: str, /, **bindings: Any) -> list[Any]:
        begin = time.perf_counter()
        found = await looked(name, **bindings)
        took.append(((time.perf_counter() - begin) * 1e3, name))
        return found

    setattr(store, "looked", timed)  # noqa: B010  (the same)
    try:
        await _all(store, root)
    finally:
        await store.close()
    return sorted(took, reverse=True)


async def _all(store: Store, root: bytes) -> None:
    """A cold lens, and what the pages ask for beside it."""
    lens = Lens(root, SystemClock())
    while lens.done < 1:
        await lens.refresh(store)
    run = (await store.children(root, limit=1))[0].id
    await pages.run(store, run)
    await pages.run(store, root)
    for state in (None, RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED):
        await pages.members(store, root, state=state)
    for text in (id_text(run), run.hex()[-8:], "deadbeef", "ValueError"):
        await pages.search(store, text)
    await pages.slowest(store, lens)
    await pages.critical_path(store, root)
    await pages.waterfall(store, root)
    await pages.tasks(store)
    for filter_ in (ActionFilter(tree=id_text(root), state="failed"), ActionFilter(parent=id_text(root))):
        await look(store, Wanted("retry", filter_))
