"""Calls that share a run with equal ones of their tree (`share="tree"`): each has a link to it, a part of its run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fanwood.model.commands import Finished, Record, Spawn
from fanwood.model.states import WAIT_NAMES, OnParentEnd, RunKind, RunState
from fanwood.sdk.declaring.identity import content_digest
from fanwood.sdk.recording.recording import found_in, parts_of
from fanwood.sdk.running.parts import counts

if TYPE_CHECKING:
    from fanwood.model.commands import SpawnKind
    from fanwood.sdk.running.attempt import Attempt

SHOWN = 4096
"""Bytes of an input that a link shows; of one that is longer it shows the task only."""


def link_content(content: bytes) -> bytes:
    """What identifies a link, made of what is shared: another identity than that of a child of its own."""
    return content_digest("~share", content)


class Links:
    """The links that one call asks for."""

    __slots__ = ("_kinds", "number")

    def __init__(self) -> None:
        self.number = 0  # of the last one, among those of its content
        self._kinds: dict[int, tuple[SpawnKind, SpawnKind, SpawnKind]] = {}

    def link(
        self, attempt: Attempt, kind: SpawnKind, data: bytes, content: bytes
    ) -> tuple[bytes, Finished | None, Record | None]:
        """One more: its id, and how it ended if it has, or what is asked of the store. Under `registering`, and after
        all that the run had recorded was read."""
        _, own, shared = self._kinds.get(id(kind)) or self._new_kinds(attempt, kind)
        index, text = attempt.children, data.decode()
        attempt.children += 1
        self.number = attempt.number(link_content(content))
        identity = attempt.numbered(link_content(content), self.number)
        found = found_in(attempt, parts_of(attempt), identity, f"~share {kind.task} {text}")
        if found is not None and found.state.is_terminal and counts(found, attempt.run.trial_start):
            return found.id, Finished(found.state, found.output, found.error, kind.task), None
        id_ = attempt.new_id() if found is None else found.id
        shown = msgspec.json.encode({"task": kind.task}).decode()
        if len(data) <= SHOWN:
            shown = f'{shown[:-1]},"input":{text}}}'
        share = Spawn(shared, attempt.host.ids.new_id(), None, text, input_digest=content)
        return id_, None, Record(
            own, id_, identity, shown, RunState.WAITING, index, again=found is not None, share=share
        )  # fmt: skip

    def _new_kinds(self, attempt: Attempt, kind: SpawnKind) -> tuple[SpawnKind, SpawnKind, SpawnKind]:
        """That of a child as it would be; of the link; and of what is shared."""
        replace = msgspec.structs.replace
        own = replace(
            kind, task=WAIT_NAMES[RunKind.SHARE], run_kind=RunKind.SHARE, schedule_timeout=None, metadata=None
        )
        shared = replace(
            kind, parent_id=attempt.root, parent_attempt=0, depth=1, deadline=None, deadline_by=None,
            on_parent_end=OnParentEnd.SHARED,
        )  # fmt: skip
        kinds = self._kinds[id(kind)] = (kind, own, shared)
        return kinds
