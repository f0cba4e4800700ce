"""Exceptions of every kind: each is that run's failure, whatever the exception's own code does."""

import re
import sys
from typing import Any

import pytest

from fanwood.errors import TaskRunError
from tests.bad_input.places import PLACES, place


class NoStrError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class ExitingStrError(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)

    __repr__ = __str__


class RecursiveError(Exception):
    def __str__(self) -> str:
        return str(self)


class Base(BaseException):
    pass


class Nameless(type):
    @property
    def __name__(cls) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        raise RuntimeError("no name")


class OfNoNameError(Exception, metaclass=Nameless):
    pass


class PretendsError(Exception):
    @property
    def __class__(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        raise RuntimeError("no class")


def recursion() -> int:
    return recursion() + 1


def raise_(error: BaseException) -> Any:
    raise error


def chain(length: int) -> BaseException:
    error: BaseException = ValueError("the first")
    for n in range(length):
        after = ValueError(str(n))
        after.__cause__ = error
        error = after
    return error


def looped() -> BaseException:
    one, two = ValueError("one"), ValueError("two")
    one.__context__, two.__context__ = two, one
    return one


class NoFramesError(Exception):
    @property
    def __traceback__(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        raise RuntimeError("no frames")


class NoMembersError(ExceptionGroup[Exception]):
    @property
    def exceptions(self) -> Any:
        raise RuntimeError("no members")


def nested(levels: int, times: int) -> BaseException:
    """As groups of tasks raise it that wait for the same ones."""
    error: Any = ValueError("the first")
    for _ in range(levels):
        error = ExceptionGroup("several", [error] * times)
    return error


def without_source() -> None:
    """Raised by code whose loader fights back."""

    class Loader:
        def get_source(self, _name: str) -> str:
            raise SystemExit(9)

    code = compile("raise ValueError('from afar')", "nowhere.py", "exec")
    exec(code, {"__loader__": Loader(), "__name__": "nowhere"})


CASES: dict[str, tuple[Any, str, str]] = {
    "plain": (lambda: raise_(ValueError("oh no")), "ValueError", r"^oh no$"),
    "str raises": (lambda: raise_(NoStrError()), "NoStrError", r"^\(its __str__ raised ValueError\)$"),
    "str exits": (lambda: raise_(ExitingStrError()), "ExitingStrError", r"^\(its __str__ raised SystemExit\)$"),
    "str recurses": (lambda: raise_(RecursiveError()), "RecursiveError", r"^\(its __str__ raised RecursionError\)$"),
    "huge": (lambda: raise_(ValueError("x" * 10_000_000)), "ValueError", r"^x+\.\.\. \(10,000,000 characters\)$"),
    "NUL": (lambda: raise_(ValueError("a\0b")), "ValueError", r"^a\\0b$"),
    "lone surrogate": (lambda: raise_(ValueError("a\udc80")), "ValueError", r"^a\\udc80$"),
    "sys.exit": (lambda: sys.exit(3), "SystemExit", r"^3$"),
    "KeyboardInterrupt": (lambda: raise_(KeyboardInterrupt()), "KeyboardInterrupt", r"^$"),
    "GeneratorExit": (lambda: raise_(GeneratorExit()), "GeneratorExit", r"^$"),
    "BaseException": (lambda: raise_(Base("mine")), "Base", r"^mine$"),
    "StopIteration": (lambda: raise_(StopIteration(1)), "RuntimeError|StopIteration", r"."),
    "infinite recursion": (recursion, "RecursionError", r"maximum recursion depth"),
    "group": (lambda: raise_(ExceptionGroup("several", [ValueError("a")])), "ExceptionGroup", r"^several \(1 sub"),
    "deep group": (lambda: raise_(nested(3000, 1)), "ExceptionGroup", r"^several \(1 sub-exception\)$"),
    "shared group": (lambda: raise_(nested(60, 2)), "ExceptionGroup", r"^several \(2 sub-exceptions\)$"),
    "no frames": (lambda: raise_(NoFramesError("x")), "NoFramesError", r"^x$"),
    "no members": (lambda: raise_(NoMembersError("x", [ValueError()])), "NoMembersError", r"^x \(1 sub"),
    "no source": (without_source, "ValueError", r"^from afar$"),
    "long chain": (lambda: raise_(chain(2000)), "ValueError", r"^1999$"),
    "looped chain": (lambda: raise_(looped()), "ValueError", r"^one$"),
    "no name": (lambda: raise_(OfNoNameError("x")), "OfNoNameError", r"^x$"),
    "no class": (lambda: raise_(PretendsError("x")), "PretendsError", r"could not be looked at"),
}


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("colour", ["async", "sync"])
def test_every_exception_is_a_failure(url: str, kind: str, colour: str) -> None:
    """All in one place, one after the other: none may spoil it for the next."""
    with place(kind, url) as where:

        def sync_task(input: dict) -> Any:
            return CASES[input["case"]][0]()

        async def async_task(input: dict) -> Any:
            return CASES[input["case"]][0]()

        @where.app.task
        async def healthy() -> int:
            return 1

        task = where.app.task(name="fails")(async_task if colour == "async" else sync_task)
        where.start()
        for case, (_, kind_of, message) in CASES.items():
            error = where.outcome(task, {"case": case})
            assert isinstance(error, TaskRunError), f"{case}: {error!r}"
            assert re.search(kind_of, error.exc_type), f"{case}: {error.exc_type}"
            assert re.search(message, error.message), f"{case}: {error.message[:200]}"
            assert str(error).startswith("fails failed: "), case
        assert where.outcome(healthy) == 1
