"""What a caller may say about a run, and a declaration about a task."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypedDict

from fanwood import checks
from fanwood.codec import codec_for
from fanwood.durations import LONGEST, Duration, in_microseconds
from fanwood.errors import PayloadError, SettingsError, UsageError
from fanwood.model.states import OnParentEnd
from fanwood.sdk.declaring.budget import Budget
from fanwood.sdk.declaring.lateness import after, checked

OnParentEndOption = Literal["cancel", "continue"]
ShareOption = Literal["tree"]
HedgeOption = Literal["p95"]
Metadata = Mapping[str, Any]

MAX_METADATA_BYTES = 64 * 1024
"""As JSON, with what is inherited: every run carries it."""

_JSON = codec_for(Any)
_ON_PARENT_END = {None: OnParentEnd.DEFAULT, "cancel": OnParentEnd.CANCEL, "continue": OnParentEnd.CONTINUE}


class _NotGiven:
    """Tells an input that was left out from None."""

    def __repr__(self) -> str:
        return "NOT_GIVEN"


NOT_GIVEN: Any = _NotGiven()


class RunOptions(TypedDict, total=False):
    """The keywords of `run` and its siblings.

    child_key: this child's key, unique below its parent. Default: by content.
    idempotency_key: this root's key, unique in the namespace: whoever gives it again gets the run that has it.
    additional_metadata: JSON that the run and its descendants carry.
    priority: higher goes first. Default: the task's.
    detached: inside a task, make a root all the same.
    on_parent_end: "cancel" or "continue", whatever the parent's end.
    share: "tree": one run for all that ask for this task with this input so, anywhere in the tree.
    hedge: after(seconds) or "p95": a second run of a child that takes longer; the first end counts.
    budget: what the run, and all below it, may use: of a child, a part of its parent's.
    """

    child_key: str | None
    idempotency_key: str | None
    additional_metadata: Metadata | None
    priority: int | None
    detached: bool
    on_parent_end: OnParentEndOption | None
    share: ShareOption | None
    hedge: after | HedgeOption | None
    budget: Budget | None


class AttemptOptions(TypedDict, total=False):
    """What can be said of a step, and of a task as well: how it is tried.

    retries: how often a failed run is tried again.
    backoff_factor: pause before retry n: factor ** n seconds. Default: none.
    backoff_max_seconds: the longest pause.
    schedule_timeout: how long a run may be queued. Default: for ever.
    execution_timeout: how long one attempt may take. Default: for ever.
    description: default: the first line of the function's docstring.
    """

    retries: int | None
    backoff_factor: float | None
    backoff_max_seconds: float | None
    schedule_timeout: Duration | None
    execution_timeout: Duration | None
    description: str | None


class TaskOptions(AttemptOptions, total=False):
    """The keywords of `Fanwood.task`, beside `name` and `input_validator`.

    default_priority: higher goes first.
    default_additional_metadata: JSON that every run carries.
    version: yours; `ctx.version` tells it.
    """

    default_priority: int
    default_additional_metadata: Metadata | None
    version: str | None


class WorkflowOptions(TypedDict, total=False):
    """The keywords of `Fanwood.workflow` that are those of a task, for the workflow's own run."""

    schedule_timeout: Duration | None
    execution_timeout: Duration | None
    description: str | None
    default_priority: int
    default_additional_metadata: Metadata | None
    version: str | None


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
    share: ShareOption | None = None
    hedge: after | HedgeOption | None = None
    budget: Budget | None = None

    def __post_init__(self) -> None:
        def normal(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)  # frozen, but not yet

        for name in ("child_key", "key"):
            if (key := getattr(self, name)) is not None:
                normal(name, checks.key(key, name, "for a child that is known by its content"))
        if self.child_key is not None and self.key is not None and self.child_key != self.key:
            raise UsageError(f"child_key {self.child_key!r} and key {self.key!r} are two names of one thing: give one")
        if self.idempotency_key is not None:
            key = checks.key(self.idempotency_key, "idempotency_key", "for a run that is to begin in any case")
            normal("idempotency_key", key)
            if self.effective_key is not None:
                raise UsageError(
                    f"child_key {self.effective_key!r} and idempotency_key {self.idempotency_key!r} were both given: "
                    f"the first is for a child, inside a task, the second for a root. Give the one that is meant"
                )
        if self.additional_metadata is not None:
            metadata_json(self.additional_metadata, "additional_metadata")
        if self.priority is not None:
            normal("priority", checks.whole(self.priority, "priority"))
        checks.flag(self.detached, "detached")
        if self.on_parent_end not in (None, "cancel", "continue"):
            raise checks.refused("on_parent_end", 'must be "cancel" or "continue"', self.on_parent_end)
        if self.share is not None:
            self._check_share()
        if self.hedge is not None:
            self._check_hedge()
        self._check_budget()

    def _check_budget(self) -> None:
        if self.budget is not None and not isinstance(self.budget, Budget):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
            raise checks.refused("budget", 'must be a Budget, such as Budget(runs=100, units={"usd": 5})', self.budget)

    @property
    def part(self) -> tuple[tuple[str, int], ...] | None:
        """`budget` as it is stored."""
        return None if self.budget is None else self.budget.part

    def _check_hedge(self) -> None:
        checked(self.hedge)
        if self.detached or self.idempotency_key is not None or self.share is not None or self.budget is not None:
            raise UsageError(
                "hedge was given beside share, budget, detached or idempotency_key: a hedge is a second child of its "
                "parent. Leave out the one or the other"
            )

    def _check_share(self) -> None:
        if self.share != "tree":
            raise checks.refused("share", 'must be "tree"', self.share)
        if self.effective_key is not None or self.idempotency_key is not None:
            raise UsageError(
                "share and a key were both given: what is shared is known by its task and its input, so that others "
                "find it. Leave out the key, or put what tells it from others into the input"
            )
        if self.budget is not None:
            raise UsageError(
                "share and budget were both given: what is shared is nobody's part, and uses the budget of its root"
            )
        if self.detached:
            raise UsageError(
                "share and detached were both given: a root of its own is in no tree in which it is shared"
            )

    @property
    def effective_key(self) -> str | None:
        """The child key, by whichever name it was given."""
        return self.child_key if self.child_key is not None else self.key

    @property
    def parent_end(self) -> OnParentEnd:
        """`on_parent_end` as it is stored."""
        return _ON_PARENT_END[self.on_parent_end]


DEFAULT_OPTIONS = TriggerWorkflowOptions()


def metadata_json(value: Any, subject: str, error: checks.Error = UsageError) -> str:
    """Metadata as it is stored.

    Raises:
        UsageError: it is none, or too much; or another `error`.
    """
    if not isinstance(value, Mapping):
        raise checks.refused(subject, 'must be a dict such as {"customer": 7}', value, error)
    try:
        encoded = _JSON.encode(dict(value), subject, subject)  # pyright: ignore[reportUnknownArgumentType]  # anybody's
    except (TypeError, ValueError, PayloadError) as problem:
        raise error(f"{subject} must be JSON: {problem}") from None
    if len(encoded) > MAX_METADATA_BYTES:
        raise error(
            f"{subject} (with what is inherited) must have at most {MAX_METADATA_BYTES:,} bytes as JSON, and has "
            f"{len(encoded):,}: every run below carries it. Store it elsewhere, and give a reference"
        )
    return _JSON.canonical(encoded).decode()  # listings compare it as text


def known_only(given: Mapping[str, Any], known: Iterable[str], subject: str) -> None:
    """Keywords are passed on as a whole; this is what Python would say of one that there isn't.

    Raises:
        UsageError: there is no such option.
    """
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise UsageError(f"{subject} has no option {name!r}.{hint} There are: {', '.join(known)}")


def merged(
    options: TriggerWorkflowOptions | None, given: Mapping[str, Any], input_: Any, subject: str
) -> TriggerWorkflowOptions:
    """`options` with what was given beside them, which wins.

    Raises:
        UsageError: an option that can't be, or the input was given twice.
    """
    if options is None:
        if not given:
            return DEFAULT_OPTIONS
    elif not isinstance(options, TriggerWorkflowOptions):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
        raise checks.refused("options", "must be a TriggerWorkflowOptions", options)
    elif options.input is not NOT_GIVEN and input_ is not NOT_GIVEN and input_ is not None:
        raise UsageError("The input was given twice: as an argument, and in options=TriggerWorkflowOptions(input=...)")
    known_only(given, RunOptions.__annotations__, subject)
    present = {name: value for name, value in given.items() if value is not None}
    if present.get("detached") is False:  # as the default is: it says nothing against `options`
        del present["detached"]
    if not present:
        return options or DEFAULT_OPTIONS
    if options is None:
        return TriggerWorkflowOptions(**present)
    if "child_key" in present:
        options = replace(options, key=None)
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
        def normal(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)  # frozen, but not yet

        error = SettingsError
        normal("retries", checks.whole(self.retries, "retries", 0, error=error))
        normal("default_priority", checks.whole(self.default_priority, "default_priority", error=error))
        if self.backoff_factor is not None:
            if checks.real(self.backoff_factor, "backoff_factor", error=error) == 0:
                raise checks.refused("backoff_factor", "must be above zero", self.backoff_factor, error)
            normal("backoff_factor", float(self.backoff_factor))  # powers of a large int take for ever
        if self.backoff_max_seconds is not None:
            most = checks.real(self.backoff_max_seconds, "backoff_max_seconds", LONGEST, error=error)
            normal("backoff_max_seconds", most)
        for name in ("schedule_timeout", "execution_timeout"):
            if getattr(self, name) is not None:
                checks.seconds(getattr(self, name), name, error=error)
        metadata_json(self.default_additional_metadata, "default_additional_metadata", error)
        normal("description", checks.storable(self.description, "description", checks.MAX_TEXT_LENGTH, error=error))
        if self.version is not None:
            normal("version", checks.storable(self.version, "version", checks.MAX_NAME_LENGTH, error=error))

    @classmethod
    def of(
        cls, given: Mapping[str, Any], known: Iterable[str], subject: str, base: TaskPolicy | None = None
    ) -> TaskPolicy:
        """`base` with what was given; None means not given.

        Raises:
            UsageError: there is no such option.
            SettingsError: a value that can't be.
        """
        known_only(given, known, subject)
        return replace(base or cls(), **{name: value for name, value in given.items() if value is not None})

    @property
    def execution_limit(self) -> int | None:
        """The execution timeout in microseconds."""
        return _microseconds(self.execution_timeout)

    @property
    def schedule_limit(self) -> int | None:
        """The schedule timeout in microseconds."""
        return _microseconds(self.schedule_timeout)

    def backoff(self, retry_count: int, jitter: float) -> float:
        """Seconds before retry number `retry_count` + 1: factor to that power, capped, up to a tenth of it spread.

        Without a factor there is no pause.
        """
        if self.backoff_factor is None:
            return 0.0
        try:
            pause = self.backoff_factor ** (retry_count + 1)
        except OverflowError:
            pause = LONGEST
        cap = 86_400.0 if self.backoff_max_seconds is None else self.backoff_max_seconds
        return min(cap, pause) * (1 - jitter / 10)


def _microseconds(value: Duration | None) -> int | None:
    return None if value is None else in_microseconds(checks.seconds(value, "the timeout"))


class MockOptions(TypedDict, total=False):
    """What a mock run may be given beside its input."""

    additional_metadata: Metadata | None
    """As the run's."""
    retry_count: int
    """How many failures there were before."""
    lifespan: object
    """What `ctx.lifespan` is."""
    children: Mapping[Any, Any]
    """For each child (the task, or its name) a function of its input, or what it returns."""
    version: str
    """What `ctx.version` is; of a task with `versions=` its code of that version runs."""
