"""The inbox: the member's messages on their own page."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import redirect, render_template, request, url_for

from kernel import visitors
from kernel.auth import member_only
from kernel.pages import keyset

from . import queries, services
from .models import InboxMessage

bp = APIBlueprint("channels_portal", __name__, template_folder="templates", enable_openapi=False)


@bp.get("/me/messages")
@member_only()
def messages() -> Any:
    member_id = visitors.member_id() or 0
    page = keyset(queries.messages_of(member_id), [InboxMessage.id.desc()], request.args.get("cursor"), size=20)
    return render_template(
        "channels/messages.html", page=page, unread=queries.unread(member_id), words=services.in_parts
    )


@bp.post("/me/messages/read")
@member_only()
def read() -> Any:
    member_id = visitors.member_id() or 0
    services.looked_into_inbox(member_id)
    services.mark_read(member_id)
    return redirect(url_for(".messages"))
