"""Words of operations: what the queues are for."""

from __future__ import annotations

from ..i18n import lazy_gettext as _l

# A queue that is not here is called by its own name.
QUEUES = {"default": _l("short jobs"), "bulk": _l("long jobs")}
