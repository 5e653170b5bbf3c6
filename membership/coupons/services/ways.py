"""The ways to an offer: a member's own signed link, and public links that ask who one is."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode

from sqlalchemy import BigInteger, Text, bindparam, select, text

from kernel import audit, clock, links, visitors
from kernel.db import db, only_read
from kernel.errors import NotFound, Refusal
from kernel.i18n import lazy_gettext as _l

from ..models import ClaimLink
from ..rules import DayLimitReached, SoldOut
from .claims import claim, claim_as, closed_for_all
from .shelves import Claimed

PERSONAL = "coupon"


class LinkRevoked(Refusal):
    status = 410
    title = _l("This link is not in use any more")
    label = _l("The shop has taken it back. What you claimed through it stays yours.")
    icon = "link-off"


def personal_path(member_id: int, offer_id: int, source: str = "") -> str:
    """The path of a member's own link to an offer: a signed bearer token, so that a forgery is refused without a look-up.

    `source` (at most 45 bytes) says through what the coupon came, such as `push:12`.
    """
    parts: list[int | str] = [member_id, offer_id]
    if source:
        parts.append(urlsafe_b64encode(source.encode()).rstrip(b"=").decode())
    return "/c/" + links.make(PERSONAL, *parts)


def read_personal(token: str) -> tuple[int, int, str]:
    """(member_id, offer_id, source) of a personal link. Refuses with `LinkInvalid`, `LinkExpired`."""
    member_id, offer_id, *rest = links.read(PERSONAL, token)
    source = urlsafe_b64decode(rest[0] + "=" * (-len(rest[0]) % 4)).decode() if rest else "personal"
    return int(member_id), int(offer_id), source


def make_link(offer_id: int, name: str) -> ClaimLink:
    """A public link to an offer, named after where it is shown."""
    link = ClaimLink(token=secrets.token_urlsafe(9), offer_id=offer_id, name=name.strip()[:100], created_at=clock.now())
    db.session.add(link)
    db.session.flush()
    audit.record("offer.link_made", "offer", offer_id, after={"name": link.name})
    return link


def revoke_link(offer_id: int, link_id: int) -> None:
    """Let a public link lead nowhere from now on. Refuses with `NotFound`."""
    link = db.session.get(ClaimLink, link_id)
    if link is None or link.offer_id != offer_id:
        raise NotFound
    if link.revoked_at is None:
        link.revoked_at = clock.now()
        audit.record("offer.link_revoked", "offer", offer_id, before={"name": link.name})


def find_link(token: str) -> ClaimLink:
    """A public link by its token. Refuses with `LinkInvalid` and `LinkRevoked`."""
    link = db.session.scalar(select(ClaimLink).where(ClaimLink.token == token)) if len(token) <= 40 else None
    if link is None:
        raise links.LinkInvalid
    if link.revoked_at is not None:
        raise LinkRevoked
    return link


# A live link and a living person in one look-up: a crowd comes this way.
_BY_LINK = text(
    """
    SELECT m.id, m.rank, l.id AS link_id, l.offer_id FROM claim_link l, member m
    WHERE l.token = :token AND l.revoked_at IS NULL AND m.id = :id AND m.merged_into_id IS NULL AND m.erased_at IS NULL
    """
).bindparams(bindparam("token", type_=Text), bindparam("id", type_=BigInteger))


# Through which link everybody is being refused at this moment, and for which offer.
_closed_links: dict[str, int] = {}

# The inner look-up stands by itself, so that one plan serves for every browser and is made once.
_MINE = text(
    """
    SELECT c.id, c.code FROM coupon c
    WHERE c.offer_id = :offer AND c.member_id = (
        SELECT v.member_id FROM visitor_session v
        WHERE v.token_hash IN (:first, :second) AND v.expires_at > :now ORDER BY v.id DESC LIMIT 1
    )
    ORDER BY c.ordinal
    """
)


def claim_while_closed(token: str) -> Claimed | None:
    """What a browser gets through a link whose offer has just refused everybody: its coupon if it has one, by one read.

    For a request that has written nothing before. Returns None when the offer is not known to be closed: claim it then.
    Refuses with `SoldOut`, `DayLimitReached`.
    """
    offer_id = _closed_links.get(token)
    if offer_id is None:
        return None
    closed = closed_for_all(offer_id)
    if closed is None:
        return None
    first, second = [*visitors.hashes(), "", ""][:2]
    values = {"offer": offer_id, "first": first, "second": second, "now": clock.now()}
    mine = db.session.connection().execute(_MINE, values).all()
    if mine:
        return Claimed(mine[-1].id, mine[-1].code, False)
    only_read()
    raise closed.kind


def claim_by_link(token: str, member_id: int, ordinal: int | None = None) -> Claimed:
    """Claim through a public link. Refuses as `find_link` and `claim` do."""
    row = db.session.connection().execute(_BY_LINK, {"token": token[:60], "id": member_id}).one_or_none()
    if row is None:
        link = find_link(token)
        return claim(link.offer_id, member_id, f"link:{link.id}", ordinal)
    try:
        return claim_as(row, row.offer_id, f"link:{row.link_id}", ordinal)
    except (SoldOut, DayLimitReached):
        if len(_closed_links) > 1_000:
            _closed_links.clear()
        _closed_links[token] = row.offer_id
        raise
