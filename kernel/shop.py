"""The shop's own settings: one row a key, read once a request."""

from __future__ import annotations

from typing import Any

from flask import Flask, g
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Mapped, mapped_column

from .db import db
from .i18n import gettext as _


class ShopSetting(db.Model):
    __tablename__ = "shop_setting"
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[Any] = mapped_column(JSONB)


def get(key: str, default: Any = None) -> Any:
    """A setting, or the default when it was never set."""
    if "shop_settings" not in g:
        g.shop_settings = {row.key: row.value for row in db.session.execute(select(ShopSetting.key, ShopSetting.value))}
    return g.shop_settings.get(key, default)


def put(key: str, value: Any) -> None:
    """Set a setting (any JSON value) in the present transaction."""
    statement = insert(ShopSetting).values(key=key, value=value)
    db.session.execute(
        statement.on_conflict_do_update(index_elements=[ShopSetting.key], set_={"value": statement.excluded.value})
    )
    g.pop("shop_settings", None)


def shop_name() -> str:
    """The shop's name as members read it (a template function)."""
    return str(get("shop.name") or _("Our shop"))


def is_demo_shop() -> bool:
    """Whether this is the demo shop, whose figures need a word of explanation (a template function)."""
    return bool(get("shop.demo", False))


def init_app(app: Flask) -> None:
    app.jinja_env.globals.update(shop_name=shop_name, is_demo_shop=is_demo_shop)
