"""A new root of a task whose code is elsewhere: as the task's program would start it, from what it has published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from fanwood.codec import codec_for
from fanwood.engine.inbox import SpawnRequest
from fanwood.model.commands import Spawn, SpawnKind
from fanwood.sdk.children.kinds import RUN_KINDS
from fanwood.sdk.declaring.budget import Budget, written
from fanwood.sdk.declaring.identity import content_digest, root_identity
from fanwood.sdk.running.answers import Answer

if TYPE_CHECKING:
    from typing import Any

    from fanwood.engine.engine import Engine
    from fanwood.ids import IdSource
    from fanwood.model.commands import TaskInfo

Whole = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class BudgetBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the run, and all below it, may use. Amounts of units that must be exact are texts, such as "0.1"."""

    runs: Whole | None = None
    depth: Whole | None = None
    seconds: Annotated[float, msgspec.Meta(ge=0)] | None = None
    units: dict[str, int | float | str] = {}

    def budget(self) -> Budget:
        """As a budget.

        Raises:
            UsageError: it can't be one.
        """
        units = {name: written(one, name) if isinstance(one, str) else one for name, one in self.units.items()}
        return Budget(runs=self.runs, depth=self.depth, seconds=self.seconds, units=units)


_JSON = codec_for(object)


async def start(
    engine: Engine,
    ids: IdSource,
    task: TaskInfo,
    input_: Any,
    *,
    metadata: str | None = None,
    priority: int | None = None,
    key: str | None = None,
    budget: BudgetBody | None = None,
) -> bytes:
    """Its id; of the run that has the key, if there is one already.

    Raises:
        IdempotencyConflictError: the key belongs to something else.
        UsageError: there is no such budget.
    """
    namespace, _, _ = task.name.rpartition("/")
    kind = SpawnKind(
        task.name,
        priority=task.priority if priority is None else priority,
        metadata=metadata if metadata is not None else task.metadata,
        schedule_timeout=task.schedule_timeout,
        run_kind=RUN_KINDS[task.kind],
        namespace=namespace,
        part=None if budget is None else budget.budget().part,
    )
    data = _JSON.encode(input_, "the input", "input")
    spawn = Spawn(kind, ids.new_id(), None, data.decode())
    if key is not None:
        spawn.identity, spawn.child_key = root_identity(namespace, key), key
        spawn.input_digest = content_digest(task.name, _JSON.canonical(data))
    request = SpawnRequest()
    request.kinds.append(kind)
    request.spawns.append(spawn)
    request.spawn_indexes.append(0)
    answer = Answer(request, None, None)
    engine.spawn(request)
    await answer.signal.wait()
    if answer.error is not None:
        raise answer.error
    return answer.taken.get(spawn.id, spawn.id)
