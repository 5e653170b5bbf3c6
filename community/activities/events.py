"""What other rooms may react to."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.events import Event


@dataclass(frozen=True, kw_only=True)
class MemberEnteredLottery(Event):
    """A member took a ticket for a draw."""

    member_id: int
    lottery_id: int
    group_id: int


@dataclass(frozen=True, kw_only=True)
class MemberWonLottery(Event):
    """A member's ticket was drawn, for the place `place`."""

    member_id: int
    lottery_id: int
    group_id: int
    place: int


@dataclass(frozen=True, kw_only=True)
class LotteryDrawn(Event):
    """A draw was held: so many took part, so many have won."""

    lottery_id: int
    group_id: int
    entrants: int
    winners: int


@dataclass(frozen=True, kw_only=True)
class SaleStarted(Event):
    """A flash sale or a group price was announced in a group."""

    sale_id: int
    group_id: int
    kind: str
