"""Ways in: personal invitations, which are signed and need no row, and public join links, which are rows."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import timedelta

from kernel import clock, links

PURPOSE = "group-invitation"
VALID_DAYS = 30
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,60}")


@dataclass(frozen=True)
class Invitation:
    """What a personal invitation says: who is invited, where to, by whom, and from where."""

    member_id: int
    group_id: int
    staff_id: int | None
    source: str


def _pack(source: str) -> str:
    """A source as a part of a link: plain words as they are, anything else in base64url."""
    if _PLAIN.fullmatch(source):
        return f"p{source}"
    cut = source.encode()[:45].decode(errors="ignore").encode()
    return f"b{urlsafe_b64encode(cut).rstrip(b'=').decode()}"


def _unpack(part: str) -> str:
    if part.startswith("p"):
        return part[1:]
    text = part[1:]
    return urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()


def invitation_path(
    member_id: int, group_id: int, staff_id: int | None = None, source: str = "", valid_days: int = VALID_DAYS
) -> str:
    """The path of a member's own way into a group, `/g/<token>`; it binds nothing until it is acted on.

    It ends after `valid_days` days, counted to the end of the shop's day so that one day's invitations are one link.
    """
    ends = clock.day_bounds(clock.today() + timedelta(days=valid_days))[1]
    token = links.make(PURPOSE, member_id, group_id, staff_id or 0, _pack(source), expires_at=ends)
    return f"/g/{token}"


def read_invitation(token: str) -> Invitation:
    """What an invitation says. Refuses with `LinkInvalid` and `LinkExpired`, without a look into the database."""
    member_id, group_id, staff_id, source = links.read(PURPOSE, token)
    return Invitation(int(member_id), int(group_id), int(staff_id) or None, _unpack(source))
