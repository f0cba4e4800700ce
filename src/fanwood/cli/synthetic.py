"""`fanwood demo --runs N`: a tree of any size, to be looked at while it grows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from fanwood.cli import output, text
from fanwood.cli.base import Exit, Sentence
from fanwood.cli.beside import Dashboard
from fanwood.cli.output import Column
from fanwood.cli.progress import Progress, follow
from fanwood.cli.waiting import Waiting
from fanwood.clock import MICROSECONDS
from fanwood.ids import id_bytes, id_text
from fanwood.model.states import RunState
from fanwood.store.failures import decode_failure, summary

if TYPE_CHECKING:
    from fanwood.app import Fanwood
    from fanwood.cli.base import Common
    from fanwood.model.records import RunRecord, TaskCount
    from fanwood.store.store import Store

LEAST = 2
MOST = 10_000_000
LOOKED_AT = 10_000
"""Failures that are told apart by kind."""


@dataclass(frozen=True, slots=True)
class Told:
    """What there is to tell in the end. `kinds`: how many failures of each type, and one of them."""

    record: RunRecord
    counts: list[TaskCount]
    kinds: list[tuple[str, int, str]]

    def number(self, state: RunState | None = None, task: str | None = None) -> int:
        """How many runs, of a state and of a task."""
        return sum(
            each.count
            for each in self.counts
            if (state is None or each.state is state) and (task is None or each.task == task)
        )


def run(runs: int, processes: int, common: Common, *, ui: bool) -> None:
    """Make it, and show it meanwhile. Ctrl-C cancels it."""
    from fanwood.demo import ingest
    from fanwood.worker.pool import processor_count

    if not LEAST <= runs <= MOST:
        raise Sentence(f"--runs must be from {LEAST} to {MOST:,}")
    app = ingest.fanwood
    app.settings = replace(
        common.settings(), namespace=app.settings.namespace, processes=processes or processor_count()
    )
    output.logged_warnings()
    with Dashboard(app.settings, wanted=ui and not common.as_json) as dashboard, app:
        record = _follow(app, runs, common, dashboard)
        told = app.engine().call(lambda store: _told(store, record)).result()
        if common.as_json:
            output.print_json(_json(told))
        else:
            _print(told, dashboard)
            dashboard.wait()
    raise SystemExit(Exit.DONE if record.state is RunState.COMPLETED else Exit.FAILED)


def _follow(app: Fanwood, runs: int, common: Common, dashboard: Dashboard) -> RunRecord:
    from fanwood.demo import ingest

    ref = ingest.ingest.run_no_wait(ingest.Size(runs))
    run_id = id_bytes(ref.id)
    try:
        if not common.as_json:
            output.note(f"A tree of {runs:,} runs in {app.engine().store.url}. Look at it: {dashboard.link(ref.id)}")
        with Progress(quiet=common.as_json, name=lambda task: task.rpartition("/")[2]) as progress:
            follow(app, run_id, Waiting(app, run_id, ingest.ingest.name), progress)
    except KeyboardInterrupt:
        app.retire_local()  # or there would be results that come too late
        ref.cancel()
        output.note(f"Cancelled. What there was: {output.this_command()} tree {ref.id}")
        raise
    return app.engine().call(lambda store: store.get(run_id)).result()


async def _told(store: Store, record: RunRecord) -> Told:
    failures = await store.tree_failures(record.id, None, LOOKED_AT)
    examples = {(failure := decode_failure(run.error)).type or failure.kind: summary(failure) for run in failures}
    kinds = Counter((failure := decode_failure(run.error)).type or failure.kind for run in failures)
    found = [(kind, count, examples[kind]) for kind, count in kinds.most_common()]
    return Told(record, await store.tree_counts(record.id), found)


def _print(told: Told, dashboard: Dashboard) -> None:
    columns = [Column("task"), *(Column(name, right=True) for name in ("runs", "completed", "failed"))]
    tasks = sorted({each.task for each in told.counts}, key=lambda task: -told.number(task=task))
    rows: list[list[output.Cell]] = [
        [
            task.rpartition("/")[2],
            f"{told.number(task=task):,}",
            f"{told.number(RunState.COMPLETED, task):,}",
            f"{told.number(RunState.FAILED, task):,}",
        ]
        for task in tasks
    ]
    click.echo()
    output.print_table(columns, rows)
    if told.kinds:
        click.echo()
        failures: list[list[output.Cell]] = [
            [f"{count:,}", (text.clean(example, 160), "red")] for _, count, example in told.kinds
        ]
        output.print_table([Column("failed", right=True), Column("such as")], failures)
    seconds, runs, run = _seconds(told), told.number(), id_text(told.record.id)
    click.echo()
    output.print_line(
        f"{text.many(runs, 'run')} in {text.took(round(seconds * 1e6))}, {runs / max(seconds, 1e-6):,.0f}/s."
    )
    output.print_line("Show the tree again: ", (f"{output.this_command()} tree {run}", "bold"))
    output.print_line("In a browser: ", (dashboard.link(run), "bold"))


def _seconds(told: Told) -> float:
    return ((told.record.finished_at or 0) - told.record.created_at) / MICROSECONDS


def _json(told: Told) -> dict[str, Any]:
    return {
        "run": id_text(told.record.id),
        "status": told.record.state.name,
        "seconds": _seconds(told),
        "runs": told.number(),
        **{state.name.lower(): told.number(state) for state in RunState if state.is_terminal},
        "failures": [{"type": kind, "count": count, "example": example} for kind, count, example in told.kinds],
    }
