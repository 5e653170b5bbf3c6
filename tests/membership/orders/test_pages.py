"""The pages about orders and their files: they work, refuse what is wrong, refuse roles, and GET changes nothing."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from kernel.auth import Role
from kernel.pages import Count
from membership.orders import queries, services
from membership.orders.formats.drafts import Buyer, LineDraft, OrderDraft
from membership.orders.models import ImportReject, ImportRun, Order, OrderState, RunState
from tests.conftest import NOON

from .files import line, text_of


@pytest.fixture(autouse=True)
def noon(clock):
    return clock


def draft(number: str = "A1", days_ago: float = 20, **values) -> OrderDraft:
    at = NOON - timedelta(days=days_ago)
    told = {
        "state": OrderState.COMPLETED,
        "paid_amount": 100_00,
        "postage": 8_00,
        "paid_at": at,
        "version_at": at,
    } | values
    told.setdefault("buyer", Buyer(number="77", nickname="小满", phone="+8612000001234"))
    told.setdefault("lines", (LineDraft("CUP", "青瓷茶杯", 2, 46_00),))
    return OrderDraft(external_id=number, placed_at=at, **told)


@pytest.fixture
def filled(db):
    services.record_many(
        "taobao",
        [
            draft("2012000000001"),
            draft("2012000000002", days_ago=3, state=OrderState.SHIPPED, delivered_at=NOON + timedelta(days=1)),
            draft("2012000000003", days_ago=1, buyer=None),
        ],
    )
    services.record("shop", draft("S-1", refunded_amount=30_00, buyer=Buyer(number="9", nickname="立夏")))
    db.session.commit()


def upload(client, content: bytes, name: str = "orders.csv", source: str = "shop", **fields):
    return client.post(
        "/console/imports", data={"file": (io.BytesIO(content), name), "source": source, "format": "auto"} | fields
    )


def tables(db) -> list:
    names = ("order", "order_line", "import_run", "import_reject", "member", "refund", "event")
    return [db.session.execute(text(f'SELECT count(*) FROM "{name}"')).scalar() for name in names]


# ── Orders ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def listed(page: str) -> list[str]:
    return [number for number in ("2012000000001", "2012000000002", "2012000000003", "S-1") if f">{number}</a>" in page]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("", ["2012000000001", "2012000000002", "2012000000003", "S-1"]),
        ("q=2012000000002", ["2012000000002"]),
        ("q=2012", ["2012000000001", "2012000000002", "2012000000003"]),
        ("q=1234", ["2012000000001", "2012000000002"]),
        ("q=%25", []),
        ("q=S_1", []),
        ("source=shop", ["S-1"]),
        ("state=shipped", ["2012000000002"]),
        ("state=nonsense", ["2012000000001", "2012000000002", "2012000000003", "S-1"]),
        ("from=2026-02-28", ["2012000000002", "2012000000003"]),
        ("until=2026-02-11", ["2012000000001", "S-1"]),
        ("from=never", ["2012000000001", "2012000000002", "2012000000003", "S-1"]),
        ("refunded=yes", ["S-1"]),
        ("member=none", ["2012000000003"]),
        ("cursor=broken", ["2012000000001", "2012000000002", "2012000000003", "S-1"]),
    ],
)
def test_list_is_narrowed_by_its_address(filled, owner_client, query, numbers):
    page = owner_client.get(f"/console/orders?{query}")
    assert page.status_code == 200
    assert sorted(listed(page.text)) == numbers


def test_list_shows_phones_masked(filled, owner_client):
    page = owner_client.get("/console/orders").text
    assert "120****1234" in page
    assert "12000001234" not in page


def test_empty_list_says_what_to_do(db, owner_client, staff_client):
    assert "/console/imports" in owner_client.get("/console/orders").text
    assert owner_client.get("/console/orders?q=nothing").status_code == 200
    assert "/console/imports" not in staff_client(Role.VIEWER).get("/console/orders").text


def test_list_is_paged_by_key(db, owner_client):
    services.record_many("shop", [draft(f"P{n:03}", days_ago=60 - n / 10, buyer=None) for n in range(120)])
    seen: list[str] = []
    address = "/console/orders?source=shop"
    while address:
        page = owner_client.get(address).text
        seen += [part.split("<")[0] for part in page.split('">P')[1:]]
        _, _, rest = page.partition('rel="next" href="')
        address = rest.partition('"')[0].replace("&amp;", "&")
    assert [f"P{number}" for number in seen] == [f"P{n:03}" for n in reversed(range(120))]


def test_list_is_sorted_by_day_and_while_it_is_short_by_amount(db, owner_client, monkeypatch):
    for number, days_ago, paid in (("P1", 3, 50_00), ("P2", 2, 90_00), ("P3", 1, 50_00), ("P4", 4, 7_00)):
        services.record("shop", draft(number, days_ago, paid_amount=paid, postage=0, buyer=None))

    def numbers(query):
        return re.findall(r'">(P[0-9])</a>', owner_client.get(f"/console/orders?{query}").text)

    newest = ["P3", "P2", "P1", "P4"]
    assert [numbers(query) for query in ("", "sort=-placed", "sort=placed", "sort=x")] == [
        newest,
        newest,
        newest[::-1],
        newest,
    ]
    assert numbers("sort=amount") == ["P4", "P1", "P3", "P2"]
    assert numbers("sort=-amount") == ["P2", "P3", "P1", "P4"]
    file = owner_client.post("/console/orders/export?sort=amount").text.lstrip("\ufeff").splitlines()
    assert [line[:2] for line in file[1:]] == ["P4", "P1", "P3", "P2"]
    # Where an order for each page would have to look at every row, it says so and keeps to the index.
    monkeypatch.setattr(queries, "capped_count", lambda _statement: Count(10_000, True))
    page = owner_client.get("/console/orders?sort=amount", headers={"Accept-Language": "en"}).text
    assert re.findall(r'">(P[0-9])</a>', page) == newest
    assert "The newest come first" in page
    assert "sort=-amount" not in page


def test_order_page_shows_lines_refunds_and_the_member(filled, owner_client, db):
    services.refund("taobao", "R-77", "2012000000001", 46_00)
    order = db.session.scalars(select(Order).where(Order.external_id == "2012000000001")).one()
    page = owner_client.get(f"/console/orders/{order.id}").text
    for words in ("青瓷茶杯", "¥92.00", "R-77", "¥46.00", "小满", "2012000000002", "120****1234"):
        assert words in page
    assert owner_client.get("/console/orders/987654321").status_code == 404


def test_order_of_nobody_has_a_page_too(filled, owner_client, db):
    order = db.session.scalars(select(Order).where(Order.external_id == "2012000000003")).one()
    assert owner_client.get(f"/console/orders/{order.id}").status_code == 200


def test_export_is_csv_with_masked_phones_and_leaves_a_trace(filled, owner_client, staff_client, db):
    response = owner_client.post("/console/orders/export?source=taobao")
    rows = response.text.lstrip("\ufeff").splitlines()
    assert response.mimetype == "text/csv"
    assert len(rows) == 4
    assert "120****1234" in response.text
    assert db.session.scalar(text("SELECT count(*) FROM audit_entry WHERE action = 'orders.exported'")) == 1
    assert staff_client(Role.ASSISTANT).post("/console/orders/export").status_code == 403


def test_order_is_found_from_the_search_over_everything(filled, owner_client, db):
    order = db.session.scalars(select(Order).where(Order.external_id == "S-1")).one()
    answer = owner_client.get("/console/search?q=S-1")
    assert f"/console/orders/{order.id}" in (answer.text if answer.status_code == 200 else answer.headers["Location"])


# ── Files ───────────────────────────────────────────────────────────────────────────────────────────────────────────

CONTENT = text_of(
    [line(), line(order_no="B2", quantity="=1+1"), line(order_no="C3", buyer_phone="13800001234")]
).encode()


def test_file_is_uploaded_looked_at_and_taken_in(owner_client, db, run_jobs):
    answer = upload(owner_client, CONTENT, "一月订单.csv")
    assert answer.status_code == 303
    address = answer.headers["Location"]
    page = owner_client.get(address).text
    for words in ("一月订单.csv", "UTF-8", "order_no", "青瓷茶杯", "=1+1"):
        assert words in page
    assert db.session.scalars(select(Order)).all() == []

    assert owner_client.post(f"{address}/start").status_code == 303
    page = owner_client.get(address).text
    assert "hx-get" in page
    assert '<noscript><meta http-equiv="refresh"' in page
    run_jobs()
    page = owner_client.get(address).text
    assert ">件数<" in page
    assert "hx-get" not in page
    run = db.session.scalars(select(ImportRun)).one()
    assert (run.state, run.accepted, run.rejected) == (RunState.DONE, 2, 1)
    assert run.staff_id is not None
    assert owner_client.get("/console/imports").text.count("一月订单.csv") == 1


def test_progress_answers_with_the_bar_and_reloads_the_page_at_the_end(owner_client, db, run_jobs):
    address = upload(owner_client, CONTENT).headers["Location"]
    owner_client.post(f"{address}/start")
    answer = owner_client.get(f"{address}/progress", headers={"HX-Request": "true"})
    assert "progress-block" in answer.text
    assert "HX-Refresh" not in answer.headers
    run_jobs()
    assert owner_client.get(f"{address}/progress").headers["HX-Refresh"] == "true"


def test_rejects_are_downloaded_with_their_lines_and_no_formula(owner_client, db, run_jobs):
    address = upload(owner_client, CONTENT).headers["Location"]
    owner_client.post(f"{address}/start")
    run_jobs()
    answer = owner_client.post(f"{address}/rejects/export", headers={"Accept-Language": "en"})
    head, row = answer.text.lstrip("\ufeff").splitlines()
    assert re.match(r"Line #[0-9]+,Column,Reason,Text found,order_no", head)
    assert row.startswith("3,quantity,Not a whole number,'=1+1,B2")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04 xl/workbook.xml", "Excel"),
        (b"", "empty"),
        (b'order_no,state,sku\n1,"open,x\n', "line 2"),
        (b"order_no,state,sku\n1,paid,x\n", "placed_at, paid_amount"),
        (b"foo,bar\n1,2\n", "foo, bar"),
        ("order_no,sku\n1,青瓷\n".encode() + b"2,\xff\n", "Line 3"),
    ],
)
def test_wrong_file_is_explained_and_nothing_is_taken(owner_client, db, content, said):
    address = upload(owner_client, content).headers["Location"]
    page = owner_client.get(address, headers={"Accept-Language": "en"})
    assert page.status_code == 200
    assert said in page.text
    assert owner_client.post(f"{address}/start").status_code == 409
    assert db.session.scalars(select(Order)).all() == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"source": ""}, "required"),
        ({"source": "Own Shop"}, "small letters"),
        ({"format": "excel"}, "choice"),
        ({"file": (io.BytesIO(b""), "")}, "Choose a file"),
    ],
)
def test_form_says_what_is_missing_and_keeps_what_was_typed(owner_client, db, fields, said):
    data = {"file": (io.BytesIO(CONTENT), "a.csv"), "source": "shop", "format": "auto"} | fields
    answer = owner_client.post("/console/imports", data=data, headers={"Accept-Language": "en"})
    assert answer.status_code == 422
    assert said in answer.text
    assert data["source"] in answer.text
    assert db.session.scalars(select(ImportRun)).all() == []


def test_file_is_put_away_before_it_is_started(owner_client, db):
    address = upload(owner_client, CONTENT).headers["Location"]
    assert owner_client.post(f"{address}/put-away").status_code == 303
    assert owner_client.get(address).status_code == 404
    assert owner_client.post(f"{address}/put-away").status_code == 404


def test_double_click_starts_once(owner_client, db):
    address = upload(owner_client, CONTENT).headers["Location"]
    assert [owner_client.post(f"{address}/start").status_code for _ in range(2)] == [303, 409]


def test_template_can_be_taken_in(owner_client, db, run_jobs):
    template = owner_client.get("/console/imports/template.csv").data
    address = upload(owner_client, template).headers["Location"]
    owner_client.post(f"{address}/start")
    run_jobs()
    run = db.session.scalars(select(ImportRun)).one()
    assert (run.state, run.accepted, run.rejected) == (RunState.DONE, 3, 0)


def test_many_rejects_are_paged(owner_client, db, run_jobs):
    content = text_of([line(order_no=f"N{n}", quantity="x") for n in range(70)]).encode()
    address = upload(owner_client, content).headers["Location"]
    owner_client.post(f"{address}/start")
    run_jobs()
    assert 'rel="next"' in owner_client.get(address).text
    assert len(db.session.scalars(select(ImportReject)).all()) == 70


@pytest.mark.parametrize("path", ["/console/imports", "/console/imports/template.csv"])
@pytest.mark.parametrize("role", [Role.MARKETER, Role.SERVICE, Role.ASSISTANT, Role.VIEWER])
def test_files_are_for_the_manager_and_the_owner(staff_client, path, role):
    assert staff_client(role).get(path).status_code == 403
    assert upload(staff_client(role), CONTENT).status_code == 403


def test_get_changes_nothing(owner_client, filled, db, run_jobs):
    address = upload(owner_client, CONTENT).headers["Location"]
    waiting = tables(db)
    order_id = db.session.scalars(select(Order.id)).first()
    of_the_file = [address, f"{address}/progress"]
    for path in ["/console/orders", f"/console/orders/{order_id}", "/console/imports", *of_the_file]:
        assert owner_client.get(path).status_code == 200
    assert tables(db) == waiting


def test_pages_are_in_both_languages(owner_client, filled, db):
    for path, chinese, english in (
        ("/console/orders", "订单号或手机尾号", "Order number or phone ending"),
        ("/console/imports", "导入新文件", "A new file"),
    ):
        assert chinese in owner_client.get(path, headers={"Accept-Language": "zh-CN"}).text
        assert english in owner_client.get(path, headers={"Accept-Language": "en"}).text


def test_running_and_waiting_files_are_on_the_first_page(owner_client, db, clock):
    address = upload(owner_client, CONTENT, "today.csv").headers["Location"]
    assert "today.csv" in owner_client.get("/console/").text
    owner_client.post(f"{address}/start")
    assert "today.csv" in owner_client.get("/console/").text


def test_timeline_tells_of_orders(filled, owner_client, db):
    services.record("taobao", replace(draft("2012000000009", days_ago=1), state=OrderState.REFUSED))
    member_id = db.session.scalars(select(Order.member_id).where(Order.external_id == "2012000000009")).one()
    page = owner_client.get(f"/console/members/{member_id}", headers={"Accept-Language": "en"}).text
    assert "Refused the parcel of order 2012000000009 at the door" in page
