"""Tasks of the staff: what a push puts there, and what people say became of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from campaigns.channels import registry, services
from campaigns.channels.adapters import Message, Status
from campaigns.channels.models import Account, ChannelKind, ContactTask, TaskState
from campaigns.channels.services.tasks import TaskEnded
from kernel.audit import AuditEntry
from kernel.auth import Role
from kernel.db import db as database
from kernel.events import EventRecord
from membership.members import queries as members
from membership.members.models import Contact, Member


@pytest.fixture
def account(db: Any, clock: Any, make_account: Callable[..., Account]) -> Account:
    return make_account(ChannelKind.TASK, days=3)


@pytest.fixture
def lime(db: Any, make_member: Callable[..., Member]) -> Member:
    return make_member("Lime", (Contact.CALL,), phone="+8610000000001")


def put(account: Account, member: Member, delivery_id: int = 7, words: str = "Tell them the tea is in.") -> ContactTask:
    message = Message(f"delivery:{delivery_id}", delivery_id, member.id, member.phone or "", "New tea", words)
    outcomes = registry.adapter_of(account).submit([message, message])
    assert [o.status for o in outcomes] == [Status.ASSIGNED] * 2
    return database.session.scalars(select(ContactTask).where(ContactTask.key == message.key)).one()


def confirmed(db: Any) -> list[dict[str, Any]]:
    rows = db.session.scalars(select(EventRecord).where(EventRecord.name.endswith("MessageConfirmed")))
    return [row.payload for row in rows]


def test_a_message_is_one_task_however_often_it_is_handed_over(db: Any, account: Account, lime: Member) -> None:
    task = put(account, lime)
    put(account, lime)
    assert len(db.session.scalars(select(ContactTask)).all()) == 1
    assert (task.due_at - task.made_at).days == 3


@pytest.mark.parametrize(
    ("state", "done", "agrees"),
    [(TaskState.DONE, True, True), (TaskState.NOT_REACHED, False, True), (TaskState.REFUSED, False, False)],
)
def test_what_became_of_it_is_told_once(
    db: Any, account: Account, lime: Member, make_staff: Any, state: TaskState, done: bool, agrees: bool
) -> None:
    task, who = put(account, lime), make_staff(Role.SERVICE)
    services.end_task(task.id, state, "at  noon", who.id)
    with pytest.raises(TaskEnded):
        services.end_task(task.id, TaskState.DONE, "", who.id)
    (told,) = confirmed(db)
    assert (told["delivery_id"], told["done"], told["reason"], told["staff_id"]) == (7, done, state.value, who.id)
    assert members.has_consent(lime.id, Contact.CALL) is agrees


def test_the_desk_takes_tells_and_ends(
    db: Any, account: Account, lime: Member, staff_client: Callable[..., Any]
) -> None:
    task = put(account, lime, words="Tell them <b>the tea</b> is in.")
    desk = staff_client(Role.SERVICE)
    listed = desk.get("/console/contact-tasks")
    assert "Lime" in listed.text
    assert "10000000001" not in listed.text
    page = desk.get(f"/console/contact-tasks/{task.id}")
    assert "&lt;b&gt;the tea&lt;/b&gt;" in page.text
    assert "+8610000000001" not in page.text
    shown = desk.post(f"/console/contact-tasks/{task.id}/phone")
    assert "+8610000000001" in shown.text
    assert db.session.scalar(select(AuditEntry.id).where(AuditEntry.action == "member.revealed"))
    assert desk.post(f"/console/contact-tasks/{task.id}/outcome", data={"outcome": "maybe"}).status_code == 422
    answer = desk.post(f"/console/contact-tasks/{task.id}/outcome", data={"outcome": "not_reached", "note": "busy"})
    assert answer.status_code == 302
    db.session.refresh(task)
    assert (task.state, task.note) == (TaskState.NOT_REACHED, "busy")
    assert "busy" in desk.get(f"/console/contact-tasks/{task.id}").text
    assert "Lime" in desk.get("/console/contact-tasks?state=not_reached").text
    assert desk.post(f"/console/contact-tasks/{task.id}/reopen").status_code == 302
    db.session.refresh(task)
    assert task.state is TaskState.OPEN


def test_a_colleagues_task_keeps_its_number(
    db: Any, account: Account, lime: Member, make_staff: Any, staff_client: Callable[..., Any]
) -> None:
    task, other = put(account, lime), make_staff(Role.ASSISTANT)
    assert services.take_task(task.id, other.id)
    desk = staff_client(Role.SERVICE)
    assert desk.post(f"/console/contact-tasks/{task.id}/phone").status_code == 302
    assert db.session.scalar(select(AuditEntry.id).where(AuditEntry.action == "member.revealed")) is None


def test_the_list_filters_takes_many_and_exports(
    db: Any, account: Account, lime: Member, make_member: Callable[..., Member], staff_client: Callable[..., Any]
) -> None:
    plum = make_member("Plum", (Contact.CALL,), phone="+8610000000002")
    tasks = [put(account, lime, 1), put(account, plum, 2)]
    desk = staff_client(Role.SERVICE)
    found = desk.get("/console/contact-tasks?q=Plum").text
    assert "Plum" in found
    assert ">Lime<" not in found
    assert ">Lime<" in desk.get("/console/contact-tasks?q=0001").text
    desk.post("/console/contact-tasks/take", data={"ids": [str(tasks[0].id), "x"]})
    assert ">Plum<" not in desk.get("/console/contact-tasks?who=me").text
    assert ">Lime<" not in desk.get("/console/contact-tasks?who=nobody").text
    file = desk.post("/console/contact-tasks/export")
    assert file.mimetype == "text/csv"
    assert "10000000001" not in file.text
    assert file.text.count("New tea") == 2


def test_a_viewer_sees_no_tasks(db: Any, account: Account, lime: Member, staff_client: Callable[..., Any]) -> None:
    task = put(account, lime)
    viewer = staff_client(Role.VIEWER)
    assert viewer.get("/console/contact-tasks").status_code == 403
    assert viewer.post(f"/console/contact-tasks/{task.id}/outcome", data={"outcome": "done"}).status_code == 403


def test_looking_changes_nothing(db: Any, account: Account, lime: Member, staff_client: Callable[..., Any]) -> None:
    task = put(account, lime)
    desk = staff_client(Role.SERVICE)
    for path in ("", f"/{task.id}", "?state=done", "?q=%00&who=me&cursor=x"):
        assert desk.get(f"/console/contact-tasks{path}").status_code in (200, 400)
    db.session.refresh(task)
    assert (task.state, task.staff_id) == (TaskState.OPEN, None)
    assert desk.get("/console/contact-tasks/99999").status_code == 404
