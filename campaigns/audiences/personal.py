"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from membership.members.services.personal import declare

from .models import Audience

declare(
    Audience,
    "id name definition created_at",
)
