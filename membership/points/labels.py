"""Words for what happens to points."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from kernel.i18n import day, number
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from membership.members.rules import EmailInvalid, PhoneInvalid

from .models import AccountKind, Clawback, Kind, Late, LotState, PointsTransaction, Rounding
from .rules import MILLE, MOST_POINTS, PointsInvalid, Program, ProgramMistake

KINDS = {
    Kind.EARN: _l("Earned by an order"),
    Kind.ACTIVATE: _l("Became usable"),
    Kind.CLAW_BACK: _l("Taken back after a refund"),
    Kind.RECOVER: _l("Settled what was owed"),
    Kind.AWARD: _l("Given by the shop"),
    Kind.CHECK_IN: _l("Daily check-in"),
    Kind.BIRTHDAY: _l("Birthday points"),
    Kind.PLAY: _l("Won in a game"),
    Kind.ADJUST: _l("Changed by hand"),
    Kind.SPEND: _l("Paid with points"),
    Kind.REDEEM: _l("Taken as a reward"),
    Kind.GIVE_BACK: _l("Given back"),
    Kind.EXPIRE: _l("Lapsed"),
    Kind.ERASE: _l("Written off with an erased member"),
}

ICONS = {
    Kind.EARN: "shopping-bag",
    Kind.ACTIVATE: "clock",
    Kind.CLAW_BACK: "receipt-refund",
    Kind.RECOVER: "scale",
    Kind.AWARD: "sparkles",
    Kind.CHECK_IN: "calendar",
    Kind.BIRTHDAY: "gift",
    Kind.PLAY: "star",
    Kind.ADJUST: "edit",
    Kind.SPEND: "coin",
    Kind.REDEEM: "gift",
    Kind.GIVE_BACK: "arrow-back-up",
    Kind.EXPIRE: "clock-off",
    Kind.ERASE: "user-x",
}

ACCOUNTS = {
    AccountKind.MEMBER: _l("Members"),
    AccountKind.LIABILITY: _l("Honoured by the shop"),
    AccountKind.BREAKAGE: _l("Lapsed"),
    AccountKind.PROMOTION: _l("Given out by the program"),
    AccountKind.ADJUSTMENT: _l("Changed by hand"),
}

ACCOUNT_HELP = {
    AccountKind.MEMBER: _l("What members hold, usable and pending"),
    AccountKind.LIABILITY: _l("What they have spent"),
    AccountKind.BREAKAGE: _l("What ran out unused"),
    AccountKind.PROMOTION: _l("Earned and awarded, less what refunds took back"),
    AccountKind.ADJUSTMENT: _l("What staff gave and took"),
}

LOT_STATES = {
    LotState.PENDING: _l("Pending"),
    LotState.ACTIVE: _l("Usable now"),
    LotState.EXPIRED: _l("Lapsed"),
    LotState.CANCELLED: _l("Taken back"),
}

CLAWBACKS = {
    Clawback.ONLY_PENDING: _l("Only points that are still pending"),
    Clawback.WITHIN_BALANCE: _l("Whatever the balance holds"),
    Clawback.ALLOW_NEGATIVE: _l("All of them, even below zero"),
}

CLAWBACK_HELP = {
    Clawback.ONLY_PENDING.value: _l("Usable points stay; the next earn is netted by the rest."),
    Clawback.WITHIN_BALANCE.value: _l("Never below zero; the next earn is netted by the rest."),
    Clawback.ALLOW_NEGATIVE.value: _l("The balance may become negative; points then never lapse."),
}

ROUNDINGS = {
    Rounding.DOWN: _l("Down to whole points"),
    Rounding.NEAREST: _l("To the nearest point"),
    Rounding.UP: _l("Up to whole points"),
}

LATES = {
    Late.LOST: _l("They are lost"),
    Late.REOPENED: _l("They can be used once more, for some days"),
}

SPANS = {"7": _l("The last 7 days"), "30": _l("The last 30 days"), "90": _l("The last 90 days")}

ON = {True: _l("Points are earned"), False: _l("Points are not earned now")}

MISTAKES = {
    ProgramMistake.RATE: ("rate", _l("Between 0.001 and 100 points per yuan.")),
    ProgramMistake.PENDING_DAYS: ("pending_days", _l("Between 0 and 365 days.")),
    ProgramMistake.LOT_DAYS: ("lot_days", _l("Between 1 and 3,650 days, or empty for ever.")),
    ProgramMistake.NOTICE_DAYS: ("notice_days", _l("Between 0 and 365 days.")),
    ProgramMistake.REOPEN_DAYS: ("reopen_days", _l("Between 1 and 365 days.")),
    ProgramMistake.WORTH: ("worth", _l("Between ¥0 and ¥10,000.")),
    ProgramMistake.ADJUST_CAP: ("adjust_cap", _l("Zero or more points.")),
    ProgramMistake.NEGATIVE_EXPIRES: (
        "clawback",
        _l("Where the balance may fall below zero, points must not lapse: leave their days empty."),
    ),
}


def signed(points: int) -> str:
    """A number with its sign: +40, −12, 0."""
    return number(points) if points == 0 else f"{'+' if points > 0 else '−'}{number(abs(points))}"


def tone(points: int) -> str:
    """Whether a change is good news."""
    return "up" if points > 0 else "down" if points < 0 else "flat"


def rate_text(program: Program) -> str:
    """What orders earn, in words."""
    if program.rate == MILLE:
        return str(_("One point for every ¥1"))
    return str(_("%(points)s points for every ¥1", points=times(program.rate)))


def sentence(row: PointsTransaction, orders: Mapping[int, str], to_member: bool = False) -> str:
    """What one transaction was. `orders` are the numbers of the orders by id."""
    order = orders.get(row.order_id or 0, "")
    match row.type:
        case Kind.EARN if order:
            return str(_("Order %(number)s", number=order))
        case Kind.CLAW_BACK if order:
            return str(_("Order %(number)s was given back", number=order))
        case Kind.RECOVER:
            return str(_("For points that a refund could not take back"))
        case Kind.REDEEM if row.reason:
            return str(_("Reward: %(reward)s", reward=row.reason))
        case Kind.SPEND | Kind.AWARD | Kind.PLAY | Kind.BIRTHDAY if row.reason:
            return row.reason
        case Kind.ADJUST if row.reason:
            return row.reason if not to_member else str(_("Put right by the shop: %(reason)s", reason=row.reason))
    return str(KINDS[row.type])


def activation_text(at: datetime | None) -> str:
    """When pending points become usable."""
    return str(_("usable from %(day)s", day=day(at)) if at is not None else _("usable once the parcel has arrived"))


def last_day(expires_at: datetime) -> datetime:
    """The last moment at which points can be used that lapse at an instant: people name the day that it lies in."""
    return expires_at - timedelta(seconds=1)


def times(multiplier: int) -> str:
    """`1.5` for 1500 per mille."""
    return f"{multiplier / MILLE:.3f}".rstrip("0").rstrip(".")


# What is wrong with a line of a file of awards.
BATCH_FAULTS = {
    "unknown": _l("Nobody here is known under this name."),
    "columns": _l("The line has more columns than the heading."),
    "member": _l("The member is missing: a phone, or the account on a channel."),
    "channel": _l("There is no channel “%(channel)s”."),
    "phone": PhoneInvalid.label,
    "email": EmailInvalid.label,
    "points": PointsInvalid.label,
    "reason": _l("The reason is missing; members read it."),
    "letter": _l("The text holds a character that cannot be stored."),
}


def batch_fault(reject: Mapping[str, Any]) -> str:
    """The sentence for a rejected line of a file of awards, in the reader's language."""
    told = {"most": number(MOST_POINTS), "channel": reject.get("channel", "")}
    return str(BATCH_FAULTS[reject["fault"]]) % told
