"""Saved views: the filters and the order of a list under a name, of one's own or shared, as tabs over the list.

A room makes its list one of these with `offer(...)` and puts `{{ view_tabs("members") }}` over it; everything else is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

from apiflask import APIBlueprint
from flask import Flask, flash, redirect, render_template, request, url_for
from markupsafe import Markup
from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, delete, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from . import clock
from .auth import Role, acting_staff, may, signed_in
from .db import db, pk
from .errors import Forbidden, NotFound, Refusal
from .forms import one_line
from .i18n import gettext as _
from .i18n import lazy_gettext as _l
from .pages import once_a_request
from .staff import services as staff

TITLE_LENGTH = 40
QUERY_LENGTH = 2_000
MOST = 30
# What an address says beside filters and order, and so no view keeps.
PASSING = ("cursor", "view")


class SavedView(db.Model):
    """A list's query string under a title. `shared` shows it to everybody who may open the list."""

    __tablename__ = "saved_view"
    id: Mapped[pk]
    staff_id: Mapped[int] = mapped_column(ForeignKey("staff.id"))
    list_name: Mapped[str]
    title: Mapped[str]
    query: Mapped[str]
    shared: Mapped[bool] = mapped_column(default=False)
    position: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]

    __table_args__ = (
        UniqueConstraint("staff_id", "list_name", "title"),
        CheckConstraint("title <> ''", name="title"),
        Index("ix_saved_view_list", "list_name", "position", "id"),
    )


class DefaultView(db.Model):
    """The view with which a list opens for somebody."""

    __tablename__ = "default_view"
    staff_id: Mapped[int] = mapped_column(ForeignKey("staff.id"), primary_key=True)
    list_name: Mapped[str] = mapped_column(primary_key=True)
    view_id: Mapped[int] = mapped_column(ForeignKey("saved_view.id", ondelete="CASCADE"), index=True)


class TitleInvalid(Refusal):
    status = 422
    label = _l("The name of a view is one to %(most)s characters long. Nothing was saved.")


class TitleTaken(Refusal):
    status = 409
    label = _l("You have a view of this name already. Nothing was changed.")


class TooManyViews(Refusal):
    status = 409
    label = _l("You keep %(most)s views of this list already. Delete one first.")


class NothingToSave(Refusal):
    status = 422
    label = _l("There is no filter to keep: this is the whole list.")


@dataclass(frozen=True)
class Listing:
    """A list that can have views: where it is and who may open it."""

    name: str
    endpoint: str
    permission: str

    @property
    def url(self) -> str:
        return url_for(self.endpoint)


_listings: dict[str, Listing] = {}


def offer(name: str, endpoint: str, permission: str) -> None:
    """Let a list have saved views. `name` is kept with them, so it does not change."""
    _listings[name] = Listing(name, endpoint, permission)


def _listing(name: str) -> Listing:
    """A list that the reader may open; refuses with `NotFound` and `Forbidden`."""
    found = _listings.get(name)
    if found is None:
        raise NotFound
    if not may(found.permission):
        raise Forbidden
    return found


def plain_query(query: str) -> str:
    """A query string in one spelling: sorted, without empty arguments and without what is no filter."""
    said = parse_qsl(query.replace("\x00", "").lstrip("?"))
    return urlencode(sorted({(key, value) for key, value in said if value and key not in PASSING}))


# ── Reads ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def views_of(list_name: str) -> list[SavedView]:
    """The views of a list that the signed-in staff member sees: their own, then shared ones, each in order."""
    who = acting_staff().id
    rows = db.session.scalars(
        select(SavedView)
        .where(SavedView.list_name == list_name, or_(SavedView.staff_id == who, SavedView.shared))
        .order_by((SavedView.staff_id != who), SavedView.position, SavedView.id)
        .limit(100)
    )
    return list(rows)


@once_a_request
def default_of(list_name: str) -> SavedView | None:
    """The view with which a list opens for the signed-in staff member; one that is no longer shared with them is none."""
    who = acting_staff().id
    return db.session.scalar(
        select(SavedView)
        .join(DefaultView, DefaultView.view_id == SavedView.id)
        .where(
            DefaultView.staff_id == who,
            DefaultView.list_name == list_name,
            or_(SavedView.staff_id == who, SavedView.shared),
        )
    )


def opening(list_name: str) -> str | None:
    """Where a list that was opened with no filter at all leads to: the reader's default view, if they chose one."""
    if request.args:
        return None
    found = default_of(list_name)
    return f"{request.path}?{found.query}" if found is not None else None


def _own(view_id: int) -> SavedView:
    """A view that the signed-in staff member may change: their own, or for the owner any shared one."""
    found, who = db.session.get(SavedView, view_id), acting_staff()
    if found is None or (found.staff_id != who.id and not (found.shared and who.role is Role.OWNER)):
        raise NotFound
    _listing(found.list_name)
    return found


def changeable(view: SavedView) -> bool:
    """Whether the reader may rename, share and delete a view (a template function)."""
    who = acting_staff()
    return view.staff_id == who.id or (view.shared and who.role is Role.OWNER)


# ── Verbs ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _title(said: str) -> str:
    plain = one_line(said)
    if not plain or len(plain) > TITLE_LENGTH:
        raise TitleInvalid(most=TITLE_LENGTH)
    return plain


def save(list_name: str, title: str, query: str, shared: bool = False) -> SavedView:
    """Keep a query string under a title; one's own view of the same title is replaced.

    Refuses with `TitleInvalid`, `NothingToSave`, `TooManyViews` (more than 30 of one list), `NotFound` for no such list.
    """
    listing, title, who = _listing(list_name), _title(title), acting_staff()
    query = plain_query(query)
    if not query:
        raise NothingToSave
    if len(query) > QUERY_LENGTH:
        raise TitleInvalid(most=TITLE_LENGTH)
    mine = select(func.count()).where(SavedView.staff_id == who.id, SavedView.list_name == listing.name)
    if (db.session.scalar(mine.where(SavedView.title != title)) or 0) >= MOST:
        raise TooManyViews(most=MOST)
    last = select(func.coalesce(func.max(SavedView.position), 0) + 1).where(
        SavedView.staff_id == who.id, SavedView.list_name == listing.name
    )
    statement = insert(SavedView).values(
        staff_id=who.id,
        list_name=listing.name,
        title=title,
        query=query,
        shared=shared,
        position=last.scalar_subquery(),
        created_at=clock.now(),
    )
    statement = statement.on_conflict_do_update(
        index_elements=[SavedView.staff_id, SavedView.list_name, SavedView.title],
        set_={"query": statement.excluded.query, "shared": statement.excluded.shared},
    )
    view_id = db.session.scalars(statement.returning(SavedView.id)).one()
    return db.session.scalars(
        select(SavedView).where(SavedView.id == view_id).execution_options(populate_existing=True)
    ).one()


def _former_query(list_name: str, title: str) -> str | None:
    """What one's own view of a title keeps so far; None without one."""
    mine = select(SavedView.query).where(SavedView.staff_id == acting_staff().id, SavedView.list_name == list_name)
    return db.session.scalar(mine.where(SavedView.title == one_line(title)))


def change(view: SavedView, title: str, shared: bool) -> None:
    """Rename a view and say who sees it. Refuses with `TitleInvalid` and `TitleTaken`."""
    title = _title(title)
    taken = select(SavedView.id).where(
        SavedView.staff_id == view.staff_id,
        SavedView.list_name == view.list_name,
        SavedView.title == title,
        SavedView.id != view.id,
    )
    if db.session.scalar(taken) is not None:
        raise TitleTaken
    view.title, view.shared = title, shared
    db.session.flush()


def open_with(view: SavedView, wanted: bool) -> None:
    """Let a list open with a view for the signed-in staff member, or with everything again."""
    who = acting_staff().id
    mine = delete(DefaultView).where(DefaultView.staff_id == who, DefaultView.list_name == view.list_name)
    if wanted:
        row = insert(DefaultView).values(staff_id=who, list_name=view.list_name, view_id=view.id)
        db.session.execute(
            row.on_conflict_do_update(
                index_elements=[DefaultView.staff_id, DefaultView.list_name], set_={"view_id": view.id}
            )
        )
    else:
        db.session.execute(mine.where(DefaultView.view_id == view.id))


def move(view: SavedView, step: int) -> None:
    """Move a view by one place among its author's views of the list: -1 to the left, 1 to the right."""
    rows = db.session.scalars(
        select(SavedView)
        .where(SavedView.staff_id == view.staff_id, SavedView.list_name == view.list_name)
        .order_by(SavedView.position, SavedView.id)
        .with_for_update()
    ).all()
    order = [row.id for row in rows]
    at = order.index(view.id)
    to = min(max(at + step, 0), len(order) - 1)
    order.insert(to, order.pop(at))
    for row in rows:
        row.position = order.index(row.id) + 1
    db.session.flush()


def remove(view: SavedView) -> None:
    """Delete a view, for whoever it was shared with too."""
    db.session.execute(delete(SavedView).where(SavedView.id == view.id))


# ── Pages ───────────────────────────────────────────────────────────────────────────────────────────────────────────

bp = APIBlueprint("views_console", __name__, url_prefix="/console", enable_openapi=False)


def view_tabs(list_name: str) -> Markup:
    """The tabs over a list, with what can be done with the view that is shown (a template function)."""
    listing, present = _listings[list_name], plain_query(request.query_string.decode(errors="replace"))
    found = views_of(list_name)
    default = default_of(list_name)
    current = next((view for view in found if view.query == present), None)
    others = {view.staff_id for view in found if view.staff_id != acting_staff().id}
    # A template escapes its own values.
    return Markup(  # noqa: S704
        render_template(
            "views/_tabs.html",
            list_name=list_name,
            list_url=listing.url,
            whole_url=f"{listing.url}?view=all" if default is not None else listing.url,
            present=present,
            views=found,
            authors=staff.names(others),
            current=current,
            default=default,
        )
    )


def _to(listing: Listing, query: str) -> Any:
    return redirect(f"{listing.url}?{query}" if query else f"{listing.url}?view=all", 303)


@bp.post("/views")
@signed_in
def create() -> Any:
    said = request.form
    former = _former_query(said.get("list", ""), said.get("title", ""))
    view = save(said.get("list", ""), said.get("title", ""), said.get("query", ""), said.get("shared") == "yes")
    if said.get("default") == "yes":
        open_with(view, True)
    if former not in (None, view.query):
        flash(_("The view “%(title)s” keeps these filters now, in place of those it had.", title=view.title), "caution")
    else:
        flash(_("The view “%(title)s” is kept.", title=view.title), "positive")
    return _to(_listing(view.list_name), view.query)


@bp.post("/views/<int:view_id>")
@signed_in
def update(view_id: int) -> Any:
    view, said = _own(view_id), request.form
    change(view, said.get("title", ""), said.get("shared") == "yes")
    if step := {"left": -1, "right": 1}.get(said.get("move", "")):
        move(view, step)
    flash(_("The view “%(title)s” is changed.", title=view.title), "positive")
    return _to(_listing(view.list_name), view.query)


@bp.post("/views/<int:view_id>/default")
@signed_in
def choose_default(view_id: int) -> Any:
    view = db.session.get(SavedView, view_id)
    if view is None or (view.staff_id != acting_staff().id and not view.shared):
        raise NotFound
    listing, wanted = _listing(view.list_name), request.form.get("wish") == "open"
    open_with(view, wanted)
    if wanted:
        flash(_("The list opens with “%(title)s” for you from now on.", title=view.title), "positive")
    else:
        flash(_("The list opens with everything again."), "positive")
    return _to(listing, view.query)


@bp.post("/views/<int:view_id>/delete")
@signed_in
def delete_view(view_id: int) -> Any:
    view = _own(view_id)
    listing, title = _listing(view.list_name), view.title
    remove(view)
    flash(_("The view “%(title)s” is deleted. The list itself is as it was.", title=title), "positive")
    return _to(listing, "")


def init_app(app: Flask) -> None:
    app.register_blueprint(bp)
    app.jinja_env.globals.update(view_tabs=view_tabs, view_changeable=changeable)
