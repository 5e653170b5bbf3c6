"""Pages for journeys: the list, the picture with its counts, the draft step by step, the people, the log."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from campaigns.pushes import rules as push_rules
from kernel import audit, clock, editions, once
from kernel.auth import acting_staff, staff
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from kernel.pages import capped_count, chosen, csv_response, keyset, search_chip, searched

from . import forms, labels, queries, rules, services
from .models import Journey, JourneyLog, JourneyMember, JourneyState, PlaceState

bp = APIBlueprint(
    "journeys_console", __name__, url_prefix="/console/journeys", template_folder="templates", enable_openapi=False
)
MOST_IDS = 500


def _said(name: str) -> str:
    return searched(name)


def _names() -> labels.Names:
    return labels.Names(*queries.names())


def _narrowed_by() -> tuple[str, JourneyState | None]:
    return searched(), chosen(JourneyState, "state")


@bp.get("")
@staff("journeys.view")
def index() -> Any:
    wanted, state = _narrowed_by()
    statement = queries.listed(wanted, state)
    page = keyset(statement, queries.order_of(_said("sort")), request.args.get("cursor"))
    chips = [("state", state.value, str(labels.STATES[state]))] if state is not None else []
    chips += search_chip(wanted)
    plans = {journey.id: rules.parse(journey.draft) for journey in page.rows}
    known = queries.known()
    return render_template(
        "journeys/index.html",
        page=page,
        count=capped_count(statement),
        plans=plans,
        faults={journey_id: rules.faults(plan, known) for journey_id, plan in plans.items()},
        sums=queries.sums(list(plans)),
        names=_names(),
        labels=labels,
        chips_on=chips,
    )


@bp.post("/export")
@staff("journeys.view")
def export() -> Any:
    rows = queries.exported(*_narrowed_by(), _said("sort"))
    audit.record("journeys.exported", "journey", None, after={"number": len(rows)})
    header = [
        _("Journey"), _("It begins"), _("State"), _("Inside now"), _("Entered"), _("Came to the end"),
        _("Left before the end"),
    ]  # fmt: skip
    sums, names = queries.sums([journey.id for journey in rows]), _names()
    return csv_response(
        f"journeys-{clock.today().isoformat()}.csv",
        header,
        (
            (
                journey.name,
                labels.trigger(rules.parse(journey.draft).trigger, names.groups),
                labels.STATES[journey.state],
                *(getattr(sums[journey.id], name) for name in ("inside", "entered", "done", "left")),
            )
            for journey in rows
        ),
    )


@bp.get("/new")
@staff("journeys.edit")
def new() -> Any:
    return render_template("journeys/new.html", form=once.show(forms.NewForm()))


@bp.post("/new")
@staff("journeys.edit")
def new_post() -> Any:
    form = forms.NewForm()
    if not form.validate():
        return render_template("journeys/new.html", form=form), 422
    if once.done_before():
        return redirect(url_for(".index"))
    plan = rules.Plan(trigger=rules.Trigger(kind=rules.Kind(form.kind.data)))
    journey = services.create(form.name.data or "", plan, acting_staff().id)
    return redirect(url_for(".trigger", journey_id=journey.id))


@bp.get("/<int:journey_id>")
@staff("journeys.view")
def show(journey_id: int) -> Any:
    journey = queries.get_journey(journey_id)
    version = queries.version_of(journey)
    plan = queries.plan_of(version) if version is not None else rules.parse(journey.draft)
    return render_template(
        "journeys/show.html",
        journey=journey,
        version=version,
        plan=plan,
        changed=version is not None and version.plan != journey.draft,
        faults=rules.faults(rules.parse(journey.draft), queries.known()),
        counts=queries.counts(version.id) if version is not None else {},
        sums=queries.sums([journey.id])[journey.id],
        older=queries.in_older_versions(journey) if version is not None else 0,
        trials=queries.trials(journey.id),
        names=_names(),
        labels=labels,
        copy_once=once.key(),
    )


# ── On, off, versions ───────────────────────────────────────────────────────────────────────────────────────────────


@bp.post("/<int:journey_id>/on")
@staff("journeys.edit")
def switch_on(journey_id: int) -> Any:
    journey = queries.get_journey(journey_id)
    services.switch_on(journey, acting_staff().id)
    flash(_("“%(name)s” is on. Whoever it concerns from now on enters it.", name=journey.name), "positive")
    return redirect(url_for(".show", journey_id=journey_id))


@bp.post("/<int:journey_id>/off")
@staff("journeys.edit")
def switch_off(journey_id: int) -> Any:
    journey = queries.get_journey(journey_id)
    out = services.switch_off(journey, take_people_out=request.form.get("people") == "out")
    if out:
        flash(
            ngettext(
                "It is off, and %(num)s member was taken out.", "It is off, and %(num)s members were taken out.", out
            ),
            "caution",
        )
    else:
        flash(_("It is off. Nobody enters any more; who is inside finishes."), "positive")
    return redirect(url_for(".show", journey_id=journey_id))


@bp.post("/<int:journey_id>/publish")
@staff("journeys.edit")
def publish(journey_id: int) -> Any:
    version = services.publish(queries.get_journey(journey_id), acting_staff().id)
    flash(
        _("Version %(number)s is published. Who is inside finishes the version they entered.", number=version.number),
        "positive",
    )
    return redirect(url_for(".show", journey_id=journey_id))


@bp.post("/<int:journey_id>/revert")
@staff("journeys.edit")
def revert(journey_id: int) -> Any:
    services.revert(queries.get_journey(journey_id))
    flash(_("The changes are thrown away; the draft is the published version again."), "positive")
    return redirect(url_for(".show", journey_id=journey_id))


@bp.post("/<int:journey_id>/copy")
@staff("journeys.edit")
def copy(journey_id: int) -> Any:
    journey = queries.get_journey(journey_id)
    if once.done_before():
        return redirect(url_for(".index"))
    fresh = services.copy(journey, _("Copy of %(name)s", name=journey.name), acting_staff().id)
    flash(_("Here is a journey of your own with the same steps. It is off."), "positive")
    return redirect(url_for(".edit", journey_id=fresh.id))


# ── The draft ───────────────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/<int:journey_id>/edit")
@staff("journeys.edit")
def edit(journey_id: int) -> Any:
    journey = queries.get_journey(journey_id)
    form = forms.NameForm(name=journey.name)
    editions.show(form, journey.name)
    return _draft_page(journey, form)


def _draft_page(journey: Journey, form: forms.NameForm, status: int = 200) -> Any:
    plan = rules.parse(journey.draft)
    faults = rules.faults(plan, queries.known())
    version = queries.version_of(journey)
    return render_template(
        "journeys/edit.html",
        journey=journey,
        version=version,
        plan=plan,
        changed=version is None or version.plan != journey.draft,
        faults=faults,
        wrong={fault.step: labels.WRONGS[fault.wrong] for fault in faults},
        names=_names(),
        labels=labels,
        form=form,
    ), status


@bp.post("/<int:journey_id>/name")
@staff("journeys.edit")
def rename(journey_id: int) -> Any:
    journey, form = queries.get_journey(journey_id), forms.NameForm()
    if not form.validate():
        return _draft_page(journey, form, 422)
    if editions.overtaken(form, lambda: journey.name, journey, by=("journey.renamed",)):
        return _draft_page(journey, form, 409)
    services.rename(journey, form.name.data or "")
    flash(_("Saved."), "positive")
    return redirect(url_for(".edit", journey_id=journey_id))


# What changes a draft, for the name of whoever was quicker. A form shows a part of it: two people may work on two parts at once.
_CHANGED = tuple(
    f"journey.{act}" for act in ("changed", "step_added", "step_changed", "step_removed", "step_moved", "reverted")
)
_ENTRY = ("audience", "again_after", "exits")


def _shown(journey: Journey, *fields: str) -> Any:
    plan = rules.parse(journey.draft).dump()
    return [plan[name] for name in fields]


def _shown_step(journey: Journey, step_id: str) -> Any:
    """A step without the steps on its ways, which its form does not show."""
    found = rules.find(rules.parse(journey.draft), step_id)
    return found.model_dump(mode="json", exclude=set(found.ways)), sorted(found.ways)


def _overtaken(form: forms.TriggerForm | forms.EntryForm, journey: Journey, *fields: str) -> bool:
    return editions.overtaken(form, lambda: _shown(journey, *fields), journey, by=_CHANGED)


def _kind(plan: rules.Plan) -> rules.Kind:
    said = request.args.get("kind", "")
    return rules.Kind(said) if said in list(rules.Kind) else plan.trigger.kind


def _trigger_page(journey: Journey, form: forms.TriggerForm) -> str:
    return render_template("journeys/trigger.html", journey=journey, form=form, kind=form.kind, labels=labels)


@bp.get("/<int:journey_id>/trigger")
@staff("journeys.edit")
def trigger(journey_id: int) -> Any:
    journey = queries.get_journey(journey_id)
    plan = rules.parse(journey.draft)
    form = forms.TriggerForm(_kind(plan), plan.trigger)
    editions.show(form, _shown(journey, "trigger"))
    return _trigger_page(journey, form)


@bp.post("/<int:journey_id>/trigger")
@staff("journeys.edit")
def trigger_post(journey_id: int) -> Any:
    journey = queries.get_journey(journey_id)
    form = forms.TriggerForm(_kind(rules.parse(journey.draft)))
    if not form.validate():
        return _trigger_page(journey, form), 422
    if _overtaken(form, journey, "trigger"):
        return _trigger_page(journey, form), 409
    services.set_plan(journey, trigger=form.trigger())
    return redirect(url_for(".edit", journey_id=journey_id))


@bp.get("/<int:journey_id>/rules")
@staff("journeys.edit")
def entry(journey_id: int) -> Any:
    journey = queries.get_journey(journey_id)
    form = forms.EntryForm(rules.parse(journey.draft))
    editions.show(form, _shown(journey, *_ENTRY))
    return render_template("journeys/entry.html", journey=journey, form=form)


@bp.post("/<int:journey_id>/rules")
@staff("journeys.edit")
def entry_post(journey_id: int) -> Any:
    journey = queries.get_journey(journey_id)
    form = forms.EntryForm(rules.parse(journey.draft))
    if not form.validate():
        return render_template("journeys/entry.html", journey=journey, form=form), 422
    if _overtaken(form, journey, *_ENTRY):
        return render_template("journeys/entry.html", journey=journey, form=form), 409
    services.set_plan(journey, **form.values())
    return redirect(url_for(".edit", journey_id=journey_id))


def _spot() -> rules.Spot:
    position = request.args.get("position", "0")
    number = int(position) if position.isascii() and position.isdigit() and len(position) < 4 else 0
    return rules.Spot(_said("parent"), _said("way"), number)


def _step_page(journey: Journey, kind: str, form: forms.StepForm, step: str | None) -> str:
    return render_template(
        "journeys/step.html", journey=journey, kind=kind, form=form, step=step, spot=_spot(), labels=labels,
        placeholders=push_rules.PLACEHOLDERS,
    )  # fmt: skip


@bp.get("/<int:journey_id>/steps/new")
@staff("journeys.edit")
def new_step(journey_id: int) -> Any:
    journey, kind = queries.get_journey(journey_id), _said("kind")
    if kind not in rules.STEPS:
        return render_template("journeys/choose.html", journey=journey, spot=_spot(), labels=labels)
    return _step_page(journey, kind, once.show(forms.step_form(kind)), None)


@bp.post("/<int:journey_id>/steps/new")
@staff("journeys.edit")
def new_step_post(journey_id: int) -> Any:
    journey, kind = queries.get_journey(journey_id), _said("kind")
    if kind not in rules.STEPS:
        raise rules.StepUnknown
    form = forms.step_form(kind)
    if not form.validate():
        return _step_page(journey, kind, form, None), 422
    if not once.done_before():
        services.add_step(journey, _spot(), form.values())
    return redirect(url_for(".edit", journey_id=journey_id))


@bp.get("/<int:journey_id>/steps/<step_id>")
@staff("journeys.edit")
def step(journey_id: int, step_id: str) -> Any:
    journey = queries.get_journey(journey_id)
    found = rules.find(rules.parse(journey.draft), step_id)
    form = forms.step_form(found.kind, found)
    editions.show(form, _shown_step(journey, step_id))
    return _step_page(journey, found.kind, form, step_id)


@bp.post("/<int:journey_id>/steps/<step_id>")
@staff("journeys.edit")
def step_post(journey_id: int, step_id: str) -> Any:
    journey = queries.get_journey(journey_id)
    found = rules.find(rules.parse(journey.draft), step_id)
    form = forms.step_form(found.kind, found)
    if not form.validate():
        return _step_page(journey, found.kind, form, step_id), 422
    if editions.overtaken(form, lambda: _shown_step(journey, step_id), journey, by=_CHANGED):
        return _step_page(journey, found.kind, form, step_id), 409
    services.put_step(journey, {**form.values(), "id": step_id})
    return redirect(url_for(".edit", journey_id=journey_id, _anchor=step_id))


@bp.post("/<int:journey_id>/steps/<step_id>/move")
@staff("journeys.edit")
def move_step(journey_id: int, step_id: str) -> Any:
    services.move_step(queries.get_journey(journey_id), step_id, 1 if request.form.get("to") == "down" else -1)
    return redirect(url_for(".edit", journey_id=journey_id, _anchor=step_id))


@bp.post("/<int:journey_id>/steps/<step_id>/remove")
@staff("journeys.edit")
def remove_step(journey_id: int, step_id: str) -> Any:
    services.remove_step(queries.get_journey(journey_id), step_id)
    flash(_("The step is taken out of the draft."), "positive")
    return redirect(url_for(".edit", journey_id=journey_id))


# ── Trying it ───────────────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/<int:journey_id>/try")
@staff("journeys.edit")
def try_out(journey_id: int) -> Any:
    return _trial_page(queries.get_journey(journey_id), forms.TrialForm())


@bp.post("/<int:journey_id>/try")
@staff("journeys.edit")
def try_out_post(journey_id: int) -> Any:
    journey, form = queries.get_journey(journey_id), forms.TrialForm()
    if not form.validate():
        return _trial_page(journey, form), 422
    member = queries.find_person(form.who.data or "")
    if member is None:
        form.refuse("who", _("Nobody is known by that. Write a whole phone, e-mail address or member number."))
        return _trial_page(journey, form), 422
    place = services.try_out(journey, member.id, acting_staff().id)
    flash(_("The trial has begun. Reload this page to follow it."), "positive")
    return redirect(url_for(".way", journey_id=journey_id, place_id=place.id))


def _trial_page(journey: Journey, form: forms.TrialForm) -> str:
    return render_template(
        "journeys/try.html",
        journey=journey,
        form=form,
        faults=rules.faults(rules.parse(journey.draft), queries.known()),
        trials=queries.trials(journey.id),
        labels=labels,
    )


# ── People ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _people(journey_id: int) -> Any:
    state = chosen(PlaceState, "state")
    return queries.people(journey_id, searched(), state, _said("step"), trial=_said("trial") == "yes")


@bp.get("/<int:journey_id>/people")
@staff("journeys.view")
def people(journey_id: int) -> Any:
    journey = queries.get_journey(journey_id)
    version = queries.version_of(journey)
    plan = queries.plan_of(version) if version is not None else rules.parse(journey.draft)
    statement, names = _people(journey_id), _names()
    return render_template(
        "journeys/people.html",
        journey=journey,
        page=keyset(statement, [JourneyMember.id.desc()], request.args.get("cursor")),
        count=capped_count(statement),
        steps=[(one.id, labels.step(one, names)[:60]) for one in rules.walk(plan.steps)],
        plans=queries.plans(queries.version_ids(journey_id)),
        names=names,
        labels=labels,
        filtered=any(_said(name) for name in ("q", "state", "step", "trial")),
    )


@bp.get("/<int:journey_id>/people.csv")
@staff("journeys.view")
def people_csv(journey_id: int) -> Any:
    queries.get_journey(journey_id)
    header = [
        _("Member no."),
        _("Member"),
        _("Entered"),
        _("State"),
        _("Step"),
        _("Step no."),
        _("Goes on at"),
        _("Finished at"),
        _("Reason"),
    ]
    return csv_response(f"journey-{journey_id}-people.csv", header, _lines(journey_id))


def _lines(journey_id: int) -> Iterator[list[Any]]:
    names = _names()
    said = {
        (version_id, step.id): labels.step(step, names)
        for version_id, plan in queries.plans(queries.version_ids(journey_id)).items()
        for step in rules.walk(plan.steps)
    }
    for place, member in queries.streamed(_people(journey_id).order_by(JourneyMember.id)):
        yield [
            member.id,
            member.shown_name,
            _instant(place.entered_at),
            labels.PLACES[place.state],
            said.get((place.version_id, place.step or ""), ""),
            place.step or "",
            _instant(place.due_at),
            _instant(place.ended_at),
            labels.reason(place.reason),
        ]


def _instant(value: datetime | None) -> str:
    return clock.local(value).strftime("%Y-%m-%d %H:%M:%S") if value else ""


@bp.post("/<int:journey_id>/people/take-out")
@staff("journeys.edit")
def take_many_out(journey_id: int) -> Any:
    queries.get_journey(journey_id)
    wanted = [int(one) for one in request.form.getlist("ids") if one.isascii() and one.isdigit() and len(one) < 19]
    out = services.take_some_out(journey_id, wanted[:MOST_IDS])
    flash(ngettext("%(num)s member was taken out.", "%(num)s members were taken out.", out), "positive")
    return redirect(url_for(".people", journey_id=journey_id))


@bp.get("/<int:journey_id>/people/<int:place_id>")
@staff("journeys.view")
def way(journey_id: int, place_id: int) -> Any:
    journey, place = queries.get_journey(journey_id), queries.get_place(journey_id, place_id)
    plan = queries.plans([place.version_id])[place.version_id]
    return render_template(
        "journeys/way.html",
        journey=journey,
        place=place,
        member=queries.member_of(place),
        rows=queries.way_of(place.id),
        steps={step.id: step for step in rules.walk(plan.steps)},
        names=_names(),
        labels=labels,
    )


@bp.post("/<int:journey_id>/people/<int:place_id>/take-out")
@staff("journeys.edit")
def take_out(journey_id: int, place_id: int) -> Any:
    services.take_out(queries.get_place(journey_id, place_id))
    flash(_("They are out. Nothing more comes from this journey."), "positive")
    return redirect(url_for(".way", journey_id=journey_id, place_id=place_id))


@bp.get("/<int:journey_id>/log")
@staff("journeys.view")
def log(journey_id: int) -> Any:
    journey = queries.get_journey(journey_id)
    wanted, trial = searched(), _said("trial") == "yes"
    statement = queries.logged(journey_id, trial, wanted)
    chips = [("trial", "yes", _("Only trials"))] if trial else []
    chips += search_chip(wanted)
    page = keyset(statement, [JourneyLog.id.desc()], request.args.get("cursor"))
    return render_template(
        "journeys/log.html",
        journey=journey,
        page=page,
        count=capped_count(statement),
        plans=queries.plans({row[0].version_id for row in page.rows}),
        names=_names(),
        labels=labels,
        chips_on=chips,
    )
