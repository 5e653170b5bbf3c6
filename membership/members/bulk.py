"""What can be done with many members at once: the selected ones, or everybody who fits the list's filters.

Up to a thousand are done while the reader waits; more by a worker, see `kernel.bulk`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from urllib.parse import parse_qsl

from werkzeug.datastructures import MultiDict

from kernel import audit, bulk, clock
from kernel.bulk import BulkRun, Kind, Slice
from kernel.i18n import gettext as _

from . import labels, listing, rules, services
from .forms import filter_from
from .listing import MemberFilter
from .models import CustomerType, Member

# How many members one slice of a long work takes.
SLICE = 1_000


def wanted_by(query: str) -> MemberFilter:
    """The filter that a list's query string asks for."""
    return filter_from(MultiDict(parse_qsl(query)))


# ── The file ────────────────────────────────────────────────────────────────────────────────────────────────────────


def header() -> list[str]:
    """The heading of the file of members."""
    return [
        _("Full name"), _("Nickname"), _("Phone"), _("Tier"), _("Stage"), _("Value"), _("Tied by"), _("Orders"), _("Spend"),
        _("First order"), _("Last order"), _("Birthday"), _("Customer type"), _("City"), _("Source"), _("Joined"), _("Tags"),
    ]  # fmt: skip


def _on(at: Any) -> str:
    return clock.local(at).date().isoformat() if at else ""


def line(member: Member, tags: str, open_phones: bool) -> list[Any]:
    """A member's line of the file; the phone whole only for whoever may see phones."""
    return [
        member.name,
        member.nickname,
        (member.phone or "") if open_phones else rules.masked_phone(member.phone),
        f"VIP{member.rank}" if member.rank else "",
        str(labels.STAGES[member.stage]),
        member.value_index,
        str(labels.TIES[member.value_label]) if member.value_label else "",
        member.orders_count,
        f"{member.spend / 100:.2f}",
        _on(member.first_order_at),
        _on(member.last_order_at),
        member.birthday.isoformat() if member.birthday else "",
        str(labels.CUSTOMER_TYPES[member.customer_type]) if member.customer_type else "",
        member.city,
        str(labels.source_label(member.source)),
        _on(member.enrolled_at),
        tags,
    ]


def _next(ids: Sequence[int]) -> int | None:
    return ids[-1] if len(ids) == SLICE else None


def _write_slice(arguments: dict[str, Any], after: Any) -> Slice:
    ids = listing.ids_after(wanted_by(arguments["query"]), after, SLICE)
    lines = [line(member, tags, arguments["phones"]) for member, tags in listing.rows_of(ids)]
    return Slice(len(ids), len(lines), _next(ids), lines)


bulk.kind(
    Kind(
        "members.export",
        "members.export",
        lambda arguments: _("A file of members"),
        _write_slice,
        "members_console.index",
        lambda arguments: header(),
        # A file with whole phones is for nobody who may not see them any more.
        lambda arguments: "members.reveal" if arguments["phones"] else None,
    )
)


def export_all(query: str, total: int, open_phones: bool) -> BulkRun:
    """Have a file made of everybody who fits a query string."""
    name = f"members-{clock.today().isoformat()}.csv"
    return bulk.ask("members.export", {"query": query, "phones": open_phones}, total, name)


# ── Tags and types ──────────────────────────────────────────────────────────────────────────────────────────────────


def act_on(member_ids: Collection[int], act: str, word: str) -> int:
    """Tag or untag members, or set their customer type; of how many that changed anything.

    Refuses with `TagInvalid`; an act or type that does not exist changes nobody.
    """
    if act == "tag":
        return services.tag(member_ids, word)
    if act == "untag":
        return services.untag(member_ids, word)
    if act == "type" and word in ("none", *CustomerType):
        return services.set_customer_type(member_ids, None if word == "none" else CustomerType(word))
    return 0


def act_at_once(member_ids: Collection[int], act: str, word: str) -> int:
    """`act_on`, while the reader waits; what changed is in the audit trail."""
    touched = act_on(member_ids, act, word)
    if touched:
        audit.record("members.changed", "member", None, after={"act": act, "word": word, "number": touched})
    return touched


def _act_on_slice(arguments: dict[str, Any], after: Any) -> Slice:
    ids = listing.ids_after(wanted_by(arguments["query"]), after, SLICE)
    touched = act_on(ids, arguments["act"], arguments["word"]) if ids else 0
    return Slice(len(ids), touched, _next(ids))


def _title(arguments: dict[str, Any]) -> str:
    word = arguments["word"]
    if arguments["act"] == "tag":
        return _("Tagging members “%(tag)s”", tag=word)
    if arguments["act"] == "untag":
        return _("Taking the tag “%(tag)s” off members", tag=word)
    name = labels.CUSTOMER_TYPES[CustomerType(word)] if word in list(CustomerType) else _("Not known")
    return _("Setting the customer type of members: %(type)s", type=name)


bulk.kind(Kind("members.act", "members.edit", _title, _act_on_slice, "members_console.index"))


def act_on_all(query: str, act: str, word: str, total: int) -> BulkRun:
    """Have everybody who fits a query string tagged, untagged or typed. Refuses with `TagInvalid`."""
    if act in ("tag", "untag"):
        word = services.plain_tag(word)
    audit.record("members.changed", "member", None, after={"filter": query, "act": act, "word": word, "number": total})
    return bulk.ask("members.act", {"query": query, "act": act, "word": word}, total)
