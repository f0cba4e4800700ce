"""What the `Fanwood` objects of a process that lead to one store and namespace have in common: the engine, the local
worker, and tasks that know each other. So each module may have an object of its own.

Of one name the task that was declared last counts: a notebook's cell that is executed again makes objects and tasks
anew, and what it made before is not to be executed any more.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from typing import TYPE_CHECKING, Any, Protocol
from weakref import ReferenceType, WeakSet, WeakValueDictionary, ref

from fanwood import logs
from fanwood.engine.engine import Engine
from fanwood.errors import EngineClosedError, UsageError
from fanwood.sdk.declaring.host import Host
from fanwood.sdk.running.current import current_attempt
from fanwood.sdk.running.strays import note_fork
from fanwood.sdk.tasks.workflow import Workflow
from fanwood.store.opening import place_of, store_for
from fanwood.worker.local import LocalWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping

    from fanwood.sdk.declaring.spec import TaskSpec
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.sdk.tasks.task import Runnable

logger = logs.logger("fanwood")

FORK_PATIENCE = 1.0
"""How many seconds a fork waits for an engine to stand still."""


class Member(Host, Protocol):
    """A `Fanwood` object, as its home knows it."""

    worker_name: str

    @property
    def declared(self) -> Mapping[str, Runnable[Any, Any]]:
        """Its own tasks and workflows, by name."""
        ...

    def forget_engine(self) -> None:
        """The engine is over, or another process's."""
        ...


class Home:
    """See the module's essay."""

    def __init__(self) -> None:
        self.local: LocalWorker | None = None
        self._engine: Engine | None = None
        self._joined: list[ReferenceType[Member]] = []
        self._users: WeakSet[Member] = WeakSet()  # those that have asked for the engine
        self._lock = threading.RLock()  # a signal's handler may come in between
        self._begins = False
        self._held = False
        self._go_on: Callable[[], None] | None = None  # after a fork
        self._of_parent: list[object] = []
        _all.add(self)

    # --- what is declared ------------------------------------------------------------------------------------------

    def join(self, member: Member) -> None:
        """From now on its tasks are the others' as well, and theirs its."""
        self._joined.append(ref(member, self._joined.remove))

    @property
    def members(self) -> list[Member]:
        """The newest first."""
        return [member for reference in reversed(list(self._joined)) if (member := reference()) is not None]

    @property
    def declared(self) -> dict[str, Runnable[Any, Any]]:
        """Tasks and workflows by name: of each the last one."""
        found: dict[str, Runnable[Any, Any]] = {}
        for member in self.members:
            for name, runnable in list(member.declared.items()):
                if name not in found or found[name].spec.number < runnable.spec.number:
                    found[name] = runnable
        return found

    def specs(self, names: set[str] | None = None) -> dict[str, TaskSpec]:
        """What a worker must know to execute these, or all: steps as well."""
        specs: dict[str, TaskSpec] = {}
        for runnable in self.declared.values():
            if names is None or runnable.name in names:
                specs[runnable.name] = runnable.spec
                if isinstance(runnable, Workflow):
                    runnable.check()
                    specs.update((step.spec.name, step.spec) for step in runnable.tasks)
        return specs

    # --- the engine ------------------------------------------------------------------------------------------------

    def open(self, member: Member) -> Engine:
        """The engine, started when it is first asked for, or asked for again after its end.

        Raises:
            EngineClosedError: by code of a task that is over, or of a process that ends.
            UsageError: by a program that a worker process imports, or by a handler of a signal that came in here.
            StoreError: the store can't be opened.
        """
        attempt = current_attempt.get()
        with self._lock:
            if self._engine is None or not self._engine.alive:
                if _importing:
                    raise UsageError(
                        "they import the program, and it uses its Fanwood object while it is imported. Put what it "
                        'does as a program below `if __name__ == "__main__":`'
                    )
                if _ending or (attempt is not None and attempt.interruption is not None):
                    raise EngineClosedError("This Fanwood object was closed, and nothing is begun any more")
                if self._begins:
                    raise UsageError(
                        "the store is just being opened by the call that this one has interrupted: a handler of a "
                        "signal, or a finalizer, can't wait for that. Have it note what is to be done, and do it after"
                    )
                self._begins = True
                try:
                    self._engine, self.local = begin(self, member)
                finally:
                    self._begins = False
                self._users.clear()
                _close_at_exit(self)
            elif member not in self._users:
                self._compare(member)
            self._users.add(member)
            return self._engine

    def _compare(self, member: Member) -> None:
        assert self._engine is not None
        ours, theirs = self._engine.settings, member.settings
        if ours != theirs:
            differ = ", ".join(name for name in ours.__slots__ if getattr(ours, name) != getattr(theirs, name))
            logger.warning(
                "a Fanwood object of this process works on %s already, with other settings (%s): those count. Close it "
                "first, or give shared=False", self._engine.store.url, differ,
            )  # fmt: skip

    def leave(self, member: Member) -> None:
        """It needs the engine no more; with the last one, what this process executes is handed back.

        Raises:
            UsageError: by a task of that one: it would be handed back, and do it again, for ever.
        """
        if not set(self._users) - {member} and self._executes(current_attempt.get()):
            raise UsageError(
                "A task can't close the Fanwood object that executes it: whoever made the object closes it"
            )
        self._users.discard(member)
        if not self._users:
            self.close()

    def _executes(self, attempt: Attempt | None) -> bool:
        if attempt is None or self._engine is None:
            return False
        try:
            return attempt.host.engine() is self._engine
        except EngineClosedError:
            return False

    def close(self) -> None:
        """For all."""
        with self._lock:
            local, engine = self.local, self._engine
            self.local = self._engine = None
            self._users.clear()
            for member in self.members:
                member.forget_engine()
        if local is not None:
            local.close(for_good=True)
        if engine is not None:
            engine.stop()

    def set_aside(self) -> Callable[[], None]:
        """For tests: whoever asks for the engine begins anew, until what is returned is called."""
        with self._lock:
            engine, local, users = self._engine, self.local, list(self._users)
            self._replace(None, None, ())
        return lambda: self._replace(engine, local, users)

    def _replace(self, engine: Engine | None, local: LocalWorker | None, users: Iterable[Member]) -> None:
        self._engine, self.local = engine, local
        self._users = WeakSet(users)
        for member in self.members:
            member.forget_engine()

    # --- forks -----------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """A lock of SQLite that the engine held at this moment would be held for ever in the new process."""
        self._held = self._lock.acquire(timeout=FORK_PATIENCE)  # no engine is being made
        if self._engine is not None:
            self._go_on = self._engine.stand_still(FORK_PATIENCE)

    def after_fork_here(self) -> None:
        """In the old process."""
        if self._go_on is not None:
            self._go_on()
            self._go_on = None
        if self._held:
            self._lock.release()

    def after_fork_there(self) -> None:
        """In the new process: the engine is the parent's, and another one is made when it is needed. What was copied of
        it is kept as it is, since letting go of it would touch the parent's database."""
        self._lock = threading.RLock()
        self._begins = False
        self._of_parent += (self._engine, self.local)
        self._engine = self.local = self._go_on = None
        self._users.clear()
        for member in self.members:
            member.forget_engine()
            member.hooks.forget()


def _begin(home: Home, member: Member) -> tuple[Engine, LocalWorker]:
    engine = Engine(store_for(member.settings, member.clock), member.settings, member.worker_name)
    engine.start()
    return engine, LocalWorker(member, engine, home.specs)


begin: Callable[[Home, Member], tuple[Engine, LocalWorker]] = _begin
"""How a home comes to its engine and its worker. Tests may put another way in the place of this (`fanwood.testing`)."""

_all: WeakSet[Home] = WeakSet()
_homes: WeakValueDictionary[tuple[str, str], Home] = WeakValueDictionary()
_homes_lock = threading.Lock()
_open: WeakSet[Home] = WeakSet()
_ending: list[bool] = []
_importing: list[bool] = []


def home_of(member: Member, *, shared: bool) -> Home:
    """The home of those that lead to one store and namespace; one of its own, if it is not to be shared."""
    if not shared:
        home = Home()
    else:
        settings = member.settings
        with _homes_lock:
            home = _homes.setdefault((place_of(settings), settings.namespace), Home())
    home.join(member)
    return home


def all_homes() -> list[Home]:
    """Those of this process."""
    return list(_all)


@contextlib.contextmanager
def importing() -> Generator[None]:
    """A worker process imports the program that has started it: nothing may begin."""
    _importing.append(True)
    try:
        yield
    finally:
        _importing.clear()


def _close_at_exit(home: Home) -> None:
    if not _open:
        atexit.register(_close_all)
    _open.add(home)


def _close_all() -> None:
    _ending.append(True)
    for home in list(_open):
        with contextlib.suppress(Exception):
            home.close()


def _before_fork() -> None:
    for home in list(_all):
        home.before_fork()


def _after_fork_here() -> None:
    for home in list(_all):
        home.after_fork_here()


def _after_fork_there() -> None:
    global _homes_lock  # noqa: PLW0603  (another thread of the parent may have held it)
    _homes_lock = threading.Lock()
    note_fork()
    for home in list(_all):
        home.after_fork_there()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_here, after_in_child=_after_fork_there)
