"""Staff let a text stand while the report that hides it comes in: it ends readable, or before staff again, never hidden for good."""

from __future__ import annotations

import threading

import pytest
from flask import Flask
from sqlalchemy import update

from community.groups.models import Group, GroupKind, GroupState
from community.moderation import queries, services
from community.moderation.models import Case, CaseState, Ground
from community.posts import services as posts
from community.posts.models import Comment, CommentState, PostKind
from kernel import clock
from kernel.db import db, transaction
from membership.members.models import Member
from tests.committed import at_once, clear

pytestmark = pytest.mark.race
ROUNDS = 8


def scene(app: Flask) -> tuple[int, list[int], int, int]:
    """A group, its writer and three readers, a comment that two of them have reported, and its case."""
    with app.app_context(), transaction():
        now = clock.now()
        people = [Member(stage_since=now, created_at=now) for _ in range(4)]
        group = Group(
            public_id="quiet", name="Quiet", kind=GroupKind.REGULAR, state=GroupState.OPEN, created_at=now, join_rule={}
        )
        db.session.add_all([*people, group])
        db.session.flush()
        post = posts.write(posts.Draft(PostKind.TIP, "Tip", "Text", group_ids=(group.id,)))
        posts.publish_now(post.id)
        said = posts.comment(post.id, group.id, people[0].id, "words")
        for reader in people[1:3]:
            services.complain("comment", said.id, group.id, people[0].id, reader.id, Ground.ABUSE)
        case = queries.find_open_case("comment", said.id)
        assert case is not None
        return group.id, [person.id for person in people], said.id, case.id


def lost(app: Flask, comment_id: int) -> bool:
    """Whether nobody can read the comment and nobody is asked to decide."""
    with app.app_context():
        hidden = db.session.get_one(Comment, comment_id).state is CommentState.HIDDEN
        found = hidden and queries.find_open_case("comment", comment_id) is None
        db.session.remove()
    return found


def test_a_text_that_staff_let_stand_is_never_hidden_for_good(committed: Flask) -> None:
    for _ in range(ROUNDS):
        group_id, people, comment_id, case_id = scene(committed)

        def dismiss(case_id: int = case_id) -> None:
            with transaction():
                services.decide(case_id, False, 1)

        def report(group_id: int = group_id, people: list[int] = people, comment_id: int = comment_id) -> None:
            with transaction():
                services.complain("comment", comment_id, group_id, people[0], people[3], Ground.ABUSE)

        raised = at_once(committed, [dismiss, report])
        assert all(isinstance(fault, services.DecidedAlready) for fault in raised)
        assert not lost(committed, comment_id)
        clear(committed)


def test_teeth_deciding_by_what_was_read_loses_it(committed: Flask) -> None:
    group_id, people, comment_id, case_id = scene(committed)
    read, reported = threading.Event(), threading.Event()

    def careless() -> None:
        with transaction():
            case = queries.get_case(case_id)
            held = case.held
            read.set()
            assert reported.wait(30)
            db.session.execute(
                update(Case)
                .where(Case.id == case_id, Case.state == CaseState.OPEN)
                .values(state=CaseState.DISMISSED, decided_at=clock.now())
            )
            if held:
                posts.release_comment(comment_id)

    def report() -> None:
        assert read.wait(30)
        with transaction():
            services.complain("comment", comment_id, group_id, people[0], people[3], Ground.ABUSE)
        reported.set()

    assert at_once(committed, [careless, report]) == []
    assert lost(committed, comment_id)
