"""`fanwood runs fork`, and what commands say of runs in forks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.cli import looking, output, text
from fanwood.cli.acting import named
from fanwood.cli.base import Common
from fanwood.cli.finding import find
from fanwood.cli.inputs import read_json
from fanwood.cli.surgery import user
from fanwood.ids import SystemIds, id_text, short_text
from fanwood.model.forks import Fork, Lineage, fork_of
from fanwood.sdk.declaring.budget import limits_of
from fanwood.store.forked import forked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.model.records import RunRecord
    from fanwood.store.store import Store

SHOWN = 5
"""Forks of a run that are named."""


def fork(run: str, at: str | None, given: str | None, budget: tuple[str, ...], by: str | None, common: Common) -> None:
    data = None if given is None else msgspec.json.encode(read_json(given, "--input")).decode()
    part = limits_of(budget).part if budget else None

    async def act(store: Store) -> tuple[RunRecord, RunRecord, RunRecord | None]:
        namespace = common.settings().namespace
        origin = await store.get(await find(store, run, namespace))
        place = None if at is None else await store.get(await find(store, at, namespace))
        ids = SystemIds()
        ids.follow(store.now())
        new = ids.new_id()
        await forked(store, origin, new, place, data, by or user(), part)
        return await store.get(new), origin, place

    made, origin, place = looking.look(common, act)
    if common.as_json:
        of = {"of": id_text(origin.id), "at": None if place is None else id_text(place.id)}
        output.print_json({"id": id_text(made.id), "status": made.state.name, **of})
    else:
        where = "" if place is None else f" at {named([place])}"
        output.print_line(f"Forked: {named([made])} is {made.state.name}, made from {named([origin])}{where}")


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
