"""Saving audiences, writing down who is in a frozen one, and taking people from a file."""

from __future__ import annotations

import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sqlalchemy import delete, func, insert, literal, select

from kernel import audit, clock
from kernel.auth import current_staff
from kernel.db import db
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l
from membership.members import queries as members
from membership.members import rules as member_rules
from membership.members.models import Channel, Member
from membership.orders.formats import workbook
from membership.orders.formats.cells import unwrapped
from membership.orders.formats.sheet import (
    FileUnreadable,
    Row,
    Sheet,
    Wrong,
    encoding_of,
    examine,
    is_workbook,
    name_of,
)

from . import queries, rules
from .models import Audience, AudienceMember

# Writing a list down may take longer than anybody would wait on a page; beyond this something is wrong.
LONGEST_MS = 300_000
MOST_LINES = 200_000


class AudienceInUse(Refusal):
    label = _l("“%(name)s” speaks of this audience. Take it out there first.")


class AudienceArchived(Refusal):
    label = _l("This audience is archived. Bring it back first.")


class SpeaksOfArchived(Refusal):
    label = _l("This audience speaks of “%(name)s”, which is archived. Bring that back first.")


class TooManyLines(Refusal):
    status = 422
    label = _l("The file has more than %(most)s lines. Split it into several.")


class NothingToRefresh(Refusal):
    label = _l("This list came from a file. Upload a new file to change it.")


def _changed(audience: Audience) -> None:
    staff = current_staff()
    audience.changed_at = clock.now()
    audience.staff_id = staff.id if staff is not None else audience.staff_id


def _state(audience: Audience) -> dict[str, object]:
    return {"name": audience.name, "frozen": audience.frozen, **(audience.source or audience.definition)}


def _named(name: str) -> str:
    return " ".join(name.replace("\x00", "").split())[:80]


def _named_by(audience: Audience) -> set[int]:
    """The audiences that one speaks of; none where its rules cannot be read any more."""
    try:
        return queries.shown_rules(audience).named()
    except rules.AudienceInvalid:
        return set()


def _check_named(ids: set[int]) -> None:
    """Refuse with `SpeaksOfArchived` what would be in use and speak of an audience that was put away."""
    for named in queries.some_of(list(ids)):
        if named.archived_at is not None:
            raise SpeaksOfArchived(name=named.name)


def _itself(audience: Audience) -> dict[str, object]:
    """What a frozen audience is to others: the people on its list."""
    return rules.Definition(rules=(rules.SavedRule(audience_id=audience.id),)).dump()


def save(name: str, definition: rules.Definition, audience: Audience | None = None) -> Audience:
    """Save a new audience, or change one. Pushes that were made from it keep the rules they were made with.

    A frozen one is written down anew by its new rules; until then its list stays. Refuses with `AudienceArchived`, and
    with `SpeaksOfArchived` where it names an audience that was put away and that it did not name before.
    """
    if audience is not None and audience.archived_at is not None:
        raise AudienceArchived
    _check_named(definition.named() - (_named_by(audience) if audience is not None else set()))
    before = _state(audience) if audience is not None else None
    if audience is None:
        audience = Audience(created_at=clock.now())
        db.session.add(audience)
    audience.name = _named(name)
    if not audience.frozen:
        audience.definition = definition.dump()
    elif audience.source is not None and audience.source != definition.dump():
        audience.source = definition.dump()
        audience.refresh_asked_at = clock.now()
    _changed(audience)
    db.session.flush()
    audit.record("audience.saved", "audience", audience.id, before, _state(audience))
    count_again(audience)
    return audience


def count_again(audience: Audience) -> None:
    """Keep how many people are in it now, for the list of audiences."""
    try:
        reach = queries.count(rules.parse(audience.definition))
    except Refusal:
        # An audience that it speaks of is being written down, or was lost: the number that was known stays.
        return
    audience.people, audience.estimated, audience.counted_at = reach.people, reach.estimated, clock.now()
    db.session.flush()


def copy(audience: Audience, name: str) -> Audience:
    """A new audience with the same rules; a list from a file is copied with its people.

    Refuses with `SpeaksOfArchived`.
    """
    _check_named(_named_by(audience))
    fresh = Audience(name=_named(name), definition=queries.shown_rules(audience).dump(), created_at=clock.now())
    db.session.add(fresh)
    if audience.frozen and audience.source is None:
        fresh.frozen, fresh.filename, fresh.frozen_at = True, audience.filename, audience.frozen_at
        db.session.flush()
        fresh.definition = _itself(fresh)
        listed = select(literal(fresh.id), AudienceMember.member_id).where(AudienceMember.audience_id == audience.id)
        db.session.execute(insert(AudienceMember).from_select(["audience_id", "member_id"], listed))
    _changed(fresh)
    db.session.flush()
    audit.record("audience.copied", "audience", fresh.id, None, {"name": fresh.name, "from": audience.id})
    count_again(fresh)
    return fresh


def remove(audience: Audience, uses: Sequence[queries.Use] | None = None) -> None:
    """Forget a saved audience. Pushes that copied its rules stay as they are; refuses with `AudienceInUse` while something
    speaks of it by name: `uses`, where they were asked for already."""
    for use in queries.uses_of(audience) if uses is None else uses:
        if use.holds:
            raise AudienceInUse(name=use.label)
    audit.record("audience.removed", "audience", audience.id, _state(audience))
    db.session.delete(audience)
    db.session.flush()


def archive(audience: Audience, uses: Sequence[queries.Use] | None = None) -> None:
    """Put an audience away: nothing offers it any more, and it can be brought back. Refuses with `AudienceInUse` while
    something that is not put away itself speaks of it by name: `uses`, where they were asked for already."""
    if audience.archived_at is not None:
        return
    for use in queries.uses_of_each([audience], archived=False)[audience.id] if uses is None else uses:
        if use.holds:
            raise AudienceInUse(name=use.label)
    audience.archived_at = clock.now()
    db.session.flush()
    audit.record("audience.archived", "audience", audience.id, None, {"name": audience.name})


def bring_back(audience: Audience) -> None:
    """Let an archived audience be offered again. Refuses with `SpeaksOfArchived` as long as it names one that is not."""
    if audience.archived_at is None:
        return
    _check_named(_named_by(audience))
    audience.archived_at = None
    db.session.flush()
    audit.record("audience.brought_back", "audience", audience.id, None, {"name": audience.name})
    count_again(audience)


def freeze(audience: Audience) -> None:
    """Have the people who are in it now written down; from then on it is those, until it is refreshed."""
    if audience.frozen:
        return
    audience.frozen, audience.source, audience.frozen_at = True, audience.definition, None
    audience.definition = _itself(audience)
    audience.refresh_asked_at = clock.now()
    _changed(audience)
    db.session.flush()
    audit.record("audience.frozen", "audience", audience.id, None, {"name": audience.name})


def refresh(audience: Audience) -> None:
    """Have a frozen audience written down anew. Refuses with `NothingToRefresh` a list that came from a file."""
    if not audience.frozen or audience.source is None:
        raise NothingToRefresh
    audience.refresh_asked_at = clock.now()
    db.session.flush()
    audit.record("audience.refreshed", "audience", audience.id, None, {"name": audience.name})


def thaw(audience: Audience) -> None:
    """Let a frozen audience follow its rules again. Refuses with `NothingToRefresh` a list that came from a file."""
    if not audience.frozen or audience.source is None:
        raise NothingToRefresh
    audience.frozen, audience.definition, audience.source = False, audience.source, None
    audience.frozen_at = audience.refresh_asked_at = None
    db.session.execute(delete(AudienceMember).where(AudienceMember.audience_id == audience.id))
    _changed(audience)
    db.session.flush()
    audit.record("audience.thawed", "audience", audience.id, None, {"name": audience.name})
    count_again(audience)


def write_down(audience_id: int) -> None:
    """Put the people who are in a frozen audience now on its list, in one step; nobody sees half of it."""
    audience = db.session.scalar(
        select(Audience)
        .where(Audience.id == audience_id, Audience.refresh_asked_at.is_not(None))
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    if audience is None or audience.source is None:
        return
    people = queries.member_ids(rules.parse(audience.source))
    listed = people.with_only_columns(literal(audience.id), Member.id, maintain_column_froms=True)
    with queries.time_limit(LONGEST_MS):
        db.session.execute(delete(AudienceMember).where(AudienceMember.audience_id == audience.id))
        db.session.execute(insert(AudienceMember).from_select(["audience_id", "member_id"], listed))
    _written(audience)


def _written(audience: Audience) -> None:
    audience.frozen_at, audience.refresh_asked_at = clock.now(), None
    audience.people = db.session.scalar(
        select(func.count()).select_from(AudienceMember).where(AudienceMember.audience_id == audience.id)
    )
    audience.estimated, audience.counted_at = False, audience.frozen_at
    db.session.flush()


# ── People from a file ──────────────────────────────────────────────────────────────────────────────────────────────

# Columns by their headings; without a heading the first column is read.
NAMES = {
    **dict.fromkeys(("phone", "mobile", "email", "e-mail", "member", "customer", "account"), "member"),
    **dict.fromkeys(("手机", "手机号", "手机号码", "电话", "邮箱", "会员", "买家", "账号", "会员手机号"), "member"),
    **dict.fromkeys(("channel", "source", "渠道", "来源"), "channel"),
}


@dataclass(frozen=True)
class Missed:
    """A line that put nobody on the list; what it says is kept nowhere. `why` is empty, malformed, unknown or repeated."""

    line: int
    why: str


@dataclass(frozen=True)
class Taken:
    """What became of the lines of a file: `lines` = `people` + the lines missed."""

    audience: Audience
    lines: int
    people: int
    missed: list[Missed]


def from_file(name: str, stream: IO[bytes], filename: str) -> Taken:
    """A frozen audience of everybody whom a file names by phone, e-mail address or account (`taobao:nick`, or a column
    `channel`), one a line. Nothing is kept of lines that find nobody.

    Refuses with `FileUnreadable` (encoding, quoting, no text) and `TooManyLines`.
    """
    keys, missed, lines = _read(stream)
    owners = members.owners_of({key for _line, key in keys})
    gone = set(
        db.session.scalars(
            select(Member.id).where(Member.id == func.any(list(set(owners.values()))), Member.erased_at.is_not(None))
        )
    )
    people: dict[int, None] = {}
    for line, key in keys:
        owner = owners.get(key)
        if owner is None or owner in gone:
            missed.append(Missed(line, "unknown"))
        elif owner in people:
            missed.append(Missed(line, "repeated"))
        else:
            people[owner] = None
    audience = Audience(name=_named(name), definition={}, frozen=True, created_at=clock.now())
    audience.filename = _named(Path(filename.replace("\\", "/")).name)
    db.session.add(audience)
    db.session.flush()
    audience.definition = _itself(audience)
    if people:
        rows = select(literal(audience.id), func.unnest(list(people)))
        db.session.execute(insert(AudienceMember).from_select(["audience_id", "member_id"], rows))
    _changed(audience)
    _written(audience)
    audit.record(
        "audience.uploaded",
        "audience",
        audience.id,
        None,
        {"name": audience.name, "lines": lines, "people": len(people)},
    )
    return Taken(audience, lines, len(people), sorted(missed, key=lambda one: one.line))


def _read(stream: IO[bytes]) -> tuple[list[tuple[int, member_rules.Key]], list[Missed], int]:
    keys: list[tuple[int, member_rules.Key]] = []
    missed: list[Missed] = []
    lines = 0
    with tempfile.NamedTemporaryFile(suffix=".csv") as kept:
        while chunk := stream.read(1 << 20):
            kept.write(chunk)
        kept.flush()
        for row, where in _placed(Path(kept.name)):
            lines += 1
            if lines > MOST_LINES:
                raise TooManyLines(most=f"{MOST_LINES:,}")
            cells = {key: row.cells[at] if at < len(row.cells) else "" for key, at in where.items()}
            try:
                keys.append((row.line, _key(_plain(cells["member"]), _plain(cells.get("channel", "")))))
            except (Refusal, ValueError):
                missed.append(Missed(row.line, "malformed" if cells["member"].strip() else "empty"))
    return keys, missed, lines


def _placed(path: Path) -> Iterator[tuple[Row, dict[str, int]]]:
    """Every line of people with the places of its columns; a heading is none."""
    where: dict[str, int] = {"member": 0}
    for number, row in enumerate(_sheet(path).all_rows()):
        if number == 0:
            heads: dict[str, int] = {}
            for place, cell in enumerate(row.cells):
                if said := NAMES.get(name_of(cell).lower()):
                    heads.setdefault(said, place)
            if "member" in heads:
                where = heads
                continue
        yield row, where


def _sheet(path: Path) -> Sheet:
    if is_workbook(path):
        workbook.unfold(path)
    try:
        return examine(path)
    except FileUnreadable as refusal:
        # One line alone is no heading without rows here, but one person.
        if refusal.wrong is not Wrong.NO_ROWS:
            raise
        return Sheet(path, encoding_of(path))


def _plain(cell: str) -> str:
    return unicodedata.normalize("NFKC", unwrapped(cell)).strip()


def _key(name: str, channel: str) -> member_rules.Key:
    if not channel:
        before, colon, after = name.partition(":")
        if colon and before.lower() in list(Channel):
            channel, name = before, after
        else:
            channel = Channel.EMAIL if "@" in name else Channel.PHONE
    return member_rules.canonical_identity(Channel(channel.lower()), name)
