"""The verbs of orders, by family."""

from __future__ import annotations

from ..formats.drafts import RefundDraft
from ..rules import SourceInvalid
from .intake import Taken, person_of, take_in
from .runs import (
    FormatUnknown,
    RunNotWaiting,
    abandoned,
    check_source,
    forget_files,
    keep,
    preview,
    put_away,
    run_inline,
    sample,
    sheet_of,
    start,
    work,
)
from .single import deliver_due, record, record_many, refund, take_in_reported
from .summaries import ranks_of_buyers, refresh_members, tell_of_buyers

__all__ = [
    "FormatUnknown",
    "RefundDraft",
    "RunNotWaiting",
    "SourceInvalid",
    "Taken",
    "abandoned",
    "check_source",
    "deliver_due",
    "forget_files",
    "keep",
    "person_of",
    "preview",
    "put_away",
    "ranks_of_buyers",
    "record",
    "record_many",
    "refresh_members",
    "refund",
    "run_inline",
    "sample",
    "sheet_of",
    "start",
    "take_in",
    "take_in_reported",
    "tell_of_buyers",
    "work",
]
