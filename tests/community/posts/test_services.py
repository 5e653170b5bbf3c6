"""What changes, what is published, what is refused."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from community.groups.models import GroupState
from community.posts import queries, services
from community.posts.events import PostClicked, PostPublished
from community.posts.models import PostGroup, PostKind, PostState, Reaction, ReactionKind
from kernel.errors import NotFound
from kernel.events import EventRecord
from membership.orders.models import OrderState


def told(db, event_type):
    return db.session.scalars(
        select(EventRecord.payload).where(EventRecord.name == event_type.__name__).order_by(EventRecord.id)
    ).all()


def places(db, post):
    return {
        row.group_id: (row.published_at, row.seen, row.liked, row.clicked)
        for row in db.session.scalars(
            select(PostGroup).where(PostGroup.post_id == post.id).execution_options(populate_existing=True)
        )
    }


def feed(group, clock):
    queries.db.session.expire_all()
    found = queries.feed(group.id, clock.now()).order_by(*queries.FEED_ORDER)
    return [row[0].title for row in queries.db.session.execute(found)]


def test_a_draft_is_kept_tidy_and_shows_nowhere(db, clock, make_group, draft):
    group = make_group()
    post = services.write(
        draft(group, title="  白茶   这样泡 ", body="\r\n一\r\n二\r\n", link_url=" https://shop.example ")
    )
    assert (post.title, post.body, post.link_url, post.state) == (
        "白茶 这样泡",
        "一\n二",
        "https://shop.example",
        PostState.DRAFT,
    )
    assert places(db, post) == {group.id: (None, 0, 0, 0)}
    assert feed(group, clock) == []


def test_a_post_may_not_be_written_for_a_closed_group(make_group, draft):
    with pytest.raises(services.GroupUnknown):
        services.write(draft(make_group(state=GroupState.CLOSED)))


def test_a_group_that_the_clock_has_closed_takes_no_post(clock, make_group, draft):
    with pytest.raises(services.GroupUnknown):
        services.write(draft(make_group(closes_at=clock.now())))


def test_a_link_must_lead_to_the_web(draft):
    with pytest.raises(services.LinkRefused):
        services.write(draft(link_url="javascript:alert(1)"))


def test_a_scheduled_post_shows_in_both_groups_on_time_though_no_sweep_ran(db, clock, make_group, draft):
    one, two, other = make_group(), make_group(), make_group()
    post = services.write(draft(one, two))
    services.schedule(post.id, clock.now() + timedelta(hours=2))
    clock.move(hours=2, seconds=-1)
    assert feed(one, clock) == []
    clock.move(seconds=1)
    assert (feed(one, clock), feed(two, clock), feed(other, clock)) == ([post.title], [post.title], [])
    assert told(db, PostPublished) == []


def test_the_sweep_publishes_what_is_due_and_tells_it_once(db, clock, make_group, draft):
    one, two = make_group(), make_group()
    first, second, later = (services.write(draft(one, two)) for _ in range(3))
    at = clock.now() + timedelta(minutes=1)
    services.schedule(first.id, at)
    services.schedule(second.id, at)
    services.schedule(later.id, at + timedelta(hours=1))
    clock.move(minutes=5)
    assert services.publish_due() == 2
    assert services.publish_due() == 0
    for post in (first, second, later):
        db.session.refresh(post)
    assert [first.state, second.state, later.state] == [PostState.PUBLISHED, PostState.PUBLISHED, PostState.SCHEDULED]
    assert first.published_at == at
    assert told(db, PostPublished) == [
        {"post_id": first.id, "group_ids": [one.id, two.id]},
        {"post_id": second.id, "group_ids": [one.id, two.id]},
    ]


@pytest.mark.parametrize("minutes", [0, -5, 367 * 24 * 60])
def test_a_post_is_scheduled_for_the_future_within_a_year(clock, make_group, draft, minutes):
    post = services.write(draft(make_group()))
    with pytest.raises(services.TimeRefused):
        services.schedule(post.id, clock.now() + timedelta(minutes=minutes))


def test_a_post_needs_a_group_and_a_clean_lint_to_be_shown(clock, make_group, draft):
    with pytest.raises(services.NoGroupChosen):
        services.publish_now(services.write(draft()).id)
    bad = services.write(draft(make_group(), kind=PostKind.ANNOUNCEMENT, body="今晚免单"))
    with pytest.raises(services.PostRefused) as refused:
        services.schedule(bad.id, clock.now() + timedelta(hours=1))
    assert refused.value.field == "body"
    assert "免单" in refused.value.message


def test_publishing_at_once_tells_it_once(db, clock, make_group, draft):
    group = make_group()
    post = services.write(draft(group))
    services.publish_now(post.id)
    with pytest.raises(services.PostMoved):
        services.publish_now(post.id)
    assert told(db, PostPublished) == [{"post_id": post.id, "group_ids": [group.id]}]
    assert feed(group, clock) == [post.title]


def test_a_scheduled_post_can_be_changed_until_it_shows(db, clock, make_group, draft):
    one, two = make_group(), make_group()
    post = services.write(draft(one))
    at = clock.now() + timedelta(hours=1)
    services.schedule(post.id, at)
    services.edit(post.id, draft(two, title="换了题目"))
    assert places(db, post) == {two.id: (at, 0, 0, 0)}
    clock.move(hours=1)
    assert feed(two, clock) == ["换了题目"]
    with pytest.raises(services.PostLocked):
        services.edit(post.id, draft(two, title="再换"))


def test_a_scheduled_post_cannot_be_edited_into_a_refused_one(clock, make_group, draft):
    group = make_group()
    post = services.write(draft(group, kind=PostKind.ANNOUNCEMENT))
    services.schedule(post.id, clock.now() + timedelta(hours=1))
    with pytest.raises(services.PostRefused):
        services.edit(post.id, draft(group, kind=PostKind.ANNOUNCEMENT, body="www.shop.example"))


def test_a_schedule_can_be_taken_back_until_it_shows(db, clock, make_group, draft):
    group = make_group()
    post = services.write(draft(group))
    services.schedule(post.id, clock.now() + timedelta(hours=1))
    services.unschedule(post.id)
    clock.move(hours=2)
    assert feed(group, clock) == []
    services.schedule(post.id, clock.now() + timedelta(hours=1))
    clock.move(hours=1)
    with pytest.raises(services.PostMoved):
        services.unschedule(post.id)


def test_an_archived_post_leaves_the_feed_and_comes_back_with_its_numbers(
    db, clock, make_group, make_member, published
):
    member = make_member()
    group = make_group(members=[member])
    post = published(group)
    services.see(group.id, member.id, [post.id])
    services.archive(post.id)
    assert feed(group, clock) == []
    with pytest.raises(services.PostMoved):
        services.archive(post.id)
    services.restore(post.id)
    assert feed(group, clock) == [post.title]
    assert places(db, post)[group.id][1] == 1


def test_a_post_archived_before_the_sweep_came_by_is_still_one_that_was_out(db, clock, make_group, draft):
    group = make_group()
    post = services.write(draft(group))
    at = clock.now() + timedelta(minutes=1)
    services.schedule(post.id, at)
    clock.move(minutes=2)
    services.archive(post.id)
    services.restore(post.id)
    db.session.refresh(post)
    assert (post.state, post.published_at) == (PostState.PUBLISHED, at)


def test_an_archived_draft_comes_back_as_a_draft(db, clock, make_group, draft):
    post = services.write(draft(make_group()))
    services.schedule(post.id, clock.now() + timedelta(minutes=1))
    services.archive(post.id)
    clock.move(minutes=5)
    services.restore(post.id)
    db.session.refresh(post)
    assert (post.state, post.publish_at) == (PostState.DRAFT, None)


def test_using_a_post_again_makes_a_draft_for_the_groups_that_are_left(db, make_group, published):
    stays, closes = make_group(), make_group()
    post = published(stays, closes, link_url="https://shop.example")
    closes.state = GroupState.CLOSED
    copy = services.use_again(post.id, None)
    assert (copy.id != post.id, copy.state, copy.title, copy.link_url) == (
        True,
        PostState.DRAFT,
        post.title,
        post.link_url,
    )
    assert list(places(db, copy)) == [stays.id]


def test_a_post_that_is_not_there_is_not_found(db, draft):
    for act in (services.archive, services.restore, services.publish_now):
        with pytest.raises(NotFound):
            act(999_999)
    with pytest.raises(NotFound):
        services.edit(999_999, draft())


def test_seen_liked_and_clicked_count_once_a_member(db, clock, make_group, make_member, published):
    ann, bo = make_member(), make_member()
    group, other = make_group(members=[ann, bo]), make_group(members=[ann])
    post = published(group, other)
    for _ in range(2):
        assert services.see(group.id, ann.id, [post.id, post.id]) == (1 if _ == 0 else 0)
        services.like(post.id, group.id, bo.id, True)
        services.click(post.id, group.id, bo.id)
    assert places(db, post) == {group.id: (clock.now(), 2, 1, 1), other.id: (clock.now(), 0, 0, 0)}
    assert told(db, PostClicked) == [{"member_id": bo.id, "post_id": post.id, "group_id": group.id}]
    assert db.session.query(Reaction).count() == 4


def test_a_like_can_be_taken_back_and_counts_nothing_twice(db, make_group, make_member, published):
    ann = make_member()
    group = make_group(members=[ann])
    post = published(group)
    services.like(post.id, group.id, ann.id, False)
    services.like(post.id, group.id, ann.id, True)
    services.like(post.id, group.id, ann.id, False)
    services.like(post.id, group.id, ann.id, False)
    assert places(db, post)[group.id][1:] == (1, 0, 0)


def test_what_a_group_does_not_show_cannot_be_liked_or_seen(db, clock, make_group, make_member, draft, published):
    ann = make_member()
    group, other = make_group(members=[ann]), make_group(members=[ann])
    elsewhere = published(other)
    hidden = services.write(draft(group))
    services.schedule(hidden.id, clock.now() + timedelta(hours=1))
    for post in (elsewhere, hidden):
        assert services.see(group.id, ann.id, [post.id]) == 0
        with pytest.raises(NotFound):
            services.like(post.id, group.id, ann.id, True)
    assert db.session.query(Reaction).count() == 0


def test_numbers_count_members_who_ordered_within_five_days(db, clock, make_group, make_member, published, order):
    day = timedelta(days=1)
    people = {name: make_member(name) for name in ("before", "soon", "late", "refunded", "closed", "clicked", "never")}
    group = make_group(members=list(people.values()))
    post = published(group)
    order(people["before"], clock.now() - day)
    clock.move(minutes=1)
    for name, person in people.items():
        services.see(group.id, person.id, [post.id])
        if name == "clicked":
            services.click(post.id, group.id, person.id)
    seen_at = clock.now()
    order(people["soon"], seen_at + 5 * day)
    order(people["soon"], seen_at + 2 * day)
    order(people["late"], seen_at + 5 * day + timedelta(seconds=1))
    order(people["refunded"], seen_at + day, refunded_amount=10_000)
    order(people["closed"], seen_at + day, state=OrderState.CLOSED)
    order(people["clicked"], seen_at + day)
    [row] = queries.numbers_by_group(post.id)
    assert (row.members, row.seen, row.clicked, row.bought_seen, row.bought_clicked) == (7, 7, 1, 2, 1)


def test_silent_groups_are_open_have_members_and_heard_nothing_for_a_week(
    clock, make_group, make_member, draft, published
):
    ann = make_member()
    silent, heard, planned = (make_group(name, members=[ann]) for name in ("silent", "heard", "planned"))
    make_group("empty")
    make_group("closed", members=[ann], state=GroupState.CLOSED)
    published(silent)
    clock.move(days=3)
    published(heard)
    services.schedule(services.write(draft(planned)).id, clock.now() + timedelta(days=5))
    clock.move(days=4)
    assert [g.name for g in queries.silent_groups(clock.now() - timedelta(days=7))] == []
    clock.move(seconds=1)
    assert [g.name for g in queries.silent_groups(clock.now() - timedelta(days=7))] == ["silent"]


def test_the_feed_pages_by_keyset_over_equal_times(db, clock, make_group, published):
    from kernel.pages import keyset

    group = make_group()
    titles = [f"第{i}条" for i in range(7)]
    for title in titles:
        published(group, title=title)
    seen, cursor = [], None
    while True:
        page = keyset(queries.feed(group.id, clock.now()), queries.FEED_ORDER, cursor, 3)
        seen += [row[0].title for row in page.rows]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == titles[::-1]


def test_reading_the_feed_takes_one_statement(clock, make_group, published, queries):
    from community.posts import queries as posts_queries
    from kernel.db import db
    from kernel.pages import keyset

    group = make_group()
    for _ in range(5):
        published(group)
    db.session.commit()
    group_id = group.id
    with queries(1):
        rows = keyset(posts_queries.feed(group_id, clock.now()), posts_queries.FEED_ORDER, None, 3).rows
        assert [row[0].title for row in rows]


def test_reactions_are_named_as_the_counters(db):
    assert {kind.value for kind in ReactionKind} <= set(PostGroup.__table__.columns.keys())
