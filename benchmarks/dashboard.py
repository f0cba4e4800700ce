"""The dashboard, measured: how soon a large tree is seen, what looking costs, and what it costs those who work.

    python -m benchmarks.dashboard --store sqlite --runs 1000001

In the end a table says what is asked beside what was found, for all stores. It takes some four minutes for each.
The server is a process of its own, as `fanwood ui` starts it; it is asked by HTTP, and by a browser if there is one.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.dashboard_browser import browsed
from benchmarks.dashboard_statements import statements
from benchmarks.databases import POSTGRES, SQLITE, STORES
from benchmarks.trees import Made, make, wide
from fanwood import Settings, SystemClock
from fanwood.ids import id_text
from fanwood.store.opening import store_for
from tests.postgres.cluster import Cluster

TICKS = os.sysconf("SC_CLK_TCK")
_TOOK = re.compile(r"duration: ([\d.]+) ms +(.{,100})")
ROUNDS = 3
"""Fan-outs of each kind, in turns; the best of each counts."""
SETTLE = 10.0
"""Seconds after which a server that did something has nothing more to do."""
PATIENCE = 120.0
"""Seconds after which what does not come is given up."""
SLOW = 50
"""Milliseconds that no statement is to take."""
FANOUT = """
import sys, time
from fanwood import Fanwood
app = Fanwood(sys.argv[1], local_worker=True)

@app.task
async def leaf(n: int) -> int:
    return n

@app.task
async def fan(n: int) -> int:
    return len(await leaf.aio_run_many([leaf.create_bulk_run_item(i) for i in range(n)]))

if __name__ == "__main__":
    ref = fan.run_no_wait(int(sys.argv[2]))
    print(ref.id, flush=True)
    sys.stdin.readline()
    begin = time.perf_counter()
    ref.result()
    print(time.perf_counter() - begin, flush=True)
    app.close()
"""


@dataclass
class Row:
    what: str
    value: float
    unit: str
    goal: str = ""


@dataclass
class Bench:
    """One store, and the server on it."""

    settings: Settings
    url: str
    process: subprocess.Popen[str]
    seconds: float
    rows: list[Row] = field(default_factory=list[Row])

    def note(self, what: str, value: float, unit: str, goal: str = "") -> None:
        self.rows.append(Row(what, value, unit, goal))
        print(f"  {what:<66} {value:>12,.2f} {unit:<4} {goal}", flush=True)

    def cpu(self) -> float:
        """Seconds of a processor that the server has taken."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def ask(self, path: str, body: Any = None) -> tuple[float, bytes]:
        """Seconds, and the answer."""
        headers = {"content-type": "application/json", "sec-fetch-site": "same-origin"}
        data = None if body is None else json.dumps(body).encode()
        begin = time.perf_counter()
        request = urllib.request.Request(f"{self.url}api/v1{path}", data, headers)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            content = answer.read()
        return time.perf_counter() - begin, content

    def each(self, what: str, paths: Iterable[str], goal: str = "<= 50") -> None:
        """How long these take, and how much of a processor."""
        cpu, took = self.cpu(), [self.ask(path)[0] * 1e3 for path in paths]
        self.note(f"{what}, median", median(took), "ms", goal)
        self.note(f"{what}, the slowest of {len(took)}", max(took), "ms")
        self.note(f"{what}, the server's processor time for one", (self.cpu() - cpu) * 1e3 / len(took), "ms")

    @contextmanager
    def looked_at(self, root: str, viewers: int) -> Iterator[None]:
        """So many tabs are open, and read what comes."""
        with self.watched(root, viewers) as streams:
            for stream in streams:
                threading.Thread(target=_drained, args=(stream,), daemon=True).start()
            yield

    @contextmanager
    def watched(self, root: str, viewers: int) -> Iterator[list[Any]]:
        """So many tabs are open; their streams."""
        with ExitStack() as stack:
            request = urllib.request.Request(
                f"{self.url}api/v1/live?topics=tree:{root}", headers={"sec-fetch-site": "same-origin"}
            )
            yield [stack.enter_context(urllib.request.urlopen(request, timeout=PATIENCE)) for _ in range(viewers)]


def _drained(stream: Any) -> None:
    with suppress(OSError, ValueError, AttributeError):  # it is closed meanwhile
        while stream.read1(65_536):
            pass


@contextmanager
def served(settings: Settings, seconds: float) -> Iterator[Bench]:
    environment = {**os.environ, "FANWOOD_DATABASE_URL": settings.database_url}
    command = [sys.executable, "-m", "fanwood", "ui", "--json", "--no-open", "--no-login", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    try:
        assert process.stdout is not None
        yield Bench(settings, json.loads(process.stdout.readline())["url"], process, seconds)
    finally:
        process.terminate()
        process.communicate()


def measure(bench: Bench, made: Made, fanout: int) -> None:
    """All that needs no browser, in an order in which nothing disturbs what comes after."""
    root = id_text(made.root)
    quiet(bench)
    picture(bench, root)
    single(bench, made)
    looking(bench, root)
    if fanout:
        beside(bench, fanout)
    acting(bench, root)


def picture(bench: Bench, root: str) -> None:
    """The tree, cold and warm."""
    begin, cpu, steps, first = time.perf_counter(), bench.cpu(), 0, 0.0
    with bench.watched(root, 1) as (stream,):
        while line := stream.readline():
            steps += line.startswith((b"event: view", b"event: delta"))
            first = first or (time.perf_counter() - begin if steps else 0.0)
            if steps and line.startswith(b"data:") and _is_whole(line):
                break
    bench.note("cold: something to see", first * 1e3, "ms", "<= 300")
    bench.note("cold: the whole picture", time.perf_counter() - begin, "s", "<= 2")
    bench.note("cold: the server's processor time", bench.cpu() - cpu, "s")
    bench.note("cold: pictures until it was whole", steps, "")
    _, content = bench.ask(f"/trees/{root}/view")
    warm = median(bench.ask(f"/trees/{root}/view")[0] for _ in range(9))
    bench.note("warm: the whole picture", warm * 1e3, "ms", "<= 300")
    bench.note("its bytes, gzipped", len(gzip.compress(content)) / 1e3, "kB", "<= 40")
    bench.note("kinds of failures", len(json.loads(content)["clusters"]), "", "3")


def _is_whole(line: bytes) -> bool:
    """Whether an event says that all has been read; a delta is written in whatever way."""
    return b'"done":1.0' in line or b'"done":1,' in line or b'"done":1}' in line


def single(bench: Bench, made: Made) -> None:
    """Any run, by its id, whole or not."""
    ids = asyncio.run(_some(bench.settings, made.root))
    bench.each("any run by its id", [f"/runs/{id_}" for id_ in ids])
    bench.each("a search by an id", [f"/search?q={id_}" for id_ in ids])
    bench.each("a search by its last 8 digits", [f"/search?q={id_[-8:]}" for id_ in ids])
    bench.each("a search for digits that nothing has", [f"/search?q=dead{n:04x}" for n in range(10)], "<= 100")
    bench.each("the critical path", [f"/trees/{id_text(made.root)}/critical-path"] * 9, "")
    bench.each("why the root has not ended", [f"/runs/{id_text(made.root)}/why"] * 9, "")
    took = asyncio.run(statements(bench.settings, made.root))
    bench.note(f"the slowest of {len(took):,} statements ({took[0][1]})", took[0][0], "ms", f"<= {SLOW}")


async def _some(settings: Settings, root: bytes) -> list[str]:
    store = store_for(settings, SystemClock())
    await store.open(lambda: None)
    try:
        found = [root]
        for byte in range(0, 256, 5):  # (ids of our trees end in a hash: begin anywhere between the first and last)
            first, last = (await store.children(root, limit=1))[0].id, root[:5] + b"\xff" * 11
            low, high = int.from_bytes(first[:6], "big"), int.from_bytes(last[:6], "big")
            after = (low + (high - low) * byte // 256).to_bytes(6, "big") + bytes(10)
            found += [run.id for run in await store.children(root, after=after, limit=1)]
        return [id_text(id_) for id_ in random.sample(found, min(50, len(found)))]
    finally:
        await store.close()


def looking(bench: Bench, root: str) -> None:
    """What it costs the server that somebody watches."""
    shares: list[float] = []
    for viewers in (1, 20):
        with bench.looked_at(root, viewers):
            time.sleep(2)
            cpu = bench.cpu()
            time.sleep(bench.seconds)
            shares.append((bench.cpu() - cpu) / bench.seconds * 100)
    bench.note("one tab watches: of a core", shares[0], "%", "<= 5")
    bench.note("each of 19 more tabs: of a core", (shares[1] - shares[0]) / 19, "%", "<= 1")
    failed = json.loads(bench.ask(f"/runs/{root}/members?state=failed&limit=1")[1])["runs"][0]["id"]
    with bench.watched(root, 1) as (stream,):
        _until(stream, lambda _: True)
        begin = time.perf_counter()
        bench.ask(f"/runs/{failed}/retry", {})
        _until(stream, lambda line: line.startswith(b"event: delta"))
        bench.note("a change is seen, after it was asked for", time.perf_counter() - begin, "s", "<= 1")
    quiet(bench, settle=SETTLE)


def _until(stream: Any, is_it: Callable[[bytes], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while (line := stream.readline()) and time.monotonic() < end:
        if is_it(line):
            return


def quiet(bench: Bench, settle: float = 1.0) -> None:
    """Nobody looks: nothing is asked."""
    time.sleep(settle)
    cpu, io = bench.cpu(), _io(bench.process.pid)
    time.sleep(bench.seconds)
    bench.note("nobody looks: processor time", (bench.cpu() - cpu) * 1e3, "ms", "<= 50")
    bench.note("nobody looks: calls that read or write", _io(bench.process.pid) - io, "", "0")


def _io(pid: int) -> int:
    lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("syscr", "syscw")))


def beside(bench: Bench, size: int) -> None:
    """A fan-out, with its page open and without, in turns."""
    took: dict[bool, list[float]] = {False: [], True: []}
    shares: list[float] = []
    for number in range(ROUNDS * 2):
        watched, cpu = number % 4 in (1, 2), bench.cpu()
        took[watched].append(_fanned(bench, size, watched=watched))
        if watched:
            shares.append((bench.cpu() - cpu) / took[watched][-1] * 100)
    without, with_ = size / min(took[False]), size / min(took[True])
    bench.note(f"fan-out of {size:,}: runs a second, nobody looks", without, "/s")
    bench.note("... and with its page open", with_, "/s")
    bench.note("... of that without", with_ / without * 100, "%", ">= 95")
    bench.note("... meanwhile the server takes of a core", median(shares), "%", "<= 6")


def _fanned(bench: Bench, size: int, *, watched: bool) -> float:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        script = Path(folder) / "fan.py"
        script.write_text(FANOUT, encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, str(script), bench.settings.database_url, str(size)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        root = process.stdout.readline().strip()
        if watched:
            stack.enter_context(bench.looked_at(root, 1))
        begin = time.perf_counter()
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        took = time.perf_counter() - begin
        process.communicate()
        return took


def acting(bench: Bench, root: str) -> None:
    """Retry all that failed."""
    asked = {"action": "retry", "filter": {"tree": root, "state": "failed"}, "dry_run": True}
    cpu = bench.cpu()
    took, content = bench.ask("/actions", asked)
    cpu, preview = bench.cpu() - cpu, json.loads(content)
    bench.note("preview of a retry of all that failed", took * 1e3, "ms", "<= 500")
    bench.note("... it says so many", preview["count"], "")
    bench.note("... the server's processor time for it", cpu * 1e3, "ms")
    took, content = bench.ask("/actions", {"token": preview["token"]})
    bench.note("it is accepted after", took * 1e3, "ms", "<= 1000")
    action, begin = json.loads(content)["id"], time.perf_counter()
    found: dict[str, Any] = {}
    while time.perf_counter() - begin < PATIENCE:
        [found] = [each for each in json.loads(bench.ask("/actions")[1])["actions"] if each["id"] == action]
        if "finished_at" in found:
            break
        time.sleep(0.2)
    bench.note(f"it is done ({found.get('done', 0):,} runs) after", time.perf_counter() - begin, "s")


def changes(bench: Bench, made: Made) -> Callable[[], object]:
    """What changes one run of the tree each time."""
    page = json.loads(bench.ask(f"/runs/{id_text(made.root)}/members?state=completed&limit=200")[1])
    ids = iter([run["id"] for run in page["runs"]])
    return lambda: bench.ask(f"/runs/{next(ids)}/replay", {})


def _slow(cluster: Cluster) -> list[str]:
    """Statements that took too long, each with its milliseconds. Vacuums are left out: nobody waits for them, and how
    long they take follows from what there is to clear away."""
    return [f"{took:>10} ms  {said}" for took, said in _TOOK.findall(cluster.log) if "vacuum" not in said]


@contextmanager
def stores(wanted: list[str]) -> Iterator[Iterator[tuple[str, Settings, Callable[[], list[str] | None]]]]:
    """Each store, and which statements of it have taken too long so far."""
    with ExitStack() as stack:

        def each() -> Iterator[tuple[str, Settings, Callable[[], list[str] | None]]]:
            for name in wanted:
                if name == SQLITE:
                    folder = stack.enter_context(tempfile.TemporaryDirectory())
                    yield name, Settings.load(database_url=f"sqlite:///{folder}/bench.db"), lambda: None
                else:
                    cluster = stack.enter_context(Cluster({"log_min_duration_statement": SLOW}))
                    url = cluster.create_database()
                    yield name, Settings.load(database_url=url), partial(_slow, cluster)

        yield each()


def table(found: dict[str, list[Row]]) -> str:
    """What is asked beside what was found; `!` where it is not kept."""
    of = {name: {_same(row.what): row for row in rows} for name, rows in found.items()}
    asked = {what: row for rows in of.values() for what, row in rows.items() if row.goal}
    heads = "".join(f"{name:>16}" for name in found)
    lines = [f"{'':<64}{'asked':>12}{heads}"]
    for what, row in asked.items():
        cells = [_cell(rows.get(what)) for rows in of.values()]
        lines.append(f"{what:<64}{f'{row.goal} {row.unit}':>12}{''.join(cells)}")
    return "\n".join(lines)


def _same(what: str) -> str:
    """Without what is in brackets, and numbers that differ from store to store."""
    return what.partition(" (")[0] if not what.startswith("the slowest of") else "the slowest statement"


def _cell(row: Row | None) -> str:
    if row is None:
        return f"{'-':>16}"
    sign, _, most = row.goal.rpartition(" ")
    most_ = float(most)
    kept = row.value >= most_ if sign == ">=" else row.value <= most_ if sign == "<=" else row.value == most_
    return f"{row.value:>14,.2f}{' ' if kept else '!':>2}"


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dashboard", description=__doc__)
    parser.add_argument("--store", choices=STORES, help="default: both")
    parser.add_argument("--runs", type=int, default=1_000_001)
    parser.add_argument("--failed", type=int, default=9_417)
    parser.add_argument("--fanout", type=int, default=100_000, help="0: none")
    parser.add_argument("--seconds", type=float, default=10.0, help="to watch for")
    parser.add_argument("--no-browser", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(given)
    found: dict[str, list[Row]] = {}
    with stores([options.store] if options.store else [SQLITE, POSTGRES]) as each:
        for name, settings, slow in each:
            print(f"{name}: a tree of {options.runs:,} runs", flush=True)
            made = asyncio.run(make(settings, wide(options.runs, failed=options.failed)))
            before = slow()
            with served(settings, options.seconds) as bench:
                measure(bench, made, options.fanout)
                if before is not None:
                    late = (slow() or [])[len(before) :]
                    bench.note(f"statements of anybody over {SLOW} ms, but for vacuums", len(late), "")
                    print("\n".join(late), end="\n" if late else "", flush=True)
                if not options.no_browser:
                    for row in browsed(bench.url, id_text(made.root), options.seconds, changes(bench, made)):
                        bench.note(*row)
                found[name] = bench.rows
    print(table(found), flush=True)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({name: [vars(row) for row in rows] for name, rows in found.items()}))
    return 0


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        raise SystemExit(main())
