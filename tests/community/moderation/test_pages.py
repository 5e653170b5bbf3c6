"""Reports, decisions, silences, bans and words, through their pages."""

from __future__ import annotations

import csv
import io

import pytest
from sqlalchemy import select

from community.groups import services as groups
from community.groups.models import Seat, SeatState
from community.moderation import queries, services
from community.moderation.models import Case, CaseState, Complaint, Sanction, SanctionKind
from community.posts import services as posts
from community.posts.models import CommentState
from kernel import links
from kernel.audit import AuditEntry
from kernel.auth import Role
from membership.members.services import merge
from tests.conftest import published as told


@pytest.fixture
def scene(make_member, make_group, published, phone_of):
    """A comment of Ann's in a group of five, and the phones of the others."""

    class Scene:
        ann = make_member("小满")
        others = [make_member(f"邻居{i}") for i in range(4)]
        group = make_group("茶友群", members=[ann, *others])
        post = published(group)
        comment = posts.comment(post.id, group.id, ann.id, "都是骗人的")
        phones = [phone_of(other) for other in others]
        own_phone = phone_of(ann)
        report = f"/report/{links.make(services.REPORT, 'comment', comment.id, group.id, ann.id)}"

    return Scene


def one_case(db):
    return db.session.scalars(select(Case)).one()


def test_a_report_names_its_ground_and_counts_once(db, scene):
    phone = scene.phones[0]
    page = phone.get(scene.report).text
    assert "都是骗人的" in page
    assert phone.post(scene.report, data={}).status_code == 422
    assert db.session.scalars(select(Case)).all() == []
    for _ in range(2):
        assert phone.post(scene.report, data={"ground": "abuse", "note": "太难听"}).status_code == 303
    complaint = db.session.scalars(select(Complaint)).one()
    assert (complaint.ground, complaint.note, one_case(db).held) == ("abuse", "太难听", False)
    assert scene.own_phone.post(scene.report, data={"ground": "abuse"}).status_code == 409


def test_the_third_person_hides_it_until_staff_have_looked(db, browse, scene):
    for phone in scene.phones[:2]:
        phone.post(scene.report, data={"ground": "false"})
    assert scene.comment.state is CommentState.SHOWN
    scene.phones[2].post(scene.report, data={"ground": "abuse"})
    db.session.refresh(scene.comment)
    assert (scene.comment.state, one_case(db).held) == (CommentState.HIDDEN, True)
    queue = browse().get("/console/moderation").text
    assert "都是骗人的" in queue
    assert "小满" in queue
    browse().post(f"/console/moderation/{one_case(db).id}/dismiss")
    db.session.refresh(scene.comment)
    assert scene.comment.state is CommentState.SHOWN
    scene.phones[3].post(scene.report, data={"ground": "abuse"})
    assert queries.open_cases() == 1


def test_three_within_a_month_end_in_a_silence_that_staff_can_lift(db, browse, scene):
    services.decide(services.open_case("comment", scene.comment.id, scene.group.id, scene.ann.id, "words"), True, 1)
    for text in ("又一句", "再一句"):
        made = posts.comment(scene.post.id, scene.group.id, scene.ann.id, text)
        case_id = services.open_case("comment", made.id, scene.group.id, scene.ann.id, "words")
        browse().post(f"/console/moderation/{case_id}/uphold")
    silence = db.session.scalars(select(Sanction)).one()
    assert (silence.kind, silence.staff_id, silence.group_id) == (SanctionKind.SILENCE, None, None)
    path = f"/groups/{scene.group.public_id}/posts/{links.make('post', scene.post.id, scene.group.id)}"
    answer = scene.own_phone.post(f"{path}/comments", data={"body": "我还要说"})
    assert answer.status_code == 403
    assert scene.own_phone.get(path).status_code == 200
    page = browse().get(f"/console/members/{scene.ann.id}").text
    assert f"/console/moderation/sanctions/{silence.id}/lift" in page
    browse().post(f"/console/moderation/sanctions/{silence.id}/lift")
    assert scene.own_phone.post(f"{path}/comments", data={"body": "谢谢"}).status_code == 303
    assert browse().post(f"/console/moderation/sanctions/{silence.id}/lift").status_code == 409
    assert [e["member_id"] for e in told(db, "MemberSilenced")] == [scene.ann.id]


def test_a_silence_is_said_before_anything_is_typed_and_ends_by_the_clock(clock, scene):
    services.silence(scene.ann.id, scene.group.id, services.until_after(1), "spam", 1)
    phone, write = scene.own_phone, f"/groups/{scene.group.public_id}/write"
    page = f"/groups/{scene.group.public_id}/posts/{links.make('post', scene.post.id, scene.group.id)}"
    assert phone.get(write).status_code == 403
    assert ("暂时不能发言" in phone.get(page).text, "<textarea" in phone.get(page).text) == (True, False)
    with pytest.raises(services.Silenced):
        posts.comment(scene.post.id, scene.group.id, scene.ann.id, "喂")
    clock.move(days=1)
    posts.comment(scene.post.id, scene.group.id, scene.ann.id, "喂")
    assert (phone.get(write).status_code, "<textarea" in phone.get(page).text) == (200, True)


def test_a_silence_in_one_group_leaves_the_others_alone(scene, make_group, published):
    other = make_group(members=[scene.ann])
    services.silence(scene.ann.id, scene.group.id, None, "spam", 1)
    posts.comment(published(other).id, other.id, scene.ann.id, "这里可以")
    with pytest.raises(services.SilencedForGood):
        posts.comment(scene.post.id, scene.group.id, scene.ann.id, "喂")


def test_a_ban_takes_out_of_every_group_and_keeps_out(db, browse, scene, make_group):
    other = make_group(members=[scene.ann])
    path = f"/console/members/{scene.ann.id}/sanction"
    assert browse().get(path).status_code == 200
    assert browse().post(path, data={"kind": "ban", "reason": " "}).status_code == 422
    assert browse().post(path, data={"kind": "ban", "group": "0", "days": "7", "reason": "倒卖券"}).status_code == 302
    ended = db.session.scalars(select(Seat.state).where(Seat.member_id == scene.ann.id)).all()
    assert ended == [SeatState.REMOVED, SeatState.REMOVED]
    assert scene.own_phone.get(f"/groups/{other.public_id}").status_code == 403
    answer = scene.own_phone.post(f"/groups/{other.public_id}/join")
    assert answer.status_code == 403
    ban = db.session.scalars(select(Sanction)).one()
    browse().post(f"/console/moderation/sanctions/{ban.id}/lift")
    scene.own_phone.post(f"/groups/{other.public_id}/join")
    assert groups.misses(scene.ann, other, groups.Way("x")) == []
    assert db.session.scalar(select(Seat.id).where(Seat.member_id == scene.ann.id, Seat.state == SeatState.TAKEN))


def test_sanctions_are_listed_searched_and_exported(browse, scene):
    services.silence(scene.ann.id, scene.group.id, services.until_after(7), "=1+1", None)
    page = browse().get("/console/moderation/sanctions?q=小满").text
    assert "茶友群" in page
    assert "小满" not in browse().get("/console/moderation/sanctions?view=ended").text
    answer = browse().post("/console/moderation/sanctions/export", buffered=True)
    rows = list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert (rows[1][0], rows[1][4]) == ("小满", "'=1+1")


def test_the_queue_is_searched_and_exported(db, browse, scene, make_group, make_member, published):
    eve = make_member("=Eve", phone="+8610000001234")
    other = make_group("50%_off", members=[eve])
    remark = posts.comment(published(other).id, other.id, eve.id, "+1")
    services.open_case("comment", scene.comment.id, scene.group.id, scene.ann.id, "words", "骗人")
    services.open_case("comment", remark.id, other.id, eve.id, "link")
    browser = browse()
    for q, found in (
        ("小满", [1, 0]),
        ("茶友", [1, 0]),
        ("1234", [0, 1]),
        ("eve", [0, 1]),
        ("%25_", [0, 1]),
        ("", [1, 1]),
    ):
        page = browser.get(f"/console/moderation?q={q}").text
        assert [f'/console/members/{one.id}"' in page for one in (scene.ann, eve)] == found, q
    assert "No case matches" in browser.get("/console/moderation?q=zzz").text

    def lines(query):
        answer = browser.post(f"/console/moderation/export?{query}", buffered=True)
        return list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff"))))[1:]

    assert [(row[0], row[4], row[5], len(row)) for row in lines("")] == [
        ("都是骗人的", "小满", "茶友群", 8), ("'+1", "'=Eve", "50%_off", 8),
    ]  # fmt: skip
    assert "骗人" in lines("q=小满")[0][2]
    assert lines("state=upheld") == []
    kept = db.session.scalars(
        select(AuditEntry.after).where(AuditEntry.action == "cases.exported").order_by(AuditEntry.id)
    )
    assert [after["number"] for after in kept] == [2, 1, 0]
    assert browse(Role.VIEWER).post("/console/moderation/export").status_code == 403


@pytest.mark.parametrize("role", [Role.MARKETER, Role.SERVICE, Role.VIEWER])
def test_who_may_look_but_not_decide(browse, scene, role):
    case = services.open_case("comment", scene.comment.id, scene.group.id, scene.ann.id, "words")
    assert browse(role).get("/console/moderation").status_code == 200
    assert browse(role).post(f"/console/moderation/{case}/uphold").status_code == 403
    assert browse(role).post("/console/moderation/words", data={"refused": "x"}).status_code == 403
    assert browse(role).get(f"/console/members/{scene.ann.id}/sanction").status_code == 403


def test_words_that_cannot_be_kept_are_refused_and_stay_typed(db, browse):
    answer = browse().post("/console/moderation/words", data={"refused": "长" * 31, "held": "代购"})
    assert answer.status_code == 422
    assert "长" * 31 in answer.text
    assert queries.stop_words() == []


def test_cases_and_sanctions_follow_the_person(db, scene, make_member):
    spare = make_member("小满二号")
    services.silence(spare.id, None, None, "spam", 1)
    services.complain("comment", scene.comment.id, scene.group.id, scene.ann.id, spare.id, "other")
    services.complain("comment", scene.comment.id, scene.group.id, scene.ann.id, scene.others[0].id, "other")
    done = merge.merge(scene.others[0].id, spare.id)
    assert queries.silence_of(scene.others[0].id, scene.group.id) is not None
    assert len(db.session.scalars(select(Complaint)).all()) == 1
    merge.undo(done)
    assert queries.silence_of(scene.others[0].id, scene.group.id) is None
    assert len(db.session.scalars(select(Complaint)).all()) == 2


def test_decided_cases_are_kept_under_their_tab(browse, scene):
    case = services.open_case("comment", scene.comment.id, scene.group.id, scene.ann.id, "words", "骗人")
    services.decide(case, True, 1, "不实")
    assert queries.get_case(case).state is CaseState.UPHELD
    assert "都是骗人的" in browse().get("/console/moderation?state=upheld").text
    assert "都是骗人的" not in browse().get("/console/moderation").text
