"""Check D5: no call that people can cause reaches the shop's own network."""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator

import pytest

from kernel import outbound

# Each would reach this machine, its network or a cloud's metadata if it were called as it stands.
HOSTILE = [
    "http://127.0.0.1:{port}/", "https://127.0.0.1:{port}/", "https://127.0.0.1/", "https://127.1/", "https://127.0.1/",
    "https://localhost/", "https://localhost:{port}/", "https://LOCALHOST:{port}/", "https://localhost./",
    "https://127.0.0.1./", "https://shop.localhost:{port}/", "https://0/", "https://0.0.0.0:{port}/", "https://0x7f.1/",
    "https://0x7f000001/", "https://0X7F000001/", "https://2130706433/", "https://017700000001/", "https://0177.0.0.1/",
    "https://127.0.0.1.nip.invalid/", "https://[::1]:{port}/", "https://[::]/", "https://[0:0:0:0:0:0:0:1]/",
    "https://[::ffff:127.0.0.1]/", "https://[::ffff:7f00:1]/", "https://[::127.0.0.1]/", "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b:1::a00:1]/", "https://[2002:7f00:1::]/", "https://[2001:0:7f00:1::1]/", "https://[fe80::1]/",
    "https://[fe80::1%25lo]/", "https://[fc00::1]/", "https://[fd00:ec2::254]/", "https://[fec0::1]/", "https://[ff02::1]/",
    "https://10.0.0.1/", "https://10.255.255.255/", "https://172.16.0.1/", "https://172.31.255.255/", "https://192.168.0.1/",
    "https://192.168.255.255/", "https://169.254.169.254/latest/meta-data/", "https://100.100.100.200/latest/meta-data/",
    "https://100.64.0.1/", "https://192.0.0.192/", "https://198.18.0.1/", "https://224.0.0.1/", "https://240.0.0.1/",
    "https://255.255.255.255/", "https://8.8.8.8@127.0.0.1/", "https://user:word@127.0.0.1/", "https://good.example@127.0.0.1/",
    "https://127.0.0.1\\@good.example/", "https://good.example\\@127.0.0.1/", "https://127.0.0.1#@good.example/",
    "https://127.0.0.1%23.good.example/", "https://good.example:5432/", "https://good.example:6379/", "https://8.8.8.8:22/",
    "gopher://127.0.0.1:{port}/_x", "file:///etc/passwd", "redis://127.0.0.1:{port}/", "ftp://8.8.8.8/", "dict://127.0.0.1:{port}/",
    "https:///", "https://", "//127.0.0.1/", "127.0.0.1", "", "https://good.example\r\nHost: 127.0.0.1/", "https://g ood.example/",
    "https://①②⑦.⓪.⓪.①/", "https://127。0。0。1/", "https://[::1", "https://good.example:99999/", "https://good.example:x/",
    "http://good.example/", "javascript:alert(1)", "data:text/html,x", "https://intranet/", "https://" + "a" * 3_000 + ".example/",
]  # fmt: skip


class Canary:
    """A listener that notes whoever connects."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", drip: float = 0.0) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.answer, self.drip = answer, drip
        self.heard: list[bytes] = []
        self.open = True
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while self.open:
            try:
                peer, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(peer,), daemon=True).start()

    def _talk(self, peer: socket.socket) -> None:
        with peer:
            self.heard.append(peer.recv(65_536))
            try:
                if not self.drip:
                    peer.sendall(self.answer)
                else:
                    for byte in self.answer:
                        peer.sendall(bytes([byte]))
                        time.sleep(self.drip)
            except OSError:
                return

    def close(self) -> None:
        self.open = False
        self.sock.close()


@pytest.fixture
def canary() -> Iterator[Canary]:
    listener = Canary()
    yield listener
    listener.close()


def test_check_d5_sixty_hostile_addresses_cause_no_packet(canary, monkeypatch):
    assert len(HOSTILE) >= 60
    opened = []
    connect = socket.create_connection
    monkeypatch.setattr(
        socket, "create_connection", lambda address, *a, **k: opened.append(address) or connect(address, *a, **k)
    )
    passed = []
    for text in HOSTILE:
        try:
            outbound.post(text.replace("{port}", str(canary.port)), b"{}", {}, local=False)
        except outbound.AddressRefused:
            continue
        except outbound.CallFailed:
            # A name that nobody has: looked up, and nothing was sent.
            assert "invalid" in text
            continue
        passed.append(text)
    assert (passed, opened, canary.heard) == ([], [], [])


def test_check_d5_has_teeth(canary):
    """With the machine itself allowed, as in trials, the very same listener is reached."""
    assert outbound.post(f"http://127.0.0.1:{canary.port}/", b"{}", {}, local=True).status == 200
    assert len(canary.heard) == 1


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.7", "169.254.169.254", "100.100.100.200", "::1", "fd00:ec2::254"]
)
def test_a_name_that_leads_inside_is_refused(monkeypatch, canary, address):
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_: [(0, 0, 0, "", ("93.184.215.14", 443)), (0, 0, 0, "", (address, 443))]
    )
    with pytest.raises(outbound.AddressRefused):
        outbound.post("https://rebound.example/", b"{}", {}, local=False)


def test_a_name_that_changes_its_mind_gains_nothing(monkeypatch, canary):
    """The connection goes to the address that was looked at; the name is not looked up a second time."""
    answers = iter([[(0, 0, 0, "", ("93.184.215.14", 443))], [(0, 0, 0, "", ("127.0.0.1", 443))]])
    asked, reached = [], []
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_: asked.append(host) or next(answers))

    def connect(address, *_rest, **_more):
        reached.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(outbound.CallFailed):
        outbound.post("https://rebound.example/", b"{}", {}, local=False)
    assert (asked, reached) == (["rebound.example"], [("93.184.215.14", 443)])


@pytest.mark.parametrize(
    ("address", "open_"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("::ffff:8.8.8.8", True), ("::ffff:10.0.0.1", False),
        ("100.127.255.255", False), ("64:ff9b::808:808", False), ("192.0.2.1", False), ("2001:db8::1", False),
    ],
)  # fmt: skip
def test_only_addresses_of_the_open_internet_are_public(address, open_):
    assert outbound.public(ipaddress.ip_address(address)) is open_


def test_an_ordinary_address_is_taken_apart():
    assert outbound.read("https://hooks.shop.example/in?a=1", local=False) == outbound.Target(
        True, "hooks.shop.example", 443, "/in?a=1"
    )


def test_a_redirect_is_an_answer_and_not_followed(canary):
    inner = canary
    outer = Canary(
        f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{inner.port}/\r\nContent-Length: 0\r\n\r\n".encode()
    )
    answer = outbound.post(f"http://127.0.0.1:{outer.port}/", b"{}", {}, local=True)
    outer.close()
    assert (answer.status, inner.heard) == (302, [])


def test_no_more_of_an_answer_is_read_than_the_limit():
    long = Canary(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000)
    answer = outbound.post(f"http://127.0.0.1:{long.port}/", b"{}", {}, local=True)
    long.close()
    assert len(answer.body) == outbound.LONGEST_ANSWER


def test_a_drip_of_bytes_ends_with_the_call(monkeypatch):
    monkeypatch.setattr(outbound, "SECONDS", 0.5)
    slow = Canary(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000, drip=0.05)
    with pytest.raises(outbound.CallFailed, match="no answer in"):
        outbound.post(f"http://127.0.0.1:{slow.port}/", b"{}", {}, local=True)
    slow.close()


@pytest.mark.parametrize(
    "answer", [b"", b"\x00\xff\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 500]
)
def test_nonsense_is_a_call_that_failed(answer):
    strange = Canary(answer)
    with pytest.raises(outbound.CallFailed):
        outbound.post(f"http://127.0.0.1:{strange.port}/", b"{}", {}, local=True)
    strange.close()


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (socket.gaierror(-2, "Name or service not known"), "name"),
        (ConnectionRefusedError(111, "Connection refused"), "refused"),
        (TimeoutError("timed out"), "slow"),
        (OSError(113, "No route to host"), "unreachable"),
        (ssl.SSLCertVerificationError(1, "certificate has expired"), "certificate"),
        (ssl.SSLError(1, "wrong version number"), "tls"),
        (ConnectionResetError(104, "Connection reset by peer"), "broken_off"),
        (http.client.RemoteDisconnected("closed"), "broken_off"),
        (http.client.BadStatusLine("hello"), "no_http"),
    ],
)
def test_each_error_of_the_system_is_a_fault_that_people_know(error, fault):
    assert outbound.fault_of(error) == fault


def test_a_port_where_nobody_listens_is_told_from_a_name_that_nobody_has(app):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(outbound.CallFailed) as failed:
        outbound.post(f"http://127.0.0.1:{port}/", b"{}", {}, local=True)
    assert failed.value.fault == outbound.Fault.REFUSED


def test_a_fork_looks_names_up_with_threads_of_its_own() -> None:
    target = outbound.read("http://127.0.0.1:9/", local=True)
    assert outbound.look_up(target, local=True) == ["127.0.0.1"]
    child = os.fork()
    if child == 0:
        found: list[str] = []
        try:
            found = outbound.look_up(target, local=True)
        finally:
            os._exit(0 if found == ["127.0.0.1"] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
