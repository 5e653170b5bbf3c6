"""The list's filters against plain Python over random people, its pages and their cost, and work on all who fit."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from sqlalchemy import select, text
from werkzeug.datastructures import MultiDict

from kernel import bulk as bulk_work
from kernel.auth import Role
from kernel.bulk import BulkRun, BulkState
from membership.members import bulk, listing, queries, services
from membership.members.forms import filter_from
from membership.members.models import Contact, CustomerType, Member, MemberTag, Purpose, Stage, ValueLabel
from tests.conftest import NOON

NAMES = [
    "王伟",
    "王小伟",
    "李 娜",
    "Wang Wei",
    "ANNA",
    "anna b",
    "100%",
    "a_b",
    "a\\b",
    "𠮷野家",
    "伟",
    "Ünal",
    "王|伟",
    "",
]
DAYS = (0, 10, 30, 60, 90, 180, 300, 400)


@pytest.fixture
def people(db, clock, make_member, make_order, monkeypatch):
    dice = random.Random(3)
    found = []
    for n in range(80):
        days = dice.choice(DAYS)
        ordered = dice.random() < 0.7
        member = make_member(
            phone=f"+861380000{n:04}" if dice.random() < 0.7 else "",
            shop=f"b{n}",
            name=dice.choice(NAMES),
            nickname=dice.choice(NAMES),
            rank=dice.randint(0, 4),
            stage=dice.choice(list(Stage)),
            source=dice.choice(["shop", "douyin", "group:1"]),
            spend=dice.choice([0, 9_999, 10_000, 49_999, 50_000, 2_000_000]) if ordered else 0,
            orders_count=dice.randint(1, 5) if ordered else 0,
            last_order_at=NOON - timedelta(days=days, seconds=dice.randint(0, 1)) if ordered else None,
            value_index=dice.choice([0, 19, 20, 60, 100]),
            value_label=dice.choice([None, *ValueLabel]),
            birthday=dice.choice([None, NOON.date(), NOON.date() - timedelta(days=200)]),
        )
        for channel in Contact:
            for _ in range(dice.choice([0, 0, 1, 2, 3])):
                act = dice.choice([services.give_consent, services.withdraw_consent])
                act(member.id, channel, Purpose.MARKETING, "call")
        for tag in ("送礼", "茶"):
            if dice.random() < 0.3:
                services.tag([member.id], tag)
        if dice.random() < 0.2:
            make_order(member, f"A-{n:04}")
        found.append(member)
    found[3].merged_into_id = found[4].id
    found[5].erased_at = NOON
    db.session.flush()
    seated = {member.id for member in found[::3]}
    monkeypatch.setattr(queries.seated_in, "_answers", [lambda group: select(Member.id).where(Member.id.in_(seated))])
    return found, seated


def has_tag(db, member, name):
    return name in {tag.name for tag in queries.tags_of(member.id)}


def agrees(member, channel):
    row = queries.rights(member.id).get((channel, Purpose.MARKETING))
    return row is not None and row.granted


def plain(words):
    return words.lower().replace(" ", "")


def between(value, least, most):
    return value >= least and (most is None or value < most)


def days_ago(member, least, most):
    if member.last_order_at is None:
        return False
    gone = NOON - member.last_order_at
    return gone >= timedelta(days=least) and (most is None or gone < timedelta(days=most))


def named(member, q):
    return plain(q) in plain(f"{member.name}|{member.nickname}")


CASES = {
    "": lambda db, m, seated: True,
    **{f"tier={n}": lambda db, m, seated, n=n: m.rank == n for n in range(5)},
    **{f"stage={s}": lambda db, m, seated, s=s: m.stage == s for s in Stage},
    **{f"source={s}": lambda db, m, seated, s=s: m.source == s for s in ("shop", "douyin", "group:1", "nowhere")},
    **{f"tag={t}": lambda db, m, seated, t=t: has_tag(db, m, t) for t in ("送礼", "茶", "没有")},
    **{f"consent={c}": lambda db, m, seated, c=c: agrees(m, c) for c in Contact},
    "consent=none": lambda db, m, seated: not any(agrees(m, c) for c in Contact),
    "ordered=never": lambda db, m, seated: m.last_order_at is None,
    **{
        f"ordered={a}-{b or ''}": lambda db, m, seated, a=a, b=b: days_ago(m, a, b)
        for a, b in [(0, 30), (30, 90), (90, 180), (365, None), (0, None)]
    },
    **{
        f"spend={a}-{b or ''}": lambda db, m, seated, a=a, b=b: between(m.spend, a * 100, b and b * 100)
        for a, b in [(0, 100), (100, 500), (500, None)]
    },
    **{f"value={a}-{b or ''}": lambda db, m, seated, a=a, b=b: between(m.value_index, a, b) for a, b in [(0, 20), (20, 61), (60, None)]},
    **{f"label={v}": lambda db, m, seated, v=v: m.value_label == v for v in ValueLabel},
    **{
        f"birthday={n}": lambda db, m, seated, n=n: m.birthday is not None and m.birthday.month == n for n in (1, 3, 8)
    },
    "group=7": lambda db, m, seated: m.id in seated,
    **{f"q={q}": lambda db, m, seated, q=q: named(m, q) for q in ("王", "王伟", "小伟", "anna", "ANNA", "李娜", "wangwei", "100%25"[:4],
                                                                    "a_b", "伟", "野家", "没有这个人")},
    "q=0012": lambda db, m, seated: bool(m.phone) and m.phone.endswith("0012"),
    "q=13800000012": lambda db, m, seated: m.phone == "+8613800000012",
    "q=b17": lambda db, m, seated: m.id == seated_of_name(db, "b17"),
    "tier=1&consent=inbox": lambda db, m, seated: m.rank == 1 and agrees(m, Contact.INBOX),
    "tier=1&consent=none": lambda db, m, seated: m.rank == 1 and not any(agrees(m, c) for c in Contact),
    "tag=茶&consent=none": lambda db, m, seated: has_tag(db, m, "茶") and not any(agrees(m, c) for c in Contact),
    "tag=茶&group=7&consent=email": lambda db, m, seated: has_tag(db, m, "茶") and m.id in seated and agrees(m, Contact.EMAIL),
    "tag=茶&group=7": lambda db, m, seated: has_tag(db, m, "茶") and m.id in seated,
    "tag=茶&sort=-spend": lambda db, m, seated: has_tag(db, m, "茶"),
    "consent=sms&tag=送礼&q=王": lambda db, m, seated: agrees(m, Contact.SMS) and has_tag(db, m, "送礼") and named(m, "王"),
}  # fmt: skip


def seated_of_name(db, name):
    from membership.members.models import Channel

    found = queries.find_by_identity(Channel.SHOP, name)
    return found.id if found else None


def asked(query):
    pairs = [part.partition("=")[::2] for part in query.split("&") if part]
    return filter_from(MultiDict(pairs))


def test_every_filter_finds_what_plain_python_finds(db, people):
    everybody, seated = people
    living = [m for m in everybody if m.merged_into_id is None and m.erased_at is None]
    for query, fits in CASES.items():
        wanted = {m.id for m in living if fits(db, m, seated)}
        found = [m.id for m in db.session.scalars(listing.listed(asked(query)))]
        assert (sorted(found), query) == (sorted(wanted), query)


def test_pairs_that_very_many_names_hold_are_not_looked_up_and_the_same_people_are_found(db, people, monkeypatch):
    living = [m for m in people[0] if m.merged_into_id is None and m.erased_at is None]
    words = ("wangwei", "anna", "王小伟", "nobody")
    pairs = {word[i : i + 2] for word in words for i in range(len(word) - 1)}
    for common in ({}, dict.fromkeys(pairs, 0.5), {"wa": 0.9, "an": 0.9, "王小": 0.9}):
        monkeypatch.setattr(queries, "common_pieces", lambda common=common: common)
        for word in words:
            found = {m.id for m in db.session.scalars(listing.listed(asked(f"q={word}")))}
            assert found == {m.id for m in living if named(m, word)}, (word, common)
    monkeypatch.setattr(queries, "common_pieces", lambda: {"us": 0.9, "er": 0.5, "ab": 0.01})
    # Of those that cover the word one is rare, and the rare ones between help it.
    assert queries._telling("userab", [0, 2, 4]) == [4, 1, 3]
    monkeypatch.setattr(queries, "common_pieces", lambda: {"us": 0.9, "se": 0.9, "er": 0.5, "ra": 0.1, "ab": 0.1})
    assert queries._telling("userab", [0, 2, 4]) == [4, 2]


def test_what_very_many_names_hold_is_what_the_database_counted(db, people, monkeypatch):
    monkeypatch.setattr(queries, "_common", (0.0, {}))
    db.session.execute(text("ANALYZE member"))
    shares = queries.common_pieces()
    # Between the two names stands a bar, with everybody.
    assert shares["|"] == 1.0
    assert all(0 < share <= 1 for share in shares.values())
    monkeypatch.setattr(queries, "_common", (0.0, {}))
    monkeypatch.setattr(queries, "COMMON", text("SELECT 1, 1 WHERE false"))
    assert queries.common_pieces() == {}


def test_paging_shows_everybody_once_in_order(db, people):
    for query in [*CASES, "sort=value", "sort=-last_order", "sort=spend&tier=1"]:
        sort = MultiDict(part.partition("=")[::2] for part in query.split("&")).get("sort", "")
        statement, order = listing.arranged(asked(query), sort)
        whole = [m.id for m in db.session.scalars(statement.order_by(*order))]
        assert len(set(whole)) == len(whole)
        seen, cursor = [], None
        while True:
            page = listing.keyset(statement, order, cursor, size=17)
            seen += [m.id for m in page.rows]
            if page.next_cursor is None:
                break
            cursor = page.next_cursor
        assert (query, seen) == (query, whole)


def test_a_page_and_its_count_agree_with_the_whole_list(db, people):
    for query in CASES:
        wanted = asked(query)
        statement, order = listing.arranged(wanted)
        whole = [m.id for m in db.session.scalars(statement.order_by(*order))]
        page, count = listing.page_of(wanted, "", None)
        assert (query, [m.id for m in page.rows]) == (query, whole[:50])
        assert (query, count is not None) == (query, wanted.count_cap > 0)
        assert count is None or (query, count.n, count.capped) == (query, len(whole), False)
        if page.next_cursor:
            later, again = listing.page_of(wanted, "", page.next_cursor)
            assert (query, [m.id for m in later.rows]) == (query, whole[50:100])
            assert str(again) == str(count)


def test_a_search_that_finds_more_than_is_counted_is_paged_all_the_same(db, people, monkeypatch):
    monkeypatch.setattr(listing.MemberFilter, "count_cap", 3)
    page, count = listing.page_of(asked("q=王伟"), "", None)
    assert (count.n, count.capped) == (3, True)
    whole = db.session.scalars(listing.listed(asked("q=王伟"))).all()
    assert sorted(m.id for m in page.rows) == sorted(m.id for m in whole)
    assert len(page.rows) > 3


def test_a_combination_that_takes_too_long_says_narrow_it(db, owner_client, people, monkeypatch):
    owner_client.set_cookie("lang", "en")
    monkeypatch.setattr(listing, "SECONDS", 0.05)
    slow = text("(SELECT true FROM pg_sleep(0.3)) AND true")
    monkeypatch.setattr(listing, "_own_columns", lambda wanted: [slow])
    answer = owner_client.get("/console/members?tier=1&stage=active")
    assert answer.status_code == 200
    page = answer.get_data(as_text=True)
    assert "Narrow it" in page
    assert "Tier: VIP1" in page
    # The limit is the list's alone.
    monkeypatch.undo()
    assert "Narrow it" not in owner_client.get("/console/members?tier=1").get_data(as_text=True)


def test_the_time_limit_leaves_the_transaction_as_it_was(db):
    from kernel.pages import TooSlow, time_limit

    before = db.session.scalar(text("SHOW statement_timeout"))
    db.session.execute(text("CREATE TEMP TABLE kept (n int) ON COMMIT DROP"))
    with pytest.raises(TooSlow), time_limit(0.05):
        db.session.execute(text("SELECT pg_sleep(1)"))
    assert db.session.scalar(text("SHOW statement_timeout")) == before
    assert db.session.scalar(text("SELECT count(*) FROM kept")) == 0
    with time_limit(5):
        db.session.execute(text("SELECT 1"))
    assert db.session.scalar(text("SHOW statement_timeout")) == before


def test_each_filter_alone_is_answered_from_its_index(db, people):
    """The planner, told neither to read tables from end to end nor to sort, has an index for each filter and its order."""
    for way in ("seqscan", "mergejoin", "hashjoin", "bitmapscan", "sort", "incremental_sort"):
        db.session.execute(text(f"SET LOCAL enable_{way} = off"))
    for query, index in {
        "": "pk_member", "tier=1": "ix_member_list_rank", "stage=active": "ix_member_list_stage", "source=shop": "ix_member_list_source",
        "spend=100-500": "ix_member_list_spend", "value=20-40": "ix_member_list_value", "label=both": "ix_member_list_value_label_given",
        "ordered=30-90": "ix_member_list_last_order", "ordered=never": "ix_member_list_last_order",
        "birthday=3": "ix_member_list_birthday_given", "tag=茶": "member_tag", "consent=inbox": "ix_consent",
    }.items():  # fmt: skip
        statement, order = listing.arranged(asked(query))
        compiled = statement.order_by(*order).limit(51).compile(db.engine)
        rows = db.session.connection().exec_driver_sql(f"EXPLAIN {compiled}", compiled.params)
        plan = "\n".join(row[0] for row in rows)
        assert index in plan, (query, plan)
        assert "Seq Scan" not in plan, (query, plan)
        assert "Sort" not in plan, (query, plan)


def test_a_number_from_other_tables_looks_only_for_those_who_are_gone(db, people, monkeypatch):
    counted, count = [], listing.capped_count
    monkeypatch.setattr(
        listing, "capped_count", lambda one, *how, **more: counted.append(one) or count(one, *how, **more)
    )
    asked_for = ["tag=茶", "consent=sms", "group=7", "tag=茶&group=7", "consent=none"]
    for query in asked_for:
        listing.page_of(asked(query), "", None)
    db.session.execute(text("SET LOCAL enable_seqscan = off"))
    for query, statement in zip(asked_for, counted, strict=True):
        compiled = statement.limit(1001).compile(db.engine, compile_kwargs={"render_postcompile": True})
        rows = db.session.connection().exec_driver_sql(f"EXPLAIN {compiled}", compiled.params)
        plan = "\n".join(row[0] for row in rows)
        assert "ix_member_gone" in plan, (query, plan)
        assert "merged_into_id IS NULL" not in plan, (query, plan)


# ── All who fit ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def few_at_once(monkeypatch):
    """Three members are many already, and a slice is two."""
    monkeypatch.setattr(bulk_work, "AT_ONCE", 3)
    monkeypatch.setattr(bulk, "SLICE", 2)


@pytest.fixture
def five(make_member):
    return [make_member(name=f"人{n}", rank=n % 2, phone=f"+861380000000{n}") for n in range(5)]


def the_run(db):
    db.session.expire_all()
    return db.session.scalars(select(BulkRun)).one()


def test_all_who_fit_are_tagged_at_once_when_they_are_few(db, staff_client, five):
    sent = {"scope": "all", "query": "tier=1", "tag": "茶", "act": "tag", "next": "/console/members?tier=1"}
    assert staff_client(Role.ASSISTANT).post("/console/members/tags", data=sent).location == "/console/members?tier=1"
    assert set(db.session.scalars(select(MemberTag.member_id))) == {five[1].id, five[3].id}


def test_all_who_fit_are_tagged_by_a_worker_when_they_are_many(db, staff_client, five, few_at_once, run_jobs):
    browser = staff_client(Role.ASSISTANT)
    browser.set_cookie("lang", "en")
    answer = browser.post("/console/members/tags", data={"scope": "all", "query": "", "tag": " 茶 ", "act": "tag"})
    run = the_run(db)
    assert answer.location == f"/console/bulk-work/{run.token}"
    assert "Under way" in browser.get(answer.location).get_data(as_text=True)
    run_jobs()
    run = the_run(db)
    assert (run.state, run.total, run.done, run.touched) == (BulkState.DONE, 5, 5, 5)
    assert set(db.session.scalars(select(MemberTag.member_id))) == {m.id for m in five}
    page = browser.get(answer.location).get_data(as_text=True)
    assert "Tagging members “茶”" in page
    assert "5 rows were changed." in page


def test_untagging_all_who_have_the_tag_passes_nobody_over(db, owner_client, five, few_at_once, run_jobs):
    services.tag([m.id for m in five], "茶")
    owner_client.post("/console/members/tags", data={"scope": "all", "query": "tag=茶", "tag": "茶", "act": "untag"})
    run_jobs()
    assert db.session.scalar(select(MemberTag.member_id)) is None
    assert the_run(db).touched == 5


def test_a_tag_that_is_no_tag_is_refused_before_any_work(db, owner_client, five, few_at_once):
    sent = {"scope": "all", "query": "", "tag": "长" * 41, "act": "tag"}
    assert owner_client.post("/console/members/tags", data=sent).status_code == 422
    assert db.session.scalar(select(BulkRun.id)) is None


def test_the_type_of_many_is_set(db, owner_client, five, few_at_once, run_jobs):
    sent = {"ids": [five[0].id], "type": "haggler", "act": "type"}
    owner_client.post("/console/members/tags", data=sent)
    assert db.session.get(Member, five[0].id).customer_type is CustomerType.HAGGLER
    owner_client.post("/console/members/tags", data={"scope": "all", "query": "", "type": "none", "act": "type"})
    run_jobs()
    assert the_run(db).touched == 1
    assert db.session.get(Member, five[0].id).customer_type is None
    owner_client.post("/console/members/tags", data={"ids": [five[0].id], "type": "wizard", "act": "type"})
    assert db.session.get(Member, five[0].id).customer_type is None


def read(answer):
    return answer.get_data().decode("utf-8-sig").splitlines()


def test_selected_members_alone_are_taken_along(owner_client, five):
    lines = read(owner_client.post("/console/members/export", data={"ids": [five[2].id, five[0].id]}))
    assert [line.split(",")[0] for line in lines[1:]] == ["人2", "人0"]


def test_a_long_file_is_made_by_a_worker_and_belongs_to_whoever_asked(
    db, app, staff_client, five, few_at_once, run_jobs, clock, make_staff
):
    manager = staff_client(Role.MANAGER)
    answer = manager.post("/console/members/export", data={"scope": "all", "query": "sort=spend"})
    path = answer.location
    assert manager.get(f"{path}/file").status_code == 404
    run_jobs()
    lines = read(manager.get(f"{path}/file"))
    assert sorted(line.split(",")[0] for line in lines[1:]) == [m.name for m in five]
    assert "'+8613800000000" in "".join(lines)
    # Check A5: nobody else, nobody signed out, not without the right, not under another path, not after a day.
    other = staff_client(person=make_staff(Role.MANAGER, email="other@shop.example"))
    assert [other.get(path).status_code, other.get(f"{path}/file").status_code] == [404, 404]
    assert app.test_client().get(f"{path}/file").status_code in (302, 303)
    assert manager.get(f"/console/bulk-work/{the_run(db).token[:-1]}x/file").status_code == 404
    from kernel.staff.models import Staff

    person = db.session.scalars(select(Staff).where(Staff.email == "manager@shop.example")).one()
    # A marketer may take files of members, but not ones with whole phones.
    for role in (Role.VIEWER, Role.MARKETER):
        db.session.get(Staff, person.id).role = role
        db.session.commit()
        assert manager.get(f"{path}/file").status_code == 404
    db.session.get(Staff, person.id).role = Role.MANAGER
    db.session.commit()
    assert manager.get(f"{path}/file").status_code == 200
    clock.move(hours=24)
    assert manager.get(f"{path}/file").status_code == 404
    bulk_work.forget_bulk_files.direct()
    with app.app_context():
        assert not bulk_work.path_of(the_run(db)).exists()


def test_a_worker_that_dies_between_slices_repeats_and_loses_no_line(
    db, owner_client, five, few_at_once, clock, monkeypatch
):
    owner_client.post("/console/members/export", data={"scope": "all", "query": ""})
    run = the_run(db)
    renew = bulk_work._renew
    calls = []

    def dies(*args, **values):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        renew(*args, **values)

    monkeypatch.setattr(bulk_work, "_renew", dies)
    with pytest.raises(KeyboardInterrupt):
        bulk_work.work(run.id)
    assert bulk_work.work(run.id) is True  # Still leased to the dead one: nothing to do for now.
    clock.move(minutes=2)
    monkeypatch.setattr(bulk_work, "_renew", renew)
    assert bulk_work.work(run.id) is True
    run = the_run(db)
    assert (run.state, run.done) == (BulkState.DONE, 5)
    lines = read(owner_client.get(f"/console/bulk-work/{run.token}/file"))
    assert sorted(line.split(",")[0] for line in lines[1:]) == [m.name for m in five]


def test_work_that_fails_again_and_again_is_given_up_and_says_so(
    db, owner_client, five, few_at_once, clock, monkeypatch
):
    owner_client.set_cookie("lang", "en")
    owner_client.post("/console/members/export", data={"scope": "all", "query": ""})
    run = the_run(db)
    monkeypatch.setattr(bulk, "SLICE", "no number")
    for _ in range(bulk_work.TRIES):
        with pytest.raises(Exception):
            bulk_work.work(run.id)
        clock.move(minutes=2)
    bulk_work.work(run.id)
    assert the_run(db).state is BulkState.FAILED
    assert "did not come to its end" in owner_client.get(f"/console/bulk-work/{run.token}").get_data(as_text=True)


def test_nothing_selected_and_no_word_change_nothing(db, owner_client, five):
    for sent in ({}, {"ids": [five[0].id]}, {"ids": [five[0].id], "act": "type"}, {"ids": ["x", "-1"]}):
        assert owner_client.post("/console/members/tags", data=sent).status_code == 302
    assert db.session.scalar(select(MemberTag.member_id)) is None
