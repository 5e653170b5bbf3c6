"""One record a person: adding somebody by hand, likely duplicates, merging two records, and taking a merge back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import flash, redirect, render_template, request, url_for

from kernel import once
from kernel.auth import acting_staff, may, safe_next, staff
from kernel.errors import NotFound
from kernel.i18n import day
from kernel.i18n import gettext as _
from kernel.pages import search_chip, searched

from .. import labels, queries, rules
from ..forms import LANGUAGES, NewMemberForm, PairForm
from ..models import Channel, CustomerType, Member
from ..services import adding, duplicates, merge
from ..services.duplicates import Sign
from . import bp

# ── Adding by hand ──────────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/members/new")
@staff("members.edit")
def new() -> Any:
    return render_template("members/new.html", form=once.show(NewMemberForm(formdata=None, source="counter")))


@bp.post("/members/new")
@staff("members.edit")
def new_post() -> Any:
    form = NewMemberForm()
    if form.validate() and not form.identities:
        form.refuse("phone", adding.NothingToKnowThemBy())
    if form.errors:
        return render_template("members/new.html", form=form), 422
    if once.done_before():
        return redirect(url_for(".index"))
    added = adding.add(
        form.name.data or "", form.identities, form.source.data or "", form.tag_names, form.city.data or ""
    )
    if added.made:
        flash(_("Added."), "positive")
    else:
        flash(_("This person was known already: here is their record. What it lacked has been filled in."), "caution")
    if added.others:
        flash(_("One of the details belongs to another record. If they are one person, merge the two."), "caution")
        return redirect(url_for(".merge_page", first=added.member.id, other=added.others[0]))
    return redirect(url_for(".show", member_id=added.member.id))


def _accounts(member_ids: list[int]) -> dict[int, list[str]]:
    """By which channels each of some members is known, phones and addresses masked."""
    masked = {Channel.PHONE: rules.masked_phone, Channel.EMAIL: rules.masked_email}
    return {
        member_id: [f"{labels.CHANNELS[channel]}: {masked.get(channel, str)(said)}" for channel, said in known]
        for member_id, known in queries.accounts_of_many(member_ids).items()
    }


# ── Likely duplicates ───────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/members/duplicates")
@staff("members.view")
def duplicate_list() -> Any:
    wanted = request.args.get("sign", "")
    sign = Sign(wanted) if wanted in list(Sign) else None
    words = searched()
    found, page, count = duplicates.page_of(sign, request.args.get("cursor"), words)
    chips = [("sign", sign.value, str(labels.SIGNS[sign]))] if sign is not None else []
    return render_template(
        "members/duplicates.html",
        found=found,
        page=page,
        count=count,
        chips_on=[*chips, *search_chip(words)],
        signs=labels.SIGNS,
        accounts=_accounts([m.id for c in found for m in (c.one, c.other)]),
        looked=duplicates.looked(),
        source_label=labels.source_label,
        here=request.full_path.rstrip("?"),
    )


@bp.get("/members/duplicates/set-aside")
@staff("members.view")
def duplicates_set_aside() -> Any:
    found, page = duplicates.dismissed_page(request.args.get("cursor"))
    return render_template("members/duplicates_aside.html", found=found, page=page)


@bp.post("/members/duplicates/look")
@staff("members.merge")
def duplicates_look() -> Any:
    duplicates.ask()
    flash(_("Every record is being looked at. The list is new in a minute or two."), "positive")
    return redirect(url_for(".duplicate_list"))


@bp.post("/members/duplicates/dismiss")
@staff("members.merge")
def duplicates_dismiss() -> Any:
    form = PairForm()
    if not form.validate():
        raise NotFound
    duplicates.dismiss(form.first.data or 0, form.other.data or 0, acting_staff().id)
    flash(_("Remembered: these are two people. They are not shown again."), "positive")
    return redirect(safe_next(request.form.get("next"), url_for(".duplicate_list")))


@bp.post("/members/duplicates/take-up-again")
@staff("members.merge")
def duplicates_take_up_again() -> Any:
    form = PairForm()
    if not form.validate():
        raise NotFound
    duplicates.take_up_again(form.first.data or 0, form.other.data or 0)
    flash(_("They are shown among the likely duplicates again."), "positive")
    return redirect(url_for(".duplicates_set_aside"))


# ── Merging ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _two(arguments: Mapping[str, str]) -> tuple[Member, Member]:
    """The surviving and the absorbed record: as chosen (`survivor`), else the older one survives."""

    def number(name: str) -> int:
        said = arguments.get(name, "")
        return int(said) if said.isascii() and said.isdigit() and len(said) < 18 else 0

    one, other = queries.get_member(number("first")), queries.get_member(number("other"))
    if one.id == other.id:
        raise merge.SameRecord
    first, second = merge.elder_first(one, other)
    return (second, first) if number("survivor") == second.id else (first, second)


def _choices(arguments: Mapping[str, str]) -> dict[str, str]:
    said = {name: arguments.get(f"keep_{name}", "") for name in merge.FIELDS}
    return {name: value for name, value in said.items() if value in ("survivor", "absorbed")}


def _shown(name: str, value: Any) -> str:
    """A field's value as the form shows it; phones and addresses stay masked."""
    if not value:
        return ""
    match name:
        case "phone":
            return rules.masked_phone(value)
        case "email":
            return rules.masked_email(value)
        case "address":
            return rules.masked_address(value)
        case "birthday":
            return str(day(value))
        case "customer_type":
            return str(labels.CUSTOMER_TYPES[CustomerType(value)])
        case "source":
            return str(labels.CHANNELS[Channel(value)] if value in list(Channel) else labels.source_label(value))
        case "locale":
            return dict(LANGUAGES).get(value, value)
        case _:
            return str(value)


def _rows(survivor: Member, absorbed: Member, chosen: Mapping[str, str]) -> list[dict[str, Any]]:
    rows = []
    for name in merge.FIELDS:
        own, others = getattr(survivor, name), getattr(absorbed, name)
        if own or others:
            default = "absorbed" if not own else "survivor"
            rows.append(
                {
                    "name": name,
                    "label": labels.FIELDS[name],
                    "own": _shown(name, own),
                    "others": _shown(name, others),
                    "same": own == others,
                    "chosen": chosen.get(name, default),
                }
            )
    return rows


@bp.get("/members/merge")
@staff("members.merge")
def merge_page() -> Any:
    survivor, absorbed = _two(request.args)
    chosen = _choices(request.args)
    preview = merge.preview(survivor.id, absorbed.id, chosen)
    survivor, absorbed = queries.get_member(survivor.id), queries.get_member(absorbed.id)
    return render_template(
        "members/merge.html",
        survivor=survivor,
        absorbed=absorbed,
        rows=_rows(survivor, absorbed, chosen),
        preview=preview,
        result={name: _shown(name, value) for name, value in preview.profile.items()},
        accounts=_accounts([survivor.id, absorbed.id]),
        stages=labels.STAGES,
        stage_tones=labels.STAGE_TONES,
        most=merge.REASON_LENGTH,
    )


@bp.post("/members/merge")
@staff("members.merge")
def merge_post() -> Any:
    survivor, absorbed = _two(request.form)
    merge_id = merge.merge(
        survivor.id, absorbed.id, acting_staff().id, request.form.get("reason", ""), _choices(request.form)
    )
    flash(_("The two records are one now. If that was wrong, it can be taken back here."), "positive")
    return redirect(url_for(".merge_show", merge_id=merge_id))


@bp.get("/members/<int:member_id>/merge")
@staff("members.merge")
def merge_with(member_id: int) -> Any:
    member = queries.get_member(member_id)
    wanted = searched()
    found = duplicates.others_like(member.id, wanted)
    return render_template(
        "members/merge_with.html",
        member=member,
        q=wanted,
        found=found,
        likely=duplicates.of_member(member.id),
        signs=labels.SIGNS,
        accounts=_accounts([member.id, *(m.id for m in found)]),
    )


@bp.get("/members/merges")
@staff("members.view")
def merge_list() -> Any:
    words = searched()
    page = merge.log_page(request.args.get("cursor"), words)
    names = queries.names([i for row in page.rows for i in (row.survivor_id, row.absorbed_id)])
    return render_template(
        "members/merges.html", page=page, names=names, people=merge.authors(page.rows), chips_on=search_chip(words)
    )


@bp.get("/members/merges/<int:merge_id>")
@staff("members.view")
def merge_show(merge_id: int) -> Any:
    row = merge.get_merge(merge_id)
    return render_template(
        "members/merge_show.html",
        merge=row,
        names=queries.names([row.survivor_id, row.absorbed_id]),
        people=merge.authors([row]),
        moved=[(labels.TABLES.get(name, name), number) for name, number in merge.moved_rows(row.id)],
        tables=labels.TABLES,
    )


@bp.post("/members/merges/<int:merge_id>/undo")
@staff("members.merge")
def merge_undo(merge_id: int) -> Any:
    row = merge.undo(merge_id, acting_staff().id)
    if row.left:
        flash(_("Two records again. Not everything could go back: what stayed is listed below."), "caution")
    else:
        flash(_("Two records again, as they were."), "positive")
    return redirect(url_for(".merge_show", merge_id=merge_id))


def member_actions(member: Member) -> Any:
    """The buttons on a member's page that lead to merging and to their data (slot `member.actions`)."""
    if member.erased_at is not None or not (may("members.merge") or may("members.erase")):
        return ""
    return render_template("members/_actions.html", member=member)


def member_side(member: Member) -> Any:
    """What looks like another record of this person, and what was merged into it (slot `member.side`)."""
    if member.erased_at is not None:
        return ""
    likely = duplicates.of_member(member.id) if may("members.merge") else []
    merges = merge.merges_of(member.id)[:5]
    if not likely and not merges:
        return ""
    return render_template(
        "members/_duplicates.html",
        member=member,
        likely=likely,
        merges=merges,
        signs=labels.SIGNS,
        names=queries.names([i for row in merges for i in (row.survivor_id, row.absorbed_id)]),
    )
