"""One attempt of a run, as the process that executes it sees it.

It holds what makes a child the same child (the identities already given out), what limits the attempt, and its share
of the worker's slots. It is the link between the code that runs and everything below.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Protocol

from fanwood.errors import AttemptFencedError, RunInterrupted
from fanwood.ids import id_text
from fanwood.model.lives import LIVES, life_of
from fanwood.model.naming import named_in, numbered
from fanwood.model.states import OnParentEnd
from fanwood.sdk.declaring.identity import child_identity
from fanwood.sdk.running.forking import origin_in
from fanwood.sdk.running.keys import Keys
from fanwood.sdk.running.ordinals import Ordinals

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection, Iterable
    from concurrent.futures import Future
    from contextlib import AbstractContextManager
    from weakref import WeakKeyDictionary

    from fanwood.engine.signals import Signal
    from fanwood.engine.waits import Collector
    from fanwood.errors import NonDeterminismError
    from fanwood.model.commands import ClaimedRun, Failure, Spawn
    from fanwood.model.lives import Life
    from fanwood.model.records import Known
    from fanwood.sdk.declaring.host import Host
    from fanwood.sdk.declaring.spec import TaskSpec
    from fanwood.sdk.running.beginning import Beginning
    from fanwood.sdk.running.forking import Origin
    from fanwood.sdk.running.parts import Parts
    from fanwood.sdk.running.reading import Reading


registering = threading.RLock()
"""Children are identified and sent under it, a request at a time: so that of two requests for one key, the one that
makes the child is sent first. (Whoever holds it may be refused at once, and told on his own thread.)"""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=registering.acquire, after_in_parent=registering.release, after_in_child=registering.release
    )


class SlotShare(Protocol):
    """A worker's slots, as one attempt uses them. Calls may come from any thread."""

    foreign_loop: bool
    """Whether async tasks have been executed on a loop of the user's, which may end under them."""

    def park(self, attempt: Attempt) -> None:
        """The attempt begins to wait: its slot is free for others."""
        ...

    def resume(self, attempt: Attempt, go_on: Callable[[], None]) -> None:
        """A wait is over: call `go_on` as soon as the attempt has a slot again."""
        ...

    def unpark(self, attempt: Attempt) -> None:
        """A wait was given up: the attempt goes on at once, slot or not."""
        ...

    def make_room(self) -> bool:
        """As many threads wait as may: unload some that wait; whether there are such."""
        ...

    def free(self, attempt: Attempt) -> None:
        """The attempt gives up its slot for good, though it goes on."""
        ...


class Losses(Protocol):
    """What an attempt waited for and gave up (`sdk/children/owning.py`)."""

    def add(self, spawner: Any) -> None:
        """The children of one call are given up."""
        ...

    def drop(self, spawner: Any) -> list[Future[None]]:
        """The same, of code that goes on: what cancels them."""
        ...

    def then(self, call: Callable[[], None]) -> None:
        """The attempt has ended by itself: `call` once all that it gave up is cancelled, from any thread."""
        ...


class Unloads(Protocol):
    """How the code of a durable task is unloaded while it waits (`sdk/running/unloading.py`)."""

    is_suspending: bool
    tasks: WeakKeyDictionary[asyncio.Task[Any], None]

    def waiting(self, *collectors: Collector, timed: bool) -> AbstractContextManager[None]:
        """While inside, somebody of it waits for Fanwood: for any of these."""
        ...

    def cancel(self) -> None:
        """On the loop: what its code has begun ends, as well as the code itself."""
        ...

    def among(self) -> AbstractContextManager[None]:
        """While inside, this asyncio task waits for others of the same run."""
        ...

    def note(self, timer: asyncio.TimerHandle) -> None:
        """Its code has set a timer."""
        ...

    def last_timer(self) -> float | None:
        """When the last of those comes."""
        ...

    async def hold(self) -> None:
        """Wait to be cancelled, as this asyncio task was when the code was run before."""


class Asked(Protocol):
    """What code that is run again asks for (`sdk/running/sameness.py`)."""

    recorded: dict[bytes, bytes]
    is_strict: bool

    def ask(self, identity: bytes, shown: str) -> None:
        """Its code asks for this."""
        ...

    async def learn(self, store: Any) -> None:
        """All that is recorded, by name."""
        ...

    def unasked(self) -> list[bytes]:
        """What is recorded and was not asked for."""
        ...

    def is_other(self) -> bool:
        """Whether it can't go on, as it is other code."""
        ...

    def error(self, named: dict[bytes, str] | None = None) -> NonDeterminismError:
        """What it asks for, beside what it had asked for."""
        ...

    def note(self) -> None:
        """It is unloaded."""
        ...


class Attempt:
    """See the module's essay."""

    __slots__ = (
        "_busy",
        "_since",
        "_unsaid",
        "answers",
        "beginning",
        "cancel_children",
        "children",
        "code_ended",
        "coroutine_task",
        "fork",
        "gave_back",
        "giving",
        "holding",
        "host",
        "id",
        "in_function",
        "interruption",
        "keys",
        "known",
        "life",
        "lifespan",
        "limit",
        "losses",
        "ordinals",
        "parts",
        "raised",
        "reading",
        "renewal",
        "replay",
        "run",
        "same",
        "share",
        "signals",
        "spawned",
        "spec",
        "thread",
        "thread_waits",
        "unloading",
        "waits",
        "worker_id",
    )

    def __init__(self, run: ClaimedRun, spec: TaskSpec, host: Host, share: SlotShare) -> None:
        self.run = run
        self.id = bytes.fromhex(run.id)
        self.spec = spec
        self.host = host
        self.share = share
        self.worker_id = 0
        self.lifespan: object = None
        self.coroutine_task: asyncio.Task[None] | None = None
        self.unloading: Unloads | None = None  # of a durable task: how its code is unloaded while it waits
        self.replay: Collection[bytes] | None = None  # its code does what it did before, until it is given one of these
        self.same: Asked | None = None  # of code that is run again: what it asks for
        self.limit: int | None = None  # when this attempt's execution timeout comes
        self.interruption: Failure | None = None  # why it may do nothing any more
        self.in_function = False  # the user's code, not ours before and after it
        self.raised: BaseException | None = None  # what that raised, for hooks
        self.code_ended = False
        self._unsaid = True
        self.gave_back = False  # its loop ended, and it goes on elsewhere
        self.holding = True  # it has a slot ...
        self._since = host.clock.monotonic()
        self._busy = 0.0  # seconds with a slot, before that
        self.waits = 0  # ... unless it waits for something
        self.thread = 0  # of a sync task: its own
        self.thread_waits = 0  # waits that will end: of a sync run all in its one thread, for its pool of threads
        self.spawned = self.cancel_children = False
        self.children = 0  # asked for so far
        self.giving: Beginning | None = None  # how much that is recorded it is given in a turn
        self.beginning: Beginning | None = None  # how many of its waits begin in a turn
        self.ordinals: Ordinals | None = None
        self.known: dict[bytes, bytes] | None = None  # by identity: earlier attempts' children, and its own with keys
        self.keys: Keys | None = None  # those of its own
        self.reading: Reading | None = None  # of these
        self.answers: dict[bytes, Known] | None = None  # by identity: those of them that have ended
        self.losses: Losses | None = None  # what it waited for, and gave up
        self.parts: Parts | None = None  # what it records of its own, if anything
        self.signals: dict[Signal, None] | None = None  # fired, in this order, when the attempt is over
        self.life: Life | None = None  # of a run that has started over: the present one
        self.fork: Origin | None = None  # of a run in a fork: what it is made from
        if run.life is not None:
            self.life, self.fork = life_of(run.life), origin_in(run.life)
        self.renewal: str | None = None  # it starts over with this input, once its code has ended

    # --- who a child is --------------------------------------------------------------------------------------------

    def identify(self, child_key: str | None, content: bytes) -> bytes:
        """A child's identity. `content`: the digest of its task and input, by which a misuse of a key is noticed.
        Under `registering`: a task may spawn from threads of its own.

        By content: equal children of one attempt are told apart by their number, so that a parent which spawns in
        another order still finds each one again.
        """
        if child_key is not None:
            return self.mine(child_identity(child_key))
        number = self.number(content)
        return content if number == 0 and self.life is None else self.numbered(content, number)

    def number(self, content: bytes) -> int:
        """Of one more child of that content: 0 for the first."""
        if self.ordinals is None:
            self.ordinals = Ordinals()
        return self.ordinals.next(content)

    def numbered(self, content: bytes, number: int) -> bytes:
        """The identity of that one."""
        return self.mine(content if number == 0 else numbered(content, number))

    def mine(self, identity: bytes) -> bytes:
        """An identity, as it is in the present life of the run."""
        return identity if self.life is None else numbered(identity, LIVES + self.life.number)

    def new_id(self) -> bytes:
        """For a child that is new."""
        id_ = self.host.ids.new_id()
        return id_ if self.life is None or id_ > self.life.floor else self.life.floor[:6] + id_[6:]

    @property
    def origin(self) -> bytes:
        """By what parts are named: the run's id; if it has started over, one of its present life."""
        return self.id if self.life is None else named_in(self.id, self.life)

    @property
    def draws(self) -> bytes:
        """By what numbers are drawn: `origin`, or in a fork that of the run that it is made from."""
        return self.origin if self.fork is None else self.fork.draws or self.origin

    @property
    def floor(self) -> bytes:
        """Before the ids of all children that are known to the run."""
        return b"" if self.life is None else self.life.floor

    @property
    def since(self) -> int:
        """The first attempt of its life. (Of a fork something is recorded before that.)"""
        if self.life is None:
            return 1 if self.fork is None else 0
        return self.life.since

    @property
    def is_first(self) -> bool:
        """Whether nothing can be recorded of the run yet."""
        return self.run.attempt <= self.since

    def keep(self, identity: bytes, id_: bytes) -> None:
        """A new child has a key: who gives that again means this one. Under `registering`."""
        if self.known is None:
            self.known = {}
        if self.keys is None:
            self.keys = Keys()
        self.known[identity] = id_

    def hold_keys(self) -> Keys:
        """From now on all of its keys are kept as they are, until that is let go."""
        with registering:
            if self.keys is None:
                self.keys = Keys()
        self.keys.hold()
        return self.keys

    def committed(self, spawns: Iterable[Spawn]) -> None:
        """These are in the store. From the engine's thread."""
        if self.keys is not None and self.known is not None:
            with registering:
                self.keys.committed(spawns, self.known)

    def forget(self, spawns: Iterable[Spawn], numbers: Iterable[tuple[bytes, int]]) -> None:
        """These were refused: who asks for them again asks for the same. `numbers`: of those without a key, by the
        contents that identified them. Under `registering`."""
        for spawn in spawns:
            if self.known is not None and spawn.identity is not None and self.known.get(spawn.identity) == spawn.id:
                del self.known[spawn.identity]
        for content, number in numbers:
            if self.ordinals is not None:
                self.ordinals.take_back(content, number)

    def asks(self, shown: str, *identities: bytes) -> None:
        """Its code asks for these. `shown`: what they are, for people."""
        if (same := self.same) is not None:
            for identity in identities:
                same.ask(identity, shown)

    def given(self, ids: Iterable[bytes]) -> None:
        """Its code is given the ends of these: it may have come to where it was the last time."""
        if self.replay is not None and any(id_ in self.replay for id_ in ids):
            self.replay = None

    @property
    def root(self) -> bytes:
        """The id of the root of its tree."""
        return bytes.fromhex(self.run.root_id)

    @property
    def may_have_children(self) -> bool:
        """Whether the end of this attempt could concern children."""
        return self.spawned or not self.is_first

    @property
    def is_mocked(self) -> bool:
        """Whether no worker executes it: nothing of it is recorded."""
        return self.worker_id == 0

    # --- limits ----------------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> tuple[int | None, bytes | None]:
        """When children that are waited for must have ended, and the id of the run that says so."""
        inherited, limit = self.run.deadline, self.limit
        if limit is not None and (inherited is None or limit <= inherited):
            return limit, self.id
        return inherited, bytes.fromhex(self.run.deadline_by) if self.run.deadline_by else None

    @property
    def new_limit(self) -> int | None:
        """Its own limit, if what is below it may have another one, from an attempt before."""
        return self.limit if self.run.until is None else None

    def child_deadline(self, *, waited: bool, policy: OnParentEnd) -> tuple[int | None, bytes | None]:
        """The deadline that a child inherits: none if its parent doesn't wait, or it may outlive the parent."""
        if not waited or policy is OnParentEnd.CONTINUE:
            return None, None
        return self.deadline

    # --- its slot --------------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """It has a slot from now on."""
        self.holding, self._since = True, self.host.clock.monotonic()

    def let_go(self) -> None:
        """It has none any more."""
        self.holding = False
        self._busy += self.host.clock.monotonic() - self._since

    @property
    def busy(self) -> int:
        """Microseconds with a slot, so far."""
        now = self.host.clock.monotonic() - self._since if self.holding else 0.0
        return round((self._busy + now) * 1e6)

    # --- its end ---------------------------------------------------------------------------------------------------

    def interrupt(self, failure: Failure) -> None:
        """It is over, whatever its code still does. A sync task sees it at its next Fanwood call."""
        self.interruption = failure
        for signal in list(self.signals or ()):
            signal.fire()

    def says_its_end(self) -> bool:
        """Whether nobody has said yet how it ended: then who asks is the one who does.

        Its code may end, on its own thread, just as the engine's finds that its time is up. Of an attribute only one
        of two threads deletes it, without a lock, which a fork might leave locked for ever.
        """
        try:
            del self._unsaid
        except AttributeError:
            return False
        return True

    def listen(self, signal: Signal) -> None:
        """Fire `signal` when the attempt is over."""
        if self.signals is None:
            self.signals = {}
        self.signals[signal] = None
        if self.interruption is not None:
            signal.fire()

    def unlisten(self, signal: Signal) -> None:
        """No more."""
        if self.signals is not None:
            self.signals.pop(signal, None)

    def check(self) -> None:
        """Raise if the attempt is over.

        Raises:
            RunInterrupted: it was cancelled, timed out, or its worker lost its lease.
            AttemptFencedError: its code has ended, and a thread that it left behind asks.
        """
        if self.interruption is not None:
            raise RunInterrupted(
                f"run {id_text(self.id)} is over: {self.interruption.message or self.interruption.kind}"
            )
        if self.code_ended:
            raise AttemptFencedError(
                f"attempt {self.run.attempt} of run {id_text(self.id)} is over: the code of {self.spec.name} has "
                f"ended, and a thread or asyncio task that it left behind asks for more. Wait for that before it ends"
            )
