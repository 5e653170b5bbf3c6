"""What this room keeps of people, column by column: see `membership.members.services.personal`."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from membership.members.services.personal import by, declare

from .models import (
    Account,
    Callback,
    ChannelFault,
    ChannelHour,
    ContactCount,
    ContactTask,
    DeadAddress,
    Festival,
    GroupPosted,
    InboxMessage,
    Posting,
    Receipt,
    Reply,
    ServiceNotice,
    WecomRecipient,
    WecomSend,
)

declare(
    Account,
    "id name kind settings secret rate_per_second rate_per_minute rate_per_hour rate_per_day tokens tokens_at taken "
    "hook_token errors_in_row last_error last_error_at last_accepted_at retry_at paused_at pause_reason tripped probes "
    "probe_at tested_at tested_words test_outcome test_passed created_at",
    "tested_to",
    why="Where staff had a test sent to.",
)
declare(ChannelHour, "account_id hour_at calls accepted rejected retried unknown took_ms slowest_ms")
declare(ChannelFault, "account_id reason times first_at last_at")
declare(Callback, "account_id key kind signed at")
declare(Receipt, "id account_id key delivered code signed at")
declare(
    Reply,
    "id account_id member_id stopped signed at",
    "words",
    rows=by(Reply.member_id),
    label=_l("Answers to text messages"),
    drop=True,
)
declare(
    DeadAddress,
    "id member_id contact reason at",
    "address",
    rows=by(DeadAddress.member_id),
    label=_l("Addresses that cannot be reached"),
    drop=True,
)
declare(Posting, "id account_id key title body path state tries reason due_at made_at ended_at")
declare(GroupPosted, "account_id key post_id")
declare(
    ContactTask,
    "id account_id key delivery_id member_id state staff_id made_at due_at ended_at",
    "title words note",
    rows=by(ContactTask.member_id),
    label=_l("Contact tasks"),
    drop=True,
)
declare(
    ServiceNotice,
    "id member_id about made_at looked_at inbox_at state contact account_id tries reason due_at ended_at",
    "title body path",
    rows=by(ServiceNotice.member_id),
    label=_l("Words that something was answered"),
    drop=True,
)
declare(WecomSend, "id account_id msgid made_at polled_at closed_at")
declare(
    WecomRecipient,
    "send_id delivery_id member_id sent reason",
    "external_id",
    rows=by(WecomRecipient.member_id),
    label=_l("Mass sends over WeCom"),
    drop=True,
)
declare(
    ContactCount,
    "member_id day_on week_on month_on rank day_total week_total month_total day_triggered week_triggered "
    "month_triggered day_repurchase week_repurchase month_repurchase day_broadcast week_broadcast month_broadcast",
    rows=by(ContactCount.member_id),
    label=_l("How often they were written to"),
)
declare(Festival, "id name from_on until_on effect extra")
declare(
    InboxMessage,
    "id member_id key kind sent_at read_at",
    "title body path cards",
    rows=by(InboxMessage.member_id),
    label=_l("Messages"),
    drop=True,
)
