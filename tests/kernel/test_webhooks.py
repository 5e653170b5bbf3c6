"""Outgoing webhooks: signed, at least once, tried again, given up, sent again, and never twice under two names."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import delete, select
from standardwebhooks import Webhook, WebhookVerificationError

from kernel import events, today
from kernel.audit import AuditEntry
from kernel.auth import Role
from kernel.errors import Refusal
from kernel.events import Event, EventDelivery, publish
from kernel.http import Strict
from kernel.outbound import AddressRefused, CallFailed, Fault
from kernel.webhooks import brief, expose, exposed_types, jobs, rules, services
from kernel.webhooks.models import DeliveryState, EndpointState, WebhookDelivery, WebhookEndpoint
from tests.conftest import english


@dataclass(frozen=True, kw_only=True)
class ProbeHappened(Event):
    number: int


class ProbeData(Strict):
    number: int
    word: str


def probe_happened(event: ProbeHappened) -> ProbeData | None:
    return ProbeData(number=event.number, word="茶") if event.number >= 0 else None


expose(ProbeHappened, "probe.happened", probe_happened, "A probe.")


class ProbeNumber(Strict):
    number: int


def test_a_model_in_place_of_a_function_takes_the_event_as_it_is(clock):
    @dataclass(frozen=True, kw_only=True)
    class ProbeSpoke(Event):
        number: int
        secret: str

    expose(ProbeSpoke, "probe.spoke", ProbeNumber, "A probe.")
    found = exposed_types()["probe.spoke"]
    assert found.model is ProbeNumber
    assert found.payload(ProbeSpoke(number=7, secret="tea")) == ProbeNumber(number=7)
    with pytest.raises(TypeError, match="has no word to tell"):
        expose(ProbeSpoke, "probe.spoke_again", ProbeData, "A probe.")


class Receiver:
    """The other program: it notes what came and answers with the statuses it is given, then 204."""

    def __init__(self) -> None:
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.heard.append(({k.lower(): v for k, v in self.headers.items()}, body))
                status, headers, said = outer.answers.pop(0) if outer.answers else (204, {}, b"")
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/in"
        Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def then(self, *statuses: int) -> None:
        self.answers += [(status, {}, b"") for status in statuses]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(autouse=True)
def local(monkeypatch: pytest.MonkeyPatch, app: Any) -> None:
    monkeypatch.setitem(app.extensions, "settings", replace(app.extensions["settings"], outbound_local=True))


@pytest.fixture
def endpoint(db: Any, clock: Any, receiver: Receiver) -> tuple[WebhookEndpoint, str]:
    made, secret = services.add(receiver.url, ["probe.happened"], "Warehouse")
    db.session.commit()
    return made, secret


def messages(db: Any) -> list[WebhookDelivery]:
    db.session.expire_all()
    return list(db.session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.id)))


def test_a_message_is_signed_so_that_the_reference_library_takes_it(
    db, clock, endpoint, receiver, run_jobs, monkeypatch
):
    publish(ProbeHappened(number=7))
    run_jobs()
    [(headers, body)] = receiver.heard
    # The library looks at the real clock, the test's stands still.
    library = Webhook(endpoint[1])
    at = str(int(clock.now().timestamp()))
    assert headers["webhook-timestamp"] == at
    signature = library.sign(headers["webhook-id"], clock.now(), body.decode())
    assert headers["webhook-signature"] == signature
    said = json.loads(body)
    assert said == {
        "type": "probe.happened",
        "timestamp": "2026-03-03T04:00:00.000Z",
        "data": {"number": 7, "word": "茶"},
    }
    [one] = messages(db)
    assert (one.state, one.attempts, one.last_status) == (DeliveryState.DELIVERED, 1, 204)


def test_the_reference_library_verifies_and_refuses_another_body():
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    secret = rules.new_secret()
    headers = rules.headers([secret], "msg_1", now, b'{"a":1}')
    assert Webhook(secret).verify(b'{"a":1}', headers) == {"a": 1}
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(b'{"a":2}', headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(rules.new_secret()).verify(b'{"a":1}', headers)


def test_an_event_that_nobody_asked_for_costs_no_delivery(db, run_jobs):
    publish(ProbeHappened(number=1))
    run_jobs()
    assert db.session.scalars(select(EventDelivery)).all() == []
    assert messages(db) == []


def test_the_set_wise_way_of_publishing_asks_too(db, endpoint):
    sql = events.publishing(ProbeHappened, "rows")
    assert "webhook_endpoint" in sql
    cursor = db.session.connection().connection.cursor()
    for expected, listens in ((1, '["ProbeHappened"]'), (0, "[]")):
        db.session.execute(WebhookEndpoint.__table__.update().values(listens=json.loads(listens)))
        cursor.execute(
            f"WITH rows AS (SELECT 5 AS number), {sql} SELECT 1",
            {"now": "2026-03-03T04:00:00Z", "subscribers": events.subscribers_of(ProbeHappened)},
        )
        assert len(db.session.scalars(select(EventDelivery.event_id)).all()) == expected
        db.session.execute(EventDelivery.__table__.delete())


def test_only_who_asked_for_a_type_is_told_and_a_payload_may_be_none(db, endpoint, receiver, run_jobs):
    publish(ProbeHappened(number=-1))
    run_jobs()
    assert (messages(db), receiver.heard) == ([], [])


def test_a_failure_is_tried_again_on_the_written_times_then_given_up(db, clock, endpoint, receiver, run_jobs):
    receiver.then(*[500] * 10)
    publish(ProbeHappened(number=1))
    run_jobs()
    pauses = []
    for _ in rules.RETRIES:
        [one] = messages(db)
        assert one.state == DeliveryState.WAITING
        pauses.append(one.next_at - clock.now())
        clock.at(max(one.next_at, endpoint[0].held_until or one.next_at) - timedelta(seconds=1))
        jobs.send_webhooks()
        assert len(receiver.heard) == len(pauses), "not before its time"
        clock.move(seconds=1)
        db.session.get_one(WebhookEndpoint, endpoint[0].id).state = EndpointState.ACTIVE
        db.session.commit()
        jobs.send_webhooks()
    assert pauses == [timedelta(seconds=s) for s in (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)]
    [one] = messages(db)
    assert (one.state, one.attempts, one.last_status, one.last_error) == (DeliveryState.DEAD, 10, 500, "answered")
    assert len({headers["webhook-id"] for headers, _ in receiver.heard}) == 1, "always the same webhook-id"
    clock.move(days=9)
    jobs.send_webhooks()
    assert len(receiver.heard) == 10


def test_a_wish_to_wait_longer_is_granted(db, clock, endpoint, receiver, run_jobs):
    receiver.answers.append((429, {"Retry-After": "600"}, b""))
    publish(ProbeHappened(number=1))
    run_jobs()
    assert messages(db)[0].next_at == clock.now() + timedelta(seconds=600)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 500, 503])
def test_whatever_is_not_2xx_is_a_failure(db, clock, endpoint, receiver, run_jobs, status):
    receiver.answers.append((status, {"Location": receiver.url}, b""))
    publish(ProbeHappened(number=1))
    run_jobs()
    assert (messages(db)[0].state, messages(db)[0].last_status, len(receiver.heard)) == (
        DeliveryState.WAITING,
        status,
        1,
    )


def test_an_endpoint_that_hangs_up_is_left_alone_for_a_while_then_disabled_after_five_days(
    db, clock, endpoint, receiver, run_jobs
):
    receiver.then(*[500] * 5_000)
    publish(ProbeHappened(number=1))
    run_jobs()
    for _ in range(30):
        clock.move(hours=6)
        jobs.send_webhooks()
        found = db.session.get_one(WebhookEndpoint, endpoint[0].id)
        if found.state == EndpointState.DISABLED:
            break
        publish(ProbeHappened(number=2))
        run_jobs()
    assert found.state == EndpointState.DISABLED
    assert clock.now() - found.failing_since < timedelta(days=5, hours=7)
    assert "webhook.disabled" in db.session.scalars(select(AuditEntry.action)).all()
    heard = len(receiver.heard)
    publish(ProbeHappened(number=3))
    run_jobs()
    assert len(receiver.heard) == heard
    assert messages(db)[-1].state == DeliveryState.WAITING, "what happens meanwhile is kept"
    receiver.answers.clear()
    services.resume(found.id)
    services.resend_failed(found.id, clock.now() - timedelta(days=30))
    run_jobs()
    assert {one.state for one in messages(db)} == {DeliveryState.DELIVERED}


def test_gone_is_gone_at_once(db, clock, endpoint, receiver, run_jobs):
    receiver.then(410)
    publish(ProbeHappened(number=1))
    run_jobs()
    assert db.session.get_one(WebhookEndpoint, endpoint[0].id).state == EndpointState.DISABLED


def test_after_three_failures_in_a_row_nothing_is_sent_for_a_while(db, clock, endpoint, receiver, run_jobs):
    receiver.then(500, 500, 500)
    for number in range(3):
        publish(ProbeHappened(number=number))
    run_jobs()
    publish(ProbeHappened(number=9))
    run_jobs()
    assert len(receiver.heard) == 3
    clock.move(seconds=5)
    jobs.send_webhooks()
    assert len(receiver.heard) == 7
    assert db.session.get_one(WebhookEndpoint, endpoint[0].id).failures == 0


def test_what_happens_while_paused_waits(db, clock, endpoint, receiver, run_jobs):
    services.pause(endpoint[0].id)
    publish(ProbeHappened(number=1))
    run_jobs()
    assert receiver.heard == []
    services.resume(endpoint[0].id)
    run_jobs()
    assert len(receiver.heard) == 1


def test_for_a_day_both_secrets_sign(db, clock, endpoint, receiver, run_jobs):
    fresh = services.rotate(endpoint[0].id)
    for move in ({"hours": 0}, {"hours": 24}):
        clock.move(**move)
        publish(ProbeHappened(number=1))
        run_jobs()
    both, one = (headers["webhook-signature"].split(" ") for headers, _ in receiver.heard)
    assert (len(both), len(one)) == (2, 1)
    headers, body = receiver.heard[0]
    at = clock.now() - timedelta(hours=24)
    assert both == [rules.sign(secret, headers["webhook-id"], at, body) for secret in (fresh, endpoint[1])]


def test_a_secret_lies_sealed_in_the_table(db, endpoint):
    assert endpoint[1].startswith("whsec_")
    assert endpoint[1].removeprefix("whsec_") not in json.dumps([str(v) for v in vars(endpoint[0]).values()])


def test_a_message_is_sent_again_under_the_same_name(db, clock, endpoint, receiver, run_jobs):
    publish(ProbeHappened(number=1))
    run_jobs()
    services.resend(endpoint[0].id, messages(db)[0].id)
    run_jobs()
    assert len({headers["webhook-id"] for headers, _ in receiver.heard}) == 1
    assert len(receiver.heard) == 2


def test_an_event_that_is_handed_over_twice_makes_one_message(db, clock, endpoint, receiver, run_jobs):
    publish(ProbeHappened(number=1))
    run_jobs()
    db.session.execute(EventDelivery.__table__.update().values(delivered_at=None))
    events.deliver_events()
    assert len(messages(db)) == 1


def test_a_worker_that_comes_back_late_changes_nothing(db, clock, endpoint, receiver, run_jobs, monkeypatch):
    """Its lease ran out, another one sent the message and recorded that: the late outcome is dropped."""
    publish(ProbeHappened(number=1))
    with db.session.no_autoflush:
        events.deliver_events()
    jobs_before = jobs._record
    late: list[Any] = []
    monkeypatch.setattr(jobs, "_record", lambda parcel, outcome: late.append((parcel, outcome)))
    jobs.send_webhooks()
    monkeypatch.setattr(jobs, "_record", jobs_before)
    assert messages(db)[0].state == DeliveryState.SENDING
    clock.move(seconds=121)
    receiver.then(500)
    jobs.send_webhooks()
    assert (messages(db)[0].state, messages(db)[0].last_status) == (DeliveryState.WAITING, 500)
    jobs._record(*late[0])
    db.session.commit()
    assert (messages(db)[0].state, messages(db)[0].last_status) == (DeliveryState.WAITING, 500)
    assert len({headers["webhook-id"] for headers, _ in receiver.heard}) == 1


def test_old_messages_are_swept(db, clock, endpoint, receiver, run_jobs):
    publish(ProbeHappened(number=1))
    run_jobs()
    clock.move(days=29)
    jobs.sweep_webhook_deliveries()
    assert len(messages(db)) == 1
    clock.move(days=2)
    jobs.sweep_webhook_deliveries()
    assert messages(db) == []


@pytest.mark.parametrize("url", ["ftp://x.example/", "https://10.0.0.1/", "https://user@x.example/", "x"])
def test_an_address_that_is_not_called_cannot_be_added(db, url):
    with pytest.raises(AddressRefused):
        services.add(url, ["probe.happened"])


@pytest.mark.parametrize("types", [[], ["probe.unknown"], ["probe.happened", "nothing"]])
def test_only_known_types_are_subscribed_to(db, receiver, types):
    with pytest.raises(Refusal):
        services.add(receiver.url, types)


def test_the_first_page_names_the_endpoint_that_fails(db, clock, endpoint, receiver, run_jobs, app, staff_client):
    endpoint[0].failures = 3
    db.session.commit()
    client = english(staff_client(Role.OWNER))
    first, shown = "/console/", f"/console/webhooks/{endpoint[0].id}"
    assert "127.0.0.1" in page(client, first)
    # What is said of its messages is what became of them.
    waits, gone = "Messages wait and are tried again", "given up and go"
    for states, said in (("w", (True, False)), ("wdd", (True, True)), ("d", (False, True))):
        db.session.execute(delete(WebhookDelivery))
        for number, state in enumerate(states):
            db.session.add(
                WebhookDelivery(
                    endpoint_id=endpoint[0].id,
                    message_id=f"msg_{number}",
                    type="probe.happened",
                    body="{}",
                    state=DeliveryState.WAITING if state == "w" else DeliveryState.DEAD,
                    attempts=1,
                    created_at=clock.now(),
                    next_at=clock.now(),
                )
            )
        db.session.commit()
        for path in (first, shown):
            words = page(client, path)
            assert (waits in words, gone in words) == said, (path, states)
    assert brief.tasks in today.tasks._answers


# ── Pages ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def page(client: Any, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, path
    return answer.get_data(as_text=True)


def test_a_browser_does_not_ask_for_every_box_of_a_choice_of_several(db, staff_client):
    client = staff_client(Role.OWNER)
    for path in ("/console/webhooks/new", "/console/api-keys"):
        boxes = re.findall(r"<input[^>]*type=\"checkbox\"[^>]*>", page(client, path))
        assert len(boxes) > 1, path
        assert not [box for box in boxes if "required" in box], path


def test_an_address_is_added_and_its_secret_shown_once(db, receiver, staff_client):
    client = staff_client(Role.MANAGER)
    assert "probe.happened" in page(client, "/console/webhooks/new")
    form = {"url": receiver.url, "description": "Till", "types": ["probe.happened"]}
    made = client.post("/console/webhooks", data=form)
    assert made.status_code == 200
    assert "whsec_" in made.get_data(as_text=True)
    [endpoint] = db.session.scalars(select(WebhookEndpoint))
    assert "whsec_" not in page(client, f"/console/webhooks/{endpoint.id}")
    assert "Till" in page(client, "/console/webhooks")
    changed = client.post(f"/console/webhooks/{endpoint.id}/edit", data={**form, "description": "Counter"})
    assert changed.status_code == 302
    assert "Counter" in page(client, f"/console/webhooks/{endpoint.id}/edit")


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": ""},
        {"url": "https://10.0.0.1/"},
        {"url": "no"},
        {"types": []},
        {"types": ["x"]},
        {"description": "x" * 201},
    ],
)
def test_what_cannot_be_is_refused_at_its_field(db, receiver, staff_client, wrong):
    form = {"url": receiver.url, "description": "", "types": ["probe.happened"], **wrong}
    answer = staff_client(Role.MANAGER).post("/console/webhooks", data=form)
    assert (answer.status_code, 'aria-invalid="true"' in answer.text or "invalid-feedback" in answer.text) == (
        422,
        True,
    )
    assert db.session.scalars(select(WebhookEndpoint)).all() == []


def test_the_log_shows_what_was_sent_and_what_came_back(db, clock, endpoint, receiver, run_jobs, staff_client):
    client = staff_client(Role.MANAGER)
    client.set_cookie("lang", "en")
    receiver.answers.append((500, {}, b"<b>broken</b>"))
    publish(ProbeHappened(number=7))
    run_jobs()
    [one] = messages(db)
    shown = page(client, f"/console/webhooks/{endpoint[0].id}/deliveries/{one.id}")
    assert "&lt;b&gt;broken" in shown
    assert "<b>broken" not in shown
    assert one.message_id in shown
    assert "It answered 500; only 200 to 299" in shown
    log = f"/console/webhooks/{endpoint[0].id}"
    address = f"{log}/deliveries/{one.id}"
    assert address in page(client, f"{log}?state=failed&type=probe.happened")
    assert address not in page(client, f"{log}?state=delivered")
    file = client.post(f"{log}/export?state=failed", buffered=True).text.removeprefix("\ufeff")
    [_header, line] = csv.reader(io.StringIO(file))
    assert line[:4] == ["probe.happened", one.message_id, "waiting", "500"]
    assert "It answered 500" in line[4]
    assert len(client.post(f"{log}/export?state=delivered", buffered=True).text.splitlines()) == 1
    kept = db.session.scalars(select(AuditEntry.after).where(AuditEntry.action == "webhook.log_exported")).all()
    assert sorted(after["number"] for after in kept) == [0, 1]
    assert staff_client(Role.VIEWER).post(f"{log}/export").status_code == 403
    assert client.post(f"{address}/resend").status_code == 302
    run_jobs()
    assert address in page(client, f"{log}?state=delivered")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (CallFailed(Fault.REFUSED, "127.0.0.1: [Errno 111] Connection refused"), "nothing listens at this address"),
        (CallFailed(Fault.CERTIFICATE, "certificate verify failed"), "Its certificate is not valid"),
        (AddressRefused(), "leads into a closed network"),
    ],
)
def test_a_fault_is_said_in_the_readers_words(
    db, clock, endpoint, receiver, run_jobs, staff_client, monkeypatch, fault, words
):
    def fail(*_call):
        raise fault

    monkeypatch.setattr(jobs.outbound, "post", fail)
    publish(ProbeHappened(number=7))
    run_jobs()
    [one] = messages(db)
    client, log = staff_client(Role.MANAGER), f"/console/webhooks/{endpoint[0].id}"
    client.set_cookie("lang", "en")
    for address in (log, f"{log}/deliveries/{one.id}"):
        shown = page(client, address)
        assert words in shown
        assert "Errno" not in shown


def test_test_pause_rotate_and_delete(db, clock, endpoint, receiver, run_jobs, staff_client):
    client, place = staff_client(Role.MANAGER), f"/console/webhooks/{endpoint[0].id}"
    assert client.post(f"{place}/ping").status_code == 302
    run_jobs()
    assert json.loads(receiver.heard[0][1])["type"] == "webhook.test"
    client.post(f"{place}/pause")
    assert client.post(f"{place}/ping").status_code == 409
    client.post(f"{place}/resume")
    assert "whsec_" in client.post(f"{place}/rotate").text
    assert client.post(f"{place}/resend-failed", data={"hours": "24"}).status_code == 302
    client.post(f"{place}/delete")
    assert messages(db) == []
    assert client.get(place).status_code == 404
    acts = db.session.scalars(select(AuditEntry.action).where(AuditEntry.action.like("webhook.%"))).all()
    assert {"webhook.added", "webhook.paused", "webhook.resumed", "webhook.secret_rotated", "webhook.removed"} <= set(
        acts
    )


def test_another_endpoints_message_is_not_found_here(db, clock, endpoint, receiver, run_jobs, staff_client):
    publish(ProbeHappened(number=7))
    run_jobs()
    other, _secret = services.add(receiver.url, ["probe.happened"])
    db.session.commit()
    client = staff_client(Role.MANAGER)
    assert client.get(f"/console/webhooks/{other.id}/deliveries/{messages(db)[0].id}").status_code == 404


@pytest.mark.parametrize("role", [Role.MARKETER, Role.SERVICE, Role.ASSISTANT, Role.VIEWER])
def test_who_may_not_sees_and_changes_nothing(db, endpoint, staff_client, role):
    client, place = staff_client(role), f"/console/webhooks/{endpoint[0].id}"
    assert client.get("/console/webhooks").status_code == 403
    assert client.post(f"{place}/delete").status_code == 403
    assert db.session.get(WebhookEndpoint, endpoint[0].id) is not None
