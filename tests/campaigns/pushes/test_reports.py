"""What a channel reports of messages that it has taken: it reaches their rows, in any order, and never sends anything."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import select

from campaigns.channels import pace
from campaigns.channels import services as channels
from campaigns.channels.models import Account, ChannelKind, Receipt
from campaigns.pushes import jobs, services
from campaigns.pushes.models import Delivery, DeliveryState
from campaigns.results import queries as results
from kernel import clock as kernel_clock
from kernel import shop


@pytest.fixture
def sms(db: Any, clock: Any) -> Account:
    settings = {
        "provider": "gateway",
        "signature": "青荷茶铺",
        "opt_out": "拒收请回复R",
        "url": "https://gateway.example/",
        "template": '{"to": "{to}", "text": "{text}"}',
    }
    account = channels.save_account(ChannelKind.SMS, "SMS", settings, pace.Rates(), "hush")
    channels.open_hooks(account)
    return account


@pytest.fixture
def sent(db: Any, run_jobs: Any, inbox: Account, sms: Account, make_member: Any, make_push: Any) -> Any:
    """A push of three that were taken, put over to the account for text messages."""
    shop.put("holdout.percent", 0)
    for name in ("Lime", "Plum", "Pear"):
        make_member(name)
    push, run = make_push()
    services.schedule(run)
    jobs.wake.direct()
    run_jobs()
    push.account_id = sms.id
    db.session.flush()
    rows = list(db.session.scalars(select(Delivery).where(Delivery.run_id == run.id).order_by(Delivery.id)))
    return push, run, rows


def told(client: Any, account: Account, *reports: tuple[int, bool]) -> None:
    body = [{"out_id": f"delivery:{delivery_id}", "success": success} for delivery_id, success in reports]
    assert client.post(f"/hooks/channels/{account.hook_token}/receipts", json=body).status_code == 200


def test_reports_reach_the_numbers_and_the_pages(
    db: Any, client: Any, owner_client: Any, run_jobs: Any, sms: Account, sent: Any
) -> None:
    push, run, (lime, plum, pear) = sent
    told(client, sms, (lime.id, True), (plum.id, False), (10**9, True))
    run_jobs()
    db.session.expire_all()
    assert lime.delivered_at is not None
    assert lime.undelivered_at is None
    assert plum.undelivered_at is not None
    assert pear.delivered_at is pear.undelivered_at is None
    # Nothing is offered again because of it, and the run adds up as before.
    assert {row.state for row in (lime, plum, pear)} == {DeliveryState.ACCEPTED}
    assert run.tally == {"accepted": 3}
    report = results.report(run, push)
    assert (report.sent, report.delivered, report.undelivered) == (3, 1, 1)
    page = owner_client.get(f"/console/pushes/{push.id}").text
    assert "1 条已送达，1 条未送达，1 条没有回音" in page
    assert "未送达" in owner_client.get(f"/console/pushes/{push.id}/deliveries").text
    for path in (f"/console/pushes/{push.id}/results.csv", f"/console/results/runs/{run.id}.csv"):
        assert "已送达,1" in owner_client.get(path).text
    assert "1 条已送达" in owner_client.get(f"/console/results/runs/{run.id}").text


@pytest.mark.parametrize("order", list(permutations((True, False, True))))
def test_in_whatever_order_they_come_delivered_stands(
    db: Any, client: Any, run_jobs: Any, sms: Account, sent: Any, order: tuple[bool, ...]
) -> None:
    push, run, (lime, *_others) = sent
    for success in order:
        told(client, sms, (lime.id, success))
    run_jobs()
    report = results.report(run, push)
    assert (report.delivered, report.undelivered) == (1, 0)


def test_another_account_has_nothing_to_say(db: Any, sent: Any, inbox: Account) -> None:
    _push, _run, (lime, *_others) = sent
    assert not services.note_report(inbox.id, lime.id, True)
    db.session.refresh(lime)
    assert lime.delivered_at is None


def test_a_report_by_the_other_sides_number_finds_its_message(
    db: Any, client: Any, run_jobs: Any, clock: Any, sms: Account, inbox: Account, sent: Any
) -> None:
    _push, _run, (lime, plum, pear) = sent

    def report(account: Account, number: str, success: bool = True) -> None:
        body = [{"biz_id": number, "success": success}]
        assert client.post(f"/hooks/channels/{account.hook_token}/receipts", json=body).status_code == 200
        run_jobs()

    lime.provider_id, plum.provider_id, pear.provider_id = "b-1", "shared", "shared"
    db.session.flush()
    report(sms, "b-1")
    # A number of several messages, or of none here, says nothing of any.
    report(sms, "shared"), report(sms, "b-2", success=False)
    assert not services.note_numbered(inbox.id, "b-1", False)
    db.session.expire_all()
    assert lime.delivered_at is not None
    assert plum.delivered_at is pear.delivered_at is None
    # The report was quicker than our own note of the message's number.
    plum.provider_id = "b-2"
    db.session.flush()
    clock.move(minutes=1)
    jobs.match_receipts.direct()
    db.session.expire_all()
    assert plum.undelivered_at is not None
    assert services.match_receipts(kernel_clock.now() - timedelta(hours=1)) == 0


def test_reports_that_fit_nothing_keep_no_other_from_its_turn(
    db: Any, clock: Any, sms: Account, inbox: Account, sent: Any, make_member: Any, make_push: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    _push, run, (lime, plum, pear) = sent
    monkeypatch.setattr(services, "MATCHED_AT_ONCE", 1)
    lime.provider_id, plum.provider_id, pear.provider_id = "b-1", "shared", "shared"
    # One of those that share a number was reported already, which makes the other no more certain.
    plum.delivered_at = kernel_clock.now()
    other, other_run = make_push()
    lost = Delivery(
        run_id=other_run.id, member_id=make_member("Fig").id, slice_number=0, provider_id="elsewhere",
        state=DeliveryState.ACCEPTED,
    )  # fmt: skip
    ended = Delivery(
        run_id=run.id, member_id=lost.member_id, slice_number=0, provider_id="ended", state=DeliveryState.EXPIRED
    )
    db.session.add_all([lost, ended])
    for number in ("b-1", "shared", "elsewhere", "ended"):
        clock.move(seconds=1)
        said = {"account_id": sms.id, "key": number, "delivered": True, "code": "", "signed": True}
        db.session.add(Receipt(**said, at=kernel_clock.now()))
        db.session.flush()
    assert other.account_id == inbox.id
    assert services.match_receipts(kernel_clock.now() - timedelta(hours=1)) == 1
    db.session.expire_all()
    assert lime.delivered_at is not None
    assert pear.delivered_at is lost.delivered_at is ended.delivered_at is None


@pytest.mark.parametrize("state", [DeliveryState.SUPPRESSED, DeliveryState.READY, DeliveryState.CONTROL])
def test_what_was_never_handed_over_is_not_delivered(db: Any, sms: Account, sent: Any, state: DeliveryState) -> None:
    _push, _run, (lime, *_others) = sent
    lime.state = state
    db.session.flush()
    assert not services.note_report(sms.id, lime.id, True)
