"""The verbs: open, take and close call-backs, invite after a call, and keep the scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import case, func, literal_column, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from community.groups import queries as groups
from community.groups import services as group_services
from community.groups.models import GroupState
from kernel import audit, clock, links, shop
from kernel.db import changed, db
from kernel.errors import NotFound, Refusal
from kernel.events import publish
from kernel.i18n import lazy_gettext as _l
from kernel.staff.models import Staff
from membership.gifts.models import Gift
from membership.members import queries as members
from membership.members import services as member_services
from membership.members.models import Contact, CustomerType, Member, Purpose
from membership.members.services import ProfileChange
from membership.members.services.reveals import RevealReason

from . import labels, queries, rules
from .events import CallClosed, CallTaskOpened, MemberInvited
from .models import CallReason, CallState, CallTask, CallTaskOrder, Script
from .starter import STARTERS

# What the agent asks on the phone, word for word, is kept under this version with the answer.
CONSENT_TEXT = "call-2026-01"


class CallOpenAlready(Refusal):
    title = _l("There is a call to make already")
    label = _l("One open call a customer is enough. What you wanted to ask can go into that one.")
    icon = "phone-call"


class CallTaken(Refusal):
    title = _l("A colleague has this call")
    label = _l("%(name)s has taken it. Take it over first if you have agreed on that.")
    icon = "users"


class CallRecorded(Refusal):
    title = _l("Somebody was faster")
    label = _l(
        "%(name)s has recorded this call in the meantime. Nothing of yours was written over theirs; look at it again."
    )
    icon = "users"


class NotReached(Refusal):
    label = _l("Record first that the customer was reached; then they can be invited.")


class GroupNotOpen(Refusal):
    status = 422
    label = _l("This group lets nobody in at the moment. Choose another one.")


class InGroupAlready(Refusal):
    status = 422
    label = _l("They are in this group already. Choose another one.")


class RetryTimeRefused(Refusal):
    status = 422
    label = _l("Choose when to call again: in the future, within sixty days.")


class CallAtNight(RetryTimeRefused):
    label = _l("Nobody is called at night: choose a time from 08:00 to 22:00.")


class PlaceUnknown(Refusal):
    status = 422
    label = _l("{%(name)s} cannot be filled in. Known places: {nickname}, {product}, {shop}, {agent}.")


# ── Opening ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _may_call(member: Member) -> bool:
    """Whether a person may be called about their order: unless they are gone, or asked not to be."""
    if member.erased_at is not None:
        return False
    said = members.rights(member.id).get((Contact.CALL, Purpose.SERVICE))
    return said is None or said.granted


def open_for_order(order_id: int, member_id: int, reason: CallReason, arrived_at: datetime | None = None) -> int | None:
    """Have a customer called about an order; returns the task, or None when there is nothing to do.

    Once an order and reason. While a task of the member is live, the order joins it: its time only moves forward, and an
    urgent reason takes it over. Nothing is done for a parcel that arrived more than fourteen days ago, or for somebody who
    asked not to be called.
    """
    now = clock.now()
    arrived_at = arrived_at or now
    if now - arrived_at > rules.FRESH:
        return None
    member = members.find_member(member_id)
    if member is None or not _may_call(member):
        return None
    asked = select(CallTaskOrder.task_id).where(CallTaskOrder.order_id == order_id, CallTaskOrder.reason == reason)
    if db.session.scalar(asked) is not None:
        return None
    due = rules.due_at(reason, clock.local(arrived_at), clock.local(now))
    fresh = insert(CallTask).values(
        member_id=member.id,
        order_id=order_id,
        reason=reason,
        state=CallState.OPEN,
        due_at=due,
        about="",
        tries=0,
        outcome_note="",
        created_at=now,
    )
    urgent = [r for r in CallReason if rules.takes_over(reason, r)]
    over = CallTask.reason.in_(urgent)
    row: Any = db.session.execute(
        fresh.on_conflict_do_update(
            index_elements=[CallTask.member_id],
            index_where=text("state IN ('open', 'retry')"),
            set_={
                "reason": case((over, fresh.excluded.reason), else_=CallTask.reason),
                "order_id": case(
                    (or_(over, CallTask.order_id.is_(None)), fresh.excluded.order_id), else_=CallTask.order_id
                ),
                # A time that was agreed with the customer stays.
                "due_at": case(
                    (or_(over, CallTask.state == CallState.OPEN), func.least(CallTask.due_at, fresh.excluded.due_at)),
                    else_=CallTask.due_at,
                ),
            },
        ).returning(CallTask.id, literal_column("xmax = 0"))
    ).one()
    task_id, is_new = row
    db.session.execute(
        insert(CallTaskOrder).values(order_id=order_id, reason=reason, task_id=task_id, at=now).on_conflict_do_nothing()
    )
    if is_new:
        publish(CallTaskOpened(member_id=member.id, task_id=task_id, reason=reason.value))
        ensure_scripts()
    return int(task_id)


def open_by_hand(member_id: int, reason: CallReason, due_at: datetime, about: str, staff_id: int) -> int:
    """Have a customer called because a colleague wants it; returns the task.

    Refuses with `CallOpenAlready` while a call is live, with `RetryTimeRefused` for a time that has passed or is far
    off, and with `CallAtNight`.
    """
    now = clock.now()
    if not now <= due_at <= now + rules.FURTHEST:
        raise RetryTimeRefused
    if not rules.may_be_agreed(clock.local(due_at)):
        raise CallAtNight
    member = members.get_member(member_id)
    task_id = db.session.scalar(
        insert(CallTask)
        .values(
            member_id=member.id,
            reason=reason,
            state=CallState.OPEN,
            due_at=due_at,
            about=about.strip(),
            tries=0,
            outcome_note="",
            opened_by_id=staff_id,
            created_at=now,
        )
        .on_conflict_do_nothing(index_elements=[CallTask.member_id], index_where=text("state IN ('open', 'retry')"))
        .returning(CallTask.id)
    )
    if task_id is None:
        raise CallOpenAlready
    publish(CallTaskOpened(member_id=member.id, task_id=task_id, reason=reason.value))
    audit.record("call.opened", "call_task", task_id)
    ensure_scripts()
    return int(task_id)


def ask_to_call(member_id: int, about: str) -> int | None:
    """Have a customer called because a journey asks for it; returns the task, or None when they may not be called.

    While a call of theirs is live, what is to be asked goes into that one. Asking again asks again: whoever calls this sees
    to it, in the same transaction, that it is done once.
    """
    member = members.find_member(member_id)
    if member is None or not _may_call(member):
        return None
    now = clock.now()
    due = rules.within_hours(clock.local(now))
    fresh = insert(CallTask).values(
        member_id=member.id,
        reason=CallReason.FOLLOW_UP,
        state=CallState.OPEN,
        due_at=due,
        about=about.strip(),
        tries=0,
        outcome_note="",
        created_at=now,
    )
    row: Any = db.session.execute(
        fresh.on_conflict_do_update(
            index_elements=[CallTask.member_id],
            index_where=text("state IN ('open', 'retry')"),
            set_={"about": func.concat_ws("\n", func.nullif(CallTask.about, ""), fresh.excluded.about)},
        ).returning(CallTask.id, literal_column("xmax = 0"))
    ).one()
    task_id, is_new = row
    if is_new:
        publish(CallTaskOpened(member_id=member.id, task_id=task_id, reason=CallReason.FOLLOW_UP.value))
        ensure_scripts()
    return int(task_id)


# ── Taking ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _name(staff_id: int | None) -> str:
    return queries.names([staff_id]).get(staff_id or 0, "–")


def _why_not(task_id: int, staff_id: int) -> Refusal:
    """Why an act on a task changed no row."""
    task = db.session.scalar(select(CallTask).where(CallTask.id == task_id).execution_options(populate_existing=True))
    if task is None:
        return NotFound()
    if task.state in rules.LIVE and task.assignee_id not in (None, staff_id):
        return CallTaken(name=_name(task.assignee_id))
    return CallRecorded(name=_name(task.closed_by_id or task.assignee_id))


def take(task_id: int, staff_id: int, from_id: int | None = None) -> None:
    """Take a call for oneself, from nobody or (agreed with them) from the colleague `from_id`.

    Refuses with `CallTaken` when somebody else has it, with `CallRecorded` when it is over.
    """
    mine = or_(CallTask.assignee_id.is_(None), CallTask.assignee_id == staff_id)
    if from_id is not None:
        mine = CallTask.assignee_id == from_id
    taken = db.session.execute(
        update(CallTask)
        .where(CallTask.id == task_id, CallTask.state.in_(rules.LIVE), mine)
        .values(assignee_id=staff_id)
        .execution_options(synchronize_session=False)
    )
    if not changed(taken):
        raise _why_not(task_id, staff_id)
    if from_id is not None:
        audit.record(
            "call.taken_over", "call_task", task_id, before={"assignee": from_id}, after={"assignee": staff_id}
        )


def take_many(task_ids: Sequence[int], staff_id: int) -> int:
    """Take those of the calls that are live and nobody else's; returns how many are mine now."""
    if not task_ids:
        return 0
    return changed(
        db.session.execute(
            update(CallTask)
            .where(
                CallTask.id.in_(sorted(set(task_ids))),
                CallTask.state.in_(rules.LIVE),
                or_(CallTask.assignee_id.is_(None), CallTask.assignee_id == staff_id),
            )
            .values(assignee_id=staff_id)
            .execution_options(synchronize_session=False)
        )
    )


def release(task_id: int, staff_id: int) -> None:
    """Give a call back to everybody. Refuses as `take` does."""
    freed = db.session.execute(
        update(CallTask)
        .where(CallTask.id == task_id, CallTask.state.in_(rules.LIVE), CallTask.assignee_id == staff_id)
        .values(assignee_id=None)
        .execution_options(synchronize_session=False)
    )
    if not changed(freed):
        raise _why_not(task_id, staff_id)


def note_reveal(task_id: int) -> None:
    """Write into the audit trail that somebody looked at the number they are to call."""
    member_id = queries.get_task(task_id).member_id
    audit.record("member.revealed", "member", member_id, after={"reason": RevealReason.CALL.value, "call": task_id})


# ── Closing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Outcome:
    """What came of a call. `offers`: whether they agreed to hear offers, by `ways`; None when it was not asked.

    `again_at` is when somebody who was reached is to be called once more.
    """

    state: CallState
    note: str = ""
    retry_at: datetime | None = None
    satisfaction: int | None = None
    customer_type: CustomerType | None = None
    offers: bool | None = None
    ways: tuple[Contact, ...] = ()
    again_at: datetime | None = None


def record_outcome(task_id: int, staff: Staff, outcome: Outcome, tries: int) -> None:
    """Write down a try. `tries` is how many the agent's page showed before this one.

    Refuses with `RetryTimeRefused` and `CallAtNight` before anything is written, with `CallTaken` when a colleague has the task, and with
    `CallRecorded` when somebody recorded a try or an end since the page was opened.
    """
    now = clock.now()
    retry = outcome.state == CallState.RETRY
    if retry and (outcome.retry_at is None or not now < outcome.retry_at <= now + rules.FURTHEST):
        raise RetryTimeRefused
    again = outcome.again_at if outcome.state is CallState.REACHED else None
    if again is not None and not now <= again <= now + rules.FURTHEST:
        raise RetryTimeRefused
    for agreed in (outcome.retry_at if retry else None, again):
        if agreed is not None and not rules.may_be_agreed(clock.local(agreed)):
            raise CallAtNight
    values: dict[str, object] = {
        "state": outcome.state,
        "tries": CallTask.tries + 1,
        "called_at": func.coalesce(CallTask.called_at, now),
        "outcome_note": outcome.note.strip(),
        "satisfaction": outcome.satisfaction,
        "assignee_id": staff.id,
    }
    if retry:
        values["due_at"] = outcome.retry_at
    else:
        values |= {"closed_at": now, "closed_by_id": staff.id}
    member_id = db.session.scalar(
        update(CallTask)
        .where(
            CallTask.id == task_id,
            CallTask.state.in_(rules.LIVE),
            CallTask.tries == tries,
            or_(CallTask.assignee_id.is_(None), CallTask.assignee_id == staff.id),
        )
        .values(values)
        .returning(CallTask.member_id)
        .execution_options(synchronize_session=False)
    )
    if member_id is None:
        raise _why_not(task_id, staff.id)
    member = members.get_member(member_id)
    if outcome.customer_type != member.customer_type:
        _set_type(member, outcome.customer_type)
    if outcome.offers is not None:
        _write_consent(member.id, outcome.offers, outcome.ways, staff.name)
    if not retry:
        publish(CallClosed(member_id=member_id, task_id=task_id, outcome=outcome.state.value, staff_id=staff.id))
    if again is not None:
        open_by_hand(member_id, CallReason.FOLLOW_UP, again, outcome.note, staff.id)
    audit.record("call.recorded", "call_task", task_id, after={"outcome": outcome.state.value})


def _set_type(member: Member, customer_type: CustomerType | None) -> None:
    present = ProfileChange(
        name=member.name,
        nickname=member.nickname,
        birthday=member.birthday,
        hobbies=member.hobbies,
        customer_type=member.customer_type,
        city=member.city,
        address=None,
    )
    member_services.edit_profile(member, replace(present, customer_type=customer_type))


def _write_consent(member_id: int, agreed: bool, ways: tuple[Contact, ...], author: str) -> None:
    """A yes counts for the ways that were named, a no for all of them."""
    if agreed:
        for way in ways:
            member_services.give_consent(
                member_id, way, Purpose.MARKETING, source="call", text_version=CONSENT_TEXT, author=author
            )
        return
    for way in Contact:
        member_services.withdraw_consent(
            member_id, way, Purpose.MARKETING, source="call", text_version=CONSENT_TEXT, author=author
        )


# ── Inviting ────────────────────────────────────────────────────────────────────────────────────────────────────────


def invite(task_id: int, group_id: int, staff_id: int) -> None:
    """Invite a customer who was reached into a group; another group afterwards replaces the former in the funnel.

    Refuses with `NotReached`, `GroupNotOpen` and `InGroupAlready`.
    """
    group = groups.get_group(group_id)
    if groups.state_of(group) not in (GroupState.OPEN, GroupState.WARM_UP):
        raise GroupNotOpen
    task = queries.get_task(task_id)
    if groups.in_group(task.member_id, group_id):
        raise InGroupAlready
    member_id = db.session.scalar(
        update(CallTask)
        .where(
            CallTask.id == task_id,
            CallTask.state == CallState.REACHED,
            CallTask.invited_group_id.is_distinct_from(group_id),
        )
        .values(invited_group_id=group_id, invited_at=clock.now(), invited_by_id=staff_id)
        .returning(CallTask.member_id)
        .execution_options(synchronize_session=False)
    )
    if member_id is None:
        # Nothing to do for the group they are invited to already.
        if db.session.scalar(select(CallTask.invited_group_id).where(CallTask.id == task_id)) != group_id:
            raise NotReached
        return
    publish(MemberInvited(member_id=member_id, group_id=group_id, staff_id=staff_id))


@dataclass(frozen=True)
class Invitation:
    """A personal way into a group: the address, its QR code as SVG, and words to send it with."""

    group: str
    address: str
    qr: str
    text: str


def words_for(task: CallTask, member: Member, staff: Staff) -> dict[str, str]:
    """What the places of a script are filled with; the name of what was bought is left out where nothing is known."""
    return {
        "nickname": member.nickname or member.name or "",
        "product": queries.product_of(task),
        "shop": shop.shop_name(),
        "agent": labels.agent_name(staff, member.locale),
    }


def invitation(task: CallTask, member: Member, staff: Staff) -> Invitation | None:
    """The invitation of a task, or None while there is none. Everyone who may handle calls gets the same link in a day."""
    if task.invited_group_id is None:
        return None
    group = groups.get_group(task.invited_group_id)
    path = group_services.invitation_path(member.id, group.id, staff_id=task.invited_by_id or staff.id, source="call")
    address = links.absolute(path)
    gift = (
        db.session.scalar(select(Gift.name).where(Gift.id == group.welcome_gift_id)) if group.welcome_gift_id else None
    )
    words = words_for(task, member, staff)
    return Invitation(
        group=group.name,
        address=address,
        qr=links.qr_svg(address),
        text=labels.invitation_text(words, group.name, gift, address, member.locale),
    )


# ── Scripts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def ensure_scripts() -> bool:
    """Give the shop the starting scripts when they are first needed; once only, even if all are deleted later."""
    if shop.get("desk.scripts_made"):
        return False
    db.session.execute(text("SELECT pg_advisory_xact_lock(hashtext('desk.scripts_made'))"))
    made = db.session.scalar(text("SELECT 1 FROM shop_setting WHERE key = 'desk.scripts_made'"))
    if made is not None:
        return False
    shop.put("desk.scripts_made", True)
    now = clock.now()
    db.session.execute(
        insert(Script),
        [
            {
                "title": starter.title,
                "reason": starter.reason,
                "customer_type": starter.customer_type,
                "voice": starter.voice,
                "body": starter.body,
                "created_at": now,
            }
            for starter in STARTERS
        ],
    )
    return True


@dataclass(frozen=True)
class ScriptDraft:
    """A script as it is written; `mine` keeps it to whoever writes it."""

    title: str
    body: str
    reason: CallReason | None = None
    customer_type: CustomerType | None = None
    voice: str = ""
    mine: bool = False


def _check_places(body: str) -> None:
    if unknown := rules.unknown_places(body):
        raise PlaceUnknown(name=unknown[0])


def add_script(draft: ScriptDraft, staff_id: int | None = None) -> Script:
    """Add a script to the library, or to somebody's own. Refuses with `PlaceUnknown`."""
    _check_places(draft.body)
    script = Script(
        title=draft.title.strip(),
        body=draft.body.replace("\r\n", "\n").strip(),
        reason=draft.reason,
        customer_type=draft.customer_type,
        voice=draft.voice,
        owner_id=staff_id if draft.mine else None,
        used=0,
        created_at=clock.now(),
    )
    db.session.add(script)
    db.session.flush()
    audit.record("script.added", "script", script.id, after={"title": script.title})
    return script


def edit_script(script_id: int, draft: ScriptDraft, staff_id: int | None = None) -> None:
    """Change a script. Refuses with `PlaceUnknown`, and with `NotFound` for a colleague's own."""
    _check_places(draft.body)
    script = queries.get_script(script_id, staff_id)
    before = {"title": script.title, "body": script.body}
    script.title, script.body = draft.title.strip(), draft.body.replace("\r\n", "\n").strip()
    script.reason, script.customer_type, script.voice = draft.reason, draft.customer_type, draft.voice
    script.owner_id = staff_id if draft.mine else None
    audit.record("script.edited", "script", script_id, before, {"title": script.title, "body": script.body})


def note_script_used(script_id: int) -> None:
    """Count that a script was said or sent; one that is gone is not counted."""
    db.session.execute(update(Script).where(Script.id == script_id).values(used=Script.used + 1))


def delete_script(script_id: int, staff_id: int | None = None) -> None:
    """Take a script out of the library. Refuses with `NotFound` for a colleague's own."""
    script = queries.get_script(script_id, staff_id)
    audit.record("script.deleted", "script", script_id, before={"title": script.title, "body": script.body})
    db.session.delete(script)
