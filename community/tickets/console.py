"""Pages for staff: the tickets as a list and a board, a ticket, saved answers, who is on, the desk's promises, results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from community.desk import queries as desk
from kernel import audit, clock, editions, files, links, once
from kernel.auth import acting_staff, may, safe_next, staff
from kernel.errors import NotFound, Refusal
from kernel.files import FileRefused
from kernel.forms import Form
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from kernel.pages import (
    capped_count,
    chosen,
    csv_response,
    instants,
    keyset,
    period,
    row_or_none,
    search_chip,
    searched,
    ticked,
    url_with,
)
from membership.members import labels as member_labels
from membership.members import queries as members
from membership.members.models import CustomerType, Member
from membership.members.rules import masked_phone
from membership.orders import queries as orders
from membership.orders.models import Order

from . import labels, queries, rules, services
from .forms import (
    AnswerForm,
    DeskForm,
    MacroForm,
    OpenForm,
    PresenceForm,
    answers_typed,
    promise_typed,
    steps_typed,
)
from .models import AgentPresence, Macro, Ticket, TicketKind, TicketSource, TicketState
from .queries import Phrase, Wanted

bp = APIBlueprint("tickets_console", __name__, url_prefix="/console", template_folder="templates", enable_openapi=False)
RATING_LASTS = timedelta(days=60)


# ── The list and the board ──────────────────────────────────────────────────────────────────────────────────────────


def _wanted() -> Wanted:
    view, who = request.args.get("view", "live"), request.args.get("who", "")
    me = acting_staff().id
    return Wanted(
        view=view if view in labels.VIEWS else "live",
        q=searched(),
        kind=chosen(TicketKind, "kind"),
        state=chosen(TicketState, "state"),
        source=chosen(TicketSource, "source"),
        assignee=me if who == "me" else 0 if who == "nobody" else row_or_none(who),
        me=me,
    )


def _chips(wanted: Wanted) -> list[tuple[str, str, str]]:
    chips = []
    if wanted.kind:
        chips.append(("kind", wanted.kind.value, _("Kind: %(kind)s", kind=labels.KINDS[wanted.kind])))
    if wanted.state:
        chips.append(("state", wanted.state.value, _("State: %(state)s", state=labels.STATES[wanted.state])))
    if wanted.source:
        chips.append(("source", wanted.source.value, _("Opened by: %(source)s", source=labels.SOURCES[wanted.source])))
    if wanted.assignee is not None:
        who = request.args.get("who", "")
        name = queries.names([wanted.assignee]).get(wanted.assignee, "–") if wanted.assignee else _("Not assigned")
        chips.append(("who", who, _("Assigned to: %(name)s", name=name)))
    chips += search_chip(wanted.q)
    return chips


def _people() -> list[tuple[str, Any]]:
    return [
        ("me", _("Mine")),
        ("nobody", _("Not assigned")),
        *((str(person.id), person.name) for person in queries.agents()),
    ]


def _presence() -> dict[str, Any]:
    me = acting_staff()
    found = queries.presence_of(me.id)
    return {"is_on": found is not None and found.is_on, "on_now": len(queries.agents_on())}


@bp.get("/tickets")
@staff("tickets.view")
def index() -> Any:
    wanted = _wanted()
    found = queries.listing(wanted)
    page = keyset(found, queries.order_of(request.args.get("sort", ""), wanted.view), request.args.get("cursor"))
    tallies = queries.tallies(wanted.me)
    counts = {
        "live": tallies.live,
        "mine": tallies.mine,
        "nobody": tallies.nobody,
        "late": tallies.late,
        "resolved": tallies.resolved,
    }
    return render_template(
        "tickets/index.html",
        page=page,
        rows=[row[:3] for row in page.rows],
        count=capped_count(found),
        view=wanted.view,
        views=[
            (label, url_with(view=None if key == "live" else key), wanted.view == key, counts.get(key))
            for key, label in labels.VIEWS.items()
        ],
        chosen=_chips(wanted),
        people=_people(),
        agents=queries.agents(),
        presence=_presence(),
        labels=labels,
        late=rules.is_late,
        now=clock.now(),
        served_first=desk.served_first,
    )


@bp.get("/tickets/board")
@staff("tickets.view")
def board() -> Any:
    wanted = _wanted()
    return render_template(
        "tickets/board.html",
        columns=queries.board(wanted),
        moves={state: [s for s in TicketState if s in rules.MOVES[state]] for state in TicketState},
        chosen=_chips(wanted),
        people=_people(),
        presence=_presence(),
        labels=labels,
        late=rules.is_late,
        now=clock.now(),
    )


@bp.post("/tickets/export")
@staff("tickets.view")
def export() -> Any:
    wanted = _wanted()
    rows = queries.export(queries.listing(wanted), queries.order_of(request.args.get("sort", ""), wanted.view))
    shown = may("members.reveal") and may("members.export")
    audit.record("tickets.exported", "ticket", None, after={"phones": shown})
    header = [
        _("Number"),
        _("Customer"),
        _("Phone"),
        _("Kind"),
        _("State"),
        _("Subject"),
        _("Assigned to"),
        _("Since when"),
        _("Due by"),
        _("First answer (minutes)"),
        _("Time to resolve (minutes)"),
        _("How satisfied are they"),
    ]
    return csv_response(
        "tickets.csv",
        header,
        [
            (
                ticket.id,
                member.shown_name,
                (member.phone or "") if shown else masked_phone(member.phone),
                labels.KINDS[ticket.kind],
                labels.STATES[ticket.state],
                ticket.subject,
                name or "",
                clock.wall_text(ticket.opened_at),
                clock.wall_text(ticket.due_at),
                ticket.answered_minutes,
                ticket.resolution_minutes,
                ticket.satisfaction,
            )
            for ticket, member, name in rows
        ],
    )


@bp.post("/tickets/take")
@staff("tickets.handle")
def take_many() -> Any:
    me = acting_staff()
    chosen = ticked(500)
    moved = services.assign_many(chosen, me.id, me.id)
    flash(ngettext("%(num)s ticket is yours now.", "%(num)s tickets are yours now.", moved), "positive")
    _say_what_stayed(len(chosen) - moved)
    return redirect(url_for(".index", view="mine"))


def _say_what_stayed(left: int) -> None:
    if left > 0:
        flash(
            _("Only tickets that nobody had were taken; what a colleague has is handed over on its own page."), "info"
        )


@bp.post("/tickets/assign")
@staff("tickets.assign")
def assign_many() -> Any:
    to = row_or_none(request.form.get("to"))
    if to is None:
        flash(_("Choose who is to see to them."), "caution")
        return redirect(url_for(".index"))
    chosen = ticked(500)
    moved = services.assign_many(chosen, to, acting_staff().id)
    name = queries.names([to]).get(to, "–")
    flash(
        ngettext("%(num)s ticket is with %(name)s now.", "%(num)s tickets are with %(name)s now.", moved, name=name),
        "positive",
    )
    _say_what_stayed(len(chosen) - moved)
    return redirect(url_for(".index"))


@bp.post("/tickets/resolve")
@staff("tickets.handle")
def resolve_many() -> Any:
    done = services.resolve_many(ticked(500), acting_staff().id)
    flash(ngettext("%(num)s ticket is resolved.", "%(num)s tickets are resolved.", done), "positive")
    return redirect(url_for(".index", view="resolved"))


@bp.post("/tickets/presence")
@staff("tickets.handle")
def presence() -> Any:
    on = request.form.get("on") == "1"
    services.set_presence(acting_staff().id, on)
    flash(
        _("You are on duty: what waits is handed to you.")
        if on
        else _("You are off duty: nothing new is handed to you."),
        "info",
    )
    return redirect(safe_next(request.form.get("next"), url_for(".index")))


# ── A ticket ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _said(text: str, staff_id: int) -> Phrase | None:
    """The saved answer or script that an address names (`macro-12`)."""
    name, _dash, number = text.partition("-")
    wanted = row_or_none(number)
    if wanted is None:
        return None
    if name == "macro":
        macro = queries.get_macro(wanted, staff_id)
        return Phrase(macro.title, macro.body, macro.id)
    if name == "script":
        script = desk.get_script(wanted, staff_id)
        return Phrase(script.title, script.body, None, script.id)
    return None


def _phrases(ticket: Ticket, member: Member) -> dict[str, Any]:
    who = acting_staff()
    words = services.words_for(member, who, ticket)
    kind = chosen(CustomerType, "type") or member.customer_type
    q = searched("phrases")
    found = queries.phrases(who.id, who.role, q, ticket.kind, kind)
    return {
        "phrases": [(phrase, rules.fill(phrase.body, words)) for phrase in found],
        "phrase_words": q,
        "chosen_type": kind,
        "member_labels": member_labels,
        "here": url_for(".show", ticket_id=ticket.id),
    }


def _ticket_page(
    ticket: Ticket,
    form: AnswerForm | None = None,
    status: int = 200,
    faults: Mapping[str, str] | None = None,
    typed: Mapping[str, str] | None = None,
    refused: Refusal | None = None,
) -> Any:
    member = members.get_member(ticket.member_id)
    who = acting_staff()
    entries = queries.entries(ticket.id)
    if form is None:
        form = AnswerForm(formdata=None)
        once.show(form)
        chosen = _said(request.args.get("say", ""), who.id)
        if chosen is not None:
            form.body.data = rules.fill(chosen.body, services.words_for(member, who, ticket))
            form.macro.data = f"macro-{chosen.macro_id}" if chosen.macro_id else f"script-{chosen.script_id}"
        form.seen.data = str(queries.last_spoken(ticket.id))
    bought, steps = _purchase(ticket), queries.steps_of(ticket)
    done = queries.steps_done(ticket.id)
    rate = links.absolute(
        url_for(
            "tickets_portal.rate_by_link",
            token=links.make("ticket.rate", ticket.id, expires_at=clock.now() + RATING_LASTS),
        )
    )
    return render_template(
        "tickets/show.html",
        ticket=ticket,
        member=member,
        entries=entries,
        form=form,
        labels=labels,
        names=queries.names([ticket.assignee_id, *(entry.staff_id for entry in entries)]),
        steps=[(step, done.get(step.key)) for step in steps],
        next_step=rules.step_of(steps, ticket.step),
        faults=faults or {},
        refused=refused,
        unkept="\n".join(words for words in (typed or {}).values() if words.strip()) if refused else "",
        typed=typed or {},
        agents=queries.agents(),
        bought=bought,
        late=rules.is_late,
        now=clock.now(),
        moves=rules.MOVES[ticket.state],
        rate_link=rate if not ticket.live and ticket.satisfaction is None else None,
        served_first=desk.served_first(member),
        **_phrases(ticket, member),
    ), status


def _purchase(ticket: Ticket) -> desk.Purchase | None:
    if ticket.order_id is None:
        return None
    return desk.Purchase(orders.get_order(ticket.order_id), orders.lines_of(ticket.order_id))


@bp.get("/tickets/<int:ticket_id>")
@staff("tickets.view")
def show(ticket_id: int) -> Any:
    return _ticket_page(queries.get_ticket(ticket_id))


@bp.get("/tickets/<int:ticket_id>/phrases")
@staff("tickets.view")
def phrases(ticket_id: int) -> Any:
    ticket = queries.get_ticket(ticket_id)
    member = members.get_member(ticket.member_id)
    return render_template("tickets/_phrases.html", **_phrases(ticket, member))


@bp.get("/tickets/<int:ticket_id>/pictures/<key>")
@staff("tickets.view")
def picture(ticket_id: int, key: str) -> Any:
    if not queries.has_picture(ticket_id, key, public=False):
        raise NotFound
    return files.send_private(key)


def _back(ticket_id: int) -> Any:
    return redirect(url_for(".show", ticket_id=ticket_id))


@bp.post("/tickets/<int:ticket_id>/answers")
@staff("tickets.handle")
def answer(ticket_id: int) -> Any:
    form, ticket, me = AnswerForm(), queries.get_ticket(ticket_id), acting_staff()
    if not form.validate():
        return _ticket_page(ticket, form, 422)
    if once.done_before():
        return _back(ticket_id)
    try:
        pictures = form.keep()
        if form.internal.data:
            services.note(ticket_id, me.id, form.body.data or "", pictures)
            flash(_("Kept for colleagues."), "positive")
            return _back(ticket_id)
        services.answer(
            ticket_id,
            me.id,
            form.body.data or "",
            pictures,
            TicketState(form.then.data),
            row_or_none(form.seen.data),
        )
    except FileRefused as refusal:
        form.refuse("pictures", refusal)
        return _ticket_page(ticket, form, 422)
    except services.NothingSaid as refusal:
        form.refuse("body", refusal)
        return _ticket_page(ticket, form, 422)
    except services.AnsweredMeanwhile as refusal:
        form.refuse("body", refusal)
        form.seen.data = str(queries.last_spoken(ticket_id))
        return _ticket_page(ticket, form, 409)
    except services.MoveNotListed:
        form.refuse("body", _("The ticket is closed. Open it again, then send this; your words are still here."))
        return _ticket_page(queries.get_ticket(ticket_id), form, 409)
    services.note_said(form.macro.data or "")
    flash(_("The customer can read it now."), "positive")
    return _back(ticket_id)


@bp.post("/tickets/<int:ticket_id>/steps/<key>")
@staff("tickets.handle")
def step(ticket_id: int, key: str) -> Any:
    ticket = queries.get_ticket(ticket_id)
    found = rules.step_of(queries.steps_of(ticket), key)
    if found is None:
        raise NotFound
    if "skip" in request.form:
        services.do_step(ticket_id, key, None, acting_staff().id)
        flash(_("Skipped."), "info")
        return _back(ticket_id)
    typed = answers_typed(ask.key for ask in found.asks)
    try:
        services.do_step(ticket_id, key, typed, acting_staff().id)
    except services.StepIncomplete as refusal:
        faults = {asked: str(labels.FAULTS[fault]) for asked, fault in refusal.faults}
        return _ticket_page(ticket, status=422, faults=faults, typed=typed)
    except (services.StepDone, services.MoveNotListed) as refusal:
        return _ticket_page(queries.get_ticket(ticket_id), status=409, typed=typed, refused=refusal)
    flash(_("Step done: %(step)s", step=labels.step_name(found)), "positive")
    return _back(ticket_id)


@bp.post("/tickets/<int:ticket_id>/state")
@staff("tickets.handle")
def state(ticket_id: int) -> Any:
    to, frm = request.form.get("to", ""), request.form.get("from", "")
    if to not in {s.value for s in TicketState}:
        raise NotFound
    known = TicketState(frm) if frm in {s.value for s in TicketState} else None
    services.change_state(ticket_id, TicketState(to), acting_staff().id, known)
    flash(_("Now: %(state)s", state=labels.STATES[TicketState(to)]), "positive")
    return redirect(safe_next(request.form.get("next"), url_for(".show", ticket_id=ticket_id)))


@bp.post("/tickets/<int:ticket_id>/claim")
@staff("tickets.handle")
def claim(ticket_id: int) -> Any:
    services.claim(ticket_id, acting_staff().id)
    flash(_("The ticket is yours."), "positive")
    return _back(ticket_id)


@bp.post("/tickets/<int:ticket_id>/release")
@staff("tickets.handle")
def release(ticket_id: int) -> Any:
    services.release(ticket_id, acting_staff().id)
    flash(_("Given back: anybody may take it."), "positive")
    return _back(ticket_id)


@bp.post("/tickets/<int:ticket_id>/assign")
@staff("tickets.assign")
def assign(ticket_id: int) -> Any:
    to = row_or_none(request.form.get("to"))
    if to is None:
        raise NotFound
    services.assign(ticket_id, to, acting_staff().id)
    flash(_("Assigned to %(name)s", name=queries.names([to]).get(to, "–")), "positive")
    return _back(ticket_id)


@bp.post("/tickets/<int:ticket_id>/kind")
@staff("tickets.handle")
def kind(ticket_id: int) -> Any:
    to = request.form.get("kind", "")
    if to not in {k.value for k in TicketKind}:
        raise NotFound
    services.change_kind(ticket_id, TicketKind(to), acting_staff().id)
    flash(_("Put under “%(kind)s”", kind=labels.KINDS[TicketKind(to)]), "positive")
    return _back(ticket_id)


# ── Opening one ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _new_page(form: OpenForm, member: Member | None, status: int = 200) -> Any:
    q = searched()
    return render_template(
        "tickets/new.html",
        form=form,
        member=member,
        found=queries.people(q) if member is None and q else [],
        q=q,
        labels=labels,
        orders=orders.orders_of(member.id, limit=12) if member is not None else [],
    ), status


@bp.get("/tickets/new")
@staff("tickets.handle")
def new() -> Any:
    number = row_or_none(request.args.get("member"))
    member = members.get_member(number) if number is not None else None
    form = OpenForm(formdata=None, kind=request.args.get("kind") or TicketKind.RETURN.value)
    form.order.data = request.args.get("order", "")[:80]
    call = row_or_none(request.args.get("call"))
    if call is not None:
        task = desk.get_task(call)
        if member is None or task.member_id != member.id:
            raise NotFound
        form.call.data = str(call)
        form.body.data = task.outcome_note
        if task.order_id is not None and not form.order.data:
            form.order.data = orders.get_order(task.order_id).external_id
    form.member.data = str(member.id) if member is not None else ""
    once.show(form)
    return _new_page(form, member)


@bp.post("/tickets/new")
@staff("tickets.handle")
def new_post() -> Any:
    form = OpenForm()
    number = row_or_none(form.member.data)
    if number is None:
        return _new_page(form, None, 422)
    member = members.get_member(number)
    if not form.validate():
        return _new_page(form, member, 422)
    call = row_or_none(form.call.data)
    if call is not None and desk.get_task(call).member_id != member.id:
        raise NotFound
    if once.done_before():
        return redirect(url_for(".index"))
    known = call is not None and queries.is_opened_for(f"call:{call}")
    try:
        order_id = _order_id(member.id, form.order.data)
        ticket = services.open_ticket(
            services.Opening(
                member_id=member.id,
                kind=TicketKind(form.kind.data),
                subject=form.subject.data or "",
                text=form.body.data or "",
                order_id=order_id,
                pictures=form.keep(),
                source=TicketSource.CALL if call is not None else TicketSource.STAFF,
                source_key=f"call:{call}" if call is not None else None,
                staff_id=acting_staff().id,
            )
        )
    except services.NotTheirOrder as refusal:
        form.refuse("order", refusal)
    except services.NothingSaid as refusal:
        form.refuse("body", refusal)
    except FileRefused as refusal:
        form.refuse("pictures", refusal)
    else:
        if known:
            flash(_("This call has a ticket already. What you wrote stands in it as a note."), "info")
        else:
            flash(_("The ticket is open."), "positive")
        return _back(ticket.id)
    return _new_page(form, member, 422)


def _order_id(member_id: int, number: str | None) -> int | None:
    if not (number or "").strip():
        return None
    found = queries.order_of_member(member_id, number or "")
    if found is None:
        raise services.NotTheirOrder
    return found


# ── Places on other pages ───────────────────────────────────────────────────────────────────────────────────────────


def member_button(member: Member, **_values: Any) -> str:
    """The button “open a ticket” on a member's page (slot `member.actions`)."""
    return render_template("tickets/_member_button.html", member=member) if may("tickets.handle") else ""


def member_tickets(member: Member, **_values: Any) -> str:
    """A member's tickets beside their page (slot `member.side`)."""
    if not may("tickets.view"):
        return ""
    shown = (request.view_args or {}).get("ticket_id") if request.endpoint == "tickets_console.show" else None
    found = [ticket for ticket in queries.of_member(member.id) if ticket.id != shown]
    return render_template("tickets/_member_tickets.html", member=member, tickets=found, labels=labels)


def order_button(order: Order, **_values: Any) -> str:
    """The way from an order to a ticket about it (slot `order.side`)."""
    if order.member_id is None or not may("tickets.handle"):
        return ""
    return render_template("tickets/_order_button.html", order=order)


def call_button(task: Any, **_values: Any) -> str:
    """The way from a call to a ticket (slot `call.actions`)."""
    if not may("tickets.handle"):
        return ""
    kinds = {"refused_parcel": "refused_parcel", "wrong_address": "wrong_address"}
    return render_template("tickets/_call_button.html", task=task, kind=kinds.get(task.reason.value, "complaint"))


# ── Saved answers ───────────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/macros")
@staff("tickets.view")
def macros() -> Any:
    q, wanted = searched(), chosen(TicketKind, "kind")
    found = queries.macros(acting_staff().id, q, wanted)
    chips = [("kind", wanted.value, _("Kind: %(kind)s", kind=labels.KINDS[wanted]))] if wanted else []
    chips += search_chip(q)
    return render_template(
        "tickets/macros.html",
        page=keyset(found, queries.macro_order(), request.args.get("cursor")),
        count=capped_count(found),
        chosen=chips,
        labels=labels,
    )


def _macro_page(form: MacroForm, macro: Any = None, status: int = 200) -> Any:
    return render_template("tickets/macro.html", form=form, macro=macro), status


def _save_macro(form: MacroForm, macro: Macro | None = None) -> Any:
    if form.validate():
        if macro is not None and editions.overtaken(
            form, partial(_shown_macro, macro), macro, by=("macro.added", "macro.edited")
        ):
            return _macro_page(form, macro, 409)
        if macro is None and once.done_before():
            return redirect(url_for(".macros"))
        draft = services.MacroDraft(form.title.data or "", form.body.data or "", form.chosen_kind, bool(form.mine.data))
        try:
            if macro is None:
                services.add_macro(draft, acting_staff().id)
            else:
                services.edit_macro(macro.id, draft, acting_staff().id)
        except services.PlaceUnknown as refusal:
            form.refuse("body", refusal)
        else:
            flash(_("Saved."), "positive")
            return redirect(url_for(".macros"))
    return _macro_page(form, macro, 422)


@bp.get("/macros/new")
@staff("macros.edit")
def new_macro() -> Any:
    return _macro_page(once.show(MacroForm(formdata=None)))


@bp.post("/macros/new")
@staff("macros.edit")
def new_macro_post() -> Any:
    return _save_macro(MacroForm())


@bp.get("/macros/<int:macro_id>")
@staff("tickets.view")
def edit_macro(macro_id: int) -> Any:
    macro = queries.get_macro(macro_id, acting_staff().id)
    form = MacroForm(formdata=None, title=macro.title, body=macro.body, mine=macro.owner_id is not None)
    form.kind.data = macro.kind.value if macro.kind else ""
    editions.show(form, _shown_macro(macro))
    return _macro_page(form, macro)


def _shown_macro(macro: Macro) -> Any:
    return macro.title, macro.body, macro.kind, macro.owner_id


@bp.post("/macros/<int:macro_id>")
@staff("macros.edit")
def edit_macro_post(macro_id: int) -> Any:
    return _save_macro(MacroForm(), queries.get_macro(macro_id, acting_staff().id))


@bp.post("/macros/<int:macro_id>/delete")
@staff("macros.edit")
def delete_macro(macro_id: int) -> Any:
    services.delete_macro(macro_id, acting_staff().id)
    flash(_("The saved answer is deleted."), "positive")
    return redirect(url_for(".macros"))


# ── Who is on, and what is promised ─────────────────────────────────────────────────────────────────────────────────


def _desk_page(form: DeskForm, status: int = 200) -> Any:
    settings = services.desk_settings()
    typed = {
        kind: (
            request.form.get(f"answer_{kind.value}", settings.promises[kind].answer),
            request.form.get(f"resolve_{kind.value}", settings.promises[kind].resolve // 60),
        )
        for kind in TicketKind
    }
    roster = queries.roster()
    return render_template(
        "tickets/desk.html",
        form=form,
        promises=typed,
        roster=roster,
        marks={person.id: _marked(presence) for person, presence, _open, _waiting in roster},
        caps_of=services.caps_of,
        labels=labels,
        role_editable=may("tickets.settings"),
    ), status


@bp.get("/desk-settings")
@staff("tickets.view")
def desk_page() -> Any:
    return _desk_page(_settings_form())


def _settings_form() -> DeskForm:
    form = DeskForm(formdata=None).show(services.desk_settings())
    editions.show(form, _shown_settings())
    return form


def _shown_presence(presence: AgentPresence | None) -> Any:
    return (presence.is_on, presence.ticket_cap, presence.talk_cap) if presence is not None else (False, None, None)


def _marked(presence: AgentPresence | None) -> str:
    """The mark of what the page shows of whether somebody is on, and how much they take."""
    form = PresenceForm(formdata=None)
    editions.show(form, _shown_presence(presence))
    return form.based_on


# The desk's page and those of the kinds write one setting, so one name holds it.
_SETTINGS_SAVED = ("desk.settings_saved",)


def _shown_settings() -> Any:
    return rules.settings_to(services.desk_settings())


@bp.post("/desk-settings")
@staff("tickets.settings")
def desk_page_post() -> Any:
    form = DeskForm()
    if not form.validate():
        return _desk_page(form, 422)
    if editions.overtaken(form, _shown_settings, by=_SETTINGS_SAVED):
        return _desk_page(form, 409)
    services.save_settings(form.settings)
    flash(_("Saved. Tickets that are open keep what they were promised."), "positive")
    return redirect(url_for(".desk_page"))


@bp.post("/desk-settings/<int:staff_id>")
@staff("tickets.settings")
def agent_caps(staff_id: int) -> Any:
    form = PresenceForm()
    if not form.validate():
        flash(_("Write whole numbers, or leave them empty."), "caution")
        return redirect(url_for(".desk_page"))
    if staff_id not in {person.id for person in queries.agents()}:
        raise NotFound
    if editions.overtaken(form, lambda: _shown_presence(queries.presence_of(staff_id)), by=("desk.presence_saved",)):
        # Somebody went off for lunch since: saving their caps must not have them handed what waits.
        flash(
            _("This has changed since you opened the page. It is shown as it stands now: save again what you need."),
            "caution",
        )
        return _desk_page(_settings_form(), 409)
    services.set_presence(
        staff_id, request.form.get("on") == "1", form.ticket_cap.data, form.talk_cap.data, keep_caps=False
    )
    flash(_("Saved."), "positive")
    return redirect(url_for(".desk_page"))


# ── The steps of each kind ──────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/workflows")
@staff("tickets.view")
def workflows() -> Any:
    settings = services.desk_settings()
    return render_template(
        "tickets/workflows.html",
        kinds=[
            (kind, queries.steps_now(kind), queries.workflow_now(kind), settings.promises[kind]) for kind in TicketKind
        ],
        labels=labels,
    )


def _workflow_page(
    kind: TicketKind,
    steps: Sequence[rules.Step] | None = None,
    fault: str = "",
    status: int = 200,
    form: Form | None = None,
) -> Any:
    if form is None:
        form = Form()
        if request.method == "GET":
            editions.show(form, _shown_promise(kind))
    versions = queries.workflow_versions(kind)
    return render_template(
        "tickets/workflow.html",
        form=form,
        kind=kind,
        steps=queries.steps_now(kind) if steps is None else steps,
        own=queries.workflow_now(kind),
        version=services.workflow_version(kind),
        versions=versions,
        names=queries.names([row.made_by_id for row in versions]),
        promise=services.desk_settings().promises[kind],
        fault=labels.WORKFLOW_FAULTS.get(fault, fault),
        rules=rules,
        labels=labels,
        editable=may("tickets.settings"),
    ), status


def _shown_promise(kind: TicketKind) -> Any:
    return services.desk_settings().promises[kind]


def _kind_named(text: str) -> TicketKind:
    if text not in {kind.value for kind in TicketKind}:
        raise NotFound
    return TicketKind(text)


@bp.get("/workflows/<kind>")
@staff("tickets.view")
def workflow(kind: str) -> Any:
    return _workflow_page(_kind_named(kind))


@bp.post("/workflows/<kind>")
@staff("tickets.settings")
def workflow_post(kind: str) -> Any:
    wanted, seen = _kind_named(kind), row_or_none(request.form.get("version")) or 0
    standard, present = "standard" in request.form, queries.steps_now(wanted)
    steps = () if standard else steps_typed(present)
    promise = promise_typed(wanted)
    if not standard and promise is None:
        return _workflow_page(wanted, steps, _("Promises are whole numbers of minutes and hours, at least one."), 422)
    if not standard and not steps:
        return _workflow_page(wanted, None, "number", 422)
    form = Form()
    new = promise not in (None, _shown_promise(wanted))
    if new and editions.overtaken(form, lambda: _shown_promise(wanted), by=_SETTINGS_SAVED):
        return _workflow_page(wanted, steps, status=409, form=form)
    try:
        # A promise alone makes no version: steps that nobody touched go on as they are.
        if standard or steps != present:
            services.save_workflow(wanted, steps, acting_staff().id, seen)
    except services.WorkflowInvalid as refusal:
        return _workflow_page(wanted, steps, refusal.fault, 422)
    settings = services.desk_settings()
    if promise is not None and new:
        services.save_settings(replace(settings, promises={**settings.promises, wanted: promise}))
    flash(_("Saved. It counts for what is opened from now on; open tickets finish their own steps."), "positive")
    return redirect(url_for(".workflow", kind=kind))


# ── Results ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@bp.get("/ticket-results")
@staff("tickets.view")
def results() -> Any:
    first, last = period()
    every, kinds, people = queries.results(*instants(first, last))
    today = clock.today()
    return render_template(
        "tickets/results.html",
        every=every,
        kinds=[(labels.KINDS[TicketKind(row.key)], row) for row in kinds],
        people=_named(people),
        first=first,
        last=last,
        since=clock.at(first),
        until=clock.at(last + timedelta(days=1)),
        today=today,
        quick=[(days, today - timedelta(days=days - 1)) for days in (7, 30, 90)],
        labels=labels,
    )


def _named(rows: list[queries.Row]) -> list[tuple[str, queries.Row]]:
    names = queries.names([int(row.key) for row in rows])
    return [(names.get(int(row.key), "–"), row) for row in rows]


@bp.get("/ticket-results.csv")
@staff("tickets.view")
def results_export() -> Any:
    first, last = period()
    every, kinds, people = queries.results(*instants(first, last))
    rows = [
        (_("All"), "", every),
        *((_("Kind"), labels.KINDS[TicketKind(row.key)], row) for row in kinds),
        *((_("Staff"), name, row) for name, row in _named(people)),
    ]
    return csv_response(
        f"tickets-{first}-{last}.csv",
        [
            _("By"),
            _("Name"),
            _("Tickets opened"),
            _("Resolved"),
            _("First answer, median (minutes)"),
            _("Answered in time"),
            _("Time to resolve, median (minutes)"),
            _("Resolved in time"),
            _("Rated"),
            _("Satisfaction, mean"),
            _("Opened again"),
        ],
        [
            (
                by,
                name,
                row.opened,
                row.resolved,
                row.answer,
                row.answer_kept,
                row.resolution,
                row.resolution_kept,
                row.rated,
                round(row.stars, 2) if row.stars is not None else None,
                row.reopened,
            )
            for by, name, row in rows
        ],
    )
