"""The list of members: narrowing it, acting on many, taking it along as a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import flash, redirect, render_template, request, url_for

from kernel import audit, clock, pages
from kernel.auth import may, safe_next, staff
from kernel.i18n import gettext as _
from kernel.i18n import ngettext

from .. import labels, queries, rules, services
from ..forms import filter_from
from ..queries import MemberFilter
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
