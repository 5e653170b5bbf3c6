"""The member's messages: notices and pushes, once each, on their own page."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from campaigns.channels import services
from campaigns.channels.models import InboxMessage
from campaigns.channels.subscribers import deliver_notice
from kernel import clock as kernel_clock
from kernel import notices, visitors
from kernel.notices import Notice, NoticeWritten
from membership.members.models import Member


@pytest.fixture
def phone(app: Flask, db: Any, make_member: Any) -> tuple[FlaskClient, Member]:
    """A browser that is bound to a member."""
    person = make_member("Lime")
    now = kernel_clock.now()
    db.session.add(
        visitors.VisitorSession(
            token_hash=visitors._hash("token"),
            member_id=person.id,
            created_at=now,
            identified_at=None,
            expires_at=now + visitors.LIFETIME,
        )
    )
    browser = app.test_client()
    browser.set_cookie("visitor", "token")
    return browser, person


def test_a_notice_lands_in_the_inbox_once(db: Any, phone: Any, run_jobs: Any) -> None:
    browser, person = phone
    notices.tell(person.id, "seat", "Your seat is free", "Come in", "/me/")
    run_jobs()
    notice = db.session.scalars(select(Notice)).one()
    deliver_notice(NoticeWritten(notice_id=notice.id))
    found = db.session.scalars(select(InboxMessage)).one()
    assert (found.key, found.title, found.path) == (f"notice:{notice.id}", "Your seat is free", "/me/")
    assert "Your seat is free" in browser.get("/me/").text
    assert "Your seat is free" in browser.get("/me/messages").text


def test_looking_does_not_mark_as_read_and_the_button_does(db: Any, phone: Any) -> None:
    browser, person = phone
    services.put_into_inbox(person.id, "notice:1", "seat", "One", "Text")
    other = services.put_into_inbox(person.id, "notice:1", "seat", "One", "Text")
    assert not other
    browser.get("/me/messages")
    assert db.session.scalars(select(InboxMessage.read_at)).all() == [None]
    assert browser.post("/me/messages/read").status_code == 302
    assert db.session.scalars(select(InboxMessage.read_at)).one() is not None
    assert "notice-1" not in browser.get("/me/").text


def test_nobody_reads_the_messages_of_another(db: Any, phone: Any, make_member: Any) -> None:
    browser, person = phone
    other = make_member("Plum")
    services.put_into_inbox(other.id, "notice:2", "seat", "For Plum alone", "Text")
    assert "For Plum alone" not in browser.get("/me/messages").text
    browser.post("/me/messages/read")
    assert db.session.scalars(select(InboxMessage.read_at)).all() == [None]
    assert person.id != other.id


def test_a_stranger_is_asked_to_sign_in(client: FlaskClient) -> None:
    assert client.get("/me/messages").status_code == 302
    assert client.post("/me/messages/read").status_code == 302


def test_an_empty_inbox_says_so(phone: Any) -> None:
    assert phone[0].get("/me/messages").status_code == 200


def test_texts_are_escaped_and_links_made(db: Any, phone: Any) -> None:
    browser, person = phone
    services.put_into_inbox(
        person.id, "notice:3", "x", "<b>bold</b>", "see https://shop.example/a?b=1 and <script>alert(1)</script>"
    )
    page = browser.get("/me/messages").text
    assert "&lt;b&gt;bold" in page
    assert "<script>alert" not in page
    assert '<a href="https://shop.example/a?b=1" rel="noopener">' in page


def test_long_lists_go_by_pages(db: Any, phone: Any) -> None:
    browser, person = phone
    for n in range(25):
        services.put_into_inbox(person.id, f"notice:{n}", "x", f"Title {n:02}", "")
    page = browser.get("/me/messages").text
    assert "Title 24" in page
    assert "Title 04" not in page
    assert "cursor=" in page
