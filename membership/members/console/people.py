"""The list of members: narrowing it, acting on many, taking it along as a file."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, render_template, request, url_for

from kernel import audit, clock, pages, views
from kernel import bulk as bulk_work
from kernel.auth import may, safe_next, staff
from kernel.i18n import gettext as _
from kernel.i18n import month_name, ngettext

from .. import bulk, labels, listing, queries
from ..forms import filter_from
from ..listing import MemberFilter
from . import bp


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


def _points(least: int, most: int | None) -> str:
    if most is None:
        return str(_("%(points)s and more", points=least))
    return f"{least} – {most - 1}"


LAST_ORDER_STEPS = ((0, 30), (30, 90), (90, 180), (180, 365), (365, None))
SPEND_STEPS = ((0, 100), (100, 500), (500, 2_000), (2_000, 10_000), (10_000, None))
VALUE_STEPS = ((0, 20), (20, 40), (40, 60), (60, 80), (80, None))


def _key(least: int, most: int | None) -> str:
    return f"{least}-{most or ''}"


def _consent_choices() -> list[tuple[str, Any]]:
    return [*((c.value, name) for c, name in labels.CONTACTS.items()), ("none", _("No agreement at all"))]


def _chips(wanted: MemberFilter, groups: list[tuple[int, str]]) -> list[tuple[str, str, str]]:
    """What narrows the list, each to be taken off by itself."""
    said = request.args
    chips = pages.search_chip(wanted.q)
    if wanted.tier is not None:
        chips.append(
            ("tier", str(wanted.tier), _("Tier: %(tier)s", tier=f"VIP{wanted.tier}" if wanted.tier else _("No tier")))
        )
    if wanted.stage is not None:
        chips.append(("stage", wanted.stage, _("Stage: %(stage)s", stage=labels.STAGES[wanted.stage])))
    if wanted.value is not None:
        chips.append(("value", said["value"], _("Value: %(points)s", points=_points(*wanted.value))))
    if wanted.label is not None:
        chips.append(("label", wanted.label, _("Tied by: %(tie)s", tie=labels.TIES[wanted.label])))
    if wanted.tag:
        chips.append(("tag", wanted.tag, _("Tag: %(tag)s", tag=wanted.tag)))
    if wanted.source:
        chips.append(("source", wanted.source, _("Source: %(source)s", source=labels.source_label(wanted.source))))
    if wanted.consent:
        chips.append(
            ("consent", wanted.consent, _("Agreed: %(channel)s", channel=dict(_consent_choices())[wanted.consent]))
        )
    if wanted.never_ordered:
        chips.append(("ordered", "never", _("Never ordered")))
    if wanted.last_order_days is not None:
        chips.append(("ordered", said["ordered"], _("Last order: %(when)s", when=_days(*wanted.last_order_days))))
    if wanted.spend is not None:
        least, most = wanted.spend
        words = _amount(least // 100, None if most is None else most // 100)
        chips.append(("spend", said["spend"], _("Spend: %(amount)s", amount=words)))
    if wanted.birthday_month is not None:
        month = month_name(wanted.birthday_month)
        chips.append(("birthday", str(wanted.birthday_month), _("Birthday in %(month)s", month=month)))
    if wanted.group is not None:
        name = dict(groups).get(wanted.group, "–")
        chips.append(("group", str(wanted.group), _("Group: %(group)s", group=name)))
    return chips


@bp.get("/members")
@staff("members.view")
def index() -> Any:
    if (default := views.opening("members")) is not None:
        return redirect(default)
    wanted = filter_from(request.args)
    page, count = listing.page_of(wanted, request.args.get("sort", ""), request.args.get("cursor"))
    groups = list(queries.group_names().items())
    return render_template(
        "members/index.html",
        page=page,
        count=count,
        chips_on=_chips(wanted, groups),
        tags_of=queries.tags_of_many([member.id for member in page.rows]) if page else {},
        tags=(known := queries.tags()),
        tag_choices=[(tag.name, tag.name) for tag in known],
        sources=[(source, labels.source_label(source)) for source in listing.sources()],
        groups=groups,
        stages=labels.STAGES,
        stage_tones=labels.STAGE_TONES,
        ties=labels.TIES,
        types=labels.CUSTOMER_TYPES,
        consents=_consent_choices(),
        last_orders=[*((_key(*step), _days(*step)) for step in LAST_ORDER_STEPS), ("never", _("Never ordered"))],
        spends=[(_key(*step), _amount(*step)) for step in SPEND_STEPS],
        values=[(_key(*step), _points(*step)) for step in reversed(VALUE_STEPS)],
        months=[(str(month), month_name(month)) for month in range(1, 13)],
        here=request.full_path.rstrip("?"),
        query=request.query_string.decode(errors="replace"),
    )


def _selected() -> list[int]:
    """The ids of the ticked rows."""
    return pages.ticked()


def _done(act: str, number: int) -> None:
    if act == "untag":
        flash(ngettext("Tag taken off one member.", "Tag taken off %(num)s members.", number), "positive")
    elif act == "type":
        flash(ngettext("Type of one member set.", "Type of %(num)s members set.", number), "positive")
    else:
        flash(ngettext("One member tagged.", "%(num)s members tagged.", number), "positive")


@bp.post("/members/tags")
@staff("members.edit")
def tag_many() -> Any:
    """Tag, untag or type the ticked members, or all who fit."""
    said = request.form
    back = safe_next(said.get("next"), url_for(".index"))
    act = said.get("act", "")
    act = act if act in ("untag", "type") else "tag"
    word = said.get("type" if act == "type" else "tag", "").strip()
    everybody, ids = said.get("scope") == "all", _selected()
    if not everybody and not ids:
        flash(_("Select members first: nothing was changed."), "caution")
    elif not word and act == "type":
        flash(_("Choose which type: nothing was changed."), "caution")
    elif not word:
        flash(_("Write which tag: nothing was changed."), "caution")
    elif not everybody:
        _done(act, bulk.act_at_once(ids, act, word))
    else:
        query = said.get("query", "")
        total = listing.number_of(bulk.wanted_by(query))
        if total > bulk_work.AT_ONCE:
            return bulk_work.watch(bulk.act_on_all(query, act, word, total))
        _done(act, bulk.act_at_once(listing.ids_after(bulk.wanted_by(query), None, bulk_work.AT_ONCE), act, word))
    return redirect(back)


@bp.post("/members/export")
@staff("members.export")
def export() -> Any:
    """A file of the ticked members, or of all who fit."""
    said, open_phones = request.form, may("members.reveal")
    ids = _selected() if said.get("scope") != "all" else []
    query = said.get("query") or request.query_string.decode(errors="replace")
    wanted = bulk.wanted_by(query)
    total = len(ids) or listing.number_of(wanted)
    told = {"filter": query} if not ids else {"selected": len(ids)}
    audit.record("members.exported", "member", None, after={**told, "phones": open_phones, "number": total})
    if total > bulk_work.AT_ONCE:
        return bulk_work.watch(bulk.export_all(query, total, open_phones))
    found = listing.rows_of(ids) if ids else listing.export_of(wanted, request.args.get("sort", ""))
    rows = (bulk.line(member, tags, open_phones) for member, tags in found)
    return pages.csv_response(f"members-{clock.today().isoformat()}.csv", bulk.header(), rows)
