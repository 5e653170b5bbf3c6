"""Saved views: kept, shown as tabs, shared, changed, chosen as the default, and nobody else's."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from kernel.auth import Role
from kernel.views import DefaultView, SavedView, plain_query
from tests.conftest import english

LIST = "/console/members"


@pytest.fixture
def manager(staff_client):
    return english(staff_client(Role.MANAGER))


@pytest.fixture
def viewer(staff_client):
    return english(staff_client(Role.VIEWER))


def keep(browser, title="VIP3", query="tier=3", **more):
    return browser.post("/console/views", data={"list": "members", "title": title, "query": query, **more})


def view_of(db, title="VIP3"):
    db.session.expire_all()
    return db.session.scalars(select(SavedView).where(SavedView.title == title)).one()


def test_a_query_has_one_spelling():
    assert plain_query("?tier=3&cursor=x&stage=&q=a%20b&view=all") == "q=a+b&tier=3"
    assert plain_query("stage=active&tier=3") == plain_query("tier=3&stage=active")
    assert plain_query("") == ""


def test_filters_are_kept_under_a_name_and_shown_as_a_tab(db, manager):
    assert "Keep these filters as a view" in manager.get(f"{LIST}?tier=3").get_data(as_text=True)
    answer = keep(manager, query="sort=-spend&tier=3&cursor=abc")
    assert answer.location == f"{LIST}?sort=-spend&tier=3"
    page = manager.get(answer.location).get_data(as_text=True)
    assert f'href="{LIST}?sort=-spend&amp;tier=3" aria-current="page">VIP3' in page
    assert "Keep these filters as a view" not in page


def test_the_same_name_replaces(db, manager):
    for _time in range(2):
        assert "is kept." in manager.get(keep(manager).location).text
    assert "in place of those it had" in manager.get(keep(manager, query="tier=4").location).text
    assert view_of(db).query == "tier=4"


def test_views_are_ones_own_until_they_are_shared(db, manager, viewer):
    keep(manager)
    assert "VIP3" not in "".join(
        line for line in viewer.get(LIST).get_data(as_text=True).splitlines() if 'class="tab"' in line
    )
    view = view_of(db)
    manager.post(f"/console/views/{view.id}", data={"title": "Third tier", "shared": "yes"})
    page = viewer.get(LIST).get_data(as_text=True)
    assert "Third tier" in page
    assert "Shared by Manager" in page
    # Seen by others, changed by its author alone (and by the owner).
    for path in (f"/console/views/{view.id}", f"/console/views/{view.id}/delete"):
        assert viewer.post(path, data={"title": "mine"}).status_code == 404
    assert view_of(db, "Third tier").shared


def test_the_owner_may_take_a_shared_view_away(db, manager, owner_client):
    keep(manager, shared="yes")
    keep(manager, title="own", query="tier=1")
    assert owner_client.post(f"/console/views/{view_of(db, 'own').id}/delete").status_code == 404
    assert owner_client.post(f"/console/views/{view_of(db).id}/delete").status_code == 303
    assert db.session.scalars(select(SavedView.title)).all() == ["own"]


def test_a_list_opens_with_the_default_and_shows_everything_on_demand(db, manager, viewer):
    keep(manager, default="yes", shared="yes")
    assert manager.get(LIST).location == f"{LIST}?tier=3"
    assert manager.get(f"{LIST}?view=all").status_code == 200
    assert viewer.get(LIST).status_code == 200
    view = view_of(db)
    viewer.post(f"/console/views/{view.id}/default", data={"wish": "open"})
    assert viewer.get(LIST).location == f"{LIST}?tier=3"
    # No longer shared: the other's list opens as before.
    manager.post(f"/console/views/{view.id}", data={"title": "VIP3"})
    assert viewer.get(LIST).status_code == 200
    manager.post(f"/console/views/{view.id}/default", data={"wish": "close"})
    assert manager.get(LIST).status_code == 200


def test_deleting_a_view_deletes_it_as_a_default_too(db, manager):
    keep(manager, default="yes")
    manager.post(f"/console/views/{view_of(db).id}/delete")
    assert db.session.scalar(select(func.count()).select_from(DefaultView)) == 0
    assert manager.get(LIST).status_code == 200


def test_views_move_by_one_place(db, manager):
    for title in ("a", "b", "c"):
        keep(manager, title=title, query=f"q={title}")
    manager.post(f"/console/views/{view_of(db, 'c').id}", data={"title": "c", "move": "left"})
    manager.post(f"/console/views/{view_of(db, 'a').id}", data={"title": "a", "move": "left"})
    order = db.session.scalars(select(SavedView.title).order_by(SavedView.position)).all()
    assert order == ["a", "c", "b"]


@pytest.mark.parametrize(
    ("title", "query", "status"), [("", "tier=3", 422), ("x" * 41, "tier=3", 422), ("  ", "tier=3", 422), ("x", "", 422),
                                   ("x", "cursor=a", 422), ("x", f"q={'a' * 3000}", 422)]
)  # fmt: skip
def test_what_makes_no_view_is_refused(db, manager, title, query, status):
    assert keep(manager, title, query).status_code == status
    assert db.session.scalar(select(func.count()).select_from(SavedView)) == 0


def test_a_name_is_not_taken_twice_by_renaming(db, manager):
    keep(manager)
    keep(manager, title="other", query="tier=1")
    assert manager.post(f"/console/views/{view_of(db, 'other').id}", data={"title": "VIP3"}).status_code == 409


def test_there_is_an_end_to_views(db, manager, monkeypatch):
    monkeypatch.setattr("kernel.views.MOST", 1)
    keep(manager)
    assert keep(manager, title="one more", query="tier=1").status_code == 409
    assert keep(manager, query="tier=2").status_code == 303


def test_views_are_of_lists_that_there_are(manager, client):
    assert manager.post("/console/views", data={"list": "nobody", "title": "x", "query": "a=b"}).status_code == 404
    assert client.post("/console/views", data={"list": "members", "title": "x", "query": "a=b"}).status_code in (
        302,
        303,
    )


def test_orders_have_views_too(db, manager):
    manager.post("/console/views", data={"list": "orders", "title": "Refunds", "query": "refunded=yes"})
    assert "Refunds" in manager.get("/console/orders").get_data(as_text=True)
    assert "Refunds" not in manager.get(LIST).get_data(as_text=True)
