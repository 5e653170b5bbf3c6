"""Work about people that nobody waits for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from kernel import clock
from kernel.db import db, transaction
from kernel.jobs import every, job

from . import queries, services
from .models import MemberIdentity, SignInCode
from .services import dossier, duplicates, identify, merge


@every(3600)
@job(own_transactions=True)
def keep_stages() -> None:
    """Time alone makes people dormant: look at everybody once an hour."""
    _everybody(services.reassess_stages)


@every(86_400)
@job(queue="bulk", own_transactions=True)
def revalue_everybody() -> None:
    """Time alone makes people worth less: work everybody out once a day."""
    _everybody(services.revalue)


def _everybody(work_out: Callable[[list[int]], object]) -> None:
    """Work all members out in pieces, each in a transaction of its own: whoever changes is held until its end."""
    last = 0
    while True:
        with transaction():
            chunk = queries.chunk_after(last)
            if not chunk:
                return
            work_out(chunk)
        last = chunk[-1]


@every(3600)
@job()
def forget_tries() -> None:
    """Drop sign-in codes and counted tries of yesterday."""
    identify.clean_up(clock.now() - timedelta(days=1))


@every(86_400)
@job(queue="bulk")
def find_duplicates() -> None:
    """Look for records that look like one person."""
    duplicates.find_all()


@every(3600)
@job()
def throw_dossiers_away() -> None:
    """A dossier can be fetched for one day."""
    dossier.clean_up()


@every(60)
@job()
def bring_latecomers() -> None:
    """Let rows follow that were being written for a record while it was merged."""
    merge.bring_latecomers(timedelta(minutes=10))


@every(3600)
@job()
def bring_late_latecomers() -> None:
    """The same for what took longer, such as a message that had to be ended first."""
    merge.bring_latecomers(timedelta(days=2))


@job(own_transactions=True)
def send_sign_in_code(code_id: int, identity_id: int | None, locale: str) -> None:
    """Send a code by SMS or e-mail; nothing is sent for a phone or an address that nobody has."""
    with transaction():
        row = db.session.get(SignInCode, code_id)
        known = db.session.get(MemberIdentity, identity_id) if identity_id is not None else None
        if row is None or known is None or known.member_id != row.member_id or row.expires_at <= clock.now():
            return
        way, address, code = known.channel, known.external_id, identify.code_of(row)
    identify.send_code.call(way, address, code, locale)
