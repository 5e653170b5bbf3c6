"""Two people with one form open: the second save neither undoes the first in silence nor loses what was typed."""

from __future__ import annotations

import re
from typing import Any

import pytest

from campaigns.audiences import services as audiences
from campaigns.audiences.models import Audience
from campaigns.audiences.rules import Definition
from campaigns.journeys import rules as journey_rules
from campaigns.journeys import services as journeys
from campaigns.pushes.models import Push
from kernel.auth import Role
from tests.conftest import english


def fields_of(page: str, **typed: str) -> dict[str, Any]:
    """What the page's form sends as it is, with some of it typed anew."""
    found: dict[str, Any] = {}
    for tag in re.findall(r"<input [^>]*>", page):
        named = dict(re.findall(r'(\S+?)="([^"]*)"', tag))
        loose = named.get("type") in ("radio", "checkbox") and " checked" not in tag
        if "name" in named and not loose and named.get("type") != "file":
            found[named["name"]] = named.get("value", "")
    return found | typed


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
