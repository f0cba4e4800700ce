"""Processes on one store: workers, clients, and a client in this process; and how all of it comes to rest."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from fanwood import Context, Fanwood
from tests.chaos.backends import Backend
from tests.chaos.checker import Begin, Row, begins, check
from tests.chaos.hosts import Host
from tests.chaos.scale import scaled
from tests.faults.processes import AppProcess, until

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PYTHON = (sys.executable, "-u")
APP = (*PYTHON, str(HERE / "app.py"))
CLI = (*PYTHON, "-m", "fanwood", "worker", "tests.chaos.app:fanwood")
PAUSE = scaled(0.0, 0.05)
"""Of clients, after each root: in the short form there is work all the time, but not as much as the machine can do."""
TASKS = ("child", "parent", "patient", "stamp", "chain", "durables")


class Distant(AppProcess):
    """A process on a host of `tests.chaos.hosts`: signals are for it, and not for the one that put it there."""

    def signal(self, number: signal.Signals) -> None:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        for pid in children:
            os.kill(int(pid), number)


class Fleet:
    """Every process is reaped, whatever a scenario does. `settings` are those of each process, by their names."""

    def __init__(self, backend: Backend, folder: Path, url: str = "", **settings: Any) -> None:
        self.backend = backend
        self.url = url or backend.url  # perhaps by way of a proxy
        self.folder = folder
        self.settings: dict[str, Any] = settings
        self.journal = folder / "journal"
        self.journal.touch()
        self.processes: list[AppProcess] = []
        self._numbers = itertools.count()
        self._client: Fanwood | None = None
        self._pool = ThreadPoolExecutor(4, "waiting")

    # --- processes -------------------------------------------------------------------------------------------------

    def process(
        self,
        *arguments: str,
        program: tuple[str, ...] = APP,
        url: str = "",
        host: Host | str = "",
        **settings: object,
    ) -> AppProcess:
        """`host`: one that there is, or the name of one that it shall pass for."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FANWOOD_")},
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "FANWOOD_DATABASE_URL": url or self.url,
            "CHAOS_JOURNAL": str(self.journal),
            "CHAOS_HOST": host if isinstance(host, str) else "",
            "CHAOS_NAME": str(host),
            **{f"FANWOOD_{name.upper()}": _spelt(value) for name, value in {**self.settings, **settings}.items()},
        }
        log = self.folder / f"process-{next(self._numbers)}.log"
        if isinstance(host, str):
            process = AppProcess(list(arguments), environment, log, program)
        else:
            process = Distant(list(arguments), environment, log, host.program(program))
        self.processes.append(process)
        return process

    def worker(self, *tasks: str, **how: Any) -> AppProcess:
        """A worker that is about to start: it prints "started"."""
        return self.process("worker", *tasks, **how)

    def workers(self, count: int, *tasks: str, **how: Any) -> list[AppProcess]:
        """So many that have started."""
        return [worker.expect("started") for worker in [self.worker(*tasks, **how) for _ in range(count)]]

    def supervised(self, count: int) -> AppProcess:
        """`fanwood worker --processes`, whose workers have started."""
        supervisor = self.process("--processes", str(count), program=CLI)
        query = "select count(*) from worker where slots > 0"
        until(lambda: self.backend.rows(query) == [(count,)], f"{count} workers have started")
        return supervisor

    def clients(self, count: int, **about: object) -> list[AppProcess]:
        """Processes that start roots until they are told to stop."""
        about = {"pause": PAUSE, **about}
        started = [self.process("client", json.dumps({"name": f"client {n}", **about})) for n in range(count)]
        return [client.expect("begun") for client in started]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.dispose()
        if self._client is not None:
            self._client.close()
        self._pool.shutdown()
        self.backend.close()

    # --- violence --------------------------------------------------------------------------------------------------

    def freeze(self, process: AppProcess) -> None:
        """Not while it holds a lock that the others need."""
        process.freeze()
        while not self.backend.can_freeze():
            process.signal(signal.SIGCONT)
            process.freeze()

    # --- the client in this process --------------------------------------------------------------------------------

    @property
    def client(self) -> Fanwood:
        if self._client is None:
            self._client = Fanwood(self.url, local_worker=False, **self.settings)
            for name in TASKS:
                self._client.task(name=name)(_elsewhere)
            self._client.engine()
        return self._client

    def spawn(self, task: str, **input_: object) -> Any:
        return self.client.find(task).run_no_wait(input_)

    def answer(self, ref: Any, timeout: float = 600) -> Future[Any]:
        """The result of a run, waited for in a thread."""
        return self._pool.submit(ref.result, timeout)

    # --- what became of it -----------------------------------------------------------------------------------------

    def begins(self) -> list[Begin]:
        return begins(self.journal)

    def logs(self) -> str:
        return "".join(process.log for process in self.processes)

    def print_logs(self, lines: int = 12) -> None:
        """What a failure can be understood by: the ends of the logs, and what has not ended, and why."""
        begun = {(begin.run, begin.attempt) for begin in self.begins()}
        rows = self.backend.rows("select id, attempt, task, state, worker_id from run where state < 8 order by id")
        known = {id_ for (id_,) in self.backend.rows("select id from worker")}
        for id_, attempt, task, state, worker in rows[:40]:
            run = bytes(id_).hex()
            how = "begun" if (run, attempt) in begun else "not begun"
            print(f"{task} {run} state {state} attempt {attempt} ({how}) worker {worker} ({worker in known})")
        print(
            f"{len(rows)} unfinished; watches {self.backend.rows('select worker_id, count(*) from watch group by 1')}, "
            f"mail {self.backend.rows('select worker_id, count(*) from mail group by 1')}, workers {known}"
        )
        for process in self.processes:
            tail = process.log.splitlines()[-lines:]
            print(f"--- process {process.pid}, {'alive' if process.alive else 'ended'}", *tail, sep="\n", flush=True)

    def completions(self, task: str = "child") -> list[float]:
        """When each run completed, in order, by the store's clock."""
        rows = self.backend.rows("select finished_at from run where task = $1 and state = 8 order by 1, id", task)
        return [finished_at / 1e6 for (finished_at,) in rows]

    def count(self, query: str, *bindings: object) -> int:
        return self.backend.rows(query, *bindings)[0][0]

    def stop_clients(self, clients: Iterable[AppProcess], timeout: float = 300) -> str:
        """None of them has seen an error; what they have to say."""
        clients = list(clients)
        for client in clients:
            client.say()
        done = [json.loads(client.line(timeout)) for client in clients]
        for client in clients:
            assert client.wait() == 0, client.log
        roots, slowest = sum(d["roots"] for d in done), max(d["slowest"] for d in done)
        return f"clients: {roots:,} roots, no error, the slowest took {slowest:.1f} s"

    def come_to_rest(self, timeout: float = 300) -> list[Row]:
        """Everything ends, the workers stop in good order, and the checker finds nothing; all runs' rows."""
        until(lambda: self.count("select count(*) from run where state < 8") == 0, "every run has ended", timeout)
        running = [process for process in self.processes if process.alive]
        for process in running:
            process.signal(signal.SIGTERM)
        for process in running:
            process.wait()
        self.client  # noqa: B018  (it reaps who was killed last)
        me = os.getpid()
        until(lambda: self.count("select count(*) from worker where pid <> $1", me) == 0, "all are reaped", timeout)
        until(lambda: self.count("select count(*) from watch") == 0, "nobody waits any more", timeout)
        # (A worker that is told to stop just when a parent has ended leaves the rest to whoever is there, as here.)
        rest = "select (select count(*) from gate) + (select count(*) from moved_deadline)"
        until(lambda: self.count(rest) == 0, "what is below those that ended is swept", timeout)
        return check(self.backend, self.journal, [me])


def _spelt(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _elsewhere(input: dict, ctx: Context) -> Any:
    raise AssertionError("it is to be executed by another process")
