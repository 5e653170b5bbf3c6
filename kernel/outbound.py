"""Calls to addresses that people type in: only to the open internet, never back into the shop's own network.

A host is looked up once, every address found must be public, and the connection goes to an address that was looked at, so
that a name which changes its mind in between gains nothing. Redirects are not followed, a call ends after `SECONDS` however
slowly the other side speaks, and no more than `LONGEST_ANSWER` bytes of an answer are read.
"""

from __future__ import annotations

import enum
import http.client
import ipaddress
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from flask import current_app

from .errors import Refusal
from .i18n import lazy_gettext as _l

SECONDS = 10.0
LONGEST_ANSWER = 64 * 1024
PORTS = frozenset({443, 8443})
_LOOK_UP_SECONDS = 4.0
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# Beyond what Python calls not global: ranges that lead elsewhere under a public-looking address.
_CLOSED = tuple(
    ipaddress.ip_network(text)
    for text in (
        "::/96",  # IPv4-compatible (RFC 4291)
        "64:ff9b::/96",  # NAT64 (RFC 6052)
        "64:ff9b:1::/48",  # local NAT64 (RFC 8215)
        "2001::/23",  # protocol assignments, Teredo among them
        "2002::/16",  # 6to4 (RFC 3056)
        "3fff::/20",  # documentation (RFC 9637)
        "5f00::/16",  # segment routing (RFC 9602)
        "fec0::/10",  # site-local
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # 6to4 relays
        "100.64.0.0/10",  # carrier NAT; a cloud's metadata lies here
    )
)
_resolver = ThreadPoolExecutor(max_workers=16, thread_name_prefix="look-up")


def _look_up_anew() -> None:
    """A forked process has none of its parent's threads: whatever it gave to their executor would wait for ever."""
    global _resolver
    _resolver = ThreadPoolExecutor(max_workers=16, thread_name_prefix="look-up")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_look_up_anew)


class AddressRefused(Refusal):
    """Siyu does not call this address."""

    status = 422
    label = _l("This address cannot be called. Give an https:// address on the open internet.")


class Fault(enum.StrEnum):
    """Why no answer came, as people can act on it."""

    NAME = "name"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    SLOW = "slow"
    CERTIFICATE = "certificate"
    TLS = "tls"
    BROKEN_OFF = "broken_off"
    NO_HTTP = "no_http"


class CallFailed(Exception):
    """No answer came, by one of the faults. The message is for the log."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault


def fault_of(error: Exception) -> Fault:
    """What an error of the system amounts to."""
    match error:
        case ssl.SSLCertVerificationError():
            return Fault.CERTIFICATE
        case ssl.SSLError():
            return Fault.TLS
        case socket.gaierror() | UnicodeError():
            return Fault.NAME
        case TimeoutError():
            return Fault.SLOW
        case ConnectionRefusedError():
            return Fault.REFUSED
        case http.client.RemoteDisconnected() | ConnectionError() | http.client.IncompleteRead():
            return Fault.BROKEN_OFF
        case http.client.HTTPException() | ValueError():
            return Fault.NO_HTTP
        case _:
            return Fault.UNREACHABLE


@dataclass(frozen=True)
class Answer:
    """What came back: the status, the headers in lower case, the first `LONGEST_ANSWER` bytes, and how long it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    took_ms: int


@dataclass(frozen=True)
class Target:
    """An address in its parts, checked as text."""

    secure: bool
    host: str
    port: int
    path: str


def read(url: str, local: bool | None = None) -> Target:
    """Take an address apart. Refuses with `AddressRefused` whatever is not plainly an https address of a public host.

    `local` (by default the setting `OUTBOUND_LOCAL`) allows http, every port and this very machine: for tests and trials.
    """
    local = _local() if local is None else local
    if len(url) > 2_000 or not url.isascii() or re.search(r"[\x00-\x20\x7f\\]", url):
        raise AddressRefused
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise AddressRefused from None
    host = parts.hostname or ""
    if parts.scheme not in (("https", "http") if local else ("https",)) or "@" in parts.netloc or parts.fragment:
        raise AddressRefused
    port = port if port is not None else (443 if parts.scheme == "https" else 80)
    if not (local or port in PORTS) or not _spelt(host, local):
        raise AddressRefused
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    target = Target(parts.scheme == "https", host, port, path)
    with suppress(ValueError):
        if not public(ipaddress.ip_address(host), local):
            raise AddressRefused
    return target


def _local() -> bool:
    return bool(current_app.extensions["settings"].outbound_local)


def _spelt(host: str, local: bool) -> bool:
    """Whether a host is a plain name or a plain address. Numbers in other spellings (0x7f.1, 2130706433) are neither."""
    if ":" in host:
        return "%" not in host
    labels = host.split(".")
    if all(label.isdigit() for label in labels) or re.fullmatch(r"\d+|0x[0-9a-f]*", labels[-1]):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            return False
        return True
    named = len(labels) > 1 or local
    return named and len(host) <= 253 and all(_LABEL.fullmatch(label) for label in labels)


def public(address: ipaddress.IPv4Address | ipaddress.IPv6Address, local: bool = False) -> bool:
    """Whether an address is one of the open internet (or, if `local`, of this very machine)."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return public(address.ipv4_mapped, local)
    if local and address.is_loopback:
        return True
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return not any(address in network for network in _CLOSED if network.version == address.version)


def look_up(target: Target, local: bool = False) -> list[str]:
    """The addresses of a host. Refuses with `AddressRefused` when a single one of them is not public; `CallFailed`."""
    waiting = _resolver.submit(socket.getaddrinfo, target.host, target.port, 0, socket.SOCK_STREAM)
    try:
        found = waiting.result(timeout=_LOOK_UP_SECONDS)
    except TooLate:
        raise CallFailed(Fault.NAME, f"{target.host}: the name was not found in time") from None
    except (OSError, UnicodeError) as error:
        raise CallFailed(Fault.NAME, f"{target.host}: {error}") from None
    addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
    if not addresses or not all(public(ipaddress.ip_address(one.partition("%")[0]), local) for one in addresses):
        raise AddressRefused
    return addresses


def connect(target: Target, seconds: float, local: bool | None = None) -> socket.socket:
    """A connection to a host at an address that was looked at; with TLS, checked against the host's name, where secure.

    Raises `AddressRefused` and `CallFailed`.
    """
    local = _local() if local is None else local
    deadline = time.monotonic() + seconds
    wrong: Exception = TimeoutError("no connection in time")
    for address in look_up(target, local)[:3]:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            plain = socket.create_connection((address, target.port), timeout=left)
        except OSError as error:
            wrong = error
            continue
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not target.secure:
            return plain
        try:
            return ssl.create_default_context().wrap_socket(plain, server_hostname=target.host)
        except OSError as error:
            plain.close()
            wrong = error
    raise CallFailed(fault_of(wrong), f"{target.host}: {_words(wrong)}")


def post(url: str, body: bytes, headers: Mapping[str, str], local: bool | None = None) -> Answer:
    """Send a POST and read the answer, whatever its status; a redirect is an answer like others.

    Needs no session and holds none. Raises `AddressRefused` (nothing was sent to it) and `CallFailed`.
    """
    local = _local() if local is None else local
    target = read(url, local)
    began = time.monotonic()
    sock = connect(target, SECONDS, local)
    connection = http.client.HTTPConnection(target.host, target.port)
    connection.sock = sock
    # A socket's own time-out starts anew with every byte; this one does not.
    over = threading.Event()
    watch = threading.Timer(max(0.0, SECONDS - (time.monotonic() - began)), _cut, (sock, over))
    watch.daemon = True
    watch.start()
    try:
        shown = f"[{target.host}]" if ":" in target.host else target.host
        usual = target.port == (443 if target.secure else 80)
        host = shown if usual else f"{shown}:{target.port}"
        connection.request("POST", target.path, body, {"Host": host, "Connection": "close", **headers})
        answer = connection.getresponse()
        said = answer.read(LONGEST_ANSWER)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if over.is_set():
            raise CallFailed(Fault.SLOW, f"{target.host}: no answer in {SECONDS:.0f} s") from None
        raise CallFailed(fault_of(error), f"{target.host}: {_words(error)}") from None
    finally:
        watch.cancel()
        connection.close()
    if over.is_set():
        raise CallFailed(Fault.SLOW, f"{target.host}: no answer in {SECONDS:.0f} s")
    took = int((time.monotonic() - began) * 1000)
    return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, said, took)


def _cut(sock: socket.socket, over: threading.Event) -> None:
    over.set()
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200] if str(error) else type(error).__name__
