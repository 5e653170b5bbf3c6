"""The pages of audiences."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from campaigns.audiences.models import Audience
from kernel.auth import Role


def test_an_audience_is_saved_changed_and_removed(db: Any, owner_client: Any, make_member: Any) -> None:
    make_member("Lime", rank=3)
    assert owner_client.get("/console/audiences").status_code == 200
    assert owner_client.get("/console/audiences/new").status_code == 200
    assert owner_client.post("/console/audiences/new", data={"name": "VIP3", "ranks": ["3"]}).status_code == 302
    audience = db.session.scalars(select(Audience)).one()
    assert audience.definition == {"rules": [{"kind": "tier", "ranks": [3]}]}
    assert "VIP3" in owner_client.get("/console/audiences").text
    assert "Lime" in owner_client.get(f"/console/audiences/{audience.id}").text
    assert f"audience_id={audience.id}" in owner_client.get("/console/pushes/new").text
    page = owner_client.get(f"/console/pushes/new?audience_id={audience.id}").text
    assert 'checked id="ranks-1"' in page or "checked" in page
    owner_client.post(f"/console/audiences/{audience.id}", data={"name": "Rich", "spend_from": "1,000"})
    db.session.refresh(audience)
    assert (audience.name, audience.definition["rules"][0]["from_fen"]) == ("Rich", 100_000)
    owner_client.post(f"/console/audiences/{audience.id}/remove")
    assert db.session.scalar(select(func.count()).select_from(Audience)) == 0


def test_the_count_is_a_fragment_and_changes_nothing(owner_client: Any, make_member: Any, db: Any) -> None:
    make_member("Lime", rank=3), make_member("Plum", rank=1)
    answer = owner_client.get("/console/audiences/count?ranks=3", headers={"HX-Request": "true"})
    assert answer.status_code == 200
    assert "<html" not in answer.text
    assert "Lime" in answer.text
    assert "Plum" not in answer.text
    assert owner_client.get("/console/audiences/count?last_from=x").status_code == 200
    assert db.session.scalar(select(func.count()).select_from(Audience)) == 0


def test_the_button_counts_without_script(owner_client: Any, make_member: Any, db: Any) -> None:
    make_member("Lime", rank=3)
    answer = owner_client.post("/console/audiences/new", data={"name": "x", "ranks": ["3"], "act": "count"})
    assert answer.status_code == 200
    assert "Lime" in answer.text
    assert db.session.scalar(select(func.count()).select_from(Audience)) == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"ranks": ["9"]}, "ranks"),
        ({"orders_from": "5", "orders_to": "2"}, "orders_to"),
        ({"spend_from": "1.234"}, "spend_from"),
        ({"tags": ["77"]}, "tags"),
        ({"in_group": "77"}, "in_group"),
    ],
)
def test_wrong_rules_are_refused(owner_client: Any, db: Any, change: Any, field: str) -> None:
    answer = owner_client.post("/console/audiences/new", data={"name": "Mine"} | change)
    assert answer.status_code == 422
    assert db.session.scalar(select(func.count()).select_from(Audience)) == 0
    assert f'id="{field}"' in answer.text or f'href="#{field}"' in answer.text


@pytest.mark.parametrize("role", [Role.SERVICE, Role.VIEWER])
def test_roles_that_only_look(staff_client: Any, role: Role) -> None:
    browser = staff_client(role)
    assert browser.get("/console/audiences").status_code == 200
    assert browser.get("/console/audiences/new").status_code == 403
    assert browser.post("/console/audiences/new", data={"name": "x"}).status_code == 403
