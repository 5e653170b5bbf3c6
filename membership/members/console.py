"""Pages for staff: the list of members, and one member."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from apiflask import APIBlueprint
from flask import current_app, flash, redirect, render_template, request, url_for

from kernel import audit, clock, pages
from kernel.auth import acting_staff, may, safe_next, staff
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from membership.orders.models import Order

from . import labels, queries, rules, services, timeline
from .forms import NoteForm, ProfileForm, RightForm, TagForm, filter_from
from .models import Contact, Member, Purpose
from .queries import MemberFilter

bp = APIBlueprint("members_console", __name__, url_prefix="/console", template_folder="templates", enable_openapi=False)


def _days(least: int, most: int | None) -> str:
    if most is None:
        return str(_("more than %(days)s days ago", days=least))
    if least == 0:
        return str(_("in the last %(days)s days", days=most))
    return str(_("%(least)s to %(most)s days ago", least=least, most=most))


def _amount(least: int, most: int | None) -> str:
    if most is None:
        return str(_("¥%(amount)s and more", amount=f"{least:,}"))
    if least == 0:
        return str(_("below ¥%(amount)s", amount=f"{most:,}"))
    return f"¥{least:,} – {most:,}"


LAST_ORDER_STEPS = ((0, 30), (30, 90), (90, 180), (180, 365), (365, None))
SPEND_STEPS = ((0, 100), (100, 500), (500, 2_000), (2_000, 10_000), (10_000, None))


def _key(least: int, most: int | None) -> str:
    return f"{least}-{most or ''}"


def _consent_choices() -> list[tuple[str, Any]]:
    return [*((c.value, name) for c, name in labels.CONTACTS.items()), ("none", _("No agreement at all"))]


def _chips(wanted: MemberFilter, groups: list[tuple[int, str]]) -> list[tuple[str, str, str]]:
    """What narrows the list, each to be taken off by itself."""
    said = request.args
    chips: list[tuple[str, str, str]] = []
    if wanted.q:
        chips.append(("q", wanted.q, _("Search: %(words)s", words=wanted.q)))
    if wanted.tier is not None:
        chips.append(
            ("tier", str(wanted.tier), _("Tier: %(tier)s", tier=f"VIP{wanted.tier}" if wanted.tier else _("No tier")))
        )
    if wanted.stage is not None:
        chips.append(("stage", wanted.stage, _("Stage: %(stage)s", stage=labels.STAGES[wanted.stage])))
    if wanted.tag:
        chips.append(("tag", wanted.tag, _("Tag: %(tag)s", tag=wanted.tag)))
    if wanted.source:
        chips.append(("source", wanted.source, _("Source: %(source)s", source=labels.source_label(wanted.source))))
    if wanted.consent:
        chips.append(
            ("consent", wanted.consent, _("Agreed: %(channel)s", channel=dict(_consent_choices())[wanted.consent]))
        )
    if wanted.last_order_days is not None:
        chips.append(("ordered", said["ordered"], _("Last order: %(when)s", when=_days(*wanted.last_order_days))))
    if wanted.spend is not None:
        least, most = wanted.spend
        words = _amount(least // 100, None if most is None else most // 100)
        chips.append(("spend", said["spend"], _("Spend: %(amount)s", amount=words)))
    if wanted.group is not None:
        name = dict(groups).get(wanted.group, "–")
        chips.append(("group", str(wanted.group), _("Group: %(group)s", group=name)))
    return chips


@bp.get("/members")
@staff("members.view")
def index() -> Any:
    wanted = filter_from(request.args)
    sort = request.args.get("sort", "")
    page, count = queries.page_of(wanted, sort, request.args.get("cursor"))
    groups = [choice for answer in queries.group_choices.call() for choice in answer]
    return render_template(
        "members/index.html",
        page=page,
        count=count,
        chips_on=_chips(wanted, groups),
        tags_of=queries.tags_of_many([member.id for member in page.rows]),
        tags=(known := queries.tags()),
        tag_choices=[(tag.name, tag.name) for tag in known],
        sources=[(source, labels.source_label(source)) for source in queries.sources()],
        groups=groups,
        stages=labels.STAGES,
        stage_tones=labels.STAGE_TONES,
        consents=_consent_choices(),
        last_orders=[(_key(*step), _days(*step)) for step in LAST_ORDER_STEPS],
        spends=[(_key(*step), _amount(*step)) for step in SPEND_STEPS],
        here=request.full_path.rstrip("?"),
    )


@bp.post("/members/tags")
@staff("members.edit")
def tag_many() -> Any:
    back = safe_next(request.form.get("next"), url_for(".index"))
    ids = [int(i) for i in request.form.getlist("ids")[:1000] if i.isascii() and i.isdigit() and len(i) < 18]
    name = request.form.get("tag", "")
    if not ids:
        flash(_("Select members first: nothing was changed."), "caution")
    elif not name.strip():
        flash(_("Write which tag: nothing was changed."), "caution")
    elif request.form.get("act") == "untag":
        number = services.untag(ids, name)
        flash(ngettext("Tag taken off one member.", "Tag taken off %(num)s members.", number), "positive")
    else:
        number = services.tag(ids, name)
        flash(ngettext("One member tagged.", "%(num)s members tagged.", number), "positive")
    return redirect(back)


@bp.post("/members/export")
@staff("members.export")
def export() -> Any:
    wanted, open_phones = filter_from(request.args), may("members.reveal")
    found = queries.export_of(wanted, request.args.get("sort", ""))
    audit.record(
        "members.exported", "member", None, after={"filter": dict(request.args.items()), "phones": open_phones}
    )
    header = [
        _("Full name"), _("Nickname"), _("Phone"), _("Tier"), _("Stage"), _("Orders"), _("Spend"), _("Last order"),
        _("City"), _("Source"), _("Joined"), _("Tags"),
    ]  # fmt: skip

    def rows() -> Iterator[list[Any]]:
        for member, tags in found:
            yield [
                member.name,
                member.nickname,
                member.phone if open_phones else rules.masked_phone(member.phone),
                f"VIP{member.rank}" if member.rank else "",
                str(labels.STAGES[member.stage]),
                member.orders_count,
                f"{member.spend / 100:.2f}",
                clock.local(member.last_order_at).date().isoformat() if member.last_order_at else "",
                member.city,
                str(labels.source_label(member.source)),
                clock.local(member.enrolled_at).date().isoformat() if member.enrolled_at else "",
                tags or "",
            ]

    return pages.csv_response(f"members-{clock.today().isoformat()}.csv", header, rows())


def _order_url(order: Order) -> str | None:
    """Where an order's own page is, for staff who may see it."""
    if "orders_console.show" not in current_app.view_functions or not may("orders.view"):
        return None
    return url_for("orders_console.show", order_id=order.id)


def _page(member: Member, status: int = 200, revealed: bool = False, **forms: Any) -> Any:
    kind = request.args.get("kind")
    items, page = timeline.page_of(member.id, kind, request.args.get("cursor"))
    return render_template(
        "members/show.html",
        member=member,
        standing=rules.stage_for(
            member.orders_count,
            member.first_order_at,
            member.last_order_at,
            member.enrolled_at,
            member.created_at,
            clock.now(),
            queries.stage_days(),
        ),
        stages=labels.STAGES,
        stage_tones=labels.STAGE_TONES,
        items=items,
        page=page,
        kind=kind,
        kinds=timeline.KINDS,
        revealed=revealed,
        identities=queries.identities_of(member.id),
        channels=labels.CHANNELS,
        rights=queries.rights(member.id),
        contacts=labels.CONTACTS,
        marketing=Purpose.MARKETING,
        types=labels.CUSTOMER_TYPES,
        source_label=labels.source_label,
        channels_of=labels.source_label,
        order_states=labels.ORDER_STATES,
        order_url=_order_url,
        tags=queries.tags_of(member.id),
        all_tags=queries.tags(),
        notes=queries.notes_of(member.id),
        **{
            "tag_form": TagForm(formdata=None),
            "note_form": NoteForm(formdata=None),
            "right_form": RightForm(formdata=None),
        }
        | forms,
    ), status


def _back(member: Member, part: str) -> Any:
    return redirect(url_for(".show", member_id=member.id, _anchor=part))


@bp.get("/members/<int:member_id>")
@staff("members.view")
def show(member_id: int) -> Any:
    member = queries.get_member(member_id)
    if member.id != member_id:
        return redirect(url_for(".show", member_id=member.id))
    return _page(member)


@bp.post("/members/<int:member_id>/reveal")
@staff("members.reveal")
def reveal(member_id: int) -> Any:
    member = queries.get_member(member_id)
    audit.record("member.revealed", "member", member.id)
    return _page(member, revealed=True)


@bp.get("/members/<int:member_id>/edit")
@staff("members.edit")
def edit(member_id: int) -> Any:
    member = queries.get_member(member_id)
    return render_template(
        "members/edit.html", member=member, form=ProfileForm(obj=member, with_address=may("members.reveal"))
    )


@bp.post("/members/<int:member_id>/edit")
@staff("members.edit")
def edit_post(member_id: int) -> Any:
    member, form = queries.get_member(member_id), ProfileForm(with_address=may("members.reveal"))
    if not form.validate():
        return render_template("members/edit.html", member=member, form=form), 422
    services.edit_profile(member, form.change)
    flash(_("Details saved."), "positive")
    return _back(member, "profile")


@bp.post("/members/<int:member_id>/tags")
@staff("members.edit")
def tag(member_id: int) -> Any:
    member, form = queries.get_member(member_id), TagForm()
    if not form.validate():
        return _page(member, 422, tag_form=form)
    services.tag([member.id], form.name.data or "")
    return _back(member, "tags")


@bp.post("/members/<int:member_id>/tags/remove")
@staff("members.edit")
def untag(member_id: int) -> Any:
    member = queries.get_member(member_id)
    services.untag([member.id], request.form.get("name", ""))
    return _back(member, "tags")


@bp.post("/members/<int:member_id>/notes")
@staff("members.edit")
def note(member_id: int) -> Any:
    member, form = queries.get_member(member_id), NoteForm()
    if not form.validate():
        return _page(member, 422, note_form=form)
    services.write_note(member.id, form.body.data or "")
    flash(_("Note kept."), "positive")
    return _back(member, "notes")


@bp.post("/members/<int:member_id>/rights")
@staff("members.edit")
def right(member_id: int) -> Any:
    member, form = queries.get_member(member_id), RightForm()
    if not form.validate():
        return _page(member, 422, right_form=form)
    act = services.give_consent if form.wish.data == "give" else services.withdraw_consent
    act(member.id, Contact(form.channel.data), Purpose.MARKETING, form.told.data, author=acting_staff().name)
    audit.record("consent.recorded", "member", member.id, after={"channel": form.channel.data, "wish": form.wish.data})
    flash(_("Their wish is written down and holds from now on."), "positive")
    return _back(member, "rights")
