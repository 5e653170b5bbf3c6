"""Recurring work of the posts."""

from __future__ import annotations

from kernel.jobs import every, job

from . import services


@every(20)
@job()
def publish_due_posts() -> None:
    """Record the posts whose time has come, and tell the other rooms."""
    services.publish_due()
