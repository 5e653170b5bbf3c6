"""After a restore: the shop stands at an earlier moment than the world outside, and writes to nobody until a person has looked.

What was under way at the backup may have been sent since. Each room takes its part of it out (`began`), so that nothing goes
a second time by itself, and asks `held` before it lets anything go. A person reads what was found and lets the shop write
again (`release`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import text

from . import audit, clock, shop
from .config import Settings
from .db import db
from .errors import Refusal
from .i18n import lazy_gettext as _l
from .ports import Port

KEY = "restored"
# Left in the data folder while a backup is put back, so that no start of the server overlooks it.
MARK = "restoring.json"
# Numbers that were given out since the backup are in links, receipts and other programs: they are not given out again.
LEAP = 1_000_000


@dataclass(frozen=True)
class TakenOut:
    """What a room has taken out of the way, and how many; `what` is a word that `words` has."""

    what: str
    count: int


# Called once for each restore, with its moment, before anything runs: whatever was under way stands still.
began: Port[[datetime], Iterable[TakenOut]] = Port("restoring.began")
# Called when a person lets the shop write again.
released: Port[[datetime], Iterable[TakenOut]] = Port("restoring.released")
# How what was taken out is called, in the order of showing.
words: dict[str, Any] = {}


class NotHeld(Refusal):
    title = _l("Nothing is held back")
    label = _l("Somebody has let the shop write again already.")


def leave_mark(settings: Settings, made_at: str) -> None:
    """Note on the disk that a backup is being put back."""
    draft = settings.data_dir / f".{MARK}"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(json.dumps({"made_at": made_at}))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(mark(settings))


def mark(settings: Settings) -> Path:
    return settings.data_dir / MARK


def settle(settings: Settings) -> bool:
    """Finish a restore whose tables are there, in the caller's transaction; returns whether there was one.

    Every start of the server asks: a restore that was cut off before its end is finished then. The caller takes the mark
    away after its commit.
    """
    path = mark(settings)
    if not path.exists():
        return False
    made_at = json.loads(path.read_text())["made_at"]
    present = shop.get(KEY) or {}
    if present.get("backup_at") == made_at and present.get("released_at") is None:
        # The mark outlived its own commit.
        return True
    now = clock.now()
    _leap()
    taken = [one for answer in began.call(now) for one in answer if one.count]
    shop.put(
        KEY,
        {
            "at": now.isoformat(),
            "backup_at": made_at,
            "released_at": None,
            "taken": {one.what: one.count for one in taken},
            "journal": [],
        },
    )
    audit.record("shop.restored", "shop", None, after={"backup": made_at})
    return True


def _leap() -> None:
    sequences = db.session.scalars(
        text("SELECT format('%I.%I', schemaname, sequencename) FROM pg_sequences WHERE schemaname = 'public'")
    ).all()
    for name in sequences:
        # At least as far again as it has come since the shop began.
        db.session.execute(
            text(f"SELECT setval(CAST(:name AS regclass), last_value + greatest(last_value, :leap)) FROM {name}"),  # noqa: S608
            {"name": name, "leap": LEAP},
        )


def state() -> dict[str, Any] | None:
    """What is known of the last restore; None for a shop that was never restored."""
    found: dict[str, Any] | None = shop.get(KEY)
    return found


def held() -> bool:
    """Whether the shop was restored and nobody has let it write again yet."""
    found = state()
    return found is not None and found.get("released_at") is None


def init_app(app: Flask) -> None:
    app.jinja_env.globals.update(held_back=held)


def note_replay(report: dict[str, Any]) -> None:
    """Keep what a replay of the journal found, for the page."""
    found = state()
    if found is not None:
        shop.put(KEY, {**found, "journal": [*found["journal"], {**report, "at": clock.now().isoformat()}]})
    audit.record(
        "journal.replayed",
        "shop",
        None,
        after={name: report[name] for name in ("carried_out", "damaged", "missing", "until")},
    )


def release() -> None:
    """Let the shop write again. Refuses with `NotHeld` when it does."""
    found = state()
    if found is None or not held():
        raise NotHeld
    now = clock.now()
    taken = dict(found["taken"])
    for answer in released.call(now):
        for one in answer:
            if one.count:
                taken[one.what] = taken.get(one.what, 0) + one.count
    shop.put(KEY, {**found, "released_at": now.isoformat(), "taken": taken})
    audit.record("shop.released", "shop", None, after={"backup": found["backup_at"]})
