"""From a group that has closed on to the one that follows it: one tap, and both groups count it."""

from __future__ import annotations

from sqlalchemy import insert, select

from kernel import clock
from kernel.db import db
from kernel.events import publish_all
from kernel.i18n import forced_locale
from kernel.i18n import gettext as _
from kernel.notices import Notice, NoticeWritten
from membership.members.models import Member

from .. import labels, queries, rules
from ..models import Group, GroupState, Seat, SeatState
from . import seats
from .book import Ask, Book
from .entry import Way, misses, welcome

SUCCESSOR = "successor"
SLICE = 1_000


def move_on(group: Group, member: Member) -> seats.Joined | seats.Waiting:
    """Give up a seat in a group that has closed for one in the group that follows.

    Where that is full the member gets a number there and keeps the old seat to read. Refuses with `NothingFollows`,
    `NotAMember`, `NotQualified`, and as `seats.join` does; then nothing was written.
    """
    successor = queries.find_group(group.successor_id) if group.successor_id else None
    closed = queries.state_of(group) in (GroupState.CLOSED, GroupState.ARCHIVED)
    if successor is None or not closed or queries.state_of(successor) is not GroupState.OPEN:
        raise rules.NothingFollows
    if found := misses(member, successor, Way(SUCCESSOR)):
        raise rules.NotQualified(found, labels.misses_sentence(successor, found, member))
    db.session.flush()
    book = Book(db.session.connection(), [group.id, successor.id])
    book.invite()
    seat = book.seats_of([(group.id, member.id)]).get((group.id, member.id))
    if seat is None or seat.state is not SeatState.TAKEN:
        raise rules.NotAMember
    answer = book.answer([Ask(successor.id, member.id, source=SUCCESSOR)])[0]
    if answer.refusal is not None:
        raise answer.refusal
    if answer.number is None:
        book.move(seat, successor.id, SUCCESSOR)
    book.write()
    db.session.expire_all()
    if answer.number is not None:
        return seats.Waiting(answer.number, answer.fresh)
    welcome(successor, member.id, SUCCESSOR)
    return seats.Joined(answer.seat_id, answer.sub_group_number, answer.fresh)


def tell_what_follows(group: Group) -> int:
    """Tell everybody in a group that has closed where it goes on; how many."""
    successor = queries.find_group(group.successor_id) if group.successor_id else None
    if successor is None or queries.state_of(successor) is not GroupState.OPEN:
        return 0
    told, last = 0, 0
    while True:
        people = db.session.execute(
            select(Seat.id, Seat.member_id, Member.locale)
            .join(Member, Member.id == Seat.member_id)
            .where(
                Seat.group_id == group.id,
                Seat.state == SeatState.TAKEN,
                Seat.id > last,
                Member.erased_at.is_(None),
            )
            .order_by(Seat.id)
            .limit(SLICE)
        ).all()
        if not people:
            return told
        last = people[-1].id
        words = {locale: _words(locale, group, successor) for locale in {row.locale for row in people}}
        rows = [
            {
                "member_id": row.member_id,
                "kind": "group.moved_on",
                "title": words[row.locale][0],
                "body": words[row.locale][1],
                "path": f"/groups/{group.public_id}",
                "created_at": clock.now(),
            }
            for row in people
        ]
        ids = db.session.execute(insert(Notice).returning(Notice.id), rows).scalars().all()
        publish_all(NoticeWritten(notice_id=notice_id) for notice_id in ids)
        told += len(people)


def _words(locale: str, group: Group, successor: Group) -> tuple[str, str]:
    with forced_locale(locale):
        return (
            str(_("“%(group)s” is over", group=group.name)),
            str(_("It goes on in “%(next)s”. One tap on its page takes you along.", next=successor.name)),
        )
