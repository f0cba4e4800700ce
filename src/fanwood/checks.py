"""What callers give, checked where it is given: the error names the option, says what it may be, and what it is.

A value that one store can't hold is refused for all of them, so that a program means the same on each.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from fanwood import durations
from fanwood.errors import UsageError

if TYPE_CHECKING:
    from fanwood.errors import FanwoodError

Error = type["FanwoodError"]

INT32 = 2**31 - 1
"""What the stores' columns for counts and priorities hold."""
MAX_KEY_LENGTH = 500
MAX_NAME_LENGTH = 200
"""Of a task, a step and the like. A namespace, a workflow and a step together fit into an index entry of PostgreSQL."""
MAX_NAMESPACE_LENGTH = 100
MAX_TEXT_LENGTH = 10_000
_LONG_WORD = re.compile(r"\S{300,}")
MOST_OF_A_LINE = 2000
"""Characters of an error that are shown in one line;"""
MOST_OF_AN_ERROR = 1_000_000
"""and of one that are looked at."""


def shown(value: Any) -> str:
    """A value in a message: short, on one line, whatever its class does."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  (the user's own class; or an int of too many digits)
        text = f"(a {type(value).__name__} that can't be shown)"
    return cut(text, 80)


def cut(text: str, most: int) -> str:
    """So many characters of it."""
    return text if len(text) <= most else f"{text[:most]}..."


def in_short(text: str) -> str:
    """An error without the whole of what somebody gave: whatever that was, it can be read."""
    lines = [_LONG_WORD.sub(lambda word: cut(word[0], 80), line) for line in text[:MOST_OF_AN_ERROR].splitlines()]
    return "\n".join(cut(line, MOST_OF_A_LINE) for line in lines)


def refused(subject: str, must: str, value: Any, error: Error = UsageError) -> FanwoodError:
    """The error for a value that can't be."""
    return error(f"{subject} {must}, and is {shown(value)}")


def whole(value: Any, subject: str, low: int = -INT32 - 1, high: float = INT32, *, error: Error = UsageError) -> int:
    """A whole number. True and 1.0 are none."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise refused(subject, "must be a whole number", value, error)
    if value < low:
        must = "must not be negative" if low == 0 else f"must be at least {low:,}"
        raise refused(subject, must, value, error)
    if value > high:
        raise refused(subject, f"must be at most {high:,}", value, error)
    return value if type(value) is int else int(value)


def real(value: Any, subject: str, high: float = math.inf, *, error: Error = UsageError) -> float:
    """A finite number that is not negative."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise refused(subject, "must be a number", value, error)
    if not -math.inf < value < math.inf:
        raise refused(subject, "must be a finite number", value, error)
    if value < 0:
        raise refused(subject, "must not be negative", value, error)
    if value > high:
        raise refused(subject, f"must be at most {high:,.0f}", value, error)
    try:
        return float(value)
    except OverflowError:
        raise refused(subject, "must be a number that a float can hold", value, error) from None


def flag(value: Any, subject: str, *, error: Error = UsageError) -> bool:
    """True or False, and nothing that only counts as one."""
    if not isinstance(value, bool):
        raise refused(subject, "must be True or False", value, error)
    return value


def seconds(value: Any, subject: str, *, zero: bool = False, error: Error = UsageError) -> float:
    """A duration, in seconds; above zero, unless `zero` is one as well."""
    try:
        result = durations.parse(value)
    except ValueError as problem:
        raise refused(subject, str(problem), value, error) from None
    if not zero and result == 0:
        raise refused(subject, "must be above zero", value, error)
    return result


def waiting(value: Any, subject: str = "timeout") -> float | None:
    """How long to wait, in seconds; None: without end."""
    return None if value is None else seconds(value, subject, zero=True)


def storable(value: Any, subject: str, longest: int, *, error: Error = UsageError) -> str:
    """Text that every store can hold; of an instance of a subclass (an enum, say) the text that it is."""
    if not isinstance(value, str):
        raise error(f"{subject} must be text, and is {shown(value)} ({type(value).__name__})")
    if len(value) > longest:
        raise error(f"{subject} must have at most {longest:,} characters, and has {len(value):,}: {value[:40]!r}...")
    if "\0" in value or has_surrogates(value):
        raise refused(subject, "must be text that can be stored (no NUL, no lone surrogate)", value, error)
    return value if type(value) is str else str.__str__(value)


def has_surrogates(text: str) -> bool:
    """Whether it holds halves of surrogate pairs, and so can't be written as UTF-8."""
    return not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)


def needed_key(value: Any, subject: str, why: str) -> str:
    """A key that must be; `why` says so."""
    if isinstance(value, str) and not value:
        raise UsageError(f"{subject} must not be empty: {why}")
    return key(value, subject, why)


def key(value: Any, subject: str, otherwise: str) -> str:
    """A key; `otherwise` says what happens without one."""
    if isinstance(value, str) and not value:
        raise UsageError(f"{subject} must not be empty: leave it out {otherwise}")
    if isinstance(value, str) and len(value) > MAX_KEY_LENGTH:
        raise UsageError(
            f"{subject} must have at most {MAX_KEY_LENGTH} characters, and has {len(value):,}: {value[:40]!r}... "
            f"Give a hash of it, such as hashlib.sha256({subject}.encode()).hexdigest()"
        )
    return storable(value, subject, MAX_KEY_LENGTH)


def name(value: Any, subject: str, *, error: Error = UsageError, longest: int = MAX_NAME_LENGTH) -> str:
    """A name that people read and type: of a task, a workflow, a step, a namespace, a worker."""
    text = storable(value, subject, longest, error=error)
    if not text or not text.isprintable() or text != text.strip():
        must = "must be printable text, not empty, without blanks at its ends"
        raise refused(subject, must, text, error)
    return text


def task_name(value: Any, subject: str, *, error: Error, longest: int = MAX_NAME_LENGTH) -> str:
    """The name of a task, workflow or step: the two marks that names are put together with are kept free, and the one
    with which those begin that no worker executes."""
    if isinstance(value, str) and (":" in value or "/" in value):
        raise refused(subject, "must not hold ':' or '/'", value, error)
    if isinstance(value, str) and value.startswith("~"):
        raise refused(subject, "must not begin with '~', as sleeps and recorded steps do", value, error)
    return name(value, subject, error=error, longest=longest)
