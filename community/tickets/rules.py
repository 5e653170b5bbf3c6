"""Pure decisions of tickets: the desk's hours and clocks, who takes the next one, the steps of each kind, saved answers."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from kernel.money import MoneyInvalid, parse_yuan

from .models import TicketKind, TicketState

LIVE: Final = (TicketState.OPEN, TicketState.WAITING)
MOVES: Final[Mapping[TicketState, tuple[TicketState, ...]]] = {
    TicketState.OPEN: (TicketState.WAITING, TicketState.RESOLVED),
    TicketState.WAITING: (TicketState.OPEN, TicketState.RESOLVED),
    TicketState.RESOLVED: (TicketState.OPEN, TicketState.CLOSED),
    TicketState.CLOSED: (TicketState.OPEN,),
}
MOST_PICTURES: Final = 4
LONGEST_TEXT: Final = 2_000
# How many tickets a member may open, and how often they may write into them, in a day.
OPENED_A_DAY, WRITTEN_A_DAY = 5, 60


# ── Working hours ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Hours:
    """When the desk is staffed, on the shop's wall clock: weekdays (Monday is 0), from and until, and the days it is shut."""

    days: frozenset[int] = frozenset(range(7))
    opens: time = time(9)
    closes: time = time(21)
    off: frozenset[date] = frozenset()

    def window(self, day: date, moment: datetime) -> tuple[datetime, datetime] | None:
        """The hours of a day in the zone of `moment`, or None for a day on which the desk is shut."""
        if day.weekday() not in self.days or day in self.off:
            return None
        return (
            datetime.combine(day, self.opens, tzinfo=moment.tzinfo),
            datetime.combine(day, self.closes, tzinfo=moment.tzinfo),
        )


# A desk that is shut for longer has no next opening that a clock could run to.
_FURTHEST = 400


def open_at(moment: datetime, hours: Hours) -> bool:
    """Whether the desk is staffed. Local time in."""
    window = hours.window(moment.date(), moment)
    return window is not None and window[0] <= moment < window[1]


def after_minutes(start: datetime, minutes: int, hours: Hours) -> datetime:
    """When so many working minutes will have passed since `start`. Local time in, local time out.

    Shut for more than 400 days on end, plain time counts: a promise without an end would be none.
    """
    left, day, shut = timedelta(minutes=minutes), start.date(), 0
    while shut <= _FURTHEST:
        window = hours.window(day, start)
        day += timedelta(days=1)
        if window is None:
            shut += 1
            continue
        shut, begin = 0, max(window[0], start)
        if begin >= window[1]:
            continue
        if begin + left <= window[1]:
            return begin + left
        left -= window[1] - begin
    return start + timedelta(minutes=minutes)


def seconds_between(start: datetime, end: datetime, hours: Hours) -> int:
    """How many whole working seconds lie in `[start, end)`; none when the end is not after the start. Local times in."""
    if end <= start:
        return 0
    total = timedelta()
    for n in range((end.date() - start.date()).days + 1):
        window = hours.window(start.date() + timedelta(days=n), start)
        if window is not None:
            total += max(min(window[1], end) - max(window[0], start), timedelta())
    return int(total.total_seconds())


def minutes_between(start: datetime, end: datetime, hours: Hours) -> int:
    """How many whole working minutes lie in `[start, end)`; none when the end is not after the start. Local times in."""
    return seconds_between(start, end, hours) // 60


# ── The desk's promises ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Promise:
    """Within how many working minutes a ticket is answered first, and put right."""

    answer: int
    resolve: int


_HOUR = 60
STANDARD_PROMISES: Final[Mapping[TicketKind, Promise]] = {
    TicketKind.FEEDBACK: Promise(8 * _HOUR, 72 * _HOUR),
    TicketKind.RETURN: Promise(2 * _HOUR, 60 * _HOUR),
    TicketKind.EXCHANGE: Promise(2 * _HOUR, 84 * _HOUR),
    TicketKind.COMPLAINT: Promise(1 * _HOUR, 24 * _HOUR),
    TicketKind.WRONG_ADDRESS: Promise(30, 12 * _HOUR),
    TicketKind.REFUSED_PARCEL: Promise(2 * _HOUR, 36 * _HOUR),
    TicketKind.SURVEY: Promise(24 * _HOUR, 120 * _HOUR),
}


@dataclass(frozen=True)
class DeskSettings:
    """How the desk works. Days are days of the calendar."""

    hours: Hours = Hours()
    promises: Mapping[TicketKind, Promise] = field(default_factory=lambda: dict(STANDARD_PROMISES))
    hand_out: bool = True
    ticket_cap: int = 30
    talk_cap: int = 8
    reopen_days: int = 7
    close_days: int = 3
    return_days: int = 7
    # A call after which somebody was this content or less opens a complaint; 0 opens none.
    upset_at: int = 2


def settings_from(kept: Mapping[str, Any] | None) -> DeskSettings:
    """The settings as the shop keeps them (plain JSON), the standard where it says nothing."""
    said = dict(kept or {})
    standard = DeskSettings()
    promises = {
        kind: Promise(*said["promises"][kind.value]) if kind.value in said.get("promises", {}) else promise
        for kind, promise in STANDARD_PROMISES.items()
    }
    return DeskSettings(
        hours=Hours(
            days=frozenset(said.get("days", standard.hours.days)),
            opens=time.fromisoformat(said["opens"]) if "opens" in said else standard.hours.opens,
            closes=time.fromisoformat(said["closes"]) if "closes" in said else standard.hours.closes,
            off=frozenset(date.fromisoformat(day) for day in said.get("off", ())),
        ),
        promises=promises,
        **{
            name: said.get(name, getattr(standard, name))
            for name in ("hand_out", "ticket_cap", "talk_cap", "reopen_days", "close_days", "return_days", "upset_at")
        },
    )


def settings_to(settings: DeskSettings) -> dict[str, Any]:
    """The settings as plain JSON; `settings_from` reads them back."""
    return {
        "days": sorted(settings.hours.days),
        "opens": settings.hours.opens.isoformat("minutes"),
        "closes": settings.hours.closes.isoformat("minutes"),
        "off": sorted(day.isoformat() for day in settings.hours.off),
        "promises": {kind.value: [p.answer, p.resolve] for kind, p in settings.promises.items()},
        "hand_out": settings.hand_out,
        "ticket_cap": settings.ticket_cap,
        "talk_cap": settings.talk_cap,
        "reopen_days": settings.reopen_days,
        "close_days": settings.close_days,
        "return_days": settings.return_days,
        "upset_at": settings.upset_at,
    }


# ── Who takes the next one ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Load:
    """Somebody who is on: how much they have, how much they take, and when they last got something."""

    staff_id: int
    open: int
    cap: int
    last_at: datetime | None = None


def next_agent(loads: Iterable[Load], but: int | None = None) -> int | None:
    """Who takes the next one: the least in hand goes first, then who has waited longest; None when nobody has room.

    `but` is who gave it back: they get it again only while nobody else is on.
    """
    on = list(loads)
    others = [load for load in on if load.staff_id != but]
    free = [load for load in others or on if load.open < load.cap]
    if not free:
        return None
    return min(
        free, key=lambda load: (load.open, load.last_at.timestamp() if load.last_at else 0.0, load.staff_id)
    ).staff_id


# ── The steps of each kind ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Ask:
    """Something a step asks for. `shape` is line, text, choice or yuan.

    What the shop has named itself has its words in `label`, `label_en`; the standard's are translated (`labels.ASKS`).
    """

    key: str
    shape: str = "line"
    needed: bool = True
    choices: tuple[str, ...] = ()
    label: str = ""
    label_en: str = ""


@dataclass(frozen=True)
class Step:
    """A step of a workflow. `by_member`: the customer may do it on their phone. `timer`: starts or stops the wait for a parcel.

    What the shop has named itself has its words in `name`, `name_en`; the standard's are translated (`labels.STEPS`).
    """

    key: str
    asks: tuple[Ask, ...] = ()
    by_member: bool = False
    timer: str = ""
    name: str = ""
    name_en: str = ""


_WHY_BACK = Ask(
    "why", "choice", choices=("unlike_picture", "broken", "wrong_item", "size", "no_longer_wanted", "other")
)
_PARCEL = (Ask("carrier"), Ask("parcel_number"))
_PARCEL_STATE = Ask("parcel_state", "choice", choices=("complete", "damaged", "missing_parts"))
WORKFLOWS: Final[Mapping[TicketKind, tuple[Step, ...]]] = {
    TicketKind.RETURN: (
        Step("reason", (_WHY_BACK,), by_member=True),
        Step("approved", (Ask("return_address", "text", needed=False),), timer="start"),
        Step("sent", _PARCEL, by_member=True, timer="start"),
        Step("received", (_PARCEL_STATE,), timer="stop"),
        Step("refunded", (Ask("amount", "yuan"),)),
    ),
    TicketKind.EXCHANGE: (
        Step("reason", (_WHY_BACK, Ask("wanted", needed=False)), by_member=True),
        Step("approved", (Ask("return_address", "text", needed=False),), timer="start"),
        Step("sent", _PARCEL, by_member=True, timer="start"),
        Step("received", (_PARCEL_STATE,), timer="stop"),
        Step("sent_again", _PARCEL),
    ),
    TicketKind.COMPLAINT: (
        Step("heard", (Ask("what_happened", "text"),)),
        Step("looked_into", (Ask("cause", "text"),)),
        Step(
            "offered",
            (Ask("remedy", "choice", choices=("apology", "coupon", "replacement", "refund")), Ask("offer", "text")),
        ),
        Step("settled", (Ask("agreed", "choice", choices=("yes", "no")),)),
    ),
    TicketKind.FEEDBACK: (
        Step("noted", (Ask("about", "choice", choices=("product", "parcel", "service", "group", "other")),)),
        Step("passed_on", (Ask("to_whom"),)),
    ),
    TicketKind.WRONG_ADDRESS: (
        Step("address", (Ask("right_address", "text"),), by_member=True),
        Step("carrier_told", (Ask("carrier_says", "text", needed=False),)),
        Step("arrived"),
    ),
    TicketKind.REFUSED_PARCEL: (
        Step(
            "asked", (Ask("why_refused", "choice", choices=("not_ordered", "too_late", "damaged", "price", "other")),)
        ),
        Step("decided", (Ask("outcome", "choice", choices=("send_again", "refund", "cancel")),)),
        Step("done", (Ask("parcel_number", needed=False),)),
    ),
    TicketKind.SURVEY: (Step("asked"), Step("answered", (Ask("said", "text"),), by_member=True)),
}
# What members may open themselves; the others begin at the desk.
MEMBER_KINDS: Final = (
    TicketKind.RETURN,
    TicketKind.EXCHANGE,
    TicketKind.WRONG_ADDRESS,
    TicketKind.COMPLAINT,
    TicketKind.FEEDBACK,
)


SHAPES: Final = ("line", "text", "choice", "yuan")
TIMERS: Final = ("", "start", "stop")
MOST_STEPS, MOST_ASKS, MOST_OPTIONS = 12, 6, 12
LONGEST_NAME: Final = 40


def step_of(steps: Sequence[Step], key: str) -> Step | None:
    """The step of a workflow by its key, or None."""
    return next((step for step in steps if step.key == key), None)


def step_after(steps: Sequence[Step], key: str) -> str:
    """The key of the step that follows, empty after the last."""
    keys = [step.key for step in steps]
    at = keys.index(key) + 1
    return keys[at] if at < len(keys) else ""


def first_step(steps: Sequence[Step]) -> str:
    return steps[0].key


def steps_to(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Steps as plain JSON; `steps_from` reads them back."""
    return [asdict(step) for step in steps]


def steps_from(kept: Sequence[Mapping[str, Any]]) -> tuple[Step, ...]:
    """The steps that `steps_to` wrote."""
    return tuple(
        Step(
            key=row["key"],
            asks=tuple(Ask(**{**ask, "choices": tuple(ask["choices"])}) for ask in row["asks"]),
            by_member=row["by_member"],
            timer=row["timer"],
            name=row["name"],
            name_en=row["name_en"],
        )
        for row in kept
    )


def workflow_fault(steps: Sequence[Step], known: Collection[str] = ()) -> str:
    """What is wrong with steps as the shop writes them, a key of `labels.WORKFLOW_FAULTS`; empty when nothing is.

    `known` are the keys of the standard, which need no name of their own.
    """
    if not 1 <= len(steps) <= MOST_STEPS:
        return "number"
    keys = [step.key for step in steps]
    if len(set(keys)) != len(keys):
        return "twice"
    waits = False
    for step in steps:
        if not step.name and step.key not in known:
            return "name"
        asked = [ask.key for ask in step.asks]
        if len(asked) > MOST_ASKS or len(set(asked)) != len(asked):
            return "asks"
        if any(ask.shape == "choice" and not 2 <= len(ask.choices) <= MOST_OPTIONS for ask in step.asks):
            return "choices"
        if step.timer == "stop" and not waits:
            return "timer"
        waits = (waits or step.timer == "start") and step.timer != "stop"
    return ""


def read_answers(step: Step, said: Mapping[str, str]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """What a step was told, and what is wrong with it as (key, fault): needed, choice, yuan, long. Amounts become 分."""
    found: dict[str, Any] = {}
    faults: list[tuple[str, str]] = []
    for ask in step.asks:
        text = said.get(ask.key, "").replace("\x00", "").strip()
        if not text:
            if ask.needed:
                faults.append((ask.key, "needed"))
            continue
        match ask.shape:
            case "choice" if text not in ask.choices:
                faults.append((ask.key, "choice"))
            case "yuan":
                try:
                    found[ask.key] = parse_yuan(text)
                except MoneyInvalid:
                    faults.append((ask.key, "yuan"))
            case "line" if len(text) > 200:
                faults.append((ask.key, "long"))
            case _ if len(text) > LONGEST_TEXT:
                faults.append((ask.key, "long"))
            case _:
                found[ask.key] = text if ask.shape == "text" else " ".join(text.split())
    return found, faults


# ── Clocks ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def earlier(*moments: datetime | None) -> datetime | None:
    """The first of what is due, None when nothing is."""
    known = [moment for moment in moments if moment is not None]
    return min(known) if known else None


def is_late(due_at: datetime | None, now: datetime) -> bool:
    return due_at is not None and due_at <= now


# ── Saved answers ───────────────────────────────────────────────────────────────────────────────────────────────────

PLACES: Final = ("nickname", "product", "order", "parcel", "shop", "agent")
_PLACE = re.compile(r"\{(" + "|".join(PLACES) + r")\}")
_ANY_PLACE = re.compile(r"\{([^{}\s]{1,40})\}")


def fill(body: str, values: Mapping[str, str]) -> str:
    """The text with its places filled in; a place that nobody knows stays, and what is filled in is not read again."""
    return _PLACE.sub(lambda m: values.get(m[1]) or m[0], body)


def unknown_places(body: str) -> list[str]:
    """Places of a saved answer that cannot be filled in."""
    return sorted({name for name in _ANY_PLACE.findall(body) if name not in PLACES})


def subject_from(text: str) -> str:
    """A subject for a ticket that has none: the beginning of what was written, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:59] + "…"
