"""The versions of a durable task's code that one program serves: a run goes on with the code that began it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from fanwood import checks
from fanwood.errors import DeclarationError, SettingsError, UsageError

if TYPE_CHECKING:
    from fanwood.codec import Codec
    from fanwood.sdk.declaring.spec import TaskSpec

Versions = Mapping[str | None, Callable[..., Any] | None]
"""By their names (None: code that had none) the functions of older code; None for a function: the task's own, which
looks at `ctx.version`."""


class Signature(Protocol):
    """What a function takes and returns."""

    @property
    def function(self) -> Callable[..., Any]: ...
    @property
    def is_async(self) -> bool: ...
    @property
    def arity(self) -> int: ...
    @property
    def input_type(self) -> Any: ...
    @property
    def where(self) -> str: ...
    def input_codec(self) -> Codec[Any]: ...
    def output_codec(self) -> Codec[Any]: ...


ReadSignature = Callable[[Callable[..., Any], None], Signature]


class UnservedError(Exception):
    """A run began with code that this program does not have."""

    def __init__(self, task: str, version: str | None, served: str) -> None:
        self.task, self.version = task, version
        super().__init__(f"it {began(version)}, and its worker has {served} of {task} only")


def began(version: str | None) -> str:
    """How it is told to people."""
    return "began with code that had no version" if version is None else f"began with version {version!r}"


def served(spec: TaskSpec) -> str:
    """Which versions a task has here, for people."""
    named = [spec.policy.version, *(spec.versions or ())]
    return " and ".join("code without a version" if name is None else f"version {name!r}" for name in named)


def with_versions(spec: TaskSpec, versions: Any, read: ReadSignature) -> TaskSpec:
    """A task that serves older code as well. `read`: what a function takes and returns.

    Raises:
        SettingsError: names or functions that can't be.
        DeclarationError: a function that takes something else, or is sync where the task is async.
    """
    if versions is None:
        return spec
    if not isinstance(versions, Mapping):
        raise checks.refused("versions", 'must be a dict such as {"1": old_function}', versions, SettingsError)
    if spec.policy.version is None:
        raise SettingsError(
            f'versions were given to {spec.name} without version=: say what the present one is, "2" say'
        )
    known: dict[str | None, TaskSpec | None] = {}
    for given, function in versions.items():  # pyright: ignore[reportUnknownVariableType]  # callers may be untyped
        name = None if given is None else version_name(given, "versions")
        if name == spec.policy.version:
            raise SettingsError(f"versions has {name!r}, which is what {spec.name} itself is: leave it out there")
        known[name] = None if function is None else _older(spec, name, function, read)
    return replace(spec, versions=known)


def version_name(given: Any, subject: str) -> str:
    """Raises SettingsError: it can't be one."""
    return checks.storable(given, subject, checks.MAX_NAME_LENGTH, error=SettingsError)


def _older(spec: TaskSpec, name: str | None, function: Any, read: ReadSignature) -> TaskSpec:
    if not callable(function) or hasattr(function, "spec"):
        raise checks.refused(
            f"versions[{name!r}]", "must be a function, and no task (of a task it is `.fn`), or None", function,
            SettingsError,
        )  # fmt: skip
    older = read(function, None)
    if older.is_async is not spec.is_async:
        colours = ("async", "sync") if spec.is_async else ("sync", "async")
        raise DeclarationError(
            f"{older.where}: version {name!r} of {spec.name} is {colours[1]}, and {spec.name} is {colours[0]}: by "
            f"that a worker decides where a run executes, before it looks which version it is. Make both the same"
        )
    return replace(
        spec,
        function=older.function,
        arity=older.arity,
        input=spec.input if older.input_type is Any else older.input_codec(),
        output=older.output_codec(),
        where=older.where,
        policy=replace(spec.policy, version=name),
    )


def code_for(spec: TaskSpec, version: str | None) -> TaskSpec:
    """The code for a run that began with that version.

    Raises:
        UnservedError: this program does not have it.
    """
    versions = spec.versions
    if versions is None or version == spec.policy.version:
        return spec
    if version not in versions:
        raise UnservedError(spec.name, version, served(spec))
    return versions[version] or spec


def mocked(spec: TaskSpec, version: str) -> TaskSpec:
    """The code for a mock run that is to be one of that version.

    Raises:
        UsageError: there is none.
    """
    try:
        code = code_for(spec, version_name(version, "version"))
    except UnservedError as error:
        raise UsageError(f"version {version!r} was asked for, and {error.task} has {served(spec)}") from None
    return replace(code, policy=replace(code.policy, version=version))
