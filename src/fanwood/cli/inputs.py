"""JSON as it is given on a command line: in the argument, in a file, on stdin."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from fanwood.cli.base import Sentence


def read_json(given: str, option: str) -> Any:
    """`given` is JSON, `@file`, or `-` for stdin.

    Raises:
        Sentence: it can't be read, or is no JSON; says where.
    """
    if given == "-":
        return parse_json(sys.stdin.read(), f"{option} (from stdin)")
    if given.startswith("@"):
        try:
            content = Path(given[1:]).read_text(encoding="utf-8")
        except OSError as error:
            raise Sentence(f"{option}: {given[1:]} can't be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise Sentence(f"{option}: {given[1:]} is not UTF-8 text: byte {error.start}") from None
        return parse_json(content, f"{option} ({given[1:]})")
    return parse_json(given, option)


def parse_json(content: str, what: str) -> Any:
    try:
        found = json.loads(content, parse_constant=_no_constant)
        json.dumps(found, ensure_ascii=False).encode()
        return found
    except UnicodeEncodeError:
        raise Sentence(f"{what} has half of a surrogate pair in a text, which is no character") from None
    except json.JSONDecodeError as error:
        line = error.doc.splitlines()[error.lineno - 1] if error.doc.strip() else ""
        near = f", at {line[max(0, error.colno - 1) :][:20]!r}" if line[error.colno - 1 :] else ""
        hint = "" if '"' in content or "{" not in content else " In a shell, put JSON in single quotes."
        raise Sentence(
            f"{what} is not JSON: line {error.lineno}, column {error.colno}{near}: {error.msg}.{hint}"
        ) from None
    except RecursionError:
        raise Sentence(f"{what} is nested too deeply") from None
    except ValueError as error:
        raise Sentence(f"{what} is not JSON: {error}") from None


def read_metadata(given: str | None) -> dict[str, Any] | None:
    if given is None:
        return None
    value = read_json(given, "--metadata")
    if not isinstance(value, dict):
        raise Sentence(f'--metadata must be a JSON object such as \'{{"who": "me"}}\', and is {given!r}')
    return {str(key): item for key, item in value.items()}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]  # json's own types


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")
