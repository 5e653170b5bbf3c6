"""Settings and things that two people write at once, where a row is and where none is; and forms that are sent twice."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from sqlalchemy import Select, func, select

from campaigns.audiences import services as audiences
from campaigns.audiences.models import Audience
from campaigns.audiences.rules import Definition
from campaigns.channels import services as channels
from campaigns.channels.models import Account, ChannelKind
from campaigns.channels.pace import Rates
from campaigns.journeys import rules as journey_rules
from campaigns.journeys import services as journeys
from campaigns.journeys.models import Journey
from campaigns.pushes.models import Push, RunState
from campaigns.results import mailing
from campaigns.results.models import ReportPlan, Rhythm
from campaigns.touchpoints import services as touchpoints
from campaigns.touchpoints.models import Stage, TouchKind, Touchpoint
from community.conversations import services as talks
from community.conversations.models import Message
from community.desk.models import Script
from community.tickets import queries as ticket_queries
from community.tickets import services as tickets
from community.tickets.models import EntryKind, Macro, Ticket, TicketEntry, TicketKind
from kernel import clock as kernel_clock
from kernel.audit import AuditEntry
from kernel.auth import Role
from kernel.staff.models import Staff
from kernel.webhooks import services as webhooks
from membership.products.models import Product
from tests.campaigns.test_two_tabs import Sent
from tests.conftest import english

FORM = {"content_type": "multipart/form-data"}


def form_with(page: str, *names: str) -> dict[str, Any]:
    """What the first form of a page that has these fields sends as it stands."""
    reader = Sent()
    reader.feed(page)
    found = next(form for form in reader.forms if set(names) <= form.keys())
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def mail_account() -> Account:
    settings = {"sender": "shop@example.com", "host": "smtp.example.com", "port": 587, "security": "starttls"}
    return channels.save_account(ChannelKind.EMAIL, "Letters", settings, Rates(None, None, None, None), None)


@pytest.fixture
def shared(db: Any, make_staff: Any) -> dict[str, tuple[str, str, str]]:
    """Addresses of what colleagues write together, each with a field and two values for it."""
    colleague = make_staff(Role.ASSISTANT)
    endpoint, _secret = webhooks.add("https://hooks.example/siyu", ["member.enrolled"], "The till")
    account = mail_account()
    own = touchpoints.add(touchpoints.Draft(name="Leaflet", kind=TouchKind.PRINT, stage=Stage.REACH))
    plan = mailing.save(None, "Weekly", Rhythm.WEEKLY, account.id, "en", [colleague.id], colleague.id)
    product = Product(source="jd", sku="TEA-1", title="Green tea", days_of_use=20, created_at=kernel_clock.now())
    db.session.add(product)
    db.session.commit()
    return {
        "/console/shop": ("name", "Tea house", "Coffee house"),
        f"/console/staff/{colleague.id}": ("signature", "Lin", "Xiao Lin"),
        f"/console/webhooks/{endpoint.id}/edit": ("description", "The till in the shop", "The till outside"),
        f"/console/channels/{account.id}": ("rate_per_minute", "30", "60"),
        "/console/contact-budget": ("per_day", "2", "3"),
        "/console/results/measure": ("margin", "31", "42"),
        f"/console/results/reports/{plan.id}": ("name", "Weekly figures", "Figures of the week"),
        f"/console/touchpoints/{own}/edit": ("notes", "Lies at the till", "Lies in the parcel"),
        # A ready-made one has no row until somebody says something of it.
        "/console/touchpoints/push_inbox/edit": ("notes", "Goes well", "Goes badly"),
        f"/console/forecasts/products/{product.id}": ("days", "31", "42"),
        "/console/desk-settings": ("close_days", "8", "9"),
        "/console/workflows/return": ("answer_return", "31", "42"),
    }


def test_what_colleagues_write_together_is_never_undone_in_silence(
    staff_client: Any, make_staff: Any, shared: dict[str, tuple[str, str, str]]
) -> None:
    mine = english(staff_client(Role.OWNER))
    theirs = english(staff_client(Role.OWNER, make_staff(Role.OWNER, name="Second owner", email="second@shop.example")))
    for url, (name, quicker, later) in shared.items():
        shown = form_with(mine.get(url).text, "edition", name)
        # What nobody changed is saved by anybody, and overtakes nobody.
        if shown[name]:
            assert theirs.post(url, data=shown).status_code in (302, 303), url
        assert theirs.post(url, data=shown | {name: quicker}).status_code in (302, 303), url
        refused = mine.post(url, data=shown | {name: later})
        assert refused.status_code == 409, url
        assert "Saved meanwhile by Second owner" in refused.text, url
        kept = form_with(refused.text, "edition", name)
        assert kept[name] == later, url
        assert form_with(mine.get(url).text, "edition", name)[name] == quicker, url
        # Whoever has seen it and saves once more means it; a refusal keeps what the form was based on.
        assert mine.post(url, data=shown | {name: later, "edition": kept["edition"]}).status_code in (302, 303), url
        assert form_with(theirs.get(url).text, "edition", name)[name] == later, url
        # A program's page that carries no mark is based on what is there.
        plain = shown | {name: quicker}
        assert mine.post(url, data={n: v for n, v in plain.items() if n != "edition"}).status_code in (302, 303), url


def test_form_sent_twice_makes_one_thing(db: Any, staff_client: Any, make_member: Any, make_push: Any) -> None:
    mine = english(staff_client(Role.OWNER))
    member = make_member()
    account, me = mail_account(), db.session.scalars(select(Staff.id).order_by(Staff.id)).first()
    plan = journey_rules.Plan(trigger=journey_rules.Trigger(kind=journey_rules.Kind.SHIPPED))
    journey = journeys.create("Welcome", plan, None)
    audience = audiences.save("Tea drinkers", Definition())
    push, run = make_push()
    run.state = RunState.CANCELLED
    talk = talks.ask(member.id, "Where is my parcel?")
    ticket = tickets.open_ticket(tickets.Opening(member.id, TicketKind.COMPLAINT, text="It came broken"))
    db.session.commit()
    script = {"reason": "", "customer_type": "", "voice": ""}
    forms: dict[str, tuple[str, dict[str, Any], Any]] = {
        "/console/journeys/new": ("", {"name": "Tea again"}, Journey),
        "/console/scripts/new": ("", {"title": "Thanks", "body": "Thank you.", **script}, Script),
        "/console/macros/new": ("", {"title": "Sent", "body": "It is on its way.", "kind": ""}, Macro),
        f"/console/tickets/new?member={member.id}": ("/console/tickets/new", {"body": "A leaf was torn"}, Ticket),
        "/console/touchpoints/new": ("", {"name": "Leaflet", "kind": "print", "stage": "reach"}, Touchpoint),
        "/console/channels/new/task": ("", {"name": "Calls"}, Account),
        "/console/staff/new": (
            "", {"name": "Bo", "email": "bo@shop.example", "password": "long enough", "role": "viewer"}, Staff,
        ),
        "/console/results/reports": (
            "", {"name": "Weekly", "account_id": str(account.id), "staff_ids": [str(me)], "locale": "en"}, ReportPlan,
        ),
        "/console/audiences/upload": ("", {"name": "From a file", "file": "file"}, Audience),
        f"/console/audiences/{audience.id}": (f"/console/audiences/{audience.id}/copy", {}, Audience),
        f"/console/pushes/{push.id}": (f"/console/pushes/{push.id}/copy", {}, Push),
        f"/console/journeys/{journey.id}/steps/new?kind=wait": ("", {"days": "3", "hours": "0"}, AuditEntry),
        f"/console/journeys/{journey.id}": (f"/console/journeys/{journey.id}/copy", {}, Journey),
        f"/console/inbox/{talk.conversation_id}": (
            f"/console/inbox/{talk.conversation_id}/messages", {"words": "It is on its way"}, Message,
        ),
        f"/console/tickets/{ticket.id}": (
            f"/console/tickets/{ticket.id}/answers", {"body": "A new one is coming", "then": "waiting"},
            select(TicketEntry.id).where(TicketEntry.kind == EntryKind.ANSWER),
        ),
        f"/console/channels/{account.id}": (
            f"/console/channels/{account.id}/test", {"address": "a@example.com", "body": "Hello"}, AuditEntry,
        ),
    }  # fmt: skip
    for shown, (to, words, table) in forms.items():
        page, url = mine.get(shown).text, to or shown
        form = form_with(page, "once", *(name for name in words if name == "words"))
        rows = table if isinstance(table, Select) else select(table.id)
        count = select(func.count()).select_from(rows.subquery())
        before = db.session.scalar(count)

        typed = {name: value for name, value in (form | words).items() if value != "" or name in words}
        answers = []
        for _time in range(2):
            file = {"file": (io.BytesIO(b"13800010001\n"), "people.csv")} if "file" in words else {}
            answers.append(mine.post(url, data=typed | file, **(FORM if file else {})))
        assert answers[0].status_code in (200, 302, 303), (url, answers[0].text[:3000])
        assert answers[1].status_code in (302, 303), url
        assert "This had been sent before" in mine.get(answers[1].location).text, url
        made = db.session.scalar(count)
        assert made - before == 1, url


def test_caps_saved_on_an_old_page_bring_nobody_on_duty(db: Any, staff_client: Any, make_staff: Any) -> None:
    mine, agent = english(staff_client(Role.OWNER)), make_staff(Role.SERVICE)
    tickets.set_presence(agent.id, True)
    db.session.commit()
    url = f"/console/desk-settings/{agent.id}"
    form = mine.get("/console/desk-settings").text.partition(f'action="{url}"')[2]
    mark = re.search(r'name="edition" value="([^"]+)"', form)[1]
    typed = {"on": "1", "ticket_cap": "2"}
    assert mine.post(url, data=typed | {"edition": mark}).status_code == 302
    tickets.set_presence(agent.id, False)
    db.session.commit()
    refused = mine.post(url, data=typed | {"ticket_cap": "3", "edition": mark})
    assert refused.status_code == 409
    assert "This has changed since you opened the page" in refused.text
    found = ticket_queries.presence_of(agent.id)
    assert (found.is_on, found.ticket_cap) == (False, 2)
