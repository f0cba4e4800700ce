"""`fanwood token`: let somebody else look at the dashboard."""

from __future__ import annotations

import os
from pathlib import Path

from fanwood.cli import output
from fanwood.cli.base import Sentence
from fanwood.clock import MICROSECONDS, SystemClock


def token(name: str, path: str, role: str, namespace: str, lasts: float, as_json: bool) -> None:
    import msgspec

    from fanwood.checks import MAX_NAMESPACE_LENGTH
    from fanwood.checks import name as checked
    from fanwood.ids import new_secret
    from fanwood.server.identity import PREFIX, Token, digest

    name = checked(name, "NAME")
    namespace = namespace and checked(namespace, "--namespace", longest=MAX_NAMESPACE_LENGTH)
    secret = PREFIX + new_secret()
    expires = SystemClock().now() + round(lasts * MICROSECONDS)
    line = msgspec.json.encode(Token(name, digest(secret), role, namespace, expires)) + b"\n"
    try:
        number = os.open(Path(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(number, "ab") as file:
            file.write(line)
    except OSError as error:
        raise Sentence(f"{path} can't be written to: {error.strerror}") from None
    if as_json:
        about = {"name": name, "role": role, "namespace": namespace, "expires": expires, "token": secret}
        output.print_json(about)
    else:
        output.print_line(secret)
        output.note(f"To take it back, remove the line of {name} from {path}.")
