"""The pages of audiences: the list, the builder with and without script, lists of people, files, the grid, who may what."""

from __future__ import annotations

import io
import re
from datetime import timedelta
from typing import Any

import pytest
from openpyxl import Workbook
from sqlalchemy import func, select

from campaigns.audiences import queries, rules, services
from campaigns.audiences.models import Audience, AudienceMember
from campaigns.pushes import services as pushes
from campaigns.pushes.models import RunState
from kernel import clock as kernel_clock
from kernel.audit import AuditEntry
from kernel.auth import Role
from membership.members.models import Channel, Member, MemberIdentity

VIP3 = {"rules-0-kind": "tier", "rules-0-ranks": ["3"]}


def saved(name: str = "Regulars", *found: Any) -> Audience:
    wanted = found or (rules.TierRule(ranks=[3, 4]),)
    return services.save(name, rules.Definition(rules=tuple(wanted)))


def how_many(db: Any) -> int:
    return db.session.scalar(select(func.count()).select_from(Audience)) or 0


@pytest.fixture(autouse=True)
def in_english(owner_client: Any) -> None:
    owner_client.post("/console/language", data={"lang": "en"})


def test_an_audience_is_saved_changed_and_removed(db: Any, owner_client: Any, make_member: Any) -> None:
    make_member("Lime", rank=3)
    assert owner_client.get("/console/audiences").status_code == 200
    assert owner_client.get("/console/audiences/new").status_code == 200
    assert owner_client.post("/console/audiences/new", data={"name": "VIP3"} | VIP3).status_code == 302
    audience = db.session.scalars(select(Audience)).one()
    assert audience.definition == {"rules": [{"kind": "tier", "ranks": [3]}]}
    assert audience.people == 1
    assert "VIP3" in owner_client.get("/console/audiences").text
    assert "Lime" in owner_client.get(f"/console/audiences/{audience.id}").text
    assert f"audience_id={audience.id}" in owner_client.get("/console/pushes/new").text
    page = owner_client.get(f"/console/pushes/new?audience_id={audience.id}").text
    assert 'name="rules-0-ranks" value="3" checked' in page
    spend = {"rules-0-kind": "spend", "rules-0-from_fen": "1,000"}
    owner_client.post(f"/console/audiences/{audience.id}", data={"name": "Rich"} | spend)
    db.session.refresh(audience)
    assert (audience.name, audience.definition["rules"][0]["from_fen"]) == ("Rich", 100_000)
    owner_client.post(f"/console/audiences/{audience.id}/remove")
    assert how_many(db) == 0


def test_the_list_searches_filters_and_sorts(db: Any, owner_client: Any) -> None:
    saved("Tea lovers"), services.freeze(saved("Coffee lovers"))
    assert "Coffee lovers" not in owner_client.get("/console/audiences?q=TEA").text
    assert "No audience matches" in owner_client.get("/console/audiences?q=cocoa").text
    assert "Tea lovers" not in owner_client.get("/console/audiences?kind=list").text
    assert "Tea lovers" in owner_client.get("/console/audiences?kind=rules").text
    for sort in ("name", "-name", "people", "-people", "nonsense"):
        assert owner_client.get(f"/console/audiences?sort={sort}").status_code == 200
    assert "VIP3 or higher" in owner_client.get("/console/audiences").text


def test_an_audience_is_put_away_and_brought_back(
    db: Any, clock: Any, owner_client: Any, make_push: Any, inbox: Any
) -> None:
    away, named = saved("Tea lovers"), saved("Coffee lovers")
    follower = saved("Both", rules.SavedRule(audience_id=named.id))
    _push, run = make_push(audience=rules.Definition(rules=(rules.SavedRule(audience_id=away.id),)).dump())
    assert run.state is RunState.DRAFT
    # What something speaks of by name stays: a push that is still to go, and another audience.
    for audience in (away, named):
        assert owner_client.post(f"/console/audiences/{audience.id}/archive").status_code == 409
    ids = {"ids": [str(one.id) for one in (away, named, follower)]}
    assert owner_client.post("/console/audiences/archive", data=ids).status_code == 302
    page = owner_client.get("/console/audiences").text
    assert "One audience is archived." in page
    assert "2 are in use and stay." in page
    run.state = RunState.CANCELLED
    db.session.flush()
    # Whoever is put away itself holds nobody.
    for audience in (away, named):
        assert owner_client.post(f"/console/audiences/{audience.id}/archive").status_code == 302
    db.session.expire_all()
    assert away.archived_at is not None
    offered = owner_client.get("/console/audiences").text + owner_client.get("/console/pushes/new").text
    offered += owner_client.get("/console/audiences/export").text
    assert "Tea lovers" not in offered
    assert queries.audience_choices() == queries.for_grants() == []
    assert "Tea lovers" in owner_client.get("/console/audiences?kind=archived").text
    assert "Tea lovers" in owner_client.get("/console/audiences/export?kind=archived").text
    # Nothing is changed while it is away, and what speaks of it is still true.
    assert 'name="rules-0-kind"' not in owner_client.get(f"/console/audiences/{away.id}").text
    assert owner_client.post(f"/console/audiences/{away.id}", data={"name": "Else"} | VIP3).status_code == 409
    assert queries.count(rules.parse(follower.definition)) == queries.count(rules.parse(named.definition))
    # Removing is another matter: the one that was put away would come back to nothing.
    assert owner_client.post(f"/console/audiences/{named.id}/remove").status_code == 409
    assert owner_client.post(f"/console/audiences/{away.id}/bring-back").status_code == 302
    assert "Tea lovers" in owner_client.get("/console/pushes/new").text
    assert [name for _id, name in queries.audience_choices()] == ["Tea lovers"]
    owner_client.post("/console/audiences/archive")
    assert "Tick the audiences first" in owner_client.get("/console/audiences").text


def test_nothing_in_use_comes_to_speak_of_what_is_away(db: Any, owner_client: Any, make_push: Any) -> None:
    named = saved("Tea lovers")
    follower, other = saved("Both", rules.SavedRule(audience_id=named.id)), saved("Others")
    push, run = make_push(audience=rules.Definition(rules=(rules.SavedRule(audience_id=named.id),)).dump())
    run.state = RunState.CANCELLED
    db.session.flush()
    services.archive(follower), services.archive(named)
    owner_client.post("/console/language", data={"lang": "en"})
    for act in ("bring-back", "copy"):
        refused = owner_client.post(f"/console/audiences/{follower.id}/{act}")
        assert refused.status_code == 409
        assert "This audience speaks of “Tea lovers”, which is archived." in refused.text
    typed = {"rules-0-kind": "saved", "rules-0-inside": "no", "rules-0-audience_id": str(named.id)}
    for address in ("/console/audiences/new", f"/console/audiences/{other.id}"):
        assert owner_client.post(address, data={"name": "The rest"} | typed).status_code == 409
    db.session.expire_all()
    assert (follower.archived_at is not None, how_many(db)) == (True, 3)
    # What names it already keeps it among its choices, also while the builder is at work.
    again = pushes.copy(push, None, "Again")
    for page in (
        owner_client.get(f"/console/pushes/{again.id}/edit").text,
        owner_client.post("/console/audiences/build", data=typed | {"build": "nest:"}).text,
    ):
        assert f'<option value="{named.id}" selected>Tea lovers (archived)</option>' in page
    assert "(archived)" not in owner_client.get(f"/console/audiences/{other.id}").text
    assert owner_client.post("/console/audiences/count", data=typed | {"rules-0-audience_id": "99"}).status_code == 200
    other.definition = rules.Definition(rules=(rules.SavedRule(audience_id=named.id),)).dump()
    db.session.flush()
    assert owner_client.post(f"/console/audiences/{other.id}", data={"name": "The rest"} | typed).status_code == 302
    for audience in (named, follower):
        assert owner_client.post(f"/console/audiences/{audience.id}/bring-back").status_code == 302
    db.session.expire_all()
    assert follower.archived_at is named.archived_at is None


# ── The builder ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rules_and_groups_are_added_and_taken_away_without_a_script(db: Any, owner_client: Any) -> None:
    typed: dict[str, Any] = {"name": "Mine", "rules-match": "all"}

    def press(button: str, **more: Any) -> str:
        answer = owner_client.post("/console/audiences/new", data=typed | more | {"build": button})
        assert answer.status_code == 200
        assert 'value="Mine"' in answer.text
        assert "Fill this in" not in answer.text, "nothing is wrong yet with what was just added"
        return str(answer.text)

    assert 'name="rules-0-words"' in press("add:", **{"rules-add": "bought"})
    typed |= {"rules-0-kind": "bought", "rules-0-ever": "yes", "rules-0-words": "tea"}
    assert 'name="rules-1-match"' in press("nest:")
    typed |= {"rules-1-kind": "of", "rules-1-match": "none"}
    page = press("add:1", **{"rules-1-add": "enrolled"})
    assert 'name="rules-1-0-value"' in page
    assert 'value="tea"' in page
    typed |= {"rules-1-0-kind": "enrolled", "rules-1-0-value": "yes"}
    assert 'name="rules-0-words"' not in press("drop:0")
    for nonsense in (
        "drop:",
        "drop:9",
        "add:0",
        "nest:1-0",
        "add:1-1-1",
        "x",
        "drop:1-x",
        "add:",
        "add:-",
        "drop:" + "9" * 99,
    ):
        press(nonsense, **{"rules-add": "moon"})
    assert how_many(db) == 0
    assert owner_client.post("/console/audiences/new", data=typed).status_code == 302
    assert db.session.scalars(select(Audience.definition)).one() == {
        "rules": [
            {"kind": "bought", "words": "tea", "ever": True, "within_days": None},
            {"kind": "of", "match": "any", "negated": True, "rules": [{"kind": "enrolled", "value": True}]},
        ]
    }


def test_groups_end_at_the_fourth_level(owner_client: Any) -> None:
    typed = {"name": "Deep", "rules-0-kind": "of", "rules-0-0-kind": "of", "rules-0-0-0-kind": "of"}
    page = owner_client.post("/console/audiences/new", data=typed | {"build": "nest:0-0-0"}).text
    assert "nest:0-0" in page
    assert "nest:0-0-0" not in page
    deeper = typed | {"rules-0-0-0-0-kind": "of", "rules-0-0-0-0-0-kind": "tier", "rules-0-0-0-0-0-ranks": "1"}
    assert owner_client.post("/console/audiences/new", data=deeper).status_code == 422


def test_the_script_swaps_the_rules_alone(owner_client: Any, db: Any) -> None:
    answer = owner_client.post(
        "/console/audiences/build", data={"build": "add:", "rules-add": "city"}, headers={"HX-Request": "true"}
    )
    assert answer.status_code == 200
    assert "<html" not in answer.text
    assert 'name="rules-0-names"' in answer.text
    assert answer.headers["HX-Trigger-After-Settle"] == "rules-changed"


def test_the_builder_works_inside_a_push(owner_client: Any, inbox: Any) -> None:
    words = {"name": "Time for tea", "subject": "Hello", "account_id": str(inbox.id)}
    answer = owner_client.post("/console/pushes/new", data=words | {"build": "add:", "rules-add": "birthday"})
    assert answer.status_code == 200
    assert 'name="rules-0-in_days"' in answer.text
    assert "Time for tea" in answer.text
    checked = owner_client.post("/console/pushes/check", data=words | {"rules-0-kind": "birthday"})
    assert checked.status_code == 200


def test_the_count_is_a_fragment_and_changes_nothing(owner_client: Any, make_member: Any, db: Any) -> None:
    make_member("Lime", rank=3), make_member("Plum", rank=1)
    twice = VIP3 | {"rules-1-kind": "enrolled", "rules-1-value": "no"}
    answer = owner_client.post("/console/audiences/count", data=twice, headers={"HX-Request": "true"})
    assert answer.status_code == 200
    assert "<html" not in answer.text
    assert "Lime" in answer.text
    assert "Plum" not in answer.text
    assert "VIP3 who have not joined as members yet" in answer.text
    wrong = {"rules-0-kind": "last_order", "rules-0-from_days": "x"}
    assert "cannot be counted yet" in owner_client.post("/console/audiences/count", data=wrong).text
    assert how_many(db) == 0


def test_the_button_counts_without_script(owner_client: Any, make_member: Any, db: Any) -> None:
    make_member("Lime", rank=3)
    answer = owner_client.post("/console/audiences/new", data={"name": "x", "act": "count"} | VIP3)
    assert answer.status_code == 200
    assert "Lime" in answer.text
    assert how_many(db) == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"rules-0-kind": "tier", "rules-0-ranks": ["9"]}, "rules"),
        ({"rules-0-kind": "tier"}, "rules"),
        ({"rules-0-kind": "moon", "rules-0-ranks": ["1"]}, "rules"),
        ({"rules-0-kind": "orders", "rules-0-from_count": "5", "rules-0-to_count": "2"}, "rules-0-to_count"),
        ({"rules-0-kind": "orders", "rules-0-from_count": "-1"}, "rules-0-from_count"),
        ({"rules-0-kind": "orders", "rules-0-from_count": "99999999"}, "rules-0-from_count"),
        ({"rules-0-kind": "spend", "rules-0-from_fen": "1.234"}, "rules-0-from_fen"),
        ({"rules-0-kind": "tag", "rules-0-carried": "yes", "rules-0-tag_ids": ["77"]}, "rules"),
        ({"rules-0-kind": "group", "rules-0-inside": "yes", "rules-0-group_id": "77"}, "rules-0-group_id"),
        ({"rules-0-kind": "bought", "rules-0-ever": "yes", "rules-0-words": " "}, "rules-0-words"),
        ({"rules-0-kind": "birthday", "rules-0-in_days": "400"}, "rules-0-in_days"),
        ({"rules-0-kind": "of", "rules-0-match": "any"}, "rules-0-match"),
        ({"rules-0-kind": "enrolled", "rules-0-value": "maybe"}, "rules-0-value"),
        ({"rules-0-kind": "tier", "rules-0-ranks": ["1"], "rules-0-0-kind": "tier", "rules-0-0-ranks": ["1"]}, "rules"),
    ],
)
def test_wrong_rules_are_refused(owner_client: Any, db: Any, change: Any, field: str) -> None:
    answer = owner_client.post("/console/audiences/new", data={"name": "Mine"} | change)
    assert answer.status_code == 422
    assert how_many(db) == 0
    assert f'href="#{field.split("-")[0]}"' in answer.text
    if field.count("-"):
        assert f'id="{field}-error"' in answer.text


def test_more_rules_than_the_bound_are_refused(owner_client: Any, db: Any) -> None:
    many = {f"rules-{n}-kind": "enrolled" for n in range(61)} | {f"rules-{n}-value": "yes" for n in range(61)}
    answer = owner_client.post("/console/audiences/new", data={"name": "Many"} | many)
    assert answer.status_code == 422
    assert "at most 60 rules" in answer.text


# ── Audiences of audiences ──────────────────────────────────────────────────────────────────────────────────────────


def test_audiences_are_included_and_excluded_but_never_in_a_circle(
    db: Any, owner_client: Any, make_member: Any
) -> None:
    make_member("Lime", rank=3), make_member("Plum", rank=1)
    first = saved("High")
    typed = {"name": "The rest", "rules-0-kind": "saved", "rules-0-inside": "no", "rules-0-audience_id": str(first.id)}
    assert owner_client.post("/console/audiences/new", data=typed).status_code == 302
    second = db.session.scalars(select(Audience).order_by(Audience.id.desc())).first()
    assert second.people == 1
    assert "not in the audience “High”" in owner_client.get(f"/console/audiences/{second.id}").text
    assert "The rest" in owner_client.get(f"/console/audiences/{first.id}").text
    circle = {"name": "High", "rules-0-kind": "saved", "rules-0-inside": "yes", "rules-0-audience_id": str(second.id)}
    answer = owner_client.post(f"/console/audiences/{first.id}", data=circle)
    assert answer.status_code == 422
    assert "in a circle" in answer.text
    removed = owner_client.post(f"/console/audiences/{first.id}/remove")
    assert removed.status_code == 409
    assert how_many(db) == 2


def test_an_audience_that_a_push_still_asks_for_stays(db: Any, owner_client: Any, make_push: Any) -> None:
    listed = saved("High")
    named = {"rules": [{"kind": "of", "rules": [{"kind": "saved", "audience_id": listed.id, "inside": True}]}]}
    push, run = make_push(name="To the high ones", audience=named)
    assert "To the high ones" in owner_client.get(f"/console/audiences/{listed.id}").text
    assert owner_client.post(f"/console/audiences/{listed.id}/remove").status_code == 409
    run.state = RunState.CANCELLED
    db.session.flush()
    assert owner_client.post(f"/console/audiences/{listed.id}/remove").status_code == 302
    assert push.id


# ── Lists ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_frozen_audience_stays_until_it_is_refreshed(
    db: Any, owner_client: Any, make_member: Any, run_jobs: Any
) -> None:
    lime = make_member("Lime", rank=3)
    audience = saved()
    address = f"/console/audiences/{audience.id}"
    owner_client.post(f"{address}/freeze")
    assert "is being written down" in owner_client.get(address).text
    assert owner_client.get(f"{address}/list-state").status_code == 200
    run_jobs()
    assert owner_client.get(f"{address}/list-state").headers["HX-Refresh"] == "true"
    make_member("Plum", rank=4)
    db.session.refresh(audience)
    assert (audience.people, audience.frozen_at is not None) == (1, True)
    definition = rules.parse(audience.definition)
    assert list(db.session.scalars(queries.member_ids(definition))) == [lime.id]
    owner_client.post(f"{address}/refresh")
    run_jobs()
    assert queries.count(definition).people == 2
    # New rules are written down anew, the former list holding until then.
    owner_client.post(address, data={"name": "VIP3"} | VIP3)
    assert queries.count(definition).people == 2
    run_jobs()
    assert queries.count(definition).people == 1
    owner_client.post(f"{address}/thaw")
    db.session.refresh(audience)
    assert audience.definition == {"rules": [{"kind": "tier", "ranks": [3]}]}
    assert db.session.scalar(select(func.count()).select_from(AudienceMember)) == 0


def test_a_copy_is_an_audience_of_its_own(db: Any, owner_client: Any, make_member: Any) -> None:
    audience = saved()
    owner_client.post(f"/console/audiences/{audience.id}/copy")
    fresh = db.session.scalars(select(Audience).where(Audience.id != audience.id)).one()
    assert fresh.definition == audience.definition
    assert fresh.name == "Copy of Regulars"


def test_the_list_is_exported_by_those_who_may(db: Any, owner_client: Any, staff_client: Any, make_member: Any) -> None:
    make_member("Lime", rank=3, phone="+8613800000001"), make_member("Plum")
    audience = saved()
    answer = owner_client.post(f"/console/audiences/{audience.id}/export")
    assert answer.mimetype == "text/csv"
    assert "Lime" in answer.text
    assert "Plum" not in answer.text
    entry = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "audience.exported")).one()
    assert entry.object_id == str(audience.id) or int(entry.object_id) == audience.id
    assert owner_client.get(f"/console/audiences/{audience.id}/export").status_code == 405
    assert staff_client(Role.VIEWER).post(f"/console/audiences/{audience.id}/export").status_code == 403


def test_many_are_removed_where_nothing_speaks_of_them(
    db: Any, owner_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaned_on, first, second = saved("Leaned on"), saved("First"), saved("Second")
    saved("Leans", rules.SavedRule(audience_id=leaned_on.id))
    ids = [str(one.id) for one in (leaned_on, first, second)]
    page = owner_client.post("/console/audiences/remove", data={"ids": [*ids, "x", "999999"]})
    assert page.status_code == 200
    for said in ("Nothing has been removed yet.", "Remove 2 audiences", "These stay", "Leans"):
        assert said in page.text
    assert how_many(db) == 4
    # However many are ticked, what may speak of them is read once.
    read, saved_now = [], queries.saved
    monkeypatch.setattr(queries, "saved", lambda *asked: read.append(1) or saved_now(*asked))
    owner_client.post("/console/audiences/remove", data={"ids": ids, "sure": "yes"})
    assert len(read) == 1
    assert sorted(db.session.scalars(select(Audience.name))) == ["Leaned on", "Leans"]
    acts = db.session.scalars(select(AuditEntry.object_id).where(AuditEntry.action == "audience.removed"))
    assert {str(one) for one in acts} == set(ids[1:])
    assert owner_client.post("/console/audiences/remove", data={}).status_code == 302
    assert how_many(db) == 2


def test_the_people_of_many_and_the_list_itself_are_exported(
    db: Any, owner_client: Any, staff_client: Any, make_member: Any
) -> None:
    make_member("Lime", rank=3), make_member("Plum", rank=4), make_member("Nut")
    first, second = saved("Third tier", rules.TierRule(ranks=[3])), saved("Fourth tier", rules.TierRule(ranks=[4]))
    ids = {"ids": [str(first.id), str(second.id)]}
    lines = owner_client.post("/console/audiences/export", data=ids).text.splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["Fourth tier", "Third tier"]
    assert "Plum" in lines[1]
    assert db.session.scalar(select(func.count()).where(AuditEntry.action == "audience.exported")) == 2
    listed = owner_client.get("/console/audiences/export?q=third").text.splitlines()
    assert len(listed) == 2
    assert listed[1].startswith("Third tier,follows its rules,VIP3,1,no,")
    assert staff_client(Role.VIEWER).post("/console/audiences/export", data=ids).status_code == 403
    assert staff_client(Role.VIEWER).post("/console/audiences/remove", data=ids).status_code == 403


# ── Files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def upload(client: Any, content: bytes, name: str = "people.csv") -> Any:
    return client.post("/console/audiences/upload", data={"name": "From the fair", "file": (io.BytesIO(content), name)})


@pytest.fixture
def known(db: Any, make_member: Any) -> list[Member]:
    people = [make_member("Lime", phone="+8613800000001"), make_member("Plum"), make_member("Gone")]
    now = kernel_clock.now()
    for person, channel, name in (
        (people[0], Channel.PHONE, "+8613800000001"),
        (people[1], Channel.TAOBAO, "梅子"),
        (people[1], Channel.EMAIL, "plum@example.com"),
        (people[2], Channel.PHONE, "+8613800000003"),
    ):
        db.session.add(MemberIdentity(member_id=person.id, channel=channel, external_id=name, created_at=now))
    people[2].erased_at = now
    db.session.flush()
    return people


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_a_file_names_people_and_nothing_is_kept_of_the_others(
    db: Any, owner_client: Any, known: Any, encoding: str
) -> None:
    lines = "手机号\n138 0000 0001\ntaobao:梅子\nPLUM@example.com\n13800000003\n13899999999\nnobody\n"
    assert owner_client.get("/console/audiences/upload").status_code == 200
    answer = upload(owner_client, lines.encode(encoding))
    assert answer.status_code == 200
    audience = db.session.scalars(select(Audience)).one()
    members = set(db.session.scalars(select(AudienceMember.member_id)))
    assert members == {known[0].id, known[1].id}
    assert (audience.people, audience.filename, audience.source) == (2, "people.csv", None)
    assert "13899999999" not in answer.text
    for line in ("4", "5", "6", "7"):
        assert f'<td class="num main-cell">{line}</td>' in answer.text
    everything = " ".join(str(row) for row in db.session.execute(select(AuditEntry.after)))
    assert "13899999999" not in everything
    page = owner_client.get(f"/console/audiences/{audience.id}")
    assert "people.csv" in page.text
    assert owner_client.post(f"/console/audiences/{audience.id}/refresh").status_code == 409


def test_a_workbook_is_read_like_text_and_its_bad_rows_are_named(db: Any, owner_client: Any, known: Any) -> None:
    book = Workbook()
    sheet = book.active
    # Phones as numbers, as a spreadsheet keeps them; a heading; a row without anybody in between.
    for row in (["Channel", "Member"], ["phone", 13800000001], ["taobao", "梅子"], ["", ""], ["", "nobody"],
                ["phone", "13899999999"], ["fax", "13800000001"], ["", "plum@example.com"]):  # fmt: skip
        sheet.append(row)
    kept = io.BytesIO()
    book.save(kept)
    answer = upload(owner_client, kept.getvalue(), "people.xlsx")
    assert answer.status_code == 200
    assert set(db.session.scalars(select(AudienceMember.member_id))) == {known[0].id, known[1].id}
    named = re.findall(r'<td class="num main-cell">(\d+)</td><td[^>]*>([^<]+)</td>', answer.text)
    assert named == [
        ("5", "This is no phone, e-mail address or account."),
        ("6", "Nobody here is known by this."),
        ("7", "This is no phone, e-mail address or account."),
        ("8", "This person is on the list already."),
    ]
    assert "13899999999" not in answer.text
    assert upload(owner_client, kept.getvalue()[:400], "people.xlsx").status_code == 422


def test_one_phone_without_a_heading_is_a_file(db: Any, owner_client: Any, known: Any) -> None:
    assert upload(owner_client, b"13800000001").status_code == 200
    assert set(db.session.scalars(select(AudienceMember.member_id))) == {known[0].id}


@pytest.mark.parametrize("content", [b"", b"%PDF-1.7 whatever", b"\xff\xfe\xff\xfe\xff", b'"never closed\n1\n2\n'])
def test_a_file_that_is_none_is_refused(db: Any, owner_client: Any, content: bytes) -> None:
    assert upload(owner_client, content).status_code == 422
    assert how_many(db) == 0


# ── The grid ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_cell_of_the_grid_becomes_an_audience(db: Any, owner_client: Any, make_member: Any) -> None:
    assert "Nobody has ordered yet" in owner_client.get("/console/audiences/grid").text
    today = kernel_clock.now()
    for n in range(10):
        at = today - timedelta(days=n * 30)
        make_member(f"M{n}", orders_count=1 + n % 3, spend=1_000, last_order_at=at, first_order_at=at)
    page = owner_client.get("/console/audiences/grid").text
    assert "cell=" in page
    cell = page.partition("cell=")[2][:2]
    form = owner_client.get(f"/console/audiences/new?cell={cell}").text
    assert 'value="last_order"' in form
    assert 'name="rules-1-from_count"' in form
    assert owner_client.get("/console/audiences/new?cell=99").status_code == 200


# ── Who may ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("role", [Role.SERVICE, Role.VIEWER])
def test_roles_that_only_look(staff_client: Any, role: Role) -> None:
    audience = saved()
    browser = staff_client(role)
    for path in ("", "/grid", f"/{audience.id}"):
        assert browser.get(f"/console/audiences{path}").status_code == 200
    assert (
        "<form"
        not in browser.get(f"/console/audiences/{audience.id}").text.partition("<main")[2].partition("</main")[0]
    )
    assert browser.get("/console/audiences/new").status_code == 403
    assert browser.get("/console/audiences/upload").status_code == 403
    for path in ("/new", f"/{audience.id}", "/upload"):
        assert browser.post(f"/console/audiences{path}", data={"name": "x"}).status_code == 403
    for act in ("copy", "freeze", "refresh", "thaw", "remove"):
        assert browser.post(f"/console/audiences/{audience.id}/{act}").status_code == 403
