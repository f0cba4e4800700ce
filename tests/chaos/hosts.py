"""Several hosts on one machine: network namespaces with an address of their own each, and processes in them that
see no pids but those of their own host.

    bridge, the server's address -- veth -- host 1
                                 -- veth -- host 2 ...
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from tests.postgres.cluster import Cluster

NETWORK = "10.213.{number}."
"""Private addresses; the third byte is chosen so that tests beside each other don't meet."""


class NamespaceError(RuntimeError):
    """They can't be made here; the message says why."""


@dataclass
class Host:
    name: str
    address: str

    def __str__(self) -> str:
        return self.name

    def program(self, program: tuple[str, ...]) -> tuple[str, ...]:
        """As it is started there: in the host's network, as the first of its own processes, and gone when we are."""
        apart = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts")
        return ("ip", "netns", "exec", self.name, *apart, *program)


@dataclass
class Hosts:
    """So many of them, from `with` on."""

    count: int
    hosts: list[Host] = field(default_factory=list)
    _undo: list[list[str]] = field(default_factory=list)

    @property
    def server_address(self) -> str:
        return f"{self._network}1"

    @property
    def network(self) -> str:
        return f"{self._network}0/24"

    @property
    def _network(self) -> str:
        return NETWORK.format(number=os.getpid() % 200 + 20)

    def __enter__(self) -> Self:
        if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None:
            raise NamespaceError("network namespaces need root, and the programs ip and unshare")
        bridge = f"fwb{os.getpid()}"
        try:
            self._do(["link", "add", bridge, "type", "bridge"], undo=["link", "del", bridge])
            self._do(["addr", "add", f"{self.server_address}/24", "dev", bridge])
            self._do(["link", "set", bridge, "up"])
            for number in range(1, self.count + 1):
                self._add(bridge, number)
        except (OSError, subprocess.CalledProcessError) as error:
            self.__exit__()
            said = getattr(error, "stderr", "") or str(error)
            raise NamespaceError(f"network namespaces can't be made here: {said.strip()}") from None
        return self

    def __exit__(self, *_: object) -> None:
        while self._undo:
            with suppress(OSError, subprocess.CalledProcessError):
                _ip(self._undo.pop())

    def _add(self, bridge: str, number: int) -> None:
        name, outside, inside = (f"fw{kind}{os.getpid()}-{number}" for kind in "nvi")
        host = Host(name, f"{self._network}{number + 1}")
        self._do(["netns", "add", name], undo=["netns", "del", name])
        self._do(["link", "add", outside, "type", "veth", "peer", "name", inside], undo=["link", "del", outside])
        self._do(["link", "set", outside, "master", bridge, "up"])
        self._do(["link", "set", inside, "netns", name])
        self._do(["-n", name, "addr", "add", f"{host.address}/24", "dev", inside])
        self._do(["-n", name, "link", "set", inside, "up"])
        self._do(["-n", name, "link", "set", "lo", "up"])
        self.hosts.append(host)

    def _do(self, command: list[str], undo: list[str] | None = None) -> None:
        _ip(command)
        if undo is not None:
            self._undo.append(undo)

    def cut_off(self, host: Host) -> None:
        """Pull its plug: nothing gets through to it any more, and nothing from it."""
        _ip(["link", "set", host.name.replace("fwn", "fwv"), "down"])

    def plug_in(self, host: Host) -> None:
        _ip(["link", "set", host.name.replace("fwn", "fwv"), "up"])


class Reachable(Cluster):
    """A server that listens where the hosts are as well."""

    def __init__(self, hosts: Hosts) -> None:
        super().__init__()
        self._hosts = hosts

    def _make(self) -> None:
        super()._make()
        with (self.data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {self._hosts.network} trust\n")

    def _write_settings(self) -> None:
        super()._write_settings()
        with (self.data / "tests.conf").open("a") as settings:
            settings.write(f"listen_addresses = '127.0.0.1, {self._hosts.server_address}'\n")


def _ip(command: list[str]) -> None:
    subprocess.run(["ip", *command], check=True, capture_output=True, text=True, timeout=60)
