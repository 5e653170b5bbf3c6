"""What came of a group, as a page and as a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import render_template

from kernel.auth import staff
from kernel.i18n import gettext as _
from kernel.i18n import number, percent
from kernel.money import yuan
from kernel.pages import csv_response

from .. import queries, results
from ..results import Result, Tally
from . import bp
from .groups import frame_of

MOST_INVITERS = 50


@bp.get("/groups/<int:group_id>/results")
@staff("groups.view")
def result(group_id: int) -> Any:
    group = queries.get_group(group_id)
    found = results.result_of(group)
    return render_template(
        "groups/results.html",
        **frame_of(group, "results"),
        result=found,
        steps=_steps(found),
        tables=_tables(found),
        offers=results.offers_of(group.id),
    )


def _steps(found: Result) -> list[dict[str, Any]]:
    """The funnel; the last step only where a group leads on to another."""
    steps = [
        (_("People joined"), found.all.joined),
        (_("Claimed something"), found.claimants),
        (_("Bought"), found.all.buyers),
    ]
    if found.all.moved_on:
        steps.append((_("Moved on"), found.all.moved_on))
    return [
        {"label": label, "value": value, "text": number(value), "share": percent(value, found.all.joined)}
        for label, value in steps
    ]


def _tables(found: Result) -> list[tuple[str, str, list[results.Way]]]:
    tables = [
        ("sources", _("By source"), found.sources),
        ("links", _("By link"), found.links),
        ("staff", _("By who invited"), found.staff),
        ("inviters", _("By friends who brought them"), found.inviters[:MOST_INVITERS]),
    ]
    return [(key, title, ways) for key, title, ways in tables if ways]


@bp.get("/groups/<int:group_id>/results/export")
@staff("groups.view")
def export_result(group_id: int) -> Any:
    group = queries.get_group(group_id)
    header = [
        _("Part"), _("Name"), _("Opened"), _("People joined"), _("In the group"), _("Left"), _("Moved on"), _("Buyers"),
        _("Orders"), _("Money, yuan"), _("Goods, yuan"),
    ]  # fmt: skip
    return csv_response(f"group-{group.id}-results.csv", header, _rows(results.result_of(group)))


def _rows(found: Result) -> Iterator[list[Any]]:
    yield [_("Everybody"), "", "", *_numbers(found.all)]
    for _key, title, ways in _tables(found):
        for way in ways:
            yield [title, way.name, "" if way.opened is None else way.opened, *_numbers(way.tally)]
    for name, value in (
        (_("Coupons claimed"), found.claimed),
        (_("Coupons used"), found.used),
        (_("What the coupons took off, yuan"), plain_yuan(found.coupons)),
        (_("Gifts claimed"), found.gifts),
        (_("What the gifts cost, yuan"), plain_yuan(found.gift_cost)),
        (_("Profit, yuan"), plain_yuan(found.profit)),
    ):
        yield [name, value]


def _numbers(tally: Tally) -> list[Any]:
    return [
        tally.joined, tally.here, tally.left, tally.moved_on, tally.buyers, tally.orders,
        plain_yuan(tally.money), plain_yuan(tally.goods),
    ]  # fmt: skip


def plain_yuan(fen: int) -> str:
    """An amount for a spreadsheet: without sign and separators."""
    return yuan(fen).replace("¥", "").replace(",", "")
