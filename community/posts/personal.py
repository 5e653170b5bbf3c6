"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from membership.members.services.personal import by, declare

from .models import Post, PostGroup, Reaction

declare(
    Post,
    "id kind title body picture link_url link_label state publish_at published_at automatic author_id created_at",
)
declare(
    PostGroup,
    "post_id group_id published_at seen liked clicked commented",
)
declare(
    Reaction,
    "id post_id group_id member_id kind at",
    rows=by(Reaction.member_id),
    label=_l("What they did with posts"),
)
