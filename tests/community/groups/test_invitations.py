"""Personal invitations: signed, expiring, and refused without a look into the database."""

from __future__ import annotations

import pytest

from community.groups import services
from kernel import links


def test_an_invitation_says_what_it_was_made_of(db, clock):
    path = services.invitation_path(7, 3, staff_id=2, source="call")
    assert path.startswith("/g/")
    assert services.read_invitation(path[3:]) == services.Invitation(7, 3, 2, "call")


@pytest.mark.parametrize("source", ["", "push:12/3", "回访", "春" * 40, "a" * 80])
def test_any_source_survives(db, clock, source):
    read = services.read_invitation(services.invitation_path(7, 3, source=source)[3:])
    assert read.staff_id is None
    assert source.startswith(read.source)
    assert len(read.source.encode()) >= min(len(source.encode()), 43)


def test_one_day_makes_one_link(db, clock):
    first = services.invitation_path(7, 3)
    clock.move(hours=5)
    assert services.invitation_path(7, 3) == first


def test_a_changed_invitation_is_refused_without_the_database(db, clock, queries):
    token = services.invitation_path(7, 3)[3:]
    with queries(0):
        for wrong in (
            token[:-1] + ("A" if token[-1] != "A" else "B"),
            token.replace(".7.", ".8."),
            token[:-4],
            "",
            "x.y.z",
        ):
            with pytest.raises(links.LinkInvalid):
                services.read_invitation(wrong)


def test_an_invitation_ends(db, clock):
    token = services.invitation_path(7, 3, valid_days=1)[3:]
    clock.move(days=3)
    with pytest.raises(links.LinkExpired):
        services.read_invitation(token)


def test_another_purpose_opens_nothing(db, clock):
    with pytest.raises(links.LinkInvalid):
        services.read_invitation(links.make("unsubscribe", 7, 3, 0, "b"))
