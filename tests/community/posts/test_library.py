"""The library and the results: pieces with their uses, products, short videos, orders afterwards, and the best time."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from community.posts import hours, jobs, library, queries, rules, services
from community.posts.models import Post, PostGroup, PostKind, PostProduct, PostState, Reaction, ReactionKind
from kernel import clock as kernel_clock
from kernel import files, links
from kernel.auth import Role
from kernel.db import commit
from membership.orders.models import OrderState
from membership.products.models import Product
from tests.films import mp4, webm

from .test_console import picture, posts, typed, wall


@pytest.fixture
def product(db):
    def make(sku, title=""):
        made = Product(source="shop", sku=sku, title=title, category="", created_at=kernel_clock.now())
        db.session.add(made)
        db.session.flush()
        return made

    return make


@pytest.fixture
def film(app):
    """A stored video's key."""
    with app.test_request_context():
        return files.save_video(io.BytesIO(mp4())).key


def stored(app, key):
    return (Path(app.extensions["settings"].files_dir) / "videos" / key[:2] / key).exists()


def saw(db, post, group, members, at, kind=ReactionKind.SEEN):
    db.session.add_all(
        [Reaction(post_id=post.id, group_id=group.id, member_id=m.id, kind=kind, at=at) for m in members]
    )
    db.session.flush()


# ── Using again ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_using_again_copies_everything_and_remembers_the_first(db, app, film, make_group, draft, product):
    group, pot = make_group(), product("POT1", "玻璃茶壶")
    first = services.write(
        draft(group, picture="demo/tea.webp", video=film, link_url="https://shop.example/tea", product_ids=(pot.id,))
    )
    services.publish_now(first.id)
    second = services.use_again(first.id, None)
    third = services.use_again(second.id, None)
    for copy in (second, third):
        assert (copy.origin_id, copy.state, copy.kept_at) == (first.id, PostState.DRAFT, None)
        assert (copy.title, copy.body, copy.picture, copy.video, copy.video_bytes, copy.link_url) == (
            first.title, first.body, "demo/tea.webp", film, first.video_bytes, "https://shop.example/tea",
        )  # fmt: skip
        assert library.product_ids(copy.id) == [pot.id]
    assert [row.post.id for row in library.uses_of(third)] == [first.id, second.id, third.id]


def test_what_a_member_wrote_is_not_used_again(db, owner_client, make_group, make_member):
    ann = make_member()
    post = services.contribute(make_group(members=[ann]).id, ann.id, "周末好")
    with pytest.raises(services.MembersOwn):
        services.use_again(post.id, None)
    assert owner_client.post(f"/console/posts/{post.id}/use-again").status_code == 409
    assert services.change_many([post.id], services.Many.AGAIN, None) == 0
    assert len(posts(db)) == 1


def test_the_uses_stand_side_by_side_with_their_results(
    db, clock, owner_client, make_group, make_member, published, order
):
    ann, ben = make_member(), make_member()
    one, two = make_group("一群", members=[ann]), make_group("二群", members=[ann, ben])
    clock.move(days=-3)
    first = published(one, title="第一次")
    services.see(one.id, ann.id, [first.id])
    clock.move(days=3)
    again = services.use_again(first.id, None)
    services.edit(again.id, services.Draft(PostKind.TIP, "第二次", group_ids=(two.id,)))
    services.publish_now(again.id)
    for who in (ann, ben):
        services.see(two.id, who.id, [again.id])
    order(ben, clock.now() + timedelta(days=1))
    assert services.count_orders([first.id, again.id]) == 1
    page = owner_client.get(f"/console/posts/{again.id}").text
    part = page.partition('id="uses"')[2].partition("</section>")[0]
    assert all(words in part for words in ("一群", "二群", "第一次", "50.0%"))
    [piece] = library.pieces_of(db.session.execute(library.pieces(library.Wanted(), "")[0]).all())
    assert (piece.post.id, piece.uses, piece.numbers) == (first.id, 2, queries.Numbers(3, 0, 0, 0, 1))


# ── The library ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def shelf(clock, db, make_group, draft, published, product):
    """Three pieces: a published tip about a pot, a kept draft, an archived promotion."""
    group, pot = make_group("茶友群"), product("POT1", "玻璃茶壶")
    tip = published(group, title="少放茶叶", product_ids=(pot.id,))
    clock.move(minutes=1)
    saved = services.write(draft(title="留着用的", kind=PostKind.NEW_PRODUCT), kept=True)
    old = published(make_group("旧群"), title="去年大促", kind=PostKind.PROMOTION)
    services.archive(old.id)
    services.use_again(tip.id, None)
    return tip, saved, old, group, pot


@pytest.mark.parametrize(
    ("query", "titles"),
    [
        ("", {"少放茶叶", "留着用的", "去年大促"}),
        ("?kept=yes", {"留着用的"}),
        ("?kind=promotion", {"去年大促"}),
        ("?state=draft", {"留着用的"}),
        ("?state=archived", {"去年大促"}),
        ("?q=茶叶", {"少放茶叶"}),
        ("?q=_", set()),
        ("?product={pot}", {"少放茶叶"}),
        ("?group={group}", {"少放茶叶"}),
        ("?product=999&group=x&kind=x&state=x&cursor=x&sort=x", set()),
    ],
)
def test_the_library_is_searched_and_filtered(owner_client, shelf, query, titles):
    _tip, _saved, _old, group, pot = shelf
    page = owner_client.get("/console/posts/library" + query.format(pot=pot.id, group=group.id)).text
    assert {t for t in ("少放茶叶", "留着用的", "去年大促") if f">{t}</a>" in page} == titles
    assert owner_client.get("/console/posts/library.csv" + query.format(pot=pot.id, group=group.id)).status_code == 200


@pytest.mark.parametrize("sort", [*library.PIECE_SORTS, "-uses", "-last"])
def test_every_sort_of_the_library_and_of_the_results_pages_through_all_once(
    clock, db, owner_client, make_group, published, sort
):
    group = make_group()
    titles = {f"第{i:02d}条" for i in range(52)}
    for title in sorted(titles):
        published(group, title=title)
    for address in (f"/console/posts/library?sort={sort}", f"/console/posts/results?sort={sort}"):
        seen, url = [], address
        while url:
            page = owner_client.get(url).text
            seen += [t for t in titles if f">{t}</a>" in page]
            url = page.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
        assert sorted(seen) == sorted(titles), address


def test_the_library_comes_as_a_file(owner_client, shelf):
    answer = owner_client.get("/console/posts/library.csv?product=" + str(shelf[4].id), buffered=True)
    rows = list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert rows[1] == [
        "少放茶叶",
        "技巧",
        "POT1 · 玻璃茶壶",
        "已发布",
        "",
        "1",
        "2026-03-03 12:00",
        "0",
        "0",
        "0",
        "0",
        "0",
    ]


def test_several_at_once(db, owner_client, staff_client, shelf):
    tip, saved, old, _group, _pot = shelf
    ids = [tip.id, saved.id, old.id]

    def send(act, **values):
        answer = owner_client.post(
            "/console/posts/change", data={"act": act, "ids": ids, "next": "/console/posts/library", **values}
        )
        db.session.expire_all()
        return answer.location

    assert send("keep") == "/console/posts/library"
    assert [db.session.get(Post, i).kept_at is not None for i in ids] == [True, True, True]
    send("let_go")
    assert [db.session.get(Post, i).kept_at for i in ids] == [None, None, None]
    send("archive")
    assert [db.session.get(Post, i).state for i in ids] == [PostState.ARCHIVED] * 3
    before = len(posts(db))
    assert send("again") == "/console/posts?state=draft"
    assert len(posts(db)) == before + 3
    # Nothing ticked, nonsense, another site, and somebody who may only look: nothing happens.
    send("again", ids=[]), send("nonsense"), send("keep", ids=["x", "-1", str(2**63)])
    assert send("keep", ids=[], next="https://evil.example") == "/console/posts/library"
    refused = staff_client(Role.SERVICE).post("/console/posts/change", data={"act": "again", "ids": ids})
    assert (refused.status_code, len(posts(db))) == (403, before + 3)


def test_a_piece_is_kept_and_let_go_on_its_page(db, owner_client, make_group, published):
    post = published(make_group())
    copy = services.use_again(post.id, None)
    owner_client.post(f"/console/posts/{copy.id}/keep")
    db.session.refresh(post)
    # The piece is kept, not the one use of it.
    assert (post.kept_at is not None, copy.kept_at) == (True, None)
    # The editor of the use says so too, and saving it takes nothing away.
    box = owner_client.get(f"/console/posts/{copy.id}/edit").text.partition('name="kept"')
    assert "checked" in box[0].rpartition("<")[2] + box[2].partition(">")[0]
    owner_client.post(f"/console/posts/{copy.id}/edit", data=typed(kept="y"))
    db.session.refresh(post)
    assert post.kept_at is not None
    assert f"/console/posts/{post.id}/let-go" in owner_client.get(f"/console/posts/{post.id}").text
    owner_client.post(f"/console/posts/{post.id}/let-go")
    db.session.refresh(post)
    assert post.kept_at is None


def test_only_a_draft_that_nobody_saw_is_deleted(db, app, owner_client, make_group, draft, published, film):
    shown, back, plain = published(make_group()), published(make_group()), services.write(draft(video=film))
    copy = services.use_again(plain.id, None)
    for post in (shown, back):
        with pytest.raises(services.PostMoved):
            services.discard(post.id)
    first = plain.id
    services.discard(first)
    db.session.expire_all()
    assert (db.session.get(Post, first), db.session.get(Post, copy.id).origin_id) == (None, None)
    assert stored(app, film)
    address = f"/console/posts/{copy.id}/discard"
    assert owner_client.post(address).location == "/console/posts"
    commit()
    assert not stored(app, film)
    assert owner_client.post(address).status_code == 404


def test_deleting_the_first_draft_leaves_its_piece_whole(db, make_group, draft):
    first = services.write(draft(make_group()), kept=True)
    oldest, second, third = (services.use_again(first.id, None) for _n in range(3))
    services.discard(first.id)
    db.session.expire_all()
    assert (oldest.origin_id, oldest.kept_at is not None) == (None, True)
    assert [post.origin_id for post in (second, third)] == [oldest.id, oldest.id]
    [piece] = library.pieces_of(db.session.execute(library.pieces(library.Wanted(kept=True), "")[0]).all())
    assert [row.post.id for row in library.uses_of(piece.post)] == [oldest.id, second.id, third.id]
    # The only copy that is left becomes a piece of its own.
    services.discard(oldest.id), services.discard(third.id)
    db.session.expire_all()
    assert (second.origin_id, second.kept_at is not None) == (None, True)


# ── Products and videos in the editor ───────────────────────────────────────────────────────────────────────────────


def test_a_post_names_products_by_number_or_title(db, owner_client, make_group, product):
    pot, cup = product("POT1", "玻璃茶壶"), product("CUP", "杯子")
    values = {"products-0": "POT1 · 玻璃茶壶", "products-1": " 杯子 ", "products-2": "", "products-3": "POT1"}
    owner_client.post("/console/posts/new", data=typed(make_group(), **values))
    [post] = posts(db)
    assert set(db.session.scalars(select(PostProduct.product_id))) == {pot.id, cup.id}
    page = owner_client.get(f"/console/posts/{post.id}/edit").text
    assert 'value="POT1 · 玻璃茶壶"' in page
    assert "玻璃茶壶" in owner_client.get(f"/console/posts/{post.id}").text
    wrong = owner_client.post(f"/console/posts/{post.id}/edit", data=typed(**{"products-0": "没有这个"}))
    assert (wrong.status_code, 'id="products-error"' in wrong.text, 'value="没有这个"' in wrong.text) == (
        422,
        True,
        True,
    )
    owner_client.post(f"/console/posts/{post.id}/edit", data=typed(**{"products-0": "CUP"}))
    assert list(db.session.scalars(select(PostProduct.product_id))) == [cup.id]


def test_a_short_video_is_put_in_played_changed_and_taken_out(db, app, owner_client, make_group, make_member, phone_of):
    ann = make_member()
    group = make_group(members=[ann])

    def send(url, **values):
        owner_client.post(url, data=typed(group, kind="short_video", **values))
        db.session.expire_all()
        return posts(db)[0]

    post = send("/console/posts/new", film=(io.BytesIO(mp4()), "a.mp4"), file=(picture(), "a.jpg"))
    first = post.video
    assert (first.endswith(".mp4"), post.video_bytes, post.picture is not None) == (True, len(mp4()), True)
    edit = f"/console/posts/{post.id}/edit"
    post = send(edit, film=(io.BytesIO(webm()), "b.webm"), video=first, picture=post.picture)
    commit()
    second = post.video
    assert (second.endswith(".webm"), stored(app, first), stored(app, second)) == (True, False, True)
    services.publish_now(post.id)
    feed = phone_of(ann).get(f"/groups/{group.public_id}").text
    tag = feed.partition("<video ")[2].partition(">")[0]
    assert f'src="/videos/{second}"' in tag
    assert all(
        word in tag
        for word in ('preload="none"', "playsinline", "controls", f'poster="/pictures/{post.picture}"', "aria-label=")
    )
    assert owner_client.get(f"/videos/{second}").status_code == 200
    copy = services.use_again(post.id, None)
    services.edit(copy.id, services.Draft(PostKind.TIP, "没有视频"))
    commit()
    assert (copy.video, copy.video_bytes, stored(app, second)) == (None, None, True)


def test_a_video_that_is_refused_stands_beside_its_field_and_the_rest_stays(db, owner_client, make_group):
    answer = owner_client.post(
        "/console/posts/new", data=typed(make_group(), film=(io.BytesIO(b"<html>"), "x.mp4"), file=(picture(), "a.jpg"))
    )
    assert (answer.status_code, posts(db)) == (422, [])
    assert 'href="#film"' in answer.text
    assert ".webp" in answer.text
    for key in ("aaaaaaaaaaaaaaaa.mp4", "../../etc/passwd", "x.html"):
        owner_client.post("/console/posts/new", data=typed(video=key, title=f"带着{len(key)}"))
    # What is no key is dropped; a key whose file is gone is said.
    assert [(post.title, post.video) for post in posts(db)] == [("带着16", None), ("带着6", None)]


def test_the_video_part_of_the_editor(owner_client):
    first = owner_client.post("/console/posts/video", data={"film": (io.BytesIO(webm()), "a.webm")}).text
    key = first.partition('name="video"')[2].partition('value="')[2].partition('"')[0]
    assert key.endswith(".webm")
    assert key not in owner_client.post("/console/posts/video", data={"video": key, "drop_video": "y"}).text
    assert "film-error" in owner_client.post("/console/posts/video", data={"film": (io.BytesIO(b"x"), "x.mp4")}).text


def test_the_sweep_asks_which_videos_posts_have(db, film, draft):
    assert library.videos_in_use([film]) == set()
    services.write(draft(video=film))
    assert library.videos_in_use([film, "another.mp4"]) == {film}


def test_the_pictures_of_somebody_who_is_erased_are_removed(db, app, make_group, make_member):
    from membership.members.services import erasure
    from membership.members.services.personal import Person

    with app.test_request_context():
        key = files.save_picture(picture())
    ann = make_member()
    services.contribute(make_group(members=[ann]).id, ann.id, "我的照片", key)
    path = Path(app.extensions["settings"].files_dir) / key[:2] / key
    assert path.exists()
    erasure.forgetters.call(Person((ann.id,)))
    commit()
    assert not path.exists()


def test_erasing_somebody_takes_no_picture_along_that_others_show(db, app, make_group, make_member, product, draft):
    from community.answers.models import Intent
    from community.groups.models import OutsideCode, Platform
    from membership.gifts.models import Gift, GiftKind
    from membership.members.services import erasure
    from membership.members.services.personal import Person

    ann, ben, now = make_member(), make_member(), kernel_clock.now()
    group = make_group(members=[ann, ben])
    with app.test_request_context():
        own, *shared = (files.save_picture(picture()) for _n in range(8))
    of_product, of_gift, of_answer, of_post, cover, code, of_ben = shared
    product("POT1").picture, group.cover = of_product, cover
    gift = Gift(name="杯垫", kind=next(iter(GiftKind)), picture=of_gift, created_at=now)
    answer = Intent(
        key="k1", public_id="k1", topic="t", question="?", answer="!", picture=of_answer, created_at=now, updated_at=now
    )
    outside = OutsideCode(
        group_id=group.id, platform=next(iter(Platform)), name="一", picture=code, position=1, created_at=now
    )
    db.session.add_all([gift, answer, outside])
    services.write(draft(group, picture=of_post))
    services.contribute(group.id, ben.id, "我的", of_ben)
    for number, key in enumerate((own, *shared)):
        db.session.add(
            Post(
                kind=PostKind.TALK,
                title="拿来的",
                body=f"{number}",
                picture=key,
                state=PostState.WAITING,
                member_id=ann.id,
                created_at=now,
            )
        )
    db.session.flush()
    erasure.forgetters.call(Person((ann.id,)))
    commit()
    store = Path(app.extensions["settings"].files_dir)
    assert [key for key in (own, *shared) if not (store / key[:2] / key).exists()] == [own]
    assert set(db.session.scalars(select(Post.picture).where(Post.member_id == ann.id))) == {None}


def test_a_member_posts_no_picture_but_one_that_they_sent(db, app, make_group, make_member, phone_of):
    ann = make_member()
    group, phone = make_group(members=[ann]), phone_of(ann)
    address = f"/groups/{group.public_id}/write"
    with app.test_request_context():
        shops = files.save_picture(picture())
        other = links.make("contribution", shops.removesuffix(".webp"))
    for number, sent in enumerate((shops, "demo/tea.webp", other, "a.b.c")):
        phone.post(address, data={"body": f"拿来的 {number}", "picture": sent})
    assert [post.picture for post in posts(db)] == [None] * 4
    # Refused for its text, the form brings the picture back, and it is taken when it is sent again.
    page = phone.post(address, data={"body": " ", "file": (picture(), "a.jpg")})
    token = page.text.partition('name="picture" value="')[2].partition('"')[0]
    assert page.status_code == 422
    assert phone.post(address, data={"body": "我的照片", "picture": token}).status_code == 303
    key = posts(db)[-1].picture
    assert f"/pictures/{key}" in page.text
    phone.post(address, data={"body": "还是不要图", "picture": token, "drop_picture": "y"})
    assert posts(db)[-1].picture is None


# ── Results ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_orders_after_a_post_are_counted_once_a_member_and_anew(db, clock, make_group, make_member, published, order):
    ann, ben, cat, dan = (make_member() for _n in range(4))
    group = make_group(members=[ann, ben, cat, dan])
    post = published(group)
    order(dan, clock.now() - timedelta(hours=1))
    for who in (ann, ben, cat, dan):
        services.see(group.id, who.id, [post.id])
    order(ann, clock.now() + timedelta(hours=1)), order(ann, clock.now() + timedelta(days=2))
    order(ben, clock.now() + timedelta(days=6))
    kept = order(cat, clock.now() + timedelta(days=4))
    jobs.count_orders_after_posts()
    place = db.session.scalars(select(PostGroup)).one()
    db.session.refresh(place)
    assert place.bought == 2 == queries.numbers_by_group(post.id)[0].bought_seen
    assert services.count_orders([post.id]) == 0
    kept.state, kept.refunded_amount, kept.paid_amount = OrderState.CLOSED, kept.paid_amount, 0
    db.session.flush()
    assert services.count_orders(services.recent_posts()) == 1
    db.session.refresh(place)
    assert place.bought == 1
    clock.move(days=61)
    assert services.recent_posts() == []


def test_the_results_of_a_time_with_totals_filters_and_a_file(
    db, clock, owner_client, make_group, make_member, published, order
):
    ann, ben = make_member(), make_member()
    one, two = make_group("一群", members=[ann, ben]), make_group("二群", members=[ben])
    clock.move(days=-40)
    old = published(one, title="上个月的")
    clock.move(days=40)
    post = published(one, two, title="=这个月的", link_url="https://shop.example")
    for group, who in ((one, ann), (one, ben), (two, ben)):
        services.see(group.id, who.id, [post.id])
    services.like(post.id, one.id, ann.id, True)
    services.click(post.id, one.id, ann.id)
    order(ann, clock.now() + timedelta(days=1))
    services.count_orders([old.id, post.id])
    page = owner_client.get("/console/posts/results").text
    assert (">=这个月的</a>" in page, ">上个月的</a>" in page, "33.3%" in page) == (True, False, True)
    found, _columns = library.results(
        clock.now() - timedelta(days=60), clock.now() + timedelta(days=1), library.Wanted()
    )
    assert library.totals(found) == (2, queries.Numbers(3, 1, 1, 0, 1))
    found, _columns = library.results(
        clock.now() - timedelta(days=1), clock.now() + timedelta(days=1), library.Wanted(group_id=two.id)
    )
    assert library.totals(found) == (1, queries.Numbers(1, 0, 0, 0, 0))
    assert ">上个月的</a>" in owner_client.get("/console/posts/results?from=2026-01-20&to=2026-01-25").text
    for query in (
        "kind=promotion",
        "product=99999",
        "q=没有",
        "from=x&to=y&group=x&sort=x&cursor=x",
        "from=9999-12-31",
    ):
        assert owner_client.get(f"/console/posts/results?{query}").status_code == 200
    # What only the library can be narrowed by is no filter here, and is not shown as one.
    assert 'class="chip"' not in owner_client.get("/console/posts/results?state=draft&kept=yes").text
    lines = owner_client.get("/console/posts/results.csv", buffered=True).text.removeprefix("\ufeff")
    assert list(csv.reader(io.StringIO(lines)))[1] == [
        "'=这个月的",
        "技巧",
        "一群 / 二群",
        "2026-03-03 12:00",
        "3",
        "1",
        "1",
        "0",
        "1",
    ]


def test_what_was_archived_before_its_time_counts_as_never_shown(db, clock, owner_client, make_group, draft, published):
    group, quiet = make_group("茶友群"), make_group("静悄悄群")
    shown, never = published(group, title="出现过"), services.write(draft(quiet, title="没出现"))
    services.schedule(never.id, clock.now() + timedelta(hours=1))
    due = services.write(draft(group, title="到点了"))
    services.schedule(due.id, clock.now() + timedelta(hours=1))
    services.archive(never.id)
    assert library.all_groups() == [(group.id, "茶友群")]
    clock.move(hours=2)
    pieces = library.pieces_of(db.session.execute(library.pieces(library.Wanted(), "title")[0]).all())
    assert {(piece.post.title, piece.uses, piece.last is None) for piece in pieces} == {
        ("出现过", 1, False),
        ("到点了", 1, False),
        ("没出现", 0, True),
    }
    page = owner_client.get("/console/posts/results").text
    assert {t for t in ("出现过", "到点了", "没出现") if f">{t}</a>" in page} == {"出现过", "到点了"}
    assert services.recent_posts() == [shown.id, due.id]
    # Archived once its time has come, though no sweep went by, it has been shown.
    services.archive(due.id)
    assert services.recent_posts() == [shown.id, due.id]


# ── The best time ───────────────────────────────────────────────────────────────────────────────────────────────────


def looks(by_hour, members=20, shown=9):
    return rules.Looks(by_hour, members, shown)


@pytest.mark.parametrize(
    ("found", "best"),
    [
        (looks({}), []),
        (looks({20: rules.FEWEST_LOOKS - 1}), []),
        (looks({20: 100}, members=11), []),
        (looks({20: 100}, shown=4), []),
        (looks({20: 100}), [(0, 20)]),
        (looks({24 * 2 + 12: 50, 24 * 4 + 20: 90}), [(4, 20), (2, 12)]),
        # An even week has no best hour, and nights are none whatever happens in them.
        (looks(dict.fromkeys(range(168), 5)), []),
        (looks({**dict.fromkeys(range(168), 1), 3: 500}), []),
        # A few looks at an odd hour do not stand out.
        (looks({**dict.fromkeys(range(168), 4), 24 + 15: 9}), []),
    ],
)
def test_which_hours_stand_out(found, best):
    windows = rules.best_windows(found)
    assert [(one.weekday, one.hour) for one in windows if one.looks][: len(best)] == best
    assert bool(windows) is bool(best)


@given(st.dictionaries(st.integers(0, 167), st.integers(0, 400), max_size=60))
def test_inv_suggested_hours_are_by_day_apart_and_above_the_even_share(by_hour):
    windows = rules.best_windows(looks(by_hour))
    assert len(windows) <= rules.BEST
    for one in windows:
        assert 8 <= one.hour <= 20
        assert one.looks == by_hour.get(24 * one.weekday + one.hour, 0) + by_hour.get(
            24 * one.weekday + one.hour + 1, 0
        )
        assert one.looks * 98 > 2 * one.total
        assert all(one is other or one.weekday != other.weekday or abs(one.hour - other.hour) >= 2 for other in windows)


@given(st.integers(0, 300), st.integers(1, 300), st.floats(0.5, 4))
def test_wilsons_lower_end_is_a_share_below_the_one_that_was_seen(hits, more, z):
    tries = hits + more
    low = rules.wilson_low(hits, tries, z)
    assert -1e-9 <= low <= hits / tries + 1e-9
    assert rules.wilson_low(0, 0, z) == 0


def test_wilsons_lower_end_by_a_known_example():
    # 8 of 10 at 95 %: Newcombe, Statistics in Medicine 17 (1998), gives such intervals; by hand 0.4902.
    assert rules.wilson_low(8, 10, 1.96) == pytest.approx(0.4902, abs=1e-4)


@pytest.mark.parametrize(
    ("weekday", "hour", "days"), [(2, 20, 1), (1, 20, 7), (1, 21, 7), (1, 22, 0), (0, 9, 6), (1, 8, 7)]
)
def test_an_hour_of_the_week_comes_next(weekday, hour, days):
    assert rules.next_day_of(weekday, hour, 1, 21) == days


def test_the_editor_suggests_when_members_look_and_fills_it_in(db, clock, owner_client, make_group, make_member, draft):
    people = [make_member() for _n in range(14)]
    group, quiet = make_group(members=people), make_group()
    # Five Wednesdays at 20:30 on the shop's clock, though in UTC it is 12:30.
    for week in range(1, 6):
        at = kernel_clock.at(kernel_clock.today() + timedelta(days=1 - 7 * week), 20, 30)
        post = services.write(draft(group))
        db.session.execute(
            Post.__table__.update().where(Post.id == post.id).values(state=PostState.PUBLISHED, published_at=at)
        )
        db.session.execute(PostGroup.__table__.update().where(PostGroup.post_id == post.id).values(published_at=at))
        saw(db, post, group, people, at + timedelta(minutes=5))
        saw(db, post, group, people[:3], at + timedelta(minutes=5), ReactionKind.LIKED)
    found = hours.advice([group.id, quiet.id])
    assert (found.looks.total, found.looks.members, found.looks.posts) == (70, 14, 5)
    [best] = found.best[:1]
    assert (best.window, best.at) == (
        rules.Window(2, 20, 70, 70),
        kernel_clock.at(kernel_clock.today() + timedelta(days=1), 20),
    )
    piece = owner_client.get(f"/console/posts/best-time?groups={group.id}&groups=x").text
    assert 'value="2026-03-04T20:00"' in piece
    assert "<html" not in piece
    answer = owner_client.post(
        "/console/posts/new", data=typed(group, best_time="2026-03-04T20:00", title="还没写完", act="")
    )
    assert (answer.status_code, len(posts(db))) == (200, 5)
    assert 'value="2026-03-04T20:00"' in answer.text.partition('id="publish_at"')[2].partition(">")[0]
    assert 'value="还没写完"' in answer.text
    # Too little seen is said with its numbers, and nobody's looks are taken from a group that was not chosen.
    for url in (f"/console/posts/best-time?groups={quiet.id}", "/console/posts/best-time"):
        assert 'name="best_time"' not in owner_client.get(url).text
    clock.move(weeks=9)
    assert hours.advice([group.id]).looks.total == 0


def test_many_groups_share_the_posts_that_are_looked_at(db, clock, make_group, make_member, published, monkeypatch):
    ann = make_member()
    one, two = make_group(members=[ann]), make_group(members=[ann])
    for _n in range(5):
        clock.move(minutes=1)
        saw(db, published(one), one, [ann], clock.now())
        saw(db, published(two), two, [ann], clock.now())
    assert hours.looks([one.id, two.id]).posts == 10
    monkeypatch.setattr(hours, "LATEST_IN_ALL", 8)
    assert [hours.looks(ids).posts for ids in ([one.id], [one.id, one.id], [one.id, two.id])] == [5, 5, 8]
    monkeypatch.setattr(hours, "LATEST_IN_ALL", 1)
    assert hours.looks([one.id, two.id]).posts == 2 * hours.FEWEST_POSTS


def test_a_time_that_cannot_be_read_is_not_taken_over(owner_client, make_group, db):
    answer = owner_client.post("/console/posts/new", data=typed(make_group(), best_time="tomorrow"))
    assert (answer.status_code, posts(db)) == (422, [])


# ── The calendar ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_calendar_is_filtered_by_kind_and_leads_to_a_new_post_on_a_day(clock, owner_client, make_group, draft):
    group = make_group()
    for title, kind in (("春茶", PostKind.NEW_PRODUCT), ("小窍门", PostKind.TIP)):
        services.schedule(services.write(draft(group, title=title, kind=kind)).id, clock.now() + timedelta(hours=30))
    for view in ("", "&view=month"):
        page = owner_client.get(f"/console/posts/calendar?kind=tip{view}").text
        assert ("小窍门" in page, "春茶" in page) == (True, False)
        assert "/console/posts/new?on=2026-03-05" in page
        # Nothing is written on a day that is over.
        assert "/console/posts/new?on=2026-03-02" not in page
    month = owner_client.get("/console/posts/calendar?view=month&on=2026-12-09").text
    assert month.count("cal-cell") == 31
    assert wall(kernel_clock.at(kernel_clock.today())).startswith("2026-03-03")
