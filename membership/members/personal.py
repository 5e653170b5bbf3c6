"""What this room and the kernel keep of people, column by column: see `services.personal`."""

from __future__ import annotations

from kernel.api_keys import ApiKey
from kernel.audit import AuditEntry
from kernel.bulk import BulkRun
from kernel.events import EventDelivery, EventRecord
from kernel.failures import FailedJob
from kernel.i18n import lazy_gettext as _l
from kernel.idempotency import IdempotencyRecord
from kernel.journal import JournalEntry
from kernel.notices import Notice
from kernel.shop import ShopSetting
from kernel.staff.models import HandOver, HandOverItem, SignInTry, Staff, StaffSession
from kernel.today import PutOffTask
from kernel.views import DefaultView, SavedView
from kernel.visitors import VisitorSession
from kernel.webhooks.models import WebhookDelivery, WebhookEndpoint

from .models import (
    Consent,
    Dossier,
    DuplicatePair,
    Member,
    MemberIdentity,
    MemberTag,
    Merge,
    MergeMove,
    NotDuplicate,
    Note,
    OptOut,
    RightsRequest,
    SignInCode,
    Tag,
)
from .services.personal import by, declare, mentioning, through

OF_STAFF = "Those who work in the shop, not its members."

declare(
    ApiKey,
    "id name hint token_hash scopes created_at last_used_at expires_at revoked_at per_minute",
)
declare(
    AuditEntry,
    "id at staff_id action object_kind object_id",
    "actor before after address",
    why="Who of the staff did what: ids and names of fields, never a member's words.",
)
declare(
    BulkRun,
    "id token kind staff_id locale state total done touched checkpoint filename lease_token lease_until "
    "created_at finished_at",
    "arguments",
    rows=mentioning(BulkRun.arguments),
)
declare(
    Consent,
    "id member_id channel purpose granted text_version at",
    "source author",
    rows=by(Consent.member_id),
    label=_l("Consents and refusals"),
    why="What was agreed to and refused, when and how must stay provable; `author` is staff.",
)
declare(
    DefaultView,
    "staff_id list_name view_id",
)
declare(
    Dossier,
    "id token member_id staff_id made_at expires_at",
    "content",
    rows=by(Dossier.member_id),
    drop=True,
    hidden="content token",
)
declare(
    DuplicatePair,
    "low_id high_id score found_at",
    "reasons",
    rows=by(DuplicatePair.low_id, DuplicatePair.high_id),
    drop=True,
)
declare(
    EventRecord,
    "id name member_id occurred_at",
    "payload",
    rows=by(EventRecord.member_id),
    label=_l("What happened"),
    drop=True,
)
declare(
    EventDelivery,
    "event_id subscriber due_at attempts error delivered_at dead_at",
)
declare(
    IdempotencyRecord,
    "api_key_id route key request_hash status created_at",
    "body",
    rows=mentioning(IdempotencyRecord.body),
)
declare(
    JournalEntry,
    "id key number kind at",
    "body",
    why="Ids, words of ours and keyed hashes, as in `opt_out`: refusals and erasures must survive a restore.",
)
declare(
    Member,
    "id locale stage stage_since rank enrolled_at orders_count spend first_order_at last_order_at "
    "value_index value_label merged_into_id erased_at created_at",
    "name nickname phone email birthday customer_type hobbies city address source",
    rows=by(Member.id),
    label=_l("The record itself"),
)
declare(
    MemberIdentity,
    "id member_id channel created_at",
    "external_id",
    rows=by(MemberIdentity.member_id),
    label=_l("Accounts and addresses"),
    drop=True,
)
declare(
    Note,
    "id member_id staff_id at",
    "author body",
    rows=by(Note.member_id),
    label=_l("Notes of staff"),
    drop=True,
)
declare(
    MemberTag,
    "member_id at",
    "tag_id",
    rows=by(MemberTag.member_id),
    label=_l("Tags"),
    drop=True,
)
declare(
    Merge,
    "id survivor_id absorbed_id staff_id at undone_at undone_by left",
    "reason",
    rows=by(Merge.survivor_id, Merge.absorbed_id),
    label=_l("Records that were merged"),
    hidden="left",
)
declare(
    MergeMove,
    "merge_id position act table_name unit",
    "key before after",
    rows=through(MergeMove.merge_id, Merge.id, Merge.survivor_id),
    drop=True,
)
declare(
    NotDuplicate,
    "low_id high_id staff_id at",
    rows=by(NotDuplicate.low_id, NotDuplicate.high_id),
    drop=True,
)
declare(
    Notice,
    "id member_id kind path created_at",
    "title body",
    rows=by(Notice.member_id),
    label=_l("Notices"),
    drop=True,
)
declare(
    OptOut,
    "id channel at",
    "address_hash",
    why="A keyed hash: only with the shop's key could somebody find the address, by trying all. It keeps the refusal alive.",
)
declare(
    PutOffTask,
    "staff_id key weight until",
)
declare(
    RightsRequest,
    "id member_id wish asked_at taken_back_at done_at done_by",
    rows=by(RightsRequest.member_id),
    label=_l("What they asked for"),
)
declare(
    SavedView,
    "id staff_id list_name title shared position created_at",
    "query",
    rows=mentioning(SavedView.query),
    drop=True,
)
declare(
    ShopSetting,
    "key value",
)
declare(
    SignInCode,
    "id member_id tries created_at expires_at used_at",
    "nonce address_hash",
    rows=by(SignInCode.member_id),
    drop=True,
)
declare(
    SignInTry,
    "id at",
    "account",
    why=OF_STAFF,
)
declare(
    Staff,
    "id role password_hash created_at disabled_at",
    "name email signature",
    why=OF_STAFF,
)
declare(
    HandOver,
    "id from_id by_id at returned_at returned_by_id",
    "note",
    why=OF_STAFF,
)
declare(
    HandOverItem,
    "hand_over_id area row_id to_id returned",
)
declare(
    StaffSession,
    "id token_hash staff_id created_at seen_at expires_at",
    "address",
    why=OF_STAFF,
)
declare(
    FailedJob,
    "id key name tries first_at last_at put_aside_at dropped_at",
    "arguments error",
    why="What a job was told to do: ids of rows, and where staff had a test sent to; and why it could not.",
)
declare(
    Tag,
    "id name",
)
declare(
    VisitorSession,
    "id member_id created_at identified_at expires_at",
    "token_hash",
    rows=by(VisitorSession.member_id),
    label=_l("Browsers that know them"),
    drop=True,
    hidden="token_hash",
)
declare(
    WebhookDelivery,
    "id endpoint_id event_id message_id type state attempts next_at lease lease_until last_status "
    "last_error last_answer took_ms sent_at created_at",
    "body",
    rows=mentioning(WebhookDelivery.body),
)
declare(
    WebhookEndpoint,
    "id url description types listens secret previous_secret previous_until state failures failing_since "
    "held_until last_success_at created_at",
)
