"""A word that is being written while silent conversations are ended: it is not lost, and nobody waits for the other."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from flask import Flask
from sqlalchemy import Select, select, text, update

from community.conversations import services
from community.conversations.models import Conversation, TalkState
from kernel import clock
from kernel.db import db, transaction
from membership.members.models import Member
from tests.committed import at_once

pytestmark = pytest.mark.race


def furnish(app: Flask) -> list[int]:
    """Two customers whose conversations were answered and have been silent for longer than they last."""
    with app.app_context(), transaction():
        now = clock.now()
        people = [Member(nickname=f"Guest {n}", stage_since=now, created_at=now) for n in range(2)]
        db.session.add_all(people)
        db.session.flush()
        for person in people:
            services.ask(person.id, "x")
        db.session.execute(update(Conversation).values(waits_since=None, last_at=now - timedelta(hours=25)))
        return [person.id for person in people]


def close_silent(closed: list[int]) -> None:
    with transaction():
        closed.append(services.close_silent())


def test_a_conversation_in_which_somebody_writes_is_not_ended(committed: Flask) -> None:
    silent, writes = furnish(committed)
    closed: list[int] = []
    with committed.app_context():
        with transaction():
            services.ask(writes, "还有一句")
            # Not committed yet: whoever ends what is silent neither sees the word nor waits for it.
            assert at_once(committed, [partial(close_silent, closed)]) == []
        assert at_once(committed, [partial(close_silent, closed)]) == []
        states = dict(db.session.execute(select(Conversation.member_id, Conversation.state)).all())
    assert closed == [1, 0]
    assert states == {silent: TalkState.CLOSED, writes: TalkState.QUEUED}


def write_into(app: Flask, member_id: int, refused: list[str]) -> None:
    """Somebody writes; they wait for half a second at the most, and are told so."""

    def write() -> None:
        with transaction():
            db.session.execute(text("SET LOCAL lock_timeout = '500ms'"))
            services.ask(member_id, "还有一句")

    refused += [type(fault).__name__ for fault in at_once(app, [write])]


def words_lost(app: Flask) -> int:
    """How many words nobody will ever read: of a member, in a conversation that was ended without an answer to them."""
    with app.app_context():
        rows = db.session.scalars(select(Conversation).where(Conversation.state == TalkState.CLOSED)).all()
        return sum(1 for one in rows if one.last_at > clock.now() - timedelta(hours=1))


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "teeth"])
def test_no_word_is_lost_between_looking_and_ending(
    committed: Flask, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    silent, _other = furnish(committed)
    refused: list[str] = []
    if not guarded:
        found = services._silent

        def unlocked(most: int) -> object:
            with monkeypatch.context() as patch:
                patch.setattr(Select, "with_for_update", lambda statement, **_how: statement)
                return found(most)

        monkeypatch.setattr(services, "_silent", unlocked)
    ends = services._end

    def end_after_a_word(conversation: Conversation, by: services.Ending) -> None:
        if conversation.member_id == silent:
            write_into(committed, silent, refused)
        ends(conversation, by)

    monkeypatch.setattr(services, "_end", end_after_a_word)
    with committed.app_context(), transaction():
        services.close_silent()
    # Locked, the writer is refused in time and may say it again; without the lock the word is in a conversation that is over.
    assert (len(refused), words_lost(committed)) == ((1, 0) if guarded else (0, 1))
