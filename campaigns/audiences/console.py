"""Pages for audiences: the list, the builder with a live count and a sample, the grid of the shop, people from a file."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from apiflask import APIBlueprint
from flask import flash, make_response, redirect, render_template, request, url_for
from sqlalchemy import Select

from kernel import audit, clock, editions, once
from kernel.auth import may, staff
from kernel.errors import Refusal
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from kernel.pages import capped_count, csv_response, keyset, search_chip, searched, ticked
from membership.members.rules import masked_phone
from membership.orders.formats.sheet import FileUnreadable

from . import cells, jobs, labels, queries, rules, services
from .fields import RulesForm
from .forms import AudienceForm, FileForm
from .models import Audience

bp = APIBlueprint(
    "audiences_console", __name__, url_prefix="/console/audiences", template_folder="templates", enable_openapi=False
)


# So many audiences are worked on at once, from the list.
MOST_AT_ONCE = 100


def _tabs(here: str) -> list[tuple[Any, str, bool]]:
    places = [("index", _("List")), ("grid", _("The shop as a grid"))]
    return [(label, url_for(f".{endpoint}"), endpoint == here) for endpoint, label in places]


# ── The list ────────────────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("")
@staff("audiences.view")
def index() -> Any:
    words, kind = _wanted()
    chips = search_chip(words)
    if kind:
        chips.append(("kind", kind, str(labels.LISTED[kind])))
    found = _found(words, kind)
    order = queries.ORDERS.get(request.args.get("sort", ""), queries.ORDERS[""])
    page = keyset(found, order, request.args.get("cursor"))
    return render_template(
        "audiences/index.html",
        tabs_on=_tabs("index"),
        page=page,
        count=capped_count(found),
        rows=[(audience, _said(audience)) for audience in page.rows],
        chips_on=chips,
        labels=labels,
    )


def _wanted() -> tuple[str, str]:
    """What the list is narrowed to: words and the kind, empty for every one that is in use."""
    kind = request.args.get("kind", "")
    return searched(), kind if kind in labels.LISTED else ""


def _found(words: str, kind: str) -> Select[Any]:
    return queries.listed(words, {"rules": False, "list": True}.get(kind), archived=kind == "archived")


@bp.get("/export")
@staff("audiences.view")
def export_list() -> Any:
    header = [_("Audience"), _("Kind"), _("Rules"), _("People"), _("Estimated"), _("Counted")]
    found = _found(*_wanted()).order_by(Audience.id)

    def rows() -> Iterator[list[Any]]:
        for audience in queries.all_of(found):
            counted = clock.local(audience.counted_at).strftime("%Y-%m-%d %H:%M") if audience.counted_at else ""
            kind = labels.SORTS["list" if audience.frozen else "rules"]
            estimated = _("yes") if audience.estimated else _("no")
            yield [audience.name, kind, _said(audience), audience.people, estimated, counted]

    return csv_response("audiences.csv", header, rows())


@bp.post("/remove")
@staff("audiences.edit")
def remove_many() -> Any:
    """What is to be removed and what stays because something speaks of it; removed once somebody has said so."""
    chosen = queries.some_of(ticked(MOST_AT_ONCE))
    found = queries.uses_of_each(chosen)
    used = {audience_id: [use for use in uses if use.holds] for audience_id, uses in found.items()}
    unused = [audience for audience in chosen if not used[audience.id]]
    if not chosen:
        flash(_("Tick the audiences first."), "caution")
        return redirect(url_for(".index"))
    if request.form.get("sure") != "yes":
        return render_template(
            "audiences/remove.html", unused=unused, kept=[(one, used[one.id]) for one in chosen if used[one.id]]
        )
    for audience in unused:
        services.remove(audience, found[audience.id])
    gone, kept = len(unused), len(chosen) - len(unused)
    flash(
        ngettext("One audience is removed.", "%(num)s audiences are removed.", gone), "positive" if gone else "caution"
    )
    if kept:
        flash(ngettext("One is in use and stays.", "%(num)s are in use and stay.", kept), "caution")
    return redirect(url_for(".index"))


@bp.post("/archive")
@staff("audiences.edit")
def archive_many() -> Any:
    chosen = queries.some_of(ticked(MOST_AT_ONCE))
    if not chosen:
        flash(_("Tick the audiences first."), "caution")
        return redirect(url_for(".index"))
    found = queries.uses_of_each(chosen, archived=False)
    unused = [audience for audience in chosen if not any(use.holds for use in found[audience.id])]
    for audience in unused:
        services.archive(audience, [])
    gone, kept = len(unused), len(chosen) - len(unused)
    if gone:
        flash(ngettext("One audience is archived.", "%(num)s audiences are archived.", gone), "positive")
    if kept:
        flash(ngettext("One is in use and stays.", "%(num)s are in use and stay.", kept), "caution")
    return redirect(url_for(".index"))


@bp.post("/export")
@staff("members.export")
def export_many() -> Any:
    chosen = queries.some_of(ticked(MOST_AT_ONCE))
    if not chosen:
        flash(_("Tick the audiences first."), "caution")
        return redirect(url_for(".index"))
    open_phones = may("members.reveal")
    found = [(audience.name, queries.people(rules.parse(audience.definition))) for audience in chosen]
    for audience in chosen:
        audit.record("audience.exported", "audience", audience.id, after={"name": audience.name, "phones": open_phones})
    lines = ([name, *line] for name, people in found for line in _people_lines(people, open_phones))
    return csv_response("audiences-people.csv", [_("Audience"), *_people_header()], lines)


def _said(audience: Audience) -> str:
    """An audience in one sentence, for the list; a list from a file is named by its file."""
    if audience.frozen and audience.source is None:
        return str(_("People from the file %(name)s", name=audience.filename or "–"))
    try:
        return labels.whole(queries.shown_rules(audience))
    except Refusal as refusal:
        return str(refusal.message)


# ── The builder ─────────────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/new")
@staff("audiences.edit")
def new() -> Any:
    cell = request.args.get("cell", "")
    definition = cells.definition_of(cells.grid(), cell) if cell else None
    name = _("Recency %(r)s, frequency %(f)s", r=cell[0], f=cell[1]) if definition is not None else None
    return _page(once.show(AudienceForm(definition=definition, name=name)), None)


@bp.post("/new")
@staff("audiences.edit")
def new_post() -> Any:
    return _written(AudienceForm(), None)


@bp.get("/<int:audience_id>")
@staff("audiences.view")
def edit(audience_id: int) -> Any:
    audience = queries.get_audience(audience_id)
    form = AudienceForm(definition=queries.shown_rules(audience), name=audience.name, audience_id=audience.id)
    editions.show(form, _shown(audience))
    return _page(form, audience)


def _shown(audience: Audience) -> Any:
    return audience.name, queries.shown_rules(audience).dump()


@bp.post("/<int:audience_id>")
@staff("audiences.edit")
def edit_post(audience_id: int) -> Any:
    audience = queries.get_audience(audience_id)
    return _written(AudienceForm(audience_id=audience.id), audience)


def _written(form: AudienceForm, audience: Audience | None) -> Any:
    if form.built:
        return _page(form, audience)
    if not form.validate():
        return _page(form, audience), 422
    if request.form.get("act") == "count":
        return _page(form, audience)
    if audience is None and once.done_before():
        return redirect(url_for(".index"))
    if audience is not None and editions.overtaken(form, partial(_shown, audience), audience, by=("audience.saved",)):
        return _page(form, audience), 409
    saved = services.save(form.name.data or "", form.definition(), audience)
    if saved.refresh_asked_at is not None:
        jobs.write_down.later(audience_id=saved.id)
    if audience is None:
        flash(_("The audience is saved."), "positive")
    else:
        flash(_("The audience is saved. Pushes made from it before keep their rules."), "positive")
    return redirect(url_for(".edit", audience_id=saved.id))


@bp.post("/count")
@staff("audiences.view")
def count() -> Any:
    form = RulesForm()
    return render_template("audiences/_count.html", form=form, **_counted(form, form.rules.validate(form)))


@bp.post("/build")
@staff("audiences.view")
def build() -> Any:
    """The rules as they are written, one added or taken away: nothing is saved."""
    answer = make_response(render_template("audiences/_builder.html", form=RulesForm()))
    answer.headers["HX-Trigger-After-Settle"] = "rules-changed"
    return answer


def _page(form: AudienceForm, audience: Audience | None) -> Any:
    from_file = audience is not None and audience.frozen and audience.source is None
    # A name that is missing is no reason not to count.
    well = not form.errors.keys() - {"name"} and form.rules.data is not None
    shown: dict[str, Any] = _listed(audience) if from_file and audience is not None else _counted(form, well)
    return render_template(
        "audiences/edit.html",
        form=form,
        audience=audience,
        from_file=from_file,
        uses=queries.uses_of(audience) if audience is not None else [],
        copy_once=once.key(),
        **shown,
    )


def _counted(form: RulesForm, well: bool) -> dict[str, Any]:
    """What a page shows of rules as they stand: how many, in words line by line, some of the people."""
    try:
        definition = form.definition()
        reach = queries.count(definition) if well else None
        return {
            "reach": reach,
            "sentence": labels.whole(definition) if well else "",
            "lines": labels.lines(definition) if well else [],
            "sample": queries.sample(definition) if well else [],
            "refusal": None,
        }
    except Refusal as refusal:
        return {"reach": None, "sentence": "", "lines": [], "sample": [], "refusal": str(refusal.message)}


def _listed(audience: Audience) -> dict[str, Any]:
    definition = rules.parse(audience.definition)
    return {
        "reach": queries.count(definition),
        "sentence": _said(audience),
        "lines": [],
        "sample": queries.sample(definition),
        "refusal": None,
    }


# ── What is done with a saved one ───────────────────────────────────────────────────────────────────────────────────


@bp.post("/<int:audience_id>/copy")
@staff("audiences.edit")
def copy(audience_id: int) -> Any:
    audience = queries.get_audience(audience_id)
    if once.done_before():
        return redirect(url_for(".index"))
    fresh = services.copy(audience, _("Copy of %(name)s", name=audience.name)[:80])
    flash(_("This is the copy. The first one stays as it is."), "positive")
    return redirect(url_for(".edit", audience_id=fresh.id))


@bp.post("/<int:audience_id>/freeze")
@staff("audiences.edit")
def freeze(audience_id: int) -> Any:
    audience = queries.get_audience(audience_id)
    services.freeze(audience)
    jobs.write_down.later(audience_id=audience.id)
    flash(_("The people who are in it now are being written down. The list stays until you refresh it."), "positive")
    return redirect(url_for(".edit", audience_id=audience.id))


@bp.post("/<int:audience_id>/refresh")
@staff("audiences.edit")
def refresh(audience_id: int) -> Any:
    audience = queries.get_audience(audience_id)
    services.refresh(audience)
    jobs.write_down.later(audience_id=audience.id)
    flash(_("The list is being written down anew. Until that is done the former one holds."), "positive")
    return redirect(url_for(".edit", audience_id=audience.id))


@bp.post("/<int:audience_id>/thaw")
@staff("audiences.edit")
def thaw(audience_id: int) -> Any:
    audience = queries.get_audience(audience_id)
    services.thaw(audience)
    flash(_("The audience follows its rules again."), "positive")
    return redirect(url_for(".edit", audience_id=audience.id))


@bp.get("/<int:audience_id>/list-state")
@staff("audiences.view")
def list_state(audience_id: int) -> Any:
    audience = queries.get_audience(audience_id)
    answer = make_response(render_template("audiences/_list_state.html", audience=audience))
    if audience.refresh_asked_at is None:
        # The numbers beside it are others now: htmx loads the whole page anew.
        answer.headers["HX-Refresh"] = "true"
    return answer


@bp.post("/<int:audience_id>/remove")
@staff("audiences.edit")
def remove(audience_id: int) -> Any:
    services.remove(queries.get_audience(audience_id))
    flash(_("The audience is removed. Pushes made from it stay as they are."), "positive")
    return redirect(url_for(".index"))


@bp.post("/<int:audience_id>/archive")
@staff("audiences.edit")
def archive(audience_id: int) -> Any:
    services.archive(queries.get_audience(audience_id))
    flash(_("The audience is archived. You find it in the list under “Archived”."), "positive")
    return redirect(url_for(".index"))


@bp.post("/<int:audience_id>/bring-back")
@staff("audiences.edit")
def bring_back(audience_id: int) -> Any:
    audience = queries.get_audience(audience_id)
    services.bring_back(audience)
    flash(_("The audience is in use again."), "positive")
    return redirect(url_for(".edit", audience_id=audience.id))


@bp.post("/<int:audience_id>/export")
@staff("members.export")
def export(audience_id: int) -> Any:
    audience, open_phones = queries.get_audience(audience_id), may("members.reveal")
    definition = rules.parse(audience.definition)
    people = queries.people(definition)
    audit.record("audience.exported", "audience", audience.id, after={"name": audience.name, "phones": open_phones})
    return csv_response(f"audience-{audience.id}.csv", _people_header(), _people_lines(people, open_phones))


def _people_header() -> list[Any]:
    return [_("Member no."), _("Member"), _("Phone"), _("Tier"), _("Orders"), _("Spend, yuan"), _("Last order")]


def _people_lines(people: Any, open_phones: bool) -> Iterator[list[Any]]:
    """Members as plain rows for a file; phones masked for whoever may not see them."""
    for member in queries.streamed(people):
        yield [
            member.id,
            member.shown_name,
            member.phone if open_phones else masked_phone(member.phone),
            f"VIP{member.rank}" if member.rank else "",
            member.orders_count,
            f"{member.spend / 100:.2f}",
            clock.local(member.last_order_at).strftime("%Y-%m-%d") if member.last_order_at else "",
        ]


# ── The shop as a grid ──────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/grid")
@staff("audiences.view")
def grid() -> Any:
    return render_template("audiences/grid.html", tabs_on=_tabs("grid"), grid=cells.grid(), labels=labels)


# ── People from a file ──────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/upload")
@staff("audiences.edit")
def upload() -> Any:
    return render_template("audiences/upload.html", form=once.show(FileForm()))


@bp.post("/upload")
@staff("audiences.edit")
def upload_post() -> Any:
    form, file = FileForm(), request.files.get("file")
    if not form.validate() or file is None:
        return render_template("audiences/upload.html", form=form), 422
    if once.done_before():
        return redirect(url_for(".index"))
    try:
        taken = services.from_file(form.name.data or "", file.stream, file.filename or "")
    except (FileUnreadable, services.TooManyLines) as refusal:
        form.refuse("file", refusal)
        return render_template("audiences/upload.html", form=form), 422
    flash(
        ngettext("One person is on the list.", "%(num)s people are on the list.", taken.people),
        "positive" if taken.people else "caution",
    )
    # Which lines found nobody is said here and kept nowhere.
    return render_template("audiences/taken.html", taken=taken, labels=labels)
