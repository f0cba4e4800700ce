"""`fanwood runs fork`, and what commands say of runs in forks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from fanwood.cli import looking, output, text
from fanwood.cli.acting import named, named_runs, user
from fanwood.cli.base import Common, Sentence
from fanwood.cli.filtered import Deed, do_to_all
from fanwood.cli.finding import find
from fanwood.cli.inputs import read_json
from fanwood.ids import SystemIds, id_text, short_text
from fanwood.model.forks import Fork, Lineage, fork_of
from fanwood.sdk.declaring.budget import limits_of
from fanwood.store.forked import forked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.cli.selecting import Wanted
    from fanwood.model.records import RunRecord
    from fanwood.store.store import Store

SHOWN = 5
"""Forks of a run that are named."""


def fork(
    common: Common, runs: tuple[str, ...], wanted: Wanted, yes: bool,
    at: str | None, given: str | None, budget: tuple[str, ...], by: str | None,
) -> None:  # fmt: skip
    if len(runs) != 1 and (at is not None or given is not None or budget):
        raise Sentence("--at, --input and --budget are for one run: name it")
    if not runs:
        do_to_all(common, wanted, Deed("fork", "fork", "forked", "Forked", by or user()), yes=yes)
        return
    data = None if given is None else msgspec.json.encode(read_json(given, "--input")).decode()
    part = limits_of(budget).part if budget else None
    origins = named_runs(common, runs, wanted, "fork")

    async def act(store: Store) -> list[_Made]:
        place = None if at is None else await store.get(await find(store, at, common.settings().namespace))
        ids, made = SystemIds(), list[_Made]()
        ids.follow(store.now())
        for origin in origins:
            new = ids.new_id()
            await forked(store, origin, new, place, data, by or user(), part)
            made.append(_Made(await store.get(new), origin, place))
        return made

    made = looking.look(common, act)
    if common.as_json:
        about = [one.as_json() for one in made]
        output.print_json(about[0] if len(runs) == 1 else {"runs": about})
        return
    for run, origin, place in made:
        where = "" if place is None else f" at {named([place])}"
        output.print_line(f"Forked: {named([run])} is {run.state.name}, made from {named([origin])}{where}")


class _Made(NamedTuple):
    """A fork; what it was made from, and at which."""

    run: RunRecord
    origin: RunRecord
    place: RunRecord | None

    def as_json(self) -> dict[str, Any]:
        at = None if self.place is None else id_text(self.place.id)
        return {"id": id_text(self.run.id), "status": self.run.state.name, "of": id_text(self.origin.id), "at": at}


# --- lineage ---------------------------------------------------------------------------------------------------------


async def lineage_of(store: Store, run: RunRecord) -> tuple[Lineage | None, list[Lineage]]:
    """Of a root what it is a fork of; and the forks of a run."""
    return await store.lineage(run.id) if run.parent_id is None else None, await store.forks(run.id)


def fork_json(run: RunRecord, lineage: Lineage | None) -> dict[str, Any] | None:
    """What a run is in a fork."""
    if lineage is not None:
        return {
            "how": "fork", "of": id_text(lineage.origin_id), "at": None if lineage.at is None else id_text(lineage.at),
            "changed": bool(lineage.changed), "by": lineage.by, "made_at": text.instant(lineage.made_at),
        }  # fmt: skip
    fork = fork_of(run.life)
    if fork is None:
        return None
    about = {"how": fork.how, "of": id_text(fork.key), "at": _at(fork), "changed": fork.changed}
    return {**about, "by": fork.by or None, "made_at": None}


def forks_json(forks: Sequence[Lineage]) -> list[str]:
    return [id_text(each.root_id) for each in forks]


def fork_fact(run: RunRecord, lineage: Lineage | None) -> str:
    """For people."""
    if lineage is not None:
        at = "" if lineage.at is None else f" at {id_text(lineage.at)}"
        how = ", with another input" if lineage.changed else ""
        return f"fork of {id_text(lineage.origin_id)}{at}{how}, by {text.clean(lineage.by, 80)}"
    fork = fork_of(run.life)
    if fork is None:
        return ""
    changed = ", with another input" if fork.changed else ""
    return f"{_WORDS[fork.how]} {id_text(fork.key)}{changed}"


def forks_fact(forks: Sequence[Lineage]) -> str:
    """For people: the newest of them."""
    more = f" and {len(forks) - SHOWN:,} more" if len(forks) > SHOWN else ""
    return ", ".join(id_text(each.root_id) for each in forks[:SHOWN]) + more


def mark(run: RunRecord) -> str:
    """Beside a run in a tree."""
    fork = fork_of(run.life)
    if fork is None:
        return ""
    return f"{_WORDS[fork.how]} {short_text(fork.key)}"


_WORDS = {"fork": "fork of", "copy": "copy of", "again": "instead of"}


def _at(fork: Fork) -> str | None:
    return id_text(bytes.fromhex(fork.way[-1])) if fork.way else None
