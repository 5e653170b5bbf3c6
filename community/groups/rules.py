"""Pure decisions about groups: what state the clock puts one in, who may join, how its sub-groups open."""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l

from .models import DriftState, GroupKind, GroupState, OutsideCode

# So many sub-groups are opened at most, and so many seats: what the seat book keeps in sight at once.
MOST_SUB_GROUPS = 200
LARGEST_CAPACITY = 100_000


# ── Refusals ────────────────────────────────────────────────────────────────────────────────────────────────────────


class GroupNotOpenYet(Refusal):
    title = _l("Not open yet")
    label = _l("This group has not opened. Come back when it does; your link stays good.")
    icon = "calendar-time"


class GroupPaused(Refusal):
    title = _l("Joining is paused")
    label = _l("The shop lets nobody in for the moment. Your link stays good; please try again later.")
    icon = "player-pause"


class GroupClosed(Refusal):
    status = 410
    title = _l("This group is closed")
    label = _l("It was open for a limited time, and that is over.")
    icon = "clock-off"


class GroupOver(Refusal):
    """What was tapped on a group's page begins nothing any more; leads to the group with this public id."""

    title = _l("This group has closed")
    label = _l("You can still read it; nobody new comes in.")
    icon = "clock-off"

    def __init__(self, public_id: str) -> None:
        super().__init__(next_step=(f"/groups/{public_id}", _l("To the group")))


class GroupFull(Refusal):
    title = _l("Every seat is taken")
    label = _l("No seat can be held in this group now. Joining gives a number on its waiting list.")
    icon = "users"


class Barred(Refusal):
    status = 403
    title = _l("You cannot come back to this group")
    label = _l("The shop has closed this group to you. Write to the shop if you think that is a mistake.")
    icon = "ban"


class NotQualified(Refusal):
    """The member does not meet the rules of entry; `misses` says which, and `whys` the same in words."""

    status = 403
    title = _l("Not yet")
    label = _l("This group asks for something you do not have yet. %(whys)s")
    icon = "lock"

    def __init__(self, misses: Sequence[Miss] = (), whys: str = "", **values: Any) -> None:
        super().__init__(whys=whys, **values)
        self.misses = tuple(misses)


class NothingToGive(Refusal):
    title = _l("Nothing could be given")
    label = _l("The member has had as many thank-yous as one may, or the offer has ended. Nothing was changed.")


class Moved(Refusal):
    title = _l("Somebody was faster")
    label = _l("The group has changed its state in the meantime. Nothing was changed; look at it again.")


class DraftRefused(Refusal):
    """Something in a group's form does not go; `field` is the input that it concerns."""

    status = 422
    field = "name"


class CapacityLowered(DraftRefused):
    field = "capacity"
    label = _l("The capacity can only be raised; it is %(capacity)s now.")


class SizeFixed(DraftRefused):
    field = "seats_each"
    label = _l("The size of the sub-groups is fixed once the first has opened.")


class TooManySubGroups(DraftRefused):
    field = "seats_each"
    label = _l("That would be more than %(most)s sub-groups. Make them larger.")


class AnnouncementRefused(DraftRefused):
    """Words that the platform refuses stand in an announcement; `findings` lists them."""

    field = "announcement"
    label = _l("%(sentence)s")

    def __init__(self, findings: Sequence[Finding], sentence: str) -> None:
        super().__init__(sentence=sentence)
        self.findings = tuple(findings)


class LinkUnknown(Refusal):
    status = 404
    title = _l("This link does not work")
    label = _l("The link is incomplete or was changed on its way. Ask for it again, or copy the whole of it.")
    icon = "link-off"


class LinkRevoked(Refusal):
    status = 410
    title = _l("This link is not in use any more")
    label = _l("The shop has withdrawn it. Ask for a new one.")
    icon = "link-off"


class TooManyNewcomers(Refusal):
    status = 429
    title = _l("Very many people are joining from here")
    label = _l("Please try again in an hour, or say who you are with the number of one of your orders.")
    icon = "clock"


class TooManyPasswords(Refusal):
    status = 429
    title = _l("Too many wrong passwords")
    label = _l("Please try again in 15 minutes, or ask whoever sent you here for the password.")
    icon = "clock"


class NotAMember(Refusal):
    status = 404
    title = _l("You are not in this group")
    label = _l("Nothing was changed: you have no seat here.")
    icon = "door-exit"


class SeatNeeded(NotAMember):
    """What was tapped on a group's page asks for a seat that is gone, or never was; leads to the group with this public id."""

    status = 403
    label = _l("This is for people who have a seat in the group. Nothing was changed.")

    def __init__(self, public_id: str) -> None:
        super().__init__(next_step=(f"/groups/{public_id}", _l("To the group")))


class StillInGrace(Refusal):
    title = _l("They still have time")
    label = _l(
        "Nobody of these can be moved or removed yet: the time that they were given is not over. Nothing was changed."
    )


class NothingFollows(Refusal):
    title = _l("Nothing to move on to")
    label = _l("The group that was to follow is not open. You can still read this one; nothing was changed.")
    icon = "clock-off"


class DropOver(Refusal):
    status = 410
    title = _l("The live session is over")
    label = _l("This was only there while the session ran. The next one brings something new.")
    icon = "clock-off"


class NoCodeLeft(Refusal):
    title = _l("No code to show now")
    label = _l(
        "The shop is about to put a new one here. Please look again tomorrow; your seat in this group stays yours."
    )
    icon = "qrcode"


class NotEnoughOrders(Refusal):
    title = _l("The shop cannot open a group yet")
    label = _l(
        "Opening a group asks for %(needed)s orders in %(days)s days. There were %(found)s: %(missing)s more, or switch the "
        "condition off under Groups, Opening conditions. Nothing was changed."
    )
    icon = "lock"


class NoSuccessor(Refusal):
    title = _l("No group to move them to")
    label = _l(
        "Choose under Rules and settings which group people are moved to, and see that it is open. Nothing was changed."
    )


# ── The clock and the states ────────────────────────────────────────────────────────────────────────────────────────


def state_at(state: GroupState, opens_at: datetime | None, closes_at: datetime | None, now: datetime) -> GroupState:
    """The state a group is really in: what is stored, and what the clock has made of it since.

    A sweep only writes down what this says already.
    """
    if state not in (GroupState.WARM_UP, GroupState.OPEN, GroupState.PAUSED):
        return state
    if closes_at is not None and closes_at <= now:
        return GroupState.CLOSED
    if state is GroupState.WARM_UP and opens_at is not None and opens_at <= now:
        return GroupState.OPEN
    return state


# From which states staff may go to which.
ACTS: dict[GroupState, tuple[GroupState, ...]] = {
    GroupState.DRAFT: (GroupState.WARM_UP, GroupState.OPEN, GroupState.ARCHIVED),
    GroupState.WARM_UP: (GroupState.OPEN, GroupState.DRAFT, GroupState.CLOSED),
    GroupState.OPEN: (GroupState.PAUSED, GroupState.CLOSED),
    GroupState.PAUSED: (GroupState.OPEN, GroupState.CLOSED),
    GroupState.CLOSED: (GroupState.ARCHIVED,),
    GroupState.ARCHIVED: (),
}


@dataclass(frozen=True)
class Opening:
    """What a shop has to have sold before it opens a group; platforms ask for 30 orders in 30 days."""

    on: bool = False
    orders: int = 30
    days: int = 30

    def missing(self, found: int) -> int:
        """How many orders more it takes, 0 when none or when the condition is off."""
        return max(0, self.orders - found) if self.on else 0


def entry_refusal(state: GroupState, keeps_seat: bool) -> Refusal | None:
    """Why nobody may take a seat in a group of this state, or None.

    `keeps_seat`: a seat is held for this member already. A pause lets nobody new in, and leaves them theirs.
    """
    match state:
        case GroupState.OPEN:
            return None
        case GroupState.PAUSED:
            return None if keeps_seat else GroupPaused()
        case GroupState.DRAFT | GroupState.WARM_UP:
            return GroupNotOpenYet()
        case _:
            return GroupClosed()


# ── Codes of groups elsewhere ───────────────────────────────────────────────────────────────────────────────────────


def usable_code(code: OutsideCode, now: datetime) -> bool:
    """Whether a code elsewhere still lets people in."""
    return code.retired_at is None and (code.expires_at is None or code.expires_at > now)


def code_for_newcomers(codes: Sequence[OutsideCode], now: datetime) -> OutsideCode | None:
    """The code that the next person is shown: the first that still lets people in and is not full; None when none is."""
    free = (c for c in codes if usable_code(c, now) and (c.seats is None or c.shown < c.seats))
    return min(free, key=lambda code: (code.position, code.id), default=None)


class CodeAlarm(enum.StrEnum):
    """What is about to go wrong with the codes of a group."""

    NONE_LEFT = "none_left"
    ENDS_SOON = "ends_soon"
    NEARLY_FULL = "nearly_full"


ALARM_BEFORE = timedelta(days=2)
ALARM_PERCENT = 90


def code_alarm(codes: Sequence[OutsideCode], now: datetime) -> CodeAlarm | None:
    """Why staff have to see to the codes of a group: none is left, or the last good one ends or fills up soon."""
    current = [c for c in codes if c.retired_at is None]
    if not current:
        return None
    free = [c for c in current if usable_code(c, now) and (c.seats is None or c.shown < c.seats)]
    if not free:
        return CodeAlarm.NONE_LEFT
    if all(c.expires_at is not None and c.expires_at <= now + ALARM_BEFORE for c in free):
        return CodeAlarm.ENDS_SOON
    if all(c.seats is not None and c.shown * 100 >= c.seats * ALARM_PERCENT for c in free):
        return CodeAlarm.NEARLY_FULL
    return None


# ── Friends who bring friends ───────────────────────────────────────────────────────────────────────────────────────


class Farming(enum.StrEnum):
    """What makes a friend look like somebody whom the member made up."""

    SELF = "self"
    DEVICE = "device"
    PHONE = "phone"
    ADDRESS = "address"
    NETWORK = "network"


# From one network address (a household, an office) so many friends of one member count.
FRIENDS_A_NETWORK = 5
# A friend who has not met the condition by then does not any more.
REWARD_ENDS = timedelta(days=30)


@dataclass(frozen=True)
class Reward:
    """What a member gets for a friend: a coupon of an offer, or points; after `days` in the group, or after an order."""

    kind: str
    offer_id: int = 0
    points: int = 0
    after: str = "stay"
    days: int = 7
    cap: int = 10

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Reward | None:
        """The terms as a group keeps them, None where it gives nothing."""
        return cls(**said) if said.get("kind") else None


@dataclass(frozen=True)
class Trace:
    """What tells people apart: keyed hashes of network and device, the phone, the address without its spaces."""

    member_id: int
    network: str | None = None
    device: str | None = None
    phone: str | None = None
    address: str = ""


def _row_of(phone: str | None) -> str | None:
    """All but the last three digits: numbers that were bought in a row share it."""
    return phone[:-3] if phone and len(phone) > 6 else None


def farming(inviter: Trace, friend: Trace, others: Sequence[Trace]) -> Farming | None:
    """Why a friend does not count, or None. `others` are the friends of the same member who count or wait, without this one.

    One phone in the family is nobody's crime, yet it is not a new friend; a network is shared by whole houses, so only the
    sixth friend from it is refused.
    """
    if friend.member_id == inviter.member_id:
        return Farming.SELF
    known = [inviter, *others]
    if friend.device is not None and any(one.device == friend.device for one in known):
        return Farming.DEVICE
    if (row := _row_of(friend.phone)) is not None and any(_row_of(one.phone) == row for one in known):
        return Farming.PHONE
    if len(friend.address) > 5 and any(one.address == friend.address for one in known):
        return Farming.ADDRESS
    if friend.network is not None and sum(one.network == friend.network for one in others) >= FRIENDS_A_NETWORK:
        return Farming.NETWORK
    return None


# ── Sub-groups ──────────────────────────────────────────────────────────────────────────────────────────────────────


def sub_group_seats(number: int, capacity: int, seats_each: int) -> int:
    """How many seats the sub-group of this number (from 1) has; 0 when the capacity does not reach so far."""
    return max(0, min(seats_each, capacity - (number - 1) * seats_each))


# ── Rules of entry ──────────────────────────────────────────────────────────────────────────────────────────────────


RULE_KINDS = ("enrolled", "tier", "spend", "orders", "product", "tag", "password", "invitation")


@dataclass(frozen=True)
class Facts:
    """What is known of somebody who wants to join. Amounts are 分."""

    known: bool = True
    enrolled: bool = False
    rank: int = 0
    spend: int = 0
    orders: int = 0
    products: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    invited: bool = False
    password: str = ""


@dataclass(frozen=True)
class Miss:
    """A rule that is not met, and how far from it somebody is (分, orders or ranks; None where that has no measure)."""

    kind: str
    rule: Mapping[str, Any] = field(hash=False)
    missing: int | None = None


def rules_of(kind: GroupKind, join_rule: Mapping[str, Any]) -> tuple[str, list[Mapping[str, Any]]]:
    """The mode (`all` or `any`) and every rule of a group: its own, and for a members' group that one is enrolled."""
    rules = list(join_rule.get("rules", ()))
    if kind is GroupKind.MEMBER and all(rule["kind"] != "enrolled" for rule in rules):
        rules.insert(0, {"kind": "enrolled"})
    return ("any" if join_rule.get("mode") == "any" else "all"), rules


def open_to_all(kind: GroupKind, join_rule: Mapping[str, Any]) -> bool:
    """Whether a group asks nothing that the shop would have to know of a person beforehand."""
    mode, rules = rules_of(kind, join_rule)
    askable = [rule["kind"] in ("password", "enrolled") for rule in rules]
    return not rules or (any(askable) if mode == "any" else all(askable))


def same_password(given: str, wanted: str) -> bool:
    """Passwords of groups are spread by word of mouth: case and spaces at the ends do not count."""
    return given.strip().casefold() == wanted.strip().casefold()


def missed(facts: Facts, rule: Mapping[str, Any]) -> Miss | None:
    """The miss of one rule, or None when it is met. An unknown kind of rule is never met."""
    kind = rule["kind"]
    match kind:
        case "enrolled":
            met, missing = facts.enrolled, None
        case "tier":
            met, missing = facts.rank >= rule["rank"], rule["rank"] - facts.rank
        case "spend":
            met, missing = facts.spend >= rule["fen"], rule["fen"] - facts.spend
        case "orders":
            met, missing = facts.orders >= rule["count"], rule["count"] - facts.orders
        case "product":
            met, missing = rule["sku"] in facts.products, None
        case "tag":
            met, missing = rule["tag"] in facts.tags, None
        case "password":
            met, missing = same_password(facts.password, rule["password"]), None
        case "invitation":
            met, missing = facts.invited, None
        case _:
            met, missing = False, None
    return None if met else Miss(kind, rule, missing)


def joinable(facts: Facts, kind: GroupKind, join_rule: Mapping[str, Any]) -> list[Miss]:
    """What keeps somebody out: nothing, or every rule that is not met.

    With the mode `all` each of them is needed; with `any` one of them would be enough, and nothing is missing as soon as
    one rule is met.
    """
    mode, rules = rules_of(kind, join_rule)
    misses = [miss for rule in rules if (miss := missed(facts, rule)) is not None]
    if mode == "any" and len(misses) < len(rules):
        return []
    return misses


def rule_mistakes(kind: GroupKind, join_rule: Mapping[str, Any]) -> list[str]:
    """Which rule a group of this kind lacks: `tier` for a vip group, `tag` for an interest group."""
    kinds = {rule["kind"] for rule in join_rule.get("rules", ())}
    wanted = {GroupKind.VIP: "tier", GroupKind.INTEREST: "tag"}.get(kind)
    return [wanted] if wanted and wanted not in kinds else []


# Rules that can be looked at again at any time. A password or an invitation was asked for once, at the door.
LASTING = ("enrolled", "tier", "spend", "orders", "product", "tag")


def lasting_rules(kind: GroupKind, join_rule: Mapping[str, Any]) -> tuple[str, list[Mapping[str, Any]]]:
    """The mode and the rules that people inside have to go on meeting; none where a password alone was enough to come in."""
    mode, rules = rules_of(kind, join_rule)
    lasting = [rule for rule in rules if rule["kind"] in LASTING]
    if mode == "any" and len(lasting) < len(rules):
        return mode, []
    return mode, lasting


def drifted(facts: Facts, kind: GroupKind, join_rule: Mapping[str, Any]) -> list[Miss]:
    """What somebody inside lacks of the rules that last; nothing while they still qualify."""
    mode, rules = lasting_rules(kind, join_rule)
    misses = [miss for rule in rules if (miss := missed(facts, rule)) is not None]
    return [] if mode == "any" and len(misses) < len(rules) else misses


def drift_state_at(state: DriftState, grace_until: datetime, now: datetime) -> DriftState:
    """What the clock has made of somebody's time to qualify again: it is over at `grace_until`, sweep or not."""
    return DriftState.DUE if state is DriftState.GRACE and grace_until <= now else state


# From which states of a drift which others are reached. What is decided stays, but a move or removal can be undone.
DRIFT_STEPS: dict[DriftState, tuple[DriftState, ...]] = {
    DriftState.GRACE: (DriftState.DUE, DriftState.RECOVERED, DriftState.KEPT, DriftState.GONE),
    DriftState.DUE: (
        DriftState.RECOVERED, DriftState.KEPT, DriftState.MOVED, DriftState.REMOVED, DriftState.GONE,
    ),
    DriftState.MOVED: (DriftState.UNDONE,),
    DriftState.REMOVED: (DriftState.UNDONE,),
    DriftState.RECOVERED: (),
    DriftState.KEPT: (),
    DriftState.GONE: (),
    DriftState.UNDONE: (),
}  # fmt: skip


# ── Announcements ───────────────────────────────────────────────────────────────────────────────────────────────────


class Ground(enum.StrEnum):
    """Why a platform refuses words in a group's announcement."""

    LINK = "link"
    FREE = "free"
    LURE = "lure"
    REVIEW = "review"
    ELSEWHERE = "elsewhere"
    SUPERLATIVE = "superlative"


@dataclass(frozen=True)
class Finding:
    """Words of an announcement that may not stand there, and why."""

    words: str
    ground: Ground


_LINK = re.compile(
    r"(?:https?://|www\.)\S+|(?<![\w.@-])(?:[a-z0-9-]+\.)+(?:com|cn|net|org|io|me|cc|top|shop|xyz|vip|link|app|site|club|store)"
    r"(?:\.cn)?(?:/\S*)?(?![\w-])",
    re.I,
)
# Spaces between the characters hide nothing, so each word is looked for with any between them.
_WORDS: dict[Ground, tuple[str, ...]] = {
    Ground.FREE: ("免单", "[0零〇]元(?:购|拿|抢)", "白送"),
    Ground.LURE: ("转发(?:有奖|抽奖|领)", "集赞", "砍价免", "拉人头", "裂变"),
    Ground.REVIEW: ("刷单", "刷信誉", "好评(?:返现|有礼|红包)", "返现好评", "五星好评"),
    Ground.ELSEWHERE: ("加我?(?:微信|v信|薇信|vx|wx|qq)", "微信号", "扫码(?:加|进)"),
    Ground.SUPERLATIVE: ("国家级", "世界级", "最高级", "最佳", "最低价", "全网(?:最低|第一)", "第一品牌", "史上最低"),
}
_PATTERNS = {
    ground: re.compile(
        "|".join(re.sub(r"([\u4e00-\u9fff\]])(?=[\u4e00-\u9fff(\[])", r"\1\\s*", word) for word in words), re.I
    )
    for ground, words in _WORDS.items()
}


def lint_announcement(announcement: str) -> list[Finding]:
    """What a platform would refuse in an announcement: links, and words that it takes for luring, in their order.

    Full-width letters, spaces between the characters and invisible ones hide nothing. The superlatives are those of article 9 of China's
    advertising law.
    """
    plain = "".join(c for c in unicodedata.normalize("NFKC", announcement) if unicodedata.category(c) != "Cf")
    found = [(match.start(), Finding(match.group(), Ground.LINK)) for match in _LINK.finditer(plain)]
    for ground, pattern in _PATTERNS.items():
        found += [(match.start(), Finding(match.group(), ground)) for match in pattern.finditer(plain)]
    return [finding for _start, finding in sorted(found, key=lambda pair: pair[0])]
