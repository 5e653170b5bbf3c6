"""Text messages over Aliyun (阿里云短信服务), its `SendSms` of 2017-05-25, requests signed with ACS3-HMAC-SHA256.

A message is one of the templates that Aliyun has approved, with what varies as parameters; which one it is, and what stands
where, is read off the text itself, so that what was previewed is what is sent. `OutId` carries the message's key and comes back
in the delivery receipt; it is no guard against sending twice.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

from kernel import clock
from kernel.errors import Refusal

from .. import sms
from . import Message, Outcome, Status, wire
from .texting import Texting

ENDPOINT = "https://dysmsapi.aliyuncs.com"
ACTION, VERSION = "SendSms", "2017-05-25"
# The number itself, or what is said to it, is refused.
_REFUSED = (
    "isv.MOBILE_NUMBER_ILLEGAL",
    "isv.MOBILE_COUNT_OVER_LIMIT",
    "isv.BLACK_KEY_CONTROL_LIMIT",
    "isv.SMS_CONTENT_ILLEGAL",
    "isv.TEMPLATE_PARAMS_ILLEGAL",
    "isv.TEMPLATE_MISSING_PARAMETERS",
    "isv.PARAM_LENGTH_LIMIT",
    "isv.PARAM_NOT_SUPPORT_URL",
    "isv.INVALID_PARAMETERS",
    "isv.INVALID_JSON_PARAM",
    "isv.DOMESTIC_NUMBER_NOT_SUPPORTED",
)
_NO_SUCH_NUMBER = "isv.MOBILE_NUMBER_ILLEGAL"
# So many to this number already: another hour may do.
_TOO_OFTEN = "isv.BUSINESS_LIMIT_CONTROL"


@dataclass(frozen=True)
class Access:
    """An Aliyun account for text messages."""

    key_id: str
    key_secret: str
    terms: sms.Terms
    templates: tuple[sms.Template, ...]
    endpoint: str = ENDPOINT
    timeout_seconds: float = 10.0


def authorization(
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body_hash: str,
    key_id: str,
    key_secret: str,
) -> str:
    """The `Authorization` of a request under Aliyun's signature V3 (ACS3-HMAC-SHA256), over `host`, `content-type` and `x-acs-…`."""
    signed = {
        name.lower(): value.strip()
        for name, value in headers.items()
        if name.lower() in ("host", "content-type") or name.lower().startswith("x-acs-")
    }
    names = ";".join(sorted(signed))
    canonical = "\n".join(
        [
            method,
            path,
            "&".join(f"{_quoted(name)}={_quoted(query[name])}" for name in sorted(query)),
            "".join(f"{name}:{signed[name]}\n" for name in sorted(signed)),
            names,
            body_hash,
        ]
    )
    wanted = f"ACS3-HMAC-SHA256\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.new(key_secret.encode(), wanted.encode(), "sha256").hexdigest()
    return f"ACS3-HMAC-SHA256 Credential={key_id},SignedHeaders={names},Signature={signature}"


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")


def national(phone: str) -> str:
    """A phone as Aliyun takes it: of the mainland without its prefix, of elsewhere with its country's digits."""
    return phone.removeprefix("+86") if phone.startswith("+86") else phone.removeprefix("+")


class Aliyun(Texting):
    def __init__(self, access: Access) -> None:
        super().__init__(access.terms, wire.Line(access.endpoint, access.timeout_seconds))
        self.access = access

    def one(self, message: Message) -> Outcome:
        try:
            template, values = sms.fill(message.body, self.access.terms.signature, self.access.templates)
        except Refusal as refusal:
            return Outcome(Status.REJECTED, refusal.code)
        query = {
            "PhoneNumbers": national(message.address),
            "SignName": self.access.terms.signature,
            "TemplateCode": template.code,
            "OutId": message.key,
        }
        if values:
            query["TemplateParam"] = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
        answer = self._ask(query, clock.now())
        return verdict(answer)

    def _ask(self, query: Mapping[str, str], at: datetime) -> wire.Answer:
        empty = hashlib.sha256(b"").hexdigest()
        headers = {
            "host": self.line.host,
            "x-acs-action": ACTION,
            "x-acs-version": VERSION,
            "x-acs-date": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "x-acs-signature-nonce": secrets.token_hex(16),
            "x-acs-content-sha256": empty,
        }
        signed = authorization("POST", "/", query, headers, empty, self.access.key_id, self.access.key_secret)
        written = "&".join(f"{_quoted(name)}={_quoted(query[name])}" for name in sorted(query))
        sent = {name: value for name, value in headers.items() if name != "host"}
        return self.line.call("POST", f"/?{written}", b"", {"Host": headers["host"], "Authorization": signed, **sent})


def verdict(answer: wire.Answer) -> Outcome:
    """What an answer of Aliyun's means. What it cannot say for certain stays in doubt."""
    said = answer.json if isinstance(answer.json, dict) else {}
    code, words = str(said.get("Code") or ""), str(said.get("Message") or "")
    reason = f"{code}: {words}"[:300] if code else f"HTTP {answer.status}"
    if code == "OK":
        return Outcome(Status.ACCEPTED, provider_id=str(said.get("BizId") or "")[:200] or None)
    if code == _TOO_OFTEN:
        return Outcome(Status.RETRY, reason, after=timedelta(hours=1))
    if code in _REFUSED:
        return Outcome(Status.REJECTED, reason, bounced=code == _NO_SUCH_NUMBER)
    if code.startswith("Throttling") or answer.status in (429, 503):
        return Outcome(Status.RETRY, reason, after=answer.after, down=True)
    if code.startswith("isp.SYSTEM") or answer.status >= 500 or not code:
        return Outcome(Status.UNKNOWN, reason)
    # The rest is about the account: its keys, its balance, its signature, its templates.
    return Outcome(Status.RETRY, reason, down=True)
