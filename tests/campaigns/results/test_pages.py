"""The result pages: each works, says what is missing, refuses who may not, and a reading changes nothing."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from campaigns.channels.models import Account, ChannelKind
from campaigns.pushes import jobs, message
from campaigns.pushes import services as pushes
from campaigns.pushes.models import Delivery, DeliveryState, Push, Run
from campaigns.results import funnel, mailing, queries, rules, services
from campaigns.results.models import ReportPlan, Rhythm
from kernel import clock as kernel_clock
from kernel import shop
from kernel.auth import Role
from membership.orders.models import OrderState
from tests.conftest import everything

PAGES = ("pushes", "compare", "journeys", "funnel", "cohorts", "measure", "reports")
TABLES = ("pushes.csv", "compare.csv", "journeys.csv", "funnel.csv", "cohorts.csv")


@pytest.fixture
def sent(
    db: Any, make_push: Any, run_jobs: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Push, Run]]:
    """`sent(**fields)` sends a push with nobody held out of all pushes."""
    # Who is held out follows from row numbers: a fair deal is as odd as the alarm asks for once in a thousand.
    monkeypatch.setattr(rules, "ALARM", 1e-9)
    shop.put("holdout.percent", 0)
    shop.put("contact.per_day", None)
    shop.put("contact.per_week", None)

    def make(**fields: Any) -> tuple[Push, Run]:
        push, run = make_push(**fields)
        pushes.schedule(run)
        jobs.wake.direct()
        run_jobs()
        db.session.refresh(run)
        return push, run

    return make


@pytest.fixture
def mail_account(db: Any) -> Account:
    account = Account(
        name="Mail",
        kind=ChannelKind.EMAIL,
        settings={"host": "mail.example", "port": 25, "sender": "s@example.com", "security": "none"},
        created_at=kernel_clock.now(),
    )
    db.session.add(account)
    db.session.flush()
    return account


@pytest.mark.parametrize("path", [*PAGES, *TABLES])
def test_an_empty_shop_has_every_page(browse: Callable[..., FlaskClient], path: str) -> None:
    answer = browse().get(f"/console/results/{path}")
    assert answer.status_code == 200
    assert browse(Role.VIEWER).get(f"/console/results/{path}").status_code == 200


def test_one_push_shows_its_three_numbers(
    db: Any, browse: Callable[..., FlaskClient], make_member: Any, make_order: Any, sent: Any, client: Any, clock: Any
) -> None:
    lime = make_member("Lime")
    # With three hundred the control group has the fifty that a verdict asks for, however they are dealt.
    others = [make_member(f"P{n}") for n in range(300)]
    _push, run = sent(name="<Tea>", body="{link}", link_url="/me/", control_percent=30)
    delivery = db.session.scalars(select(Delivery).where(Delivery.member_id == lime.id)).one()
    if delivery.state is DeliveryState.ACCEPTED:
        client.get(message.click_path(delivery.id, message.LINK))
    held = {d.member_id for d in db.session.scalars(select(Delivery).where(Delivery.state == DeliveryState.CONTROL))}
    clock.move(hours=1)
    for person in others:
        if person.id not in held:
            make_order(person, 0, 5_000)
    browser = browse()
    before = everything(db)
    page = browser.get(f"/console/results/runs/{run.id}")
    assert page.status_code == 200
    for words in ("Three numbers, never added together", "&lt;Tea&gt;", "95 % interval", "margin of goods"):
        assert words in page.text
    assert "not enough data" in browser.get(f"/console/results/runs/{run.id}.csv").text
    assert browser.get(f"/console/results/runs/{run.id}?deed=seen").text.count("Saw a post in a group") > 1
    assert everything(db) == before
    assert browse().get("/console/results/runs/999999").status_code == 404


def test_wordings_stand_beside_one_another(
    db: Any, browse: Callable[..., FlaskClient], make_member: Any, sent: Any
) -> None:
    for n in range(40):
        make_member(f"P{n}")
    other = {"share": 50, "subject": "Second", "body": "b", "subject_en": None, "body_en": None}
    _push, run = sent(variants=[other])
    page = browse().get(f"/console/results/runs/{run.id}").text
    assert "Clicks against A, points" in page
    assert "Second" in page


def test_a_crooked_split_raises_the_alarm(
    db: Any, browse: Callable[..., FlaskClient], make_member: Any, sent: Any
) -> None:
    for n in range(400):
        make_member(f"P{n}")
    push, run = sent(control_percent=50)
    assert not queries.report(run, push).alarming
    gone = select(Delivery.id).where(Delivery.run_id == run.id, Delivery.state == DeliveryState.CONTROL).limit(150)
    for delivery_id in list(db.session.scalars(gone)):
        db.session.delete(db.session.get(Delivery, delivery_id))
    db.session.flush()
    report = queries.report(run, push)
    assert report.split is not None
    assert report.split.p is not None
    assert report.split.p < 1e-9
    page = browse().get(f"/console/results/runs/{run.id}").text
    assert "Do not trust this comparison" in page
    assert "What to check" in page
    assert "not to be trusted" in browse().get(f"/console/results/runs/{run.id}.csv").text


def test_pushes_stand_side_by_side(
    db: Any, browse: Callable[..., FlaskClient], make_member: Any, make_order: Any, sent: Any, clock: Any
) -> None:
    people = [make_member(f"P{n}") for n in range(60)]
    runs = [sent(name=f"Push {n}")[1] for n in range(3)]
    clock.move(hours=1)
    make_order(people[0], 0)
    asked = "&".join(f"run={run.id}" for run in runs)
    page = browse().get(f"/console/results/compare?{asked}").text
    for words in ("Push 0", "Push 1", "Push 2", "None of them held out enough people", "More than the first, points"):
        assert words in page
    lines = browse().get(f"/console/results/compare.csv?{asked}").text.strip().splitlines()
    assert len(lines) == 4
    for odd in ("run=x", "run=99999999999999999999", "run=1&run=%00", "run=" + "&run=".join(map(str, range(1, 30)))):
        assert browse().get(f"/console/results/compare?{odd}").status_code == 200


def test_the_funnel_follows_people_from_the_message_to_the_second_order(
    db: Any, browse: Callable[..., FlaskClient], client: Any, make_member: Any, make_order: Any, sent: Any, clock: Any
) -> None:
    lime, _plum, fig = make_member("Lime"), make_member("Plum"), make_member("Fig", consents=())
    _push, run = sent(name="Tea", body="{link}", link_url="/me/")
    delivery = db.session.scalars(select(Delivery).where(Delivery.member_id == lime.id)).one()
    client.get(message.click_path(delivery.id, message.LINK))
    clock.move(hours=1)
    make_order(lime, 0, delivered_at=kernel_clock.now())
    make_order(fig, 0, delivered_at=kernel_clock.now())
    clock.move(days=2)
    make_order(lime, 0)
    make_order(lime, 0, refunded_amount=1_000)
    rows = list(csv.reader(browse().get("/console/results/funnel.csv").text.splitlines()))[1:]
    assert [row[1:3] for row in rows] == [
        ["2", "2"], ["1", "1"], ["0", "0"], ["2", "0"], ["2", "2"], ["2", "2"], ["1", "1"],
    ]  # fmt: skip
    rows = list(csv.reader(browse().get(f"/console/results/funnel.csv?run={run.id}").text.splitlines()))[1:]
    assert [row[1] for row in rows] == ["2", "1", "0", "1", "1", "1", "1"]
    assert "Bought again" in browse().get(f"/console/results/funnel?run={run.id}").text
    assert browse().get("/console/results/funnel?run=999999").status_code == 404
    assert browse().get("/console/results/funnel?group=999999").status_code == 404
    assert browse().get("/console/results/funnel?audience=999999").status_code == 404


def test_an_expected_parcel_is_received_when_it_arrives(make_member: Any, make_order: Any, clock: Any) -> None:
    now = kernel_clock.now()
    span = now - timedelta(days=5), now + timedelta(days=5)
    for name, state, days in (
        ("Lime", OrderState.SHIPPED, 2),
        ("Plum", OrderState.SHIPPED, -1),
        ("Fig", OrderState.PAID, -1),
        ("Pear", OrderState.DELIVERED, 0),
    ):
        make_order(make_member(name), 2, state=state, shipped_at=now, delivered_at=now + timedelta(days=days))

    def received() -> tuple[int, int]:
        steps = {step.action: step.people for step in funnel.funnel(funnel.Among(), *span)}
        return steps["shipped"], steps["received"]

    assert received() == (4, 2)
    clock.move(days=2)
    assert received() == (4, 3)


def test_cohorts_count_who_ordered_again(
    db: Any, browse: Callable[..., FlaskClient], make_member: Any, make_order: Any, clock: Any
) -> None:
    # The clock stands at 3 March: January has two members, one of whom came again in February.
    lime = make_member("Lime", first_order_at=kernel_clock.at(kernel_clock.today().replace(month=1, day=10), 12))
    make_member("Plum", first_order_at=kernel_clock.at(kernel_clock.today().replace(month=1, day=20), 12))
    make_order(lime, 0, placed_at=lime.first_order_at)
    make_order(lime, 0, placed_at=kernel_clock.at(kernel_clock.today().replace(month=2, day=1)))
    make_order(lime, 0, placed_at=kernel_clock.at(kernel_clock.today().replace(month=2, day=5)))
    lines = browse().get("/console/results/cohorts.csv").text.splitlines()
    january = next(line for line in lines if line.startswith("2026-01"))
    assert january.split(",")[1:5] == ["2", "0", "1", "0"]
    page = browse().get("/console/results/cohorts").text
    assert "50.0%" in page
    assert "Of 2 members whose next month is over, 1 (50.0%) ordered again in it." in page


def test_how_it_is_measured_is_kept_by_those_that_have_begun(
    db: Any, browse: Callable[..., FlaskClient], make_member: Any, sent: Any, inbox: Account
) -> None:
    make_member("Lime")
    push, first = sent(attribution_days=7)
    said = {"touch_days": "3", "margin": "40", f"price_{inbox.id}": "0.045"}
    assert browse(Role.VIEWER).post("/console/results/measure", data=said).status_code == 403
    assert browse(Role.MARKETER).post("/console/results/measure", data=said).status_code == 303
    assert services.measure() == services.Measure(3, 40, {inbox.id: 450})
    other, second = sent()
    one, two = queries.report(first, push), queries.report(second, other)
    assert (one.terms.touch_days, one.terms.window_days, one.terms.margin, one.messages) == (5, 7, None, None)
    assert (two.terms.touch_days, two.terms.margin, two.messages) == (3, 40, 5)
    assert 'value="0.045"' in browse().get("/console/results/measure").text


@pytest.mark.parametrize(
    ("field", "value"),
    [("touch_days", ""), ("touch_days", "0"), ("touch_days", "31"), ("touch_days", "x"), ("margin", "101"),
     ("margin", "-1"), ("price", "x"), ("price", "-1"), ("price", "0.00001"), ("price", "NaN"), ("price", "1e9")],
)  # fmt: skip
def test_each_field_of_measuring_is_checked(
    db: Any, browse: Callable[..., FlaskClient], inbox: Account, field: str, value: str
) -> None:
    said = {"touch_days": "3", "margin": "40", f"price_{inbox.id}": "0.045"}
    said[f"price_{inbox.id}" if field == "price" else field] = value
    answer = browse().post("/console/results/measure", data=said)
    assert answer.status_code == 422
    assert services.measure() == services.Measure()


# ── Reports ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_report_is_set_up_changed_paused_and_removed(
    db: Any, browse: Callable[..., FlaskClient], mail_account: Account, make_staff: Any, clock: Any
) -> None:
    marketer = make_staff(Role.MARKETER)
    said = {
        "name": "Weekly",
        "rhythm": "weekly",
        "locale": "en",
        "account_id": mail_account.id,
        "staff_ids": [marketer.id],
    }
    assert browse(Role.VIEWER).post("/console/results/reports", data=said).status_code == 403
    browser = browse()
    answer = browser.post("/console/results/reports", data=said)
    assert answer.status_code == 303
    plan = db.session.scalars(select(ReportPlan)).one()
    assert (plan.name, plan.rhythm, plan.staff_ids) == ("Weekly", Rhythm.WEEKLY, [marketer.id])
    page = browser.get(answer.location).text
    assert "23 Feb 2026 to 1 Mar 2026" in page
    assert "not enough data yet" in page
    assert browser.post(answer.location, data=said | {"rhythm": "monthly"}).status_code == 303
    assert "Feb 2026" in browser.get(answer.location).text
    browser.post(f"{answer.location}/pause")
    assert plan.paused_at is not None
    assert "Paused" in browser.get("/console/results/reports").text
    browser.post(f"{answer.location}/pause")
    assert browser.post(f"{answer.location}/remove").status_code == 303
    assert db.session.scalars(select(ReportPlan)).all() == []


@pytest.mark.parametrize(
    "wrong", [{"name": ""}, {"rhythm": "daily"}, {"locale": "xx"}, {"account_id": "0"}, {"staff_ids": []}]
)
def test_each_field_of_a_report_is_checked(
    db: Any, browse: Callable[..., FlaskClient], mail_account: Account, make_staff: Any, wrong: dict[str, Any]
) -> None:
    marketer = make_staff(Role.MARKETER)
    said = {"name": "W", "rhythm": "weekly", "locale": "en", "account_id": mail_account.id, "staff_ids": [marketer.id]}
    assert browse().post("/console/results/reports", data=said | wrong).status_code == 422
    assert db.session.scalars(select(ReportPlan)).all() == []
    plan = mailing.save(None, "W", Rhythm.WEEKLY, mail_account.id, "en", [marketer.id], None)
    assert browse().post(f"/console/results/reports/{plan.id}", data=said | wrong).status_code == 422
