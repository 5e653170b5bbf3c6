"""Pages for members: the two ways in, the group, and the way out. GET changes nothing; a tap is a POST."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from kernel import clock, visitors
from kernel.auth import member_only, public
from kernel.db import keep_refused
from kernel.errors import NotFound
from kernel.http import client_address
from kernel.i18n import gettext as _
from membership.gifts import services as gifts
from membership.members import queries as members
from membership.members import services as member_services
from membership.members.models import Member

from . import labels, queries, rules, services
from .forms import JoinForm, NewcomerForm
from .models import Group, JoinLink
from .services import Page, Way

bp = APIBlueprint("groups_portal", __name__, template_folder="templates", enable_openapi=False)

STATUS = {Page.CLOSED: 410}


def _visitor() -> Member | None:
    """The person of this browser, if it is bound to one."""
    member_id = visitors.member_id()
    return members.find_member(member_id) if member_id is not None else None


def _show(door: services.Door, form: JoinForm, action: str, status: int | None = None, **values: Any) -> Any:
    """The page that fits what somebody found at the door."""
    return render_template(
        f"groups/door_{door.page.value}.html",
        door=door,
        group=door.group,
        form=form,
        action=action,
        labels=labels,
        rules_of=rules.rules_of,
        **values,
    ), status or STATUS.get(door.page, 200)


def _group_page(group: Group) -> Any:
    return redirect(url_for(".show", public_id=group.public_id), 303)


def _seat(group: Group, member: Member, way: Way, form: JoinForm, together: bool = False) -> Any:
    """Do the tap, bind this browser, and go on to the group's page."""
    if request.form.get("enrol") == "1":
        member_services.enrol(member.id, way.source)
    taken = services.enter(group, member, way, form.password.data or "", bool(form.marketing.data), together)
    visitors.bind(member.id)
    if isinstance(taken, services.Joined):
        flash(_("You are in.") if taken.fresh else _("You were in already."), "positive")
    return _group_page(group)


# ── A personal invitation ───────────────────────────────────────────────────────────────────────────────────────────


def _invited(token: str) -> tuple[Group, Member, Way]:
    invitation = services.read_invitation(token)
    group, member = services.invitation_of(invitation)
    return group, member, Way(invitation.source or "invitation", staff_id=invitation.staff_id, invited=True)


@bp.get("/g/<token>")
@public("a personal invitation: the token is the right to use it")
def invitation(token: str) -> Any:
    group, member, way = _invited(token)
    visitor = _visitor()
    if visitor is not None and visitor.id == member.id and queries.in_group(member.id, group.id):
        return redirect(url_for(".show", public_id=group.public_id))
    other = visitor if visitor is not None and visitor.id != member.id else None
    return _show(
        services.look(group, member, way),
        JoinForm(formdata=None),
        url_for(".accept", token=token),
        invited=member,
        other=other,
        masked_name=services.masked_name,
    )


@bp.post("/g/<token>")
@public("a personal invitation: the token is the right to use it")
def accept(token: str) -> Any:
    group, member, way = _invited(token)
    form = JoinForm()
    visitor = _visitor()
    if request.form.get("as") == "me" and visitor is not None and visitor.id != member.id:
        # Somebody passed their invitation on: the friend comes in as who they are, and thanks to whom is remembered.
        way = Way(way.source, inviter_id=member.id, staff_id=way.staff_id)
        member = visitor
    if (kept_out := _kept_out(group, member, way, form)) is not None:
        here = url_for(".accept", token=token)
        return _show(kept_out[0], form, here, kept_out[1], invited=member, other=None, masked_name=services.masked_name)
    return _seat(group, member, way, form)


def _kept_out(group: Group, member: Member, way: Way, form: JoinForm) -> tuple[services.Door, int] | None:
    """What to show, and with which status, to somebody whom the rules do not let in with what they typed; None when they do.

    The door is looked at only then: a tap that is let in costs as few statements as it can.
    """
    form.validate()
    services.refuse_guessing(group, form.password.data or "", client_address())
    missing = services.misses(member, group, way, form.password.data or "")
    if request.form.get("enrol") == "1":
        missing = [miss for miss in missing if miss.kind != "enrolled"]
    if not missing:
        return None
    status = 403
    if any(miss.kind == "password" for miss in missing):
        status = _wrong_password(group, form)
    door = services.look(group, member, way)
    return (door, status) if door.page in (Page.JOIN, Page.NOT_QUALIFIED) else None


def _wrong_password(group: Group, form: JoinForm) -> int:
    """Say so at the field and count it; the status of the page."""
    form.refuse("password", _("This is not the group's password. Ask whoever sent you here."))
    if not form.password.data:
        return 403
    services.note_wrong_password(group, client_address())
    keep_refused()
    return 403


# ── A public link ───────────────────────────────────────────────────────────────────────────────────────────────────


def _way_of(link: JoinLink) -> Way:
    return Way(link.source, staff_id=link.staff_id, link=link)


@bp.get("/j/<token>")
@public("a public way into a group")
def link(token: str) -> Any:
    found, group = services.link_of(token)
    if request.method == "GET" and "prefetch" not in request.headers.get("Sec-Purpose", ""):
        services.note_opening(found)
    door = services.look(group, _visitor(), _way_of(found))
    if door.page is Page.INSIDE:
        return redirect(url_for(".show", public_id=group.public_id))
    form = NewcomerForm(formdata=None) if door.page is Page.WHO else JoinForm(formdata=None)
    return _show(door, form, url_for(".follow", token=token), visit=services.new_visit(), here=request.path)


@bp.post("/j/<token>")
@public("a public way into a group")
def follow(token: str) -> Any:
    found, group = services.link_of(token)
    way, member = _way_of(found), _visitor()
    here = url_for(".follow", token=token)
    if member is None:
        return _newcomer(group, way, here)
    form = JoinForm()
    if (kept_out := _kept_out(group, member, way, form)) is not None:
        return _show(kept_out[0], form, here, kept_out[1], visit="", here=here)
    return _seat(group, member, way, form)


def _newcomer(group: Group, way: Way, here: str) -> Any:
    """Somebody whom nobody knows: in with a phone where the group is open to new people, else who they are first."""
    form = NewcomerForm()
    door = services.look(group, None, way)
    if door.page is not Page.WHO or not door.newcomers:
        return redirect(url_for("members_portal.sign_in", next=here), 303)
    visit = request.form.get("visit", "")
    if not form.validate():
        return _show(door, form, here, 422, visit=visit, here=here)
    services.refuse_guessing(group, form.password.data or "", client_address())
    password, enrols = form.password.data or "", request.form.get("enrol") == "1"
    member = services.admit_newcomer(group, form.phone.data or "", visit, way, client_address(), password, enrols)
    if member is None:
        return _show(door, form, here, _wrong_password(group, form), visit=visit, here=here)
    return _seat(group, member, way, form, together=True)


# ── The group ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _me() -> Member:
    """The person of this browser; the route's policy guarantees one."""
    found = _visitor()
    if found is None:
        raise NotFound
    return found


@bp.get("/groups/<public_id>")
@member_only()
def show(public_id: str) -> Any:
    group, member = queries.get_by_public_id(public_id), _me()
    door = services.look(group, member, Way("group-page"))
    if door.seat is None:
        was_in = queries.was_in(group.id, member.id)
        return _show(door, JoinForm(formdata=None), url_for(".join", public_id=public_id), was_in=was_in)
    services.note_visit(door.seat, clock.now())
    gift = services.waiting_gift(group, member.id)
    return render_template(
        "groups/group.html",
        door=door,
        group=group,
        member=member,
        seat=door.seat,
        gift=gift,
        gift_path=gifts.path_of(gift[0]) if gift else None,
        sub_group=queries.sub_group_number(door.seat),
        people=queries.taken_seats(group),
        muted=door.seat.muted_until is not None and door.seat.muted_until > clock.now(),
        labels=labels,
        now=clock.now,
    )


@bp.post("/groups/<public_id>/join")
@member_only()
def join(public_id: str) -> Any:
    group, member, way = queries.get_by_public_id(public_id), _me(), Way("group-page")
    form = JoinForm()
    if (kept_out := _kept_out(group, member, way, form)) is not None:
        return _show(kept_out[0], form, url_for(".join", public_id=public_id), kept_out[1], was_in=False)
    return _seat(group, member, way, form)


@bp.post("/groups/<public_id>/leave")
@member_only()
def leave(public_id: str) -> Any:
    group = queries.get_by_public_id(public_id)
    services.leave(group.id, _me().id)
    flash(_("You have left. Nothing of this group reaches you any more."), "positive")
    return _group_page(group)


@bp.post("/groups/<public_id>/mute")
@member_only()
def mute(public_id: str) -> Any:
    group = queries.get_by_public_id(public_id)
    quiet = request.form.get("quiet") == "1"
    services.mute(group.id, _me().id, clock.now() + timedelta(days=3650) if quiet else None)
    flash(_("No reminders of this group any more.") if quiet else _("Reminders are on again."), "positive")
    return _group_page(group)
