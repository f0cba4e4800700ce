"""What a run, and all below it, may use: as it is said, and in the millionths in which it is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal, InvalidOperation
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fanwood import checks
from fanwood.durations import in_microseconds
from fanwood.errors import UsageError
from fanwood.model.budgets import DEPTH, MOST, RUNS, SCALE, SECONDS

if TYPE_CHECKING:
    from fanwood.durations import Duration

Amount = int | float | Decimal
"""Of a unit: to the millionth."""
MAX_UNITS = 32
MAX_UNIT_LENGTH = 64
MAX_DIGITS = 40
_EXACT = Context(prec=400)
"""Whatever precision the user's code has set for its own sums. (The smallest float has 324 places.)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a run and all below it may use. What is not named is not limited.

    runs: how many runs there may be below it. (Waits and steps are none.)
    depth: how many levels there may be below it.
    seconds: of executing, of it and of all below it, together.
    units: of anything that is told by `ctx.spend`, such as `{"usd": 5, "tokens": 200_000}`.
    """

    runs: int | None = None
    depth: int | None = None
    seconds: Duration | None = None
    units: Mapping[str, Amount] = field(default_factory=dict[str, Amount])

    def __post_init__(self) -> None:
        for name, most in (("runs", MOST), ("depth", checks.INT32)):
            if getattr(self, name) is not None:  # (of an instance of a subclass the number that it is)
                object.__setattr__(self, name, checks.whole(getattr(self, name), name, 0, most))
        if self.seconds is not None:
            checks.seconds(self.seconds, "seconds", zero=True)
        object.__setattr__(self, "units", MappingProxyType(dict(_mapping(self.units))))
        millionths(self.units, "units")
        if not self.part:
            raise UsageError('Budget() limits nothing: give runs=, depth=, seconds= or units={"usd": 5}')

    def __hash__(self) -> int:
        return hash(self.part)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.runs, self.depth, self.seconds, dict(self.units))

    @property
    def part(self) -> tuple[tuple[str, int], ...]:
        """As it is stored: units and amounts."""
        given = list(millionths(self.units, "units").items())
        if self.runs is not None:
            given.append((RUNS, self.runs))
        if self.depth is not None:
            given.append((DEPTH, self.depth))
        if self.seconds is not None:
            given.append((SECONDS, in_microseconds(checks.seconds(self.seconds, "seconds", zero=True))))
        return tuple(sorted(given))


def limits_of(given: Iterable[str]) -> Budget:
    """From texts such as "runs=100", "seconds=5m", "usd=5", as somebody types them.

    Raises:
        UsageError: one says nothing, or what can't be.
    """
    limits: dict[str, Any] = {}
    units: dict[str, Amount] = {}
    for text in given:
        name, is_said, amount = (part.strip() for part in text.partition("="))
        if not is_said or not name or not amount or name in limits or name in units:
            raise checks.refused("a limit", "must be a name and an amount, each name once, such as runs=100", text)
        if name in ("runs", "depth"):
            limits[name] = int(amount) if amount.isdecimal() and len(amount) < MAX_DIGITS else amount
        elif name == "seconds":
            limits[name] = amount
        else:
            units[name] = written(amount, name)
    return Budget(**limits, units=units)


def written(text: str, subject: str) -> Decimal:
    """An amount that somebody wrote, exactly.

    Raises:
        UsageError: it is none.
    """
    try:
        return Decimal(text if len(text) < MAX_DIGITS else "")
    except InvalidOperation:
        raise checks.refused(subject, "must be a number", text) from None


def _again(runs: int | None, depth: int | None, seconds: Duration | None, units: dict[str, Amount]) -> Budget:
    return Budget(runs=runs, depth=depth, seconds=seconds, units=units)


def _mapping(value: Any) -> Mapping[str, Amount]:
    if not isinstance(value, Mapping):
        raise checks.refused("units", 'must be a dict such as {"usd": 5}', value)
    return value  # pyright: ignore[reportUnknownVariableType]  # anybody's


def millionths(amounts: Mapping[str, Amount], subject: str) -> dict[str, int]:
    """Amounts as they are stored. A float is taken as it is written (0.1 is a tenth); what is less than a millionth is
    one.

    Raises:
        UsageError: one can't be.
    """
    if len(amounts) > MAX_UNITS:
        raise UsageError(f"{subject} may name {MAX_UNITS} units at most, and names {len(amounts)}")
    return {_unit(unit, subject): _millionths(amount, f"{unit} of {subject}") for unit, amount in amounts.items()}


def _unit(unit: Any, subject: str) -> str:
    if not isinstance(unit, str) or not unit or unit.startswith("~"):
        raise checks.refused(f"a unit of {subject}", 'must be a name, such as "usd"', unit)
    if unit in {"runs", "depth", "seconds"}:
        raise UsageError(f"{unit} is no unit of {subject}: it is a limit of its own, Budget({unit}=...)")
    return checks.storable(unit, f"a unit of {subject}", MAX_UNIT_LENGTH)


def _millionths(amount: Any, subject: str) -> int:
    if not isinstance(amount, (int, float, Decimal)) or isinstance(amount, bool):
        raise checks.refused(subject, "must be a number", amount)
    try:
        exact = Decimal(repr(float(amount))) if isinstance(amount, float) else Decimal(amount)
        if not exact.is_finite():
            raise checks.refused(subject, "must be a finite number", amount)
        if exact < 0:
            raise checks.refused(subject, "must not be negative", amount)
        if exact > MOST // SCALE:
            raise checks.refused(subject, f"must be at most {MOST // SCALE:,}", amount)
        scaled = int(_EXACT.multiply(exact, SCALE).to_integral_value(context=_EXACT))
    except (InvalidOperation, OverflowError) as error:
        raise checks.refused(subject, "must be a number", amount) from error
    return max(scaled, 1) if exact else 0
