"""Pages for customers: the questions and answers to read, with pictures and links, as a shop's help pages."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import render_template

from community.posts import rules as posts
from kernel.auth import public
from kernel.errors import NotFound
from kernel.i18n import current_locale
from kernel.pages import searched

from . import queries, services

bp = APIBlueprint("answers_portal", __name__, template_folder="templates", enable_openapi=False)


def my_row(**_values: Any) -> str:
    """The row on a member's own page (slot `me.nav`); nothing where the shop has written no answers."""
    return render_template("answers/_my_row.html") if queries.any_enabled() else ""


@bp.get("/faq")
@public("the shop's help pages, the same for everybody")
def index() -> Any:
    sought = searched(most=200)
    if sought:
        found = services.reply(sought)
        intents = queries.enabled([one.intent_id for one in found.likely if one.likely >= 0.05])
    else:
        intents = queries.all_enabled()
    locale = current_locale()
    topics: dict[str, list[Any]] = {}
    for intent in intents:
        topics.setdefault("" if sought else intent.topic, []).append(
            (intent.public_id, services.said(intent, locale)[0])
        )
    return render_template("answers/faq.html", topics=topics, sought=sought)


@bp.get("/faq/<public_id>")
@public("one of the shop's help pages, the same for everybody")
def show(public_id: str) -> Any:
    intent = queries.find_public(public_id)
    if intent is None or not intent.enabled:
        raise NotFound
    locale = current_locale()
    question, answer = services.said(intent, locale)
    return render_template(
        "answers/faq_answer.html",
        intent=intent,
        question=question,
        html=posts.html_of(answer),
        related=[(one.public_id, services.said(one, locale)[0]) for one in queries.related_to(intent)],
    )
