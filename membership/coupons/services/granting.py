"""Coupons for many members at once: whom a file or an audience names, given in slices that can be gone on with."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from sqlalchemy import select

from kernel import audit, clock
from kernel.auth import current_staff
from kernel.db import db
from kernel.errors import InputInvalid
from kernel.i18n import gettext as _
from kernel.ports import Port
from membership.members import queries as members
from membership.members.models import Channel, Member
from membership.members.rules import EmailInvalid, PhoneInvalid, canonical_email, canonical_phone

from ..models import Coupon, GrantRun
from .claims import in_group
from .grants import grant_many
from .pools import decoded

SLICE = 500
MOST = 100_000
REJECTS_KEPT = 1_000
HEADINGS = {"phone", "mobile", "email", "e-mail", "member", "手机号", "手机", "电话", "邮箱", "会员"}

# The audiences that staff have saved, as (key, name); and the members that one holds now. Filled by a higher floor.
audiences: Port[[], list[tuple[str, str]]] = Port("coupons.audiences")
audience_members: Port[[str], list[int]] = Port("coupons.audience_members")


def choices() -> list[tuple[str, str]]:
    """Whom coupons can be given to at once: (key, name)."""
    tiers = [(f"tier:{rank}", _("All from VIP%(rank)s on", rank=rank)) for rank in (1, 2, 3, 4)]
    groups = [
        (f"group:{group_id}", _("The members of %(group)s", group=name))
        for group_id, name in members.group_names().items()
    ]
    return [*tiers, *groups, *(choice for answer in audiences.call() for choice in answer)]


def people_of(key: str) -> list[int]:
    """The members that a choice stands for, oldest first. Refuses with `InputInvalid` what is none."""
    kind, _colon, rest = key.partition(":")
    people = members.live().with_only_columns(Member.id).order_by(Member.id)
    if kind == "tier" and rest in ("1", "2", "3", "4"):
        return list(db.session.scalars(people.where(Member.rank >= int(rest))))
    if kind == "group" and rest.isascii() and rest.isdigit() and in_group.filled:
        return list(db.session.scalars(people.where(in_group.call(int(rest))[0])))
    known = {choice[0] for answer in audiences.call() for choice in answer}
    if key in known:
        return sorted({member_id for answer in audience_members.call(key) for member_id in answer})
    raise InputInvalid([("audience", _("Choose whom the coupons are for."))])


def people_in(content: bytes) -> tuple[list[int], list[list[object]]]:
    """The members whom a file names by phone or e-mail, one a line, and the lines that name nobody: [line, text, why].

    Refuses with `FileUnreadable` and `InputInvalid`.
    """
    body = decoded(content)
    found: dict[int, None] = {}
    wrong: list[list[object]] = []
    lines = 0
    reader = csv.reader(io.StringIO(body.replace("\x00", ""), newline=""))
    for number, row in enumerate(reader):
        text = row[0].strip() if row else ""
        if not text or (number == 0 and text.casefold() in HEADINGS):
            continue
        lines += 1
        if lines > MOST:
            raise InputInvalid([("file", _("At most %(most)s members at once.", most=f"{MOST:,}"))])
        member, why = _person(text)
        if member is None:
            wrong.append([reader.line_num, text[:60], why])
        elif member.id in found:
            wrong.append([reader.line_num, text[:60], "repeated"])
        else:
            found[member.id] = None
    return list(found), wrong


def _person(text: str) -> tuple[Member | None, str]:
    try:
        if "@" in text:
            found = members.find_by_identity(Channel.EMAIL, canonical_email(text))
        else:
            found = members.find_by_phone(canonical_phone(text))
    except (PhoneInvalid, EmailInvalid):
        return None, "malformed"
    return (found, "") if found is not None and found.erased_at is None else (None, "unknown")


def start(
    offer_id: int, name: str, people: Iterable[int], form_key: str, rejects: Iterable[list[object]] = ()
) -> GrantRun:
    """Have coupons of an offer given to people; the same form again is the same run. Refuses with `InputInvalid`."""
    known = db.session.scalar(select(GrantRun).where(GrantRun.form_key == form_key))
    if known is not None:
        return known
    wanted = list(dict.fromkeys(people))
    if not wanted:
        raise InputInvalid([("audience", _("Nobody would get one."))])
    staff = current_staff()
    run = GrantRun(
        offer_id=offer_id,
        name=name[:60],
        members=wanted,
        total=len(wanted),
        rejects=list(rejects)[:REJECTS_KEPT],
        form_key=form_key,
        staff_id=staff.id if staff else None,
        created_at=clock.now(),
    )
    db.session.add(run)
    db.session.flush()
    audit.record("offer.grants_started", "offer", offer_id, after={"members": run.total, "name": run.name})
    return run


def work(run_id: int) -> bool:
    """Give the next slice of a run; whether there is more to do. A run at which somebody else is, is theirs.

    Each coupon is keyed by run and member, and how far the run has come is written with the slice: nobody gets two.
    """
    run = db.session.scalar(
        select(GrantRun)
        .where(GrantRun.id == run_id, GrantRun.finished_at.is_(None))
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    if run is None:
        return False
    people = run.members[run.done : run.done + SLICE]
    given = grant_many(run.offer_id, [(person, f"run:{run.id}:{person}") for person in people], "console")
    keys = {f"run:{run.id}:{person}" for person in given}
    fresh = set(db.session.scalars(select(Coupon.member_id).where(Coupon.grant_key.in_(keys)))) if keys else set()
    run.granted += len(fresh)
    run.had_already += len(given) - len(fresh)
    run.without += len(people) - len(given)
    run.done += len(people)
    if run.done >= run.total:
        run.finished_at = clock.now()
    db.session.flush()
    return run.finished_at is None


def unfinished() -> list[int]:
    """Runs that still have somebody to give to."""
    return list(db.session.scalars(select(GrantRun.id).where(GrantRun.finished_at.is_(None)).order_by(GrantRun.id)))


def run_of(run_id: int) -> GrantRun | None:
    """One run, or None."""
    return db.session.get(GrantRun, run_id)


def runs_of(offer_id: int) -> list[GrantRun]:
    """The runs of an offer, newest first."""
    return list(
        db.session.scalars(select(GrantRun).where(GrantRun.offer_id == offer_id).order_by(GrantRun.id.desc()).limit(20))
    )
