"""The pages of touchpoints: they work, refuse what is wrong and whom they are not for, and a GET changes nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, func, select

from campaigns.pushes.models import Delivery
from campaigns.touchpoints import queries, services
from campaigns.touchpoints.models import Stage, TouchKind, Touchpoint
from kernel import clock as kernel_clock
from kernel.audit import AuditEntry
from kernel.auth import Role
from kernel.errors import NotFound

ROOT = "/console/touchpoints"
SAID = {
    "name": "门店海报",
    "kind": "print",
    "stage": "ad",
    "importance": "4",
    "sources": "海报\n 橱窗 \n\n海报",
    "active": "y",
}


def get(browser: Any, path: str = "", status: int = 200) -> str:
    answer = browser.get(ROOT + path)
    assert answer.status_code == status, path
    return answer.text


@pytest.fixture
def shop(db, clock, make_member, make_order, send, call):
    """A push to forty, calls with stars to twelve, and some orders."""
    people = [make_member(f"Lime{n}") for n in range(40)]
    for back in (35, 42, 49, 56, 8):
        send(people, days_ago=back, clicked=people[:4])
    for person in people[:12]:
        call(person, days_ago=6, stars=5)
    for person in people[:20]:
        make_order(person, days_ago=2)
    return people


def test_the_list_with_its_filters(shop, browse, staff_client):
    page = get(browse(Role.VIEWER))
    assert "Push to the member&#39;s page" in page
    assert "After-sale ticket" in page
    assert "New touchpoint" not in page
    assert "Switch off" not in page
    assert "推送" in get(staff_client(Role.MARKETER))
    for query, here, gone in (
        ("?q=ticket", "After-sale ticket", "Coupon link"),
        ("?stage=landing", "Coupon link", "After-sale ticket"),
        ("?kind=phone", "Call-back after delivery", "Coupon link"),
        ("?state=on", "Coupon link", "No touchpoint matches"),
        ("?state=off", "No touchpoint matches", "Coupon link"),
        ("?stage=nonsense&kind=x&state=y&sort=z&from=x", "Coupon link", "No touchpoint matches"),
    ):
        page = get(browse(Role.VIEWER), query)
        assert here in page, query
        assert gone not in page, query
    page = get(browse(Role.VIEWER), "?sort=-met")
    assert page.index("Push to the member") < page.index("Call-back after delivery") < page.index("Coupon link")
    lines = get(browse(Role.VIEWER), "/export?q=call-back").splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("Call-back after delivery,Receipt,Telephone,Yes,,,12,,12,5.00,")


def test_one_s_own_is_entered_changed_switched_and_removed(db, clock, browse):
    browser = browse(Role.MARKETER)
    assert "Names of its links" in get(browser, "/new")
    assert browser.post(f"{ROOT}/new", data=SAID).location.startswith(f"{ROOT}/own-")
    row = db.session.scalars(select(Touchpoint)).one()
    assert (row.name, row.kind, row.stage, row.importance, row.sources) == (
        "门店海报", TouchKind.PRINT, Stage.AD, 4, ["海报", "橱窗"],
    )  # fmt: skip
    ref = f"own-{row.id}"
    assert "Nobody met it in these weeks" in get(browser, f"/{ref}")
    for field, wrong, words in (
        ("name", "", "required"),
        ("name", "x" * 61, "longer"),
        ("name", "the parcel itself", "has this name already"),
        ("kind", "none", "Not a valid choice"),
        ("stage", "", "Not a valid choice"),
        ("importance", "6", "Not a valid choice"),
        ("owner_id", "999", "Not a valid choice"),
        ("sources", "包裹卡", "named by another touchpoint"),
        ("sources", "\n".join(map(str, range(11))), "At most 10"),
        ("notes", "x" * 2_001, "longer"),
    ):
        answer = browser.post(f"{ROOT}/new", data=SAID | {"name": "另一个", "sources": "", field: wrong})
        assert answer.status_code == 422, field
        assert words in answer.text, field
    assert browser.post(f"{ROOT}/new", data=SAID | {"name": "另一个"}).status_code == 422
    assert db.session.scalar(select(func.count()).select_from(Touchpoint)) == 1

    assert 'value="门店海报"' in get(browser, f"/{ref}/edit")
    browser.post(f"{ROOT}/{ref}/edit", data=SAID | {"name": "橱窗海报", "sources": "", "notes": "春节换"})
    assert (row.name, row.sources, row.notes) == ("橱窗海报", [], "春节换")
    assert "Nothing is counted here yet" in get(browser, f"/{ref}")
    assert browser.post(f"{ROOT}/switch", data={"ids": [ref, "ticket", "ticket"], "to": "off"}).status_code == 303
    assert not any(one.active for one in queries.listed_now() if one.ref in (ref, "ticket"))
    browser.post(f"{ROOT}/switch", data={"ids": ["ticket"], "to": "on"})
    assert browser.post(f"{ROOT}/switch", data={"ids": ["no-such"], "to": "on"}).status_code == 404
    assert browser.post(f"{ROOT}/ticket/remove").status_code == 409
    assert browser.post(f"{ROOT}/{ref}/remove").location == ROOT
    assert get(browser, f"/{ref}", 404)
    assert browser.post(f"{ROOT}/{ref}/remove").status_code == 404
    acts = db.session.scalars(select(AuditEntry.action).where(AuditEntry.object_kind == "touchpoint")).all()
    assert sorted(acts) == sorted(
        ["touchpoint.added", "touchpoint.changed", *["touchpoint.switched"] * 3, "touchpoint.removed"]
    )


def test_a_ready_made_one_keeps_its_kind_and_its_own_name(db, clock, browse, make_staff):
    browser, who = browse(Role.MANAGER), make_staff(Role.SERVICE)
    page = get(browser, "/ticket/edit")
    assert 'name="kind"' not in page
    assert 'name="sources"' not in page
    assert 'name="sources"' in get(browser, "/parcel_card/edit")
    said = {"name": "After-sale ticket", "stage": "receipt", "importance": "5", "owner_id": str(who.id), "active": "y"}
    browser.post(f"{ROOT}/ticket/edit", data=said | {"kind": "print", "sources": "x"})
    row = db.session.scalars(select(Touchpoint)).one()
    assert (row.key, row.name, row.kind, row.importance, row.owner_id, row.sources) == (
        "ticket", "", TouchKind.TICKET, 5, who.id, [],
    )  # fmt: skip
    assert who.name in get(browser, "/ticket")
    who.disabled_at = kernel_clock.now()
    assert who.name in get(browser, "/ticket/edit")
    # Whoever has left may go on standing there, and is offered for nothing else.
    assert browser.post(f"{ROOT}/ticket/edit", data=said | {"notes": "x"}).status_code == 303
    assert (row.notes, row.owner_id) == ("x", who.id)
    assert who.name not in get(browser, "/parcel/edit")
    assert browser.post(f"{ROOT}/parcel/edit", data=said | {"name": "P"}).status_code == 422
    with pytest.raises(services.OwnerUnknown):
        services.edit("ticket", services.Draft("x", TouchKind.TICKET, Stage.RECEIPT, owner_id=10**9))
    for wrong in ("own-", "own-x", "own-999", "own-" + "9" * 30, "nothing"):
        with pytest.raises(NotFound):
            services.edit(wrong, services.Draft("x", TouchKind.TICKET, Stage.RECEIPT))
        get(browser, f"/{wrong}/edit", 404)


def test_no_more_than_so_many_of_one_s_own(db, clock, monkeypatch):
    monkeypatch.setattr(services, "MOST_OWN", 1)
    services.add(services.Draft("一", TouchKind.OTHER, Stage.AD))
    with pytest.raises(services.TooManyTouchpoints):
        services.add(services.Draft("二", TouchKind.OTHER, Stage.AD))


def test_the_matrix_and_its_file(db, shop, browse):
    browser = browse(Role.VIEWER)
    page = get(browser, "/matrix")
    assert page.count('class="matrix-dot"') == 2
    assert "2 of 23 touchpoints have a place" in page
    assert "too little seen" in page
    assert "Keep up the good work" in page
    services.edit(
        "push_inbox", services.Draft("Push to the member's page", TouchKind.MESSAGE, Stage.REACH, importance=5)
    )
    services.edit("call_back", services.Draft("Call-back", TouchKind.PHONE, Stage.RECEIPT, importance=2))
    db.session.query(Delivery).filter(Delivery.accepted_at > kernel_clock.now() - timedelta(days=9)).update(
        {Delivery.clicked_at: None}
    )
    page = get(browser, "/matrix?from=2026-02-01")
    assert "1 of them should be worked on first" in page
    assert get(browser, "/matrix?by=measured&from=2026-02-01&to=2026-03-03")
    empty = get(browser, "/matrix?from=2020-01-01&to=2020-01-02")
    assert "Nothing can be placed yet" in empty
    lines = get(browser, "/matrix/export").splitlines()
    assert len(lines) == 24
    assert any(line.split(",")[1] == "Push to the member's page" and "rate against" in line for line in lines)


def test_one_touchpoint_and_the_people_behind_its_numbers(shop, browse):
    browser = browse(Role.MARKETER)
    page = get(browser, "/call_back")
    assert "12 meetings in 12 weeks" in page
    assert "action=ordered" in page
    assert "What followed within 30 days" in page
    assert get(browser, "/ticket").count("Nobody met it in these weeks") == 1
    for action, shown in (("", 12), ("ordered", 12), ("again", 0)):
        people = get(browser, f"/call_back/people?action={action}")
        assert people.count('class="person"') == shown, action
    get(browser, "/call_back/people?action=nonsense", 404)
    get(browser, "/nothing", 404)
    get(browser, "/nothing/people", 404)


def test_who_may_do_what_and_looking_changes_nothing(db, shop, browse):
    viewer, marketer = browse(Role.VIEWER), browse(Role.MARKETER)
    for path in ("/new", "/ticket/edit"):
        get(viewer, path, 403)
    for path in ("/new", "/switch", "/ticket/edit", "/ticket/remove"):
        assert viewer.post(ROOT + path, data=SAID).status_code == 403
    for path in ("", "/export", "/matrix", "/matrix/export", "/new", "/ticket", "/ticket/edit", "/call_back/people"):
        get(marketer, path)
    assert db.session.scalar(select(func.count()).select_from(Touchpoint)) == 0
    assert db.session.scalar(select(func.count()).where(AuditEntry.object_kind == "touchpoint")) == 0


def test_rows_are_locked_in_one_order(db, clock):
    first, second = (services.add(services.Draft(name, TouchKind.OTHER, Stage.AD)) for name in "一二")
    services.set_active(["ticket"], False)
    locks: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if "FOR UPDATE" in statement:
            locks.append(statement)

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        assert services.set_active([second, "ticket", "parcel", first, second], False) == 3
    finally:
        event.remove(db.engine, "before_cursor_execute", note)
    # The one that has no row yet is looked for alone.
    assert ["ORDER BY touchpoint.id FOR UPDATE" in " ".join(one.split()) for one in locks] == [True, False]
    assert {one.ref for one in queries.listed_now() if not one.active} == {first, second, "ticket", "parcel"}
