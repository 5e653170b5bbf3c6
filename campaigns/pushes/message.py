"""A push's message: its text with a member's values put in, and the signed links that it carries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from flask import current_app
from sqlalchemy import select

from campaigns.channels import registry
from campaigns.channels.adapters import Card, Message
from campaigns.channels.models import Account, ContactClass
from kernel import links, money, shop
from kernel.db import db
from kernel.errors import Refusal
from kernel.i18n import LOCALES, forced_locale
from kernel.i18n import gettext as _
from membership.coupons import labels as coupon_labels
from membership.coupons.models import Offer, OfferVersion
from membership.members.models import Contact, Member
from membership.members.services import unsubscribe_path
from membership.products.models import Product
from membership.tiers import labels as tier_labels
from membership.tiers import queries as tier_queries

from . import rules
from .models import Push

COUPON, LINK = "c", "l"
CONSTANT_LINKS = (Contact.SMS, Contact.WECOM)
CLICK = "click"
# No delivery's number is longer.
LARGEST = 10**12 - 1


def click_path(delivery_id: int, target: str) -> str:
    """The signed address of a message's link; opening it counts a click and leads on."""
    return f"/l/{links.make(CLICK, delivery_id, target)}"


def counts_clicks(push: Push, contact: Contact) -> bool:
    """Whether a push's message holds a link by which it can be told who opened it: an SMS and WeCom keep addresses as they are,
    so that there only the member's own way to the coupon is one."""
    texts = [text for texts in texts_of(push) for text in texts if text]
    if contact in CONSTANT_LINKS:
        return any("coupon_link" in rules.names_in(rules.parse(text)) for text in texts)
    return bool(push.offer_id or push.link_url or push.cards or any(rules.addresses_in(text) for text in texts))


@dataclass(frozen=True)
class Wording:
    """What is the same for every member: texts in parts, and the values of the shop and the coupon in each language."""

    push_id: int
    run_id: int
    # For each wording, and in it for each language, the title and the text.
    texts: tuple[Mapping[str, tuple[tuple[rules.Part, ...], tuple[rules.Part, ...]]], ...]
    constants: Mapping[str, Mapping[str, str]]
    tiers: Mapping[str, tuple[str, ...]]
    target: str | None
    contact: Contact

    # Products below the text.
    cards: tuple[Card, ...] = ()
    # What stands above the unsubscribe link of an e-mail.
    farewell: Mapping[str, str] = field(default_factory=dict)
    # A notice (`service`) need not say how to stop it, an offer must.
    kind: str = "push"

    def language(self, locale: str) -> str:
        """The language in which a member is written to."""
        return locale if locale in self.constants else LOCALES[0]

    @cached_property
    def names(self) -> frozenset[str]:
        words = (parts for text in self.texts for both in text.values() for parts in both)
        return rules.names_in(part for parts in words for part in parts)

    def values(self, delivery_id: int, nickname: str, rank: int, locale: str) -> dict[str, str]:
        """A member's values of the placeholders."""
        language = self.language(locale)
        values = dict(self.constants[language])
        if nickname:
            values["nickname"] = rules.one_line(nickname)
        values["tier"] = self.tiers[language][rank]
        if "coupon_link" in self.names:
            values["coupon_link"] = links.absolute(click_path(delivery_id, COUPON))
        if "link" in self.names and "link" not in values:
            values["link"] = links.absolute(click_path(delivery_id, LINK))
        return values

    def tracker(self, delivery_id: int) -> Callable[[str], str] | None:
        """What makes counted links of the addresses in a text. An SMS keeps them as they are: carriers refuse personal links."""
        if self.contact in CONSTANT_LINKS:
            return None
        return lambda address: links.absolute(click_path(delivery_id, rules.address_key(address)))

    def message(self, row: Any) -> Message:
        """The message of a claimed delivery. Raises `rules.RenderFailed`."""
        values = self.values(row.id, row.nickname, row.rank, row.locale)
        subject, text = self.texts[row.variant if row.variant < len(self.texts) else 0][self.language(row.locale)]
        tracked = self.tracker(row.id)
        unsubscribe, footer = None, ""
        if self.contact is Contact.EMAIL:
            unsubscribe = links.absolute(unsubscribe_path(row.member_id, self.contact))
            footer = f"{self.farewell[self.language(row.locale)]}\n{unsubscribe}\n"
        return Message(
            key=f"delivery:{row.id}",
            delivery_id=row.id,
            member_id=row.member_id,
            address=row.address,
            subject=rules.one_line(rules.render(subject, values)),
            body=rules.render(text, values, tracked),
            unsubscribe=unsubscribe,
            path=click_path(row.id, self.target) if self.target else None,
            kind=self.kind,
            cards=tuple(replace(card, url=tracked(card.url)) for card in self.cards) if tracked is not None else (),
            footer=footer,
        )


def texts_of(push: Push) -> list[tuple[str, str, str | None, str | None]]:
    """The wordings of a push, the first one first: title and text in Chinese, and in English where there are any."""
    others = [(one["subject"], one["body"], one.get("subject_en"), one.get("body_en")) for one in push.variants or []]
    return [(push.subject, push.body, push.subject_en, push.body_en), *others]


def _languages(
    subject: str, body: str, subject_en: str | None, body_en: str | None
) -> dict[str, tuple[tuple[rules.Part, ...], tuple[rules.Part, ...]]]:
    def read(title: str, text: str) -> tuple[tuple[rules.Part, ...], tuple[rules.Part, ...]]:
        return rules.parse(title), rules.with_addresses(rules.parse(text))

    own = read(subject, body)
    other = read(subject_en or subject, body_en or body) if subject_en or body_en else own
    return {locale: other if locale.startswith("en") else own for locale in LOCALES}


def destination(push: Push, target: str, variant: int | None = None) -> str | None:
    """Where a counted link of a push leads, with the marks of its statistics; None for one that it does not hold any more."""
    address = push.link_url
    if target not in (COUPON, LINK):
        written = (a for texts in texts_of(push) for text in texts if text for a in rules.addresses_in(text))
        shown = (card["url"] for card in push.cards or [])
        address = next((one for one in (*written, *shown) if rules.address_key(one) == target), None)
    if address is None or not address.startswith(("http://", "https://")):
        return address
    letter = rules.LETTERS[variant] if variant is not None and push.variants else ""
    return rules.with_utm(address, push.utm or {}, letter)


def _cards(push: Push) -> tuple[Card, ...]:
    """The products that a push shows and that are still there."""
    if not push.cards:
        return ()
    rows = db.session.scalars(select(Product).where(Product.id.in_([card["product_id"] for card in push.cards])))
    found = {product.id: product for product in rows}
    shown: list[Card] = []
    for card in push.cards:
        product = found.get(card["product_id"])
        if product is not None:
            price = money.yuan(product.list_price) if product.list_price is not None else ""
            address = picture_address(product.picture) if product.picture else None
            shown.append(Card(rules.one_line(product.title), price, card["url"], product.picture, address))
    return tuple(shown)


def picture_address(key: str) -> str:
    """The full address of a picture, for whoever reads a message elsewhere; workers have no request to take it from."""
    routes = current_app.url_map.bind("")
    demo = key.startswith("demo/")
    return links.absolute(
        routes.build("static", {"filename": f"img/{key}"}) if demo else routes.build("picture", {"key": key})
    )


def wording(push: Push, run_id: int, contact: Contact, offer: Offer | None, version: OfferVersion | None) -> Wording:
    """Prepare a push's texts once for all its members."""
    constants: dict[str, dict[str, str]] = {}
    tiers: dict[str, tuple[str, ...]] = {}
    farewell: dict[str, str] = {}
    levels = tier_queries.policy()
    for locale in LOCALES:
        with forced_locale(locale):
            # A nickname that is not there is no reason to say nothing.
            values = {"shop": shop.shop_name(), "nickname": str(_("dear member"))}
            if offer is not None and version is not None:
                values |= {"coupon_name": offer.name, "coupon_value": coupon_labels.face(version)}
            if contact in CONSTANT_LINKS and push.link_url:
                # Carriers refuse links that differ from one message to the next, and WeCom sends one text to many.
                address = push.link_url
                values["link"] = address if address.startswith(("http://", "https://")) else links.absolute(address)
            constants[locale] = values
            farewell[locale] = str(
                _(
                    "You get this mail because you agreed to hear from %(shop)s. Unsubscribe with one tap:",
                    shop=shop.shop_name(),
                )
            )
            tiers[locale] = tuple(
                tier_labels.tier_name(rank, levels) if rank else str(_("member")) for rank in range(5)
            )
    return Wording(
        push.id,
        run_id,
        tuple(_languages(subject, body, subject_en, body_en) for subject, body, subject_en, body_en in texts_of(push)),
        constants,
        tiers,
        COUPON if push.offer_id else LINK if push.link_url else None,
        contact,
        _cards(push),
        farewell,
        "push" if ContactClass(push.contact_class or ContactClass.REPURCHASE).budgeted else "service",
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
    variant: int = 0


def preview(fields: Mapping[str, Any], account: Account, member: Member | None, variant: int = 0) -> Message | None:
    """A push's message as a real member would get it; None while its words cannot be read. Its links lead nowhere."""
    return example(Push(**fields), account, member, variant)


def longest(push: Push, account: Account) -> Message | None:
    """A push's message to a place with its links as long as they can become: for measuring, not for showing."""
    return example(push, account, None, number=LARGEST)


def example(push: Push, account: Account, member: Member | None, variant: int = 0, number: int = 0) -> Message | None:
    """The same for a push that is there already; `number` stands for the delivery's in its links."""
    contact = registry.adapter_of(account).abilities.contact
    offer = db.session.get(Offer, push.offer_id) if push.offer_id else None
    version = db.session.get(OfferVersion, offer.version_id) if offer is not None and offer.version_id else None
    someone = Example(number, 0, "", 0, LOCALES[0], "", variant)
    if member is not None:
        name, address = member.nickname or member.name, member.email or ""
        someone = Example(number, member.id, name, member.rank, member.locale, address, variant)
    try:
        return wording(push, 0, contact, offer, version).message(someone)
    except (Refusal, rules.RenderFailed):
        return None
