"""The verbs of conversations: ask, take, answer, hand over, turn into a ticket, close, rate."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import and_, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from community.tickets import queries as desk
from community.tickets import rules as desk_rules
from community.tickets import services as tickets
from community.tickets.models import Ticket, TicketKind, TicketSource
from kernel import clock
from kernel.db import changed, db
from kernel.errors import NotFound, Refusal
from kernel.events import publish
from kernel.i18n import date_time, forced_locale
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.staff.models import Staff
from membership.members import queries as members
from membership.members.models import Member

from . import ports, queries, rules
from .events import (
    ConversationAnswered,
    ConversationClosed,
    ConversationHandedOver,
    ConversationLooked,
    ConversationOpened,
    ConversationRated,
)
from .models import Conversation, Ending, Message, Sender, TalkState
from .rules import Asked, Band, Choice, Crowd, Reply, Suggestion, Welcome


class NothingAsked(Refusal):
    status = 422
    label = _l("Write a question, or add a picture.")


class TooMuchAtOnce(Refusal):
    status = 429
    title = _l("One moment")
    label = _l("That was a lot at once, and we are reading it. Please write again in a minute.")
    icon = "hourglass"
    retry_after = 60


class EnoughForToday(Refusal):
    status = 429
    title = _l("Enough for today")
    label = _l("You have written a lot today, and we are reading it. Please write again tomorrow.")
    icon = "hourglass"
    retry_after = 3_600


class TalkTaken(Refusal):
    title = _l("A colleague has this conversation")
    label = _l("%(name)s has it now. Two answers to one question confuse; take it over if you have agreed on that.")
    icon = "users"


class TalkOver(Refusal):
    label = _l("This conversation is over. A new word of the customer begins a new one.")


class SomethingNew(Refusal):
    title = _l("There is something new")
    label = _l("Somebody has written since you began. Read that first; your words are still here.")
    icon = "users"


class RatedTooEarly(Refusal):
    label = _l("This conversation is not over yet. You can say how it went at its end.")


DAY = timedelta(days=1)


# ── What the member does ────────────────────────────────────────────────────────────────────────────────────────────


def _live(member_id: int) -> Conversation:
    """The member's conversation that is not over, locked; a new one when there is none. Publishes `ConversationOpened`."""
    now = clock.now()
    since = db.session.scalar(
        select(func.count()).where(Conversation.member_id == member_id, Conversation.opened_at > now - DAY)
    )
    row = None
    if (since or 0) < rules.TALKS_A_DAY:
        row = db.session.execute(
            insert(Conversation)
            .values(
                public_id=secrets.token_urlsafe(12),
                member_id=member_id,
                state=TalkState.BOT,
                tries=0,
                opened_at=now,
                last_message_id=0,
                last_from=Sender.MEMBER,
                last_at=now,
                satisfaction_note="",
            )
            .on_conflict_do_nothing(index_elements=[Conversation.member_id], index_where=text("state <> 'closed'"))
            .returning(Conversation.id)
        ).one_or_none()
    found = db.session.scalar(
        select(Conversation)
        .where(Conversation.member_id == member_id, Conversation.state != TalkState.CLOSED)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if found is None:
        raise EnoughForToday
    if row is not None:
        publish(ConversationOpened(member_id=member_id, conversation_id=found.id))
    return found


def refuse_flood(member_id: int) -> None:
    """Refuse with `TooMuchAtOnce` or `EnoughForToday` a member who writes without end.

    `ask` counts again under the conversation's lock; views call it before they store a picture, so that what is refused
    leaves no file behind.
    """
    now = clock.now()
    minute, day = db.session.execute(
        select(
            func.count().filter(Message.at > now - timedelta(minutes=1)),
            func.count(),
        )
        .join(Conversation, Conversation.id == Message.conversation_id)
        .where(
            Conversation.member_id == member_id,
            Message.sender == Sender.MEMBER,
            Message.at > now - DAY,
        )
    ).one()
    if day >= rules.A_DAY:
        raise EnoughForToday
    if minute >= rules.A_MINUTE:
        raise TooMuchAtOnce


def _write(
    conversation: Conversation,
    sender: Sender,
    body: str,
    picture: str | None = None,
    staff_id: int | None = None,
    reply: Reply | None = None,
) -> Message:
    now = clock.now()
    message = Message(
        conversation_id=conversation.id,
        sender=sender,
        staff_id=staff_id,
        body=body,
        picture=picture,
        band=reply.band if reply else None,
        choices=[[c.key, c.label] for c in reply.choices[: rules.MOST_CHOICES]] if reply else [],
        answer_key=reply.answer_key if reply else "",
        shown=reply.picture if reply else None,
        link_url=reply.link_url if reply else "",
        link_label=reply.link_label if reply else "",
        at=now,
    )
    db.session.add(message)
    db.session.flush()
    conversation.last_message_id = message.id
    if sender is not Sender.SYSTEM:
        conversation.last_from, conversation.last_at = sender, now
    db.session.flush()
    return message


def crowd() -> Crowd:
    """The desk at this moment, as routing asks about it."""
    loads = queries.loads(tickets.desk_settings().talk_cap)
    return Crowd(on=len(loads), free=sum(1 for load in loads if load.open < load.cap), waiting=queries.waiting_count())


def welcome(locale: str) -> Welcome:
    """What the Ask page shows before the first word: the bot's greeting with its cards, or a plain one."""
    for found in ports.welcome.call(locale):
        if found is not None:
            return Welcome(found.text, found.cards[: rules.MOST_CARDS])
    return Welcome()


def suggestions(words: Sequence[str], conversation_id: int = 0) -> list[Suggestion]:
    """What somebody at the desk may send instead of typing, the likeliest first. `words`: what the member wrote since a person
    last answered, the latest first."""
    return [one for found in ports.suggest.call(words, conversation_id) for one in found][:3] if words else []


def _picked(conversation: Conversation, key: str, member: Member) -> Choice | None:
    """The choice that was shown under a key, in the last offer or on the welcome cards; None for whatever was not."""
    shown = queries.last_choices(conversation.id)
    if not shown:
        shown = [(card.key, card.label) for card in welcome(member.locale).cards]
    return next((Choice(k, label) for k, label in shown if k == key), None)


def ask(member_id: int, words: str = "", picture: str | None = None, picked: str = "") -> Message:
    """A member writes, shows a picture, or taps what was offered; returns their message.

    Whether a bot answers or a person is decided by whoever keeps the answers (`ports.answer`); without one, people. Refuses
    with `NotFound`, `NothingAsked`, `TooMuchAtOnce` and `EnoughForToday`.
    """
    member = members.get_member(member_id)
    if member.erased_at is not None:
        raise NotFound
    said = words.replace("\x00", "").strip()[: rules.LONGEST_MESSAGE]
    if not said and not picture and not picked:
        raise NothingAsked
    conversation = _live(member.id)
    refuse_flood(member.id)
    choice = _picked(conversation, picked, member) if picked else None
    if choice is not None:
        said = choice.label
    elif not said and not picture:
        raise NothingAsked
    message = _write(conversation, Sender.MEMBER, said, picture)
    if conversation.state is TalkState.BOT:
        _route(conversation, member, said, choice.key if choice else "", bool(picture and not said))
    elif conversation.waits_since is None:
        conversation.waits_since = clock.now()
        db.session.flush()
    return message


def _route(conversation: Conversation, member: Member, said: str, picked: str, only_picture: bool) -> None:
    """Let the bot answer, or bring the conversation to people."""
    reply = None
    if not only_picture:
        asked = Asked(
            text=said,
            conversation_id=conversation.id,
            member_id=member.id,
            at=clock.now(),
            picked=picked,
            tries=conversation.tries,
            locale=member.locale,
            crowd=crowd(),
        )
        reply = next((found for found in ports.answer.call(asked) if found is not None), None)
    over = rules.hands_over(reply, conversation.tries)
    if reply is not None and reply.text and (not over or reply.band is Band.HAND_OVER):
        _write(conversation, Sender.BOT, reply.text, reply=reply)
    if over:
        _to_people(conversation, member, asked_for=False)
    elif reply is not None:
        conversation.tries = conversation.tries + 1 if reply.band is Band.OFFER else 0
        db.session.flush()


def ask_for_person(conversation_id: int) -> None:
    """The member wants a person. Somebody who is there already stays. Refuses with `NotFound` and `TalkOver`."""
    conversation = _locked(conversation_id)
    if conversation.state is TalkState.CLOSED:
        raise TalkOver
    if conversation.state is TalkState.BOT:
        _to_people(conversation, members.get_member(conversation.member_id), asked_for=True)


def _to_people(conversation: Conversation, member: Member, asked_for: bool) -> None:
    """Bring a conversation from the bot to people, and to somebody who is on and has room. Says when nobody is."""
    now = clock.now()
    done = db.session.execute(
        update(Conversation)
        .where(Conversation.id == conversation.id, Conversation.state == TalkState.BOT)
        .values(state=TalkState.QUEUED, queued_at=now, waits_since=now)
        .execution_options(synchronize_session="fetch")
    )
    if not changed(done):
        return
    db.session.refresh(conversation)
    publish(ConversationHandedOver(member_id=member.id, conversation_id=conversation.id, asked_for=asked_for))
    hand_out()
    db.session.refresh(conversation)
    if conversation.state is TalkState.QUEUED:
        _write(conversation, Sender.SYSTEM, _when_somebody_comes(member.locale))


def _when_somebody_comes(locale: str) -> str:
    hours, now = tickets.desk_settings().hours, clock.local(clock.now())
    with forced_locale(locale):
        if desk_rules.open_at(now, hours):
            return str(_("Somebody will be with you in a moment. You may leave this page; the answer waits here."))
        opens = desk_rules.after_minutes(now, 1, hours) - timedelta(minutes=1)
        return str(
            _("Nobody is at the desk now. We answer from %(time)s on; it waits for you here.", time=date_time(opens))
        )


# ── What staff do ───────────────────────────────────────────────────────────────────────────────────────────────────


def _locked(conversation_id: int) -> Conversation:
    found = db.session.scalar(
        select(Conversation)
        .where(Conversation.id == conversation_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if found is None:
        raise NotFound
    return found


def hand_out(most: int = 100) -> int:
    """Give conversations that wait to those who are on and have room, the longest waiting first; returns how many.

    Nobody gets more than they take at a time, nor what they gave back while somebody else is on; none are given when the desk
    has switched this off. What somebody has whose account is closed waits again.
    """
    _leave_behind()
    settings = tickets.desk_settings()
    if not settings.hand_out:
        return 0
    tickets.desk_lock()
    loads = {load.staff_id: load for load in queries.loads(settings.talk_cap)}
    if desk_rules.next_agent(loads.values()) is None:
        return 0
    waiting = db.session.execute(
        select(Conversation.id, Conversation.released_by_id)
        .where(Conversation.state == TalkState.QUEUED)
        .order_by(Conversation.queued_at, Conversation.id)
        .limit(most)
        .with_for_update(skip_locked=True)
    ).all()
    given, now = 0, clock.now()
    for conversation_id, given_back_by in waiting:
        to = desk_rules.next_agent(loads.values(), given_back_by)
        if to is None:
            continue
        given += _give(conversation_id, to, (TalkState.QUEUED,))
        had = loads[to]
        loads[to] = desk_rules.Load(to, had.open + 1, had.cap, now)
    return given


def _leave_behind() -> None:
    """Put what staff with closed accounts have in hand back into the queue, in the place that it had there."""
    left = db.session.scalars(
        select(Conversation.id)
        .join(Staff, Staff.id == Conversation.assignee_id)
        .where(Conversation.state == TalkState.OPEN, Staff.disabled_at.is_not(None))
        .with_for_update(skip_locked=True, of=Conversation)
    ).all()
    if left:
        db.session.execute(
            update(Conversation)
            .where(Conversation.id.in_(left))
            .values(state=TalkState.QUEUED, assignee_id=None, assigned_at=None)
            .execution_options(synchronize_session="fetch")
        )


def _give(conversation_id: int, staff_id: int, states: Sequence[TalkState], from_id: int | None = None) -> int:
    where = [Conversation.id == conversation_id, Conversation.state.in_(states)]
    if from_id is not None:
        where.append(Conversation.assignee_id == from_id)
    now = clock.now()
    return changed(
        db.session.execute(
            update(Conversation)
            .where(*where)
            .values(
                state=TalkState.OPEN,
                assignee_id=staff_id,
                assigned_at=now,
                released_by_id=None,
                queued_at=func.coalesce(Conversation.queued_at, now),
                waits_since=func.coalesce(Conversation.waits_since, now)
                if TalkState.BOT in states
                else Conversation.waits_since,
            )
            .execution_options(synchronize_session="fetch")
        )
    )


def _why_not(conversation_id: int) -> Refusal:
    found = db.session.scalar(
        select(Conversation).where(Conversation.id == conversation_id).execution_options(populate_existing=True)
    )
    if found is None:
        return NotFound()
    if found.state is TalkState.CLOSED:
        return TalkOver()
    return TalkTaken(name=desk.names([found.assignee_id]).get(found.assignee_id or 0, "–"))


def take(conversation_id: int, staff_id: int, from_id: int | None = None) -> None:
    """Take a conversation that waits or that the bot has, or (agreed with them) from the colleague `from_id`.

    Refuses with `TalkTaken`, `TalkOver`, `NotFound`.
    """
    conversation = _locked(conversation_id)
    if conversation.state is TalkState.OPEN and conversation.assignee_id == staff_id:
        return
    states = (TalkState.OPEN,) if from_id is not None else (TalkState.QUEUED, TalkState.BOT)
    if not _give(conversation_id, staff_id, states, from_id):
        raise _why_not(conversation_id)


def release(conversation_id: int, staff_id: int) -> None:
    """Give one's conversation back to the queue, in the place that it had there; whoever else is on has it first.

    Refuses with `TalkTaken`, `TalkOver`, `NotFound`.
    """
    done = db.session.execute(
        update(Conversation)
        .where(
            Conversation.id == conversation_id,
            Conversation.state == TalkState.OPEN,
            Conversation.assignee_id == staff_id,
        )
        .values(state=TalkState.QUEUED, assignee_id=None, assigned_at=None, released_by_id=staff_id)
        .execution_options(synchronize_session="fetch")
    )
    if not changed(done):
        raise _why_not(conversation_id)


def hand_over(conversation_id: int, staff_id: int, to_id: int) -> None:
    """Hand one's conversation to a colleague, with a line that the member reads. Refuses as `release` does."""
    person = next((one for one in desk.agents() if one.id == to_id), None)
    if person is None:
        raise NotFound
    conversation = _locked(conversation_id)
    if not _give(conversation_id, to_id, (TalkState.OPEN,), staff_id):
        raise _why_not(conversation_id)
    db.session.refresh(conversation)
    member = members.get_member(conversation.member_id)
    name = desk.signatures([to_id], member.locale)[to_id]
    with forced_locale(member.locale):
        line = str(_("%(name)s goes on from here.", name=name))
    _write(conversation, Sender.SYSTEM, line)


def say(
    conversation_id: int, staff_id: int, words: str, picture: str | None = None, seen: int | None = None
) -> Message:
    """Write to the member; a conversation that waits becomes the writer's. Publishes `ConversationAnswered`.

    `seen` is the last message on the writer's page. Refuses with `NothingAsked`, `TalkTaken`, `TalkOver`, `SomethingNew`.
    """
    said = words.replace("\x00", "").strip()[: rules.LONGEST_MESSAGE]
    if not said and not picture:
        raise NothingAsked
    conversation = _locked(conversation_id)
    if conversation.state is TalkState.CLOSED:
        raise TalkOver
    if conversation.state is TalkState.OPEN and conversation.assignee_id != staff_id:
        raise _why_not(conversation_id)
    if seen is not None and queries.last_word(conversation.id, but=staff_id) > seen:
        raise SomethingNew
    if conversation.state is not TalkState.OPEN:
        _give(conversation_id, staff_id, (TalkState.QUEUED, TalkState.BOT))
        db.session.refresh(conversation)
    question = queries.last_question(conversation.id)
    message = _write(conversation, Sender.STAFF, said, picture, staff_id)
    now, first = clock.now(), conversation.first_answered_at is None
    conversation.waits_since = None
    if first:
        conversation.first_answered_at, conversation.first_answered_by_id = now, staff_id
        conversation.answer_seconds = desk_rules.seconds_between(
            clock.local(conversation.queued_at or now), clock.local(now), tickets.desk_settings().hours
        )
    db.session.flush()
    publish(
        ConversationAnswered(
            member_id=conversation.member_id,
            conversation_id=conversation.id,
            staff_id=staff_id,
            question_id=question,
            message_id=message.id,
            first=first,
        )
    )
    return message


def to_ticket(conversation_id: int, kind: TicketKind, staff_id: int) -> Ticket:
    """Make a ticket of what the member wrote, with their pictures; the same conversation has one. Refuses with `NotFound`."""
    conversation = _locked(conversation_id)
    said = [m for m in queries.messages(conversation.id) if m.sender is Sender.MEMBER]
    words = "\n".join(m.body for m in said if m.body)
    pictures = tuple(m.picture for m in said if m.picture)
    ticket = tickets.open_ticket(
        tickets.Opening(
            member_id=conversation.member_id,
            kind=kind,
            text=words[-desk_rules.LONGEST_TEXT :],
            subject=desk_rules.subject_from(next((m.body for m in said if m.body), "")),
            pictures=pictures[-desk_rules.MOST_PICTURES :],
            source=TicketSource.CONVERSATION,
            source_key=f"conversation:{conversation.id}",
            staff_id=staff_id,
        )
    )
    if conversation.ticket_id is None:
        conversation.ticket_id = ticket.id
        member = members.get_member(conversation.member_id)
        with forced_locale(member.locale):
            line = str(_("We have made an after-sale case of this. You can follow it under “After-sale”."))
        _write(conversation, Sender.SYSTEM, line)
    return ticket


def close(conversation_id: int, by: Ending, seen: int | None = None, staff_id: int | None = None) -> None:
    """End a conversation; one that is over stays so. Publishes `ConversationClosed`.

    `seen` is the last message on the page of the staff member `staff_id`. Refuses with `NotFound` and `SomethingNew`.
    """
    conversation = _locked(conversation_id)
    if conversation.state is TalkState.CLOSED:
        return
    if seen is not None and queries.last_word(conversation.id, but=staff_id) > seen:
        raise SomethingNew
    _end(conversation, by)
    hand_out()


def _end(conversation: Conversation, by: Ending) -> None:
    """End a conversation whose row this transaction has locked."""
    values: dict[str, Any] = {"state": TalkState.CLOSED, "closed_at": clock.now(), "closed_by": by, "waits_since": None}
    done = db.session.execute(
        update(Conversation)
        .where(Conversation.id == conversation.id, Conversation.state == conversation.state)
        .values(values)
        .execution_options(synchronize_session="fetch")
    )
    if not changed(done):
        raise _why_not(conversation.id)
    publish(
        ConversationClosed(
            member_id=conversation.member_id,
            conversation_id=conversation.id,
            staff_id=conversation.assignee_id,
            ending=by.value,
        )
    )


def note_looked(conversation_id: int, upto: int | None = None) -> None:
    """The member has the conversation before them, up to the message `upto`, or all of it.

    Publishes `ConversationLooked` when a person had written since, and when it is over and they are asked there how it was.
    """
    conversation = _locked(conversation_id)
    seen = conversation.seen_message_id
    last = conversation.last_message_id
    shown = last if upto is None else min(upto, last)
    asked = shown == last and not conversation.live and conversation.satisfaction is None
    if shown <= seen and not asked:
        return
    conversation.seen_message_id = max(shown, seen)
    db.session.flush()
    # Where something of the desk's was not on the page yet, the notice of it stays.
    if asked or seen < queries.last_of_staff(conversation.id) <= shown:
        publish(ConversationLooked(member_id=conversation.member_id, conversation_id=conversation.id))


def rate(conversation_id: int, stars: int, said: str = "") -> None:
    """Keep a member's stars, 1 to 5, for a conversation that is over; publishes `ConversationRated`.

    Refuses with `NotFound` and `RatedTooEarly`.
    """
    if not 1 <= stars <= 5:
        raise NotFound
    conversation = _locked(conversation_id)
    if conversation.live:
        raise RatedTooEarly
    again = conversation.satisfaction == stars
    conversation.satisfaction, conversation.rated_at = stars, clock.now()
    conversation.satisfaction_note = said.strip()[:500]
    db.session.flush()
    if not again:
        publish(
            ConversationRated(
                member_id=conversation.member_id,
                conversation_id=conversation.id,
                staff_id=conversation.assignee_id,
                stars=stars,
            )
        )


def close_silent(most: int = 200) -> int:
    """End conversations in which nobody has written for long; returns how many. A word that no person has answered keeps
    one open.

    A conversation that somebody is writing in at this moment is left for the next time. All rows are locked before the desk
    hands out anew, as `ask` does it, so that neither waits for the other.
    """
    old = _silent(most)
    for conversation in old:
        _end(conversation, Ending.SILENCE)
    if old:
        hand_out()
    return len(old)


def _silent(most: int) -> Sequence[Conversation]:
    """Conversations in which nobody has written for long, locked, so that none gets a word before it is ended."""
    now = clock.now()
    with_people = Conversation.state.in_((TalkState.QUEUED, TalkState.OPEN))
    return db.session.scalars(
        select(Conversation)
        .where(
            or_(
                and_(Conversation.state == TalkState.BOT, Conversation.last_at <= now - rules.BOT_SILENCE),
                and_(with_people, Conversation.waits_since.is_(None), Conversation.last_at <= now - rules.SILENCE),
            )
        )
        .order_by(Conversation.last_at)
        .limit(most)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
