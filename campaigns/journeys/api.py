"""REST for shop programs: tell of what a member did, such as leaving a cart. Journeys begin with it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field, JsonValue

from kernel import clock
from kernel.auth import api_scope
from kernel.errors import InputInvalid, NotFound, about
from kernel.http import Instant, Name, RowId, Strict, api_blueprint, idempotent, operation
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from kernel.openapi import describe_tag
from membership.members import queries as members
from membership.members.models import Channel
from membership.members.rules import EmailInvalid, PhoneInvalid
from membership.members.services.programs import IdentityEmpty, canonical

from . import rules, services
from .services.received import EventKeyReused

bp = api_blueprint("journeys_api", __name__)
describe_tag("Events", _l("What members do in other programs: carts, visits, whatever a journey may begin with."))

MOST_DATA = 16_384
# Clocks of two programs differ a little.
AHEAD = timedelta(minutes=10)


class EventMember(Strict):
    """Whom it is about: how a channel knows them."""

    channel: Channel
    id: Name


class EventIn(Strict):
    """An event. `cart.changed` says that the cart holds something, `cart.emptied` that it does not any more."""

    type: Annotated[str, Field(pattern=rules.EVENT_TYPE, max_length=60)]
    key: Annotated[
        str,
        Field(
            min_length=1,
            max_length=200,
            pattern=r"^[\x21-\x7e]+$",
            description="Your own number of the event; it counts once.",
        ),
    ]
    member: EventMember
    at: Instant | None = None
    data: Annotated[dict[str, JsonValue], Field(description="Whatever belongs to it, 16 KB at most.")] = {}


class EventOut(Strict):
    id: RowId
    type: str
    member: RowId
    at: Instant
    new: Annotated[bool, Field(description="False when an event with this key was there already.")]


EXAMPLE = {
    "type": "cart.changed",
    "key": "cart-8871-3",
    "member": {"channel": "phone", "id": "126 0000 1234"},
    "at": "2026-11-01T10:00:00+08:00",
    "data": {"items": [{"sku": "MUG-1", "quantity": 2}]},
}


def _finite(said: JsonValue) -> bool:
    """Whether every number can be written again: NaN and Infinity are read, and are no JSON."""
    try:
        json.dumps(said, allow_nan=False)
    except ValueError:
        return False
    return True


@bp.post("/events")
@api_scope("events:write")
@idempotent()
@operation(
    _l("Report something a member did"),
    tag="Events",
    takes=EventIn,
    answers={201: EventOut, 200: EventOut},
    refusals=[NotFound, EventKeyReused, IdentityEmpty, PhoneInvalid, EmailInvalid],
    description=_l(
        "The key makes it count once: the same event again is answered with 200. An order clears a cart by itself; "
        "`cart.emptied` does so without one."
    ),
    example=EXAMPLE,
)
def receive(body: EventIn) -> Any:
    now = clock.now()
    at = body.at or now
    wrong = []
    if at > now + AHEAD:
        wrong.append(("at", _("This moment lies ahead.")))
    text = json.dumps(body.data)
    if len(json.dumps(body.data, ensure_ascii=False).encode()) > MOST_DATA or "\\u0000" in text:
        wrong.append(("data", _("Send 16 KB at most, without NUL characters.")))
    elif not _finite(body.data):
        wrong.append(("data", _("A number is larger than can be kept, or is none.")))
    if wrong:
        raise InputInvalid(wrong)
    with about("member.id"):
        member = members.find_by_identity(*canonical(body.member.channel, body.member.id))
        if member is None or member.erased_at is not None:
            raise NotFound
    found, new = services.receive(member.id, body.type, body.key, min(at, now), dict(body.data))
    return EventOut(id=found.id, type=found.type, member=found.member_id, at=found.at, new=new), 201 if new else 200
