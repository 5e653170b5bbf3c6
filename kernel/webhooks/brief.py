"""What webhooks put on the console's first page."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import url_for

from .. import today
from ..auth import may
from ..i18n import gettext as _
from . import labels, queries
from .models import EndpointState


def tasks() -> list[today.Task]:
    """Endpoints that fail: another program no longer hears what happens here."""
    if not may("webhooks.edit"):
        return []
    found = []
    for row in queries.with_backlog(queries.failing()):
        endpoint = row.endpoint
        host = urlsplit(endpoint.url).hostname or endpoint.url
        off = endpoint.state == EndpointState.DISABLED
        found.append(
            today.Task(
                weight=60 if off else 40,
                text=_("%(host)s no longer hears from us", host=host)
                if off
                else _("%(host)s does not answer", host=host),
                url=url_for("webhooks_console.show", endpoint_id=endpoint.id),
                action=_("Look at it"),
                icon="alert-triangle",
                about=_("Its webhook failed and was switched off; what failed can be sent again.")
                if off
                else labels.backlog(row),
            )
        )
    return found


def init() -> None:
    today.tasks.fill(tasks)
