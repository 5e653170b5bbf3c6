"""What the room says elsewhere: on the console's first page, on the member's page, and the sign-in codes it sends."""

from __future__ import annotations

from flask import render_template, url_for
from markupsafe import Markup

from kernel import today
from kernel.auth import may
from kernel.i18n import forced_locale, ngettext
from kernel.i18n import gettext as _
from kernel.ports import fill_slot
from membership.members.models import Channel, Member
from membership.members.services.identify import code_ways, send_code

from . import labels, queries, services


def tasks() -> list[today.Task]:
    """Channels that stand still, and messages that somebody is to give."""
    return [*_standing(), *_to_give()]


def _to_give() -> list[today.Task]:
    open_tasks, late = queries.open_tasks() if may("tasks.handle") else (0, 0)
    if not open_tasks:
        return []
    return [
        today.Task(
            weight=60 if late else 35,
            text=ngettext("%(num)s customer to call or write to", "%(num)s customers to call or write to", open_tasks),
            url=url_for("channels_console.tasks"),
            action=_("Contact tasks"),
            icon="phone",
            about=ngettext("%(num)s of them is late.", "%(num)s of them are late.", late) if late else "",
        )
    ]


def _standing() -> list[today.Task]:
    if not may("channels.view"):
        return []
    return [
        today.Task(
            weight=90,
            text=_(
                "The channel %(name)s: %(state)s", name=services.shown_name(account), state=labels.health(account)[1]
            ),
            url=url_for("channels_console.edit", account_id=account.id),
            action=_("Look at it"),
            icon="plug",
            about=labels.health(account)[2],
        )
        for account in queries.troubled()
    ]


def unread_card(member: Member) -> Markup:
    """The newest unread messages, at the top of the member's page."""
    latest = queries.latest(member.id)
    if not latest:
        return Markup("")
    return Markup(render_template("channels/_unread.html", latest=latest, unread=queries.unread(member.id)))  # noqa: S704


def messages_row(member: Member) -> Markup:
    """The way to the messages, with how many are unread."""
    return Markup(render_template("channels/_row.html", unread=queries.unread(member.id)))  # noqa: S704


def dead_addresses(member: Member) -> Markup:
    """On a member's page for the staff: their addresses that cannot be reached, with the reason."""
    found = queries.dead_addresses(member.id)
    if not found:
        return Markup("")
    return Markup(render_template("channels/_dead.html", member=member, found=found))  # noqa: S704


def send_one_time_code(way: Channel, address: str, code: str, locale: str) -> None:
    """Send a one-time code to a phone or an e-mail address."""
    with forced_locale(locale):
        if way is Channel.PHONE:
            services.text_code(address, code)
        else:
            services.mail_code(address, code)


def init() -> None:
    """Fill the ports and slots of the floors below."""
    today.tasks.fill(tasks)
    fill_slot("me.cards", order=5)(unread_card)
    fill_slot("me.nav", order=10)(messages_row)
    fill_slot("member.side", order=35)(dead_addresses)
    send_code.fill(send_one_time_code)
    code_ways.fill(services.ways_of_codes)
