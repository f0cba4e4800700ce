"""The arguments that many commands take, and what a shell completes them to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

ABOUT = (
    "RUN is a run's id, or as much of its beginning or of its end as is unique (what listings show is the end); or "
    "@last, the newest root. Without it the newest root is taken."
)


def one_run(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the argument RUN, which may be left out."""
    return click.argument("run", required=False, shell_complete=run_ids)(function)


def run_ids(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The newest roots, for a shell."""
    if not _is_there(ctx):
        return []
    from fanwood.cli import completing

    return completing.run_ids(ctx.params.get("url"), incomplete)


def task_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The tasks that workers have published, for a shell."""
    if not _is_there(ctx):
        return []
    from fanwood.cli import completing

    return completing.task_names(ctx.params.get("url"), incomplete)


def _is_there(ctx: click.Context) -> bool:
    """Whether there may be anything to complete to, known without the imports that a look takes."""
    from fanwood.cli.base import Common
    from fanwood.errors import FanwoodError

    try:
        Common(ctx.params.get("url"), as_json=False).must_exist()
    except FanwoodError:
        return False
    return True
