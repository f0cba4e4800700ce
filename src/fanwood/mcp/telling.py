"""Views in words, for models: each line says much, and the first lines say most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.cli import text as texts
from fanwood.cli.text import instant, many, took
from fanwood.ids import SHORT
from fanwood.lens.briefs import total
from fanwood.mcp.answers import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fanwood.lens.views import (
        BudgetView,
        Cluster,
        Counts,
        CriticalStep,
        ErrorBrief,
        ErrorDetail,
        KinView,
        LimitView,
        LogLineView,
        RunBrief,
        RunDetail,
        SpentView,
        TaskLine,
        TaskView,
        TreeView,
        WhyView,
        WorkerLine,
    )

NAME, TEXT = 60, 240
"""Characters of a name, and of a message."""
TASKS, KINDS, ABOVE = 12, 8, 8
LIMITS, SPENT, UNIT = 8, 4, 24
_KIN = {"shares": "shares", "helps": "is a hedge of", "helped": "has the hedge"}
STATES = ("completed", "failed", "cancelled", "running", "waiting", "queued")


def clean(text: str, limit: int) -> str:
    """In one line, without control characters; of a long one only the beginning is looked at."""
    return texts.clean(text[: 8 * limit], limit)


def short(run_id: str) -> str:
    """The digits by which a run is told from others: the last ones."""
    return run_id[-SHORT:]


def name_of(run: RunBrief) -> str:
    """Its task, and its key if it has one."""
    return clean(run.task, NAME) + (f" {clean(run.key, NAME)}" if run.key else "")


def counts(of: Counts) -> str:
    """`12 completed, 3 failed`."""
    said = [f"{count:,} {state}" for state in STATES if (count := getattr(of, state))]
    return ", ".join(said) or "none"


def _span(run: RunBrief, now: int) -> str:
    if run.started_at is None:
        return f"made {took(now - run.created_at)} ago"
    if run.finished_at is None:
        return f"for {took(now - run.started_at)}"
    return f"took {took(run.finished_at - run.started_at)}, ended {took(now - run.finished_at)} ago"


def _error(error: ErrorBrief | ErrorDetail, length: int = TEXT) -> str:
    cause = ": ".join(part for part in (error.type, clean(error.message, length)) if part)
    return cause if error.kind == "failed" else f"{error.kind}: {cause}"


def run_line(run: RunBrief, now: int) -> str:
    """A run in a list."""
    said = [f"{short(run.id)} {name_of(run)}: {run.state}", _span(run, now)]
    if run.kin is not None:
        said.append(_kin(run.kin))
    if run.retries:
        said.append(f"{many(run.retries, 'retry', 'retries')}")
    if run.error is not None:
        said.append(_error(run.error, NAME * 2))
    if run.preview:
        said.append(f"input {clean(run.preview, NAME)}")
    return ", ".join(said)


def _kin(kin: KinView) -> str:
    if kin.how not in _KIN:
        return "calls of its tree share it"
    return f"{_KIN[kin.how]} {short(kin.id)} {clean(kin.task, UNIT)}"


# --- a tree ----------------------------------------------------------------------------------------------------------


def tree(view: TreeView, budget: BudgetView) -> str:
    """The whole of it, in less than 2,000 tokens, however large it is."""
    answer, root, now = Answer(), view.root, view.as_of
    answer.add(f"tree {short(root.id)} of {name_of(root)}: {root.state}, {_span(root, now)}")
    answer.add(f"runs: {total(view.counts):,}: {counts(view.counts)}")
    if view.done < 1:
        answer.add(f"{view.done:.0%} of the tree has been read so far: counts are of that. Ask again for more.")
    else:
        answer.add_all(_pace(view))
    if total(view.waits):
        answer.add(f"waits and recorded steps: {total(view.waits):,}")
    if budget.limits:
        answer.add(_budget(budget.limits))
    if budget.spent:
        answer.add(f"spent most: {'; '.join(_spent(one) for one in budget.spent[:SPENT])}")
    if root.error is not None:
        answer.add(f"error: {_error(root.error, 2 * TEXT)}")
    if root.preview:
        answer.add(f"input: {clean(root.preview, 2 * TEXT)}")
    if view.clusters:
        kinds = sorted(view.clusters, key=lambda one: -one.count)
        answer.add(f"failures, {many(len(kinds), 'kind')}:")
        answer.add_all(f"  {_kind(one, now)}" for one in kinds[:KINDS])
    tasks = sorted(view.tasks, key=lambda one: -total(one.counts))
    answer.add(f"tasks, {len(tasks)}{', the largest' if len(tasks) > TASKS else ''}:")
    answer.add_all(f"  {_task(one)}" for one in tasks[:TASKS])
    return answer.text()


def _budget(limits: Sequence[LimitView]) -> str:
    more = "" if len(limits) <= LIMITS else f", and {len(limits) - LIMITS} more"
    return f"budget: {'; '.join(_limit(one) for one in limits[:LIMITS])}{more}"


def _limit(one: LimitView) -> str:
    unit = clean(one.unit, UNIT)
    if one.unit == "depth":
        return f"down to depth {one.amount}"
    return f"{one.left} of {one.amount} {unit} left" + (f" ({one.held} held)" if one.held != "0" else "")


def _spent(one: SpentView) -> str:
    return f"{one.amount} {clean(one.unit, UNIT)} by {short(one.run_id)} {clean(one.task, UNIT)}"


def _pace(view: TreeView) -> Iterator[str]:
    if not (view.counts.queued or view.counts.running or view.counts.waiting):
        yield f"all has ended; the work took {took(view.busy)} of workers' time"
        return
    left = "" if view.eta is None else f", done in {'at least ' if view.eta_at_least else ''}{_eta(*view.eta)}"
    yield f"pace: {view.rate:,.1f} ends a second{left}; {view.in_flight:,} in flight of {view.slots:,} slots"
    if view.oldest_queued is not None:
        yield f"the oldest queued run waits for {took(view.as_of - view.oldest_queued)}"
    if view.is_stalled:
        yield "STALLED: nothing has ended for longer than its runs take"
    if view.unserved:
        names = ", ".join(clean(name, NAME) for name in view.unserved[:5])
        yield f"NOBODY SERVES what is queued of {len(view.unserved)}: {names}"


def _eta(low: float, high: float) -> str:
    first, last = took(int(low * 1e6)), took(int(high * 1e6))
    return first if first == last else f"{first} to {last}"


def _task(view: TaskView) -> str:
    said = [f"{clean(view.task, NAME)}: {total(view.counts):,} runs ({counts(view.counts)})"]
    if view.slowest is not None:
        times = (("p50", view.p50), ("p95", view.p95), ("longest", view.slowest))
        said.append("took " + ", ".join(f"{word} {took(value)}" for word, value in times if value is not None))
    return ", ".join(said)


def _kind(one: Cluster, now: int) -> str:
    tasks = ", ".join(clean(task, NAME) for task in one.tasks[:3])
    example = f", such as {short(one.examples[0].id)}" if one.examples else ""
    return (
        f"{one.count:,} x {clean(one.type, NAME)}: {clean(one.message, TEXT)} (in {tasks}; the last "
        f"{took(now - one.last)} ago{example})"
    )


# --- the rest --------------------------------------------------------------------------------------------------------


def listed(runs: Sequence[RunBrief], now: int, after: str | None, none: str) -> str:
    """Runs, and how to get those after them."""
    answer = Answer()
    shown = answer.add_all(run_line(run, now) for run in runs)
    if not runs:
        answer.add(none)
    elif shown < len(runs):
        answer.add(f"{shown} of {len(runs)} are shown: ask for fewer, or narrower.")
    elif after is not None:
        answer.add(f"go on with: after={after}")
    return answer.text()


def failures(clusters: Iterable[Cluster], now: int) -> str:
    """What failed, by kind."""
    answer = Answer()
    if not answer.add_all(_kind(one, now) for one in sorted(clusters, key=lambda one: -one.count)):
        answer.add("nothing failed")
    return answer.text()


def run(detail: RunDetail, payloads: Sequence[tuple[str, str]], now: int) -> str:
    """One run: what it is, what became of it, what is around it."""
    one, answer = detail.run, Answer()
    answer.add(run_line(one, now))
    answer.add(f"id {one.id}, {one.kind}, depth {one.depth}, attempt {one.attempt}, made {instant(one.created_at)}")
    if detail.budget:
        answer.add(_budget(detail.budget))
    if detail.ancestors:
        answer.add("below " + " > ".join(_above(detail.ancestors)))
    for family in detail.families[:TASKS]:
        more = " at least" if family.more else ""
        answer.add(f"children of {clean(family.task, NAME)}:{more} {counts(family.counts)}")
    if detail.error is not None:
        answer.add(f"error: {_error(detail.error, 2 * TEXT)}")
    for attempt in detail.attempts[-3:]:
        if attempt.error is not None:
            answer.add(f"attempt {attempt.number} {attempt.state}: {_error(attempt.error)}")
    for name, text in payloads:
        answer.add(f"{name}: {clean(text, 4 * TEXT)}")
    if detail.error is not None and detail.error.traceback:
        answer.add("traceback, its end:")
        answer.add_text(detail.error.traceback[-4 * TEXT :])
    return answer.text()


def _above(ancestors: Sequence[RunBrief]) -> list[str]:
    """The root first; of many those at both ends."""

    def said(runs: Sequence[RunBrief]) -> list[str]:
        return [f"{name_of(each)} {short(each.id)} ({each.state})" for each in runs]

    if len(ancestors) <= ABOVE:
        return said(ancestors)
    return [*said(ancestors[:2]), f"({len(ancestors) - ABOVE:,} more)", *said(ancestors[2 - ABOVE :])]


def why(view: WhyView) -> str:
    """As `fanwood why` says it."""
    answer = Answer()
    answer.add(f"{clean(view.task, NAME)} {short(view.run_id)} is {view.state}; cause: {view.cause}")
    answer.add_text(view.text)
    if view.command is not None:
        answer.add(f"what helps: {clean(view.command, TEXT)}")
    return answer.text()


def logs(lines: Sequence[LogLineView], has_ended: bool) -> str:  # noqa: FBT001  (one of two answers)
    """Lines, as far as there is room; and how to get those after them."""
    answer, last = Answer(), None
    for line in lines:
        text = clean(line.message, 4 * TEXT)
        if not answer.add(
            f"{instant(line.at)} {line.level} {f'(attempt {line.attempt}) ' if line.attempt > 1 else ''}{text}"
        ):
            break
        last = line.seq
    if last is None:
        answer.add("nothing was logged" + ("" if has_ended else " so far"))
    elif not has_ended or last != lines[-1].seq:
        answer.add(f"go on with: after={last}")
    return answer.text()


def path(steps: Sequence[CriticalStep], now: int) -> str:
    """Which chain of runs made a tree long."""
    answer = Answer()
    for level, step in enumerate(steps):
        beside = f", the last of {step.siblings + 1:,}" if step.siblings else ""
        answer.add(f"{'  ' * min(level, 20)}{run_line(step.run, now)}{beside}; its own: {took(step.own)}")
    return answer.text()


def tasks(lines: Iterable[TaskLine]) -> str:
    """What can be run, who serves it, and what its input is."""
    answer = Answer()
    for one in lines:
        about = f" ({clean(one.description, TEXT)})" if one.description else ""
        said = (
            f"{clean(one.name, 2 * NAME)}{about}: {many(one.serving, 'live worker')}, {one.queued:,} queued, "
            f"{one.running:,} running"
        )
        if one.ended:
            said += f", of {one.ended:,} of late {one.failed:,} failed"
        if not answer.add(said):
            break
        if one.schema:
            answer.add(f"  input: {clean(one.schema, 3 * TEXT)}")
    return answer.text()


def workers(lines: Iterable[WorkerLine], now: int) -> str:
    """Who works."""
    answer = Answer()
    there = sorted(lines, key=lambda one: (not one.is_live, not one.slots, -one.started_at))
    shown = answer.add_all(
        f"{clean(one.name, NAME)} on {clean(one.host, NAME)}: {'live' if one.is_live else 'gone'}, "
        + (f"{one.running:,} of {one.slots:,} slots busy" if one.slots else "no worker, a client")
        + f", for {took(now - one.started_at)}, {many(len(one.tasks), 'task')}"
        for one in there
    )
    if not shown:
        answer.add("nobody")
    return answer.text()
