"""What a restore does to words that were on their way beside the pushes: they may have been said, and are not said again."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import update

from kernel import restoring
from kernel.db import changed, db
from kernel.i18n import lazy_gettext as _l

from .models import NoticeState, Posting, PostingState, ServiceNotice

SAID = "words_in_doubt"
restoring.words[SAID] = _l("Notices to members and words of robots that are in doubt")


@restoring.began.fill
def keep_silent(now: datetime) -> list[restoring.TakenOut]:
    """Bring in doubt what was to be said."""
    notices = db.session.execute(
        update(ServiceNotice)
        .where(ServiceNotice.state.in_([NoticeState.WAITING, NoticeState.SENDING]))
        .values(state=NoticeState.UNKNOWN, reason="restored", ended_at=now)
        .execution_options(synchronize_session=False)
    )
    postings = db.session.execute(
        update(Posting)
        .where(Posting.state.in_([PostingState.WAITING, PostingState.SENDING]))
        .values(state=PostingState.UNKNOWN, reason="restored", ended_at=now)
        .execution_options(synchronize_session=False)
    )
    return [restoring.TakenOut(SAID, changed(notices) + changed(postings))]
