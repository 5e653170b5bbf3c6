"""Everything that is kept of a member, in one file: JSON for programs and a page for people."""

from __future__ import annotations

import io
import json
import secrets
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import render_template
from sqlalchemy import cast, delete, func, literal_column, select
from sqlalchemy.dialects.postgresql import JSONB

from kernel import audit, clock
from kernel.db import db
from kernel.errors import NotFound

from .. import queries
from ..models import Dossier, RightsWish
from . import erasure, personal

LIFETIME = timedelta(hours=24)


@dataclass(frozen=True)
class Chapter:
    """One kind of thing that is kept: its title, the columns, and the rows as plain values."""

    name: str
    title: str
    columns: list[str]
    rows: list[dict[str, Any]]


def chapters(member_id: int) -> Iterator[Chapter]:
    """What every table keeps of a member and of the records that were merged into them, as the register declares it.

    Tables without a row of theirs are left out, and so are columns that are kept only to check a token.
    """
    person = personal.person_of(member_id)
    declared = personal.register()
    for table in db.metadata.sorted_tables:
        entry = declared.get(table.name)
        if entry is None or entry.rows is None or entry.label is None:
            continue
        columns = [column.name for column in table.columns if column.name not in entry.hidden]
        row = func.to_jsonb(literal_column(f'"{table.name}"'))
        found = db.session.scalars(
            select(cast(row, JSONB)).select_from(table).where(entry.rows(person)).order_by(*table.primary_key.columns)
        ).all()
        if found:
            rows = [{name: one[name] for name in columns} for one in found]
            # A column that says nothing for anybody is left out of the page, not of the JSON.
            yield Chapter(table.name, str(entry.label), columns, rows)


def make(member_id: int, staff_id: int) -> Dossier:
    """Put a member's dossier together for the staff member who asked; it can be fetched by them alone, for 24 hours."""
    member = queries.get_member(member_id)
    now = clock.now()
    found = list(chapters(member.id))
    row = Dossier(
        token=secrets.token_urlsafe(24),
        member_id=member.id,
        staff_id=staff_id,
        made_at=now,
        expires_at=now + LIFETIME,
        content=_packed(member.id, found, now.isoformat()),
    )
    db.session.add(row)
    db.session.flush()
    audit.record("member.dossier_made", "member", member.id, after={"chapters": len(found)})
    erasure.done(member.id, RightsWish.DOSSIER, staff_id)
    return row


def _packed(member_id: int, found: Sequence[Chapter], made_at: str) -> bytes:
    said = {"member_id": member_id, "made_at": made_at, "kept": {chapter.name: chapter.rows for chapter in found}}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.json", json.dumps(said, ensure_ascii=False, indent=1))
        archive.writestr(
            "index.html", render_template("members/dossier.html", chapters=found, made_at=clock.now(), number=member_id)
        )
    return out.getvalue()


def fetch(token: str, staff_id: int) -> Dossier:
    """A dossier for the staff member who asked for it. Refuses everybody else, and after 24 hours, with `NotFound`."""
    row = db.session.scalar(select(Dossier).where(Dossier.token == token))
    if row is None or row.staff_id != staff_id or row.expires_at <= clock.now():
        raise NotFound
    audit.record("member.dossier_fetched", "member", row.member_id)
    return row


def waiting_for(member_id: int, staff_id: int) -> Sequence[Dossier]:
    """The dossiers of a member that a staff member can still fetch, newest first; without their content."""
    return db.session.scalars(
        select(Dossier)
        .where(Dossier.member_id == member_id, Dossier.staff_id == staff_id, Dossier.expires_at > clock.now())
        .order_by(Dossier.id.desc())
    ).all()


def clean_up() -> int:
    """Delete the dossiers whose day is over; returns how many."""
    gone = db.session.execute(
        delete(Dossier).where(Dossier.expires_at <= clock.now()).execution_options(synchronize_session=False)
    )
    return int(gone.rowcount)  # type: ignore[attr-defined]


__all__ = ["Chapter", "chapters", "clean_up", "fetch", "make", "waiting_for"]
