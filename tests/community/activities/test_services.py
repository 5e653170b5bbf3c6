"""Draws from the announcement to the prize, and prices of a group over the coupons' own claim."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from sqlalchemy import func, inspect, select, text, update
from sqlalchemy.exc import IntegrityError

from community.activities import jobs, queries, rules, services
from community.activities.models import Lottery, LotteryEntry, LotterySeed, LotteryState, PrizeState, SaleKind
from community.activities.rules import Phase
from community.activities.subscribers import end_sales
from community.groups import services as groups
from community.groups.events import GroupClosed
from community.groups.models import GroupState
from community.groups.rules import NotAMember
from community.moderation import services as moderation
from kernel import clock as kernel_clock
from kernel.errors import InputInvalid
from kernel.notices import Notice
from membership.coupons import rules as coupon_rules
from membership.coupons import services as coupons
from membership.coupons.models import Coupon, CouponKind, OfferState
from membership.coupons.rules import Basket, Line
from membership.coupons.services import guard
from membership.gifts.models import GiftClaim, GiftState
from membership.gifts.services.catalogue import given
from membership.members.services import merge
from tests.conftest import published


def fields(refused):
    return {field for field, _sentence in refused.value.errors}


# ── Before the draw ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_draft_is_checked_made_once_and_stays_out_of_the_group(scene, draft):
    now = kernel_clock.now()
    for values, field in (
        ({"title": " "}, "title"),
        ({"closes_at": now}, "closes_at"),
        ({"closes_at": now + timedelta(days=91)}, "closes_at"),
        ({"opens_at": now + timedelta(days=1)}, "opens_at"),
        ({"prizes": ()}, "prize_1"),
        ({"prizes": (services.PrizeDraft(0, gift_id=scene.gift.id),)}, "number_1"),
        ({"prizes": (services.PrizeDraft(1001, gift_id=scene.gift.id),)}, "number_1"),
    ):
        with pytest.raises(InputInvalid) as refused:
            services.create(scene.group, draft(**values), "k")
        assert fields(refused) == {field}
    made = services.create(scene.group, draft(), "k")
    assert services.create(scene.group, draft(title="Twice"), "k").id == made.id
    assert services.edit(made.id, draft(title="抽两条茶巾")).title == "抽两条茶巾"
    assert services.draft_of(made) == draft(title="抽两条茶巾")
    assert (made.commitment, queries.shown_in(scene.group.id, scene.ann.id)) == (None, ([], []))


def test_what_cannot_be_given_is_not_announced(db, scene, draft):
    def announce(number, **what):
        prizes = (services.PrizeDraft(number, **what),)
        return services.announce(services.create(scene.group, draft(prizes=prizes), f"{number}{what}").id)

    with pytest.raises(InputInvalid) as refused:
        announce(10, gift_id=scene.gift.id)
    assert fields(refused) == {"number_1"}
    scene.gift.active = False
    with pytest.raises(InputInvalid) as refused:
        announce(1, gift_id=scene.gift.id)
    assert fields(refused) == {"prize_1"}
    assert announce(500, offer_id=scene.offer.id).state is LotteryState.OPEN
    coupons.set_state(scene.offer.id, OfferState.PAUSED)
    with pytest.raises(InputInvalid):
        announce(3, offer_id=scene.offer.id)


def test_a_prize_can_be_used_by_whoever_wins_it(scene, draft, make_group, browse):
    """No coupon that is another group's, and none that has ended by the time of the draw."""
    closes_at = draft().closes_at
    standard = {"name": "券", "kind": CouponKind.AMOUNT, "value": 500}
    elsewhere = coupons.create(
        coupons.Draft(**standard, valid_days=7, group_id=make_group("别的群").id), OfferState.ACTIVE
    )
    for n, (terms, works) in enumerate(
        (
            ({"valid_days": 7, "claim_until": closes_at}, False),
            ({"usable_until": closes_at}, False),
            ({"usable_until": closes_at + timedelta(hours=1), "claim_until": closes_at + timedelta(minutes=1)}, True),
            ({"valid_days": 7, "group_id": scene.group.id}, True),
            (None, False),
        )
    ):
        offer = elsewhere if terms is None else coupons.create(coupons.Draft(**standard, **terms), OfferState.ACTIVE)
        made = services.create(scene.group, draft(prizes=(services.PrizeDraft(1, offer_id=offer.id),)), f"k{n}")
        if works:
            assert services.announce(made.id).state is LotteryState.OPEN
            continue
        with pytest.raises(InputInvalid) as refused:
            services.announce(made.id)
        assert fields(refused) == {"prize_1"}
    page = browse().get(f"/console/groups/{scene.group.id}/lotteries/new").text
    assert f'"offer:{scene.offer.id}"' in page
    assert f'"offer:{elsewhere.id}"' not in page


def test_a_draw_is_held_while_its_group_is_there(scene, draft):
    scene.group.closes_at = draft().closes_at
    made = services.create(scene.group, draft(), "k")
    scene.group.closes_at -= timedelta(minutes=1)
    for act in (
        lambda: services.create(scene.group, draft(), "another"),
        lambda: services.edit(made.id, draft()),
        lambda: services.announce(made.id),
    ):
        with pytest.raises(InputInvalid) as refused:
            act()
        assert fields(refused) == {"closes_at"}


def test_an_announcement_commits_to_one_seed_and_the_tables_hold_it(db, scene, announced):
    lottery = announced()
    kept = db.session.get(LotterySeed, lottery.id)
    assert (len(kept.seed), rules.commitment_of(kept.seed)) == (32, lottery.commitment)
    services.enter(lottery, scene.ann.id)
    another = bytes(32)
    wrong = [
        update(LotterySeed).values(seed=another),
        update(LotterySeed).values(seed=another, commitment=rules.commitment_of(another)),
        update(Lottery).values(commitment=rules.commitment_of(another)),
        update(LotteryEntry).values(commitment=rules.commitment_of(another)),
    ]
    for statement in wrong:
        with pytest.raises(IntegrityError), db.session.begin_nested():
            db.session.execute(statement.execution_options(synchronize_session=False))
    with pytest.raises(rules.AnnouncedAlready):
        services.edit(lottery.id, services.draft_of(lottery))
    with pytest.raises(rules.ChangedMeanwhile):
        services.announce(lottery.id)
    assert services.seed_shown(lottery) is None


def test_one_ticket_each_for_those_who_sit_there(db, clock, scene, announced):
    opens = kernel_clock.now() + timedelta(minutes=10)
    lottery = announced(opens_at=opens)
    with pytest.raises(rules.EntryNotYet):
        services.enter(lottery, scene.ann.id)
    clock.at(opens)
    entry = services.enter(lottery, scene.ann.id)
    assert services.enter(lottery, scene.ann.id).id == entry.id
    assert set(entry.ticket) <= set(rules.TICKET_CHARACTERS)
    assert len(published(db, "MemberEnteredLottery")) == 1
    with pytest.raises(NotAMember):
        services.enter(lottery, scene.stranger.id)
    moderation.silence(scene.people[1].id, scene.group.id, None, "", None)
    with pytest.raises(rules.Sanctioned):
        services.enter(lottery, scene.people[1].id)
    moderation.ban(scene.people[2].id, "", None)
    with pytest.raises(NotAMember):
        services.enter(lottery, scene.people[2].id)
    clock.at(lottery.closes_at)
    with pytest.raises(rules.EntryOver):
        services.enter(lottery, scene.people[3].id)
    assert services.enter(lottery, scene.ann.id).id == entry.id


def test_a_ban_from_elsewhere_is_refused_through_the_port(scene, announced, monkeypatch):
    def refuse(_member_id):
        raise moderation.KeptOut

    monkeypatch.setattr(groups.before_entering, "_answers", [refuse])
    with pytest.raises(moderation.KeptOut):
        services.enter(announced(), scene.ann.id)


def test_calling_off_tells_whoever_has_a_ticket_and_only_while_entry_is_open(db, clock, scene, announced, draft):
    lottery = announced()
    for person in scene.people[:2]:
        services.enter(lottery, person.id)
    with pytest.raises(InputInvalid):
        services.cancel(lottery.id, " ")
    services.cancel(lottery.id, "茶巾  断货")
    told = db.session.scalars(select(Notice).where(Notice.kind == "lottery.cancelled")).all()
    assert {(one.member_id, one.body) for one in told} == {(person.id, "茶巾 断货") for person in scene.people[:2]}
    with pytest.raises(rules.ChangedMeanwhile):
        services.cancel(lottery.id, "again")
    other = announced(title="Another")
    clock.at(other.closes_at)
    with pytest.raises(rules.TooLateToCancel):
        services.cancel(other.id, "I do not like who wins")
    late = services.create(scene.group, draft(), "late")
    assert services.cancel(late.id, "").state is LotteryState.CANCELLED


# ── The draw ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_clock_draws_once_and_prizes_go_out_once(db, scene, announced, held):
    lottery = announced()
    tickets = {person.id: services.enter(lottery, person.id).ticket for person in scene.people}
    groups.leave(scene.group.id, scene.people[4].id)
    lottery = held(lottery)
    assert lottery.state is LotteryState.DRAWN
    assert lottery.tickets == sorted(tickets[person.id] for person in scene.people[:4])
    assert lottery.listed == rules.listed_as(lottery.tickets)
    seed = services.seed_shown(lottery)
    winners = queries.winners_of(lottery.id)
    assert [entry.ticket for entry, _member, _prize in winners] == rules.winners(seed, lottery.tickets, 3)
    assert [entry.place for entry, _member, _prize in winners] == [1, 2, 3]
    assert [prize.gift_id is not None for _entry, _member, prize in winners] == [True, True, False]
    assert {entry.prize_state for entry, _member, _prize in winners} == {PrizeState.GIVEN}
    jobs.settle()
    assert services.draw(lottery.id) is services.freeze(lottery.id) is False
    assert services.hand_over(winners[0][0].id) is None
    given = [db.session.scalar(select(func.count()).select_from(table)) for table in (GiftClaim, Coupon)]
    assert given == [2, 1]
    assert len(published(db, "MemberWonLottery")) == 3
    assert published(db, "LotteryDrawn")[0]["entrants"] == 4
    assert {row.member_id for row in db.session.scalars(select(Notice).where(Notice.kind == "lottery.won"))} == {
        entry.member_id for entry, _member, _prize in winners
    }
    assert queries.left_out(lottery.id) == 1


def test_nobody_on_the_list_nobody_wins(scene, announced, held):
    lottery = held(announced())
    assert (lottery.state, lottery.tickets, queries.winners_of(lottery.id)) == (LotteryState.DRAWN, [], [])


def test_a_prize_that_cannot_be_given_is_told_and_tried_again(db, scene, announced, held):
    lottery = announced(prizes=(services.PrizeDraft(2, offer_id=scene.offer.id),))
    for person in scene.people[:3]:
        services.enter(lottery, person.id)
    coupons.set_state(scene.offer.id, OfferState.PAUSED)
    lottery = held(lottery)
    assert queries.missed_prizes() == [(lottery, 2)]
    assert services.try_again(lottery.id) == 2
    coupons.set_state(scene.offer.id, OfferState.ACTIVE)
    jobs.settle()
    db.session.expire_all()
    assert {entry.prize_state for entry, _member, _prize in queries.winners_of(lottery.id)} == {PrizeState.GIVEN}
    assert (queries.missed_prizes(), services.try_again(lottery.id)) == ([], 0)


def test_a_coupon_that_one_has_already_is_no_prize(db, scene, announced, held):
    coupons.grant(scene.offer.id, scene.ann.id, "before", "hand")
    lottery = announced(prizes=(services.PrizeDraft(1, offer_id=scene.offer.id),))
    services.enter(lottery, scene.ann.id)
    held(lottery)
    assert queries.missed_prizes()[0][1] == 1
    assert db.session.scalar(select(func.count()).select_from(Coupon)) == 1


def test_a_ticket_that_a_merge_took_off_the_frozen_list_leaves_no_place_empty(db, clock, scene, announced, client):
    lottery = announced(prizes=(services.PrizeDraft(2, gift_id=scene.gift.id),))
    for person in scene.people[:3]:
        services.enter(lottery, person.id)
    clock.at(lottery.closes_at)
    assert services.freeze(lottery.id)
    merge.merge(scene.people[0].id, scene.people[1].id)
    assert services.draw(lottery.id)
    db.session.refresh(lottery)
    left = {entry.ticket for entry in db.session.scalars(select(LotteryEntry))}
    assert lottery.void_tickets == [ticket for ticket in lottery.tickets if ticket not in left]
    assert (len(lottery.tickets), len(left)) == (3, 2)
    assert [(entry.place, entry.ticket) for entry, _member, _prize in queries.winners_of(lottery.id)] == list(
        enumerate(rules.winners(services.seed_shown(lottery), lottery.tickets, 2, lottery.void_tickets), 1)
    )
    page = client.get(f"/draws/{lottery.public_id}", headers={"Accept-Language": "en"}).text
    assert f"have another ticket: {lottery.void_tickets[0]}" in page


def test_of_two_tickets_the_one_on_the_list_stays(db, clock, scene, announced):
    """One record had left the group when entry closed, the other one had not: who both are takes part."""
    lottery, (gone, sits) = announced(), scene.people[:2]
    for person in (gone, sits):
        services.enter(lottery, person.id)
    groups.leave(scene.group.id, gone.id)
    clock.at(lottery.closes_at)
    assert services.freeze(lottery.id)
    merge.merge(gone.id, sits.id)
    assert services.draw(lottery.id)
    db.session.refresh(lottery)
    [(entry, member, _prize)] = queries.winners_of(lottery.id)
    assert (member.id, [entry.ticket], lottery.void_tickets) == (gone.id, lottery.tickets, [])


def test_two_records_of_one_person_have_one_ticket_and_keep_what_was_won(db, scene, announced, held):
    lottery = announced(prizes=(services.PrizeDraft(5, gift_id=scene.gift.id),))
    for person in scene.people[:3]:
        services.enter(lottery, person.id)
    first = merge.merge(scene.people[0].id, scene.people[1].id)
    assert db.session.scalar(select(func.count()).select_from(LotteryEntry)) == 2
    merge.undo(first)
    assert db.session.scalar(select(func.count()).select_from(LotteryEntry)) == 3
    lottery = held(lottery)
    listed = list(lottery.tickets)
    db.session.execute(
        update(LotteryEntry)
        .where(LotteryEntry.member_id == scene.people[0].id)
        .values(place=None, prize_id=None, prize_state=None, claim_id=None)
    )
    merge.merge(scene.people[0].id, scene.people[1].id)
    mine = db.session.scalars(select(LotteryEntry).where(LotteryEntry.member_id == scene.people[0].id)).one()
    assert mine.place is not None
    db.session.refresh(lottery)
    assert lottery.tickets == listed
    assert lottery.listed == rules.listed_as(listed)


@pytest.fixture
def drawn(db, clock, scene, announced):
    """`drawn(prizes)` is a draw of five tickets that was held and gave nothing yet, with the people in the seed's order."""

    def make(*prizes):
        lottery = announced(prizes=prizes)
        for person in scene.people:
            services.enter(lottery, person.id)
        clock.at(lottery.closes_at)
        assert services.freeze(lottery.id)
        assert services.draw(lottery.id)
        db.session.refresh(lottery)
        holders = {entry.ticket: entry.member_id for entry in db.session.scalars(select(LotteryEntry))}
        order = rules.winners(services.seed_shown(lottery), lottery.tickets, 5)
        return lottery, [holders[ticket] for ticket in order], order

    return make


def places(lottery):
    return [(entry.place, member.id, entry.ticket) for entry, member, _prize in queries.winners_of(lottery.id)]


def shown(client, lottery):
    page = client.get(f"/draws/{lottery.public_id}", headers={"Accept-Language": "en"}).text
    return re.findall(r'<code class="ticket-number">(\w+)</code> <span>', page), page


def test_who_has_won_twice_and_is_one_person_wins_once(db, scene, client, drawn):
    """The better place stays; the other one goes to the next ticket that is somebody's, and the others keep theirs."""
    lottery, (first, second, third, fourth, fifth), order = drawn(services.PrizeDraft(3, gift_id=scene.gift.id))
    # The fourth of the seed's order is nobody's any more: its holder has turned out to be the third.
    merge.merge(third, fourth)
    assert places(lottery) == [(1, first, order[0]), (2, second, order[1]), (3, third, order[2])]
    preview = merge.preview(second, first)
    assert any("第 1 名" in str(one) and "第 2 名" in str(one) for one in preview.conflicts)
    done = merge.merge(second, first)
    db.session.expire_all()
    after = [(1, second, order[0]), (2, fifth, order[4]), (3, third, order[2])]
    assert places(lottery) == after
    assert services.freed_tickets(lottery) == [order[1], order[3]]
    tickets, page = shown(client, lottery)
    assert tickets == [order[0], order[4], order[2]]
    assert f"{order[1]}, {order[3]}" in page
    jobs.settle()
    assert {entry.prize_state for entry, _member, _prize in queries.winners_of(lottery.id)} == {PrizeState.GIVEN}
    # Told apart again, the place stays where it has gone; whoever had won with the better ticket has it back.
    merge.undo(done)
    db.session.expire_all()
    assert places(lottery) == [(1, first, order[0]), *after[1:]]


def give(lottery):
    """Hand the prizes over in the order of the places, whatever the order of the tickets."""
    for entry, _member, _prize in queries.winners_of(lottery.id):
        services.hand_over(entry.id)


def gifts_out(db):
    live = select(func.count()).select_from(GiftClaim).where(GiftClaim.state != GiftState.CANCELLED)
    return db.session.scalar(live)


def test_who_is_told_apart_again_brings_no_prize_back_that_has_gone_on(db, scene, drawn):
    lottery, (first, second, third, *_others), _order = drawn(services.PrizeDraft(2, gift_id=scene.gift.id))
    give(lottery)
    done = merge.merge(first, second)
    give(lottery)
    merge.undo(done)
    db.session.expire_all()
    assert [(place, member) for place, member, _ticket in places(lottery)] == [(1, first), (2, third)]
    assert (gifts_out(db), given(scene.gift.id)) == (2, 2)


def test_of_two_prizes_the_one_that_has_gone_out_stays(db, scene, client, drawn):
    """What was given is not taken back, and what the gifts' own rule calls off goes to the next; no prize is minted."""
    lottery, people, order = drawn(
        services.PrizeDraft(1, offer_id=scene.offer.id), services.PrizeDraft(2, gift_id=scene.gift.id)
    )
    first, second, third, fourth, fifth = people
    coupons.set_state(scene.offer.id, OfferState.PAUSED)
    give(lottery)
    # The first place's coupon was missed: the second one, whose gift is on its way, is kept.
    merge.merge(first, second)
    db.session.expire_all()
    assert places(lottery) == [(1, fourth, order[3]), (2, first, order[1]), (3, third, order[2])]
    coupons.set_state(scene.offer.id, OfferState.ACTIVE)
    jobs.settle()
    db.session.expire_all()
    # Two gifts for one draw: the gifts' rule calls one of them off, and its place goes on.
    merge.merge(third, first)
    db.session.expire_all()
    assert places(lottery) == [(1, fourth, order[3]), (2, third, order[1]), (3, fifth, order[4])]
    jobs.settle()
    assert gifts_out(db) == 2
    # A coupon and a gift have both gone out: nothing goes to anybody else, and the page still shows the list's own result.
    merge.merge(third, fourth)
    db.session.expire_all()
    assert places(lottery) == [(1, third, order[3]), (3, fifth, order[4])]
    assert shown(client, lottery)[0] == [order[3], order[1], order[4]]


def test_an_erased_winner_gets_nothing_more(db, clock, browse, scene, announced):
    lottery = announced(prizes=(services.PrizeDraft(1, gift_id=scene.gift.id),))
    services.enter(lottery, scene.ann.id)
    clock.at(lottery.closes_at)
    services.freeze(lottery.id)
    services.draw(lottery.id)
    scene.ann.erased_at = kernel_clock.now()
    db.session.flush()
    assert [services.hand_over(entry_id) for entry_id in services.owed()] == [PrizeState.MISSED]
    page = browse().get(f"/console/lotteries/{lottery.id}").text
    assert (queries.missed_prizes(), services.try_again(lottery.id), "Try again" in page) == ([], 0, False)


# ── Sales ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sale_is_checked(db, scene, sale_draft):
    now = kernel_clock.now()
    scene.group.closes_at = now + timedelta(days=2)
    for kind, values, field in (
        (SaleKind.GROUP_PRICE, {"price": 4_999}, "price"),
        (SaleKind.GROUP_PRICE, {"price": 8_001}, "price"),
        (SaleKind.FLASH_SALE, {"price": 10_000}, "price"),
        (SaleKind.FLASH_SALE, {"stock": None}, "stock"),
        (SaleKind.FLASH_SALE, {"stock": 0}, "stock"),
        (SaleKind.FLASH_SALE, {"title": ""}, "title"),
        (SaleKind.FLASH_SALE, {"product_id": 987_654}, "product_id"),
        (SaleKind.FLASH_SALE, {"ends_at": now}, "ends_at"),
        (SaleKind.FLASH_SALE, {"ends_at": now + timedelta(days=3)}, "ends_at"),
        (SaleKind.FLASH_SALE, {"starts_at": now + timedelta(hours=2)}, "starts_at"),
        (SaleKind.FLASH_SALE, {"per_member": 21}, "per_member"),
        (SaleKind.FLASH_SALE, {"pay_days": 31}, "pay_days"),
    ):
        with pytest.raises(InputInvalid) as refused:
            services.create_sale(scene.group, kind, sale_draft(**values), "k")
        assert fields(refused) == {field}
    made = services.create_sale(scene.group, SaleKind.GROUP_PRICE, sale_draft(price=8_000, stock=None), "k")
    assert services.create_sale(scene.group, SaleKind.GROUP_PRICE, sale_draft(price=7_000), "k").id == made.id
    services.edit_sale(made.id, sale_draft(price=5_000, combines=True, per_member=2))
    found = queries.on_sale(made.id)
    assert services.sale_draft_of(found.sale, found.offer, found.version) == sale_draft(
        price=5_000, combines=True, per_member=2
    )
    assert (found.version.stack_group, found.phase) == (f"sale-{made.public_id}", Phase.DRAFT)


def test_a_price_below_cost_is_started_only_by_its_name(scene, sale_draft):
    made = services.create_sale(scene.group, SaleKind.FLASH_SALE, sale_draft(price=1_000), "k")
    with pytest.raises(guard.MarginUnconfirmed):
        services.start_sale(made.id)
    services.start_sale(made.id, "马克杯快抢")
    with pytest.raises(rules.ChangedMeanwhile):
        services.start_sale(made.id, "马克杯快抢")
    with pytest.raises(rules.AnnouncedAlready):
        services.edit_sale(made.id, sale_draft())


def test_the_line_goes_through_what_the_product_costs_now(db, scene, sale_draft):
    """From the start of a sale, not from the day when it was written down or copied."""
    made = services.create_sale(scene.group, SaleKind.FLASH_SALE, sale_draft(), "k")
    scene.mug.list_price = 9_000
    assert services.start_sale(made.id).list_price == 9_000
    scene.mug.list_price = 8_000
    copied = groups.copy(scene.group, groups.Plan("下一期", kernel_clock.now() + timedelta(days=7), coupons=True))
    services.adopt_copies(copied.id, scene.group.id)
    ((copy, _offer, _version),) = queries.sales_of_group(copied.id)
    assert (made.list_price, copy.list_price) == (9_000, 8_000)


def test_nothing_begins_in_a_group_that_is_closed(scene, draft, sale_draft):
    lottery = services.create(scene.group, draft(), "k")
    sale = services.create_sale(scene.group, SaleKind.FLASH_SALE, sale_draft(), "s")
    scene.group.state = GroupState.CLOSED
    with pytest.raises(rules.ChangedMeanwhile):
        services.announce(lottery.id)
    with pytest.raises(rules.ChangedMeanwhile):
        services.start_sale(sale.id)


def test_a_group_that_closes_takes_its_sales_and_entries_with_it(db, clock, phone_of, scene, announced, started):
    """Nobody buys or enters any more, by whichever door; what is out stays theirs, and the draw is held at its time."""
    lottery, one, other = announced(), started(), started(SaleKind.GROUP_PRICE)
    coupons.set_state(other.offer.id, OfferState.PAUSED)
    ticket, claimed = services.enter(lottery, scene.ann.id), services.claim(one.sale, scene.ann.id)
    groups.change_state(scene.group, GroupState.CLOSED)
    bob = scene.people[1]
    phone, group = phone_of(bob), f"/groups/{scene.group.public_id}"
    for path in (f"{group}/sales/{one.sale.public_id}/claim", f"/draws/{lottery.public_id}/enter"):
        assert phone.post(path).status_code == 409
        assert path not in phone.get(group).text + phone.get(path.rpartition("/")[0]).text
    assert services.enter(lottery, scene.ann.id).id == ticket.id
    end_sales(GroupClosed(group_id=scene.group.id))
    db.session.expire_all()
    assert [offer.state for _sale, offer, _version in queries.sales_of_group(scene.group.id)] == [OfferState.ENDED] * 2
    with pytest.raises(coupon_rules.ClaimRefused):
        coupons.claim(one.offer.id, bob.id, "elsewhere")
    coupons.redeem(claimed.code, "shop", "A-1", Basket(20_000, lines=(Line("MUG", 1, 10_000),)))
    clock.at(lottery.closes_at)
    jobs.settle()
    assert [member.id for _entry, member, _prize in queries.winners_of(lottery.id)] == [scene.ann.id]


def test_a_piece_is_claimed_by_those_who_sit_there_and_used_only_while_they_do(db, clock, scene, started):
    one = started()
    with pytest.raises(NotAMember):
        services.claim(one.sale, scene.stranger.id)
    claimed = services.claim(one.sale, scene.ann.id)
    assert (claimed.fresh, services.claim(one.sale, scene.ann.id).fresh) == (True, False)
    basket = Basket(20_000, lines=(Line("MUG", 1, 10_000), Line("TEA", 1, 10_000)))
    coupons.redeem(claimed.code, "shop", "A-1", basket)
    db.session.expire_all()
    found = queries.on_sale(one.sale.id)
    outcome = queries.outcome_of(found.sale, found.offer)
    assert (outcome.claimed, outcome.redeemed, outcome.discount, outcome.pieces) == (1, 1, 4_000, 6_000)
    bob = scene.people[1]
    theirs = services.claim(one.sale, bob.id)
    groups.leave(scene.group.id, bob.id)
    with pytest.raises(coupon_rules.NotInGroupNow):
        coupons.redeem(theirs.code, "shop", "A-2", basket)
    with pytest.raises(NotAMember):
        services.claim(one.sale, bob.id)
    with pytest.raises(coupon_rules.NotInGroup):
        coupons.claim(one.offer.id, scene.stranger.id, "elsewhere")
    services.claim(one.sale, scene.people[2].id)
    db.session.expire_all()
    assert (queries.on_sale(one.sale.id).left, queries.on_sale(one.sale.id).phase) == (0, Phase.SOLD_OUT)
    with pytest.raises(coupon_rules.SoldOut):
        services.claim(one.sale, scene.people[3].id)
    services.stop_sale(one.sale.id)
    with pytest.raises(rules.ChangedMeanwhile):
        services.stop_sale(one.sale.id)
    source = db.session.scalar(select(Coupon.source).where(Coupon.id == claimed.coupon_id))
    assert source == f"group:{scene.group.id}/sale:{one.sale.id}"


def test_the_clock_begins_and_ends_a_sale(clock, scene, started):
    begins = kernel_clock.now() + timedelta(minutes=5)
    one = started(SaleKind.GROUP_PRICE, starts_at=begins, stock=None, per_member=2)
    with pytest.raises(coupon_rules.NotYet):
        services.claim(one.sale, scene.ann.id)
    clock.at(begins)
    assert [services.claim(one.sale, scene.ann.id, n).fresh for n in (1, 1, 2, 2)] == [True, False, True, False]
    clock.at(one.offer.claim_until)
    with pytest.raises(coupon_rules.TooLate):
        services.claim(one.sale, scene.people[1].id)


def test_sales_stand_in_their_own_place_and_not_among_the_coupons(scene, started):
    one = started()
    assert groups.shown_coupons(scene.group, scene.ann.id) == []
    sales, draws = queries.shown_in(scene.group.id, scene.ann.id)
    assert ([found.offer.id for found in sales], draws) == ([one.offer.id], [])


def test_a_coupon_leaves_the_group_page_only_while_its_draw_is_announced(scene, draft):
    terms = coupons.Draft(name="群友券", kind=CouponKind.AMOUNT, value=500, valid_days=7, group_id=scene.group.id)
    coupon = coupons.create(terms, OfferState.ACTIVE)
    made = services.create(scene.group, draft(prizes=(services.PrizeDraft(1, offer_id=coupon.id),)), "k")

    def shown():
        return [one.offer.id for one in groups.shown_coupons(scene.group, scene.ann.id)]

    before = shown()
    services.announce(made.id)
    announced = shown()
    services.cancel(made.id, "Rain")
    assert (before, announced, shown()) == ([coupon.id], [], [coupon.id])


def test_many_sales_leave_the_coupons_of_the_group_in_their_place(clock, scene, started):
    terms = coupons.Draft(
        name="群友券", kind=CouponKind.AMOUNT, value=500, valid_days=7, group_id=scene.group.id, per_member=1
    )
    coupon = coupons.create(terms, OfferState.ACTIVE)
    for n in range(21):
        started(title=f"第{n}场")
    for hours in (0, 3):
        clock.move(hours=hours)
        assert [one.offer.id for one in groups.shown_coupons(scene.group, scene.ann.id)] == [coupon.id]


def test_a_strip_does_not_load_the_list_of_tickets(db, scene, announced):
    announced()
    db.session.expunge_all()
    _sales, (one,) = queries.shown_in(scene.group.id, scene.ann.id)
    assert "tickets" in inspect(one.lottery).unloaded


def test_a_copied_group_takes_its_sales_along(db, scene, started):
    started()
    plan = groups.Plan("下一期", kernel_clock.now() + timedelta(days=7), coupons=True)
    made = groups.copy(scene.group, plan)
    services.adopt_copies(made.id, scene.group.id)
    services.adopt_copies(made.id, scene.group.id)
    ((sale, offer, _version),) = queries.sales_of_group(made.id)
    assert (sale.kind, offer.state, offer.name) == (SaleKind.FLASH_SALE, OfferState.DRAFT, "马克杯快抢")


def test_lists_agree_with_the_rules(db, clock, scene, announced, started, held, draft):
    """The phase that SQL says is the one that the pure rule says, for everything at several times."""
    begins = kernel_clock.now() + timedelta(minutes=30)
    announced()
    announced(opens_at=begins)
    services.create(scene.group, draft(), "draft")
    services.cancel(announced(title="Gone").id, "Rain")
    started(starts_at=begins)
    one = started(SaleKind.GROUP_PRICE, stock=1)
    services.claim(one.sale, scene.ann.id)
    services.stop_sale(started(price=7_000).sale.id)
    for minutes in (0, 45, 120):
        clock.move(minutes=minutes)
        db.session.expire_all()
        for row in db.session.execute(queries.listing(queries.ActivityFilter())[0]):
            if row.kind == "lottery":
                assert row.phase == queries.phase_of(queries.get_lottery(row.id))
            else:
                assert row.phase == queries.on_sale(row.id).phase
    assert db.session.scalar(text("SELECT count(*) FROM lottery")) == 4
