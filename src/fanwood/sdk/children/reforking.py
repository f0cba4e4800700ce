"""Making a fork of a run, for all who do: `fanwood.runs`, and references."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from fanwood import checks
from fanwood.codec import codec_for
from fanwood.errors import PayloadTooLargeError
from fanwood.ids import id_bytes, id_text
from fanwood.model.naming import part_id
from fanwood.sdk.declaring.budget import Budget
from fanwood.sdk.recording.once import once
from fanwood.sdk.running.acting import who_acts
from fanwood.sdk.running.waiting import asked
from fanwood.store.forked import forked, task_of_input

if TYPE_CHECKING:
    from fanwood.model.records import RunRecord
    from fanwood.sdk.declaring.host import Host


class Forked(NamedTuple):
    """A fork that was made, and of which task it is."""

    id: bytes
    task: str


async def fork_run(host: Host, id_: bytes, given: Any, at: str | None, budget: Budget | None, by: str | None) -> Forked:
    """Make one; in durable code once. `given`: another input; ...: there is none."""
    below, who = None if at is None else id_bytes(at), who_acts(by)
    if budget is not None and not isinstance(budget, Budget):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
        raise checks.refused("budget", 'must be a Budget, such as Budget(runs=100, units={"usd": 5})', budget)
    part = None if budget is None else budget.part
    run = await _record_of(host, id_)
    place = None if below is None else await _record_of(host, below)
    text = None if given is ... else _input(host, place or run, given)
    await host.prepare([run.task])

    async def act(key: bytes | None) -> str:
        new = host.ids.new_id() if key is None else part_id(key, b"fork")  # (the key is that of what is recorded)
        await asked(host.engine(), lambda store: forked(store, run, new, place, text, who, part), changes=True)
        return new.hex()

    about = id_ + (below or b"") + (b"" if text is None else text.encode())
    if part is not None:
        about += repr(part).encode()
    return Forked(bytes.fromhex(await once("runs.fork", id_text(id_), about, act)), run.task)


async def _record_of(host: Host, id_: bytes) -> RunRecord:
    return await asked(host.engine(), lambda store: store.get(id_))


def _input(host: Host, run: RunRecord, given: Any) -> str:
    """As it is stored: that of the task, as far as it is known here; of a workflow's step, the workflow's."""
    task = task_of_input(run, given)
    spec, limit = host.spec(task), host.settings.max_payload_bytes
    codec = codec_for(Any) if spec is None else spec.input
    data = codec.encode(given, f"the input of {task}")
    if len(data) > limit:
        raise PayloadTooLargeError(f"the input of {task}", len(data), limit)
    text = data.decode()
    codec.decode(text)
    return text
