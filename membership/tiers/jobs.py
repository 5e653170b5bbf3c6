"""Reviews that run by the clock."""

from __future__ import annotations

from kernel import clock
from kernel.db import transaction
from kernel.jobs import every, job

from . import services


@job(queue="bulk", own_transactions=True)
def review_everybody() -> None:
    """Judge all members in pieces, each in a transaction of its own."""
    now = clock.now()
    with transaction():
        policy_id = services.ensure_policy().id
    last = 0
    while True:
        with transaction():
            chunk = services.chunk_after(last)
            services.reassess(chunk)
        if not chunk:
            break
        last = chunk[-1]
    with transaction():
        services.note_review(now, policy_id)


@every(seconds=600)
@job(queue="bulk", own_transactions=True)
def review_due() -> None:
    """Judge the members whose standing time alone may have changed since the last review."""
    now = clock.now()
    with transaction():
        since = services.reviewed_until()
        policy_id = services.ensure_policy().id
        ids = services.due(now, since) if since is not None else []
    if since is None:
        review_everybody.direct()
        return
    for start in range(0, len(ids), services.CHUNK):
        with transaction():
            services.reassess(ids[start : start + services.CHUNK])
    with transaction():
        services.note_review(now, policy_id)
