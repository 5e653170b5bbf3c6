"""Polls under posts: written with the post, one vote a person, exact counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from kernel import clock
from kernel.db import db
from kernel.errors import NotFound, Refusal
from kernel.i18n import lazy_gettext as _l

from .. import queries, rules
from ..models import Poll, PollOption, PollVote, Post
from .reactions import see


class PostLocked(Refusal):
    title = _l("This post is out already")
    label = _l(
        "Members may have read it, so its text stays as it is. Use it again as a new post, or take it out of the feed."
    )
    icon = "lock"


@dataclass(frozen=True)
class PollDraft:
    """What is written of a poll; no options means that the post has none."""

    options: tuple[str, ...] = ()
    several: bool = False
    closes_at: datetime | None = None


class PollRefused(Refusal):
    status = 422
    field = "options"
    label = _l("Give a poll two to eight answers of up to 40 characters, one per line.")


class PollClosed(Refusal):
    title = _l("The poll has closed")
    label = _l("Nobody can vote any more. What was voted stands below.")
    icon = "lock"


class ChoiceRefused(Refusal):
    status = 422
    label = _l("Choose one of the answers.")


def save_poll(post_id: int, draft: PollDraft) -> None:
    """Give a post a poll, change it, or take it away, as long as nobody can have voted.

    Refuses with `PollRefused` and `PostLocked`.
    """
    post = db.session.get_one(Post, post_id)
    before = queries.poll_of(post_id)
    if (before.draft if before else ((), False, None)) == (draft.options, draft.several, draft.closes_at):
        return
    if not rules.editable(post.state, post.publish_at, clock.now()):
        raise PostLocked
    db.session.execute(delete(Poll).where(Poll.post_id == post_id))
    if not draft.options:
        return
    if not rules.FEWEST_OPTIONS <= len(draft.options) <= rules.MOST_OPTIONS or any(
        len(option) > rules.LONGEST_OPTION for option in draft.options
    ):
        raise PollRefused
    db.session.execute(insert(Poll).values(post_id=post_id, several=draft.several, closes_at=draft.closes_at))
    db.session.execute(
        insert(PollOption),
        [
            {"post_id": post_id, "number": number, "words": words, "votes": 0}
            for number, words in enumerate(draft.options, 1)
        ],
    )


def vote(post_id: int, group_id: int, member_id: int, numbers: Sequence[int]) -> None:
    """Choose answers by their numbers, in place of what the member chose before.

    Two taps at once, or the same person in two groups, leave one vote: the person's votes in a poll change one after
    another. Refuses with `PollClosed`, `ChoiceRefused`, and with `NotFound` what is not shown in the group.
    """
    if queries.shown_in(post_id, group_id, clock.now()) is None:
        raise NotFound
    poll = db.session.get(Poll, post_id)
    if poll is None:
        raise NotFound
    if poll.closes_at is not None and poll.closes_at <= clock.now():
        raise PollClosed
    db.session.execute(select(func.pg_advisory_xact_lock(post_id % 2**31, member_id % 2**31)))
    options = {
        number: option_id
        for option_id, number in db.session.execute(
            select(PollOption.id, PollOption.number).where(PollOption.post_id == post_id)
        )
    }
    wanted = {options[number] for number in numbers if number in options}
    if not wanted or len(wanted) != len(set(numbers)) or (len(wanted) > 1 and not poll.several):
        raise ChoiceRefused
    chosen = set(
        db.session.scalars(
            select(PollVote.option_id).where(PollVote.member_id == member_id, PollVote.option_id.in_(options.values()))
        )
    )
    for option_id in sorted(wanted ^ chosen):
        db.session.execute(
            update(PollOption)
            .where(PollOption.id == option_id)
            .values(votes=PollOption.votes + (1 if option_id in wanted else -1))
            .execution_options(synchronize_session=False)
        )
    if gone := chosen - wanted:
        db.session.execute(delete(PollVote).where(PollVote.member_id == member_id, PollVote.option_id.in_(gone)))
    if fresh := wanted - chosen:
        now = clock.now()
        db.session.execute(
            insert(PollVote),
            [
                {"option_id": option_id, "member_id": member_id, "group_id": group_id, "at": now}
                for option_id in sorted(fresh)
            ],
        )
    see(group_id, member_id, [post_id])
