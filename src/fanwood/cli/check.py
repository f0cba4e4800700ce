"""`fanwood check`: recorded runs of durable tasks, against the code that there is now."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fanwood.cli import looking, output, text
from fanwood.cli.base import Common, Exit
from fanwood.cli.loading import load_app
from fanwood.engine.signals import block
from fanwood.ids import id_text
from fanwood.sdk.tasks.rehearsing import Rehearsed, rehearse, runs_of, waiting_for

if TYPE_CHECKING:
    from collections import Counter

    from fanwood.app import Fanwood
    from fanwood.model.records import RunRecord
    from fanwood.sdk.declaring.spec import TaskSpec
    from fanwood.store.store import Store


def check(target: str, url: str, limit: int, as_json: bool) -> None:
    app = load_app(target)
    looking.look(Common(url, as_json=as_json), _is_there)
    app.settings, app.local_worker = replace(app.settings, database_url=url), False
    try:
        found = [rehearse(app, spec, run) for spec, run in _recorded(app, limit)]
        strangers = block(waiting_for(app, {task.name for task in app.tasks}, limit), "check")
    finally:
        app.close()
    others = [each for each in found if each.text is not None]
    lost = sum(not each.followed for each in found)
    if as_json:
        about = {"checked": len(found), "not_followed": lost, "not_here": dict(strangers)}
        output.print_json({**about, "others": [_row(each) for each in others]})
    else:
        for each in others:
            output.print_line((text.clean_block(each.text or ""), "red"))
        output.print_line(_summary(len(found), len(others), lost))
        if strangers:
            output.print_line((_not_here(strangers), "yellow"))
    if others:
        raise SystemExit(Exit.FAILED)


async def _is_there(_: Store) -> None:
    """Where there is no database, none is made."""


def _recorded(app: Fanwood, limit: int) -> list[tuple[TaskSpec, RunRecord]]:
    specs = [each.spec for each in app.tasks if each.spec.durable is not None and each.spec.kind == "task"]

    async def collect() -> list[tuple[TaskSpec, RunRecord]]:
        return [(spec, run) for spec in specs async for run in runs_of(app, spec, limit)]

    return block(collect(), "check")


def _summary(checked: int, others: int, lost: int) -> str:
    said = f"{checked:,} run(s) of durable tasks: "
    said += f"{others:,} would ask for something else" if others else "all ask for what is recorded"
    why = "streams, groups, as_completed, code that waits for others, versions that are gone"
    return said + (f"; {lost:,} could not be followed ({why})" if lost else "")


def _not_here(strangers: Counter[str]) -> str:
    named = ", ".join(f"{text.clean(task, 200)} ({count:,})" for task, count in strangers.most_common(10))
    return f"{strangers.total():,} waiting run(s) are of tasks that are not here: {named}"


def _row(each: Rehearsed) -> dict[str, str | None]:
    run = each.run
    return {"run_id": id_text(run.id), "task_name": run.task, "status": run.state.name, "text": each.text}
