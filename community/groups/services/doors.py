"""The page before a group: everything that it shows to somebody who came by a link, read without changing a thing."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Connection, select, text

from kernel.db import db
from kernel.group_commit import GroupCommit, WriterBusy
from kernel.staff.models import Staff
from membership.gifts.models import Gift, GiftClaim
from membership.members import queries as members
from membership.members.models import Member
from membership.members.rules import masked_phone

from .. import queries, rules
from ..models import FriendLink, Group, GroupState, JoinLink, LiveSession, Seat
from .entry import Way, before_entering, misses
from .invitations import Invitation


class Page(enum.StrEnum):
    """Which page somebody is shown at a group's door."""

    INSIDE = "inside"
    JOIN = "join"
    KEPT = "kept"
    QUEUED = "queued"
    WHO = "who"
    NOT_QUALIFIED = "not_qualified"
    NOT_YET = "not_yet"
    PAUSED = "paused"
    CLOSED = "closed"


# What somebody can do on the page itself to meet a rule.
ASKABLE = ("enrolled", "password")


@dataclass(frozen=True)
class Door:
    """What stands at a group's door for one visitor."""

    page: Page
    group: Group
    state: GroupState
    member: Member | None
    # Seats that a newcomer may still take; nobody counts them for whoever is inside.
    left: int
    misses: tuple[rules.Miss, ...] = ()
    seat: Seat | None = None
    hold: Seat | None = None
    place: queries.Place | None = None
    gift: Gift | None = None
    staff: Staff | None = None
    inviter: Member | None = None
    successor: Group | None = None
    session: LiveSession | None = None
    newcomers: bool = False

    @property
    def asks_password(self) -> bool:
        return any(miss.kind == "password" for miss in self.misses)

    @property
    def asks_enrolment(self) -> bool:
        return any(miss.kind == "enrolled" for miss in self.misses)


def _on_the_spot(group: Group, found: list[rules.Miss]) -> bool:
    """Whether what is missing can be given on the page: a password, or becoming a member."""
    able = [miss.kind in ASKABLE for miss in found]
    return any(able) if group.join_rule.get("mode") == "any" else all(able)


def _page(
    group: Group,
    state: GroupState,
    member: Member | None,
    seat: Seat | None,
    hold: Seat | None,
    place: queries.Place | None,
    found: list[rules.Miss],
) -> Page:
    if seat is not None:
        return Page.INSIDE
    if state in (GroupState.DRAFT, GroupState.WARM_UP):
        return Page.NOT_YET
    if state in (GroupState.CLOSED, GroupState.ARCHIVED):
        return Page.CLOSED
    if hold is not None:
        return Page.KEPT
    if place is not None:
        return Page.QUEUED
    if state is GroupState.PAUSED:
        return Page.PAUSED
    if member is None:
        return Page.WHO
    if found and not _on_the_spot(group, found):
        return Page.NOT_QUALIFIED
    return Page.JOIN


def look(group: Group, member: Member | None, way: Way, visit: queries.Visit | None = None) -> Door:
    """What a visitor finds at a group's door; a member of whom nothing is known is None.

    `visit` is what was read already of the group and the member. Refuses whom the shop keeps out with `Barred`, or as higher rooms
    do (`before_entering`).
    """
    state = queries.state_of(group)
    seat = hold = place = None
    found: list[rules.Miss] = []
    if member is not None:
        seat = visit.seat if visit is not None else queries.find_seat(group.id, member.id)
        if seat is None:
            hold = queries.find_hold(group.id, member.id)
            place = queries.find_place(group.id, member.id) if hold is None else None
            found = misses(member, group, way) if hold is None and place is None else []
    page = _page(group, state, member, seat, hold, place, found)
    if member is not None and page in (Page.JOIN, Page.NOT_QUALIFIED):
        # Nobody is offered what their tap would be refused.
        before_entering.call(member.id)
        if queries.barred_seats(group.id, member.id):
            raise rules.Barred
    successor = queries.find_group(group.successor_id) if group.successor_id else None
    if successor is not None and queries.state_of(successor) is not GroupState.OPEN:
        successor = None
    return Door(
        page=page,
        group=group,
        state=state,
        member=member,
        left=queries.seats_left(group) if page is not Page.INSIDE else 0,
        misses=tuple(found),
        seat=seat,
        hold=hold,
        place=place,
        gift=gift_of(group),
        staff=db.session.get(Staff, way.staff_id) if way.staff_id else None,
        inviter=members.find_member(way.inviter_id) if way.inviter_id else None,
        successor=successor,
        session=visit.session if visit is not None else queries.next_session(group.id),
        newcomers=group.open_to_new and rules.open_to_all(group.kind, group.join_rule),
    )


def gift_of(group: Group) -> Gift | None:
    """The welcome gift of a group, while it is given."""
    gift = db.session.get(Gift, group.welcome_gift_id) if group.welcome_gift_id else None
    return gift if gift is not None and gift.active else None


def waiting_gift(group: Group, member_id: int) -> tuple[GiftClaim, Gift] | None:
    """The welcome gift that waits for a member or is on its way to them, with what it is."""
    row = db.session.execute(
        select(GiftClaim, Gift)
        .join(Gift, Gift.id == GiftClaim.gift_id)
        .where(
            GiftClaim.member_id == member_id,
            GiftClaim.benefit == f"welcome:{group.id}",
            queries.waiting_claim(),
        )
    ).first()
    return (row[0], row[1]) if row is not None else None


def invitation_of(invitation: Invitation) -> tuple[Group, Member]:
    """The group and the person of an invitation. Refuses with `LinkRevoked` when either is gone."""
    group = queries.find_group(invitation.group_id)
    member = members.find_member(invitation.member_id)
    if group is None or member is None or member.erased_at is not None:
        raise rules.LinkRevoked
    return group, member


def link_of(token: str) -> tuple[JoinLink, Group]:
    """A public join link and its group. Refuses with `LinkInvalid` and `LinkRevoked`."""
    link = queries.find_link(token)
    if link is None:
        raise rules.LinkUnknown
    if link.revoked_at is not None:
        raise rules.LinkRevoked
    return link, queries.get_group(link.group_id)


def masked_name(member: Member) -> str:
    """Enough of a name that the invited know themselves, and nobody else learns much: `林**`, `138****0000`."""
    name = member.nickname or member.name
    return f"{name[0]}**" if name else masked_phone(member.phone)


# ── How often a link was opened ─────────────────────────────────────────────────────────────────────────────────────

COUNT_OPENINGS = text(
    "UPDATE join_link SET opened = opened + n FROM (SELECT id, count(*) AS n FROM unnest(CAST(:ids AS bigint[])) AS asked (id) "
    "GROUP BY id ORDER BY id) AS counted WHERE join_link.id = counted.id"
)


def _count(connection: Connection, items: Sequence[int]) -> list[None]:
    connection.execute(COUNT_OPENINGS, {"ids": list(items)})
    return [None] * len(items)


openings: GroupCommit[int, None] = GroupCommit("openings", _count)

COUNT_FRIEND_OPENINGS = text(COUNT_OPENINGS.text.replace("join_link", "friend_link"))


def _count_friends(connection: Connection, items: Sequence[int]) -> list[None]:
    connection.execute(COUNT_FRIEND_OPENINGS, {"ids": list(items)})
    return [None] * len(items)


friend_openings: GroupCommit[int, None] = GroupCommit("friend-openings", _count_friends)


def note_friend_opening(link: FriendLink) -> None:
    """Count that a member's link was opened, as `note_opening` does."""
    with suppress(WriterBusy):
        friend_openings.submit(link.id, timeout=1.0)


def note_opening(link: JoinLink) -> None:
    """Count that a link was opened. Many at once are one statement; the page's own transaction holds no lock for it."""
    with suppress(WriterBusy):
        # Somebody who wants to come in is not kept waiting for a number.
        openings.submit(link.id, timeout=1.0)
