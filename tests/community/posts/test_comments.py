"""What members say under posts, vote, and write themselves."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from community.groups.models import GroupState
from community.moderation import queries as moderation
from community.moderation import services as moderating
from community.moderation.models import Case, CaseReason, CaseState, WordEffect
from community.posts import drawing, queries, services
from community.posts.models import (
    Comment,
    CommentState,
    MemberPosts,
    PollOption,
    PollVote,
    Post,
    PostGroup,
    PostState,
)
from kernel import clock as kernel_clock
from kernel import links
from membership.limits.services import LimitReached
from membership.members.services import erasure, merge
from tests.conftest import published as told


@pytest.fixture
def scene(make_member, make_group, published, phone_of):
    """A group of two with a post, the phone of one of them, and the addresses of the post's acts."""

    class Scene:
        ann, bob = make_member("小满"), make_member("阿豆")
        group = make_group("茶友群", members=[ann, bob])
        post = published(group)
        phone = phone_of(ann)
        token = links.make("post", post.id, group.id)
        page = f"/groups/{group.public_id}/posts/{token}"

    return Scene


def commented(db, scene):
    return db.session.scalar(select(PostGroup.commented).where(PostGroup.post_id == scene.post.id))


def test_a_comment_shows_with_its_writer_and_is_counted(db, scene):
    answer = scene.phone.post(f"{scene.page}/comments", data={"body": " 八十五度刚好 \n"})
    assert (answer.status_code, answer.location) == (303, f"{scene.page}#comments")
    page = scene.phone.get(scene.page).text
    assert "八十五度刚好" in page
    assert "小满" in page
    assert commented(db, scene) == 1
    assert [(e["member_id"], e["post_id"]) for e in told(db, "PostCommented")] == [(scene.ann.id, scene.post.id)]
    assert "八十五度刚好" in scene.phone.get(f"/groups/{scene.group.public_id}").text


@pytest.mark.parametrize(("body", "sentence"), [("  \n ", "请先填写内容"), ("长" * 501, "500")])
def test_a_comment_that_cannot_be_is_refused_at_its_field_and_kept(db, scene, body, sentence):
    answer = scene.phone.post(f"{scene.page}/comments", data={"body": body}, headers={"Accept-Language": "zh-CN"})
    assert answer.status_code == 422
    assert sentence in answer.text
    assert body.strip() in answer.text
    # A tap on that page leads back to the post, and never to the address that only takes comments.
    assert answer.text.count(f'name="next" value="{scene.page}"') == 2
    assert (commented(db, scene), db.session.scalar(select(func.count()).select_from(Comment))) == (0, 0)


def test_an_answer_stands_with_whom_it_answers(db, scene, phone_of):
    first = services.comment(scene.post.id, scene.group.id, scene.ann.id, "用盖碗吗")
    token = links.make("comment", first.id, scene.group.id)
    phone_of(scene.bob).post(f"{scene.page}/comments", data={"body": "用的", "answers": token})
    second = db.session.scalars(select(Comment).order_by(Comment.id.desc())).first()
    assert (second.answers_id, second.member_id) == (first.id, scene.bob.id)
    third = services.comment(scene.post.id, scene.group.id, scene.ann.id, "好", answers_id=second.id)
    assert third.answers_id == first.id


def test_only_members_of_the_group_comment_vote_report_and_write(client, scene, make_member, phone_of):
    outsider = phone_of(make_member())
    assert outsider.get(f"/groups/{scene.group.public_id}/news").status_code == 403
    for path in (f"{scene.page}/comments", f"{scene.page}/vote", f"/groups/{scene.group.public_id}/write"):
        assert outsider.post(path, data={"body": "喂"}).status_code == 403
        assert client.post(path, data={"body": "喂"}).status_code == 302
    assert outsider.get(scene.page).status_code == 403
    report = moderating.REPORT
    token = links.make(report, "comment", 1, scene.group.id, scene.ann.id)
    assert outsider.get(f"/report/{token}").status_code == 403


def test_reading_changes_nothing(db, scene):
    services.comment(scene.post.id, scene.group.id, scene.bob.id, "好看")
    before = db.session.execute(select(PostGroup.seen, PostGroup.commented)).one()
    for _ in range(2):
        assert scene.phone.get(scene.page).status_code == 200
    assert db.session.execute(select(PostGroup.seen, PostGroup.commented)).one() == before


def test_a_post_of_another_group_is_a_dead_end(scene, make_group, published):
    other = make_group(members=[scene.bob])
    post = published(other)
    token = links.make("post", post.id, other.id)
    assert scene.phone.get(f"/groups/{scene.group.public_id}/posts/{token}").status_code == 404


def test_a_link_is_held_until_staff_let_it(db, browse, scene):
    scene.phone.post(f"{scene.page}/comments", data={"body": "加我 www.tea.example"})
    made = db.session.scalars(select(Comment)).one()
    assert (made.state, commented(db, scene), told(db, "PostCommented")) == (CommentState.HELD, 0, [])
    assert "www.tea.example" in scene.phone.get(scene.page).text
    case = db.session.scalars(select(Case)).one()
    assert (case.reason, case.held) == (CaseReason.LINK, True)
    queue = browse().get("/console/moderation").text
    assert "www.tea.example" in queue
    assert browse().post(f"/console/moderation/{case.id}/dismiss").status_code == 302
    db.session.refresh(made)
    assert (made.state, commented(db, scene), len(told(db, "PostCommented"))) == (CommentState.SHOWN, 1, 1)
    assert browse().post(f"/console/moderation/{case.id}/uphold").status_code == 409


def test_words_of_the_list_stop_or_hold(db, browse, scene):
    browse().post("/console/moderation/words", data={"refused": "傻瓜\n傻瓜\n", "held": "代购"})
    assert [(w.word, w.effect) for w in moderation.stop_words()] == [
        ("代购", WordEffect.HOLD),
        ("傻瓜", WordEffect.REFUSE),
    ]
    answer = scene.phone.post(f"{scene.page}/comments", data={"body": "你这傻-瓜"})
    assert (answer.status_code, "傻-瓜" in answer.text) == (422, True)
    assert services.comment(scene.post.id, scene.group.id, scene.bob.id, "可以代　购吗").state is CommentState.HELD
    case = db.session.scalars(select(Case)).one()
    assert (case.reason, case.word) == (CaseReason.WORDS, "代购")


def test_taking_back_hides_and_closes_the_case(db, scene, phone_of):
    made = services.comment(scene.post.id, scene.group.id, scene.ann.id, "写错了")
    moderating.complain("comment", made.id, scene.group.id, scene.ann.id, scene.bob.id, "other")
    token = links.make("comment", made.id, scene.group.id)
    assert phone_of(scene.bob).post(f"{scene.page}/comments/{token}/withdraw").status_code == 403
    for _ in range(2):
        assert scene.phone.post(f"{scene.page}/comments/{token}/withdraw").status_code == 303
    db.session.refresh(made)
    assert (made.state, commented(db, scene)) == (CommentState.WITHDRAWN, 0)
    assert moderation.open_cases() == 0
    services.release_comment(made.id)
    assert made.state is CommentState.WITHDRAWN


def test_nobody_writes_faster_than_people_do(scene):
    for i in range(6):
        services.comment(scene.post.id, scene.group.id, scene.ann.id, f"第{i}句")
    with pytest.raises(LimitReached):
        services.comment(scene.post.id, scene.group.id, scene.ann.id, "第七句")
    services.comment(scene.post.id, scene.group.id, scene.bob.id, "我可以")


def test_a_group_that_has_closed_is_only_read(db, scene):
    scene.phone.post(f"{scene.page}/comments", data={"body": "八十五度"})
    home = f"/groups/{scene.group.public_id}"
    doors = (f"{scene.page}/comments", f"{home}/write")
    assert all(door in scene.phone.get(page).text for page, door in zip((scene.page, home), doors, strict=True))
    scene.group.state = GroupState.CLOSED
    assert [scene.phone.post(door, data={"body": "再说一句"}).status_code for door in doors] == [409, 409]
    assert scene.phone.get(f"{home}/write").status_code == 409
    page = scene.phone.get(scene.page).text
    assert "八十五度" in page
    page += scene.phone.get(home).text
    assert [part in page for part in (*(f'"{door}"' for door in doors), "answers=")] == [False] * 3
    assert commented(db, scene) == 1


def test_comments_can_be_closed_in_a_group(browse, scene):
    answer = browse().post(f"/console/groups/{scene.group.id}/voice", data={"member_posts": "off"})
    assert answer.status_code == 302
    assert scene.phone.post(f"{scene.page}/comments", data={"body": "喂"}).status_code == 403
    assert "/write" not in scene.phone.get(f"/groups/{scene.group.public_id}").text
    assert scene.phone.get(f"/groups/{scene.group.public_id}/write").status_code == 403


def test_the_shop_answers_takes_out_and_brings_back(db, browse, scene):
    made = services.comment(scene.post.id, scene.group.id, scene.ann.id, "什么时候有货")
    path = f"/console/posts/{scene.post.id}/comments"
    assert browse().post(path, data={"answers": made.id, "body": "周三晚上"}).status_code == 302
    assert "周三晚上" in scene.phone.get(scene.page).text
    assert browse().post(path, data={"group": scene.group.id, "body": " "}).status_code == 422
    assert browse().post(f"{path}/{made.id}/hide").status_code == 302
    assert (made.state, commented(db, scene)) == (CommentState.HIDDEN, 1)
    assert browse().post(f"{path}/{made.id}/release").status_code == 302
    assert (made.state, commented(db, scene)) == (CommentState.SHOWN, 2)
    assert browse().post(f"/console/posts/{scene.post.id + 1}/comments/{made.id}/hide").status_code == 404
    page = browse().get(f"/console/posts/{scene.post.id}").text
    assert "什么时候有货" in page


def test_news_come_once_and_cost_nothing_when_there_are_none(clock, scene, published):
    page = scene.phone.get(f"/groups/{scene.group.public_id}").text
    mark = page.partition('data-news-mark="')[2].partition('"')[0]
    path = f"/groups/{scene.group.public_id}/news?after={mark}"
    same = {"If-None-Match": f'W/"{mark}"'}
    assert scene.phone.get(path, headers=same).status_code == 304
    clock.move(minutes=1)
    published(scene.group, title="刚发的")
    answer = scene.phone.get(path, headers=same)
    assert ("刚发的" in answer.text, scene.post.title in answer.text) == (True, False)
    newer = answer.headers["ETag"]
    assert scene.phone.get(path, headers={"If-None-Match": newer}).status_code == 304
    for nonsense in ("", "x", "1-", "9" * 30 + "-1"):
        assert scene.phone.get(f"/groups/{scene.group.public_id}/news?after={nonsense}").status_code == 200


def own_parts(page):
    """What a page says of its reader: whose form's token, what they like and chose, whom they may report, the way back."""
    return (
        set(re.findall('name="csrf_token" value="([^".]+)', page)),
        page.count('aria-pressed="true"'),
        re.findall('value="(\\d)" checked', page),
        re.findall("post-report", page),
        set(re.findall('name="next" value="([^"]+)"', page)),
    )


def test_what_is_drawn_for_one_reader_is_drawn_for_all_without_what_is_theirs(
    db, clock, scene, poll, phone_of, queries
):
    """Two read the same posts from one process: each with their own token, likes, vote and reports, whoever came first."""
    services.set_voice(scene.group.id, True, MemberPosts.OPEN)
    asked, own = poll(), services.contribute(scene.group.id, scene.ann.id, "我泡了三遍都不涩")
    services.vote(asked.id, scene.group.id, scene.ann.id, [2])
    services.like(scene.post.id, scene.group.id, scene.bob.id, True)
    path, bob = f"/groups/{scene.group.public_id}", phone_of(scene.bob)
    for _again in range(2):
        ask = [(scene.phone, path), (bob, path), (scene.phone, f"{path}/news"), (bob, f"{path}/news")]
        pages = [phone.get(address).text for phone, address in ask]
        ann, his, news, news_his = (own_parts(page) for page in pages)
        assert (len(ann[0]), len(his[0]), ann[0] & his[0]) == (1, 1, set())
        assert (news[0], news_his[0]) == (ann[0], his[0])
        assert (ann[1:], his[1:]) == ((0, ["2"], [], {path}), (1, [], ["post-report"], {path}))
        assert (news[1:], news_his[1:]) == (ann[1:], his[1:])
        assert not any("\0" in page for page in pages)
    with queries(9):
        # The browser; group, member and seat; settings; the welcome's two; sales and draws; posts; what members post; poll.
        scene.phone.get(path)
    assert own.body in pages[1]


def test_what_is_taken_down_is_gone_at_once_from_what_was_drawn(db, clock, scene, published, phone_of):
    """A post, a comment, a name and the shop's own: whoever loads the page next reads none of them."""
    other = published(scene.group, title="马上撤下的", body="撤下的字")
    said = services.comment(scene.post.id, scene.group.id, scene.ann.id, "要藏起来的话")
    services.comment(scene.post.id, scene.group.id, scene.bob.id, "留着的话")
    path, bob = f"/groups/{scene.group.public_id}", phone_of(scene.bob)

    def reads():
        pages = [scene.phone.get(path).text, bob.get(path).text, bob.get(f"{path}/news").text]
        words = ("撤下的字", "要藏起来的话", "留着的话", "阿豆", "改了的字")
        found = [[word for word in words if word in page] for page in pages]
        assert found[0] == found[1] == found[2]
        return found[0]

    assert reads() == ["撤下的字", "要藏起来的话", "留着的话", "阿豆"]
    services.archive(other.id)
    assert reads() == ["要藏起来的话", "留着的话", "阿豆"]
    services.hide_comment(said.id)
    services.comment(scene.post.id, scene.group.id, scene.ann.id, "新的话")
    assert reads() == ["留着的话", "阿豆"]
    scene.bob.nickname = "别名"
    assert reads() == ["留着的话"]
    scene.post.body = "改了的字"
    assert reads() == ["留着的话", "改了的字"]


def test_what_is_kept_says_what_the_database_says_and_not_what_the_request_had_read_before(app, db, clock, scene):
    """Somebody is renamed, and a post written anew, between two statements of one request: the later one is drawn."""
    services.set_voice(scene.group.id, True, MemberPosts.OPEN)
    own = services.contribute(scene.group.id, scene.bob.id, "旧的话")
    services.comment(own.id, scene.group.id, scene.ann.id, "旧的评论")
    db.session.flush()
    changes = (own, {"body": "新的话"}), (scene.ann, {"nickname": "新名一"}), (scene.bob, {"nickname": "新名二"})
    for row, values in changes:
        one = update(type(row)).where(type(row).id == row.id).values(values)
        db.session.execute(one.execution_options(synchronize_session=False))
    assert (own.body, scene.ann.nickname) == ("旧的话", "小满")
    rows = db.session.execute(queries.lines(), queries.line_values(scene.group.id, 0, kernel_clock.now())).all()
    with app.test_request_context():
        drawn = "".join(drawing.draw(scene.group, 0, rows))
    words = ("新的话", "新名一", "新名二", "旧的话", "小满", "阿豆")
    assert [word for word in words if word in drawn] == ["新的话", "新名一", "新名二"]


def test_a_page_is_drawn_whatever_other_threads_do_to_what_is_kept(db, clock, scene, published, app, monkeypatch):
    """What is kept is emptied as soon as somebody has looked into it."""

    class Emptied(dict):
        def __contains__(self, key):
            found = super().__contains__(key)
            self.clear()
            return found

        def get(self, key, otherwise=None):
            found = super().get(key, otherwise)
            self.clear()
            return found

    published(scene.group, title="第二篇")
    monkeypatch.setitem(app.extensions, "drawn_posts", Emptied())
    path = f"/groups/{scene.group.public_id}"
    for _again in range(3):
        page = scene.phone.get(path)
        assert (page.status_code, page.text.count('<article class="post"')) == (200, 2)


def test_after_a_tap_on_a_post_that_came_as_news_the_way_leads_to_the_page(scene):
    news = scene.phone.get(f"/groups/{scene.group.public_id}/news").text
    assert f'name="next" value="/groups/{scene.group.public_id}"' in news


# ── Polls ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def poll(clock, scene, draft):
    """A published poll of three answers in the scene's group."""

    def make(several=False, closes_at=None, options=("茶", "杯", "香")):
        post = services.write(draft(scene.group, title="下个月看什么"))
        services.save_poll(post.id, services.PollDraft(options, several, closes_at))
        services.publish_now(post.id)
        return post

    return make


def votes(db, post):
    return db.session.scalars(
        select(PollOption.votes).where(PollOption.post_id == post.id).order_by(PollOption.number)
    ).all()


def test_a_vote_counts_once_and_can_be_changed(db, scene, poll, phone_of):
    post = poll()
    path = f"/groups/{scene.group.public_id}/posts/{links.make('post', post.id, scene.group.id)}"
    for chosen in ("1", "1", "3"):
        assert scene.phone.post(f"{path}/vote", data={"choice": chosen}).status_code == 303
    assert votes(db, post) == [0, 0, 1]
    for wrong in ({}, {"choice": "9"}, {"choice": ["1", "2"]}, {"choice": "x"}):
        scene.phone.post(f"{path}/vote", data=wrong)
    assert votes(db, post) == [0, 0, 1]
    shown = queries.poll_of(post.id, scene.ann.id)
    assert ([c.mine for c in shown.choices], shown.people) == ([False, False, True], 1)
    assert "100" in scene.phone.get(path).text


def test_a_closed_poll_takes_no_vote_and_shows_what_was_voted(db, clock, scene, poll):
    post = poll(closes_at=kernel_clock.now() + timedelta(hours=1))
    path = f"/groups/{scene.group.public_id}/posts/{links.make('post', post.id, scene.group.id)}"
    clock.move(hours=1)
    assert scene.phone.post(f"{path}/vote", data={"choice": "1"}).status_code == 409
    assert votes(db, post) == [0, 0, 0]
    assert 'name="choice"' in scene.phone.get(path).text


def test_a_poll_is_written_with_its_post_and_locked_once_it_shows(db, browse, scene):
    form = {
        "kind": "survey",
        "title": "看什么",
        "body": "选一个",
        "groups": scene.group.id,
        "options": "茶\n杯\n\n茶",
        "act": "publish",
    }
    answer = browse().post("/console/posts/new", data=form)
    assert answer.status_code == 302
    post = db.session.scalars(select(Post).order_by(Post.id.desc())).first()
    assert [c.words for c in queries.poll_of(post.id).choices] == ["茶", "杯"]
    with pytest.raises(services.PostLocked):
        services.save_poll(post.id, services.PollDraft(("茶", "香")))
    assert browse().post("/console/posts/new", data={**form, "options": "只有一个"}).status_code == 422
    assert [c.words for c in queries.poll_of(services.use_again(post.id, None).id).choices] == ["茶", "杯"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ballots=st.lists(
        st.tuples(st.integers(0, 2), st.sets(st.integers(1, 3), min_size=1, max_size=3)), min_size=1, max_size=12
    )
)
def test_votes_add_up_whatever_people_choose_and_change(db, scene, poll, make_member, ballots):
    post = poll(several=True)
    people = [make_member() for _ in range(3)]
    held = {}
    for who, chosen in ballots:
        services.vote(post.id, scene.group.id, people[who].id, sorted(chosen))
        held[who] = chosen
    assert votes(db, post) == [sum(n in chosen for chosen in held.values()) for n in (1, 2, 3)]
    assert queries.poll_of(post.id).people == len(held)


def test_two_records_of_one_person_vote_once(db, scene, poll, make_member):
    post, other = poll(several=True), make_member()
    services.vote(post.id, scene.group.id, scene.ann.id, [1])
    services.vote(post.id, scene.group.id, other.id, [1, 2])
    done = merge.merge(scene.ann.id, other.id)
    assert votes(db, post) == [1, 0, 0]
    assert db.session.scalars(select(PollVote.member_id)).all() == [scene.ann.id]
    merge.undo(done)
    assert votes(db, post) == [2, 1, 0]


# ── Posts of members ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_post_of_a_member_waits_shows_once_let_and_goes_when_taken_out(db, browse, scene):
    path = f"/groups/{scene.group.public_id}/write"
    assert scene.phone.post(path, data={"body": " "}).status_code == 422
    assert scene.phone.post(path, data={"body": "我的茶席\n<b>周末</b>摆的"}).status_code == 303
    post = db.session.scalars(select(Post).where(Post.member_id == scene.ann.id)).one()
    assert (post.state, post.title) == (PostState.WAITING, "我的茶席")
    feed = scene.phone.get(f"/groups/{scene.group.public_id}").text
    assert "我的茶席" in feed
    assert "<b>周末</b>" not in feed
    case = db.session.scalars(select(Case)).one()
    assert case.reason is CaseReason.APPROVAL
    browse().post("/console/moderation/decide", data={"ids": case.id, "act": "dismiss"})
    db.session.refresh(post)
    assert (post.state, len(told(db, "MemberPosted"))) == (PostState.PUBLISHED, 1)
    assert "&lt;b&gt;周末" in scene.phone.get(f"/groups/{scene.group.public_id}").text
    assert "我的茶席" in browse().get("/console/posts?by=members").text
    assert "我的茶席" not in browse().get("/console/posts").text
    services.hide_contribution(post.id)
    assert "茶席" not in browse().get("/console/posts?by=members").text
    services.hide_contribution(scene.post.id)
    assert scene.post.state is PostState.PUBLISHED


def test_where_members_write_freely_it_shows_at_once_unless_it_leads_away(db, scene):
    services.set_voice(scene.group.id, True, MemberPosts.OPEN)
    assert services.contribute(scene.group.id, scene.ann.id, "晒一张").state is PostState.PUBLISHED
    assert services.contribute(scene.group.id, scene.ann.id, "看 https://x.example").state is PostState.WAITING


# ── People ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_erasing_somebody_takes_their_words_out(db, scene):
    services.comment(scene.post.id, scene.group.id, scene.ann.id, "我的电话在纸条上")
    services.set_voice(scene.group.id, True, MemberPosts.OPEN)
    mine = services.contribute(scene.group.id, scene.ann.id, "我的茶席")
    erasure.erase(scene.ann.id, str(scene.ann.id))
    db.session.expire_all()
    assert db.session.scalars(select(Comment.body)).all() == [""]
    assert (mine.body, mine.state, commented(db, scene)) == ("", PostState.REFUSED, 0)


def test_what_an_erased_person_left_waiting_cannot_be_let_show(db, browse, scene):
    waiting = services.contribute(scene.group.id, scene.ann.id, "看 https://x.example")
    case = db.session.scalars(select(Case)).one()
    erasure.erase(scene.ann.id, str(scene.ann.id))
    assert moderation.open_cases() == 0
    assert browse().post(f"/console/moderation/{case.id}/dismiss").status_code == 409
    services.release_contribution(waiting.id)
    db.session.refresh(waiting)
    assert (waiting.state, told(db, "MemberPosted")) == (PostState.REFUSED, [])


def test_what_was_taken_down_is_not_reported_again(scene, phone_of):
    made = services.comment(scene.post.id, scene.group.id, scene.ann.id, "骗人的")
    page = f"/report/{links.make(moderating.REPORT, 'comment', made.id, scene.group.id, scene.ann.id)}"
    phone = phone_of(scene.bob)
    phone.post(page, data={"ground": "false"})
    moderating.decide(moderation.find_open_case("comment", made.id).id, True, 1)
    assert (phone.get(page).status_code, phone.post(page, data={"ground": "false"}).status_code) == (404, 404)
    assert moderation.open_cases() == 0


def test_cases_close_with_their_state_checked(db, scene):
    made = services.comment(scene.post.id, scene.group.id, scene.ann.id, "一句话")
    moderating.complain("comment", made.id, scene.group.id, scene.ann.id, scene.bob.id, "abuse", "不好听")
    case = db.session.scalars(select(Case)).one()
    moderating.decide(case.id, True, 1, "骂人")
    assert (made.state, case.state) == (CommentState.HIDDEN, CaseState.UPHELD)
    with pytest.raises(moderating.DecidedAlready):
        moderating.decide(case.id, False, 1)
