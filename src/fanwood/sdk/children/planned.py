"""Runs that were asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fanwood.sdk.declaring.spec import TaskSpec

if TYPE_CHECKING:
    from collections.abc import Iterator


class Planned(msgspec.Struct, frozen=True, gc=False):
    """A run that was asked for: its id and its task. (`gc=False` here and elsewhere: in a large fan-out the collector
    would look at all of them again and again, and they are in no cycle.)"""

    id: bytes
    spec: TaskSpec


class Ids:
    """Those of planned runs, without a copy of them."""

    def __init__(self, planned: list[Planned]) -> None:
        self._planned = planned

    def __iter__(self) -> Iterator[bytes]:
        return (run.id for run in self._planned)
