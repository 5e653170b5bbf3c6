"""The catalogue: what can be given, how much of it there is, and how much is out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import exists, func, select

from kernel import audit, clock
from kernel.db import db
from kernel.errors import InputInvalid, NotFound, Refusal
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.money import yuan
from membership.limits import services as limits

from ..models import Gift, GiftClaim, GiftCode, GiftKind, GiftState


class StockBelowGiven(Refusal):
    status = 422
    label = _l("%(given)s pieces are given out or on their way already; the stock cannot be lower than that.")


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
    if draft.kind == GiftKind.RED_PACKET and draft.value == 0:
        wrong.append(("value", _("Say how much is in the red packet.")))
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


def locked(gift_id: int) -> Gift:
    """A gift under its row lock, as it is now; whoever is just offering it is waited for. Refuses with `NotFound`.

    Lock order: claim, gift, code, counter.
    """
    get_gift(gift_id)
    return db.session.scalars(
        select(Gift).where(Gift.id == gift_id).with_for_update().execution_options(populate_existing=True)
    ).one()


def anybody_has(gift_id: int) -> bool:
    """Whether a gift was ever offered to somebody."""
    return bool(db.session.scalar(select(exists().where(GiftClaim.gift_id == gift_id))))


def create(draft: Draft) -> Gift:
    """Put a gift into the catalogue. Refuses with `InputInvalid`."""
    check(draft)
    gift = Gift(created_at=clock.now(), **_columns(draft))
    db.session.add(gift)
    db.session.flush()
    audit.record("gift.created", "gift", gift.id, after=_plain(draft))
    return gift


def edit(gift_id: int, draft: Draft) -> Gift:
    """Change a gift. Refuses with `InputInvalid`, and with `StockBelowGiven` when fewer would be there than are given.

    What is in a red packet stays as it is once somebody was promised it.
    """
    check(draft)
    gift = locked(gift_id)
    if gift.kind == GiftKind.RED_PACKET and gift.value not in (0, draft.value) and anybody_has(gift_id):
        promised = yuan(gift.value)
        raise InputInvalid(
            [
                (
                    "value",
                    _(
                        "People have been promised %(amount)s. Make another red packet for more or less.",
                        amount=promised,
                    ),
                )
            ]
        )
    if db.session.scalar(select(exists().where(GiftCode.gift_id == gift_id))):
        # The pool of codes says how much there is.
        draft = replace(draft, stock=gift.stock)
    elif draft.stock is not None and draft.stock < (out := given(gift_id)):
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
