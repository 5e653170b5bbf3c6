"""Saved ways of reading files that nobody else knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from kernel import audit, clock
from kernel.db import db
from kernel.errors import NotFound, Refusal
from kernel.i18n import lazy_gettext as _l

from ..formats import mapped, sheet
from ..models import ColumnMapping

LONGEST_NAME = 60
MOST_MAPPINGS = 200


class MappingNameTaken(Refusal):
    label = _l("There is a mapping of this name already.")


class MappingIncomplete(Refusal):
    status = 422
    label = _l("Say which column holds: %(fields)s.")


class MappingUnknown(Refusal):
    status = 404
    label = _l("There is no mapping of this name.")


class TooManyMappings(Refusal):
    label = _l("There are 200 mappings already. Delete one that nobody needs.")


def find_for(heading: Sequence[str]) -> ColumnMapping | None:
    """The mapping saved last for a file with exactly these columns."""
    return db.session.scalar(
        select(ColumnMapping)
        .where(ColumnMapping.heading_key == mapped.heading_key(heading))
        .order_by(ColumnMapping.updated_at.desc(), ColumnMapping.id.desc())
        .limit(1)
    )


def find_named(name: str) -> ColumnMapping | None:
    """The mapping of this name."""
    return db.session.scalar(select(ColumnMapping).where(ColumnMapping.name == name.strip()))


def get(mapping_id: int) -> ColumnMapping:
    """One mapping; refuses with `NotFound`."""
    found = db.session.get(ColumnMapping, mapping_id)
    if found is None:
        raise NotFound
    return found


def all_of_them() -> Sequence[ColumnMapping]:
    """Every mapping by name."""
    return db.session.scalars(select(ColumnMapping).order_by(ColumnMapping.name)).all()


def as_option(mapping: ColumnMapping) -> dict[str, Any]:
    """What a reader is told, frozen with the run: later changes of the mapping do not reach a file under way."""
    return {"mapping": mapped.plan_of(mapping.plan).stored, "mapping_name": mapping.name}


def check_plan(plan: mapped.Plan) -> None:
    """Refuses with `MappingIncomplete` a plan without what every order needs."""
    if plan.missing:
        raise MappingIncomplete(fields=", ".join(plan.missing))


def save(
    name: str,
    heading: Sequence[str],
    plan: mapped.Plan,
    staff_id: int | None = None,
    mapping: ColumnMapping | None = None,
) -> ColumnMapping:
    """Save a mapping under a name, as a new one or in the place of `mapping`.

    Refuses with `MappingNameTaken`, `MappingIncomplete`, `TooManyMappings`.
    """
    check_plan(plan)
    title = " ".join(name.split())[:LONGEST_NAME]
    other = find_named(title)
    if other is not None and other is not mapping:
        raise MappingNameTaken
    now = clock.now()
    if mapping is None:
        if len(all_of_them()) >= MOST_MAPPINGS:
            raise TooManyMappings
        mapping = ColumnMapping(staff_id=staff_id, created_at=now)
        db.session.add(mapping)
    mapping.name = title
    mapping.heading = [sheet.name_of(cell)[:200] for cell in heading]
    mapping.heading_key = mapped.heading_key(heading)
    mapping.plan = plan.stored
    mapping.updated_at = now
    db.session.flush()
    audit.record("mapping.saved", "column_mapping", mapping.id, after={"name": title, "plan": plan.stored})
    return mapping


def delete(mapping: ColumnMapping) -> None:
    """Delete a mapping; files that were read by it keep what they were told."""
    audit.record("mapping.deleted", "column_mapping", mapping.id, before={"name": mapping.name, "plan": mapping.plan})
    db.session.delete(mapping)
    db.session.flush()


def option_named(name: str) -> dict[str, Any]:
    """What a reader is told by the mapping of this name (the command line); refuses with `MappingUnknown`."""
    found = find_named(name)
    if found is None:
        raise MappingUnknown
    return as_option(found)
