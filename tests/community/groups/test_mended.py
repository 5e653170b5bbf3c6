"""Cases that a second look found: ended holds, sessions with drops, drafts out of the archive, friends who moved on."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from community.groups import queries, services
from community.groups.models import GroupState, LiveDrop, LiveSession, Seat, SeatState
from community.moderation import services as moderation
from kernel import clock as kernel_clock
from tests.conftest import bind, english


def test_a_ban_is_not_stopped_by_a_hold_that_ran_out(db, clock, make_group, make_member):
    group, ann = make_group(), make_member()
    services.hold(group.id, ann.id, "invitation")
    clock.move(minutes=group.hold_minutes + 1)
    moderation.ban(ann.id, "spam", 1)
    live = select(Seat.id).where(Seat.member_id == ann.id, Seat.state.in_([SeatState.HELD, SeatState.TAKEN]))
    assert db.session.scalars(live).all() == []


def test_staff_keep_no_seat_for_somebody_who_is_banned(browse, make_group, make_member):
    group, ann = make_group(), make_member()
    moderation.ban(ann.id, "spam", 1)
    assert browse().post(f"/console/groups/{group.id}/invitations/{ann.id}/hold").status_code == 403
    assert queries.find_hold(group.id, ann.id) is None


def test_a_session_goes_with_what_was_to_show_in_it(db, clock, make_group):
    group, now = make_group(), kernel_clock.now()
    session = services.save_session(group, None, "晚场", now + timedelta(hours=1), now + timedelta(hours=2), "", "")
    services.add_drop(session, "开场", "", "https://shop.example/live", None, 5)
    services.delete_session(session)
    db.session.flush()
    assert db.session.scalars(select(LiveDrop)).all() == []
    assert db.session.scalars(select(LiveSession)).all() == []


def test_a_draft_comes_out_of_the_archive_as_a_draft(db, make_group):
    group = make_group(state=GroupState.DRAFT)
    services.change_state(group, GroupState.ARCHIVED)
    services.unarchive(group)
    db.session.refresh(group)
    assert group.state is GroupState.DRAFT


@pytest.mark.parametrize("month", ["9999-12", "0001-01", "2026-13", "x"])
def test_a_month_that_is_none_shows_the_present_one(browse, clock, month):
    assert browse().get(f"/console/groups/calendar?month={month}").status_code == 200


def test_who_let_a_seat_lapse_is_told_so_until_they_come_in(db, clock, client, make_group, make_member):
    group, ann, ben = make_group(capacity=1), make_member(), make_member()
    phone, page, said = english(bind(client, ann.id)), f"/groups/{group.public_id}", "The seat kept for you has lapsed"
    assert said not in phone.get(page).text
    services.hold(group.id, ann.id, "invitation")
    clock.move(minutes=group.hold_minutes)
    for sweep in (None, services.settle):
        if sweep is not None:
            sweep(group.id)
        shown = phone.get(page).text
        assert (said in shown, "There is room now" in shown) == (True, True)
    services.join(group.id, ben.id, "link")
    shown = phone.get(page).text
    assert (said in shown, "Every seat is taken." in shown) == (True, True)
    services.leave(group.id, ben.id)
    assert phone.post(f"{page}/join").status_code == 303
    services.leave(group.id, ann.id)
    shown = phone.get(page).text
    assert (said in shown, "You have left this group" in shown) == (False, True)
