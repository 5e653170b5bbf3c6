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


@job(queue="bulk", own_transactions=True)
def simulate(draft_id: int, run: int) -> None:
    """Judge everybody by a draft, a slice a transaction."""
    going = True
    while going:
        with transaction():
            going = services.simulate_slice(draft_id, run)


@every(seconds=60)
@job(queue="bulk", own_transactions=True)
def take_up_simulations() -> None:
    """Go on with simulations whose worker died or whose place in the queue was lost."""
    with transaction():
        rested = services.rested(clock.now())
    for draft_id, run in rested:
        simulate.direct(draft_id, run)


@every(seconds=3600)
@job(queue="bulk", own_transactions=True)
def warn_of_falls() -> None:
    """Tell members 30, 7 and 1 days ahead that their tier falls."""
    last: int | None = 0
    while last is not None:
        with transaction():
            last = services.warn_slice(last)
