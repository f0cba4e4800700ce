"""`fanwood tree`: a run and what is below it, as a person can take it in."""

from __future__ import annotations

import click

from fanwood.cli.arguments import one_run
from fanwood.cli.base import Command, Common, common


@click.command(
    name="tree",
    cls=Command,
    epilog="Examples:\n  fanwood tree\n  fanwood tree 6c466a1c --depth 3\n"
    "  fanwood tree 6c466a1c --critical\n\n"
    "JSON: {root, now, counts: {task: {state: count}}, runs: [what `runs ls --json` has, and paused: {run_id, by,\n"
    "  since} or null, children: {task: {state: count}}, expanded, suspended, kin: {how, id, task,\n"
    "  status} or null, fork], groups: [{parent_id, task, total, counts: {state: count},\n"
    "  fastest_seconds, slowest_seconds}], budget: [{run_id, unit, amount, used, held}],\n"
    "  spent: [{run_id, unit, amount}], spent_is_cut}. Parents come before their children.\n"
    "With --critical: {root, now, path: [{id, task, status, started_at, finished_at, seconds, own_seconds,\n"
    "  siblings}]}.",
)
@one_run
@click.option("--depth", type=click.IntRange(0), help="How many levels. Default: as many as are easily read.")
@click.option("--all", "everything", is_flag=True, help="All runs: no groups, no limit.")
@click.option("--critical", is_flag=True, help="Only the way down to what ended last: it made the tree long.")
@click.option("--ids", is_flag=True, help="Show every run's id on a terminal as well.")
@common
def command(run: str | None, depth: int | None, everything: bool, critical: bool, ids: bool, common: Common) -> None:
    """Show a run and everything below it: state, time, input, counts.

    RUN is a run's id, or as much of its beginning or of its end as is unique; without it the newest root is taken.
    More than 20 siblings of one name become one line.
    """
    common.must_exist()
    from fanwood.cli import tree

    tree.tree(run, depth, everything, critical, ids, common)
