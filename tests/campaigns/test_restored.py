"""After a restore: what was on its way goes nowhere by itself, with the doubt in sight, until a person has looked."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text

from campaigns.briefs import services as briefs
from campaigns.briefs.jobs import send_briefs
from campaigns.channels import jobs as channel_jobs
from campaigns.channels import services as channels
from campaigns.channels.models import InboxMessage, NoticeState, Posting, PostingState, ServiceNotice
from campaigns.channels.services import postings
from campaigns.journeys import queries as journey_queries
from campaigns.journeys import services as journeys
from campaigns.journeys.jobs import look_who_comes, move_people_on
from campaigns.journeys.models import JourneyMember, PlaceState
from campaigns.pushes import drain, ledger
from campaigns.pushes import jobs as push_jobs
from campaigns.pushes import services as pushes
from campaigns.pushes.models import Delivery, DeliveryState, RunState
from campaigns.results import mailing
from campaigns.results.jobs import send_reports
from campaigns.results.models import Rhythm
from kernel import clock as kernel_clock
from kernel import journal, restoring, shop
from kernel.audit import AuditEntry
from kernel.auth import Role
from kernel.db import db as database
from membership.members.models import Member
from tests.campaigns.briefs.test_briefs import MONDAY, post_box
from tests.campaigns.journeys.conftest import ALL, numbered
from tests.campaigns.results.test_reports import box
from tests.conftest import NOON

__all__ = ["box"]

PAGE = "/console/operations/restored"
SAY = {"kind": "message", "subject": "Hello", "body": "How is it?"}
MADE = (NOON - timedelta(hours=8)).isoformat()


@pytest.fixture(autouse=True)
def nobody_held_out(db: Any) -> None:
    """Whom the key of a shop holds out is another in each."""
    shop.put("holdout.percent", 0)


@pytest.fixture
def restore(db: Any, settings: Any, tmp_path: Any) -> Any:
    """`restore()` does to this database what follows the putting back of a backup."""
    folder = replace(settings, data_dir=tmp_path)

    def begin() -> dict[str, Any]:
        restoring.leave_mark(folder, MADE)
        assert restoring.settle(folder)
        database.session.commit()
        return dict((restoring.state() or {})["taken"])

    return begin


@pytest.fixture
def make_journey(db: Any) -> Any:
    from campaigns.journeys import rules

    def make(steps: list[dict[str, Any]], trigger: dict[str, Any] | None = None) -> Any:
        written = rules.parse({"trigger": trigger or ALL, "steps": numbered(steps)})
        journey = journeys.create("Care", written, None)
        journeys.switch_on(journey, None)
        database.session.flush()
        return journey

    return make


def sent() -> int:
    return database.session.scalar(select(func.count()).select_from(InboxMessage)) or 0


def states(run_id: int) -> dict[str, int]:
    return pushes.tally(run_id)


def tick(run_jobs: Any) -> None:
    """All that the ticker would set going."""
    for job in (push_jobs.wake, push_jobs.reap, move_people_on, look_who_comes):
        job.direct()
    run_jobs()


def test_what_was_on_its_way_stands_still_with_its_doubt_in_sight(
    db, clock, make_member, make_push, restore, run_jobs, browse
):
    for n in range(6):
        make_member(f"M{n}")
    push, run = make_push()
    pushes.schedule(run)
    assert pushes.start(run)
    while not pushes.fan_out(run.id).done:
        pass
    # Three of six had gone when the backup was made, one was being handed over.
    ids = sorted(one.id for one in pushes.deliveries_of(run.id))
    db.session.execute(text("UPDATE delivery SET state = 'accepted' WHERE id = ANY(:ids)"), {"ids": ids[:3]})
    db.session.execute(text("UPDATE delivery SET state = 'submitting' WHERE id = :id"), {"id": ids[3]})
    db.session.execute(text("UPDATE push_slice SET accepted = 3 WHERE run_id = :id"), {"id": run.id})
    _later, later_run = make_push(name="Tomorrow")
    pushes.schedule(later_run, clock.now() + timedelta(days=1))
    db.session.commit()
    assert restore() == {"pushes_paused": 1, "pushes_doubts": 3, "pushes_drafts": 1}
    db.session.expire_all()
    assert (run.state, run.failure) == (RunState.PAUSED, pushes.RESTORED)
    assert states(run.id) == {"accepted": 3, "unknown": 3}
    assert (later_run.state, later_run.failure) == (RunState.DRAFT, pushes.RESTORED)
    # Neither the ticker nor a hand that lets it go on sends anything yet.
    tick(run_jobs)
    pushes.schedule(later_run)
    pushes.resume(run)
    clock.move(minutes=5)
    tick(run_jobs)
    assert drain.load(run.id) is None
    assert sent() == 0
    assert (later_run.state, run.state) == (RunState.SCHEDULED, RunState.RUNNING)

    boss, helper = browse(Role.MANAGER), browse(Role.SERVICE)
    assert helper.get(PAGE).status_code == 403
    for path in (
        PAGE,
        f"/console/pushes/{push.id}",
        "/console/pushes",
        "/console/journeys",
        "/console/operations",
        "/console/",
    ):
        assert "After the restore" in boss.get(path).text or path == "/console/", path
    assert "writes to nobody until you have looked" in boss.get("/console/").text
    assert "may have arrived since" in boss.get(f"/console/pushes/{push.id}").text
    assert "No journal was carried out" in boss.get(PAGE).text
    assert helper.post(f"{PAGE}/release").status_code == 403
    assert restoring.held()
    assert boss.post(f"{PAGE}/release").location.endswith(PAGE)
    assert "writes again since" in boss.get(PAGE).text
    assert boss.post(f"{PAGE}/release").status_code == 409
    assert "After the restore" not in boss.get("/console/pushes").text
    tick(run_jobs)
    tick(run_jobs)
    db.session.expire_all()
    # The push that was on its way has come to its end without another word; the other, scheduled anew, goes to everybody.
    assert run.state is RunState.COMPLETED
    assert states(run.id) == {"accepted": 3, "unknown": 3}
    assert later_run.state is RunState.COMPLETED
    assert sent() == 6
    # A person may still decide to send those in doubt again.
    assert pushes.resend_unknown(run) == 3
    actions = set(db.session.scalars(select(AuditEntry.action)))
    assert {"shop.restored", "shop.released"} <= actions


def test_its_teeth_where_a_restore_is_not_noticed_the_unsent_are_sent_again(
    db, clock, make_member, make_push, restore, run_jobs
):
    for n in range(3):
        make_member(f"M{n}")
    _push, run = make_push()
    pushes.schedule(run)
    assert pushes.start(run)
    while not pushes.fan_out(run.id).done:
        pass
    # As a database stands that was put back without the mark: everybody has been written to since.
    clock.move(minutes=1)
    db.session.commit()
    tick(run_jobs)
    assert sent() == 3


def test_a_time_of_a_series_before_the_restore_is_skipped_and_the_next_one_goes(
    db, clock, make_member, make_push, restore, run_jobs
):
    make_member()
    _push, run = make_push(rrule="FREQ=DAILY")
    pushes.schedule(run, clock.now() + timedelta(minutes=10))
    db.session.commit()
    clock.move(minutes=30)
    assert restore() == {"pushes_skipped": 1}
    db.session.expire_all()
    assert (run.state, run.failure) == (RunState.EXPIRED, pushes.RESTORED)
    clock.move(minutes=10)
    restoring.release()
    db.session.commit()
    tick(run_jobs)
    assert sent() == 0
    clock.move(days=1)
    tick(run_jobs)
    assert sent() == 1


def test_nobody_goes_twice_through_a_step_of_a_journey(db, clock, make_member, make_journey, inbox, restore, run_jobs):
    due, waits, comes = make_member("Due"), make_member("Waits"), make_member("Comes")
    journey = make_journey(
        [
            {"kind": "wait", "days": 1},
            SAY,
        ]
    )
    assert journeys.enter(journey.id, due.id, "a", clock.now())
    clock.move(hours=20)
    assert journeys.enter(journey.id, waits.id, "b", clock.now())
    db.session.commit()
    # The backup is of now; the restore comes when the first one's wait has long been over.
    clock.move(hours=10)
    assert restore() == {"journeys_left": 1}
    places = dict(db.session.execute(select(JourneyMember.member_id, JourneyMember.state)).all())
    assert places == {due.id: PlaceState.LEFT, waits.id: PlaceState.ACTIVE}
    # An order that is brought in again tells of something that was answered long ago.
    assert not journeys.enter(journey.id, comes.id, "c", clock.now())
    clock.move(hours=20)
    tick(run_jobs)
    assert sent() == 0
    restoring.release()
    db.session.commit()
    assert journey.switched_on_at == clock.now()
    tick(run_jobs)
    tick(run_jobs)
    assert sent() == 1


def test_whom_the_clock_would_bring_in_again_is_passed_over(
    db, clock, make_member, make_journey, inbox, restore, run_jobs
):
    for n in range(3):
        make_member(f"Quiet {n}", last_order_at=clock.now() - timedelta(days=90))
    journey = make_journey(
        [SAY],
        {"kind": "dormant", "days": 60, "present": True},
    )
    db.session.commit()
    restore()
    tick(run_jobs)
    restoring.release()
    assert (restoring.state() or {})["taken"] == {"journeys_passed_over": 3}
    db.session.commit()
    tick(run_jobs)
    tick(run_jobs)
    assert sent() == 0
    assert set(db.session.scalars(select(JourneyMember.reason))) == {"restored"}
    assert journey_queries.counts(journey.version_id)[""].outcomes == {"entered": 3}


def test_notices_and_words_of_robots_are_in_doubt_and_new_ones_wait(db, clock, make_member, restore):
    member = make_member()
    assert channels.tell(member.id, "conversation:1", "Answered", "We have answered you.", "/me/conversations")
    robot = channels.inbox_account()
    postings.queue(robot.id, "notice:1", "Title", "Body")
    assert restore() == {"words_in_doubt": 2}
    assert db.session.scalars(select(ServiceNotice.state)).all() == [NoticeState.UNKNOWN]
    assert db.session.scalars(select(Posting.state)).all() == [PostingState.UNKNOWN]
    postings.queue(robot.id, "notice:2", "Title", "Body")
    assert channels.tell(member.id, "conversation:2", "Answered", "We have answered you.", "/me/conversations")
    clock.move(minutes=5)
    for job in (channel_jobs.say, channel_jobs.write_letters):
        job.direct()
    assert sent() == 0
    assert set(db.session.scalars(select(Posting.state))) == {PostingState.UNKNOWN, PostingState.WAITING}
    restoring.release()
    db.session.commit()
    channel_jobs.write_letters.direct()
    assert sent() == 1


def test_briefs_and_reports_that_may_have_gone_do_not_go_again(db, clock, make_staff, box, restore):
    boss = make_staff(Role.OWNER)
    clock.at(kernel_clock.at(MONDAY, 7, 0) - timedelta(days=7))
    mailing.save(None, "Weekly", Rhythm.WEEKLY, post_box(box[1]).id, "en", [boss.id], None)
    briefs.wish(boss.id, 8, True, "en")
    db.session.commit()

    def mails_at(hour: int, days: int) -> int:
        clock.at(kernel_clock.at(MONDAY + timedelta(days=days), hour))
        for job in (send_briefs, send_reports):
            job.direct()
        return len(box[0].mail)

    clock.at(kernel_clock.at(MONDAY, 9))
    assert restore() == {"briefs_in_doubt": 1, "reports_in_doubt": 1}
    assert (mails_at(10, 0), mails_at(8, 1)) == (0, 0)
    restoring.release()
    db.session.commit()
    # The day's own brief; the week's report stays in doubt, and the next one goes.
    assert mails_at(9, 1) == 1
    assert mails_at(9, 7) == 3


def test_numbers_that_were_given_out_since_are_not_given_out_again(db, make_member, restore):
    before = make_member().id
    restore()
    assert make_member().id > before + restoring.LEAP
    assert db.session.scalar(select(func.max(Member.id))) < 2 * (before + restoring.LEAP)


def test_it_is_begun_once_and_the_page_is_there_only_then(db, settings, tmp_path, browse, restore):
    assert browse(Role.MANAGER).get(PAGE).status_code == 404
    folder = replace(settings, data_dir=tmp_path)
    assert not restoring.settle(folder)
    assert not restoring.held()
    with pytest.raises(restoring.NotHeld):
        restoring.release()
    restore()
    first = restoring.state()
    # The mark was not taken away in time.
    assert restoring.settle(folder)
    assert restoring.state() == first
    restoring.note_replay(journal.Report(read=3, carried_out=2, missing=1, until=NOON.isoformat()).stored())
    page = browse(Role.MANAGER).get(PAGE).text
    assert "1 line is missing" in page
    assert "Lines read" in page


def test_a_journal_that_is_not_written_is_said_on_the_first_page(db, clock, browse):
    boss = browse(Role.MANAGER)
    journal.note(journal.MARK, {})
    assert "journal since" not in boss.get("/console/").text
    clock.move(minutes=2)
    assert "have not been written to the journal since" in boss.get("/console/").text
    assert "1 line waits" in boss.get("/console/operations").text


def test_every_way_to_send_asks_whether_the_shop_is_held_back(db, restore, make_member, make_push, run_jobs):
    make_member()
    _push, run = make_push()
    restore()
    pushes.schedule(run)
    assert pushes.start(run)
    while not pushes.fan_out(run.id).done:
        pass
    push_jobs.send.direct(run.id)
    assert states(run.id) == {"ready": 1}
    assert ledger.lease(run.id, "x", timedelta(seconds=5)) is not None
    assert db.session.scalar(select(func.count()).where(Delivery.state == DeliveryState.ACCEPTED)) == 0
