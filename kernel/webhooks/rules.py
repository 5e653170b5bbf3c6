"""Pure decisions about webhooks: how a message is signed, when it is tried again, when an endpoint is given up.

Signing follows Standard Webhooks 1.0: HMAC-SHA256 over `<id>.<timestamp>.<body>` under the bytes of the secret, in base64
after `v1,`; several signatures are divided by spaces.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from .models import DeliveryState

PREFIX = "whsec_"
# After the first attempt and each one that failed; then the message is dead.
RETRIES = tuple(
    timedelta(seconds=s)
    for s in (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
)  # fmt: skip
ROTATION = timedelta(hours=24)
DISABLED_AFTER = timedelta(days=5)
LONGEST_HOLD = timedelta(minutes=5)
# So many failures in a row, whatever the message, and the endpoint is left alone for a while.
PATIENT = 3
# Beside the faults of `kernel.outbound`: an answer that says no, and an address that is not called.
ANSWERED, CLOSED = "answered", "closed"
LEAST_SECRET, MOST_SECRET = 24, 64


def new_secret() -> str:
    """A fresh secret of 32 random bytes, as it is shown to people and typed into the other program."""
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def sign(secret: str, message_id: str, at: datetime, body: bytes) -> str:
    """One signature (`v1,…`) of a message; `secret` with its prefix."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{message_id}.{int(at.timestamp())}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def headers(keys: Sequence[str], message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The headers of a message, signed under each of the secrets."""
    return {
        "Content-Type": "application/json",
        "User-Agent": "Siyu-Webhooks/1.0",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(sign(key, message_id, at, body) for key in keys),
    }


def taken(status: int | None) -> bool:
    """Whether an answer says that the message is taken: any 2xx; a redirect does not."""
    return status is not None and 200 <= status < 300


def next_attempt(attempts: int, now: datetime, retry_after: int | None = None) -> tuple[DeliveryState, datetime]:
    """What becomes of a message after `attempts` failures, and when it is tried again.

    `retry_after` is what the other side asked for, in seconds; it only ever makes the pause longer, up to a day.
    """
    if attempts > len(RETRIES):
        return DeliveryState.DEAD, now
    pause = RETRIES[attempts - 1]
    if retry_after is not None:
        pause = max(pause, min(timedelta(seconds=retry_after), timedelta(days=1)))
    return DeliveryState.WAITING, now + pause


def held_until(failures: int, now: datetime) -> datetime | None:
    """Until when an endpoint is left alone after so many failures in a row."""
    if failures < PATIENT:
        return None
    return now + min(timedelta(seconds=5 * 2 ** min(failures - PATIENT, 10)), LONGEST_HOLD)


def to_be_disabled(failing_since: datetime | None, status: int | None, now: datetime) -> bool:
    """Whether an endpoint is given up: it said that it is gone (410), or nothing has succeeded for days."""
    return status == 410 or (failing_since is not None and now - failing_since >= DISABLED_AFTER)
