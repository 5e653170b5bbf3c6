"""A person, how each channel knows them, what they agreed to, and what staff wrote about them."""

from __future__ import annotations

import enum
from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from kernel.db import db, pk


class Channel(enum.StrEnum):
    """Where an identity comes from."""

    TAOBAO = "taobao"
    TMALL = "tmall"
    DOUYIN = "douyin"
    SHOP = "shop"
    COUNTER = "counter"
    WECOM = "wecom"
    WECHAT = "wechat"
    PHONE = "phone"
    EMAIL = "email"

    # Equal to its text and so of the same hash, which is worked out once and without a call.
    __hash__ = str.__hash__


class Stage(enum.StrEnum):
    LEAD = "lead"
    CUSTOMER = "customer"
    MEMBER = "member"
    ACTIVE = "active"
    DORMANT = "dormant"
    LOST = "lost"


class CustomerType(enum.StrEnum):
    """How a customer likes to be answered."""

    RATIONAL = "rational"
    IRRITABLE = "irritable"
    HAGGLER = "haggler"
    PRESSING = "pressing"
    NO_SAYER = "no_sayer"


class Contact(enum.StrEnum):
    """The channels that a consent speaks of."""

    INBOX = "inbox"
    EMAIL = "email"
    SMS = "sms"
    CALL = "call"
    WECOM = "wecom"


class Purpose(enum.StrEnum):
    MARKETING = "marketing"
    SERVICE = "service"


class ValueLabel(enum.StrEnum):
    """What ties a valuable customer to the shop: orders, what they do with us, or both alike."""

    TRANSACTION = "transaction"
    RELATION = "relation"
    BOTH = "both"


# Lists show people who are themselves and were not erased; their indexes hold nobody else.
_LIVE = text("merged_into_id IS NULL AND erased_at IS NULL")


def names_of(table: str = "") -> str:
    """SQL: both names in lower case without spaces. Spelt as PostgreSQL spells it, so that queries and index agree."""
    return f"replace(lower(({table}name || '|'::text) || {table}nickname), ' '::text, ''::text)"


def name_pieces(table: str = "") -> str:
    """SQL: every character and every pair of neighbours in the names, which the search looks up.

    Core functions only, so that no extension is needed: pairs from the first character on, and from the second.
    """
    names = names_of(table)
    return (
        f"(string_to_array({names}, NULL::text) ||"
        f" string_to_array((regexp_replace({names}, '(..)'::text, '\\1 '::text, 'g'::text) || ' '::text) ||"
        f" regexp_replace(substr({names}, 2), '(..)'::text, '\\1 '::text, 'g'::text), ' '::text))"
    )


class Member(db.Model):
    __tablename__ = "member"
    id: Mapped[pk]
    name: Mapped[str] = mapped_column(default="")
    nickname: Mapped[str] = mapped_column(default="")
    # Canonical E.164; the same text is an identity of the channel `phone`.
    phone: Mapped[str | None] = mapped_column(unique=True)
    email: Mapped[str | None]
    birthday: Mapped[date | None]
    customer_type: Mapped[CustomerType | None]
    hobbies: Mapped[str] = mapped_column(default="")
    city: Mapped[str] = mapped_column(default="")
    address: Mapped[str] = mapped_column(default="")
    locale: Mapped[str] = mapped_column(default="zh_Hans")
    source: Mapped[str] = mapped_column(default="")
    stage: Mapped[Stage] = mapped_column(default=Stage.LEAD)
    stage_since: Mapped[datetime]
    # The person's rank 0–4, kept by membership.tiers; benefits count from `enrolled_at`.
    rank: Mapped[int] = mapped_column(default=0)
    enrolled_at: Mapped[datetime | None]
    # Kept by membership.orders from the orders themselves: all orders that were paid and not wholly refunded.
    orders_count: Mapped[int] = mapped_column(default=0)
    spend: Mapped[int] = mapped_column(default=0)
    first_order_at: Mapped[datetime | None]
    last_order_at: Mapped[datetime | None]
    # What they are worth to the shop, 0–100, and by what; kept by `services.value` from `rules.value_of`.
    value_index: Mapped[int] = mapped_column(default=0, server_default="0")
    value_label: Mapped[ValueLabel | None]
    merged_into_id: Mapped[int | None] = mapped_column(ForeignKey("member.id"))
    erased_at: Mapped[datetime | None]
    created_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("rank BETWEEN 0 AND 4", name="rank"),
        CheckConstraint("value_index BETWEEN 0 AND 100", name="value_index"),
        Index("ix_member_list_rank", "rank", text("id DESC"), postgresql_where=_LIVE),
        Index("ix_member_list_stage", "stage", text("id DESC"), postgresql_where=_LIVE),
        Index("ix_member_list_source", "source", text("id DESC"), postgresql_where=_LIVE),
        # Most records lack an e-mail address, a birthday and a value label at first, and what lacks them is in no index: whatever
        # changes about a member, each index that has them is written again.
        Index("uq_member_email_given", "email", unique=True, postgresql_where=text("email IS NOT NULL")),
        Index(
            "ix_member_list_value_label_given",
            "value_label",
            text("id DESC"),
            postgresql_where=text("value_label IS NOT NULL AND merged_into_id IS NULL AND erased_at IS NULL"),
        ),
        Index("ix_member_list_spend", text("spend DESC"), text("id DESC"), postgresql_where=_LIVE),
        Index("ix_member_list_value", text("value_index DESC"), text("id DESC"), postgresql_where=_LIVE),
        # Whoever never ordered sorts as if it had been very long ago; see `queries.LAST_ORDER`.
        Index(
            "ix_member_list_last_order",
            text("COALESCE(last_order_at, '1970-01-01 00:00:00+00'::timestamp with time zone) DESC"),
            text("id DESC"),
            postgresql_include=["last_order_at"],
            postgresql_where=_LIVE,
        ),
        Index(
            "ix_member_list_birthday_given",
            text("EXTRACT(month FROM birthday)"),
            text("id DESC"),
            postgresql_include=["birthday"],
            postgresql_where=text("birthday IS NOT NULL AND merged_into_id IS NULL AND erased_at IS NULL"),
        ),
        # Whoever is no person of their own any more: few, among whom those of other tables are looked up.
        Index("ix_member_gone", "id", postgresql_where=text("merged_into_id IS NOT NULL OR erased_at IS NOT NULL")),
        Index("ix_member_list_names", text(name_pieces()), postgresql_using="gin"),
        # The tail of a phone is what people at a counter know.
        Index("ix_member_phone_tail", text("reverse(phone) text_pattern_ops")),
    )

    @property
    def shown_name(self) -> str:
        """What staff read a member by: a name, else the phone or e-mail address as everybody may see it, else the number."""
        from .rules import masked_email, masked_phone

        return self.nickname or self.name or masked_phone(self.phone) or masked_email(self.email) or f"#{self.id}"

    @property
    def shown_beside(self) -> str:
        """What stands beside the name in lists: the masked phone, or the number where that phone is already the name."""
        from .rules import masked_phone

        if self.nickname or self.name:
            return masked_phone(self.phone)
        return f"#{self.id}" if self.phone or self.email else ""


class MemberIdentity(db.Model):
    __tablename__ = "member_identity"
    id: Mapped[pk]
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"), index=True)
    channel: Mapped[Channel]
    external_id: Mapped[str]
    created_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("channel", "external_id"),)


class Consent(db.Model):
    """Append-only; the latest row of (member, channel, purpose) rules, and none means no."""

    __tablename__ = "consent"
    id: Mapped[pk]
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    channel: Mapped[Contact]
    purpose: Mapped[Purpose]
    granted: Mapped[bool]
    source: Mapped[str]
    text_version: Mapped[str]
    # The staff member who wrote it down, or empty when the person did it themselves.
    author: Mapped[str] = mapped_column(default="")
    at: Mapped[datetime]

    __table_args__ = (
        # One person's last word on each channel, answered without the rows themselves.
        Index(
            "ix_consent_last_words", "member_id", "channel", "purpose", text("id DESC"), postgresql_include=["granted"]
        ),
        # Read backwards member by member: who agreed to a channel, newest member first, without looking at the others.
        Index(
            "ix_consent_channel",
            "channel",
            "purpose",
            text("member_id DESC"),
            text("id DESC"),
            postgresql_include=["granted"],
        ),
    )


class OptOut(db.Model):
    """A refusal that outlives the person's row: a keyed hash of phone or e-mail, so that no re-import brings them back."""

    __tablename__ = "opt_out"
    id: Mapped[pk]
    address_hash: Mapped[str]
    channel: Mapped[Contact]
    at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("address_hash", "channel"),)


class Tag(db.Model):
    __tablename__ = "tag"
    id: Mapped[pk]
    name: Mapped[str] = mapped_column(unique=True)


class MemberTag(db.Model):
    __tablename__ = "member_tag"
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id", ondelete="CASCADE"), primary_key=True)
    tag_id: Mapped[int] = mapped_column(ForeignKey("tag.id", ondelete="CASCADE"), primary_key=True)
    at: Mapped[datetime]

    __table_args__ = (Index("ix_member_tag_tag", "tag_id", text("member_id DESC")),)


class Note(db.Model):
    """What staff wrote about a member."""

    __tablename__ = "member_note"
    id: Mapped[pk]
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"), index=True)
    staff_id: Mapped[int | None]
    author: Mapped[str]
    body: Mapped[str]
    at: Mapped[datetime]


class SignInCode(db.Model):
    """A one-time code sent by SMS or e-mail. The code itself is kept nowhere: it follows from the row under the shop's key."""

    __tablename__ = "sign_in_code"
    id: Mapped[pk]
    # Empty for an address that nobody here has: the row is made all the same, so that both look alike from outside.
    member_id: Mapped[int | None]
    # The keyed hash of where it was sent, so that one address is not sent one code upon another.
    address_hash: Mapped[str] = mapped_column(default="", server_default="")
    nonce: Mapped[str] = mapped_column(unique=True)
    tries: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]

    __table_args__ = (Index("ix_sign_in_code_address", "address_hash", "created_at"),)


class Merge(db.Model):
    """Two records found to be one person: `absorbed_id` became `survivor_id`. What it changed is in `MergeMove`."""

    __tablename__ = "merge"
    id: Mapped[pk]
    survivor_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    absorbed_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    staff_id: Mapped[int | None]
    reason: Mapped[str] = mapped_column(default="")
    at: Mapped[datetime]
    undone_at: Mapped[datetime | None]
    undone_by: Mapped[int | None]
    # What an undoing could not bring back, as sentences were made of it: [{"code": …, …values}].
    left: Mapped[list[Any]] = mapped_column(default=list)

    __table_args__ = (
        CheckConstraint("survivor_id <> absorbed_id", name="two"),
        # Nobody is absorbed twice at a time.
        Index("uq_merge_live", "absorbed_id", unique=True, postgresql_where=text("undone_at IS NULL")),
        Index("ix_merge_survivor", "survivor_id", text("id DESC")),
        Index("ix_merge_recent", "at", postgresql_where=text("undone_at IS NULL")),
    )


class MergeMove(db.Model):
    """One row that a merge changed, in the order of doing. `key` is the row's primary key as it is afterwards.

    `before` and `after` hold the columns concerned (all of them for a row that was deleted or inserted). Moves of one
    `unit` are undone together or not at all.
    """

    __tablename__ = "merge_move"
    merge_id: Mapped[int] = mapped_column(ForeignKey("merge.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    act: Mapped[str]  # change | insert | delete | count
    table_name: Mapped[str]
    key: Mapped[dict[str, Any]]
    before: Mapped[dict[str, Any]]
    after: Mapped[dict[str, Any]]
    unit: Mapped[str] = mapped_column(default="")

    __table_args__ = (CheckConstraint("act IN ('change', 'insert', 'delete', 'count')", name="act"),)


class NotDuplicate(db.Model):
    """Two records that staff have looked at and found to be two people; the lower id first."""

    __tablename__ = "not_duplicate"
    low_id: Mapped[int] = mapped_column(ForeignKey("member.id"), primary_key=True)
    high_id: Mapped[int] = mapped_column(ForeignKey("member.id"), primary_key=True, index=True)
    staff_id: Mapped[int | None]
    at: Mapped[datetime]

    __table_args__ = (CheckConstraint("low_id < high_id", name="order"),)


class DuplicatePair(db.Model):
    """Two records that look like one person, with what speaks for it; found anew by a job. The lower id first."""

    __tablename__ = "duplicate_pair"
    low_id: Mapped[int] = mapped_column(ForeignKey("member.id"), primary_key=True)
    high_id: Mapped[int] = mapped_column(ForeignKey("member.id"), primary_key=True, index=True)
    score: Mapped[int]
    reasons: Mapped[list[str]]
    found_at: Mapped[datetime]

    __table_args__ = (
        CheckConstraint("low_id < high_id", name="order"),
        Index("ix_duplicate_pair_score", text("score DESC"), text("low_id DESC"), text("high_id DESC")),
    )


class RightsWish(enum.StrEnum):
    """What people may ask for about what is kept of them."""

    DOSSIER = "dossier"
    ERASURE = "erasure"


class RightsRequest(db.Model):
    """Somebody asked on their own page for what is kept of them, or for all of it to be erased; staff carry it out."""

    __tablename__ = "rights_request"
    id: Mapped[pk]
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"))
    wish: Mapped[RightsWish]
    asked_at: Mapped[datetime]
    taken_back_at: Mapped[datetime | None]
    done_at: Mapped[datetime | None]
    done_by: Mapped[int | None]

    __table_args__ = (
        Index(
            "uq_rights_request_open",
            "member_id",
            "wish",
            unique=True,
            postgresql_where=text("done_at IS NULL AND taken_back_at IS NULL"),
        ),
        Index("ix_rights_request_member", "member_id", text("id DESC")),
    )


class Dossier(db.Model):
    """A file of all that is kept of a member, for the staff member who asked, for one day."""

    __tablename__ = "dossier"
    id: Mapped[pk]
    token: Mapped[str] = mapped_column(unique=True)
    member_id: Mapped[int] = mapped_column(ForeignKey("member.id"), index=True)
    staff_id: Mapped[int]
    made_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)
