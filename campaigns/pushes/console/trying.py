"""Trying a push out: how any member would read it, and a test to one's own address."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, render_template, request, url_for

from campaigns.channels import services as channels
from campaigns.channels.models import ChannelKind
from kernel import once, pages
from kernel.auth import acting_staff, staff
from kernel.i18n import LOCALES
from kernel.i18n import gettext as _
from membership.members import queries as members
from membership.members.models import Member

from .. import jobs, labels, message, queries, rules, services
from ..forms import TestForm
from . import bp
from .pushes import place_of

FOUND_AT_MOST = 20


@bp.get("/pushes/<int:push_id>/read-as")
@staff("pushes.view")
def read_as(push_id: int) -> Any:
    return _page(push_id, TestForm(formdata=None))


@bp.post("/pushes/<int:push_id>/test")
@staff("pushes.edit")
def test(push_id: int) -> Any:
    push, run = queries.get_push(push_id)
    account, form = queries.account_of(push), TestForm()
    form.validate()
    if account.kind is ChannelKind.ROBOT and run.approved_by is None and services.needs_approval(push, run):
        # Everybody in the chat reads the test as well.
        flash(_("A test in this chat is read by everybody there: a second person approves the push first."), "negative")
        return _page(push_id, form), 409
    if account.kind.shared:
        address = channels.shown_name(account)
    elif account.kind is ChannelKind.INBOX:
        own = queries.own_member(acting_staff().email)
        address = str(own.id) if own is not None else ""
    else:
        address = (form.address.data or "").strip()
    if not address or form.address.errors:
        if account.kind is ChannelKind.INBOX:
            flash(_("No member has your e-mail address, so there is no inbox of yours to send a test to."), "negative")
        else:
            form.address.errors = [_("Write where the test goes.")]
        return _page(push_id, form), 422
    chosen = _chosen()
    if once.done_before():
        return redirect(url_for(".read_as", push_id=push_id, member_id=chosen.id if chosen else None))
    services.note_test(push, address)
    jobs.send_test.later(push_id=push.id, member_id=chosen.id if chosen else None, address=address, variant=_variant())
    flash(_("The test is on its way to %(address)s.", address=_shown(account.kind, address)), "positive")
    return redirect(url_for(".read_as", push_id=push_id, member_id=chosen.id if chosen else None))


def _shown(kind: ChannelKind, address: str) -> str:
    return _("your own inbox") if kind is ChannelKind.INBOX else address


def _chosen() -> Member | None:
    number = request.values.get("member_id", type=pages.row_number)
    return members.get_member(number) if number else None


def _variant() -> int:
    said = request.values.get("variant", type=pages.row_number) or 0
    return min(said, rules.MOST_VARIANTS - 1)


def _page(push_id: int, form: TestForm) -> str:
    push, run = queries.get_push(push_id)
    account, chosen = queries.account_of(push), _chosen()
    person = None if account.kind.shared else chosen or queries.reader_of(push, account)
    form.address.flags.required = account.kind is not ChannelKind.INBOX and not account.kind.shared
    wanted = pages.searched()
    return render_template(
        "pushes/read_as.html",
        push=push,
        run=run,
        account=account,
        account_name=channels.shown_name(account),
        length_of=channels.length_of,
        in_parts=channels.in_parts,
        person=person,
        place=place_of(account),
        previews=[
            (rules.LETTERS[number], message.example(push, account, person, number))
            for number in range(1 + len(push.variants))
        ],
        found=queries.readers(wanted, FOUND_AT_MOST) if wanted else [],
        wanted=wanted,
        form=form,
        test_once=once.key(),
        own_address=acting_staff().email,
        locales=LOCALES,
        labels=labels,
    )
