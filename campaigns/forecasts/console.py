"""Pages for staff: the repurchase clock, who is due, and the card of the forecasts' model."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from campaigns.audiences import rules as audience_rules
from campaigns.audiences import services as audiences
from kernel import clock, editions, once
from kernel.auth import staff
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from kernel.pages import capped_count, csv_response, keyset, row_number, searched, ticked
from membership.products import queries as products

from . import forms, jobs, labels, queries, rules, services
from .models import ModelState

bp = APIBlueprint(
    "forecasts_console", __name__, url_prefix="/console/forecasts", template_folder="templates", enable_openapi=False
)
# The days ahead that the list of those who are due can show.
AHEAD = (7, 14, 30)


def _said(name: str) -> str:
    return searched(name)


# ── The repurchase clock ────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("")
@staff("forecasts.view")
def index() -> Any:
    basis = _said("basis") if _said("basis") in labels.FILTERS else ""
    statement, sorts = queries.clocks(searched(), basis)
    page = keyset(statement, sorts.get(_said("sort"), sorts["-due"]), request.args.get("cursor"))
    return render_template(
        "forecasts/index.html",
        page=page,
        count=capped_count(statement),
        basis=basis,
        sums=queries.sums(),
        due=queries.due_people(),
        run=queries.last_clock_run(),
        labels=labels,
        filtered=bool(searched() or basis),
    )


@bp.get("/export")
@staff("forecasts.view")
def export() -> Any:
    header = [
        _("SKU"), _("Product title"), _("Category"), _("Days of use"), _("Where they come from"), _("Set days"),
        _("Learned days"), _("Spread"), _("Gaps"), _("People"), _("Due this week"),
    ]  # fmt: skip
    statement, _sorts = queries.clocks(searched(), _said("basis"))
    return csv_response("repurchase-clock.csv", header, queries.clock_rows(statement))


@bp.post("/learn")
@staff("forecasts.edit")
def learn() -> Any:
    services.start_learning(now=True)
    jobs.keep_clocks.later()
    flash(_("The gaps are being looked at. The days on this page follow within minutes."), "positive")
    return redirect(url_for(".index"))


@bp.post("/reset")
@staff("forecasts.edit")
def reset_many() -> Any:
    done = sum(services.reset_days(product_id) for product_id in ticked(200))
    jobs.keep_due_days.later()
    flash(
        ngettext("One product goes by its real gaps again.", "%(num)s products go by their real gaps again.", done),
        "positive",
    )
    return redirect(url_for(".index"))


def _product_page(product_id: int, form: forms.DaysForm) -> str:
    product = products.get_product(product_id)
    found = queries.find_clock(product.id)
    page = keyset(queries.due(30, product.id), queries.DUE_ORDER, None, 10)
    return render_template(
        "forecasts/product.html", product=product, clock=found, form=form, page=page, labels=labels, rules=rules,
        bins=labels.bins(found) if found is not None and found.gaps else [],
    )  # fmt: skip


@bp.get("/products/<int:product_id>")
@staff("forecasts.view")
def product(product_id: int) -> Any:
    product = products.get_product(product_id)
    form = forms.DaysForm(days=product.days_of_use)
    editions.show(form, product.days_of_use)
    return _product_page(product_id, form)


@bp.post("/products/<int:product_id>")
@staff("forecasts.edit")
def product_post(product_id: int) -> Any:
    form = forms.DaysForm()
    if not form.validate():
        return _product_page(product_id, form), 422
    product = products.get_product(product_id)
    if editions.overtaken(form, lambda: product.days_of_use, product, by=("product.edited",)):
        return _product_page(product_id, form), 409
    services.set_days(product_id, form.days.data)
    jobs.keep_due_days.later()
    flash(_("Set. Whoever bought it is worked out anew within a minute."), "positive")
    return redirect(url_for(".product", product_id=product_id))


@bp.post("/products/<int:product_id>/reset")
@staff("forecasts.edit")
def product_reset(product_id: int) -> Any:
    services.reset_days(product_id)
    jobs.keep_due_days.later()
    flash(_("The real gaps decide again. Whoever bought it is worked out anew within a minute."), "positive")
    return redirect(url_for(".product", product_id=product_id))


# ── Who is due ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _ahead() -> int:
    said = request.values.get("days", "")
    return int(said) if said in map(str, AHEAD) else AHEAD[0]


def _product_id() -> int | None:
    return request.values.get("product", type=row_number)


@bp.get("/due")
@staff("forecasts.view")
def due() -> Any:
    product_id = _product_id()
    statement = queries.due(_ahead(), product_id, searched())
    return render_template(
        "forecasts/due.html",
        page=keyset(statement, queries.due_order(_said("sort")), request.args.get("cursor")),
        count=capped_count(statement),
        days=_ahead(),
        ahead=AHEAD,
        product=products.get_product(product_id) if product_id is not None else None,
        today=clock.today(),
        filtered=bool(searched() or product_id),
        audience_once=once.key(),
    )


@bp.get("/due/export")
@staff("forecasts.view")
def due_export() -> Any:
    header = [
        _("Member number"), _("Member"), _("SKU"), _("Product title"), _("Bought on"), _("Pieces"), _("Due on"),
        _("Window from"), _("Window until"),
    ]  # fmt: skip
    statement = queries.due(_ahead(), _product_id(), searched())
    return csv_response("due.csv", header, queries.due_rows(statement, queries.due_order(_said("sort"))))


@bp.post("/due/audience")
@staff("audiences.edit")
def due_audience() -> Any:
    if once.done_before():
        return redirect(url_for("audiences_console.index"))
    product_id, days = _product_id(), _ahead()
    about = products.get_product(product_id) if product_id is not None else None
    rule = audience_rules.DueRule(in_days=days, words=about.sku if about is not None else None)
    name = (
        _("Due to buy %(title)s again within %(days)s days", title=(about.title or about.sku)[:40], days=days)
        if about is not None
        else _("Due to buy again within %(days)s days", days=days)
    )
    audience = audiences.save(str(name), audience_rules.Definition(rules=(rule,)))
    flash(_("The audience is saved. It follows the clock: who buys leaves it by themselves."), "positive")
    return redirect(url_for("audiences_console.edit", audience_id=audience.id))


# ── The model ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _days_ahead(typed: str) -> int | None:
    """The days ahead that were asked for; None where they are none that can be forecast."""
    days = int(typed) if typed.isascii() and typed.isdigit() else 0
    return days if audience_rules.NEAREST <= days <= audience_rules.FARTHEST else None


@bp.get("/model")
@staff("forecasts.view")
def model() -> Any:
    found, last = queries.shown_model(), queries.last_model()
    typed = _said("days")[:4] or str(rules.SHOWN_HORIZON)
    days = _days_ahead(typed)
    stored = found.fitted.get("calibration") if found is not None else None
    return render_template(
        "forecasts/model.html",
        model=found,
        last=last,
        working=last is not None and last.state in (ModelState.FITTING, ModelState.SCORING),
        trial=rules.calibration(stored) if stored else None,
        totals=queries.totals(days or rules.SHOWN_HORIZON)
        if found is not None and found.state is ModelState.DONE
        else None,
        horizons=audience_rules.HORIZONS,
        days=days or rules.SHOWN_HORIZON,
        typed=typed,
        wrong=days is None,
        rules=rules,
        labels=labels,
    )


@bp.post("/model/fit")
@staff("forecasts.edit")
def fit() -> Any:
    services.start_fitting(now=True)
    jobs.keep_forecasts.later()
    flash(_("The model is being fitted anew. This page shows it within minutes."), "positive")
    return redirect(url_for(".model"))
