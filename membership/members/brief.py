"""What members put on the console's first page and into its search."""

from __future__ import annotations

from datetime import datetime, timedelta

from flask import url_for
from sqlalchemy import and_, func, select

from kernel import clock
from kernel.auth import may
from kernel.db import db
from kernel.events import EventRecord
from kernel.i18n import date_time, ngettext
from kernel.i18n import gettext as _
from kernel.today import Hit, Number, Task

from . import labels, queries, rules
from .events import ConsentChanged
from .models import Member
from .services import erasure
from .services.reveals import MOST_AN_HOUR, by_the_dozen

WEEK = timedelta(days=7)


def find(wanted: str) -> list[Hit]:
    """Members by the tail of a phone, a name, a name on a channel or an order number; at most twenty."""
    if len(wanted) < 2 or not may("members.view"):
        return []
    found = db.session.scalars(
        queries.live().where(queries.sought(wanted)).order_by(Member.last_order_at.desc().nulls_last()).limit(20)
    )
    return [
        Hit(
            kind=_("Member"),
            title=member.shown_name,
            url=url_for("members_console.show", member_id=member.id),
            about=" · ".join(
                part
                for part in (rules.masked_phone(member.phone), str(labels.STAGES[member.stage]), member.city)
                if part
            ),
        )
        for member in found
    ]


def _opted_out(since: datetime, until: datetime) -> int:
    """How many people took a consent to offers back, whatever the channel."""
    return (
        db.session.scalar(
            select(func.count(EventRecord.member_id.distinct())).where(
                EventRecord.name == ConsentChanged.__name__,
                EventRecord.occurred_at >= since,
                EventRecord.occurred_at < until,
                and_(
                    EventRecord.payload["granted"].as_boolean().is_(False),
                    EventRecord.payload["purpose"].as_string() == "marketing",
                ),
            )
        )
        or 0
    )


def _enrolled(since: datetime, until: datetime) -> int:
    return (
        db.session.scalar(
            queries.live()
            .with_only_columns(func.count(Member.id))
            .where(Member.enrolled_at >= since, Member.enrolled_at < until)
        )
        or 0
    )


def numbers() -> list[Number]:
    """New members and people who opted out, in the last seven days and the seven before."""
    now = clock.now()
    spans = ((now - WEEK, now), (now - 2 * WEEK, now - WEEK))
    enrolled = [_enrolled(*span) for span in spans]
    left = [_opted_out(*span) for span in spans]
    members = url_for("members_console.index") if may("members.view") else None
    return [
        Number(_("New members"), enrolled[0], enrolled[1], members),
        Number(_("Opted out"), left[0], left[1], members, good_when_up=False, position=4),
    ]


def tasks() -> list[Task]:
    """People who asked for their data or to be erased, and who looks at masked details by the dozen."""
    found = []
    if may("members.reveal") and (waiting := erasure.open_requests()):
        found.append(
            Task(
                weight=80,
                text=ngettext(
                    "One member asked for their data or to be erased",
                    "%(num)s members asked for their data or to be erased",
                    len(waiting),
                ),
                url=url_for("members_console.rights_requests"),
                action=_("Answer them"),
                icon="shield-check",
                about=_("The first asked %(when)s", when=date_time(waiting[0].asked_at)),
            )
        )
    if may("members.erase"):
        found += [
            Task(
                weight=95,
                text=_("%(name)s looked at %(n)s masked phones or addresses within an hour", name=name, n=number),
                url=url_for("members_console.index"),
                action=_("Ask why"),
                icon="alert-triangle",
                about=_(
                    "More than %(most)s an hour is rare. Each look is in the audit trail with its reason.",
                    most=MOST_AN_HOUR,
                ),
                name=f"members.looked:{name}",
            )
            for name, number in by_the_dozen()
        ]
    return found
