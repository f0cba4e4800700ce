"""`fanwood tree`: a run and what is below it, as a person can take it in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from fanwood.cli import looking, output, text
from fanwood.cli.base import Common, Sentence
from fanwood.cli.burnt import as_json, lines
from fanwood.cli.critical import show_critical
from fanwood.cli.finding import find
from fanwood.cli.forking import fork_json, mark
from fanwood.cli.output import Cell
from fanwood.cli.treeing import Group, Node, Picture, draw, walk
from fanwood.clock import MICROSECONDS
from fanwood.ids import id_text, short_text
from fanwood.model.records import TaskCount
from fanwood.model.states import FIRST_WAIT, TERMINAL, RunKind, RunState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.store.store import Store

SHORTEST_PREVIEW, LONGEST_PREVIEW = 12, 60
"""Columns of an input."""
SHORTEST_NAME = 16
"""Columns of a task's name, where more does not fit."""
WORDS = {RunState.COMPLETED: "done"}
"""How states are called in counts, where it is not their name."""


def tree(run: str | None, depth: int | None, everything: bool, critical: bool, ids: bool, common: Common) -> None:
    if critical:
        if everything or depth is not None:
            raise Sentence("--critical is one way down: --depth and --all do not go with it.")
        show_critical(common, run, ids=ids)
        return

    async def ask(store: Store) -> Picture:
        id_ = await find(store, run, common.settings().namespace)
        return await draw(store, id_, depth=depth, everything=everything)

    picture = looking.look(common, ask)
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


# --- for people ------------------------------------------------------------------------------------------------------


def _print(picture: Picture, *, ids: bool) -> None:
    console, marks, width = output.console(), output.marks(), output.width()
    for way, item in walk(picture.root):
        guides = "".join("   " if last else marks.line for last in way[:-1])
        below = guides + ("" if not way else "   " if way[-1] else marks.line)
        if way:
            guides += marks.last_branch if way[-1] else marks.branch
        cells = _node_cells(item, picture, ids) if isinstance(item, Node) else _group_cells(item)
        room = _shortened(cells, width - len(guides))
        if isinstance(item, Node):
            cells += _preview(item, room)
        console.print(output.rich_text((guides, "dim"), *cells), no_wrap=True, overflow="ellipsis", crop=True)
        if isinstance(item, Node) and item.run.state in (RunState.FAILED, RunState.CANCELLED):
            deeper = below + (f"{marks.line.strip()} " if item.members else marks.error)
            why = (looking.reason(item.run.error), output.STYLES[item.run.state])
            console.print(output.rich_text((deeper, "dim"), why), no_wrap=True, overflow="ellipsis", crop=True)
    _print_end(picture)


def _node_cells(node: Node, picture: Picture, ids: bool) -> list[Cell]:
    run, now = node.run, picture.now
    style = output.STYLES[run.state]
    cells: list[Cell] = [(f"{output.marks().states[run.state]} ", style), (text.clean(run.task, 60), "bold")]
    if run.child_key:
        cells.append(f" {text.clean(run.child_key, 60)}")
    if node.kin is not None:
        cells.append((f"  {looking.kin(node.kin)}", "cyan"))
    duration = text.took(looking.ended_at(run, now))
    if duration:
        cells.append((f"  {duration}", "dim"))
    if run.state is RunState.WAITING:
        longest = max(SHORTEST_NAME, min(looking.NAME, output.width() - 60))
        what = "suspended" if node.is_suspended else looking.waits_for(run, node.preview, now, longest)
        cells.append((f"  {what}", style))
    if run.life is not None and (said := mark(run)):
        cells.append((f"  {said}", "dim"))
    if (pause := picture.pauses.get(run.id)) is not None:
        cells.append((f"  {looking.paused(pause)}", "yellow"))
    if run.is_begun_again:
        cells.append((f"  attempt {run.attempt}", "yellow"))
    if node.counts and not node.members:
        cells.append((f"  + {text.many(total(node.counts), 'child', 'children')}: {totals(node.counts)}", "dim"))
    if ids or run.state is not RunState.COMPLETED or run.parent_id is None:
        cells.append((f"  {short_text(run.id)}", "dim"))
    return cells


def _shortened(cells: list[Cell], room: int) -> int:
    """What is left of a line; of one that is too long the name gives way (the second cell), and not its id or state."""
    left = room - sum(text.columns(output.plain(cell)) for cell in cells)
    name = output.plain(cells[1])
    if left < 0 and (shorter := max(SHORTEST_NAME, text.columns(name) + left)) < text.columns(name):
        left += text.columns(name) - shorter
        cells[1] = (text.fitted(name, shorter), "bold")
    return left


def _preview(node: Node, room: int) -> list[Cell]:
    """How the input begins, in what is left of a line; nothing of an empty one. Of a wait that is over, for what."""
    preview, kind = node.preview, node.run.kind
    if kind is not RunKind.RECORDED and kind >= FIRST_WAIT:
        preview = looking.named(node.run, preview)[0] if node.run.state is not RunState.WAITING else ""
    if preview in ("", "{}", "null") or room < SHORTEST_PREVIEW:
        return []
    return [(f"  {text.fitted(preview, min(room - 2, LONGEST_PREVIEW))}", "dim italic")]


def _group_cells(group: Group) -> list[Cell]:
    failed = any(count.state is RunState.FAILED for count in group.counts)
    return [
        f"{total(group.counts):,} x ",
        (text.clean(group.task, 60), "bold"),
        (f"  {totals(group.counts)}", output.STYLES[RunState.FAILED] if failed else "green"),
        (f"  {spread(group)}", "dim"),
    ]


def spread(group: Group) -> str:
    """`12 ms..3.2 s`; nothing if none has ended."""
    if group.fastest is None or group.slowest is None:
        return ""
    fastest, slowest = text.took(group.fastest), text.took(group.slowest)
    return fastest if fastest == slowest else f"{fastest}..{slowest}"


def _print_end(picture: Picture) -> None:
    count = total(picture.counts)
    if count > 1:
        output.note(f"{text.many(count, 'run')}: {totals(picture.counts)}")
    if picture.grouped:
        output.note("More than 20 siblings of one name are one line; --all shows every run.")
    if picture.cut:
        output.note("Deeper levels are left out: --depth N shows N of them, --all shows everything.")
    for line in lines(picture.burnt):
        output.note(line)


# --- for pipes -------------------------------------------------------------------------------------------------------


def _print_plain(picture: Picture) -> None:
    click.echo("RUN\tSTATE\tTOOK\tCHILDREN\tID\tERROR\tDUE")
    for way, item in walk(picture.root):
        indent = "  " * len(way)
        if isinstance(item, Group):
            fields = (f"{indent}{total(item.counts):,} x {text.clean(item.task)}", totals(item.counts), spread(item))
            click.echo("\t".join(field or "-" for field in (*fields, "", "", "", "")))
            continue
        run = item.run
        error = looking.reason(run.error) if run.state in (RunState.FAILED, RunState.CANCELLED) else ""
        name = f"{indent}{text.clean(run.task)}{' ' + text.clean(run.child_key) if run.child_key else ''}"
        name += _of_wait(item)
        if item.kin is not None:
            name += f" ({looking.kin(item.kin)})"
        if (pause := picture.pauses.get(run.id)) is not None:
            name += f" ({looking.paused(pause)})"
        if run.life is not None and (said := mark(run)):
            name += f" ({said})"
        duration = text.took(looking.ended_at(run, picture.now))
        due = text.local_time(run.until)
        shown = (name, run.state.name, duration, totals(item.counts), id_text(run.id), error, due)
        click.echo("\t".join(field or "-" for field in shown))
    _print_end(picture)


# --- for programs ----------------------------------------------------------------------------------------------------


def _of_wait(node: Node) -> str:
    """` order:paid (scope 77)`: for what it is, of a wait."""
    name, scope = looking.named(node.run, node.preview)
    return f" {name}" * bool(name) + f" (scope {scope})" * bool(scope)


def _json(picture: Picture) -> dict[str, Any]:
    items = [item for _, item in walk(picture.root)]
    return {
        "root": id_text(picture.root.run.id),
        "now": text.instant(picture.now),
        "counts": looking.counts_json(picture.counts),
        "runs": [_node_json(item, picture) for item in items if isinstance(item, Node)],
        "groups": [_group_json(item) for item in items if isinstance(item, Group)],
        **as_json(picture.burnt),
    }


def _node_json(node: Node, picture: Picture) -> dict[str, Any]:
    return {
        **looking.run_json(node.run, picture.now),
        "paused": looking.paused_json(picture.pauses.get(node.run.id)),
        "children": looking.counts_json(node.counts),
        "expanded": bool(node.members) or not node.counts,
        "suspended": node.is_suspended,
        "kin": looking.kin_json(node.kin),
        "fork": None if node.run.life is None else fork_json(node.run, None),
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
