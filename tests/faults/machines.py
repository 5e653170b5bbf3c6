"""Machines of their own on one computer: network namespaces on a bridge, each with its address (Linux, root, iproute2)."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

IP = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
CLONE_NEWNET = 0x40000000


def missing() -> str | None:
    """Why there can be no machines here; None when there can."""
    if os.geteuid() != 0:
        return "NOT ROOT: network namespaces need it"
    if IP is None:
        return "NO ip COMMAND: apt-get install iproute2"
    trial = f"siyu-trial-{os.getpid()}"
    if subprocess.run([IP, "netns", "add", trial], capture_output=True).returncode:
        return "NO NETWORK NAMESPACES: this kernel or container does not allow them"
    subprocess.run([IP, "netns", "del", trial], check=True)
    return None


def ip(*words: str) -> None:
    subprocess.run([str(IP), *words], check=True, capture_output=True)


class Network:
    """A bridge with an address of this computer, on which machines are plugged in."""

    def __init__(self) -> None:
        self.number = os.getpid() % 200 + 20
        self.bridge = f"siyu{os.getpid() % 100_000}"
        self.machines: list[str] = []
        ip("link", "add", self.bridge, "type", "bridge")
        ip("addr", "add", f"{self.address(1)}/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")

    def address(self, host: int) -> str:
        return f"10.213.{self.number}.{host}"

    def plug_in(self, host: int) -> str:
        """A machine with the given last number of its address; its name."""
        name, cable = f"{self.bridge}-{host}", f"v{os.getpid() % 100_000}-{host}"
        ip("netns", "add", name)
        self.machines.append(name)
        ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", cable, "master", self.bridge, "up")
        ip("-n", name, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "link", "set", "eth0", "up")
        return name

    def close(self) -> None:
        for name in self.machines:
            with suppress(subprocess.CalledProcessError):
                ip("netns", "del", name)
        ip("link", "del", self.bridge)


def move_to(machine: str) -> None:
    """Let this process be on a machine from now on."""
    with open(f"/run/netns/{machine}") as space:
        if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot move to {machine}")


class Door:
    """A port of an address that leads to a unix socket: the embedded database as other machines reach it."""

    def __init__(self, address: str, path: str) -> None:
        self.path = path
        self.listener = socket.create_server((address, 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.take, daemon=True).start()

    def take(self) -> None:
        while True:
            try:
                outside, _address = self.listener.accept()
            except OSError:
                return
            inside = socket.socket(socket.AF_UNIX)
            inside.connect(self.path)
            for one, other in ((outside, inside), (inside, outside)):
                threading.Thread(target=carry, args=(one, other), daemon=True).start()

    def close(self) -> None:
        self.listener.close()


def carry(one: socket.socket, other: socket.socket) -> None:
    """Bring what comes from one to the other, to the end of either."""
    with suppress(OSError):
        while said := one.recv(65_536):
            other.sendall(said)
    for end in (one, other):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def on(machine: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """A function that first moves its process to a machine."""

    def moved(*args: Any) -> Any:
        move_to(machine)
        return call(*args)

    return moved
