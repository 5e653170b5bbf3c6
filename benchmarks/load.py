"""A load generator of one process: so many keep-alive connections, each sending its next request when the last is answered."""

from __future__ import annotations

import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass
class Result:
    """What a window brought: answers by kind, seconds, and how long each answer took."""

    seconds: float
    kinds: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    # Microseconds of CPU a request, by part.
    cpu: dict[str, float] = field(default_factory=dict)

    @property
    def server_cpu(self) -> float:
        return sum(value for part, value in self.cpu.items() if part != "client")

    @property
    def rate(self) -> float:
        return sum(self.kinds.values()) / self.seconds

    def wait(self, share: float) -> float:
        """The time in milliseconds in which this share of the requests was answered."""
        ordered = sorted(self.waits)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def run(port: int, clients: int, seconds: float, requests: Iterator[bytes], kind: Callable[[bytes], str]) -> Result:
    """Send requests from `clients` connections for `seconds`; those in flight at the end are waited for and counted."""
    epoll = select.epoll()
    connections: dict[int, socket.socket] = {}
    begun: dict[int, float] = {}
    half: dict[int, bytes] = {}
    result = Result(seconds)
    start = time.perf_counter()
    end = start + seconds

    def send(number: int) -> bool:
        request = next(requests, None)
        if request is None:
            return False
        begun[number] = time.perf_counter()
        connections[number].sendall(request)
        return True

    for _ in range(clients):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connections[connection.fileno()] = connection
        epoll.register(connection.fileno(), select.EPOLLIN)
    for number in list(connections):
        send(number)
    while begun:
        for number, _events in epoll.poll(5):
            data = half.pop(number, b"") + connections[number].recv(262_144)
            if not data:
                raise ConnectionError("the server closed a connection")
            head_end = data.find(b"\r\n\r\n")
            if head_end < 0:
                half[number] = data
                continue
            at = data.lower().find(b"content-length:", 0, head_end)
            length = int(data[at + 15 : data.find(b"\r\n", at)]) if at > 0 else 0
            if len(data) < head_end + 4 + length:
                half[number] = data
                continue
            now = time.perf_counter()
            result.waits.append(now - begun.pop(number))
            result.kinds[kind(data[: head_end + 4])] += 1
            if now < end:
                send(number)
    result.seconds = time.perf_counter() - start
    for connection in connections.values():
        connection.close()
    epoll.close()
    return result
