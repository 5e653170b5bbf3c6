"""Offering, claiming and sending: what changes, what is published, what is refused."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from sqlalchemy import select

from kernel.errors import InputInvalid, NotFound
from membership.gifts import fulfilment, rules, services
from membership.gifts.jobs import forfeit_gifts
from membership.gifts.models import GiftClaim, GiftKind, GiftState
from membership.orders.formats.sheet import FileUnreadable, Wrong
from tests.conftest import published
from tests.membership.orders.formats.test_xlsx import book

from .conftest import ADDRESS, state_of

# ── The catalogue ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "  "}, "name"),
        ({"stock": -1}, "stock"),
        ({"stock": 100_000_001}, "stock"),
        ({"value": -1}, "value"),
        ({"claim_days": 0}, "claim_days"),
        ({"claim_days": 366}, "claim_days"),
    ],
)
def test_a_gift_that_makes_no_sense_is_refused(db, make_gift, changes, field):
    with pytest.raises(InputInvalid) as refusal:
        make_gift(**changes)
    assert [place for place, _ in refusal.value.errors] == [field]


def test_the_stock_cannot_be_lower_than_what_is_given(give, make_gift):
    gift = make_gift(stock=3)
    give(gift=gift)
    give(gift=gift)
    draft = services.Draft(gift.name, gift.kind, stock=1)
    with pytest.raises(services.StockBelowGiven) as refusal:
        services.edit(gift.id, draft)
    assert refusal.value.values == {"given": 2}
    assert services.edit(gift.id, services.Draft(gift.name, gift.kind, stock=2)).stock == 2


# ── Offering ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_offer_takes_one_piece_and_the_same_key_gives_the_same_gift(db, make_gift, make_member):
    gift, member = make_gift(stock=2), make_member()
    first = services.offer_gift(gift.id, member.id, "welcome:7", group_id=7)
    again = services.offer_gift(gift.id, member.id, "welcome:7", group_id=7)
    assert first is not None
    assert again is not None
    assert first.id == again.id
    assert services.given(gift.id) == 1
    assert published(db, "GiftOffered") == [
        {"member_id": member.id, "gift_id": gift.id, "claim_id": first.id, "benefit": "welcome:7"}
    ]


def test_no_more_gifts_wait_than_there_are_pieces(db, make_gift, make_member):
    gift = make_gift(stock=2)
    got = [services.offer_gift(gift.id, make_member().id, "welcome:1") for _ in range(4)]
    assert [one is not None for one in got] == [True, True, False, False]
    assert services.given(gift.id) == 2
    assert len(db.session.scalars(select(GiftClaim)).all()) == 2


def test_a_gift_that_is_given_no_more_waits_for_nobody_new(make_gift, make_member):
    gift = make_gift(active=False)
    assert services.offer_gift(gift.id, make_member().id, "welcome:1") is None
    assert services.given(gift.id) == 0


# ── Claiming ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "after"),
    [
        (GiftKind.PHYSICAL, GiftState.ADDRESS_PENDING),
        (GiftKind.DIGITAL, GiftState.CLAIMED),
        (GiftKind.RED_PACKET, GiftState.CLAIMED),
    ],
)
def test_a_claim_goes_where_its_kind_goes_and_twice_is_once(db, give, make_gift, kind, after):
    claim = give(gift=make_gift(kind))
    for _ in range(2):
        assert services.claim(claim.id, claim.member_id).state == after
    assert len(published(db, "GiftClaimed")) == 1
    assert services.given(claim.gift_id) == 1


def test_a_claim_with_an_address_is_in_the_queue_at_once(give):
    claim = give()
    found = services.claim(claim.id, claim.member_id, **ADDRESS)
    assert (found.state, found.recipient, found.address) == (GiftState.QUEUED, "青柠", ADDRESS["address"])


def test_somebody_elses_gift_is_not_there(give, make_member):
    with pytest.raises(NotFound):
        services.claim(give().id, make_member().id)


def test_the_clock_ends_an_offer_without_the_sweep(clock, give):
    claim = give()
    clock.move(days=14)
    with pytest.raises(rules.GiftGone):
        services.claim(claim.id, claim.member_id)
    assert state_of(claim) == GiftState.OFFERED


def test_the_sweep_gives_back_what_was_not_claimed_once(clock, db, give, make_gift):
    gift = make_gift(stock=3)
    offered, pending, queued = (give(s, gift) for s in (GiftState.OFFERED, GiftState.ADDRESS_PENDING, GiftState.QUEUED))
    clock.move(days=13, hours=23)
    assert services.forfeit_due() == 0
    clock.move(hours=1)
    for _ in range(2):
        forfeit_gifts.direct()
    assert [state_of(c) for c in (offered, pending, queued)] == [
        GiftState.FORFEITED,
        GiftState.FORFEITED,
        GiftState.QUEUED,
    ]
    assert services.given(gift.id) == 1
    assert {e["claim_id"] for e in published(db, "GiftForfeited")} == {offered.id, pending.id}
    assert len(published(db, "GiftForfeited")) == 2


# ── The way ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_inv_g2_stock_comes_back_once(give):
    claim = give(GiftState.QUEUED)
    for _ in range(3):
        services.cancel(claim.id, "重复")
    assert services.given(claim.gift_id) == 0
    with pytest.raises(rules.GiftStepNotListed):
        services.queue_again(claim.id)


def test_inv_g1_what_is_given_and_what_is_left_make_the_stock(db, give, make_gift):
    gift = make_gift(stock=8)
    claims = [
        give(state, gift)
        for state in (GiftState.OFFERED, GiftState.QUEUED, GiftState.SHIPPED, GiftState.FAILED, GiftState.RETURNED)
    ]
    services.cancel(claims[0].id, "误发")
    services.cancel(claims[3].id, "停寄")
    holding = [c for c in db.session.scalars(select(GiftClaim)) if c.state not in rules.GIVEN_BACK]
    assert services.given(gift.id) == len(holding) == 3


def test_a_parcel_that_failed_goes_again_without_its_number(give):
    claim = give(GiftState.RETURNED)
    found = services.queue_again(claim.id)
    assert (found.state, found.carrier, found.tracking_number) == (GiftState.QUEUED, "", "")
    assert services.given(claim.gift_id) == 1


def test_the_same_number_twice_is_one_sending_and_another_corrects_it(db, give):
    claim = give(GiftState.QUEUED)
    for number in ("SF1", "SF1", "SF2"):
        services.ship(claim.id, "样板快递", number)
    assert services.get_claim(claim.id).tracking_number == "SF2"
    assert [e["tracking_number"] for e in published(db, "GiftShipped")] == ["SF1"]


def test_the_address_can_be_changed_until_it_is_sent(give):
    claim = give(GiftState.QUEUED)
    other = {**ADDRESS, "address": "上海市样例区另一条路二号"}
    services.give_address(services.get_claim(claim.id), **other)
    assert services.get_claim(claim.id, lock=True).address == other["address"]
    services.ship(claim.id, "样板快递", "SF1")
    with pytest.raises(rules.GiftStepNotListed):
        services.give_address(services.get_claim(claim.id, lock=True), **ADDRESS)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"recipient": " "}, "recipient"),
        ({"phone": "12"}, "phone"),
        ({"phone": "call me"}, "phone"),
        ({"address": "杭州"}, "address"),
    ],
)
def test_each_part_of_an_address_is_judged(give, change, field):
    claim = give(GiftState.ADDRESS_PENDING)
    with pytest.raises(rules.AddressInvalid) as refusal:
        services.give_address(services.get_claim(claim.id), **{**ADDRESS, **change})
    assert [place for place, _ in refusal.value.errors] == [field]
    assert state_of(claim) == GiftState.ADDRESS_PENDING


# ── Many at once ────────────────────────────────────────────────────────────────────────────────────────────────────


def tracking(text, encoding="utf-8"):
    return fulfilment.take_in_tracking(io.BytesIO(text.encode(encoding)))


def counts(outcome):
    return outcome.shipped, outcome.corrected, outcome.unchanged, outcome.without_number, len(outcome.rejects)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_a_tracking_file_sends_what_it_names_and_twice_is_once(db, give, encoding):
    one, two, left = (give(GiftState.QUEUED) for _ in range(3))
    text = f"领取单号,礼品,快递公司,快递单号\n{one.id},茶,样板快递,SF1\n#{two.id},茶,样板快递,'SF2\n{left.id},茶,,\n"
    assert counts(tracking(text, encoding)) == (2, 0, 0, 1, 0)
    assert counts(tracking(text, encoding)) == (0, 0, 2, 1, 0)
    assert counts(tracking(text.replace("SF1", "SF9"), encoding)) == (0, 1, 1, 1, 0)
    assert [services.get_claim(c.id, lock=True).tracking_number for c in (one, two, left)] == ["SF9", "SF2", ""]
    assert len(published(db, "GiftShipped")) == 2


def test_a_pick_list_that_was_saved_as_a_workbook_is_read(db, give, tmp_path, monkeypatch):
    claim = give(GiftState.QUEUED)
    made = book(tmp_path / "list.xlsx", [["claim number", "carrier", "tracking number"], [claim.id, "Sample", "SF1"]])
    assert counts(fulfilment.take_in_tracking(io.BytesIO(made.read_bytes()))) == (1, 0, 0, 0, 0)
    monkeypatch.setattr("membership.orders.formats.LARGEST_SENT", 100)
    with pytest.raises(fulfilment.FileUnreadable, match="2 MB"):
        fulfilment.take_in_tracking(io.BytesIO(made.read_bytes()))


def test_bad_lines_are_named_and_stop_no_other(db, give):
    good, waiting, twice = give(GiftState.QUEUED), give(), give(GiftState.QUEUED)
    lines = [
        "claim number,carrier,tracking number",
        f"{good.id},Sample,SF1",
        "nonsense,Sample,SF2",
        "999999999,Sample,SF3",
        f"{waiting.id},Sample,SF4",
        ",Sample,SF5",
        f"{twice.id},,SF6",
        f"{twice.id},Sample,",
        f"{twice.id},Sample,1.23E+17",
        f"{twice.id},Sample,{'9' * 61}",
        f"{good.id},Sample,SF-OTHER",
        f"{twice.id},Sample,SF7,surplus",
        f"{twice.id},Sample,SF8",
    ]
    outcome = tracking("\n".join(lines))
    assert counts(outcome) == (2, 0, 0, 0, 10)
    assert [(reject.line, reject.column) for reject in outcome.rejects] == [
        (3, "claim number"), (4, "claim number"), (5, "claim number"), (6, "claim number"), (7, "carrier"),
        (8, "tracking number"), (9, "tracking number"), (10, "tracking number"), (11, "claim number"), (12, ""),
    ]  # fmt: skip
    assert all(reject.reason for reject in outcome.rejects)
    assert services.get_claim(good.id, lock=True).tracking_number == "SF1"
    assert services.get_claim(twice.id, lock=True).tracking_number == "SF8"
    assert state_of(waiting) == GiftState.OFFERED
    # What was rejected comes back as lines that can be put right and sent again.
    assert outcome.rejected_text.splitlines() == [lines[0], *lines[2:12]]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", Wrong.EMPTY),
        ("claim number,carrier\n1,x\n", Wrong.COLUMNS_MISSING),
        ("claim number,carrier,tracking number,快递单号\n1,x,y,z\n", Wrong.COLUMNS_REPEATED),
        ('claim number,carrier,tracking number\n1,"x,y\n', Wrong.UNCLOSED_QUOTE),
        ("claim number,carrier,tracking number\n", Wrong.NO_ROWS),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_as_a_whole(db, text, wrong):
    with pytest.raises(FileUnreadable) as refusal:
        tracking(text)
    assert refusal.value.wrong == wrong


def test_too_many_lines_are_refused(db):
    body = "".join(f"{i},x,y\n" for i in range(fulfilment.MOST_LINES + 1))
    with pytest.raises(fulfilment.TooManyLines):
        tracking("claim number,carrier,tracking number\n" + body)


def test_many_at_once_leave_alone_what_their_state_does_not_allow(give, make_gift):
    shipped, offered, failed = give(GiftState.SHIPPED), give(), give(GiftState.FAILED)
    code = give(GiftState.CLAIMED, make_gift(GiftKind.DIGITAL))
    ids = [shipped.id, offered.id, failed.id, code.id, 999_999_999]
    assert fulfilment.act_on_many(ids, "deliver") == (1, 4)
    assert fulfilment.act_on_many(ids, "queue") == (1, 4)
    assert fulfilment.act_on_many(ids, "cancel", "停发") == (3, 2)
    assert [state_of(c) for c in (shipped, offered, failed, code)] == [
        GiftState.DELIVERED,
        GiftState.CANCELLED,
        GiftState.CANCELLED,
        GiftState.CANCELLED,
    ]


def test_a_deadline_is_the_gifts_own(clock, give, make_gift):
    assert give(gift=make_gift(claim_days=3)).claim_until == clock.now() + timedelta(days=3)
