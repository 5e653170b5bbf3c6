"""What each role may do on this floor."""

from __future__ import annotations

from kernel.auth import Role, grant

EVERYONE = tuple(Role)


def init() -> None:
    grant("members.view", *EVERYONE)
    grant("members.reveal", Role.MANAGER, Role.SERVICE)
    grant("members.edit", Role.MANAGER, Role.SERVICE, Role.ASSISTANT)
    grant("members.stages", Role.MANAGER)
    grant("members.merge", Role.MANAGER, Role.SERVICE)
    grant("members.erase", Role.MANAGER)
    grant("members.export", Role.MANAGER, Role.MARKETER)
    grant("products.view", *EVERYONE)
    grant("products.edit", Role.MANAGER, Role.MARKETER)
    grant("orders.view", *EVERYONE)
    grant("orders.import", Role.MANAGER)
    grant("feeds.edit", Role.MANAGER)
    grant("tiers.view", *EVERYONE)
    grant("tiers.edit")
    grant("tiers.set_manually", Role.MANAGER)
    grant("points.view", *EVERYONE)
    grant("points.edit", Role.MANAGER)
    grant("points.adjust", Role.MANAGER, Role.SERVICE)
    grant("coupons.view", *EVERYONE)
    grant("coupons.edit", Role.MANAGER, Role.MARKETER)
    grant("coupons.issue", Role.MANAGER, Role.MARKETER, Role.SERVICE)
    grant("coupons.redeem", Role.MANAGER, Role.SERVICE, Role.ASSISTANT)
    grant("gifts.view", *EVERYONE)
    grant("gifts.edit", Role.MANAGER, Role.MARKETER)
    grant("gifts.give", Role.MANAGER, Role.MARKETER, Role.SERVICE)
    grant("gifts.fulfil", Role.MANAGER, Role.SERVICE, Role.ASSISTANT)
