"""One person, one record: merging, its preview, and taking it back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from community.groups import services as groups
from kernel import clock as kernel_clock
from kernel.db import db as database
from kernel.events import EventDelivery, EventRecord
from kernel.i18n import gettext as _
from membership.coupons.models import Coupon
from membership.coupons.services import caps, grant_many
from membership.gifts import services as gifts
from membership.gifts.models import GiftClaim, GiftState
from membership.limits import services as limits
from membership.members import queries, services
from membership.members.models import Channel, Contact, Member, MemberIdentity, Merge, MergeMove, Purpose
from membership.members.services import merge
from membership.orders import services as orders
from membership.orders.models import Order
from membership.tiers import services as tiers

from .whole import person, row, rows_naming, snapshot

# What a merge and its undoing write on purpose: their log, the trail, and the events they publish.
LOGS = frozenset({"merge", "merge_move", "audit_entry", "event", "event_delivery"})


def member_columns() -> set[tuple[str, str]]:
    """Every column that names a member: by foreign key, or by its name."""
    return {
        (table.name, column.name)
        for table in database.metadata.sorted_tables
        for column in table.columns
        if any(key.column.table.name == "member" for key in column.foreign_keys)
        or column.name in ("member_id", "inviter_id")
    }


def test_every_column_that_names_a_member_follows_or_says_why_not(app: Any) -> None:
    declared = merge.followed() | merge.staying().keys()
    assert member_columns() - declared == set()
    assert declared - member_columns() == set()
    assert merge.followed() & merge.staying().keys() == set()
    assert all(len(why) > 20 for why in merge.staying().values())


def test_whatever_is_said_to_follow_does(db: Any, clock: Any) -> None:
    """A row in every table that follows, made up from the table itself: new tables are in this test by themselves."""
    tiers.ensure_policy()
    old, new = person(), person()
    for table, column in sorted(merge.followed()):
        if (table, column) != ("member", "merged_into_id"):
            row(table, **{column: new["id"]})
    merge.merge(old["id"], new["id"])
    tables = database.metadata.tables
    left = {
        (table, column): count
        for table, column in merge.followed()
        if (count := rows_naming(tables[table].c[column], new["id"]))
    }
    assert left == {}


# ── Who survives ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_older_record_survives_by_default(db: Any, clock: Any) -> None:
    young = person(created_at=kernel_clock.now() - timedelta(days=3))
    old = person(created_at=kernel_clock.now() - timedelta(days=300))
    one, other = (database.session.get_one(Member, r["id"]) for r in (young, old))
    assert [m.id for m in merge.elder_first(one, other)] == [old["id"], young["id"]]


def test_fields_are_filled_and_chosen(db: Any, clock: Any) -> None:
    old = person(name="王小明", phone="+8612600000001", city="")
    new = person(name="小明", phone="+8612600000002", email="ming@example.com", city="上海")
    merge.merge(old["id"], new["id"], choices={"phone": "absorbed"})
    kept, gone = (database.session.get_one(Member, r["id"]) for r in (old, new))
    assert (kept.name, kept.phone, kept.email, kept.city) == ("王小明", "+8612600000002", "ming@example.com", "上海")
    assert (gone.phone, gone.email, gone.merged_into_id) == (None, None, old["id"])


def test_an_order_of_the_absorbed_channel_finds_the_survivor(db: Any, clock: Any) -> None:
    old, new = person(), person()
    merge.merge(old["id"], new["id"])
    found, made = services.find_or_make([(Channel.SHOP, f"buyer-{new['id']}")])
    assert (found.id, made) == (old["id"], False)


@pytest.mark.parametrize("case", ["same", "merged", "erased"])
def test_records_that_cannot_be_merged_are_refused(db: Any, clock: Any, case: str) -> None:
    old, new = person(), person(erased_at=kernel_clock.now() if case == "erased" else None)
    if case == "merged":
        merge.merge(old["id"], new["id"])
    expected = merge.SameRecord if case == "same" else merge.RecordGone
    with pytest.raises(expected):
        merge.merge(old["id"], old["id"] if case == "same" else new["id"])


def test_a_chain_leads_to_the_living_record_in_one_step(db: Any, clock: Any) -> None:
    a, b, c = (person()["id"] for _ in range(3))
    merge.merge(b, a)
    merge.merge(c, b)
    into = dict(database.session.execute(select(Member.id, Member.merged_into_id)).all())
    assert (into[a], into[b], into[c]) == (c, c, None)
    first = database.session.scalars(select(Merge.id).order_by(Merge.id)).first()
    with pytest.raises(merge.MergedFurther):
        merge.undo(first or 0)


def test_sums_tier_and_stage_are_the_persons(db: Any, clock: Any) -> None:
    tiers.ensure_policy()
    old, new = person(), person()
    at = kernel_clock.now() - timedelta(days=30)
    for owner, refund in ((old, 0), (new, 40_00)):
        row("order", member_id=owner["id"], placed_at=at, paid_at=at, completed_at=at, refunded_amount=refund)
    orders.refresh_members([old["id"], new["id"]])
    tiers.reassess([old["id"], new["id"]])
    merge.merge(old["id"], new["id"])
    kept, gone = (database.session.get_one(Member, r["id"]) for r in (old, new))
    assert (kept.orders_count, kept.spend) == (2, 160_00)
    assert (gone.orders_count, gone.spend) == (0, 0)
    rank = kept.rank
    assert rank > 0
    tiers.reassess([kept.id])
    assert database.session.get_one(Member, kept.id).rank == rank


# ── Rules of the rooms ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_refusal_of_either_survives(db: Any, clock: Any) -> None:
    old, new = person(), person()
    for member, phone in ((old, "+8612600000011"), (new, "+8612600000012")):
        row("member_identity", member_id=member["id"], channel="phone", external_id=phone)
    services.withdraw_consent(old["id"], Contact.SMS)
    services.give_consent(new["id"], Contact.SMS)
    services.give_consent(new["id"], Contact.EMAIL)
    merge.merge(old["id"], new["id"])
    assert not queries.has_consent(old["id"], Contact.SMS)
    assert queries.has_consent(old["id"], Contact.EMAIL)
    services.give_consent_many([old["id"]], Contact.SMS)
    assert not queries.has_consent(old["id"], Contact.SMS)


def test_check_c2_limits_hold_for_accounts_that_were_just_merged(db: Any, clock: Any) -> None:
    """Both claimed once with one each allowed; merged, the person has two and is given no third."""
    offer = row("offer", per_member=1, claimed=0, stock=10)
    version = row(
        "offer_version", offer_id=offer["id"], number=1, valid_days=30, skus=[], channels=[], kind="amount", min_rank=0
    )
    database.session.execute(
        database.metadata.tables["offer"]
        .update()
        .where(database.metadata.tables["offer"].c.id == offer["id"])
        .values(version_id=version["id"])
    )
    old, new = person(), person()
    assert len(grant_many(offer["id"], [(old["id"], "a"), (new["id"], "b")], "test")) == 2
    merge.merge(old["id"], new["id"])
    held = select(func.count()).select_from(Coupon).where(Coupon.member_id == old["id"])
    assert database.session.scalar(held) == 2
    grant_many(offer["id"], [(old["id"], "c")], "test")
    assert database.session.scalar(held) == 2


def test_check_c2_counters_of_both_add_up(db: Any, clock: Any) -> None:
    old, new = person(), person()
    for member, amount in ((old, 2), (new, 3)):
        limits.take([("reward:1:member", f"member:{member['id']}", "2026-03", amount, 3)])
    merge.merge(old["id"], new["id"])
    assert limits.used("reward:1:member", f"member:{old['id']}", "2026-03") == 5
    with pytest.raises(limits.LimitReached):
        limits.take([("reward:1:member", f"member:{old['id']}", "2026-03", 1, 3)])


def test_check_c2_a_natural_person_is_counted_under_one_key(db: Any, clock: Any) -> None:
    """Counters under a phone, an e-mail address and a bare record lead to the person's one key, and apart again."""
    phones = ("+8612600000031", None)
    old, new = (
        person(phone=phone, email=email) for phone, email in zip(phones, (None, "ming@example.com"), strict=True)
    )
    keys = [caps.person_key(m["id"], m["phone"], m["email"]) for m in (old, new)]
    for key, amount in ((keys[0], 1), (keys[1], 2), (limits.subject_of(new["id"]), 1)):
        limits.take([(caps.person_name(7), key, "", amount, None)])
    merge_id = merge.merge(old["id"], new["id"])
    member = database.session.get_one(Member, old["id"])
    assert limits.used(caps.person_name(7), caps.person_key(member.id, member.phone, member.email)) == 4
    merge.undo(merge_id)
    assert [limits.used(caps.person_name(7), key) for key in keys] == [1, 2]


def test_one_gift_a_benefit_and_its_stock_comes_back_once(db: Any, clock: Any) -> None:
    gift = row("gift", stock=5)
    old, new = person(), person()
    mine = gifts.offer_gift(gift["id"], old["id"], "welcome:1")
    theirs = gifts.offer_gift(gift["id"], new["id"], "welcome:1")
    assert mine is not None
    assert theirs is not None
    gifts.claim(theirs.id, new["id"])
    merge_id = merge.merge(old["id"], new["id"])
    states = dict(database.session.execute(select(GiftClaim.id, GiftClaim.state)).all())
    assert states == {mine.id: GiftState.CANCELLED, theirs.id: GiftState.ADDRESS_PENDING}
    assert gifts.given(gift["id"]) == 1
    again = gifts.offer_gift(gift["id"], old["id"], "welcome:1")
    assert again is not None
    assert again.id == theirs.id
    merge.undo(merge_id)
    states = dict(database.session.execute(select(GiftClaim.id, GiftClaim.state)).all())
    assert states == {mine.id: GiftState.OFFERED, theirs.id: GiftState.ADDRESS_PENDING}
    assert gifts.given(gift["id"]) == 2


def test_a_called_off_gift_stays_so_when_nothing_is_left(db: Any, clock: Any) -> None:
    gift = row("gift", stock=2)
    old, new, third = person(), person(), person()
    for member in (old, new):
        gifts.offer_gift(gift["id"], member["id"], "welcome:1")
    merge_id = merge.merge(old["id"], new["id"])
    assert gifts.offer_gift(gift["id"], third["id"], "welcome:1") is not None
    undone = merge.undo(merge_id)
    assert gifts.given(gift["id"]) == 2
    assert any("text" in one for one in undone.left)


def test_inv_s2_two_seats_become_one_and_come_back_if_there_is_room(db: Any, clock: Any) -> None:
    group = row("group", capacity=2, seats_each=2, seated=2)
    place = row("sub_group", group_id=group["id"], number=1, seats=2, seated=2)
    old, new = person(), person()
    for member in (old, new):
        row("seat", group_id=group["id"], sub_group_id=place["id"], member_id=member["id"])
    merge_id = merge.merge(old["id"], new["id"])
    assert _seated(group, place) == (1, 1, 1)
    merge.undo(merge_id)
    assert _seated(group, place) == (2, 2, 2)
    merge_id = merge.merge(old["id"], new["id"])
    friend = person()
    groups.join(group["id"], friend["id"])
    undone = merge.undo(merge_id)
    assert _seated(group, place) == (2, 2, 2)
    assert any("text" in one for one in undone.left)


def _seated(group: dict[str, Any], place: dict[str, Any]) -> tuple[int, int, int]:
    tables = database.metadata.tables
    seats, groups, places = tables["seat"], tables["group"], tables["sub_group"]
    live = select(func.count()).select_from(seats).where(seats.c.group_id == group["id"], seats.c.state == "taken")
    return (
        database.session.scalar(live) or 0,
        database.session.scalar(select(groups.c.seated).where(groups.c.id == group["id"])) or 0,
        database.session.scalar(select(places.c.seated).where(places.c.id == place["id"])) or 0,
    )


def test_two_calls_become_one(db: Any, clock: Any) -> None:
    old, new = person(), person()
    for member in (old, new):
        task = row("call_task", member_id=member["id"], due_at=kernel_clock.now())
        order = row("order", member_id=member["id"])
        row("call_task_order", order_id=order["id"], task_id=task["id"], reason="delivered")
    merge_id = merge.merge(old["id"], new["id"])
    tasks = database.metadata.tables["call_task"]
    assert database.session.scalar(select(func.count()).select_from(tasks).where(tasks.c.member_id == old["id"])) == 1
    merge.undo(merge_id)
    assert database.session.scalar(select(func.count()).select_from(tasks)) == 2


def test_events_on_their_way_name_the_survivor(db: Any, clock: Any) -> None:
    old, new = person(), person()
    told = row("event", member_id=new["id"], payload={"member_id": new["id"], "rank": 3}, name="X")
    row("event_delivery", event_id=told["id"], subscriber="somebody", delivered_at=None)
    before = database.session.get_one(EventRecord, told["id"]).payload
    merge_id = merge.merge(old["id"], new["id"])
    record = database.session.get_one(EventRecord, told["id"])
    assert (record.member_id, record.payload) == (old["id"], {**before, "member_id": old["id"]})
    merge.undo(merge_id)
    record = database.session.get_one(EventRecord, told["id"])
    assert (record.member_id, record.payload) == (new["id"], before)
    assert database.session.get(EventDelivery, (told["id"], "somebody")) is not None


# ── Preview ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_preview_shows_the_merge_and_changes_nothing(db: Any, clock: Any) -> None:
    tiers.ensure_policy()
    old, new = person(name="王小明"), person(phone="+8612600000021")
    row("order", member_id=new["id"], placed_at=kernel_clock.now(), paid_at=kernel_clock.now())
    before = snapshot(frozenset())
    shown = merge.preview(old["id"], new["id"])
    assert snapshot(frozenset()) == before
    assert shown.profile["name"] == "王小明"
    assert shown.profile["phone"] == "+8612600000021"
    assert shown.orders_count == 1
    assert {str(m.label): m.count for m in shown.moved}[str(_("Orders"))] == 1


# ── Undoing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

both = st.tuples(st.integers(0, 2), st.integers(0, 2))


@st.composite
def lives(draw: Any) -> dict[str, Any]:
    """What two records have in each room: how many rows of each, and what of it is the same thing."""
    return {
        "overlap": draw(st.booleans()),
        "orders": draw(both),
        "tags": draw(both),
        "coupons": draw(both),
        "gifts": draw(
            st.tuples(st.sampled_from([None, "offered", "queued", "delivered"]), st.sampled_from([None, "offered", "cancelled"]))
        ),
        "seats": draw(st.tuples(st.sampled_from([None, "taken", "held"]), st.sampled_from([None, "taken", "held", "queued"]))),
        "calls": draw(st.tuples(st.booleans(), st.booleans())),
        "reactions": draw(both),
        "deliveries": draw(both),
        "ledger": draw(st.tuples(st.booleans(), st.booleans())),
        "counters": draw(both),
        "consents": draw(st.tuples(st.sampled_from([None, True, False]), st.sampled_from([None, True, False]))),
        "ranks": draw(st.tuples(st.integers(-1, 3), st.integers(-1, 3))),
        "contacts": draw(st.tuples(st.booleans(), st.booleans())),
    }  # fmt: skip


def _live(life: dict[str, Any]) -> tuple[int, int]:
    """Make two people that live so."""
    policy = tiers.ensure_policy()
    pair = tuple(
        person(
            phone=f"+86126{n:08}" if life["contacts"][i] else None, birthday=None if i else "1990-02-03", name="" if i else "王",
            city="上海" if i else "", enrolled_at=kernel_clock.now() if i else None, rank=max(life["ranks"][i], 0),
        )["id"]
        for i, n in enumerate((501, 502))
    )  # fmt: skip
    shared = life["overlap"]
    tags = [row("tag") for _ in range(4)]
    offers = [row("offer", per_member=2) for _ in range(4)]
    gift = row("gift", stock=9)
    group = row("group")
    place = row("sub_group", group_id=group["id"], number=1)
    posts = [row("post_group", group_id=group["id"], seen=5, liked=5, clicked=5) for _ in range(4)]
    run = [row("push_run") for _ in range(4)]
    seated = queued = 0
    for i, member_id in enumerate(pair):
        at = 0 if shared else 2 * i
        if life["contacts"][i]:
            row("member_identity", member_id=member_id, channel="phone", external_id=f"+86126{501 + i:08}")
        for n in range(life["orders"][i]):
            day = kernel_clock.now() - timedelta(days=20 + n)
            row("order", member_id=member_id, placed_at=day, paid_at=day, completed_at=day)
        for n in range(life["tags"][i]):
            row("member_tag", member_id=member_id, tag_id=tags[at + n]["id"])
        for n in range(life["coupons"][i]):
            row("coupon", member_id=member_id, offer_id=offers[at]["id"], ordinal=n + 1)
        if life["gifts"][i]:
            row(
                "gift_claim",
                member_id=member_id,
                gift_id=gift["id"],
                state=life["gifts"][i],
                benefit="welcome:1" if shared else f"w:{i}",
            )
            if life["gifts"][i] != "cancelled":
                limits.take([(f"gift:{gift['id']}:stock", "", "", 1, 9)])
        if life["seats"][i] == "queued":
            row("waiting", group_id=group["id"], member_id=member_id, number=7)
            queued += 1
        elif life["seats"][i]:
            held = (
                {"held_until": kernel_clock.now() + timedelta(minutes=9), "joined_at": None}
                if life["seats"][i] == "held"
                else {}
            )
            row(
                "seat",
                group_id=group["id"],
                sub_group_id=place["id"],
                member_id=member_id,
                state=life["seats"][i],
                **held,
            )
            seated += 1
        if life["calls"][i]:
            task = row("call_task", member_id=member_id, about="", due_at=kernel_clock.now() + timedelta(hours=i))
            row("call_task_order", task_id=task["id"], order_id=row("order")["id"], reason="delivered")
        for n in range(life["reactions"][i]):
            row("reaction", member_id=member_id, post_id=posts[at + n]["post_id"], group_id=group["id"], kind="liked")
        for n in range(life["deliveries"][i]):
            row("delivery", member_id=member_id, run_id=run[at + n]["id"])
        if life["ledger"][i]:
            row(
                "contact_count", member_id=member_id, month_on="2026-03-01", week_on=("2026-02-23", "2026-03-02")[i],
                day_on=f"2026-03-0{i + 1}",
            )  # fmt: skip
        for n in range(life["counters"][i]):
            limits.take([(f"reward:{n}:member", f"member:{member_id}", "", 1 + i, None)])
        if life["consents"][i] is not None:
            act = services.give_consent if life["consents"][i] else services.withdraw_consent
            act(member_id, Contact.SMS, Purpose.MARKETING)
        if life["ranks"][i] >= 0:
            rank = life["ranks"][i]
            row(
                "member_tier", member_id=member_id, rank=rank, own_rank=rank, policy_id=policy.id,
                valid_until=kernel_clock.now() + timedelta(days=100 + i) if rank else None,
            )  # fmt: skip
    tables = database.metadata.tables
    database.session.execute(
        tables["group"]
        .update()
        .where(tables["group"].c.id == group["id"])
        .values(seated=seated, queued=queued, last_number=7)
    )
    database.session.execute(
        tables["sub_group"].update().where(tables["sub_group"].c.id == place["id"]).values(seated=seated)
    )
    # What every night's review would have written is written, so that the merge itself finds nothing to catch up with.
    orders.refresh_members(list(pair))
    tiers.reassess(list(pair))
    services.reassess_stages(list(pair))
    services.revalue(list(pair))
    database.session.expire_all()
    return pair[0], pair[1]


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(life=lives())
def test_inv_merge_then_undo_is_as_if_nothing_had_been(db: Any, clock: Any, life: dict[str, Any]) -> None:
    # Outside of what each example takes back: the request remembers the policy.
    tiers.ensure_policy()
    database.session.expunge_all()
    with database.session.begin_nested() as nested:
        old, new = _live(life)
        before = snapshot(LOGS)
        merge_id = merge.merge(old, new)
        undone = merge.undo(merge_id)
        assert undone.left == []
        assert _differing(before, snapshot(LOGS)) == {}
        nested.rollback()


def _differing(before: dict[str, list[str]], after: dict[str, list[str]]) -> dict[str, Any]:
    return {
        name: (sorted(set(before[name]) - set(after[name])), sorted(set(after[name]) - set(before[name])))
        for name in before
        if before[name] != after[name]
    }


def test_what_came_since_stays_with_whom_it_belongs(db: Any, clock: Any) -> None:
    tiers.ensure_policy()
    old, new = person(), person()
    merge_id = merge.merge(old["id"], new["id"])
    clock.move(days=1)
    theirs = row("order", member_id=old["id"], source="shop", buyer=f"buyer-{new['id']}", created_at=kernel_clock.now())
    own = row("order", member_id=old["id"], source="shop", buyer=f"buyer-{old['id']}", created_at=kernel_clock.now())
    unknown = row("order", member_id=old["id"], source="counter", created_at=kernel_clock.now())
    services.withdraw_consent(old["id"], Contact.EMAIL, Purpose.MARKETING, "unsubscribe")
    undone = merge.undo(merge_id)
    owners = dict(database.session.execute(select(Order.id, Order.member_id)).all())
    assert owners == {theirs["id"]: new["id"], own["id"]: old["id"], unknown["id"]: old["id"]}
    assert len([one for one in undone.left if "text" in one]) == 2
    services.give_consent_many([old["id"], new["id"]], Contact.EMAIL)
    assert not queries.has_consent(old["id"], Contact.EMAIL)
    assert not queries.has_consent(new["id"], Contact.EMAIL)


def test_what_was_changed_since_stays_changed(db: Any, clock: Any) -> None:
    old, new = person(name=""), person(name="小明", city="上海")
    merge_id = merge.merge(old["id"], new["id"])
    database.session.get_one(Member, old["id"]).name = "王小明"
    database.session.flush()
    undone = merge.undo(merge_id)
    assert database.session.get_one(Member, old["id"]).name == "王小明"
    assert database.session.get_one(Member, old["id"]).city == ""
    assert undone.left == [{"table": "member", "n": 1}]
    with pytest.raises(merge.UndoneAlready):
        merge.undo(merge_id)


def test_rows_that_were_on_their_way_follow_later(db: Any, clock: Any) -> None:
    old, new = person(), person()
    merge_id = merge.merge(old["id"], new["id"])
    late = row("member_note", member_id=new["id"])
    assert merge.bring_latecomers(timedelta(minutes=10)) > 0
    notes = database.metadata.tables["member_note"]
    assert database.session.scalar(select(notes.c.member_id).where(notes.c.id == late["id"])) == old["id"]
    assert merge.bring_latecomers(timedelta(minutes=10)) == 0
    merge.undo(merge_id)
    assert database.session.scalar(select(notes.c.member_id).where(notes.c.id == late["id"])) == new["id"]


def test_every_move_is_written_down(db: Any, clock: Any) -> None:
    old, new = person(), person()
    merge_id = merge.merge(old["id"], new["id"])
    moves = database.session.scalars(select(MergeMove).where(MergeMove.merge_id == merge_id)).all()
    identity = next(m for m in moves if m.table_name == MemberIdentity.__tablename__)
    assert (identity.before, identity.after) == ({"member_id": new["id"]}, {"member_id": old["id"]})
