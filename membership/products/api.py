"""REST for what the shop sells: read it, and write titles, prices and costs as another program knows them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from kernel.auth import api_scope
from kernel.http import (
    Amount,
    Instant,
    Listed,
    Name,
    PageQuery,
    Strict,
    Words,
    api_blueprint,
    cursor_page,
    idempotent,
    operation,
)
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.openapi import describe_tag
from membership.orders.feeds.standard import Source

from . import queries, services
from .models import Product

bp = api_blueprint("products_api", __name__)
describe_tag("Products", _l("What the shop sells, by source and SKU."))

Sku = Annotated[Name, Field(max_length=80)]


class ProductOut(Strict):
    """`cost` is empty while nobody has told it; `days_of_use` is how long one piece lasts."""

    id: int
    source: str
    sku: str
    title: str
    category: str
    list_price: int | None
    cost: int | None
    days_of_use: int | None
    created_at: Instant


class ProductsQuery(PageQuery):
    source: Source | None = None
    category: Annotated[Words, Field(max_length=100)] | None = None
    sku: Sku | None = None


class ProductIn(Strict):
    """Fields that are left out stay as they are; a new product needs a title."""

    source: Source
    sku: Sku
    title: Name | None = None
    category: Annotated[Words, Field(max_length=100)] | None = None
    list_price: Amount | None = None
    cost: Amount | None = None
    days_of_use: Annotated[int | None, Field(ge=1, le=3_650)] = None

    @model_validator(mode="after")
    def words_are_not_null(self) -> ProductIn:
        if any(name in self.model_fields_set and getattr(self, name) is None for name in ("title", "category")):
            raise ValueError(_("title and category are texts, not null."))
        return self


def _product(one: Product) -> ProductOut:
    return ProductOut(
        id=one.id,
        source=one.source,
        sku=one.sku,
        title=one.title,
        category=one.category,
        list_price=one.list_price,
        cost=one.cost,
        days_of_use=one.days_of_use,
        created_at=one.created_at,
    )


@bp.get("/products")
@api_scope("products:read")
@operation(_l("List products"), tag="Products", query=ProductsQuery, answers=Listed[ProductOut])
def index(query: ProductsQuery) -> Any:
    statement = queries.listed(category=query.category or "", source=query.source or "", sku=query.sku or "")
    return cursor_page(statement, [Product.id.desc()], query, _product)


@bp.get("/products/<int:product_id>")
@api_scope("products:read")
@operation(_l("Read one product"), tag="Products", answers=ProductOut)
def show(product_id: int) -> ProductOut:
    return _product(queries.get_product(product_id))


@bp.post("/products")
@api_scope("products:write")
@idempotent()
@operation(
    _l("Write down a product, new or known"),
    tag="Products",
    takes=ProductIn,
    answers={201: ProductOut, 200: ProductOut},
    refusals=[services.TitleMissing, services.CostAbovePrice],
    example={"source": "shop", "sku": "MUG-1", "title": "Enamel mug", "list_price": 6000, "cost": 2100},
    links={"product": ("products.show", {"product_id": "$response.body#/id"})},
)
def write(body: ProductIn) -> Any:
    wanted = {name: getattr(body, name) for name in body.model_fields_set - {"source", "sku"}}
    product, made = services.write(body.source, body.sku, wanted)
    return _product(product), 201 if made else 200
