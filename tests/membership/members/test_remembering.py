"""The journal carried out: no refusal and no erasure is forgotten, none is carried out twice, and nothing is made up."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, func, select, text

from kernel import clock as kernel_clock
from kernel import journal
from kernel.config import Settings
from kernel.journal import JournalEntry
from membership.members import queries, services
from membership.members.models import (
    Channel,
    Consent,
    Contact,
    Member,
    MemberIdentity,
    OptOut,
    Purpose,
    RightsRequest,
    RightsWish,
)
from membership.members.services import erasure, merge, remembering, rights
from tests.conftest import NOON

SMS, EMAIL = Contact.SMS, Contact.EMAIL


@pytest.fixture
def shop(db: Any, settings: Settings, tmp_path: Path) -> Settings:
    """Settings with a journal in a folder of its own."""
    return replace(settings, journal_folder=tmp_path / "journal")


@pytest.fixture
def make(db: Any) -> Callable[..., int]:
    """`make(phone)` is a member with that phone who agreed to text messages and e-mails."""

    def member(phone: str, agreed: bool = True) -> int:
        found = services.find_or_make([(Channel.PHONE, phone)])[0].id
        if agreed:
            for channel in (SMS, EMAIL):
                services.give_consent(found, channel, source="test")
        return int(found)

    return member


def agrees(member_id: int, channel: Contact = SMS) -> bool:
    return queries.has_consent(member_id, channel, Purpose.MARKETING)


class Earlier:
    """What the database held at the backup, put back: consents, opt-outs, and what was asked; the lines of the journal go."""

    def __init__(self, db: Any) -> None:
        self.db = db
        self.consent, self.opt_out, self.entry, self.wish = (
            db.session.scalar(select(func.coalesce(func.max(table.id), 0)))
            for table in (Consent, OptOut, JournalEntry, RightsRequest)
        )

    def restore(self) -> None:
        for table, last in (
            (Consent, self.consent), (OptOut, self.opt_out), (JournalEntry, self.entry), (RightsRequest, self.wish)
        ):  # fmt: skip
            self.db.session.execute(delete(table).where(table.id > last))
        self.db.session.expire_all()


def written(shop: Settings) -> list[dict[str, Any]]:
    journal.write_out(shop)
    return [json.loads(line) for path in journal.files_in([shop.journal_dir]) for line in path.read_text().splitlines()]


def line(
    shop: Settings, number: int, kind: str, body: dict[str, Any], at: datetime | None = None, key: str = ""
) -> str:
    """A line as another database of this shop wrote it."""
    entry = JournalEntry(key=key or f"k{number}", kind=kind, body=body, at=at or kernel_clock.now())
    return journal._line(entry, number, shop.secret_key)


def lay(shop: Settings, *lines: str) -> None:
    journal.append(shop.journal_dir, "".join(lines))


def refusal(address: str, *records: list[Any], granted: bool = False) -> dict[str, Any]:
    return {
        "members": list(records), "addresses": [rights.address_hash(address)], "channel": "sms", "purpose": "marketing",
        "granted": granted, "source": "sms_reply", "text_version": "", "author": "",
    }  # fmt: skip


def test_check_f4_what_was_said_since_the_backup_is_said_again(db, shop, make, clock):
    stopped, unsubscribed, back_again, asked = (make(f"+861260000110{n}") for n in range(4))
    asking = make("+8612600001108")
    old_no = make("+8612600001109")
    services.withdraw_consent(old_no, SMS, source="portal")
    journal.write_out(shop)
    earlier = Earlier(db)
    clock.move(minutes=5)
    rights.refuse_address("+8612600001100", SMS, "sms_reply")
    services.withdraw_consent(unsubscribed, EMAIL, source="unsubscribe")
    services.withdraw_consent(back_again, SMS, source="portal")
    clock.move(minutes=5)
    services.give_consent(back_again, SMS, source="portal", text_version="2026-01")
    services.give_consent(old_no, SMS, source="portal")
    rights.refuse_address("+8612600001199", SMS, "sms_reply")
    erasure.ask(asked, RightsWish.ERASURE)
    erasure.ask(asking, RightsWish.DOSSIER)
    erasure.take_back(asking, RightsWish.DOSSIER)
    said = written(shop)
    assert not [one for one in said if "1260000" in json.dumps(one)]
    assert stat.S_IMODE(journal.files_in([shop.journal_dir])[0].stat().st_mode) == 0o600
    earlier.restore()
    # Its teeth: without the journal all of it is forgotten.
    assert agrees(stopped)
    assert agrees(unsubscribed, EMAIL)
    assert not agrees(old_no)
    clock.move(hours=1)
    report = journal.replay([shop.journal_dir], shop)
    assert report.whole
    assert report.came == {
        remembering.REFUSED: 3, remembering.AGREED: 2, remembering.KEPT: 1, remembering.ASKED: 3
    }  # fmt: skip
    assert not agrees(stopped)
    assert agrees(stopped, EMAIL)
    assert not agrees(unsubscribed, EMAIL)
    assert agrees(back_again)
    assert agrees(old_no)
    word = db.session.scalars(
        select(Consent).where(Consent.member_id == back_again).order_by(Consent.id.desc())
    ).first()
    assert (word.text_version, word.at) == ("2026-01", NOON + timedelta(minutes=10))
    assert [(one.member_id, one.asked_at) for one in erasure.open_requests()] == [(asked, NOON + timedelta(minutes=10))]
    # Whoever was not a member at the backup comes in again with an order, and is not asked.
    late = make("+8612600001199", agreed=False)
    assert services.give_consent_many([late], SMS) == 0
    # Back again has no opt-out left that would hold for the next record of theirs.
    assert not db.session.scalar(
        select(OptOut.id).where(OptOut.address_hash == rights.address_hash("+8612600001102"), OptOut.channel == SMS)
    )
    again = journal.replay([shop.journal_dir], shop)
    assert (again.carried_out, again.known) == (0, again.read)
    # The lines are in the journal of the restored shop as well.
    assert {one["key"] for one in written(replace(shop, journal_folder=shop.journal_dir / "new"))} >= {
        one["key"] for one in said[-3:]
    }


def test_check_f5_whoever_was_erased_since_is_erased_again(db, shop, make, clock):
    alone, first, second, other = (make(f"+861260000210{n}") for n in range(4))
    made = {one: rights.records_of([one])[0] for one in (alone, first, second, other)}
    gone = "+8612600002199"
    lay(
        shop,
        line(shop, 1, "erasure", {"members": [made[alone]], "addresses": [rights.address_hash("+8612600002100")]}),
        # Two records that were merged after the backup, and erased as one.
        line(shop, 2, "erasure", {"members": [made[first], made[second]], "addresses": []}),
        line(shop, 3, "erasure", {"members": [[999_999, made[alone][1]]], "addresses": [rights.address_hash(gone)]}),
        # The number of a record that was lost and has been given to somebody else meanwhile.
        line(shop, 4, "erasure", {"members": [[other, "2025-01-01T00:00:00+00:00"]], "addresses": []}),
    )
    report = journal.replay([shop.journal_dir], shop)
    assert report.came == {remembering.ERASED: 3, remembering.GONE: 2}
    erased = set(db.session.scalars(select(Member.id).where(Member.erased_at.is_not(None))))
    assert erased == {alone, first, second}
    assert not db.session.scalar(select(func.count()).where(MemberIdentity.member_id.in_(erased)))
    for address in ("+8612600002100", gone):
        back = make(address, agreed=False)
        assert back not in erased
        assert services.give_consent_many([back], SMS) == 0
    assert agrees(other)


def test_an_erasure_strikes_nobody_who_had_the_phone_before(db, shop, make, clock):
    person, before, renumbered = (make(f"+861260000220{n}") for n in range(3))
    hashes = [rights.address_hash(f"+861260000220{n}") for n in range(3)]
    lay(
        shop,
        # By the time of the erasure the second phone was this person's; at the backup it was somebody else's.
        line(shop, 1, "erasure", {"members": rights.records_of([person]), "addresses": hashes[:2]}),
        line(shop, 2, "erasure", {"members": [[999_999, NOON.isoformat()]], "addresses": hashes[2:]}),
    )
    assert journal.replay([shop.journal_dir], shop).came == {remembering.ERASED: 2}
    assert set(db.session.scalars(select(Member.id).where(Member.erased_at.is_not(None)))) == {person, renumbered}
    assert agrees(before)


def test_what_a_merge_concludes_is_nobodys_word(db, shop, make, clock):
    """It ends when the merge is undone, and a restore to before the merge finds each record with its own words."""
    refused, agreed = make("+8610000000001"), make("+8610000000002")
    services.withdraw_consent(refused, SMS, source="sms")
    before = db.session.scalar(select(func.count()).select_from(JournalEntry))
    merge.merge(agreed, refused)
    assert not agrees(agreed)
    assert db.session.scalar(select(func.count()).select_from(JournalEntry)) == before


def test_a_later_word_rules_and_an_agreement_is_given_to_nobody_else(db, shop, make, clock):
    changed_mind, taken_over = make("+8612600003100"), make("+8612600003101", agreed=False)
    noted = NOON - timedelta(minutes=30)
    lay(
        shop,
        line(shop, 1, "consent", refusal("+8612600003100"), noted),
        # The phone belongs to another record here than the one that agreed.
        line(shop, 2, "consent", refusal("+8612600003101", [999_999, NOON.isoformat()], granted=True), noted),
    )
    assert journal.replay([shop.journal_dir], shop).came == {remembering.UNMATCHED: 2}
    assert agrees(changed_mind)
    assert not agrees(taken_over)


def test_what_cannot_be_believed_is_not_carried_out_and_said(db, shop, make, clock):
    ids = {n: make(f"+861260000410{n}") for n in range(6)}
    lines = [line(shop, n, "consent", refusal(f"+861260000410{n}")) for n in (1, 2, 4, 5)]
    foreign = line(replace(shop, secret_key=b"f" * 40), 6, "consent", refusal("+8612600004100"))
    altered = lines[1].replace('"granted": false', '"granted": true')
    # The third is missing, the fifth was torn by a crash and written again.
    lay(shop, lines[0], altered, lines[2], lines[3][:90])
    lay(shop, lines[3], foreign, "not json\n", "[]\n")
    path = journal.files_in([shop.journal_dir])[0]
    path.write_bytes(path.read_bytes() + lines[3].encode()[:40])
    report = journal.replay([shop.journal_dir], shop)
    # Altered, torn, foreign, not JSON, not a line.
    assert (report.read, report.damaged, report.missing, report.torn) == (8, 5, 2, True)
    assert not report.whole
    assert len(report.faults()) == 3
    assert [n for n in ids if not agrees(ids[n])] == [1, 4, 5]
    rotated = replace(shop, previous_secret_keys=(b"f" * 40,))
    assert journal.replay([shop.journal_dir], rotated).damaged == 4
    (shop.journal_dir / "none").mkdir()
    assert journal.replay([shop.journal_dir / "none"], shop).faults()


def test_lines_wait_for_the_disk_and_are_written_once(db, shop, make, clock):
    member = make("+8612600005100")
    journal.write_out(shop)
    services.withdraw_consent(member, SMS, source="portal")
    assert journal.waiting()[0] == 1
    assert journal.late() is None
    clock.move(minutes=2)
    assert journal.late() == NOON
    shop.journal_dir.rename(shop.journal_dir.with_name("away"))
    shop.journal_dir.write_text("in the way")
    with pytest.raises(Exception, match="cannot be made"), db.session.begin_nested():
        journal.write_out(shop)
    assert journal.waiting()[0] == 1
    shop.journal_dir.unlink()
    assert journal.write_out(shop) == 1
    assert journal.write_out(shop) == 0
    numbers = db.session.scalars(select(JournalEntry.number).order_by(JournalEntry.id)).all()
    assert list(numbers) == list(range(numbers[0], numbers[0] + len(numbers)))
    journal.mark_hour()
    assert written(shop)[-1]["kind"] == journal.MARK
    # Refusing again is no news.
    services.withdraw_consent(member, SMS, source="portal")
    assert journal.waiting()[0] == 0
    clock.move(days=journal.KEPT_DAYS + 60)
    journal.forget_lines.direct()
    assert db.session.scalar(select(func.count()).select_from(JournalEntry)) == 1


def test_lines_that_were_numbered_anew_after_a_crash_are_not_missed(db, shop, clock):
    first = [line(shop, n, journal.MARK, {}, key=key) for n, key in enumerate("ab", 1)]
    # Another one had been committed by the time they were written again.
    again = [line(shop, n, journal.MARK, {}, key=key) for n, key in enumerate("xabc", 1)]
    lay(shop, *first, *again)
    report = journal.replay([shop.journal_dir], shop)
    assert (report.read, report.missing, report.whole) == (6, 0, True)


def test_a_line_of_a_newer_version_waits_for_it(db, shop, clock, monkeypatch):
    lay(shop, line(shop, 1, "weather", {}))
    for _turn in range(2):
        report = journal.replay([shop.journal_dir], shop)
        assert (len(report.refused), report.carried_out, report.known, report.whole) == (1, 0, 0, False)
    monkeypatch.setitem(journal._replayers, "weather", lambda _body, _at: [])
    assert journal.replay([shop.journal_dir], shop).carried_out == 1


def test_a_journal_may_have_more_lines_than_a_statement_takes_values(db, shop, clock, monkeypatch):
    many = 65_600
    lines = [journal.Line(n, f"k{n}", NOON, journal.MARK, {}) for n in range(1, many + 1)]
    monkeypatch.setattr(journal, "read_lines", lambda *_: lines)
    db.session.execute(
        text(
            "INSERT INTO journal_entry (key, number, kind, body, at)"
            " SELECT 'k' || n, n, 'mark', '{}', :at FROM generate_series(2, :many) n"
        ),
        {"at": NOON, "many": many},
    )
    assert journal.replay([], shop).known == many - 1
    assert db.session.scalar(select(func.count()).select_from(JournalEntry)) == many


@pytest.mark.parametrize(("kind", "wrong"), [("consent", ValueError), ("erasure", erasure.NotConfirmed)])
def test_a_line_that_cannot_be_carried_out_keeps_none_from_it_and_is_tried_again(
    db, shop, make, clock, monkeypatch, kind, wrong
):
    member = make("+8612600006100")
    record = rights.records_of([member])[0]
    body = refusal("+8612600006100", record) if kind == "consent" else {"members": [record], "addresses": []}
    lay(
        shop,
        line(shop, 1, kind, body),
        line(shop, 2, "rights", {"members": [record], "wish": "dossier", "what": "asked"}),
    )

    def refuse(*_: Any, **__: Any) -> None:
        raise wrong

    with monkeypatch.context() as patched:
        patched.setattr(rights, "withdraw_consent", refuse)
        patched.setattr(erasure, "erase", refuse)
        report = journal.replay([shop.journal_dir], shop)
    assert (len(report.refused), report.carried_out, report.whole) == (1, 1, False)
    assert journal.replay([shop.journal_dir], shop).carried_out == 1
    assert not agrees(member) if kind == "consent" else queries.get_member(member).erased_at
