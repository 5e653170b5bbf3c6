"""E-mail against a real SMTP server in this process: what is sent, and what is said when it breaks in each phase."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from campaigns.channels.adapters import Card, Message, Status
from campaigns.channels.adapters.email import Email, Server, SmtpUrlInvalid, as_html, compose, parse_url
from kernel import clock as kernel_clock
from tests.live import free_port


def message(n: int = 1, **fields: Any) -> Message:
    values = {
        "key": f"delivery:{n}",
        "delivery_id": n,
        "member_id": n,
        "address": f"m{n}@example.com",
        "subject": "好久不见",
        "body": "给你留了一张券\n\nhttp://localhost/l/abc",
        "unsubscribe": "https://shop.example/u/token",
    }
    return Message(**(values | fields))


class Box:
    """Takes mail, refuses what the test names, and counts connections."""

    def __init__(self) -> None:
        self.mail: list[tuple[str, bytes]] = []
        self.connections = 0
        self.refused: dict[str, str] = {}
        self.at_data = ""

    async def handle_EHLO(
        self, server: Any, session: Any, envelope: Any, hostname: str, answers: list[str]
    ) -> list[str]:
        self.connections += 1
        session.host_name = hostname
        return answers

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.at_data == "drop":
            session.peer_transport = server.transport
            server.transport.abort()
            return "250 never seen"
        if self.at_data:
            return self.at_data
        self.mail.append((envelope.rcpt_tos[0], envelope.content))
        return "250 taken"


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
def smtp(box: Box) -> Iterator[Controller]:
    controller = Controller(box, hostname="127.0.0.1", port=free_port())
    controller.start()
    yield controller
    controller.stop()


def server_at(controller: Controller, **fields: Any) -> Server:
    values = {
        "host": "127.0.0.1",
        "port": controller.port,
        "sender": "shop@shop.example",
        "security": "none",
        "timeout_seconds": 3.0,
        "site": "shop.example",
    }
    return Server(**(values | fields))


def test_mail_arrives_whole(smtp: Controller, box: Box) -> None:
    adapter = Email(server_at(smtp, sender_name="一间杂货铺", reply_to="hello@shop.example"))
    outcomes = adapter.submit([message(1), message(2)])
    adapter.close()
    assert [o.status for o in outcomes] == [Status.ACCEPTED] * 2
    assert box.connections == 1
    to, content = box.mail[0]
    mail = message_from_bytes(content, policy=default)
    assert to == "m1@example.com"
    assert mail["Subject"] == "好久不见"
    assert mail["From"].addresses[0].display_name == "一间杂货铺"
    assert mail["Message-ID"] == "<delivery.1@shop.example>"
    assert mail["List-Unsubscribe"] == "<https://shop.example/u/token>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["Reply-To"] == "hello@shop.example"
    assert mail.get_body(("plain",)).get_content().startswith("给你留了一张券")
    assert '<a href="http://localhost/l/abc">' in mail.get_body(("html",)).get_content()


def test_the_connection_is_used_again_across_batches(smtp: Controller, box: Box) -> None:
    adapter = Email(server_at(smtp))
    for n in range(3):
        adapter.submit([message(n)])
    adapter.close()
    assert (box.connections, len(box.mail)) == (1, 3)


def test_one_refused_address_does_not_spoil_the_batch(smtp: Controller, box: Box) -> None:
    box.refused = {"m2@example.com": "550 no such user", "m3@example.com": "450 try later"}
    adapter = Email(server_at(smtp))
    outcomes = adapter.submit([message(n) for n in (1, 2, 3, 4)])
    adapter.close()
    assert [o.status for o in outcomes] == [Status.ACCEPTED, Status.REJECTED, Status.RETRY, Status.ACCEPTED]
    assert "no such user" in outcomes[1].reason
    assert [o.bounced for o in outcomes] == [False, True, False, False]
    assert not any(o.down for o in outcomes)
    assert [to for to, _ in box.mail] == ["m1@example.com", "m4@example.com"]


def test_a_refusal_for_another_reason_says_nothing_of_the_address(smtp: Controller, box: Box) -> None:
    box.refused = {"m2@example.com": "550 5.7.1 blocked", "m3@example.com": "552 5.2.2 mailbox full"}
    adapter = Email(server_at(smtp))
    outcomes = adapter.submit([message(2), message(3)])
    adapter.close()
    assert [(o.status, o.bounced) for o in outcomes] == [(Status.REJECTED, False)] * 2


def test_a_probe_signs_in_and_sends_nothing(smtp: Controller, box: Box) -> None:
    adapter = Email(server_at(smtp))
    assert adapter.probe() is None
    adapter.close()
    assert box.mail == []
    nobody = Email(replace(server_at(smtp), port=free_port()))
    assert nobody.probe()


def test_a_refusal_after_the_text_is_a_refusal(smtp: Controller, box: Box) -> None:
    box.at_data = "554 spam"
    adapter = Email(server_at(smtp))
    assert adapter.submit([message()])[0].status is Status.REJECTED
    box.at_data = "451 later"
    assert adapter.submit([message()])[0].status is Status.RETRY
    adapter.close()


def test_a_connection_that_breaks_after_the_text_leaves_doubt(smtp: Controller, box: Box) -> None:
    box.at_data = "drop"
    adapter = Email(server_at(smtp))
    assert adapter.submit([message()])[0].status is Status.UNKNOWN
    box.at_data = ""
    assert adapter.submit([message(2)])[0].status is Status.ACCEPTED
    adapter.close()


def test_a_server_that_is_down_loses_nothing() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    adapter = Email(Server(host="127.0.0.1", port=port, sender="a@b.example", security="none", timeout_seconds=2))
    outcomes = adapter.submit([message(1), message(2)])
    assert [(o.status, o.down) for o in outcomes] == [(Status.RETRY, True)] * 2


def test_a_server_that_never_answers_is_given_up_on() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        adapter = Email(
            Server(
                host="127.0.0.1",
                port=silent.getsockname()[1],
                sender="a@b.example",
                security="none",
                timeout_seconds=0.3,
            )
        )
        outcome = adapter.submit([message()])[0]
    assert (outcome.status, outcome.down) == (Status.RETRY, True)


def test_a_server_without_starttls_is_not_sent_to(smtp: Controller, box: Box) -> None:
    adapter = Email(server_at(smtp, security="starttls"))
    outcome = adapter.submit([message()])[0]
    assert (outcome.status, outcome.down) == (Status.RETRY, True)
    assert box.mail == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = kernel_clock.now()
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now.replace(year=now.year - 1))
        .not_valid_after(now.replace(year=now.year + 1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def check(server: SMTP, session: Any, envelope: Any, mechanism: str, given: Any) -> AuthResult:
    return AuthResult(success=given == LoginPassword(b"shop", b"secret"))


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_tls_and_sign_in(box: Box, certificate: Path, security: str) -> None:
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(certificate)
    ours = ssl.create_default_context(cafile=str(certificate))
    options: dict[str, Any] = {"authenticator": check, "auth_required": True}
    if security == "starttls":
        options |= {"tls_context": theirs, "require_starttls": True}
    else:
        options |= {"ssl_context": theirs, "auth_require_tls": False}
    controller = Controller(box, hostname="localhost", port=free_port(), **options)
    controller.start()
    try:
        fields = {"host": "localhost", "security": security, "username": "shop", "password": "secret"}
        adapter = Email(server_at(controller, **fields), ours)
        assert adapter.submit([message()])[0].status is Status.ACCEPTED
        adapter.close()
        wrong = Email(server_at(controller, **(fields | {"password": "guess"})), ours)
        outcome = wrong.submit([message()])[0]
        assert (outcome.status, outcome.down) == (Status.RETRY, True)
        stranger = Email(server_at(controller, **fields), ssl.create_default_context())
        outcome = stranger.submit([message()])[0]
        assert (outcome.status, outcome.down) == (Status.RETRY, True)
    finally:
        controller.stop()
    assert len(box.mail) == 1


@pytest.mark.parametrize(
    "address", ["a@b.example\r\nBcc: c@d.example", "", "two@a.example,b@c.example", "no-at", "a b@c.example"]
)
def test_an_address_that_is_none_is_refused_before_anything_is_said(smtp: Controller, box: Box, address: str) -> None:
    adapter = Email(server_at(smtp))
    assert adapter.submit([message(address=address)])[0].status is Status.REJECTED
    adapter.close()
    assert (box.connections, box.mail) == (0, [])


def test_dots_and_long_lines_survive(smtp: Controller, box: Box) -> None:
    text = ".\n..two\n" + "长" * 2_000 + "\n.end"
    adapter = Email(server_at(smtp))
    adapter.submit([message(body=text)])
    adapter.close()
    mail = message_from_bytes(box.mail[0][1], policy=default)
    assert mail.get_body(("plain",)).get_content().replace("\r\n", "\n").rstrip("\n") == text
    assert max(len(line) for line in box.mail[0][1].splitlines()) < 998


def test_html_escapes_what_people_are_called() -> None:
    assert (
        as_html("<b>Lime</b> & co")
        == "<!doctype html><html><body>\n<p>&lt;b&gt;Lime&lt;/b&gt; &amp; co</p>\n</body></html>\n"
    )


def test_subject_takes_no_headers() -> None:
    with pytest.raises(ValueError):
        compose(message(subject="x\r\nBcc: everybody@example.com"), Server(host="h", port=25, sender="a@b.example"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example.com", ("mail.example.com", 587, "starttls", "", "no-reply@shop.example")),
        (
            "smtp://shop%40x.example:p%3Aw@mail.example.com:2525",
            ("mail.example.com", 2525, "starttls", "shop@x.example", "shop@x.example"),
        ),
        ("smtps://mail.example.com?from=a@b.example", ("mail.example.com", 465, "tls", "", "a@b.example")),
        ("smtp://127.0.0.1:25?security=none", ("127.0.0.1", 25, "none", "", "no-reply@shop.example")),
    ],
)
def test_smtp_url(url: str, expected: tuple[Any, ...]) -> None:
    found = parse_url(url, "shop.example")
    assert (found.host, found.port, found.security, found.username, found.sender) == expected


@pytest.mark.parametrize(
    "url", ["", "http://mail.example.com", "smtp://", "smtp://mail:port", "smtp://m.example?security=maybe"]
)
def test_smtp_url_that_is_none(url: str) -> None:
    with pytest.raises(SmtpUrlInvalid):
        parse_url(url, "shop.example")


def test_products_in_a_mail_have_a_picture_and_nothing_of_them_is_markup(app: Any) -> None:
    card = Card(
        'Tea <b> & "co"', "¥39.00", "https://shop.example/l/x", "k.webp", "https://shop.example/pictures/k.webp"
    )
    bare = Card("Plain", "", "https://shop.example/l/y")
    mail = Message(
        "delivery:1", 1, 1, "lime@example.com", "Tea", "Look", cards=(card, bare), footer="Stop: https://x/u/1"
    )
    found = message_from_bytes(compose(mail, Server("h", 25, "a@b.example")), policy=default)
    html = found.get_body(("html",)).get_content()
    assert '<img src="https://shop.example/pictures/k.webp" alt=""' in html
    assert "Tea &lt;b&gt; &amp; &#34;co&#34;" in html
    assert html.count("<img") == 1
    assert html.index("¥39.00") < html.index("Plain") < html.index("Stop:")
    plain = found.get_body(("plain",)).get_content()
    assert plain.split() == [
        "Look",
        "Tea",
        "<b>",
        "&",
        '"co"',
        "¥39.00",
        card.url,
        "Plain",
        bare.url,
        "Stop:",
        "https://x/u/1",
    ]
