"""The shop's own settings: one row a key, read once a transaction."""

from __future__ import annotations

from typing import Any

from flask import Flask
from sqlalchemy import event, select
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Mapped, SessionTransaction, mapped_column
from sqlalchemy.orm import Session as OrmSession

from .db import Session, db
from .i18n import gettext as _


class ShopSetting(db.Model):
    __tablename__ = "shop_setting"
    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[Any] = mapped_column(JSONB)


NAME = "shop.name"
# As much as stands on one line of a phone's page.
LONGEST_NAME = 30

# Where a session keeps what it has read, for as long as its transaction lasts.
_READ = "shop_settings"


def get(key: str, default: Any = None) -> Any:
    """A setting, or the default when it was never set; read anew in each transaction."""
    found = db.session().info.get(_READ)
    if found is None:
        found = {row.key: row.value for row in db.session.execute(select(ShopSetting.key, ShopSetting.value))}
        # Kept only now: the reading itself has begun the transaction that it counts for.
        db.session().info[_READ] = found
    return found.get(key, default)


def forget_read() -> None:
    """Let the next reading ask the database: the settings were changed beside `put`."""
    db.session().info.pop(_READ, None)


@event.listens_for(Session, "after_transaction_end")
def _forget_at_the_end(session: OrmSession, ended: SessionTransaction) -> None:
    # One application context of a worker lives through many transactions, and the shop goes on being changed meanwhile.
    if ended.parent is None:
        session.info.pop(_READ, None)


@event.listens_for(Session, "after_soft_rollback")
def _forget_what_was_taken_back(session: OrmSession, _rolled_back: SessionTransaction) -> None:
    session.info.pop(_READ, None)


def put(key: str, value: Any) -> None:
    """Set a setting (any JSON value) in the present transaction."""
    statement = insert(ShopSetting).values(key=key, value=value)
    db.session.execute(
        statement.on_conflict_do_update(index_elements=[ShopSetting.key], set_={"value": statement.excluded.value})
    )
    forget_read()


def shop_name() -> str:
    """The shop's name as members read it (a template function)."""
    return str(get(NAME) or _("Our shop"))


def is_demo_shop() -> bool:
    """Whether this is the demo shop, whose figures need a word of explanation (a template function)."""
    return bool(get("shop.demo", False))


def init_app(app: Flask) -> None:
    app.jinja_env.globals.update(shop_name=shop_name, is_demo_shop=is_demo_shop)
