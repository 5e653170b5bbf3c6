"""Two people with one form open: the second save neither undoes the first in silence nor loses what was typed."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from sqlalchemy import func, select

from campaigns.audiences import services as audiences
from campaigns.audiences.models import Audience
from campaigns.audiences.rules import Definition
from campaigns.journeys import rules as journey_rules
from campaigns.journeys import services as journeys
from campaigns.pushes.models import Push
from community.answers import services as answers
from community.desk import services as desk
from community.groups import services as groups
from community.groups.models import Group, GroupKind, GroupState
from community.posts import services as posts
from community.posts.models import Post, PostKind
from community.tickets import services as tickets
from kernel.auth import Role
from membership.coupons.models import CouponKind
from membership.coupons.services import offers
from membership.gifts import services as gifts
from membership.gifts.models import GiftKind
from membership.points import services as points
from membership.tiers import rules as tier_rules
from membership.tiers import services as tiers
from tests.conftest import english


class Sent(HTMLParser):
    """What each form of a page would send as it stands."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[dict[str, Any]] = [{}]
        self.within, self.name = "", ""

    def put(self, name: str, value: str) -> None:
        form = self.forms[-1]
        form[name] = [*form[name], value] if name in form else [value]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append({})
        elif tag in ("textarea", "select"):
            self.within, self.name = tag, said["name"]
        elif tag == "option" and "selected" in said and self.within == "select":
            self.put(self.name, said["value"])
        ticked = said.get("type") not in ("radio", "checkbox") or "checked" in said
        if tag == "input" and said.get("type") != "file" and "name" in said and ticked:
            self.put(said["name"], said.get("value", ""))

    def handle_data(self, data: str) -> None:
        if self.within == "textarea":
            self.put(self.name, data.removeprefix("\r\n").removeprefix("\n"))

    def handle_endtag(self, tag: str) -> None:
        if tag == self.within:
            self.within = ""


def fields_of(page: str, **typed: str) -> dict[str, Any]:
    """What the page's form sends as it is, with some of it typed anew."""
    reader = Sent()
    reader.feed(page)
    (found,) = (form for form in reader.forms if "edition" in form)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()} | typed


@pytest.fixture
def both(staff_client: Any) -> tuple[Any, Any]:
    return english(staff_client(Role.OWNER)), english(staff_client(Role.MARKETER))


def test_push_overtaken(db: Any, both: Any, make_push: Any, inbox: Any) -> None:
    mine, theirs = both
    push, _run = make_push()
    url, words = f"/console/pushes/{push.id}/edit", {
        "name": "Mine", "contact_class": "repurchase", "account_id": str(inbox.id), "subject": "Hello", "body": "My words",
        "coupon_mode": "link", "moment": "now", "life": "48", "attribution_days": "14", "act": "save",
    }  # fmt: skip
    edition = fields_of(mine.get(url).text)["edition"]
    # Looking again, and a refusal of what was typed, keep what the form was based on.
    assert fields_of(mine.post(url, data=words | {"edition": edition, "act": "check"}).text)["edition"] == edition
    assert fields_of(mine.post(url, data=words | {"edition": edition, "body": ""}).text)["edition"] == edition

    second = fields_of(theirs.get(url).text)["edition"]
    assert (
        theirs.post(url, data=words | {"name": "Theirs", "body": "Their words", "edition": second}).status_code == 302
    )
    refused = mine.post(url, data=words | {"edition": edition})
    assert refused.status_code == 409
    assert "My words" in refused.text
    assert "Saved meanwhile by" in refused.text
    assert f'href="{url}" target="_blank"' in refused.text
    db.session.expire_all()
    assert db.session.get_one(Push, push.id).body == "Their words"
    # Whoever has seen it and saves once more means it.
    again = mine.post(url, data=words | {"edition": fields_of(refused.text)["edition"]})
    assert again.status_code == 302
    db.session.expire_all()
    assert db.session.get_one(Push, push.id).body == "My words"
    own = mine.post(url, data=words | {"edition": edition, "body": "My third words"})
    assert own.status_code == 409
    assert "You saved it yourself" in own.text
    # A program's page that carries no mark, or a mark of another kind, changes nothing else.
    assert mine.post(url, data=words).status_code == 302
    assert mine.post(url, data=words | {"edition": "x-99999999999999"}).status_code == 409


def test_audience_overtaken(db: Any, both: Any) -> None:
    mine, theirs = both
    audience = audiences.save("Tea drinkers", Definition())
    db.session.commit()
    url = f"/console/audiences/{audience.id}"
    edition = fields_of(mine.get(url).text)["edition"]
    assert theirs.post(url, data={"name": "Coffee drinkers", "edition": edition}).status_code == 302
    refused = mine.post(url, data={"name": "Water drinkers", "edition": edition})
    assert refused.status_code == 409
    assert "Water drinkers" in refused.text
    db.session.expire_all()
    assert db.session.get_one(Audience, audience.id).name == "Coffee drinkers"


def test_parts_of_a_journey_overtake_only_themselves(db: Any, both: Any) -> None:
    mine, theirs = both
    plan = journey_rules.Plan(trigger=journey_rules.Trigger(kind=journey_rules.Kind.SHIPPED))
    journey = journeys.create("Welcome", plan, None)
    step = journeys.add_step(journey, journey_rules.Spot("", "", 0), {"kind": "wait", "days": 2})
    db.session.commit()
    urls = {name: f"/console/journeys/{journey.id}/{name}" for name in ("trigger", "rules", f"steps/{step}")}
    shown = {name: fields_of(mine.get(url).text) for name, url in urls.items()}
    assert all("edition" in fields for fields in shown.values())
    # A colleague changes the step: who writes the trigger and the rules is not held up by that, who writes the step is.
    days = next(name for name in shown[f"steps/{step}"] if "days" in name)
    later = shown[f"steps/{step}"] | {days: "5"}
    assert theirs.post(urls[f"steps/{step}"], data=later).status_code == 302
    assert mine.post(urls["rules"], data=shown["rules"] | {"again": "once", "most_days": "30"}).status_code == 302
    refused = mine.post(urls[f"steps/{step}"], data=shown[f"steps/{step}"] | {days: "9"})
    assert refused.status_code == 409
    assert 'value="9"' in refused.text
    overtaken = theirs.post(urls["rules"], data=shown["rules"] | {"again": "once"})
    assert overtaken.status_code == 409


@pytest.fixture
def things(db: Any) -> dict[str, tuple[str, str]]:
    """Addresses at which a whole thing is written, each with a field of words."""
    offer = offers.create(offers.Draft(name="¥20 off", kind=CouponKind.AMOUNT, value=2_000, valid_days=14))
    gift = gifts.create(gifts.Draft("Cup", GiftKind.PHYSICAL, stock=9))
    group = groups.create(GroupKind.REGULAR, groups.GroupDraft(name="Tea friends", capacity=50))
    groups.change_state(group, GroupState.OPEN)
    post = posts.write(posts.Draft(PostKind.TIP, "Tea", "Water at 85 degrees.", group_ids=(group.id,)))
    intent = answers.add(answers.Draft(question="When is it sent?", answer="Today", phrasings=("when", "how soon")))
    macro = tickets.add_macro(tickets.MacroDraft("Sent", "It is on its way."), 0)
    script = desk.add_script(desk.ScriptDraft(title="After delivery", body="Hello"), 0)
    draft = tiers.create_draft("Autumn", tier_rules.STANDARD, None)
    reward = points.create_reward(points.RewardDraft(name="A cup", points=100, gift_id=gift.id))
    db.session.commit()
    return {
        "group": (f"/console/groups/{group.id}/settings", "name"),
        "macro": (f"/console/macros/{macro.id}", "title"),
        "script": (f"/console/scripts/{script.id}", "title"),
        "tiers": (f"/console/tiers/drafts/{draft.id}/edit", "draft_name"),
        "reward": (f"/console/points/rewards/{reward.id}/edit", "name"),
        "offer": (f"/console/offers/{offer.id}/edit", "name"),
        "gift": (f"/console/gifts/{gift.id}/edit", "name"),
        "post": (f"/console/posts/{post.id}/edit", "title"),
        "intent": (f"/console/answers/{intent.id}", "question"),
    }


def test_whole_things_overtaken(db: Any, both: Any, things: dict[str, tuple[str, str]]) -> None:
    mine, _colleague = both
    for url, name in things.values():
        shown = fields_of(mine.get(url).text)
        sent = shown | {"act": "keep" if "tiers" in url else "draft"}
        # What nobody changed is saved again by anybody; then one of two is later than the other.
        assert mine.post(url, data=sent).status_code in (302, 303), url
        assert mine.post(url, data=sent | {name: "The quicker one"}).status_code in (302, 303), url
        refused = mine.post(url, data=sent | {name: "The later one"})
        assert refused.status_code == 409, url
        assert "You saved it yourself" in refused.text or "tiers" in url, url
        kept = fields_of(refused.text)
        assert kept[name] == "The later one", url
        assert "The quicker one" in mine.get(url).text, url
        assert mine.post(url, data=sent | {name: kept[name], "edition": kept["edition"]}).status_code in (302, 303), url
        assert "The later one" in mine.get(url).text, url


def test_push_post_audience_and_group_are_made_once(db: Any, both: Any, inbox: Any, things: Any) -> None:
    mine, _colleague = both
    group = db.session.scalars(select(Group.id)).one()
    typed: dict[str, tuple[Any, dict[str, Any]]] = {
        "/console/pushes/new": (Push, {
            "name": "Tea again", "account_id": str(inbox.id), "subject": "Hello", "body": "Words", "act": "save",
        }),
        "/console/posts/new": (Post, {"title": "Tea", "body": "Water.", "groups": [str(group)], "act": "publish"}),
        "/console/audiences/new": (Audience, {"name": "Everybody else"}),
        "/console/groups/new?kind=regular": (Group, {"name": "Readers"}),
    }  # fmt: skip
    for url, (table, words) in typed.items():
        page = Sent()
        page.feed(mine.get(url).text)
        (shown,) = (form for form in page.forms if "once" in form)
        sent = {name: values for name, values in shown.items() if values != [""]} | words
        count = select(func.count()).select_from(table)
        before = db.session.scalar(count)
        first, second = mine.post(url, data=sent), mine.post(url, data=sent)
        assert (first.status_code, second.status_code) in ((302, 302), (303, 302)), url
        assert first.location != second.location, url
        assert db.session.scalar(count) == before + 1, url
