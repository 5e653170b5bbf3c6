"""Adding a member by hand, without making a second record of somebody who is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernel import audit
from kernel.errors import Refusal
from kernel.i18n import lazy_gettext as _l

from .. import queries, rules
from ..models import Channel, Member
from . import people, profile


class NothingToKnowThemBy(Refusal):
    status = 422
    label = _l("Give a phone number, an e-mail address or an account: by one of them the person is found again.")


@dataclass(frozen=True)
class Added:
    """The record, whether it was made now, and other records that one of the given phones, addresses or accounts leads to."""

    member: Member
    made: bool
    others: tuple[int, ...] = ()


def add(
    name: str, identities: Sequence[tuple[Channel, str]], source: str = "", tags: Sequence[str] = (), city: str = ""
) -> Added:
    """Add somebody, or find them: who is known already by one of the identities keeps their record and gains what it lacks.

    Phones and e-mail addresses may come in any spelling. Refuses with `NothingToKnowThemBy`, `PhoneInvalid`,
    `EmailInvalid`, `TagInvalid`.
    """
    if not identities:
        raise NothingToKnowThemBy
    keys = [rules.canonical_identity(channel, said) for channel, said in identities]
    known = sorted(set(queries.owners_of(keys).values()))
    found, made = people.find_or_make_counted(
        [people.Person(identities=tuple(identities), name=name, source=source, city=city)]
    )
    member = queries.get_member(found[0])
    for tag in tags:
        profile.tag([member.id], tag)
    if made:
        audit.record(
            "member.added", "member", member.id, after={"source": source, "channels": [c.value for c, _ in keys]}
        )
    return Added(member, bool(made), tuple(one for one in known if one != member.id))


__all__ = ["Added", "NothingToKnowThemBy", "add"]
