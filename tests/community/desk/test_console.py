"""The desk's pages: each works, refuses what it must, and reading changes nothing."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urljoin, urlsplit

import pytest
from sqlalchemy import func, select

from community.conversations import services as conversations
from community.desk import queries, services
from community.desk.models import CallReason, CallState, CallTask, Script
from community.desk.starter import STARTERS
from community.tickets import services as tickets
from community.tickets.models import TicketKind, TicketState
from kernel import clock as kernel_clock
from kernel.audit import AuditEntry
from kernel.auth import Role
from kernel.events import EventRecord, describe
from membership.members import queries as members
from membership.members.models import Contact, CustomerType
from membership.orders.models import Order, OrderState
from membership.orders.queries import has_arrived
from membership.tiers import services as tiers
from membership.tiers.rules import STANDARD
from tests.community.desk.conftest import task_of
from tests.conftest import bind

DAY = timedelta(days=1)


def wall(instant):
    return kernel_clock.local(instant).strftime("%Y-%m-%dT%H:%M")


def typed(**values):
    return {
        "tries": "0",
        "outcome": "reached",
        "note": "很满意",
        "satisfaction": "5",
        "customer_type": "",
        "offers": "",
        **values,
    }


@pytest.fixture
def agent(staff_client):
    """A browser of customer service."""
    return staff_client("service")


@pytest.fixture
def due(clock, db, call, make_member):
    """A call that is due today, to 小满."""
    task = call(make_member("小满", phone="+8613800000001"))
    task.due_at = clock.now() + timedelta(hours=2)
    db.session.flush()
    return task


# ── The list ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_list_shows_who_is_to_be_called_with_masked_phones(agent, due):
    page = agent.get("/console/calls").text
    assert all(text in page for text in ("小满", "签收回访", "待回访", f"/console/calls/{due.id}"))
    assert "13800000001" not in page


def test_an_empty_list_is_friendly(agent):
    assert "empty-state" in agent.get("/console/calls").text


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", True),
        ("?due=later", False),
        ("?due=closed", False),
        ("?due=all&reason=delivered", True),
        ("?reason=refused_parcel", False),
        ("?state=open", True),
        ("?state=retry", False),
        ("?who=me", False),
        ("?who=nobody", True),
        ("?q=小满", True),
        ("?q=0001", True),
        ("?q=没有", False),
        ("?due=x&reason=x&state=x&who=x&sort=x&cursor=x", True),
        ("?sort=-due", True),
        ("?sort=name", True),
        ("?sort=-tries", True),
        ("?sort=opened", True),
    ],
)
def test_the_list_is_filtered_searched_and_sorted(agent, due, query, shown):
    answer = agent.get(f"/console/calls{query}")
    assert answer.status_code == 200
    assert (f"/console/calls/{due.id}" in answer.text) is shown


@pytest.mark.parametrize("sort", ["due", "-due", "name", "tries", "-opened"])
def test_every_sort_pages_through_all_calls_once(agent, call, sort):
    ids = {str(call().id) for _ in range(53)}
    seen, url = [], f"/console/calls?due=all&sort={sort}"
    while url:
        page = agent.get(url).text
        seen += [i for i in ids if f'/console/calls/{i}"' in page]
        url = page.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
    assert sorted(seen) == sorted(ids)


def test_whose_tier_says_so_is_served_first(agent, db, call, make_member, clock):
    levels = tuple(replace(level, priority_service=level.rank == 3) for level in STANDARD.levels)
    tiers.save_policy(replace(STANDARD, levels=levels))
    early, first, stranger = (
        make_member(rank=1, enrolled_at=clock.now()),
        make_member(rank=3, enrolled_at=clock.now()),
        make_member(rank=3, enrolled_at=None),
    )
    tasks = [call(member).id for member in (early, stranger, first)]
    for place, task_id in enumerate(tasks):
        db.session.get(CallTask, task_id).due_at = clock.now() - timedelta(minutes=30 - place)
    db.session.flush()
    agent.set_cookie("lang", "en")

    def order_in(page):
        return sorted(tasks, key=lambda task_id: page.index(f'/console/calls/{task_id}"'))

    page = agent.get("/console/calls").text
    assert order_in(page) == [tasks[2], tasks[0], tasks[1]]
    assert page.count("Served first") == 1
    # Whoever sorts by themselves gets what they asked for.
    assert order_in(agent.get("/console/calls?sort=due").text) == tasks
    assert "Served first" in agent.get(f"/console/calls/{tasks[2]}").text
    assert "Served first" not in agent.get(f"/console/calls/{tasks[0]}").text


def test_those_served_first_are_paged_through_once(agent, db, call, make_member, clock):
    levels = tuple(replace(level, priority_service=level.rank == 3) for level in STANDARD.levels)
    tiers.save_policy(replace(STANDARD, levels=levels))
    ids = {str(call(make_member(rank=3 * (n % 2), enrolled_at=clock.now())).id) for n in range(53)}
    seen, url = [], "/console/calls?due=all"
    while url:
        page = agent.get(url).text
        seen += [i for i in ids if f'/console/calls/{i}"' in page]
        url = page.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
    assert sorted(seen) == sorted(ids)


def test_the_list_comes_as_a_file_with_masked_phones(agent, due):
    answer = agent.post("/console/calls/export", buffered=True)
    rows = list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert rows[1][0] == "小满"
    assert "*" in rows[1][1]
    assert rows[1][2:7] == ["签收回访", "待回访", "2026-03-03 14:00", "", "0"]


def test_many_are_taken_from_the_list(db, agent, call, make_staff):
    free, hers = call(), call()
    services.take(hers.id, make_staff(Role.ASSISTANT).id)
    answer = agent.post("/console/calls/take", data={"ids": [free.id, hers.id, "x", "9" * 30]})
    assert answer.location == "/console/calls?who=me"
    assert task_of(db, free.id).assignee_id != task_of(db, hers.id).assignee_id
    assert agent.post("/console/calls/take").status_code == 302


# ── A call ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_call_shows_the_past_and_the_script_that_fits(db, clock, agent, due, delivered):
    member = members.get_member(due.member_id)
    member.customer_type = CustomerType.HAGGLER
    earlier = delivered(member, clock.now() - 90 * DAY)
    page = agent.get(f"/console/calls/{due.id}").text
    assert "白茶礼盒" in page
    assert earlier.external_id in page
    assert "到货回访 · 爱比价的客户" in page
    assert "小满" in page
    assert not {"{nickname}", "{product}", "{shop}", "{agent}"} & set(page.split())
    assert "13800000001" not in page


def test_another_type_shows_another_script(agent, due):
    page = agent.get(f"/console/calls/{due.id}?type=irritable").text
    assert "到货回访 · 性子急的客户" in page


@pytest.mark.parametrize(
    ("role", "voice"), [("service", "耽误您一分钟"), ("assistant", "您好呀"), ("manager", "想听听您的使用感受")]
)
def test_the_script_speaks_in_the_voice_of_the_role(staff_client, due, role, voice):
    assert voice in staff_client(role).get(f"/console/calls/{due.id}").text


def test_an_english_speaking_customer_is_greeted_in_english(db, agent, due):
    members.get_member(due.member_id).locale = "en"
    assert "Do you have a minute?" in agent.get(f"/console/calls/{due.id}").text


def test_the_number_shows_to_who_takes_the_call_and_that_is_kept(db, agent, due):
    page = agent.post(f"/console/calls/{due.id}/phone")
    assert (page.status_code, "+8613800000001" in page.text) == (200, True)
    assert task_of(db, due.id).assignee_id is not None
    assert db.session.scalar(select(func.count()).where(AuditEntry.action == "member.revealed")) == 1


def test_the_number_does_not_show_to_a_second_one(db, agent, due, make_staff):
    services.take(due.id, make_staff(Role.ASSISTANT, name="吴").id)
    answer = agent.post(f"/console/calls/{due.id}/phone")
    assert (answer.status_code, "13800000001" in answer.text, "吴" in answer.text) == (409, False, True)


def test_recording_a_call(db, agent, due):
    answer = agent.post(
        f"/console/calls/{due.id}/outcome", data=typed(customer_type="rational", offers="yes", ways=["inbox", "sms"])
    )
    assert answer.location == f"/console/calls/{due.id}#invite"
    task = task_of(db, due.id)
    assert (task.state, task.outcome_note, task.satisfaction) == (CallState.REACHED, "很满意", 5)
    assert members.get_member(task.member_id).customer_type == CustomerType.RATIONAL
    assert members.has_consent(task.member_id, Contact.SMS)
    assert "很满意" in agent.get(f"/console/calls/{due.id}").text


def test_calling_again(db, clock, agent, due):
    at = clock.now() + DAY
    answer = agent.post(f"/console/calls/{due.id}/outcome", data=typed(outcome="retry", retry_at=wall(at)))
    assert answer.location == "/console/calls"
    assert (task_of(db, due.id).state, task_of(db, due.id).due_at) == (CallState.RETRY, at)


def test_words_about_a_call_that_a_colleague_has_are_given_back(db, clock, agent, staff_client, due):
    other = staff_client("assistant")
    other.post(f"/console/calls/{due.id}/take")
    page = agent.post(f"/console/calls/{due.id}/outcome", data=typed(note="杯子有个小缺口"))
    assert (page.status_code, task_of(db, due.id).tries) == (409, 0)
    assert "杯子有个小缺口" in page.text
    assert 'id="unsent"' in page.text
    # A try that was recorded meanwhile, by oneself in another window: the words stand in the form, and may be sent.
    other.post(f"/console/calls/{due.id}/outcome", data=typed(outcome="retry", retry_at=wall(clock.now() + DAY)))
    page = other.post(f"/console/calls/{due.id}/outcome", data=typed(note="又打了一次"))
    assert page.status_code == 409
    assert 'id="unsent"' not in page.text
    assert "又打了一次</textarea>" in page.text
    assert 'name="tries" type="hidden" value="1"' in page.text
    assert other.post(f"/console/calls/{due.id}/outcome", data=typed(tries="1")).status_code == 302


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"outcome": ""}, "outcome"),
        ({"outcome": "open"}, "outcome"),
        ({"outcome": "retry"}, "retry_at"),
        ({"outcome": "retry", "retry_at": "tomorrow"}, "retry_at"),
        ({"outcome": "retry", "retry_at": "2026-03-03T11:59"}, "retry_at"),
        ({"outcome": "retry", "retry_at": "2027-03-03T11:59"}, "retry_at"),
        ({"outcome": "retry", "retry_at": "2026-03-05T03:00"}, "retry_at"),
        ({"again_at": "2026-03-05T22:00"}, "again_at"),
        ({"again_at": "2026-03-03T11:59"}, "again_at"),
        ({"again_at": "2027-03-03T11:59"}, "again_at"),
        ({"note": "字" * 2001}, "note"),
        ({"satisfaction": "6"}, "satisfaction"),
        ({"customer_type": "x"}, "customer_type"),
        ({"offers": "perhaps"}, "offers"),
        ({"offers": "yes"}, "ways"),
        ({"ways": ["pigeon"]}, "ways"),
        ({"tries": ""}, "tries"),
        ({"tries": "-1"}, "tries"),
    ],
)
def test_what_is_wrong_stands_beside_its_field_and_what_was_typed_stays(db, clock, agent, due, values, field):
    answer = agent.post(f"/console/calls/{due.id}/outcome", data=typed(**{"note": "留着我", **values}))
    assert answer.status_code == 422
    assert f'href="#{field}"' in answer.text
    # The form is there still, with what was typed: nothing reads as if it had been recorded.
    assert ('name="outcome"' in answer.text, 'id="invite"' in answer.text) == (True, False)
    assert ("留着我</textarea>" in answer.text) or "note" in values
    assert task_of(db, due.id).state == CallState.OPEN


def test_two_agents_on_one_call_the_second_reads_who_was_faster(db, agent, staff_client, due):
    agent.post(f"/console/calls/{due.id}/outcome", data=typed())
    answer = staff_client("assistant").post(
        f"/console/calls/{due.id}/outcome", data=typed(outcome="refused", note="别的")
    )
    assert answer.status_code == 409
    assert "Service" in answer.text
    assert task_of(db, due.id).outcome_note == "很满意"


def test_a_call_somebody_else_has_offers_to_take_it_over(db, agent, due, make_staff):
    wu = make_staff(Role.ASSISTANT, name="吴")
    services.take(due.id, wu.id)
    page = agent.get(f"/console/calls/{due.id}").text
    assert "从吴接手" in page
    assert 'name="outcome"' not in page
    assert agent.post(f"/console/calls/{due.id}/take").status_code == 409
    assert agent.post(f"/console/calls/{due.id}/take", data={"from": wu.id}).status_code == 302
    assert agent.post(f"/console/calls/{due.id}/release").status_code == 302
    assert task_of(db, due.id).assignee_id is None


def test_after_reaching_them_a_group_is_chosen_and_the_link_is_ready(db, agent, due, make_group):
    group = make_group("茶友群")
    agent.post(f"/console/calls/{due.id}/outcome", data=typed())
    assert "茶友群" in agent.get(f"/console/calls/{due.id}").text
    answer = agent.post(f"/console/calls/{due.id}/invite", data={"group": group.id})
    assert answer.location == f"/console/calls/{due.id}#invite"
    page = agent.get(f"/console/calls/{due.id}").text
    assert page.count("http://localhost/g/") >= 3
    assert "<svg" in page.partition('class="qr"')[2]
    assert task_of(db, due.id).invited_group_id == group.id


@pytest.mark.parametrize("group", ["", "x", "999999"])
def test_a_group_must_be_chosen_from_those_that_are_open(db, agent, due, make_group, group):
    make_group()
    agent.post(f"/console/calls/{due.id}/outcome", data=typed())
    answer = agent.post(f"/console/calls/{due.id}/invite", data={"group": group})
    assert (answer.status_code, task_of(db, due.id).invited_group_id) == (422, None)


def test_nobody_is_invited_before_they_were_reached(db, agent, due, make_group):
    assert agent.post(f"/console/calls/{due.id}/invite", data={"group": make_group().id}).status_code == 409


def test_a_call_is_opened_by_hand_from_the_members_page(db, clock, agent, make_member):
    ann = make_member("小满")
    assert f"/console/calls/new?member={ann.id}" in agent.get(f"/console/members/{ann.id}").text
    assert "小满" in agent.get(f"/console/calls/new?member={ann.id}").text
    values = {"member": ann.id, "reason": "follow_up", "due_at": wall(clock.now() + DAY), "about": "问尺码"}
    answer = agent.post("/console/calls/new", data=values)
    [task] = db.session.scalars(select(CallTask))
    assert (answer.location, task.reason, task.about) == (f"/console/calls/{task.id}", CallReason.FOLLOW_UP, "问尺码")
    assert "问尺码" in agent.get(answer.location).text
    assert agent.get(f"/console/calls/new?member={ann.id}").location == f"/console/calls/{task.id}"
    assert agent.post("/console/calls/new", data=values).status_code == 409
    assert "再次跟进" in agent.get(f"/console/members/{ann.id}").text


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"due_at": ""}, "due_at"),
        ({"due_at": "2026-03-03T11:59"}, "due_at"),
        ({"reason": "x"}, "reason"),
        ({"about": "字" * 501}, "about"),
    ],
)
def test_a_call_by_hand_is_refused_field_by_field(db, clock, agent, make_member, values, field):
    answer = agent.post(
        "/console/calls/new",
        data={
            "member": make_member().id,
            "reason": "follow_up",
            "due_at": wall(clock.now() + DAY),
            "about": "留着我",
            **values,
        },
    )
    assert (answer.status_code, f'href="#{field}"' in answer.text) == (422, True)
    assert db.session.scalar(select(func.count()).select_from(CallTask)) == 0


@pytest.mark.parametrize(
    "path", ["calls/999999", "calls/new?member=999999", "calls/new", "calls/new?member=x", "scripts/999999"]
)
def test_what_is_not_there_is_not_found(agent, path):
    assert agent.get(f"/console/{path}").status_code == 404


WRITES = [
    "calls/take",
    "calls/new",
    "calls/{}/take",
    "calls/{}/release",
    "calls/{}/phone",
    "calls/{}/outcome",
    "calls/{}/invite",
]


@pytest.mark.parametrize("role", ["viewer", "marketer"])
@pytest.mark.parametrize("path", WRITES)
def test_who_does_not_handle_calls_is_refused(db, staff_client, due, role, path):
    assert staff_client(role).post(f"/console/{path.format(due.id)}", data=typed(ids=due.id)).status_code == 403
    task = task_of(db, due.id)
    assert (task.state, task.assignee_id) == (CallState.OPEN, None)


def test_a_viewer_reads_without_number_link_or_buttons(db, agent, staff_client, due, make_group):
    group = make_group()
    agent.post(f"/console/calls/{due.id}/outcome", data=typed())
    agent.post(f"/console/calls/{due.id}/invite", data={"group": group.id})
    page = staff_client("viewer").get(f"/console/calls/{due.id}").text
    assert "13800000001" not in page
    assert "/g/" not in page
    assert f"/console/calls/{due.id}/invite" not in page


def test_reading_changes_nothing(db, agent, due):
    db.session.commit()
    before = db.session.execute(select(CallTask.state, CallTask.assignee_id, CallTask.tries)).all()
    scripts = db.session.scalar(select(func.count()).select_from(Script))
    for path in (
        "calls",
        f"calls/{due.id}",
        "scripts",
        "funnel",
        "funnel.csv",
        f"calls/new?member={due.member_id}",
    ):
        assert agent.get(f"/console/{path}", buffered=True).status_code in (200, 302)
    assert db.session.execute(select(CallTask.state, CallTask.assignee_id, CallTask.tries)).all() == before
    assert db.session.scalar(select(func.count()).select_from(Script)) == scripts


# ── Scripts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_library_offers_the_starters_and_reading_makes_none(db, agent):
    assert "/console/scripts/starters" in agent.get("/console/scripts").text
    assert db.session.scalar(select(func.count()).select_from(Script)) == 0
    agent.post("/console/scripts/starters")
    agent.post("/console/scripts/starters")
    assert db.session.scalar(select(func.count()).select_from(Script)) == len(STARTERS)
    assert "拒收回访 · 爱比价的客户" in agent.get("/console/scripts").text


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("?q=门牌号", True),
        ("?q=没有的词", False),
        ("?reason=wrong_address", True),
        ("?reason=delivered", False),
        ("?type=haggler", False),
        ("?type=x&reason=x", True),
    ],
)
def test_the_library_is_searched_and_filtered(db, agent, query, shown):
    agent.post("/console/scripts/starters")
    assert (">地址核对</a></h2>" in agent.get(f"/console/scripts{query}").text) is shown


def test_searching_while_typing_gets_the_list_alone(db, agent):
    agent.post("/console/scripts/starters")
    page = agent.get("/console/scripts?q=快递", headers={"HX-Request": "true"}).text
    assert page.lstrip().startswith('<div id="scripts">')
    assert "<html" not in page


def test_a_script_is_written_edited_and_deleted(db, agent):
    values = {
        "title": "加急",
        "reason": "delivered",
        "customer_type": "pressing",
        "voice": "service",
        "body": "{nickname}，马上办",
    }
    assert agent.post("/console/scripts/new", data=values).location == "/console/scripts"
    [script] = db.session.scalars(select(Script))
    assert (script.reason, script.customer_type, script.voice) == (
        CallReason.DELIVERED,
        CustomerType.PRESSING,
        "service",
    )
    assert "{nickname}，马上办" in agent.get(f"/console/scripts/{script.id}").text
    agent.post(f"/console/scripts/{script.id}", data={**values, "title": "加急 2", "reason": ""})
    db.session.refresh(script)
    assert (script.title, script.reason) == ("加急 2", None)
    assert agent.post(f"/console/scripts/{script.id}/delete").status_code == 302
    assert db.session.scalar(select(func.count()).select_from(Script)) == 0


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"title": ""}, "title"),
        ({"title": "题" * 61}, "title"),
        ({"body": ""}, "body"),
        ({"body": "{price}"}, "body"),
        ({"reason": "x"}, "reason"),
        ({"customer_type": "x"}, "customer_type"),
        ({"voice": "x"}, "voice"),
    ],
)
@pytest.mark.parametrize("edit", [False, True])
def test_a_script_is_refused_field_by_field(db, agent, values, field, edit):
    path = "/console/scripts/new"
    if edit:
        path = f"/console/scripts/{services.add_script(services.ScriptDraft('旧', '旧')).id}"
    answer = agent.post(
        path, data={"title": "留着我", "reason": "", "customer_type": "", "voice": "", "body": "好", **values}
    )
    assert (answer.status_code, f'href="#{field}"' in answer.text) == (422, True)
    assert [s.title for s in db.session.scalars(select(Script))] == (["旧"] if edit else [])


def test_the_starting_scripts_are_offered_until_somebody_wrote_one_for_everybody(db, agent, staff_client):
    words = 'action="/console/scripts/starters"'
    leader = staff_client("manager")
    values = {"title": "我的", "reason": "", "customer_type": "", "voice": "", "body": "好", "mine": "y"}
    leader.post("/console/scripts/new", data=values)
    assert [one.owner_id is None for one in db.session.scalars(select(Script))] == [False]
    assert words in leader.get("/console/scripts").text
    assert words not in leader.get("/console/scripts?q=nothing").text
    assert words not in staff_client("viewer").get("/console/scripts").text
    leader.post("/console/scripts/starters")
    assert words not in leader.get("/console/scripts").text


@pytest.mark.parametrize("role", ["viewer", "marketer"])
def test_who_does_not_keep_the_scripts_is_refused(db, staff_client, role):
    script = services.add_script(services.ScriptDraft("题", "好"))
    browser = staff_client(role)
    values = {"title": "改", "reason": "", "customer_type": "", "voice": "", "body": "改"}
    for path in ("scripts/new", "scripts/starters", f"scripts/{script.id}", f"scripts/{script.id}/delete"):
        assert browser.post(f"/console/{path}", data=values).status_code == 403
    assert browser.get(f"/console/scripts/{script.id}").status_code == 200
    assert [s.title for s in db.session.scalars(select(Script))] == ["题"]


# ── The funnel and the brief ────────────────────────────────────────────────────────────────────────────────────────


def test_the_funnel_shows_its_steps(agent, due):
    agent.post(f"/console/calls/{due.id}/outcome", data=typed())
    page = agent.get("/console/funnel").text
    assert all(text in page for text in ("包裹签收", "已接通", "已邀请进群", "Service"))


@pytest.mark.parametrize(
    "path", ["funnel", "results/funnel", "touchpoints", "results/staff", "ticket-results", "posts/results"]
)
def test_a_period_that_is_none_is_said_at_its_fields(browse, clock, path):
    """What was typed stays, and the page names the days that it shows instead; a sensible period says nothing."""
    page = browse()
    today = kernel_clock.today()
    for query, mistake, shown, typed_days in (
        ("?from=2020-01-01&to=2020-01-02", None, None, ["2020-01-01", "2020-01-02"]),
        (
            "?from=2026-03-02&to=2026-03-01",
            "lies after the last",
            "2026-03-01 to 2026-03-02",
            ["2026-03-02", "2026-03-01"],
        ),
        ("?from=2026-02-31&to=2026-03-01", "“2026-02-31” is no day", "to 2026-03-01", ["2026-02-31", "2026-03-01"]),
        ("?from=1999-01-01&to=<b>", "“&lt;b&gt;” is no day", f"to {today}", ["1999-01-01", "&lt;b&gt;"]),
        ("?from=&to=", None, None, None),
    ):
        found = page.get(f"/console/{path}{query}")
        assert found.status_code == 200
        said = re.findall(r'class="invalid-feedback period-mistake" id="(?:from|to)-error">([^<]*)<', found.text)
        assert bool(said) == bool(mistake), (query, said)
        if mistake:
            assert mistake in said[-1]
            assert shown in said[-1]
        if typed_days:
            assert re.findall(r'type="date" name="(?:from|to)"[^>]* value="([^"]*)"', found.text) == typed_days


def test_only_a_delivered_parcel_is_in_the_funnel(db, clock, make_member, delivered):
    """An expected day that has not come, or that passed for a parcel that was refused or never sent, is no delivery; that an
    order was closed after its parcel had arrived takes nothing back. Every page asks the same question."""
    now = clock.now()
    since, until = now - 10 * DAY, now + 10 * DAY
    before = queries.funnel(since, until).delivered
    for number, (at, state, closed_at, counts) in enumerate(
        (
            (now + 2 * DAY, OrderState.SHIPPED, None, 0),
            (now - DAY, OrderState.SHIPPED, None, 1),
            (now - DAY, OrderState.REFUSED, now, 0),
            (now - DAY, OrderState.PAID, None, 0),
            (now - DAY, OrderState.PLACED, None, 0),
            (now - DAY, OrderState.DELIVERED, None, 1),
            (now - DAY, OrderState.COMPLETED, None, 1),
            (now - 2 * DAY, OrderState.CLOSED, now - DAY, 1),
            (now - 2 * DAY, OrderState.CLOSED, now - 2 * DAY, 1),
            (now - 2 * DAY, OrderState.CLOSED, None, 1),
            (now - DAY, OrderState.CLOSED, now - 2 * DAY, 0),
            (now + DAY, OrderState.CLOSED, None, 0),
        )
    ):
        made = delivered(make_member(f"客{number}"), at)
        made.state, made.closed_at = state, closed_at
        db.session.flush()
        after = queries.funnel(since, until).delivered
        assert after - before == counts, (at, state, closed_at)
        assert db.session.scalar(select(has_arrived()).where(Order.id == made.id)) is bool(counts)
        before = after


def test_the_funnel_comes_as_a_file(agent, due):
    rows = list(csv.reader(io.StringIO(agent.get("/console/funnel.csv", buffered=True).text.removeprefix("\ufeff"))))
    assert rows[1] == ["包裹签收", "1", "", "100.0%"]
    assert len(rows) == 8


def test_the_brief_names_calls_of_today_and_overdue_ones(db, clock, agent, due, call):
    call().due_at = clock.now() - DAY
    page = agent.get("/console/").text
    assert "今天有 1 个回访" in page
    assert "1 个回访已逾期" in page
    assert "第二单" in page


def test_pages_read_in_english(agent, due):
    agent.set_cookie("lang", "en")
    for path, words in (
        ("calls", "Call-backs"),
        (f"calls/{due.id}", "What to say"),
        ("scripts", "Scripts"),
        ("funnel", "After-sale funnel"),
    ):
        assert words in agent.get(f"/console/{path}").text


def test_calls_and_invitations_read_on_the_timeline(app, db, agent, due, make_group):
    group = make_group("茶友群")
    agent.post(f"/console/calls/{due.id}/outcome", data=typed())
    agent.post(f"/console/calls/{due.id}/invite", data={"group": group.id})
    names = ("CallTaskOpened", "CallClosed", "MemberInvited")
    records = db.session.scalars(select(EventRecord).where(EventRecord.name.in_(names)).order_by(EventRecord.id)).all()
    with app.test_request_context():
        assert [str(describe(r)) for r in records] == [
            f'待回访：<a href="/console/calls/{due.id}">签收回访</a>',
            f'回访：<a href="/console/calls/{due.id}">已接通</a>',
            "回访后受邀进群“茶友群”",
        ]


@pytest.mark.parametrize(
    ("path", "active"),
    [("calls", {"desk"}), ("scripts", {"desk"}), ("funnel", {"results"}), ("posts/calendar", {"posts"})],
)
def test_the_rail_marks_the_section_and_the_page_one_is_on(app, agent, path, active):
    from kernel.navigation import SECTIONS

    with app.test_request_context(f"/console/{path}"):
        assert {s.key for s in SECTIONS if any(item.active for item in s.items)} == active
        assert [item.url for s in SECTIONS for item in s.items if item.active] == [f"/console/{path}"]


def test_scripts_are_found_while_typing_in_a_call_and_counted(db, clock, browse, make_staff, call):
    script = services.add_script(services.ScriptDraft("运费说明", "满 99 包邮"))
    services.add_script(services.ScriptDraft("开场", "您好"))
    desk, task = browse(Role.SERVICE), call()
    here = f"/console/calls/{task.id}"
    assert "运费说明" in desk.get(f"{here}/scripts?words=包邮").text
    assert "开场" not in desk.get(f"{here}/scripts?words=包邮").text
    assert "No script holds these words" in desk.get(f"{here}?words=没有的").text
    desk.post(f"{here}/outcome", data=typed(script=str(script.id)))
    assert db.session.get(Script, script.id, populate_existing=True).used == 1


def test_an_assistant_writes_scripts_of_their_own_and_leaves_everybodys_alone(db, clock, browse, make_staff):
    shared = services.add_script(services.ScriptDraft("通用", "好"))
    theirs = browse(Role.ASSISTANT)
    plain = {"reason": "", "customer_type": "", "voice": "", "body": "好"}
    assert theirs.post("/console/scripts/new", data={"title": "自己的", **plain}).status_code == 302
    own = db.session.scalars(select(Script).where(Script.title == "自己的")).one()
    assert own.owner_id is not None
    assert "Save the script" not in theirs.get(f"/console/scripts/{shared.id}").text
    for path in (f"/console/scripts/{shared.id}", f"/console/scripts/{shared.id}/delete"):
        assert theirs.post(path, data={"title": "x", "body": "y"}).status_code == 404
    assert theirs.post(f"/console/scripts/{own.id}", data={"title": "改了", **plain}).status_code == 302
    assert browse(Role.SERVICE).get(f"/console/scripts/{own.id}").status_code == 404
    assert theirs.post(f"/console/scripts/{own.id}/delete").status_code == 302


EVIL = (
    "//evil.example", "/\\evil.example", "/%09/evil.example", "///evil.example", "https:evil.example", "https://evil.example/",
    "\\\\evil.example", "/\t/evil.example", " //evil.example", "javascript:alert(1)", "//evil.example/%2e%2e", "http://localhost.evil.example",
    "/\n//evil.example", "////evil.example", "//localhost@evil.example", "https:/\\evil.example",
)  # fmt: skip


def elsewhere(answer) -> bool:
    """Whether an answer leads to another site."""
    location = answer.headers.get("Location", "")
    return urlsplit(urljoin("http://localhost/", location)).netloc != "localhost" or "\\" in location


def test_check_d6_no_page_of_the_desk_leads_elsewhere(app, db, clock, browse, make_member, client):
    desk, member = browse(Role.MANAGER), make_member()
    ticket = tickets.open_ticket(tickets.Opening(member_id=member.id, kind=TicketKind.FEEDBACK, text="x"))
    talk = conversations.queries.get_conversation(conversations.ask(member.id, "x").conversation_id)
    phone, bound = bind(app.test_client(), member.id, True), bind(app.test_client(), member.id)
    led = 0
    for evil in EVIL:
        for browser, path, data in (
            (desk, "/console/tickets/presence", {"on": "0"}),
            (desk, f"/console/tickets/{ticket.id}/state", {"to": ticket.state.value}),
            (phone, f"/tickets/{ticket.public_id}/looked", {}),
            (phone, f"/ask/{talk.public_id}/person", {}),
        ):
            answer = browser.post(path, data={**data, "next": evil}, headers={"X-Forwarded-Host": "evil.example"})
            assert answer.status_code < 400, (path, evil)
            led += elsewhere(answer)
        # Whoever has to show who they are first comes back to where they were, and nowhere else.
        for path in (f"/tickets/{ticket.public_id}", f"/ask/{talk.public_id}"):
            answer = bound.get(path, query_string={"next": evil}, headers={"X-Forwarded-Host": "evil.example"})
            assert (answer.status_code, answer.location.startswith("/me/sign-in?next=/")) == (302, True)
            led += elsewhere(answer)
    assert led == 0
    tickets.change_state(ticket.id, TicketState.RESOLVED, None)
    page = desk.get(f"/console/tickets/{ticket.id}", headers={"X-Forwarded-Host": "evil.example"}).text
    assert "/rate/" in page
    assert "evil" not in page
    assert not elsewhere(client.get("/ask", headers={"Host": "evil.example"}))
