"""Members: one record a person, across channels."""

from __future__ import annotations

from flask import Flask

from kernel import navigation, today, views
from kernel.i18n import lazy_gettext as _l
from kernel.ports import fill_slot


def init_app(app: Flask) -> None:
    """Load the room's tables, events and jobs, and open its pages."""
    from . import (  # noqa: F401
        api,
        brief,
        bulk,
        console,
        jobs,
        labels,
        merging,
        models,
        personal,
        portal,
        portal_data,
        rules,
        subscribers,
        webhooks,
    )
    from .services import remembering  # noqa: F401

    app.register_blueprint(console.bp)
    app.register_blueprint(api.bp)
    app.register_blueprint(portal.bp)
    # A mail program posts the unsubscribe link without ever having seen a page of ours; its signature is the proof.
    app.extensions["csrf_protect"].exempt(portal.unsubscribe_post)
    app.jinja_env.filters.update(
        masked_phone=rules.masked_phone, masked_email=rules.masked_email, masked_address=rules.masked_address
    )
    navigation.add("members", _l("Members"), "members_console.index", "members.view", order=10)
    navigation.add("members", _l("Life-cycle stages"), "members_console.stages", "members.stages", order=80)
    views.offer("members", "members_console.index", "members.view")
    today.search.fill(brief.find)
    today.tasks.fill(brief.tasks)
    fill_slot("member.actions", order=90)(console.merging.member_actions)
    fill_slot("member.side", order=80)(console.merging.member_side)
    fill_slot("me.nav", order=90)(portal_data.my_data_row)
    today.numbers.fill(brief.numbers)
