"""How accounts are: what is counted, when the breaker opens, how it closes again, and what the pages show of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from campaigns.channels import breaker, jobs, queries, registry, services
from campaigns.channels.adapters import Message, Outcome, Status
from campaigns.channels.models import Account, ChannelFault, ChannelKind, DeadAddress
from kernel.events import EventRecord
from membership.members.models import Channel, Contact, MemberIdentity

from .conftest import Say, Side


def fail(account: Account, times: int = 20, reason: str = "HTTP 500") -> None:
    services.note_errors(account.id, times, reason)


def message(member_id: int = 0, address: str = "+8610000000001") -> Message:
    return Message("delivery:1", 1, member_id, address, "Tea", "【青荷茶铺】新茶，拒收请回复R")


# ── What is counted ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_calls_and_outcomes_are_counted(db: Any, clock: Any, sms_account: Account) -> None:
    said = [
        Outcome(Status.ACCEPTED),
        Outcome(Status.ASSIGNED),
        Outcome(Status.REJECTED, "no such number +8613812345678"),
        Outcome(Status.RETRY, "slow"),
        Outcome(Status.UNKNOWN, "slow"),
    ]
    services.note_call(sms_account.id, [message()] * 5, said, 0.25, flush=True)
    services.note_call(sms_account.id, [message()], said[:1], 0.75, flush=True)
    found = queries.record_of(sms_account.id, timedelta(days=1))
    assert found == queries.Record(2, 3, 1, 1, 1, 500, 750)
    reasons = {f.reason: f.times for f in queries.faults_of(sms_account.id)}
    assert reasons == {"no such number +861****5678": 1, "slow": 2}
    clock.move(days=2)
    assert queries.record_of(sms_account.id, timedelta(days=1)).calls == 0
    assert queries.record_of(sms_account.id, timedelta(days=7)).calls == 2


def test_old_counts_and_reasons_are_forgotten(db: Any, clock: Any, sms_account: Account) -> None:
    for n in range(60):
        services.note_call(sms_account.id, [message()], [Outcome(Status.REJECTED, f"r{n}")], 0.1, flush=True)
        clock.move(seconds=1)
    services.prune()
    assert len(db.session.scalars(select(ChannelFault)).all()) == 50
    clock.move(days=91)
    services.prune()
    assert queries.record_of(sms_account.id, timedelta(days=365)).calls == 0


def test_an_address_that_bounced_is_given_up(db: Any, clock: Any, make_member: Any, make_account: Any) -> None:
    lime = make_member("Lime", (Contact.EMAIL,), email="lime@example.com")
    mail = make_account(ChannelKind.EMAIL, host="h", port=25, sender="a@b.example", security="none")
    gone = Outcome(Status.REJECTED, "550 5.1.1 <lime@example.com> unknown", bounced=True)
    services.note_call(mail.id, [message(lime.id, "lime@example.com")], [gone], 0.1)
    (dead,) = db.session.scalars(select(DeadAddress))
    assert (dead.address, "lime@example.com" in dead.reason) == ("lime@example.com", False)


def test_the_staff_see_it_on_the_members_page_and_may_take_it_back(
    db: Any, clock: Any, make_member: Any, owner_client: Any, staff_client: Any
) -> None:
    lime = make_member("Lime", (Contact.EMAIL,), email="lime@example.com")
    services.give_up(lime.id, "lime@example.com", "550 5.1.1 user unknown")
    page = owner_client.get(f"/console/members/{lime.id}").text
    assert "550 5.1.1 user unknown" in page
    url = f"/console/members/{lime.id}/addresses/try-again"
    assert staff_client("viewer").post(url).status_code == 403
    assert owner_client.post(url).status_code == 302
    assert db.session.scalars(select(DeadAddress)).all() == []
    assert owner_client.post("/console/members/99999/addresses/try-again").status_code == 404


@given(st.text(max_size=200))
def test_inv_masking_never_breaks_and_is_one_line(text: str) -> None:
    found = breaker.masked(text)
    assert "\n" not in found


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("550 <lime.tree@example.com>: unknown", "550 <lim***@example.com>: unknown"),
        ("to +8613812345678 no", "to +861****5678 no"),
        ("HTTP 500\r\nX: y", "HTTP 500 X: y"),
    ],
)
def test_addresses_are_masked(said: str, shown: str) -> None:
    assert breaker.masked(said) == shown


# ── The breaker ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_twenty_errors_open_it_and_a_probe_closes_it(db: Any, clock: Any, side: Side, sms_account: Account) -> None:
    fail(sms_account, 19)
    db.session.refresh(sms_account)
    assert sms_account.paused_at is None
    fail(sms_account, 1)
    db.session.refresh(sms_account)
    assert (sms_account.tripped, sms_account.pause_reason) == (True, "HTTP 500")
    assert db.session.scalars(select(EventRecord.name).where(EventRecord.name.endswith("ChannelPaused"))).all()
    jobs.probe.direct()
    db.session.refresh(sms_account)
    assert sms_account.paused_at is not None, "it was tried before its time"
    clock.move(minutes=1)
    jobs.probe.direct()
    db.session.refresh(sms_account)
    assert (sms_account.paused_at, sms_account.errors_in_row) == (None, 19)
    assert side.taken == [], "a probe sends nothing"
    # A single further error opens it again, and the next wait is longer.
    fail(sms_account, 1)
    db.session.refresh(sms_account)
    assert sms_account.paused_at is not None
    assert (sms_account.probe_at - sms_account.paused_at) == timedelta(minutes=2)
    clock.move(minutes=2)
    jobs.probe.direct()
    services.note_accepted(sms_account.id)
    db.session.refresh(sms_account)
    assert (sms_account.errors_in_row, sms_account.probes) == (0, 0)


def test_a_side_that_is_still_away_is_tried_less_and_less(
    db: Any, clock: Any, side: Side, sms_account: Account
) -> None:
    side.shutdown()
    side.server_close()
    fail(sms_account)
    waits = []
    for _round in range(8):
        db.session.refresh(sms_account)
        clock.move(seconds=(sms_account.probe_at - sms_account.paused_at).total_seconds() + 7200)
        jobs.probe.direct()
        db.session.refresh(sms_account)
        assert sms_account.paused_at is not None
        waits.append(sms_account.probes)
    assert waits == list(range(1, 9))
    assert breaker.probe_wait(99) == timedelta(hours=1)


def test_what_a_person_paused_stays_paused(db: Any, clock: Any, side: Side, sms_account: Account) -> None:
    services.pause_account(sms_account, "by hand")
    clock.move(days=1)
    jobs.probe.direct()
    assert sms_account.paused_at is not None
    services.resume_account(sms_account)
    fail(sms_account)
    db.session.refresh(sms_account)
    services.pause_account(sms_account, "by hand after all")
    clock.move(days=1)
    jobs.probe.direct()
    db.session.refresh(sms_account)
    assert sms_account.paused_at is not None


def test_a_test_that_is_taken_closes_it(
    db: Any, clock: Any, side: Side, run_jobs: Any, sms_account: Account, owner_client: Any
) -> None:
    fail(sms_account)
    owner_client.post(f"/console/channels/{sms_account.id}/test", data={"address": "13800000000", "body": ""})
    run_jobs()
    db.session.refresh(sms_account)
    assert (sms_account.test_passed, sms_account.paused_at) == (True, None)


def test_pages_show_it(db: Any, clock: Any, sms_account: Account, owner_client: Any) -> None:
    services.note_call(sms_account.id, [message()], [Outcome(Status.REJECTED, "空号 <b>")], 0.2, flush=True)
    fail(sms_account)
    for path in (
        f"/console/channels/{sms_account.id}/record",
        f"/console/channels/{sms_account.id}",
        "/console/channels",
    ):
        page = owner_client.get(path)
        assert page.status_code == 200
        assert "HTTP 500" in page.text
    assert "空号 &lt;b&gt;" in owner_client.get(f"/console/channels/{sms_account.id}/record").text


# ── A test of every kind ────────────────────────────────────────────────────────────────────────────────────────────


def test_check_f2_a_text_without_signature_or_way_out_cannot_be_tried(
    db: Any, clock: Any, side: Side, run_jobs: Any, sms_account: Account, owner_client: Any
) -> None:
    url = f"/console/channels/{sms_account.id}/test"
    for body in (
        "新茶到店，拒收请回复R",
        "【青荷茶铺】新茶到店",
        "【青荷茶铺】http://localhost/l/abcdefghijklmnopqrstu 拒收请回复R",
    ):
        assert owner_client.post(url, data={"address": "13800000000", "body": body}).status_code == 422
    assert owner_client.post(url, data={"address": "12", "body": ""}).status_code == 422
    run_jobs()
    assert side.taken == []
    assert owner_client.post(url, data={"address": "13800000000", "body": ""}).status_code == 302
    run_jobs()
    assert side.taken[0].json["content"] == "【青荷茶铺】这是一条测试短信，拒收请回复R"


def test_the_inbox_and_tasks_are_tried_on_a_member(
    db: Any, clock: Any, run_jobs: Any, owner_client: Any, make_member: Any, make_account: Callable[..., Account]
) -> None:

    lime = make_member("Lime", phone="+8613800000001")
    db.session.add(
        MemberIdentity(
            member_id=lime.id, channel=Channel.PHONE, external_id="+8613800000001", created_at=lime.created_at
        )
    )
    db.session.flush()
    inbox, tasks = services.inbox_account(), make_account(ChannelKind.TASK, days=1)
    for account in (inbox, tasks):
        url = f"/console/channels/{account.id}/test"
        assert owner_client.post(url, data={"address": "13899999999"}).status_code == 422
        assert owner_client.post(url, data={"address": "13800000001"}).status_code == 302
        run_jobs()
        db.session.refresh(account)
        assert account.test_passed, account.test_outcome
    assert len(queries.latest(lime.id)) == 1
    assert queries.open_tasks() == (1, 0)


def test_a_robot_is_tried_in_its_chat(
    db: Any, clock: Any, side: Side, run_jobs: Any, owner_client: Any, make_account: Callable[..., Account]
) -> None:
    side.usual = Say(body={"errcode": 0})
    robot = make_account(ChannelKind.ROBOT, secret={"url": f"{side.url}/r"}, robot="wecom", groups=[], notices=False)
    owner_client.post(f"/console/channels/{robot.id}/test", data={"body": "Hello"})
    run_jobs()
    assert side.taken[0].json["text"]["content"].endswith("Hello")


def test_every_kind_has_an_adapter_and_a_row_in_the_table(db: Any, make_account: Callable[..., Account]) -> None:
    assert {able.kind for able in queries.abilities()} == set(ChannelKind)
    assert set(registry._makers) == set(ChannelKind)


def test_probes_of_our_own_tables_are_always_well(db: Any, clock: Any, make_account: Callable[..., Account]) -> None:
    for account in (services.inbox_account(), make_account(ChannelKind.TASK, days=1)):
        assert registry.adapter_of(account).probe() is None
