"""What the clock has done to groups, written down; reminders of live sessions; how many people are active."""

from __future__ import annotations

from kernel.db import transaction
from kernel.jobs import every, job

from . import queries, services


@every(seconds=15)
@job(own_transactions=True)
def keep_time() -> None:
    """Open and close groups whose time has come, and end holds that ran out, each group in a transaction of its own."""
    with transaction():
        due, lapsed = services.due(), queries.groups_with_lapsed_holds()
    for group_id in due:
        with transaction():
            services.catch_up(group_id)
    for group_id in lapsed:
        with transaction():
            services.settle(group_id)


@every(seconds=300)
@job(own_transactions=True)
def settle_friends() -> None:
    """Judge the friends whose reward is due, each in a transaction of its own."""
    with transaction():
        due = services.due_rewards()
    for reward_id in due:
        with transaction():
            services.settle_reward(reward_id)


@every(seconds=1_800)
@job(own_transactions=True)
def find_drift() -> None:
    """Find who no longer qualifies for the vip group they sit in, each group in a transaction of its own."""
    with transaction():
        groups = services.swept_groups()
    for group_id in groups:
        with transaction():
            services.sweep(group_id)


@every(seconds=30)
@job(own_transactions=True)
def remind_of_sessions() -> None:
    """Remind the people of live groups a day and ten minutes before a session."""
    with transaction():
        due = services.due_reminders()
    for reminder in due:
        with transaction():
            services.remind(reminder)


@every(seconds=300)
@job()
def count_active() -> None:
    """Refresh how many people looked into each group in the last seven days."""
    services.count_active()
