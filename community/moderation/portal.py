"""What a member sees: the page on which something is reported."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, url_for

from community.groups import queries as groups
from community.groups.models import Group
from community.groups.rules import SeatNeeded
from kernel import links, visitors
from kernel.auth import member_only
from kernel.errors import NotFound
from kernel.i18n import gettext as _

from . import queries, services, subjects
from .forms import ComplaintForm

bp = APIBlueprint("moderation_portal", __name__, template_folder="templates", enable_openapi=False)


def _read(token: str) -> tuple[str, int, Group, int, int]:
    """What a token names, and the member of this browser, who must sit in the group. Refuses with `SeatNeeded`."""
    kind, subject_id, group_id, author_id = links.read(services.REPORT, token)
    member_id = visitors.member_id()
    group = groups.find_group(int(group_id))
    if group is None or kind not in subjects.labels() or queries.taken_down(kind, int(subject_id)):
        raise NotFound
    if member_id is None or not groups.in_group(member_id, group.id):
        raise SeatNeeded(group.public_id)
    return kind, int(subject_id), group, int(author_id), member_id


def _page(form: ComplaintForm, kind: str, subject_id: int, group: Group, status: int = 200) -> Any:
    shown = subjects.get(kind).show([subject_id]).get(subject_id)
    if shown is None:
        raise NotFound
    return render_template(
        "moderation/report.html", form=form, group=group, shown=shown, label=subjects.get(kind).label
    ), status


@bp.get("/report/<token>")
@member_only()
def show(token: str) -> Any:
    kind, subject_id, group, _author, _member = _read(token)
    return _page(ComplaintForm(formdata=None), kind, subject_id, group)


@bp.post("/report/<token>")
@member_only()
def report(token: str) -> Any:
    kind, subject_id, group, author_id, member_id = _read(token)
    form = ComplaintForm()
    if not form.validate():
        return _page(form, kind, subject_id, group, 422)
    if not subjects.get(kind).show([subject_id]):
        raise NotFound
    services.complain(kind, subject_id, group.id, author_id, member_id, form.chosen, form.note.data or "")
    flash(_("Thank you. The shop looks at it; nobody is told who reported it."), "positive")
    return redirect(url_for("groups_portal.show", public_id=group.public_id), 303)
