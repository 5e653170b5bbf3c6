"""What can be odd about coupons."""

from __future__ import annotations

import enum


class Sign(enum.StrEnum):
    """What is odd about some coupons."""

    TIER = "tier"
    GROUP = "group"
    DEVICE = "device"
    NETWORK = "network"
    ADDRESS = "address"
    PHONES = "phones"
    BURST = "burst"
