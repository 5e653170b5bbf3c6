"""Reading what mail servers send back: delivery reports (RFC 3464) and complaints (RFC 5965); pure, on bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message as Mail
from email.policy import compat32

LARGEST = 512 * 1024
_ADDRESS = re.compile(r"[^\s<>,;:\"\x00-\x1f]{1,64}@[^\s<>,;:\"\x00-\x1f@]{1,253}")
_STATUS = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")
_NOBODY = re.compile(
    r"user unknown|no such (?:user|recipient|mailbox|address)|unknown (?:user|recipient|mailbox)|does not exist|doesn't exist|"
    r"mailbox (?:not found|unavailable|disabled)|invalid (?:recipient|mailbox|address)|account (?:disabled|inactive)|"
    r"recipient (?:not found|address rejected)|用户不存在|邮箱不存在|地址不存在",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Report:
    """What a mail server says of one address: it is no good (`hard`), or its owner calls our mail spam (`complaint`)."""

    address: str
    hard: bool
    complaint: bool
    reason: str


def hard(code: int | None, words: str) -> bool:
    """Whether a refusal means that there is no such mailbox and never will be.

    `code` is SMTP's (550) where one is known. An enhanced status (RFC 3463) decides where there is one: 5.1.x is about the
    address, 5.2.1 a mailbox that is closed; 5.2.2 (full), 5.3, 5.4 and 5.7 (policy) say nothing about the person.
    """
    if code is not None and not 500 <= code < 600:
        return False
    found = _STATUS.search(words)
    if found is not None and found[1] != "5":
        return False
    if found is not None and (found[2], found[3]) not in (("0", "0"), ("5", "0")):
        # 5.1.7 and 5.1.8 are about the sender's address.
        return (found[2] == "1" and found[3] not in ("7", "8")) or (found[2], found[3]) == ("2", "1")
    return bool(_NOBODY.search(words))


def read(content: bytes) -> list[Report]:
    """What a message posted by a mail server reports; an ordinary message, or one that cannot be read, reports nothing."""
    mail = message_from_bytes(content, policy=compat32)
    if mail.get_content_type() != "multipart/report" or not mail.is_multipart():
        return []
    reports: list[Report] = []
    for number, part in enumerate(_parts(mail)):
        if number > 50:
            break
        kind = part.get_content_type()
        if kind == "message/delivery-status":
            reports.extend(_of_delivery(part))
        elif kind == "message/feedback-report":
            reports.extend(_of_complaint(part))
    return reports


def _parts(mail: Mail) -> Iterator[Mail]:
    inner = mail.get_payload()
    if isinstance(inner, list):
        yield from (part for part in inner if isinstance(part, Mail))


def _blocks(part: Mail) -> list[Mail]:
    inner = part.get_payload()
    if isinstance(inner, list):
        return [block for block in inner if isinstance(block, Mail)]
    text = str(inner or "")
    return [message_from_bytes(text.encode("utf-8", "replace"), policy=compat32)]


def _address(field: str | None) -> str | None:
    """`rfc822; lime@example.com` or a bare address, in lower case."""
    found = _ADDRESS.search((field or "").partition(";")[2] or field or "")
    return found[0].lower() if found else None


def _of_delivery(part: Mail) -> Iterator[Report]:
    for block in _blocks(part)[:200]:
        address = _address(str(block.get("Original-Recipient") or "")) or _address(
            str(block.get("Final-Recipient") or "")
        )
        if address is None or str(block.get("Action") or "").strip().lower() != "failed":
            continue
        status, said = str(block.get("Status") or "").strip(), " ".join(str(block.get("Diagnostic-Code") or "").split())
        reason = f"{status} {said}".strip()[:300]
        yield Report(address, hard(None, reason), False, reason)


def _of_complaint(part: Mail) -> Iterator[Report]:
    for block in _blocks(part)[:1]:
        address = _address(str(block.get("Original-Rcpt-To") or "")) or _address(
            str(block.get("Removal-Recipient") or "")
        )
        kind = str(block.get("Feedback-Type") or "").strip().lower()
        if address is not None and kind in ("abuse", "fraud", "opt-out"):
            yield Report(address, False, True, kind)
