"""Pages for members: asking for what is kept of them, or to be erased. Staff carry it out."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, render_template, url_for

from kernel.auth import member_only
from kernel.errors import NotFound
from kernel.events import publish
from kernel.i18n import gettext as _

from .events import RightsRequested
from .models import Member, RightsWish
from .portal import bp, me
from .services import erasure


def _wish(said: str) -> RightsWish:
    if said not in list(RightsWish):
        raise NotFound
    return RightsWish(said)


@bp.get("/me/data")
@member_only(identified=True)
def data() -> Any:
    waiting = {row.wish.value: row.asked_at for row in erasure.open_requests(me().id)}
    return render_template("members/my_data.html", waiting=waiting)


@bp.post("/me/data/<wish>")
@member_only(identified=True)
def data_ask(wish: str) -> Any:
    member = me()
    if erasure.ask(member.id, _wish(wish)):
        publish(RightsRequested(member_id=member.id, wish=wish))
    flash(_("Asked. The shop sees it this morning or the next."), "positive")
    return redirect(url_for(".data"))


@bp.post("/me/data/<wish>/take-back")
@member_only(identified=True)
def data_take_back(wish: str) -> Any:
    erasure.take_back(me().id, _wish(wish))
    flash(_("Taken back: everything stays as it is."), "positive")
    return redirect(url_for(".data"))


def my_data_row(member: Member) -> Any:
    """The way there from a member's own page (slot `me.nav`)."""
    return render_template("members/_my_data_row.html")
