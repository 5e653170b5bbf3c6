"""Saving audiences."""

from __future__ import annotations

from kernel import audit, clock
from kernel.db import db

from . import rules
from .models import Audience


def save(name: str, definition: rules.Definition, audience: Audience | None = None) -> Audience:
    """Save a new audience, or change one. Pushes that were made from it keep the rules they were made with."""
    before = {"name": audience.name, **audience.definition} if audience is not None else None
    if audience is None:
        audience = Audience(created_at=clock.now())
        db.session.add(audience)
    audience.name = " ".join(name.split())
    audience.definition = definition.dump()
    db.session.flush()
    audit.record("audience.saved", "audience", audience.id, before, {"name": audience.name, **audience.definition})
    return audience


def remove(audience: Audience) -> None:
    """Forget a saved audience. Pushes that were made from it stay as they are."""
    audit.record("audience.removed", "audience", audience.id, {"name": audience.name, **audience.definition})
    db.session.delete(audience)
