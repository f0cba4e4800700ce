"""
Processes that begin with what they would import: forks of one that has done nothing but that, which is a third of the
work of most processes that tests start. They are children of whoever asked for them, and not of the one they are forks
of, so that they are waited for, frozen and killed as ever.

    python forking.py NUMBER     serves the other end of the socket with this number, until it is closed
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import io
import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

IMPORTS = ("fanwood.home", "fanwood.engine.engine", "fanwood.worker.local", "fanwood.store.sqlite.store", "asyncpg",
           "fanwood.store.postgres.store", "fanwood.cli.main", "fanwood.cli.run", "uvloop",
           "apsw", "random", "logging", "asyncio", "json")  # fmt: skip
COMMAND = str(Path(__file__).parents[2] / "src" / "fanwood" / "__main__.py")
"""What `python -m fanwood` runs."""
MOST = 1 << 17  # of what is told
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
_lock = threading.Lock()
_serving: dict[int, tuple[socket.socket, subprocess.Popen[bytes]]] = {}  # by who asks, who may be a fork himself


class Forked(subprocess.Popen[str]):
    """A process that was started for us, with pipes for its stdin and stdout."""

    def __init__(self, arguments: list[str], pid: int, stdin: int, stdout: int) -> None:
        self.args = arguments
        self.pid = pid
        self.returncode: Any = None
        self.stdin = os.fdopen(stdin, "w")
        self.stdout = os.fdopen(stdout)
        self.stderr = None
        self._child_created = True
        self._waitpid_lock = threading.Lock()


def run(
    arguments: list[str], environment: dict[str, str], folder: Path, said: str | None = None, *, patience: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run`, of `python SCRIPT ...` in a folder; or of `python -m fanwood ...`, if the script is the
    `COMMAND`."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as stderr:
        process = start(arguments, environment, stderr.fileno(), folder)
        if process is None:
            return subprocess.run(
                [sys.executable, *arguments], input=said, cwd=folder, env=environment,
                capture_output=True, text=True, encoding="utf-8", timeout=patience, check=False,
            )  # fmt: skip
        late = threading.Timer(patience, process.kill)
        late.start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with process.stdin, process.stdout:
                process.stdin.write(said or "")
                process.stdin.close()
                printed = process.stdout.read()
            code = process.wait()
        finally:
            late.cancel()
        stderr.seek(0)
        return subprocess.CompletedProcess(arguments, code, printed, stderr.read())


def start(arguments: list[str], environment: dict[str, str], stderr: int, folder: Path | None = None) -> Forked | None:
    """`python -u SCRIPT ...`; None where it can't be done this way."""
    if sys.platform != "linux":
        return None
    there, ours = os.pipe()
    back, theirs = os.pipe()
    told = json.dumps([arguments, environment, str(folder or "")]).encode()
    try:
        with _lock:
            channel = _server()
            libc = ctypes.CDLL(None)
            libc.prctl(_SUBREAPER, 1, 0, 0, 0)  # whose parent is gone is ours
            try:
                socket.send_fds(channel, [told], [there, theirs, stderr])
                pid = int(channel.recv(64))
                channel.recv(64)  # its parent is gone
            finally:
                libc.prctl(_SUBREAPER, 0, 0, 0, 0)
    except BaseException:
        os.close(ours)
        os.close(back)
        raise
    finally:
        os.close(there)
        os.close(theirs)
    return Forked(arguments, pid, ours, back)


def _server() -> socket.socket:
    if os.getpid() not in _serving:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-u", __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()]
            )
        _serving[os.getpid()] = ours, process
        atexit.register(_stop, os.getpid())
    return _serving[os.getpid()][0]


def _stop(pid: int) -> None:
    if pid == os.getpid():
        channel, process = _serving.pop(pid)
        channel.close()
        process.wait()


# --- there -----------------------------------------------------------------------------------------------------------


def serve(channel: socket.socket) -> list[str]:
    """Returns in each fork, with what it is to run."""
    while True:
        told, numbers, _, _ = socket.recv_fds(channel, MOST, 3)
        if not told:
            os._exit(0)
        between = os.fork()
        if not between:
            parent = os.getpid()
            if pid := os.fork():
                channel.send(str(pid).encode())
                os._exit(0)
            while os.getppid() == parent:  # which is about to end
                time.sleep(0.0005)
            return become(channel, numbers, *json.loads(told))
        os.waitpid(between, 0)
        channel.send(b"gone")
        for number in numbers:
            os.close(number)


def become(
    channel: socket.socket, numbers: list[int], arguments: list[str], environment: dict[str, str], folder: str
) -> list[str]:
    channel.close()
    if folder:
        os.chdir(folder)
    if environment.get("PYTHONWARNINGS") == "error":
        warnings.simplefilter("error")
    for place, number in enumerate(numbers):
        os.dup2(number, place)
        os.close(number)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(os.fdopen(place, "wb", 0, closefd=False), write_through=True) for place in (1, 2)
    )
    os.environ.clear()
    os.environ.update(environment)
    paths = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = [
        folder if arguments[0] == COMMAND else str(Path(arguments[0]).parent),
        *(path for path in paths if path and path not in sys.path),
    ]
    sys.argv = arguments
    return arguments


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    gc.disable()
    for name in IMPORTS:
        try:
            __import__(name)
        except ImportError:
            continue
    gc.freeze()  # no fork looks for garbage in what all of them have
    gc.enable()
    script, *_ = serve(channel)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
