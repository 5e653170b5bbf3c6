"""The fixtures do what they promise."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from kernel.auth import Role
from kernel.staff.models import Staff


def people(db):
    return db.session.scalar(select(func.count()).select_from(Staff))


@pytest.mark.parametrize("turn", [1, 2])
def test_what_a_test_commits_is_rolled_back(db, make_staff, turn):
    assert people(db) == 0
    make_staff(Role.VIEWER)
    db.session.commit()
    assert people(db) == 1


def test_a_signed_in_browser_sees_the_console_and_another_does_not(client, staff_client):
    assert staff_client(Role.OWNER).get("/console/staff").status_code == 200
    assert staff_client("viewer").get("/console/staff").status_code == 403
    assert client.get("/console/staff").status_code == 302


def test_a_refused_request_leaves_the_test_rows_alone(db, client, make_staff):
    person = make_staff(Role.OWNER)
    assert client.get("/no-such-page").status_code == 404
    assert people(db) == 1
    assert person.name == "Owner"


def test_a_view_commits_into_the_test(db, owner_client):
    answer = owner_client.post(
        "/console/staff/new",
        data={"name": "林小满", "email": "lin@shop.example", "role": "viewer", "password": "a-long-enough-one"},
    )
    assert answer.status_code == 302
    assert db.session.scalars(select(Staff.name).order_by(Staff.id)).all() == ["Owner", "林小满"]


def test_the_clock_stands_still_until_it_is_moved(clock):
    before = clock.now()
    assert clock.now() == before
    assert (clock.move(hours=2) - before).total_seconds() == 7200
