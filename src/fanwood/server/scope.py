"""A store that shows one namespace, and can't name anything of others.

A tree is its root's: who may see the root may see what is below. What isn't theirs is answered as what isn't there.
Verbs that are not in the table can't be called at all.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.errors import RunNotFoundError
from fanwood.ids import id_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from fanwood.model.forks import Lineage
    from fanwood.model.looks import Kin
    from fanwood.model.records import Page, Pause, RunFilter, RunRecord
    from fanwood.store.store import Store

_OF_RUN = {
    "get", "circumstances", "children", "child_counts", "tree_counts", "logs", "log_end", "attempts", "besides",
    "above", "failed", "tree_sample", "segment_end", "picked_before", "next_parent",
    "balances", "spent", "spends",
}  # fmt: skip
"""Their first argument is a run, or a root."""
_OF_PART = {"picked", "longest", "latest", "parents", "cube"}
"""Their first argument is a part of a tree."""
_PLAIN = {"now", "url"}
KNOWN = 10_000
"""Roots of which it is remembered whose they are."""
PAGES = 40
"""Pages of others' that are passed by, to fill one of ours."""


class Scoped:
    """The verbs for looking, for one namespace."""

    def __init__(self, store: Store, namespace: str) -> None:
        self._store: Any = store
        self._prefix = f"{namespace}/"
        self._roots = OrderedDict[bytes, bool]()

    def __getattr__(self, name: str) -> Any:
        if name in _PLAIN:
            return getattr(self._store, name)
        if name in _OF_RUN:
            return self._checked(getattr(self._store, name), lambda run_id: run_id)
        if name in _OF_PART:
            return self._checked(getattr(self._store, name), lambda part: part.root)
        raise AttributeError(f"{name} is not for who is bound to a namespace")

    def _checked(
        self, verb: Callable[..., Awaitable[Any]], run_of: Callable[[Any], bytes]
    ) -> Callable[..., Awaitable[Any]]:
        async def checked(first: Any, *args: Any, **named: Any) -> Any:
            await self._check(run_of(first))
            return await verb(first, *args, **named)

        return checked

    # --- whose something is ----------------------------------------------------------------------------------------

    async def _check(self, run_id: bytes) -> None:
        if not await self._is_ours(run_id):
            raise RunNotFoundError(f"There is no run {id_text(run_id)} in {self._store.url}")

    async def _is_ours(self, run_id: bytes) -> bool:
        if run_id in self._roots:
            return self._roots[run_id]
        found = await self._store.briefs([run_id])
        return bool(found) and await self._is_of_ours(found[0])

    async def _is_of_ours(self, run: RunRecord) -> bool:
        root = run.root_id
        if root not in self._roots:
            if run.id != root:
                found = await self._store.briefs([root])
                if not found:
                    return False
                run = found[0]
            self._roots[root] = run.task.startswith(self._prefix)
            if len(self._roots) > KNOWN:
                self._roots.popitem(last=False)
        return self._roots[root]

    # --- several at once -------------------------------------------------------------------------------------------

    async def briefs(self, ids: Sequence[bytes]) -> list[RunRecord]:
        return [run for run in await self._store.briefs(ids) if await self._is_of_ours(run)]

    async def pauses(self, ids: Sequence[bytes] = (), after: tuple[int, bytes] = (-1, b"")) -> list[Pause]:
        return [pause for pause in await self._store.pauses(ids, after) if await self._is_ours(pause.run_id)]

    async def previews(self, ids: Sequence[bytes], length: int) -> list[str]:
        ours = [await self._is_ours(id_) for id_ in ids]
        return [text if mine else "" for text, mine in zip(await self._store.previews(ids, length), ours, strict=True)]

    async def suspended(self, ids: Sequence[bytes]) -> list[bytes]:
        return [id_ for id_ in await self._store.suspended(ids) if await self._is_ours(id_)]

    async def kin(self, ids: Sequence[bytes]) -> list[Kin]:
        return [one for one in await self._store.kin(ids) if await self._is_ours(one.run_id)]

    async def forks(self, run_id: bytes) -> list[Lineage]:
        await self._check(run_id)
        return [one for one in await self._store.forks(run_id) if await self._is_ours(one.root_id)]

    async def lineage(self, root_id: bytes) -> Lineage | None:
        await self._check(root_id)
        found = await self._store.lineage(root_id)
        return found if found is not None and await self._is_ours(found.origin_id) else None

    async def holder(self, namespace: str, key: str) -> bytes | None:
        found = await self._store.holder(namespace, key) if f"{namespace}/" == self._prefix else None
        return found if found is not None and await self._is_ours(found) else None

    async def find(self, digits: str, limit: int = 2) -> list[bytes]:
        return [id_ for id_ in await self._store.find(digits, limit) if await self._is_ours(id_)]

    async def listing(self, filter_: RunFilter) -> Page:
        asked = filter_.prefix or ""
        prefix = asked if asked.startswith(self._prefix) else self._prefix + asked
        page: Page = await self._store.listing(msgspec.structs.replace(filter_, prefix=prefix))
        runs = [run for run in page.runs if await self._is_of_ours(run)]
        return msgspec.structs.replace(page, runs=runs)

    async def failed_at(self, after: tuple[int, bytes], until: int, limit: int) -> list[Any]:
        found: list[Any] = []
        for _ in range(PAGES):
            rows = await self._store.failed_at(after, until, limit)
            found += [row for row in rows if await self._is_ours(row.root_id)]
            if len(rows) < limit or len(found) >= limit:
                break
            after = rows[-1].finished_at, rows[-1].id
        return found[:limit]

    # --- who works -------------------------------------------------------------------------------------------------

    async def tasks(self) -> list[Any]:
        return [task for task in await self._store.tasks() if task.name.startswith(self._prefix)]

    async def recent(self, after: bytes, until: bytes, limit: int) -> list[Any]:
        return [row for row in await self._store.recent(after, until, limit) if await self._is_ours(row.root_id)]

    async def queues(self) -> list[Any]:
        return [pair for pair in await self._store.queues() if pair[0].startswith(self._prefix)]

    async def serving(self, limit: int) -> list[Any]:
        return [pair for pair in await self._store.serving(limit) if pair[0].startswith(self._prefix)]

    async def workers(self) -> list[Any]:
        ours = {worker for _, worker in await self.serving(KNOWN)}
        return [worker for worker in await self._store.workers() if worker.id in ours]

    async def running(self, after: Any, limit: int) -> list[Any]:
        return [row for row in await self._store.running(after, limit) if await self._is_ours(row.id)]
