"""Words for the states of endpoints and messages."""

from __future__ import annotations

from ..i18n import lazy_gettext as _l
from .models import DeliveryState, EndpointState

ENDPOINT_STATES = {
    EndpointState.ACTIVE: _l("active"),
    EndpointState.PAUSED: _l("paused"),
    EndpointState.DISABLED: _l("disabled"),
}
DELIVERY_STATES = {
    DeliveryState.WAITING: _l("waiting"),
    DeliveryState.SENDING: _l("being sent"),
    DeliveryState.DELIVERED: _l("delivered"),
    DeliveryState.DEAD: _l("given up"),
}
