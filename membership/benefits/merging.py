"""How a merge brings together what two records were given for their tier: what one of them had, the person has had."""

from __future__ import annotations

from sqlalchemy import select

from kernel.db import db
from membership.members.services import merge

from .models import BenefitGrant, BenefitState


@merge.follower(BenefitGrant.member_id)
def follow_benefits(merging: merge.Merging) -> None:
    """What was really given counts before what was missed, so that a later round gives nothing twice."""
    grants = BenefitGrant.__table__
    key = (grants.c.benefit, grants.c.rank, grants.c.period)
    given = select(*key).where(grants.c.member_id == merging.absorbed, grants.c.state == BenefitState.GIVEN)
    with merging.watching(BenefitGrant, BenefitGrant.member_id.in_(merging.pair)):
        missed = db.session.execute(
            select(grants.c.id, *key).where(
                grants.c.member_id == merging.survivor, grants.c.state == BenefitState.MISSED
            )
        ).all()
        theirs = {tuple(row) for row in db.session.execute(given)}
        spare = [row.id for row in missed if tuple(row[1:]) in theirs]
        if spare:
            db.session.execute(grants.delete().where(grants.c.id.in_(spare)))
    merging.join(BenefitGrant.member_id, BenefitGrant.benefit, BenefitGrant.rank, BenefitGrant.period)
