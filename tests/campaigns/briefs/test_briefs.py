"""The brief by e-mail, over a real SMTP conversation: once a day and person, at their hour, in their language."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Select, select

from campaigns.briefs import jobs, rules, services
from campaigns.briefs.models import BriefCopy, BriefMail
from campaigns.channels import copies
from campaigns.channels.copies import CopyState
from campaigns.channels.models import Account, ChannelKind
from kernel import clock as kernel_clock
from kernel import links, today
from kernel.auth import Role, acting_staff, current_staff, may
from kernel.db import db as database
from kernel.db import transaction
from kernel.i18n import lazy_gettext as _l
from kernel.pages import once_a_request
from kernel.staff import services as staff
from kernel.staff.models import Staff
from kernel.today import Task
from tests.campaigns.results.test_reports import Box, box
from tests.committed import at_once, clear
from tests.conftest import everything

__all__ = ["box"]
MONDAY = date(2026, 3, 9)


def post_box(port: int) -> Account:
    settings = {"host": "127.0.0.1", "port": port, "sender": "shop@example.com", "security": "none"}
    account = Account(name="Mail", kind=ChannelKind.EMAIL, settings=settings, created_at=kernel_clock.now())
    database.session.add(account)
    database.session.flush()
    return account


@pytest.fixture
def account(db: Any, box: Any) -> Account:
    return post_box(box[1])


@once_a_request
def reader() -> str:
    """Kept for a request: another reader must not meet what was kept for the one before."""
    return acting_staff().name


@pytest.fixture
def due(monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """What there is to do for whoever may look at pushes; each task says for whom it was read."""
    found = [Task(90 - n, _l("Today"), f"/console/things/{n}", _l("Save"), about=f"About {n}") for n in range(7)]

    def call() -> list[list[Task]]:
        if not found or not may("audit.view"):
            return []
        first = Task(95, f"For {reader()}", "/console/first?a=1", _l("Save"))
        return [[first, *found]]

    monkeypatch.setattr(today, "tasks", SimpleNamespace(call=call))
    return found


@pytest.fixture
def people(make_staff: Any) -> tuple[Staff, Staff]:
    """Two owners, one who reads English at nine and one who reads Chinese at eight."""
    ann, bo = make_staff(Role.OWNER, "ann@shop.example", "Ann"), make_staff(Role.OWNER, "bo@shop.example", "Bo")
    return ann, bo


def states() -> dict[str, CopyState]:
    found = select(Staff.name, BriefCopy.state).join(Staff, Staff.id == BriefCopy.staff_id)
    return dict(database.session.execute(found.execution_options(populate_existing=True)).all())


def at(clock: Any, hour: int, minute: int = 0, days: int = 0) -> None:
    clock.at(kernel_clock.at(MONDAY + timedelta(days=days), hour, minute))


def text_of(mail: Any) -> str:
    return str(mail.get_body(("plain",)).get_content()).replace("\r\n", "\n")


def test_it_goes_once_a_day_at_the_hour_and_in_the_language_of_each(
    box: tuple[Box, int], account: Account, people: Any, due: list[Task], clock: Any
) -> None:
    ann, bo = people
    at(clock, 8, 30)
    services.wish(ann.id, 9, False, "en")
    # Eight o'clock is over for today.
    services.wish(bo.id, 8, False, "zh_Hans")
    jobs.send_briefs.direct()
    assert box[0].mail == []
    at(clock, 9)
    for _turn in range(2):
        jobs.send_briefs.direct()
    assert [to for to, _mail in box[0].mail] == ["ann@shop.example"]
    mail = box[0].mail[0][1]
    assert "8 things to do today" in mail["Subject"]
    body = text_of(mail)
    assert "1. For Ann" in body
    assert "Save: http://localhost/console/first?a=1" in body
    assert body.count("Today") == 4, "five things in all"
    assert "3 more things are in the console." in body
    assert "http://localhost/console/?all=1" in body
    assert mail["List-Unsubscribe"].strip() == f"<http://localhost{services.stop_path(ann.id)}>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    # Another hour on the same day sends no second one.
    services.wish(ann.id, 10, False, "en")
    at(clock, 10)
    jobs.send_briefs.direct()
    assert len(box[0].mail) == 1
    at(clock, 8, days=1)
    jobs.send_briefs.direct()
    assert [to for to, _mail in box[0].mail] == ["ann@shop.example", "bo@shop.example"]
    assert "For Bo" in text_of(box[0].mail[1][1])
    assert "今日" in text_of(box[0].mail[1][1])
    assert current_staff() is None


def test_nothing_to_do_is_said_only_to_whoever_wants_it_said(
    box: tuple[Box, int], account: Account, people: Any, due: list[Task], clock: Any
) -> None:
    ann, bo = people
    due.clear()
    at(clock, 7)
    services.wish(ann.id, 8, True, "en")
    services.wish(bo.id, 8, False, "en")
    at(clock, 8)
    jobs.send_briefs.direct()
    assert states() == {"Ann": CopyState.SENT, "Bo": CopyState.NOTHING}
    assert [to for to, _mail in box[0].mail] == ["ann@shop.example"]
    assert "nothing is waiting today" in box[0].mail[0][1]["Subject"]


def test_what_the_mail_server_refuses_is_tried_again_and_what_broke_off_is_in_doubt(
    box: tuple[Box, int], account: Account, people: Any, due: list[Task], clock: Any
) -> None:
    at(clock, 7)
    for person in people:
        services.wish(person.id, 8, False, "en")
    at(clock, 8)
    box[0].answers = ["451 later", "drop"]
    jobs.send_briefs.direct()
    assert states() == {"Ann": CopyState.WAITING, "Bo": CopyState.UNKNOWN}
    at(clock, 8, 5)
    jobs.send_briefs.direct()
    assert states() == {"Ann": CopyState.SENT, "Bo": CopyState.UNKNOWN}
    assert [to for to, _mail in box[0].mail] == ["ann@shop.example"]
    # A sender that died with a copy in hand leaves a doubt, and none goes twice.
    at(clock, 8, days=1)
    services.write_copies()
    assert services.take_due() is not None
    at(clock, 8, 11, days=1)
    jobs.send_briefs.direct()
    assert states() == {"Ann": CopyState.UNKNOWN, "Bo": CopyState.SENT}
    assert len(box[0].mail) == 2


def test_too_late_stopped_and_closed_accounts_get_none_and_a_broken_task_holds_nobody_up(
    box: tuple[Box, int], account: Account, people: Any, due: list[Task], clock: Any, monkeypatch: Any
) -> None:
    ann, bo = people
    at(clock, 7)
    for person in people:
        services.wish(person.id, 8, False, "en")
    at(clock, 14)
    assert services.write_copies() == 0
    at(clock, 8, days=1)
    assert services.write_copies() == 2
    services.stop(ann.id)
    at(clock, 14, days=1)
    jobs.send_briefs.direct()
    assert set(database.session.scalars(select(BriefCopy.failure))) == {"stopped", "late"}
    services.wish(ann.id, 8, False, "en")
    staff.disable(bo)
    at(clock, 8, days=2)
    assert services.write_copies() == 1
    read = today.tasks.call
    monkeypatch.setattr(today.tasks, "call", lambda: 1 / 0)
    jobs.send_briefs.direct()
    assert box[0].mail == []
    monkeypatch.setattr(today.tasks, "call", read)
    account.paused_at = kernel_clock.now()
    at(clock, 8, 5, days=2)
    jobs.send_briefs.direct()
    account.paused_at = None
    at(clock, 8, 30, days=2)
    jobs.send_briefs.direct()
    assert [to for to, _mail in box[0].mail] == ["ann@shop.example"]


def test_an_hour_is_due_from_its_beginning_until_it_says_nothing_new(clock: Any) -> None:
    hour = kernel_clock.at(MONDAY, 8)
    minute = timedelta(minutes=1)
    assert [rules.is_due(hour, hour, hour + gap) for gap in (-minute, minute * 0, rules.LATEST - minute)] == [
        False, True, True,
    ]  # fmt: skip
    assert not rules.is_due(hour, hour, hour + rules.LATEST)
    assert not rules.is_due(hour, hour + minute, hour + minute)
    assert copies.wait_of(3, timedelta(minutes=5)) == timedelta(minutes=8)


def test_everybody_chooses_on_their_own_page_and_stops_with_one_click(
    db: Any, client: Any, browse: Any, account: Account, clock: Any
) -> None:
    browser = browse(Role.VIEWER)
    before = everything(db)
    page = browser.get("/console/my-brief").text
    assert "viewer@shop.example" in page
    assert "nothing is waiting today" in page
    assert "/console/my-brief" in browser.get("/console/").text
    assert everything(db) == before
    for odd in ({"hour": "24"}, {"hour": "x"}, {"locale": "fr"}):
        answer = browser.post("/console/my-brief", data={"wanted": "y", "hour": "8", "locale": "en", **odd})
        assert answer.status_code == 422
    assert db.session.scalar(select(BriefMail)) is None
    answer = browser.post("/console/my-brief", data={"wanted": "y", "hour": "7", "locale": "en", "also_empty": "y"})
    assert answer.status_code == 303
    row = db.session.scalars(select(BriefMail)).one()
    assert (row.hour, row.also_empty, row.locale) == (7, True, "en")
    staff_id = row.staff_id
    assert "07:00 every day" in browser.get("/console/").text
    path = services.stop_path(staff_id)
    assert "Stop it" in client.get(path, headers={"Accept-Language": "en"}).text
    assert db.session.scalar(select(BriefMail)) is not None
    for _turn in range(2):
        answer = client.post(path, data={"List-Unsubscribe": "One-Click"})
        assert answer.status_code == 200
    assert db.session.scalar(select(BriefMail)) is None
    for token in ("x.y.z", links.make("unsubscribe", staff_id), links.make(services.PURPOSE, 999_999)):
        assert client.post(f"/console/briefs/u/{token}").status_code == 404
    browser.post("/console/my-brief", data={"wanted": "y", "hour": "7", "locale": "en"})
    browser.post("/console/my-brief", data={"hour": "7", "locale": "en"})
    assert db.session.scalar(select(BriefMail)) is None


@pytest.fixture
def floor(app: Any) -> Iterator[Any]:
    yield app
    clear(app)


@pytest.mark.parametrize("guarded", [True, False])
def test_of_two_senders_one_has_a_copy(floor: Any, due: list[Task], monkeypatch: Any, guarded: bool) -> None:
    """The second comes while the first has the copy in hand and nothing is committed; without the lock both would have it."""
    now = kernel_clock.at(kernel_clock.today(), 12)
    monkeypatch.setattr(kernel_clock, "now", lambda: now)
    with floor.app_context(), transaction():
        post_box(1)
        person = staff.add("Ann", "ann@shop.example", Role.OWNER, "correct-horse-battery", "")
        services.wish(person.id, 12, True, "en")
        services.write_copies()
    if not guarded:
        monkeypatch.setattr(Select, "with_for_update", lambda statement, **_how: statement)
        monkeypatch.setattr(copies, "move", lambda *_copy, **_values: True)
    found: list[Any] = []

    def second() -> None:
        with transaction():
            found.append(services.take_due())

    with floor.app_context(), transaction():
        assert services.take_due() is not None
        assert at_once(floor, [second]) == []
    assert at_once(floor, [second]) == []
    assert [one is None for one in found] == ([True, True] if guarded else [False, False])
