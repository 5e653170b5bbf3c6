"""The pages about tiers, and what a member and the staff read about one member's tier."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from flask import g
from sqlalchemy import select, text

from kernel.auth import Role
from kernel.i18n import forced_locale
from kernel.ports import slot
from membership.members.models import Member
from membership.orders import services as orders
from membership.orders.formats.drafts import Buyer, OrderDraft
from membership.orders.models import OrderState
from membership.tiers import labels, queries, rules
from membership.tiers.forms import PolicyForm
from membership.tiers.models import Metric, TierChange, TierPolicy, Window
from membership.tiers.rules import STANDARD
from tests.conftest import NOON

ENGLISH = {"Accept-Language": "en"}


@pytest.fixture(autouse=True)
def noon(clock):
    return clock


def draft(number: str, spend: int, buyer: str = "7", refunded: int = 0, days_ago: float = 20) -> OrderDraft:
    at = NOON - timedelta(days=days_ago)
    return OrderDraft(
        external_id=number, state=OrderState.COMPLETED, placed_at=at, paid_at=at, completed_at=at, version_at=at,
        paid_amount=spend, refunded_amount=refunded, buyer=Buyer(number=buyer, nickname=f"n{buyer}"),
    )  # fmt: skip


@pytest.fixture
def member(db, run_jobs) -> Member:
    orders.record("shop", draft("A1", 700_00, refunded=100_00))
    orders.record("shop", draft("A2", 362_00))
    run_jobs()
    return db.session.scalars(select(Member)).one()


def typed(**changes) -> dict:
    """The form as a browser sends the standard policy, with changes."""
    fields = {
        "metric": "any", "window": "rolling", "rolling_days": "365", "valid_days": "365", "grace_days": "30",
        "downgrade": "one_level", "refund_effect": "immediate", "birthday_days": "7", "draft_name": "Spring",
    }  # fmt: skip
    for level in STANDARD.levels:
        fields |= {
            f"on_{level.rank}": "y", f"name_{level.rank}": level.name, f"name_en_{level.rank}": level.name_en,
            f"spend_{level.rank}": f"{level.spend / 100:.2f}", f"orders_{level.rank}": str(level.orders),
            f"discount_{level.rank}": str(level.discount / 10), f"benefits_{level.rank}": level.benefits,
            f"multiplier_{level.rank}": str(level.multiplier / 1000), f"entry_gift_id_{level.rank}": "0",
            f"entry_offer_id_{level.rank}": "0", f"monthly_offer_id_{level.rank}": "0",
            f"birthday_gift_id_{level.rank}": "0",
        }  # fmt: skip
    return {key: value for key, value in (fields | changes).items() if value is not None}


# ── The policy ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_page_shows_four_columns_with_their_people(owner_client, member):
    page = owner_client.get("/console/tiers", headers=ENGLISH).text
    for words in ("VIP1", "VIP4", "Regular", "Supreme VIP", "¥500.00 or 3 orders", "5% off", "15% off", "One member"):
        assert words in page
    assert "1 of 1 members have a tier (100%)" in page
    chinese = owner_client.get("/console/tiers", headers={"Accept-Language": "zh"}).text
    for words in ("至尊VIP", "9.5折", "8.5折", "¥500.00 或 3 单", "等级分布"):
        assert words in chinese


def test_page_works_before_anything_is_there(owner_client, db):
    assert owner_client.get("/console/tiers").status_code == 200
    assert owner_client.get("/console/tiers/edit").status_code == 200
    assert db.session.scalars(select(TierPolicy)).all() == []


def test_form_carries_the_policy_there_and_back(app, db):
    odd = replace(
        STANDARD, metric=Metric.SPEND, window=Window.CALENDAR, rolling_days=None,
        levels=tuple(level for level in STANDARD.levels if level.rank != 2),
    )  # fmt: skip
    with app.test_request_context(method="POST"):
        form = PolicyForm.of(odd)
        assert form.policy == odd
        assert (form["on_2"].data, form["spend_2"].data) == (False, 500_00)


def keep(client, **changes) -> int:
    """Keep a draft by its form; its id."""
    answer = client.post("/console/tiers/edit", data=typed(**changes))
    assert answer.status_code == 303
    return int(answer.location.rsplit("/", 1)[1])


def publish(client, **changes) -> None:
    draft_id = keep(client, act="keep", **changes)
    assert client.post(f"/console/tiers/drafts/{draft_id}/publish").status_code == 303


def test_preview_shows_who_would_move_and_saves_nothing(owner_client, member, db, run_jobs):
    draft_id = keep(owner_client, spend_3="900", act="preview")
    waiting = owner_client.get(f"/console/tiers/drafts/{draft_id}", headers=ENGLISH)
    assert "Everybody is judged by the draft; nothing changes" in waiting.text
    assert "HX-Refresh" not in owner_client.get(f"/console/tiers/drafts/{draft_id}/progress").headers
    run_jobs()
    page = owner_client.get(f"/console/tiers/drafts/{draft_id}", headers=ENGLISH)
    assert "What this would do" in page.text
    assert "Put in force, one member moves up" in page.text
    assert "¥2,000.00" in page.text
    assert "¥900.00" in page.text
    assert owner_client.get(f"/console/tiers/drafts/{draft_id}/progress").headers["HX-Refresh"] == "true"
    assert len(db.session.scalars(select(TierPolicy)).all()) == 1
    assert db.session.get(Member, member.id).rank == 2


def test_saving_makes_a_version_and_moves_people_up(owner_client, member, db, run_jobs):
    publish(owner_client, spend_3="900", draft_name="Cheaper VIP3")
    run_jobs()
    assert db.session.get(Member, member.id).rank == 3
    latest = db.session.scalars(select(TierPolicy).order_by(TierPolicy.id.desc())).first()
    assert [level["spend"] for level in latest.levels] == [1_00, 500_00, 900_00, 8_000_00]
    assert (latest.staff_id is not None, latest.note) == (True, "Cheaper VIP3")
    assert db.session.scalar(text("SELECT count(*) FROM audit_entry WHERE action = 'tiers.saved'")) == 1
    page = owner_client.get("/console/tiers").text
    assert "Owner" in page
    assert "Cheaper VIP3" in page


def test_saving_harder_rules_lowers_nobody(owner_client, member, db, run_jobs):
    hard = {"spend_2": "5000", "orders_2": "50", "spend_3": "6000", "orders_3": "60", "orders_4": "70"}
    draft_id = keep(owner_client, act="preview", **hard)
    run_jobs()
    page = owner_client.get(f"/console/tiers/drafts/{draft_id}", headers=ENGLISH)
    assert "Put in force, nobody moves" in page.text
    assert owner_client.post(f"/console/tiers/drafts/{draft_id}/publish").status_code == 303
    run_jobs()
    assert db.session.get(Member, member.id).rank == 2
    again = owner_client.post(f"/console/tiers/drafts/{draft_id}/publish")
    assert again.status_code == 409


def test_level_can_be_switched_off(owner_client, member, db, run_jobs):
    publish(owner_client, on_4=None)
    g.pop("tier_policy", None)
    assert queries.policy().level(4) is None
    assert "Switched off" in owner_client.get("/console/tiers", headers=ENGLISH).text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"spend_2": "2000"}, "greater than that of the level below"),
        ({"orders_3": "2"}, "number of orders must be greater"),
        ({"spend_1": "0"}, "between ¥0.01"),
        ({"spend_1": "-5"}, "amount in yuan"),
        ({"spend_1": "1e9"}, "amount in yuan"),
        ({"spend_4": "999999999999"}, "amount"),
        ({"orders_1": "0"}, "between 1 and 100,000"),
        ({"orders_1": "many"}, "valid integer"),
        ({"discount_4": "69.9"}, "between 70 % and 100 %"),
        ({"discount_1": "101"}, "between 70 % and 100 %"),
        ({"discount_2": "98"}, "smaller part of the price"),
        ({"discount_2": "NaN"}, "Write a percentage"),
        ({"discount_2": "1E999999"}, "Write a percentage"),
        ({"discount_2": ""}, "between 70 % and 100 %"),
        ({"name_1": " "}, "Give the level a name"),
        ({"valid_days": "0"}, "between 1 and 3,650"),
        ({"valid_days": ""}, "required"),
        ({"birthday_days": "61"}, "between 0 and 60"),
        ({"multiplier_2": "11"}, "multiplied by 0 to 10"),
        ({"multiplier_2": "twice"}, "Write how often"),
        ({"draft_name": " "}, "required"),
        ({"draft_name": "x" * 61}, "longer than 60"),
        ({"entry_gift_id_1": "77"}, "valid choice"),
        ({"group_ids_1": "77"}, "valid choice"),
        ({"grace_days": "400"}, "between 0 and 365"),
        ({"rolling_days": ""}, "between 1 and 3,650"),
        ({"metric": "karma"}, "Invalid Choice"),
        ({"metric": None}, "valid choice"),
        ({"on_1": None, "on_2": None, "on_3": None, "on_4": None}, "one level at least"),
    ],
)
def test_unsound_rules_are_named_and_what_was_typed_is_kept(owner_client, member, db, changes, said):
    for act in ("preview", "keep"):
        answer = owner_client.post("/console/tiers/edit", data=typed(act=act, **changes), headers=ENGLISH)
        assert answer.status_code == 422
        assert said in answer.text
        assert 'value="Supreme VIP"' in answer.text
    assert len(db.session.scalars(select(TierPolicy)).all()) == 1


@pytest.mark.parametrize("role", [Role.MANAGER, Role.MARKETER, Role.SERVICE, Role.ASSISTANT, Role.VIEWER])
def test_rules_are_the_owners(staff_client, role):
    client = staff_client(role)
    page = client.get("/console/tiers")
    assert page.status_code == 200
    assert "/console/tiers/edit" not in page.text
    assert client.get("/console/tiers/edit").status_code == 403
    assert client.post("/console/tiers/edit", data=typed(act="save")).status_code == 403


# ── One member ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_staff_read_why_a_member_has_their_tier(owner_client, member):
    page = owner_client.get(f"/console/members/{member.id}", headers=ENGLISH).text
    for words in (
        "VIP2 Advanced",
        "¥1,038.00 or 6 orders to VIP3; kept until 3 Mar 2027",
        "¥962.00 in 2 orders",
        "Taken off by refunds",
        "¥100.00",
        "The 2 orders behind it",
        "A2",
        "Reached by orders",
        "no tier → VIP2",
        "Rose from no tier to VIP2",
    ):
        assert words in page
    chinese = owner_client.get(f"/console/members/{member.id}", headers={"Accept-Language": "zh"}).text
    assert "距 VIP3 还差 ¥1,038.00 或 6 单；有效期至 2027年3月3日" in chinese


def test_member_reads_it_on_their_page_first(app, member):
    with app.test_request_context(), forced_locale("en"):
        cards = slot("me.cards", member=member)
        assert cards.startswith('<section class="tier-card tier-card-2">')
        for words in ("VIP2 Advanced", "VIP3", "¥1,038.00 or 6 orders to VIP3", "5% off"):
            assert words in cards


def test_page_of_somebody_without_orders(owner_client, db, app):
    member = Member(stage="lead", stage_since=NOON, created_at=NOON, nickname="谷雨")
    db.session.add(member)
    db.session.commit()
    page = owner_client.get(f"/console/members/{member.id}", headers=ENGLISH)
    assert "¥1.00 or 1 order to VIP1" in page.text
    with app.test_request_context():
        assert "tier-card-0" in slot("me.cards", member=member)


def test_highest_tier_has_nothing_above(db, run_jobs):
    orders.record("shop", draft("A1", 9_000_00))
    run_jobs()
    told = queries.explanation(db.session.scalars(select(Member.id)).one())
    with forced_locale("en"):
        assert labels.sentence(told) == "The highest tier there is; kept until 3 Mar 2027"


def test_tier_is_set_by_hand_and_ended(staff_client, member, db):
    client = staff_client(Role.MANAGER)
    path = f"/console/members/{member.id}/tier"
    assert client.get(path).status_code == 200
    answer = client.post(path, data={"rank": "4", "reason": "partner", "until": "2026-12-31T00:00"})
    assert answer.status_code == 303
    assert db.session.get(Member, member.id).rank == 4
    page = client.get(f"/console/members/{member.id}", headers=ENGLISH).text
    assert "set by hand until 31 Dec 2026" in page
    assert "partner" in page
    change = db.session.scalars(select(TierChange).order_by(TierChange.id.desc())).first()
    assert (change.reason, change.staff_id is not None) == ("manual", True)
    assert client.post(f"{path}/end").status_code == 303
    assert db.session.get(Member, member.id).rank == 2


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"reason": ""}, "required"),
        ({"rank": "9"}, "valid choice"),
        ({"until": "2020-01-01T00:00"}, "lies in the past"),
        ({"until": "soon"}, "date and time"),
    ],
)
def test_hand_set_tier_needs_sense(owner_client, member, db, fields, said):
    data = {"rank": "4", "reason": "partner", "until": ""} | fields
    answer = owner_client.post(f"/console/members/{member.id}/tier", data=data, headers=ENGLISH)
    assert answer.status_code == 422
    assert said in answer.text
    assert member.rank == 2


@pytest.mark.parametrize("role", [Role.MARKETER, Role.SERVICE, Role.ASSISTANT, Role.VIEWER])
def test_hand_set_tiers_are_for_the_manager(staff_client, member, role):
    client = staff_client(role)
    path = f"/console/members/{member.id}/tier"
    assert client.get(path).status_code == 403
    assert client.post(path, data={"rank": "4", "reason": "x"}).status_code == 403
    assert client.post(f"{path}/end").status_code == 403
    assert path not in client.get(f"/console/members/{member.id}").text


def test_nobody_is_nowhere(owner_client):
    assert owner_client.get("/console/members/987654321/tier").status_code == 404
    assert owner_client.post("/console/members/987654321/tier", data={"rank": "1", "reason": "x"}).status_code == 404


def test_get_changes_nothing(owner_client, member, db):
    tables = ("tier_policy", "member_tier", "tier_change", "event", "audit_entry")
    before = [db.session.execute(text(f"SELECT count(*) FROM {name}")).scalar() for name in tables]
    for path in (
        "/console/tiers",
        "/console/tiers/edit",
        f"/console/members/{member.id}",
        f"/console/members/{member.id}/tier",
    ):
        assert owner_client.get(path).status_code == 200
    assert [db.session.execute(text(f"SELECT count(*) FROM {name}")).scalar() for name in tables] == before


def test_words_of_the_tiers(app, db):
    with app.test_request_context():
        with forced_locale("en"):
            assert [labels.tier_name(rank) for rank in (0, 1, 4)] == ["No tier yet", "Regular", "Supreme VIP"]
            assert [labels.discount_text(n) for n in (1000, 950, 985)] == ["No discount", "5% off", "1.5% off"]
        with forced_locale("zh"):
            assert [labels.tier_name(rank) for rank in (0, 1, 4)] == ["暂无等级", "普通会员", "至尊VIP"]
            assert [labels.discount_text(n) for n in (1000, 950, 985, 800)] == ["无折扣", "9.5折", "9.85折", "8折"]
    assert set(labels.MISTAKES) == set(rules.Mistake)
    assert set(labels.WHYS) == set(rules.Why)
