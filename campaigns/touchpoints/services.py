"""What staff do with touchpoints: enter one, say something of a ready-made one, switch it off, remove one of the shop's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from kernel import audit, clock
from kernel.db import db
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l
from kernel.staff import services as colleagues

from . import queries
from .catalogue import BY_KEY
from .models import Stage, TouchKind, Touchpoint

NAME_LENGTH = 60
NOTES_LENGTH = 2_000
MOST_OWN = 100
MOST_SOURCES = 10
_LOCK = "touchpoints"


@dataclass(frozen=True)
class Draft:
    """What a form says of a touchpoint."""

    name: str
    kind: TouchKind
    stage: Stage
    active: bool = True
    owner_id: int | None = None
    importance: int | None = None
    notes: str = ""
    sources: tuple[str, ...] = ()


class TooManyTouchpoints(Refusal):
    status = 409
    label = _l("There are %(most)s touchpoints of your own already. Remove one first.")


class NameTaken(Refusal):
    status = 409
    label = _l("Another touchpoint has this name already.")


class SourceTaken(Refusal):
    status = 409
    label = _l("“%(source)s” is named by another touchpoint already: each link belongs to one.")


class TooManySources(Refusal):
    status = 422
    label = _l("At most %(most)s names of links.")


class OwnerUnknown(Refusal):
    status = 422
    label = _l("Choose somebody of the staff.")


class NotYours(Refusal):
    status = 409
    label = _l("A touchpoint that Siyu records cannot be removed. Switch it off instead.")


def _check(ref: str | None, draft: Draft) -> None:
    others = [one for one in queries.listed_now() if one.ref != ref]
    if any(one.name.casefold() == draft.name.casefold() for one in others):
        raise NameTaken
    if len(draft.sources) > MOST_SOURCES:
        raise TooManySources(most=MOST_SOURCES)
    taken = {source for one in others for source in one.sources}
    for source in draft.sources:
        if source in taken:
            raise SourceTaken(source=source)
    if draft.owner_id is not None and draft.owner_id not in colleagues.names([draft.owner_id]):
        raise OwnerUnknown


def _said(row: Touchpoint) -> dict[str, Any]:
    return {
        "name": row.name, "kind": row.kind.value, "stage": row.stage.value, "active": row.active, "owner_id": row.owner_id,
        "importance": row.importance, "sources": list(row.sources),
    }  # fmt: skip


def one_at_a_time() -> None:
    """Let names and links be given out by one writer at a time."""
    db.session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(_LOCK, 0))))


def add(draft: Draft) -> str:
    """A touchpoint of the shop's own; its ref.

    Refuses with `TooManyTouchpoints`, `NameTaken`, `SourceTaken`, `TooManySources`, `OwnerUnknown`.
    """
    one_at_a_time()
    if queries.count_own() >= MOST_OWN:
        raise TooManyTouchpoints(most=MOST_OWN)
    _check(None, draft)
    row = Touchpoint(
        key=None, name=draft.name, kind=draft.kind, stage=draft.stage, active=draft.active, owner_id=draft.owner_id,
        importance=draft.importance, notes=draft.notes, sources=list(draft.sources), created_at=clock.now(),
    )  # fmt: skip
    db.session.add(row)
    db.session.flush()
    audit.record("touchpoint.added", "touchpoint", row.id, after=_said(row))
    return f"{queries.OWN}{row.id}"


def _row(ref: str) -> tuple[Touchpoint, bool]:
    """The row behind a touchpoint under lock, made where a ready-made one has none; and whether it was made."""
    row = queries.get_row(ref, lock=True)
    if row is not None:
        return row, False
    ready = BY_KEY[ref]
    row = Touchpoint(
        key=ref, name="", kind=ready.kind, stage=ready.stage, active=True, notes="", sources=list(ready.sources),
        created_at=clock.now(),
    )  # fmt: skip
    db.session.add(row)
    return row, True


def edit(ref: str, draft: Draft) -> None:
    """Change a touchpoint. Of a ready-made one the kind stays, and its own name is kept as none.

    Refuses with `NotFound`, `NameTaken`, `SourceTaken`, `TooManySources`, `OwnerUnknown`.
    """
    one_at_a_time()
    _check(ref, draft)
    row, _made = _row(ref)
    before, notes = _said(row), row.notes
    own = row.key is None
    row.name = draft.name if own or draft.name not in queries.names_of(ref) else ""
    row.kind = draft.kind if own else row.kind
    row.stage, row.active, row.owner_id = draft.stage, draft.active, draft.owner_id
    row.importance, row.notes = draft.importance, draft.notes
    if own or BY_KEY[ref].sources:
        row.sources = list(draft.sources)
    db.session.flush()
    # That the notes were written anew is kept, what they say is not: they may speak of somebody.
    if _said(row) != before or row.notes != notes or _made:
        audit.record("touchpoint.changed", "touchpoint", row.id, before=before, after=_said(row))


def set_active(refs: Sequence[str], active: bool) -> int:
    """Switch touchpoints on or off; how many changed. Refuses with `NotFound`.

    Their rows are locked in one order, as a hand-over locks them, whatever order the form names them in.
    """
    one_at_a_time()
    changed = 0
    rows = queries.lock_rows(refs)
    for ref in dict.fromkeys(refs):
        row = rows[ref] if ref in rows else _row(ref)[0]
        if row.active is not active:
            row.active = active
            db.session.flush()
            audit.record(
                "touchpoint.switched", "touchpoint", row.id, before={"active": not active}, after={"active": active}
            )
            changed += 1
    return changed


def remove(ref: str) -> None:
    """Remove a touchpoint of the shop's own. Refuses with `NotFound`, `NotYours`."""
    if ref in BY_KEY:
        raise NotYours
    row, _made = _row(ref)
    audit.record("touchpoint.removed", "touchpoint", row.id, before=_said(row))
    db.session.delete(row)
    db.session.flush()
