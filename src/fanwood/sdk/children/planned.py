"""Runs that were asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fanwood.sdk.declaring.spec import TaskSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ID = 16
"""Bytes of a run's id."""
PAGE = 1_000 * ID


class Planned(msgspec.Struct, frozen=True, gc=False):
    """A run that was asked for: its id and its task. (`gc=False` here and elsewhere: in a large fan-out the collector
    would look at all of them again and again, and they are in no cycle.)"""

    id: bytes
    spec: TaskSpec


class PlannedRuns:
    """Those of one call, in their order. There may be a million: of each its id is kept, in one array, and of their
    tasks from which run on it is another one."""

    __slots__ = ("_ids", "_spec", "_specs", "_starts")

    def __init__(self) -> None:
        self._ids = bytearray()
        self._spec: TaskSpec | None = None  # of the last one
        self._specs: list[TaskSpec] = []
        self._starts: list[int] = []  # in `_ids`

    def __len__(self) -> int:
        return len(self._ids) // ID

    def add(self, run_id: bytes, spec: TaskSpec) -> None:
        """One more."""
        if spec is not self._spec:
            self._spec = spec
            self._specs.append(spec)
            self._starts.append(len(self._ids))
        self._ids += run_id

    @property
    def first_task(self) -> str:
        """The name of the first one's task; empty if there is none."""
        return self._specs[0].name if self._specs else ""

    def replace(self, number: int, run_id: bytes) -> None:
        """In the place of number `number` there is another run of its task."""
        self._ids[number * ID : (number + 1) * ID] = run_id

    def clear(self) -> None:
        """None any more."""
        self.__init__()

    def id(self, number: int) -> bytes:
        """The id of number `number`."""
        return bytes(self._ids[number * ID : (number + 1) * ID])

    def ids(self) -> Iterator[bytes]:
        """All of them, also those that are added meanwhile, a page at a time."""
        at = 0
        while page := bytes(self._ids[at : at + PAGE]):
            yield from [page[n : n + ID] for n in range(0, len(page), ID)]
            at += len(page)

    def parts(self) -> Iterable[tuple[int, int, TaskSpec]]:
        """From which number to which (that one not among them) they are runs of which task."""
        if len(self._specs) == 1:  # as mostly
            return ((0, len(self._ids) // ID, self._specs[0]),)
        ends = [*self._starts[1:], len(self._ids)]  # (one too many, if there are none)
        parts = zip(self._starts, ends, self._specs, strict=False)
        return [(start // ID, end // ID, spec) for start, end, spec in parts]

    def __iter__(self) -> Iterator[Planned]:
        for start, end, spec in self.parts():
            for number in range(start, end):
                yield Planned(self.id(number), spec)

    def at(self, number: int) -> Planned:
        """Number `number`, and its task."""
        for start, end, spec in self.parts():
            if start <= number < end:
                return Planned(self.id(number), spec)
        raise IndexError(number)


class Ids:
    """Those of planned runs, without a copy of them; as often as somebody asks."""

    def __init__(self, planned: PlannedRuns) -> None:
        self._planned = planned

    def __iter__(self) -> Iterator[bytes]:
        return self._planned.ids()
