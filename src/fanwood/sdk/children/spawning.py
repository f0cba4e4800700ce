"""From calls to runs: planning spawns, sending them in batches with back-pressure, and waiting for their ends.

Everything here is written once, as coroutines that wait on `Signal`s; a blocking method drives them with `block`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import msgspec

from fanwood.engine.inbox import BATCH_BYTES, SpawnRequest
from fanwood.engine.waits import Outputs
from fanwood.errors import PayloadTooLargeError, UsageError
from fanwood.model.commands import Attach, Spawn, SpawnKind
from fanwood.sdk.children.forking import Copies
from fanwood.sdk.children.given_up import asked_before, pages_of
from fanwood.sdk.children.hedging import hedge_of
from fanwood.sdk.children.kinds import child_kind, root_kind
from fanwood.sdk.children.mock_host import MockedError, MockHost
from fanwood.sdk.children.planned import Ids, PlannedRuns
from fanwood.sdk.children.results import results_of
from fanwood.sdk.children.sharing import Links, link_content
from fanwood.sdk.declaring.identity import content_digest, root_identity
from fanwood.sdk.declaring.spec import TaskSpec
from fanwood.sdk.recording.once import Doing, doing
from fanwood.sdk.recording.patience import patience, wait_at_most
from fanwood.sdk.recording.recalling import answer_of, learn, with_keys
from fanwood.sdk.recording.recording import known_parts, parts_of
from fanwood.sdk.running.answers import Answer
from fanwood.sdk.running.attempt import registering
from fanwood.sdk.running.belonging import must_be_here, must_be_root
from fanwood.sdk.running.current import current_attempt
from fanwood.sdk.running.sameness import asked_with
from fanwood.sdk.running.waiting import interruptible, parked, wait_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from fanwood.engine.waits import Collector
    from fanwood.model.commands import Ended
    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.declaring.items import BulkRunItem
    from fanwood.sdk.declaring.options import TriggerWorkflowOptions
    from fanwood.sdk.running.attempt import Attempt

CHUNK = 500
"""Runs per request to the engine: small enough that children start while their siblings are still being spawned."""
WINDOW = 4
"""Requests that may be on their way at a time; past that, the spawner waits (back-pressure)."""


_Encoded = tuple[TaskSpec, "TriggerWorkflowOptions", bytes, bytes, "Attempt | None", SpawnKind]


class Spawner:
    """The spawning of one call: one run, or a bulk of any size."""

    def __init__(self, host: Host, *, wait: bool, fail_fast: bool = True, collector: Collector | None = None) -> None:
        attempt = current_attempt.get()
        if attempt is not None and isinstance(attempt.host, MockHost):
            raise MockedError(attempt.host)
        self._host = host
        self.engine = self._engine = host.engine()
        # A task may start what belongs to another store: a root there, and nothing of its own tree.
        self._elsewhere: Attempt | None = None
        if attempt is not None and attempt.host is not host and attempt.host.engine() is not self._engine:
            self._elsewhere, attempt = attempt, None
        self.attempt = self._attempt = attempt
        self._wait = wait
        self._kinds: dict[tuple[Any, ...], SpawnKind] = {}
        self._last: tuple[TriggerWorkflowOptions, TaskSpec, SpawnKind] | None = None
        self._kept: list[Any] = []
        self._unanswered: deque[Answer] = deque()
        self._keyed: dict[bytes, int] = {}  # roots that another run may be in the place of: their numbers in `planned`
        self._roots: set[bytes] = set()  # that it made inside a task
        self._doing = doing()
        self._links: Links | None = None
        self._copies: Copies | None = None  # of a run in a fork
        self._once: dict[bytes, Doing] = {}  # roots that a durable run makes once
        self.collector = collector or (Outputs(fail_fast=fail_fast, owns=True) if wait else None)
        self.planned = PlannedRuns()
        self._answered: list[tuple[int, Ended]] = []  # their numbers, and how they had ended
        self._has_asked = self._waits_for_copies = False  # (asked: the engine puts ends, too)
        self.lost = ""  # why what is given up is cancelled, if it is not that who waited was
        self._taken_out: int = 0  # of those planned, by who spawns without end

    # --- spawning --------------------------------------------------------------------------------------------------

    async def spawn_all(self, items: Iterable[BulkRunItem[Any, Any]]) -> PlannedRuns:
        """Spawn all of `items`, consuming them no faster than the store takes them.

        Raises:
            PayloadError: an input that can't travel. What was spawned before it stays spawned.
            SpawnError: a key conflict, or this attempt is over.
        """
        source, chunk = iter(items), list["BulkRunItem[Any, Any]"]()
        try:
            await self.begin()
            while not self._has_failed() and (chunk := list(islice(source, CHUNK))):
                await self.spawn_some(chunk)
        except asyncio.CancelledError:
            await self.ask_again(pages_of(chain(chunk, source)))
            raise
        if self._engine_must_answer():
            await self.all_answered()
        if self.collector is not None:
            self.collector.close()
        return self.planned

    async def ask_again(self, pages: AsyncIterator[list[BulkRunItem[Any, Any]]]) -> None:
        """It was given up before these were asked for. Those that an earlier attempt had asked for are asked for all
        the same: so they end with this wait, and equal ones that come after them have the numbers that they had."""
        attempt = self._attempt
        if attempt is None or attempt.is_first or attempt.interruption is not None or attempt.code_ended:
            return
        await learn(attempt)
        async for known in asked_before(attempt, pages, self._encode):
            await self.spawn_some(known)

    def _has_failed(self) -> bool:
        """Whether one has, whose error is all that the caller will have: then no more are asked for. (But by durable
        tasks, which are to ask for the same each time.)"""
        collector, attempt = self.collector, self._attempt
        if collector is None or not collector.fail_fast or (attempt is not None and attempt.unloading is not None):
            return False
        return collector.first_failure is not None

    async def begin(self) -> None:
        """Before anything is spawned: learn of the children that the attempts before this one had."""
        attempt = self._attempt
        if self._doing is not None:
            await known_parts(self._doing)
        if attempt is None:
            return
        attempt.check()
        if attempt.fork is not None:
            self._copies = Copies(self._engine, attempt, attempt.fork, self.collector)
        if (attempt.run.attempt > 1 or attempt.fork is not None) and not attempt.is_first:
            await learn(attempt)

    async def spawn_some(self, chunk: list[BulkRunItem[Any, Any]]) -> None:
        """Spawn up to `CHUNK` runs, as soon as the store has taken what was sent before."""
        while len(self._unanswered) >= WINDOW:
            await self._next_answer()
        attempt = self._attempt
        if attempt is None:
            await self._host.prepare(dict.fromkeys([item.spec.name for item in chunk]))
        elif (attempt.run.attempt > 1 or attempt.fork is not None) and any(
            item.options.share is not None for item in chunk
        ):
            await known_parts(attempt)
        if attempt is None or attempt.keys is None:
            self._send(chunk)
        else:
            await with_keys(attempt, attempt.keys, chunk, self._send)
        if self._waits_for_copies:
            await self.all_answered()
            self._waits_for_copies = False

    async def all_answered(self) -> None:
        """Wait until the store has taken all of it, or an error has said that it won't."""
        while self._unanswered:
            await self._next_answer()

    def _engine_must_answer(self) -> bool:
        """A waiter is told by its collector; who doesn't wait must know that what he spawned is committed, and who gave
        keys, which runs they led to."""
        return self.collector is None or bool(self._keyed) or any(answer.has_keys for answer in self._unanswered)

    def _send(self, items: list[BulkRunItem[Any, Any]]) -> None:
        """One request with up to CHUNK runs; a few, if they are large. Nothing is registered before all are encoded."""
        encoded = [self._encode(item) for item in items]
        index = self.collector.grow(len(items)) if self.collector is not None else 0
        with registering:
            for request in self._register(encoded, index):
                answer = Answer(request, self.collector, self._attempt)
                self._unanswered.append(answer)
                self._has_asked = True
                (self._engine.record if request.records else self._engine.spawn)(request)
            if self._copies is not None:
                self._copy(self._copies)
        if self._answered:
            self._put_answered()

    def _copy(self, copies: Copies) -> None:
        answers, self._waits_for_copies = copies.ask()
        self._unanswered += answers
        self._has_asked = self._has_asked or bool(answers)
        self._answered += copies.answered
        copies.answered = []

    def _put_answered(self) -> None:
        """What children had said goes to who waits: by the engine's thread, as soon as that puts ends as well."""
        answered, self._answered, collector = self._answered, [], self.collector
        if collector is None:
            return
        if type(collector) is Outputs and not self._has_asked:
            for number, end in answered:
                collector.put(number, end)
            return

        def put() -> None:
            for number, end in answered:
                collector.put(number, end)

        self._engine.later(0, put)

    def _encode(self, item: BulkRunItem[Any, Any]) -> _Encoded:
        """What can be said of a run before anybody knows of it.

        Raises:
            PayloadError: its input can't travel.
            UsageError: it can't be what it is asked to be.
        """
        spec, options = item.spec, item.options
        data = spec.input.encode(item.input, f"the input of {spec.name}")
        if len(data) > self._host.settings.max_payload_bytes:
            raise PayloadTooLargeError(f"the input of {spec.name}", len(data), self._host.settings.max_payload_bytes)
        attempt = None if options.detached else self._attempt
        identified = attempt is not None or options.idempotency_key is not None or self._doing is not None
        canonical = data if not identified or spec.input.orderly else spec.input.canonical(data)
        digest = content_digest(spec.name, canonical) if identified else b""
        last = self._last  # mostly it is as the one before it
        if last is not None and last[0] is options and last[1] is spec:
            return spec, options, data, digest, attempt, last[2]
        return spec, options, data, digest, attempt, self._kind(spec, options, attempt)

    def _register(self, encoded: list[_Encoded], index: int) -> Iterator[SpawnRequest]:
        """Under `registering`. Children and detached roots go in requests of their own: a fenced parent must not take
        roots with it."""
        only = len(encoded) == 1  # then one request is all three
        children, size = SpawnRequest(watch=self._wait and only and encoded[0][4] is None), 0
        roots, links = (children, children) if only else (SpawnRequest(watch=self._wait), SpawnRequest())
        for number, one in enumerate(encoded, index):
            _, options, data, _, attempt, kind = one
            if attempt is not None and options.share is not None:
                self._link(links, attempt, one, number)
                continue
            request = roots if attempt is None else children
            if not request.kinds or request.kinds[-1] is not kind:
                request.kinds.append(kind)
            if attempt is None:
                self._root(request, one, number)
            else:
                self._child(request, attempt, one, number)
            size += len(data)
            if size > BATCH_BYTES and not only:
                yield from self._whole(children, roots)
                children, roots, size = SpawnRequest(), SpawnRequest(watch=self._wait), 0
        yield from self._whole(children) if only else self._whole(children, roots, links)

    def _whole(self, *requests: SpawnRequest) -> Iterator[SpawnRequest]:
        for request in requests:
            if request.spawns or request.attaches or request.records:
                request.collector = self.collector
                yield request

    def _child(self, request: SpawnRequest, attempt: Attempt, encoded: _Encoded, number: int) -> None:
        """A child becomes part of a request: it is there already, or it is to be born."""
        spec, options, data, content, _, kind = encoded
        index, key = attempt.children, options.effective_key
        attempt.children += 1
        if key is None:
            ordinals = attempt.ordinals
            ordinal, digest = attempt.number(content) if ordinals is None else ordinals.next(content), None
            identity = content if ordinal == 0 and attempt.life is None else attempt.numbered(content, ordinal)
            request.numbers.append((content, ordinal))
        else:
            identity, digest = attempt.identify(key, content), content
        if attempt.same is not None:
            attempt.same.ask(identity, asked_with(spec.name, key, data.decode()))
        known = attempt.known
        existing = known.get(identity) if known is not None else None
        if existing is not None and (answer := answer_of(attempt, identity, digest)) is not None:
            self._answered.append((number, answer))
            self.planned.add(existing, spec)
            return
        spawn = Spawn(kind, existing or attempt.new_id(), identity, data.decode(), index, key, digest)
        if self._copies is not None and self._copies.taken(request, spawn, number, new=existing is None):
            attempt.replay = None
            self.planned.add(spawn.id, spec)
            return
        if options.hedge is not None:
            hedge = hedge_of(attempt, self._engine.latencies, kind, spawn.id, spawn.input, options.hedge)
            request.hedges += [hedge] if hedge is not None else []
        if existing is None:
            attempt.replay = None  # this is new
            if key is not None:  # (of no key there is no second one of this attempt: ordinals tell them apart)
                attempt.keep(identity, spawn.id)
            request.spawns.append(spawn)
            request.spawn_indexes.append(number)
        else:
            request.attaches.append(Attach(kind, existing, digest, spawn))
            request.attach_indexes.append(number)
        self.planned.add(spawn.id, spec)

    def _link(self, request: SpawnRequest, attempt: Attempt, encoded: _Encoded, number: int) -> None:
        """A link to a run that others may share becomes part of a request, if it has not ended before."""
        spec, _, data, content, _, kind = encoded
        if self._links is None:
            self._links = Links()
        id_, ended, record = self._links.link(attempt, kind, data, content)
        if ended is not None:
            self._answered.append((number, ended))
        elif record is not None:
            request.numbers.append((link_content(content), self._links.number))
            request.records.append(record)
            request.record_indexes.append(number)
        self.planned.add(id_, spec)

    def _root(self, request: SpawnRequest, encoded: _Encoded, number: int) -> None:
        """A root becomes part of a request; one that a durable run makes is made once in the life of that."""
        spec, options, data, digest, _, kind = encoded
        id_, key, one = self._host.ids.new_id(), options.idempotency_key, None
        if key is None and self._doing is not None:
            one = Doing(self._doing, parts_of(self._doing), "detached run", spec.name, digest)
            if one.done is not None:
                self._made_before(bytes.fromhex(msgspec.json.decode(one.done)), number, spec)
                return
            key = f"once {one.id.hex()}"
            self._once[id_] = one
            request.numbers.append(one.number)
        if self._attempt is not None:
            self._roots.add(id_)
        identity = None
        if key is not None:
            self._keyed[id_] = self._taken_out + len(self.planned)
            identity = root_identity(self._host.settings.namespace, key)
        shown = options.effective_key if key is None else key
        spawn = Spawn(kind, id_, identity, data.decode(), 0, shown, None if key is None else digest)
        request.spawns.append(spawn)
        request.spawn_indexes.append(number)
        self.planned.add(id_, spec)

    def _made_before(self, root: bytes, number: int, spec: TaskSpec) -> None:
        self._roots.add(root)
        self.planned.add(root, spec)
        if self.collector is not None:
            self._engine.watch(root, self.collector, number)

    def _kind(self, spec: TaskSpec, options: TriggerWorkflowOptions, attempt: Attempt | None) -> SpawnKind:
        """What this child has in common with its siblings."""
        if options.idempotency_key is not None and attempt is not None:
            raise UsageError(
                f"idempotency_key {options.idempotency_key!r} was given for a child, {spec.name}: such a key makes "
                f"one root in the whole namespace. A child's key is child_key, unique below its parent; a root is "
                f"made inside a task by detached=True"
            )
        metadata, of = options.additional_metadata, (options.priority, options.on_parent_end, options.budget)
        alike = (spec.name, *of, options.detached, id(metadata) if metadata else 0)
        kind = self._kinds.get(alike)
        if kind is None:
            kind = self._kinds[alike] = self._new_kind(spec, options, attempt)
            self._kept.append(metadata)  # so that its id() stays its own
        self._last = (options, spec, kind)
        return kind

    def _new_kind(self, spec: TaskSpec, options: TriggerWorkflowOptions, attempt: Attempt | None) -> SpawnKind:
        if spec.ready is not None:
            spec.ready()
        must_be_here(spec, self._host)
        if attempt is not None:
            return child_kind(attempt, spec, options, self._host.settings, waited=self._wait)
        if not options.detached:
            must_be_root(spec, self._host, self._attempt, self._elsewhere)
        return root_kind(spec, options, self._host.settings)

    async def _next_answer(self) -> None:
        """Wait for the oldest request's acknowledgement. (Until it is there, the request is among the unanswered, also
        if this wait is given up: nobody may cancel what is still to be asked for.)"""
        answer, attempt = self._unanswered[0], self._attempt
        if not answer.signal.fired:
            if attempt is not None and self.collector is not None:
                await parked(attempt, answer.signal)
            else:
                with interruptible(attempt, answer.signal):
                    await answer.signal.wait()
            if attempt is not None and not answer.signal_is_answer:
                attempt.check()
        if not self._unanswered or self._unanswered[0] is not answer:
            return  # somebody beside us has waited for it, too
        self._unanswered.popleft()
        if answer.error is not None:
            raise answer.error
        for id_ in answer.asked if self._once else ():
            if (one := self._once.pop(id_, None)) is not None:
                one.record(msgspec.json.encode(answer.taken.get(id_, id_).hex()).decode())
        for asked_for, holder in answer.taken.items():
            self._found_instead(self._keyed.pop(asked_for), holder)

    def _found_instead(self, number: int, holder: bytes) -> None:
        self.planned.replace(number, holder)

    @property
    def tasks(self) -> set[str]:
        """The names of the tasks that it has spawned runs of."""
        return {alike[0] for alike in self._kinds}

    # --- waiting ---------------------------------------------------------------------------------------------------

    async def wait(self, timeout: float | None) -> None:
        """Wait for the ends of what was spawned.

        Raises:
            WaitTimeoutError: not within `timeout` seconds.
        """
        assert self.collector is not None
        ids = Ids(self.planned)
        what, tasks = f"{len(self.planned)} run(s) of {self.planned.first_task}", self.tasks
        with self._engine.waiting(self.collector, ids):
            if current_attempt.get() is not None:
                limit = await patience(timeout, ids)
                await wait_at_most(self.collector, self._host, limit, timeout, what, tasks)
                return
            await wait_for(self.collector, self._host, timeout, what, tasks)

    def give_up(self) -> None:
        """Nobody waits for what was spawned."""
        if self.collector is not None:
            self._engine.give_up(self.collector, Ids(self.planned))

    async def answered(self) -> None:
        """Returns when all that was asked for is there, or refused."""
        for answer in list(self._unanswered):
            await answer.signal.wait()

    def unfinished(self) -> list[bytes]:
        """Children that have not ended, as far as is known here."""
        ends = self.collector.results if self.collector is not None else []
        ids = zip(self.planned.ids(), ends, strict=False)
        return [id_ for id_, end in ids if end is None and id_ not in self._roots]

    def end(self) -> Ended:
        """How the only one has ended."""
        assert isinstance(self.collector, Outputs)
        return self.collector.end(0, self.planned.first_task)

    def results(self, *, keep_errors: bool = False) -> list[Any]:
        """The outputs in order, typed; errors raised, or kept in their places. To be asked for once: each result takes
        the place of what it was made from, which a million of them would need beside.

        Raises:
            TaskRunError: of the first that failed, unless errors are kept.
        """
        assert isinstance(self.collector, Outputs)
        return results_of(self.collector, self.planned, keep_errors=keep_errors)
