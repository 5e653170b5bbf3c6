"""What the room says elsewhere: on a member's timeline."""

from __future__ import annotations

from typing import Any

from flask import url_for
from markupsafe import Markup, escape

from campaigns.pushes.models import Push
from kernel.auth import may
from kernel.db import db
from kernel.events import describes
from kernel.i18n import gettext as _

from .events import LinkFollowed


@describes(LinkFollowed)
def followed(event: LinkFollowed) -> Any:
    push = db.session.get(Push, event.push_id)
    if push is None:
        return _("Opened the link of a push")
    name: Any = escape(push.name)
    if may("pushes.view"):
        name = Markup('<a href="{}">{}</a>').format(url_for("pushes_console.show", push_id=push.id), push.name)
    return escape(_("Opened the link of the push %(name)s")) % {"name": name}
