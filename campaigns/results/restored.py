"""What a restore does to reports by e-mail: one that was due by then may have gone out since the backup, and does not go again."""

from __future__ import annotations

from datetime import datetime

from campaigns.channels import copies
from kernel import restoring
from kernel.i18n import lazy_gettext as _l

from . import mailing
from .models import ReportCopy

IN_DOUBT = "reports_in_doubt"
restoring.words[IN_DOUBT] = _l("Reports to colleagues that are in doubt")


@restoring.began.fill
def keep_silent(now: datetime) -> list[restoring.TakenOut]:
    """Bring in doubt what was on its way or was due by now."""
    mailing.write_copies()
    return [restoring.TakenOut(IN_DOUBT, copies.doubt_open(ReportCopy, now))]
