"""What a run is in a fork, and which forks were made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.ids import id_text
from fanwood.lens.views import ForkBrief
from fanwood.model.forks import fork_of

if TYPE_CHECKING:
    from fanwood.model.records import RunRecord
    from fanwood.store.store import Store


async def fork_brief(store: Store, run: RunRecord, life: str | None) -> ForkBrief | None:
    """None: it is in no fork. `life`: what stands in its row."""
    lineage = await store.lineage(run.id) if run.parent_id is None else None
    if lineage is not None:
        at = None if lineage.at is None else id_text(lineage.at)
        of, changed = id_text(lineage.origin_id), bool(lineage.changed)
        return ForkBrief("fork", of, at, changed, lineage.by, lineage.made_at)
    fork = fork_of(life)
    return None if fork is None else ForkBrief(fork.how, id_text(fork.key), changed=fork.changed)


async def forks_of(store: Store, run_id: bytes) -> tuple[str, ...]:
    """The newest first."""
    return tuple(id_text(each.root_id) for each in await store.forks(run_id))
