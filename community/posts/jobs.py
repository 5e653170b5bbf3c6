"""Recurring work of the posts."""

from __future__ import annotations

from itertools import islice

from kernel.db import transaction
from kernel.jobs import every, job

from . import services


@every(20)
@job()
def publish_due_posts() -> None:
    """Record the posts whose time has come, and tell the other rooms."""
    services.publish_due()


@every(3_600)
@job(queue="bulk", own_transactions=True)
def count_orders_after_posts() -> None:
    """Count who ordered after they saw a post, a hundred posts in one transaction."""
    with transaction():
        waiting = iter(services.recent_posts())
    while portion := list(islice(waiting, 100)):
        with transaction():
            services.count_orders(portion)
