"""From records of the store to views, as far as the lens has none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.lens.briefs import counts_of
from fanwood.lens.views import LogLineView, StoreView, WhyView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.model.records import LogRecord, StoreReport, Unserved
    from fanwood.store.why import Why


def line(record: LogRecord) -> LogLineView:
    """One line of a log."""
    return LogLineView(record.seq, record.attempt, record.at, record.level, record.message)


def why(said: Why) -> WhyView:
    """Why a run is where it is."""
    return WhyView(
        said.run_id, said.task_name, said.status.name.lower(), said.cause.value, said.text, said.command, said.facts
    )


def store(report: StoreReport, unserved: Sequence[Unserved]) -> StoreView:
    """What `fanwood doctor` says, in a moment."""
    return StoreView(
        url=report.url,
        kind=report.kind,
        version=report.version,
        schema=report.schema,
        now=report.now,
        size=report.size,
        durability=report.durability,
        durable=report.durable,
        counts=counts_of(dict(report.counts.items())),
        unserved=tuple(each.task for each in unserved),
        problems=tuple(report.problems),
    )
