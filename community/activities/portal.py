"""What members see and do: the strips on their group's page, a sale, a draw with its ticket. GET changes nothing.

A draw's page is for everybody, because anybody shall be able to check it; it shows tickets and no names.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from apiflask import APIBlueprint
from flask import Response, flash, make_response, redirect, render_template, request, url_for

from community.groups import queries as groups
from community.groups.models import Group
from community.groups.rules import NotAMember
from kernel import clock, visitors
from kernel.auth import member_only, public
from kernel.errors import NotFound
from kernel.i18n import current_locale
from kernel.i18n import gettext as _
from kernel.pages import csv_response
from membership.coupons import labels as coupon_labels

from . import labels, queries, rules, services
from .models import Lottery, LotteryState
from .queries import OnSale
from .rules import Phase

bp = APIBlueprint("activities_portal", __name__, template_folder="templates", enable_openapi=False)

FIRST_TICKETS = 200


def render_strips(group: Group, member: Any = None, seat: Any = None, **_values: Any) -> str:
    """What runs and comes in a group, for one of its members (slot `group.page`)."""
    if member is None or seat is None:
        return ""
    sales, draws = queries.shown_in(group.id, member.id)
    over = groups.is_over(group)
    if over:
        # They end with the group; whoever has a coupon finds it among theirs.
        sales = []
    if not sales and not draws:
        return ""
    return render_template(
        "activities/_strips.html", group=group, sales=sales, draws=draws, over=over, labels=labels, Phase=Phase
    )


# ── Sales ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _found(public_id: str, token: str) -> tuple[Group, OnSale, int]:
    """The group and the sale of an address, and the member of this browser, who sits there. Refuses with `NotAMember`."""
    group, member_id = groups.get_by_public_id(public_id), visitors.member_id()
    if member_id is None or not groups.in_group(member_id, group.id):
        raise NotAMember(next_step=(url_for("groups_portal.show", public_id=public_id), _("To the group")))
    return group, queries.get_started(group.id, token, member_id), member_id


@bp.get("/groups/<public_id>/sales/<token>")
@member_only()
def sale(public_id: str, token: str) -> Any:
    group, found, _member_id = _found(public_id, token)
    return render_template(
        "activities/sale_page.html",
        group=group,
        one=found,
        phase=Phase.OVER if groups.is_over(group) else found.phase,
        validity=coupon_labels.validity(found.version),
        labels=labels,
        Phase=Phase,
    )


@bp.get("/groups/<public_id>/sales/<token>/left")
@member_only()
def left(public_id: str, token: str) -> Any:
    """How many pieces are left, for pages that ask again and again: 304 while it is the same number."""
    _group, found, _member_id = _found(public_id, token)
    return _fresh((current_locale(), found.left, found.phase), "activities/_left.html", one=found)


def _fresh(facts: tuple[object, ...], template: str, **values: Any) -> Response:
    mark = sha256("|".join(map(str, facts)).encode()).hexdigest()[:20]
    if request.if_none_match.contains_weak(mark):
        answer = Response(status=304)
    else:
        answer = make_response(render_template(template, labels=labels, Phase=Phase, **values))
    answer.set_etag(mark, weak=True)
    answer.headers["Cache-Control"] = "private, no-cache"
    return answer


def _ordinal() -> int | None:
    said = request.form.get("n", "")
    return int(said) if said.isascii() and said.isdigit() and 0 < len(said) < 4 else None


@bp.post("/groups/<public_id>/sales/<token>/claim")
@member_only()
def claim(public_id: str, token: str) -> Any:
    _group, found, member_id = _found(public_id, token)
    claimed = services.claim(found.sale, member_id, _ordinal())
    said = _("It is yours: order with the coupon's code.") if claimed.fresh else _("It is yours already.")
    flash(said, "positive")
    return redirect(url_for(".sale", public_id=public_id, token=token), 303)


# ── Draws ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _draw_page(lottery: Lottery, group: Group) -> Any:
    member_id = visitors.member_id()
    inside = member_id is not None and groups.in_group(member_id, group.id)
    (one,) = queries.drawn_rows([lottery], member_id)
    places = sum(number for _name, number in one.prizes)
    seed = services.seed_shown(lottery)
    frozen = lottery.state in (LotteryState.FROZEN, LotteryState.DRAWN)
    passed = (lottery.void_tickets, services.freed_tickets(lottery))
    won = rules.winners(seed, lottery.tickets, places, *passed) if seed is not None else []
    numbers = [number for _name, number in one.prizes]
    return render_template(
        "activities/draw.html",
        group=group,
        one=one,
        lottery=lottery,
        phase=one.phase,
        inside=inside,
        over=groups.is_over(group),
        known=member_id is not None,
        places=places,
        frozen=frozen,
        left_out=queries.left_out(lottery.id) if frozen else 0,
        tickets=lottery.tickets[:FIRST_TICKETS],
        winners=[(place, ticket, one.prizes[rules.prize_of(place, numbers)][0]) for place, ticket in enumerate(won, 1)],
        freed=passed[1],
        seed=seed.hex() if seed is not None else None,
        recipe=rules.recipe(seed, places, *passed) if seed is not None else "",
        labels=labels,
        Phase=Phase,
    )


@bp.get("/draws/<public_id>")
@public("a draw that anybody may check: tickets, no names")
def draw(public_id: str) -> Any:
    lottery = queries.get_announced(public_id)
    return _draw_page(lottery, groups.get_group(lottery.group_id))


@bp.get("/draws/<public_id>/tickets.csv")
@public("the list of a draw that anybody may check: tickets, no names")
def tickets(public_id: str) -> Any:
    lottery = queries.get_announced(public_id)
    if lottery.listed is None:
        raise NotFound
    rows = list(enumerate(lottery.tickets, 1))
    return csv_response(f"tickets-{clock.local(lottery.closes_at):%Y-%m-%d}.csv", ["number", "ticket"], rows)


@bp.post("/draws/<public_id>/enter")
@member_only()
def enter(public_id: str) -> Any:
    lottery, member_id = queries.get_announced(public_id), visitors.member_id()
    if member_id is None:
        raise NotAMember
    entry = services.enter(lottery, member_id)
    flash(_("You take part. Your ticket: %(ticket)s", ticket=entry.ticket), "positive")
    return redirect(url_for(".draw", public_id=public_id), 303)
