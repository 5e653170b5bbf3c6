"""The pages of pushes: each works, refuses what it must, keeps what was typed, and changes nothing by being looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select, text

from campaigns.audiences import queries as audiences
from campaigns.audiences.rules import Definition
from campaigns.pushes import jobs, queries, services
from campaigns.pushes.models import Delivery, DeliveryState, Push, Run, RunState
from kernel import shop
from kernel.auth import Role
from membership.members.models import Contact

WORDS = {
    "name": "Tea again",
    "contact_class": "repurchase",
    "subject": "Hello {nickname}",
    "body": "Time for tea",
    "coupon_mode": "link",
    "moment": "now",
    "life": "48",
    "attribution_days": "14",
    "stop_when_bought": "y",
}


@pytest.fixture(autouse=True)
def nobody_held_out(db: Any) -> None:
    shop.put("holdout.percent", 0)


WHOM = {
    "rules-0-kind": "tier",
    "rules-0-ranks": ["2", "3"],
    "rules-1-kind": "last_order",
    "rules-1-from_days": "30",
    "rules-1-to_days": "90",
}


@pytest.fixture
def words(inbox: Any) -> dict[str, Any]:
    return WORDS | {"account_id": str(inbox.id)}


def test_list_shows_and_filters(make_push: Any, owner_client: Any) -> None:
    make_push(name="Green tea"), make_push(name="Black coffee")
    assert "Green tea" in owner_client.get("/console/pushes").text
    found = owner_client.get("/console/pushes?q=coffee").text
    assert "Black coffee" in found
    assert "Green tea" not in found
    assert "Green tea" not in owner_client.get("/console/pushes?state=completed").text


def test_empty_list_says_what_to_do(owner_client: Any) -> None:
    assert "/console/pushes/new" in owner_client.get("/console/pushes").text


def test_new_push_is_saved_as_a_draft(db: Any, owner_client: Any, words: Any) -> None:
    assert owner_client.get("/console/pushes/new").status_code == 200
    answer = owner_client.post("/console/pushes/new", data=words | {"act": "save"} | WHOM)
    assert answer.status_code == 302
    push, run = db.session.scalars(select(Push)).one(), db.session.scalars(select(Run)).one()
    assert run.state is RunState.DRAFT
    assert push.audience == {
        "rules": [{"kind": "tier", "ranks": [2, 3]}, {"kind": "last_order", "from_days": 30, "to_days": 90}]
    }
    page = owner_client.get(f"/console/pushes/{push.id}/edit").text
    assert "Hello {nickname}" in page


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"subject": ""}, "subject"),
        ({"body": ""}, "body"),
        ({"body": "Hello {nobody}"}, "body"),
        ({"body": "Take {coupon_link}"}, "body"),
        ({"subject": "{link}"}, "subject"),
        ({"rules-0-kind": "last_order", "rules-0-from_days": "90", "rules-0-to_days": "30"}, "rules"),
        ({"rules-0-kind": "last_order", "rules-0-from_days": "many"}, "rules"),
        ({"rules-0-kind": "spend", "rules-0-from_fen": "a lot"}, "rules"),
        ({"link_url": "javascript:alert(1)"}, "link_url"),
        ({"link_url": "//elsewhere.example"}, "link_url"),
        ({"moment": "at"}, "scheduled_at"),
        ({"moment": "at", "scheduled_at": "2001-01-01T10:00"}, "scheduled_at"),
        ({"rate_per_second": "0"}, "rate_per_second"),
        ({"account_id": "999999"}, "account_id"),
        ({"offer_id": "999999"}, "offer_id"),
    ],
)
def test_wrong_input_is_refused_and_kept(db: Any, owner_client: Any, words: Any, change: Any, field: str) -> None:
    answer = owner_client.post("/console/pushes/new", data=words | change | {"act": "schedule"})
    assert answer.status_code == 422
    assert f'href="#{field}"' in answer.text
    assert "Time for tea" in answer.text or field == "body"
    assert db.session.scalar(select(func.count()).select_from(Push)) == 0


def test_what_takes_too_long_to_count_is_estimated_with_whom_it_reaches(
    db: Any, owner_client: Any, words: Any, inbox: Any, make_member: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        make_member(f"P{n}", consents=(Contact.INBOX,) if n < 2 else ())
    exact = queries.check(Definition(), inbox)
    assert (exact.people, exact.no_consent, exact.reachable) == (5, 3, 2)
    limits: list[int] = []
    real = audiences.time_limit

    @contextmanager
    def out_of_time(milliseconds: int) -> Iterator[None]:
        limits.append(milliseconds)
        if len(limits) <= slow:
            raise audiences.OutOfTime
        with real(milliseconds):
            yield

    monkeypatch.setattr(audiences, "time_limit", out_of_time)
    # The sample of a small shop is everybody, so that the estimate is the count.
    slow = 1
    assert queries.check(Definition(), inbox) == replace(exact, estimated=True)
    limits.clear()
    owner_client.post("/console/language", data={"lang": "en"})
    page = owner_client.post("/console/pushes/check", data=words, headers={"HX-Request": "true"}).text
    assert "Counting took too long" in page
    assert "of 5 in the audience" in page
    # These counts have a time of their own, and when even the sample is slow fewer are reached than there are.
    assert limits[:2] == [queries.CHECK_MS, queries.CHECK_MS]
    slow = 2
    limits.clear()
    db.session.execute(text("ANALYZE member, consent"))
    guessed = queries.check(Definition(), inbox)
    assert guessed.estimated
    assert guessed.sent < guessed.people
    slow = 9
    assert queries.somebody(Definition(), inbox) is None


def test_check_counts_and_changes_nothing(db: Any, owner_client: Any, words: Any, make_member: Any) -> None:
    make_member("Lime"), make_member("Deaf", consents=(Contact.EMAIL,))
    owner_client.post("/console/language", data={"lang": "en"})
    answer = owner_client.post("/console/pushes/check", data=words, headers={"HX-Request": "true"})
    assert answer.status_code == 200
    assert "of 2 in the audience" in answer.text
    assert "Send to 1 person" in answer.text
    assert "Hello Lime" in answer.text
    assert db.session.scalar(select(func.count()).select_from(Push)) == 0


def test_the_button_names_those_who_get_it_and_not_the_pushs_own_control_group(
    owner_client: Any, words: Any, make_member: Any
) -> None:
    for n in range(8):
        make_member(f"P{n}")
    owner_client.post("/console/language", data={"lang": "en"})
    asked = words | {"control_percent": "25"}
    page = owner_client.post("/console/pushes/check", data=asked, headers={"HX-Request": "true"}).text
    assert "Send to about 6 people" in page
    assert "≈ 2</span> go into this push&#39;s own control group" in page


def test_scheduling_runs_to_the_result_page(
    db: Any, owner_client: Any, words: Any, make_member: Any, run_jobs: Any
) -> None:
    lime = make_member("Lime")
    make_member("Deaf", consents=(Contact.EMAIL,))
    owner_client.post("/console/language", data={"lang": "en"})
    answer = owner_client.post("/console/pushes/new", data=words | {"act": "schedule"})
    assert "The push is on its way." in owner_client.get(answer.location).text
    push = db.session.scalars(select(Push)).one()
    jobs.wake.direct()
    run_jobs()
    page = owner_client.get(f"/console/pushes/{push.id}").text
    assert "Finished" in page
    assert "No consent to offers by this channel" in page
    listed = owner_client.get(f"/console/pushes/{push.id}/deliveries?state=unsent").text
    assert "Deaf" in listed
    assert "Lime" not in listed
    for q, found in (("lim", True), (f"%23{lime.id}", True), ("deaf", False), ("%25", False)):
        searched = owner_client.get(f"/console/pushes/{push.id}/deliveries?q={q}").text
        assert f"/console/members/{lime.id}" in searched or not found, q
        assert "Lime" in owner_client.get(f"/console/pushes/{push.id}/deliveries.csv?q={q}").text or not found, q
        assert f"/console/members/{lime.id}" not in searched or found, q
    assert "No member matches" in searched
    lines = owner_client.get(f"/console/pushes/{push.id}/deliveries.csv").text.splitlines()
    assert len(lines) == 3
    assert f"{lime.id},Lime,Message sent" in lines[1]
    assert owner_client.get(f"/console/pushes/{push.id}/results.csv").text.count("Planned,2") == 1
    assert owner_client.get(f"/console/pushes/{push.id}/progress?done=0&since=0").status_code == 200


def test_pause_resume_cancel(db: Any, owner_client: Any, make_push: Any, make_member: Any) -> None:
    make_member("Lime")
    push, run = make_push()
    services.schedule(run)
    jobs.wake.direct()
    jobs.fan_out.direct(run_id=run.id)
    for act, state in (("pause", RunState.PAUSED), ("resume", RunState.RUNNING), ("cancel", RunState.CANCELLED)):
        assert owner_client.post(f"/console/pushes/{push.id}/{act}").status_code == 302
        db.session.refresh(run)
        assert run.state is state
    # The second click on an old page.
    assert owner_client.post(f"/console/pushes/{push.id}/pause").status_code == 409
    jobs.close.direct(run_id=run.id)
    assert [d.state for d in db.session.scalars(select(Delivery))] == [DeliveryState.CANCELLED]
    db.session.refresh(run)
    assert run.tally == {"cancelled": 1}


def test_unschedule_and_copy(db: Any, owner_client: Any, make_push: Any) -> None:
    push, run = make_push()
    services.schedule(run)
    owner_client.post(f"/console/pushes/{push.id}/unschedule")
    db.session.refresh(run)
    assert run.state is RunState.DRAFT
    owner_client.post(f"/console/pushes/{push.id}/copy")
    assert db.session.scalar(select(func.count()).select_from(Push)) == 2


@pytest.mark.parametrize("role", [Role.SERVICE, Role.ASSISTANT, Role.VIEWER])
def test_roles_that_only_look(staff_client: Any, make_push: Any, words: Any, role: Role) -> None:
    push, run = make_push()
    browser = staff_client(role)
    assert browser.get("/console/pushes").status_code == 200
    assert browser.get(f"/console/pushes/{push.id}").status_code == 200
    assert browser.get("/console/pushes/new").status_code == 403
    assert browser.post("/console/pushes/new", data=words).status_code == 403
    for act in ("pause", "resume", "cancel", "unschedule", "resend", "copy", "edit"):
        assert browser.post(f"/console/pushes/{push.id}/{act}").status_code == 403
    assert run.state is RunState.DRAFT


def test_looking_changes_nothing(db: Any, owner_client: Any, make_push: Any) -> None:
    push, run = make_push()
    before = (run.state, db.session.scalar(select(func.count()).select_from(Push)))
    for path in ("", "/new", f"/{push.id}", f"/{push.id}/edit", f"/{push.id}/deliveries", f"/{push.id}/progress"):
        assert owner_client.get(f"/console/pushes{path}").status_code == 200
    for act in ("pause", "resume", "cancel", "unschedule", "resend", "copy"):
        assert owner_client.get(f"/console/pushes/{push.id}/{act}").status_code == 405
    db.session.refresh(run)
    assert (run.state, db.session.scalar(select(func.count()).select_from(Push))) == before


def test_unknown_push_is_not_found(owner_client: Any) -> None:
    assert owner_client.get("/console/pushes/999999").status_code == 404
