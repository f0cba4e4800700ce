"""Database URLs: whether one can be read, and what may be shown of it. A password never, not even a mistyped one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from fanwood.errors import SettingsError, StoreUnavailableError

if TYPE_CHECKING:
    from pathlib import Path

_HOST = r"(?:\[[^\]@/?#\s]*\]|[^\[\]:,@/?#\s]*)(?::\d{0,5})?"
_PAIR = r"[^=&#\s]+=[^&#\s]*"
_SERVER = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://"
    r"(?:(?P<user>[^:@/?#\s]*)(?P<password>:[^@/?#\s]*)?@)?"
    rf"(?P<hosts>{_HOST}(?:,{_HOST})*)(?P<path>/[^@?#\s]*)?"
    rf"(?:\?(?P<query>{_PAIR}(?:&{_PAIR})*)?)?",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_PORT = re.compile(r":(\d+)(?=,|$)")
_LAST_PORT = 65535
_HIDDEN = "***"


def check_server_url(url: str) -> None:
    """A server's URL must be unambiguous: drivers differ in what they make of the others.

    Raises:
        SettingsError: it is not.
    """
    found = _SERVER.fullmatch(url)
    if found is None:
        raise SettingsError(
            f"The database URL {without_password(url)!r} can't be read. It has the form "
            f"postgresql://user:password@host:port/database?name=value; in each part, characters such as @ : / ? # are "
            f"percent-encoded (a / is %2F)"
        )
    if any(int(port) > _LAST_PORT for port in _PORT.findall(found["hosts"])):
        raise SettingsError(f"The database URL {without_password(url)!r} names a port that can't be: the last is 65535")


def no_file(path: Path) -> StoreUnavailableError:
    """Where a database is only looked at, none is made."""
    return StoreUnavailableError(f"{path} does not exist: nothing has run there yet.")


def without_password(url: str) -> str:
    """The URL as it may be shown; of one that can't be read no more than its beginning."""
    if url.startswith(("sqlite:", "memory:")):
        return url
    found = _SERVER.fullmatch(url)
    if found is None:
        scheme = _SCHEME.match(url)
        if scheme is None and not set(url) & set("=@:"):
            return url  # no URL at all
        return f"{scheme[0] if scheme else ''}{_HIDDEN}"
    user = "" if found["user"] is None else f"{found['user']}{':' + _HIDDEN if found['password'] else ''}@"
    query = "" if not found["query"] else f"?{'&'.join(map(_shown, found['query'].split('&')))}"
    return f"{found['scheme']}://{user}{found['hosts']}{found['path'] or ''}{query}"


def _shown(pair: str) -> str:
    name, _, _ = pair.partition("=")
    return f"{name}={_HIDDEN}" if "pass" in unquote(name).lower() else pair
