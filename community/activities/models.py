"""What makes a group worth opening: draws whose chance can be checked, flash sales and group prices."""

from __future__ import annotations

import enum
from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk


class LotteryState(enum.StrEnum):
    DRAFT = "draft"
    OPEN = "open"
    # Entry is over and the list of tickets is fixed; the draw follows.
    FROZEN = "frozen"
    DRAWN = "drawn"
    CANCELLED = "cancelled"


class PrizeState(enum.StrEnum):
    OWED = "owed"
    GIVEN = "given"
    # When it was to be given the stock was empty, the offer not running, or the winner had as many as one may, or was
    # erased; staff can have it tried again.
    MISSED = "missed"


class SaleKind(enum.StrEnum):
    FLASH_SALE = "flash_sale"
    GROUP_PRICE = "group_price"


class Lottery(db.Model):
    """A draw among the members of a group. Its page is public: tickets, no names."""

    __tablename__ = "lottery"
    id: Mapped[pk]
    # What stands in its address.
    public_id: Mapped[str] = mapped_column(unique=True)
    group_id: Mapped[int] = mapped_column(ForeignKey("group.id"))
    title: Mapped[str]
    note: Mapped[str] = mapped_column(default="")
    state: Mapped[LotteryState] = mapped_column(default=LotteryState.DRAFT)
    # Entry is possible in `[opens_at, closes_at)`; without `opens_at` from when it is announced.
    opens_at: Mapped[datetime | None]
    closes_at: Mapped[datetime]
    # SHA-256 of the seed in hexadecimal digits, shown from the announcement on.
    commitment: Mapped[str | None]
    # The frozen list: every ticket that takes part, in the order of their characters, and what it hashes to.
    tickets: Mapped[list[str]] = mapped_column(default=list)
    listed: Mapped[str | None]
    # Tickets of the list that were nobody's when it was drawn: their holders had become one person with another ticket's.
    void_tickets: Mapped[list[str]] = mapped_column(default=list, server_default=text("'[]'::jsonb"))
    author_id: Mapped[int | None]
    # Drawn for the form that made it, so that a double click makes one.
    form_key: Mapped[str | None] = mapped_column(unique=True)
    created_at: Mapped[datetime]
    announced_at: Mapped[datetime | None]
    frozen_at: Mapped[datetime | None]
    drawn_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    cancel_reason: Mapped[str] = mapped_column(default="")

    __table_args__ = (
        # What seed and entries point at: once either is there, the commitment cannot be another.
        UniqueConstraint("id", "commitment"),
        Index("ix_lottery_group", "group_id", text("id DESC")),
        Index("ix_lottery_due", "closes_at", postgresql_where=text("state IN ('open', 'frozen')")),
        CheckConstraint("closes_at > opens_at", name="times"),
        CheckConstraint("(commitment IS NULL) = (announced_at IS NULL)", name="announced"),
        CheckConstraint("state NOT IN ('open', 'frozen', 'drawn') OR commitment IS NOT NULL", name="committed"),
        CheckConstraint("(state IN ('frozen', 'drawn')) = (frozen_at IS NOT NULL)", name="frozen"),
        CheckConstraint("(frozen_at IS NULL) = (listed IS NULL)", name="listed"),
        CheckConstraint("(state = 'drawn') = (drawn_at IS NOT NULL)", name="drawn"),
        CheckConstraint("(state = 'cancelled') = (cancelled_at IS NOT NULL)", name="cancelled"),
    )


class LotterySeed(db.Model):
    """The seed of a draw, apart from everything that pages read. The table itself holds it to its commitment."""

    __tablename__ = "lottery_seed"
    lottery_id: Mapped[int] = mapped_column(primary_key=True)
    commitment: Mapped[str]
    seed: Mapped[bytes] = mapped_column(LargeBinary)

    __table_args__ = (
        ForeignKeyConstraint(["lottery_id", "commitment"], ["lottery.id", "lottery.commitment"]),
        CheckConstraint("commitment = encode(sha256(seed), 'hex') AND octet_length(seed) = 32", name="commitment"),
    )


class LotteryPrize(db.Model):
    """So many pieces of a gift, or coupons of an offer. The first places get what stands first."""

    __tablename__ = "lottery_prize"
    id: Mapped[pk]
    lottery_id: Mapped[int] = mapped_column(ForeignKey("lottery.id", ondelete="CASCADE"))
    position: Mapped[int]
    gift_id: Mapped[int | None] = mapped_column(ForeignKey("gift.id"))
    offer_id: Mapped[int | None] = mapped_column(ForeignKey("offer.id"))
    number: Mapped[int]

    __table_args__ = (
        UniqueConstraint("lottery_id", "position"),
        CheckConstraint("(gift_id IS NULL) <> (offer_id IS NULL)", name="thing"),
        CheckConstraint("number > 0", name="number"),
    )


class LotteryEntry(db.Model):
    """One member's ticket. `commitment` is the one under which they entered."""

    __tablename__ = "lottery_entry"
    id: Mapped[pk]
    lottery_id: Mapped[int]
    commitment: Mapped[str]
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"), index=True)
    ticket: Mapped[str]
    at: Mapped[datetime]
    # Not on the frozen list, because the member had no seat in the group any more when entry closed.
    left_out: Mapped[bool] = mapped_column(default=False, server_default=false())
    # From 1 on for whoever has won.
    place: Mapped[int | None]
    prize_id: Mapped[int | None] = mapped_column(ForeignKey("lottery_prize.id"))
    prize_state: Mapped[PrizeState | None]
    coupon_id: Mapped[int | None]
    claim_id: Mapped[int | None]
    settled_at: Mapped[datetime | None]

    __table_args__ = (
        ForeignKeyConstraint(["lottery_id", "commitment"], ["lottery.id", "lottery.commitment"]),
        UniqueConstraint("lottery_id", "member_id"),
        UniqueConstraint("lottery_id", "ticket"),
        UniqueConstraint("lottery_id", "place"),
        Index("ix_lottery_entry_owed", "id", postgresql_where=text("prize_state = 'owed'")),
        Index("ix_lottery_entry_missed", "id", postgresql_where=text("prize_state = 'missed'")),
        CheckConstraint("(place IS NULL) = (prize_state IS NULL) AND (place IS NULL) = (prize_id IS NULL)", name="won"),
        CheckConstraint("place IS NULL OR NOT left_out", name="on_the_list"),
        CheckConstraint(
            "(coupon_id IS NOT NULL OR claim_id IS NOT NULL) = (prize_state IS NOT NULL AND prize_state = 'given')",
            name="given",
        ),
    )


class Sale(db.Model):
    """A flash sale or a group price: one product for a fixed price, while one sits in the group.

    What is sold is a coupon of `offer_id`: its times, its stock, how many each may have, and whether it runs are the
    offer's own and stand nowhere else.
    """

    __tablename__ = "sale"
    id: Mapped[pk]
    public_id: Mapped[str] = mapped_column(unique=True)
    group_id: Mapped[int] = mapped_column(ForeignKey("group.id"))
    kind: Mapped[SaleKind]
    offer_id: Mapped[int] = mapped_column(ForeignKey("offer.id"), unique=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("product.id"), index=True)
    # What the product cost when the sale was started, before that when it was written (分), for the line through it.
    list_price: Mapped[int]
    note: Mapped[str] = mapped_column(default="")
    author_id: Mapped[int | None]
    created_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_sale_group", "group_id", text("id DESC")),
        CheckConstraint("list_price > 0", name="list_price"),
    )
