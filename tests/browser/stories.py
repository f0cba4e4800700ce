"""What the pages are looked at with: some days of a made-up company, with everything in it that a page has to show."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from fanwood.ids import id_text
from fanwood.model.states import Waits
from tests.browser.rows import HOUR, MINUTE, SECOND, C, F, Q, R, W, Writer, X

MS = 1_000
TASKS = ("ingest", "region", "parse", "fetch", "clean", "index", "report")
SERVED = [task for task in TASKS if task != "report"]
AT_ONCE = 22
OUTAGE = (0.47, 0.52)
KINDS = ("ValueError", "KeyError", "TimeoutError")


def company(file: Path, now: int, *, parts: int = 60, lease: int = HOUR) -> dict[str, str]:
    """Ids of trees by name, and that of a run that failed. `parts`: how many runs the large one has in each region."""
    writer = Writer(file, now, lease=lease)
    ingest, failed = _ingest(writer, parts)
    trees = {
        "ingest": ingest,
        "failed": failed,
        "fibonacci": _fibonacci(writer),
        "onboarding": _onboarding(writer),
        "agent": _agent(writer),
    }
    trees["assistant"], trees["answer"] = _assistant(writer)
    trees["billing"] = _billing(writer)
    _mails(writer)
    _events(writer)
    _publish(writer)
    writer.write()
    return {name: id_text(root) for name, root in trees.items()}


def failure(kind: str, number: int, at: str = "parse") -> dict[str, str]:
    message = {
        "ValueError": f"bad row {number} in part-{number % 17}.csv",
        "KeyError": f"'customer-{number}'",
        "TimeoutError": f"no answer from 10.0.{number % 200}.7:5432 after {5 + number % 25} s",
    }[kind]
    frames = (
        '  File "/usr/lib/python3.12/asyncio/tasks.py", line 314, in __step_run_and_handle_result\n'
        "    result = coro.send(None)\n"
        f'  File "/srv/ingest/pipeline.py", line 48, in {at}\n    rows = [load(row) for row in reader]\n'
        f'  File "/srv/ingest/rows.py", line 23, in load\n    raise {kind}(row)\n'
    )
    trace = f"Traceback (most recent call last):\n{frames}{kind}: {message}\n"
    return {"kind": "failed", "type": kind, "message": message, "traceback": trace}


def _ingest(writer: Writer, parts: int) -> tuple[bytes, bytes]:
    """A large one, under way: of each region some have failed, some run, many wait; one task has no worker."""
    begin = writer.now - 4 * MINUTE - 12 * SECOND
    first, second = (
        writer.worker(f"ingest-{n}", f"build-0{n}.example", SERVED, slots=48, up=26 * HOUR) for n in (1, 2)
    )
    root = writer.run(
        "ingest",
        R,
        at=begin,
        input={"bucket": "s3://acme-raw/2026-11", "regions": 4},
        worker_id=first,
        metadata={"team": "data", "ticket": "OPS-1142"},
    )
    writer.key(root, "ingest-2026-11-26")
    writer.log(root, "listing s3://acme-raw/2026-11", at=begin + 40 * MS)
    writer.log(root, "4 regions, 1 skipped: 'antarctica' has no bucket", at=begin + 900 * MS, level="warning")
    failed: list[bytes] = []
    for place, name in enumerate(("europe", "america", "asia", "africa")):
        state = C if name == "europe" else R
        region = writer.run(
            "region",
            state,
            root,
            at=begin + place * 3 * SECOND,
            took=170 * SECOND,
            child_key=name,
            input={"region": name},
            worker_id=first,
            busy=900 * MS,
            output={"parts": parts},
        )
        failed += _parts(
            writer, region, parts, begin + place * 3 * SECOND, (first, second), 1.0 if state is C else 0.86
        )
    writer.run("report", Q, root, at=begin + 20 * SECOND, input={"to": "data@example.com"})
    return root, failed[-1]


def _parts(
    writer: Writer, region: bytes, parts: int, begin: int, workers: tuple[int, int], share: float
) -> list[bytes]:
    """Up to `share` of the parts have ended, by and by; the frontier is under way. Those that failed."""
    failed: list[bytes] = []
    under_way = 0
    until = writer.now - begin - 4 * SECOND
    for n in range(parts):
        at = begin + SECOND + int(until * _warped(n / parts / share))
        mixed = (n * 761 + region[-1]) % 1000
        took = 20 * MS + mixed * 90 + (mixed > 985) * 9 * SECOND
        task, worker = "index" if n % 9 == 4 else "parse", workers[n % 2]
        common = {"input": {"part": f"part-{n}.csv", "rows": 1000}, "child_key": f"part-{n}"}
        if at + took > writer.now:
            at = min(at, writer.now - SECOND - (parts - n) * 100)
            under_way += 1
            is_queued = under_way > AT_ONCE
            writer.run(task, Q if is_queued else R, region, at=at, worker_id=None if is_queued else worker, **common)
        elif mixed % 37 == 5 or (OUTAGE[0] < n / parts < OUTAGE[1] and mixed % 4 == 1):
            failed.append(_failed(writer, task, region, at, took, n, worker, common))
        elif mixed % 53 == 3 and share < 1:
            due = writer.now + 40 * SECOND
            writer.run(task, W, region, at=at, attempt=1, retry_count=1, due_at=due, **common)
        elif mixed % 61 == 7:
            writer.run(task, X, region, at=at, took=took, **common)
        else:
            run = writer.run(task, C, region, at=at, took=took + 30 * MS, busy=took // 2, output={"rows": mixed},
                             worker_id=worker, **common)  # fmt: skip
            if task == "parse" and n % 3:
                fetched = {"bytes": mixed * 4096}
                writer.run("fetch", C, run, at=at + 4 * MS, took=took // 2, output=fetched, worker_id=worker)
                writer.run("clean", C, run, at=at + 8 * MS + took // 2, took=took // 3, output=mixed, worker_id=worker)
    return failed


def _warped(part: float) -> float:
    """Nothing goes on evenly."""
    return part + 0.018 * math.sin(17 * part) + 0.008 * math.sin(61 * part)


def _failed(
    writer: Writer, task: str, region: bytes, at: int, took: int, n: int, worker: int, common: dict[str, Any]
) -> bytes:
    """After three attempts, of which the first was lost with its worker."""
    kind = KINDS[2 if n * 11 % 7 < 4 else n // 2 % 2]
    error = failure(kind, n, task)
    run = writer.run(
        task, F, region, at=at, took=took, error=error, attempt=3, retry_count=1, worker_id=worker, **common
    )
    for number, of in ((1, None), (2, error)):
        writer.attempt(run, number, at=at + number * 5 * MS, took=4 * MS, worker="ingest-1", error=of)
    writer.log(run, f"reading part-{n}.csv", at=at + 3 * MS, attempt=3)
    writer.log(run, f"row {n} has 7 columns, and not 8", at=at + 9 * MS, level="error", attempt=3)
    return run


def _fibonacci(writer: Writer) -> bytes:
    """Recursion: one path, that many levels deep."""
    at = writer.now - 3 * HOUR

    def fibonacci(n: int, parent: bytes | None, at: int) -> bytes:
        run = writer.run("fibonacci", C, parent, at=at, took=(n + 1) * 11 * MS, busy=2 * MS, input=n, output=n)
        if n > 1:
            fibonacci(n - 1, run, at + 3 * MS)
            fibonacci(n - 2, run, at + 5 * MS)
        return run

    return fibonacci(9, None, at)


def _onboarding(writer: Writer) -> bytes:
    """A workflow with its steps."""
    at = writer.now - 9 * MINUTE
    root = writer.run(
        "onboarding", R, at=at, kind=1, input={"customer": "Ørsted & Søn"}, metadata={"team": "growth"}, worker_id=1
    )
    for place, (step, state) in enumerate((("account", C), ("quota", C), ("welcome", F), ("import", R), ("call", Q))):
        writer.run(
            f"onboarding:{step}",
            state,
            root,
            kind=2,
            at=at + place * 4 * SECOND,
            took=2 * SECOND,
            output={},
            error=failure("TimeoutError", 3) if state is F else None,
            child_key=step,
            worker_id=1 if state is R else None,
        )
    return root


def _agent(writer: Writer) -> bytes:
    """A run with recorded steps, and a sleep."""
    at = writer.now - 31 * SECOND
    root = writer.run(
        "agent", R, at=at, input={"ask": "which invoices are late?"}, metadata={"team": "finance"}, worker_id=2
    )
    for step in range(12):
        writer.run(
            "~model" if step % 2 else "~tool", C, root, kind=10, at=at + step * 2 * SECOND, took=SECOND, output="done"
        )
    writer.run("~sleep", W, root, kind=11, at=writer.now - 5 * SECOND, due_at=writer.now + HOUR)
    return root


def _assistant(writer: Writer) -> tuple[bytes, bytes]:
    """Its code is unloaded while it waits; below it one that gives out an answer, at its second attempt."""
    at = writer.now - 14 * SECOND
    children = int(Waits.CHILDREN)
    root = writer.run("assistant", W, at=at - SECOND, attempt=1, waits=children, input={"ask": "who is late?"})
    writer.key(root, "question-4711")
    found = writer.run("research", W, root, at=at, attempt=1, waits=children, input={"about": "Acme"})
    writer.run("search", R, found, at=at + SECOND, input={"query": "Acme, late payments"}, worker_id=2)
    run = writer.run("answer", R, root, at=at, attempt=2, retry_count=1, input={"tone": "friendly"}, worker_id=2)
    writer.attempt(run, 1, at=at + 5 * MS, took=3 * SECOND, worker="ingest-2", error=failure("TimeoutError", 3, "ask"))
    for number, (attempt, text) in enumerate(((1, "Three invoices "), (1, "are"), *((2, word) for word in ANSWER))):
        writer.chunk(run, text, at=at + number * 90 * MS, attempt=attempt)
    return root, run


TEXT = """Three invoices of October are late: Acme (12 days), Ørsted & Søn (9 days), and Initech (2 days).

Acme has paid late in each of the last four months. I would call them; the others have most likely just forgotten,
and a friendly mail will"""
ANSWER = [f"{word} " for word in TEXT.split(" ")]


def _billing(writer: Writer) -> bytes:
    """Ended badly some hours ago."""
    at = writer.now - 7 * HOUR
    root = writer.run(
        "billing",
        F,
        at=at,
        took=2 * MINUTE,
        input={"month": "2026-10"},
        metadata={"team": "finance"},
        error=failure("KeyError", 4711, "invoice"),
        worker_id=1,
    )
    for n in range(30):
        writer.run(
            "invoice",
            X if n > 26 else F if n == 26 else C,
            root,
            at=at + n * 3 * SECOND,
            took=2 * SECOND,
            input={"customer": n},
            output={"total": n * 100},
            error=failure("KeyError", 4711, "invoice") if n == 26 else None,
        )
    return root


def _mails(writer: Writer) -> None:
    """Small ones, many: what fills a list."""
    for n in range(130):
        state = X if n % 41 == 7 else F if n % 29 == 11 else C
        writer.run(
            "mail",
            state,
            at=writer.now - 10 * MINUTE - n * 7 * MINUTE,
            took=300 * MS + n * 7 * MS,
            input={"to": f"user-{n}@example.com"},
            output={"id": n},
            error=failure("TimeoutError", n, "send") if state is F else None,
            metadata={"team": ("growth", "finance", "data")[n % 3]},
        )


def _events(writer: Writer) -> None:
    """What has happened, the last one a moment ago."""
    for n in reversed(range(64)):
        key, scope, payload, metadata = (
            ("order:paid", str(70 + n % 9), {"order_id": 8_100 - n, "amount": f"{19 + n}.90", "by": "card"}, None),
            ("invoice:approved", None, {"invoice": 412 - n, "by": "ada"}, {"from": "finance"}),
            ("order:paid", str(70 + n % 7), {"order_id": 8_100 - n, "amount": f"{9 + n}.50", "by": "cash"}, None),
            ("mail:bounced", f"customer-{n}", {"to": f"user-{n}@example.com", "code": 550}, {"host": "web-01"}),
        )[n % 4]
        writer.event(key, payload, at=writer.now - 40 * SECOND - n * 6 * MINUTE, scope=scope, metadata=metadata)
    writer.event("deploy:done", {"version": "4.2.0", "token": "s3cret"}, at=writer.now - 9 * SECOND, id="deploy/4.2.0")


def _publish(writer: Writer) -> None:
    about = {
        "ingest": "Reads what a bucket holds, region by region.",
        "region": "All parts of one region.",
        "parse": "One part: fetched, cleaned, counted.",
        "index": "What can be searched later.",
        "fetch": "",
        "clean": "",
        "report": "Mails who asked for it.",
        "mail": "One message to one person.",
        "fibonacci": "Calls itself.",
        "agent": "Answers a question with tools.",
        "billing": "A month's invoices.",
        "invoice": "One customer's.",
    }
    for name, text in about.items():
        writer.task(name, text, schema=SCHEMAS.get(name))
    writer.task("onboarding", "A new customer, step by step.", "workflow")
    writer.worker("mail-1", "web-01.example", ["mail", "billing", "invoice"], slots=4, up=3 * HOUR)


SCHEMAS = {
    "ingest": {
        "title": "Ingest",
        "type": "object",
        "required": ["bucket"],
        "properties": {
            "bucket": {"type": "string", "description": "Where the parts lie."},
            "regions": {"type": "integer", "default": 4, "minimum": 1, "description": "How many at most."},
            "mode": {"enum": ["full", "incremental"], "default": "full"},
            "dry": {"type": "boolean", "default": False, "description": "Only look."},
        },
    },
    "fibonacci": {"type": "integer"},
    "mail": {
        "title": "Mail",
        "type": "object",
        "required": ["to"],
        "properties": {"to": {"type": "string", "format": "email"}, "subject": {"type": "string"}},
    },
}
