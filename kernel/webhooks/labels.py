"""Words for the states of endpoints and messages, and for what went wrong."""

from __future__ import annotations

from ..i18n import gettext as _
from ..i18n import lazy_gettext as _l
from ..i18n import ngettext
from ..outbound import Fault
from . import rules
from .models import DeliveryState, EndpointState, WebhookDelivery
from .queries import EndpointRow

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
FAULTS = {
    Fault.NAME: _l("The name of the host is not known. Check the address."),
    Fault.UNREACHABLE: _l("The host could not be reached."),
    Fault.REFUSED: _l("The host is there, but nothing listens at this address."),
    Fault.SLOW: _l("It took longer than 10 seconds."),
    Fault.CERTIFICATE: _l("Its certificate is not valid: it has run out, or is for another name."),
    Fault.TLS: _l("No secure connection could be made."),
    Fault.BROKEN_OFF: _l("The connection broke off before an answer came."),
    Fault.NO_HTTP: _l("What came back is not an answer of a web server."),
    rules.CLOSED: _l("The address leads into a closed network, which is never called."),
}


def backlog(row: EndpointRow) -> str:
    """What becomes of the messages of an endpoint that fails: some wait, some were given up, or both."""
    if not row.dead:
        return _("Messages wait and are tried again.")
    if not row.waiting:
        return ngettext(
            "%(num)s message was given up and goes again only if you send it.",
            "%(num)s messages were given up and go again only if you send them.",
            row.dead,
        )
    return ngettext(
        "Messages wait and are tried again; %(num)s was given up and goes again only if you send it.",
        "Messages wait and are tried again; %(num)s were given up and go again only if you send them.",
        row.dead,
    )


def fault(delivery: WebhookDelivery) -> str:
    """What was wrong with the last try, in a sentence; empty when nothing was."""
    if not delivery.last_error:
        return ""
    if delivery.last_status is not None:
        return _(
            "It answered %(status)s; only 200 to 299 says that the message was taken.", status=delivery.last_status
        )
    return str(FAULTS.get(delivery.last_error, FAULTS[Fault.UNREACHABLE]))
