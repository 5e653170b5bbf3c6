"""What mail servers send back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaigns.channels import bounces

DSN = """From: MAILER-DAEMON@mx.example
To: bounce@shop.example
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b1"

--b1
Content-Type: text/plain

I'm sorry.

--b1
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example
Arrival-Date: Tue, 3 Mar 2026 12:00:00 +0800

Final-Recipient: rfc822; {address}
Action: {action}
Status: {status}
Diagnostic-Code: smtp; {said}

--b1
Content-Type: message/rfc822

Message-ID: <delivery.12@shop.example>
Subject: Tea

Tea.
--b1--
"""


def dsn(address="Lime@Example.com", action="failed", status="5.1.1", said="550 5.1.1 user unknown") -> bytes:
    return DSN.format(address=address, action=action, status=status, said=said).replace("\n", "\r\n").encode()


ARF = """From: <abuse@isp.example>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="b2"

--b2
Content-Type: text/plain

This is a complaint.
--b2
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: x/1
Version: 1
Original-Rcpt-To: <lime@example.com>

--b2
Content-Type: message/rfc822

Subject: Tea

Tea.
--b2--
""".replace("\n", "\r\n").encode()


def test_a_failed_delivery_is_read():
    assert bounces.read(dsn()) == [
        bounces.Report("lime@example.com", True, False, "5.1.1 smtp; 550 5.1.1 user unknown")
    ]


@pytest.mark.parametrize(
    ("status", "said", "hard"),
    [
        ("5.1.1", "550 user unknown", True),
        ("5.1.2", "no such host", True),
        ("5.1.10", "null mx", True),
        ("5.2.1", "mailbox disabled", True),
        ("5.2.2", "mailbox full", False),
        ("5.7.1", "blocked", False),
        ("5.1.8", "bad sender", False),
        ("5.0.0", "550 no such user here", True),
        ("5.0.0", "554 refused", False),
        ("4.1.1", "550 later", False),
        ("", "550 Mailbox not found", True),
    ],
)
def test_only_an_address_that_does_not_exist_is_hard(status, said, hard):
    found = bounces.read(dsn(status=status, said=said))
    assert [report.hard for report in found] == [hard]


def test_a_delay_is_no_report():
    assert bounces.read(dsn(action="delayed", status="4.4.1")) == []


def test_a_complaint_is_read():
    assert bounces.read(ARF) == [bounces.Report("lime@example.com", False, True, "abuse")]


@pytest.mark.parametrize(
    ("code", "said", "hard"),
    [
        (550, "550 5.1.1 <x@y.example>: Recipient address rejected: User unknown", True),
        (550, "550 no such user", True),
        (550, "550 5.7.1 relaying denied", False),
        (552, "552 5.2.2 over quota", False),
        (450, "450 5.1.1 odd", False),
        (553, "553 mailbox unavailable", True),
        (554, "554 spam", False),
    ],
)
def test_a_refusal_at_the_door(code, said, hard):
    assert bounces.hard(code, said) is hard


@pytest.mark.parametrize("content", [b"", b"\x00\xff", b"Subject: hi\r\n\r\nhi", dsn()[:200], b"\r\n" * 1000])
def test_anything_else_reports_nothing(content):
    assert bounces.read(content) == []


@given(st.binary(max_size=400), st.integers(0, 900))
def test_inv_no_bytes_break_it(junk, at):
    whole = dsn()
    bounces.read(whole[:at] + junk + whole[at:])
    bounces.read(junk)
