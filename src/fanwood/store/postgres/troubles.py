"""PostgreSQL's errors in our words: which pass by themselves, and what to do about the others.

What passes (the server restarts, a connection is cut, two transactions met crosswise, the disk is full) leaves nothing
half done, and the engine tries again. Everything else says what is to be done by a person.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from fanwood.errors import (
    StoreBusyError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
    StoreSchemaError,
    StoreUnavailableError,
    StoreValueError,
)
from fanwood.model.budgets import Overdrawn, Refusal
from fanwood.store.postgres.driver import driver

if TYPE_CHECKING:
    from collections.abc import Generator

OPENING_SECONDS = 10.0
"""How long to wait for a server that is just starting, when a process begins."""
REFUSED_SECONDS = 2.0
"""... and for one whose port nobody listens at: a restart takes about as long."""

_AWAY = ("08", "57P")  # classes: the connection; the server stops, starts, or was told to end us
_VALUES = ("22", "23", "54000")
"""Classes: data, constraints, limits. These say: this value."""
OVERDRAWN = "FWB01"
"""What our own functions raise if there is not so much (functions/12_budgets.sql)."""
_refused = msgspec.json.Decoder(list[tuple[str, Refusal]])
_STANDBY, _TOO_MANY = "25006", "53300"
_MEANINGS: tuple[tuple[tuple[str, ...], type[StoreError], str], ...] = (
    (
        (_STANDBY,),
        StoreUnavailableError,
        " can only be read ({}): it is a standby, or has become one. Work goes on when a primary answers.",
    ),
    (
        (_TOO_MANY,),
        StoreUnavailableError,
        " takes no more connections ({}). A process needs up to four: raise max_connections, or put pgbouncer between.",
    ),
    (
        ("40001", "40P01", "55P03"),  # serialization, deadlock, lock timeout
        StoreBusyError,
        ": two transactions met crosswise ({}).",
    ),
    (
        ("57014",),  # statement timeout
        StoreBusyError,
        ": a statement took too long ({}), and left nothing half done.",
    ),
    (
        ("53100", "53200", "53400"),
        StoreFullError,
        ": no space left to write ({}). What was acknowledged is safe; work goes on when there is room again.",
    ),
    (
        ("28000", "28P01", "3D000"),
        StoreError,
        " refuses us: {}. Check user, password and database in the URL.",
    ),
    (
        ("3F000", "42P01", "42883", "42703", "42704"),  # schema, table, function, column, type
        StoreSchemaError,
        ": the schema is not what this version of Fanwood expects ({}). Run: fanwood db migrate",
    ),
    (
        ("42501",),
        StoreReadOnlyError,
        ": {}. The role needs the grants that docs/howto/production.md lists; `fanwood db migrate` needs an owner's.",
    ),
)
"""From the server's codes to what they mean for us."""


@contextmanager
def translated(url: str) -> Generator[None, None, None]:
    """The driver's errors, in our words and with the URL (which has no password in it)."""
    try:
        yield
    except (OSError, TimeoutError) as error:
        raise _away(url, error) from error
    except StoreError:
        raise
    except (OverflowError, UnicodeError) as error:  # before anything was sent
        raise StoreValueError(f"{url}: a value that PostgreSQL can't hold: {error}") from error
    except Exception as error:
        translation = _translation(url, error)
        if translation is None:
            raise
        raise translation from error


def _translation(url: str, error: Exception) -> Exception | None:
    asyncpg = driver()
    if isinstance(error, asyncpg.PostgresError):
        if getattr(error, "sqlstate", "") == OVERDRAWN:
            return Overdrawn({bytes.fromhex(run): why for run, why in _refused.decode(_first_line(error))})
        return _of_the_server(url, str(getattr(error, "sqlstate", "") or ""), error)
    if isinstance(error, asyncpg.ClientConfigurationError):
        return StoreError(f"{url} can't be used as it is: {error}.")
    if isinstance(error, asyncpg.DataError):  # in the client, before anything was sent
        return StoreValueError(f"{url}: a value that PostgreSQL can't hold: {error}")
    if isinstance(error, (asyncpg.InterfaceError, asyncpg.InternalClientError)):
        return _away(url, error)  # closed under us, in one of many ways
    return None


def _of_the_server(url: str, code: str, error: Exception) -> StoreError:
    if code == "0A000" and "during recovery" in str(error):
        code = _STANDBY
    if "unsupported startup parameter" in str(error):
        return StoreError(
            f"{url} is pgbouncer ({_first_line(error)}), and has to be called so: set FANWOOD_PGBOUNCER=1, or "
            f"Fanwood(pgbouncer=True). See docs/howto/production.md"
        )
    if code not in {_STANDBY, _TOO_MANY} and code.startswith(_AWAY):
        return _away(url, error)
    for codes, kind, text in _MEANINGS:
        if code in codes:
            return kind(f"{url}{text.format(_first_line(error))}")
    kind = StoreValueError if code.startswith(_VALUES) else StoreError
    return kind(f"{url}: {type(error).__name__} ({code or 'no code'}): {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    """Without the server's details and hints: they are about statements that nobody but us knows."""
    return str(error).partition("\n")[0]


def _away(url: str, error: BaseException) -> StoreUnavailableError:
    said = (_first_line(error) or type(error).__name__).rstrip(".")
    return StoreUnavailableError(f"{url} does not answer: {said}.")


def is_worth_waiting_for(error: StoreUnavailableError, waited: float) -> bool:
    """Somebody is there, but isn't ready; or nobody is, or the connection was cut, but he may be back in a moment."""
    cause, code = error.__cause__, getattr(error.__cause__, "sqlstate", None) or ""
    if code in {"57P03", "57P01", "57P02", "53300"}:
        return waited < OPENING_SECONDS
    cut = isinstance(cause, (ConnectionError, driver().InterfaceError)) or code.startswith("08")
    return cut and waited < REFUSED_SECONDS
