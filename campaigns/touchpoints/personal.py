"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from membership.members.services.personal import declare

from .models import Touchpoint, TouchpointCount

# It speaks of the shop and of staff, and names no member.
declare(Touchpoint, "id key name kind stage active owner_id importance notes sources created_at")
# Sums over everybody.
declare(TouchpointCount, "kind first last mark figures counted_at")
