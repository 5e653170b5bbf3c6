"""What counts as a meeting with which touchpoint, how each did, and what followed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from campaigns.results import funnel as funnels
from campaigns.touchpoints import queries, rules, services
from campaigns.touchpoints.models import Stage, TouchKind
from campaigns.touchpoints.rules import Basis, Quadrant, Tally
from community.posts.models import Comment, CommentState, Poll, PollOption, PollVote, PostKind, ReactionKind
from community.tickets.models import Ticket, TicketKind, TicketSource
from kernel import clock as kernel_clock
from kernel.db import db
from membership.members.models import Consent, Contact, Purpose
from membership.orders.models import OrderState


@pytest.fixture
def span(db, clock):
    """The last thirty days."""
    now = kernel_clock.now() + timedelta(minutes=1)
    return now - timedelta(days=30), now


def sums(span) -> dict[str, Tally]:
    return {key: sum(weeks, Tally()) for key, weeks in queries.tallies(*span).items()}


def own(name: str, *sources: str) -> str:
    return services.add(services.Draft(name, TouchKind.PRINT, Stage.AD, sources=sources))


def test_each_kind_of_meeting_is_counted_once_where_it_belongs(
    db, span, group, make_member, make_seat, make_link, make_claim_link, make_order, send, call, talk, see, take_coupon
):
    people = [make_member(f"M{n}") for n in range(6)]
    one, two, three, four, five, six = people
    card = own("门店海报", "海报")
    send(people, clicked=people[:2])
    send([one], days_ago=45)
    make_seat(one, source="link", link=make_link("朋友圈"))
    make_seat(two, source="海报", joined=False)
    make_seat(three, source="link", link=make_link("海报"))
    make_seat(four, source="friend")
    make_seat(five, source="包裹卡")
    make_seat(six, source="call")
    take_coupon(one, f"link:{make_claim_link('海报').id}")
    take_coupon(two, "link:999999")
    take_coupon(three, "push:7")
    take_coupon(four, "code:3")
    take_coupon(five, "tier")
    call(one, stars=5)
    call(two, stars=4, group=group)
    call(three, group=group, days_ago=3)
    talk(four, stars=3)
    make_order(one, shipped_at=kernel_clock.now(), state=OrderState.COMPLETED)
    make_order(two, state=OrderState.PLACED, paid_at=None)
    db.session.add(
        Ticket(
            public_id="t", member_id=one.id, kind=TicketKind.FEEDBACK, subject="…", source=TicketSource.MEMBER,
            opened_at=kernel_clock.now(), answer_minutes=1, resolve_minutes=1, running_since=kernel_clock.now(),
            last_entry_at=kernel_clock.now(), satisfaction=2,
        )
    )  # fmt: skip
    post = see(one)
    see(two, ReactionKind.LIKED, post=post)
    see(three, post=post)
    db.session.add(
        Comment(
            post_id=post.id, group_id=group.id, member_id=three.id, body="好", state=CommentState.SHOWN,
            at=kernel_clock.now(),
        )
    )  # fmt: skip
    survey = see(four, kind=PostKind.SURVEY)
    see(five, post=survey)
    db.session.add(Poll(post_id=survey.id))
    db.session.flush()
    option = PollOption(post_id=survey.id, number=1, words="好")
    db.session.add(option)
    db.session.flush()
    db.session.add(PollVote(option_id=option.id, member_id=five.id, group_id=group.id, at=kernel_clock.now()))
    db.session.flush()

    found = sums(span)
    assert found == {
        "push_inbox": Tally(6, 2),
        "group_link": Tally(1, 1),
        card: Tally(3, 1),
        "friend": Tally(1, 1),
        "parcel_card": Tally(1, 1),
        # All five who joined; the one who commented within a week was welcomed, and so was one who liked.
        "group_welcome": Tally(5, 1),
        "coupon_link": Tally(1),
        "coupon_message": Tally(1),
        "coupon_code": Tally(1),
        "call_back": Tally(3, 0, 2, 9),
        # The seat of the third one was taken after the call, that of the second one never.
        "call_invitation": Tally(2, 1),
        "conversation": Tally(1, 0, 1, 3),
        "web_shop": Tally(2, 1),
        "parcel": Tally(1, 1),
        "ticket": Tally(1, 0, 1, 2),
        "post": Tally(3, 2),
        "survey": Tally(2, 1),
    }
    assert queries.people_of(*span)["push_inbox"] == 6
    # Of one touchpoint alone the same is said.
    for ref, tally in found.items():
        assert sum(queries.tallies(*span, [ref])[ref], Tally()) == tally
    # Switched off, its link belongs to nobody in particular again.
    services.set_active([card], False)
    again = sums(span)
    assert card not in again
    assert again["group_link"] == Tally(2, 2)
    assert again["coupon_link"] == Tally(2)


def test_weeks_end_with_the_period(span, make_member, send):
    since, until = span
    member = make_member()
    send([member], days_ago=0)
    send([member], days_ago=6.9)
    send([member], days_ago=8, clicked=[member])
    send([member], days_ago=29.9)
    weeks = queries.tallies(since, until)["push_inbox"]
    assert [week.met for week in weeks] == [1, 0, 0, 1, 2]
    assert weeks[3].answered == 1


def test_a_boundary_belongs_to_the_later_period(db, clock, make_member, call):
    task = call(make_member(), days_ago=3)
    at = task.called_at
    assert queries.tallies(at - timedelta(days=1), at) == {}
    assert queries.tallies(at, at + timedelta(days=1))["call_back"] == [Tally(1)]


def test_shares_ask_who_met_it_in_the_thirty_days_before_the_order(span, make_member, make_order, send, call):
    early, late, before, nobody, refunded = (make_member(f"M{n}") for n in range(5))
    for person in (early, late, before, nobody):
        make_order(person, days_ago=5)
    make_order(early, days_ago=1)
    make_order(refunded, days_ago=5, refunded_amount=1_000)
    send([early, refunded], days_ago=10)
    send([late], days_ago=4)
    send([before], days_ago=36)
    call(early, days_ago=6)
    found = queries.shares(*span)
    assert found.buyers == 4
    assert found.met == {"push_inbox": 1, "call_back": 1}


def test_the_matrix_places_what_was_seen_often_enough(span, make_member, make_order, send, call, talk):
    people = [make_member(f"M{n}") for n in range(40)]
    # Four weeks at which a tenth clicked, and one at which a fifth did: twice as usual.
    for back in (35, 42, 49, 56):
        send(people, days_ago=back, clicked=people[:4])
    send(people, days_ago=8, clicked=people[:8])
    for person in people[:12]:
        call(person, days_ago=6, stars=5)
    for person in people[:9]:
        talk(person, stars=1)
    for person in people[:20]:
        make_order(person, days_ago=2)
    found = queries.matrix(*span)
    points = {point.listed.ref: point for point in found.points}
    push = points["push_inbox"]
    assert push.usual == pytest.approx(0.1)
    assert push.performance == rules.Performance(pytest.approx(4.0), Basis.RATE)
    assert (push.measured, push.buyers, found.buyers) == (5, 20, 20)
    assert points["call_back"].performance == rules.Performance(5.0, Basis.STARS)
    assert points["call_back"].measured == pytest.approx(1 + 4 * 12 / 20)
    assert points["conversation"].performance.basis is Basis.TOO_FEW
    assert points["web_shop"].performance.basis is Basis.TOO_FEW
    assert [point.number for point in found.points] == list(range(1, len(found.points) + 1))
    assert found.lines == rules.Lines(3, 3)
    assert push.quadrant is points["call_back"].quadrant is Quadrant.KEEP_UP
    # What staff say goes before what is measured, unless all are to go by that.
    services.edit("push_inbox", services.Draft("站内", TouchKind.MESSAGE, Stage.REACH, importance=1))
    entered, measured = (
        next(p for p in queries.matrix(*span, entered=by).points if p.listed.ref == "push_inbox")
        for by in (True, False)
    )
    assert (entered.importance, entered.quadrant, entered.listed.name) == (1, Quadrant.OVERKILL, "站内")
    assert (measured.importance, measured.quadrant) == (5, Quadrant.KEEP_UP)
    # What is switched off is not what the others are measured by.
    services.set_active(["push_inbox"], False)
    assert {point.listed.ref: point.measured for point in queries.matrix(*span).points}["call_back"] == 5
    assert all(point.listed.ref != "push_inbox" for point in queries.matrix(*span).points)


def test_what_followed_begins_with_the_first_meeting(span, make_member, make_order, make_seat, call, take_coupon):
    one, two = make_member("A"), make_member("B")
    call(one, days_ago=10)
    call(one, days_ago=2)
    call(two, days_ago=10)
    make_order(one, days_ago=12, amount=50)
    make_order(one, days_ago=9, amount=300, refunded_amount=100)
    make_order(one, days_ago=1, amount=1_000)
    make_seat(two, days_ago=3)
    take_coupon(two, "link:5")
    db.session.add(
        Consent(
            member_id=two.id, channel=Contact.SMS, purpose=Purpose.MARKETING, granted=False, source="t", text_version="1",
            at=kernel_clock.now(),
        )
    )  # fmt: skip
    db.session.flush()
    assert queries.after("call_back", *span) == queries.After(2, 1, 2, 1_200, 1, 1, 1)
    assert queries.after("ticket", *span) == queries.After()


def test_the_funnel_of_those_who_met_it_is_the_funnel_of_everybody_narrowed(span, make_member, make_order, send, call):
    one, two, three = (make_member(f"M{n}") for n in range(3))
    send([one, two, three])
    make_order(one, days_ago=1)
    make_order(three, days_ago=1)
    call(one)
    call(two)
    steps = {step.action: step.people for step in queries.steps("call_back", *span)}
    assert (steps["reached"], steps["ordered"]) == (2, 1)
    whole = {step.action: step.people for step in funnels.funnel(funnels.Among(), *span)}
    assert (whole["reached"], whole["ordered"]) == (3, 2)
    for action, people in steps.items():
        found = db.session.scalars(queries.members_who("call_back", action, *span)).all()
        assert len(found) == people, action
    assert set(db.session.scalars(queries.members_who("call_back", "", *span))) == {one, two}
