"""What people may ask for: everything that is kept of them, or that it goes; and looking at what is masked."""

from __future__ import annotations

import io
from typing import Any

from flask import flash, redirect, render_template, request, send_file, url_for

from kernel import clock
from kernel.auth import acting_staff, staff
from kernel.errors import NotFound
from kernel.i18n import gettext as _

from .. import labels, queries
from ..models import RightsWish
from ..services import dossier, erasure
from . import bp


def _page(member_id: int, status: int = 200, refused: str = "") -> Any:
    member = queries.get_member(member_id)
    return render_template(
        "members/personal_data.html",
        member=member,
        requests=erasure.open_requests(member.id),
        wishes=labels.WISHES,
        files=dossier.waiting_for(member.id, acting_staff().id),
        refused=refused,
        now=clock.now(),
    ), status


@bp.get("/members/<int:member_id>/personal-data")
@staff("members.reveal")
def personal_data(member_id: int) -> Any:
    return _page(member_id)


@bp.post("/members/<int:member_id>/dossier")
@staff("members.reveal")
def dossier_post(member_id: int) -> Any:
    dossier.make(queries.get_member(member_id).id, acting_staff().id)
    flash(_("The file is ready. You alone can fetch it, until this time tomorrow."), "positive")
    return redirect(url_for(".personal_data", member_id=member_id))


@bp.get("/members/dossiers/<token>")
@staff("members.reveal")
def dossier_file(token: str) -> Any:
    found = dossier.fetch(token, acting_staff().id)
    answer = send_file(
        io.BytesIO(found.content),
        mimetype="application/zip",
        as_attachment=True,
        download_name=f"member-{found.member_id}-{clock.local(found.made_at):%Y%m%d}.zip",
    )
    # Neither a browser nor a proxy is to keep what the shop itself throws away tomorrow.
    answer.headers["Cache-Control"] = "no-store"
    return answer


@bp.post("/members/<int:member_id>/erase")
@staff("members.erase")
def erase(member_id: int) -> Any:
    typed = request.form.get("confirmation", "")
    if not erasure.confirmed(member_id, typed):
        return _page(member_id, 422, str(erasure.NotConfirmed()))
    erasure.erase(member_id, typed, acting_staff().id)
    flash(_("Erased. Orders, points and stock still add up; who they were is gone."), "positive")
    return redirect(url_for(".index"))


@bp.get("/members/rights-requests")
@staff("members.reveal")
def rights_requests() -> Any:
    rows = erasure.open_requests()
    return render_template(
        "members/rights_requests.html",
        rows=rows,
        names=queries.names([row.member_id for row in rows]),
        wishes=labels.WISHES,
    )


@bp.post("/members/rights-requests/<int:member_id>/<wish>/done")
@staff("members.reveal")
def rights_request_done(member_id: int, wish: str) -> Any:
    if wish not in list(RightsWish):
        raise NotFound
    erasure.done(queries.get_member(member_id).id, RightsWish(wish), acting_staff().id)
    flash(_("Noted as done."), "positive")
    return redirect(url_for(".rights_requests"))
