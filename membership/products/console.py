"""Pages for staff: what the shop sells."""

from __future__ import annotations

from functools import partial
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from kernel import editions
from kernel.auth import staff
from kernel.files import FileRefused
from kernel.i18n import gettext as _
from kernel.pages import csv_response, search_chip, searched

from . import queries, services
from .forms import ProductForm
from .models import Product

bp = APIBlueprint(
    "products_console", __name__, url_prefix="/console", template_folder="templates", enable_openapi=False
)


def _wanted() -> dict[str, str]:
    return {key: searched(key) for key in ("q", "category", "source", "lacks")}


def _lacks() -> dict[str, str]:
    return {"cost": _("No cost yet"), "days": _("No days of use yet"), "price": _("No list price yet")}


def _chips(wanted: dict[str, str]) -> list[tuple[str, str, str]]:
    chips = search_chip(wanted["q"])
    if wanted["category"]:
        name = _("none") if wanted["category"] == queries.NO_CATEGORY else wanted["category"]
        chips.append(("category", wanted["category"], _("Category: %(name)s", name=name)))
    if wanted["source"]:
        chips.append(("source", wanted["source"], _("Source: %(source)s", source=wanted["source"])))
    if wanted["lacks"] in _lacks():
        chips.append(("lacks", wanted["lacks"], _lacks()[wanted["lacks"]]))
    return chips


@bp.get("/products")
@staff("products.view")
def index() -> Any:
    wanted = _wanted()
    page, count = queries.page_of(queries.listed(**wanted), request.args.get("sort", ""), request.args.get("cursor"))
    return render_template(
        "products/index.html",
        page=page,
        count=count,
        chips_on=_chips(wanted),
        categories=[*((name, name) for name in queries.categories()), (queries.NO_CATEGORY, _("No category"))],
        sources=[(source, source) for source in queries.sources()],
        lacks=list(_lacks().items()),
    )


@bp.get("/products/export")
@staff("products.view")
def export() -> Any:
    rows = queries.rows_of(queries.listed(**_wanted()))
    header = [_("SKU"), _("Product title"), _("Category"), _("List price"), _("Cost"), _("Lasts for"), _("Source")]
    return csv_response("products.csv", header, rows)


@bp.get("/products/<int:product_id>")
@staff("products.view")
def show(product_id: int) -> Any:
    product = queries.get_product(product_id)
    form = ProductForm(obj=product)
    editions.show(form, _shown(product))
    return _page(product, form)


def _shown(product: Product) -> Any:
    return [getattr(product, column.key) for column in Product.__table__.columns]


def _page(product: Product, form: ProductForm, status: int = 200) -> Any:
    return render_template("products/show.html", product=product, form=form, sold=queries.sold(product.id)), status


@bp.post("/products/<int:product_id>")
@staff("products.edit")
def edit_post(product_id: int) -> Any:
    product, form = queries.get_product(product_id), ProductForm()
    well = form.validate()
    try:
        form.keep_picture()
    except FileRefused as refusal:
        form.refuse("file", refusal)
        well = False
    if well and editions.overtaken(form, partial(_shown, product), product, by=("product.edited",)):
        return _page(product, form, 409)
    if well:
        try:
            services.edit(
                product,
                form.title.data or "",
                form.category.data or "",
                form.list_price.data,
                form.cost.data,
                form.days_of_use.data,
            )
        except services.CostAbovePrice as refusal:
            form.refuse("cost", refusal)
        else:
            services.show(product, form.picture.data or None)
            flash(_("Product saved."), "positive")
            return redirect(url_for(".index"))
    return _page(product, form, 422)
