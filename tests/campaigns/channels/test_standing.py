"""The inbox is there from the start: looking at pages writes nothing."""

from __future__ import annotations

from sqlalchemy import delete, event, select

from campaigns.channels.models import Account, ChannelKind
from kernel.cli import standing_rows
from kernel.db import Session


def inboxes(db):
    return db.session.scalars(select(Account.id).where(Account.kind == ChannelKind.INBOX)).all()


def test_the_inbox_is_opened_at_the_start_and_once(db):
    db.session.execute(delete(Account))
    for _ in range(2):
        standing_rows.call()
        assert len(inboxes(db)) == 1


def test_a_campaigns_form_and_the_channels_write_no_account(db, owner_client):
    standing_rows.call()
    db.session.commit()
    written = []

    def note(state):
        if not state.is_select and "channel_account" in str(state.statement):
            written.append(str(state.statement))

    event.listen(Session, "do_orm_execute", note)
    try:
        for path in ("/console/pushes/new", "/console/channels"):
            assert owner_client.get(path).status_code == 200
    finally:
        event.remove(Session, "do_orm_execute", note)
    assert written == []
    assert len(inboxes(db)) == 1
