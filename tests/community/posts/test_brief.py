"""Questions under posts that nobody of the shop has answered."""

from __future__ import annotations

from datetime import timedelta

from community.posts import queries
from community.posts.models import Comment, CommentState
from kernel.auth import Role


def test_questions_without_an_answer_of_the_shop(
    db, clock, make_group, make_member, published, staff_client, make_staff
):
    ann, shop = make_member("小安"), make_staff(Role.MANAGER)
    group = make_group("茶友群", members=[ann])
    post, calm = published(group, title="新茶"), published(group, title="旧茶")

    def say(body: str, where=post, staff=None, answers=None, state=CommentState.SHOWN) -> Comment:
        comment = Comment(
            post_id=where.id, group_id=group.id, member_id=None if staff else ann.id, staff_id=staff, body=body, state=state,
            answers_id=answers, at=clock.now(),
        )  # fmt: skip
        db.session.add(comment)
        db.session.flush()
        return comment

    def open_questions() -> list[tuple[str, int]]:
        since = clock.now() - timedelta(days=14)
        return [(found.title, asked) for found, _group, asked in queries.unanswered_questions(since)]

    first = say("怎么泡？")
    say("好喝")
    say("can I return it?")
    say("还有货吗")
    say("还有货吗，想买")
    say("看不见吗？", state=CommentState.HELD)
    assert open_questions() == [("新茶", 3)]
    page = staff_client(Role.VIEWER).get("/console/?all=1").text
    assert "“新茶”下有 3 个提问没人回答" in page
    assert f"/console/posts/{post.id}#comments" in page
    say("八十度。", staff=shop.id, answers=first.id)
    assert open_questions() == []
    say("在吗？", where=calm)
    assert open_questions() == [("旧茶", 1)]
    clock.move(days=15)
    assert open_questions() == []
