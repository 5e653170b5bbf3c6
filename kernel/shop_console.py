"""Settings › Shop: the name that members read, and what a shop that has just begun still lacks."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import Flask, flash, redirect, render_template, url_for
from wtforms import StringField
from wtforms.validators import DataRequired, Length

from . import audit, editions, navigation, shop, today
from .auth import Role, grant, may, staff
from .forms import Form, one_line
from .i18n import gettext as _
from .i18n import lazy_gettext as _l

bp = APIBlueprint("shop_console", __name__, url_prefix="/console", enable_openapi=False)


class ShopForm(Form):
    name = StringField(_l("Name of the shop"), [DataRequired(), Length(max=shop.LONGEST_NAME)], filters=[one_line])


def _page(form: ShopForm, status: int = 200) -> Any:
    return render_template("settings/shop.html", form=form), status


@bp.get("/shop")
@staff("shop.edit")
def show() -> Any:
    form = ShopForm(formdata=None, data={"name": shop.get(shop.NAME)})
    editions.show(form, shop.get(shop.NAME))
    return _page(form)


@bp.post("/shop")
@staff("shop.edit")
def show_post() -> Any:
    form = ShopForm()
    if not form.validate():
        return _page(form, 422)
    if editions.overtaken(form, lambda: shop.get(shop.NAME), by=("shop.changed",)):
        return _page(form, 409)
    before, after = shop.get(shop.NAME), form.name.data
    if before != after:
        shop.put(shop.NAME, after)
        audit.record("shop.changed", "shop", None, {"name": before}, {"name": after})
    flash(_("Saved. Members read the new name from now on."), "positive")
    return redirect(url_for(".show"), 303)


def steps() -> list[today.Step]:
    """The first step of a shop: its name."""
    if not may("shop.edit"):
        return []
    return [
        today.Step(
            order=10,
            done=bool(shop.get(shop.NAME)),
            text=_("Give the shop its name"),
            about=_("Members read it on every page and in every message."),
            url=url_for("shop_console.show"),
            action=_("Write the name"),
        )
    ]


def init_app(app: Flask) -> None:
    grant("shop.edit", Role.OWNER)
    app.register_blueprint(bp)
    navigation.add("settings", _l("Shop"), "shop_console.show", "shop.edit", order=30)
    today.steps.fill(steps)
