"""Drawing the pictures of packs anew, one at a time and with nobody waiting.

A pack's pictures are kept as they came; what is taken in has a row for each, and a question shows its picture once it is drawn.
Drawing happens with no transaction open. A worker that dies leaves its row as it was, and whoever comes next draws that
one picture again, over the file that was left: its key stands in the row before anybody draws. Who works on a pack at
present is only there to save work: a picture that two have drawn counts once.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import func, or_, select, update

from kernel import clock, files
from kernel.db import changed, db

from ..models import Intent, PackImport, PackPicture, PictureState

# Nobody draws at one picture for so long: whoever held the pack is gone.
LEASE = timedelta(seconds=60)
# A worker that dies over a picture so often leaves it, and the rest goes on.
TRIES = 3


@dataclass(frozen=True)
class Taken:
    """A picture that is about to be drawn: its row, its question, where it stands, and the key that it gets."""

    id: int
    intent_id: int
    raw: str
    begins: int
    size: int
    key: str


@dataclass(frozen=True)
class Drawn:
    """What came of it: the key of the stored picture, or the reason why there is none."""

    key: str | None = None
    reason: str = ""


def wait_for(found: PackImport, fresh: Mapping[str, int]) -> None:
    """Let the pictures of what was added (ids of intents by their keys) wait to be drawn."""
    db.session.add_all(
        PackPicture(import_id=found.id, intent_id=fresh[row["key"]], begins=row["raw"][0], size=row["raw"][1])
        for row in found.rows
        if row.get("raw") and row["key"] in fresh
    )
    db.session.flush()
    finish(found.id)


def _pack(import_id: int, *only: Any, **values: Any) -> bool:
    """Change a pack whose pictures are under way; returns whether it was there to be changed."""
    ours = (PackImport.id == import_id, PackImport.raw.is_not(None), PackImport.taken_at.is_not(None), *only)
    done = update(PackImport).where(*ours).values(**values).execution_options(synchronize_session="fetch")
    return bool(changed(db.session.execute(done)))


def _free() -> Any:
    return or_(PackImport.drawing_until.is_(None), PackImport.drawing_until <= clock.now())


def begin(import_id: int) -> bool:
    """Take a pack for drawing; False where nothing is left of it, or somebody is at it."""
    return _pack(import_id, _free(), drawing_until=clock.now() + LEASE)


def give_back(import_id: int) -> None:
    """Let whoever comes next go on."""
    _pack(import_id, drawing_until=None)


def take_next(import_id: int) -> Taken | None:
    """The next picture to draw, its try counted; None when none is left."""
    waits = (PackPicture.import_id == import_id, PackPicture.state == PictureState.WAITING)
    given_up = db.session.scalars(
        update(PackPicture)
        .where(*waits, PackPicture.tries >= TRIES)
        .values(state=PictureState.FAILED, reason="gave_up")
        .returning(PackPicture.picture)
        .execution_options(synchronize_session=False)
    )
    files.drop_pictures(key for key in given_up if key)
    # What has failed before comes last, so that it keeps nothing else waiting.
    row = db.session.execute(
        select(PackPicture.id, PackPicture.intent_id, PackImport.raw, PackPicture.begins, PackPicture.size)
        .join(PackImport, PackImport.id == PackPicture.import_id)
        .where(*waits)
        .order_by(PackPicture.tries, PackPicture.id)
        .limit(1)
    ).one_or_none()
    if row is None:
        return None
    # Of two who take one at the same moment both draw under the key of the first.
    key = db.session.scalar(
        update(PackPicture)
        .where(PackPicture.id == row.id)
        .values(tries=PackPicture.tries + 1, picture=func.coalesce(PackPicture.picture, files.picture_key()))
        .returning(PackPicture.picture)
        .execution_options(synchronize_session=False)
    )
    _pack(import_id, drawing_until=clock.now() + LEASE)
    return Taken(row.id, row.intent_id, row.raw or "", row.begins, row.size, key or files.picture_key())


def draw(taken: Taken) -> Drawn:
    """Draw a picture anew, judged like one that is uploaded."""
    content = files.read_raw(taken.raw, taken.begins, taken.size)
    if content is None:
        return Drawn(reason="gone")
    try:
        return Drawn(files.save_picture(io.BytesIO(content), key=taken.key))
    except files.FileRefused:
        return Drawn(reason="no_picture")


def record(taken: Taken, drawn: Drawn) -> None:
    """Let the question show what was drawn. A question that is gone, or has a picture by now, and a picture that somebody else
    has drawn meanwhile, are no fault: this one goes."""
    # The question first and then its picture, as its deletion holds them.
    intent = db.session.scalar(
        select(Intent).where(Intent.id == taken.intent_id).with_for_update().execution_options(populate_existing=True)
    )
    own = intent is not None and intent.picture is not None
    state = PictureState.FAILED if drawn.key is None else PictureState.OWN if own else PictureState.DRAWN
    done = db.session.execute(
        update(PackPicture)
        .where(PackPicture.id == taken.id, PackPicture.state == PictureState.WAITING)
        .values(state=state, reason=drawn.reason)
        .execution_options(synchronize_session="fetch")
    )
    if changed(done) and state is PictureState.DRAWN and intent is not None:
        intent.picture = drawn.key
        db.session.flush()
    else:
        files.drop_pictures([taken.key])


def let_go(intent_ids: Sequence[int]) -> None:
    """Remove what may lie drawn for questions that are about to be deleted and do not show it: its worker died. One that
    is at work at this moment removes its own."""
    waits = (PackPicture.intent_id.in_(intent_ids), PackPicture.state == PictureState.WAITING)
    keys = db.session.scalars(select(PackPicture.picture).where(*waits, PackPicture.picture.is_not(None)))
    files.drop_pictures(key for key in keys if key)


def finish(import_id: int) -> None:
    """Let go what came with a pack of which every picture has found its end."""
    key = db.session.scalar(select(PackImport.raw).where(PackImport.id == import_id))
    left = select(PackPicture.id).where(PackPicture.import_id == import_id, PackPicture.state == PictureState.WAITING)
    if key is not None and db.session.scalar(left.limit(1)) is None and _pack(import_id, raw=None, drawing_until=None):
        files.drop_private([key])


def left_undrawn(most: int = 20) -> list[int]:
    """Packs taken in whose pictures nobody draws at present."""
    found = select(PackImport.id).where(PackImport.raw.is_not(None), PackImport.taken_at.is_not(None), _free())
    return list(db.session.scalars(found.order_by(PackImport.id).limit(most)))
