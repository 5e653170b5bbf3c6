"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from sqlalchemy import select, update

from kernel.db import db
from kernel.i18n import lazy_gettext as _l
from membership.members.services import erasure
from membership.members.services.personal import Person, by, declare, mentioning, through

from .models import (
    ColumnMapping,
    FeedEntry,
    HookReceipt,
    ImportReject,
    ImportRun,
    Order,
    OrderConnection,
    OrderDetail,
    OrderLine,
    OrderStep,
    Refund,
    ReturnedLine,
)

declare(
    ColumnMapping,
    "id name heading heading_key plan staff_id created_at updated_at",
)
declare(
    FeedEntry,
    "id source external_id kind at run_id",
    "note",
    rows=mentioning(FeedEntry.buyer, FeedEntry.note),
    forgotten="buyer",
)
declare(
    HookReceipt,
    "id connection_id delivery_id topic received_at outcome orders repeats attempts due_at done_at size",
    "body reasons",
    rows=mentioning(HookReceipt.body, HookReceipt.reasons),
)
declare(
    ImportReject,
    "id run_id line column reason external_id origin_line corrected_by_id",
    "value row",
    rows=mentioning(ImportReject.row, ImportReject.value),
    label=_l("Lines of order files that could not be read"),
)
declare(
    ImportRun,
    "id source format filename file_key encoding state failure size rows_total rows_in accepted duplicate "
    "rejected orders_new orders_changed members_new checkpoint options corrects_id lease_token "
    "lease_until staff_id created_at started_at finished_at",
)
declare(
    Order,
    "id source external_id state payment placed_at paid_at shipped_at delivered_at completed_at closed_at "
    "paid_amount postage discount reported_refund refunded_amount version_at version_mark run_id "
    "created_at",
    rows=by(Order.member_id),
    label=_l("Orders"),
    forgotten="member_id buyer",
)
declare(
    OrderConnection,
    "id name kind source token secret previous_secret previous_until client_id currency rate state "
    "last_received_at refused refused_at refusal staff_id created_at",
)
declare(
    OrderDetail,
    "id source order_external_id version_at version_mark refunded_amount lines run_id",
)
declare(
    OrderLine,
    "id order_id position product_id sku title quantity unit_price amount refunded_quantity",
    rows=through(OrderLine.order_id, Order.id, Order.member_id),
    label=_l("What was ordered"),
)
declare(
    OrderStep,
    "id source order_external_id state at",
)
declare(
    Refund,
    "id source external_id order_external_id order_id amount at run_id returned_line_id",
    rows=through(Refund.order_id, Order.id, Order.member_id),
    label=_l("Refunds"),
)
declare(
    ReturnedLine,
    "id entry_id position source sku quantity unit_price at unmatched",
    forgotten="buyer",
)


@erasure.forgetters.fill
def take_names_off_orders(person: Person) -> None:
    """Orders are kept without the person. Their source's number of the buyer becomes one that says nothing, the same on
    all of them, so that a cancellation that names no order still finds what it gives back among what was known before."""
    nobody = f"erased:{person.ids[0]}"
    theirs = (
        select(Order.source, Order.buyer).where(Order.member_id.in_(person.ids), Order.buyer.is_not(None)).distinct()
    )
    for source, buyer in db.session.execute(theirs).all():
        for table in (FeedEntry, ReturnedLine, Order):
            db.session.execute(
                update(table)
                .where(table.source == source, table.buyer == buyer)
                .values(buyer=nobody)
                .execution_options(synchronize_session=False)
            )
    db.session.execute(
        update(Order)
        .where(Order.member_id.in_(person.ids))
        .values(member_id=None)
        .execution_options(synchronize_session=False)
    )
