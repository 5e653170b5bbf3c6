"""The catalogue of rewards, and taking one: points and coupon or gift in one transaction, or nothing."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from kernel import audit, clock
from kernel.db import changed, db
from kernel.errors import InputInvalid, NotFound, Refusal
from kernel.events import publish
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from membership.coupons import services as coupons
from membership.coupons.models import Coupon, Offer
from membership.coupons.services.grants import NothingToGrant
from membership.gifts import services as gifts
from membership.gifts.models import Gift
from membership.limits import services as limits
from membership.tiers import labels as tier_labels

from .. import queries, rules
from ..events import RewardTaken
from ..models import Kind, PointsRedemption, PointsReward
from . import ledger, spending

SOURCE = "redemption"


class RewardGone(Refusal):
    title = _l("Not to be had any more")
    label = _l("This reward is not given at the moment. Your points are untouched.")
    icon = "gift"


class RewardSoldOut(Refusal):
    title = _l("Nothing left")
    label = _l("This reward is gone for now, or you have as many of it as one may have. Your points are untouched.")
    icon = "gift"


class RewardTierTooLow(Refusal):
    title = _l("Not for your tier yet")
    label = _l("This reward is for %(tier)s and above. Your points are untouched.")
    icon = "crown"


class RewardLimitReached(Refusal):
    title = _l("You have had it")
    label = _l("Each member can take this reward %(most)s times. Your points are untouched.")
    icon = "gift"


@dataclass(frozen=True)
class RewardDraft:
    """What staff set about a reward: what it costs in points, and the offer or the gift that it is."""

    name: str
    points: int
    description: str = ""
    offer_id: int | None = None
    gift_id: int | None = None
    min_rank: int = 0
    per_member: int | None = None
    active: bool = True


def member_limit(reward_id: int) -> str:
    """The name under which membership.limits counts how often a member has taken a reward."""
    return f"reward:{reward_id}:member"


def check(draft: RewardDraft) -> None:
    """Refuses with `InputInvalid` (field, sentence) whatever does not make a sensible reward."""
    wrong = []
    if not draft.name.strip():
        wrong.append(("name", _("Give the reward a name that members will read.")))
    if not 1 <= draft.points <= rules.MOST_POINTS:
        wrong.append(("points", _("A reward costs one point at least.")))
    if (draft.offer_id is None) == (draft.gift_id is None):
        wrong.append(("thing", _("Choose a coupon offer or a gift.")))
    elif draft.offer_id is not None and db.session.get(Offer, draft.offer_id) is None:
        wrong.append(("thing", _("This coupon offer is not there any more.")))
    elif draft.gift_id is not None and db.session.get(Gift, draft.gift_id) is None:
        wrong.append(("thing", _("This gift is not there any more.")))
    if not 0 <= draft.min_rank <= 4:
        wrong.append(("min_rank", _("Choose a tier.")))
    if draft.per_member is not None and draft.per_member < 1:
        wrong.append(("per_member", _("One at least, or leave it empty for no limit.")))
    if wrong:
        raise InputInvalid(wrong)


def get_reward(reward_id: int) -> PointsReward:
    """A reward of the catalogue. Refuses with `NotFound`."""
    found = db.session.get(PointsReward, reward_id)
    if found is None:
        raise NotFound
    return found


def create_reward(draft: RewardDraft) -> PointsReward:
    """Put a reward into the catalogue. Refuses with `InputInvalid`."""
    check(draft)
    reward = PointsReward(code=secrets.token_urlsafe(9), created_at=clock.now(), **_columns(draft))
    db.session.add(reward)
    db.session.flush()
    audit.record("reward.created", "points_reward", reward.id, after=asdict(draft))
    return reward


def edit_reward(reward_id: int, draft: RewardDraft) -> PointsReward:
    """Change a reward; what has been taken stays as it was. Refuses with `InputInvalid`."""
    check(draft)
    reward = get_reward(reward_id)
    before = {name: getattr(reward, name) for name in RewardDraft.__dataclass_fields__}
    for name, value in _columns(draft).items():
        setattr(reward, name, value)
    db.session.flush()
    audit.record("reward.changed", "points_reward", reward.id, before, asdict(draft))
    return reward


def _columns(draft: RewardDraft) -> dict[str, Any]:
    return asdict(draft) | {"name": draft.name.strip(), "description": draft.description.strip()}


def redeem(member_id: int, reward_id: int, token: str) -> PointsRedemption:
    """Give a member a reward for points; in the caller's transaction, all or nothing.

    `token` is the form's: the same one again gives the same redemption, however many presses arrive at once. Refuses with
    `RewardGone`, `RewardSoldOut`, `RewardTierTooLow`, `RewardLimitReached`, `NotEnoughPoints`, `NotFound`.
    """
    member = ledger.held_owner(member_id)
    reward = get_reward(reward_id)
    now = clock.now()
    fresh = db.session.scalar(
        insert(PointsRedemption)
        .values(reward_id=reward.id, member_id=member.id, token=token, points=reward.points, at=now)
        .on_conflict_do_nothing()
        .returning(PointsRedemption.id)
    )
    mine = select(PointsRedemption).where(PointsRedemption.member_id == member.id, PointsRedemption.token == token)
    redemption = db.session.scalars(mine.execution_options(populate_existing=True)).one()
    if fresh is None:
        if redemption.reward_id != reward.id:
            raise rules.SourceUsed
        return redemption
    if not reward.active:
        raise RewardGone
    if member.rank < reward.min_rank:
        raise RewardTierTooLow(tier=tier_labels.rank_word(reward.min_rank))
    if queries.balance_of(member.id).active < reward.points:
        have = queries.balance_of(member.id).active
        raise rules.NotEnoughPoints(have=f"{have:,}", wanted=f"{reward.points:,}")
    # The offer or the gift before the account: what all share is locked in the same order everywhere.
    _hand_out(reward, redemption, token)
    if reward.per_member is not None:
        try:
            limits.take([(member_limit(reward.id), limits.subject_of(member.id), "", 1, reward.per_member)])
        except limits.LimitReached as reached:
            raise RewardLimitReached(most=reward.per_member) from reached
    transaction = spending.spend(
        member.id, reward.points, source_type=SOURCE, source_id=str(redemption.id), reason=reward.name, type=Kind.REDEEM
    )
    redemption.transaction_id = transaction.id
    db.session.flush()
    publish(RewardTaken(member_id=member.id, redemption_id=redemption.id, reward_id=reward.id, points=reward.points))
    return redemption


def _hand_out(reward: PointsReward, redemption: PointsRedemption, token: str) -> None:
    if reward.offer_id is not None:
        key = f"points:{redemption.id}"
        try:
            coupon_id = coupons.grant(reward.offer_id, redemption.member_id, key, f"points:{reward.id}").coupon_id
        except NothingToGrant as nothing:
            raise RewardSoldOut from nothing
        if db.session.scalar(select(Coupon.grant_key).where(Coupon.id == coupon_id)) != key:
            # They have as many of this coupon as one may have, and would have paid for one that is theirs already.
            raise RewardLimitReached(most=1)
        redemption.coupon_id = coupon_id
    elif reward.gift_id is not None:
        claim = gifts.offer_gift(reward.gift_id, redemption.member_id, f"reward:{reward.id}", str(redemption.id))
        if claim is None:
            raise RewardSoldOut
        redemption.claim_id = claim.id


def get_redemption(redemption_id: int) -> PointsRedemption:
    """A reward that was taken. Refuses with `NotFound`."""
    found = db.session.get(PointsRedemption, redemption_id)
    if found is None:
        raise NotFound
    return found


def undo_redemption(redemption_id: int, reason: str, staff_id: int | None = None) -> PointsRedemption:
    """Take a reward back and give its points back; again it changes nothing.

    Refuses with `ReasonMissing`, and as taking back a coupon or calling off a gift does once it is used or sent.
    """
    if not reason.strip():
        raise rules.ReasonMissing
    redemption = get_redemption(redemption_id)
    result = db.session.execute(
        update(PointsRedemption)
        .where(PointsRedemption.id == redemption.id, PointsRedemption.undone_at.is_(None))
        .values(undone_at=clock.now(), undone_reason=reason.strip()[:300])
        .execution_options(synchronize_session=False)
    )
    db.session.refresh(redemption)
    if changed(result) != 1:
        return redemption
    if redemption.coupon_id is not None:
        coupons.revoke(redemption.coupon_id, reason.strip()[:300])
    if redemption.claim_id is not None:
        gifts.cancel(redemption.claim_id, reason)
    reward = get_reward(redemption.reward_id)
    subject = limits.subject_of(redemption.member_id)
    if limits.used(member_limit(reward.id), subject):
        limits.give_back(member_limit(reward.id), subject)
    if redemption.transaction_id is not None:
        spent = queries.get_transaction(redemption.transaction_id)
        spending.give_back(spent, reason=reason, staff_id=staff_id)
    audit.record(
        "reward.undone",
        "points_redemption",
        redemption.id,
        after={"reward": reward.name, "points": redemption.points, "reason": reason.strip()[:300]},
    )
    return redemption
