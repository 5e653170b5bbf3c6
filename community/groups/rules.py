"""Pure decisions about groups: what state the clock puts one in, who may join, how its sub-groups open."""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l

from .models import GroupKind, GroupState

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
