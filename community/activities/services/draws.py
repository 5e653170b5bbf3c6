"""The end of a draw, in steps that a dead worker can leave at any point: freeze the list, draw, give what was won.

Each step is one transaction that begins with an `UPDATE … WHERE state`, so that of two workers one does it; what is left
undone is found again by the state it is in.
"""

from __future__ import annotations

from sqlalchemy import exists, select, update

from community.groups.models import Seat, SeatState
from kernel import audit, clock
from kernel.db import changed, db
from kernel.events import publish
from kernel.i18n import forced_locale
from kernel.i18n import gettext as _
from kernel.notices import tell
from membership.coupons import services as coupons
from membership.coupons.models import Coupon
from membership.gifts import services as gifts
from membership.members.models import Member

from .. import queries, rules
from ..events import LotteryDrawn, MemberWonLottery
from ..models import Lottery, LotteryEntry, LotteryPrize, LotterySeed, LotteryState, PrizeState

SLICE = 200


def due() -> list[int]:
    """Draws whose entry is over and that have not been held yet, the one that waits longest first."""
    return list(
        db.session.scalars(
            select(Lottery.id)
            .where(Lottery.state.in_([LotteryState.OPEN, LotteryState.FROZEN]), Lottery.closes_at <= clock.now())
            .order_by(Lottery.closes_at, Lottery.id)
        )
    )


def freeze(lottery_id: int) -> bool:
    """Close the list of a draw whose time is over; whether this call did it.

    Waits for taps that are under way. Tickets of people who have left the group meanwhile are not on the list.
    """
    now = clock.now()
    mine = db.session.scalar(
        select(Lottery)
        .where(Lottery.id == lottery_id, Lottery.state == LotteryState.OPEN, Lottery.closes_at <= now)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if mine is None:
        return False
    sits = exists().where(
        Seat.group_id == mine.group_id, Seat.member_id == LotteryEntry.member_id, Seat.state == SeatState.TAKEN
    )
    db.session.execute(
        update(LotteryEntry)
        .where(LotteryEntry.lottery_id == lottery_id, ~sits)
        .values(left_out=True)
        .execution_options(synchronize_session=False)
    )
    tickets = rules.in_order(
        db.session.scalars(
            select(LotteryEntry.ticket).where(LotteryEntry.lottery_id == lottery_id, LotteryEntry.left_out.is_(False))
        ).all()
    )
    done = db.session.execute(
        update(Lottery)
        .where(Lottery.id == lottery_id, Lottery.state == LotteryState.OPEN)
        .values(state=LotteryState.FROZEN, tickets=tickets, listed=rules.listed_as(tickets), frozen_at=now)
        .execution_options(synchronize_session=False)
    )
    db.session.expire(mine)
    return bool(changed(done))


def draw(lottery_id: int) -> bool:
    """Draw from the frozen list with the seed of the announcement; whether this call did it. From now on the seed is shown."""
    now = clock.now()
    done = db.session.execute(
        update(Lottery)
        .where(Lottery.id == lottery_id, Lottery.state == LotteryState.FROZEN)
        .values(state=LotteryState.DRAWN, drawn_at=now)
        .execution_options(synchronize_session=False)
    )
    if not changed(done):
        return False
    lottery = queries.get_lottery(lottery_id)
    db.session.refresh(lottery)
    prizes = queries.prizes_of(lottery_id)
    numbers = [prize.number for prize in prizes]
    # Nobody has a ticket any more when two records with one each have become one person, who keeps the other. Locked, for a
    # merge that comes now waits, and finds the places given.
    held = db.session.scalars(
        select(LotteryEntry.ticket)
        .where(LotteryEntry.lottery_id == lottery_id)
        .order_by(LotteryEntry.id)
        .with_for_update()
    )
    lottery.void_tickets = rules.in_order([*set(lottery.tickets).difference(held)])
    seed = db.session.get_one(LotterySeed, lottery_id).seed
    won = rules.winners(seed, lottery.tickets, sum(numbers), lottery.void_tickets)
    for place, ticket in enumerate(won, 1):
        member_id = db.session.scalar(
            update(LotteryEntry)
            .where(LotteryEntry.lottery_id == lottery_id, LotteryEntry.ticket == ticket)
            .values(place=place, prize_id=prizes[rules.prize_of(place, numbers)].id, prize_state=PrizeState.OWED)
            .returning(LotteryEntry.member_id)
            .execution_options(synchronize_session=False)
        )
        if member_id is not None:
            publish(
                MemberWonLottery(member_id=member_id, lottery_id=lottery_id, group_id=lottery.group_id, place=place)
            )
    publish(
        LotteryDrawn(lottery_id=lottery_id, group_id=lottery.group_id, entrants=len(lottery.tickets), winners=len(won))
    )
    audit.record("lottery.drawn", "lottery", lottery_id, after={"entrants": len(lottery.tickets), "winners": len(won)})
    return True


def freed_tickets(lottery: Lottery) -> list[str]:
    """The tickets that gave their place up after a draw, as `rules.freed` has them; none before it."""
    seed = seed_shown(lottery)
    if seed is None:
        return []
    winning = select(LotteryEntry.place, LotteryEntry.ticket).where(
        LotteryEntry.lottery_id == lottery.id, LotteryEntry.place.is_not(None)
    )
    held: dict[int, str] = dict(db.session.execute(winning).all())  # type: ignore[arg-type]
    return rules.freed(seed, lottery.tickets, _places(lottery.id), lottery.void_tickets, held)


def drawn_first(lottery_id: int) -> list[str]:
    """The tickets that won in a draw that has been held, before any of them gave its place up."""
    lottery, seed = queries.get_lottery(lottery_id), db.session.get_one(LotterySeed, lottery_id).seed
    return rules.winners(seed, lottery.tickets, _places(lottery_id), lottery.void_tickets)


def _places(lottery_id: int) -> int:
    return sum(prize.number for prize in queries.prizes_of(lottery_id))


def pass_on(lottery_id: int, place: int, prize_id: int) -> str | None:
    """Give a place that its holder gave up to the ticket that the seed names next; which one, or None when none is left.

    For a draw that has been held, whose row the caller has locked, and a place whose ticket has no row any more. The others
    keep their places; tickets that nobody holds any more are passed over as well.
    """
    lottery = queries.get_lottery(lottery_id)
    places, freed = _places(lottery_id), freed_tickets(lottery)
    held = db.session.scalars(
        select(LotteryEntry.ticket).where(LotteryEntry.lottery_id == lottery_id, LotteryEntry.place.is_(None))
    ).all()
    seed = db.session.get_one(LotterySeed, lottery_id).seed
    found = rules.next_up(seed, lottery.tickets, places, lottery.void_tickets, freed, frozenset(held))
    if not found:
        return None
    member_id = db.session.scalar(
        update(LotteryEntry)
        .where(LotteryEntry.lottery_id == lottery_id, LotteryEntry.ticket == found[-1], LotteryEntry.place.is_(None))
        .values(place=place, prize_id=prize_id, prize_state=PrizeState.OWED)
        .returning(LotteryEntry.member_id)
        .execution_options(synchronize_session=False)
    )
    if member_id is None:
        raise rules.ChangedMeanwhile
    publish(MemberWonLottery(member_id=member_id, lottery_id=lottery_id, group_id=lottery.group_id, place=place))
    return found[-1]


def owed(limit: int = SLICE) -> list[int]:
    """Entries whose prize has not been given yet."""
    return list(
        db.session.scalars(
            select(LotteryEntry.id)
            .where(LotteryEntry.prize_state == PrizeState.OWED)
            .order_by(LotteryEntry.id)
            .limit(limit)
        )
    )


def _held_winner(member_id: int, prize: LotteryPrize) -> Member:
    """A winner whose record nobody merges or erases meanwhile, with the offer of the prize held before it."""
    if prize.offer_id is not None:
        coupons.get_offer(prize.offer_id, lock=True)
    return db.session.scalars(
        select(Member)
        .where(Member.id == member_id)
        .with_for_update(read=True, key_share=True)
        .execution_options(populate_existing=True)
    ).one()


def hand_over(entry_id: int) -> PrizeState | None:
    """Give one winner the prize, and tell them; None when somebody else is at it or has done it.

    The coupon is granted under the entry's key and the gift offered under the draw's, so that neither comes twice however
    often this is begun. Locks are taken in the order of a merge, which may come at the same moment: the offer, the member,
    the ticket.
    """
    seen = db.session.execute(
        select(LotteryEntry.member_id, LotteryEntry.prize_id).where(
            LotteryEntry.id == entry_id, LotteryEntry.prize_state == PrizeState.OWED
        )
    ).one_or_none()
    if seen is None:
        return None
    prize = db.session.get_one(LotteryPrize, seen.prize_id)
    member = _held_winner(seen.member_id, prize)
    entry = db.session.scalar(
        select(LotteryEntry)
        .where(
            LotteryEntry.id == entry_id,
            LotteryEntry.prize_state == PrizeState.OWED,
            # A merge that was quicker has made it somebody else's, whose turn comes in the next round.
            LotteryEntry.member_id == member.id,
        )
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    if entry is None:
        return None
    lottery = queries.get_lottery(entry.lottery_id)
    coupon_id = claim_id = path = None
    if member.erased_at is None and prize.offer_id is not None:
        key = f"lottery:{entry.id}"
        source = f"group:{lottery.group_id}/lottery:{lottery.id}"
        granted = coupons.grant_many(prize.offer_id, [(member.id, key)], source).get(member.id)
        # Where the offer allows no more of it to one member, granting gives the one they have: that is no prize.
        if granted is not None and db.session.get_one(Coupon, granted[0]).grant_key == key:
            coupon_id, path = granted[0], "/me/coupons"
    elif member.erased_at is None and prize.gift_id is not None:
        claim = gifts.offer_gift(prize.gift_id, member.id, f"lottery:{lottery.id}", group_id=lottery.group_id)
        if claim is not None:
            claim_id, path = claim.id, gifts.path_of(claim)
    state = PrizeState.GIVEN if coupon_id or claim_id else PrizeState.MISSED
    done = db.session.execute(
        update(LotteryEntry)
        .where(LotteryEntry.id == entry_id, LotteryEntry.prize_state == PrizeState.OWED)
        .values(prize_state=state, coupon_id=coupon_id, claim_id=claim_id, settled_at=clock.now())
        .execution_options(synchronize_session=False)
    )
    if not changed(done):
        raise rules.ChangedMeanwhile
    db.session.expire(entry)
    if path is not None:
        with forced_locale(member.locale):
            tell(
                member.id,
                "lottery.won",
                _("You have won: %(prize)s", prize=queries.prize_names([prize])[prize.id]),
                _("Your ticket was drawn in “%(title)s”.", title=lottery.title),
                path,
            )
    return state


def try_again(lottery_id: int) -> int:
    """Have the prizes of a draw that could not be given tried again, but for people who were erased; how many there are."""
    # As in a merge, the draw's row comes before its tickets in the order of locks.
    queries.get_lottery(lottery_id, lock=True)
    done = changed(
        db.session.execute(
            update(LotteryEntry)
            .where(
                LotteryEntry.lottery_id == lottery_id,
                LotteryEntry.prize_state == PrizeState.MISSED,
                exists().where(Member.id == LotteryEntry.member_id, Member.erased_at.is_(None)),
            )
            .values(prize_state=PrizeState.OWED, settled_at=None)
            .execution_options(synchronize_session=False)
        )
    )
    if done:
        audit.record("lottery.prizes_tried_again", "lottery", lottery_id, after={"number": done})
    return done


def seed_shown(lottery: Lottery) -> bytes | None:
    """The seed of a draw that has been held; None before, whoever asks."""
    return db.session.scalar(
        select(LotterySeed.seed)
        .join(Lottery, Lottery.id == LotterySeed.lottery_id)
        .where(Lottery.id == lottery.id, Lottery.state == LotteryState.DRAWN)
    )
