"""How groups, their states, their rules and their ways in are called, and the sentences of the timeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kernel.events import describes
from kernel.i18n import current_locale, day, ngettext
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.money import short_yuan, yuan
from membership.members.models import Member
from membership.tiers import labels as tier_labels
from membership.tiers import queries as tiers
from membership.tiers import rules as tier_rules

from . import queries, rules
from .events import (
    GroupClosed,
    GroupOpened,
    MemberDrifted,
    MemberInvitedFromQueue,
    MemberJoinedGroup,
    MemberLeftGroup,
    MemberMovedGroup,
    MemberQueued,
)
from .models import DriftState, Group, GroupKind, GroupState, Platform, RewardState, SeatRole, SeatState, WaitingState

KINDS = {
    GroupKind.FLASH: _l("Flash group"),
    GroupKind.LIVE: _l("Live group"),
    GroupKind.VIP: _l("VIP group"),
    GroupKind.REGULAR: _l("Regular group"),
    GroupKind.MEMBER: _l("Members' group"),
    GroupKind.INTEREST: _l("Interest group"),
}
KIND_LINES = {
    GroupKind.FLASH: _l("Opens and closes by the clock, with a countdown; leads on to a regular group when it closes."),
    GroupKind.LIVE: _l("Sessions with reminders a day and ten minutes before."),
    GroupKind.VIP: _l("Joined from a tier upward."),
    GroupKind.REGULAR: _l("Open to everybody, always there."),
    GroupKind.MEMBER: _l("For people who have enrolled as members of the shop."),
    GroupKind.INTEREST: _l("For people with a tag, such as tea or running."),
}
KIND_ICONS = {
    GroupKind.FLASH: "bolt",
    GroupKind.LIVE: "broadcast",
    GroupKind.VIP: "crown",
    GroupKind.REGULAR: "messages",
    GroupKind.MEMBER: "id",
    GroupKind.INTEREST: "heart",
}
STATES = {
    GroupState.DRAFT: _l("Draft"),
    GroupState.WARM_UP: _l("Warm-up"),
    GroupState.OPEN: _l("Open"),
    GroupState.PAUSED: _l("Paused"),
    GroupState.CLOSED: _l("Closed"),
    GroupState.ARCHIVED: _l("Archived"),
}
# What a change of state has done, said after it.
STATE_SENTENCES = {
    GroupState.DRAFT: _l("The group is a draft again; its links show nothing of it."),
    GroupState.WARM_UP: _l("The group is announced: its links show what is coming."),
    GroupState.OPEN: _l("The group is open: people can join."),
    GroupState.PAUSED: _l("Nobody new comes in until you go on."),
    GroupState.CLOSED: _l("The group is closed. Its people can still read it."),
    GroupState.ARCHIVED: _l("The group is archived and no longer in the list."),
}
SEAT_STATES = {
    SeatState.HELD: _l("Held"),
    SeatState.TAKEN: _l("In the group"),
    SeatState.LEFT: _l("Left"),
    SeatState.REMOVED: _l("Removed"),
    SeatState.MOVED: _l("Moved"),
    SeatState.LAPSED: _l("Lapsed"),
}
WAITING_STATES = {
    WaitingState.QUEUED: _l("Waiting"),
    WaitingState.INVITED: _l("Invited"),
    WaitingState.SEATED: _l("Seated"),
    WaitingState.LAPSED: _l("Lapsed"),
}
DRIFT_STATES = {
    DriftState.GRACE: _l("Has time"),
    DriftState.DUE: _l("To decide"),
    DriftState.RECOVERED: _l("Qualifies again"),
    DriftState.KEPT: _l("May stay"),
    DriftState.MOVED: _l("Moved"),
    DriftState.REMOVED: _l("Removed"),
    DriftState.GONE: _l("Left by themselves"),
    DriftState.UNDONE: _l("Taken back"),
}
PLATFORMS = {Platform.WECOM: _l("WeCom"), Platform.TAOBAO: _l("Taobao"), Platform.OTHER: _l("Another platform")}
CODE_ALARMS = {
    rules.CodeAlarm.NONE_LEFT: _l("No code lets anybody in any more"),
    rules.CodeAlarm.ENDS_SOON: _l("The last code ends within two days"),
    rules.CodeAlarm.NEARLY_FULL: _l("The last code is nearly full"),
}
REWARD_STATES = {
    RewardState.WAITING: _l("Not due yet"),
    RewardState.GIVEN: _l("Rewarded"),
    RewardState.REFUSED: _l("Does not count"),
    RewardState.LAPSED: _l("Lapsed"),
}
# Why a friend brought nothing.
REWARD_REASONS = {
    "self": _l("It is the same person."),
    "device": _l("The friend came with a phone or browser that is known already."),
    "phone": _l("The phone numbers follow one another."),
    "address": _l("The friend has the same address."),
    "network": _l("Many friends came from one place."),
    "left": _l("The friend did not stay."),
    "no_order": _l("The friend did not order in time."),
    "cap": _l("The member had as many rewards as one may have."),
    "nothing_left": _l("Nothing was left to give."),
}
ROLES = {SeatRole.OWNER: _l("Group owner"), SeatRole.ADMIN: _l("Group admin"), SeatRole.MEMBER: _l("Group member")}
GROUNDS = {
    rules.Ground.LINK: _l("announcements carry no links; put the link into a post"),
    rules.Ground.FREE: _l("the platform takes it for luring with free orders"),
    rules.Ground.LURE: _l("the platform takes it for buying shares and recruits"),
    rules.Ground.REVIEW: _l("paying for orders or reviews is forbidden"),
    rules.Ground.ELSEWHERE: _l("the platform forbids leading its customers elsewhere"),
    rules.Ground.SUPERLATIVE: _l("advertising law forbids superlatives"),
}
# What stands on the calendar of groups.
MOMENTS = {"opens": _l("Group opens"), "closes": _l("Group closes")}
MODES = {"all": _l("All of these"), "any": _l("One of these is enough")}


def lint_sentence(finding: rules.Finding) -> str:
    """`“免单”: the platform takes it for luring with free orders.`"""
    return str(_("“%(words)s”: %(reason)s.", words=finding.words, reason=GROUNDS[finding.ground]))


# ── Rules of entry ──────────────────────────────────────────────────────────────────────────────────────────────────


def rank_name(rank: int) -> str:
    """A tier as everybody knows it."""
    return f"VIP{rank}"


def rule_sentence(rule: Mapping[str, Any]) -> str:
    """What a rule asks, in a few words: `VIP3 or above`, `¥100 spent`."""
    match rule["kind"]:
        case "enrolled":
            return str(_("Enrolled as a member"))
        case "tier":
            return str(_("%(tier)s or above", tier=rank_name(rule["rank"])))
        case "spend":
            return str(_("%(amount)s spent in the shop", amount=short_yuan(rule["fen"])))
        case "orders":
            return ngettext("%(num)s order placed", "%(num)s orders placed", rule["count"])
        case "product":
            return str(_("Bought “%(product)s”", product=rule.get("title") or rule["sku"]))
        case "tag":
            return str(_("Interested in “%(tag)s”", tag=rule["tag"]))
        case "password":
            return str(_("Knows the group's password"))
        case "invitation":
            return str(_("Has a personal invitation"))
        case _:
            return str(rule["kind"])


def _way_to_tier(rank: int, member: Member | None) -> str:
    """`¥38.00 or 1 order to VIP3`, from the very explanation that the member's own page shows."""
    level = tiers.policy().level(rank)
    if member is None or level is None:
        return str(_("Join the shop's members and collect orders."))
    explained = tiers.explanation(member.id)
    missing = tier_labels.missing_text(tier_rules.missing_to(explained.policy, level, explained.totals))
    if not missing:
        return str(_("Your tier is being counted: come back in a moment."))
    return str(_("%(missing)s to %(tier)s.", missing=missing, tier=rank_name(rank)))


def way(miss: rules.Miss, member: Member | None) -> str:
    """The shortest way to meet a rule, as a sentence to the member."""
    match miss.kind:
        case "enrolled":
            return str(_("Become a member: it costs nothing and takes one tap."))
        case "tier":
            return _way_to_tier(miss.rule["rank"], member)
        case "spend":
            return str(_("%(amount)s more.", amount=yuan(miss.missing or 0)))
        case "orders":
            return ngettext("%(num)s more order.", "%(num)s more orders.", miss.missing or 0)
        case "product":
            return str(_("Order it once; the group is open to you from then on."))
        case "tag":
            return str(_("Tell the shop that you care about it; it can let you in."))
        case "password":
            return str(_("Type the password that the shop gave out."))
        case "invitation":
            return str(_("Ask the shop, or a friend of the shop, for an invitation of your own."))
        case _:
            return str(_("Ask the shop."))


def misses_sentence(group: Group, misses: Sequence[rules.Miss], member: Member | None) -> str:
    """Everything that is missing, in one or two sentences."""
    parts = [f"{rule_sentence(miss.rule)}{_(': ')}{way(miss, member)}" for miss in misses]
    if group.join_rule.get("mode") == "any" and len(parts) > 1:
        parts.insert(0, str(_("One of these is enough.")))
    return (" " if current_locale() == "en" else "").join(parts)


def name_of(member: Member) -> str:
    """What others in a group read somebody by: the nickname whole, of a real name only its beginning."""
    if member.nickname:
        return member.nickname
    return f"{member.name[0]}**" if member.name else str(_("A member"))


def reward_sentence(terms: rules.Reward, offer: str = "") -> str:
    """`100 points for each friend who stays 7 days`."""
    what = (
        _("“%(offer)s”", offer=offer)
        if terms.kind == "coupon"
        else ngettext("%(num)s point", "%(num)s points", terms.points)
    )
    if terms.after == "order":
        return ngettext(
            "%(what)s for each friend who stays %(num)s day and orders",
            "%(what)s for each friend who stays %(num)s days and orders",
            terms.days,
            what=what,
        )
    return ngettext(
        "%(what)s for each friend who stays %(num)s day",
        "%(what)s for each friend who stays %(num)s days",
        terms.days,
        what=what,
    )


# ── The timeline ────────────────────────────────────────────────────────────────────────────────────────────────────


def _name(group_id: int) -> str:
    group = queries.find_group(group_id)
    return group.name if group is not None else "–"


@describes(MemberJoinedGroup)
def joined(event: MemberJoinedGroup) -> str:
    if event.source:
        return str(
            _(
                "Joined the group “%(group)s” (from %(source)s)",
                group=_name(event.group_id),
                source=source_name(event.source),
            )
        )
    return str(_("Joined the group “%(group)s”", group=_name(event.group_id)))


@describes(MemberLeftGroup)
def left(event: MemberLeftGroup) -> str:
    if event.reason == "left":
        return str(_("Left the group “%(group)s”", group=_name(event.group_id)))
    return str(
        _("Was removed from the group “%(group)s”: %(reason)s", group=_name(event.group_id), reason=event.reason)
    )


@describes(MemberMovedGroup)
def moved(event: MemberMovedGroup) -> str:
    return str(
        _("Moved from the group “%(group)s” to “%(to)s”", group=_name(event.group_id), to=_name(event.to_group_id))
    )


@describes(MemberDrifted)
def drifted(event: MemberDrifted) -> str:
    return str(
        _(
            "No longer meets the rules of “%(group)s”; the seat is kept until %(until)s",
            group=_name(event.group_id),
            until=day(event.grace_until),
        )
    )


@describes(MemberQueued)
def queued(event: MemberQueued) -> str:
    return str(
        _("Is number %(number)s on the waiting list of “%(group)s”", number=event.number, group=_name(event.group_id))
    )


@describes(MemberInvitedFromQueue)
def invited(event: MemberInvitedFromQueue) -> str:
    return str(_("Was offered a seat in “%(group)s” from the waiting list", group=_name(event.group_id)))


@describes(GroupOpened)
def opened(event: GroupOpened) -> str:
    return str(_("The group “%(group)s” opened", group=_name(event.group_id)))


@describes(GroupClosed)
def closed(event: GroupClosed) -> str:
    return str(_("The group “%(group)s” closed", group=_name(event.group_id)))


SOURCES = {
    "link": _l("the group's link"),
    "invitation": _l("a personal invitation"),
    "waiting-list": _l("the waiting list"),
    "call": _l("a call-back"),
    "successor": _l("the group before"),
    "moved": _l("another group of the shop"),
    "friend": _l("a friend"),
    "group-page": _l("the group's page"),
    "console": _l("the console"),
    "demo": _l("the demo shop"),
}


def source_name(source: str) -> str:
    """Where somebody came from, in words where it is one of ours."""
    return str(SOURCES.get(source, source))
