"""Names of kinds, states and remarks, as people read them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from babel import dates

from kernel import clock
from kernel.i18n import current_locale
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from membership.members.models import Member

from .models import CommentState, MemberPosts, PostKind, PostState
from .rules import Finding

KINDS: dict[PostKind, Any] = {
    PostKind.TIP: _l("Tip"),
    PostKind.MISTAKE: _l("Mistake to avoid"),
    PostKind.NEW_PRODUCT: _l("New product"),
    PostKind.PROMOTION: _l("Promotion"),
    PostKind.LIVE: _l("Live"),
    PostKind.SHORT_VIDEO: _l("Short video"),
    PostKind.SURVEY: _l("Survey"),
    PostKind.ANNOUNCEMENT: _l("Announcement"),
    PostKind.TALK: _l("From a member"),
}
KIND_LINES: dict[PostKind, Any] = {
    PostKind.TIP: _l("How to use, keep or choose something"),
    PostKind.MISTAKE: _l("What goes wrong often, and how to avoid it"),
    PostKind.NEW_PRODUCT: _l("What is new, shown to the group first"),
    PostKind.PROMOTION: _l("An offer for this group"),
    PostKind.LIVE: _l("A live session and where to watch it"),
    PostKind.SHORT_VIDEO: _l("Half a minute to watch, or a link to it"),
    PostKind.SURVEY: _l("A question with a link to the form"),
    PostKind.ANNOUNCEMENT: _l("A notice to everyone, without links"),
}
KIND_ICONS: dict[PostKind, str] = {
    PostKind.TIP: "bulb",
    PostKind.MISTAKE: "ban",
    PostKind.NEW_PRODUCT: "sparkles",
    PostKind.PROMOTION: "discount",
    PostKind.LIVE: "broadcast",
    PostKind.SHORT_VIDEO: "video",
    PostKind.SURVEY: "clipboard-list",
    PostKind.ANNOUNCEMENT: "speakerphone",
    PostKind.TALK: "messages",
}
# What staff write; the others come from members.
WRITTEN_KINDS: dict[PostKind, Any] = {kind: KINDS[kind] for kind in KIND_LINES}
STATES: dict[PostState, Any] = {
    PostState.WAITING: _l("Waits for approval"),
    PostState.REFUSED: _l("Taken down"),
    PostState.DRAFT: _l("Draft"),
    PostState.SCHEDULED: _l("Scheduled"),
    PostState.PUBLISHED: _l("Published"),
    PostState.ARCHIVED: _l("Archived"),
}
# What a post of the shop can be; the others wait for staff because a member wrote them.
SHOP_STATES: dict[PostState, Any] = {
    state: label for state, label in STATES.items() if state not in (PostState.WAITING, PostState.REFUSED)
}
FIELDS: dict[str, Any] = {
    "title": _l("Title"),
    "body": _l("Text"),
    "link_url": _l("Link"),
    "picture": _l("Picture"),
    "film": _l("Short video"),
    "groups": _l("Groups"),
    "publish_at": _l("Time"),
}
COMMENT_STATES: dict[CommentState, Any] = {
    CommentState.SHOWN: _l("Shows"),
    CommentState.HELD: _l("Waits for approval"),
    CommentState.HIDDEN: _l("Taken down"),
    CommentState.WITHDRAWN: _l("Taken back"),
}
MEMBER_POSTS: dict[MemberPosts, Any] = {
    MemberPosts.OFF: _l("Only the shop writes posts"),
    MemberPosts.APPROVAL: _l("Members write, staff look first"),
    MemberPosts.OPEN: _l("Members write, and it shows at once"),
}
_FINDINGS: dict[str, Any] = {
    "link_in_announcement": _l(
        "An announcement carries no link: group platforms refuse announcements that lead away. Put the link into a tip or a promotion."
    ),
    "refused_word": _l(
        "“%(word)s” is refused in announcements: platforms take it for bait with free goods, paid reviews or a lead away from them."
    ),
    "risky_word": _l(
        "“%(word)s” is refused by group platforms in announcements; here it may be reported too. Say it plainly."
    ),
    "superlative": _l("“%(word)s” is a superlative that the Advertising Law (Article 9) forbids."),
    "long_title": _l("The title is long: phones cut it off after about 28 characters."),
    "long_body": _l("The text is long: few read more than a screen. Keep the one thing that helps."),
    "no_picture": _l("There is no picture yet; posts of this kind are looked at more than read."),
    "no_link": _l("There is no link, so nothing can be followed from here."),
    "no_video": _l("There is no video yet, and no link to one."),
    "no_poster": _l("Without a picture the video is a dark field until somebody plays it."),
    "no_group": _l("No group is chosen yet."),
    "quiet_hours": _l("It appears between 22:00 and 08:00, when hardly anybody looks."),
}


def name_of(member: Member | None) -> str:
    """What other members read somebody by: the nickname whole, of a real name only its beginning."""
    if member is None or not (member.nickname or member.name):
        return str(_("A member"))
    return member.nickname or f"{member.name[0]}**"


def sentence(finding: Finding) -> str:
    """What a remark of the lint says."""
    text = str(_FINDINGS[finding.code])
    return text % {"word": finding.word} if finding.word else text


def weekday(on: date) -> str:
    """The day of the week, short."""
    return str(dates.format_date(on, "EEE", locale=current_locale()))


def weekday_of(at: datetime) -> str:
    """The day of the week on the shop's calendar."""
    return weekday(clock.local(at).date())


def weekday_at(at: datetime) -> str:
    """The day and hour at which something comes next, with the day of the week."""
    return f"{weekday_of(at)} {day_of_month(clock.local(at).date())} {hour(at)}"


def typed(at: datetime) -> str:
    """A moment as a field for times takes it."""
    return clock.local(at).strftime("%Y-%m-%dT%H:%M")


def month(on: date) -> str:
    """Month and year."""
    return str(dates.format_date(on, "y年M月" if current_locale() == "zh_Hans" else "MMMM y", locale=current_locale()))


def day_of_month(on: date) -> str:
    """Day and month without the year."""
    return str(dates.format_date(on, "M月d日" if current_locale() == "zh_Hans" else "d MMM", locale=current_locale()))


def hour(at: datetime | None) -> str:
    """The time of day on the shop's wall clock."""
    return clock.local(at).strftime("%H:%M") if at else ""


def size(length: int | None) -> str:
    """How much of somebody's mobile plan a file takes, in megabytes (from bytes)."""
    return f"{max((length or 0) / 1_000_000, 0.1):.1f} MB"
