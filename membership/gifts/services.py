"""The verbs of gifts: the catalogue, offering, claiming, and the way of each gift to its member."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from kernel import audit, clock, links
from kernel.db import changed, db
from kernel.errors import InputInvalid, NotFound, Refusal
from kernel.events import publish, publish_all
from kernel.i18n import date_time
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from membership.limits import services as limits

from . import rules
from .events import GiftClaimed, GiftForfeited, GiftOffered, GiftShipped
from .labels import state_words
from .models import Gift, GiftClaim, GiftKind, GiftState

PURPOSE = "gift"


class GiftChanged(Refusal):
    title = _l("Somebody else was faster")
    label = _l("The gift has changed in the meantime and is %(state)s now. Look at it again.")


class StockBelowGiven(Refusal):
    status = 422
    label = _l("%(given)s pieces are given out or on their way already; the stock cannot be lower than that.")


# ── The catalogue ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Draft:
    """What staff set about a gift; `value` in 分."""

    name: str
    kind: GiftKind
    description: str = ""
    picture: str | None = None
    stock: int | None = None
    value: int = 0
    claim_days: int = 14
    active: bool = True


def stock_limit(gift_id: int) -> str:
    """The name under which membership.limits counts a gift's stock."""
    return f"gift:{gift_id}:stock"


def given(gift_id: int) -> int:
    """How many pieces are offered, on their way or with their members."""
    return limits.used(stock_limit(gift_id))


def check(draft: Draft) -> None:
    """Refuses with `InputInvalid` (field, sentence) whatever does not make a sensible gift."""
    wrong = []
    if not draft.name.strip():
        wrong.append(("name", _("Give the gift a name that members will read.")))
    if draft.stock is not None and not 0 <= draft.stock <= 100_000_000:
        wrong.append(("stock", _("Zero or more, or leave it empty for no limit.")))
    if draft.value < 0:
        wrong.append(("value", _("The value cannot be negative.")))
    if not 1 <= draft.claim_days <= 365:
        wrong.append(("claim_days", _("Between 1 and 365 days.")))
    if wrong:
        raise InputInvalid(wrong)


def get_gift(gift_id: int) -> Gift:
    """A gift of the catalogue. Refuses with `NotFound`."""
    found = db.session.get(Gift, gift_id)
    if found is None:
        raise NotFound
    return found


def create(draft: Draft) -> Gift:
    """Put a gift into the catalogue. Refuses with `InputInvalid`."""
    check(draft)
    gift = Gift(created_at=clock.now(), **_columns(draft))
    db.session.add(gift)
    db.session.flush()
    audit.record("gift.created", "gift", gift.id, after=_plain(draft))
    return gift


def edit(gift_id: int, draft: Draft) -> Gift:
    """Change a gift. Refuses with `InputInvalid`, and with `StockBelowGiven` when fewer would be there than are given."""
    check(draft)
    gift = get_gift(gift_id)
    if draft.stock is not None and draft.stock < (out := given(gift_id)):
        raise StockBelowGiven(given=out)
    before = {name: getattr(gift, name) for name in ("name", "stock", "value", "claim_days", "active")}
    for name, value in _columns(draft).items():
        setattr(gift, name, value)
    db.session.flush()
    audit.record("gift.changed", "gift", gift.id, before, _plain(draft))
    return gift


def _columns(draft: Draft) -> dict[str, Any]:
    return {
        "name": draft.name.strip(), "kind": draft.kind, "description": draft.description.strip(),
        "picture": draft.picture, "stock": draft.stock, "value": draft.value, "claim_days": draft.claim_days,
        "active": draft.active,
    }  # fmt: skip


def _plain(draft: Draft) -> dict[str, Any]:
    return {**_columns(draft), "kind": draft.kind.value}


# ── Offering ────────────────────────────────────────────────────────────────────────────────────────────────────────


def offer_gift(
    gift_id: int, member_id: int, benefit: str, period: str = "", group_id: int | None = None
) -> GiftClaim | None:
    """Let a gift wait for a member, with one piece of the stock set aside for it; in the caller's transaction.

    The same (member, benefit, period) gives the same gift again, whatever became of it. Returns None when nothing is
    left in stock, or the gift is no longer given. `benefit` says why, e.g. `welcome:12`.
    """
    known = _of_benefit(member_id, benefit, period)
    if known is not None:
        return known
    gift = get_gift(gift_id)
    if not gift.active:
        return None
    now = clock.now()
    try:
        with db.session.begin_nested():
            # The row first: its unique key makes a second caller wait here and not at the stock, which all share.
            claim_id = db.session.scalar(
                insert(GiftClaim)
                .values(
                    gift_id=gift_id,
                    member_id=member_id,
                    state=GiftState.OFFERED,
                    benefit=benefit,
                    period=period,
                    group_id=group_id,
                    offered_at=now,
                    claim_until=now + timedelta(days=gift.claim_days),
                )
                .on_conflict_do_nothing()
                .returning(GiftClaim.id)
            )
            if claim_id is None:
                return _of_benefit(member_id, benefit, period)
            limits.take([(stock_limit(gift_id), "", "", 1, gift.stock)])
    except limits.LimitReached:
        return None
    publish(GiftOffered(member_id=member_id, gift_id=gift_id, claim_id=claim_id, benefit=benefit))
    return get_claim(claim_id)


def _of_benefit(member_id: int, benefit: str, period: str) -> GiftClaim | None:
    return db.session.scalar(
        select(GiftClaim).where(
            GiftClaim.member_id == member_id, GiftClaim.benefit == benefit, GiftClaim.period == period
        )
    )


def get_claim(claim_id: int, lock: bool = False) -> GiftClaim:
    """A member's gift. Refuses with `NotFound`."""
    statement = select(GiftClaim).where(GiftClaim.id == claim_id)
    if lock:
        statement = statement.with_for_update().execution_options(populate_existing=True)
    found = db.session.scalar(statement)
    if found is None:
        raise NotFound
    return found


def path_of(claim: GiftClaim) -> str:
    """The path of a member's own link to their gift: a signed bearer token."""
    return "/gift/" + links.make(PURPOSE, claim.member_id, claim.id)


def read_path(token: str) -> tuple[int, int]:
    """(member_id, claim_id) of such a link. Refuses with `LinkInvalid`, `LinkExpired`."""
    member_id, claim_id = links.read(PURPOSE, token)
    return int(member_id), int(claim_id)


# ── The way of a gift ───────────────────────────────────────────────────────────────────────────────────────────────


def move(claim: GiftClaim, after: GiftState, **columns: Any) -> None:
    """Change a gift's state; the piece of stock it held comes back when it is forfeited or cancelled, once.

    Refuses with `GiftStepNotListed`, and with `GiftChanged` when the row is no longer what was read.
    """
    before = claim.state
    if (before, after) not in rules.TRANSITIONS:
        raise rules.GiftStepNotListed(state=state_words(before))
    result = db.session.execute(
        update(GiftClaim).where(GiftClaim.id == claim.id, GiftClaim.state == before).values(state=after, **columns)
    )
    if changed(result) != 1:
        db.session.refresh(claim)
        raise GiftChanged(state=state_words(claim.state))
    if after in rules.GIVEN_BACK:
        limits.give_back(stock_limit(claim.gift_id))


def _refuse_over(claim: GiftClaim) -> None:
    match rules.state_at(claim.state, claim.claim_until, clock.now()):
        case GiftState.FORFEITED:
            raise rules.GiftGone(until=date_time(claim.claim_until))
        case GiftState.CANCELLED:
            raise rules.GiftCancelled


def claim(
    claim_id: int, member_id: int, recipient: str | None = None, phone: str | None = None, address: str | None = None
) -> GiftClaim:
    """Take a gift up; with a recipient, phone and address it goes straight into the queue. Again it changes nothing.

    Refuses with `NotFound` when it is not this member's, with `GiftGone`, `GiftCancelled`, `AddressInvalid`.
    """
    found = get_claim(claim_id, lock=True)
    if found.member_id != member_id:
        raise NotFound
    _refuse_over(found)
    if found.state == GiftState.OFFERED:
        kind = get_gift(found.gift_id).kind
        move(found, rules.after_claim(kind), claimed_at=clock.now())
        publish(GiftClaimed(member_id=member_id, gift_id=found.gift_id, claim_id=found.id))
    if recipient is not None and found.state == GiftState.ADDRESS_PENDING:
        give_address(found, recipient, phone or "", address or "")
    return found


def give_address(found: GiftClaim, recipient: str, phone: str, address: str) -> None:
    """Say where a gift goes; until it is shipped the address may still be changed. Refuses with `AddressInvalid`."""
    _refuse_over(found)
    recipient, phone, address = rules.checked_address(recipient, phone, address)
    values = {"recipient": recipient, "phone": phone, "address": address}
    if found.state == GiftState.ADDRESS_PENDING:
        move(found, GiftState.QUEUED, queued_at=clock.now(), **values)
        return
    result = db.session.execute(
        update(GiftClaim).where(GiftClaim.id == found.id, GiftClaim.state == GiftState.QUEUED).values(**values)
    )
    if changed(result) != 1:
        db.session.refresh(found)
        raise rules.GiftStepNotListed(state=state_words(found.state))


def kept_address(member_id: int) -> GiftClaim | None:
    """The member's last gift with an address, so that the next one need not ask again."""
    return db.session.scalar(
        select(GiftClaim)
        .where(GiftClaim.member_id == member_id, GiftClaim.address != "")
        .order_by(GiftClaim.id.desc())
        .limit(1)
    )


def ship(claim_id: int, carrier: str, tracking_number: str) -> GiftClaim:
    """Note that a gift is on its way. The same numbers again change nothing. Refuses with `GiftStepNotListed`."""
    found = get_claim(claim_id, lock=True)
    carrier, tracking_number = carrier.strip()[:60], tracking_number.strip()[:60]
    if found.state == GiftState.SHIPPED:
        if (found.carrier, found.tracking_number) != (carrier, tracking_number):
            before = {"carrier": found.carrier, "tracking_number": found.tracking_number}
            found.carrier, found.tracking_number = carrier, tracking_number
            db.session.flush()
            after = {"carrier": carrier, "tracking_number": tracking_number}
            audit.record("gift.tracking_changed", "gift_claim", found.id, before, after)
        return found
    move(found, GiftState.SHIPPED, shipped_at=clock.now(), carrier=carrier, tracking_number=tracking_number)
    audit.record("gift.shipped", "gift_claim", found.id, after={"carrier": carrier, "tracking_number": tracking_number})
    publish(
        GiftShipped(
            member_id=found.member_id,
            gift_id=found.gift_id,
            claim_id=found.id,
            carrier=carrier,
            tracking_number=tracking_number,
        )
    )
    return found


def deliver(claim_id: int, content: str = "") -> GiftClaim:
    """Note that a gift has arrived; `content` is what a digital one consists of. Again it changes nothing."""
    found = get_claim(claim_id, lock=True)
    if found.state == GiftState.DELIVERED:
        return found
    values = {"content": content.strip()[:500]} if content.strip() else {}
    move(found, GiftState.DELIVERED, delivered_at=clock.now(), **values)
    audit.record("gift.delivered", "gift_claim", found.id)
    return found


def fail(claim_id: int, reason: str) -> GiftClaim:
    """Note that sending did not work; it can be queued again or cancelled."""
    return _aside(claim_id, GiftState.FAILED, "gift.failed", reason)


def come_back(claim_id: int, reason: str) -> GiftClaim:
    """Note that the parcel came back; it can be queued again or cancelled."""
    return _aside(claim_id, GiftState.RETURNED, "gift.returned", reason)


def cancel(claim_id: int, reason: str) -> GiftClaim:
    """Call a gift off; its piece goes back into stock, once."""
    return _aside(claim_id, GiftState.CANCELLED, "gift.cancelled", reason, closed_at=clock.now())


def _aside(claim_id: int, after: GiftState, action: str, reason: str, **columns: Any) -> GiftClaim:
    found = get_claim(claim_id, lock=True)
    if found.state == after:
        return found
    before = found.state
    move(found, after, reason=reason.strip()[:300], **columns)
    audit.record(action, "gift_claim", found.id, {"state": before.value}, {"state": after.value, "reason": reason})
    return found


def queue_again(claim_id: int) -> GiftClaim:
    """Send a failed or returned gift once more."""
    found = get_claim(claim_id, lock=True)
    after = GiftState.QUEUED if get_gift(found.gift_id).kind == GiftKind.PHYSICAL else GiftState.CLAIMED
    before = found.state
    move(found, after, queued_at=clock.now(), carrier="", tracking_number="", shipped_at=None)
    audit.record("gift.queued_again", "gift_claim", found.id, {"state": before.value}, {"state": after.value})
    return found


def forfeit_due(size: int = 500) -> int:
    """Forfeit up to `size` gifts whose deadline has passed, their pieces back into stock; returns how many."""
    now = clock.now()
    due = db.session.scalars(
        select(GiftClaim)
        .where(GiftClaim.state.in_(rules.WAITING), GiftClaim.claim_until <= now)
        .order_by(GiftClaim.gift_id, GiftClaim.id)
        .limit(size)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    for found in due:
        move(found, GiftState.FORFEITED, closed_at=now)
    publish_all(GiftForfeited(member_id=f.member_id, gift_id=f.gift_id, claim_id=f.id) for f in due)
    return len(due)


def count_by_state(gift_ids: Sequence[int]) -> dict[int, dict[GiftState, int]]:
    """How many of each gift are in which state."""
    counts: dict[int, dict[GiftState, int]] = {gift_id: {} for gift_id in gift_ids}
    rows = db.session.execute(
        select(GiftClaim.gift_id, GiftClaim.state, func.count())
        .where(GiftClaim.gift_id.in_(gift_ids))
        .group_by(GiftClaim.gift_id, GiftClaim.state)
    )
    for gift_id, state, count in rows:
        counts[gift_id][state] = count
    return counts
