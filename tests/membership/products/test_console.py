"""The pages about products."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta

import pytest
from PIL import Image
from sqlalchemy import select

from kernel import clock
from kernel.audit import AuditEntry
from kernel.auth import Role
from membership.members import services as members
from membership.members.models import Channel
from membership.orders.models import Order, OrderLine, OrderState
from membership.products import queries as products
from membership.products import services
from membership.products.models import Product
from membership.products.services import ProductSeen


@pytest.fixture
def shelf(db):
    ids = services.find_or_make_many(
        "shop",
        {
            "22423": ProductSeen("三层蛋糕架", 12_300),
            "85123": ProductSeen("心形吊灯 100%", 2_950),
            "POST": ProductSeen("邮费", 0),
        },
    )
    found = {sku: db.session.get(Product, i) for sku, i in ids.items()}
    found["22423"].category, found["22423"].cost = "餐具", 6_000
    db.session.flush()
    return found


def skus_on(page):
    return re.findall(r"</a><small>([^<]+)</small>", page.get_data(as_text=True))


def test_what_is_known_is_left_as_staff_wrote_it(db, shelf):
    again = services.find_or_make_many("shop", {"22423": ProductSeen("Cake stand", 1), "new": ProductSeen("新品", 100)})
    assert again["22423"] == shelf["22423"].id
    assert (shelf["22423"].title, shelf["22423"].list_price) == ("三层蛋糕架", 12_300)
    assert services.find_or_make_many("taobao", {"22423": ProductSeen("别家", 1)})["22423"] != again["22423"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"22423", "85123", "POST"}),
        ("q=蛋糕", {"22423"}),
        ("q=854", set()),
        ("q=851", {"85123"}),
        ("q=100%25", {"85123"}),
        ("category=餐具", {"22423"}),
        ("category=-", {"85123", "POST"}),
        ("lacks=cost", {"85123", "POST"}),
        ("lacks=price", {"POST"}),
        ("source=taobao", set()),
        ("lacks=x&sort=x&cursor=x", {"22423", "85123", "POST"}),
    ],
)
def test_filters_find_exactly(browse, shelf, query, expected):
    assert set(skus_on(browse().get(f"/console/products?{query}"))) == expected


def test_the_list_sorts_by_price(browse, shelf):
    browser = browse()
    assert skus_on(browser.get("/console/products?sort=-price")) == ["22423", "85123", "POST"]
    assert skus_on(browser.get("/console/products?sort=price")) == ["POST", "85123", "22423"]


def test_an_empty_shop_leads_to_the_import(browse):
    assert "No products yet" in browse().get("/console/products").get_data(as_text=True)


def typed(**changed):
    return {"title": "蛋糕架", "category": "餐具", "list_price": "129", "cost": "58.50", "days_of_use": "90"} | changed


def test_a_product_is_saved_and_audited(browse, db, shelf):
    product = shelf["22423"]
    assert browse(Role.MARKETER).post(f"/console/products/{product.id}", data=typed()).status_code == 302
    assert (product.title, product.list_price, product.cost, product.days_of_use) == ("蛋糕架", 12_900, 5_850, 90)
    entry = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "product.edited")).one()
    assert (entry.before["cost"], entry.after["cost"]) == (6_000, 5_850)


def test_empty_numbers_mean_not_known(browse, shelf):
    product = shelf["22423"]
    browse().post(f"/console/products/{product.id}", data=typed(list_price="", cost="", days_of_use=""))
    assert (product.list_price, product.cost, product.days_of_use) == (None, None, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", ""),
        ("title", "长" * 201),
        ("category", "长" * 81),
        ("list_price", "abc"),
        ("list_price", "-1"),
        ("cost", "1.234"),
        ("cost", "129.01"),
        ("days_of_use", "0"),
        ("days_of_use", "3651"),
        ("days_of_use", "soon"),
    ],
)
def test_each_field_is_refused_and_kept(browse, shelf, field, value):
    product = shelf["22423"]
    answer = browse().post(f"/console/products/{product.id}", data=typed(**{field: value}))
    assert answer.status_code == 422
    assert f'id="{field}-error"' in answer.get_data(as_text=True)
    assert f'value="{value}"' in answer.get_data(as_text=True)
    assert product.title == "三层蛋糕架"


def test_viewers_read_without_the_cost_form_and_change_nothing(browse, shelf):
    product, browser = shelf["22423"], browse(Role.VIEWER)
    page = browser.get(f"/console/products/{product.id}").get_data(as_text=True)
    assert "Save product" not in page
    assert browser.post(f"/console/products/{product.id}", data=typed()).status_code == 403
    assert product.title == "三层蛋糕架"
    assert browser.get("/console/products/987654321").status_code == 404


def test_the_file_holds_what_the_list_shows(browse, shelf):
    answer = browse().get("/console/products/export?category=餐具")
    header, *rows = csv.reader(io.StringIO(answer.get_data(as_text=True).removeprefix("\ufeff")), strict=True)
    assert header[0] == "SKU"
    assert rows == [["22423", "三层蛋糕架", "餐具", "123.0", "60.0", "", "shop"]]


def test_sold_counts_pieces_kept_and_people_who_came_back(db, shelf):
    one, two = (members.find_or_make([(Channel.SHOP, n)])[0] for n in ("a", "b"))
    at = clock.now() - timedelta(days=3)
    for number, member, pieces, back, paid in [
        ("1", one, 2, 0, True),
        ("2", one, 1, 0, True),
        ("3", two, 5, 2, True),
        ("4", two, 1, 1, True),
        ("5", two, 9, 0, False),
        ("6", None, 4, 0, True),
    ]:
        order = Order(
            source="shop", external_id=number, member_id=member.id if member else None, state=OrderState.PAID,
            placed_at=at, paid_at=at if paid else None, paid_amount=1, version_at=at, version_mark="1", created_at=at,
        )  # fmt: skip
        db.session.add(order)
        db.session.flush()
        db.session.add(
            OrderLine(
                order_id=order.id,
                position=1,
                product_id=shelf["22423"].id,
                sku="22423",
                title="x",
                quantity=pieces,
                unit_price=1,
                amount=1,
                refunded_quantity=back,
            )
        )
    db.session.flush()
    assert products.sold(shelf["22423"].id) == products.Sold(pieces=10, buyers=2, came_back=1)
    assert products.sold(shelf["85123"].id) == products.Sold(0, 0, 0)


def test_a_product_gets_a_picture_and_loses_it(db, staff_client, shelf):
    cake, manager = shelf["22423"], staff_client(Role.MANAGER)
    typed = {"title": cake.title, "list_price": "123"}
    path = f"/console/products/{cake.id}"
    upload = {"file": (io.BytesIO(_png()), "cake.png")}
    assert manager.post(path, data=typed | upload, content_type="multipart/form-data").status_code == 302
    db.session.refresh(cake)
    assert manager.get(f"/pictures/{cake.picture}").status_code == 200
    assert cake.picture in manager.get(path).text
    # Saved again without a file it stays; what is no picture is refused beside the field.
    manager.post(path, data=typed | {"picture": cake.picture})
    db.session.refresh(cake)
    assert cake.picture
    broken = {"file": (io.BytesIO(b"no picture"), "x.png"), "picture": cake.picture}
    assert manager.post(path, data=typed | broken, content_type="multipart/form-data").status_code == 422
    manager.post(path, data=typed | {"picture": cake.picture, "drop_picture": "y"})
    db.session.refresh(cake)
    assert cake.picture is None


def _png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "green").save(out, "PNG")
    return out.getvalue()
