"""What the runs of one call have in common: from what was said of them, their task and their parent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.engine.guard import too_deep
from fanwood.ids import id_text
from fanwood.model.commands import SpawnKind
from fanwood.model.states import RunKind
from fanwood.sdk.declaring.options import metadata_json

if TYPE_CHECKING:
    from fanwood.sdk.declaring.options import TriggerWorkflowOptions
    from fanwood.sdk.declaring.spec import TaskSpec
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.settings import Settings

RUN_KINDS = {"task": RunKind.TASK, "workflow": RunKind.WORKFLOW, "step": RunKind.STEP}


def root_kind(spec: TaskSpec, options: TriggerWorkflowOptions, settings: Settings) -> SpawnKind:
    """Of roots."""
    return SpawnKind(
        spec.name,
        priority=_priority(spec, options),
        metadata=_metadata(None, spec.policy.default_additional_metadata, options),
        schedule_timeout=spec.policy.schedule_limit,
        run_kind=RUN_KINDS[spec.kind],
        namespace=settings.namespace,
        program=spec.origin.program,
        part=options.part,
    )


def child_kind(
    attempt: Attempt, spec: TaskSpec, options: TriggerWorkflowOptions, settings: Settings, *, waited: bool
) -> SpawnKind:
    """Of children.

    Raises:
        BudgetExceeded: they would be too deep in their tree.
    """
    run = attempt.run
    if run.depth >= settings.max_depth:
        raise too_deep(run.depth + 1, settings.max_depth, id_text(attempt.id), id_text(attempt.root), spec.name)
    attempt.spawned = True
    attempt.cancel_children = attempt.cancel_children or options.on_parent_end == "cancel"
    deadline, owner = attempt.child_deadline(waited=waited, policy=options.parent_end)
    return SpawnKind(
        task=spec.name,
        parent_id=attempt.id,
        parent_attempt=run.attempt,
        root_id=bytes.fromhex(run.root_id),
        depth=run.depth + 1,
        priority=_priority(spec, options),
        metadata=_metadata(run.metadata, spec.policy.default_additional_metadata, options),
        schedule_timeout=spec.policy.schedule_limit,
        deadline=deadline,
        deadline_by=owner,
        on_parent_end=options.parent_end,
        run_kind=RUN_KINDS[spec.kind],
        part=options.part,
    )


def _priority(spec: TaskSpec, options: TriggerWorkflowOptions) -> int:
    return options.priority if options.priority is not None else spec.policy.default_priority


def _metadata(inherited: str | None, default: Any, options: TriggerWorkflowOptions) -> str | None:
    """A parent's metadata is its children's, theirs winning."""
    given = options.additional_metadata
    if not given and not default:
        return inherited  # it was checked when it was given
    base = msgspec.json.decode(inherited, type=dict[str, Any]) if inherited else {}
    return metadata_json({**default, **base, **(given or {})}, "additional_metadata")
