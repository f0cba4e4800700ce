"""Which code came to a place first: so that code which was changed there goes on as it began."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fanwood import checks
from fanwood.errors import UsageError
from fanwood.model.commands import Record
from fanwood.model.records import Recorded
from fanwood.model.states import RunKind, RunState
from fanwood.sdk.declaring.identity import part_identity
from fanwood.sdk.recording.recording import found_in, kind_of, known_parts, note
from fanwood.sdk.running.attempt import registering

if TYPE_CHECKING:
    from fanwood.sdk.running.attempt import Attempt


async def version_at(attempt: Attempt, name: str) -> str | None:
    """See `Context.version_at`."""
    attempt.check()
    name, spec = checks.name(name, "name"), attempt.spec
    version = spec.policy.version
    if spec.durable is None:
        raise UsageError(f"{spec.name} is no durable task: nothing tells which code of it came to {name!r} before")
    if version is None:
        raise UsageError(f"{spec.name} has no version that could be recorded at {name!r}: give it one, version=")
    if attempt.is_mocked:
        return version
    parts, identity = await known_parts(attempt), attempt.mine(part_identity("version", name))
    shown = msgspec.json.encode({"step": "version_at", "args": [name]}).decode()
    with registering:
        if identity not in parts.found and attempt.replay is not None:
            return None  # the code of an attempt before came past here, and did not ask
        found = found_in(attempt, parts, identity, f"~step {shown}", keep=True)
        if found is not None:
            return msgspec.json.decode(found.output or "null")
        index, id_, output = attempt.children, attempt.new_id(), msgspec.json.encode(version).decode()
        attempt.children += 1
        parts.found[identity] = Recorded(identity, id_, RunState.COMPLETED, output, None, attempt.run.attempt)
    kind = kind_of(attempt, RunKind.RECORDED)
    # Not waited for: it goes before whatever is written next, and until then nothing depends on it.
    note(attempt, Record(kind, id_, identity, shown, RunState.COMPLETED, index, output=output))
    return version
