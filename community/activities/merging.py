"""How a merge brings tickets along: of two for one draw one stays.

It is the one that has won, else the one that is on the list, else the survivor's. Of two that have both won it is the one
whose prize has gone out, and else the better place. The prize of the other one, unless it has gone out as well, is the next
ticket's in the seed's order: a person wins once, and no place stays empty. The frozen list of a draw is its own and keeps
both: what it hashes to was shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

from sqlalchemy import delete, exists, func, select, update

from kernel.db import changed, db
from kernel.i18n import gettext as _
from kernel.i18n import lazy_gettext as _l
from membership.gifts import services as gifts
from membership.gifts.models import GiftClaim, GiftState
from membership.limits import services as limits
from membership.members.services import merge

from .models import Lottery, LotteryEntry, LotteryState, PrizeState
from .services import draws


def _unit(row: dict[str, Any]) -> str:
    return f"lottery_entry:{row['id']}"


@merge.follower(LotteryEntry.member_id)
def follow_entries(merging: merge.Merging) -> None:
    theirs = LotteryEntry.member_id.in_(merging.pair)
    both = select(LotteryEntry.lottery_id).where(theirs).group_by(LotteryEntry.lottery_id).having(func.count() > 1)
    closed = Lottery.state.in_((LotteryState.FROZEN, LotteryState.DRAWN))
    # As in the draw itself, its row comes before its tickets in the order of locks.
    db.session.execute(select(Lottery.id).where(Lottery.id.in_(both), closed).order_by(Lottery.id).with_for_update())
    # A draw that is under way holds its tickets: only after it can be seen which of them has won.
    undrawn = select(LotteryEntry.id).where(theirs, LotteryEntry.place.is_(None))
    db.session.execute(undrawn.order_by(LotteryEntry.id).with_for_update())
    rows = LotteryEntry.__table__.c
    entries = db.session.execute(select(*rows).where(theirs).order_by(rows.lottery_id, rows.id)).all()
    gone_out, moved_up = _gone_out(entries, merging), _moved_up(entries)
    pairs = []
    for _lottery_id, found in groupby(entries, key=lambda entry: entry.lottery_id):
        kept, *others = sorted(
            found,
            key=lambda entry: (
                entry.place is None,
                entry.left_out,
                entry.id not in gone_out,
                entry.id not in moved_up,
                entry.place or 0,
                entry.member_id != merging.survivor,
            ),
        )
        pairs += [(kept, other) for other in others]
    spare = [other.id for _kept, other in pairs]
    with merging.watching(LotteryEntry, theirs, unit=_unit):
        db.session.execute(
            delete(LotteryEntry).where(LotteryEntry.id.in_(spare)).execution_options(synchronize_session=False)
        )
        moved = changed(
            db.session.execute(
                update(LotteryEntry)
                .where(LotteryEntry.member_id == merging.absorbed)
                .values(member_id=merging.survivor)
                .execution_options(synchronize_session=False)
            )
        )
    merging.count(_l("Tickets of draws"), moved)
    for kept, other in pairs:
        if other.place is not None:
            _pass_on(merging, kept.place, other, other.id in gone_out)


def _gone_out(entries: Sequence[Any], merging: merge.Merging) -> set[int]:
    """Whose prize was given and stays so: of two gifts for one draw this merge has called the one off that is less far."""
    claims = [entry.claim_id for entry in entries if entry.claim_id is not None]
    called_off = select(GiftClaim.id).where(
        GiftClaim.id.in_(claims), GiftClaim.state == GiftState.CANCELLED, GiftClaim.closed_at >= merging.at
    )
    back = set(db.session.scalars(called_off)) if claims else set()
    return {entry.id for entry in entries if entry.prize_state is PrizeState.GIVEN and entry.claim_id not in back}


def _moved_up(entries: Sequence[Any]) -> set[int]:
    """Who has won twice with a ticket that got its place after the draw: that one stays, for seed and list still tell the other."""
    winning = [entry for entry in entries if entry.place is not None]
    both = {one.lottery_id for one, other in pairwise(winning) if one.lottery_id == other.lottery_id}
    first = {ticket for lottery_id in both for ticket in draws.drawn_first(lottery_id)}
    return {entry.id for entry in winning if entry.lottery_id in both and entry.ticket not in first}


def _pass_on(merging: merge.Merging, kept: int, other: Any, gone_out: bool) -> None:
    """See to the place of the second ticket of a person who has won twice, and tell staff of it."""
    title = db.session.get_one(Lottery, other.lottery_id).title
    said = {"draw": title, "kept": kept, "other": other.place}
    if gone_out:
        merging.conflict(
            _("Both have won in “%(draw)s”, and both prizes have gone out: places %(kept)s and %(other)s.", **said)
        )
    elif draws.pass_on(other.lottery_id, other.place, other.prize_id) is not None:
        merging.conflict(
            _(
                "Both have won in “%(draw)s”: place %(kept)s stays theirs, place %(other)s goes to the next ticket.",
                **said,
            )
        )
    else:
        merging.conflict(
            _(
                "Both have won in “%(draw)s”: place %(kept)s stays theirs. No ticket is left that place %(other)s could "
                "go to.",
                **said,
            )
        )


@merge.before_undoing.fill
def leave_places(undoing: merge.Undoing) -> None:
    """A place that has gone to the next ticket stays there, and of its gift no second one is given."""
    for move in undoing.moves(LotteryEntry, "delete"):
        was = move.before
        if was["place"] is None:
            continue
        taken = exists().where(LotteryEntry.lottery_id == was["lottery_id"], LotteryEntry.place == was["place"])
        if db.session.scalar(select(taken)):
            title = db.session.get_one(Lottery, was["lottery_id"]).title
            undoing.keep(
                move.unit,
                _("In “%(draw)s” place %(place)s has gone to the next ticket.", draw=title, place=was["place"]),
            )
            if was["claim_id"] is not None:
                _leave_called_off(undoing, was["claim_id"])


def _leave_called_off(undoing: merge.Undoing, claim_id: int) -> None:
    """Let a gift stay called off that the gifts' own rule, which has been asked by now, is about to bring back."""
    for move in undoing.moves(GiftClaim, "change"):
        if move.key["id"] != claim_id or "state" not in move.before or undoing.keeps(move.unit):
            continue
        claim = gifts.get_claim(claim_id, lock=True)
        if claim.state is GiftState.CANCELLED:
            # The piece that was taken for it a moment ago.
            limits.give_back(gifts.stock_limit(claim.gift_id))
        undoing.keep_quietly(move.unit)
