"""Pages for staff: the list of groups, one group with its tabs, making and changing it, and inviting a member."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import flash, redirect, render_template, request, url_for

from kernel import audit, clock, editions, links, once
from kernel.auth import acting_staff, current_staff, may, safe_next, staff
from kernel.errors import InputInvalid, NotFound
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from kernel.pages import attachment, capped_count, csv_response, keyset, search_chip, searched
from kernel.staff import services as staff_services
from membership.coupons import labels as coupon_labels
from membership.coupons import rules as coupon_rules
from membership.members import queries as members
from membership.members.rules import masked_phone
from membership.tiers.rules import RANKS

from .. import labels, queries, results, rules, services
from ..forms import AnnouncementForm, GroupForm, LinkForm, RemoveForm, values_of
from ..models import Group, GroupKind, GroupState, Seat, SeatRole, SeatState, Waiting
from ..queries import GroupFilter
from . import bp

PAGE = 50


# ── The list ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _filter() -> GroupFilter:
    said = request.args
    return GroupFilter(
        q=searched(),
        kind=said.get("kind", ""),
        state=said.get("state", ""),
        full=said.get("full") == "1",
        waiting=said.get("waiting") == "1",
    )


def _chips(wanted: GroupFilter) -> list[tuple[str, str, str]]:
    chips = search_chip(wanted.q)
    if wanted.kind in list(GroupKind):
        chips.append(("kind", wanted.kind, str(labels.KINDS[GroupKind(wanted.kind)])))
    if wanted.state in list(GroupState):
        chips.append(("state", wanted.state, str(labels.STATES[GroupState(wanted.state)])))
    if wanted.full:
        chips.append(("full", "1", _("Nearly full")))
    if wanted.waiting:
        chips.append(("waiting", "1", _("With a waiting list")))
    return chips


@bp.get("/groups")
@staff("groups.view")
def index() -> Any:
    wanted = _filter()
    statement = queries.listing(wanted)
    page = keyset(statement, queries.order_of(request.args.get("sort", "")), request.args.get("cursor"), PAGE)
    return render_template(
        "groups/index.html",
        page=page,
        count=capped_count(statement),
        chips_on=_chips(wanted),
        sessions=queries.next_sessions([group.id for group in page.rows]),
        state_of=queries.state_of,
        labels=labels,
    )


@bp.get("/groups/export")
@staff("groups.view")
def export() -> Any:
    header = [
        _("Group"), _("Kind"), _("State"), _("Seats taken"), _("Seats in all"), _("Waiting"), _("Active in 7 days"),
        _("Opens"), _("Closes"),
    ]  # fmt: skip
    return csv_response("groups.csv", header, _rows_of_groups(_filter()))


def _rows_of_groups(wanted: GroupFilter) -> Iterator[list[Any]]:
    cursor: str | None = None
    while True:
        page = keyset(queries.listing(wanted), queries.order_of(request.args.get("sort", "")), cursor, 500)
        for group in page.rows:
            yield [
                group.name,
                str(labels.KINDS[group.kind]),
                str(labels.STATES[queries.state_of(group)]),
                group.seated,
                group.capacity,
                group.queued,
                group.active_week,
                clock.wall_text(group.opens_at),
                clock.wall_text(group.closes_at),
            ]
        if page.next_cursor is None:
            return
        cursor = page.next_cursor


# ── Making and changing ─────────────────────────────────────────────────────────────────────────────────────────────


def _form(kind: GroupKind, but: int | None = None, **values: Any) -> GroupForm:
    groups = [
        (group.id, group.name)
        for group in queries.all_groups()
        if group.id != but and group.kind is not GroupKind.FLASH
    ]
    return GroupForm(
        kind,
        gifts=queries.gifts(),
        groups=groups,
        ranks=[(rank, labels.rank_name(rank)) for rank in RANKS],
        **values,
    )


def _edit_page(form: GroupForm, kind: GroupKind, group: Group | None, status: int = 200) -> Any:
    return render_template(
        "groups/edit.html",
        form=form,
        kind=kind,
        **(frame_of(group, "settings") if group is not None else {"group": None, "labels": labels}),
        products=queries.products(),
        tags=members.tags(),
        fixed=group is not None and bool(queries.sub_groups(group.id)),
    ), status


def _kind() -> GroupKind | None:
    said = request.args.get("kind", "")
    return GroupKind(said) if said in list(GroupKind) else None


@bp.get("/groups/new")
@staff("groups.edit")
def new() -> Any:
    kind = _kind()
    if kind is None:
        return render_template("groups/new.html", labels=labels, models=queries.models())
    return _edit_page(once.show(_form(kind, formdata=None, demo_cover="demo/tea.webp")), kind, None)


@bp.post("/groups/new")
@staff("groups.edit")
def new_post() -> Any:
    kind = _kind()
    if kind is None:
        raise NotFound
    form = _form(kind)
    valid = form.validate()
    cover = _cover(form) if valid else None
    if not valid or form.cover.errors:
        return _edit_page(form, kind, None, 422)
    if once.done_before():
        return redirect(url_for(".index"))
    group = services.create(kind, _draft(form, cover, acting_staff().id))
    flash(_("The group is there, as a draft. Announce or open it when you are ready."), "positive")
    return redirect(url_for(".show", group_id=group.id), 303)


def _cover(form: GroupForm) -> str | None:
    """Store an uploaded cover; a file that is no picture is refused beside its field."""
    sent = request.files.get("cover")
    if sent is None or not sent.filename:
        return None
    key, refusal = services.try_cover(sent.stream)
    if refusal is not None:
        form.refuse("cover", refusal)
    return key


def _draft(form: GroupForm, cover: str | None, owner_id: int | None) -> services.GroupDraft:
    title = queries.product_title(form.sku.data) if form.sku.data else None
    return form.draft(cover, {form.sku.data: title} if form.sku.data and title else {}, owner_id)


@bp.get("/groups/<int:group_id>/settings")
@staff("groups.edit")
def edit(group_id: int) -> Any:
    group = queries.get_group(group_id)
    form = _form(group.kind, group.id, formdata=None, data=values_of(group))
    editions.show(form, _shown(group))
    return _edit_page(form, group.kind, group)


def _shown(group: Group) -> Any:
    return values_of(group), group.cover


@bp.post("/groups/<int:group_id>/settings")
@staff("groups.edit")
def edit_post(group_id: int) -> Any:
    group = queries.get_group(group_id)
    form = _form(group.kind, group.id)
    valid = form.validate()
    cover = _cover(form) if valid else None
    if valid and not form.cover.errors:
        by = ("group.created", "group.edited", "group.announced")
        if editions.overtaken(form, lambda: _shown(group), group, by=by):
            return _edit_page(form, group.kind, group, 409)
        refusal = services.try_edit(group, _draft(form, cover, group.owner_id))
        if refusal is None:
            flash(_("Saved."), "positive")
            return redirect(url_for(".show", group_id=group_id), 303)
        form.refuse(refusal.field, refusal)
    return _edit_page(form, group.kind, queries.get_group(group_id), 422)


@bp.post("/groups/<int:group_id>/announcement")
@staff("groups.moderate")
def announce(group_id: int) -> Any:
    group, form = queries.get_group(group_id), AnnouncementForm()
    if not form.validate():
        return _show(group, form), 422
    if editions.overtaken(form, lambda: group.announcement, group, by=("group.announced", "group.edited")):
        return _show(group, form), 409
    services.write_announcement(group, form.announcement.data or "")
    flash(_("The announcement stands on top of the group's page."), "positive")
    return redirect(url_for(".show", group_id=group_id), 303)


@bp.post("/groups/<int:group_id>/state")
@staff("groups.edit")
def change_state(group_id: int) -> Any:
    group, said = queries.get_group(group_id), request.form.get("to", "")
    if said not in list(GroupState):
        raise NotFound
    to = GroupState(said)
    if to in (GroupState.CLOSED, GroupState.ARCHIVED) and request.form.get("confirmation", "").strip() != group.name:
        raise InputInvalid([("confirmation", _("Type the group's name, exactly as it is written."))])
    services.change_state(group, to)
    flash(str(labels.STATE_SENTENCES[to]), "positive")
    return redirect(url_for(".show", group_id=group_id), 303)


# ── One group ───────────────────────────────────────────────────────────────────────────────────────────────────────


def frame_of(group: Group, tab: str) -> dict[str, Any]:
    """What every tab of a group shows around itself."""
    state = queries.state_of(group)
    return {
        "group": group,
        "tab": tab,
        "state": state,
        "acts": rules.ACTS[state],
        "numbers": queries.consequences(group),
        "session": queries.next_session(group.id),
        "labels": labels,
    }


def _show(group: Group, form: AnnouncementForm) -> str:
    door = queries.links_of(group.id)
    shown = next((link for link in door if link.revoked_at is None), None)
    offers = results.offers_of(group.id) if may("coupons.view") else []
    address = links.absolute(f"/j/{shown.token}") if shown else None
    return render_template(
        "groups/show.html",
        **frame_of(group, "feed"),
        form=form,
        link=shown,
        address=address,
        code=links.qr_svg(address) if address else None,
        joined_week=queries.joined_since(group.id, 7),
        days=queries.joined_by_day(group.id),
        sources=queries.sources_of(group.id),
        sub_groups=queries.sub_groups(group.id),
        gift=services.gift_of(group),
        offers=offers,
        still_claimed=sum(coupon_rules.refusal_of(offer, clock.now()) is None for offer in offers)
        if queries.is_over(group)
        else 0,
        coupon_labels=coupon_labels,
        successor=queries.find_group(group.successor_id) if group.successor_id else None,
    )


@bp.get("/groups/<int:group_id>")
@staff("groups.view")
def show(group_id: int) -> Any:
    group = queries.get_group(group_id)
    form = AnnouncementForm(formdata=None, announcement=group.announcement)
    editions.show(form, group.announcement)
    return _show(group, form)


@bp.get("/groups/<int:group_id>/members")
@staff("groups.view")
def people(group_id: int) -> Any:
    return _people_page(queries.get_group(group_id))


def _people_page(group: Group) -> str:
    state = queries.ROSTER_STATES.get(request.args.get("seats", ""), SeatState.TAKEN)
    q = searched()
    number = request.args.get("sub-group", type=int)
    silent = "silent" in request.args and state is SeatState.TAKEN
    statement = queries.people(group.id, state, q, number, silent)
    page = keyset(statement, [Seat.id.desc()], request.args.get("cursor"), PAGE)
    chips = search_chip(q)
    if number is not None:
        chips.append(("sub-group", str(number), _("Sub-group %(number)s", number=number)))
    if silent:
        chips.append(("silent", request.args["silent"], _("Have not looked in for a week")))
    return render_template(
        "groups/people.html",
        **frame_of(group, "members"),
        page=page,
        count=capped_count(statement),
        seats=state,
        chips_on=chips,
        sub_groups=queries.sub_groups(group.id),
        sub_group_choices=lambda found: [(one.number, _("Sub-group %(number)s", number=one.number)) for one in found],
        barred=queries.barred_people(group.id),
        remove_form=RemoveForm(formdata=None),
    )


@bp.post("/groups/<int:group_id>/members/export")
@staff("members.export")
def export_people(group_id: int) -> Any:
    group = queries.get_group(group_id)
    audit.record("group.exported", "group", group.id, after={"members": group.seated})
    header = [_("Member"), _("Phone"), _("Tier"), _("Sub-group"), _("Role"), _("Source"), _("Joined at")]
    return csv_response(f"group-{group.id}.csv", header, _rows_of_people(group.id))


def _rows_of_people(group_id: int) -> Iterator[list[Any]]:
    cursor: str | None = None
    while True:
        page = keyset(queries.people(group_id, SeatState.TAKEN), [Seat.id.desc()], cursor, 1000)
        for row in page.rows:
            seat, member = row.Seat, row.Member
            yield [
                member.shown_name,
                masked_phone(member.phone),
                f"VIP{member.rank}" if member.rank else "",
                row.number,
                str(labels.ROLES[seat.role]),
                labels.source_name(seat.source),
                clock.wall_text(seat.joined_at),
            ]
        if page.next_cursor is None:
            return
        cursor = page.next_cursor


@bp.post("/groups/<int:group_id>/members/<int:member_id>/remove")
@staff("groups.moderate")
def remove(group_id: int, member_id: int) -> Any:
    group, form = queries.get_group(group_id), RemoveForm()
    if not form.validate():
        raise InputInvalid([(_("Reason"), _("Say why, in a few words: the member's timeline keeps it."))])
    services.remove(group.id, member_id, form.reason.data or "", bool(form.barred.data))
    flash(_("Removed; the seat goes to the next one."), "positive")
    return _back(".people", group_id)


@bp.post("/groups/<int:group_id>/members/<int:member_id>/role")
@staff("groups.moderate")
def change_role(group_id: int, member_id: int) -> Any:
    said = request.form.get("role", "")
    if said not in list(SeatRole):
        raise NotFound
    services.set_role(group_id, member_id, SeatRole(said))
    flash(_("Saved."), "positive")
    return _back(".people", group_id)


@bp.post("/groups/<int:group_id>/members/<int:member_id>/let-back")
@staff("groups.moderate")
def let_back(group_id: int, member_id: int) -> Any:
    services.let_back(group_id, member_id)
    flash(_("They may join again."), "positive")
    return _back(".people", group_id)


def _back(endpoint: str, group_id: int) -> Any:
    return redirect(safe_next(request.form.get("next"), url_for(endpoint, group_id=group_id)), 303)


@bp.get("/groups/<int:group_id>/waiting-list")
@staff("groups.view")
def waiting_list(group_id: int) -> Any:
    group, q = queries.get_group(group_id), searched()
    statement = queries.waiting_list(group.id, q)
    return render_template(
        "groups/waiting_list.html",
        **frame_of(group, "waiting"),
        page=keyset(statement, [Waiting.number], request.args.get("cursor"), PAGE),
        count=capped_count(statement),
        chips_on=search_chip(q),
    )


@bp.post("/groups/<int:group_id>/waiting-list/export")
@staff("members.export")
def export_waiting(group_id: int) -> Any:
    group, q = queries.get_group(group_id), searched()
    audit.record("group.exported", "group", group.id, after={"list": "waiting", "filter": {"q": q} if q else {}})
    header = [
        _("Number in line"), _("Member"), _("Phone"), _("Tier"), _("State"), _("Waiting since"), _("Kept until"),
    ]  # fmt: skip
    return csv_response(f"group-{group.id}-waiting-list.csv", header, _rows_of_waiting(group.id, q))


def _rows_of_waiting(group_id: int, q: str) -> Iterator[list[Any]]:
    cursor: str | None = None
    while True:
        page = keyset(queries.waiting_list(group_id, q), [Waiting.number], cursor, 1000)
        for waiting, member in page.rows:
            yield [
                waiting.number,
                member.shown_name,
                masked_phone(member.phone),
                f"VIP{member.rank}" if member.rank else "",
                str(labels.WAITING_STATES[waiting.state]),
                clock.wall_text(waiting.queued_at),
                clock.wall_text(waiting.invited_until),
            ]
        if page.next_cursor is None:
            return
        cursor = page.next_cursor


# ── Links ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _link_form(**values: Any) -> LinkForm:
    here = [(person.id, person.name) for person in staff_services.everyone() if person.disabled_at is None]
    return LinkForm(here, **values)


def _links_page(group: Group, form: LinkForm, status: int = 200) -> Any:
    return render_template(
        "groups/links.html",
        **frame_of(group, "links"),
        form=form,
        colleagues=staff_services.names(),
        join_links=queries.links_of(group.id),
        absolute=links.absolute,
        font=services.chinese_font(),
    ), status


@bp.get("/groups/<int:group_id>/links")
@staff("groups.view")
def join_links(group_id: int) -> Any:
    return _links_page(queries.get_group(group_id), once.show(_link_form(formdata=None)))


@bp.post("/groups/<int:group_id>/links")
@staff("groups.edit")
def add_link(group_id: int) -> Any:
    group, form = queries.get_group(group_id), _link_form()
    if not form.validate():
        return _links_page(group, form, 422)
    if once.done_before():
        return redirect(url_for(".join_links", group_id=group_id))
    services.add_link(group, form.name.data or "", form.source.data or "", form.staff_id.data or None)
    flash(_("The link leads in from now on."), "positive")
    return redirect(url_for(".join_links", group_id=group_id), 303)


@bp.post("/groups/<int:group_id>/links/<int:link_id>/revoke")
@staff("groups.edit")
def revoke_link(group_id: int, link_id: int) -> Any:
    services.revoke_link(services.get_link(group_id, link_id))
    flash(_("The link leads in no more. Whoever joined by it keeps their seat."), "positive")
    return redirect(url_for(".join_links", group_id=group_id), 303)


@bp.post("/groups/<int:group_id>/links/<int:link_id>/restore")
@staff("groups.edit")
def restore_link(group_id: int, link_id: int) -> Any:
    services.restore_link(services.get_link(group_id, link_id))
    flash(_("The link leads in again."), "positive")
    return redirect(url_for(".join_links", group_id=group_id), 303)


@bp.get("/groups/<int:group_id>/links/<int:link_id>/qr.svg")
@staff("groups.view")
def link_svg(group_id: int, link_id: int) -> Any:
    link = services.get_link(group_id, link_id)
    return attachment(services.qr_file(link), "image/svg+xml", f"group-{group_id}-qr.svg")


@bp.get("/groups/<int:group_id>/links/<int:link_id>/qr.png")
@staff("groups.view")
def link_png(group_id: int, link_id: int) -> Any:
    link = services.get_link(group_id, link_id)
    return attachment(links.qr_png(links.absolute(f"/j/{link.token}"), 16), "image/png", f"group-{group_id}-qr.png")


@bp.get("/groups/<int:group_id>/links/<int:link_id>/poster.png")
@staff("groups.view")
def link_poster(group_id: int, link_id: int) -> Any:
    link = services.get_link(group_id, link_id)
    return attachment(services.poster(queries.get_group(group_id), link), "image/png", f"group-{group_id}-poster.png")


# ── Inviting a member ───────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/groups/invitations/<int:member_id>")
@staff("groups.invite")
def invite(member_id: int) -> Any:
    member = members.get_member(member_id)
    chosen = request.args.get("group", type=int)
    choices = queries.open_groups()
    group = next((group for group in choices if group.id == chosen), None)
    who = current_staff()
    address = (
        links.absolute(services.invitation_path(member.id, group.id, who.id if who else None, "invitation"))
        if group is not None
        else None
    )
    return render_template(
        "groups/invite.html",
        member=member,
        choices=[
            (one, services.misses(member, one, services.Way(invited=True)), queries.seats_left(one)) for one in choices
        ],
        group=group,
        address=address,
        code=links.qr_svg(address) if address else None,
        seat=queries.find_seat(group.id, member.id) if group else None,
        hold=queries.find_hold(group.id, member.id) if group else None,
        inside={one.id for _seat, one in queries.groups_of(member.id)},
        labels=labels,
        misses_sentence=labels.misses_sentence,
    )


@bp.post("/groups/<int:group_id>/invitations/<int:member_id>/hold")
@staff("groups.invite")
def hold(group_id: int, member_id: int) -> Any:
    group, member = queries.get_group(group_id), members.get_member(member_id)
    services.before_entering.call(member.id)
    kept = services.hold(group.id, member.id, "invitation", staff_id=acting_staff().id)
    if isinstance(kept, services.Held):
        flash(
            ngettext("A seat is kept for %(num)s minute.", "A seat is kept for %(num)s minutes.", group.hold_minutes),
            "positive",
        )
    return redirect(url_for(".invite", member_id=member.id, group=group.id), 303)
