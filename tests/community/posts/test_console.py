"""The staff's pages: each works, refuses what it must, and reading changes nothing."""

from __future__ import annotations

import csv
import io
from datetime import timedelta

import pytest
from PIL import Image
from sqlalchemy import select

from community.posts import services
from community.posts.models import Post, PostGroup, PostKind, PostState
from kernel import clock as kernel_clock
from kernel.events import EventRecord, describe


def picture():
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(buffer, "JPEG")
    buffer.seek(0)
    return buffer


def typed(*groups, **values):
    return {
        "kind": "tip",
        "title": "白茶这样泡不涩",
        "body": "水温**八十五度**。",
        "groups": [g.id for g in groups],
        "act": "draft",
        **values,
    }


def wall(instant):
    return kernel_clock.local(instant).strftime("%Y-%m-%dT%H:%M")


def posts(db):
    return db.session.scalars(select(Post).order_by(Post.id)).all()


def test_the_list_shows_posts_with_their_groups_and_numbers(clock, owner_client, make_group, make_member, published):
    ann = make_member()
    group = make_group("茶友群", members=[ann])
    post = published(group, title="少放茶叶")
    services.see(group.id, ann.id, [post.id])
    page = owner_client.get("/console/posts").text
    assert all(text in page for text in ("少放茶叶", "茶友群", "已发布"))


def test_an_empty_list_says_what_to_do(owner_client):
    page = owner_client.get("/console/posts").text
    assert 'href="/console/posts/new"' in page


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("", {"春茶上市", "放假安排", "没写完的"}),
        ("?kind=announcement", {"放假安排"}),
        ("?state=draft", {"没写完的"}),
        ("?state=scheduled", {"放假安排"}),
        ("?state=published", {"春茶上市"}),
        ("?state=archived", {"去年的"}),
        ("?q=春茶", {"春茶上市"}),
        ("?q=100%25", set()),
        ("?kind=nonsense&state=nonsense&group=x&cursor=x&sort=x", {"春茶上市", "放假安排", "没写完的"}),
        ("?sort=-seen", {"春茶上市", "放假安排", "没写完的"}),
        ("?sort=title", {"春茶上市", "放假安排", "没写完的"}),
    ],
)
def test_the_list_is_filtered_searched_and_sorted(clock, owner_client, make_group, draft, published, query, titles):
    group = make_group()
    published(group, title="春茶上市", kind=PostKind.NEW_PRODUCT)
    services.schedule(
        services.write(draft(group, title="放假安排", kind=PostKind.ANNOUNCEMENT)).id, clock.now() + timedelta(hours=1)
    )
    services.write(draft(title="没写完的"))
    services.archive(services.write(draft(title="去年的")).id)
    page = owner_client.get(f"/console/posts{query}")
    assert page.status_code == 200
    assert {t for t in ("春茶上市", "放假安排", "没写完的", "去年的") if f">{t}</a>" in page.text} == titles


def test_the_list_by_group_shows_that_groups_posts(owner_client, make_group, published):
    one, two = make_group(), make_group()
    published(one, title="给一群"), published(two, title="给二群")
    page = owner_client.get(f"/console/posts?group={one.id}").text
    assert (">给一群</a>" in page, ">给二群</a>" in page) == (True, False)


@pytest.mark.parametrize("sort", ["time", "-time", "title", "-seen", "clicked"])
def test_every_sort_pages_through_all_posts_once(clock, owner_client, draft, sort):
    titles = {f"第{i:03d}条" for i in range(55)}
    for title in sorted(titles):
        services.write(draft(title=title))
    seen, url = [], f"/console/posts?sort={sort}"
    while url:
        page = owner_client.get(url).text
        seen += [t for t in titles if f">{t}</a>" in page]
        url = page.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
    assert sorted(seen) == sorted(titles)


def test_the_list_comes_as_a_file(clock, owner_client, make_group, published):
    published(make_group("茶友群"), title="=1+1")
    answer = owner_client.get("/console/posts.csv", buffered=True)
    rows = list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert rows[1] == ["'=1+1", "技巧", "已发布", "茶友群", "2026-03-03 12:00", "0", "0", "0", "0", "0"]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", True),
        ("?on=2026-03-04", True),
        ("?on=2026-03-11", False),
        ("?on=nonsense", True),
        ("?view=month", True),
        ("?view=month&on=2026-04-01", False),
    ],
)
def test_the_calendar_shows_a_week_or_a_month_on_the_shops_clock(clock, owner_client, make_group, draft, query, shown):
    # 23:30 on Sunday in Shanghai is still this week, though in UTC it is an hour like any other.
    at = kernel_clock.at(kernel_clock.today() + timedelta(days=5), 23, 30)
    services.schedule(services.write(draft(make_group(), title="周日深夜")).id, at)
    page = owner_client.get(f"/console/posts/calendar{query}").text
    assert ("周日深夜" in page) is shown
    assert ("23:30" in page) is shown


def test_the_calendar_of_one_group(clock, owner_client, make_group, published):
    one, two = make_group(), make_group()
    published(one, title="给一群"), published(two, title="给二群")
    page = owner_client.get(f"/console/posts/calendar?group={two.id}").text
    assert ("给一群" in page, "给二群" in page) == (False, True)


def test_writing_a_draft(db, owner_client, make_group):
    group = make_group()
    answer = owner_client.post("/console/posts/new", data=typed(group))
    [post] = posts(db)
    assert (answer.status_code, answer.location) == (302, f"/console/posts/{post.id}")
    assert (post.state, post.title, post.kind) == (PostState.DRAFT, "白茶这样泡不涩", PostKind.TIP)
    assert "八十五度" in owner_client.get(answer.location).text


def test_a_tip_with_a_picture_is_scheduled_to_two_groups(db, clock, owner_client, make_group):
    one, two = make_group(), make_group()
    at = clock.now() + timedelta(hours=3)
    owner_client.post(
        "/console/posts/new",
        data=typed(
            one,
            two,
            act="schedule",
            publish_at=wall(at),
            file=(picture(), "tea.jpg"),
            link_url="https://shop.example/tea",
        ),
    )
    [post] = posts(db)
    assert (post.state, post.publish_at, post.picture.endswith(".webp")) == (PostState.SCHEDULED, at, True)
    assert set(db.session.scalars(select(PostGroup.group_id))) == {one.id, two.id}
    assert owner_client.get(f"/pictures/{post.picture}").mimetype == "image/webp"


def test_publishing_from_the_editor(db, owner_client, make_group):
    owner_client.post("/console/posts/new", data=typed(make_group(), act="publish"))
    assert [post.state for post in posts(db)] == [PostState.PUBLISHED]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"title": ""}, "title"),
        ({"title": "题" * 61}, "title"),
        ({"body": "字" * 5001}, "body"),
        ({"link_url": "javascript:alert(1)"}, "link_url"),
        ({"link_label": "字" * 21}, "link_label"),
        ({"kind": "nonsense"}, "kind"),
        ({"groups": ["x"]}, "groups"),
        ({"groups": ["999999"]}, "groups"),
        ({"act": "publish", "groups": []}, "groups"),
        ({"act": "schedule"}, "publish_at"),
        ({"act": "schedule", "publish_at": "2026-03-03T11:59"}, "publish_at"),
        ({"act": "schedule", "publish_at": "tomorrow"}, "publish_at"),
        ({"act": "publish", "kind": "announcement", "body": "今晚免单"}, "body"),
        ({"act": "publish", "kind": "announcement", "link_url": "https://shop.example"}, "link_url"),
    ],
)
def test_what_is_wrong_stands_beside_its_field_and_what_was_typed_stays(
    db, clock, owner_client, make_group, values, field
):
    group = make_group()
    answer = owner_client.post("/console/posts/new", data=typed(group, **{"title": "留着我", **values}))
    assert answer.status_code == 422
    assert posts(db) == []
    assert f'href="#{field}"' in answer.text
    if "title" not in values:
        assert 'value="留着我"' in answer.text


def test_all_that_stops_an_announcement_is_said_at_once(db, clock, owner_client, make_group):
    values = {
        "act": "publish",
        "kind": "announcement",
        "title": "全场免单",
        "body": "加微信 abc，详见 https://shop.example",
    }
    answer = owner_client.post("/console/posts/new", data=typed(make_group(), **values))
    assert answer.status_code == 422
    assert ('href="#title"' in answer.text, 'href="#body"' in answer.text) == (True, True)
    assert answer.text.count("加微信") > 1


def test_a_file_that_is_no_picture_is_refused(db, owner_client, make_group):
    answer = owner_client.post("/console/posts/new", data=typed(make_group(), file=(io.BytesIO(b"MZ\x00"), "x.exe")))
    assert (answer.status_code, posts(db)) == (422, [])
    assert 'href="#file"' in answer.text


def test_the_preview_button_saves_nothing_and_keeps_the_picture(db, owner_client, make_group):
    answer = owner_client.post(
        "/console/posts/new", data=typed(make_group(), act="preview", file=(picture(), "tea.jpg"))
    )
    assert (answer.status_code, posts(db)) == (200, [])
    assert "<strong>八十五度</strong>" in answer.text
    assert answer.text.count(".webp") >= 2


def test_the_live_preview_shows_the_post_and_the_lint(db, owner_client, make_group):
    answer = owner_client.post(
        "/console/posts/preview", data=typed(make_group(), kind="announcement", body="今晚免单", title="")
    )
    assert answer.status_code == 200
    assert "<html" not in answer.text
    assert "lint-stop" in answer.text
    assert posts(db) == []


def test_a_picture_can_be_put_in_and_taken_out_while_writing(owner_client):
    first = owner_client.post("/console/posts/picture", data={"file": (picture(), "tea.jpg")}).text
    key = first.partition('name="picture"')[2].partition('value="')[2].partition('"')[0]
    assert key.endswith(".webp")
    assert key not in owner_client.post("/console/posts/picture", data={"picture": key, "drop_picture": "y"}).text
    assert "file-error" in owner_client.post("/console/posts/picture", data={"file": (io.BytesIO(b"x"), "x.jpg")}).text


@pytest.mark.parametrize("key", ["../../etc/passwd", "x.webp", "https://elsewhere.example/x.webp", "demo/../x.webp"])
def test_a_picture_key_that_we_did_not_give_is_dropped(db, owner_client, key):
    owner_client.post("/console/posts/new", data=typed(picture=key))
    assert [post.picture for post in posts(db)] == [None]


def test_a_scheduled_post_is_edited_and_moved(db, clock, owner_client, make_group, draft):
    group = make_group()
    post = services.write(draft(group))
    services.schedule(post.id, clock.now() + timedelta(hours=1))
    assert "白茶这样泡不涩" in owner_client.get(f"/console/posts/{post.id}/edit").text
    at = clock.now() + timedelta(hours=5)
    owner_client.post(
        f"/console/posts/{post.id}/edit", data=typed(group, title="改", act="schedule", publish_at=wall(at))
    )
    db.session.refresh(post)
    assert (post.title, post.publish_at, post.state) == ("改", at, PostState.SCHEDULED)
    owner_client.post(f"/console/posts/{post.id}/edit", data=typed(group, title="再改", act="draft"))
    db.session.refresh(post)
    assert (post.title, post.state, post.publish_at) == ("再改", PostState.DRAFT, None)


def test_a_published_post_is_not_edited(db, owner_client, make_group, published):
    group = make_group()
    post = published(group)
    assert owner_client.get(f"/console/posts/{post.id}/edit").status_code == 409
    answer = owner_client.post(f"/console/posts/{post.id}/edit", data=typed(group, title="改"))
    assert answer.status_code == 409
    db.session.refresh(post)
    assert post.title == "白茶这样泡不涩"


def test_the_buttons_of_a_post(db, clock, owner_client, make_group, draft):
    post = services.write(draft(make_group()))
    services.schedule(post.id, clock.now() + timedelta(hours=1))
    states = []
    for act in ("unschedule", "publish", "archive", "restore"):
        assert owner_client.post(f"/console/posts/{post.id}/{act}").status_code == 302
        db.session.refresh(post)
        states.append(post.state)
    assert states == [PostState.DRAFT, PostState.PUBLISHED, PostState.ARCHIVED, PostState.PUBLISHED]
    answer = owner_client.post(f"/console/posts/{post.id}/use-again")
    copy = posts(db)[-1]
    assert (answer.location, copy.state) == (f"/console/posts/{copy.id}/edit", PostState.DRAFT)


@pytest.mark.parametrize("act", ["publish", "unschedule"])
def test_a_second_tap_is_refused_and_changes_nothing(owner_client, make_group, published, act):
    post = published(make_group())
    assert owner_client.post(f"/console/posts/{post.id}/{act}").status_code == 409


@pytest.mark.parametrize("path", ["/console/posts/999999", "/console/posts/999999/edit"])
def test_no_such_post(owner_client, path):
    assert owner_client.get(path).status_code == 404


WRITES = ["new", "preview", "picture", "1/edit", "1/publish", "1/unschedule", "1/archive", "1/restore", "1/use-again"]


@pytest.mark.parametrize("role", ["viewer", "service"])
@pytest.mark.parametrize("path", WRITES)
def test_who_may_not_write_is_refused(db, staff_client, role, path):
    browser = staff_client(role)
    assert browser.post(f"/console/posts/{path}", data=typed()).status_code == 403
    assert posts(db) == []


@pytest.mark.parametrize("role", ["manager", "marketer", "assistant"])
def test_who_may_write_can(db, staff_client, role):
    assert staff_client(role).post("/console/posts/new", data=typed()).status_code == 302


def test_a_viewer_reads_without_buttons(staff_client, make_group, published):
    post = published(make_group())
    viewer = staff_client("viewer")
    own = f"/console/posts/{post.id}"
    for path in ("/console/posts", "/console/posts/calendar", own, "/console/posts.csv"):
        assert viewer.get(path, buffered=True).status_code == 200
    assert "archive" not in viewer.get(own).text
    assert viewer.get("/console/posts/new").status_code == 403


def test_reading_changes_nothing(db, clock, owner_client, make_group, draft):
    post = services.write(draft(make_group()))
    services.schedule(post.id, clock.now() + timedelta(minutes=1))
    clock.move(minutes=5)
    db.session.commit()
    before = db.session.execute(select(Post.state)).all()
    for path in ("", "/calendar", ".csv", f"/{post.id}", "/new"):
        assert owner_client.get(f"/console/posts{path}", buffered=True).status_code == 200
    assert db.session.execute(select(Post.state)).all() == before


def test_pages_read_in_english(owner_client, make_group, published):
    post = published(make_group())
    owner_client.set_cookie("lang", "en")
    assert "Bought after clicking" in owner_client.get(f"/console/posts/{post.id}").text
    assert "Write a post" in owner_client.get("/console/posts").text


def test_the_brief_names_posts_of_today_and_silent_groups(clock, owner_client, make_group, make_member, draft):
    make_group("安静群", members=[make_member()])
    services.schedule(services.write(draft(make_group())).id, clock.now() + timedelta(hours=1))
    page = owner_client.get("/console/").text
    assert "安静群" in page
    assert "/console/posts/calendar" in page


def test_a_click_reads_on_the_timeline(app, db, clock, make_group, make_member, published):
    ann = make_member()
    group = make_group(members=[ann])
    post = published(group, title="<b>茶")
    services.click(post.id, group.id, ann.id)
    record = db.session.scalars(select(EventRecord).where(EventRecord.name == "PostClicked")).one()
    with app.test_request_context():
        assert f'<a href="/console/posts/{post.id}">&lt;b&gt;茶</a>' in describe(record)
