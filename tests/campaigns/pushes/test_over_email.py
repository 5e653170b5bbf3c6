"""A push over a real mail server: what arrives, the way out of it, and a server that is down for a while."""

from __future__ import annotations

import re
from email import message_from_bytes
from email.policy import default
from typing import Any

from aiosmtpd.controller import Controller
from sqlalchemy import select

from campaigns.channels.models import Account, ChannelKind
from campaigns.pushes import jobs, services
from campaigns.pushes.models import Delivery, DeliveryState, RunState
from kernel import clock as kernel_clock
from kernel import shop
from membership.members import queries as members
from membership.members.models import Contact
from tests.live import free_port


class Box:
    def __init__(self) -> None:
        self.mail: list[Any] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mail.append(message_from_bytes(envelope.content, policy=default))
        return "250 taken"


def test_mail_arrives_and_one_click_leaves(
    db: Any, client: Any, make_member: Any, make_push: Any, make_offer: Any, run_jobs: Any, clock: Any
) -> None:
    shop.put("holdout.percent", 0)
    lime = make_member("Lime", email="lime@example.com")
    without = make_member("Plum")
    deaf = make_member("Deaf", consents=(Contact.INBOX,), email="deaf@example.com")
    port, box = free_port(), Box()
    settings = {
        "host": "127.0.0.1",
        "port": port,
        "security": "none",
        "sender": "shop@shop.example",
        "username": "",
        "timeout_seconds": 2.0,
    }
    account = Account(name="Mail", kind=ChannelKind.EMAIL, settings=settings, created_at=kernel_clock.now())
    db.session.add(account)
    db.session.flush()
    _push, run = make_push(
        account_id=account.id, offer_id=make_offer().id, subject="{nickname}, hello", body="Take it: {coupon_link}"
    )
    services.schedule(run)
    # The mail server is down; nothing is lost, and the account says so.
    jobs.wake.direct()
    run_jobs()
    states = {d.member_id: (d.state, d.reason) for d in db.session.scalars(select(Delivery))}
    assert states[without.id] == (DeliveryState.SUPPRESSED, "no_address")
    assert states[deaf.id] == (DeliveryState.SUPPRESSED, "no_consent")
    assert states[lime.id][0] is DeliveryState.READY
    db.session.refresh(account)
    assert account.retry_at is not None
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        clock.move(minutes=1)
        jobs.wake.direct()
        run_jobs()
    finally:
        controller.stop()
    assert run.state is RunState.COMPLETED
    assert run.tally == {"accepted": 1, "suppressed:no_address": 1, "suppressed:no_consent": 1}
    (mail,) = box.mail
    assert (mail["To"], mail["Subject"]) == ("lime@example.com", "Lime, hello")
    text = mail.get_body(("plain",)).get_content()
    link = re.search(r"http://localhost(/l/\S+)", text)
    assert link is not None
    assert client.get(link[1]).location.startswith("/c/")
    # The mail program posts the header's address by itself (RFC 8058).
    named = re.search(r"<http://localhost(/u/[^>]+)>", mail["List-Unsubscribe"])
    assert named is not None
    way_out = named[1]
    assert way_out in text
    assert client.get(way_out).status_code == 200
    assert members.has_consent(lime.id, Contact.EMAIL)
    assert client.post(way_out, data={"List-Unsubscribe": "One-Click"}).status_code == 200
    assert not members.has_consent(lime.id, Contact.EMAIL)
    assert members.has_consent(lime.id, Contact.INBOX)
