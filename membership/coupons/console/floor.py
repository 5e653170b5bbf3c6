"""The floor of the margin guard, as staff set it."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, render_template, url_for

from kernel import editions
from kernel.auth import staff
from kernel.i18n import gettext as _

from ..forms import FloorForm
from ..services import guard
from . import bp


def _page(form: FloorForm, status: int = 200) -> Any:
    return render_template("coupons/floor.html", form=form, unknown=guard.count_without_cost()), status


@bp.get("/offers/floor")
@staff("coupons.edit")
def floor() -> Any:
    form = FloorForm(formdata=None, data={"percent": guard.floor_share() // 10})
    editions.show(form, guard.floor_share())
    return _page(form)


@bp.post("/offers/floor")
@staff("coupons.edit")
def floor_post() -> Any:
    form = FloorForm()
    if not form.validate():
        return _page(form, 422)
    if editions.overtaken(form, guard.floor_share, by=("margin_floor.changed",)):
        return _page(form, 409)
    guard.set_floor((form.percent.data or 0) * 10)
    flash(_("Saved. Offers that run go on; it counts when one is started or changed."), "positive")
    return redirect(url_for(".floor"), 303)
