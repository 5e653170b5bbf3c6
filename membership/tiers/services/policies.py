"""The policy in its versions: the one in force, and putting a new one in force."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import g
from sqlalchemy import func, select

from kernel import audit, clock
from kernel.db import db
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l

from .. import queries, rules
from ..models import TierPolicy, Window

POLICY_LOCK = 730_114_102


class PolicyInvalid(Refusal):
    """The policy breaks a rule; `mistakes` say which, where."""

    status = 422
    label = _l("The tiers cannot be saved like this.")

    def __init__(self, mistakes: list[rules.PolicyMistake]) -> None:
        super().__init__()
        self.mistakes = mistakes


def ensure_policy() -> rules.Policy:
    """The policy in force, the standard one being written as the first version when there is none."""
    found = queries.policy()
    if found.id is not None:
        return found
    db.session.execute(select(func.pg_advisory_xact_lock(POLICY_LOCK)))
    g.pop("tier_policy", None)
    found = queries.policy()
    return found if found.id is not None else written(found, None)


def written(policy: rules.Policy, staff_id: int | None) -> rules.Policy:
    row = TierPolicy(
        metric=policy.metric,
        window=policy.window,
        rolling_days=policy.rolling_days if policy.window is Window.ROLLING else None,
        valid_days=policy.valid_days,
        grace_days=policy.grace_days,
        downgrade=policy.downgrade,
        refund_effect=policy.refund_effect,
        levels=[asdict(level) for level in sorted(policy.levels, key=lambda level: level.rank)],
        staff_id=staff_id,
        created_at=clock.now(),
    )
    db.session.add(row)
    db.session.flush()
    g.pop("tier_policy", None)
    return queries.as_policy(row)


def save_policy(draft: rules.Policy, staff_id: int | None = None) -> rules.Policy:
    """Put a new version in force; nobody is lowered by it. Everybody is judged anew, for what they may gain, by a job.

    The same policy again makes no version. Refuses with `PolicyInvalid`.
    """
    from ..jobs import review_everybody

    mistakes = rules.mistakes_in(draft)
    if mistakes:
        raise PolicyInvalid(mistakes)
    db.session.execute(select(func.pg_advisory_xact_lock(POLICY_LOCK)))
    g.pop("tier_policy", None)
    before = queries.policy()
    if before.id is not None and asdict(before) | {"id": None} == asdict(draft) | {"id": None}:
        return before
    saved = written(draft, staff_id)
    audit.record("tiers.saved", "tier_policy", saved.id, before=_plain(before), after=_plain(saved))
    review_everybody.later()
    return saved


def _plain(policy: rules.Policy) -> dict[str, Any]:
    return {key: value for key, value in asdict(policy).items() if key != "id"}
