"""What a shell is offered: ids of runs, names of tasks. Without a database there is nothing to offer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

from fanwood.cli import looking, text
from fanwood.cli.base import Common
from fanwood.cli.finding import LAST, NEWEST, described, roots
from fanwood.errors import FanwoodError
from fanwood.ids import short_text
from fanwood.model.actions import shown

if TYPE_CHECKING:
    from fanwood.model.records import RunRecord
    from fanwood.store.store import Store

COMPLETED = 15
"""So many of the newest roots are offered."""


def run_ids(url: str | None, incomplete: str) -> list[CompletionItem]:
    """The newest roots."""
    common = Common(url, as_json=False)

    async def ask(store: Store) -> tuple[list[RunRecord], int]:
        filter_ = roots(common.settings().namespace, NEWEST)
        return shown((await store.listing(filter_)).runs, filter_)[:COMPLETED], store.now()

    try:
        runs, now = looking.look(common, ask)
    except FanwoodError:
        return []
    found = [CompletionItem(short_text(run.id), help=described(run, now)) for run in runs]
    found.append(CompletionItem(LAST, help="the newest root"))
    return [item for item in found if str(item.value).startswith(incomplete)]


def task_names(url: str | None, incomplete: str) -> list[CompletionItem]:
    """The tasks that workers have published."""
    try:
        tasks = looking.look(Common(url, as_json=False), lambda store: store.tasks())
    except FanwoodError:
        return []
    return [
        CompletionItem(task.name, help=text.clean(task.description, 60))
        for task in tasks
        if task.kind != "step" and task.name.startswith(incomplete)
    ]
