"""`fanwood demo`: a real job on a real folder, watched while it grows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from fanwood.cli import output, synthetic, text
from fanwood.cli.base import Common, Exit, Sentence
from fanwood.cli.beside import Dashboard
from fanwood.cli.output import Column
from fanwood.cli.progress import Progress, follow
from fanwood.cli.waiting import Waiting
from fanwood.clock import MICROSECONDS
from fanwood.ids import id_bytes, id_text
from fanwood.model.states import RunState
from fanwood.sdk.declaring.outcomes import error_of
from fanwood.store.failures import decode_failure

if TYPE_CHECKING:
    from fanwood.app import Fanwood
    from fanwood.demo.tasks import Survey
    from fanwood.model.records import RunRecord, TreeRun
    from fanwood.store.store import Store

FAILURES = 10
DUPLICATES = 5


@dataclass(frozen=True, slots=True)
class Story:
    """What the demo has to tell in the end."""

    record: RunRecord
    failures: list[TreeRun]
    survey: Survey | None


def demo(path: str, runs: int | None, ui: bool, processes: int, common: Common) -> None:
    if runs is not None:
        synthetic.run(runs, processes, common, ui=ui)
    folder = Path(path).absolute()
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise Sentence(f"{path} {what}: name a folder to count")
    from fanwood.demo import tasks
    from fanwood.worker.pool import processor_count

    app = tasks.fanwood
    processes = processes or processor_count()
    app.settings = replace(common.settings(), namespace=app.settings.namespace, processes=processes)
    output.logged_warnings()
    with Dashboard(app.settings, wanted=ui and not common.as_json) as dashboard, app:
        record = _run(app, str(folder), common, dashboard)
        engine = app.engine()
        story = engine.call(lambda store: _story(store, record)).result()
        made = sum(count.count for count in engine.call(lambda store: store.tree_counts(record.id)).result())
        if common.as_json:
            output.print_json(_json(story, str(folder), made))
        else:
            _print(story, str(folder), made)
            if ui:
                output.print_line("In a browser: ", (dashboard.link(id_text(record.id)), "bold"))
                dashboard.wait()
    raise SystemExit(Exit.DONE if record.state is RunState.COMPLETED else Exit.FAILED)


def _run(app: Fanwood, folder: str, common: Common, dashboard: Dashboard) -> RunRecord:
    """Start the survey, and show it until its end. Ctrl-C cancels it."""
    from fanwood.demo import listing, tasks

    shown = listing.text(folder)
    raw = "" if shown == folder else folder.encode("utf-8", "surrogateescape").hex()
    ref = tasks.survey.run_no_wait(tasks.Place(shown, raw))
    run_id = id_bytes(ref.id)
    try:
        if not common.as_json:
            output.note(f"Counting {shown} in {app.engine().store.url}: run {ref.id}")
            if dashboard.is_there:
                output.note(f"Look at it: {dashboard.link(ref.id)}")
        with Progress(quiet=common.as_json, name=_short) as progress:
            follow(app, run_id, Waiting(app, run_id, tasks.survey.name), progress)
    except KeyboardInterrupt:
        app.retire_local()  # or there would be results that come too late
        ref.cancel()
        output.note(f"Cancelled. What had been counted: {output.this_command()} tree {ref.id}")
        raise
    return app.engine().call(lambda store: store.get(run_id)).result()


async def _story(store: Store, record: RunRecord) -> Story:
    from fanwood.demo import tasks

    failures = await store.tree_failures(record.id, None, FAILURES + 1)
    survey = None
    if record.state is RunState.COMPLETED:
        survey = tasks.survey.spec.output.decode(record.output or "null")
    return Story(record, [run for run in failures if run.id != record.id][:FAILURES], survey)


def _short(task: str) -> str:
    return task.rpartition("/")[2]


def _path(run: TreeRun, folder: str) -> str:
    path = msgspec.json.decode(run.input)["path"]
    return text.clean(path.removeprefix(f"{folder.rstrip('/')}/"), 200)


def _message(error: str | None, path: str = "") -> str:
    """Why; without the path, where that stands beside it."""
    failure = decode_failure(error)
    return text.clean(failure.message.removesuffix(f": {path}") or failure.kind)


def _why(run: TreeRun) -> str:
    return _message(run.error, msgspec.json.decode(run.input)["path"])


def _seconds(record: RunRecord) -> float:
    return ((record.finished_at or 0) - record.created_at) / MICROSECONDS


# --- for people ------------------------------------------------------------------------------------------------------


def _print(story: Story, folder: str, runs: int) -> None:
    survey = story.survey
    if survey is None:
        record = story.record
        output.note(f"error: {error_of(record, record.id, record.task)}")
    else:
        _print_totals(survey)
        _print_copies(survey)
        _print_slowest(survey)
        _print_failures(survey, story, folder)
    seconds = _seconds(story.record)
    click.echo()
    output.print_line(
        f"{text.many(runs, 'run')} in {text.took(round(seconds * 1e6))}, {runs / max(seconds, 1e-6):,.0f}/s."
    )
    output.print_line("Show the tree again: ", (f"{output.this_command()} tree {id_text(story.record.id)}", "bold"))


def _print_totals(survey: Survey) -> None:
    total = survey.numbers
    click.echo()
    columns = [Column(name, right=True) for name in ("files", "folders", "lines", "words", "bytes", "unreadable")]
    numbers = (total.files, total.folders, total.lines, total.words, total.bytes, total.failed)
    output.print_table(columns, [[f"{number:,}" for number in numbers]])
    left_out = [
        text.many(count, one, several)
        for count, one, several in (
            (total.symlinks, "symlink (not followed)", "symlinks (not followed)"),
            (total.skipped, "folder such as .git or .venv", "folders such as .git or .venv"),
        )
        if count
    ]
    if left_out:
        output.print_line((f"Left out: {', '.join(left_out)}.", "dim"))


def _print_copies(survey: Survey) -> None:
    if not survey.copies:
        return
    columns = [Column("copies", right=True), Column("each", right=True), Column("files")]
    rows: list[list[output.Cell]] = []
    separator = "\n" if output.on_terminal() else ", "
    for copies in survey.copies[:DUPLICATES]:
        more = f" and {copies.count - 3} more" if copies.count > 3 else ""
        shown = separator.join(text.clean(path, 100) for path in copies.paths[:3])
        rows.append([f"{copies.count:,}", text.size(copies.bytes), shown + more])
    click.echo()
    output.print_table(columns, rows, title="Duplicates")
    _print_more(len(survey.copies) - DUPLICATES, "group")


def _print_slowest(survey: Survey) -> None:
    if survey.slowest:
        click.echo()
        rows = [(text.took(round(file.seconds * MICROSECONDS)), text.clean(file.path, 200)) for file in survey.slowest]
        output.print_table([Column("took", right=True), Column("file")], rows, title="Slowest files")


def _print_failures(survey: Survey, story: Story, folder: str) -> None:
    if story.failures:
        click.echo()
        rows: list[list[output.Cell]] = [[_path(run, folder), (_why(run), "red")] for run in story.failures]
        output.print_table([Column("not read"), Column("why")], rows, title="Failures")
        _print_more(survey.numbers.failed - len(story.failures), "failure")


def _print_more(count: int, what: str) -> None:
    if count > 0:
        output.print_line((f"... and {text.many(count, what)} more", "dim"))


# --- for programs ----------------------------------------------------------------------------------------------------


def _json(story: Story, folder: str, runs: int) -> dict[str, Any]:
    record, survey = story.record, story.survey
    total = survey.numbers if survey is not None else None
    names = ("files", "folders", "lines", "words", "bytes", "failed", "symlinks", "skipped")
    return {
        "run": id_text(record.id),
        "path": folder,
        "status": record.state.name,
        "seconds": _seconds(record),
        "runs": runs,
        **{name: getattr(total, name, None) for name in names},
        "duplicates": survey.copies if survey is not None else [],
        "slowest": survey.slowest if survey is not None else [],
        "failures": [{"path": _path(run, folder), "error": _why(run)} for run in story.failures],
        "error": _message(record.error) if record.error is not None else None,
    }
