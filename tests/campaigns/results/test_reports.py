"""Reports over a real SMTP conversation: once a period and person, tried again when refused, in doubt when broken off."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from sqlalchemy import select

from campaigns.channels import copies
from campaigns.channels.copies import CopyState
from campaigns.channels.models import Account, ChannelKind
from campaigns.results import jobs, mailing
from campaigns.results.models import ReportCopy, ReportPlan, Rhythm
from kernel import clock as kernel_clock
from kernel.auth import Role
from tests.live import free_port


class Box:
    """Takes mail, and answers the next ones as it is told."""

    def __init__(self) -> None:
        self.mail: list[tuple[str, Any]] = []
        self.answers: list[str] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        answer = self.answers.pop(0) if self.answers else "250 taken"
        if answer == "drop":
            server.transport.abort()
            return "250 never seen"
        if answer.startswith("250"):
            self.mail.append((envelope.rcpt_tos[0], message_from_bytes(envelope.content, policy=default)))
        return answer


@pytest.fixture
def box() -> Iterator[tuple[Box, int]]:
    taken = Box()
    controller = Controller(taken, hostname="127.0.0.1", port=free_port())
    controller.start()
    yield taken, controller.port
    controller.stop()


@pytest.fixture
def plan(db: Any, box: Any, make_staff: Any, clock: Any) -> ReportPlan:
    """A weekly report to two colleagues, set up on a Tuesday."""
    settings = {"host": "127.0.0.1", "port": box[1], "sender": "shop@example.com", "security": "none"}
    account = Account(name="Mail", kind=ChannelKind.EMAIL, settings=settings, created_at=kernel_clock.now())
    db.session.add(account)
    db.session.flush()
    people = [make_staff(Role.MANAGER).id, make_staff(Role.MARKETER).id]
    return mailing.save(None, "Weekly", Rhythm.WEEKLY, account.id, "en", people, None)


def states(db: Any) -> list[CopyState]:
    return [copy.state for copy in db.session.scalars(select(ReportCopy).order_by(ReportCopy.staff_id))]


def test_it_goes_once_on_the_morning_after(db: Any, box: Any, plan: ReportPlan, clock: Any) -> None:
    jobs.send_reports.direct()
    # The last week was over before the report was wished for.
    assert box[0].mail == []
    clock.at(kernel_clock.at(date(2026, 3, 9), 7, 59))
    jobs.send_reports.direct()
    assert box[0].mail == []
    clock.move(minutes=1)
    jobs.send_reports.direct()
    jobs.send_reports.direct()
    assert sorted(to for to, _mail in box[0].mail) == ["manager@shop.example", "marketer@shop.example"]
    mail = box[0].mail[0][1]
    assert mail["Subject"].endswith("Weekly, 2 Mar 2026 to 8 Mar 2026")
    text = mail.get_body(("plain",)).get_content()
    assert "0 pushes began." in text
    assert "/console/results/pushes" in text
    assert "Date" in mail
    assert states(db) == [CopyState.SENT] * 2
    clock.move(days=3)
    jobs.send_reports.direct()
    assert len(box[0].mail) == 2
    clock.move(days=4)
    jobs.send_reports.direct()
    assert len(box[0].mail) == 4


def test_what_was_not_taken_is_tried_again_later(db: Any, box: Any, plan: ReportPlan, clock: Any) -> None:
    clock.at(kernel_clock.at(date(2026, 3, 9), 9))
    box[0].answers = ["451 later", "550 never"]
    jobs.send_reports.direct()
    assert sorted(states(db)) == [CopyState.FAILED, CopyState.WAITING]
    jobs.send_reports.direct()
    assert box[0].mail == []
    clock.move(minutes=5)
    jobs.send_reports.direct()
    assert len(box[0].mail) == 1
    assert sorted(states(db)) == [CopyState.FAILED, CopyState.SENT]


def test_what_broke_off_is_in_doubt_and_not_sent_again(db: Any, box: Any, plan: ReportPlan, clock: Any) -> None:
    clock.at(kernel_clock.at(date(2026, 3, 9), 9))
    box[0].answers = ["drop"]
    jobs.send_reports.direct()
    assert sorted(states(db)) == [CopyState.SENT, CopyState.UNKNOWN]
    clock.move(hours=1)
    jobs.send_reports.direct()
    assert len(box[0].mail) == 1


def test_a_dead_sender_leaves_a_doubt(db: Any, box: Any, plan: ReportPlan, clock: Any) -> None:
    clock.at(kernel_clock.at(date(2026, 3, 9), 9))
    assert mailing.write_copies() == 2
    assert mailing.write_copies() == 0
    assert mailing.take_due() is not None
    clock.move(minutes=9)
    assert copies.doubt_lost(ReportCopy) == 0
    clock.move(minutes=2)
    jobs.send_reports.direct()
    assert sorted(states(db)) == [CopyState.SENT, CopyState.UNKNOWN]
    assert len(box[0].mail) == 1


def test_who_left_and_what_rests_gets_nothing(db: Any, box: Any, plan: ReportPlan, make_staff: Any, clock: Any) -> None:
    from kernel.staff import services as staff

    staff.disable(staff.get_staff(plan.staff_ids[0]))
    clock.at(kernel_clock.at(date(2026, 3, 9), 9))
    jobs.send_reports.direct()
    assert len(box[0].mail) == 1
    assert states(db) == [CopyState.FAILED, CopyState.SENT]
    mailing.pause(plan, True)
    clock.move(days=7)
    jobs.send_reports.direct()
    assert len(box[0].mail) == 1
    with pytest.raises(mailing.NobodyToTell):
        mailing.save(plan, "W", Rhythm.WEEKLY, plan.account_id, "en", plan.staff_ids, None)
    with pytest.raises(mailing.NoMailServer):
        mailing.save(None, "W", Rhythm.WEEKLY, 0, "en", [plan.staff_ids[1]], None)


def test_a_month_is_reported_after_its_last_day(db: Any, box: Any, plan: ReportPlan, clock: Any) -> None:
    mailing.save(plan, "Monthly", Rhythm.MONTHLY, plan.account_id, "zh_Hans", plan.staff_ids, None)
    clock.at(kernel_clock.at(date(2026, 4, 1), 8))
    jobs.send_reports.direct()
    assert [copy.period for copy in db.session.scalars(select(ReportCopy))] == [date(2026, 3, 1)] * 2
    assert "Monthly" in box[0].mail[0][1]["Subject"]
    assert "2026年3月" in box[0].mail[0][1]["Subject"]
