"""Draws up to the moment when entry closes: written, announced with their commitment, entered, cancelled."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from community.groups import queries as groups
from community.groups import services as seats
from community.groups.models import Group
from community.groups.rules import NotAMember
from community.moderation import queries as moderation
from kernel import audit, clock
from kernel.db import changed, db
from kernel.errors import InputInvalid
from kernel.events import publish
from kernel.i18n import forced_locale, ngettext
from kernel.i18n import gettext as _
from kernel.notices import tell
from membership.coupons.models import Offer, OfferState, OfferVersion
from membership.gifts.models import Gift
from membership.gifts.services.catalogue import given

from .. import queries, rules
from ..events import MemberEnteredLottery
from ..models import Lottery, LotteryEntry, LotteryPrize, LotterySeed, LotteryState


@dataclass(frozen=True)
class PrizeDraft:
    """`number` pieces of a gift or coupons of an offer; exactly one of the two ids is set."""

    number: int
    gift_id: int | None = None
    offer_id: int | None = None


@dataclass(frozen=True)
class LotteryDraft:
    """What staff write of a draw. Instants are aware UTC."""

    title: str
    closes_at: datetime
    prizes: tuple[PrizeDraft, ...]
    note: str = ""
    opens_at: datetime | None = None


def check(group: Group, draft: LotteryDraft) -> None:
    """Refuses with `InputInvalid` (field, sentence) whatever does not make a sensible draw."""
    wrong: list[tuple[str, str]] = []
    now = clock.now()
    if not draft.title.strip():
        wrong.append(("title", _("Give it a name that members will read.")))
    if draft.closes_at <= now:
        wrong.append(("closes_at", _("Entry must close in the future.")))
    elif draft.closes_at > now + timedelta(days=rules.LONGEST_DAYS):
        wrong.append(("closes_at", _("At most %(days)s days from now.", days=rules.LONGEST_DAYS)))
    elif group.closes_at is not None and draft.closes_at > group.closes_at:
        wrong.append(
            ("closes_at", _("The group closes before that, at %(when)s.", when=clock.wall_text(group.closes_at)))
        )
    if draft.opens_at is not None and draft.opens_at >= draft.closes_at:
        wrong.append(("opens_at", _("Entry begins before it closes.")))
    if not draft.prizes:
        wrong.append(("prize_1", _("Say what can be won.")))
    if len(draft.prizes) > rules.MOST_KINDS_OF_PRIZE or sum(p.number for p in draft.prizes) > rules.MOST_PRIZES:
        wrong.append(("number_1", _("At most %(most)s prizes.", most=rules.MOST_PRIZES)))
    wrong += [
        (f"number_{place}", _("At least one.")) for place, prize in enumerate(draft.prizes, 1) if prize.number < 1
    ]
    if wrong:
        raise InputInvalid(wrong)


def _refuse_uncovered(group: Group, draft: LotteryDraft) -> None:
    """Refuse with `InputInvalid` what could not be given or used: too little in stock, not running, another group's, a
    coupon that has ended by the time of the draw."""
    wrong: list[tuple[str, str]] = []
    wanted: dict[tuple[str, int], int] = {}
    for place, prize in enumerate(draft.prizes, 1):
        thing = ("gift", prize.gift_id) if prize.gift_id is not None else ("offer", prize.offer_id or 0)
        wanted[thing] = wanted.get(thing, 0) + prize.number
        left = _left_of(prize)
        if prize.offer_id is not None and (sentence := _useless(prize.offer_id, group, draft.closes_at)):
            wrong.append((f"prize_{place}", sentence))
        elif left is None:
            wrong.append((f"prize_{place}", _("This is not given out any more. Choose something else.")))
        elif left < wanted[thing]:
            wrong.append(
                (
                    f"number_{place}",
                    ngettext("Only %(num)s is left in stock.", "Only %(num)s are left in stock.", left),
                )
            )
    if wrong:
        raise InputInvalid(wrong)


def _useless(offer_id: int, group: Group, drawn_at: datetime) -> str | None:
    """Why nobody who wins a coupon of an offer in this group at that instant could have or use it, None when they can."""
    row = db.session.execute(
        select(OfferVersion.group_id, OfferVersion.usable_until, Offer.claim_until)
        .join(Offer, Offer.version_id == OfferVersion.id)
        .where(Offer.id == offer_id)
    ).one_or_none()
    if row is None:
        return None
    if row.group_id not in (None, group.id):
        return _("This coupon is another group's. Choose something else.")
    if any(ends is not None and ends <= drawn_at for ends in (row.usable_until, row.claim_until)):
        return _("This coupon ends before the draw. Choose something else.")
    return None


def _left_of(prize: PrizeDraft) -> int | None:
    """How many of a prize can be given now (more than anybody gives where it has no limit), None when none ever."""
    if prize.gift_id is not None:
        gift = db.session.get(Gift, prize.gift_id)
        if gift is None or not gift.active:
            return None
        return rules.MOST_PRIZES if gift.stock is None else max(0, gift.stock - given(gift.id))
    offer = db.session.get(Offer, prize.offer_id or 0)
    if offer is None or offer.state is not OfferState.ACTIVE or offer.archived_at is not None:
        return None
    if offer.claim_until is not None and offer.claim_until <= clock.now():
        return None
    return rules.MOST_PRIZES if offer.stock is None else max(0, offer.stock - offer.claimed)


def _write(lottery: Lottery, draft: LotteryDraft) -> None:
    lottery.title, lottery.note = draft.title.strip(), draft.note.strip()
    lottery.opens_at, lottery.closes_at = draft.opens_at, draft.closes_at
    db.session.flush()
    db.session.execute(delete(LotteryPrize).where(LotteryPrize.lottery_id == lottery.id))
    db.session.add_all(
        LotteryPrize(
            lottery_id=lottery.id, position=place, gift_id=prize.gift_id, offer_id=prize.offer_id, number=prize.number
        )
        for place, prize in enumerate(draft.prizes, 1)
    )
    db.session.flush()


def _plain(draft: LotteryDraft) -> dict[str, Any]:
    said = asdict(draft)
    return said | {
        "opens_at": draft.opens_at.isoformat() if draft.opens_at else None,
        "closes_at": draft.closes_at.isoformat(),
    }


def create(group: Group, draft: LotteryDraft, form_key: str | None = None, author_id: int | None = None) -> Lottery:
    """Write a draw down as a draft; the same `form_key` again gives the same one. Refuses with `InputInvalid`."""
    check(group, draft)
    try:
        with db.session.begin_nested():
            lottery = Lottery(
                public_id=secrets.token_urlsafe(9),
                group_id=group.id,
                title=draft.title,
                closes_at=draft.closes_at,
                form_key=form_key,
                author_id=author_id,
                created_at=clock.now(),
            )
            db.session.add(lottery)
            db.session.flush()
    except IntegrityError:
        known = db.session.scalar(select(Lottery).where(Lottery.form_key == form_key))
        if known is None:
            raise
        return known
    _write(lottery, draft)
    audit.record("lottery.created", "lottery", lottery.id, after=_plain(draft))
    return lottery


def draft_of(lottery: Lottery) -> LotteryDraft:
    """What a form shows of a draw."""
    return LotteryDraft(
        lottery.title,
        lottery.closes_at,
        tuple(PrizeDraft(prize.number, prize.gift_id, prize.offer_id) for prize in queries.prizes_of(lottery.id)),
        lottery.note,
        lottery.opens_at,
    )


def edit(lottery_id: int, draft: LotteryDraft) -> Lottery:
    """Change a draw that is still a draft. Refuses with `InputInvalid` and `AnnouncedAlready`."""
    lottery = queries.get_lottery(lottery_id, lock=True)
    if lottery.state is not LotteryState.DRAFT:
        raise rules.AnnouncedAlready
    check(groups.get_group(lottery.group_id), draft)
    before = draft_of(lottery)
    _write(lottery, draft)
    audit.record("lottery.changed", "lottery", lottery.id, _plain(before), _plain(draft))
    return lottery


def announce(lottery_id: int) -> Lottery:
    """Show a draw to its group: a seed is drawn and put away, and what it hashes to is shown from now on.

    Refuses with `InputInvalid` what could not be given or has its time behind it, with `ChangedMeanwhile` when it was
    announced or cancelled already, or when its group is closed.
    """
    lottery = queries.get_lottery(lottery_id, lock=True)
    group = groups.get_group(lottery.group_id)
    if lottery.state is not LotteryState.DRAFT or groups.is_over(group):
        raise rules.ChangedMeanwhile
    draft = draft_of(lottery)
    check(group, draft)
    _refuse_uncovered(group, draft)
    seed = secrets.token_bytes(rules.SEED_BYTES)
    commitment, now = rules.commitment_of(seed), clock.now()
    done = db.session.execute(
        update(Lottery)
        .where(Lottery.id == lottery_id, Lottery.state == LotteryState.DRAFT)
        .values(state=LotteryState.OPEN, commitment=commitment, announced_at=now)
        .execution_options(synchronize_session=False)
    )
    if not changed(done):
        raise rules.ChangedMeanwhile
    db.session.execute(insert(LotterySeed).values(lottery_id=lottery_id, commitment=commitment, seed=seed))
    db.session.refresh(lottery)
    audit.record("lottery.announced", "lottery", lottery_id, after={"commitment": commitment})
    return lottery


def cancel(lottery_id: int, reason: str) -> Lottery:
    """Call a draw off while entry is open; whoever has a ticket is told why. A draft goes without a word to anybody.

    Refuses with `InputInvalid` without a reason, with `ChangedMeanwhile` what was called off already, with
    `TooLateToCancel` once entry is over: the seed must not be of use to anybody who would like another result.
    """
    reason = " ".join(reason.split())[:200]
    lottery = queries.get_lottery(lottery_id)
    if lottery.state is not LotteryState.DRAFT and not reason:
        raise InputInvalid([("reason", _("Say why: everybody who has a ticket reads it."))])
    now = clock.now()
    done = db.session.execute(
        update(Lottery)
        .where(
            Lottery.id == lottery_id,
            or_(
                Lottery.state == LotteryState.DRAFT,
                (Lottery.state == LotteryState.OPEN) & (Lottery.closes_at > now),
            ),
        )
        .values(state=LotteryState.CANCELLED, cancelled_at=now, cancel_reason=reason)
        .execution_options(synchronize_session=False)
    )
    db.session.refresh(lottery)
    if not changed(done):
        raise rules.ChangedMeanwhile if lottery.state is LotteryState.CANCELLED else rules.TooLateToCancel
    audit.record("lottery.cancelled", "lottery", lottery_id, after={"reason": reason})
    for member_id, locale in queries.entrants(lottery_id):
        with forced_locale(locale):
            tell(
                member_id,
                "lottery.cancelled",
                _("The draw “%(title)s” is called off", title=lottery.title),
                reason,
                queries.path_of(lottery),
            )
    return lottery


def enter(lottery: Lottery, member_id: int) -> LotteryEntry:
    """Give a member a ticket; a second tap gives the one they have.

    The draw's row is held against the freeze until this is committed, so that a ticket is either on the frozen list or was
    never given. Refuses with `NotAMember`, `Sanctioned`, what `groups.before_entering` refuses, `GroupOver`, `EntryNotYet` and
    `EntryOver`.
    """
    if not groups.in_group(member_id, lottery.group_id):
        raise NotAMember
    seats.before_entering.call(member_id)
    if moderation.silence_of(member_id, lottery.group_id) is not None:
        raise rules.Sanctioned
    now = clock.now()
    current = db.session.scalars(
        select(Lottery)
        .where(Lottery.id == lottery.id)
        .with_for_update(read=True)
        .execution_options(populate_existing=True)
    ).one()
    known = queries.entry_of(lottery.id, member_id)
    if known is not None:
        return known
    seats.refuse_over(lottery.group_id)
    match rules.lottery_phase(current.state, current.opens_at, current.closes_at, now):
        case rules.Phase.RUNNING:
            pass
        case rules.Phase.COMING:
            raise rules.EntryNotYet(when=clock.wall_text(current.opens_at))
        case _:
            raise rules.EntryOver
    entry_id = db.session.scalar(
        insert(LotteryEntry)
        .values(
            lottery_id=lottery.id,
            commitment=current.commitment,
            member_id=member_id,
            ticket="".join(secrets.choice(rules.TICKET_CHARACTERS) for _place in range(rules.TICKET_LENGTH)),
            at=now,
        )
        .on_conflict_do_nothing(index_elements=["lottery_id", "member_id"])
        .returning(LotteryEntry.id)
    )
    if entry_id is not None:
        publish(MemberEnteredLottery(member_id=member_id, lottery_id=lottery.id, group_id=lottery.group_id))
    found = queries.entry_of(lottery.id, member_id)
    if found is None:
        raise rules.ChangedMeanwhile
    return found
