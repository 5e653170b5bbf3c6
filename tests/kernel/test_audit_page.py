"""The page of the audit trail: every action in words, changes field by field, filters, and the file."""

from __future__ import annotations

import ast
import csv
import io
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from campaigns.results import labels as results
from campaigns.touchpoints import labels as touchpoints
from community.answers import labels as answers
from community.desk import labels as desk
from community.groups import labels as groups
from community.moderation import labels as moderation
from community.posts import labels as posts
from community.staff_results import labels as staff_results
from community.tickets import labels as tickets
from kernel import audit
from kernel.audit import AuditEntry
from kernel.audit_console import Change, change_text, changes
from kernel.audit_words import ACTIONS, CODES, FIELDS, KINDS
from kernel.auth import Role
from kernel.i18n import FLOORS, forced_locale
from membership.coupons.services import offers
from membership.members import labels as members
from membership.points import rules as points
from membership.tiers import rules as tiers
from tests.conftest import PASSWORD

ROOT = Path(__file__).resolve().parents[2]
ENGLISH = {"Accept-Language": "en"}
CHINESE = {"Accept-Language": "zh-CN"}


def _recorded() -> tuple[set[str], set[str]]:
    """The actions and the kinds of objects that the code records by name."""
    actions, kinds = set(), set()
    for floor in FLOORS:
        for path in (ROOT / floor).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr == "record"
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id == "audit"
                ):
                    for place, found in ((0, actions), (1, kinds)):
                        for part in ast.walk(node.args[place]):
                            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                                found.add(part.value)
    return {one for one in actions if not one.endswith(".")}, kinds


def test_every_action_and_object_that_is_recorded_has_words(app):
    actions, kinds = _recorded()
    assert len(actions) > 150
    assert sorted(actions - ACTIONS.keys()) == []
    assert sorted(kinds - KINDS.keys()) == []
    for locale in ("zh_Hans", "en"):
        with app.test_request_context(), forced_locale(locale):
            words = [str(one) for one in ACTIONS.values()]
        assert len(set(words)) == len(words), "no two actions read alike"


def test_changes_are_told_by_field_before_and_after(app):
    before = {"name": "A", "levels": {"2": {"spend": 100}}, "role": "viewer", "same": 1}
    after = {"name": "B", "levels": {"2": {"spend": 200}}, "role": "owner", "same": 1, "scopes": ["a", "b"], "on": True}
    with app.test_request_context(headers=ENGLISH):
        assert changes(before, after) == [
            Change("name", "Name", "A", "B"),
            Change("levels.2.spend", "Tiers · 2 · From a spend of", "¥1.00", "¥2.00"),
            Change("role", "Role", "Viewer", "Owner"),
            Change("scopes", "What it may do", None, "a, b"),
            Change("on", "Switched on", None, "Yes"),
        ]
        # Whatever is kept in 分 is read in yuan; what is money already stays as it was written.
        kept = changes(
            {"budget": 50_000_00, "list_price": 128_00}, {"budget": None, "list_price": 99_50, "price": "¥9.90"}
        )
        assert [(one.before, one.after) for one in kept] == [
            ("¥50,000.00", "nothing"), ("¥128.00", "¥99.50"), (None, "¥9.90")
        ]  # fmt: skip
        assert change_text(changes({"state": "open"}, {"state": None})[0]) == "State: Open → nothing"
        assert change_text(changes({"name": "A"}, None)[0]) == "Name: A"
        assert changes(None, {"at": "2026-03-01T02:00:00+00:00"})[0].after != "2026-03-01T02:00:00+00:00"
        assert changes(None, {"worst": [{"sku": "A1"}]})[0].code == "worst.1.sku"
        # A choice is read in words, per mille as a share or a factor, and what was made without something does not name it.
        set_to = {"kind": "percent", "value": 850, "budget": None, "skus": [], "exclusive": False}
        assert [change_text(one) for one in changes(None, set_to)] == [
            "Kind: Percentage off", "Value: 85%", "Stands alone on an order: No",
        ]  # fmt: skip
        assert [change_text(one) for one in changes({"value": 880}, {"value": 990, "kind": "red_packet"})] == [
            "Value: ¥8.80 → ¥9.90", "Kind: Red packet",
        ]  # fmt: skip
        levels = {"levels": {"2": {"discount": 985, "multiplier": 1500}}, "rate": 500, "window": "rolling"}
        assert [one.after for one in changes(None, levels)] == ["98.5%", "1.5×", "0.5", "A number of past days"]
    assert changes(None, None) == []


def test_what_offers_tiers_and_points_are_set_to_has_words():
    said = {*offers.TERMS, *offers.CONDITIONS}
    for kept in (tiers.Policy, tiers.Level, points.Program):
        said |= {one.name for one in fields(kept)}
    assert sorted(said - FIELDS.keys() - {"id"}) == []


def test_codes_of_the_rooms_read_as_in_the_rooms(app):
    rooms = {
        "group.kind": groups.KINDS,
        "group.role": groups.ROLES,
        "platform": groups.PLATFORMS,
        "member_posts": posts.MEMBER_POSTS,
        "ticket.kind": tickets.KINDS,
        "member.kind": moderation.SANCTIONS,
        "outcome": desk.STATES,
        "mode": answers.MODES,
        "routing": answers.ROUTINGS,
        "figure": staff_results.FIGURES,
        "touchpoint.kind": touchpoints.KINDS,
        "stage": touchpoints.STAGES,
        "rhythm": results.RHYTHMS,
        "contact": members.CONTACTS,
    }
    for field, labels in rooms.items():
        for code, label in labels.items():
            assert str(CODES[field].get(code.value)) == str(label), (field, code)
    with app.test_request_context(headers=CHINESE):
        # One code, and what it means of one thing and of another.
        said = {"kind": "coupon", "role": "owner", "stage": "order"}
        for about, read in (("group", ["一张优惠券", "群主"]), ("touchpoint", ["优惠券或礼品", "店主"])):
            assert [one.after for one in changes(None, said, about)] == [*read, "订单"]


@pytest.fixture
def trail(db, clock):
    """Entries of the system, long ago and today; the client's own sign-in is another."""
    audit.record("group.paused", "group", 7, {"state": "open"}, {"state": "paused"})
    audit.record("mapping.saved", "mapping", 3, after={"name": "列表"})
    db.session.add(
        AuditEntry(
            at=clock.now() - timedelta(days=40), staff_id=None, actor="API: till", action="long.gone", object_kind="relic",
            object_id=1, before=None, after=None, address=None,
        )
    )  # fmt: skip
    db.session.flush()


def test_trail_reads_in_words_with_the_code_at_hand(owner_client, trail):
    page = owner_client.get("/console/audit", headers=ENGLISH).text
    for words in (
        "Group paused",
        'title="group.paused"',
        "The system by itself",
        "Program “till”",
        "long gone",
        "open",
    ):
        assert words in page
    page = owner_client.get("/console/audit", headers=CHINESE).text
    for words in ("暂停群", "保存列对应", "系统自动", "程序“till”"):
        assert words in page


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("action=group.paused", {"Group paused"}),
        ("who=system", {"Group paused", "Column mapping saved"}),
        ("who=programs", {"long gone"}),
        ("who=visitor", set()),
        ("who=99", set()),
        ("kind=mapping", {"Column mapping saved"}),
        ("kind=mapping&number=%233", {"Column mapping saved"}),
        ("number=7", {"Group paused"}),
        ("until=2026-02-01", {"long gone"}),
        ("since=2026-03-03", {"Group paused", "Column mapping saved"}),
        ("since=2026-03-03&until=2026-03-03", {"Group paused", "Column mapping saved"}),
        ("since=never&number=x&who=%00&until=9999-12-31", {"Group paused", "Column mapping saved", "long gone"}),
        ("action=no.such", set()),
    ],
)
def test_trail_is_narrowed(owner_client, trail, query, shown):
    table = owner_client.get(f"/console/audit?{query}", headers=ENGLISH).text.partition("<tbody>")[2]
    assert {words for words in ("Group paused", "Column mapping saved", "long gone") if words in table} == shown


def test_the_file_has_what_the_page_shows_and_is_put_on_record(owner_client, db, trail):
    answer = owner_client.post("/console/audit/export?action=group.paused", headers=ENGLISH)
    rows = list(csv.reader(io.StringIO(answer.text.lstrip("\ufeff"))))
    assert rows[0][:4] == ["When", "Who", "Action", "Code"]
    assert [row[1:7] for row in rows[1:]] == [
        ["The system by itself", "Group paused", "group.paused", "Group", "7", "State: Open → Paused"]
    ]
    newest = db.session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc())).first()
    assert (newest.action, newest.after) == ("audit.exported", {"filter": {"action": "group.paused"}})


def test_looking_writes_nothing_and_is_for_the_owner(owner_client, staff_client, db, trail):
    before = db.session.scalar(select(func.count(AuditEntry.id)))
    assert owner_client.get("/console/audit?who=system").status_code == 200
    assert db.session.scalar(select(func.count(AuditEntry.id))) == before
    assert staff_client(Role.MANAGER).get("/console/audit").status_code == 403
    assert staff_client(Role.MANAGER).post("/console/audit/export").status_code == 403


def test_nothing_found_says_what_to_do(owner_client, trail):
    page = owner_client.get("/console/audit?since=2199-01-01", headers=ENGLISH).text
    assert "Show the whole trail" in page


def test_whoever_signs_in_is_named_and_found(client, make_staff, owner_client):
    person = make_staff(Role.VIEWER)
    client.post("/console/sign-in", data={"email": person.email, "password": PASSWORD})
    table = owner_client.get(f"/console/audit?who={person.id}", headers=ENGLISH).text.partition("<tbody>")[2]
    assert "Signed in" in table
    assert person.name in table
    assert "A visitor" not in table
