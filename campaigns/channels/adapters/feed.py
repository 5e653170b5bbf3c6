"""The feed of the shop's own groups: a message becomes a post there, in the caller's transaction, once for each key."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from community.posts import services as posts
from community.posts.models import PostKind
from kernel import links
from kernel.db import db
from kernel.errors import Refusal
from kernel.i18n import gettext as _
from membership.members.models import Contact

from ..models import Account, ChannelKind, GroupPosted
from . import Abilities, Message, Outcome, Status

# What Markdown would read as more than itself.
_MARKS = re.compile(r"[\\`*_{}\[\]()<>#+.!|~-]")


class Feed:
    def __init__(self, account_id: int, group_ids: Sequence[int], kind: PostKind) -> None:
        self.account_id = account_id
        self.group_ids = tuple(group_ids)
        self.kind = kind
        self.abilities = Abilities(
            kind=ChannelKind.GROUP_POST,
            contact=Contact.INBOX,
            idempotent=True,
            transactional=True,
            silent=True,
            shared=True,
            batch_size=10,
        )

    def submit(self, batch: Sequence[Message]) -> list[Outcome]:
        return [self._one(message) for message in batch]

    def _one(self, message: Message) -> Outcome:
        # Whoever posts over this account waits here, so that the same message is one post.
        db.session.execute(select(Account.id).where(Account.id == self.account_id).with_for_update())
        known = db.session.get(GroupPosted, (self.account_id, message.key))
        if known is not None:
            return Outcome(Status.ACCEPTED, provider_id=f"post:{known.post_id}")
        draft = posts.Draft(
            kind=self.kind,
            title=message.subject,
            body=_words(message),
            picture=next((card.picture for card in message.cards if card.picture), None),
            link_url=links.absolute(message.path) if message.path else "",
            group_ids=self.group_ids,
        )
        try:
            with db.session.begin_nested():
                post_id = posts.write(draft).id
                if message.kind != "test":
                    posts.publish_now(post_id)
        except Refusal as refusal:
            return Outcome(Status.REJECTED, str(refusal.message))
        db.session.execute(insert(GroupPosted).values(account_id=self.account_id, key=message.key, post_id=post_id))
        return Outcome(Status.ACCEPTED, provider_id=f"post:{post_id}")

    def probe(self) -> str | None:
        """It is our own table."""
        return None

    def close(self) -> None:
        return None


def _words(message: Message) -> str:
    """The text and the products of a message as the Markdown of a post: nobody reads the address of a counted link."""
    own = re.escape(links.absolute("/l/"))
    label = str(_("Open the link"))
    text = re.sub(rf"{own}[A-Za-z0-9_.~-]+", lambda found: f"[{label}]({found[0]})", message.body)
    cards = (f"[{_plain(card.title)}]({card.url}) {card.price}".rstrip() for card in message.cards)
    return "\n\n".join((text, *cards))


def _plain(text: str) -> str:
    """Words that Markdown is to leave as they are."""
    return _MARKS.sub(lambda found: "\\" + found[0], text)
