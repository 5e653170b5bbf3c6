"""What each role may do on this floor."""

from __future__ import annotations

from kernel.auth import Role, grant

EVERYONE = tuple(Role)


def init() -> None:
    grant("audiences.view", *EVERYONE)
    grant("audiences.edit", Role.MANAGER, Role.MARKETER)
    grant("pushes.view", *EVERYONE)
    grant("pushes.edit", Role.MANAGER, Role.MARKETER)
    grant("pushes.send", Role.MANAGER, Role.MARKETER)
    grant("pushes.approve", Role.MANAGER, Role.MARKETER)
    grant("channels.view", Role.MANAGER, Role.MARKETER)
    grant("channels.edit")
    grant("tasks.view", Role.MANAGER, Role.MARKETER, Role.SERVICE, Role.ASSISTANT)
    grant("tasks.handle", Role.MANAGER, Role.MARKETER, Role.SERVICE, Role.ASSISTANT)
    grant("results.view", *EVERYONE)
    grant("results.edit", Role.MANAGER, Role.MARKETER)
    grant("journeys.view", *EVERYONE)
    grant("journeys.edit", Role.MANAGER, Role.MARKETER)
    grant("forecasts.view", *EVERYONE)
    grant("forecasts.edit", Role.MANAGER, Role.MARKETER)
    grant("touchpoints.view", *EVERYONE)
    grant("touchpoints.edit", Role.MANAGER, Role.MARKETER)
