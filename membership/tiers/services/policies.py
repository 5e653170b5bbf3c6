"""The policy in its versions: the one in force, and putting a new one in force."""

from __future__ import annotations

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


def written(policy: rules.Policy, staff_id: int | None, note: str = "") -> rules.Policy:
    """Write a version without a check or a word to anybody; see `save_policy`."""
    terms = rules.as_terms(policy)
    if policy.window is not Window.ROLLING:
        terms["rolling_days"] = None
    terms["levels"] = sorted(terms["levels"], key=lambda level: level["rank"])
    row = TierPolicy(staff_id=staff_id, note=note, created_at=clock.now(), **terms)
    db.session.add(row)
    db.session.flush()
    g.pop("tier_policy", None)
    return queries.as_policy(row)


def check(draft: rules.Policy) -> None:
    """Refuses with `PolicyInvalid`, naming every mistake, whatever cannot be put in force."""
    mistakes = rules.mistakes_in(draft) + [one for answer in queries.objections.call(draft) for one in answer]
    if mistakes:
        raise PolicyInvalid(mistakes)


def save_policy(draft: rules.Policy, staff_id: int | None = None, note: str = "") -> rules.Policy:
    """Put a new version in force; nobody is lowered by it. Everybody is judged anew, for what they may gain, by a job.

    `note` names the version for its readers. The same policy again makes no version. Refuses with `PolicyInvalid`.
    """
    from ..jobs import review_everybody

    check(draft)
    db.session.execute(select(func.pg_advisory_xact_lock(POLICY_LOCK)))
    g.pop("tier_policy", None)
    before = queries.policy()
    if before.id is not None and rules.as_terms(before) == rules.as_terms(draft):
        return before
    saved = written(draft, staff_id, note)
    audit.record("tiers.saved", "tier_policy", saved.id, before=rules.as_terms(before), after=rules.as_terms(saved))
    review_everybody.later()
    return saved
