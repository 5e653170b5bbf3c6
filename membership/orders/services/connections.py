"""Shop systems that push their orders: how they are set up, what they deliver, and what comes of it.

A delivery is a row before it is answered; a worker takes it in from there. Whatever is lost on the way (a queue, a worker) is
found again by the sweep, and the row's state is changed only by whoever took the orders in, in the same transaction.
"""

from __future__ import annotations

import logging
import secrets
from base64 import b64encode
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from hashlib import sha256

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from werkzeug.datastructures import Headers

from kernel import audit, clock
from kernel.db import changed, db
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l
from kernel.sealing import seal, unseal

from .. import queries
from ..feeds import fields, signatures, youzan
from ..feeds.fields import Exchange
from ..feeds.readers import READERS
from ..feeds.reasons import PayloadRefused
from ..feeds.signatures import Kind, SignatureRefused
from ..models import ConnectionState, HookReceipt, OrderConnection, Outcome
from .runs import check_source
from .single import take_in_reported

log = logging.getLogger(__name__)

PURPOSE = "order connection"
# So long the former secret is good beside a new one: time to change it on the other side.
OVERLAP = timedelta(hours=24)
KEEP_BODIES = timedelta(days=30)
KEEP_RECEIPTS = timedelta(days=180)
# How often a delivery that met a fault of ours is tried again by itself.
TRIES = 6
# A delivery that no worker has taken up by then is handed out again.
UNTOUCHED = timedelta(seconds=20)
RATE_UNIT = 1_000_000


class SecretNeeded(Refusal):
    status = 422
    label = _l("Paste the secret that the shop system shows; here it cannot be made.")


class ClientNeeded(Refusal):
    status = 422
    label = _l("Youzan signs with the client id as well. Paste it from its developer console.")


class RateNeeded(Refusal):
    status = 422
    label = _l("Say how many yuan one unit of that currency is worth.")


class ReceiptNotOpen(Refusal):
    label = _l(
        "This delivery cannot be worked on again: it has been taken, or its text has been dropped after 30 days."
    )


class ConnectionInState(Refusal):
    label = _l("The connection is in that state already.")


def set_up(
    name: str,
    kind: Kind,
    source: str,
    secret: str = "",
    client_id: str = "",
    currency: str = "CNY",
    rate: Decimal | None = None,
    staff_id: int | None = None,
) -> tuple[OrderConnection, str]:
    """Make a connection; returns it and the secret, which is never shown again.

    Shopify and Youzan give secrets out; for the others one is made when none is given. `rate` is how many yuan one unit of
    `currency` is worth. Refuses with `SecretNeeded`, `ClientNeeded`, `RateNeeded`, `SourceInvalid`.
    """
    source = check_source(source)
    known = _secret(kind, secret)
    if kind is Kind.YOUZAN and not client_id.strip():
        raise ClientNeeded
    connection = OrderConnection(
        name=name.strip(),
        kind=kind,
        source=source,
        token=secrets.token_urlsafe(24),
        secret=seal(known, PURPOSE),
        client_id=client_id.strip(),
        currency=currency,
        rate=_rate(currency, rate),
        staff_id=staff_id,
        created_at=clock.now(),
    )
    db.session.add(connection)
    db.session.flush()
    audit.record("order_connection.made", "order_connection", connection.id, after=_told(connection))
    return connection, known


def _secret(kind: Kind, secret: str) -> str:
    if secret.strip():
        return secret.strip()
    if kind is Kind.STANDARD:
        return "whsec_" + b64encode(secrets.token_bytes(32)).decode()
    if kind is Kind.WOOCOMMERCE:
        return secrets.token_urlsafe(32)
    raise SecretNeeded


def _rate(currency: str, rate: Decimal | None) -> int | None:
    if currency == "CNY":
        return None
    if rate is None:
        raise RateNeeded
    return max(1, round(rate * RATE_UNIT))


def _told(connection: OrderConnection) -> dict[str, object]:
    rate = None if connection.rate is None else f"{Decimal(connection.rate) / RATE_UNIT:f}"
    told = {key: getattr(connection, key) for key in ("name", "kind", "source", "client_id", "currency")}
    return told | {"yuan_for_one": rate}


def change(
    connection: OrderConnection, name: str, source: str, client_id: str, currency: str, rate: Decimal | None
) -> None:
    """Change what is not secret. Refuses with `ClientNeeded`, `RateNeeded`, `SourceInvalid`."""
    before = _told(connection)
    if connection.kind is Kind.YOUZAN and not client_id.strip():
        raise ClientNeeded
    connection.source = check_source(source)
    connection.rate = _rate(currency, rate)
    connection.name, connection.client_id, connection.currency = name.strip(), client_id.strip(), currency
    db.session.flush()
    audit.record("order_connection.changed", "order_connection", connection.id, before=before, after=_told(connection))


def rotate(connection: OrderConnection, secret: str = "") -> str:
    """Give a connection another secret; the former one stays good for a day. Returns the new one, which is never shown again.

    Refuses with `SecretNeeded` where the shop system gives secrets out.
    """
    known = _secret(connection.kind, secret)
    connection.previous_secret, connection.previous_until = connection.secret, clock.now() + OVERLAP
    connection.secret = seal(known, PURPOSE)
    db.session.flush()
    audit.record("order_connection.secret_changed", "order_connection", connection.id)
    return known


def move(connection_id: int, to: ConnectionState) -> None:
    """Pause a connection (what comes is kept and waits), or let it go on. Refuses with `ConnectionInState`."""
    moved = changed(
        db.session.execute(
            update(OrderConnection)
            .where(OrderConnection.id == connection_id, OrderConnection.state != to)
            .values(state=to)
            .execution_options(synchronize_session=False)
        )
    )
    if not moved:
        raise ConnectionInState
    audit.record(f"order_connection.{to.value}", "order_connection", connection_id)
    if to is ConnectionState.ACTIVE:
        db.session.execute(
            update(HookReceipt)
            .where(HookReceipt.connection_id == connection_id, HookReceipt.outcome == Outcome.RECEIVED)
            .values(due_at=clock.now())
            .execution_options(synchronize_session=False)
        )
        _wake()


def remove(connection: OrderConnection) -> None:
    """Remove a connection with its log; the orders stay."""
    audit.record("order_connection.removed", "order_connection", connection.id, before=_told(connection))
    db.session.execute(
        delete(OrderConnection).where(OrderConnection.id == connection.id).execution_options(synchronize_session=False)
    )


# ── Deliveries ──────────────────────────────────────────────────────────────────────────────────────────────────────


def receive(connection: OrderConnection, headers: Mapping[str, str] | Headers, body: bytes) -> int | None:
    """Judge a delivery by its signature, keep it, and have it worked on after the commit; returns its receipt's id, or None
    when it came before.

    Refuses with `SignatureRefused` (nothing is kept) and `PayloadRefused` (signed, and no JSON: see `note_unreadable`).
    """
    now = clock.now()
    keys = [unseal(connection.secret, PURPOSE)]
    if connection.previous_until is not None and connection.previous_until > now:
        keys.append(unseal(connection.previous_secret, PURPOSE))
    signed = signatures.check(connection.kind, keys, connection.client_id, headers, body, now)  # type: ignore[arg-type]
    parsed = fields.parsed(body)
    topic = signed.topic
    if connection.kind is Kind.YOUZAN:
        youzan.message(parsed)
    if topic is None:
        said = parsed.get("type") if isinstance(parsed, dict) else None
        topic = "".join(c for c in said if " " < c <= "~")[:80] if isinstance(said, str) else ""
    fresh = _keep(connection, signed.delivery_id, topic, body, Outcome.RECEIVED)
    if fresh is None:
        return None
    if connection.last_received_at is None or now - connection.last_received_at > timedelta(minutes=1):
        # Not at every delivery: the connection's row must not be what a hundred of them wait for.
        connection.last_received_at = now
    _later(fresh)
    return fresh


def _keep(
    connection: OrderConnection, delivery_id: str, topic: str, body: bytes, outcome: Outcome, reasons: object = ()
) -> int | None:
    """Write a receipt; None when there is one of that delivery, whose repeats are counted."""
    now = clock.now()
    row_id = db.session.scalar(
        insert(HookReceipt)
        .values(
            connection_id=connection.id,
            delivery_id=delivery_id,
            topic=topic,
            received_at=now,
            outcome=outcome,
            reasons=list(reasons) if isinstance(reasons, list) else [],
            orders=[],
            repeats=0,
            attempts=0,
            due_at=now + UNTOUCHED,
            size=len(body),
            body=body,
        )
        .on_conflict_do_nothing(index_elements=["connection_id", "delivery_id"])
        .returning(HookReceipt.id)
    )
    if row_id is None:
        db.session.execute(
            update(HookReceipt)
            .where(HookReceipt.connection_id == connection.id, HookReceipt.delivery_id == delivery_id)
            .values(repeats=HookReceipt.repeats + 1)
            .execution_options(synchronize_session=False)
        )
    return row_id


def note_refusal(connection_id: int, refused: SignatureRefused) -> None:
    """Count a request that was turned away, so that whoever sets a connection up sees what is wrong. At most one a second is
    written down: the address is known outside."""
    now = clock.now()
    db.session.execute(
        update(OrderConnection)
        .where(
            OrderConnection.id == connection_id,
            OrderConnection.refused_at.is_(None) | (OrderConnection.refused_at < now - timedelta(seconds=1)),
        )
        .values(refused=OrderConnection.refused + 1, refused_at=now, refusal=refused.doubt.value)
        .execution_options(synchronize_session=False)
    )


def note_unreadable(connection: OrderConnection, body: bytes, refused: PayloadRefused) -> None:
    """Keep a signed text that cannot be read, so that it shows in the log."""
    reasons = [list(fault) for fault in refused.faults]
    _keep(connection, "unreadable-" + sha256(body).hexdigest()[:40], "", body, Outcome.REJECTED, reasons)


def _later(receipt_id: int) -> None:
    from ..jobs import take_in_delivery

    take_in_delivery.later(receipt_id=receipt_id)


def _wake() -> None:
    from ..jobs import resume_deliveries

    resume_deliveries.later()


def exchange_of(connection: OrderConnection) -> Exchange:
    """In which currencies the connection's amounts may be."""
    if connection.rate is None:
        return Exchange()
    return Exchange(connection.currency, Decimal(connection.rate) / RATE_UNIT)


def work_off(receipt_id: int) -> Outcome | None:
    """Take a delivery in, in the caller's transaction; returns what came of it, or None when it is not to be worked on (it
    has been, somebody else is at it, or its connection is paused)."""
    row = db.session.execute(
        select(HookReceipt, OrderConnection)
        .join(OrderConnection, OrderConnection.id == HookReceipt.connection_id)
        .where(
            HookReceipt.id == receipt_id,
            HookReceipt.outcome.in_([Outcome.RECEIVED, Outcome.FAILED]),
            OrderConnection.state == ConnectionState.ACTIVE,
        )
        .with_for_update(of=HookReceipt, skip_locked=True)
        .execution_options(populate_existing=True)
    ).one_or_none()
    if row is None or row.HookReceipt.body is None:
        return None
    receipt, connection = row.HookReceipt, row.OrderConnection
    receipt.outcome, receipt.reasons, receipt.orders = _take(connection, receipt)
    receipt.attempts += 1
    receipt.done_at = clock.now()
    db.session.flush()
    return receipt.outcome


def _take(connection: OrderConnection, receipt: HookReceipt) -> tuple[Outcome, list[list[str]], list[str]]:
    try:
        parsed = fields.parsed(receipt.body or b"")
        # Youzan's kind of news lies beside its signature, in the body: it has said nothing that could hurt.
        topic = receipt.topic if connection.kind is not Kind.STANDARD else None
        payload = READERS[connection.kind](parsed, exchange_of(connection), receipt.received_at, topic)
    except PayloadRefused as refused:
        return Outcome.REJECTED, [list(fault) for fault in refused.faults[:50]], []
    remarks = [["", remark] for remark in dict.fromkeys(payload.remarks)]
    if not payload.reports:
        return Outcome.IGNORED, [["", payload.ignored]], []
    taken = take_in_reported(connection.source, payload.reports)
    numbers = sorted({queries.number_of(report) for report in payload.reports})[:100]
    nothing_new = all(outcome == "duplicate" for outcome in taken.outcomes)
    return Outcome.DUPLICATE if nothing_new else Outcome.ACCEPTED, remarks, numbers


def note_fault(receipt_id: int, error: BaseException) -> None:
    """Write down that taking a delivery in met a fault of ours, and when it is tried again."""
    row = db.session.scalar(
        select(HookReceipt)
        .where(HookReceipt.id == receipt_id, HookReceipt.outcome.in_([Outcome.RECEIVED, Outcome.FAILED]))
        .with_for_update()
    )
    if row is None:
        return
    row.outcome = Outcome.FAILED
    row.attempts += 1
    row.reasons = [["", f"{type(error).__name__}: {error}".replace("\x00", "")[:300]]]
    row.due_at = clock.now() + timedelta(seconds=min(30 * 4**row.attempts, 6 * 3600))
    db.session.flush()


def due_deliveries(limit: int = 500) -> list[int]:
    """Deliveries that wait for a worker longer than they should, or that are to be tried again."""
    return list(
        db.session.scalars(
            select(HookReceipt.id)
            .join(OrderConnection, OrderConnection.id == HookReceipt.connection_id)
            .where(
                HookReceipt.outcome.in_([Outcome.RECEIVED, Outcome.FAILED]),
                HookReceipt.due_at <= clock.now(),
                HookReceipt.attempts < TRIES,
                HookReceipt.body.is_not(None),
                OrderConnection.state == ConnectionState.ACTIVE,
            )
            .order_by(HookReceipt.due_at)
            .limit(limit)
        )
    )


def again(receipt_ids: list[int]) -> int:
    """Have deliveries worked on again that failed or were rejected (after a rate was set, say); returns how many.

    Refuses with `ReceiptNotOpen` when none of them can be.
    """
    now = clock.now()
    ids = db.session.scalars(
        update(HookReceipt)
        .where(
            HookReceipt.id == func.any(receipt_ids),
            HookReceipt.outcome.in_([Outcome.FAILED, Outcome.REJECTED]),
            HookReceipt.body.is_not(None),
            HookReceipt.delivery_id.not_like("unreadable-%"),
        )
        .values(outcome=Outcome.RECEIVED, attempts=0, due_at=now + UNTOUCHED, done_at=None)
        .returning(HookReceipt.id)
        .execution_options(synchronize_session=False)
    ).all()
    if not ids:
        raise ReceiptNotOpen
    for receipt_id in sorted(ids):
        audit.record("hook_receipt.repeated", "hook_receipt", receipt_id)
        _later(receipt_id)
    return len(ids)


def forget_deliveries() -> int:
    """Drop the texts of deliveries after 30 days and their rows after 180; returns how many rows were touched."""
    now = clock.now()
    gone = changed(
        db.session.execute(
            delete(HookReceipt)
            .where(HookReceipt.received_at < now - KEEP_RECEIPTS)
            .execution_options(synchronize_session=False)
        )
    )
    return gone + changed(
        db.session.execute(
            update(HookReceipt)
            .where(HookReceipt.received_at < now - KEEP_BODIES, HookReceipt.body.is_not(None))
            .values(body=None)
            .execution_options(synchronize_session=False)
        )
    )
