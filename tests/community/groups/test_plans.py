"""Groups over time: copies and templates, what it takes to open one, the calendar, many at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from community.groups import queries, rules, services
from community.groups.models import Group, GroupKind, GroupState, JoinLink, LiveDrop, LiveSession
from kernel import clock as kernel_clock
from kernel.auth import Role
from membership.coupons import services as coupons
from membership.coupons.models import CouponKind, Offer, OfferState, OfferVersion
from membership.orders.models import OrderState
from tests.community.posts.conftest import order
from tests.conftest import everything, published

__all__ = ["order"]


def text(answer):
    return answer.get_data(as_text=True)


def told(browser, path, **fields):
    """What the page says after a tap."""
    answer = browser.post(path, data=fields)
    assert answer.status_code == 303
    return text(browser.get(answer.headers["Location"]))


def newest(db):
    return db.session.scalar(select(Group).order_by(Group.id.desc()).limit(1))


def test_copy_last_618(db, clock, browse, make_group, make_member):
    """Settings, links, sessions with their drops and coupons come along, moved a year; people and numbers do not."""
    opens = clock.now() - timedelta(days=300)
    last = make_group(
        kind=GroupKind.FLASH, name="618", state=GroupState.CLOSED, opens_at=opens, closes_at=opens + timedelta(days=3),
        opened_at=opens, closed_at=opens + timedelta(days=3), intro="Three days.", capacity=60, seats_each=20,
        hold_minutes=5, join_rule={"mode": "all", "rules": [{"kind": "orders", "count": 1}]}, reward={"kind": "points", "points": 50},
    )  # fmt: skip
    for link in ("Leaflet", "Old leaflet"):
        services.add_link(last, link, "leaflet")
    services.revoke_link(db.session.scalar(select(JoinLink).where(JoinLink.name == "Old leaflet")))
    offer = coupons.create(
        coupons.Draft(
            name="¥20 off", kind=CouponKind.AMOUNT, value=2_000, usable_from=opens, usable_until=opens + timedelta(days=5),
            claim_until=opens + timedelta(days=3), group_id=last.id, stock=100,
        ),
        OfferState.ACTIVE,
    )  # fmt: skip
    session = services.save_session(last, None, "Unboxing", opens + timedelta(hours=8), opens + timedelta(hours=9))
    db.session.add(
        LiveDrop(session_id=session.id, token="drop", title="Now", offer_id=offer.id, minute=5, created_at=opens)
    )
    db.session.flush()
    manager = browse(Role.MANAGER)
    before = everything(db)
    page = text(manager.get(f"/console/groups/{last.id}/copy"))
    assert everything(db) == before
    assert "¥20 off" in page
    assert "1 link" in page
    again = kernel_clock.local(opens + timedelta(days=365)).strftime("%Y-%m-%dT%H:%M")
    answer = manager.post(
        f"/console/groups/{last.id}/copy",
        data={"name": "618 again", "opens_at": again, "links": "y", "sessions": "y", "coupons": "y"},
    )
    made = newest(db)
    assert answer.headers["Location"] == f"/console/groups/{made.id}/settings"
    year = timedelta(days=365)
    assert (made.name, made.state, made.copied_from_id) == ("618 again", GroupState.DRAFT, last.id)
    assert (made.opens_at, made.closes_at) == (opens + year, opens + year + timedelta(days=3))
    assert (made.intro, made.capacity, made.hold_minutes, made.join_rule, made.reward, made.seated) == (
        "Three days.", 60, 5, last.join_rule, last.reward, 0,
    )  # fmt: skip
    links = queries.links_of(made.id)
    assert [link.name for link in links] == ["", "Leaflet"]
    assert {link.token for link in links}.isdisjoint({link.token for link in queries.links_of(last.id)})
    copied = db.session.scalar(select(LiveSession).where(LiveSession.group_id == made.id))
    assert (copied.title, copied.starts_at) == ("Unboxing", opens + year + timedelta(hours=8))
    own, version = db.session.execute(
        select(Offer, OfferVersion)
        .join(OfferVersion, OfferVersion.id == Offer.version_id)
        .where(OfferVersion.group_id == made.id)
    ).one()
    assert (own.state, own.claimed, own.stock, own.claim_until) == (
        OfferState.DRAFT, 0, 100, opens + year + timedelta(days=3),
    )  # fmt: skip
    assert version.usable_until == opens + year + timedelta(days=5)
    assert db.session.scalar(select(LiveDrop.offer_id).where(LiveDrop.session_id == copied.id)) == own.id
    assert published(db, "GroupCopied")[-1]["shift_seconds"] == year.total_seconds()


def test_a_copy_without_a_time_lasts_as_long_as_the_one_before(db, clock, browse, make_group):
    opens = clock.now() - timedelta(days=30)
    last = make_group(
        kind=GroupKind.FLASH,
        state=GroupState.CLOSED,
        opened_at=opens,
        closes_at=opens + timedelta(days=2),
        closed_at=opens + timedelta(days=2),
    )
    coupons.create(
        coupons.Draft("¥20 off", CouponKind.AMOUNT, 2_000, usable_until=opens + timedelta(days=3), group_id=last.id),
        OfferState.ACTIVE,
    )
    manager = browse(Role.MANAGER)
    manager.post(f"/console/groups/{last.id}/copy", data={"name": "Again", "coupons": "y"})
    assert (newest(db).opens_at, newest(db).closes_at) == (None, clock.now() + timedelta(days=2))
    # What belongs to a group that is over counts from now like the group itself, and is not over from the start.
    assert "¥20 off" in text(manager.get(f"/console/groups/{newest(db).id}"))
    until = db.session.scalar(select(OfferVersion.usable_until).where(OfferVersion.group_id == newest(db).id))
    assert until == clock.now() + timedelta(days=3)
    refused = manager.post(f"/console/groups/{last.id}/copy", data={"name": " "})
    assert refused.status_code == 422
    assert browse(Role.MARKETER).get(f"/console/groups/{last.id}/copy").status_code == 403


def test_templates_stand_first(db, clock, browse, make_group):
    make_group(name="Newer")
    old = make_group(name="Pattern", created_at=clock.now() - timedelta(days=90))
    manager = browse(Role.MANAGER)
    manager.post(f"/console/groups/{old.id}/template", data={"template": "1"})
    page = text(manager.get("/console/groups/new"))
    assert page.index("Pattern") < page.index("Newer")
    manager.post(f"/console/groups/{old.id}/template", data={"template": "0"})
    page = text(manager.get("/console/groups/new"))
    assert page.index("Newer") < page.index("Pattern")


def test_opening_asks_for_orders_where_the_shop_says_so(db, clock, browse, make_group, make_member, order):
    """Off at first; switched on, a draft is refused with how far it is; what runs already goes on."""
    manager, buyer = browse(Role.MANAGER), make_member()
    draft, other, paused = (
        make_group(state=state) for state in (GroupState.DRAFT, GroupState.DRAFT, GroupState.PAUSED)
    )
    assert manager.post(f"/console/groups/{other.id}/state", data={"to": "open"}).status_code == 303
    saved = manager.post("/console/groups/opening", data={"on": "y", "orders": "3", "days": "30"})
    assert saved.status_code == 303
    order(buyer, clock.now() - timedelta(days=1))
    order(buyer, clock.now() - timedelta(days=31))
    order(buyer, clock.now() - timedelta(days=2), state=OrderState.CLOSED)
    page = text(manager.get("/console/groups/opening"))
    assert "1 of 3 orders in 30 days: 2 more." in page
    for to in ("open", "warm_up"):
        refused = manager.post(f"/console/groups/{draft.id}/state", data={"to": to})
        assert refused.status_code == 409
        assert "There were 1: 2 more" in text(refused)
    assert queries.get_group(draft.id).state is GroupState.DRAFT
    assert manager.post(f"/console/groups/{paused.id}/state", data={"to": "open"}).status_code == 303
    order(buyer, clock.now())
    order(buyer, clock.now())
    assert manager.post(f"/console/groups/{draft.id}/state", data={"to": "open"}).status_code == 303
    for field, value in (("orders", "0"), ("days", "400"), ("days", "")):
        wrong = {"on": "y", "orders": "3", "days": "30", field: value}
        assert manager.post("/console/groups/opening", data=wrong).status_code == 422
    assert services.condition() == rules.Opening(True, 3, 30)
    assert browse(Role.MARKETER).post("/console/groups/opening", data={"orders": "1", "days": "1"}).status_code == 403


def test_the_calendar_of_a_month(db, clock, browse, make_group):
    """March 2026: what opened, closes and goes live, by the shop's days; April's is on April's page."""
    group = make_group(
        name="Spring", opened_at=datetime(2026, 3, 1, 16, 30, tzinfo=UTC), kind=GroupKind.FLASH,
        closes_at=datetime(2026, 3, 31, 16, 30, tzinfo=UTC),
    )  # fmt: skip
    live = make_group(name="Live", kind=GroupKind.LIVE)
    at = datetime(2026, 3, 10, 12, tzinfo=UTC)
    services.save_session(live, None, "Tea at eight", at, at + timedelta(hours=1))
    moments = queries.calendar(datetime(2026, 2, 28, 16, tzinfo=UTC), datetime(2026, 3, 31, 16, tzinfo=UTC))
    assert [(m.what, m.group.name, m.title) for m in moments] == [
        ("opens", "Spring", ""),
        ("session", "Live", "Tea at eight"),
    ]
    page = text(browse(Role.VIEWER).get("/console/groups/calendar"))
    assert "Tea at eight" in page
    assert "00:30" in page
    assert "Group closes" not in page
    assert "Group closes" in text(browse(Role.VIEWER).get("/console/groups/calendar?month=2026-04"))
    assert browse(Role.VIEWER).get("/console/groups/calendar?month=2026-99").status_code == 200
    assert group.name


def test_many_at_once_and_the_archive(db, clock, browse, make_group):
    open_, draft, closed = (make_group(state=state) for state in (GroupState.OPEN, GroupState.DRAFT, GroupState.CLOSED))
    closed.closed_at = kernel_clock.now()
    manager, ids = browse(Role.MANAGER), [str(g.id) for g in (open_, draft, closed)]

    def states():
        return [queries.get_group(int(n)).state for n in ids]

    page = told(manager, "/console/groups/states", ids=ids, to="paused")
    assert "1 group was changed" in page
    assert "2 groups are in a state" in page
    assert states() == [GroupState.PAUSED, GroupState.DRAFT, GroupState.CLOSED]
    # A draft is opened on its own page, where its consequences are said.
    manager.post("/console/groups/states", data={"ids": ids, "to": "open"})
    assert states() == [GroupState.OPEN, GroupState.DRAFT, GroupState.CLOSED]
    manager.post("/console/groups/states", data={"ids": ids[2:], "to": "archived"})
    assert states()[2] is GroupState.ARCHIVED
    manager.post(f"/console/groups/{closed.id}/unarchive")
    assert states()[2] is GroupState.CLOSED
    assert manager.post(f"/console/groups/{closed.id}/unarchive").status_code == 409
    assert manager.post("/console/groups/states", data={"ids": ids, "to": "draft"}).status_code == 404


@pytest.mark.parametrize("role", [Role.VIEWER, Role.SERVICE])
def test_who_may_not_change_many(db, clock, browse, make_group, role):
    assert (
        browse(role).post("/console/groups/states", data={"ids": [make_group().id], "to": "paused"}).status_code == 403
    )
