"""A copy of our functions that can be stopped: before each statement that touches a table or a lock, and within it,
when it has its snapshot and has read nothing.

The copy is made of the text in `functions/` whenever it is wanted, so nothing is to be kept in step with it. What is
put in changes neither what a statement does nor what PL/pgSQL knows after it (`found`, the count of rows).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fanwood.store.postgres.release import LAYER, in_layer, present

LOCK = 1178690000
"""The doors that a session waits at: advisory locks of this class, shared. Whoever stopped it holds its door."""

STEPS = f"""
create schema if not exists steps;
-- 'all': say what is passed; a number: stop at the so-manieth. Nothing for a session that hasn't been asked to stop.
create or replace function steps.pass(label text) returns boolean language plpgsql as $$
declare
    stop constant text := coalesce(current_setting('steps.stop', true), '');
    n integer;
begin
    if stop = '' then
        return true;
    end if;
    n := current_setting('steps.n')::integer + 1;
    perform pg_catalog.set_config('steps.n', n::text, false);
    if stop = 'all' then
        raise notice 'step %', label;
    elsif n = stop::integer then
        raise notice 'step %', label;
        perform pg_advisory_lock_shared({LOCK}, current_setting('steps.door')::integer);
        perform pg_advisory_unlock_shared({LOCK}, current_setting('steps.door')::integer);
    end if;
    return true;
end $$;
grant usage on schema steps to public;
"""

_FUNCTION = re.compile(r"create function fw_(\w+)\(.*?\nas \$\$\n(.*?)\$\$;", re.DOTALL)
_TOKEN = re.compile(r"--[^\n]*|'(?:[^']|'')*'|[a-z_]\w*|<<|>>|:=|\s+|.", re.IGNORECASE | re.DOTALL)
_TABLES = (
    "run|gate|worker|lease|worker_task|task|watch|mail|unheard|idem|moved_deadline|log|attempt|setting|pause|urgency|"
    "shared|hedge|budget|spend|tree|fork|awaited|suspended|event|message|value|pg_locks"
)
_TOUCHES = re.compile(
    rf"\b(?:from|join|into|update|using)\s+(?:{_TABLES})\b(?!\s*\()|advisory|\bfw_(?:enter_gates|take_away|count_members)\b"
)


def instrumented(planted: tuple[str, str] = ("", "")) -> dict[str, str]:
    """The layer's functions, to be stopped, by their names; each replaces the one that is there. With a fault, if one
    is planted: one text in place of another."""
    source = present().functions
    assert planted[0] in source, f"the functions don't say any more: {planted[0]}"
    source = source.replace(*planted) if planted[0] else source
    return {
        name: in_layer(f"{head}{_with_stops(name, body)}$$;", LAYER).replace("create ", "create or replace ", 1)
        for name, head, body in _functions(source)
    }


def _functions(text: str) -> Iterator[tuple[str, str, str]]:
    """Of each in PL/pgSQL: its name, what comes before its body, its body."""
    for part in re.split(r"(?=^create function )", text, flags=re.MULTILINE):
        match = _FUNCTION.match(part)
        if match is not None and "language plpgsql" in part:
            yield match[1], match[0][: match.start(2)], match[2]


def _with_stops(name: str, body: str) -> str:
    begin = re.search(r"^begin$", body, re.MULTILINE)
    assert begin is not None, name
    made = [body[: begin.start()]]
    for number, (before, statement) in enumerate(_statements(body[begin.start() :]), 1):
        made.append(before)
        keyword = statement.split(None, 1)[0].lower() if statement.strip() else ""
        if _TOUCHES.search(statement):
            assert keyword not in {"while", "elsif", "get"}, f"{name}: {statement}"
            label = (
                f"{name}:{number} {' '.join(statement.split())[:60]}".replace("'", '"')
                .replace("$", "")
                .replace("%", "")
            )
            made.append(f"assert steps.pass('{label}'); {_within(statement, label)}")
        elif keyword == "return" and name in _TOP:
            made.append(f"assert steps.pass('{name}:{number} all is done'); {statement}")
        else:
            made.append(statement)
    return "".join(made)


_TOP = {"commit", "commit_steps", "push_at_once", "renew", "tick", "sweep", "tell_deadlines"}
"""Each a transaction of its own: there is a moment between the last statement and the commit."""


def _within(statement: str, label: str) -> str:
    """A statement that stops once more when it has a snapshot: a condition without columns is looked at first."""
    where = re.search(r"(?<!filter \()\bwhere ", statement)
    if where is None:
        return statement
    return f"{statement[: where.end()]}(select steps.pass('... {label}')) and {_conditions(statement[where.end() :])}"


def _conditions(rest: str) -> str:
    """What follows `where`, in parentheses, up to where its conditions end."""
    depth = 0
    for match in _TOKEN.finditer(rest):
        token = match[0].lower()
        depth += (token == "(") - (token == ")")
        if depth < 0 or (
            depth == 0
            and (
                token in {";", "order", "group", "limit", "for", "offset", "returning", "union", "on", "loop", "window"}
            )
        ):
            return f"({rest[: match.start()].rstrip()}) {rest[match.start() :]}"
    raise AssertionError(rest)


def _statements(body: str) -> Iterator[tuple[str, str]]:
    """PL/pgSQL, cut at where its statements begin: what stands before each (blanks, comments), and itself; of one that
    holds others, only its head."""
    tokens = list(_TOKEN.finditer(body))
    at = 0
    while at < len(tokens):
        start = at
        while at < len(tokens) and (tokens[at][0].isspace() or tokens[at][0].startswith("--")):
            at += 1
        before = "".join(token[0] for token in tokens[start:at])
        start = at
        at = _end(tokens, at)
        yield before, "".join(token[0] for token in tokens[start:at])


def _end(tokens: list[re.Match[str]], at: int) -> int:
    """Behind the statement, or the head of one, that begins here."""
    if at >= len(tokens):
        return at
    first = tokens[at][0].lower()
    if first in {"begin", "else", "loop", "exception"} and not _is_raise(tokens, at):
        return at + 1
    until = {"if": "then", "elsif": "then", "when": "then", "for": "loop", "foreach": "loop", "while": "loop"}.get(
        first, ";"
    )
    depth = cases = 0
    for here in range(at, len(tokens)):
        token = tokens[here][0].lower()
        depth += (token == "(") - (token == ")")
        if first != "end":
            cases += (token == "case") - (token == "end" and cases > 0)
        if token == until and depth == 0 and cases == 0:
            return here + 1
    return len(tokens)


def _is_raise(tokens: list[re.Match[str]], at: int) -> bool:
    return at > 1 and tokens[at - 2][0].lower() == "raise"
