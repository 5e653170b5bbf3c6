"""Drafts of the rules: what a simulation promises is what putting it in force does; nothing happens before."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from flask import g
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from kernel.auth import Role
from kernel.errors import NotFound
from membership.gifts import services as gifts
from membership.gifts.models import GiftKind
from membership.members.models import Member
from membership.tiers import jobs, outcomes, queries, rules, services
from membership.tiers.models import Downgrade, MemberTier, SimulationState, TierDraft, TierDraftMember
from membership.tiers.queries import Thing
from membership.tiers.rules import STANDARD, CountedOrder, Standing
from membership.tiers.services import reviews
from membership.tiers.services.policies import written

from .stored import store
from .strategies import NOW, order_lists, policies, standings
from .test_pages import ENGLISH, typed


@pytest.fixture(autouse=True)
def noon(clock):
    clock.at(NOW)
    return clock


def cheaper(factor: int = 2) -> rules.Policy:
    return replace(
        STANDARD, levels=tuple(replace(one, spend=one.spend // factor + one.rank) for one in STANDARD.levels)
    )


def simulate(draft) -> TierDraft:
    services.start_simulation(draft.id)
    while services.simulate_slice(draft.id, draft.run):
        pass
    return draft


def people(db, *persons) -> list[int]:
    policy = services.ensure_policy()
    ids = [store(db, policy, list(held), current, True) for held, current in persons]
    db.session.flush()
    services.reassess()
    return ids


# ── What is promised is what happens ────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(policies(), policies(), st.lists(st.tuples(order_lists, standings(), st.booleans()), min_size=1, max_size=10))
def test_a_simulation_promises_what_the_review_after_saving_does(db, former, wanted, persons):
    with db.session.begin_nested() as attempt:
        g.pop("tier_policy", None)
        former = written(former, None)
        ids = [store(db, former, *person) for person in persons]
        db.session.flush()
        before = dict(db.session.execute(select(Member.id, Member.rank).where(Member.id.in_(ids))).all())
        draft = simulate(services.create_draft("try", replace(wanted, id=None)))
        assert dict(db.session.execute(select(Member.id, Member.rank).where(Member.id.in_(ids))).all()) == before
        rows = {
            row.member_id: row
            for row in db.session.scalars(select(TierDraftMember).where(TierDraftMember.draft_id == draft.id))
        }
        written(replace(wanted, id=None), None)
        services.reassess(ids)
        after = dict(db.session.execute(select(Member.id, Member.rank).where(Member.id.in_(ids))).all())
        moved = {
            member_id: (row.from_rank, row.to_rank) for member_id, row in rows.items() if row.from_rank != row.to_rank
        }
        assert moved == {one: (before[one], after[one]) for one in ids if before[one] != after[one]}
        horizon = NOW + timedelta(days=365)
        foreseen = {
            row.member_id: (row.falls_at, row.falls_to)
            for row in db.session.scalars(select(MemberTier).where(MemberTier.member_id.in_(ids)))
            if row.falls_at is not None and row.falls_at <= horizon
        }
        assert {one: (row.falls_at, row.falls_to) for one, row in rows.items() if row.falls_at} == foreseen
        cells = Counter({tuple(map(int, key.split(":"))): n[0] for key, n in draft.result["cells"].items()})
        assert cells == Counter((before[one], after[one]) for one in ids)
        attempt.rollback()


def test_members_are_judged_in_slices_and_a_dead_worker_repeats_nothing(db, monkeypatch):
    ids = people(db, *[((CountedOrder(NOW - timedelta(days=3), 400_00),), Standing()) for _ in range(5)])
    monkeypatch.setattr(reviews, "CHUNK", 2)
    draft = services.create_draft("cheaper", cheaper())
    services.start_simulation(draft.id)
    assert services.simulate_slice(draft.id, draft.run)
    assert (draft.done, draft.total, draft.state) == (2, 5, SimulationState.RUNNING)
    # Its worker dies; the sweep finds it when it has rested.
    assert services.rested(NOW + timedelta(seconds=30)) == []
    assert services.rested(NOW + timedelta(seconds=120)) == [(draft.id, draft.run)]
    assert services.rested(NOW + timedelta(seconds=120)) == []
    jobs.simulate.direct(draft.id, draft.run)
    assert (draft.done, draft.state) == (5, SimulationState.DONE)
    assert draft.result["cells"] == {"1:2": [5, 5 * 400_00, 0, 0]}
    assert sorted(row.member_id for row in db.session.scalars(select(TierDraftMember))) == ids
    # Once done, a late worker of the same run changes nothing.
    assert not services.simulate_slice(draft.id, draft.run)


def test_a_worker_of_a_former_run_stops(db):
    people(db, ((CountedOrder(NOW - timedelta(days=3), 400_00),), Standing()))
    draft = services.create_draft("one", cheaper())
    services.start_simulation(draft.id)
    old = draft.run
    services.start_simulation(draft.id)
    assert not services.simulate_slice(draft.id, old)
    assert draft.done == 0


# ── Drafts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_editing_forgets_what_was_simulated_only_when_the_rules_change(db):
    people(db, ((CountedOrder(NOW - timedelta(days=3), 400_00),), Standing()))
    draft = simulate(services.create_draft("one", cheaper()))
    services.edit_draft(draft.id, "renamed", cheaper())
    assert (draft.name, draft.state) == ("renamed", SimulationState.DONE)
    services.edit_draft(draft.id, "renamed", cheaper(3))
    assert (draft.state, draft.result) == (SimulationState.NONE, {})
    assert db.session.scalars(select(TierDraftMember)).all() == []


def test_published_draft_names_its_version_and_is_not_changed_again(db, run_jobs):
    [member_id] = people(db, ((CountedOrder(NOW - timedelta(days=3), 400_00),), Standing()))
    draft = services.create_draft("Spring", cheaper())
    saved = services.publish_draft(draft.id, None)
    run_jobs()
    assert queries.get_version_row(saved.id).note == "Spring"
    assert db.session.get(Member, member_id).rank == 2
    for again in (lambda: services.publish_draft(draft.id), lambda: services.edit_draft(draft.id, "x", cheaper(3))):
        with pytest.raises(services.DraftInForce):
            again()


def test_former_version_comes_back_as_a_draft(db):
    first = services.ensure_policy()
    services.save_policy(cheaper())
    draft = services.restore(first.id, "as before")
    assert services.policy_of(draft) == STANDARD
    assert queries.policy() == replace(cheaper(), id=queries.policy().id)
    with pytest.raises(NotFound):
        services.restore(987_654, "nothing")


def test_drafts_refuse_what_cannot_be_in_force(db):
    with pytest.raises(services.PolicyInvalid):
        services.create_draft("bad", replace(STANDARD, levels=()))
    for name in ("", "  ", "x" * 61):
        with pytest.raises(services.DraftNameless):
            services.create_draft(name, STANDARD)
    assert db.session.scalars(select(TierDraft)).all() == []


# ── What it costs ───────────────────────────────────────────────────────────────────────────────────────────────────


def with_benefits(**changes) -> rules.Policy:
    return replace(STANDARD, levels=tuple(replace(one, **changes) if one.rank == 2 else one for one in STANDARD.levels))


def test_costs_add_up_level_by_level():
    result = {
        "cells": {"1:1": [10, 1_000_00, 5, 2], "1:2": [4, 2_000_00, 3, 1], "2:2": [6, 6_000_00, 4, 4]},
        "falls": {"2026-05:2:1": [3, 0, 1, 0], "2026-04:2:0": [1, 0, 1, 0]},
        "entries": {"2": [3, 1, 0]},
    }
    things = [Thing("gift", 7, "Box", 30_00), Thing("offer", 8, "¥20", 20_00), Thing("offer", 9, "Ship", None)]
    after = with_benefits(entry_gift_id=7, entry_offer_id=9, birthday_gift_id=7, monthly_offer_id=8, discount=940)
    found = outcomes.outcome(result, with_benefits(monthly_offer_id=8), after, things)
    vip1, vip2 = found.levels[1], found.levels[2]
    assert (vip1.now, vip1.then, vip1.spend_now, vip1.discount_now) == (14, 10, 3_000_00, 60_00)
    assert (vip2.now, vip2.then, vip2.up) == (6, 10, 4)
    assert (vip2.discount_now, vip2.discount_then) == (6_000_00 * 50 // 1000, 8_000_00 * 60 // 1000)
    assert (vip2.monthly_now, vip2.monthly_then) == (4 * 12 * 20_00, 7 * 12 * 20_00)
    assert (vip2.birthday_now, vip2.birthday_then) == (0, 5 * 30_00)
    assert (vip2.entries, vip2.entry_cost) == (3, 2 * 30_00)
    assert found.unpriced == ("Ship",)
    assert (found.moving_up, found.moving_down, found.falling, found.falling_anyway) == (4, 0, 4, 2)
    assert [one.month for one in found.falls] == ["2026-04", "2026-05"]
    assert found.yearly_then == sum(one.yearly_then for one in found.levels)
    assert found.matrix[1] == {0: 0, 1: 10, 2: 4, 3: 0, 4: 0}


def test_entry_gifts_are_counted_for_enrolled_members_who_never_had_one(db):
    gift = gifts.create(gifts.Draft(name="Box", kind=GiftKind.PHYSICAL, value=30_00))
    order = (CountedOrder(NOW - timedelta(days=3), 400_00),)
    ids = people(db, (order, Standing()), (order, Standing()), (order, Standing()))
    for member_id in ids[:2]:
        db.session.get(Member, member_id).enrolled_at = NOW
    db.session.flush()
    draft = simulate(
        services.create_draft(
            "gift",
            replace(
                cheaper(),
                levels=tuple(replace(x, entry_gift_id=gift.id if x.rank == 2 else None) for x in cheaper().levels),
            ),
        )
    )
    assert draft.result["entries"]["2"] == [2, 0, 0]
    found = outcomes.outcome(draft.result, STANDARD, services.policy_of(draft), queries.all_things())
    assert found.entry_cost == 60_00


# ── Pages ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def tried(db):
    people(
        db,
        ((CountedOrder(NOW - timedelta(days=3), 400_00),), Standing()),
        ((), Standing(3, NOW + timedelta(days=20), None)),
    )
    return simulate(services.create_draft("Spring", cheaper()))


def test_page_of_a_draft_shows_the_matrix_the_cost_and_the_falls(owner_client, tried):
    page = owner_client.get(f"/console/tiers/drafts/{tried.id}", headers=ENGLISH).text
    for words in (
        "Who moves from where to where", "What it costs per year", "Who would fall later", "Assumed: every order",
        "Put in force, one member moves up", "From a spend of", "Mar 2026",
    ):  # fmt: skip
        assert words in page
    chinese = owner_client.get(f"/console/tiers/drafts/{tried.id}", headers={"Accept-Language": "zh"}).text
    assert "谁从哪一级到哪一级" in chinese


def test_members_of_a_draft_are_listed_filtered_and_taken_along(owner_client, tried):
    path = f"/console/tiers/drafts/{tried.id}/members"
    moving = owner_client.get(path, headers=ENGLISH).text
    assert moving.count('<td class="main-cell">') == 1
    assert owner_client.get(f"{path}?from=1&to=2", headers=ENGLISH).text.count("main-cell") == 1
    assert "No member matches" in owner_client.get(f"{path}?from=4", headers=ENGLISH).text
    falls = owner_client.get(f"{path}?kind=falls", headers=ENGLISH).text
    assert "by the rules in force too" in falls
    file = owner_client.post(f"{path}/export?kind=falls", headers=ENGLISH)
    assert file.mimetype == "text/csv"
    assert "VIP3,VIP3" in file.text
    for odd in ("?from=x&to=99", "?cursor=%00", "?q=%25"):
        assert owner_client.get(path + odd).status_code == 200


def test_two_drafts_side_by_side(owner_client, tried):
    other = services.create_draft("Autumn", cheaper(4))
    page = owner_client.get(f"/console/tiers/drafts/compare?draft={tried.id}&draft={other.id}", headers=ENGLISH).text
    for words in ("Spring", "Autumn", "not tried yet", "Discount per year", "What is different"):
        assert words in page
    assert owner_client.get(f"/console/tiers/drafts/compare?draft={tried.id}").status_code == 302
    assert owner_client.get(f"/console/tiers/drafts/compare?draft={tried.id}&draft=987654").status_code == 404


def test_draft_is_edited_tried_again_and_thrown_away(owner_client, tried, db, run_jobs):
    path = f"/console/tiers/drafts/{tried.id}"
    assert 'value="Spring"' in owner_client.get(f"{path}/edit").text
    assert (
        owner_client.post(f"{path}/edit", data=typed(act="keep", spend_3="1500", draft_name="Later")).status_code == 303
    )
    assert (db.session.get(TierDraft, tried.id).name, db.session.get(TierDraft, tried.id).state) == ("Later", "none")
    assert owner_client.post(f"{path}/edit", data=typed(spend_3="1")).status_code == 422
    assert owner_client.post(f"{path}/simulate").status_code == 303
    run_jobs()
    assert db.session.get(TierDraft, tried.id).state == "done"
    assert owner_client.post(f"{path}/delete").status_code == 303
    assert owner_client.get(path).status_code == 404
    assert "No drafts" in owner_client.get("/console/tiers/drafts", headers=ENGLISH).text


def test_versions_are_read_compared_and_restored(owner_client, db):
    first = services.ensure_policy()
    second = services.save_policy(cheaper(), note="Half price")
    third = services.save_policy(replace(cheaper(), downgrade=Downgrade.NONE))
    page = owner_client.get("/console/tiers/versions", headers=ENGLISH).text
    assert "Half price" in page
    shown = owner_client.get(f"/console/tiers/versions/{third.id}", headers=ENGLISH).text
    assert "Keep the tier" in shown
    assert "From a spend of" not in shown
    against = owner_client.get(f"/console/tiers/versions/{third.id}?with={first.id}", headers=ENGLISH).text
    assert "From a spend of" in against
    assert "This is the first version" in owner_client.get(f"/console/tiers/versions/{first.id}", headers=ENGLISH).text
    answer = owner_client.post(f"/console/tiers/versions/{second.id}/draft")
    assert answer.status_code == 303
    assert owner_client.get(answer.location).status_code == 200
    assert owner_client.get("/console/tiers/versions/987654").status_code == 404
    assert queries.policy().id == third.id


@pytest.mark.parametrize("role", [Role.MANAGER, Role.MARKETER, Role.VIEWER])
def test_drafts_are_changed_by_the_owner_only(staff_client, tried, role):
    client = staff_client(role)
    path = f"/console/tiers/drafts/{tried.id}"
    for seen in (path, f"{path}/members", "/console/tiers/drafts", f"{path}/progress"):
        assert client.get(seen).status_code == 200
    assert "Put in force" not in client.get(path, headers=ENGLISH).text
    assert client.get(f"{path}/edit").status_code == 403
    for act in ("edit", "simulate", "publish", "delete"):
        assert client.post(f"{path}/{act}").status_code == 403


def test_reading_changes_nothing(owner_client, tried, db):
    tables = ("tier_policy", "member_tier", "tier_change", "event", "audit_entry", "tier_draft", "tier_draft_member")
    before = [db.session.execute(text(f"SELECT count(*) FROM {name}")).scalar() for name in tables]
    path = f"/console/tiers/drafts/{tried.id}"
    for one in (path, f"{path}/edit", f"{path}/members", f"{path}/progress", "/console/tiers/drafts", "/console/tiers"):
        assert owner_client.get(one).status_code == 200
    assert [db.session.execute(text(f"SELECT count(*) FROM {name}")).scalar() for name in tables] == before
