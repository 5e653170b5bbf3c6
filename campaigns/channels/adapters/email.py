"""E-mail over SMTP (RFC 5321) with one connection that is used again, STARTTLS or TLS from the start, and AUTH.

Which phase broke decides what may be said: before the message's text went out it was certainly not taken; once the text
is on its way and no answer came, nobody knows.
"""

from __future__ import annotations

import re
import smtplib
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import formataddr, formatdate
from urllib.parse import parse_qs, unquote, urlsplit

from markupsafe import Markup, escape

from kernel import clock
from membership.members.models import Contact

from .. import bounces
from ..models import ChannelKind
from . import Abilities, Card, Message, Outcome, Status

# No new message is begun after so long in one batch.
BATCH_SECONDS = 15.0
# A connection that lay still for so long is asked whether it still lives.
IDLE_SECONDS = 10.0
_LINK = re.compile(r"https?://[^\s<>\"'，。！？；：、）】》]+")


class SmtpUrlInvalid(ValueError):
    """SMTP_URL is not an address of a mail server."""


@dataclass(frozen=True)
class Server:
    """A mail server and who we are to it. `security` is `starttls`, `tls` or `none`."""

    host: str
    port: int
    sender: str
    sender_name: str = ""
    security: str = "starttls"
    username: str = ""
    password: str = ""
    reply_to: str = ""
    timeout_seconds: float = 15.0
    # The host of the shop's own address: what a Message-ID ends with.
    site: str = "localhost"


def parse_url(url: str, site: str) -> Server:
    """The server that `SMTP_URL` names: `smtp://user:password@host:587?from=shop@example.com` (STARTTLS), `smtps://…` (TLS).

    `?security=none` allows a plain connection, as a server on the same machine may need; `?name=` is the sender's name.
    Raises `SmtpUrlInvalid`.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise SmtpUrlInvalid from None
    said = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    security = said.get("security") or ("tls" if parts.scheme == "smtps" else "starttls")
    username = unquote(parts.username or "")
    sender = said.get("from") or (username if "@" in username else f"no-reply@{site}")
    if parts.scheme not in ("smtp", "smtps") or not host or security not in ("starttls", "tls", "none"):
        raise SmtpUrlInvalid
    return Server(
        host=host,
        port=port or (465 if security == "tls" else 587 if security == "starttls" else 25),
        sender=sender,
        sender_name=said.get("name", ""),
        security=security,
        username=username,
        password=unquote(parts.password or ""),
        site=site,
    )


class Email:
    def __init__(self, server: Server, context: ssl.SSLContext | None = None) -> None:
        self.server = server
        self.abilities = Abilities(
            kind=ChannelKind.EMAIL,
            contact=Contact.EMAIL,
            batch_size=100,
            gradual=True,
            longest=timedelta(seconds=BATCH_SECONDS + 5 * server.timeout_seconds),
        )
        self._context = context
        self._connection: smtplib.SMTP | None = None
        self._used_at = 0.0

    # ── The connection ──────────────────────────────────────────────────────────────────────────────────────────────

    def _open(self) -> smtplib.SMTP:
        server = self.server
        connection: smtplib.SMTP
        if server.security == "tls":
            connection = smtplib.SMTP_SSL(
                server.host,
                server.port,
                timeout=server.timeout_seconds,
                context=self._tls(),
                local_hostname=server.site,
            )
        else:
            connection = smtplib.SMTP(
                server.host, server.port, timeout=server.timeout_seconds, local_hostname=server.site
            )
        try:
            if server.security == "starttls":
                connection.starttls(context=self._tls())
            connection.ehlo_or_helo_if_needed()
            if server.username:
                connection.login(server.username, server.password)
        except Exception:
            connection.close()
            raise
        return connection

    def _tls(self) -> ssl.SSLContext:
        return self._context or ssl.create_default_context()

    def _connected(self) -> smtplib.SMTP:
        if self._connection is not None and time.monotonic() - self._used_at > IDLE_SECONDS:
            try:
                alive = self._connection.noop()[0] == 250
            except (OSError, smtplib.SMTPException):
                alive = False
            if not alive:
                self.close()
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def probe(self) -> str | None:
        """Whether the mail server lets us in: None, or what is wrong."""
        try:
            self._connected()
        except (OSError, smtplib.SMTPException, ssl.SSLError) as error:
            self.close()
            return self._words(error)
        return None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # ── The messages ────────────────────────────────────────────────────────────────────────────────────────────────

    def submit(self, batch: Sequence[Message]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        until = time.monotonic() + BATCH_SECONDS
        for message in batch:
            if time.monotonic() >= until:
                outcomes.append(Outcome(Status.RETRY, "the mail server is slow", after=timedelta(0)))
                continue
            outcome = self._one(message)
            outcomes.append(outcome)
            if outcome.down:
                rest = len(batch) - len(outcomes)
                return outcomes + [Outcome(Status.RETRY, outcome.reason, down=True)] * rest
        return outcomes

    def _one(self, message: Message) -> Outcome:
        try:
            content = compose(message, self.server)
        except ValueError as error:
            return Outcome(Status.REJECTED, f"{type(error).__name__}: {error}")
        try:
            connection = self._connected()
        except (OSError, smtplib.SMTPException, ssl.SSLError) as error:
            self.close()
            return Outcome(Status.RETRY, self._words(error), down=True)
        on_its_way = False
        try:
            for number, step in enumerate(
                (
                    lambda: connection.mail(self.server.sender),
                    lambda: connection.rcpt(message.address),
                    self._data,
                )
            ):
                code, words = step()
                if code not in (250, 251, 354):
                    return self._refused(code, words, of_address=number == 1)
            on_its_way = True
            code, words = self._text(content)
            self._used_at = time.monotonic()
            if code != 250:
                return self._refused(code, words)
            # Its Message-ID follows from its key and need not be kept.
            return Outcome(Status.ACCEPTED)
        except (OSError, smtplib.SMTPException, UnicodeError, ValueError) as error:
            self.close()
            if on_its_way:
                return Outcome(Status.UNKNOWN, self._words(error))
            if isinstance(error, UnicodeError | ValueError):
                return Outcome(Status.REJECTED, self._words(error))
            return Outcome(Status.RETRY, self._words(error), down=True)

    def _data(self) -> tuple[int, bytes]:
        assert self._connection is not None  # noqa: S101
        self._connection.putcmd("data")
        return self._connection.getreply()

    def _text(self, content: bytes) -> tuple[int, bytes]:
        assert self._connection is not None  # noqa: S101
        # A line that is one dot ends the text, so that dots in front of lines are doubled (RFC 5321, 4.5.2).
        dotted = re.sub(rb"(?m)^\.", b"..", content)
        self._connection.send(dotted + (b"" if dotted.endswith(b"\r\n") else b"\r\n") + b".\r\n")
        return self._connection.getreply()

    def _refused(self, code: int, words: bytes, of_address: bool = False) -> Outcome:
        said = f"{code} {words.decode('utf-8', 'replace')}"[:300]
        if code == 421 or code == -1:
            # The server closes the connection; the next message opens a new one.
            self.close()
            return Outcome(Status.RETRY, said, down=True)
        try:
            if self._connection is not None:
                self._connection.rset()
        except (OSError, smtplib.SMTPException):
            self.close()
        bounced = of_address and bounces.hard(code, said)
        return Outcome(Status.REJECTED if 500 <= code < 600 else Status.RETRY, said, bounced=bounced)

    def _words(self, error: Exception) -> str:
        if isinstance(error, smtplib.SMTPResponseException):
            said = error.smtp_error
            words = said.decode(errors="replace") if isinstance(said, bytes) else said
            return f"{self.server.host}: {error.smtp_code} {words}"[:300]
        return f"{self.server.host}: {error or type(error).__name__}"[:300]


def message_id(message: Message, server: Server) -> str:
    """The same for the same delivery, however often it is handed over."""
    return f"<{message.key.replace(':', '.')}@{server.site}>"


def compose(message: Message, server: Server) -> bytes:
    """A message as it goes over the wire (RFC 5322): plain text and a simple HTML part, with one-click unsubscribe (RFC 8058).

    Raises `ValueError` for an address that cannot stand in a header.
    """
    if not re.fullmatch(r"[^\s<>,;\"\x00-\x1f]+@[^\s<>,;\"\x00-\x1f]+", message.address):
        raise ValueError("the address is not an e-mail address")
    mail = EmailMessage(policy=SMTP_POLICY)
    mail["From"] = formataddr((server.sender_name, server.sender))
    mail["To"] = message.address
    mail["Subject"] = message.subject
    mail["Date"] = formatdate(clock.now().timestamp())
    mail["Message-ID"] = message_id(message, server)
    if server.reply_to:
        mail["Reply-To"] = server.reply_to
    if message.unsubscribe:
        mail["List-Unsubscribe"] = f"<{message.unsubscribe}>"
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    mail.set_content(message.text, cte="quoted-printable")
    mail.add_alternative(as_html(message.body, message.cards, message.footer), subtype="html", cte="quoted-printable")
    return mail.as_bytes()


def as_html(text: str, cards: Sequence[Card] = (), footer: str = "") -> str:
    """A message as HTML: its text, a table a product (mail programs know no better layout), and what stands below."""
    parts = (*_paragraphs(text), *map(_card, cards), *_paragraphs(footer))
    return "<!doctype html><html><body>\n" + "\n".join(parts) + "\n</body></html>\n"


def _card(card: Card) -> str:
    """A product with its picture, name and price, all of it a link."""
    picture = (
        Markup('<td><a href="{}"><img src="{}" alt="" width="96" style="border:0;border-radius:8px"></a></td>').format(
            card.url, card.picture_url
        )
        if card.picture_url
        else Markup("")
    )
    words = Markup('<td style="padding-left:12px"><a href="{}"><strong>{}</strong></a><br>{}</td>').format(
        card.url, card.title, card.price
    )
    return str(Markup('<table role="presentation" style="margin:12px 0"><tr>{}{}</tr></table>').format(picture, words))


def _paragraphs(text: str) -> list[str]:
    """A plain text as HTML: paragraphs, line breaks and links, everything else escaped."""
    paragraphs: list[str] = []
    if not text.strip():
        return paragraphs
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n").strip()):
        out, at = Markup(""), 0
        for found in _LINK.finditer(block):
            out += escape(block[at : found.start()]) + Markup('<a href="{0}">{0}</a>').format(found[0])
            at = found.end()
        out += escape(block[at:])
        paragraphs.append("<p>" + str(out).replace("\n", "<br>\n") + "</p>")
    return paragraphs
