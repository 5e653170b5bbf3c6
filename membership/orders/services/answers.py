"""What staff say about a file that waits: which column is which, and what a foreign currency is worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import update

from kernel import audit
from kernel.db import changed, db
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l

from .. import formats
from ..formats import mapped, shopify
from ..models import ImportRun, RunState
from . import mappings
from .runs import RunNotWaiting, check_source, sheet_of


class RateInvalid(Refusal):
    status = 422
    label = _l("A rate is how many yuan one of the currency is worth, such as 7.1234.")


def map_columns(run: ImportRun, plan: mapped.Plan, name: str = "") -> None:
    """Have a waiting file read by a plan; the run keeps a copy of it.

    Refuses with `MappingIncomplete`, `SourceInvalid`, `FileUnreadable` (columns that are not there) and `RunNotWaiting`.
    """
    mappings.check_plan(plan)
    source = check_source(plan.source or run.source)
    sheet = sheet_of(run)
    sheet.options = {
        key: value for key, value in run.options.items() if key in ("workbook", "macros", "links", "marks")
    }
    sheet.options |= {"mapping": plan.stored} | ({"mapping_name": name} if name else {})
    formats.FORMATS[formats.MAPPED].check(sheet)
    _answer(run, format=formats.MAPPED, options=sheet.options, source=source)
    audit.record("import.mapped", "import", run.id, after={"plan": plan.stored})


def set_rates(run: ImportRun, rates: Mapping[str, str]) -> None:
    """Say what one of each foreign currency is worth in yuan; an empty text leaves its orders to be rejected.

    Refuses with `RateInvalid` and `RunNotWaiting`.
    """
    told = {code: text.strip() for code, text in rates.items() if text.strip()}
    for text in told.values():
        try:
            shopify.rate_of(text)
        except ValueError:
            raise RateInvalid from None
    _answer(run, options={**run.options, "rates": told})
    audit.record("import.rates_set", "import", run.id, after={"rates": told})


def _answer(run: ImportRun, **values: Any) -> None:
    waiting = changed(
        db.session.execute(
            update(ImportRun)
            .where(ImportRun.id == run.id, ImportRun.state == RunState.WAITING)
            .values(**values)
            .execution_options(synchronize_session=False)
        )
    )
    if not waiting:
        raise RunNotWaiting
    db.session.refresh(run)
