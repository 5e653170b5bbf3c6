"""Consents, opt-outs, tags, notes: what holds, what is published, what is refused."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import delete, select

from kernel import clock as kernel_clock
from kernel import links
from membership.members import queries as members
from membership.members import rules, services
from membership.members.jobs import keep_stages
from membership.members.models import (
    Channel,
    Consent,
    Contact,
    Member,
    MemberIdentity,
    OptOut,
    Purpose,
    Stage,
)
from membership.members.services import merge, personal, rights
from membership.members.services.profile import TagInvalid
from membership.members.subscribers import reassess_buyer, reassess_buyers
from membership.orders.events import BuyersChanged, OrderRecorded
from tests.conftest import published

from .conftest import PHONE


def consenting(db, channel=Contact.INBOX, purpose=Purpose.MARKETING):
    return set(
        db.session.scalars(members.live().with_only_columns(Member.id).where(members.consented(channel, purpose)))
    )


def test_none_means_no(db, make_member):
    member = make_member()
    assert not members.has_consent(member.id, Contact.INBOX)
    assert consenting(db) == set()


def test_the_latest_row_rules_and_rows_are_only_added(db, make_member):
    member, other = make_member(), make_member()
    services.give_consent(other.id, Contact.INBOX, source="portal")
    for act, holds in [
        (services.give_consent, True),
        (services.withdraw_consent, False),
        (services.give_consent, True),
        (services.withdraw_consent, False),
    ]:
        assert act(member.id, Contact.INBOX, source="portal")
        assert members.has_consent(member.id, Contact.INBOX) is holds
        assert consenting(db) == ({member.id, other.id} if holds else {other.id})
    assert [row.granted for row in members.consent_history(member.id)] == [False, True, False, True]


def test_channels_and_purposes_are_apart(db, make_member):
    member = make_member()
    services.give_consent(member.id, Contact.INBOX, Purpose.MARKETING)
    assert not members.has_consent(member.id, Contact.EMAIL)
    assert not members.has_consent(member.id, Contact.INBOX, Purpose.SERVICE)


def test_saying_the_same_again_writes_and_publishes_nothing(db, make_member):
    member = make_member()
    assert services.give_consent(member.id, Contact.EMAIL, source="portal")
    assert not services.give_consent(member.id, Contact.EMAIL, source="portal")
    assert len(members.consent_history(member.id)) == 1
    assert published(db, "ConsentChanged") == [
        {"member_id": member.id, "channel": "email", "purpose": "marketing", "granted": True, "source": "portal"}
    ]


def test_who_wrote_a_consent_down_is_kept(db, make_member):
    member = make_member()
    services.give_consent(member.id, Contact.CALL, Purpose.MARKETING, "call", author="小林")
    row = members.rights(member.id)[Contact.CALL, Purpose.MARKETING]
    assert (row.author, row.source, row.text_version) == ("小林", "call", services.rights.TEXT_VERSION)


def test_an_import_never_speaks_over_the_person(db, make_member):
    fresh, agreed, refused = make_member(), make_member(), make_member()
    services.give_consent(agreed.id, Contact.INBOX)
    services.withdraw_consent(refused.id, Contact.INBOX)
    assert services.give_consent_many([fresh.id, agreed.id, refused.id], Contact.INBOX) == 1
    assert consenting(db) == {fresh.id, agreed.id}


@pytest.mark.parametrize("channel", [Contact.INBOX, Contact.SMS])
def test_an_opt_out_survives_the_person_and_their_re_import(db, make_member, channel):
    member = make_member(phone=PHONE)
    services.give_consent(member.id, channel)
    services.withdraw_consent(member.id, channel, source="unsubscribe")
    for table in (Consent, MemberIdentity):
        db.session.execute(delete(table).where(table.member_id == member.id))
    db.session.execute(delete(Member).where(Member.id == member.id))
    db.session.expunge_all()
    kept = db.session.scalars(select(OptOut)).all()
    assert [row.channel for row in kept] == [channel]
    assert PHONE not in kept[0].address_hash

    back, created = services.find_or_make([(Channel.TAOBAO, "new"), (Channel.PHONE, PHONE)])
    assert created
    services.give_consent_many([back.id], channel)
    assert consenting(db, channel) == set()
    assert members.rights(back.id)[channel, Purpose.MARKETING].source == "kept_opt_out"


def test_an_opt_out_meets_a_known_member_who_gets_the_phone_later(db, make_member):
    gone = make_member(phone=PHONE)
    services.withdraw_consent(gone.id, Contact.INBOX)
    db.session.execute(delete(MemberIdentity).where(MemberIdentity.member_id == gone.id))
    gone.phone = None
    db.session.flush()
    member = make_member(shop="b1")
    services.give_consent(member.id, Contact.INBOX)
    services.find_or_make([(Channel.SHOP, "b1"), (Channel.PHONE, PHONE)])
    assert not members.has_consent(member.id, Contact.INBOX)


def test_agreeing_oneself_ends_the_opt_out(db, make_member):
    member = make_member(phone=PHONE)
    services.withdraw_consent(member.id, Contact.INBOX)
    services.give_consent(member.id, Contact.INBOX, source="portal")
    assert db.session.scalars(select(OptOut)).all() == []
    assert members.has_consent(member.id, Contact.INBOX)


def test_withdrawing_everything_names_what_there_was(db, make_member):
    member = make_member()
    services.give_consent(member.id, Contact.INBOX)
    services.give_consent(member.id, Contact.CALL)
    assert services.withdraw_marketing(member.id, "unsubscribe") == [Contact.INBOX, Contact.CALL]
    assert [members.has_consent(member.id, channel) for channel in Contact] == [False] * len(Contact)


def test_the_journal_names_all_records_of_a_person_by_one_statement(app, db, queries, make_member):
    survivor, other, third = make_member(phone="+8613900000801"), make_member(phone="+8613900000802"), make_member()
    merge.merge(other.id, third.id)
    merge.merge(survivor.id, other.id)
    db.session.flush()
    for member_id in (survivor.id, other.id, third.id, 0):
        with queries(1):
            found = rights._known_as(member_id)
        records = rights.records_of(personal.record_ids(member_id))
        assert found == (records, rights.addresses_of([member_id]))
    assert (len(rights._known_as(survivor.id)[0]), len(rights._known_as(survivor.id)[1])) == (3, 2)


def test_tags_go_on_and_off_once(db, make_member):
    ids = [make_member().id for _ in range(3)]
    assert services.tag(ids[:2], "爱喝茶") == 2
    assert services.tag(ids, " 爱喝茶 ") == 1
    assert members.tags_of_many(ids) == {i: ["爱喝茶"] for i in ids}
    assert services.untag(ids[:1], "爱喝茶") == 1
    assert services.untag(ids[:1], "爱喝茶") == 0
    assert services.untag(ids, "没有的") == 0
    assert [e["member_id"] for e in published(db, "MemberTagged")] == ids


@pytest.mark.parametrize("name", ["", "  ", "长" * 41])
def test_a_tag_without_a_name_or_too_long_is_refused(db, make_member, name):
    with pytest.raises(TagInvalid):
        services.tag([make_member().id], name)


# ── Stages ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def grid(now):
    spans = [None, 0, 1, 89, 90, 91, 179, 180, 181, 364, 365, 366, 1000]
    for orders in (0, 1, 2, 5):
        for last in spans if orders else [None]:
            for enrolled in spans:
                at = None if last is None else now - timedelta(days=last)
                yield {
                    "orders_count": orders if at else 0,
                    "first_order_at": at - timedelta(days=30) if at else None,
                    "last_order_at": at,
                    "enrolled_at": None if enrolled is None else now - timedelta(days=enrolled),
                }


def test_the_set_wise_stages_are_those_of_the_rule(db, clock):
    now = clock.now()
    people = [
        Member(created_at=now - timedelta(days=2000), stage_since=now, stage=stage, **row)
        for row in grid(now)
        for stage in (Stage.LEAD, Stage.LOST)
    ]
    db.session.add_all(people)
    db.session.flush()
    before = {p.id: (p.stage, p.stage_since) for p in people}
    services.reassess_stages()
    db.session.expire_all()
    for person in people:
        rule = rules.stage_for(
            person.orders_count, person.first_order_at, person.last_order_at, person.enrolled_at, person.created_at, now,
            rules.StageDays(),
        )  # fmt: skip
        assert person.stage == rule.stage
        unmoved = before[person.id][0] == rule.stage
        assert person.stage_since == (before[person.id][1] if unmoved else rule.since)
    assert services.reassess_stages() == 0


def test_time_alone_moves_people_and_says_so(db, clock, make_member):
    member = make_member(orders_count=1, first_order_at=kernel_clock.now(), last_order_at=kernel_clock.now())
    untouched = make_member()
    services.reassess_stages([member.id])
    assert (member.stage, untouched.stage) == (Stage.CUSTOMER, Stage.LEAD)
    clock.move(days=180)
    assert services.reassess_stages() == 1
    assert member.stage == Stage.DORMANT
    assert [(e["from_stage"], e["to_stage"]) for e in published(db, "StageChanged")] == [
        ("lead", "customer"),
        ("customer", "dormant"),
    ]


def test_the_hourly_look_comes_to_everybody_in_pieces(db, clock, make_member, monkeypatch):
    monkeypatch.setattr(members, "CHUNK", 2)
    now = kernel_clock.now()
    people = [make_member(orders_count=1, first_order_at=now, last_order_at=now, stage="customer") for _ in range(5)]
    db.session.commit()
    clock.move(days=180)
    keep_stages.direct()
    db.session.expire_all()
    assert {person.stage for person in people} == {Stage.DORMANT}
    assert len(published(db, "StageChanged")) == 5


def test_orders_move_people(db, clock, make_member):
    now = kernel_clock.now()
    one, two = (make_member(orders_count=2, first_order_at=now, last_order_at=now) for _ in range(2))
    reassess_buyer(OrderRecorded(order_id=1, member_id=one.id, source="shop", external_id="1", amount=1))
    reassess_buyer(OrderRecorded(order_id=2, member_id=None, source="shop", external_id="2", amount=1))
    assert (one.stage, two.stage) == (Stage.ACTIVE, Stage.LEAD)
    reassess_buyers(BuyersChanged(member_ids=[two.id]))
    assert two.stage == Stage.ACTIVE


# ── Links ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_unsubscribe_link_names_member_and_channel(db, make_member):
    member = make_member()
    path = services.unsubscribe_path(member.id, Contact.EMAIL)
    assert services.read_unsubscribe(path.removeprefix("/u/")) == (member, Contact.EMAIL)


def test_a_link_for_another_purpose_or_a_broken_one_is_refused(db, make_member):
    member = make_member()
    token = services.unsubscribe_path(member.id, Contact.EMAIL).removeprefix("/u/")
    for wrong in (links.make("claim", member.id, "email"), token[:-1], token.replace(".email.", ".sms."), "x"):
        with pytest.raises(links.LinkInvalid):
            services.read_unsubscribe(wrong)
