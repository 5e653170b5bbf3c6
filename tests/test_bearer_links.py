"""Checks B1–B5: every link that is a right in itself, as a person or a scanner sends it over HTTP.

One of each kind is made and worked on: a coupon's, a gift's, an invitation, an unsubscribe link, the page of a sign-in
code, a coupon's own page, a post's link and a push's click. `tests/kernel/test_links.py` holds the tokens themselves.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, text

from community.groups import services as groups
from community.groups.models import Group, GroupKind, GroupState
from kernel import clock as kernel_clock
from kernel import links
from kernel.db import db as database
from membership.coupons import services as coupons
from membership.coupons.models import Coupon, CouponKind, OfferState
from membership.gifts import services as gifts
from membership.gifts.models import GiftClaim, GiftKind
from membership.members import services as members
from membership.members.models import Channel, Consent, Contact, Member
from tests.conftest import english

CANARY = "青鸟不到"
# What a preview, a mail scanner or a browser's prefetching may do to any page without meaning it.
SHY = {
    "Purpose": "prefetch",
    "Sec-Purpose": "prefetch",
    "User-Agent": "Mozilla/5.0 (compatible; MicroMessenger preview)",
}


@dataclass(frozen=True)
class Link:
    """A path whose last token is the right, split around it; `acts` are the paths that take a POST under it."""

    before: str
    token: str
    after: str = ""
    acts: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        return f"{self.before}{self.token}{self.after}"

    def with_token(self, token: str) -> Link:
        return replace(self, token=token)


def link(path: str, *acts: str) -> Link:
    before, token = path.rsplit("/", 1)
    return Link(before + "/", token, acts=("", *acts))


@pytest.fixture
def owner(db: Any) -> Member:
    """The member whom all of the links belong to, with details that nobody else may see."""
    person, _made = members.find_or_make(
        [(Channel.SHOP, "owner-of-links"), (Channel.PHONE, "+8612600004321"), (Channel.EMAIL, "canary@example.com")],
        CANARY, source="shop",
    )  # fmt: skip
    person.nickname, person.address = CANARY, f"{CANARY}路九号"
    db.session.flush()
    return person


@pytest.fixture
def other(db: Any) -> Member:
    person, _made = members.find_or_make([(Channel.SHOP, "somebody-else")], "Other", source="shop")
    return person


@pytest.fixture
def found(db: Any, owner: Member) -> dict[str, Link]:
    """One link of each kind, by its kind."""
    offer = coupons.create(
        coupons.Draft(name="Spring", kind=CouponKind.AMOUNT, value=2000, valid_days=14), OfferState.ACTIVE
    )
    gift = gifts.create(gifts.Draft("Tea", GiftKind.PHYSICAL, stock=9))
    claim = gifts.offer_gift(gift.id, owner.id, "tier:3")
    assert claim is not None
    group = groups.create(GroupKind.REGULAR, groups.GroupDraft(name="Tea friends", capacity=50))
    groups.change_state(group, GroupState.OPEN)
    db.session.flush()
    return {
        "coupon": link(coupons.personal_path(owner.id, offer.id)),
        "gift": link(gifts.path_of(claim), "/address"),
        "invitation": link(groups.invitation_path(owner.id, group.id)),
        "unsubscribe": link(members.unsubscribe_path(owner.id, Contact.EMAIL), "/all", "/undo"),
    }


def variants(token: str) -> Iterator[str]:
    """Changed, cut, lengthened and re-spelt; each is another text than the token and no right."""
    letters = string.ascii_letters + string.digits + "-_"
    for place, letter in enumerate(token):
        yield token[:place] + letters[(letters.find(letter) + 7) % len(letters)] + token[place + 1 :]
        yield token[:place] + letter.swapcase() + token[place + 1 :] if letter.isalpha() else token[:place]
        yield token[:place] + token[place + 1 :]
        yield token[:place] + "-" + token[place:]
    yield from (token[:-1], token + "A", token + "=", token + "%3D", token + "%00", token + ".", "." + token, token * 2)
    yield from (token.upper(), token.lower(), token.replace(".", "%252E"), f"%20{token}", token + "/", token[::-1])


def fingerprint(db: Any) -> dict[str, Any]:
    """Every table's rows as one hash a table; browsers' sessions aside, which a page may open."""
    db.session.flush()
    apart = {"alembic_version"}
    return {
        table.name: db.session.scalar(
            text(f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM \"{table.name}\" t")
        )
        for table in database.metadata.sorted_tables
        if table.name not in apart
    }


def test_check_b1_a_changed_link_is_no_link(app: Flask, db: Any, found: dict[str, Link]) -> None:
    tried, wrong = 0, []
    before = fingerprint(db)
    browser = english(app.test_client())
    for kind, one in found.items():
        assert browser.get(one.path).status_code == 200, kind
        for token in dict.fromkeys(variants(one.token)):
            if token in (one.token, one.token.strip(".")):
                continue
            address = one.with_token(token).path
            for method in ("GET", "POST"):
                answer = browser.open(address, method=method)
                tried += 1
                if answer.status_code not in (404, 410, 405, 308):
                    wrong.append(f"{method} {address}: {answer.status_code}")
    assert wrong == []
    assert tried >= 1_000
    assert fingerprint(db) == before


def test_check_b1_a_token_twice_or_elsewhere_in_the_request_is_not_read(
    app: Flask, db: Any, found: dict[str, Link]
) -> None:
    browser, before = english(app.test_client()), fingerprint(db)
    for one in found.values():
        for tail in ("?t=a&t=b", f"?token={one.token}", f"?t[]={one.token}", "?next=//evil.example"):
            # The token in the path alone decides: with a wrong one there, a right one beside it is no help.
            assert browser.get(one.with_token("nothing").path + tail).status_code == 404
            assert browser.post(one.with_token("nothing").path + tail, data={"token": one.token}).status_code == 404
    assert fingerprint(db) == before


def test_check_b2_a_link_is_good_for_its_own_purpose_alone(app: Flask, db: Any, found: dict[str, Link]) -> None:
    places = [f"{one.before}{{}}{act}" for one in found.values() for act in one.acts]
    places += [
        "/coupon/{}",
        "/p/{}",
        "/l/{}",
        "/me/sign-in/code/{}",
        "/o/{}",
        "/j/{}",
        "/bulk-work/{}",
        "/hooks/orders/{}",
    ]
    browser, before, tried, wrong = english(app.test_client()), fingerprint(db), 0, []
    for kind, one in found.items():
        for place in places:
            if place.startswith(one.before):
                continue
            for method in ("GET", "POST"):
                answer = browser.open(place.format(one.token), method=method)
                tried += 1
                if answer.status_code not in (401, 403, 404, 405, 410):
                    wrong.append(f"{method} {place} with a link of {kind}: {answer.status_code}")
    assert wrong == []
    assert tried >= 60
    assert fingerprint(db) == before


def test_check_b2_the_shops_other_tokens_open_nothing(app: Flask, db: Any, found: dict[str, Link]) -> None:
    """Tokens of purposes that the portal does not know, made under the shop's own key."""
    browser = english(app.test_client())
    for purpose in ("probe", "export", "poster", "login", "claim"):
        with app.test_request_context():
            token = links.make(purpose, 1, 1)
        for one in found.values():
            assert browser.get(one.with_token(token).path).status_code == 404
            assert browser.post(one.with_token(token).path).status_code == 404


def test_check_b3_a_link_ends_at_its_very_second(
    app: Flask, db: Any, owner: Member, found: dict[str, Link], clock: Any
) -> None:
    group_id = db.session.scalar(select(Group.id))
    path = groups.invitation_path(owner.id, group_id, valid_days=1)
    browser = english(app.test_client())
    assert browser.get(path).status_code == 200
    end = kernel_clock.day_bounds(kernel_clock.today() + timedelta(days=1))[1]
    clock.at(end - timedelta(seconds=1))
    assert browser.get(path).status_code == 200
    clock.at(end)
    assert browser.get(path).status_code == 410
    assert browser.post(path, data={"consent": "y"}).status_code == 410
    # A server whose clock is a day behind lets nobody in who was not let in before: the link is as good as it was.
    clock.at(end - timedelta(days=1))
    assert browser.get(path).status_code == 200


def test_check_b3_revoking_takes_effect_on_the_next_request(
    app: Flask, db: Any, owner: Member, found: dict[str, Link]
) -> None:
    browser = english(app.test_client())
    claim = db.session.scalars(select(GiftClaim)).one()
    gifts.cancel(claim.id, "called off")
    offer_id = db.session.scalar(text("SELECT max(id) FROM offer"))
    coupons.set_state(offer_id, OfferState.ENDED)
    assert browser.get(found["gift"].path).status_code == 410
    assert browser.post(found["gift"].path).status_code == 410
    assert browser.post(found["coupon"].path).status_code in (409, 410)
    assert db.session.scalar(select(func.count()).select_from(Coupon)) == 0


def test_check_b3_an_erased_members_links_are_dead(app: Flask, db: Any, owner: Member, found: dict[str, Link]) -> None:
    owner.erased_at = kernel_clock.now()
    db.session.flush()
    browser = english(app.test_client())
    for kind in ("coupon", "gift", "invitation"):
        assert browser.get(found[kind].path).status_code in (404, 410), kind
        assert browser.post(found[kind].path, data={"consent": "y"}).status_code in (404, 410), kind
    assert db.session.scalar(select(func.count()).select_from(Coupon)) == 0


def test_check_b3_a_rotated_key_breaks_no_live_link(
    app: Flask, db: Any, found: dict[str, Link], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = app.extensions["settings"]
    rotated = replace(
        before, secret_key=b"another key of the shop, long enough", previous_secret_keys=(before.secret_key,)
    )
    monkeypatch.setitem(app.extensions, "settings", rotated)
    browser = english(app.test_client())
    for kind, one in found.items():
        assert browser.get(one.path).status_code == 200, kind
    forgotten = replace(rotated, previous_secret_keys=())
    monkeypatch.setitem(app.extensions, "settings", forgotten)
    for kind, one in found.items():
        assert browser.get(one.path).status_code == 404, kind


def test_check_b4_whoever_comes_second_sees_nothing_of_the_owner(
    app: Flask, db: Any, owner: Member, other: Member, found: dict[str, Link]
) -> None:
    first = english(app.test_client())
    for kind in ("coupon", "gift"):
        first.get(found[kind].path)
        assert first.post(found[kind].path).status_code in (200, 302, 303), kind
    assert CANARY not in english(app.test_client()).get(found["gift"].path).get_data(as_text=True)
    for kind in ("coupon", "gift", "invitation"):
        for browser in (english(app.test_client()), english(app.test_client())):
            for answer in (browser.get(found[kind].path), browser.post(found[kind].path)):
                page = answer.get_data(as_text=True)
                assert answer.status_code < 500
                for secret in (CANARY, "4321", "canary@"):
                    assert secret not in _read_by_people(page), (kind, secret)
    assert db.session.scalar(select(func.count()).select_from(Coupon)) == 1


def _read_by_people(page: str) -> str:
    import re

    # Tokens are random and may hold any digits; what stands between the tags is read.
    return re.sub(r"<[^>]+>", " ", page)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_check_b5_previews_and_scanners_change_nothing(
    app: Flask, db: Any, found: dict[str, Link], method: str
) -> None:
    before = fingerprint(db)
    for one in found.values():
        browser = english(app.test_client())
        for _ in range(20 if method == "GET" else 3):
            answer = browser.open(one.path, method=method, headers=SHY)
            assert answer.status_code == 200
    assert fingerprint(db) == before
    assert db.session.scalar(select(func.count()).select_from(Consent)) == 0


def test_check_b5_token_pages_are_kept_by_nobody(app: Flask, found: dict[str, Link]) -> None:
    browser = english(app.test_client())
    for kind, one in found.items():
        headers = browser.get(one.path).headers
        assert headers["Cache-Control"] == "no-store", kind
        assert headers["Referrer-Policy"] == "no-referrer", kind


def test_check_b5_has_teeth(
    app: Flask, db: Any, found: dict[str, Link], monkeypatch: pytest.MonkeyPatch, owner: Member
) -> None:
    """A page that claims when it is opened would be found."""
    before = fingerprint(db)
    endpoint = "coupons_portal.personal"
    view: Callable[..., Any] = app.view_functions[endpoint]

    def hasty(token: str) -> Any:
        offer_id = db.session.scalar(text("SELECT max(id) FROM offer"))
        coupons.claim(offer_id, owner.id, "hasty")
        return view(token=token)

    hasty.__dict__.update(view.__dict__)
    monkeypatch.setitem(app.view_functions, endpoint, hasty)
    answer = english(app.test_client()).get(found["coupon"].path, headers=SHY)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert fingerprint(db) != before


def test_check_b1_has_teeth(app: Flask, found: dict[str, Link], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the signature unread, changed links would be let through and the check would see it."""

    def trusting(purpose: str, token: str) -> tuple[str, ...]:
        return tuple(token.split(".")[2:-1])

    monkeypatch.setattr(links, "read", trusting)
    one = found["coupon"]
    assert english(app.test_client()).get(one.with_token(one.token[:-1] + "~").path).status_code == 200
