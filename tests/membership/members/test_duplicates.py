"""Finding records that look like one person."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from kernel.db import db as database
from membership.members.models import DuplicatePair
from membership.members.services import duplicates, merge
from membership.members.services.duplicates import MOST_SHARING, Sign

from .whole import person, row


def pairs() -> dict[tuple[int, int], tuple[int, list[str]]]:
    duplicates.find_all()
    rows = database.session.execute(
        select(DuplicatePair.low_id, DuplicatePair.high_id, DuplicatePair.score, DuplicatePair.reasons)
    )
    return {(r[0], r[1]): (r[2], r[3]) for r in rows}


def known(channel: str, account: str, **values: Any) -> int:
    found = person(**values)
    row("member_identity", member_id=found["id"], channel=channel, external_id=account)
    return int(found["id"])


@pytest.mark.parametrize(
    ("one", "other", "reasons"),
    [
        (("taobao", "lemon_cat"), ("tmall", "Lemon_Cat"), ["account"]),
        (("email", "ming@example.com"), ("email", "ming+shop@example.com"), ["email"]),
        (("phone", "+8612600001234", "王小明"), ("phone", "+8612699991234", "王 小明"), ["phone_tail"]),
    ],
)
def test_signs_by_identities(db: Any, clock: Any, one: Any, other: Any, reasons: list[str]) -> None:
    ids = [known(spec[0], spec[1], name=spec[2] if len(spec) > 2 else "") for spec in (one, other)]
    person(name="李四")
    assert pairs() == {(ids[0], ids[1]): (duplicates.WEIGHTS[Sign(reasons[0])], reasons)}


def test_the_same_receiver_counts_and_the_same_household_alone_does_not(db: Any, clock: Any) -> None:
    where = "上海市 虹口区 四川北路 1234 号 5 室"
    a = person(name="王小明", address=where)["id"]
    b = person(name="王小明", address=where.replace(" ", ""))["id"]
    person(name="李阿姨", address=where)
    found = pairs()
    assert found == {(a, b): (95, ["receiver", "address"])}


def test_weak_signs_need_company(db: Any, clock: Any) -> None:
    a = person(name="王小明", city="上海")["id"]
    b = person(name="王小明", city="上海市", nickname="lemoncat88")["id"]
    assert pairs() == {}
    c = person(name="王小明", city="上海", nickname="Lemon_Cat")["id"]
    assert set(pairs()) == {(b, c)}
    assert a not in (b, c)


def test_different_birthdays_speak_against_it(db: Any, clock: Any) -> None:
    known("taobao", "lemon_cat", birthday="1990-01-01")
    known("tmall", "lemon_cat", birthday="1991-01-01")
    assert pairs() == {}


def test_what_too_many_share_tells_nothing(db: Any, clock: Any) -> None:
    for _ in range(MOST_SHARING + 1):
        person(name="王小明", address="上海市浦东新区菜鸟驿站一号")
    assert pairs() == {}


def test_merged_erased_and_dismissed_are_left_out(db: Any, clock: Any) -> None:
    a, b = known("taobao", "lemon_cat"), known("tmall", "lemon_cat")
    duplicates.find_all()
    assert [c.score for c in duplicates.of_member(a)] == [60]
    duplicates.dismiss(b, a)
    assert duplicates.page_of(None, None)[0] == []
    assert duplicates.of_member(a) == []
    assert [(low.id, high.id) for _, low, high in duplicates.dismissed_page(None)[0]] == [(a, b)]
    duplicates.take_up_again(a, b)
    assert [(c.one.id, c.other.id) for c in duplicates.page_of(Sign.ACCOUNT, None)[0]] == [(a, b)]
    assert duplicates.page_of(Sign.EMAIL, None)[0] == []
    merge.merge(a, b)
    assert duplicates.page_of(None, None)[0] == []
    clock.move(minutes=1)
    assert pairs() == {}


def test_looking_again_forgets_what_is_no_longer_so(db: Any, clock: Any) -> None:
    a, _b = known("taobao", "lemon_cat"), known("tmall", "lemon_cat")
    assert len(pairs()) == 1
    identities = database.metadata.tables["member_identity"]
    database.session.execute(identities.delete().where(identities.c.member_id == a))
    clock.move(days=1)
    assert pairs() == {}
    assert duplicates.looked().at == clock.now()
