"""How a merge brings along what somebody asked: it follows the person."""

from __future__ import annotations

from kernel.i18n import lazy_gettext as _l
from membership.members.services import merge

from .models import AskedQuestion, Suggestion


@merge.follower(AskedQuestion.member_id)
def follow_questions(merging: merge.Merging) -> None:
    merging.count(_l("Questions to the bot"), merging.repoint(AskedQuestion.member_id))


@merge.follower(Suggestion.member_id)
def follow_suggestions(merging: merge.Merging) -> None:
    merging.count(_l("Suggested phrasings"), merging.repoint(Suggestion.member_id))
