"""The verbs: look at a text before it shows, report, decide, silence, ban, and let back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from flask import url_for
from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from community.groups import services as seats
from community.groups.rules import NotAMember
from kernel import audit, clock, links
from kernel.db import changed, db
from kernel.errors import Refusal
from kernel.events import publish
from kernel.forms import one_line
from kernel.i18n import date_time
from kernel.i18n import lazy_gettext as _l
from membership.limits import services as limits
from membership.members import queries as members

from . import queries, rules, subjects
from .events import MemberBanned, MemberSilenced
from .models import (
    Case,
    CaseReason,
    CaseState,
    Complaint,
    Ground,
    Sanction,
    SanctionKind,
    StopWord,
    WordEffect,
)

COMPLAINTS_A_DAY = 20
WORDS_KEPT = 2_000
# The purpose of the links under which members report something.
REPORT = "report"
STRIKES_LOCK = 7_301


class WordRefused(Refusal):
    status = 422
    field = "body"
    label = _l("“%(word)s” cannot be written here. Say it in other words.")

    def __init__(self, word: str) -> None:
        super().__init__(word=word)


class Silenced(Refusal):
    status = 403
    title = _l("You cannot write here for now")
    label = _l(
        "The shop has paused your writing until %(until)s. You can still read everything, and claim what is yours."
    )
    icon = "message-off"

    def __init__(self, until: datetime) -> None:
        super().__init__(until=date_time(until))


class SilencedForGood(Silenced):
    label = _l(
        "The shop has ended your writing here. You can still read everything; ask the shop if you think it is a mistake."
    )

    def __init__(self) -> None:
        Refusal.__init__(self)


class KeptOut(Refusal):
    status = 403
    title = _l("This group is not open to you")
    label = _l(
        "The shop has ended your stay in its groups. Your coupons, gifts and points stay yours; ask the shop if you think it is a mistake."
    )
    icon = "door-exit"


class OwnWords(Refusal):
    label = _l("These are your own words. Take them back instead.")


class DecidedAlready(Refusal):
    title = _l("Somebody was faster")
    label = _l("The case has been decided in the meantime. Nothing was changed; look at it again.")


class LiftedAlready(Refusal):
    title = _l("Somebody was faster")
    label = _l("This has ended in the meantime. Nothing was changed.")


class UntilRefused(Refusal):
    status = 422
    field = "days"
    label = _l("Choose a number of days between 1 and 365.")


class TooManyWords(Refusal):
    status = 422
    field = "words"
    label = _l("Keep at most 2,000 words of up to 30 characters each.")


# ── Before something shows ──────────────────────────────────────────────────────────────────────────────────────────


def examine(text: str) -> rules.Verdict:
    """What the shop's words say of a text. Refuses with `WordRefused`."""
    verdict = rules.judge(text, queries.effects())
    if verdict.ruling is rules.Ruling.REFUSE:
        raise WordRefused(verdict.word)
    return verdict


def refuse_silenced(member_id: int, group_id: int) -> None:
    """Refuse with `Silenced` whoever may not write in the group at this moment."""
    if (refusal := silenced(member_id, group_id)) is not None:
        raise refusal


def silenced(member_id: int, group_id: int) -> Silenced | None:
    """The refusal that writing in the group would meet at this moment, to be shown before anything is typed; or None."""
    found = queries.silence_of(member_id, group_id)
    if found is None:
        return None
    return Silenced(found.until) if found.until is not None else SilencedForGood()


def refuse_banned(member_id: int) -> None:
    """Refuse with `KeptOut` whoever may be in no group (`groups.services.before_entering`)."""
    if queries.is_banned(member_id):
        raise KeptOut


def open_case(
    kind: str, subject_id: int, group_id: int, author_id: int, reason: CaseReason, word: str = "", held: bool = True
) -> int:
    """Put something before staff; returns the case, which is the open one if there is one already."""
    statement = (
        insert(Case)
        .values(
            kind=kind,
            subject_id=subject_id,
            group_id=group_id,
            member_id=author_id,
            reason=reason,
            word=word,
            held=held,
            state=CaseState.OPEN,
            opened_at=clock.now(),
            note="",
        )
        .on_conflict_do_nothing(index_elements=["kind", "subject_id"], index_where=Case.state == CaseState.OPEN)
        .returning(Case.id)
    )
    made = db.session.scalar(statement)
    if made is not None:
        return made
    found = db.session.scalar(
        select(Case.id).where(Case.kind == kind, Case.subject_id == subject_id, Case.state == CaseState.OPEN)
    )
    if found is None:
        # It was decided between the two statements.
        raise DecidedAlready
    return found


def report_path(kind: str, subject_id: int, group_id: int, author_id: int) -> str:
    """The address of the page on which a member of the group reports something."""
    return url_for("moderation_portal.show", token=links.make(REPORT, kind, subject_id, group_id, author_id))


def complain(
    kind: str, subject_id: int, group_id: int, author_id: int, member_id: int, ground: Ground, note: str = ""
) -> bool:
    """Record a member's report; returns whether it is their first of this subject.

    Reports of several people (`rules.HOLD_AFTER`) hide the subject until staff have looked. What staff have looked at and
    left standing is reported anew like anything else. Refuses with `OwnWords`, `LimitReached` and `DecidedAlready`.
    """
    if author_id == member_id:
        raise OwnWords
    case = db.session.get_one(
        Case,
        open_case(kind, subject_id, group_id, author_id, CaseReason.REPORTED, held=False),
        with_for_update=True,
        populate_existing=True,
    )
    if case.state is not CaseState.OPEN:
        # Whoever decided had the row first: what they looked at is settled.
        raise DecidedAlready
    fresh = db.session.scalar(
        insert(Complaint)
        .values(case_id=case.id, member_id=member_id, ground=ground, note=note[: rules.LONGEST_NOTE], at=clock.now())
        .on_conflict_do_nothing()
        .returning(Complaint.id)
    )
    if fresh is None:
        return False
    limits.take([("complaints", limits.subject_of(member_id), clock.today().isoformat(), 1, COMPLAINTS_A_DAY)])
    reported = db.session.scalar(select(func.count()).where(Complaint.case_id == case.id)) or 0
    if not case.held and reported >= rules.HOLD_AFTER:
        case.held = True
        subjects.get(kind).hide(subject_id)
    return True


def withdraw(kind: str, subject_id: int) -> None:
    """The author took the subject back: nobody needs to look at it any more."""
    db.session.execute(
        update(Case)
        .where(Case.kind == kind, Case.subject_id == subject_id, Case.state == CaseState.OPEN)
        .values(state=CaseState.DISMISSED, decided_at=clock.now())
    )


# ── Deciding ────────────────────────────────────────────────────────────────────────────────────────────────────────


def decide(case_id: int, upheld: bool, staff_id: int, note: str = "") -> rules.Consequence:
    """Take the subject out (`upheld`) or let it stand; returns what the rule made follow for its author.

    Refuses with `DecidedAlready`.
    """
    case, now = queries.get_case(case_id), clock.now()
    # What the row says under its lock counts: the third report may have hidden the subject since the page was read.
    held = db.session.scalar(
        update(Case)
        .where(Case.id == case_id, Case.state == CaseState.OPEN)
        .values(
            state=CaseState.UPHELD if upheld else CaseState.DISMISSED,
            decided_at=now,
            decided_by_id=staff_id,
            note=note.strip()[: rules.LONGEST_NOTE],
        )
        .returning(Case.held)
        .execution_options(synchronize_session=False)
    )
    if held is None:
        raise DecidedAlready
    db.session.expire(case)
    subject = subjects.get(case.kind)
    if upheld:
        subject.hide(case.subject_id)
    elif held:
        subject.release(case.subject_id)
    audit.record("case.upheld" if upheld else "case.dismissed", "moderation_case", case_id, after={"note": note})
    return _follow(case.member_id) if upheld else rules.Consequence.NOTHING


def _follow(member_id: int) -> rules.Consequence:
    # Two decisions about one person are counted one after the other, each with what the other has written.
    db.session.execute(select(func.pg_advisory_xact_lock(STRIKES_LOCK, member_id % 2**31)))
    now = clock.now()
    upheld = db.session.scalars(
        select(Case.decided_at).where(
            Case.member_id == member_id,
            Case.state == CaseState.UPHELD,
            # A first post that does not fit is no offence.
            Case.reason != CaseReason.APPROVAL,
            Case.decided_at > now - rules.REMEMBERED,
        )
    )
    silences = db.session.scalars(
        select(Sanction.at).where(
            Sanction.member_id == member_id,
            Sanction.kind == SanctionKind.SILENCE,
            Sanction.staff_id.is_(None),
            Sanction.at > now - rules.SILENCES_REMEMBERED,
        )
    )
    follows = rules.consequence([at for at in upheld if at is not None], list(silences), now)
    if follows is rules.Consequence.SILENCE:
        silence(member_id, None, now + rules.SILENCED_FOR, "", None)
    elif follows is rules.Consequence.BAN:
        ban(member_id, "", None)
    return follows


# ── Sanctions ───────────────────────────────────────────────────────────────────────────────────────────────────────


def until_after(days: int | None) -> datetime | None:
    """The end of a sanction of so many days; None is for good. Refuses with `UntilRefused`."""
    if days is None:
        return None
    if not 1 <= days <= 365:
        raise UntilRefused
    return clock.now() + timedelta(days=days)


def silence(
    member_id: int, group_id: int | None, until: datetime | None, reason: str, staff_id: int | None
) -> Sanction:
    """Let a member read but not write, in one group or in all (`group_id` None). `staff_id` None: the rule did it."""
    found = _sanction(SanctionKind.SILENCE, member_id, group_id, until, reason, staff_id)
    publish(MemberSilenced(member_id=member_id, sanction_id=found.id, group_id=group_id))
    audit.record(
        "member.silenced",
        "member",
        member_id,
        after={"group": group_id, "until": until.isoformat() if until else None, "reason": found.reason},
    )
    return found


def ban(member_id: int, reason: str, staff_id: int | None) -> Sanction:
    """Take a member out of every group, off every waiting list, and let them into none until it is lifted."""
    found = _sanction(SanctionKind.BAN, member_id, None, None, reason, staff_id)
    for group_id in queries.groups_with(member_id):
        # A kept seat or an invitation may have run out since it was read.
        with suppress(NotAMember):
            seats.remove(group_id, member_id, "banned")
    publish(MemberBanned(member_id=member_id, sanction_id=found.id))
    audit.record("member.banned", "member", member_id, after={"reason": found.reason})
    return found


def _sanction(
    kind: SanctionKind, member_id: int, group_id: int | None, until: datetime | None, reason: str, staff_id: int | None
) -> Sanction:
    members.get_member(member_id)
    made = Sanction(
        kind=kind,
        member_id=member_id,
        group_id=group_id,
        until=until,
        reason=one_line(reason)[: rules.LONGEST_NOTE],
        staff_id=staff_id,
        at=clock.now(),
    )
    db.session.add(made)
    db.session.flush()
    return made


def lift(sanction_id: int, staff_id: int) -> Sanction:
    """End a sanction before its time. Refuses with `LiftedAlready`."""
    found = queries.get_sanction(sanction_id)
    moved = db.session.execute(
        update(Sanction)
        .where(Sanction.id == sanction_id, queries.in_force())
        .values(lifted_at=clock.now(), lifted_by_id=staff_id)
        .execution_options(synchronize_session=False)
    )
    if not changed(moved):
        raise LiftedAlready
    audit.record("sanction.lifted", "member", found.member_id, after={"kind": found.kind.value})
    return found


# ── Words ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _words(text: str) -> list[str]:
    """One word a line, each once whatever its case."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if word := one_line(line):
            found.setdefault(word.lower(), word)
    return list(found.values())


def save_words(refused: str, held: str) -> None:
    """Replace the shop's words; each text has one word a line, a word in both is refused. Refuses with `TooManyWords`."""
    wanted: dict[str, tuple[str, WordEffect]] = {}
    for text, effect in ((held, WordEffect.HOLD), (refused, WordEffect.REFUSE)):
        wanted |= {word.lower(): (word, effect) for word in _words(text)}
    if len(wanted) > WORDS_KEPT or any(len(word) > rules.LONGEST_WORD for word, _effect in wanted.values()):
        raise TooManyWords
    before = {row.word: row.effect.value for row in queries.stop_words()}
    db.session.execute(delete(StopWord))
    _insert_words(list(wanted.values()))
    after = {word: effect.value for word, effect in wanted.values()}
    audit.record(
        "stop_words.saved",
        "stop_word",
        None,
        before={"words": sorted(before.keys() - after.keys())},
        after={"words": sorted(after.keys() - before.keys())},
    )


def _insert_words(words: Sequence[tuple[str, WordEffect]]) -> None:
    now = clock.now()
    rows: list[dict[str, Any]] = [{"word": word, "effect": effect, "created_at": now} for word, effect in words]
    if rows:
        db.session.execute(insert(StopWord), rows)
