"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from membership.members.services.personal import declare

from .models import BriefCopy, BriefMail

# These are about staff and name no member.
declare(BriefMail, "staff_id hour also_empty locale since")
declare(BriefCopy, "staff_id day state attempts retry_at failure changed_at")
