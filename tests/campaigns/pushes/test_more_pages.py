"""The calendar, trying a push out, approval, series and copies by their pages; the contact budget's pages."""

from __future__ import annotations

import csv
import io
import re
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from campaigns.channels import services as channels
from campaigns.channels.models import ContactClass, Festival, FestivalEffect, InboxMessage
from campaigns.channels.rules import Budget, Caps
from campaigns.pushes import festivals, jobs, services
from campaigns.pushes.models import DeliveryState, Push, RunState
from kernel import clock as kernel_clock
from kernel import shop
from kernel.auth import Role
from membership.members.models import Contact
from tests.conftest import english, everything

from .test_console import WORDS
from .test_jobs import gateway  # noqa: F401


@pytest.fixture(autouse=True)
def noon_with_nobody_held_out(db: Any, clock: Any) -> None:
    shop.put("holdout.percent", 0)


@pytest.fixture
def words(inbox: Any) -> dict[str, Any]:
    return WORDS | {"account_id": str(inbox.id)}


MORE = {
    "subject_en": "Hello",
    "body_en": "Tea",
    "b_share": "30",
    "b_subject": "Tea?",
    "b_body": "See https://shop.example/tea",
    "sample_percent": "20",
    "winner_after_hours": "4",
    "control_percent": "10",
    "priority": "1",
    "usual_hour": "y",
    "repeat": "own",
    "rrule": "freq=weekly;byday=mo,th",
    "utm_source": "siyu",
}


def test_everything_of_a_push_is_kept(db: Any, owner_client: Any, words: Any) -> None:
    assert owner_client.post("/console/pushes/new", data=words | MORE | {"act": "save"}).status_code == 302
    push = db.session.scalars(select(Push)).one()
    assert push.rrule == "FREQ=WEEKLY;BYDAY=MO,TH"
    assert push.variants == [
        {"share": 30, "subject": "Tea?", "body": "See https://shop.example/tea", "subject_en": None, "body_en": None}
    ]
    assert (push.subject_en, push.body_en, push.utm) == ("Hello", "Tea", {"source": "siyu"})
    assert (push.sample_percent, push.winner_after_hours, push.control_percent) == (20, 4, 10)
    assert (push.priority, push.usual_hour, push.life_hours) == (1, True, 48)
    page = owner_client.get(f"/console/pushes/{push.id}/edit").text
    for value in ("Tea?", "FREQ=WEEKLY;BYDAY=MO,TH", "siyu"):
        assert value in page


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"rrule": "FREQ=HOURLY"}, "rrule"),
        ({"rrule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"}, "rrule"),
        ({"b_body": ""}, "b_share"),
        ({"b_share": "96"}, "b_share"),
        ({"b_body": "{7*7}"}, "b_body"),
        ({"b_share": "", "b_subject": "", "b_body": ""}, "winner_after_hours"),
        ({"winner_after_hours": ""}, "sample_percent"),
        ({"sample_percent": ""}, "winner_after_hours"),
        ({"b_share": ""}, "b_subject"),
        ({"card_1_url": "https://x.example"}, "card_1_url"),
        ({"utm_source": "x" * 61}, "utm_source"),
        ({"winner_after_hours": "48"}, "winner_after_hours"),
        ({"b_body": "Which link could they open?"}, "winner_after_hours"),
        ({"control_percent": "51"}, "control_percent"),
        ({"subject_en": "{nobody}"}, "subject_en"),
        ({"body_en": "{0.__class__}"}, "body_en"),
    ],
)
def test_each_field_is_refused(db: Any, owner_client: Any, words: Any, change: Any, field: str) -> None:
    answer = owner_client.post("/console/pushes/new", data=words | MORE | change | {"act": "save"})
    assert answer.status_code == 422
    assert f'href="#{field}"' in answer.text
    assert db.session.scalar(select(func.count()).select_from(Push)) == 0


def test_the_calendar_shows_what_goes_and_what_is_to_come(db: Any, owner_client: Any, make_push: Any) -> None:
    _push, run = make_push(name="Green tea", rrule="FREQ=WEEKLY")
    services.schedule(run, kernel_clock.now() + timedelta(days=1))
    channels.save_festival("Lantern", date(2026, 3, 20), date(2026, 3, 21), FestivalEffect.EXTRA, 1)
    page = owner_client.get("/console/pushes/calendar?month=2026-03").text
    assert page.count("Green tea") == 4
    assert "Lantern" in page
    for month in ("nonsense", "0001-01", "9999-12", "2026-13"):
        assert owner_client.get(f"/console/pushes/calendar?month={month}").status_code == 200
    assert "Green tea" not in owner_client.get("/console/pushes/calendar?month=2026-02").text


def test_a_push_is_read_as_any_member(db: Any, owner_client: Any, make_push: Any, make_member: Any) -> None:
    make_member("Lime")
    plum = make_member("Plum", consents=())
    push, _run = make_push()
    path = f"/console/pushes/{push.id}/read-as"
    assert "Hello Lime" in owner_client.get(path).text
    assert f"member_id={plum.id}" in owner_client.get(f"{path}?q=Plum").text
    assert "Hello Plum" in owner_client.get(f"{path}?member_id={plum.id}").text
    assert owner_client.get(f"{path}?member_id=999999").status_code == 404


def test_a_test_goes_to_ones_own_inbox_alone(
    db: Any, staff_client: Any, make_staff: Any, make_push: Any, make_member: Any, run_jobs: Any
) -> None:
    lime = make_member("Lime")
    me = make_staff(Role.MARKETER, email="me@shop.example")
    browser = english(staff_client(person=me))
    push, run = make_push()
    assert browser.post(f"/console/pushes/{push.id}/test", data={"member_id": lime.id}).status_code == 422
    own = make_member("Me", email="me@shop.example")
    assert browser.post(f"/console/pushes/{push.id}/test", data={"member_id": lime.id}).status_code == 302
    run_jobs()
    message = db.session.scalars(select(InboxMessage)).one()
    assert (message.member_id, message.kind) == (own.id, "test")
    assert message.title.endswith("Hello Lime")
    assert run.state is RunState.DRAFT


def test_a_test_goes_over_the_channel(
    db: Any,
    owner_client: Any,
    make_push: Any,
    make_member: Any,
    run_jobs: Any,
    gateway: Any,  # noqa: F811
) -> None:
    make_member("Lime")
    account, adapter = gateway(contact=Contact.EMAIL)
    push, _run = make_push(account_id=account.id)
    assert owner_client.post(f"/console/pushes/{push.id}/test", data={"address": ""}).status_code == 422
    assert owner_client.post(f"/console/pushes/{push.id}/test", data={"address": "me@x.example"}).status_code == 302
    run_jobs()
    assert [(m.address, m.kind) for m in adapter.handed] == [("me@x.example", "test")]


def test_approval_by_the_pages(db: Any, staff_client: Any, make_staff: Any, words: Any, make_member: Any) -> None:
    make_member("Lime")
    make_member("Plum", consents=())
    services.set_approval_above(0)
    shop.put("holdout.percent", 0)
    writer = staff_client(person=make_staff(Role.MARKETER, email="writer@shop.example", name="Quill"))
    assert writer.post("/console/pushes/new", data=words | {"act": "schedule"}).status_code == 302
    push = db.session.scalars(select(Push)).one()
    run = services.get_run(push.id)
    assert run.state is RunState.APPROVAL
    assert f"/console/pushes/{push.id}/approve" not in writer.get(f"/console/pushes/{push.id}").text
    assert writer.post(f"/console/pushes/{push.id}/approve").status_code == 403
    assert run.state is RunState.APPROVAL
    second = staff_client(person=make_staff(Role.MARKETER, email="second@shop.example", name="Seal"))
    assert f"/console/pushes/{push.id}?run={run.id}" in second.get("/console/").text
    assert f"/console/pushes/{push.id}?run={run.id}" not in writer.get("/console/").text
    asked = english(second).get(f"/console/pushes/{push.id}").text
    assert f"/console/pushes/{push.id}/approve" in asked
    assert "It waits for a second person: 1 of 2 in the audience would get it" in asked
    assert "have not agreed to offers by this channel" in asked
    assert ("Quill" in asked, "Seal" in asked) == (True, True)
    run.scheduled_at = kernel_clock.now() + timedelta(days=1)
    assert second.post(f"/console/pushes/{push.id}/approve").status_code == 302
    approved = second.get(f"/console/pushes/{push.id}").text
    assert "The push is approved and starts" in approved
    assert re.search(r"Approved</dt>\s*<dd>[^<]*· Seal", approved)
    db.session.refresh(run)
    assert run.state is RunState.SCHEDULED


def test_series_and_copies_by_the_pages(
    db: Any, owner_client: Any, make_push: Any, make_member: Any, run_jobs: Any, clock: Any
) -> None:
    make_member("Lime")
    shop.put("contact.per_day", 0)
    push, run = make_push(rrule="FREQ=DAILY")
    services.schedule(run)
    for _turn in range(2):
        jobs.wake.direct()
        run_jobs()
    page = owner_client.get(f"/console/pushes/{push.id}?run={run.id}").text
    assert f"/console/pushes/{push.id}/missed?run={run.id}" in page
    assert f"/console/pushes/{push.id}/stop" in page
    assert owner_client.get(f"/console/pushes/{push.id}?run=999999").status_code == 404
    assert owner_client.post(f"/console/pushes/{push.id}/stop").status_code == 302
    assert push.stopped_at is not None
    assert owner_client.post(f"/console/pushes/{push.id}/missed?run={run.id}").status_code == 302
    assert owner_client.post(f"/console/pushes/{push.id}/again?run={run.id}").status_code == 302
    drafts = db.session.scalars(select(Push).where(Push.copied_from_id == push.id).order_by(Push.id)).all()
    assert [draft.rrule for draft in drafts] == [None, "FREQ=DAILY"]
    for draft in drafts:
        assert owner_client.get(f"/console/pushes/{draft.id}/edit").status_code == 200


def test_who_was_not_sent_adds_up_to_the_audience(
    db: Any, owner_client: Any, make_push: Any, make_member: Any, run_jobs: Any
) -> None:
    for n in range(9):
        make_member(f"P{n}", consents=(Contact.INBOX,) if n % 3 else ())
    channels.reserve_contacts({make_member("Full").id: 0}, kernel_clock.today(), Budget(), ContactClass.BROADCAST)
    push, run = make_push(control_percent=50)
    services.schedule(run)
    jobs.wake.direct()
    run_jobs()
    unsent = list(
        csv.reader(io.StringIO(owner_client.get(f"/console/pushes/{push.id}/deliveries.csv?state=unsent").text))
    )
    sent = sum(d.state is DeliveryState.ACCEPTED for d in services.deliveries_of(run.id))
    assert len(unsent) - 1 + sent == run.planned == 10
    assert sum((run.tally or {}).values()) == 10
    # Who is compared with the control group is more than who got it, and the page says so.
    control = sum(d.state is DeliveryState.CONTROL for d in services.deliveries_of(run.id))
    owner_client.post("/console/language", data={"lang": "en"})
    page = owner_client.get(f"/console/pushes/{push.id}").text
    assert ("Written to are here all" in page) == (control > 0 and 3 + control + sent < 10)


@pytest.mark.parametrize("role", [Role.SERVICE, Role.ASSISTANT, Role.VIEWER])
def test_roles_that_only_look(staff_client: Any, make_push: Any, role: Role) -> None:
    browser = staff_client(role)
    push, _run = make_push()
    for path in ("calendar", f"{push.id}/read-as"):
        assert browser.get(f"/console/pushes/{path}").status_code == 200
    for act in ("approve", "stop", "missed", "again", "test"):
        assert browser.post(f"/console/pushes/{push.id}/{act}").status_code == 403
    for path in ("", "/members", "/members.csv"):
        assert browser.get(f"/console/contact-budget{path}").status_code == 403
    assert browser.post("/console/festivals").status_code == 403


# ── The contact budget ──────────────────────────────────────────────────────────────────────────────────────────────

BUDGET = {
    "per_day": "1",
    "per_week": "3",
    "per_month": "",
    "quiet_from": "22:00",
    "quiet_until": "08:00",
    "holdout": "5",
}


def test_the_whole_budget_is_saved(db: Any, owner_client: Any) -> None:
    more = {"broadcast_week": "1", "rank4_day": "2", "rank4_month": "9", "approval_above": "500"}
    assert owner_client.post("/console/contact-budget", data=BUDGET | more).status_code == 302
    assert channels.budget() == Budget(1, 3, None, {ContactClass.BROADCAST: Caps(None, 1, None)}, {4: Caps(2, None, 9)})
    assert services.approval_above() == 500
    page = owner_client.get("/console/contact-budget").text
    assert 'value="500"' in page
    assert owner_client.post("/console/contact-budget", data=BUDGET | {"rank4_day": "x"}).status_code == 422


def test_who_is_at_the_cap(db: Any, owner_client: Any, make_member: Any, clock: Any) -> None:
    lime, vip = make_member("Lime"), make_member("Vip", rank=4)
    shop.put("contact.by_rank", {"4": {"day": 2, "week": None, "month": None}})
    channels.reserve_contacts({lime.id: 0, vip.id: 4}, kernel_clock.today(), channels.budget())
    page = owner_client.get("/console/contact-budget/members?window=day").text
    assert "Lime" in page
    assert "Vip" not in page
    assert "Lime" not in owner_client.get("/console/contact-budget/members?window=month").text
    rows = list(csv.reader(io.StringIO(owner_client.get("/console/contact-budget/members.csv").text)))
    assert [row[2:] for row in rows[1:]] == [["1", "1", "1", "2026-03-03"]]
    clock.move(days=1)
    assert "Lime" not in owner_client.get("/console/contact-budget/members").text


FAR = {"from_on": "9999-12-31", "to_on": "9999-12-31"}


def test_festivals_are_written_and_taken_out(db: Any, owner_client: Any) -> None:
    data = {"festival_name": "Inventory", "from_on": "2026-03-03", "to_on": "2026-03-04", "effect": "quiet"}
    assert owner_client.post("/console/festivals", data=data).status_code == 302
    festival = db.session.scalars(select(Festival)).one()
    assert (festival.from_on, festival.until_on) == (date(2026, 3, 3), date(2026, 3, 5))
    # From noon over two quiet days into the morning after the night that follows.
    until = channels.quiet_until(kernel_clock.now())
    assert kernel_clock.local(until).strftime("%d %H:%M") == "05 08:00"
    for change in ({"to_on": "2026-03-02"}, {"effect": "extra"}, {"festival_name": ""}, {"from_on": "x"}, FAR):
        assert owner_client.post("/console/festivals", data=data | change).status_code == 422
    assert owner_client.post(f"/console/festivals/{festival.id}/drop").status_code == 302
    assert channels.quiet_until(kernel_clock.now()) is None


def test_the_usual_festivals_come_once(db: Any, owner_client: Any) -> None:
    owner_client.post("/console/festivals/starters")
    names = db.session.scalars(select(Festival.name).where(Festival.from_on < date(2027, 1, 1))).all()
    assert sorted(names) == sorted(["618 大促", "双十一", "双十二", "元宵节", "端午节", "七夕", "中秋节"])
    many = db.session.scalar(select(func.count()).select_from(Festival))
    owner_client.post("/console/festivals/starters")
    assert db.session.scalar(select(func.count()).select_from(Festival)) == many


def test_an_extra_day_allows_one_more(db: Any, make_member: Any, clock: Any) -> None:
    lime, today = make_member("Lime"), kernel_clock.today()
    channels.save_festival("Fair", today, today + timedelta(days=1), FestivalEffect.EXTRA, 1)
    granted = [bool(channels.reserve_contacts({lime.id: 0}, today, channels.budget()).granted) for _n in range(3)]
    assert granted == [True, True, False]
    assert channels.budget().caps_of(0, today + timedelta(days=1)) == (1, None, 4)


@pytest.mark.parametrize("year", sorted(festivals.LUNAR))
def test_lunar_festivals_lie_as_many_days_apart_as_their_months_say(year: int) -> None:
    spring, dragon_boat, seventh, mid_autumn = (date.fromisoformat(f"{year}-{day}") for day in festivals.LUNAR[year])
    month = timedelta(days=29.530588)
    for first, second, months, days in ((dragon_boat, seventh, 2, 2), (seventh, mid_autumn, 1, 8)):
        # A leap month may lie between them.
        apart = [abs((second - first) - (months + leap) * month - timedelta(days=days)) for leap in (0, 1)]
        assert min(apart) <= timedelta(days=1, hours=12)
    assert date(year, 1, 21) <= spring <= date(year, 2, 20)


def test_looking_changes_nothing(db: Any, owner_client: Any, make_push: Any) -> None:
    push, _run = make_push()
    before = everything(db)
    for path in ("pushes/calendar", f"pushes/{push.id}/read-as", "contact-budget", "contact-budget/members"):
        assert owner_client.get(f"/console/{path}").status_code == 200
    assert everything(db) == before


def test_the_list_is_sorted_and_downloaded(db: Any, browse: Any, make_push: Any, clock: Any) -> None:
    browser = browse()
    (first, old), (second, _run) = make_push(), make_push()
    first.name, second.name, second.subject = "=b", "=a", "50%_off"
    old.started_at, old.finished_at, old.state = (
        kernel_clock.now() - timedelta(days=1),
        kernel_clock.now() - timedelta(days=1),
        RunState.COMPLETED,
    )
    db.session.flush()

    def names(query: str) -> list[str]:
        page = browser.get(f"/console/pushes?{query}").text
        return re.findall(r'<td class="main-cell"><a [^>]*>([^<]*)</a>', page)

    assert [names(query) for query in ("", "sort=name", "sort=-name", "sort=when", "sort=x", "state=completed", "q=%25_o")] == [
        ["=a", "=b"], ["=a", "=b"], ["=b", "=a"], ["=b", "=a"], ["=a", "=b"], ["=b"], ["=a"],
    ]  # fmt: skip
    assert "Search: %_o" in browser.get("/console/pushes?q=%25_o").text
    answer = browser.get("/console/pushes/export?sort=name", buffered=True)
    rows = list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert [len(row) for row in rows] == [11, 11, 11]
    assert [(row[0], row[1], row[7], row[9]) for row in rows[1:]] == [
        ("'=a", "50%_off", "", ""),
        ("'=b", first.subject, "0", "0"),
    ]
    assert len(list(csv.reader(io.StringIO(browser.get("/console/pushes/export?q=%25_o", buffered=True).text)))) == 2
