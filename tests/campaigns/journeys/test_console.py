"""Each page works, refuses what is wrong in each field, refuses who may not, and changes nothing when it is only looked at."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest
from sqlalchemy import func, select

from campaigns.audiences import services as audiences
from campaigns.audiences.rules import parse
from campaigns.journeys import rules, services
from campaigns.journeys.models import Journey, JourneyLog, JourneyMember, JourneyState, JourneyVersion, PlaceState
from kernel import clock
from kernel.audit import AuditEntry
from kernel.auth import Role
from membership.members.models import Channel, MemberIdentity
from tests.campaigns.journeys.conftest import log_of, place_of, walk_on

SAY = {"kind": "message", "subject": "Hello", "body": "There"}
WORDS = {"subject": "你好", "body": "在吗", "subject_en": "", "body_en": ""}


def in_english(browser: Any) -> Any:
    browser.set_cookie("lang", "en")
    return browser


@pytest.fixture
def browser(staff_client):
    return in_english(staff_client(Role.MARKETER))


def text_of(page: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.get_data(as_text=True)))


def steps_of(journey: Journey) -> list[Any]:
    return list(rules.walk(rules.parse(journey.draft).steps))


@pytest.fixture
def filled(db, make_member, make_journey, bring):
    """A journey with somebody at its wait, somebody through and somebody out."""
    people = [make_member(name) for name in ("Ann", "Ben", "Eve")]
    journey = make_journey(
        [
            SAY,
            {
                "kind": "condition",
                "audience": {"rules": [{"kind": "tier", "ranks": [3]}]},
                "yes": [{"kind": "end"}],
                "no": [],
            },
            {"kind": "wait", "days": 3},
        ],
        name="Care after the parcel",
    )
    people[1].rank = 3
    db.session.flush()
    for one in people:
        bring(journey, one)
    walk_on()
    services.take_out(place_of(db, people[2]))
    return journey, people


def test_the_list_is_sorted_and_downloaded_and_the_log_searched(db, browser, filled, make_journey, bring) -> None:
    journey, people = filled
    other, draft = make_journey([SAY], name="=b"), make_journey([SAY], name="50%_off")
    bring(other, people[0])
    draft.state = JourneyState.OFF
    db.session.flush()

    def names(query: str) -> list[str]:
        page = browser.get(f"/console/journeys?{query}").text
        return re.findall(r'<td class="main-cell"><a [^>]*>([^<]*)</a>', page)

    care = journey.name
    assert names("sort=name") == sorted([care, "=b", "50%_off"])
    assert names("sort=-name") == names("sort=name")[::-1]
    assert [names(f"sort={sort}") for sort in ("entered", "-entered")] == [
        ["50%_off", "=b", care],
        [care, "=b", "50%_off"],
    ]
    assert [names(query) for query in ("", "sort=x", "q=%25_o", "state=off")] == [
        ["=b", care, "50%_off"], ["=b", care, "50%_off"], ["50%_off"], ["50%_off"],
    ]  # fmt: skip
    answer = browser.post("/console/journeys/export?sort=-entered", buffered=True)
    rows = list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert [[row[0], *row[3:]] for row in rows[1:]] == [
        [care, "1", "3", "1", "1"], ["'=b", "1", "1", "0", "0"], ["50%_off", "0", "0", "0", "0"],
    ]  # fmt: skip
    kept = db.session.scalars(select(AuditEntry.after).where(AuditEntry.action == "journeys.exported")).all()
    assert kept == [{"number": 3}]
    for q, found in (("ann", {"Ann"}), ("Ben", {"Ben"}), ("", {"Ann", "Ben", "Eve"}), ("zzz", set())):
        page = browser.get(f"/console/journeys/{journey.id}/log?q={q}").text
        assert set(re.findall(r'<td class="main-cell"><a [^>]*>([^<]*)</a>', page)) == found, q
    assert "No member matches" in page


PAGES = ("", "/edit", "/trigger", "/trigger?kind=cart", "/rules", "/steps/new", "/steps/s1", "/steps/s2", "/steps/s3",
         "/try", "/people", "/people?state=active", "/people?q=Ann", "/people?step=s3", "/people?trial=yes", "/log",
         "/people.csv")  # fmt: skip


def test_every_page_shows_and_changes_nothing(db, browser, filled):
    journey, _people = filled
    pages = [f"/console/journeys/{journey.id}{page}" for page in PAGES]
    pages += [f"/console/journeys/{journey.id}/steps/new?kind={kind}" for kind in rules.STEPS]
    pages += [f"/console/journeys/{journey.id}/trigger?kind={kind.value}" for kind in rules.Kind]
    pages += [
        "/console/journeys",
        "/console/journeys/new",
        "/console/journeys?q=Care&state=on",
        "/console/journeys?q=zzz",
    ]
    pages += [f"/console/journeys/{journey.id}/people/{place_of(db, one).id}" for one in _people]
    before = (db.session.scalar(select(func.count()).select_from(JourneyLog)), journey.draft)
    for page in pages:
        assert browser.get(page).status_code == 200, page
    db.session.expire_all()
    assert (db.session.scalar(select(func.count()).select_from(JourneyLog)), journey.draft) == before


def test_the_picture_has_its_counts_in_words(browser, filled):
    journey, _people = filled
    said = text_of(browser.get(f"/console/journeys/{journey.id}"))
    assert "3 entered" in said
    assert "1 here now" in said
    assert "3 passed" in said
    assert "Yes 1" in said
    assert "No 2" in said
    assert "1 left" in said


def test_a_journey_is_written_step_by_step_and_switched_on(db, browser, make_offer, inbox):
    offer = make_offer()
    answer = browser.post("/console/journeys/new", data={"name": "Mine", "kind": "delivered"})
    journey = db.session.scalars(select(Journey)).one()
    base = f"/console/journeys/{journey.id}"
    assert answer.location.endswith(f"{base}/trigger")
    assert browser.post(f"{base}/trigger?kind=delivered", data={"days": "2"}).location.endswith("/edit")
    browser.post(f"{base}/steps/new?kind=wait", data={"days": "1", "hours": "", "until_hour": "10"})
    browser.post(f"{base}/steps/new?kind=coupon&position=1", data={"offer_id": str(offer.id)})
    browser.post(f"{base}/steps/new?kind=split&position=1", data={"a": "30", "b": "70"})
    account = re.search(
        r'<option[^>]*value="(\d+)"', browser.get(f"{base}/steps/new?kind=message").get_data(as_text=True)
    )[1]
    browser.post(
        f"{base}/steps/new?kind=message&parent=s3&way=b",
        data=WORDS | {"account_id": account, "service": "offer", "offer_id": "", "coupon_mode": "link", "link_url": ""},
    )
    browser.post(f"{base}/steps/new?kind=points&position=99", data={"points": "5", "reason": ""})
    browser.post(f"{base}/steps/new?kind=tag&position=99", data={"name": "x", "carried": "on"})
    browser.post(f"{base}/steps/new?kind=task&position=99", data={"about": "Call"})
    browser.post(f"{base}/steps/new?kind=end&position=99", data={})
    assert [step.id for step in steps_of(journey)] == ["s1", "s3", "s4", "s2", "s5", "s6", "s7", "s8"]
    browser.post(f"{base}/steps/s2/move", data={"to": "up"})
    browser.post(f"{base}/steps/s6/remove")
    browser.post(f"{base}/steps/s1", data={"days": "3", "hours": "1", "until_hour": ""})
    found = steps_of(journey)
    assert [step.id for step in found] == ["s1", "s2", "s3", "s4", "s5", "s7", "s8"]
    assert (found[0].days, found[0].hours, found[0].until_hour) == (3, 1, None)
    assert "Publish" in text_of(browser.get(f"{base}/edit"))
    browser.post(
        f"{base}/rules", data={"audience": "", "again": "after", "again_after": "30", "bought": "y", "most_days": "9"}
    )
    plan = rules.parse(journey.draft)
    assert (plan.again_after, plan.exits.days, plan.exits.bought) == (30, 9, True)
    browser.post(f"{base}/on")
    db.session.refresh(journey)
    assert (journey.state, journey.trigger) == (JourneyState.ON, "delivered")
    acts = set(db.session.scalars(select(AuditEntry.action).where(AuditEntry.object_kind == "journey")))
    assert {"journey.created", "journey.step_added", "journey.published", "journey.switched_on"} <= acts


def test_a_condition_copies_a_saved_audience_or_follows_it_by_name(db, browser, make_journey, make_member, bring):
    journey = make_journey([SAY], on=False)
    definition = {"rules": [{"kind": "tier", "ranks": [4]}]}
    saved = audiences.save("Our best", parse(definition))
    base = f"/console/journeys/{journey.id}"
    browser.post(f"{base}/steps/new?kind=condition", data={"audience": str(saved.id)})
    assert steps_of(journey)[0].audience["rules"] == parse(definition).dump()["rules"]
    browser.post(f"{base}/steps/s2", data={"audience": "kept"})
    assert steps_of(journey)[0].audience["rules"] == parse(definition).dump()["rules"]
    assert browser.post(f"{base}/steps/s2", data={"audience": "kept", "taken": "borrow"}).status_code == 422
    browser.post(f"{base}/steps/s2", data={"audience": str(saved.id), "taken": "follow"})
    browser.post(f"{base}/steps/new?kind=tag&parent=s2&way=yes", data={"name": "best", "carried": "on"})
    assert "Does this hold: Are in the audience “Our best”?" in text_of(browser.get(f"{base}/edit"))
    assert re.search(r'value="follow"[^>]*checked|checked[^>]*value="follow"', browser.get(f"{base}/steps/s2").text)
    # One that was put away meanwhile stays in the list of the journey that names it, and of no other.
    saved.archived_at = clock.now()
    db.session.flush()
    assert f'<option selected value="{saved.id}">Our best (archived)' in browser.get(f"{base}/steps/s2").text
    assert browser.post(f"{base}/steps/s2", data={"audience": str(saved.id), "taken": "follow"}).status_code == 302
    assert rules.follows(steps_of(journey)[0].audience) == saved.id
    assert "Our best" not in browser.get(f"{base}/steps/new?kind=condition").text
    saved.archived_at = None
    # What it follows is as it is when somebody comes there, and cannot be removed meanwhile.
    browser.post(f"{base}/on")
    ann = make_member("Ann", rank=1)
    audiences.save("Our best", parse({"rules": [{"kind": "tier", "ranks": [1]}]}), saved)
    bring(journey, ann)
    walk_on()
    assert ("s2", "yes") in log_of(db, place_of(db, ann))
    away = f"/console/audiences/{saved.id}/remove"
    assert "Care" in text_of(browser.get(f"/console/audiences/{saved.id}"))
    assert browser.post(away).status_code == 409
    browser.post(f"{base}/steps/s2/remove")
    assert browser.post(away).status_code == 409
    browser.post(f"{base}/publish")
    assert browser.post(away).status_code == 302


def test_a_condition_without_its_audience_is_not_published(db, browser, make_journey):
    gone = {"kind": "condition", "audience": rules.following(77), "yes": [{"kind": "end"}], "no": []}
    journey = make_journey([gone], on=False)
    assert "Choose an audience again." in text_of(browser.get(f"/console/journeys/{journey.id}/edit"))
    assert browser.get(f"/console/journeys/{journey.id}/steps/s1").status_code == 200
    assert browser.post(f"/console/journeys/{journey.id}/on").status_code == 422


def test_a_way_with_steps_is_not_taken_away(db, browser, make_journey):
    journey = make_journey([{"kind": "split", "weights": [1, 1, 2], "c": [{"kind": "end"}]}], on=False)
    page = f"/console/journeys/{journey.id}/steps/s1"
    answer = browser.post(page, data={"a": "1", "b": "1", "c": ""})
    assert answer.status_code == 422
    assert "still has steps" in text_of(answer)
    assert browser.post(page, data={"a": "1", "b": "1", "c": "2", "d": "4"}).status_code == 302
    assert steps_of(journey)[0].weights == (1, 1, 2, 4)
    assert "Way D 50%" in text_of(browser.get(f"/console/journeys/{journey.id}/edit"))


def test_the_list_of_people_names_their_steps(db, browser, filled):
    journey, _people = filled
    rows = browser.get(f"/console/journeys/{journey.id}/people.csv").text.splitlines()
    assert "Step,Step no." in rows[0]
    assert any(",Waits 3 days,s4" in row for row in rows)


MESSAGE = WORDS | {"service": "offer", "offer_id": "", "coupon_mode": "link", "link_url": ""}


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("wait", {"days": "", "hours": "", "until_hour": ""}),
        ("wait", {"days": "-1", "hours": "", "until_hour": ""}),
        ("wait", {"days": "99999", "hours": "", "until_hour": ""}),
        ("wait", {"days": "1", "hours": "24", "until_hour": ""}),
        ("wait", {"days": "1", "hours": "", "until_hour": "25"}),
        ("condition", {"audience": ""}),
        ("condition", {"audience": "99"}),
        ("split", {"a": "0", "b": "1"}),
        ("split", {"a": "1", "b": ""}),
        ("split", {"a": "1", "b": "2", "f": "1001"}),
        ("split", {"a": "1", "b": "2", "d": "3"}),
        ("message", MESSAGE | {"subject": ""}),
        ("message", MESSAGE | {"body": ""}),
        ("message", MESSAGE | {"body": "{who}"}),
        ("message", MESSAGE | {"body": "{coupon_link}"}),
        ("message", MESSAGE | {"subject_en": "only a title"}),
        ("message", MESSAGE | {"link_url": "javascript:alert(1)"}),
        ("message", MESSAGE | {"offer_id": "999"}),
        ("message", MESSAGE | {"account_id": "999"}),
        ("invite", WORDS | {"group_id": "999"}),
        ("coupon", {"offer_id": ""}),
        ("coupon", {"offer_id": "999"}),
        ("points", {"points": "0", "reason": ""}),
        ("points", {"points": "5", "reason": "x" * 61}),
        ("tag", {"name": "", "carried": "on"}),
        ("tag", {"name": "x" * 41, "carried": "on"}),
        ("tag", {"name": "x", "carried": "maybe"}),
        ("task", {"about": ""}),
        ("task", {"about": "x" * 501}),
    ],
)
def test_each_field_of_a_step_is_refused(db, browser, make_journey, inbox, kind, data):
    journey = make_journey([SAY], on=False)
    if kind in ("message", "invite"):
        data = {"account_id": str(inbox.id)} | data
    answer = browser.post(f"/console/journeys/{journey.id}/steps/new?kind={kind}", data=data)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.get_data(as_text=True)
    assert len(steps_of(journey)) == 1


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("delivered", {"days": ""}),
        ("delivered", {"days": "731"}),
        ("cart", {"hours": "0"}),
        ("stage", {"stage": "asleep"}),
        ("joined", {"group_id": "99"}),
        ("tier_up", {"rank": "5"}),
        ("call_closed", {"outcome": "perhaps"}),
        ("event", {"type": "Not A Type"}),
        ("event", {"type": ""}),
        ("anniversary", {"days": "100", "basis": "birth"}),
    ],
)
def test_each_field_of_a_beginning_is_refused(db, browser, make_journey, kind, data):
    journey = make_journey([SAY], on=False)
    before = journey.draft
    assert browser.post(f"/console/journeys/{journey.id}/trigger?kind={kind}", data=data).status_code == 422
    db.session.refresh(journey)
    assert journey.draft == before


@pytest.mark.parametrize(
    "data",
    [
        {"audience": "99", "again": "once"},
        {"audience": "", "again": "often"},
        {"audience": "", "again": "after", "again_after": ""},
        {"audience": "", "again": "after", "again_after": "-1"},
        {"audience": "", "again": "once", "most_days": "0"},
    ],
)
def test_each_field_of_the_rules_is_refused(db, browser, make_journey, data):
    journey = make_journey([SAY], on=False)
    assert browser.post(f"/console/journeys/{journey.id}/rules", data=data).status_code == 422


@pytest.mark.parametrize(
    "data", [{"name": "", "kind": "cart"}, {"name": "x" * 81, "kind": "cart"}, {"name": "x", "kind": "?"}]
)
def test_a_new_journey_is_refused(db, browser, data):
    assert browser.post("/console/journeys/new", data=data).status_code == 422
    assert db.session.scalar(select(func.count()).select_from(Journey)) == 0


def test_what_is_not_ready_is_said_and_not_switched_on(db, browser, make_journey):
    journey = make_journey([{"kind": "coupon"}], on=False)
    said = text_of(browser.get(f"/console/journeys/{journey.id}/edit"))
    assert "Choose a coupon that runs." in said
    assert browser.post(f"/console/journeys/{journey.id}/on").status_code == 422
    assert browser.post(f"/console/journeys/{journey.id}/publish").status_code == 422
    assert db.session.scalar(select(func.count()).select_from(JourneyVersion)) == 0


def test_publishing_reverting_copying_and_renaming(db, browser, make_journey):
    journey = make_journey([SAY])
    base = f"/console/journeys/{journey.id}"
    browser.post(f"{base}/steps/new?kind=end&position=9", data={})
    assert "not published" in text_of(browser.get(base))
    browser.post(f"{base}/revert")
    assert len(steps_of(journey)) == 1
    browser.post(f"{base}/steps/new?kind=end&position=9", data={})
    browser.post(f"{base}/publish")
    assert "Version 2" in text_of(browser.get(base))
    mark = re.search(r'name="edition" value="([^"]+)"', browser.get(f"{base}/edit").text)[1]
    for name in ("Other", "Other"):
        assert browser.post(f"{base}/name", data={"name": name}).status_code == 302
    assert browser.post(f"{base}/name", data={"name": ""}).status_code == 422
    # A colleague's new name is not undone in silence; whoever saves once more means it.
    refused = browser.post(f"{base}/name", data={"name": "Mine", "edition": mark})
    assert refused.status_code == 409
    assert "Open what is there now" in refused.text
    assert 'value="Mine"' in refused.text
    db.session.refresh(journey)
    assert journey.name == "Other"
    renamed = select(func.count()).where(AuditEntry.action == "journey.renamed")
    assert db.session.scalar(renamed) == 1
    mark = re.search(r'name="edition" value="([^"]+)"', refused.text)[1]
    assert browser.post(f"{base}/name", data={"name": "Mine", "edition": mark}).status_code == 302
    assert db.session.scalar(renamed) == 2
    browser.post(f"{base}/copy")
    fresh = db.session.scalars(select(Journey).order_by(Journey.id.desc()).limit(1)).one()
    assert (fresh.draft, fresh.state, fresh.recipe) == (journey.draft, JourneyState.OFF, None)


def test_switching_off_lets_people_finish_or_takes_them_out(db, browser, filled):
    journey, people = filled
    browser.post(f"/console/journeys/{journey.id}/off")
    assert place_of(db, people[0]).state is PlaceState.ACTIVE
    browser.post(f"/console/journeys/{journey.id}/off", data={"people": "out"})
    assert place_of(db, people[0]).reason == "taken_out"


def test_people_are_taken_out_one_by_one_and_ticked(db, browser, filled):
    journey, people = filled
    place = place_of(db, people[0])
    page = f"/console/journeys/{journey.id}/people"
    browser.post(f"{page}/take-out", data={"ids": [str(place.id), "x", str(place_of(db, people[1]).id)]})
    assert place_of(db, people[0]).state is PlaceState.LEFT
    assert place_of(db, people[1]).state is PlaceState.DONE
    assert browser.post(f"{page}/{place.id}/take-out").status_code == 409


def test_a_place_of_another_journey_is_not_found(db, browser, filled, make_journey):
    _journey, people = filled
    other = make_journey([SAY], on=False)
    assert browser.get(f"/console/journeys/{other.id}/people/{place_of(db, people[0]).id}").status_code == 404
    assert browser.get("/console/journeys/999999").status_code == 404
    assert browser.get(f"/console/journeys/{other.id}/steps/s77").status_code == 404


def test_trying_it_out_from_the_page(db, browser, make_member, make_journey):
    ann = make_member("Ann", phone="+8612600001111")
    identity = {"channel": Channel.PHONE, "external_id": "+8612600001111", "created_at": ann.created_at}
    db.session.add(MemberIdentity(member_id=ann.id, **identity))
    db.session.flush()
    journey = make_journey([{"kind": "wait", "days": 3}], on=False)
    page = f"/console/journeys/{journey.id}/try"
    assert browser.post(page, data={"who": "12600009999"}).status_code == 422
    assert browser.post(page, data={"who": ""}).status_code == 422
    answer = browser.post(page, data={"who": "126 0000 1111"})
    place = place_of(db, ann)
    assert place.trial
    assert answer.location.endswith(f"/people/{place.id}")
    assert "This is a trial" in text_of(browser.get(answer.location))
    assert browser.post(page, data={"who": f"#{ann.id}"}).location == answer.location
    assert "Ann" in text_of(browser.get(f"/console/journeys/{journey.id}"))
    assert db.session.scalar(select(func.count()).select_from(JourneyMember)) == 1


@pytest.mark.parametrize("role", [Role.VIEWER, Role.SERVICE])
def test_who_may_only_look_changes_nothing(db, staff_client, filled, role):
    journey, _people = filled
    browser = in_english(staff_client(role))
    base = f"/console/journeys/{journey.id}"
    assert browser.get(base).status_code == 200
    assert "Switch off" not in text_of(browser.get("/console/journeys"))
    for page in ("edit", "trigger", "rules", "steps/new", "try"):
        assert browser.get(f"{base}/{page}").status_code == 403
    for act in (
        "on",
        "off",
        "publish",
        "revert",
        "copy",
        "name",
        "steps/s1/move",
        "steps/s1/remove",
        "people/take-out",
    ):
        assert browser.post(f"{base}/{act}").status_code == 403
    assert journey.state is JourneyState.ON


def test_a_member_page_and_the_first_page_know_of_journeys(db, browser, filled, clock):
    _journey, people = filled
    assert "Care after the parcel" in text_of(browser.get(f"/console/members/{people[0].id}"))
    place_of(db, people[1]).state = PlaceState.FAILED
    place_of(db, people[1]).ended_at = clock.now()
    assert "stopped by an error" in text_of(browser.get("/console/"))
