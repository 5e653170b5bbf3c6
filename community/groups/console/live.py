"""Live sessions of a group, and what shows only while one runs."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, render_template, url_for

from kernel import clock, editions, once
from kernel.auth import staff
from kernel.i18n import gettext as _

from .. import queries, services
from ..forms import DropForm, SessionForm
from ..models import Group, LiveSession
from . import bp
from .groups import frame_of

# ── Live sessions ───────────────────────────────────────────────────────────────────────────────────────────────────


def _sessions_page(
    group: Group,
    form: SessionForm,
    editing: LiveSession | None = None,
    status: int = 200,
    drop_form: DropForm | None = None,
    drop_session: int | None = None,
) -> Any:
    found = queries.sessions_of(group.id)
    if drop_form is None:
        drop_form = once.show(DropForm(services.drop_choices(group), formdata=None))
    return render_template(
        "groups/sessions.html",
        **frame_of(group, "sessions"),
        form=form,
        editing=editing,
        sessions=found,
        drops=services.drops_of([one.id for one in found]),
        drop_form=drop_form,
        drop_session=drop_session,
        now=clock.now(),
    ), status


@bp.get("/groups/<int:group_id>/sessions")
@staff("groups.view")
def sessions(group_id: int) -> Any:
    return _sessions_page(queries.get_group(group_id), once.show(SessionForm(formdata=None)))


@bp.post("/groups/<int:group_id>/sessions")
@staff("groups.edit")
def add_session(group_id: int) -> Any:
    return _save_session(queries.get_group(group_id), None)


@bp.get("/groups/<int:group_id>/sessions/<int:session_id>")
@staff("groups.edit")
def edit_session(group_id: int, session_id: int) -> Any:
    session = services.get_session(group_id, session_id)
    form = SessionForm(formdata=None, obj=session)
    editions.show(form, _shown(session))
    return _sessions_page(queries.get_group(group_id), form, session)


def _shown(session: LiveSession) -> Any:
    return session.title, session.starts_at, session.ends_at, session.watch_url, session.replay_url


@bp.post("/groups/<int:group_id>/sessions/<int:session_id>")
@staff("groups.edit")
def edit_session_post(group_id: int, session_id: int) -> Any:
    return _save_session(queries.get_group(group_id), services.get_session(group_id, session_id))


def _save_session(group: Group, session: LiveSession | None) -> Any:
    form = SessionForm()
    if not form.validate() or form.starts_at.data is None or form.ends_at.data is None:
        return _sessions_page(group, form, session, 422)
    if session is None and once.done_before():
        return redirect(url_for(".sessions", group_id=group.id))
    if session is not None and editions.overtaken(form, lambda: _shown(session), session, by=("live_session.saved",)):
        return _sessions_page(group, form, session, 409)
    services.save_session(
        group,
        session,
        form.title.data or "",
        form.starts_at.data,
        form.ends_at.data,
        form.watch_url.data or "",
        form.replay_url.data or "",
    )
    ahead = form.starts_at.data > clock.now()
    flash(
        _("Saved. People in the group are reminded a day and ten minutes before.") if ahead else _("Saved."), "positive"
    )
    return redirect(url_for(".sessions", group_id=group.id), 303)


@bp.post("/groups/<int:group_id>/sessions/<int:session_id>/delete")
@staff("groups.edit")
def delete_session(group_id: int, session_id: int) -> Any:
    services.delete_session(services.get_session(group_id, session_id))
    flash(_("The session is off the plan."), "positive")
    return redirect(url_for(".sessions", group_id=group_id), 303)


@bp.post("/groups/<int:group_id>/sessions/<int:session_id>/drops")
@staff("groups.edit")
def add_drop(group_id: int, session_id: int) -> Any:
    group, session = queries.get_group(group_id), services.get_session(group_id, session_id)
    form = DropForm(services.drop_choices(group))
    if not form.validate():
        return _sessions_page(group, once.show(SessionForm(formdata=None)), None, 422, form, session.id)
    if once.done_before():
        return redirect(url_for(".sessions", group_id=group_id))
    services.add_drop(
        session,
        form.title.data or "",
        form.note.data or "",
        form.url.data or "",
        form.offer_id.data or None,
        form.minute.data or 0,
    )
    flash(_("It shows in the group's page while the session runs."), "positive")
    return redirect(url_for(".sessions", group_id=group_id), 303)


@bp.post("/groups/<int:group_id>/sessions/<int:session_id>/drops/<int:drop_id>/delete")
@staff("groups.edit")
def delete_drop(group_id: int, session_id: int, drop_id: int) -> Any:
    services.delete_drop(services.get_session(group_id, session_id), drop_id)
    flash(_("It is off the session."), "positive")
    return redirect(url_for(".sessions", group_id=group_id), 303)
