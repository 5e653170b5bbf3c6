"""What members are told about their gifts, each in their own language."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select, update

from kernel import clock, notices
from kernel.db import changed, db
from kernel.i18n import date_time, forced_locale
from kernel.i18n import gettext as _
from membership.members.models import Member

from .. import rules
from ..models import Gift, GiftClaim, GiftKind, GiftState
from .offering import get_claim, path_of

# So long before the deadline a gift that still waits is called to mind.
REMINDED_BEFORE = timedelta(days=2)


def tell_waiting(claim_id: int) -> None:
    """Tell a member that a gift waits for them."""
    claim, gift, member = _about(claim_id)
    if claim.state != GiftState.OFFERED or member.erased_at is not None:
        return
    with forced_locale(member.locale):
        title = str(_("A gift waits for you: %(gift)s", gift=gift.name))
        body = str(_("It is yours with one tap until %(at)s.", at=date_time(claim.claim_until)))
    notices.tell(claim.member_id, "gift.waiting", title, body, path_of(claim))


def tell_shipped(claim_id: int) -> None:
    """Tell a member that their gift is on its way, and under which number."""
    claim, gift, member = _about(claim_id)
    if member.erased_at is not None:
        return
    with forced_locale(member.locale):
        title = str(_("Your gift is on its way: %(gift)s", gift=gift.name))
        body = f"{claim.carrier} {claim.tracking_number}".strip()
    notices.tell(claim.member_id, "gift.shipped", title, body, path_of(claim))


def tell_handed_over(claim_id: int) -> None:
    """Tell a member that staff handed a code over or paid a red packet out; a parcel's arrival they see themselves."""
    claim, gift, member = _about(claim_id)
    if gift.kind == GiftKind.PHYSICAL or claim.state != GiftState.DELIVERED or member.erased_at is not None:
        return
    with forced_locale(member.locale):
        if gift.kind == GiftKind.RED_PACKET:
            title = str(_("Your red packet has been paid: %(gift)s", gift=gift.name))
        else:
            title = str(_("Your code is there: %(gift)s", gift=gift.name))
        body = str(_("Open it to see."))
    notices.tell(claim.member_id, "gift.handed_over", title, body, path_of(claim))


def remind_due(size: int = 500) -> int:
    """Remind up to `size` members, once each, that their gift lapses within two days; returns how many.

    A gift that could be claimed for less than twice that long is not called to mind: its first notice is fresh.
    """
    now = clock.now()
    due = db.session.execute(
        select(GiftClaim.id, GiftClaim.state)
        .where(
            GiftClaim.state.in_(rules.WAITING),
            GiftClaim.claim_until > now,
            GiftClaim.claim_until <= now + REMINDED_BEFORE,
            GiftClaim.reminded_at.is_(None),
            GiftClaim.offered_at <= GiftClaim.claim_until - 2 * REMINDED_BEFORE,
        )
        .order_by(GiftClaim.id)
        .limit(size)
        .with_for_update(skip_locked=True)
    ).all()
    for claim_id, state in due:
        marked = update(GiftClaim).where(GiftClaim.id == claim_id, GiftClaim.reminded_at.is_(None))
        if changed(db.session.execute(marked.values(reminded_at=now))) != 1:
            continue
        claim, gift, member = _about(claim_id)
        if member.erased_at is not None:
            continue
        with forced_locale(member.locale):
            title = str(_("Only until %(at)s: %(gift)s", at=date_time(claim.claim_until), gift=gift.name))
            body = str(
                _("Tell us where it goes, and it is on its way.")
                if state == GiftState.ADDRESS_PENDING
                else _("One tap and it is yours; after that somebody else gets it.")
            )
        notices.tell(claim.member_id, "gift.lapsing", title, body, path_of(claim))
    return len(due)


def _about(claim_id: int) -> tuple[GiftClaim, Gift, Member]:
    claim = get_claim(claim_id)
    return claim, db.session.get_one(Gift, claim.gift_id), db.session.get_one(Member, claim.member_id)
