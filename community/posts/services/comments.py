"""What is said under a post. A post's counter in a group is the number of its comments that show there."""

from __future__ import annotations

from sqlalchemy import update

from community.groups import services as groups
from community.moderation import services as moderation
from community.moderation.models import CaseReason
from community.moderation.rules import Ruling
from kernel import audit, clock
from kernel.db import changed, db
from kernel.errors import Forbidden, NotFound, Refusal
from kernel.events import publish
from kernel.forms import storable
from kernel.i18n import lazy_gettext as _l
from membership.limits import services as limits

from .. import queries, rules
from ..events import PostCommented
from ..models import Comment, CommentState, PostGroup
from .reactions import see

KIND = "comment"
A_MINUTE, A_DAY = 6, 200


class CommentsClosed(Refusal):
    status = 403
    label = _l("Comments are closed in this group. You can still like the post.")


class CommentMissing(Refusal):
    status = 422
    field = "body"
    label = _l("Write something first.")


class CommentTooLong(Refusal):
    status = 422
    field = "body"
    label = _l("Keep it to %(most)s characters.")

    def __init__(self, most: int) -> None:
        super().__init__(most=most)


def body_of(text: str, most: int) -> str:
    """What was typed, tidied. Refuses with `CommentMissing` and `CommentTooLong`."""
    body = (storable(text.replace("\r\n", "\n")) or "").strip()
    if not body:
        raise CommentMissing
    if len(body) > most:
        raise CommentTooLong(most)
    return body


def take_turn(member_id: int) -> None:
    """Count something that a member writes. Refuses with `LimitReached` whoever writes faster than people do."""
    now = clock.local(clock.now())
    subject = limits.subject_of(member_id)
    limits.take(
        [
            ("writing", subject, f"{now:%Y-%m-%dT%H:%M}", 1, A_MINUTE),
            ("writing", subject, f"{now:%Y-%m-%d}", 1, A_DAY),
        ]
    )


def _count(post_id: int, group_id: int, by: int) -> None:
    db.session.execute(
        update(PostGroup)
        .where(PostGroup.post_id == post_id, PostGroup.group_id == group_id)
        .values(commented=PostGroup.commented + by)
        .execution_options(synchronize_session=False)
    )


def _add(
    post_id: int, group_id: int, body: str, state: CommentState, answers_id: int | None, member_id: int | None,
    staff_id: int | None,
) -> Comment:  # fmt: skip
    if queries.shown_in(post_id, group_id, clock.now()) is None:
        raise NotFound
    if answers_id is not None:
        answered = queries.find_comment(answers_id)
        if answered is None or (answered.post_id, answered.group_id) != (post_id, group_id):
            raise NotFound
        answers_id = answered.answers_id or answered.id
    made = Comment(
        post_id=post_id,
        group_id=group_id,
        member_id=member_id,
        staff_id=staff_id,
        answers_id=answers_id,
        body=body,
        state=state,
        at=clock.now(),
    )
    db.session.add(made)
    db.session.flush()
    if state is CommentState.SHOWN:
        _count(post_id, group_id, 1)
    return made


def comment(post_id: int, group_id: int, member_id: int, body: str, answers_id: int | None = None) -> Comment:
    """Say something under a post, or in answer to a comment there; held when it has a link or a held word.

    Refuses with `GroupOver`, `CommentsClosed`, `Silenced`, `CommentMissing`, `CommentTooLong`, `WordRefused`, `LimitReached`, and
    with `NotFound` what is not shown in the group.
    """
    groups.refuse_over(group_id)
    if not queries.voice_of(group_id).comments:
        raise CommentsClosed
    moderation.refuse_silenced(member_id, group_id)
    body = body_of(body, rules.LONGEST_COMMENT)
    verdict = moderation.examine(body)
    take_turn(member_id)
    held = verdict.ruling is Ruling.HOLD
    made = _add(post_id, group_id, body, CommentState.HELD if held else CommentState.SHOWN, answers_id, member_id, None)
    see(group_id, member_id, [post_id])
    if held:
        reason = CaseReason.WORDS if verdict.word else CaseReason.LINK
        moderation.open_case(KIND, made.id, group_id, member_id, reason, verdict.word)
    else:
        publish(PostCommented(member_id=member_id, post_id=post_id, group_id=group_id, comment_id=made.id))
    return made


def answer(post_id: int, group_id: int, staff_id: int, body: str, answers_id: int | None = None) -> Comment:
    """Say something under a post in the shop's name. Refuses as `comment` does for the text."""
    made = _add(post_id, group_id, body_of(body, rules.LONGEST_COMMENT), CommentState.SHOWN, answers_id, None, staff_id)
    audit.record("comment.answered", "post", post_id, after={"group": group_id, "text": rules.excerpt(made.body)})
    return made


def _move(comment_id: int, wanted: CommentState, *sources: CommentState) -> Comment | None:
    """Give a comment a state it does not have yet, and keep the counter true; None when it was in no such state."""
    found = queries.find_comment(comment_id)
    if found is None:
        return None
    for source in sources:
        moved = db.session.execute(
            update(Comment).where(Comment.id == comment_id, Comment.state == source).values(state=wanted)
        )
        if changed(moved):
            _count(found.post_id, found.group_id, (wanted is CommentState.SHOWN) - (source is CommentState.SHOWN))
            return found
    return None


def withdraw_comment(comment_id: int, member_id: int) -> None:
    """Take one's own comment back; a second time changes nothing. Refuses with `Forbidden` a comment of somebody else."""
    found = queries.find_comment(comment_id)
    if found is None or found.member_id != member_id:
        raise Forbidden
    if _move(comment_id, CommentState.WITHDRAWN, CommentState.SHOWN, CommentState.HELD) is not None:
        moderation.withdraw(KIND, comment_id)


def hide_comment(comment_id: int) -> None:
    """Let nobody read a comment any more."""
    _move(comment_id, CommentState.HIDDEN, CommentState.SHOWN, CommentState.HELD)


def release_comment(comment_id: int) -> None:
    """Let a comment show that was held or hidden."""
    found = _move(comment_id, CommentState.SHOWN, CommentState.HELD, CommentState.HIDDEN)
    if found is not None and found.member_id is not None:
        publish(
            PostCommented(
                member_id=found.member_id, post_id=found.post_id, group_id=found.group_id, comment_id=found.id
            )
        )
