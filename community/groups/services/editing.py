"""Making a group and changing it, its join links and its live sessions."""

from __future__ import annotations

import io
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, Any

from PIL import Image, ImageOps, UnidentifiedImageError
from sqlalchemy import delete

from kernel import audit, clock
from kernel.db import db
from kernel.errors import NotFound, Refusal
from kernel.files import FORMATS, LARGEST_PIXELS, FileRefused, save_picture

from .. import labels, queries, rules
from ..models import Group, GroupKind, GroupState, JoinLink, LiveDrop, LiveSession
from . import lifecycle
from .book import Book

# A phone shows the cover 390 points wide at up to three pixels a point; this keeps the page small.
COVER_SIZE = (960, 540)


@dataclass(frozen=True)
class GroupDraft:
    """What a form says of a group. Instants are aware UTC; `cover` None keeps the present one."""

    name: str
    intro: str = ""
    announcement: str = ""
    welcome_post: str = ""
    capacity: int = 5000
    seats_each: int = 500
    hold_minutes: int = 10
    invite_hours: int = 24
    opens_at: datetime | None = None
    closes_at: datetime | None = None
    join_rule: Mapping[str, Any] = field(default_factory=dict)
    open_to_new: bool = False
    welcome_gift_id: int | None = None
    successor_id: int | None = None
    owner_id: int | None = None
    grace_days: int = 14
    cover: str | None = None


def save_cover(stream: IO[bytes]) -> str:
    """Store a cover, cut to the shape in which phones show it; returns its key. Refuses with `FileRefused`."""
    try:
        opened = Image.open(stream, formats=FORMATS)
        if opened.width * opened.height > LARGEST_PIXELS:
            raise FileRefused
        picture = ImageOps.fit(ImageOps.exif_transpose(opened).convert("RGB"), COVER_SIZE)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FileRefused from error
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    buffer.seek(0)
    return save_picture(buffer)


def try_cover(stream: IO[bytes]) -> tuple[str | None, Refusal | None]:
    """`save_cover`, with the refusal as a value for the form to show."""
    try:
        return save_cover(stream), None
    except FileRefused as refusal:
        return None, refusal


def _check(draft: GroupDraft) -> None:
    if findings := rules.lint_announcement(draft.announcement):
        raise rules.AnnouncementRefused(findings, labels.lint_sentence(findings[0]))
    if -(-draft.capacity // draft.seats_each) > rules.MOST_SUB_GROUPS:
        raise rules.TooManySubGroups(most=rules.MOST_SUB_GROUPS)


def _values(draft: GroupDraft) -> dict[str, Any]:
    values = {name: getattr(draft, name) for name in draft.__dataclass_fields__}
    values["join_rule"] = dict(draft.join_rule)
    if draft.cover is None:
        del values["cover"]
    return values


def create(kind: GroupKind, draft: GroupDraft) -> Group:
    """Make a group in the state `draft`, with its first join link.

    Refuses with `AnnouncementRefused`, `TooManySubGroups`.
    """
    _check(draft)
    group = Group(
        public_id=secrets.token_urlsafe(9),
        kind=kind,
        state=GroupState.DRAFT,
        created_at=clock.now(),
        **_values(draft),
    )
    db.session.add(group)
    db.session.flush()
    add_link(group, name="", source="link")
    audit.record("group.created", "group", group.id, after={"name": group.name, "kind": kind})
    return group


def edit(group: Group, draft: GroupDraft) -> None:
    """Change a group. A greater capacity invites from the waiting list at once.

    Refuses with `AnnouncementRefused`, `CapacityLowered`, `SizeFixed`, `TooManySubGroups`.
    """
    _check(draft)
    lifecycle.catch_up(group.id)
    db.session.flush()
    book = Book(db.session.connection(), [group.id])
    db.session.refresh(group)
    if draft.capacity < group.capacity and queries.sub_groups(group.id):
        raise rules.CapacityLowered(capacity=group.capacity)
    if draft.seats_each != group.seats_each and queries.sub_groups(group.id):
        raise rules.SizeFixed
    wanted = _values(draft)
    before = {name: getattr(group, name) for name in wanted}
    for name, value in wanted.items():
        setattr(group, name, value)
    db.session.flush()
    book.raise_capacity(group.id, draft.capacity)
    book.reopen(group.id, queries.state_of(group))
    book.invite()
    book.write()
    db.session.expire_all()
    fields = sorted(name for name, value in wanted.items() if value != before[name])
    if fields:
        audit.record("group.edited", "group", group.id, after={"fields": fields})


def try_edit(group: Group, draft: GroupDraft) -> rules.DraftRefused | None:
    """`edit`, with the refusal as a value for the form to show beside its field; then nothing was changed."""
    try:
        edit(group, draft)
    except rules.DraftRefused as refusal:
        return refusal
    return None


def write_announcement(group: Group, announcement: str) -> None:
    """Put an announcement on top of the group's page. Refuses with `AnnouncementRefused`."""
    if findings := rules.lint_announcement(announcement):
        raise rules.AnnouncementRefused(findings, labels.lint_sentence(findings[0]))
    before, group.announcement = group.announcement, announcement.strip()
    audit.record("group.announced", "group", group.id, {"text": before}, {"text": group.announcement})


# ── Join links ──────────────────────────────────────────────────────────────────────────────────────────────────────


def add_link(group: Group, name: str, source: str, staff_id: int | None = None) -> JoinLink:
    """A further public way into a group, which remembers where people come from."""
    link = JoinLink(
        group_id=group.id,
        token=secrets.token_urlsafe(9),
        name=name.strip(),
        source=source.strip() or "link",
        staff_id=staff_id,
        created_at=clock.now(),
    )
    db.session.add(link)
    db.session.flush()
    return link


def get_link(group_id: int, link_id: int) -> JoinLink:
    """A link of a group, or 404."""
    link = db.session.get(JoinLink, link_id)
    if link is None or link.group_id != group_id:
        raise NotFound
    return link


def revoke_link(link: JoinLink) -> None:
    """Let a link lead in no more. Doing it again changes nothing."""
    if link.revoked_at is None:
        link.revoked_at = clock.now()
        audit.record("join_link.revoked", "group", link.group_id, after={"link": link.name or link.token})


def restore_link(link: JoinLink) -> None:
    """Let a revoked link lead in again."""
    if link.revoked_at is not None:
        link.revoked_at = None
        audit.record("join_link.restored", "group", link.group_id, after={"link": link.name or link.token})


# ── Live sessions ───────────────────────────────────────────────────────────────────────────────────────────────────


def get_session(group_id: int, session_id: int) -> LiveSession:
    """A live session of a group, or 404."""
    found = db.session.get(LiveSession, session_id)
    if found is None or found.group_id != group_id:
        raise NotFound
    return found


def save_session(
    group: Group,
    session: LiveSession | None,
    title: str,
    starts_at: datetime,
    ends_at: datetime,
    watch_url: str = "",
    replay_url: str = "",
) -> LiveSession:
    """Plan a live session, or change one; one that is moved is reminded of anew."""
    before = None if session is None else {"title": session.title, "starts_at": session.starts_at.isoformat()}
    if session is None:
        session = LiveSession(group_id=group.id, title=title, starts_at=starts_at, ends_at=ends_at)
        db.session.add(session)
    elif session.starts_at != starts_at:
        session.reminded_day_at = session.reminded_soon_at = None
    session.title, session.starts_at, session.ends_at = title.strip(), starts_at, ends_at
    session.watch_url, session.replay_url = watch_url.strip(), replay_url.strip()
    db.session.flush()
    after = {"title": session.title, "starts_at": starts_at.isoformat()}
    audit.record("live_session.saved", "live_session", session.id, before, after)
    return session


def delete_session(session: LiveSession) -> None:
    """Take a live session off the plan, with what was to show in it. Coupons that were claimed stay."""
    audit.record("live_session.deleted", "live_session", session.id, before={"title": session.title})
    db.session.execute(delete(LiveDrop).where(LiveDrop.session_id == session.id))
    db.session.delete(session)
