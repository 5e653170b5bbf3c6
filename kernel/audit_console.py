"""Settings › Audit trail: who did what, in words, narrowed by person, action, object and period."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from apiflask import APIBlueprint
from flask import Flask, render_template, request
from sqlalchemy import Select, select, text
from werkzeug.datastructures import MultiDict

from . import audit, clock, navigation
from .audit import AuditEntry
from .audit_words import ACTIONS, CODES, FIELDS, KINDS, MONEY, PER_MILLE, STATES
from .auth import ROLE_LABELS, Role, grant, staff
from .db import db
from .i18n import date_time, day, number
from .i18n import gettext as _
from .i18n import lazy_gettext as _l
from .money import yuan
from .pages import csv_response, keyset, time_limit
from .staff.models import Staff

bp = APIBlueprint("audit_console", __name__, url_prefix="/console/audit", enable_openapi=False)

# Who is nobody of the staff, by the name under which `audit.record` keeps them; of programs, what their names begin with.
OTHERS = {"visitor": _l("A visitor"), "system": _l("The system by itself")}
PROGRAM = "API: "
MOST_CHANGES = 12
LONGEST_VALUE = 200
SECONDS = 5.0
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


# ── In words ────────────────────────────────────────────────────────────────────────────────────────────────────────


def action_text(action: str) -> str:
    """What was done, in the reader's language; an action that nothing records any more by its code."""
    return str(ACTIONS.get(action) or action.replace(".", " ").replace("_", " "))


def kind_text(kind: str) -> str:
    return str(KINDS.get(kind) or kind.replace("_", " "))


def actor_text(actor: str) -> str:
    """Who did it: somebody of the staff by their name at that time, a program by its key's, else a visitor or nobody."""
    if actor.startswith(PROGRAM):
        return _("Program “%(name)s”", name=actor.removeprefix(PROGRAM))
    return str(OTHERS.get(actor, actor))


@dataclass(frozen=True)
class Change:
    """One field: its code (`levels.2.spend`), its name, and what it was and became; None on a side that says nothing."""

    code: str
    name: str
    before: str | None
    after: str | None


def changes(before: dict[str, Any] | None, after: dict[str, Any] | None, about: str = "") -> list[Change]:
    """What an entry about a kind of object says changed, field by field; what is the same on both sides is left out."""
    was, now = dict(_flat(before or {})), dict(_flat(after or {}))
    kind = now.get(("kind",), was.get(("kind",)))
    found = []
    for path in dict.fromkeys((*was, *now)):
        if path in was and path in now and was[path] == now[path]:
            continue
        if (path not in was or path not in now) and {**was, **now}[path] in (None, "", [], {}):
            # What is made with nothing in a field says nothing of it.
            continue
        found.append(
            Change(
                ".".join(path),
                " · ".join(str(FIELDS.get(part) or part.replace("_", " ")) for part in path),
                _shown(path, was[path], kind, about) if path in was else None,
                _shown(path, now[path], kind, about) if path in now else None,
            )
        )
    return found


def _flat(said: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in said.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, (*above, key))
        elif isinstance(value, list) and any(isinstance(one, dict) for one in value):
            yield from _flat({str(place): one for place, one in enumerate(value, 1)}, (*above, key))
        else:
            yield (*above, key), value


def _shown(path: tuple[str, ...], value: Any, kind: Any, about: str) -> str:
    """A value of a field of an object of a kind, as it is read: shares and factors are kept in per mille, choices by a code."""
    field = path[-1]
    if isinstance(value, int) and not isinstance(value, bool):
        if path == ("value",):
            # Of an offer or a gift: 分, or what of the price is paid.
            return f"{value / 10:g}%" if kind == "percent" else yuan(value)
        if field in PER_MILLE and path[0] in ("levels", field) and kind is None:
            return PER_MILLE[field].format(value / 10, value / 1000)
    if isinstance(value, str):
        for codes in (CODES.get(f"{about}.{field}", {}), CODES.get(field, {})):
            if value in codes:
                return str(codes[value])
    return _value(field, value)


def _value(field: str, value: Any) -> str:
    """A kept value as it is read: yes and no, days and instants the reader's way, lists with commas."""
    if value is None or value in ("", [], {}):
        return _("nothing")
    if isinstance(value, bool):
        return _("Yes") if value else _("No")
    if isinstance(value, list):
        shown = _(", ").join(_value(field, one) for one in value)
    elif isinstance(value, str) and _INSTANT.fullmatch(value):
        shown = date_time(datetime.fromisoformat(value))
    elif isinstance(value, str) and _DAY.fullmatch(value):
        shown = _day(value)
    elif field in MONEY and isinstance(value, int):
        shown = yuan(value)
    elif field == "state" and value in STATES:
        shown = str(STATES[value])
    elif field == "role" and value in set(Role):
        shown = str(ROLE_LABELS[Role(value)])
    else:
        shown = str(value)
    return shown if len(shown) <= LONGEST_VALUE else f"{shown[:LONGEST_VALUE]}…"


def _day(value: str) -> str:
    try:
        return day(date.fromisoformat(value))
    except ValueError:
        return value


def change_text(change: Change) -> str:
    """A change on one line: `State: open → paused`."""
    sides = [side for side in (change.before, change.after) if side is not None]
    return f"{change.name}: {' → '.join(sides)}"


# ── The list ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Wanted:
    """What the trail is narrowed to. `who` is a number of the staff, a key of `OTHERS` or `programs`."""

    who: str = ""
    action: str = ""
    kind: str = ""
    number: int | None = None
    since: date | None = None
    until: date | None = None


def wanted_from(arguments: MultiDict[str, str]) -> Wanted:
    """The filter that an address names; what cannot be read is left out."""
    who = arguments.get("who", "")
    digits = arguments.get("number", "").strip().removeprefix("#")
    return Wanted(
        who=who if who in (*OTHERS, "programs") or _is_number(who) else "",
        action=arguments.get("action", "")[:80],
        kind=arguments.get("kind", "")[:80],
        number=int(digits) if _is_number(digits) else None,
        since=_date(arguments.get("since", "")),
        until=_date(arguments.get("until", "")),
    )


def _is_number(text_: str) -> bool:
    return text_.isascii() and text_.isdigit() and len(text_) <= 18


def _date(text_: str) -> date | None:
    try:
        return date.fromisoformat(text_) if _DAY.fullmatch(text_) else None
    except ValueError:
        return None


def listed(wanted: Wanted) -> Select[tuple[AuditEntry]]:
    """The entries that a filter lets through."""
    found = select(AuditEntry)
    if wanted.who == "programs":
        found = found.where(AuditEntry.staff_id.is_(None), AuditEntry.actor.startswith(PROGRAM, autoescape=True))
    elif wanted.who in OTHERS:
        found = found.where(AuditEntry.staff_id.is_(None), AuditEntry.actor == wanted.who)
    elif wanted.who:
        found = found.where(AuditEntry.staff_id == int(wanted.who))
    if wanted.action:
        found = found.where(AuditEntry.action == wanted.action)
    if wanted.kind:
        found = found.where(AuditEntry.object_kind == wanted.kind)
    if wanted.number is not None:
        found = found.where(AuditEntry.object_id == wanted.number)
    if wanted.since is not None:
        found = found.where(AuditEntry.at >= clock.at(wanted.since))
    if wanted.until is not None and wanted.until < date.max:
        found = found.where(AuditEntry.at < clock.at(wanted.until + timedelta(days=1)))
    return found


def _there_are(column: str) -> list[str]:
    """The different values of an indexed column, each found by one step into the index."""
    found = db.session.scalars(
        text(
            f"WITH RECURSIVE seen AS (SELECT min({column}) AS one FROM audit_entry UNION ALL"  # noqa: S608 - our own names
            f" SELECT (SELECT min({column}) FROM audit_entry WHERE {column} > seen.one) FROM seen WHERE seen.one IS NOT NULL)"
            " SELECT one FROM seen WHERE one IS NOT NULL"
        )
    )
    return list(found)


def _people() -> list[tuple[str, str]]:
    rows = db.session.execute(select(Staff.id, Staff.name).order_by(Staff.name, Staff.id))
    others = [*OTHERS.items(), ("programs", _("Programs"))]
    return [*((str(row.id), row.name) for row in rows), *((key, str(words)) for key, words in others)]


def _chips(wanted: Wanted, people: list[tuple[str, str]]) -> list[tuple[str, Any, str]]:
    chips: list[tuple[str, Any, str]] = []
    if wanted.who:
        chips.append(("who", wanted.who, _("Who: %(name)s", name=dict(people).get(wanted.who, wanted.who))))
    if wanted.action:
        chips.append(("action", wanted.action, _("Action: %(name)s", name=action_text(wanted.action))))
    if wanted.kind:
        chips.append(("kind", wanted.kind, _("Object: %(name)s", name=kind_text(wanted.kind))))
    if wanted.number is not None:
        chips.append(("number", wanted.number, _("Number: %(number)s", number=wanted.number)))
    if wanted.since is not None:
        chips.append(("since", wanted.since.isoformat(), _("From %(day)s", day=day(wanted.since))))
    if wanted.until is not None:
        chips.append(("until", wanted.until.isoformat(), _("Until %(day)s", day=day(wanted.until))))
    return chips


@bp.get("")
@staff("audit.view")
def trail() -> Any:
    wanted, people = wanted_from(request.args), _people()
    with time_limit(SECONDS):
        page = keyset(listed(wanted), [AuditEntry.id.desc()], request.args.get("cursor"))
    return render_template(
        "settings/audit.html",
        page=page,
        wanted=wanted,
        people=people,
        actions=sorted(((one, action_text(one)) for one in _there_are("action")), key=lambda pair: pair[1]),
        kinds=sorted(((one, kind_text(one)) for one in _there_are("object_kind")), key=lambda pair: pair[1]),
        chips_on=_chips(wanted, people),
        action_text=action_text,
        kind_text=kind_text,
        actor_text=actor_text,
        changes=changes,
        most=MOST_CHANGES,
        number=number,
    )


@bp.post("/export")
@staff("audit.view")
def export() -> Any:
    wanted = wanted_from(request.args)
    audit.record("audit.exported", "audit", None, after={"filter": dict(request.args.items())})
    header = [
        _("When"), _("Who"), _("Action"), _("Code"), _("Object"), _("Number of the object"), _("Change"), _("From"),
    ]  # fmt: skip
    return csv_response(f"audit-{clock.today().isoformat()}.csv", header, _rows(wanted))


def _rows(wanted: Wanted) -> Iterator[tuple[Any, ...]]:
    cursor: str | None = None
    while True:
        page = keyset(listed(wanted), [AuditEntry.id.desc()], cursor, 500)
        for row in page.rows:
            yield (
                clock.local(row.at).strftime("%Y-%m-%d %H:%M:%S"),
                actor_text(row.actor),
                action_text(row.action),
                row.action,
                kind_text(row.object_kind),
                row.object_id,
                "\n".join(change_text(one) for one in changes(row.before, row.after, row.object_kind)),
                row.address or "",
            )
        if page.next_cursor is None:
            return
        cursor = page.next_cursor


def init_app(app: Flask) -> None:
    grant("audit.view", Role.OWNER)
    app.register_blueprint(bp)
    navigation.add("settings", _l("Audit trail"), "audit_console.trail", "audit.view", order=90)
