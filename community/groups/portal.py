"""Pages for members: the two ways in, the group, and the way out. GET changes nothing; a tap is a POST."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from kernel import clock, links, visitors
from kernel.auth import member_only, public
from kernel.db import keep_refused
from kernel.errors import NotFound
from kernel.http import client_address
from kernel.i18n import gettext as _
from kernel.pages import attachment, keyset
from membership.coupons import labels as coupon_labels
from membership.gifts import services as gifts
from membership.members import queries as members
from membership.members import services as member_services
from membership.members.models import Member

from . import labels, queries, rules, services
from .forms import JoinForm, NewcomerForm
from .models import FriendLink, Group, GroupKind, JoinLink, Seat, SeatRole
from .services import Page, Way

bp = APIBlueprint("groups_portal", __name__, template_folder="templates", enable_openapi=False)

STATUS = {Page.CLOSED: 410}
PEOPLE_A_PAGE = 50


def _visitor() -> Member | None:
    """The person of this browser, if it is bound to one."""
    member_id = visitors.member_id()
    return members.find_member(member_id) if member_id is not None else None


def _show(door: services.Door, form: JoinForm, action: str, status: int | None = None, **values: Any) -> Any:
    """The page that fits what somebody found at the door."""
    if door.page is Page.NOT_YET and door.member is not None:
        values["waits"] = services.wants_to_hear(door.group.id, door.member.id)
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
    if way.friend is not None:
        services.note_friend(way.friend, group, member.id)
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
    return _follow(group, _way_of(found), url_for(".follow", token=token))


def _follow(group: Group, way: Way, here: str) -> Any:
    """The tap of somebody who came by a public link or by a friend's."""
    member = _visitor()
    if member is None:
        return _newcomer(group, way, here)
    form = JoinForm()
    if (kept_out := _kept_out(group, member, way, form)) is not None:
        return _show(kept_out[0], form, here, kept_out[1], visit="", here=here)
    return _seat(group, member, way, form)


# ── A friend's link ─────────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/f/<token>")
@public("a member's link for friends")
def friend(token: str) -> Any:
    found, group = services.friend_link_of(token)
    if request.method == "GET" and "prefetch" not in request.headers.get("Sec-Purpose", ""):
        services.note_friend_opening(found)
    door = services.look(group, _visitor(), _way_of_friend(found))
    if door.page is Page.INSIDE:
        return redirect(url_for(".show", public_id=group.public_id))
    form = NewcomerForm(formdata=None) if door.page is Page.WHO else JoinForm(formdata=None)
    here = url_for(".follow_friend", token=token)
    return _show(door, form, here, visit=services.new_visit(), here=request.path, masked_name=services.masked_name)


@bp.post("/f/<token>")
@public("a member's link for friends")
def follow_friend(token: str) -> Any:
    found, group = services.friend_link_of(token)
    return _follow(group, _way_of_friend(found), url_for(".follow_friend", token=token))


def _way_of_friend(link: FriendLink) -> Way:
    return Way("friend", inviter_id=link.member_id, friend=link)


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
    visit = queries.visit(public_id, visitors.member_id() or 0)
    group, member, live = visit.group, visit.member, visit.group.kind is GroupKind.LIVE
    door = services.look(group, member, Way("group-page"), visit)
    if door.seat is None:
        was_in = queries.was_in(group.id, member.id)
        missed = queries.missed_seat(group.id, member.id) if door.page is Page.JOIN else None
        here = url_for(".join", public_id=public_id)
        return _show(door, JoinForm(formdata=None), here, was_in=was_in, missed=missed)
    services.note_visit(door.seat, clock.now())
    gift = services.waiting_gift(group, member.id) if visit.has_gift else None
    drift = services.find_drift(door.seat.id) if group.kind is GroupKind.VIP else None
    return render_template(
        "groups/group.html",
        door=door,
        group=group,
        member=member,
        seat=door.seat,
        gift=gift,
        drift=drift,
        terms=rules.Reward.read(group.reward),
        elsewhere=visit.has_codes and services.is_elsewhere(group, member.id),
        drops=services.running_drops(group, member.id) if live and visit.has_drops else [],
        replay=visit.replay if live else None,
        coupons=services.shown_coupons(group, member.id) if visit.has_offers else [],
        coupon_token=lambda offer: links.make("group.coupon", offer.id, group.id),
        coupon_labels=coupon_labels,
        lacks=services.lacks(group, member) if drift else [],
        gift_path=gifts.path_of(gift[0]) if gift else None,
        sub_group=visit.sub_group_number,
        people=visit.people,
        muted=door.seat.muted_until is not None and door.seat.muted_until > clock.now(),
        labels=labels,
        now=clock.now,
    )


@bp.post("/groups/<public_id>/join")
@member_only()
def join(public_id: str) -> Any:
    (group, member), way = queries.at_the_door(public_id, visitors.member_id() or 0), Way("group-page")
    form = JoinForm()
    if (kept_out := _kept_out(group, member, way, form)) is not None:
        return _show(kept_out[0], form, url_for(".join", public_id=public_id), kept_out[1], was_in=False)
    return _seat(group, member, way, form)


@bp.post("/groups/<public_id>/opening")
@member_only()
def wish(public_id: str) -> Any:
    group, wanted = queries.get_by_public_id(public_id), request.form.get("wanted") == "1"
    services.wish(group, _me().id, wanted)
    flash(_("You are told when it opens.") if wanted else _("You are not told when it opens."), "positive")
    return _group_page(group)


@bp.post("/groups/<public_id>/move-on")
@member_only()
def move_on(public_id: str) -> Any:
    group, member = queries.at_the_door(public_id, visitors.member_id() or 0)
    taken = services.move_on(group, member)
    successor = queries.get_group(queries.get_by_public_id(public_id).successor_id or 0)
    if isinstance(taken, services.Joined):
        flash(_("You have moved on. Welcome to “%(group)s”.", group=successor.name), "positive")
    return _group_page(successor)


@bp.post("/groups/<public_id>/coupons/<token>")
@member_only()
def claim_coupon(public_id: str, token: str) -> Any:
    group, member = _inside(public_id)
    offer_id, group_id = links.read("group.coupon", token)
    if int(group_id) != group.id:
        raise NotFound
    return _claimed(services.claim_coupon(group, int(offer_id), member.id), public_id)


@bp.post("/groups/<public_id>/drops/<token>")
@member_only()
def claim_drop(public_id: str, token: str) -> Any:
    group, member = _inside(public_id)
    return _claimed(services.claim_drop(group, token, member.id), public_id)


def _inside(public_id: str) -> tuple[Group, Member]:
    """The group of an address and the member of this browser, who must sit in it. Refuses with `NotAMember`."""
    group, member = queries.at_the_door(public_id, visitors.member_id() or 0)
    if not queries.in_group(member.id, group.id):
        raise rules.NotAMember
    return group, member


def _claimed(claimed: Any, public_id: str) -> Any:
    flash(_("The coupon is yours.") if claimed.fresh else _("The coupon is yours already."), "positive")
    return redirect(url_for(".show", public_id=public_id, _anchor="benefits"), 303)


@bp.post("/groups/<public_id>/elsewhere")
@member_only()
def show_code(public_id: str) -> Any:
    group, member = _inside(public_id)
    services.show_code(group, member.id)
    return redirect(url_for(".elsewhere", public_id=public_id), 303)


@bp.get("/groups/<public_id>/elsewhere")
@member_only()
def elsewhere(public_id: str) -> Any:
    group, member = _inside(public_id)
    code = services.seen_code(group, member.id)
    if code is None:
        raise rules.NoCodeLeft
    return render_template("groups/elsewhere.html", group=group, code=code, labels=labels)


@bp.get("/groups/<public_id>/people")
@member_only()
def here(public_id: str) -> Any:
    group, member = _inside(public_id)
    roster = queries.roster(group.id)
    return render_template(
        "groups/here.html",
        group=group,
        me=member.id,
        people=queries.taken_seats(group),
        leaders=queries.leaders(group.id),
        page=keyset(
            roster.where(Seat.role == SeatRole.MEMBER), [Seat.id.desc()], request.args.get("cursor"), PEOPLE_A_PAGE
        ),
        labels=labels,
    )


@bp.get("/groups/<public_id>/friends")
@member_only()
def friends(public_id: str) -> Any:
    group, member = _inside(public_id)
    found, terms = services.find_friend_link(group.id, member.id), rules.Reward.read(group.reward)
    address = links.absolute(url_for(".friend", token=found.token)) if found and found.revoked_at is None else None
    return render_template(
        "groups/friends.html",
        group=group,
        link=found,
        address=address,
        code=links.qr_svg(address) if address else None,
        terms=terms,
        reward=labels.reward_sentence(terms, services.offer_name(terms)) if terms else "",
        rewards=services.rewards_of(group.id, member.id),
        masked_name=services.masked_name,
        labels=labels,
    )


@bp.get("/groups/<public_id>/friends/poster.png")
@member_only()
def friends_poster(public_id: str) -> Any:
    group, member = _inside(public_id)
    link = services.find_friend_link(group.id, member.id)
    if link is None or link.revoked_at is not None:
        raise NotFound
    return attachment(services.friend_poster(group, link, member), "image/png", "poster.png")


@bp.post("/groups/<public_id>/friends")
@member_only()
def make_friend_link(public_id: str) -> Any:
    group, member = _inside(public_id)
    services.make_friend_link(group, member.id)
    return redirect(url_for(".friends", public_id=public_id), 303)


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
