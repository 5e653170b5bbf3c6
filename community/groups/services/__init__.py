"""The verbs of groups, by family."""

from __future__ import annotations

from .invitations import invitation_path, read_invitation
from .seats import (
    Held,
    Joined,
    Waiting,
    hold,
    join,
    join_many,
    leave,
    let_back,
    mute,
    note_visit,
    remove,
    set_role,
    settle,
)

__all__ = [
    "Held",
    "Joined",
    "Waiting",
    "hold",
    "invitation_path",
    "join",
    "join_many",
    "leave",
    "let_back",
    "mute",
    "note_visit",
    "read_invitation",
    "remove",
    "set_role",
    "settle",
]
