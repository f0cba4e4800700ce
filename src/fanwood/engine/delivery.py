"""Who waits for what, and telling them: acknowledgements to those who spawned, ends to those who wait."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from fanwood import logs
from fanwood.engine.inbox import SpawnRequest
from fanwood.engine.signals import Signal
from fanwood.engine.waits import Collector, Waits
from fanwood.errors import AttemptFencedError, RunNotFoundError
from fanwood.ids import id_text
from fanwood.model.commands import Attached, Finished
from fanwood.model.states import RunState
from fanwood.store.failures import is_by_ancestor

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from fanwood.engine.latencies import Latencies
    from fanwood.model.commands import Batch, Committed, Outcome

logger = logs.logger("fanwood.engine")

FEW, MANY = 100, 250
"""So many runs are looked at in one commit for those who wait for more: beside something else, and alone. Whoever waits
for no more than a few is not put off."""

HOLDS = 2
"""How often the end of a run that was cancelled with its parent is not told to that."""


class Delivery:
    """Belongs to the engine's thread.

    Children are executed under a parent that we execute: the worker that ends one knows where to send word. For any
    other run that is waited for here the store is told by a *watch*.
    """

    def __init__(self, url: str, latencies: Latencies) -> None:
        self._url = url
        self._latencies = latencies
        self._waits = Waits()
        self._watched: set[bytes] = set()
        self._again: list[bytes] = []  # to be looked at once more
        self._held: dict[bytes, int] = {}  # ends that their parents are not told of yet, and how often that was so
        self._looks: list[Signal] = []
        # And whom to tell when what stands before was looked at.
        self._to_watch: deque[Iterator[bytes] | Signal] = deque()
        self._later: set[bytes] = set()  # ended, but their contents didn't fit into the answer

    @property
    def has_work(self) -> bool:
        """Whether the next batch has something to look at."""
        return bool(self._again) or bool(self._to_watch)

    def watch(self, ids: Sequence[bytes], collector: Collector, indexes: Sequence[int], batch: Batch) -> None:
        """`collector` wants the ends of any runs, as its numbers `indexes`."""
        if collector.given_up:
            return
        self._waits.add_all(ids, collector, indexes)
        if len(ids) <= FEW:
            self._watched.update(ids)
            batch.watch += ids
        else:
            self._to_watch.append(iter(ids))

    def when_looked(self, signal: Signal) -> None:
        """Fire it when the batch that is filled has been answered; and those that are put off before it."""
        (self._to_watch or self._looks).append(signal)

    def tell_looked(self) -> None:
        """What was in the batch has been looked at."""
        for signal in self._looks:
            signal.fire()
        self._looks.clear()

    def give_up(self, ids: Iterable[bytes], collector: Collector, batch: Batch) -> None:
        """`collector` wants these ends no more. What nobody here waits for need not be told to us."""
        for run_id in ids:
            self._waits.remove(run_id, collector)
            if self._latencies:
                self._latencies.ended((run_id,), counts=False)
            if self._held:
                self._held.pop(run_id, None)
            if run_id in self._watched and run_id not in self._waits:
                self._watched.discard(run_id)
                batch.unwatch.append(run_id)

    def is_owned(self, run_id: bytes) -> bool:
        """Whether somebody who has asked for this run waits for it."""
        return self._waits.is_owned(run_id)

    def look_again(self, count: int | None = None) -> None:
        """Look once more at the runs that have been waited for longest: a notification may be lost, and no result."""
        self._again += self._waits.some(len(self._waits) if count is None else count)

    def look_at_held(self) -> None:
        """Ends that were not told yet: they may be after all, as who waits is asked for anew meanwhile."""
        self._again += self._held

    def watch_all_again(self) -> None:
        """Our watches went with the worker that we were."""
        self._watched.clear()
        self.look_again()

    def prepare(self, batch: Batch, requests: Sequence[SpawnRequest]) -> None:
        """What is to be watched, and which outcomes need mail because somebody watches."""
        for request in requests:
            if request.watch and not (request.collector and request.collector.given_up):
                batch.watch += [spawn.id for spawn in request.spawns]
        if self._again:
            again, self._again = self._again, []
            if len(again) > MANY:
                self._to_watch.append(iter(again))
            else:
                batch.watch += [run_id for run_id in again if run_id in self._waits]
        if self._to_watch:
            self._watch_some(batch)
        if batch.watch:
            self._watched.update(batch.watch)
        if batch.unwatch:
            batch.unwatch = [run_id for run_id in batch.unwatch if run_id not in self._watched]
        if self._watched:
            for outcome in batch.outcomes:
                if outcome.run_id in self._watched:
                    outcome.local = False  # so that the watch is taken down

    def _watch_some(self, batch: Batch) -> None:
        """Some of those that were put off. What has ended meanwhile is here, and the store need not be asked about it,
        nor told that somebody waits: mostly so, as a parent's children end here, or word of them is sent."""
        room = MANY if batch.is_empty else FEW
        while room > 0 and self._to_watch:
            ids = self._to_watch[0]
            if isinstance(ids, Signal):
                self._looks.append(ids)
                self._to_watch.popleft()
                continue
            chosen = list(islice((id_ for id_ in ids if id_ in self._waits), room))
            batch.watch += chosen
            if len(chosen) < room:
                self._to_watch.popleft()
            room -= len(chosen)

    def deliver(self, batch: Batch, requests: Sequence[SpawnRequest], committed: Committed) -> Sequence[SpawnRequest]:
        """Tell everybody what `committed` means to him. Requests for what was to be found and is gone: it is to be born
        instead."""
        self._later = committed.later
        instead: list[SpawnRequest] = []
        start = 0
        for request in requests:
            found: Sequence[Attached | None] = ()
            if request.attaches:
                found = [committed.attached.get(start + number) for number in range(len(request.attaches))]
                start += len(found)
            if request.parent in committed.fenced_parents:
                who = id_text(request.parent[0] or b"")
                fenced = AttemptFencedError(f"Run {who} may spawn no more: its attempt is over")
                fenced.attempt = request.parent
                request.answer(fenced)
                continue
            if request.collector is not None and not request.collector.given_up:
                self._collect(request, request.collector, committed.taken, found)
            if None in found:
                instead.append(_once_more(request, committed.taken, found, {record.id for record in batch.records}))
            else:
                request.answer(None, committed.taken, found)
        self._deliver_ends(batch, committed)
        self.tell_looked()
        return instead

    def _collect(
        self,
        request: SpawnRequest,
        collector: Collector,
        taken: dict[bytes, Attached],
        found: Sequence[Attached | None],
    ) -> None:
        add = self._waits.add
        if not taken:
            self._waits.add_all([spawn.id for spawn in request.spawns], collector, request.spawn_indexes)
        for spawn, index in zip(request.spawns, request.spawn_indexes, strict=True) if taken else ():
            holder = taken.get(spawn.id)
            if holder is None:
                add(spawn.id, collector, index)
            elif self._await_found(holder, collector, index):
                self._again.append(holder.id)  # another one than was asked for: to be watched from the next batch on
        for run, index in zip(found, request.attach_indexes, strict=True):
            if run is not None:
                self._await_found(run, collector, index)
        for index, record in enumerate(request.records):
            add(record.id, collector, request.record_indexes[index] if request.record_indexes else index)
            if record.again and record.share is not None:
                self._again.append(record.id)  # it may have ended since its run read what it had recorded

    def _await_found(self, run: Attached, collector: Collector, index: int) -> bool:
        """A run that was there: its end is there as well, or is waited for (True)."""
        if not run.matches:
            return False  # an error, for who asked
        if run.state.is_terminal and run.id not in self._later:
            collector.put(index, Finished(run.state, run.output, run.error, run.task))
            return False
        self._waits.add(run.id, collector, index)
        return True

    def _deliver_ends(self, batch: Batch, committed: Committed) -> None:
        deliver, fenced = self._waits.deliver, committed.fenced_outcomes
        ended = _ended(batch.outcomes, fenced)
        if self._latencies:
            for outcome in ended:
                self._latencies.ended((outcome.run_id,), counts=outcome.state is RunState.COMPLETED)
            for run_id, finished in committed.finished.items():
                self._latencies.ended((run_id,), counts=finished.state is RunState.COMPLETED)
        for outcome in ended:
            deliver(outcome.run_id, outcome)
        if committed.finished:
            for run_id, finished in committed.finished.items():
                if finished.state is RunState.CANCELLED and self._is_for_the_closed(run_id, finished.error):
                    continue
                deliver(run_id, finished)
        if committed.later:
            self._again += sorted(committed.later)
        for run_id in committed.unknown:
            self._waits.fail(run_id, RunNotFoundError(f"There is no run {id_text(run_id)} in {self._url}"))
        if self._watched and (ended or committed.finished or committed.unknown):
            self._watched.difference_update([outcome.run_id for outcome in ended])
            self._watched.difference_update(committed.finished, committed.unknown)
        if fenced and (late := sum(not _is_hand_back(batch.outcomes[position]) for position in fenced)):
            logger.warning("%d result(s) came too late and were refused: their attempts were over", late)

    def tell_ended(self, ended: Iterable[tuple[bytes, Finished]]) -> None:
        """What a call has ended, before there is mail of it."""
        for run_id, finished in ended:
            self._waits.deliver(run_id, finished)

    def _is_for_the_closed(self, run_id: bytes, error: str | None) -> bool:
        """A run was cancelled with what is above it: so was who has asked for it and waits, or is about to be. Its own
        notice comes first, lest it goes on with this one. (But not for ever: what is looked for again comes again.)"""
        held = self._held.get(run_id, 0)
        if held >= HOLDS or not is_by_ancestor(error) or not self._waits.is_owned(run_id):
            self._held.pop(run_id, None)
            return False
        self._held[run_id] = held + 1
        return True

    def fail_all(self, error: BaseException) -> None:
        """Nothing more will be delivered, or looked at."""
        self._waits.fail_all(error)
        self._looks += [each for each in self._to_watch if isinstance(each, Signal)]
        self.tell_looked()


def _ended(outcomes: list[Outcome], fenced: Collection[int]) -> list[Outcome]:
    """Those of runs that have ended, and that counted."""
    queued = RunState.QUEUED
    if fenced:
        outcomes = [outcome for position, outcome in enumerate(outcomes) if position not in fenced]
    return [outcome for outcome in outcomes if outcome.state is not queued]


def _is_hand_back(outcome: Outcome) -> bool:
    return outcome.state is RunState.QUEUED and not outcome.retry


def _once_more(
    request: SpawnRequest, taken: dict[bytes, Attached], found: Sequence[Attached | None], recorded: Collection[bytes]
) -> SpawnRequest:
    """For what a request did not find. What was recorded beside it, as the copy of what a run had that its parent is a
    fork of, is looked for again; all else (pruned, or refused to who asked first) is born. It is answered for all."""
    missing = [number for number, run in enumerate(found) if run is None]
    again = [number for number in missing if request.attaches[number].id in recorded]
    instead = {number: spawn for number in missing if (spawn := request.attaches[number].instead) is not None}
    born = [number for number in instead if number not in again]

    def answer(error: BaseException | None, _taken: object, later: Sequence[Attached | None]) -> None:
        known = dict(zip(again, later, strict=False))  # (none of an error)
        request.answer(error, taken, [known.get(number, run) for number, run in enumerate(found)])

    return SpawnRequest(
        spawns=[instead[number] for number in born],
        attaches=[request.attaches[number] for number in again],
        kinds=request.kinds,
        collector=request.collector,
        spawn_indexes=[request.attach_indexes[number] for number in born],
        attach_indexes=[request.attach_indexes[number] for number in again],
        on_done=answer,
    )
