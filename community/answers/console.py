"""Pages for staff: the knowledge base, files in and out, trying a question, learning from people, accuracy, the bot's settings."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from kernel import audit, clock, editions, once
from kernel.auth import acting_staff, may, staff
from kernel.errors import NotFound, Refusal
from kernel.files import FileRefused
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from kernel.pages import attachment, bar, capped_count, csv_response, keyset, search_chip, searched, ticked, url_with

from . import brain, jobs, labels, queries, rules, services
from .forms import BotForm, IntentForm, PackForm, TeachForm, typed_cards
from .models import Intent, SuggestionState, TrainingState

bp = APIBlueprint("answers_console", __name__, url_prefix="/console", template_folder="templates", enable_openapi=False)
DAYS = 30
FILES = {
    "json": "application/json; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


# ── The knowledge base ──────────────────────────────────────────────────────────────────────────────────────────────


def _listing() -> Any:
    asked = request.args
    return queries.listing(
        searched(), asked.get("topic", ""), asked.get("pack", ""), asked.get("state", ""), asked.get("few") == "yes"
    )


def _chips() -> list[tuple[str, str, str]]:
    chips = []
    if topic := request.args.get("topic"):
        chips.append(("topic", topic, _("Theme: %(topic)s", topic=topic)))
    if pack := request.args.get("pack"):
        chips.append(("pack", pack, _("Pack: %(pack)s", pack=_("our own") if pack == "own" else pack)))
    if (state := request.args.get("state", "")) in labels.STATES:
        chips.append(("state", state, str(labels.STATES[state])))
    if request.args.get("few") == "yes":
        chips.append(("few", "yes", _("Fewer than five phrasings")))
    return chips + search_chip(searched())


@bp.get("/answers")
@staff("answers.view")
def index() -> Any:
    found = _listing()
    page = keyset(found, queries.order_of(request.args.get("sort", "")), request.args.get("cursor"))
    return render_template(
        "answers/index.html",
        page=page,
        rows=page.rows,
        count=capped_count(found),
        chosen=_chips(),
        topics=[(topic, topic) for topic in queries.topics()],
        packs=[("own", _("our own")), *((name, name) for name in queries.packs())],
        model=queries.last_model(),
        labels=labels,
        files=FILES,
        key_once=once.key(),
    )


def _editor(form: IntentForm, intent: Intent | None = None, status: int = 200) -> Any:
    return render_template(
        "answers/edit.html",
        form=form,
        intent=intent,
        topics=queries.topics(),
        from_pack=queries.picture_of_pack(intent.id) if intent and not intent.picture else None,
        labels=labels,
    ), status


def _submitted(intent: Intent | None = None) -> Any:
    form = IntentForm().offer(queries.choices(), intent.id if intent else None)
    complete = form.validate()
    try:
        form.keep_picture()
    except FileRefused as refusal:
        form.refuse("file", refusal)
        complete = False
    if not complete:
        return _editor(form, intent, 422)
    if intent is None and once.done_before():
        return redirect(url_for(".index"))
    awaited = bool(form.awaited.data)
    if intent is not None and editions.overtaken(form, partial(_shown, intent, awaited), intent, by=_CHANGED):
        return _editor(form, intent, 409)
    if intent is not None and awaited and not form.picture.data:
        # Whoever saw none has taken none away.
        form.picture.data = intent.picture
    try:
        saved = services.edit(intent.id, form.draft) if intent else services.add(form.draft)
    except Refusal as refusal:
        # What is refused in the middle leaves nothing behind: the page that shows it is no success.
        form.refuse(getattr(refusal, "field", "question"), refusal)
        return _editor(form, intent, 422)
    flash(_("Saved. The bot learns it within a minute and answers with it at once."), "positive")
    return redirect(url_for(".edit", intent_id=saved.id))


@bp.get("/answers/new")
@staff("answers.edit")
def new() -> Any:
    form = IntentForm(formdata=None).offer(queries.choices())
    form.phrasings.data = request.args.get("phrasing", "")[: rules.LONGEST_PHRASING]
    once.show(form)
    return _editor(form)


@bp.post("/answers/new")
@staff("answers.edit")
def new_post() -> Any:
    return _submitted()


@bp.get("/answers/<int:intent_id>")
@staff("answers.view")
def edit(intent_id: int) -> Any:
    intent = queries.get_intent(intent_id)
    form = IntentForm(formdata=None).offer(queries.choices(), intent.id)
    form.show(intent, [row.text for row in queries.phrasings(intent.id)])
    form.awaited.data = "1" if queries.awaits_picture(intent.id) else ""
    editions.show(form, _shown(intent, bool(form.awaited.data)))
    return _editor(form, intent)


_CHANGED = ("intent.added", "intent.edited", "suggestion.approved", "question.settled")


def _shown(intent: Intent, awaited: bool) -> Any:
    """What the editor shows of a question. The picture that came with its pack overtakes nobody who opened it while that was
    still being drawn (`awaited`)."""
    unseen = {"updated_at", "pack", "picture"} if awaited else {"updated_at", "pack"}
    return (
        [getattr(intent, column.key) for column in Intent.__table__.columns if column.key not in unseen],
        [row.text for row in queries.phrasings(intent.id)],
    )


@bp.post("/answers/<int:intent_id>")
@staff("answers.edit")
def edit_post(intent_id: int) -> Any:
    return _submitted(queries.get_intent(intent_id))


@bp.post("/answers/change")
@staff("answers.edit")
def change() -> Any:
    """Whatever is done with the selected questions: on, off or delete."""
    act = request.form.get("act", "")
    if act not in ("on", "off", "delete"):
        raise NotFound
    if act == "delete":
        n = services.delete(ticked())
        flash(ngettext("%(num)s question deleted.", "%(num)s questions deleted.", n), "positive")
    else:
        n = services.change_many(ticked(), act == "on")
        flash(ngettext("%(num)s question changed.", "%(num)s questions changed.", n), "positive" if n else "info")
    return redirect(url_for(".index"))


# ── Files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@bp.post("/answers/export")
@staff("answers.view")
def export() -> Any:
    form = request.form.get("form", "json")
    if form not in FILES:
        raise NotFound
    return attachment(services.exported(form), FILES[form], f"answers.{form}")


def _packs(form: PackForm, status: int = 200) -> Any:
    lately = queries.lately_read()
    return render_template(
        "answers/packs.html",
        form=form,
        shipped=services.shipped(),
        lately=lately,
        drawings=queries.drawings([row.id for row in lately]),
    ), status


@bp.get("/answers/packs")
@staff("answers.edit")
def packs() -> Any:
    return _packs(once.show(PackForm(formdata=None)))


@bp.post("/answers/packs")
@staff("answers.edit")
def packs_post() -> Any:
    form, shipped = PackForm(), bool(request.form.get("shipped"))
    if not shipped and not form.validate():
        return _packs(form, 422)
    if once.done_before():
        return redirect(url_for(".packs", _anchor="lately"))
    if shipped:
        return redirect(url_for(".pack", import_id=services.preview_shipped(acting_staff().id).id))
    upload = request.files[form.file.name]
    try:
        found = services.preview(upload.filename or "", upload.stream.read(), acting_staff().id)
    except services.FileUnusable as refusal:
        form.refuse("file", refusal)
        return _packs(form, 422)
    return redirect(url_for(".pack", import_id=found.id))


@bp.get("/answers/packs/<int:import_id>")
@staff("answers.edit")
def pack(import_id: int) -> Any:
    found = queries.get_import(import_id)
    return render_template(
        "answers/pack.html",
        found=found,
        known=queries.keys_known([row["key"] for row in found.rows]),
        drawing=queries.drawings([found.id]).get(found.id),
        not_drawn=queries.not_drawn(found.id),
        key_once=once.key(),
        labels=labels,
    )


@bp.get("/answers/packs/<int:import_id>/progress")
@staff("answers.edit")
def progress(import_id: int) -> Any:
    drawing = queries.drawings([import_id]).get(import_id)
    if drawing is None:
        raise NotFound
    return bar(render_template("answers/_drawing.html", import_id=import_id, drawing=drawing), drawing.running)


@bp.post("/answers/packs/<int:import_id>/take")
@staff("answers.edit")
def take(import_id: int) -> Any:
    if once.done_before():
        return redirect(url_for(".pack", import_id=import_id))
    fresh, known, came = services.take_in(import_id)
    flash(
        _(
            "Imported. New questions: %(fresh)d, known already: %(known)d, new phrasings: %(came)d.",
            fresh=fresh,
            known=known,
            came=came,
        ),
        "positive",
    )
    if import_id in queries.drawings([import_id]):
        jobs.draw_pictures.later(import_id=import_id)
        return redirect(url_for(".pack", import_id=import_id))
    return redirect(url_for(".index"))


# ── Trying, accuracy ────────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/answers/try")
@staff("answers.view")
def attempt() -> Any:
    text = searched(most=200)
    found = services.reply(text) if text else None
    mind = brain.think()
    return render_template(
        "answers/try.html",
        text=text,
        found=found,
        intents={i.id: i for i in queries.enabled([one.intent_id for one in found.likely])} if found else {},
        reasons=[(name, value) for name, value in mind.reasons(text, found.likely[0].intent_id) if abs(value) > 0.01][
            :12
        ]
        if found and found.likely
        else [],
        thresholds=mind.thresholds,
        trained=mind.model is not None,
        learning=queries.last_model(TrainingState.READY) is not None,
        labels=labels,
    )


@bp.get("/answers/accuracy")
@staff("answers.view")
def accuracy() -> Any:
    model = queries.last_model(TrainingState.READY)
    trial = rules.Trial.load(model.trial) if model else None
    since = clock.now() - timedelta(days=DAYS)
    went = queries.went_by_intent(since)
    each = {int(key): pair for key, pair in trial.each.items()} if trial else {}
    confused = trial.confused if trial else []
    ids = {*each, *went, *(one for meant, taken, _n in confused for one in (meant, taken))}
    names = queries.names([*ids])
    rows = [(names[i], i, *each.get(i, (0, 0)), went.get(i)) for i in ids if i in names]
    return render_template(
        "answers/accuracy.html",
        model=model,
        trial=trial,
        rows=sorted(rows, key=lambda row: (row[3] / row[2] if row[2] else 2, row[0])),
        confused=[(names[m], names[t], n, m, t) for m, t, n in confused if m in names and t in names][:15],
        went=queries.went(since),
        models=queries.models(),
        labels=labels,
        days=DAYS,
    )


# ── Learning from people ────────────────────────────────────────────────────────────────────────────────────────────


def _state() -> SuggestionState:
    wanted = request.args.get("state", "")
    return SuggestionState(wanted) if wanted in set(SuggestionState) else SuggestionState.OPEN


def _learning_tabs(which: str) -> list[Any]:
    suggested, unanswered = queries.waiting()
    return [
        (_("Answered by people"), url_for(".learning"), which == "suggestions", suggested),
        (_("Not answered"), url_for(".unanswered"), which == "unanswered", unanswered),
    ]


@bp.get("/answers/learning")
@staff("talks.view")
def learning() -> Any:
    found = queries.suggested(_state(), searched())
    page = keyset(found, queries.SUGGESTED_ORDER, request.args.get("cursor"), 30)
    rows = page.rows
    return render_template(
        "answers/learning.html",
        page=page,
        rows=rows,
        count=capped_count(found),
        names=queries.names([one.intent_id for one in rows]),
        choices=queries.choices(),
        learning_tabs=_learning_tabs("suggestions"),
        states=[(labels.SUGGESTIONS[s], url_with(state=s.value, cursor=None), s is _state()) for s in SuggestionState],
        state=_state(),
        labels=labels,
    )


@bp.get("/answers/unanswered")
@staff("talks.view")
def unanswered() -> Any:
    found = queries.unanswered(searched())
    page = keyset(found, queries.UNANSWERED_ORDER, request.args.get("cursor"), 30)
    rows = page.rows
    return render_template(
        "answers/unanswered.html",
        page=page,
        rows=rows,
        count=capped_count(found),
        alike=queries.asked_alike([one.folded for one in rows]),
        asked_ever=bool(rows) or queries.anything_asked(),
        choices=queries.choices(),
        learning_tabs=_learning_tabs("unanswered"),
        labels=labels,
    )


@bp.post("/answers/learning/export")
@staff("talks.view")
def export_learning() -> Any:
    header = [
        _("Question"),
        _("What people answered"),
        _("State"),
        _("Likeliest question"),
        _("Learned under"),
        _("When"),
    ]
    rows = queries.file_of(queries.suggested(_state(), searched()), queries.SUGGESTED_ORDER)
    names = queries.names([intent_id for one in rows for intent_id in (one.guess_id, one.intent_id)])
    audit.record("suggestions.exported", "intent", None, after={"number": len(rows)})
    return csv_response(
        f"suggested-questions-{clock.today().isoformat()}.csv",
        header,
        (
            (
                one.text,
                one.answer,
                labels.SUGGESTIONS[one.state],
                names.get(one.guess_id, ""),
                names.get(one.intent_id, ""),
                clock.wall_text(one.at),
            )
            for one in rows
        ),
    )


@bp.post("/answers/unanswered/export")
@staff("talks.view")
def export_unanswered() -> Any:
    header = [_("Question"), _("What became of it"), _("Times asked"), _("Likeliest question"), _("When")]
    rows = queries.file_of(queries.unanswered(searched()), queries.UNANSWERED_ORDER)
    alike = queries.asked_alike(list({one.folded for one in rows}))
    names = queries.names([one.candidates[0][0] for one in rows if one.candidates])
    audit.record("questions.exported", "intent", None, after={"number": len(rows)})
    return csv_response(
        f"unanswered-questions-{clock.today().isoformat()}.csv",
        header,
        (
            (
                one.text,
                labels.BANDS[one.band],
                alike.get(one.folded, 1),
                names.get(one.candidates[0][0], "") if one.candidates else "",
                clock.wall_text(one.at),
            )
            for one in rows
        ),
    )


def _taught() -> tuple[int, str] | None:
    form = TeachForm().offer(queries.choices())
    if not form.validate():
        flash(_("Choose the question it belongs to, and leave some words."), "caution")
        return None
    return form.intent.data, form.text.data or ""


@bp.post("/answers/suggestions/<int:suggestion_id>/approve")
@staff("answers.edit")
def approve(suggestion_id: int) -> Any:
    if (taught := _taught()) is not None:
        services.approve(suggestion_id, taught[0], taught[1], acting_staff().id)
        flash(_("Learned. It counts from the next minute on."), "positive")
    return redirect(url_for(".learning"))


@bp.post("/answers/suggestions/<int:suggestion_id>/reject")
@staff("answers.edit")
def reject(suggestion_id: int) -> Any:
    services.reject(suggestion_id, acting_staff().id)
    flash(_("Left out."), "positive")
    return redirect(url_for(".learning"))


@bp.post("/answers/questions/<int:asked_id>/settle")
@staff("answers.edit")
def settle(asked_id: int) -> Any:
    if (taught := _taught()) is not None:
        services.settle(asked_id, *taught)
        flash(_("Learned. It counts from the next minute on."), "positive")
    return redirect(url_for(".unanswered"))


@bp.post("/answers/questions/<int:asked_id>/dismiss")
@staff("answers.edit")
def dismiss(asked_id: int) -> Any:
    services.dismiss(asked_id)
    flash(_("Left out."), "positive")
    return redirect(url_for(".unanswered"))


# ── The bot ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _bot_page(form: BotForm, status: int = 200) -> Any:
    cards = {card.place: card for card, _intent in queries.cards()}
    return render_template(
        "answers/bot.html",
        form=form,
        cards=cards,
        places=range(1, 10),
        choices=queries.choices(),
        editable=may("answers.settings"),
    ), status


@bp.get("/answers/bot")
@staff("answers.view")
def bot() -> Any:
    return _bot_page(BotForm(formdata=None).show(services.settings()))


@bp.post("/answers/bot")
@staff("answers.settings")
def bot_post() -> Any:
    form = BotForm()
    if not form.validate():
        return _bot_page(form, 422)
    services.save_settings(form.settings)
    flash(_("Saved. It counts from the next question on."), "positive")
    return redirect(url_for(".bot"))


@bp.post("/answers/cards")
@staff("answers.settings")
def cards() -> Any:
    services.save_cards(typed_cards())
    flash(_("The welcome cards are saved."), "positive")
    return redirect(url_for(".bot", _anchor="cards"))
