"""A push's message: its text with a member's values put in, and the signed links that it carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from campaigns.channels import registry
from campaigns.channels.adapters import Message
from campaigns.channels.models import Account
from kernel import links, shop
from kernel.db import db
from kernel.errors import Refusal
from kernel.i18n import LOCALES, forced_locale
from kernel.i18n import gettext as _
from membership.coupons import labels as coupon_labels
from membership.coupons.models import Offer, OfferVersion
from membership.members.models import Contact, Member
from membership.members.services import unsubscribe_path
from membership.tiers import labels as tier_labels

from . import rules
from .models import Push

COUPON, LINK = "c", "l"
CLICK = "click"


def click_path(delivery_id: int, target: str) -> str:
    """The signed address of a message's link; opening it counts a click and leads on."""
    return f"/l/{links.make(CLICK, delivery_id, target)}"


@dataclass(frozen=True)
class Wording:
    """What is the same for every member: texts in parts, and the values of the shop and the coupon in each language."""

    push_id: int
    run_id: int
    subject: tuple[rules.Part, ...]
    body: tuple[rules.Part, ...]
    constants: Mapping[str, Mapping[str, str]]
    tiers: Mapping[str, tuple[str, ...]]
    target: str | None
    contact: Contact

    # What stands above the unsubscribe link of an e-mail.
    farewell: Mapping[str, str] = field(default_factory=dict)

    def language(self, locale: str) -> str:
        """The language in which a member is written to."""
        return locale if locale in self.constants else LOCALES[0]

    @cached_property
    def names(self) -> frozenset[str]:
        return rules.names_in((*self.subject, *self.body))

    def values(self, delivery_id: int, nickname: str, rank: int, locale: str) -> dict[str, str]:
        """A member's values of the placeholders."""
        language = self.language(locale)
        values = dict(self.constants[language])
        if nickname:
            values["nickname"] = rules.one_line(nickname)
        values["tier"] = self.tiers[language][rank]
        if "coupon_link" in self.names:
            values["coupon_link"] = links.absolute(click_path(delivery_id, COUPON))
        if "link" in self.names:
            values["link"] = links.absolute(click_path(delivery_id, LINK))
        return values

    def message(self, row: Any) -> Message:
        """The message of a claimed delivery. Raises `rules.RenderFailed`."""
        values = self.values(row.id, row.nickname, row.rank, row.locale)
        body, unsubscribe = rules.render(self.body, values), None
        if self.contact is Contact.EMAIL:
            unsubscribe = links.absolute(unsubscribe_path(row.member_id, self.contact))
            body = f"{body.rstrip()}\n\n{self.farewell[self.language(row.locale)]}\n{unsubscribe}\n"
        return Message(
            key=f"delivery:{row.id}",
            delivery_id=row.id,
            member_id=row.member_id,
            address=row.address,
            subject=rules.one_line(rules.render(self.subject, values)),
            body=body,
            unsubscribe=unsubscribe,
            path=click_path(row.id, self.target) if self.target else None,
        )


def wording(push: Push, run_id: int, contact: Contact, offer: Offer | None, version: OfferVersion | None) -> Wording:
    """Prepare a push's texts once for all its members."""
    constants: dict[str, dict[str, str]] = {}
    tiers: dict[str, tuple[str, ...]] = {}
    farewell: dict[str, str] = {}
    for locale in LOCALES:
        with forced_locale(locale):
            # A nickname that is not there is no reason to say nothing.
            values = {"shop": shop.shop_name(), "nickname": str(_("dear member"))}
            if offer is not None and version is not None:
                values |= {"coupon_name": offer.name, "coupon_value": coupon_labels.face(version)}
            constants[locale] = values
            farewell[locale] = str(
                _(
                    "You get this mail because you agreed to hear from %(shop)s. Unsubscribe with one tap:",
                    shop=shop.shop_name(),
                )
            )
            tiers[locale] = tuple(tier_labels.tier_name(rank) if rank else str(_("member")) for rank in range(5))
    return Wording(
        push.id,
        run_id,
        rules.parse(push.subject),
        rules.parse(push.body),
        constants,
        tiers,
        COUPON if push.offer_id else LINK if push.link_url else None,
        contact,
        farewell,
    )


@dataclass(frozen=True)
class Example:
    """Who an example is written to; the same fields as a claimed delivery."""

    id: int
    member_id: int
    nickname: str
    rank: int
    locale: str
    address: str


def preview(fields: Mapping[str, Any], account: Account, member: Member | None) -> Message | None:
    """A push's message as a real member would get it; None while its words cannot be read. Its links lead nowhere."""
    push = Push(**fields)
    contact = registry.adapter_of(account).abilities.contact
    offer = db.session.get(Offer, push.offer_id) if push.offer_id else None
    version = db.session.get(OfferVersion, offer.version_id) if offer is not None and offer.version_id else None
    someone = Example(0, member.id if member else 0, "", 0, LOCALES[0], "")
    if member is not None:
        someone = Example(0, member.id, member.nickname or member.name, member.rank, member.locale, member.email or "")
    try:
        return wording(push, 0, contact, offer, version).message(someone)
    except (Refusal, rules.RenderFailed):
        return None
