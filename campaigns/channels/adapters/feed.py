"""The feed of the shop's own groups: a message becomes a post there, in the caller's transaction, once for each key."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from community.posts import services as posts
from community.posts.models import PostKind
from kernel import links
from kernel.db import db
from kernel.errors import Refusal
from membership.members.models import Contact

from ..models import Account, ChannelKind, GroupPosted
from . import Abilities, Message, Outcome, Status


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
            body=message.body,
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
