"""What a function's signature says, read once, at its declaration: its colour, its arguments, their types.

Whatever can be called with one input (and a Context) is a task: functions, static methods, partial functions, decorated
ones, objects with a `__call__`. What can't mean what it says is refused here, and not when it first runs.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast, get_origin

from fanwood.codec import Codec, codec_for
from fanwood.codec.empty import EmptyModel
from fanwood.codec.shapes import arms
from fanwood.engine.signals import running_loop
from fanwood.errors import DeclarationError
from fanwood.sdk.declaring.annotations import Resolver
from fanwood.sdk.declaring.functions import code_of, is_async, location, name_of
from fanwood.sdk.declaring.options import NOT_GIVEN
from fanwood.sdk.tasks.context import Context

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@dataclass(frozen=True, slots=True)
class Signature:
    """`function` is what is called, with the first `arity` of (input, ctx). `default`: the input, if none is given."""

    name: str
    function: Callable[..., Any]
    is_async: bool
    arity: int
    input_type: Any
    output_type: Any
    default: Any
    where: str

    def input_codec(self) -> Codec[Any]:
        """Raises DeclarationError: such values can't travel."""
        return _codec(self.input_type, f"{self.where}: the input of {self.name}")

    def output_codec(self) -> Codec[Any]:
        """Raises DeclarationError: such values can't travel."""
        return _codec(self.output_type, f"{self.where}: what {self.name} returns")


def _codec(declared: Any, subject: str) -> Codec[Any]:
    try:
        return codec_for(declared)
    except DeclarationError as error:
        raise DeclarationError(f"{subject}: {error}") from error


def read_signature(function: Callable[..., Any], input_validator: Any) -> Signature:
    """Read a task function.

    Raises:
        DeclarationError: it takes something else than (input, ctx), (input) or (), or names a type that can't be found.
    """
    where, name, code = location(function), name_of(function), code_of(function)
    if not callable(function) or isinstance(function, (type, classmethod)):
        raise DeclarationError(f"{where}: {name} must be a function, or something that can be called like one")
    if inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code):
        raise DeclarationError(
            f"{where}: {name} is a generator, and a task returns one value: return a list, or spawn a child for "
            f"each item"
        )
    parameters = _parameters(function, code, where, name)
    resolver = Resolver(code, where, name)
    context = resolver.resolve(parameters[1].name) if len(parameters) > 1 else None
    if context is not None and not _takes_context(context):
        if _is_context(resolver.resolve(parameters[0].name)):
            first, second = parameters[0].name, parameters[1].name
            raise DeclarationError(
                f"{where}: the first argument of {name} is its input, and the context comes second: write "
                f"({second}, {first}: Context)"
            )
        raise DeclarationError(
            f"{where}: the second parameter of {name}, {parameters[1].name}, is the Context, and is declared as "
            f"{context!r}. A task has one input: put what belongs together into a dataclass or model"
        )
    input_type: Any = EmptyModel if not parameters else Any
    if input_validator is not None:
        input_type = input_validator
    elif parameters:
        found = resolver.resolve(parameters[0].name)
        if _is_context(found):
            raise DeclarationError(
                f"{where}: the first argument of {name} is its input, and the context comes second: "
                f"write (input: EmptyModel, ctx: Context) for a task without input"
            )
        input_type = Any if found is None else found
    output_type = resolver.resolve("return")
    default = parameters[0].default if parameters else inspect.Parameter.empty
    return Signature(
        name=name,
        function=_callable(function, code),
        is_async=is_async(_outermost(function)),
        arity=len(parameters),
        input_type=input_type,
        output_type=Any if output_type is None else output_type,
        default=NOT_GIVEN if default is inspect.Parameter.empty else default,
        where=where,
    )


def _parameters(
    function: Callable[..., Any], code: Callable[..., Any], where: str, name: str
) -> list[inspect.Parameter]:
    """Those that an input and a context are given to."""
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError) as error:  # of some functions in C, nobody knows
        raise DeclarationError(f"{where}: {name} must take (input, ctx), (input) or (), and {error}") from None
    kinds = {p.kind for p in signature.parameters.values()}
    needed = [p.name for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    found = [p for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if found and found[0].name in ("self", "cls") and _is_method(function, code):
        raise DeclarationError(
            f"{where}: {name} is a method, and its first parameter would be the input. Declare a function, or a static "
            f"method, and give it what it needs of {found[0].name}"
        )
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        raise DeclarationError(
            f"{where}: {name} must take (input, ctx), (input) or (), and takes {signature}. If it is decorated, the "
            f"decorator should use functools.wraps"
        )
    if len(found) > 2 or needed:
        raise DeclarationError(f"{where}: {name} must take (input, ctx), (input) or (), and takes {signature}")
    return found


def _is_method(function: Callable[..., Any], code: Callable[..., Any]) -> bool:
    """A function of a class that waits for an instance: neither static nor bound, as far as can be seen."""
    owner, _, name = getattr(code, "__qualname__", "").rpartition(".")
    if not owner or owner.endswith("<locals>") or isinstance(function, staticmethod):
        return False
    found: Any = sys.modules.get(getattr(code, "__module__", ""))
    for part in owner.split("."):
        found = getattr(found, part, None)
    return not isinstance(inspect.getattr_static(found, name, None), staticmethod)


def _is_context(hint: Any) -> bool:
    """Also of one that may be None, or is annotated."""
    return any(isinstance(arm, type) and issubclass(arm, Context) for arm in arms(hint))


def _takes_context(hint: Any) -> bool:
    """Whether a Context may be what is meant: Any, object and protocols say nothing against it."""
    possible = (arm in (Any, object) or getattr(get_origin(arm) or arm, "_is_protocol", False) for arm in arms(hint))
    return _is_context(hint) or any(possible)


def _outermost(function: Any) -> Any:
    while isinstance(function, (functools.partial, staticmethod)):
        function = getattr(cast("Any", function), "func", None) or cast("Any", function).__func__
    return function


def _callable(function: Callable[..., Any], code: Callable[..., Any]) -> Callable[..., Any]:
    if not is_async(code) or is_async(_outermost(function)):
        return function

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        """A plain function around an async one runs it, or returns what is to be awaited; on a thread, as it is."""
        result = function(*arguments)
        return _to_its_end(result) if inspect.isawaitable(result) else result

    return call


def _to_its_end(awaitable: Awaitable[Any]) -> Any:
    async def wait() -> Any:
        return await awaitable

    if running_loop() is None:
        return asyncio.run(wait())
    with ThreadPoolExecutor(1) as pool:  # of a mock run
        return pool.submit(contextvars.copy_context().run, asyncio.run, wait()).result()
