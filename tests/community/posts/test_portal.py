"""The members' side: the feed, likes, seen posts and the way out."""

from __future__ import annotations

from contextvars import Context
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from community.posts import portal, services
from community.posts.models import PostGroup, Reaction
from kernel import links
from kernel.events import EventRecord


def feed(app, group, member, path="/groups/x"):
    def render():
        with app.test_request_context(path):
            return portal.render_feed(group=group, member=member, seat=object())

    return Context().run(render)


def numbers(db, post, group):
    row = db.session.execute(
        select(PostGroup.seen, PostGroup.liked, PostGroup.clicked).where(
            PostGroup.post_id == post.id, PostGroup.group_id == group.id
        )
    ).one()
    return tuple(row)


@pytest.fixture
def scene(make_member, make_group, published, phone_of):
    """A member of a group with one post that has a link, and the member's phone."""

    class Scene:
        ann = make_member("小满")
        group = make_group("茶友群", members=[ann])
        post = published(group, link_url="https://shop.example/tea?a=1", link_label="去看看")
        phone = phone_of(ann)
        token = links.make("post", post.id, group.id)
        click = f"/p/{links.make('post.link', post.id, group.id)}"
        like = f"/groups/{group.public_id}/posts/{token}/like"
        seen = f"/groups/{group.public_id}/posts/seen"

    return Scene


def test_the_feed_shows_posts_newest_first_with_their_links(app, db, clock, scene, published):
    clock.move(minutes=1)
    published(scene.group, title="后来的")
    page = feed(app, scene.group, scene.ann)
    assert page.index("后来的") < page.index("白茶这样泡不涩")
    assert scene.click in page
    assert "shop.example" not in page
    assert "去看看" in page


def test_nobody_without_a_seat_reads_the_feed(app, scene):
    with app.test_request_context():
        assert portal.render_feed(group=scene.group, member=scene.ann, seat=None) == ""
        assert portal.render_feed(group=scene.group) == ""


def test_older_posts_are_a_page_away(app, clock, scene, published):
    for i in range(12):
        clock.move(minutes=1)
        published(scene.group, title=f"第{i:02d}条")
    first = feed(app, scene.group, scene.ann)
    assert ("第11条" in first, "第01条" in first) == (True, False)
    older = first.partition('rel="next"')[0].rpartition('href="')[2].split('"')[0].replace("&amp;", "&")
    assert "第01条" in feed(app, scene.group, scene.ann, older)


def test_an_empty_feed_says_so(app, make_group, make_member):
    assert "empty-state" in feed(app, make_group(), make_member())


def test_reading_the_feed_counts_nothing(app, db, scene):
    feed(app, scene.group, scene.ann)
    assert numbers(db, scene.post, scene.group) == (0, 0, 0)


def test_the_beacon_counts_each_post_once(db, scene):
    for _ in range(3):
        answer = scene.phone.post(scene.seen, data={"post": [scene.token, scene.token]})
        assert (answer.status_code, answer.data) == (204, b"")
    assert numbers(db, scene.post, scene.group) == (1, 0, 0)


def test_the_beacon_takes_no_post_of_another_group(db, scene, make_group, published):
    other = make_group(members=[scene.ann])
    post = published(other)
    scene.phone.post(scene.seen, data={"post": links.make("post", post.id, other.id)})
    assert (numbers(db, post, other), numbers(db, scene.post, scene.group)) == ((0, 0, 0), (0, 0, 0))


def test_liking_and_taking_it_back(db, scene):
    for liked in ("1", "1", "0", "0", "1"):
        answer = scene.phone.post(scene.like, data={"liked": liked, "next": "/groups/x?cursor=abc"})
        assert (answer.status_code, answer.location.split("#")[0]) == (303, "/groups/x?cursor=abc")
    assert numbers(db, scene.post, scene.group) == (1, 1, 0)


def test_the_way_back_leads_nowhere_else(scene):
    answer = scene.phone.post(scene.like, data={"next": "https://elsewhere.example/"})
    assert answer.location.startswith(f"/groups/{scene.group.public_id}#post-")


def test_the_link_leads_to_the_stored_address_and_counts_once_a_member(db, scene, phone_of):
    for browser in (scene.phone, scene.phone, phone_of(scene.ann)):
        answer = browser.get(scene.click)
        assert (answer.status_code, answer.location) == (302, "https://shop.example/tea?a=1")
    assert numbers(db, scene.post, scene.group) == (1, 0, 1)
    assert db.session.scalar(select(func.count()).where(EventRecord.name == "PostClicked")) == 1


@pytest.mark.parametrize("headers", [{"Sec-Purpose": "prefetch"}, {"Purpose": "prefetch"}])
def test_fetching_ahead_counts_nothing(db, scene, headers):
    assert scene.phone.get(scene.click, headers=headers).status_code == 302
    assert scene.phone.head(scene.click).status_code == 302
    assert numbers(db, scene.post, scene.group) == (0, 0, 0)


def test_a_stranger_is_led_on_and_counts_nothing(db, client, scene, make_member, phone_of):
    assert client.get(scene.click).location == "https://shop.example/tea?a=1"
    assert phone_of(make_member()).get(scene.click).location == "https://shop.example/tea?a=1"
    assert db.session.scalar(select(func.count()).select_from(Reaction)) == 0


def test_the_link_of_a_post_that_is_gone_is_a_dead_end(client, scene):
    services.archive(scene.post.id)
    assert client.get(scene.click).status_code == 404


def test_the_link_of_a_post_that_is_not_out_yet_is_a_dead_end(db, clock, client, scene, draft):
    later = services.write(draft(scene.group, link_url="https://shop.example"))
    services.schedule(later.id, clock.now() + timedelta(hours=1))
    assert client.get(f"/p/{links.make('post.link', later.id, scene.group.id)}").status_code == 404


def test_a_link_that_was_stored_badly_is_not_followed(db, client, scene):
    scene.post.link_url = "javascript:alert(1)"
    assert client.get(scene.click).status_code == 404


@pytest.mark.parametrize("token", ["x", "a.b.c", "..", "%00"])
def test_a_broken_token_is_a_dead_end(client, scene, token):
    assert client.get(f"/p/{token}").status_code == 404
    assert scene.phone.post(f"/groups/{scene.group.public_id}/posts/{token}/like").status_code == 404
    assert scene.phone.post(scene.seen, data={"post": token}).status_code == 404


def test_the_token_of_one_act_is_none_for_another(client, scene):
    assert client.get(f"/p/{scene.token}").status_code == 404


def test_a_like_in_another_group_than_the_address_says_is_refused(db, scene, make_group):
    other = make_group(members=[scene.ann])
    answer = scene.phone.post(f"/groups/{other.public_id}/posts/{scene.token}/like")
    assert (answer.status_code, numbers(db, scene.post, scene.group)) == (404, (0, 0, 0))


def test_only_members_of_the_group_like_and_see(db, client, scene, make_member, phone_of):
    outsider = phone_of(make_member())
    assert outsider.post(scene.like).status_code == 403
    assert outsider.post(scene.seen, data={"post": scene.token}).status_code == 403
    assert client.post(scene.like).status_code == 302
    assert numbers(db, scene.post, scene.group) == (0, 0, 0)


def test_reading_a_like_address_does_nothing(db, scene):
    assert scene.phone.get(scene.like).status_code == 405
    assert numbers(db, scene.post, scene.group) == (0, 0, 0)
