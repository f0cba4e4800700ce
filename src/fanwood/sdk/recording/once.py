"""What the code of a durable run does to others: events, messages, roots, promises that it settles. It is run again and
again, and these happen once in the life of the run.

Each has a key that is made of the run, of what is done, and of how many equal ones came before. Whoever does it takes
two under one key for one. Once it is done that is recorded below the run, so that code which comes here again asks
nobody. Only what is refused is tried again. Inside of a recorded step the step is what is recorded, and keys are its.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from fanwood.model.commands import Record
from fanwood.model.naming import numbered, part_id
from fanwood.model.states import RunKind, RunState
from fanwood.sdk.declaring.identity import content_digest
from fanwood.sdk.recording.recording import found_in, kind_of, known_parts, note
from fanwood.sdk.running.attempt import registering
from fanwood.sdk.running.current import current_attempt
from fanwood.sdk.running.ordinals import Ordinals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence

    from fanwood.sdk.running.attempt import Attempt
    from fanwood.sdk.running.parts import Parts

T = TypeVar("T")

_scope: ContextVar[tuple[bytes, Ordinals] | None] = ContextVar("fanwood_step", default=None)


@contextlib.contextmanager
def inside(step: bytes) -> Generator[None]:
    """While inside, a step of that identity is executed."""
    token = _scope.set((step, Ordinals()))
    try:
        yield
    finally:
        _scope.reset(token)


def in_a_step() -> bool:
    """Whether a recorded step calls."""
    return _scope.get() is not None


def doing() -> Attempt | None:
    """The attempt of a durable run whose code calls."""
    attempt = current_attempt.get()
    return None if attempt is None or attempt.spec.durable is None or attempt.is_mocked else attempt


class Doing:
    """One thing that is to be done. `id`: its key; `done`: what came of it, in JSON, if it was done before. Made under
    `registering`."""

    def __init__(self, attempt: Attempt, parts: Parts, what: str, of: str, about: bytes) -> None:
        scope = _scope.get()
        self._attempt = attempt
        self._shown = msgspec.json.encode({"step": what, "args": [of] if of else []}).decode()
        self.content = content_digest(f"~once {what}", about if scope is None else scope[0] + about)
        self._recorded = scope is None
        if scope is None:
            number = attempt.number(self.content)
            self._identity = attempt.numbered(self.content, number)
            self._index = attempt.children
            attempt.children += 1
        else:
            number = scope[1].next(self.content)
            self._identity = numbered(self.content, number + 1)
        self.number = self.content, number
        self.id = part_id(attempt.origin, self._identity)
        found = found_in(attempt, parts, self._identity, f"~step {self._shown}") if self._recorded else None
        self.done = None if found is None else found.output

    def record(self, output: str) -> None:
        """It was done. (Not waited for: until it is recorded, the key stands for it.)"""
        if self._recorded:
            kind, done = kind_of(self._attempt, RunKind.RECORDED), RunState.COMPLETED
            note(self._attempt, Record(kind, self.id, self._identity, self._shown, done, self._index, output=output))

    def forget(self) -> None:
        """It was refused: who asks again asks for the same."""
        if self._recorded:
            with registering:
                self._attempt.forget((), [self.number])


async def once(what: str, of: str, about: bytes, act: Callable[[bytes | None], Awaitable[T]]) -> T:
    """What `act` gives, now or before. It is called with the key; outside of durable runs with None. `about`: what it
    does, beside `what`; `of`: that for people. What it gives is plain data."""

    async def one(keys: Sequence[bytes | None], _numbers: Sequence[int]) -> list[T]:
        return [await act(keys[0])]

    return (await each_once(what, [(of, about)], one, Any))[0]


async def each_once(
    what: str,
    things: Sequence[tuple[str, bytes]],
    act: Callable[[Sequence[bytes | None], Sequence[int]], Awaitable[list[T]]],
    type_: Any,
) -> list[T]:
    """The same for several at once. `act` is called with the keys and the numbers of those that were not done yet, and
    gives what came of them, which are `type_`s."""
    attempt = doing()
    if attempt is None:
        return await act([None] * len(things), range(len(things)))
    attempt.check()
    parts = await known_parts(attempt)
    with registering:
        all_ = [Doing(attempt, parts, what, of, about) for of, about in things]
    left = [number for number, one in enumerate(all_) if one.done is None]
    try:
        new = await act([all_[number].id for number in left], left) if left else []
    except BaseException:
        for number in left:
            all_[number].forget()
        raise
    results: dict[int, T] = dict(zip(left, new, strict=True))
    for number, result in results.items():
        all_[number].record(msgspec.json.encode(result).decode())
    return [
        results[number] if one.done is None else msgspec.json.decode(one.done, type=type_)
        for number, one in enumerate(all_)
    ]
