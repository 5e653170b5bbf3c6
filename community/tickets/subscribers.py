"""What tickets hear of calls: somebody who was not content gets a complaint opened for them."""

from __future__ import annotations

from community.desk import queries as desk
from community.desk.events import CallClosed
from kernel.events import subscribe
from kernel.i18n import forced_locale
from kernel.i18n import gettext as _

from . import services
from .models import TicketKind, TicketSource


@subscribe(CallClosed)
def open_after_an_upset_call(event: CallClosed) -> None:
    task = desk.get_task(event.task_id)
    upset_at = services.desk_settings().upset_at
    if task.satisfaction is None or task.satisfaction > upset_at:
        return
    with forced_locale("zh_Hans"):
        subject = _("Not satisfied on the phone: %(stars)s of 5", stars=task.satisfaction)
    services.open_ticket(
        services.Opening(
            member_id=task.member_id,
            kind=TicketKind.COMPLAINT,
            subject=str(subject),
            text=task.outcome_note,
            order_id=task.order_id,
            source=TicketSource.CALL,
            source_key=f"call:{task.id}",
        )
    )
