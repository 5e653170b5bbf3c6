"""Policies that somebody is thinking about: kept under a name, left and come back to, put in force or thrown away."""

from __future__ import annotations

from sqlalchemy import delete, update

from kernel import audit, clock
from kernel.db import changed, db
from kernel.errors import NotFound, Refusal
from kernel.i18n import lazy_gettext as _l

from .. import queries, rules
from ..models import SimulationState, TierDraft, TierDraftMember
from .policies import check, save_policy

NAME_LENGTH = 60


class DraftInForce(Refusal):
    title = _l("This draft is in force already")
    label = _l("It has become a version of the rules and is not changed any more. Make a new draft from that version.")


class DraftNameless(Refusal):
    status = 422
    label = _l("Give the draft a name of up to 60 characters.")


def get_draft(draft_id: int, lock: bool = False) -> TierDraft:
    """A draft; refuses with `NotFound`."""
    found = db.session.get(TierDraft, draft_id, with_for_update=True if lock else None, populate_existing=lock)
    if found is None:
        raise NotFound
    return found


def policy_of(draft: TierDraft) -> rules.Policy:
    """The policy of a draft, as the value that rules work with."""
    return rules.from_terms(draft.terms)


def _name(name: str) -> str:
    plain = " ".join(name.split())
    if not 1 <= len(plain) <= NAME_LENGTH:
        raise DraftNameless
    return plain


def create_draft(name: str, policy: rules.Policy, staff_id: int | None = None) -> TierDraft:
    """Keep a policy as a draft. Refuses with `PolicyInvalid` and `DraftNameless`."""
    check(policy)
    now = clock.now()
    draft = TierDraft(name=_name(name), terms=rules.as_terms(policy), staff_id=staff_id, created_at=now, updated_at=now)
    db.session.add(draft)
    db.session.flush()
    audit.record("tiers.draft_made", "tier_draft", draft.id, after={"name": draft.name})
    return draft


def edit_draft(draft_id: int, name: str, policy: rules.Policy) -> TierDraft:
    """Change a draft; what was simulated of it is forgotten when its rules changed.

    Refuses with `PolicyInvalid`, `DraftNameless` and `DraftInForce`.
    """
    check(policy)
    draft = get_draft(draft_id, lock=True)
    if draft.policy_id is not None:
        raise DraftInForce
    draft.name, draft.updated_at = _name(name), clock.now()
    terms = rules.as_terms(policy)
    if draft.terms != terms:
        draft.terms = terms
        forget_simulation(draft)
    db.session.flush()
    return draft


def forget_simulation(draft: TierDraft) -> None:
    """Throw a simulation away; a worker that is still at it stops, for the run has another number."""
    db.session.execute(delete(TierDraftMember).where(TierDraftMember.draft_id == draft.id))
    draft.state, draft.run = SimulationState.NONE, draft.run + 1
    draft.cursor = draft.done = draft.total = 0
    draft.result, draft.started_at, draft.finished_at = {}, None, None


def delete_draft(draft_id: int) -> None:
    """Throw a draft away. Refuses with `NotFound`."""
    draft = get_draft(draft_id, lock=True)
    audit.record("tiers.draft_deleted", "tier_draft", draft.id, before={"name": draft.name})
    db.session.delete(draft)
    db.session.flush()


def restore(policy_id: int, name: str, staff_id: int | None = None) -> TierDraft:
    """Make a draft of a former version. Refuses with `NotFound`."""
    return create_draft(name, queries.get_version(policy_id), staff_id)


def publish_draft(draft_id: int, staff_id: int | None = None) -> rules.Policy:
    """Put a draft in force; see `save_policy`. Refuses with `PolicyInvalid` and, a second time, with `DraftInForce`."""
    draft = get_draft(draft_id, lock=True)
    if draft.policy_id is not None:
        raise DraftInForce
    saved = save_policy(policy_of(draft), staff_id, draft.name)
    taken = update(TierDraft).where(TierDraft.id == draft_id, TierDraft.policy_id.is_(None))
    if changed(db.session.execute(taken.values(policy_id=saved.id))) != 1:
        raise DraftInForce
    db.session.refresh(draft)
    return saved
