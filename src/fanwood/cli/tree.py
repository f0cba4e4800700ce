"""`fanwood tree`: a run and what is below it, as a person can take it in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fanwood.cli import looking, output, text
from fanwood.cli.base import Command, Common, common
from fanwood.cli.output import Cell
from fanwood.cli.treeing import Group, Node, Picture, draw
from fanwood.clock import MICROSECONDS
from fanwood.ids import id_text
from fanwood.model.records import TaskCount
from fanwood.model.states import TERMINAL, RunState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SYMBOLS = {
    RunState.QUEUED: "·",
    RunState.RUNNING: "▶",
    RunState.WAITING: "◷",
    RunState.COMPLETED: "✓",
    RunState.FAILED: "✗",
    RunState.CANCELLED: "⊘",
}
WORDS = {RunState.COMPLETED: "done"}
"""How states are called in counts, where it is not their name."""


@click.command(
    name="tree",
    cls=Command,
    epilog="Example:\n  fanwood tree 0192f3a1-7c --depth 3\n\n"
    "JSON: {root, now, counts: {task: {state: count}}, runs: [what `runs ls --json` has, and children: {task:\n"
    "  {state: count}}, expanded], groups: [{parent_id, task, total, counts: {state: count},\n"
    "  fastest_seconds, slowest_seconds}]}. Parents come before their children.",
)
@click.argument("run")
@click.option("--depth", type=click.IntRange(0), help="How many levels. Default: as many as are easily read.")
@click.option("--all", "everything", is_flag=True, help="All runs: no groups, no limit.")
@click.option("--ids", is_flag=True, help="Show every run's id on a terminal as well.")
@common
def command(run: str, depth: int | None, everything: bool, ids: bool, common: Common) -> None:
    """Show a run and everything below it: state, time, counts.

    RUN is a run's id, or as much of its beginning as is unique. More than 20 siblings of one name become one line.
    """
    picture = looking.look(common, lambda store: draw(store, run, depth=depth, everything=everything))
    if common.as_json:
        output.print_json(_json(picture))
    elif output.on_terminal():
        _print(picture, ids=ids)
    else:
        _print_plain(picture)


def totals(counts: Sequence[TaskCount]) -> str:
    """`987 done, 13 failed`."""
    by_state: dict[RunState, int] = {}
    for count in counts:
        by_state[count.state] = by_state.get(count.state, 0) + count.count
    order = (*TERMINAL, RunState.RUNNING, RunState.WAITING, RunState.QUEUED)
    return ", ".join(f"{by_state[s]:,} {WORDS.get(s, s.name.lower())}" for s in order if s in by_state)


def total(counts: Sequence[TaskCount]) -> int:
    return sum(count.count for count in counts)


def walk(root: Node) -> Iterator[tuple[list[bool], Node | Group]]:
    """Every line, in order, with its way from the root: for each step, whether it was the last of its siblings."""
    stack: list[tuple[list[bool], Node | Group]] = [([], root)]
    while stack:
        way, item = stack.pop()
        yield way, item
        below = [([*way, False], member) for member in item.members]
        if below:
            below[-1] = ([*way, True], item.members[-1])
        stack += reversed(below)


# --- for people ------------------------------------------------------------------------------------------------------


def _print(picture: Picture, *, ids: bool) -> None:
    console = output.console()
    for way, item in walk(picture.root):
        guides = "".join("   " if last else "│  " for last in way[:-1])
        if way:
            guides += "└─ " if way[-1] else "├─ "
        cells = _node_cells(item, picture.now, ids) if isinstance(item, Node) else _group_cells(item)
        console.print(output.rich_text((guides, "dim"), *cells), no_wrap=True, overflow="ellipsis", crop=True)
    _print_end(picture)


def _node_cells(node: Node, now: int, ids: bool) -> list[Cell]:
    run = node.run
    style = output.STYLES[run.state]
    cells: list[Cell] = [(f"{SYMBOLS[run.state]} ", style), (text.clean(run.task, 60), "bold")]
    if run.child_key:
        cells.append(f" {text.clean(run.child_key, 60)}")
    duration = text.took(looking.ended_at(run, now))
    if duration:
        cells.append((f"  {duration}", "dim"))
    if run.state is RunState.WAITING:
        cells.append((f"  {looking.waits(run, now)}", style))
    if run.attempt > 1:
        cells.append((f"  attempt {run.attempt}", "yellow"))
    if node.counts and not node.members:
        cells.append((f"  + {text.many(total(node.counts), 'child', 'children')}: {totals(node.counts)}", "dim"))
    if ids or run.state is not RunState.COMPLETED or run.parent_id is None:
        cells.append((f"  {id_text(run.id)}", "dim"))
    if run.state in (RunState.FAILED, RunState.CANCELLED):
        cells.append((f"  {looking.reason(run.error)}", style))
    return cells


def _group_cells(group: Group) -> list[Cell]:
    failed = any(count.state is RunState.FAILED for count in group.counts)
    return [
        f"x {total(group.counts):,} ",
        (text.clean(group.task, 60), "bold"),
        (f"  {totals(group.counts)}", output.STYLES[RunState.FAILED] if failed else "green"),
        (f"  {spread(group)}", "dim"),
    ]


def spread(group: Group) -> str:
    """`12 ms..3.2 s`; nothing if none has ended."""
    if group.fastest is None or group.slowest is None:
        return ""
    return f"{text.took(group.fastest)}..{text.took(group.slowest)}"


def _print_end(picture: Picture) -> None:
    count = total(picture.counts)
    if count > 1:
        output.note(f"{text.many(count, 'run')}: {totals(picture.counts)}")
    if picture.grouped:
        output.note("More than 20 siblings of one name are one line; --all shows every run.")
    if picture.cut:
        output.note("Deeper levels are left out: --depth N shows N of them, --all shows everything.")


# --- for pipes -------------------------------------------------------------------------------------------------------


def _print_plain(picture: Picture) -> None:
    click.echo("RUN\tSTATE\tTOOK\tCHILDREN\tID\tERROR\tDUE")
    for way, item in walk(picture.root):
        indent = "  " * len(way)
        if isinstance(item, Group):
            fields = (f"{indent}x {total(item.counts):,} {text.clean(item.task)}", totals(item.counts), spread(item))
            click.echo("\t".join(field or "-" for field in (*fields, "", "", "", "")))
            continue
        run = item.run
        error = looking.reason(run.error) if run.state in (RunState.FAILED, RunState.CANCELLED) else ""
        name = f"{indent}{text.clean(run.task)}{' ' + text.clean(run.child_key) if run.child_key else ''}"
        duration = text.took(looking.ended_at(run, picture.now))
        due = text.local_time(run.due_at)
        shown = (name, run.state.name, duration, totals(item.counts), id_text(run.id), error, due)
        click.echo("\t".join(field or "-" for field in shown))
    _print_end(picture)


# --- for programs ----------------------------------------------------------------------------------------------------


def _json(picture: Picture) -> dict[str, Any]:
    items = [item for _, item in walk(picture.root)]
    return {
        "root": id_text(picture.root.run.id),
        "now": text.instant(picture.now),
        "counts": looking.counts_json(picture.counts),
        "runs": [_node_json(item, picture.now) for item in items if isinstance(item, Node)],
        "groups": [_group_json(item) for item in items if isinstance(item, Group)],
    }


def _node_json(node: Node, now: int) -> dict[str, Any]:
    return {
        **looking.run_json(node.run, now),
        "children": looking.counts_json(node.counts),
        "expanded": bool(node.members) or not node.counts,
    }


def _group_json(group: Group) -> dict[str, Any]:
    return {
        "parent_id": id_text(group.parent_id),
        "task": group.task,
        "total": total(group.counts),
        "counts": {count.state.name: count.count for count in group.counts},
        "fastest_seconds": None if group.fastest is None else group.fastest / MICROSECONDS,
        "slowest_seconds": None if group.slowest is None else group.slowest / MICROSECONDS,
    }
