"""Actions on all that a filter lets through, for programs: the same tasks as the server's, on an engine that is there
until the action has ended. What a program that died has left is gone on with by the next that begins one, or by a
server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from fanwood.errors import UsageError
from fanwood.ids import id_bytes, id_text, new_secret
from fanwood.server import previews
from fanwood.server.choosing import ActionFilter, Wanted
from fanwood.server.deeds import Bulk, Tally, declare
from fanwood.server.hands import Hands
from fanwood.store.progress import progress_of

if TYPE_CHECKING:
    from fanwood.server.previews import Seen
    from fanwood.settings import Settings
    from fanwood.store.store import Store


def wanted(action: Any, namespace: str, moment: int, priority: int | None, **filter_: Any) -> Wanted | None:
    """What is asked for; None: the filter says nothing."""
    found = ActionFilter(**filter_)
    return Wanted(action, found, namespace, moment, priority) if found.is_narrowed else None


async def look(store: Store, asked: Wanted) -> Seen:
    """How many runs that is, or is at least; the first of them.

    Raises:
        RunNotFoundError: there is no such tree, or run.
        UsageError: what is named as a tree is below another run.
    """
    for run in asked.filter.ids:
        await store.get(id_bytes(run))
    if asked.filter.tree is not None:
        top = await store.get(id_bytes(asked.filter.tree))
        if top.parent_id is not None:
            raise UsageError(
                f"tree= takes the id of a root, and {asked.filter.tree} is below {id_text(top.root_id)}: name that, or "
                f"the run itself in ids=, with which all below it is meant"
            )
    return await previews.look(store, asked)


def hands(settings: Settings) -> Hands:
    """For a worker, which goes on with what others have left."""
    return Hands(settings)


def deed_text(asked: Wanted, by: str, count: int, *, at_least: bool) -> str:
    """What is to be done, as it can be kept until it is begun."""
    return msgspec.json.encode(Bulk(asked, by, count, at_least)).decode()


class Begun:
    """One that is under way, with an engine of its own."""

    def __init__(self, settings: Settings) -> None:
        self._deeds = declare(settings)
        self.id = ""
        self._ref: Any = None

    async def begin(self, text: str, token: str | None) -> None:
        """It is done once for a token."""
        token = token or new_secret()
        deed = replace(msgspec.json.decode(text, type=Bulk), token=token[:8])
        about = {"by": deed.by, "namespace": deed.wanted.namespace}
        self._ref = await self._deeds.bulk.aio_run_no_wait(
            deed, idempotency_key=token, additional_metadata=about, detached=True
        )
        self.id = self._ref.id

    def attach(self, run_id: str) -> None:
        """One that was begun before."""
        self.id, self._ref = run_id, self._deeds.app.runs.get_run_ref(run_id)

    async def result(self, timeout: float | None) -> tuple[int, int]:
        """To how many it was done, and how many had changed."""
        tally = msgspec.convert(msgspec.to_builtins(await self._ref.aio_result(timeout)), Tally)  # (or as it is stored)
        return tally.done, tally.left

    async def seen(self) -> int:
        """At how many runs it has been, so far."""
        said = await self._deeds.ask(lambda store: progress_of(store, id_bytes(self.id)))
        return int(said.done) if said else 0

    def close(self) -> None:
        """What is under way goes on with the next one."""
        self._deeds.app.close()
