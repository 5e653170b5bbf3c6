"""Says of a request whether whoever knows the secret wrote its body. Pure, and looks at nothing but bytes and headers: what is
not signed is not parsed.

Shopify and WooCommerce: base64 of HMAC-SHA256 over the raw body. Standard: the Standard Webhooks specification (identifier, time
and body under HMAC-SHA256, several signatures allowed, ±5 minutes). Youzan: MD5 over client id, message and client secret, which
is what its documentation asks for; the newer pushes carry it over the whole body in the header Event-Sign, the older ones over
`msg` inside the body.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

TOLERANCE = timedelta(seconds=300)
_DELIVERY = re.compile(r"[!-~]{1,200}")
_SECONDS = re.compile(r"[0-9]{1,12}")
_MSG = re.compile(rb'"msg"\s*:\s*"([^"\\]*)"')
_SIGN = re.compile(rb'"sign"\s*:\s*"([0-9A-Fa-f]{32})"')


class Kind(enum.StrEnum):
    SHOPIFY = "shopify"
    WOOCOMMERCE = "woocommerce"
    YOUZAN = "youzan"
    STANDARD = "standard"


class Doubt(enum.StrEnum):
    """Why a signature does not hold; the value is the English sentence."""

    MISSING = "The header with the signature is missing"
    FORM = "The signature is not written as this shop system writes it"
    WRONG = "The signature does not fit: another secret was used, or the text was changed on its way"
    STALE = "The time of the request is more than five minutes away from ours"
    DELIVERY = "The header with the number of the delivery is missing"


class SignatureRefused(Exception):
    def __init__(self, doubt: Doubt) -> None:
        super().__init__(doubt)
        self.doubt = doubt


@dataclass(frozen=True)
class Signed:
    """A body whose signature holds: under which number it was delivered, and its kind of news where the headers say so."""

    delivery_id: str
    topic: str | None = None


def check(
    kind: Kind, secrets: Iterable[str], client_id: str, headers: Mapping[str, str], body: bytes, now: datetime
) -> Signed:
    """Judge a request under any of the secrets (the present one and, while it is being changed, the former).

    Refuses with `SignatureRefused`. `client_id` is Youzan's; comparisons take the same time whatever differs.
    """
    keys = [secret for secret in secrets if secret]
    match kind:
        case Kind.SHOPIFY:
            _hmac_base64(keys, headers.get("X-Shopify-Hmac-Sha256"), body)
            # An identifier of the event is the same for every endpoint of the shop; the webhook's is the delivery's own.
            number = headers.get("X-Shopify-Webhook-Id") or headers.get("X-Shopify-Event-Id")
            return Signed(_delivery(number), _topic(headers.get("X-Shopify-Topic")))
        case Kind.WOOCOMMERCE:
            _hmac_base64(keys, headers.get("X-WC-Webhook-Signature"), body)
            return Signed(_delivery(headers.get("X-WC-Webhook-Delivery-ID")), _topic(headers.get("X-WC-Webhook-Topic")))
        case Kind.YOUZAN:
            return _youzan(keys, client_id, headers, body)
        case Kind.STANDARD:
            return _standard(keys, headers, body, now)


def _delivery(number: str | None) -> str:
    if not number or not _DELIVERY.fullmatch(number):
        raise SignatureRefused(Doubt.DELIVERY)
    return number


def _topic(words: str | None) -> str:
    """A topic as it may be shown; none is an unknown one."""
    return "".join(c for c in words or "" if " " < c <= "~")[:80] or "?"


def _decoded(text: str) -> bytes:
    """Strict base64; refuses with `SignatureRefused`."""
    try:
        found = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        raise SignatureRefused(Doubt.FORM) from None
    if len(found) != hashlib.sha256().digest_size:
        raise SignatureRefused(Doubt.FORM)
    return found


def _hmac_base64(keys: list[str], said: str | None, body: bytes) -> None:
    if not said:
        raise SignatureRefused(Doubt.MISSING)
    given = _decoded(said)
    if not _any([hmac.digest(key.encode(), body, "sha256") for key in keys], given):
        raise SignatureRefused(Doubt.WRONG)


def _any(wanted: list[bytes], given: bytes) -> bool:
    """Whether one fits, all of them compared."""
    return sum(hmac.compare_digest(one, given) for one in wanted) > 0


def _md5(client_id: str, text: bytes, secret: str) -> bytes:
    return hashlib.md5(client_id.encode() + text + secret.encode(), usedforsecurity=False).digest()


# Youzan's developer documentation, "消息推送": the header `Event-Sign` is the MD5 of client id, whole body and secret; the `sign` in
# older bodies is that of client id, `msg` as it stands there, and secret.
def _youzan(keys: list[str], client_id: str, headers: Mapping[str, str], body: bytes) -> Signed:
    header = headers.get("Event-Sign")
    if header:
        if not re.fullmatch("[0-9A-Fa-f]{32}", header):
            raise SignatureRefused(Doubt.FORM)
        given, signed = bytes.fromhex(header), body
    else:
        # The signature lies inside. `msg` is percent-encoded, so that it can be found without reading JSON; a body in which
        # two places could be meant is refused.
        texts, signs = _MSG.findall(body), _SIGN.findall(body)
        if not signs:
            raise SignatureRefused(Doubt.MISSING)
        if len(texts) != 1 or len(signs) != 1:
            raise SignatureRefused(Doubt.FORM)
        given, signed = bytes.fromhex(signs[0].decode()), texts[0]
    if not _any([_md5(client_id, signed, key) for key in keys], given):
        raise SignatureRefused(Doubt.WRONG)
    # Only what is signed names the delivery: numbers beside it could be made up.
    return Signed("md5-" + hashlib.sha256(signed).hexdigest()[:40])


def _standard(keys: list[str], headers: Mapping[str, str], body: bytes, now: datetime) -> Signed:
    number, at, said = (headers.get(name) for name in ("webhook-id", "webhook-timestamp", "webhook-signature"))
    if not said or not at:
        raise SignatureRefused(Doubt.MISSING)
    delivery = _delivery(number)
    if not _SECONDS.fullmatch(at):
        raise SignatureRefused(Doubt.FORM)
    signatures = []
    for one in said.split(" ")[:20]:
        version, comma, text = one.partition(",")
        # Other versions are other schemes, which a sender may put beside this one.
        if version == "v1" and comma:
            signatures.append(_decoded(text))
    if not signatures:
        raise SignatureRefused(Doubt.FORM)
    content = f"{delivery}.{at}.".encode() + body
    wanted = [hmac.digest(key_of(key), content, "sha256") for key in keys]
    if not sum(_any(wanted, given) for given in signatures):
        raise SignatureRefused(Doubt.WRONG)
    if abs(now.timestamp() - int(at)) > TOLERANCE.total_seconds():
        raise SignatureRefused(Doubt.STALE)
    return Signed(delivery)


def key_of(secret: str) -> bytes:
    """The key that a Standard Webhooks secret stands for: what follows `whsec_` is base64. Another text is its own key."""
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            return secret.encode()
    return secret.encode()


def signed_standard(secret: str, delivery_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The headers that a sender puts on a body (for the console's example and for tests)."""
    seconds = str(int(at.timestamp()))
    digest = hmac.digest(key_of(secret), f"{delivery_id}.{seconds}.".encode() + body, "sha256")
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": seconds,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
