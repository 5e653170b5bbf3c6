"""Tiers about to fall: the list, what is missing, the word to the member; and the list of tiers set by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from flask import g
from sqlalchemy import select

from kernel import notices
from kernel.auth import Role
from kernel.events import EventRecord
from kernel.today import tasks
from membership.members.models import Member, MemberTag
from membership.tiers import jobs, queries, services
from membership.tiers.models import Downgrade, MemberTier, TierWarning
from membership.tiers.queries import FallFilter, ManualFilter
from membership.tiers.rules import STANDARD, CountedOrder, Missing, Standing

from .stored import make_member, place, store
from .strategies import NOW
from .test_pages import ENGLISH


@pytest.fixture(autouse=True)
def noon(clock):
    clock.at(NOW)
    return clock


def falling(db, rank: int, days: float, enrolled: bool = True, held: tuple[CountedOrder, ...] = (), **values) -> Member:
    """A member whose rank falls so many days from now if nothing is bought."""
    until = NOW + timedelta(days=days - STANDARD.grace_days)
    member_id = store(db, services.ensure_policy(), list(held), Standing(rank, until, None), True)
    member = db.session.get(Member, member_id)
    if enrolled:
        member.enrolled_at = NOW - timedelta(days=300)
    for name, value in values.items():
        setattr(member, name, value)
    db.session.flush()
    services.reassess([member_id])
    return member


def listed(**wanted) -> list[int]:
    page, _count = queries.falls_page(FallFilter(**wanted), None)
    return [member.id for member, _row in page.rows]


def test_falls_are_listed_by_time_and_tier(db):
    late, soon = falling(db, 3, 28), falling(db, 2, 3)
    falling(db, 2, 100)
    assert listed() == [soon.id, late.id]
    assert listed(days=7) == [soon.id]
    assert listed(tier=3) == [late.id]
    row = db.session.get(MemberTier, soon.id)
    assert (row.falls_to, row.keep_spend, row.keep_orders) == (1, 500_00, 3)
    assert queries.missing_of(row) == Missing(2, 500_00, 3, either=True)


def test_who_keeps_the_tier_by_orders_or_by_hand_is_not_listed(db):
    kept = falling(db, 2, 20, held=(CountedOrder(NOW - timedelta(days=5), 700_00),))
    lifted = falling(db, 2, 20)
    services.set_manually(lifted.id, 2, "partner")
    ends = falling(db, 2, 20)
    services.set_manually(ends.id, 2, "trial", NOW + timedelta(days=3))
    assert db.session.get(MemberTier, kept.id).falls_at is None
    assert listed() == [ends.id]


def test_no_tier_falls_where_the_rules_keep_it(db):
    member = falling(db, 2, 20)
    services.save_policy(replace(STANDARD, downgrade=Downgrade.NONE))
    services.reassess()
    assert db.session.get(MemberTier, member.id).falls_at is None
    assert listed() == []


def test_buying_enough_takes_the_fall_away(db):
    member = falling(db, 2, 20)
    place(db, member.id, [CountedOrder(NOW, 600_00)])
    services.reassess([member.id])
    assert db.session.get(MemberTier, member.id).falls_at is None


# ── The word to the member ──────────────────────────────────────────────────────────────────────────────────────────


def told(db, member_id) -> list[str]:
    return list(
        db.session.scalars(
            select(notices.Notice.title)
            .where(notices.Notice.member_id == member_id, notices.Notice.kind == "tier.falling")
            .order_by(notices.Notice.id)
        )
    )


def test_members_are_told_at_thirty_seven_and_one_days_once_each(db, clock):
    member = falling(db, 2, 40, locale="en")
    seen = []
    for day in range(41):
        clock.at(NOW + timedelta(days=day, hours=1))
        for _ in range(2):
            jobs.warn_of_falls()
        if len(told(db, member.id)) > len(seen):
            seen.append(40 - day)
        if day == 20:
            jobs.review_due()
    assert seen == [30, 7, 1]
    steps = db.session.scalars(select(TierWarning.days).order_by(TierWarning.days)).all()
    assert steps == [1, 7, 30]
    assert told(db, member.id)[0].startswith("Your VIP2 holds until")
    payloads = db.session.scalars(
        select(EventRecord.payload).where(EventRecord.name == "TierFallAnnounced").order_by(EventRecord.id)
    ).all()
    assert [(one["days"], one["to_rank"]) for one in payloads] == [(30, 1), (7, 1), (1, 1)]


def test_only_enrolled_members_are_told_and_a_late_start_tells_once(db):
    stranger, member = falling(db, 2, 5, enrolled=False), falling(db, 2, 5)
    jobs.warn_of_falls()
    assert told(db, stranger.id) == []
    assert len(told(db, member.id)) == 1
    body = db.session.scalar(select(notices.Notice.body).where(notices.Notice.member_id == member.id))
    assert "¥500.00" in body
    assert "VIP1" in body


# ── Pages ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_page_of_falls_says_what_is_missing(owner_client, db):
    member = falling(db, 2, 5, nickname="谷雨")
    page = owner_client.get("/console/tiers/falls", headers=ENGLISH).text
    for words in ("谷雨", "¥500.00 or 3 orders", "VIP2", "VIP1", "Within 7 days", "Tag all 1"):
        assert words in page
    assert "谷雨" in owner_client.get("/console/tiers/falls?days=7&tier=2&q=谷雨").text
    assert "No tier is about to fall" in owner_client.get("/console/tiers/falls?days=1", headers=ENGLISH).text
    for odd in ("?days=x", "?tier=99", "?cursor=%00", "?days=99999999999999999999"):
        assert owner_client.get("/console/tiers/falls" + odd).status_code == 200
    shown = owner_client.get(f"/console/members/{member.id}", headers=ENGLISH).text
    assert "Missing to keep it" in shown


def test_falls_are_taken_along_as_a_file_and_tagged(owner_client, db):
    first, second = falling(db, 2, 5, nickname="=cmd"), falling(db, 3, 6)
    file = owner_client.post("/console/tiers/falls/export?days=7", headers=ENGLISH)
    assert file.text.splitlines()[0].lstrip("\ufeff").startswith("Member,Phone,Tier,Falls to")
    assert "'=cmd" in file.text
    path = "/console/tiers/falls/tags?days=7"
    assert owner_client.post(path, data={"act": "all", "tag": "掉级前"}).status_code == 303
    tagged = db.session.scalars(select(MemberTag.member_id)).all()
    assert sorted(tagged) == sorted([first.id, second.id])
    owner_client.post(path, data={"act": "tag", "tag": "one", "ids": [first.id]})
    assert len(db.session.scalars(select(MemberTag.member_id)).all()) == 3
    for data in ({"act": "all", "tag": " "}, {"act": "tag", "tag": "x"}, {"act": "tag", "tag": "x", "ids": ["y"]}):
        assert owner_client.post(path, data=data).status_code == 303
    assert len(db.session.scalars(select(MemberTag.member_id)).all()) == 3


def test_brief_names_falls_of_the_week(owner_client, db, app):
    falling(db, 2, 5)
    assert "1 member loses a tier within 7 days" in owner_client.get("/console/", headers=ENGLISH).text
    assert tasks.filled


def test_tiers_set_by_hand_are_listed_with_reason_and_end(owner_client, db, clock):
    assert "No tier is set by hand" in owner_client.get("/console/tiers/by-hand", headers=ENGLISH).text
    partner, trial = make_member(db, nickname="伙伴"), make_member(db, nickname="试用")
    services.set_manually(partner.id, 4, "partner of the shop")
    services.set_manually(trial.id, 3, "trial", NOW + timedelta(days=10))
    page = owner_client.get("/console/tiers/by-hand", headers=ENGLISH).text
    for words in ("伙伴", "试用", "partner of the shop", "for good"):
        assert words in page
    soon = owner_client.get("/console/tiers/by-hand?ends=soon", headers=ENGLISH).text
    assert "试用" in soon
    assert "伙伴" not in soon
    assert "伙伴" in owner_client.get("/console/tiers/by-hand?q=partner").text
    assert "伙伴" not in owner_client.get("/console/tiers/by-hand?tier=3").text
    file = owner_client.post("/console/tiers/by-hand/export", headers=ENGLISH).text
    assert "trial" in file
    answer = owner_client.post(f"/console/members/{partner.id}/tier/end", data={"next": "by-hand"})
    assert answer.location == "/console/tiers/by-hand"
    clock.move(days=10)
    jobs.review_due()
    g.pop("tier_policy", None)
    assert queries.by_hand_page(ManualFilter(), None)[1].n == 0


@pytest.mark.parametrize("role", [Role.SERVICE, Role.VIEWER])
def test_who_may_not_export_does_not(staff_client, db, role):
    falling(db, 2, 5)
    client = staff_client(role)
    assert client.get("/console/tiers/falls").status_code == 200
    for path in ("/console/tiers/falls/export", "/console/tiers/by-hand/export"):
        assert client.post(path).status_code == 403
    wanted = 303 if role is Role.SERVICE else 403
    assert client.post("/console/tiers/falls/tags", data={"act": "all", "tag": "x"}).status_code == wanted
