"""What a caller may say about a run, and a declaration about a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from fanwood.codec import codec_for
from fanwood.durations import Duration, microseconds, seconds
from fanwood.errors import PayloadError, SettingsError, UsageError
from fanwood.model.states import OnParentEnd

OnParentEndOption = Literal["cancel", "continue"]
Metadata = Mapping[str, Any]

_ON_PARENT_END = {None: OnParentEnd.DEFAULT, "cancel": OnParentEnd.CANCEL, "continue": OnParentEnd.CONTINUE}


class _NotGiven:
    """Tells an input that was left out from None."""

    def __repr__(self) -> str:
        return "NOT_GIVEN"


NOT_GIVEN: Any = _NotGiven()


@dataclass(frozen=True, slots=True)
class EmptyModel:
    """The input of a task that takes none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerWorkflowOptions:
    """What may be said of a run when it is asked for, beside its input. The input may be given here as well."""

    input: Any = NOT_GIVEN
    child_key: str | None = None
    key: str | None = None  # the same as child_key, under the name that bulk items use
    idempotency_key: str | None = None
    additional_metadata: Metadata | None = None
    priority: int | None = None
    detached: bool = False
    on_parent_end: OnParentEndOption | None = None

    def __post_init__(self) -> None:
        if self.child_key is not None and self.key is not None and self.child_key != self.key:
            raise UsageError(f"child_key {self.child_key!r} and key {self.key!r} are two names of one thing: give one")
        if self.idempotency_key is not None:
            _check_idempotency_key(self.idempotency_key)
            if self.effective_key is not None:
                raise UsageError(
                    f"child_key {self.effective_key!r} and idempotency_key {self.idempotency_key!r} were both given: "
                    f"the first is for a child, inside a task, the second for a root. Give the one that is meant"
                )
        if self.on_parent_end not in _ON_PARENT_END:
            raise UsageError(f'on_parent_end must be "cancel" or "continue", and is {self.on_parent_end!r}')
        if not isinstance(self.priority, int | None):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
            raise UsageError(f"priority must be a whole number (higher goes first), and is {self.priority!r}")

    @property
    def effective_key(self) -> str | None:
        """The child key, by whichever name it was given."""
        return self.child_key if self.child_key is not None else self.key

    @property
    def parent_end(self) -> OnParentEnd:
        """`on_parent_end` as it is stored."""
        return _ON_PARENT_END[self.on_parent_end]


DEFAULT_OPTIONS = TriggerWorkflowOptions()


MAX_KEY_LENGTH = 500


def _check_idempotency_key(key: Any) -> None:
    if not isinstance(key, str):
        raise UsageError(f"idempotency_key must be text, and is {key!r}, a {type(key).__name__}")
    if not key:
        raise UsageError("idempotency_key must not be empty: leave it out for a run that is to begin in any case")
    if len(key) > MAX_KEY_LENGTH:
        raise UsageError(
            f"idempotency_key must have at most {MAX_KEY_LENGTH} characters, and has {len(key):,}: {key[:40]!r}... "
            f"Give a hash of it, such as hashlib.sha256(key.encode()).hexdigest()"
        )
    if "\0" in key or any("\ud800" <= letter <= "\udfff" for letter in key):
        raise UsageError(f"idempotency_key must be text that can be stored: no NUL, no lone surrogate; and is {key!r}")


def given_options(
    child_key: str | None,
    idempotency_key: str | None,
    additional_metadata: Metadata | None,
    priority: int | None,
    detached: bool,  # noqa: FBT001  (six arguments of one call, passed on)
    on_parent_end: OnParentEndOption | None,
) -> dict[str, Any]:
    """What was given beside `options`; what was not is None, or False."""
    return {
        "child_key": child_key,
        "idempotency_key": idempotency_key,
        "additional_metadata": additional_metadata,
        "priority": priority,
        "detached": detached,
        "on_parent_end": on_parent_end,
    }


def merged(options: TriggerWorkflowOptions | None, given: dict[str, Any], input_: Any) -> TriggerWorkflowOptions:
    """`options` with what was given beside them, which wins.

    Raises:
        UsageError: the input was given twice.
    """
    if options is not None and options.input is not NOT_GIVEN and input_ is not NOT_GIVEN and input_ is not None:
        raise UsageError("The input was given twice: as an argument, and in options=TriggerWorkflowOptions(input=...)")
    present = {name: value for name, value in given.items() if value is not None and (value or name != "detached")}
    if options is None:
        return TriggerWorkflowOptions(**present) if present else DEFAULT_OPTIONS
    if not present:
        return options
    if "child_key" in present or "key" in present:
        options = replace(options, child_key=None, key=None)
    return replace(options, **present)


@dataclass(frozen=True, slots=True)
class TaskPolicy:
    """How a task's runs are tried. Durations as a caller writes them; checked here, once."""

    retries: int = 0
    backoff_factor: float | None = None
    backoff_max_seconds: float | None = None
    schedule_timeout: Duration | None = None
    execution_timeout: Duration | None = None
    default_priority: int = 1
    default_additional_metadata: Metadata = field(default_factory=dict[str, Any])
    description: str = ""
    version: str | None = None

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise SettingsError(f"retries must not be negative, and is {self.retries!r}")
        if self.backoff_factor is not None and self.backoff_factor <= 0:
            raise SettingsError(f"backoff_factor must be above zero, and is {self.backoff_factor!r}")
        if self.backoff_max_seconds is not None and self.backoff_max_seconds < 0:
            raise SettingsError(f"backoff_max_seconds must not be negative, and is {self.backoff_max_seconds!r}")
        for name in ("schedule_timeout", "execution_timeout"):
            value = getattr(self, name)
            if value is not None:
                seconds(value, name)
        try:
            codec_for(Any).encode(self.default_additional_metadata, "default_additional_metadata", "metadata")
        except PayloadError as error:
            raise SettingsError(str(error)) from None

    @property
    def execution_limit(self) -> int | None:
        """The execution timeout in microseconds."""
        return microseconds(self.execution_timeout, "execution_timeout")

    @property
    def schedule_limit(self) -> int | None:
        """The schedule timeout in microseconds."""
        return microseconds(self.schedule_timeout, "schedule_timeout")

    def backoff(self, retry_count: int, jitter: float) -> float:
        """Seconds before retry number `retry_count` + 1: factor to that power, capped, up to a tenth of it spread.

        Without a factor there is no pause.
        """
        if self.backoff_factor is None:
            return 0.0
        try:
            pause = self.backoff_factor ** (retry_count + 1)
        except OverflowError:
            pause = float("inf")
        cap = 86_400.0 if self.backoff_max_seconds is None else self.backoff_max_seconds
        return min(cap, pause) * (1 - jitter / 10)
