"""Pages for staff: orders."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from flask import redirect, render_template, request

from kernel import audit, clock, pages, views
from kernel.auth import staff
from kernel.i18n import day
from kernel.i18n import gettext as _
from membership.members import labels as member_labels
from membership.members import queries as members
from membership.members import rules as member_rules

from .. import labels, queries
from ..forms import filter_from
from ..queries import OrderFilter
from . import bp


def _chips(wanted: OrderFilter) -> list[tuple[str, str, str]]:
    """What narrows the list, each to be taken off by itself."""
    chips = pages.search_chip(wanted.q)
    if wanted.source:
        chips.append(
            ("source", wanted.source, _("Source: %(source)s", source=member_labels.source_label(wanted.source)))
        )
    if wanted.state is not None:
        chips.append(("state", wanted.state, _("State: %(state)s", state=labels.STATES[wanted.state])))
    if wanted.since is not None:
        chips.append(("from", wanted.since.isoformat(), _("From %(day)s", day=day(wanted.since))))
    if wanted.until is not None:
        chips.append(("until", wanted.until.isoformat(), _("Until %(day)s", day=day(wanted.until))))
    if wanted.refunded:
        chips.append(("refunded", "yes", _("With a refund")))
    if wanted.nobody:
        chips.append(("member", "none", _("Without a member")))
    return chips


@bp.get("/orders")
@staff("orders.view")
def index() -> Any:
    if (default := views.opening("orders")) is not None:
        return redirect(default)
    wanted = filter_from(request.args)
    page, count = queries.page_of(wanted, request.args.get("cursor"), request.args.get("sort", ""))
    today = clock.today()
    return render_template(
        "orders/index.html",
        page=page,
        count=count,
        wanted=wanted,
        chips_on=_chips(wanted),
        states=labels.STATES,
        state_tones=labels.STATE_TONES,
        sources=[(source, member_labels.source_label(source)) for source in queries.sources()],
        source_label=member_labels.source_label,
        spans=[((today - timedelta(days=days - 1)).isoformat(), label) for days, label in _spans()],
    )


def _spans() -> list[tuple[int, str]]:
    return [(1, _("Today")), (7, _("The last 7 days")), (30, _("The last 30 days")), (365, _("The last 365 days"))]


@bp.post("/orders/export")
@staff("members.export")
def export() -> Any:
    wanted = filter_from(request.args)
    audit.record("orders.exported", "order", None, after={"filter": dict(request.args.items())})
    header = [
        _("Order number"), _("Source"), _("State"), _("Placed"), _("Paid"), _("Delivered"), _("Amount paid"), _("Postage"),
        _("Refunded"), _("Member"), _("Phone"),
    ]  # fmt: skip

    def rows() -> Iterator[list[Any]]:
        for order, member in queries.export_of(wanted, request.args.get("sort", "")):
            yield [
                order.external_id,
                str(member_labels.source_label(order.source)),
                str(labels.STATES[order.state]),
                *(clock.wall_text(at) for at in (order.placed_at, order.paid_at, order.delivered_at)),
                f"{order.paid_amount / 100:.2f}",
                f"{order.postage / 100:.2f}",
                f"{order.refunded_amount / 100:.2f}",
                member.shown_name if member else "",
                member_rules.masked_phone(member.phone) if member else "",
            ]

    return pages.csv_response(f"orders-{clock.today().isoformat()}.csv", header, rows())


@bp.get("/orders/<int:order_id>")
@staff("orders.view")
def show(order_id: int) -> Any:
    order = queries.get_order(order_id)
    return render_template(
        "orders/show.html",
        order=order,
        lines=queries.lines_of(order.id),
        refunds=queries.refunds_of(order.id),
        member=members.find_member(order.member_id) if order.member_id is not None else None,
        others=[one for one in queries.orders_of(order.member_id, 6) if one.id != order.id][:5]
        if order.member_id
        else [],
        run=queries.get_run(order.run_id) if order.run_id is not None else None,
        states=labels.STATES,
        state_tones=labels.STATE_TONES,
        payments=labels.PAYMENTS,
        source_label=member_labels.source_label,
    )
