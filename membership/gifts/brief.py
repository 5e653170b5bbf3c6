"""What gifts show on other rooms' pages: the first page of the console, the search, a member's pages."""

from __future__ import annotations

from flask import render_template, url_for

from kernel import today
from kernel.auth import may
from kernel.i18n import gettext as _
from kernel.i18n import ngettext
from kernel.pages import once_a_request
from kernel.ports import fill_slot
from kernel.today import Hit, Task
from membership.members.models import Member

from . import labels, queries, rules, services
from .models import GiftState


def tasks() -> list[Task]:
    """Gifts to pack, gifts to hand over, and stock that runs low."""
    if not may("gifts.view"):
        return []
    found: list[Task] = []
    if queued := queries.count_in(GiftState.QUEUED):
        found.append(
            Task(
                65,
                ngettext("%(num)s gift is to be packed", "%(num)s gifts are to be packed", queued),
                url_for("gifts_console.claims", state=GiftState.QUEUED.value),
                _("See what to pack"),
                "package",
                _("The pick list takes the carrier's numbers and comes back as it is."),
            )
        )
    if claimed := queries.count_in(GiftState.CLAIMED):
        found.append(
            Task(
                64,
                ngettext(
                    "%(num)s code or red packet is to be handed over",
                    "%(num)s codes or red packets are to be handed over",
                    claimed,
                ),
                url_for("gifts_console.claims", state=GiftState.CLAIMED.value),
                _("Hand over"),
                "gift",
            )
        )
    endpoint = "gifts_console.edit" if may("gifts.edit") else "gifts_console.show"
    for gift, given in queries.running_low():
        left = max(gift.stock - given, 0)
        found.append(
            Task(
                62 if left else 72,
                ngettext("%(num)s piece left of “%(gift)s”", "%(num)s pieces left of “%(gift)s”", left, gift=gift.name)
                if left
                else _("Nothing is left of “%(gift)s”", gift=gift.name),
                url_for(endpoint, gift_id=gift.id),
                _("Raise the stock") if may("gifts.edit") else _("Look at it"),
                "gift",
                "" if left else _("Whoever joins now gets none."),
            )
        )
    return found


def find(words: str) -> list[Hit]:
    """Gifts by name, and a gift on its way by the carrier's number."""
    if len(words) < 2 or not may("gifts.view"):
        return []
    hits = [
        Hit(_("Gift"), gift.name, url_for("gifts_console.show", gift_id=gift.id), labels.KINDS[gift.kind])
        for gift in queries.found_by_name(words)
    ]
    hits += [
        Hit(
            _("Gift on its way"),
            f"{row.claim.carrier} {row.claim.tracking_number}",
            url_for("gifts_console.claim", claim_id=row.claim.id),
            f"{row.gift.name} · {row.member.shown_name}",
        )
        for row in queries.with_tracking(words)
    ]
    return hits


def member_side(member: Member) -> str:
    """A member's gifts, on the console's page about them (slot `member.side`)."""
    if not may("gifts.view"):
        return ""
    return render_template("gifts/_member_side.html", rows=queries.gifts_of(member.id, 6), labels=labels)


def member_actions(member: Member) -> str:
    """The way to give them a gift (slot `member.actions`)."""
    return render_template("gifts/_member_actions.html", member=member) if may("gifts.give") else ""


# Two places on a member's own page show them.
_gifts_of = once_a_request(queries.gifts_of)


def me_cards(member: Member) -> str:
    """Gifts that wait for the member or for their address, on their own page (slot `me.cards`)."""
    waiting = [row for row in _gifts_of(member.id) if row.state in rules.WAITING]
    if not waiting:
        return ""
    return render_template("gifts/_me_cards.html", rows=waiting, path_of=services.path_of, labels=labels)


def me_nav(member: Member) -> str:
    """The way to all of their gifts (slot `me.nav`)."""
    return render_template(
        "gifts/_me_nav.html", number=len([row for row in _gifts_of(member.id) if row.state not in labels.OVER])
    )


def init() -> None:
    """Put everything into its place."""
    today.tasks.fill(tasks)
    today.search.fill(find)
    fill_slot("member.actions", order=60)(member_actions)
    fill_slot("member.side", order=60)(member_side)
    fill_slot("me.cards", order=60)(me_cards)
    fill_slot("me.nav", order=60)(me_nav)
