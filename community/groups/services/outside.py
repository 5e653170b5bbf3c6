"""QR codes of groups on other platforms: pictures that end after days or fill up, shown one after another."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import IO

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from kernel import audit, clock
from kernel.db import changed, db
from kernel.errors import NotFound, Refusal
from kernel.files import FileRefused, save_picture

from .. import rules
from ..models import Group, GroupState, OutsideCode, OutsideView, Platform


def codes_of(group_id: int) -> Sequence[OutsideCode]:
    """The codes of a group elsewhere, in the order in which they are shown."""
    return db.session.scalars(
        select(OutsideCode).where(OutsideCode.group_id == group_id).order_by(OutsideCode.position, OutsideCode.id)
    ).all()


def get_code(group_id: int, code_id: int) -> OutsideCode:
    """A code of a group, or 404."""
    found = db.session.get(OutsideCode, code_id)
    if found is None or found.group_id != group_id:
        raise NotFound
    return found


def try_code_picture(stream: IO[bytes]) -> tuple[str | None, Refusal | None]:
    """Store the picture of a code; the refusal as a value for the form to show."""
    try:
        return save_picture(stream), None
    except FileRefused as refusal:
        return None, refusal


def add_code(
    group: Group, platform: Platform, name: str, picture: str, expires_at: datetime | None, seats: int | None
) -> OutsideCode:
    """Put a code behind those that are there. `expires_at` (aware UTC) None: it does not end; `seats` None: it takes all."""
    last = db.session.scalar(select(func.max(OutsideCode.position)).where(OutsideCode.group_id == group.id))
    code = OutsideCode(
        group_id=group.id,
        platform=platform,
        name=name.strip(),
        picture=picture,
        position=(last or 0) + 1,
        expires_at=expires_at,
        seats=seats,
        created_at=clock.now(),
    )
    db.session.add(code)
    db.session.flush()
    audit.record("outside_code.added", "group", group.id, after={"name": code.name, "platform": platform})
    return code


def retire_code(code: OutsideCode) -> None:
    """Show a code to nobody new: it is full, or was withdrawn. Doing it again changes nothing."""
    if code.retired_at is None:
        code.retired_at = clock.now()
        audit.record("outside_code.retired", "group", code.group_id, after={"name": code.name})


def resume_code(code: OutsideCode) -> None:
    """Let a code that was taken out of use be shown again, in its place. Doing it again changes nothing."""
    if code.retired_at is not None:
        code.retired_at = None
        audit.record("outside_code.resumed", "group", code.group_id, after={"name": code.name})


def code_now(group_id: int) -> OutsideCode | None:
    """The code that the next member of a group is shown, or None."""
    return rules.code_for_newcomers(codes_of(group_id), clock.now())


def seen_code(group: Group, member_id: int) -> OutsideCode | None:
    """The code that a member was shown last, while it still lets people in."""
    found = db.session.scalar(
        select(OutsideCode)
        .join(OutsideView, OutsideView.code_id == OutsideCode.id)
        .where(OutsideCode.group_id == group.id, OutsideView.member_id == member_id)
        .order_by(OutsideView.at.desc())
        .limit(1)
    )
    return found if found is not None and rules.usable_code(found, clock.now()) else None


def show_code(group: Group, member_id: int) -> OutsideCode:
    """The code for a member: the one that they have seen, or the first that takes people, where they are counted once.

    However many tap at once, none is shown to more people than it takes. Refuses with `NoCodeLeft`.
    """
    known = seen_code(group, member_id)
    if known is not None:
        return known
    while (code := rules.code_for_newcomers(codes_of(group.id), clock.now())) is not None:
        taken = changed(
            db.session.execute(
                update(OutsideCode)
                .where(
                    OutsideCode.id == code.id,
                    OutsideCode.retired_at.is_(None),
                    func.coalesce(OutsideCode.seats > OutsideCode.shown, True),
                )
                .values(shown=OutsideCode.shown + 1)
                .execution_options(synchronize_session=False)
            )
        )
        db.session.expire_all()
        if not taken:
            if (seen := seen_code(group, member_id)) is not None:
                # The other of two taps has taken the last place for them.
                return seen
            continue
        statement = insert(OutsideView).values(code_id=code.id, member_id=member_id, at=clock.now())
        fresh = changed(db.session.execute(statement.on_conflict_do_nothing()))
        if not fresh:
            # They tapped twice at once: the other tap has counted them.
            db.session.execute(
                update(OutsideCode)
                .where(OutsideCode.id == code.id)
                .values(shown=OutsideCode.shown - 1)
                .execution_options(synchronize_session=False)
            )
        return code
    raise rules.NoCodeLeft


def is_elsewhere(group: Group, member_id: int) -> bool:
    """Whether a group is elsewhere too, with a code that this member can be shown."""
    codes = codes_of(group.id)
    if not any(rules.usable_code(code, clock.now()) for code in codes):
        return False
    return rules.code_for_newcomers(codes, clock.now()) is not None or seen_code(group, member_id) is not None


def alarms() -> list[tuple[Group, rules.CodeAlarm]]:
    """The running groups whose codes staff have to see to."""
    rows = db.session.execute(
        select(Group, OutsideCode)
        .join(OutsideCode, OutsideCode.group_id == Group.id)
        .where(
            OutsideCode.retired_at.is_(None), Group.state.in_([GroupState.WARM_UP, GroupState.OPEN, GroupState.PAUSED])
        )
        .order_by(Group.id, OutsideCode.position)
    ).all()
    codes: dict[int, list[OutsideCode]] = {}
    groups: dict[int, Group] = {}
    for group, code in rows:
        groups[group.id] = group
        codes.setdefault(group.id, []).append(code)
    found = [(groups[group_id], rules.code_alarm(theirs, clock.now())) for group_id, theirs in codes.items()]
    return [(group, alarm) for group, alarm in found if alarm is not None]
