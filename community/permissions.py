"""What each role may do on this floor."""

from __future__ import annotations

from kernel.auth import Role, grant

EVERYONE = tuple(Role)


def init() -> None:
    grant("groups.view", *EVERYONE)
    grant("groups.edit", Role.MANAGER)
    grant("groups.moderate", Role.MANAGER, Role.ASSISTANT)
    # A personal link opens a member's pages on whatever phone it is tapped on, so not everybody may make one.
    grant("groups.invite", Role.MANAGER, Role.MARKETER, Role.SERVICE, Role.ASSISTANT)
    grant("posts.view", *EVERYONE)
    grant("posts.edit", Role.MANAGER, Role.MARKETER, Role.ASSISTANT)
    grant("posts.answer", Role.MANAGER, Role.SERVICE, Role.ASSISTANT)
    grant("activities.view", *EVERYONE)
    # Prizes and prices are money: as with coupon offers.
    grant("activities.edit", Role.MANAGER, Role.MARKETER)
    grant("moderation.view", *EVERYONE)
    grant("moderation.decide", Role.MANAGER, Role.ASSISTANT)
    grant("calls.view", *EVERYONE)
    grant("calls.handle", Role.MANAGER, Role.SERVICE, Role.ASSISTANT)
    grant("scripts.edit", Role.MANAGER, Role.SERVICE)
    grant("scripts.own", Role.MANAGER, Role.SERVICE, Role.ASSISTANT)
    grant("tickets.view", *EVERYONE)
    grant("tickets.handle", Role.MANAGER, Role.SERVICE, Role.ASSISTANT)
    grant("tickets.assign", Role.MANAGER, Role.SERVICE)
    grant("tickets.settings", Role.MANAGER)
    grant("macros.edit", Role.MANAGER, Role.SERVICE, Role.ASSISTANT)
    # What members write to the desk is between them and those who answer.
    grant("talks.view", Role.MANAGER, Role.SERVICE, Role.ASSISTANT)
    grant("talks.handle", Role.MANAGER, Role.SERVICE, Role.ASSISTANT)
    grant("answers.view", *EVERYONE)
    grant("answers.edit", Role.MANAGER, Role.SERVICE)
    grant("answers.settings", Role.MANAGER)
    # Names stand beside numbers only for those who lead; everybody sees their own.
    grant("staff_results.view", Role.MANAGER)
    grant("staff_results.own", *EVERYONE)
