"""The names of the figures, and the sentences around their numbers."""

from __future__ import annotations

from typing import Any

from flask import url_for
from markupsafe import Markup

from community.conversations.labels import waited
from community.tickets.labels import span
from kernel.auth import may
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.i18n import ngettext, number
from kernel.money import short_yuan, yuan

from . import rules
from .queries import Line
from .rules import Against, Figure, Part, Span

FIGURES: dict[Figure, Any] = {
    Figure.JOINED: _l("Invitations that joined"),
    Figure.CALLS: _l("Call-backs kept"),
    Figure.TICKETS: _l("First answer to tickets"),
    Figure.TALKS: _l("First answer in conversations"),
    Figure.STARS: _l("Satisfaction"),
    Figure.POSTS: _l("Posts that sold"),
    Figure.ORDERS: _l("Orders that followed"),
}
RATES: dict[Figure, Any] = {
    Figure.JOINED: _l("Have not left since"),
    Figure.CALLS: _l("Closed by the promised day"),
    Figure.TICKETS: _l("Within what was promised"),
    Figure.TALKS: _l("Within five minutes of the desk's hours"),
    Figure.STARS: _l("Mean of one to five stars"),
    Figure.POSTS: _l("Of those who saw a post, ordered within five days"),
    Figure.ORDERS: _l("Of those invited or reached, ordered within 14 days"),
}
SPANS: dict[Span, Any] = {
    Span.THIS_WEEK: _l("This week"),
    Span.LAST_WEEK: _l("Last week"),
    Span.THIS_MONTH: _l("This month"),
    Span.LAST_MONTH: _l("Last month"),
    Span.THIS_QUARTER: _l("This quarter"),
    Span.LAST_QUARTER: _l("Last quarter"),
}
AGAINST: dict[Against, Any] = {
    Against.TEAM: _l("better than the team's median"),
    Against.PAST: _l("better than the period before"),
}
SOURCES: dict[str, Any] = {
    "seat": _l("Group"),
    "call": _l("Call-back"),
    "ticket": _l("Ticket"),
    "talk": _l("Conversation"),
    "post": _l("Post"),
    "order": _l("Order"),
}


def rate(figure: Figure, part: Part) -> str:
    """The number people are compared by, or a dash."""
    return rules.as_shown(figure, part) or "–"


def team(figure: Figure, found: float | None) -> str:
    """The team's median, printed as a person's rate is."""
    if found is None:
        return "–"
    scaled = Part(n=1_000_000, good=round(found * 1_000_000), total=round(found * 1_000_000))
    return rules.as_shown(figure, scaled)


def behind(figure: Figure, part: Part) -> list[str]:
    """What the rate is made of, each part in words."""
    match figure:
        case Figure.JOINED:
            return [ngettext("%(num)s joined", "%(num)s joined", part.n)]
        case Figure.CALLS:
            said = [ngettext("%(num)s made", "%(num)s made", part.pieces)]
            if owed := part.n - part.pieces:
                said.append(ngettext("%(num)s overdue", "%(num)s overdue", owed))
            return said
        case Figure.TICKETS:
            return [*_answers(part.n), _("median %(time)s", time=span(part.middle))]
        case Figure.TALKS:
            return [*_answers(part.n), _("median %(time)s", time=waited(part.middle))]
        case Figure.STARS:
            return [ngettext("%(num)s rating", "%(num)s ratings", part.n)]
        case Figure.POSTS:
            return [
                ngettext("%(num)s post", "%(num)s posts", part.pieces),
                _("seen %(num)s times", num=number(part.n)),
                ngettext("%(num)s ordered", "%(num)s ordered", part.good),
            ]
        case _:
            return [
                ngettext("%(num)s order", "%(num)s orders", part.pieces),
                short_yuan(part.total),
                _("of %(num)s people", num=number(part.n)),
            ]


def _answers(count: int) -> list[str]:
    return [ngettext("%(num)s answered", "%(num)s answered", count)]


def too_few(figure: Figure) -> str:
    """Why somebody has no place."""
    return _("too few to compare (from %(num)s on)", num=rules.FEWEST[figure])


def address(line: Line) -> str | None:
    """Where a row is shown, for a reader who may open it."""
    match line.source:
        case "seat" if line.about_id is not None and may("groups.view"):
            return url_for("groups_console.show", group_id=line.about_id)
        case "call" if may("calls.view"):
            return url_for("desk_console.show", task_id=line.row_id)
        case "ticket" if may("tickets.view"):
            return url_for("tickets_console.show", ticket_id=line.row_id)
        case "talk" if may("talks.view"):
            return url_for("conversations_console.show", conversation_id=line.row_id)
        case "post" if may("posts.view"):
            return url_for("posts_console.show", post_id=line.row_id)
        case "order" if may("orders.view"):
            return url_for("orders_console.show", order_id=line.row_id)
        case _:
            return None


def title(line: Line) -> str:
    """What a row is called."""
    return line.about or f"{SOURCES[line.source]} {line.row_id}"


def outcome(figure: Figure, line: Line) -> str:
    """What a row adds to the number, in words."""
    match figure:
        case Figure.JOINED:
            return _("Has not left") if line.good else _("Has left")
        case Figure.CALLS if not line.pieces:
            return _("Still to be made")
        case Figure.CALLS:
            return _("By the promised day") if line.good else _("Later than promised")
        case Figure.TICKETS:
            return f"{span(line.value)} · {_('in time') if line.good else _('late')}"
        case Figure.TALKS:
            return f"{waited(line.value)} · {_('in time') if line.good else _('late')}"
        case Figure.STARS:
            stars = round(line.value or 0)
            return Markup('<span aria-label="{}">{}</span>').format(
                _("%(stars)s of 5 stars", stars=stars), "★" * stars + "☆" * (5 - stars)
            )
        case Figure.POSTS:
            return _("%(bought)s of %(saw)s ordered", bought=number(line.good), saw=number(line.n))
        case _:
            return yuan(line.total)


def plain_outcome(figure: Figure, line: Line) -> str | int | float | None:
    """The same for a file."""
    if figure is Figure.STARS:
        return round(line.value or 0)
    return outcome(figure, line)
